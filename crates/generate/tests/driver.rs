//! The driver and the client against a mock teacher: order, faults, stopping, money, journal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Behaviour, Faults, Mock};
use potstill_data::{Attempt, Problem, Verdict};
use potstill_generate::driver::{Ask, BoxError, Driver, Judge, Prompt, RunOptions, RunReport, StopWhen, Stopped};
use potstill_generate::journal::Journal;
use potstill_generate::openai::{OpenAi, OpenAiConfig};
use potstill_generate::{Generator, Price, Sampling};

struct Bench {
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    mock: Arc<Mock>,
}

impl Bench {
    fn new(behaviour: Behaviour) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (address, mock) = runtime.block_on(common::start(behaviour));
        Self { runtime, address, mock }
    }

    fn config(&self) -> OpenAiConfig {
        OpenAiConfig {
            max_concurrency: 32,
            timeout_seconds: 10.0,
            patience_seconds: 20.0,
            ..OpenAiConfig::new(&format!("http://{}/v1", self.address), "mock")
        }
    }

    fn teacher(&self) -> Arc<dyn Generator> {
        Arc::new(OpenAi::new(self.config(), None).unwrap())
    }

    fn run(
        &self,
        count: usize,
        teacher: Arc<dyn Generator>,
        options: &RunOptions,
        judge: Option<&Judge<'_>>,
        journal: Option<&Path>,
    ) -> (Vec<Attempt>, RunReport) {
        let journal = journal.map(|dir| Arc::new(Journal::open(dir).unwrap()));
        let driver =
            Driver { runtime: self.runtime.handle(), generator: teacher, options, judge, journal, progress: &|_| (), cancel: &|| false };
        let mut rows = Vec::new();
        let report = driver
            .run(asks(count), &mut |attempt| {
                rows.push(attempt);
                Ok(())
            })
            .unwrap();
        (rows, report)
    }

    fn requests(&self) -> usize {
        self.mock.seen.requests.load(Ordering::SeqCst)
    }
}

fn asks(count: usize) -> impl Iterator<Item = Result<Ask, BoxError>> {
    let prompt = Prompt::default();
    (0..count).map(move |index| {
        Ok(prompt.ask(Problem { problem_id: format!("p{index}"), prompt: format!("question {index}"), ..Problem::default() }))
    })
}

fn options(samples: u32) -> RunOptions {
    RunOptions { samples, sampling: Sampling { seed: Some(42), ..Sampling::default() }, ..RunOptions::default() }
}

/// Everything of a row that must not depend on timing.
fn essence(rows: &[Attempt]) -> Vec<(String, Option<String>, String, Option<Verdict>)> {
    rows.iter().map(|row| (row.attempt_id(), row.reasoning.clone(), row.response.clone(), row.verdict)).collect()
}

/// Correct is an answer below 3: three in ten.
fn judge(attempt: &mut Attempt) {
    let digit = attempt.response.chars().find(char::is_ascii_digit);
    let right = digit.is_some_and(|digit| digit < '3');
    attempt.verdict = Some(if right { Verdict::Correct } else { Verdict::Incorrect });
    attempt.extracted = digit.map(String::from);
    attempt.proof = Some("exact".to_owned());
    attempt.verifier_note = Some(format!("the answer to {} is {digit:?}", attempt.attempt_id()));
}

#[test]
fn every_good_answer_survives_a_bad_server_and_rows_come_in_order() {
    let behaviour = Behaviour {
        latency_ms: 5,
        spread_ms: 5,
        reasoning_bytes: 200,
        faults: Faults { slow: 0.0, ..Faults::TABLE },
        ..Behaviour::default()
    };
    let bench = Bench::new(behaviour);
    let (rows, report) = bench.run(100, bench.teacher(), &options(3), None, None);
    let ids: Vec<String> = rows.iter().map(Attempt::attempt_id).collect();
    let expected: Vec<String> = (0..100).flat_map(|problem| (0..3).map(move |sample| format!("p{problem}#{sample}"))).collect();
    assert_eq!(ids, expected);
    assert_eq!((report.totals.failed, report.totals.replies), (0, 300));
    assert!(
        report.truncated > 0 && report.truncated == rows.iter().filter(|row| row.truncated && row.finish_reason == "length").count() as u64
    );
    assert!(bench.requests() > 300, "{}", bench.requests());
    assert!(rows.iter().all(|row| row.reasoning.as_ref().is_some_and(|text| text.len() > 150)));
    // The same answers make the same rows, whatever their order of arrival.
    let again = Bench::new(Behaviour { spread_ms: 0, latency_ms: 1, faults: Faults { length: 0.01, ..Faults::default() }, ..behaviour });
    assert_eq!(essence(&again.run(100, again.teacher(), &options(3), None, None).0), essence(&rows));
}

#[test]
fn what_was_answered_is_not_asked_again() {
    let bench = Bench::new(Behaviour { reasoning_bytes: 500, ..Behaviour::default() });
    let dir = tempfile::tempdir().unwrap();
    let run = |count, samples| bench.run(count, bench.teacher(), &options(samples), None, Some(dir.path()));
    let (first, report) = run(20, 2);
    assert_eq!((bench.requests(), report.totals.cached), (40, 0));
    let (second, report) = run(20, 2);
    assert_eq!((bench.requests(), report.totals.cached, report.totals.replies), (40, 40, 0));
    assert_eq!(first, second, "rows from the journal are the rows that were bought");
    let (more, _) = run(25, 3);
    assert_eq!(bench.requests(), 75);
    assert_eq!(more.len(), 75);
    // Another address, more concurrency: still nothing to ask.
    let moved =
        OpenAi::new(OpenAiConfig { max_concurrency: 3, base_url: Some("http://127.0.0.1:9/v1".into()), ..bench.config() }, None).unwrap();
    assert_eq!(bench.run(25, Arc::new(moved), &options(3), None, Some(dir.path())).0, more);
}

#[test]
fn asking_stops_once_a_problem_is_solved() {
    let bench = Bench::new(Behaviour { latency_ms: 2, spread_ms: 2, ..Behaviour::default() });
    let adaptive = RunOptions { stop_when: Some(StopWhen { correct: 1 }), ..options(8) };
    let (rows, report) = bench.run(60, bench.teacher(), &adaptive, Some(&judge), None);
    let mut problems: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for row in &rows {
        problems.entry(&row.problem.problem_id).or_default().push(row);
    }
    for attempts in problems.values() {
        let correct = attempts.iter().filter(|row| row.verdict == Some(Verdict::Correct)).count();
        assert!(correct == 1 && attempts.last().unwrap().verdict == Some(Verdict::Correct) || correct == 0 && attempts.len() == 8);
        let rate = potstill_data::Scalar::Float(correct as f64 / attempts.len() as f64);
        assert!(attempts.iter().all(|row| row.problem.meta["pass_rate"] == rate));
    }
    assert_eq!(bench.requests(), rows.len(), "nothing is bought in vain");
    assert!(rows.len() < 60 * 6, "{}", rows.len());
    assert_eq!(report.solved.values().sum::<u64>(), 60);
    let slower = Bench::new(Behaviour { latency_ms: 10, spread_ms: 10, ..Behaviour::default() });
    assert_eq!(essence(&slower.run(60, slower.teacher(), &adaptive, Some(&judge), None).0), essence(&rows));
}

/// What the judge wrote stands in every row, also in those that wait in the journal behind a problem that takes long.
#[test]
fn rows_that_wait_in_the_journal_keep_what_the_judge_wrote() {
    let bench = Bench::new(Behaviour { latency_ms: 1, reasoning_bytes: 300_000, ..Behaviour::default() });
    let dir = tempfile::tempdir().unwrap();
    let judged = std::sync::atomic::AtomicUsize::new(0);
    let slow_at_first = |attempt: &mut Attempt| {
        let begun = std::time::Instant::now();
        // 150 replies of 300 kB are more than may wait in memory.
        while attempt.problem.problem_id == "p0" && judged.load(Ordering::SeqCst) < 150 && begun.elapsed().as_secs() < 30 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        judge(attempt);
        judged.fetch_add(1, Ordering::SeqCst);
    };
    let (rows, _) = bench.run(160, bench.teacher(), &options(1), Some(&slow_at_first), Some(dir.path()));
    assert_eq!(rows.len(), 160);
    for row in rows {
        let mut again = row.clone();
        judge(&mut again);
        assert_eq!(row, again);
    }
}

#[test]
fn a_run_ends_at_exactly_the_rows_wanted() {
    let bench = Bench::new(Behaviour { latency_ms: 2, spread_ms: 2, ..Behaviour::default() });
    let wanted = RunOptions { target_rows: Some(25), ..options(2) };
    let (rows, report) = bench.run(1000, bench.teacher(), &wanted, Some(&judge), None);
    assert_eq!(rows.iter().filter(|row| row.verdict == Some(Verdict::Correct)).count(), 25);
    assert_eq!(rows.last().unwrap().verdict, Some(Verdict::Correct));
    assert_eq!(report.stopped, Some(Stopped::Target));
    assert!(bench.requests() < 400, "{}", bench.requests());
    let slower = Bench::new(Behaviour { latency_ms: 8, spread_ms: 8, ..Behaviour::default() });
    assert_eq!(essence(&slower.run(1000, slower.teacher(), &wanted, Some(&judge), None).0), essence(&rows));
}

#[test]
fn the_cap_is_never_overrun() {
    let faults = Faults { busy: 0.1, error: 0.05, cut: 0.05, half_json: 0.05, empty: 0.05, ..Faults::default() };
    let bench = Bench::new(Behaviour { latency_ms: 3, spread_ms: 3, faults, ..Behaviour::default() });
    // A reply costs $0.001 for its 1,000 tokens, at worst $0.002.
    let price = Price { input_per_million: 0.0, output_per_million: 1.0, cached_input_per_million: None, batch_factor: None };
    let capped = RunOptions {
        max_cost_usd: Some(0.05),
        sampling: Sampling { max_tokens: 2000, seed: Some(1), ..Sampling::default() },
        ..options(1)
    };
    let teacher = Arc::new(OpenAi::new(OpenAiConfig { price: Some(price), ..bench.config() }, None).unwrap());
    let (rows, report) = bench.run(500, teacher, &capped, None, None);
    assert_eq!(report.stopped, Some(Stopped::Budget));
    // The bill counts every 200 that left the server, also those that were lost on the way.
    let seen = &bench.mock.seen;
    let worst_bill = 0.001 * seen.answered.load(Ordering::SeqCst) as f64;
    assert!(report.totals.spent_usd <= 0.05 + 1e-9 && worst_bill <= 0.05 + 1e-9, "{report:?}");
    assert!(rows.len() >= 20 && report.not_asked > 0, "{} {report:?}", rows.len());
    assert!((report.cost_usd.unwrap() - 0.001 * rows.len() as f64).abs() < 1e-9);
}

#[test]
fn several_samples_in_one_request() {
    for many in [true, false] {
        let bench = Bench::new(Behaviour { many, reasoning_bytes: 50, ..Behaviour::default() });
        let teacher = Arc::new(OpenAi::new(OpenAiConfig { choices_per_request: 4, ..bench.config() }, None).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let (rows, _) = bench.run(10, teacher.clone(), &options(4), None, Some(dir.path()));
        assert_eq!(rows.len(), 40);
        assert_eq!(bench.requests(), if many { 10 } else { 40 });
        let (again, report) = bench.run(10, teacher, &options(4), None, Some(dir.path()));
        assert_eq!((again, report.totals.cached), (rows, 40));
    }
}

#[test]
fn tokens_that_the_server_did_not_count_are_counted_and_marked() {
    let bench = Bench::new(Behaviour { no_usage: true, reasoning_bytes: 400, ..Behaviour::default() });
    let (rows, report) = bench.run(3, bench.teacher(), &options(1), None, None);
    assert!(rows.iter().all(|row| row.tokens_estimated && row.completion_tokens.unwrap() > 90));
    assert_eq!(report.estimated, 3);
}

#[test]
fn the_same_question_twice_is_sent_once() {
    let bench = Bench::new(Behaviour { latency_ms: 20, ..Behaviour::default() });
    let prompt = Prompt::default();
    let ask = |id: &str| Ok(prompt.ask(Problem { problem_id: id.into(), prompt: "same".into(), ..Problem::default() }));
    let options = options(1);
    let driver = Driver {
        runtime: bench.runtime.handle(),
        generator: bench.teacher(),
        options: &options,
        judge: None,
        journal: None,
        progress: &|_| (),
        cancel: &|| false,
    };
    let mut rows = Vec::new();
    driver
        .run([ask("a"), ask("b")].into_iter(), &mut |row| {
            rows.push(row);
            Ok(())
        })
        .unwrap();
    assert_eq!((rows.len(), bench.requests()), (2, 1));
}

#[test]
fn a_cancelled_run_keeps_what_was_paid() {
    let bench = Bench::new(Behaviour { latency_ms: 300, ..Behaviour::default() });
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(dir.path()).unwrap());
    let options = options(1);
    let driver = Driver {
        runtime: bench.runtime.handle(),
        generator: bench.teacher(),
        options: &options,
        judge: None,
        journal: Some(Arc::clone(&journal)),
        progress: &|_| (),
        cancel: &|| true,
    };
    let report = driver.run(asks(1000), &mut |_| Ok(())).unwrap();
    assert_eq!(report.stopped, Some(Stopped::Cancelled));
    assert_eq!(journal.stats().records, bench.mock.seen.answered.load(Ordering::SeqCst));
    assert!(bench.requests() >= 32 && bench.requests() < 200);
}

#[test]
fn the_key_is_sent_and_shows_nowhere() {
    const KEY: &str = "sk-canary-0123456789abcdef";
    let faults = Faults { error: 0.3, ..Faults::default() };
    let bench = Bench::new(Behaviour { reasoning_bytes: 100, faults, echo_key: true, ..Behaviour::default() });
    let dir = tempfile::tempdir().unwrap();
    // A verifier that panics tells all it has, as a careless one would.
    let panics = Arc::new(std::sync::Mutex::new(String::new()));
    std::panic::set_hook(Box::new({
        let panics = Arc::clone(&panics);
        move |panic| panics.lock().unwrap().push_str(&format!("{panic}\n{}", std::backtrace::Backtrace::force_capture()))
    }));
    let careless = |attempt: &mut Attempt| panic!("cannot judge {attempt:?}");
    let teacher = Arc::new(
        OpenAi::new(OpenAiConfig { retries: 0, ..bench.config() }, Some(potstill_generate::SecretKey::new(KEY).unwrap())).unwrap(),
    );
    let identity = teacher.identity().to_string();
    let (rows, report) = bench.run(30, teacher, &options(1), Some(&careless), Some(dir.path()));
    drop(std::panic::take_hook());
    assert_eq!(report.judge_panics as usize, rows.len());
    let told = |row: &Attempt| row.verdict == Some(Verdict::Undecided) && row.verifier_note.as_deref() == Some("the verifier panicked");
    assert!(rows.iter().all(told));
    assert_eq!(bench.mock.seen.keys.lock().unwrap()[0], format!("Bearer {KEY}"));
    assert!(report.totals.failed > 0);
    let panics = panics.lock().unwrap();
    assert!(panics.contains("cannot judge") && panics.contains("Bearer [key] The answer is"), "{panics}");
    let mut shown = format!("{identity} {rows:?} {report:?} {} {panics}", serde_json::to_string(&report).unwrap());
    let journal = Journal::open(dir.path()).unwrap();
    for row in &rows {
        let key = potstill_generate::journal::RequestKey::from_hex(row.request_key.as_ref().unwrap()).unwrap();
        let potstill_generate::Record::Raw { body, .. } = journal.get(&key).unwrap().unwrap() else { panic!("not raw") };
        shown += core::str::from_utf8(&body).unwrap();
    }
    assert!(!shown.contains("canary"));
}

#[test]
fn a_failed_sample_keeps_its_siblings() {
    let bench = Bench::new(Behaviour { faults: Faults { error: 0.2, ..Faults::default() }, ..Behaviour::default() });
    let teacher = Arc::new(OpenAi::new(OpenAiConfig { retries: 0, ..bench.config() }, None).unwrap());
    let (rows, report) = bench.run(50, teacher, &options(4), None, None);
    assert_eq!(rows.len() as u64 + report.totals.failed, 200);
    assert_eq!(report.failures["status_500"], report.totals.failed);
    assert!(report.failed.iter().all(|failure| failure.message.contains("engine died")));
    let hurt = &report.failed[0];
    assert!(rows.iter().any(|row| row.problem.problem_id == hurt.problem_id), "{hurt:?}");
}

#[test]
fn a_run_ends_in_time_and_another_goes_on() {
    let bench = Bench::new(Behaviour { latency_ms: 150, ..Behaviour::NONE });
    let dir = tempfile::tempdir().unwrap();
    let short = RunOptions { max_seconds: Some(0.5), grace_seconds: 1.0, ..options(1) };
    let (rows, report) = bench.run(400, bench.teacher(), &short, None, Some(dir.path()));
    assert_eq!(report.stopped, Some(Stopped::Time));
    assert!(rows.len() < 400, "{}", rows.len());
    let (rows, report) = bench.run(400, bench.teacher(), &options(1), None, Some(dir.path()));
    assert_eq!((rows.len(), bench.requests(), report.stopped), (400, 400, None));
    assert!(report.totals.cached >= 32, "{report:?}");
}
