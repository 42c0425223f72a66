//! The limit against simulated servers, in steps of a millisecond.

use std::collections::BTreeMap;

use super::*;

/// A simulated server: what it says to a request of so many tokens while it has others in flight.
trait Server {
    /// When the reply is there, in milliseconds from now; `None` turns the request away.
    fn take(&mut self, now_ms: u64, in_flight: usize, tokens: u32) -> Option<u64>;
}

/// Places that each work on one request; what finds none waits without bound, or is turned away.
struct Places {
    free_at: Vec<u64>,
    ms_per_token: f64,
    refuses: bool,
    /// Places opened or closed, and how fast each works, from some moment on.
    later: Option<(u64, usize, f64)>,
}

impl Places {
    fn new(count: usize) -> Self {
        Self { free_at: vec![0; count], ms_per_token: 0.2, refuses: false, later: None }
    }
}

impl Server for Places {
    fn take(&mut self, now: u64, _: usize, tokens: u32) -> Option<u64> {
        if let Some((from, count, ms_per_token)) = self.later.filter(|(from, ..)| now >= *from) {
            self.later = None;
            self.free_at.sort_unstable();
            self.free_at.resize(count, from);
            self.ms_per_token = ms_per_token;
        }
        let first = self.free_at.iter_mut().min()?;
        if self.refuses && *first > now {
            return None;
        }
        *first = (*first).max(now) + (f64::from(tokens) * self.ms_per_token) as u64;
        Some(*first - now)
    }
}

/// A batch in which everybody is slowed down by everybody, and which serves all the more.
struct Batch;

impl Server for Batch {
    fn take(&mut self, _: u64, in_flight: usize, tokens: u32) -> Option<u64> {
        Some((f64::from(tokens) * 0.2 * (1.0 + in_flight as f64 / 200.0)) as u64)
    }
}

/// Room for all; how fast it works for one has nothing to do with how many there are.
struct Moody(u64);

impl Server for Moody {
    fn take(&mut self, _: u64, _: usize, tokens: u32) -> Option<u64> {
        self.0 += 1;
        Some((f64::from(tokens) * (0.05 + 0.6 * draw(self.0 << 20).powi(2))) as u64)
    }
}

/// Turns away one in twenty, whatever its load.
struct Whimsical(u64);

impl Server for Whimsical {
    fn take(&mut self, _: u64, _: usize, tokens: u32) -> Option<u64> {
        self.0 += 1;
        (draw(self.0 << 16) >= 0.05).then_some((f64::from(tokens) * 0.2) as u64)
    }
}

struct Run {
    limits: Vec<usize>,
    /// Tokens answered in each second.
    rates: Vec<f64>,
}

impl Run {
    /// Tokens a second over the last so many seconds.
    fn rate(&self, last: usize) -> f64 {
        self.rates[self.rates.len() - last..].iter().sum::<f64>() / last as f64
    }
}

/// A number from 0 to 1 for each number (the finaliser of splitmix64).
fn draw(number: u64) -> f64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Lengths between `least` and `most`, most of them short.
fn simulate(ceiling: usize, seconds: u64, server: &mut dyn Server, (least, most): (u32, u32)) -> Run {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut aimd = Aimd::new(ceiling);
    // Sent, back, tokens; by what comes back first.
    let mut flying: BTreeMap<(u64, u64), (u64, Option<u32>)> = BTreeMap::new();
    let mut run = Run { limits: Vec::new(), rates: vec![0.0; seconds as usize] };
    let mut number = 0u64;
    for now in 0..seconds * 1000 {
        loop {
            // As the router does: a place that is free is given away at once.
            while flying.len() < aimd.limit(at(now)) {
                number += 1;
                let tokens = least + (f64::from(most - least) * draw(number) * draw(number)) as u32;
                let (wait, tokens) = server.take(now, flying.len(), tokens).map_or((2, None), |wait| (wait.max(1), Some(tokens)));
                flying.insert((now + wait, number), (now, tokens));
            }
            let Some(first) = flying.first_entry().filter(|entry| entry.key().0 <= now) else { break };
            let (sent, tokens) = *first.get();
            let in_flight = flying.len();
            match tokens {
                Some(tokens) => {
                    run.rates[(now / 1000) as usize] += f64::from(tokens);
                    aimd.succeeded(at(sent), at(now), tokens, in_flight);
                }
                None => aimd.turned_away(at(sent), at(now), in_flight),
            }
            flying.pop_first();
        }
        run.limits.push(aimd.limit(at(now)));
    }
    run
}

const EVEN: (u32, u32) = (1000, 1000);
/// From short answers to long reasoning: the longest is forty times the shortest.
const VARIED: (u32, u32) = (200, 8000);

#[test]
fn a_server_that_takes_everything_is_at_its_ceiling_within_a_tenth_of_a_second() {
    let run = simulate(256, 2, &mut Places::new(4096), EVEN);
    assert_eq!(run.limits[100], 256);
    assert_eq!(run.limits.last(), Some(&256));
}

#[test]
fn the_level_of_a_server_that_turns_away_is_found_and_kept() {
    let run = simulate(256, 10, &mut Places { refuses: true, ..Places::new(128) }, EVEN);
    let ideal = 128.0 * 5.0 * 1000.0;
    assert!(run.rate(10) >= ideal * 0.85, "{} of {ideal}", run.rate(10));
}

#[test]
fn one_in_twenty_turned_away_at_random_is_no_limit() {
    let run = simulate(256, 20, &mut Whimsical(0), VARIED);
    let mean = run.limits.iter().sum::<usize>() as f64 / run.limits.len() as f64;
    assert!(mean >= 240.0, "{mean}");
}

#[test]
fn a_server_that_queues_without_bound_keeps_a_short_queue_and_stays_busy() {
    for (lengths, seconds) in [(EVEN, 60), (VARIED, 480)] {
        let run = simulate(1000, seconds, &mut Places::new(128), lengths);
        let ideal = 128.0 / 0.0002;
        let late = &run.limits[run.limits.len() / 2..];
        let mean = late.iter().sum::<usize>() as f64 / late.len() as f64;
        assert!((128.0..=320.0).contains(&mean), "{mean}");
        assert!(run.rate(20) >= ideal * 0.97, "{} of {ideal}", run.rate(20));
    }
}

#[test]
fn a_server_that_slows_down_as_it_serves_more_is_not_held_back() {
    for lengths in [EVEN, VARIED] {
        let run = simulate(512, 120, &mut Batch, lengths);
        let late = &run.limits[60_000..];
        let mean = late.iter().sum::<usize>() as f64 / late.len() as f64;
        assert!(mean >= 512.0 * 0.95, "{mean}");
    }
}

#[test]
fn chance_alone_takes_hardly_anything_away() {
    for (luck, (ceiling, lengths)) in [(8, VARIED), (64, VARIED), (512, VARIED), (64, EVEN)].into_iter().cycle().take(12).enumerate() {
        let run = simulate(ceiling, 600, &mut Moody(luck as u64 * 1_000_003), lengths);
        let mean = run.limits.iter().sum::<usize>() as f64 / run.limits.len() as f64;
        assert!(mean >= ceiling as f64 * 0.93, "{ceiling}: {mean}");
    }
}

#[test]
fn a_server_that_gets_slower_at_its_work_keeps_its_requests() {
    let mut server = Places { later: Some((40_000, 4096, 0.6)), ..Places::new(4096) };
    let run = simulate(256, 300, &mut server, VARIED);
    let late = &run.limits[100_000..];
    let mean = late.iter().sum::<usize>() as f64 / late.len() as f64;
    assert!(mean >= 256.0 * 0.93, "{mean}");
}

#[test]
fn places_that_open_later_are_used() {
    let mut server = Places { later: Some((60_000, 512, 0.2)), ..Places::new(64) };
    let run = simulate(1000, 300, &mut server, EVEN);
    let ideal = 512.0 / 0.0002;
    assert!(run.limits[59_000] <= 200 && run.rate(20) >= ideal * 0.95, "{} {}", run.limits[59_000], run.rate(20));
}
