//! The journal on a real disk: what is acknowledged stays, whatever happens to the file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use potstill_generate::Record;
use potstill_generate::journal::{Journal, RequestKey};

fn key(number: u64) -> RequestKey {
    RequestKey(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn record(number: u64) -> Record<'static> {
    Record::Raw { body: Cow::Owned(format!("reply {number} ").repeat(50).into_bytes()), latency_ms: number as u32 }
}

fn write(dir: &Path, numbers: std::ops::Range<u64>) {
    let journal = Journal::open(dir).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let appends = numbers.map(|number| {
            let journal = &journal;
            async move { journal.append(key(number), &record(number)).await.unwrap() }
        });
        futures::future::join_all(appends).await;
    });
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn check(dir: &Path, numbers: std::ops::Range<u64>) {
    let journal = Journal::open(dir).unwrap();
    for number in numbers {
        assert_eq!(journal.get(&key(number)).unwrap(), Some(record(number)), "{number}");
    }
}

#[test]
fn replies_come_back_after_reopening_and_one_file_is_written_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..100);
    write(dir.path(), 100..200);
    check(dir.path(), 0..200);
    assert_eq!(segments(dir.path()).len(), 1);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.stats().records, 200);
    assert_eq!(journal.get(&key(200)).unwrap(), None);
}

#[test]
fn a_torn_tail_at_any_byte_costs_only_the_last_reply() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..5);
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let mut lengths = vec![];
    for cut in (8..whole.len()).rev().step_by(7).chain([0, 1, 7, 8]) {
        fs::write(&path, &whole[..cut]).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let kept = journal.stats().records as u64;
        lengths.push(kept);
        for number in 0..kept {
            assert_eq!(journal.get(&key(number)).unwrap(), Some(record(number)));
        }
        drop(journal);
        // Writing on cuts the torn tail and loses nothing.
        write(dir.path(), kept..5);
        check(dir.path(), 0..5);
        assert_eq!(segments(dir.path()).len(), 1);
    }
    assert!((0..5).all(|count| lengths.contains(&count)), "{lengths:?}");
}

#[test]
fn damage_in_the_middle_costs_only_the_replies_it_hits() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..20);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 10].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let good = (0..20).filter(|number| journal.get(&key(*number)).unwrap() == Some(record(*number))).count();
    assert!((18..20).contains(&good), "{good}");
    let wrong = (0..20).filter(|number| journal.get(&key(*number)).unwrap().is_some_and(|found| found != record(*number))).count();
    assert_eq!(wrong, 0);
}

#[test]
fn several_writers_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (Journal::open(dir.path()).unwrap(), Journal::open(dir.path()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        for number in 0..50 {
            let (a, b) = (key(number), key(1000 + number));
            let (left, right) = (record(number), record(1000 + number));
            let (left, right) = tokio::join!(first.append(a, &left), second.append(b, &right));
            left.unwrap();
            right.unwrap();
        }
    });
    assert_eq!(segments(dir.path()).len(), 2);
    second.refresh().unwrap();
    assert_eq!(second.get(&key(7)).unwrap(), Some(record(7)));
    assert_eq!(second.stats().records, 100);
    drop((first, second));
    check(dir.path(), 0..50);
    check(dir.path(), 1000..1050);
}

#[test]
fn a_foreign_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.journal"), "dear diary, today").unwrap();
    let error = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("notes.journal") && error.contains("not a journal segment"), "{error}");
}
