//! What curation costs: `cargo run --release -p potstill-curate --example bench_curate -- [dedup|decontaminate|filters|sets] [rows]`.
//!
//! Texts are made up from a seed (words of a Zipf-like vocabulary), so that the truth is known. Time is processor time
//! of this process (Linux), so that other work on the machine does not count.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints its figures and reads its arguments"
)]

use std::collections::HashSet;

use potstill_curate::dedup::dedup;
use potstill_curate::shingles::shingles;
use potstill_curate::{DedupConfig, dedup::On};
use potstill_data::{Attempt, Problem};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_else(|| "all".into());
    let rows = args.next().and_then(|n| n.parse().ok());
    if what == "dedup" || what == "all" {
        bench_dedup(rows.unwrap_or(200_000));
    }
}

/// Processor seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    stat.split_whitespace()
        .next()
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1e9
}

/// The most memory that this process has held, in MB.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

/// A vocabulary of 30,000 made-up words; low numbers are drawn more often.
struct Prose {
    words: Vec<String>,
    rng: StdRng,
}

impl Prose {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let word = |rng: &mut StdRng| {
            (0..rng.random_range(2..9))
                .map(|_| char::from(rng.random_range(b'a'..=b'z')))
                .collect()
        };
        Self {
            words: (0..30_000).map(|_| word(&mut rng)).collect(),
            rng,
        }
    }

    fn word(&mut self) -> String {
        let u: f64 = self.rng.random();
        self.words[(self.words.len() as f64 * u * u * u) as usize].clone()
    }

    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 10);
        while text.len() < bytes {
            text.push_str(&self.word());
            text.push(' ');
        }
        text
    }

    fn copy(&mut self, text: &str, rate: f64) -> String {
        let words = text.split(' ').map(|w| {
            if self.rng.random_bool(rate) {
                self.word()
            } else {
                w.to_owned()
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

fn attempt(id: usize, prompt: &str, response: String) -> Attempt {
    let problem = Problem {
        problem_id: format!("p{id}"),
        source: "bench".into(),
        prompt: prompt.into(),
        ..Problem::default()
    };
    Attempt {
        problem,
        response,
        finish_reason: "stop".into(),
        ..Attempt::default()
    }
}

fn jaccard(a: &str, b: &str, n: usize) -> f64 {
    let set = |text: &str| {
        let mut grams = Vec::new();
        shingles(text, n, &mut grams);
        grams.into_iter().collect::<HashSet<u64>>()
    };
    let (a, b) = (set(a), set(b));
    let common = a.intersection(&b).count();
    common as f64 / (a.len() + b.len() - common) as f64
}

/// Texts of 1.5 KB, every fifth a copy of another with words replaced at a rate of 0 to 12 %.
fn bench_dedup(count: usize) {
    let mut prose = Prose::new(1);
    let mut rows: Vec<Attempt> = Vec::with_capacity(count);
    let mut copy_of = vec![None; count];
    for (n, source) in copy_of.iter_mut().enumerate() {
        let text = if n % 5 == 4 {
            // A text that is no copy itself, and copied once at most.
            let original = n - 1 - n % 4;
            let rate = prose.rng.random_range(0.0..0.12);
            *source = Some(original);
            prose.copy(&rows[original].response, rate)
        } else {
            prose.text(1500)
        };
        rows.push(attempt(n, "", text));
    }
    let config = DedupConfig {
        on: On::Response,
        ..DedupConfig::default()
    };
    let (before, base) = (cpu_seconds(), peak_mb());
    let found = dedup(&rows, &config).unwrap();
    let spent = cpu_seconds() - before;
    let (mut near, mut hit, mut right) = (0, 0, 0);
    for (n, original) in copy_of.iter().enumerate() {
        let dropped = !found.decisions.keeps(n);
        if let Some(original) = original {
            let j = jaccard(
                &rows[n].response,
                &rows[*original].response,
                config.ngram as usize,
            );
            near += usize::from(j >= config.threshold);
            hit += usize::from(
                j >= config.threshold && (dropped || !found.decisions.keeps(*original)),
            );
            right += usize::from(j >= config.threshold && dropped);
        }
    }
    let dropped = count - found.decisions.kept();
    println!(
        "dedup: {count} texts, {:.1} MB: {:.0} texts per CPU second, recall {:.4} ({hit} of {near}), precision {:.4} ({right} of {dropped}), \
         {} pairs verified, peak {} MB ({base} MB before)",
        rows.iter().map(|r| r.response.len()).sum::<usize>() as f64 / 1e6,
        count as f64 / spent,
        hit as f64 / near.max(1) as f64,
        right as f64 / dropped.max(1) as f64,
        found.verified,
        peak_mb(),
    );
}
