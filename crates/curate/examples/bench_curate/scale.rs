//! Sets that do not fit in memory, as Parquet.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use potstill_curate::shingles::similarity;
use potstill_data::parts::BatchReader;
use potstill_data::sql::RowFilter;
use potstill_data::{Attempt, MetaFields, Row, RowWriter, Scalar, ScalarKind, Verdict};

use crate::prose::{Prose, attempt, contaminated, near_duplicates};
use crate::{cpu_seconds, peak_mb};
use rand::Rng;

/// Attempts of a problem.
const SAMPLES: usize = 4;

/// Graded attempts, four to a problem: two thirds correct, 3 % cut off, 2 % ending in a loop, and every tenth problem a
/// near-copy of the one before.
pub(crate) fn write_attempts(path: &Path, rows: usize, bytes: usize) {
    let mut prose = Prose::new(3);
    let mut out = RowWriter::<Attempt>::create(path, &MetaFields::none()).unwrap();
    let mut prompt = String::new();
    for n in 0..rows {
        if n % SAMPLES == 0 {
            prompt = if n / SAMPLES % 10 == 9 { prose.copy(&prompt, 0.02) } else { prose.text(300) };
        }
        let correct = prose.rng.random_bool(2.0 / 3.0);
        let mut row = attempt(n / SAMPLES, &prompt, format!("So the answer is \\boxed{{{}}}.", if correct { 14 } else { 15 }));
        let mut thought = prose.text(bytes.saturating_sub(400));
        if prose.rng.random_bool(0.02) {
            thought.push_str(&"Wait, let me check that once more. ".repeat(12));
        }
        row.reasoning = Some(thought);
        row.sample_index = (n % SAMPLES) as u32;
        row.problem.gold = Some("14".into());
        row.problem.domain = Some(["algebra", "geometry", "number theory"][n / SAMPLES % 3].into());
        row.teacher = "teacher".into();
        row.truncated = prose.rng.random_bool(0.03);
        row.completion_tokens = Some(prose.rng.random_range(200..8000));
        row.verdict = Some(if correct { Verdict::Correct } else { Verdict::Incorrect });
        out.push(&row).unwrap();
    }
    let summary = out.finish().unwrap();
    println!("{rows} attempts, {} MB on disk", summary.bytes >> 20);
}

/// `WHERE` and statistics by group over a file of attempts; only the columns that are needed are read.
pub(crate) fn bench_filter(path: &Path) {
    let (began, before) = (Instant::now(), cpu_seconds());
    let condition =
        RowFilter::new("verdict = 'correct' AND NOT truncated AND completion_tokens < 6000", &Attempt::schema(&MetaFields::none()))
            .unwrap();
    let mut columns = condition.columns();
    columns.push("domain".to_owned());
    let mut groups: BTreeMap<String, (u64, u64, u32)> = BTreeMap::new();
    let mut rows = 0;
    for located in BatchReader::open(&[path]).unwrap().with_columns(&columns) {
        let batch = located.unwrap().batch;
        rows += batch.num_rows();
        let mask = condition.mask(&batch).unwrap();
        let domains = batch.column_by_name("domain").unwrap().as_string::<i32>();
        let tokens = batch.column_by_name("completion_tokens").unwrap().as_primitive::<UInt32Type>();
        for row in mask.values().set_indices() {
            let domain = domains.value(row);
            if !groups.contains_key(domain) {
                groups.insert(domain.to_owned(), (0, 0, 0));
            }
            let (count, sum, most) = groups.get_mut(domain).unwrap();
            (*count, *sum, *most) = (*count + 1, *sum + u64::from(tokens.value(row)), (*most).max(tokens.value(row)));
        }
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - before);
    for (domain, (count, sum, most)) in &groups {
        println!("  {domain}: {count} rows, mean {:.1}, max {most}", *sum as f64 / *count as f64);
    }
    println!(
        "filter + statistics: {rows} rows, {:.0} rows/s of wall time, {:.0} rows per CPU second, peak {} MB",
        rows as f64 / wall,
        rows as f64 / cpu,
        peak_mb()
    );
}

/// The texts of the benches `dedup` and `decontaminate`, with their truth in `meta`.
pub(crate) fn write_for_peers(folder: &Path, texts: usize, traces: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let mut meta = MetaFields::none();
    meta.add("original", ScalarKind::Int);
    meta.add("jaccard", ScalarKind::Float);
    let (rows, copy_of) = near_duplicates(texts);
    let mut out = RowWriter::<Attempt>::create(&folder.join("texts.parquet"), &meta).unwrap();
    for (row, original) in rows.iter().zip(copy_of) {
        let mut row = row.clone();
        if let Some(original) = original {
            let found = similarity(&row.response, &rows[original].response, 5);
            row.problem.meta.insert("original".into(), Scalar::Int(original as i64));
            row.problem.meta.insert("jaccard".into(), Scalar::Float(found));
        }
        out.push(&row).unwrap();
    }
    out.finish().unwrap();
    let (questions, rows) = contaminated(traces);
    let mut out = RowWriter::<Attempt>::create(&folder.join("traces.parquet"), &MetaFields::none()).unwrap();
    rows.iter().for_each(|row| out.push(row).unwrap());
    out.finish().unwrap();
    let mut out = RowWriter::<Attempt>::create(&folder.join("questions.parquet"), &MetaFields::none()).unwrap();
    questions.iter().enumerate().for_each(|(n, text)| out.push(&attempt(n, text, String::new())).unwrap());
    out.finish().unwrap();
}
