//! How many requests one server gets at once: additive increase, multiplicative decrease.
//!
//! A server that turns requests away (429) is cut back by a quarter, once per burst: requests that were already on the
//! wire when it was cut say nothing new. A server that queues without bound never turns anything away (vllm#13395):
//! for such a one `max_concurrency` is the limit.
//!
//! After a cut the way back is halved each round (as in BIC congestion control), so that the level that was good is
//! found again quickly and tested gently. No clock is read here: callers pass the time.

use std::time::{Duration, Instant};

/// At the start requests are let out in steps, so that the first 429 arrives before thousands are on the wire.
const FIRST: usize = 64;
const STEP: Duration = Duration::from_millis(20);

/// What is left after a cut.
const CUT: f64 = 0.75;

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
            }
        }
        self.limit as usize
    }

    /// When [`Aimd::limit`] will next grow by itself.
    pub(in crate::openai) fn next_step(&self, now: Instant) -> Option<Instant> {
        self.ramping.then(|| now + STEP)
    }

    /// A request was answered; `in_flight` counts it still.
    pub(in crate::openai) fn succeeded(&mut self, in_flight: usize) {
        self.good += 1;
        let full = in_flight as f64 >= self.limit * 0.9;
        if !self.ramping && full && self.good as f64 >= self.limit && self.limit < self.ceiling as f64 {
            self.good = 0;
            self.limit = (self.limit + self.step()).min(self.ceiling as f64);
        }
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
        self.cut(now, in_flight);
    }

    fn cut(&mut self, now: Instant, in_flight: usize) {
        let level = self.limit.min(in_flight.max(1) as f64);
        self.too_much = level;
        self.limit = (level * CUT).floor().max(1.0);
        self.ramping = false;
        self.last_cut = Some(now);
        self.good = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with `capacity` places that answers after `latency`, simulated in steps of a millisecond.
    fn simulate(ceiling: usize, seconds: u64, serve: impl Fn(usize) -> Result<Duration, ()>) -> (Vec<usize>, usize) {
        let start = Instant::now();
        let mut aimd = Aimd::new(ceiling);
        let mut flying: Vec<(Instant, Instant, bool)> = Vec::new();
        let (mut limits, mut answered) = (Vec::new(), 0);
        for ms in 0..seconds * 1000 {
            let now = start + Duration::from_millis(ms);
            let mut index = 0;
            while index < flying.len() {
                let (sent, back, good) = flying[index];
                if back > now {
                    index += 1;
                    continue;
                }
                if good {
                    answered += 1;
                    aimd.succeeded(flying.len());
                } else {
                    aimd.turned_away(sent, now, flying.len());
                }
                flying.swap_remove(index);
            }
            while flying.len() < aimd.limit(now) {
                let accepted = flying.iter().filter(|(.., good)| *good).count();
                let (latency, good) = serve(accepted).map_or((Duration::from_millis(2), false), |latency| (latency, true));
                flying.push((now, now + latency, good));
            }
            limits.push(aimd.limit(now));
        }
        (limits, answered)
    }

    #[test]
    fn a_server_that_takes_everything_is_at_its_ceiling_within_a_tenth_of_a_second() {
        let (limits, _) = simulate(256, 2, |_| Ok(Duration::from_millis(200)));
        assert_eq!(limits[100], 256);
        assert_eq!(limits.last(), Some(&256));
    }

    #[test]
    fn the_level_of_a_server_that_turns_away_is_found_and_kept() {
        let (_, answered) = simulate(256, 10, |accepted| if accepted < 128 { Ok(Duration::from_millis(200)) } else { Err(()) });
        let ideal = 128 * 5 * 10;
        assert!(answered * 100 >= ideal * 85, "{answered} of {ideal}");
    }
}
