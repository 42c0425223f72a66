//! Requests that wait inside a server: what a server that queues without bound never says (vllm#13395).
//!
//! The signal is latency per token: its mean over a window, held against the least mean of any small group of replies
//! (as TCP Vegas and Netflix's Gradient2 hold the round trip against its minimum). Two times the minimum means that half
//! of what is in flight only waits, or that the server got slower. Which of the two it is shows when less is sent: the
//! rate of tokens stays if it was waiting, and falls if it was work. So a suspicion is tried, and only what holds is kept;
//! a suspicion that did not hold is tried again later and later, and a limit that was kept is tried from above. Latency alone would punish servers whose steps slow
//! down as the batch grows, though their throughput still rises.

use std::time::{Duration, Instant};

/// Replies of one group for the minimum: an eighth of the limit, within these bounds.
const GROUP: (f64, f64) = (16.0, 32.0);
/// Replies of a window: twice the limit, and so many at least, for chance to even out.
const WINDOW: f64 = 256.0;
/// Latency over the minimum that makes a suspicion, and that which lets the limit grow again.
const SUSPICIOUS: f64 = 2.0;
const CALM: f64 = 1.5;
/// What is left for a trial, and what is sent beyond the estimated capacity at least.
const TRIAL: f64 = 0.7;
const HEADROOM: f64 = 1.25;
/// The rate that must remain for a trial with less to hold; of the share added by one with more, half must arrive.
const SAME_RATE: f64 = 0.93;
const GAIN: f64 = 0.5;
/// Windows of a trial. One that falls short by this much more ends it at once.
const WINDOWS: u32 = 2;
const FAR_SHORT: f64 = 0.9;
/// Windows until a suspicion that did not hold may come up again, at first; doubled each time.
const REST: u32 = 8;
const LONGEST_REST: u32 = 64;

/// Sums of some replies.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: u32,
    tokens: f64,
    seconds: f64,
}

impl Sums {
    fn add(&mut self, tokens: f64, latency: Duration) {
        self.count += 1;
        self.tokens += tokens;
        self.seconds += latency.as_secs_f64();
    }

    fn per_token(&self) -> f64 {
        self.seconds / self.tokens
    }
}

/// What a whole window says about the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Advice {
    /// Go to this limit and see.
    Try(f64),
    /// The trial did not hold: back to this limit.
    Back(f64),
    /// Hardly anything waits: there is room.
    Calm,
    /// Enough is in flight.
    Stay,
}

/// Another limit, tried.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// The limit before it.
    from: f64,
    /// Tokens per second there.
    rate: f64,
    /// Those of the trial's windows so far, summed up.
    sum: f64,
    windows: u32,
}

impl Trial {
    /// The rate that this limit must bring.
    fn needed(&self, limit: f64) -> f64 {
        let more = limit / self.from - 1.0;
        self.rate * if more > 0.0 { 1.0 + more * GAIN } else { SAME_RATE }
    }
}

/// Watches one server.
#[derive(Debug)]
pub(super) struct Queueing {
    group: Sums,
    /// The least seconds per token of a group.
    floor: f64,
    /// Replies to requests that were sent before this say nothing about the limit as it is now.
    since: Option<Instant>,
    window: Sums,
    window_began: Option<Instant>,
    trial: Option<Trial>,
    /// Tokens per second at the present limit: the mean of the last windows.
    rate: Option<f64>,
    /// A trial held, so that the limit is this watcher's.
    engaged: bool,
    rest: u32,
    next_rest: u32,
}

impl Queueing {
    pub(super) fn new() -> Self {
        Self {
            group: Sums::default(),
            floor: f64::INFINITY,
            since: None,
            window: Sums::default(),
            window_began: None,
            trial: None,
            rate: None,
            engaged: false,
            rest: 0,
            next_rest: REST,
        }
    }

    /// Whether the limit is where it is because requests would wait inside the server, or may be.
    pub(super) fn engaged(&self) -> bool {
        self.engaged || self.trial.is_some()
    }

    /// The limit changed for another reason, or requests ran short: what was measured belongs to something else.
    pub(super) fn restart(&mut self, now: Instant) {
        self.since = Some(now);
        self.window = Sums::default();
        self.window_began = None;
    }

    /// The limit was cut for another reason: whatever was being tried is over.
    pub(super) fn abandon(&mut self, now: Instant) {
        self.trial = None;
        self.rate = None;
        self.engaged = false;
        self.restart(now);
    }

    /// A reply to a request sent at `sent`, of so many tokens, while the limit was used in full.
    pub(super) fn answered(&mut self, sent: Instant, now: Instant, tokens: u32, limit: f64) -> Option<Advice> {
        let (tokens, latency) = (f64::from(tokens.max(1)), now.duration_since(sent));
        self.group.add(tokens, latency);
        if f64::from(self.group.count) >= (limit / 8.0).clamp(GROUP.0, GROUP.1) {
            self.floor = self.floor.min(self.group.per_token());
            self.group = Sums::default();
        }
        if self.since.is_some_and(|since| sent < since) {
            return None;
        }
        // The reply that opens the window only starts its clock: the time before it is not measured.
        let Some(began) = self.window_began else {
            self.window_began = Some(now);
            return None;
        };
        self.window.add(tokens, latency);
        let mean = self.window.seconds / f64::from(self.window.count);
        let (enough, lasted) = (f64::from(self.window.count) >= (limit * 2.0).max(WINDOW), now.duration_since(began).as_secs_f64());
        if !enough || lasted < 2.0 * mean || self.floor.is_infinite() {
            return None;
        }
        let per_token = self.window.per_token();
        self.restart(now);
        // The next window goes on from here; only a changed limit has to settle first.
        self.since = None;
        Some(self.judge(per_token, limit))
    }

    fn judge(&mut self, per_token: f64, limit: f64) -> Advice {
        // Little's law: replies come in clumps, so that counting them by the clock would be off by a clump.
        let rate = limit / per_token;
        if let Some(mut trial) = self.trial.take() {
            trial.sum += rate;
            trial.windows += 1;
            let (mean, needed) = (trial.sum / f64::from(trial.windows), trial.needed(limit));
            if rate < needed * FAR_SHORT || (trial.windows == WINDOWS && mean < needed) {
                self.rest = self.next_rest;
                self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
                self.rate = Some(trial.rate);
                return Advice::Back(trial.from);
            }
            if trial.windows < WINDOWS {
                self.trial = Some(trial);
                return Advice::Stay;
            }
            self.rate = Some(mean);
            if limit > trial.from {
                // More was done by more: what looked like waiting was work.
                self.floor = per_token;
            }
            self.engaged = true;
            self.next_rest = REST;
        }
        let rate = self.rate.map_or(rate, |before| (before + rate) / 2.0);
        self.rate = Some(rate);
        let ratio = per_token / self.floor;
        if ratio < CALM {
            return Advice::Calm;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return Advice::Stay;
        }
        let less = (limit * TRIAL).max(limit / ratio * HEADROOM).floor().max(1.0);
        let target = match () {
            () if ratio >= SUSPICIOUS && less < limit => less,
            // A group that was lucky, or a time that was better: does the suspicion still hold?
            () if self.engaged => (limit / TRIAL).ceil(),
            () => return Advice::Stay,
        };
        self.trial = Some(Trial { from: limit, rate, sum: 0.0, windows: 0 });
        Advice::Try(target)
    }
}
