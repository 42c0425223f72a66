//! The table of verifiers.

use crate::{Verifier, VerifyError, VerifyOptions};

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
pub static VERIFIERS: &[VerifierKind] = &[];

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
        .filter(|&(distance, kind)| {
            distance <= 2 || kind.starts_with(&wanted) || wanted.starts_with(kind)
        })
        .collect();
    near.sort_unstable();
    VerifyError::UnknownVerifier {
        name: name.to_owned(),
        near: near.into_iter().map(|(_, kind)| kind).collect(),
        known,
    }
}
