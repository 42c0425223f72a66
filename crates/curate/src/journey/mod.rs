//! Journey learning: samples that go wrong, notice, and end right.
//!
//! A shortcut sample shows only the way that led to the answer. A journey sample also shows a mistake and how it was
//! found and mended (O1 Replication Journey, part 1; Stream of Search found the same of search traces). There are two
//! ways to one:
//!
//! - *recovered*: a single attempt that commits to a wrong answer and later to the right one;
//! - *joined*: wrong attempts of a problem, a reflection after each, then a right attempt.
//!
//! Whatever the way, and whoever smoothed the text, a journey sample counts only if the judge finds that it ends
//! correct; and its control set is made of shortcuts of the *same problems*, so that the two can be compared.
//!
//! The module knows no verifier: what an answer is and whether it is right comes through [`Eyes`].

mod compose;
mod config;
mod meta;
mod reflection;
mod report;
mod seen;
pub mod tree;

use std::collections::HashMap;
use std::ops::Range;

use potstill_data::{Attempt, Sample, Verdict};

use crate::error::CurateError;

pub use compose::{Draft, Drafts, Journey, Outcome};
pub use config::{Cut, JourneyConfig, JourneySource};
pub use meta::{FIRST_ERROR_AT, MISTAKE_CHARS, ORIGIN, REFLECTION_WORDS, WRONG_ANSWER, meta_fields};
pub use reflection::REFLECTIONS;
pub use report::{JourneyReport, Skip, Spread};
pub use tree::{Tree, TreeConfig};

/// An answer to which a text commits, such as `\boxed{14}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The answer itself, without its mark-up.
    pub text: String,
    /// Where it stands, in bytes of the text searched; the mark-up may be in or out.
    pub span: Range<usize>,
}

/// What the composer sees of answers: the caller's extractor and verifier.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    /// The answers to which a text commits, in the order in which they stand.
    pub answers: &'a (dyn Fn(&str) -> Vec<Committed> + Sync),
    /// The verdict on an attempt; its `reasoning` may be `None` and its `response` a whole text or an answer alone.
    pub judge: &'a (dyn Fn(&Attempt) -> Verdict + Sync),
}

/// A writer smooths a draft's reasoning (a teacher asked to make one flowing text of it); `Err` is its own reason.
pub type Writer<'a> = dyn Fn(&Draft) -> Result<String, String> + Sync + 'a;

/// [`Journey`] over rows in memory, grouped by problem in the order of first appearance: journeys, their controls, and
/// what came of it.
///
/// # Errors
/// As [`Journey::new`].
pub fn journey(
    rows: &[Attempt],
    config: &JourneyConfig,
    seed: u64,
    eyes: &Eyes<'_>,
    writer: Option<&Writer<'_>>,
) -> Result<(Vec<Sample>, Vec<Sample>, JourneyReport), CurateError> {
    let composer = Journey::new(config.clone(), seed)?;
    let (mut journeys, mut shortcuts, mut report) = (Vec::new(), Vec::new(), JourneyReport::default());
    for group in by_problem(rows) {
        let outcome = composer.problem(&group, eyes, writer);
        report.add(&outcome);
        journeys.extend(outcome.journeys.into_iter().map(|(_, sample)| sample));
        journeys.extend(outcome.straight);
        shortcuts.extend(outcome.shortcuts);
    }
    Ok((journeys, shortcuts, report))
}

fn by_problem(rows: &[Attempt]) -> Vec<Vec<Attempt>> {
    let mut at: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<Vec<Attempt>> = Vec::new();
    for row in rows {
        let next = groups.len();
        let group = *at.entry(&row.problem.problem_id).or_insert(next);
        if group == next {
            groups.push(Vec::new());
        }
        groups[group].push(row.clone());
    }
    groups
}
