//! What can be wrong before any case is judged.

use thiserror::Error;

/// A verifier could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No verifier has this name.
    #[error("unknown verifier `{name}`{}; known are: {}", did_you_mean(near), known.join(", "))]
    UnknownVerifier {
        /// The name as given.
        name: String,
        /// Names that are close to it, nearest first.
        near: Vec<&'static str>,
        /// Every name.
        known: Vec<&'static str>,
    },
    /// An option has a value outside its limits.
    #[error("option `{option}` of verifier `{verifier}` is {found}, but {limit}")]
    BadOption {
        /// The verifier.
        verifier: &'static str,
        /// The option's path, for example `number.tolerance`.
        option: &'static str,
        /// The value found.
        found: String,
        /// What is allowed.
        limit: String,
    },
    /// Something outside the program is missing.
    #[error("verifier `{verifier}` cannot work here: {reason}")]
    Unavailable {
        /// The verifier.
        verifier: &'static str,
        /// What is missing, and what to do.
        reason: String,
    },
}

fn did_you_mean(near: &[&str]) -> String {
    near.first().map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
