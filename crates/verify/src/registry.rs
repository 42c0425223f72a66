//! The table of verifiers.

use crate::{Verifier, VerifyError, VerifyOptions};
use crate::{choice, code, countdown, exact, math, number};

/// An entry of [`VERIFIERS`].
#[derive(Debug, Clone, Copy)]
pub struct VerifierKind {
    /// The name that rows and pipeline files use.
    pub name: &'static str,
    /// One line for help and the reference page.
    pub about: &'static str,
    /// Builds the verifier from the options, or says what is wrong with them.
    pub build: fn(&VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError>,
}

/// Every verifier, by name.
pub static VERIFIERS: &[VerifierKind] = &[
    VerifierKind { name: "exact", about: "the answer equals the gold as text", build: exact::build },
    VerifierKind { name: "choice", about: "the chosen option, by its label or by its text", build: choice::build },
    VerifierKind { name: "number", about: "the answer is the gold number, exactly or within a stated tolerance", build: number::build },
    VerifierKind { name: "math", about: "the answer is mathematically the gold answer, in any notation", build: math::build },
    VerifierKind { name: "countdown", about: "an expression over the given numbers that reaches the target", build: countdown::build },
    VerifierKind { name: "code", about: "the program passes the problem's tests, run in a sandbox", build: code::build },
];

/// Builds the verifier called `name`.
///
/// # Errors
/// [`VerifyError::UnknownVerifier`] with near names, or whatever the verifier says about its options.
pub fn verifier(name: &str, options: &VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError> {
    match VERIFIERS.iter().find(|kind| kind.name == name) {
        Some(kind) => (kind.build)(options),
        None => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> VerifyError {
    let known: Vec<&'static str> = VERIFIERS.iter().map(|kind| kind.name).collect();
    let wanted = name.to_lowercase();
    let mut near: Vec<(usize, &'static str)> = known
        .iter()
        .map(|&kind| (strsim::damerau_levenshtein(&wanted, kind), kind))
        .filter(|&(distance, kind)| distance <= 2 || kind.starts_with(&wanted) || wanted.starts_with(kind))
        .collect();
    near.sort_unstable();
    VerifyError::UnknownVerifier { name: name.to_owned(), near: near.into_iter().map(|(_, kind)| kind).collect(), known }
}
