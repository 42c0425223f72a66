//! How much of the traffic may be repetition, and how long a repetition waits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;

/// Each fresh request earns this much of a repetition …
const SHARE: f64 = 0.1;
/// … and time alone earns this share of a full bucket a second, so that the last requests of a run are not stuck.
const PER_SECOND: f64 = 0.4;

/// A bucket of repetitions: when a server is ill, repeating everything makes it worse.
#[derive(Debug)]
pub(in crate::openai) struct RetryBudget {
    capacity: f64,
    state: Mutex<(f64, Instant)>,
}

impl RetryBudget {
    /// Full at the start: a tenth of what may be in flight, and not too few for small runs.
    pub(in crate::openai) fn new(max_concurrency: usize) -> Self {
        let capacity = (max_concurrency as f64 * SHARE).max(16.0);
        Self { capacity, state: Mutex::new((capacity, Instant::now())) }
    }

    /// A fresh request was sent.
    pub(in crate::openai) fn earn(&self) {
        self.change(|tokens| (tokens + SHARE, ()));
    }

    /// Takes one repetition if there is one.
    pub(in crate::openai) fn take(&self) -> bool {
        self.change(|tokens| if tokens >= 1.0 { (tokens - 1.0, true) } else { (tokens, false) })
    }

    fn change<T>(&self, change: impl FnOnce(f64) -> (f64, T)) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let tokens = state.0 + now.duration_since(state.1).as_secs_f64() * PER_SECOND * self.capacity;
        let (tokens, result) = change(tokens.min(self.capacity));
        *state = (tokens.min(self.capacity), now);
        result
    }
}

/// The wait before try number `tries` + 1, drawn evenly between zero and a bound that doubles each time (full jitter),
/// and never shorter than what the server asked for.
pub(in crate::openai) fn backoff(tries: u32, first: Duration, longest: Duration, asked: Option<Duration>) -> Duration {
    let bound = first.saturating_mul(2u32.saturating_pow(tries.saturating_sub(1))).min(longest);
    let drawn = bound.mul_f64(rand::rng().random::<f64>());
    // Those who were told the same time must not all come back at that very moment.
    asked.map_or(drawn, |asked| asked + drawn.min(asked.mul_f64(0.25)))
}
