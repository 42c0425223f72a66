//! A server that fails again and again is left alone for a while, then tried with one request.

use std::time::{Duration, Instant};

/// This many failures in a row, without a reply between them, open the breaker.
const FAILURES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The state of one server.
#[derive(Debug, Default)]
pub(in crate::openai) struct Breaker {
    failures: u32,
    pause: Option<Duration>,
    open_until: Option<Instant>,
    /// Since when nothing but failures came back.
    failing_since: Option<Instant>,
    ever_answered: bool,
    last_fault: String,
}

impl Breaker {
    /// How many requests may be in flight: all, one to try, or none.
    pub(in crate::openai) fn room(&self, now: Instant) -> Room {
        match (self.open_until, self.pause) {
            (Some(until), _) if until > now => Room::None,
            (_, Some(_)) => Room::One,
            _ => Room::All,
        }
    }

    pub(in crate::openai) fn reopens(&self) -> Option<Instant> {
        self.open_until
    }

    pub(in crate::openai) fn succeeded(&mut self) {
        *self = Self { ever_answered: true, ..Self::default() };
    }

    /// A request sent at `sent` failed. Those sent before the breaker opened say nothing new.
    pub(in crate::openai) fn failed(&mut self, sent: Instant, now: Instant, fault: &str) {
        self.failing_since.get_or_insert(sent);
        self.failures += 1;
        fault.clone_into(&mut self.last_fault);
        let probing = self.pause.is_some() && self.open_until.is_some_and(|until| sent >= until);
        if probing || (self.pause.is_none() && self.failures >= FAILURES) {
            let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
            self.pause = Some(pause);
            self.open_until = Some(now + pause);
        }
    }

    /// For how long the server has been down, and its last fault; `None` while it is up. A server that never answered
    /// counts as down twenty times as fast: that is a mistake in the settings more often than a restart.
    pub(in crate::openai) fn down(&self, now: Instant) -> Option<(Duration, &str)> {
        self.pause?;
        let down = now.duration_since(self.failing_since?);
        Some((if self.ever_answered { down } else { down * 20 }, &self.last_fault))
    }
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::openai) enum Room {
    All,
    One,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_tries_and_closes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES - 1 {
            breaker.failed(at(0), at(1), "refused");
        }
        assert_eq!(breaker.room(at(1)), Room::All);
        breaker.failed(at(0), at(1), "refused");
        assert_eq!(breaker.room(at(2)), Room::None);
        assert_eq!(breaker.room(at(501)), Room::One);
        // The trial fails: a pause twice as long. A straggler from before changes nothing.
        breaker.failed(at(502), at(510), "refused");
        breaker.failed(at(0), at(511), "refused");
        assert_eq!(breaker.room(at(1509)), Room::None);
        assert_eq!(breaker.room(at(1510)), Room::One);
        assert_eq!(breaker.down(at(1000)), Some((Duration::from_secs(20), "refused")));
        breaker.succeeded();
        assert_eq!(breaker.room(at(1511)), Room::All);
        assert_eq!(breaker.down(at(5000)), None);
    }
}
