//! One problem between its first request and its rows.

use std::collections::BTreeMap;

use potstill_data::{Attempt, Verdict};

use super::ask::Ask;
use super::judge::Judged;
use super::options::RunOptions;
use super::report::Failure;

/// What came of one sample.
#[derive(Debug)]
pub(super) enum Outcome {
    Row(Box<Attempt>),
    /// A row whose reply waits in the journal, because too many wait in memory.
    Parked(Box<Judged>),
    Failed(Failure),
    NotAsked,
}

/// A problem whose rows are not out yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ask: Ask,
    /// The next sample to ask for.
    next: u32,
    /// Samples asked for and not settled.
    open: u32,
    correct: u32,
    outcomes: BTreeMap<u32, Outcome>,
}

impl Pending {
    pub(super) fn new(ask: Ask) -> Self {
        Self { ask, next: 0, open: 0, correct: 0, outcomes: BTreeMap::new() }
    }

    /// How many samples to ask for now. With `stop_when`, only as many as are certain to be needed whatever those
    /// still open turn out to be: nothing is bought in vain, and timing decides nothing.
    pub(super) fn wanted(&self, options: &RunOptions) -> u32 {
        let left = options.samples - self.next;
        match options.stop_when {
            None => left,
            Some(stop) => stop.correct.saturating_sub(self.correct + self.open).min(left),
        }
    }

    /// Takes the next sample index.
    pub(super) fn take(&mut self) -> u32 {
        self.next += 1;
        self.open += 1;
        self.next - 1
    }

    pub(super) fn settle(&mut self, sample_index: u32, outcome: Outcome) {
        self.open -= 1;
        let verdict = match &outcome {
            Outcome::Row(attempt) => attempt.verdict,
            Outcome::Parked(judged) => judged.verdict,
            Outcome::Failed(_) | Outcome::NotAsked => None,
        };
        self.correct += u32::from(verdict == Some(Verdict::Correct));
        self.outcomes.insert(sample_index, outcome);
    }

    /// Whether nothing more will come; `asking` is false once the run asks no more.
    pub(super) fn is_complete(&self, options: &RunOptions, asking: bool) -> bool {
        self.open == 0 && !(asking && self.wanted(options) > 0)
    }

    pub(super) fn correct(&self) -> u32 {
        self.correct
    }

    pub(super) fn into_parts(self) -> (Ask, BTreeMap<u32, Outcome>) {
        (self.ask, self.outcomes)
    }
}
