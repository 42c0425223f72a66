//! What a verifier is given and what it returns.

use std::fmt;

use potstill_data::{Attempt, Verdict};

/// One reply to one problem, borrowed from wherever it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Case<'a> {
    /// The problem as it was asked; multiple-choice options are read from it.
    pub prompt: &'a str,
    /// The reference answer.
    pub gold: Option<&'a str>,
    /// What the answer must satisfy, as JSON text, for example `{"numbers":[3,5,8],"target":14}`.
    pub tests: Option<&'a str>,
    /// The reasoning, where it is stored apart from the response. The answer is never read from it.
    pub reasoning: Option<&'a str>,
    /// The response, from which the answer is read.
    pub response: &'a str,
}

impl<'a> From<&'a Attempt> for Case<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            prompt: &attempt.problem.prompt,
            gold: attempt.problem.gold.as_deref(),
            tests: attempt.problem.tests.as_deref(),
            reasoning: attempt.reasoning.as_deref(),
            response: &attempt.response,
        }
    }
}

/// How a verdict is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proof {
    /// Equality or inequality of exact values or of normalised text.
    Exact,
    /// Equality of the normalised expressions, sets, tuples or matrices.
    Structural,
    /// Equality of decimals within a stated tolerance.
    Numeric,
    /// An identity shown, or refuted, by evaluation modulo random primes.
    Identity,
    /// Refuted by certified interval evaluation.
    Interval,
    /// Sampling alone: probable, not proved.
    Probable,
    /// The answer was executed against tests.
    Executed,
    /// A language model judged it.
    Judged,
    /// Compared with the answer of most attempts, where no gold answer is known.
    Majority,
    /// The reply holds no answer.
    NoAnswer,
    /// The answer was found but could not be read.
    BadAnswer,
    /// The gold answer, or the tests, are missing or could not be read.
    BadGold,
    /// The work budget ran out before a proof was found.
    Budget,
    /// What the verifier needs (an interpreter, a sandbox) is not there or failed.
    Unavailable,
}

impl Proof {
    /// Every kind of proof.
    pub const ALL: [Self; 14] = [
        Self::Exact,
        Self::Structural,
        Self::Numeric,
        Self::Identity,
        Self::Interval,
        Self::Probable,
        Self::Executed,
        Self::Judged,
        Self::Majority,
        Self::NoAnswer,
        Self::BadAnswer,
        Self::BadGold,
        Self::Budget,
        Self::Unavailable,
    ];

    /// The name as it stands in files and SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Structural => "structural",
            Self::Numeric => "numeric",
            Self::Identity => "identity",
            Self::Interval => "interval",
            Self::Probable => "probable",
            Self::Executed => "executed",
            Self::Judged => "judged",
            Self::Majority => "majority",
            Self::NoAnswer => "no_answer",
            Self::BadAnswer => "bad_answer",
            Self::BadGold => "bad_gold",
            Self::Budget => "budget",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a verifier says about a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The answer that was read from the reply, as it stands there.
    pub extracted: Option<String>,
    /// How the verdict is known.
    pub proof: Proof,
    /// One sentence for people: a lowercase fragment.
    pub note: String,
}

impl Judgement {
    /// A judgement without an extracted answer; add one by [`Judgement::of`].
    pub fn new(verdict: Verdict, proof: Proof, note: impl Into<String>) -> Self {
        Self { verdict, extracted: None, proof, note: note.into() }
    }

    /// The answer is right.
    pub fn correct(proof: Proof, note: impl Into<String>) -> Self {
        Self::new(Verdict::Correct, proof, note)
    }

    /// The answer is wrong.
    pub fn incorrect(proof: Proof, note: impl Into<String>) -> Self {
        Self::new(Verdict::Incorrect, proof, note)
    }

    /// The rules cannot tell.
    pub fn undecided(proof: Proof, note: impl Into<String>) -> Self {
        Self::new(Verdict::Undecided, proof, note)
    }

    /// The gold answer or the tests are missing or unreadable.
    pub fn bad_gold(note: impl Into<String>) -> Self {
        Self::undecided(Proof::BadGold, note)
    }

    /// The same judgement with the answer it is about.
    #[must_use]
    pub fn of(mut self, answer: &str) -> Self {
        self.extracted = Some(answer.to_owned());
        self
    }
}

/// Decides whether a reply is right.
///
/// Implementations keep no state between cases, never panic and bound their own work.
pub trait Verifier: Send + Sync {
    /// The name under which it stands in [`VERIFIERS`](crate::VERIFIERS).
    fn name(&self) -> &'static str;

    /// Judges one case.
    fn verify(&self, case: &Case<'_>) -> Judgement;
}
