//! The `math` entry of the table of verifiers.

use super::policy::MathPolicy;
use super::reply::judge;
use crate::extract::ExtractOptions;
use crate::{Case, Judgement, NoAnswer, Verdict, Verifier, VerifyError, VerifyOptions};

/// Grades mathematical answers by `compare`.
struct MathVerifier {
    policy: MathPolicy,
    extract: ExtractOptions,
    no_answer: NoAnswer,
}

/// Builds the verifier.
pub(crate) fn build(options: &VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError> {
    if options.math.steps == 0 {
        return Err(VerifyError::BadOption {
            verifier: "math",
            option: "math.steps",
            found: "0".into(),
            limit: "must be at least 1".into(),
        });
    }
    Ok(Box::new(MathVerifier { policy: options.math.clone(), extract: options.extract, no_answer: options.no_answer }))
}

impl Verifier for MathVerifier {
    fn name(&self) -> &'static str {
        "math"
    }

    fn verify(&self, case: &Case<'_>) -> Judgement {
        let Some(gold) = case.gold.filter(|g| !g.trim().is_empty()) else {
            return Judgement::bad_gold("there is no gold answer");
        };
        let Some((found, answer)) = judge(gold, case.prompt, case.response, &self.extract, &self.policy) else {
            return self.no_answer.judgement();
        };
        if found.verdict == Verdict::Incorrect && found.proof == crate::Proof::NoAnswer {
            return self.no_answer.judgement();
        }
        Judgement::new(found.verdict, found.proof, found.note).of(&answer)
    }
}
