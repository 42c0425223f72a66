//! Writes a part of each kind of rows into a folder: `cargo run -p potstill-data --example write_rows -- FOLDER`.
//!
//! `tests/reference/load_rows.py` loads them with pyarrow and HF `datasets`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::error::Error;
use std::path::PathBuf;

use potstill_data::{Attempt, Message, Meta, MetaFields, Problem, Row, RowWriter, Sample, SampleKind, Scalar, Verdict};

fn write<R: Row>(folder: &std::path::Path, rows: &[R]) -> Result<(), Box<dyn Error>> {
    let meta = MetaFields::of_rows(rows.iter().map(Row::meta));
    let mut writer = RowWriter::create(&folder.join(format!("{}.parquet", R::NAME)), &meta)?;
    rows.iter().try_for_each(|row| writer.push(row))?;
    writer.finish()?;
    Ok(())
}

fn problem(number: i64) -> Problem {
    Problem {
        problem_id: format!("p{number}"),
        source: "example".to_owned(),
        domain: (number % 2 == 0).then(|| "arithmetic".to_owned()),
        prompt: format!("What is {number} + {number}? Ω≈ç√"),
        gold: Some((2 * number).to_string()),
        tests: Some(format!("{{\"numbers\":[{number},{number}],\"target\":{}}}", 2 * number)),
        verifier: Some("number".to_owned()),
        meta: Meta::from([
            ("level".to_owned(), Scalar::Int(number)),
            ("score".to_owned(), Scalar::Float(number as f64 / 8.0)),
            ("easy".to_owned(), Scalar::Bool(number < 5)),
        ]),
    }
}

fn attempt(number: i64) -> Attempt {
    Attempt {
        problem: problem(number),
        sample_index: 1,
        teacher: "procedural".to_owned(),
        reasoning: Some("add them".to_owned()),
        response: format!("#### {}", 2 * number),
        finish_reason: "stop".to_owned(),
        completion_tokens: Some(7),
        verdict: Some(Verdict::Correct),
        ..Attempt::default()
    }
}

fn sample(number: i64) -> Sample {
    let answer = Message { reasoning: Some("add them".to_owned()), ..Message::new("assistant", (2 * number).to_string()) };
    Sample {
        sample_id: format!("s{number}"),
        problem_id: format!("p{number}"),
        source: "example".to_owned(),
        messages: vec![Message::new("user", problem(number).prompt), answer],
        kind: SampleKind::Shortcut,
        weight: 1.0,
        loss_spans: Vec::new(),
        lineage: vec![format!("p{number}#1")],
        meta: Meta::new(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("which folder?")?);
    std::fs::create_dir_all(&folder)?;
    write(&folder, &(0..10).map(problem).collect::<Vec<_>>())?;
    write(&folder, &(0..10).map(attempt).collect::<Vec<_>>())?;
    write(&folder, &(0..10).map(sample).collect::<Vec<_>>())
}
