//! How many requests one server gets at once: additive increase, multiplicative decrease.
//!
//! A server that turns more than a tenth of the requests away (429) is cut back by a quarter, once per burst: requests
//! that were already on the wire when it was cut say nothing new. A server that queues without bound never turns anything away: for such a one
//! the latency speaks ([`super::queueing`]).
//!
//! After a cut the way back is halved each round (as in BIC congestion control), so that the level that was good is
//! found again quickly and tested gently. No clock is read here: callers pass the time.

use std::time::{Duration, Instant};

use super::queueing::{Advice, Queueing};

/// At the start requests are let out in steps, so that the first 429 arrives before thousands are on the wire.
const FIRST: usize = 128;
const STEP: Duration = Duration::from_millis(20);

/// The share of requests that a server may turn away without being cut: some do at random, whatever their load.
const AT_RANDOM: f64 = 0.1;

/// What is left after a cut.
const CUT: f64 = 0.75;

/// How the limit of a server that queues grows back.
const GENTLE: f64 = 1.1;

/// The limit of one server.
#[derive(Debug)]
pub(in crate::openai) struct Aimd {
    ceiling: usize,
    limit: f64,
    /// Time of the first request while the ramp runs.
    ramp: Option<Instant>,
    ramping: bool,
    last_cut: Option<Instant>,
    /// The level that was too much.
    too_much: f64,
    /// Successes since the limit last changed.
    good: usize,
    /// Requests turned away since then.
    refused: usize,
    queueing: Queueing,
}

impl Aimd {
    pub(in crate::openai) fn new(ceiling: usize) -> Self {
        Self {
            ceiling,
            limit: FIRST.min(ceiling) as f64,
            ramp: None,
            ramping: ceiling > FIRST,
            last_cut: None,
            too_much: f64::INFINITY,
            good: 0,
            refused: 0,
            queueing: Queueing::new(),
        }
    }

    /// How many requests may be in flight now.
    pub(in crate::openai) fn limit(&mut self, now: Instant) -> usize {
        if self.ramping {
            let began = *self.ramp.get_or_insert(now);
            let steps = (now.duration_since(began).as_millis() / STEP.as_millis()).min(40) as i32;
            self.limit = FIRST as f64 * 2f64.powi(steps);
            if self.limit >= self.ceiling as f64 {
                self.limit = self.ceiling as f64;
                self.ramping = false;
                self.queueing.restart(now);
            }
        }
        self.limit as usize
    }

    /// When [`Aimd::limit`] will next grow by itself.
    pub(in crate::openai) fn next_step(&self, now: Instant) -> Option<Instant> {
        self.ramping.then(|| now + STEP)
    }

    /// A request that was sent at `sent` was answered with so many tokens; `in_flight` counts it still.
    pub(in crate::openai) fn succeeded(&mut self, sent: Instant, now: Instant, tokens: u32, in_flight: usize) {
        self.good += 1;
        if self.ramping {
            return;
        }
        if (in_flight as f64) < self.limit * 0.9 {
            // Whoever asks has no more to ask: neither latency nor rate says anything about the limit.
            return self.queueing.restart(now);
        }
        let advice = self.queueing.answered(sent, now, tokens, self.limit);
        let grown = match advice {
            Some(Advice::Try(limit) | Advice::Back(limit)) => limit,
            Some(Advice::Calm) if self.queueing.engaged() => (self.limit * GENTLE).max(self.limit + 1.0),
            _ if self.queueing.engaged() => return,
            _ if self.good as f64 >= self.limit => self.limit + self.step(),
            _ => return,
        };
        let grown = grown.min(self.ceiling as f64);
        if grown != self.limit {
            self.set(grown, now);
        }
    }

    fn set(&mut self, limit: f64, now: Instant) {
        self.limit = limit;
        self.good = 0;
        self.refused = 0;
        self.queueing.restart(now);
    }

    /// Half the way to the level that was too much; beyond it a little more each time.
    fn step(&mut self) -> f64 {
        if self.limit + 1.0 < self.too_much {
            return ((self.too_much - self.limit) / 2.0).clamp(1.0, self.limit.max(4.0));
        }
        self.too_much = f64::INFINITY;
        (self.limit * 0.02).max(1.0)
    }

    /// A request that was sent at `sent` was turned away.
    pub(in crate::openai) fn turned_away(&mut self, sent: Instant, now: Instant, in_flight: usize) {
        if self.last_cut.is_some_and(|cut| sent <= cut) {
            return;
        }
        self.refused += 1;
        // Of those that came back, and those that may still.
        let all = self.refused + self.good + in_flight.saturating_sub(1);
        if self.refused as f64 > AT_RANDOM * all as f64 {
            self.cut(now, in_flight);
        }
    }

    fn cut(&mut self, now: Instant, in_flight: usize) {
        let level = self.limit.min(in_flight.max(1) as f64);
        self.too_much = level;
        self.ramping = false;
        self.last_cut = Some(now);
        self.queueing.abandon(now);
        self.set((level * CUT).floor().max(1.0), now);
    }
}

#[cfg(test)]
#[path = "aimd_tests.rs"]
mod tests;
