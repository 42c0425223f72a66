//! Verdicts counted as they come, for the stage's statistics and warnings.

use std::collections::BTreeMap;

use potstill_data::{Attempt, Scalar, Verdict};
use potstill_pipeline::{Level, StageContext};
use potstill_verify::{Proof, SwapCheck};
use serde_json::{Value, json};

use crate::app::App;

/// Verdicts counted as they come.
#[derive(Default)]
pub(super) struct Tally {
    verdicts: BTreeMap<&'static str, u64>,
    proofs: BTreeMap<String, u64>,
    agree: u64,
    disagree: u64,
    unreferenced: u64,
    swap: SwapCheck,
    /// The first reason why a verifier could not work.
    unavailable: Option<String>,
}

impl Tally {
    pub(super) fn add(&mut self, attempt: &Attempt) {
        let verdict = attempt.verdict.unwrap_or(Verdict::Undecided);
        *self.verdicts.entry(verdict.as_str()).or_default() += 1;
        let proof = attempt.proof.clone().unwrap_or_default();
        if proof == Proof::Unavailable.as_str() && self.unavailable.is_none() {
            self.unavailable = attempt.verifier_note.clone();
        }
        *self.proofs.entry(proof).or_default() += 1;
        self.swap.add(attempt.problem.gold.as_deref().unwrap_or_default(), &attempt.response);
    }

    /// Counts whether the verdict differs from the reference column, and says so.
    pub(super) fn compare(&mut self, attempt: &Attempt, column: &str) -> bool {
        match differs(attempt, column) {
            Some(differs) => {
                *(if differs { &mut self.disagree } else { &mut self.agree }) += 1;
                differs
            }
            None => {
                self.unreferenced += 1;
                false
            }
        }
    }

    pub(super) fn warn(&self, cx: &StageContext<'_, App>) {
        let bad_gold = self.proofs.get("bad_gold").copied().unwrap_or(0);
        if bad_gold > 0 {
            cx.message(
                Level::Warning,
                format!(
                    "{bad_gold} attempts have a gold answer or tests that are missing or cannot be read: they are undecided, never correct"
                ),
            );
        }
        if let Some(reason) = &self.unavailable {
            let count = self.proofs.get(Proof::Unavailable.as_str()).copied().unwrap_or(0);
            cx.message(
                Level::Warning,
                format!("{count} attempts could not be verified here and are undecided, the first because: {reason}"),
            );
        }
        if let Some(share) = self.swap.suspicion() {
            cx.message(
                Level::Warning,
                format!("{:.0} % of the golds look like replies and the replies like golds: are the columns exchanged?", share * 100.0),
            );
        }
        if self.unreferenced > 0 {
            cx.message(Level::Warning, format!("{} attempts have no reference verdict", self.unreferenced));
        }
    }

    pub(super) fn stats(&self, referenced: bool) -> Value {
        let mut stats = json!({ "verdicts": self.verdicts, "proofs": self.proofs });
        if referenced {
            let all = self.agree + self.disagree;
            let share = if all == 0 { Value::Null } else { json!(self.agree as f64 / all as f64) };
            stats["reference"] =
                json!({ "agree": self.agree, "disagree": self.disagree, "without": self.unreferenced, "agreement": share });
        }
        stats
    }
}

/// Whether the verdict differs from the one in a column of `meta`; `None` where that is empty.
pub(super) fn differs(attempt: &Attempt, column: &str) -> Option<bool> {
    let said = match attempt.problem.meta.get(column)? {
        Scalar::Bool(b) => *b,
        Scalar::Int(n) => *n != 0,
        Scalar::Float(f) => *f >= 0.5,
        Scalar::Text(word) => matches!(word.to_lowercase().as_str(), "correct" | "true" | "yes" | "1"),
    };
    Some(said != (attempt.verdict == Some(Verdict::Correct)))
}
