//! Every verifier, built once, and the one that grades a row.

use std::collections::BTreeMap;

use potstill_data::{Attempt, Row as _};
use potstill_pipeline::StageError;
use potstill_verify::{Case, Judgement, Proof, VERIFIERS, Verifier, VerifyError, VerifyOptions};

/// Every verifier, built once.
pub(crate) struct Graders {
    by_name: BTreeMap<&'static str, Box<dyn Verifier>>,
    fixed: Option<String>,
}

impl Graders {
    /// With `fixed` for every row, or each row's own verifier.
    ///
    /// # Errors
    /// Options that cannot work.
    pub(crate) fn new(fixed: Option<&str>, options: &VerifyOptions) -> Result<Self, StageError> {
        let wrong = |e: VerifyError| StageError::config(e.to_string());
        let options = &crate::sandbox::ready(options);
        let wanted = VERIFIERS.iter().filter(|kind| fixed.is_none_or(|name| name == kind.name));
        let by_name = wanted.map(|kind| Ok((kind.name, (kind.build)(options)?))).collect::<Result<_, VerifyError>>().map_err(wrong)?;
        Ok(Self { by_name, fixed: fixed.map(str::to_owned) })
    }

    /// The attempt with its verdict; whatever verdict it had is replaced.
    ///
    /// # Errors
    /// A row that names no verifier, or one that does not exist.
    pub(crate) fn grade(&self, mut attempt: Attempt) -> Result<Attempt, StageError> {
        let judgement = self.judge(&attempt)?;
        record(&mut attempt, judgement);
        Ok(attempt)
    }

    /// Writes the verdict into the attempt. One that cannot be judged is undecided, and its note says why.
    pub(crate) fn settle(&self, attempt: &mut Attempt) {
        let judgement = self.judge(attempt).unwrap_or_else(|error| Judgement::undecided(Proof::Unavailable, error.to_string()));
        record(attempt, judgement);
    }

    /// The judgement alone.
    ///
    /// # Errors
    /// As [`Graders::grade`].
    pub(crate) fn judge(&self, attempt: &Attempt) -> Result<Judgement, StageError> {
        let name = self.fixed.as_deref().or(attempt.problem.verifier.as_deref());
        let verifier = name.and_then(|name| self.by_name.get(name));
        let known = || self.by_name.keys().copied().collect::<Vec<_>>().join(", ");
        match (verifier, name) {
            (Some(verifier), _) => Ok(verifier.verify(&Case::from(attempt))),
            (None, Some(name)) => {
                let id = attempt.id();
                Err(StageError::failed(format!("attempt {id} names the verifier `{name}`, which does not exist"))
                    .hint(format!("there are: {}", known())))
            }
            (None, None) => {
                let id = attempt.id();
                Err(StageError::failed(format!("attempt {id} names no verifier")).hint("set `verifier` in the source or in this stage"))
            }
        }
    }
}

/// Writes a judgement into the row.
pub(super) fn record(attempt: &mut Attempt, judgement: Judgement) {
    attempt.verdict = Some(judgement.verdict);
    attempt.extracted = judgement.extracted;
    attempt.proof = Some(judgement.proof.as_str().to_owned());
    attempt.verifier_note = Some(judgement.note).filter(|note| !note.is_empty());
}
