//! How many requests one server gets at once: additive increase, multiplicative decrease.
//!
//! Two signals. A server that turns requests away (429) is cut back by a quarter, once per burst: requests that were
//! already on the wire when it was cut say nothing new. A server that queues without bound never turns anything away
//! (vllm#13395), so a median latency several times that of the quick replies seen cuts as well, on trial: if fewer
//! replies per second come back then, it was no queue, the cut is undone, and more is tolerated from then on.
//!
//! After a cut the way back is halved each round (as in BIC congestion control), so that the level that was good is
//! found again quickly and tested gently. No clock is read here: callers pass the time.

use std::time::{Duration, Instant};

/// At the start requests are let out in steps, so that the first 429 arrives before thousands are on the wire.
const FIRST: usize = 64;
const STEP: Duration = Duration::from_millis(20);

/// What is left after a cut.
const CUT: f64 = 0.75;

/// A median latency this many times that of quick replies may be queueing …
const TOLERANCE: f64 = 3.0;
/// … if a cut keeps this share of the replies per second; otherwise the tolerance doubles.
const KEPT: f64 = 0.9;

/// The fewest replies whose median says something.
const WINDOW: usize = 48;

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
    /// Latencies of replies to requests sent since the window began.
    window: Vec<f64>,
    window_began: Option<Instant>,
    /// Replies since then, also to older requests.
    replies: usize,
    /// The latency of a quick reply: the lowest tenth percentile of a window.
    quick: f64,
    tolerance: f64,
    trial: Option<Trial>,
}

/// A cut for latency whose worth is not known yet: the limit and the replies per second before it.
#[derive(Debug, Clone, Copy)]
struct Trial {
    limit: f64,
    rate: f64,
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
            window: Vec::new(),
            window_began: None,
            replies: 0,
            quick: f64::INFINITY,
            tolerance: TOLERANCE,
            trial: None,
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

    /// A request that was sent at `sent` was answered; `in_flight` counts it still.
    pub(in crate::openai) fn succeeded(&mut self, sent: Instant, now: Instant, in_flight: usize) {
        self.good += 1;
        let full = in_flight as f64 >= self.limit * 0.9;
        if !self.ramping && full && self.good as f64 >= self.limit && self.limit < self.ceiling as f64 {
            self.good = 0;
            self.limit = (self.limit + self.step()).min(self.ceiling as f64);
        }
        self.observe(sent, now);
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
        self.trial = None;
        self.cut(now, in_flight);
    }

    fn cut(&mut self, now: Instant, in_flight: usize) {
        let level = self.limit.min(in_flight.max(1) as f64);
        self.too_much = level;
        self.limit = (level * CUT).floor().max(1.0);
        self.ramping = false;
        self.last_cut = Some(now);
        self.good = 0;
        self.begin_window(now);
    }

    fn begin_window(&mut self, now: Instant) {
        self.window.clear();
        self.window_began = Some(now);
        self.replies = 0;
    }

    fn observe(&mut self, sent: Instant, now: Instant) {
        self.replies += 1;
        let began = *self.window_began.get_or_insert(sent);
        if sent < began {
            return;
        }
        self.window.push(now.duration_since(sent).as_secs_f64());
        if self.window.len() < WINDOW.max(self.limit as usize) {
            return;
        }
        let rate = self.replies as f64 / now.duration_since(began).as_secs_f64().max(1e-6);
        self.window.sort_unstable_by(f64::total_cmp);
        let (quick, median) = (self.window[self.window.len() / 10], self.window[self.window.len() / 2]);
        // Replies of another kind may simply take longer: the best fades.
        self.quick = quick.min(self.quick * 1.02);
        self.begin_window(now);
        self.judge(median, rate, now);
    }

    /// Ends a trial, or begins one.
    fn judge(&mut self, median: f64, rate: f64, now: Instant) {
        if let Some(trial) = self.trial.take()
            && rate < trial.rate * KEPT
        {
            self.limit = trial.limit;
            self.tolerance *= 2.0;
        } else if median > self.quick * self.tolerance && self.limit >= 2.0 {
            self.trial = Some(Trial { limit: self.limit, rate });
            self.cut(now, self.limit as usize);
            // The way back is not to be hurried: it leads into the queue again.
            self.too_much = f64::INFINITY;
        }
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
                    aimd.succeeded(sent, now, flying.len());
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

    #[test]
    fn a_server_that_only_queues_is_not_flooded() {
        // 32 places; whatever is beyond waits for its turn.
        let serve = |accepted: usize| Ok(Duration::from_millis(200) * u32::try_from(accepted / 32 + 1).unwrap());
        let (limits, _) = simulate(1024, 60, serve);
        let late = limits[40_000..].iter().sum::<usize>() / limits[40_000..].len();
        assert!((32..512).contains(&late), "{late}");
    }

    #[test]
    fn replies_of_very_different_lengths_are_no_queue() {
        let count = std::cell::Cell::new(0u32);
        let (limits, _) = simulate(256, 60, |_| {
            count.set(count.get() + 1);
            Ok(Duration::from_millis([50, 100, 800, 1600, 3200][count.get() as usize % 5]))
        });
        let late = limits[40_000..].iter().sum::<usize>() / limits[40_000..].len();
        assert!(late > 230, "{late}");
    }
}
