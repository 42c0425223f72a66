//! Rows per second: writing, reading, filtering by SQL, statistics (`cargo bench -p potstill-data`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::PathBuf;
use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use potstill_data::parts::{BatchReader, BatchWriter, schema_of_parts};
use potstill_data::sql::{RowFilter, filter_parts};
use potstill_data::stats::describe;
use potstill_data::{Attempt, MetaFields, Problem, RowReader, RowWriter, Table, Verdict};

const ROWS: u32 = 200_000;

fn main() {
    divan::main();
}

/// A reply of `bytes` bytes that packs about as well as reasoning text does.
fn attempt(number: u32, bytes: usize) -> Attempt {
    const WORDS: [&str; 8] = ["so ", "the ", "answer ", "wait, ", "check ", "again ", "number ", "equals "];
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut response = String::with_capacity(bytes + 8);
    while response.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        response.push_str(WORDS[(state % 8) as usize]);
        if state.is_multiple_of(5) {
            response.push_str(&(state >> 40).to_string());
        }
    }
    Attempt {
        problem: Problem {
            problem_id: format!("problem-{}", number / 4),
            source: "bench".to_owned(),
            prompt: format!("What is {number} + {number}?"),
            gold: Some((2 * number).to_string()),
            ..Problem::default()
        },
        sample_index: number % 4,
        teacher: "procedural".to_owned(),
        response,
        finish_reason: "stop".to_owned(),
        truncated: number.is_multiple_of(10),
        completion_tokens: Some(number % 5000),
        verdict: Some(Verdict::ALL[(number % 3) as usize]),
        ..Attempt::default()
    }
}

/// Parts of [`ROWS`] rows with short or long replies, written once.
fn part(bytes: usize) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let path = folder.path().join(format!("{bytes}.parquet"));
    if !path.exists() {
        let mut writer = RowWriter::create(&path, &MetaFields::none()).unwrap();
        for number in 0..ROWS {
            writer.push(&attempt(number, bytes)).unwrap();
        }
        writer.finish().unwrap();
    }
    path
}

#[divan::bench(args = [100, 4000], sample_count = 3)]
fn write_rows(bencher: Bencher<'_, '_>, bytes: usize) {
    let rows: Vec<Attempt> = (0..20_000).map(|number| attempt(number, bytes)).collect();
    let folder = tempfile::tempdir().unwrap();
    bencher.counter(ItemsCount::new(rows.len())).bench(|| {
        let mut writer = RowWriter::create(&folder.path().join("a.parquet"), &MetaFields::none()).unwrap();
        rows.iter().try_for_each(|row| writer.push(row)).unwrap();
        writer.finish().unwrap()
    });
}

#[divan::bench(args = [100, 4000], sample_count = 3)]
fn read_rows(bencher: Bencher<'_, '_>, bytes: usize) {
    let path = part(bytes);
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench(|| RowReader::<Attempt>::open(&[&path]).unwrap().map(|row| row.unwrap().response.len()).sum::<usize>());
}

#[divan::bench(args = [100, 4000], sample_count = 3)]
fn mask_by_sql(bencher: Bencher<'_, '_>, bytes: usize) {
    let path = part(bytes);
    let filter = condition(&path);
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let batches = BatchReader::open(&[&path]).unwrap().with_columns(&filter.columns());
        batches.map(|located| filter.mask(&located.unwrap().batch).unwrap().true_count()).sum::<usize>()
    });
}

#[divan::bench(args = [100, 4000], sample_count = 3)]
fn filter_by_sql(bencher: Bencher<'_, '_>, bytes: usize) {
    let path = part(bytes);
    let filter = condition(&path);
    let schema = schema_of_parts::<Attempt, _>(&[&path]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let mut kept = BatchWriter::create(&folder.path().join("kept.parquet"), schema.clone()).unwrap();
        let mut dropped = BatchWriter::create(&folder.path().join("dropped.parquet"), schema.clone()).unwrap();
        filter_parts(&[&path], &filter, &mut kept, &mut dropped).unwrap();
        (kept.finish().unwrap(), dropped.finish().unwrap())
    });
}

#[divan::bench(args = [100, 4000], sample_count = 3)]
fn statistics(bencher: Bencher<'_, '_>, bytes: usize) {
    let path = part(bytes);
    bencher.counter(ItemsCount::new(ROWS)).bench(|| describe(Table::open(&path).unwrap().batches()).unwrap());
}

fn condition(path: &PathBuf) -> RowFilter {
    let schema = schema_of_parts::<Attempt, _>(&[path]).unwrap();
    RowFilter::new("verdict = 'correct' AND NOT truncated AND completion_tokens < 4096", &schema).unwrap()
}
