//! `exact`: the answer equals the gold as text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::read::{self, SHOWN, shown};
use crate::{Case, Judgement, Proof, Verifier, VerifyError, VerifyOptions, text};

/// Settings of the verifier `exact`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExactOptions {
    /// Whether `Paris` and `paris` differ.
    pub case_sensitive: bool,
    /// Whether white space inside the answer must be the same; otherwise any run of it counts as one space.
    pub keep_whitespace: bool,
}

/// Compares normalised text: white space, case, enclosing quotes and a final stop do not count.
#[derive(Debug)]
struct Exact {
    options: VerifyOptions,
}

/// Builds the verifier.
pub(crate) fn build(options: &VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError> {
    Ok(Box::new(Exact { options: options.clone() }))
}

impl Verifier for Exact {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn verify(&self, case: &Case<'_>) -> Judgement {
        read::judge(case, &self.options, |gold, answer| {
            if self.normal(gold) == self.normal(answer.text) {
                Judgement::correct(Proof::Exact, "the same text")
            } else {
                Judgement::incorrect(Proof::Exact, format!("not the text `{}`", shown(gold, SHOWN)))
            }
        })
    }
}

impl Exact {
    fn normal(&self, answer: &str) -> String {
        let ExactOptions { case_sensitive, keep_whitespace } = self.options.exact;
        if !keep_whitespace {
            return text::normalize(answer, case_sensitive);
        }
        let answer = text::unwrap(answer);
        if case_sensitive { answer.to_owned() } else { answer.to_lowercase() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    fn verdict(options: ExactOptions, gold: &str, response: &str) -> Verdict {
        let options = VerifyOptions { exact: options, ..VerifyOptions::default() };
        let case = Case { gold: Some(gold), response, ..Case::default() };
        build(&options).unwrap().verify(&case).verdict
    }

    #[test]
    fn case_and_spacing_are_settings() {
        let strict = ExactOptions { case_sensitive: true, keep_whitespace: true };
        assert_eq!(verdict(ExactOptions::default(), "New York", "<answer>new\n york.</answer>"), Verdict::Correct);
        assert_eq!(verdict(strict, "New York", "<answer>new york</answer>"), Verdict::Incorrect);
        assert_eq!(verdict(strict, "New York", "<answer>New  York</answer>"), Verdict::Incorrect);
        assert_eq!(verdict(strict, "New York", "<answer>New York</answer>"), Verdict::Correct);
        assert_eq!(verdict(ExactOptions::default(), "Yorks", "<answer>York</answer>"), Verdict::Incorrect);
    }

    #[test]
    fn without_gold_nothing_is_decided() {
        let judgement = build(&VerifyOptions::default()).unwrap().verify(&Case { response: "4", ..Case::default() });
        assert_eq!((judgement.verdict, judgement.proof), (Verdict::Undecided, Proof::BadGold));
        assert_eq!(judgement.extracted.as_deref(), Some("4"));
    }
}
