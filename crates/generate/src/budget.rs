//! Money: what tokens cost, and a cap that cannot be overrun.

use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::error::GenerateError;
use crate::request::Usage;

/// What a teacher's tokens cost, in USD per million. Written in the pipeline file, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// USD per million prompt tokens.
    pub input_per_million: f64,
    /// USD per million completion tokens, reasoning included.
    pub output_per_million: f64,
    /// USD per million prompt tokens that the server had cached; the input price when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_per_million: Option<f64>,
    /// The share of the price that a batch API asks (0.5 is half price); 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_factor: Option<f64>,
}

impl Price {
    /// What a reply with this usage costs, in USD.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> f64 {
        let prompt = f64::from(usage.prompt_tokens.unwrap_or(0));
        let cached = f64::from(usage.cached_prompt_tokens.unwrap_or(0)).min(prompt);
        let completion = f64::from(usage.completion_tokens.unwrap_or(0));
        let cached_price = self.cached_input_per_million.unwrap_or(self.input_per_million);
        ((prompt - cached) * self.input_per_million + cached * cached_price + completion * self.output_per_million) / 1e6
    }

    /// The most that a request can cost, in USD.
    #[must_use]
    pub fn worst(&self, prompt_tokens: u32, max_tokens: u32) -> f64 {
        (f64::from(prompt_tokens) * self.input_per_million + f64::from(max_tokens) * self.output_per_million) / 1e6
    }

    /// The price asked by a batch API.
    #[must_use]
    pub fn batch(&self) -> Self {
        let factor = self.batch_factor.unwrap_or(1.0);
        Self {
            input_per_million: self.input_per_million * factor,
            output_per_million: self.output_per_million * factor,
            cached_input_per_million: self.cached_input_per_million.map(|price| price * factor),
            batch_factor: None,
        }
    }

    /// Checks that every figure is a finite number of at least zero.
    ///
    /// # Errors
    /// [`GenerateError::Config`] naming the figure.
    pub fn check(&self) -> Result<(), GenerateError> {
        let figures = [
            ("price.input_per_million", Some(self.input_per_million)),
            ("price.output_per_million", Some(self.output_per_million)),
            ("price.cached_input_per_million", self.cached_input_per_million),
            ("price.batch_factor", self.batch_factor),
        ];
        for (field, value) in figures {
            if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
                return Err(GenerateError::Config { field: field.into(), message: format!("expected at least 0, found {value}") });
            }
        }
        Ok(())
    }
}

/// A hard cap on what may be spent. Before a request is sent its worst case is reserved; the reservation is settled to
/// what the reply cost. `spent + reserved` never exceeds the cap, so the bill cannot either.
#[derive(Debug)]
pub struct Budget {
    cap: Option<f64>,
    parent: Option<Arc<Budget>>,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    spent: f64,
    reserved: f64,
    in_flight: usize,
}

/// Rounding of many small sums must not refuse the last request that fits.
const ROUNDING: f64 = 1e-9;

impl Budget {
    /// A budget of `cap` USD; `None` only keeps count. A `parent` is charged as well.
    #[must_use]
    pub fn new(cap: Option<f64>, parent: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { cap, parent, state: Mutex::new(State::default()), freed: Notify::new() })
    }

    /// What was spent, in USD.
    #[must_use]
    pub fn spent(&self) -> f64 {
        self.lock().spent
    }

    /// Spent and in flight at worst, in USD: the most the bill can say now.
    #[must_use]
    pub fn committed(&self) -> f64 {
        let state = self.lock();
        state.spent + state.reserved
    }

    /// Reserves `worst` USD; waits while requests in flight may still return money.
    ///
    /// # Errors
    /// [`GenerateError::Budget`] when it cannot fit any more.
    pub async fn reserve(self: &Arc<Self>, worst: f64) -> Result<Reservation, GenerateError> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.try_reserve(worst) {
                Ok(true) => break,
                Ok(false) => freed.await,
                Err(error) => return Err(error),
            }
        }
        // The own share is held while the parent's is waited for; the guard gives it back if that fails.
        let mut own = Reservation { budget: Arc::clone(self), worst, sent: false, settled: false, parent: None };
        if let Some(parent) = &self.parent {
            own.parent = Some(Box::new(Box::pin(parent.reserve(worst)).await?));
        }
        Ok(own)
    }

    /// `Ok(false)`: does not fit now, but money may come back.
    fn try_reserve(&self, worst: f64) -> Result<bool, GenerateError> {
        let mut state = self.lock();
        if let Some(cap) = self.cap
            && state.spent + state.reserved + worst > cap * (1.0 + ROUNDING)
        {
            if state.in_flight == 0 || state.spent + worst > cap * (1.0 + ROUNDING) {
                return Err(GenerateError::Budget { cap, spent: state.spent, worst });
            }
            return Ok(false);
        }
        state.reserved += worst;
        state.in_flight += 1;
        Ok(true)
    }

    fn settle(&self, worst: f64, cost: f64) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.reserved = if state.in_flight == 0 { 0.0 } else { (state.reserved - worst).max(0.0) };
        state.spent += cost;
        drop(state);
        self.freed.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Money set aside for one request on the wire.
///
/// Dropped before [`Reservation::sent`] it costs nothing. Dropped after it, unsettled, it counts as spent at its worst:
/// a reply that was lost on the way may well be on the bill.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    budget: Arc<Budget>,
    worst: f64,
    sent: bool,
    settled: bool,
    parent: Option<Box<Reservation>>,
}

impl Reservation {
    /// The request is on the wire from here on.
    pub fn sent(&mut self) {
        self.sent = true;
        if let Some(parent) = &mut self.parent {
            parent.sent();
        }
    }

    /// The server said what it cost: `cost` USD, zero for a request that it turned away.
    pub fn settle(mut self, cost: f64) {
        self.close(cost);
    }

    fn close(&mut self, cost: f64) {
        self.settled = true;
        self.budget.settle(self.worst, cost);
        if let Some(parent) = &mut self.parent {
            parent.close(cost);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.settled = true;
            self.budget.settle(self.worst, if self.sent { self.worst } else { 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_counts_cached_prompt_tokens_at_their_own_price() {
        let price = Price { input_per_million: 2.0, output_per_million: 8.0, cached_input_per_million: Some(0.5), batch_factor: Some(0.5) };
        let usage = Usage {
            prompt_tokens: Some(1_000_000),
            cached_prompt_tokens: Some(400_000),
            completion_tokens: Some(500_000),
            ..Usage::default()
        };
        assert!((price.cost(&usage) - (1.2 + 0.2 + 4.0)).abs() < 1e-12);
        assert!((price.batch().cost(&usage) - 2.7).abs() < 1e-12);
    }

    #[tokio::test]
    async fn the_cap_holds_whatever_happens_to_the_requests() {
        let teacher = Budget::new(Some(1.0), None);
        let run = Budget::new(None, Some(Arc::clone(&teacher)));
        let mut first = run.reserve(0.6).await.unwrap();
        first.sent();
        // A second one does not fit beside the first; it fits once the first came out cheap.
        let waiting = tokio::spawn({
            let run = Arc::clone(&run);
            async move { run.reserve(0.6).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        first.settle(0.1);
        waiting.await.unwrap().unwrap();
        assert!((teacher.spent() - 0.1).abs() < 1e-12 && (run.spent() - 0.1).abs() < 1e-12);
        // A lost reply counts at its worst.
        let mut lost = run.reserve(0.5).await.unwrap();
        lost.sent();
        drop(lost);
        assert!((teacher.spent() - 0.6).abs() < 1e-12);
        let error = run.reserve(0.5).await.unwrap_err();
        assert!(matches!(error, GenerateError::Budget { .. }), "{error}");
        assert!((teacher.committed() - 0.6).abs() < 1e-12 && (run.committed() - 0.6).abs() < 1e-12);
    }
}
