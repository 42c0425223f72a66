//! The settings of all verifiers, as they stand in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CodeOptions, CountdownOptions, ExactOptions, ExtractOptions, Judgement, MathPolicy, NumberOptions, Proof};

/// Settings of the verifiers. Every verifier reads the common ones and its own table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyOptions {
    /// How the answer is found in a reply.
    pub extract: ExtractOptions,
    /// The verdict for a reply without an answer.
    pub no_answer: NoAnswer,
    /// Settings of `exact`.
    pub exact: ExactOptions,
    /// Settings of `number`.
    pub number: NumberOptions,
    /// Settings of `math`.
    pub math: MathPolicy,
    /// Settings of `countdown`.
    pub countdown: CountdownOptions,
    /// Settings of `code`.
    pub code: CodeOptions,
}

/// The verdict for a reply in which no answer is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoAnswer {
    /// No answer is a wrong answer.
    #[default]
    Incorrect,
    /// Leave it to a later tier, such as a judge.
    Undecided,
}

impl NoAnswer {
    /// The judgement of a reply without an answer under this policy.
    pub fn judgement(self) -> Judgement {
        let note = "no answer found in the reply";
        match self {
            Self::Incorrect => Judgement::incorrect(Proof::NoAnswer, note),
            Self::Undecided => Judgement::undecided(Proof::NoAnswer, note),
        }
    }
}
