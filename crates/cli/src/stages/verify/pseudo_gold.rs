//! Majority voting for problems without a gold answer: what most attempts agree on stands in for it, marked as such.

use std::collections::HashMap;
use std::path::PathBuf;

use potstill_data::{Attempt, Meta, MetaFields, RowReader, Scalar, ScalarKind};
use potstill_pipeline::{StageContext, StageError};
use potstill_verify::majority::{Ballot, MajorityOptions, Winner};
use potstill_verify::math::final_answer;
use potstill_verify::{ExtractOptions, Judgement, Proof};

use super::super::data_error;
use super::super::rows::in_order;
use super::graders::{Graders, record};
use crate::app::App;

/// Column of `meta` that says where a gold comes from that no source gave: always `majority`.
const META_GOLD_BY: &str = "gold_by";
/// Column of `meta` with the share of a problem's attempts that agree on that gold.
const META_GOLD_SHARE: &str = "gold_share";

/// The majority's answers, by problem.
pub(super) struct PseudoGolds {
    by_problem: HashMap<String, Option<Winner>>,
}

impl PseudoGolds {
    /// Reads all attempts once and counts the answers of problems without a gold. Answers are kept, replies are not.
    ///
    /// # Errors
    /// Rows that cannot be read, or a cancelled run.
    pub(super) fn count(
        cx: &StageContext<'_, App>,
        files: &[PathBuf],
        options: &MajorityOptions,
        extract: &ExtractOptions,
    ) -> Result<Self, StageError> {
        let mut ballots: HashMap<String, Ballot> = HashMap::new();
        let rows = RowReader::<Attempt>::open(files).map_err(data_error)?;
        let answer = |attempt: Attempt| {
            has_no_gold(&attempt).then(|| {
                let answer = final_answer(&attempt.response, extract);
                (attempt.problem.problem_id, answer)
            })
        };
        in_order(cx, rows, answer, |counted| {
            if let Some((problem, answer)) = counted {
                ballots.entry(problem).or_default().add(answer.as_deref());
            }
            Ok(())
        })?;
        Ok(Self { by_problem: ballots.into_iter().map(|(problem, ballot)| (problem, ballot.winner(options))).collect() })
    }

    /// Problems without a gold, and how many of them have a majority.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.by_problem.len(), self.by_problem.values().flatten().count())
    }

    /// The columns that mark the rows.
    pub(super) fn add_columns(meta: &mut MetaFields) {
        meta.add(META_GOLD_BY, ScalarKind::Text);
        meta.add(META_GOLD_SHARE, ScalarKind::Float);
    }

    /// Grades an attempt, where its problem has no gold against the majority.
    ///
    /// # Errors
    /// As [`Graders::grade`].
    pub(super) fn grade(&self, graders: &Graders, mut attempt: Attempt) -> Result<Attempt, StageError> {
        if !has_no_gold(&attempt) {
            return graders.grade(attempt);
        }
        let Some(Some(winner)) = self.by_problem.get(&attempt.problem.problem_id) else {
            record(&mut attempt, Judgement::undecided(Proof::Majority, "no gold answer, and no majority among the attempts"));
            return Ok(attempt);
        };
        attempt.problem.gold = Some(winner.answer.clone());
        mark(&mut attempt.problem.meta, winner);
        let judgement = graders.judge(&attempt)?;
        let note = format!("against the majority of {} of {} attempts: {} ({})", winner.votes, winner.of, judgement.note, judgement.proof);
        record(&mut attempt, Judgement { proof: Proof::Majority, note, ..judgement });
        Ok(attempt)
    }
}

fn mark(meta: &mut Meta, winner: &Winner) {
    meta.insert(META_GOLD_BY.to_owned(), Scalar::Text("majority".to_owned()));
    meta.insert(META_GOLD_SHARE.to_owned(), Scalar::Float(f64::from(winner.votes) / f64::from(winner.of.max(1))));
}

fn has_no_gold(attempt: &Attempt) -> bool {
    attempt.problem.gold.as_deref().is_none_or(|gold| gold.trim().is_empty()) && attempt.problem.tests.is_none()
}
