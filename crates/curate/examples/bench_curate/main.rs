//! What curation costs: `cargo run --release -p potstill-curate --example bench_curate -- [dedup|decontaminate|checks|sets] [rows]`.
//!
//! Texts are made up from a seed (words of a Zipf-like vocabulary, every third a function word), so that the truth is
//! known. Time is processor time of this process with all its threads (Linux), so that other work on the machine does not
//! count.
//!
//! Further commands: `attempts FILE [rows] [bytes]` writes graded attempts as Parquet, for the whole graph and for
//! `filter FILE`, which filters and sums them up; `peers FOLDER` writes the texts of the first two benches, for
//! `tests/reference/curation_peers.py`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark prints its figures and reads its arguments")]

use potstill_curate::decontaminate::Index;
use potstill_curate::dedup::{On, dedup};
use potstill_curate::shingles::similarity;
use potstill_curate::{
    Checks, ChecksConfig, DecontaminateConfig, Decontaminator, DedupConfig, PerProblem, PerProblemConfig, SelectConfig, Selector,
    SplitConfig, Splitter,
};
use potstill_data::{Attempt, Verdict};

mod prose;
mod scale;

use prose::{Prose, attempt};

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_else(|| "all".into());
    if let "attempts" | "filter" | "peers" = what.as_str() {
        let path = std::path::PathBuf::from(args.next().expect("a path"));
        let mut number = |default| args.next().map_or(default, |n| n.parse().unwrap());
        match what.as_str() {
            "attempts" => scale::write_attempts(&path, number(1_000_000), number(4096)),
            "filter" => scale::bench_filter(&path),
            _ => scale::write_for_peers(&path, number(200_000), number(50_000)),
        }
        return;
    }
    let rows = args.next().and_then(|n| n.parse().ok());
    let benches: [(&str, usize, fn(usize)); 4] = [
        ("dedup", 200_000, bench_dedup),
        ("decontaminate", 50_000, bench_decontaminate),
        ("checks", 50_000, bench_checks),
        ("sets", 1_000_000, bench_sets),
    ];
    for (_, count, bench) in benches.iter().filter(|(name, ..)| what == *name || what == "all") {
        bench(rows.unwrap_or(*count));
    }
}

/// Processor seconds of this process so far, all threads together.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// The most memory that this process has held, in MB.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Texts of 1.5 KB, every fifth a copy of another with words replaced at a rate of 0 to 12 %.
fn bench_dedup(count: usize) {
    let (rows, copy_of) = prose::near_duplicates(count);
    let config = DedupConfig { on: On::Response, ..DedupConfig::default() };
    let (before, base) = (cpu_seconds(), peak_mb());
    let found = dedup(&rows, &config).unwrap();
    let spent = cpu_seconds() - before;
    let (mut near, mut hit, mut right) = (0, 0, 0);
    for (n, original) in copy_of.iter().enumerate() {
        let dropped = !found.decisions.keeps(n);
        if let Some(original) = original {
            let j = similarity(&rows[n].response, &rows[*original].response, config.ngram as usize);
            near += usize::from(j >= config.threshold);
            hit += usize::from(j >= config.threshold && (dropped || !found.decisions.keeps(*original)));
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

/// 1,819 questions of 60 words with numbers, and traces of 1.8 KB: a tenth of them hold a question in their middle, a
/// tenth hold one in which every number is another.
fn bench_decontaminate(count: usize) {
    let (questions, rows) = prose::contaminated(count);
    let mut index = Index::new(&DecontaminateConfig::default()).unwrap();
    for (n, text) in questions.iter().enumerate() {
        index.add("bench", &n.to_string(), text);
    }
    let (before, base) = (cpu_seconds(), peak_mb());
    let mut pass = Decontaminator::new(&index);
    rows.iter().for_each(|row| pass.observe(row));
    let found = pass.finish();
    let spent = cpu_seconds() - before;
    let hit = (0..count).step_by(10).filter(|n| !found.decisions.keeps(*n)).count();
    let dropped = count - found.decisions.kept();
    println!(
        "decontaminate: {count} traces, {:.1} MB, {} questions: {:.0} traces per CPU second, recall {:.4}, {} false, peak {} MB ({base} MB before)",
        megabytes(&rows),
        index.len(),
        count as f64 / spent,
        hit as f64 / count.div_ceil(10) as f64,
        dropped - hit,
        peak_mb(),
    );
}

fn megabytes(rows: &[Attempt]) -> f64 {
    rows.iter().map(|r| r.response.len() + r.problem.prompt.len()).sum::<usize>() as f64 / 1e6
}

/// All checks over replies of 1.8 KB.
fn bench_checks(count: usize) {
    let mut prose = Prose::new(3);
    let rows: Vec<Attempt> = (0..count).map(|n| attempt(n, &prose.text(200), prose.text(1800))).collect();
    let every = ChecksConfig {
        empty: true,
        truncated: true,
        loops: true,
        one_language: true,
        leaked_answer: true,
        refusals: true,
        ..ChecksConfig::default()
    };
    let languages_off = ChecksConfig { one_language: false, ..every.clone() };
    for (name, config) in [("all checks", every), ("all but one_language", languages_off)] {
        let checks = Checks::new(&config, None).unwrap();
        let before = cpu_seconds();
        let kept = rows.iter().filter(|row| checks.decide(*row).is_keep()).count();
        let spent = cpu_seconds() - before;
        println!("{name}: {count} replies, {:.1} MB: {:.0} replies per CPU second, {kept} kept", megabytes(&rows), count as f64 / spent);
    }
}

/// The passes over keys: best per problem, selection, split, over short rows (what they cost does not depend on length).
fn bench_sets(count: usize) {
    let rows: Vec<Attempt> = (0..count)
        .map(|n| {
            let mut row = attempt(n / 8, &format!("What is {}?", n / 8), "\\boxed{14}".into());
            row.sample_index = (n % 8) as u32;
            row.completion_tokens = Some((n as u32).wrapping_mul(2_654_435_761) % 5000);
            row.verdict = Some(if n % 3 == 0 { Verdict::Correct } else { Verdict::Incorrect });
            row
        })
        .collect();
    let base = peak_mb();
    let report = |name: &str, before: f64, kept: usize| {
        let spent = cpu_seconds() - before;
        println!(
            "{name}: {count} rows: {:.0} rows per CPU second, {kept} kept, peak {} MB ({base} MB before)",
            count as f64 / spent,
            peak_mb()
        );
    };
    let before = cpu_seconds();
    let best = PerProblemConfig { keep: 1, order_by: Some("completion_tokens".into()) };
    let mut pass = PerProblem::new::<Attempt>(&best, None).unwrap();
    rows.iter().for_each(|row| pass.observe(row));
    report("per_problem", before, pass.finish().kept());
    let before = cpu_seconds();
    let mut pass = Splitter::new(&SplitConfig { test: 0.1, validation: 0.0 }, 1).unwrap();
    rows.iter().for_each(|row| pass.observe(row));
    report("split", before, pass.finish().unwrap().rows(potstill_curate::split::Part::Train).len());
    let before = cpu_seconds();
    let mut pass = Selector::new(&SelectConfig { count: Some(count as u64 / 10), ..SelectConfig::default() }, 1).unwrap();
    rows.iter().for_each(|row| pass.observe(row));
    report("select", before, pass.finish().unwrap().kept());
}
