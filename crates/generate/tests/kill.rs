//! `kill -9` at any moment: what was acknowledged stays, and only what was on the wire is asked again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Behaviour;
use potstill_data::Problem;
use potstill_generate::Sampling;
use potstill_generate::driver::{Driver, Prompt, RunOptions, RunReport};
use potstill_generate::journal::Journal;
use potstill_generate::openai::{OpenAi, OpenAiConfig};

const PROBLEMS: usize = 300;
/// Server and folder of the child, separated by a line end.
const PLACE: &str = "POTSTILL_TEST_KILL";

fn run(url: &str, dir: &Path) -> RunReport {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = RunOptions { sampling: Sampling { seed: Some(1), ..Sampling::default() }, ..RunOptions::default() };
    let driver = Driver {
        runtime: runtime.handle(),
        generator: Arc::new(OpenAi::new(OpenAiConfig { max_concurrency: 16, ..OpenAiConfig::new(url, "mock") }, None).unwrap()),
        options: &options,
        judge: None,
        journal: Some(Arc::new(Journal::open(dir).unwrap())),
        progress: &|_| (),
        cancel: &|| false,
    };
    let prompt = Prompt::default();
    let asks = (0..PROBLEMS).map(|index| {
        Ok(prompt.ask(Problem { problem_id: format!("p{index}"), prompt: format!("question {index}"), ..Problem::default() }))
    });
    let mut rows = 0;
    let report = driver
        .run(asks, &mut |_| {
            rows += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(rows, PROBLEMS);
    report
}

#[test]
#[ignore = "the process that the other test kills"]
#[expect(clippy::disallowed_methods, reason = "how a child process of a test gets its arguments")]
fn child() {
    let place = std::env::var(PLACE).unwrap();
    let (url, dir) = place.split_once('\n').unwrap();
    run(url, Path::new(dir));
}

#[test]
fn nothing_acknowledged_is_lost_and_only_what_was_on_the_wire_is_asked_again() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let behaviour = Behaviour { latency_ms: 60, spread_ms: 40, reasoning_bytes: 500, ..Behaviour::default() };
    let (address, mock) = runtime.block_on(common::start(behaviour));
    let (url, dir) = (format!("http://{address}/v1"), tempfile::tempdir().unwrap());
    let seen = &mock.seen;
    let mut kept = 0;
    let (mut on_the_wire, mut kills) = (0, 0);
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored"])
            .env(PLACE, format!("{url}\n{}", dir.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(120 + round * 57));
        // A reply may be acknowledged by the server and not yet by the journal: those count as on the wire too.
        on_the_wire += 16 + 16;
        child.kill().unwrap();
        kills += usize::from(!child.wait().unwrap().success());
        let journal = Journal::open(dir.path()).unwrap();
        assert!(journal.stats().records >= kept, "replies vanished");
        kept = journal.stats().records;
    }
    assert!(kills > 0 && kept > 0, "{kills} kills, {kept} replies kept");
    let report = run(&url, dir.path());
    assert_eq!(report.totals.cached as usize, kept);
    let again = seen.requests.load(Ordering::SeqCst) - seen.questions.lock().unwrap().len();
    assert!(again <= on_the_wire, "{again} asked again, {on_the_wire} on the wire");
}
