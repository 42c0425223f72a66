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

/// A reply that no compressor makes small.
fn large(number: u64) -> Record<'static> {
    let mut body = vec![0; 64 << 10];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut body);
    Record::Raw { body: Cow::Owned(body), latency_ms: 7 }
}

fn write_large(journal: &Journal, numbers: std::ops::Range<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        futures::future::join_all(numbers.map(|number| async move { journal.append(key(number), &large(number)).await.unwrap() })).await;
    });
}

fn files(dir: &Path, ending: &str) -> usize {
    segments(dir).iter().filter(|path| path.extension().is_some_and(|e| e == ending)).count()
}

#[test]
fn closed_logs_become_parquet_and_every_reply_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..100);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.compact().unwrap(), None, "not worth it yet");
    let other = Journal::open(dir.path()).unwrap();
    write_large(&journal, 1000..1300);
    let done = journal.compact().unwrap().unwrap();
    assert_eq!((done.replies, files(dir.path(), "parquet"), files(dir.path(), "journal")), (400, 1, 0));
    let whole = |journal: &Journal, large_until: u64| {
        assert_eq!(journal.stats().records as u64, 100 + large_until - 1000);
        // In no order that the file knows of.
        for number in (0..100).rev() {
            assert_eq!(journal.get(&key(number)).unwrap(), Some(record(number)), "{number}");
        }
        for number in (1000..large_until).map(|n| 1000 + (n * 7919) % (large_until - 1000)) {
            assert_eq!(journal.get(&key(number)).unwrap(), Some(large(number)), "{number}");
        }
        assert_eq!(journal.get(&key(5)).unwrap(), Some(record(5)));
        assert_eq!(journal.get(&key(999_999)).unwrap(), None);
    };
    whole(&journal, 1300);
    whole(&Journal::open(dir.path()).unwrap(), 1300);
    // One that had the log open when it was packed reads on, and writes to a file that is there.
    assert_eq!(other.get(&key(7)).unwrap(), Some(record(7)));
    write_large(&other, 1300..1301);
    whole(&Journal::open(dir.path()).unwrap(), 1301);
    // What comes later goes into the same file as long as that is small.
    write_large(&journal, 1301..1600);
    drop(other);
    let again = journal.compact().unwrap().unwrap();
    assert_eq!((again.replies, files(dir.path(), "parquet"), files(dir.path(), "journal")), (700, 1, 0));
    whole(&journal, 1600);
    whole(&Journal::open(dir.path()).unwrap(), 1600);
}

#[test]
fn a_kill_while_packing_leaves_every_reply_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    write_large(&journal, 0..300);
    drop(journal);
    // Killed after the new file got its name and before the log went: both are there.
    let log = segments(dir.path()).remove(0);
    let copy = fs::read(&log).unwrap();
    Journal::open(dir.path()).unwrap().compact().unwrap().unwrap();
    fs::write(&log, copy).unwrap();
    // Killed while writing: a file without a name.
    fs::write(dir.path().join("0123.tmp"), b"PAR1 half").unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.stats().records, 300);
    let done = journal.compact().unwrap().unwrap();
    assert_eq!((done.replies, files(dir.path(), "journal")), (300, 0));
    assert_eq!(journal.get(&key(123)).unwrap(), Some(large(123)));
}

#[test]
fn a_parquet_file_of_somebody_else_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("other.parquet"), b"PAR1 no parquet PAR1").unwrap();
    let message = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("other.parquet"), "{message}");
}
