//! How a run asks.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::error::GenerateError;
use crate::request::{Generator, Sampling};

/// Column of `meta` with the share of a problem's verified attempts that are correct: its difficulty for this teacher.
/// Written when a run has a judge.
pub const META_PASS_RATE: &str = "pass_rate";

/// Column of `meta` with the teacher's log-probabilities as JSON. Written when [`Sampling::top_logprobs`] is set.
pub const META_LOGPROBS: &str = "logprobs";

/// When to stop asking about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopWhen {
    /// Once this many of its attempts are verified correct.
    pub correct: u32,
}

/// How a run asks.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Samples of each problem; at most so many with `stop_when`.
    pub samples: u32,
    /// How each is drawn.
    pub sampling: Sampling,
    /// Adaptive rejection sampling: ask only while it can still be needed.
    pub stop_when: Option<StopWhen>,
    /// End the run at exactly this many accepted rows: correct ones where there is a judge, otherwise all.
    pub target_rows: Option<u64>,
    /// The most that this run may spend, in USD, beside the teacher's own cap.
    pub max_cost_usd: Option<f64>,
    /// A budget shared with other runs of the same stage, in place of one made of `max_cost_usd`. Its parent is the
    /// generator's own.
    pub budget: Option<Arc<Budget>>,
    /// The most requests in flight, where that is fewer than the generator allows.
    pub max_concurrency: Option<usize>,
    /// Problems begun and not yet written, at most. One slow reply holds back the rows behind it, not the requests.
    pub lookahead: usize,
    /// How long the run may take, in seconds; what is not asked by then stays for another one.
    pub max_seconds: Option<f64>,
    /// How long requests on the wire may take to come home when a run ends early, in seconds: they are paid.
    pub grace_seconds: f64,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            samples: 1,
            sampling: Sampling::default(),
            stop_when: None,
            target_rows: None,
            max_cost_usd: None,
            budget: None,
            max_concurrency: None,
            lookahead: 16_384,
            max_seconds: None,
            grace_seconds: 5.0,
        }
    }
}

impl RunOptions {
    pub(super) fn check(&self, judge: bool, generator: &dyn Generator) -> Result<(), GenerateError> {
        let wrong = |field: &str, message: String| Err(GenerateError::Config { field: field.into(), message });
        if self.samples == 0 {
            return wrong("samples", "expected at least 1, found 0".into());
        }
        if self.sampling.max_tokens == 0 {
            return wrong("max_tokens", "expected at least 1, found 0".into());
        }
        if self.max_concurrency == Some(0) {
            return wrong("max_concurrency", "expected at least 1, found 0".into());
        }
        if let Some(seconds) = self.max_seconds.filter(|seconds| !seconds.is_finite() || *seconds <= 0.0) {
            return wrong("max_seconds", format!("expected more than 0, found {seconds}"));
        }
        for (field, value, most) in [("temperature", self.sampling.temperature, 100.0), ("top_p", self.sampling.top_p, 1.0)] {
            if let Some(value) = value.filter(|value| !(0.0..=most).contains(value)) {
                return wrong(field, format!("expected 0 to {most}, found {value}"));
            }
        }
        if let Some(StopWhen { correct }) = self.stop_when {
            if !judge {
                return wrong("stop_when", "needs a verifier to tell which attempts are correct".into());
            }
            if correct == 0 || correct > self.samples {
                return wrong("stop_when.correct", format!("expected 1 to `samples` ({}), found {correct}", self.samples));
            }
        }
        if self.max_cost_usd.is_some() && generator.price().is_none() && generator.journaled() {
            return wrong("max_cost_usd", "needs the teacher's `price`: what a token costs is never guessed".into());
        }
        Ok(())
    }
}
