//! Speed and memory of the `math` verifier on one core.
//!
//! `cargo run --release -p potstill-verify --example bench_math -- PAIRS.parquet [GOLD PREDICTION]`
//!
//! Prints pairs per second of processor time and the spread of one pair's wall time, over the bare answers and over whole
//! replies; then the time and the resident memory of a million pairs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may fail and print")]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use potstill_verify::{Case, Verdict, Verifier, VerifyOptions, verifier};

const MILLION: usize = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, columns @ ..] = &arguments[..] else {
        println!("usage: bench_math PAIRS.parquet [GOLD PREDICTION]");
        return;
    };
    let column = |at: usize, default: &str| columns.get(at).map_or_else(|| default.to_owned(), Clone::clone);
    let pairs = pairs(Path::new(file), &column(0, "gold"), &column(1, "response"));
    let math = verifier("math", &VerifyOptions::default()).unwrap();
    // The first call compiles the patterns.
    let _ = judge(math.as_ref(), "1", "1");
    let answers: Vec<(String, String)> =
        pairs.iter().filter_map(|(gold, reply)| Some((gold.clone(), math.verify(&case(gold, reply)).extracted?))).collect();
    let bytes = pairs.iter().map(|(_, reply)| reply.len()).sum::<usize>() / pairs.len().max(1);
    measure(&format!("bare answers, {} pairs", answers.len()), math.as_ref(), &answers);
    measure(&format!("whole replies of {bytes} bytes, {} pairs", pairs.len()), math.as_ref(), &pairs);
    let before = resident();
    let started = cpu_seconds();
    let mut correct = 0_usize;
    for at in 0..MILLION {
        let (gold, prediction) = &answers[at % answers.len()];
        correct += usize::from(judge(math.as_ref(), gold, prediction) == Verdict::Correct);
        if (at + 1) % (MILLION / 4) == 0 {
            println!("  {:>9} pairs: {} KiB resident", at + 1, resident());
        }
    }
    let seconds = cpu_seconds() - started;
    println!("a million pairs: {seconds:.1} s of processor time, {correct} correct, memory {before} KiB before, {} KiB after", resident());
}

fn case<'a>(gold: &'a str, response: &'a str) -> Case<'a> {
    Case { gold: Some(gold), response, ..Case::default() }
}

fn judge(math: &dyn Verifier, gold: &str, response: &str) -> Verdict {
    math.verify(&case(gold, response)).verdict
}

/// Times every pair, several times over; the spread is of single calls.
fn measure(name: &str, math: &dyn Verifier, pairs: &[(String, String)]) {
    let rounds = 20_000_usize.div_ceil(pairs.len().max(1));
    let mut times: Vec<(Duration, usize)> = Vec::with_capacity(rounds * pairs.len());
    let started = cpu_seconds();
    for _ in 0..rounds {
        for (at, (gold, prediction)) in pairs.iter().enumerate() {
            let start = Instant::now();
            let _ = judge(math, gold, prediction);
            times.push((start.elapsed(), at));
        }
    }
    let rate = times.len() as f64 / (cpu_seconds() - started).max(0.01);
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].0;
    let (worst, pair) = times[times.len() - 1];
    println!(
        "{name}: {rate:.0} pairs/s, one pair p50 {:?}, p99 {:?}, p99.9 {:?}, worst {worst:?} (gold {:.60})",
        at(0.5),
        at(0.99),
        at(0.999),
        pairs[pair].0
    );
}

/// Two text columns of a Parquet file.
fn pairs(file: &Path, gold: &str, prediction: &str) -> Vec<(String, String)> {
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let text = |field: Option<&Field>| match field {
        Some(Field::Str(text)) => text.clone(),
        Some(Field::Null) => String::new(),
        other => panic!("not a text column: {other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let columns: std::collections::BTreeMap<String, Field> = row.unwrap().into_columns().into_iter().collect();
        (text(columns.get(gold)), text(columns.get(prediction)))
    });
    rows.collect()
}

/// Processor time of this process so far, in seconds; 0 where the system does not say. Linux counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Resident memory of this process in KiB, 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
