//! What a run tells while it runs and when it is over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of a run so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Problems whose rows are out.
    pub problems: u64,
    /// Rows out.
    pub rows: u64,
    /// Of these, accepted ones (see `target_rows`).
    pub accepted: u64,
    /// Replies bought in this run.
    pub replies: u64,
    /// Replies that were there already.
    pub cached: u64,
    /// Requests that failed for good.
    pub failed: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Times a request was sent again.
    pub retries: u64,
    /// Prompt tokens of the replies bought.
    pub prompt_tokens: u64,
    /// Completion tokens of the replies bought.
    pub completion_tokens: u64,
    /// USD spent.
    pub spent_usd: f64,
}

/// Why a run ended before its problems did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// `target_rows` was reached.
    Target,
    /// The money is spent.
    Budget,
    /// `max_seconds` are over.
    Time,
    /// Somebody cancelled it.
    Cancelled,
}

/// A request that was never answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The problem.
    pub problem_id: String,
    /// Which of its samples.
    pub sample_index: u32,
    /// One word.
    pub reason: String,
    /// What was seen.
    pub message: String,
}

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The counts at the end.
    pub totals: Progress,
    /// Failed requests by reason.
    pub failures: BTreeMap<String, u64>,
    /// The first failures in full, in the order of the rows; the counts above are complete.
    pub failed: Vec<Failure>,
    /// Rows cut at `max_tokens`.
    pub truncated: u64,
    /// Rows whose tokens were counted here, because the server did not.
    pub estimated: u64,
    /// What all rows cost when they were bought, those from the journal included, in USD; absent without a price.
    pub cost_usd: Option<f64>,
    /// Samples of problems begun that were not asked, because the run ended early.
    pub not_asked: u64,
    /// Problems by how many of their attempts are correct, where there is a judge.
    pub solved: BTreeMap<u32, u64>,
    /// Times the judge panicked; such attempts count as undecided.
    pub judge_panics: u64,
    /// Why it ended early, if it did.
    pub stopped: Option<Stopped>,
}

/// Failures kept in full.
const KEPT_FAILURES: usize = 1000;

impl RunReport {
    pub(super) fn fail(&mut self, failure: Failure) {
        self.totals.failed += 1;
        *self.failures.entry(failure.reason.clone()).or_default() += 1;
        if self.failed.len() < KEPT_FAILURES {
            self.failed.push(failure);
        }
    }

    /// Adds what came of another run of the same stage.
    pub fn add(&mut self, other: Self) {
        self.totals.add(&other.totals);
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        let room = KEPT_FAILURES.saturating_sub(self.failed.len());
        self.failed.extend(other.failed.into_iter().take(room));
        self.truncated += other.truncated;
        self.estimated += other.estimated;
        self.cost_usd = [self.cost_usd, other.cost_usd].into_iter().flatten().reduce(|a, b| a + b);
        self.not_asked += other.not_asked;
        for (correct, problems) in other.solved {
            *self.solved.entry(correct).or_default() += problems;
        }
        self.judge_panics += other.judge_panics;
        self.stopped = other.stopped.or(self.stopped);
    }
}

impl Progress {
    /// Adds the counts of another run; what is in flight is that run's.
    pub fn add(&mut self, other: &Self) {
        self.problems += other.problems;
        self.rows += other.rows;
        self.accepted += other.accepted;
        self.replies += other.replies;
        self.cached += other.cached;
        self.failed += other.failed;
        self.in_flight = other.in_flight;
        self.retries += other.retries;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.spent_usd += other.spent_usd;
    }
}
