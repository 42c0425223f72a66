//! Measures the teacher client against a mock teacher in another process: the table of docs/benchmarks.md.
//!
//! `cargo run --release -p potstill-generate --example bench_client -- [SCENARIO …] [--small]`
//! where SCENARIO is one of `plain`, `flood`, `faults`, `limit`, `kill`, `journal`; all of them when none is named.
//! Each scenario's client is a process of its own, so that its processor time and memory are its own as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]
#![allow(clippy::disallowed_methods, reason = "a program, not the library")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Behaviour, Faults, Stats};
use potstill_data::Problem;
use potstill_generate::driver::{Driver, Prompt, RunOptions};
use potstill_generate::journal::{Journal, RequestKey};
use potstill_generate::openai::{OpenAi, OpenAiConfig};
use potstill_generate::{Record, Sampling};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", behaviour] => serve(&serde_json::from_str(behaviour)?),
        ["client", url, requests, concurrency, dir] => client(url, requests.parse()?, concurrency.parse()?, Path::new(dir)),
        ["fill", dir, records] => fill(Path::new(dir), records.parse()?),
        ["open", dir] => open(Path::new(dir)),
        _ => table(&words),
    }
}

fn table(words: &[&str]) -> Result<()> {
    let small = words.contains(&"--small");
    let named: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with("--")).collect();
    let reply = Behaviour { latency_ms: 200, spread_ms: 50, reasoning_bytes: 4000, ..Behaviour::default() };
    let count = |full: usize| if small { full / 20 } else { full };
    println!("| scenario | wall s | of ideal | CPU s / 1,000 | peak MB | kept | asked | notes |\n|---|---|---|---|---|---|---|---|");
    for name in ["plain", "flood", "faults", "limit", "kill", "journal"] {
        if !named.is_empty() && !named.contains(&name) {
            continue;
        }
        match name {
            "plain" => measure(name, &reply, count(2000), 256, count(2000) as f64 / 256.0 * 0.2)?,
            "flood" => {
                let slow = Behaviour { latency_ms: 5000, spread_ms: 50, ..reply };
                let flying = if small { 1000 } else { 10_000 };
                measure(name, &slow, flying * 3, flying, 15.0)?;
            }
            "faults" => {
                let bad = Behaviour { faults: Faults::TABLE, ..reply };
                measure(name, &bad, count(2000), 256, count(2000) as f64 / 256.0 * 0.2)?;
            }
            "limit" => {
                let limited = Behaviour { limit: Some(128), ..reply };
                measure(name, &limited, count(2000), 256, count(2000) as f64 / 128.0 * 0.2)?;
            }
            "kill" => kill(&reply, if small { 5 } else { 100 })?,
            _ => journal(if small { 20_000 } else { 1_000_000 })?,
        }
    }
    Ok(())
}

/// A child process of this program.
fn child(args: &[&str]) -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

/// The next line that a child prints.
fn line(child: &mut Child) -> Result<String> {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().ok_or("no output")?;
    BufReader::with_capacity(1, stdout).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

struct Server(Child, String);

impl Server {
    fn start(behaviour: &Behaviour) -> Result<Self> {
        let mut process = child(&["serve", &serde_json::to_string(behaviour)?])?;
        let address = line(&mut process)?;
        Ok(Self(process, address))
    }

    /// What it has seen so far, over plain HTTP.
    fn stats(&self) -> Result<Stats> {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(&self.1)?;
        stream.write_all(b"GET /stats HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(serde_json::from_str(reply.split("\r\n\r\n").nth(1).ok_or("no body")?)?)
    }

    fn url(&self) -> String {
        format!("http://{}/v1", self.1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(name: &str, behaviour: &Behaviour, requests: usize, concurrency: usize, ideal: f64) -> Result<()> {
    let server = Server::start(behaviour)?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().to_string_lossy().into_owned();
    let mut process = child(&["client", &server.url(), &requests.to_string(), &concurrency.to_string(), &place])?;
    let result: Value = serde_json::from_str(&line(&mut process)?)?;
    process.wait()?;
    let (stats, number) = (server.stats()?, |key: &str| result[key].as_f64().unwrap_or(0.0));
    let wall = number("wall");
    println!(
        "| {name}: {requests} requests, {concurrency} in flight | {wall:.2} | {:.0} % | {:.3} | {:.0} | {} of {requests}, {} cut | {} | {:.0} replies/s, {} failed, most in flight {} |",
        100.0 * ideal / wall,
        number("cpu") / requests as f64 * 1000.0,
        number("peak_mb"),
        result["rows"],
        result["truncated"],
        stats.requests,
        requests as f64 / wall,
        result["failed"],
        stats.most_in_flight,
    );
    Ok(())
}

/// Kills a client again and again at a random moment, then lets it finish.
fn kill(behaviour: &Behaviour, times: usize) -> Result<()> {
    let server = Server::start(behaviour)?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().to_string_lossy().into_owned();
    let (requests, concurrency) = (times * 40, 64);
    let (mut flying, mut killed) = (0, 0);
    let began = Instant::now();
    let result = loop {
        let mut process = child(&["client", &server.url(), &requests.to_string(), &concurrency.to_string(), &place])?;
        if killed < times {
            // Evenly over a span in which some hundred replies arrive.
            std::thread::sleep(Duration::from_millis(150 + blake3::hash(&killed.to_le_bytes()).as_bytes()[0] as u64));
            flying += server.stats()?.in_flight;
            process.kill()?;
            process.wait()?;
            killed += 1;
            continue;
        }
        let result: Value = serde_json::from_str(&line(&mut process)?)?;
        process.wait()?;
        break result;
    };
    let stats = server.stats()?;
    println!(
        "| kill -9, {killed} times, {requests} requests | {:.1} | | | | {} of {requests} | {} | asked again {} (on the wire at the kills: {flying}) |",
        began.elapsed().as_secs_f64(),
        result["rows"],
        stats.requests,
        stats.requests - stats.questions,
    );
    Ok(())
}

fn journal(records: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = dir.path().to_string_lossy().into_owned();
    let filled: Value = serde_json::from_str(&line(&mut child(&["fill", &place, &records.to_string()])?)?)?;
    let opened: Value = serde_json::from_str(&line(&mut child(&["open", &place])?)?)?;
    println!(
        "| journal of {records} replies: open and index | {:.2} | | | {:.0} | {} | | written at {:.0} replies/s with fsync, {:.2} GB |",
        opened["wall"].as_f64().unwrap_or(0.0),
        opened["peak_mb"].as_f64().unwrap_or(0.0),
        opened["records"],
        filled["rate"].as_f64().unwrap_or(0.0),
        filled["bytes"].as_f64().unwrap_or(0.0) / 1e9,
    );
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn serve(behaviour: &Behaviour) -> Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard)?;
    runtime()?.block_on(async {
        let (address, _mock) = common::start(*behaviour).await;
        println!("{address}");
        std::future::pending::<()>().await;
    });
    Ok(())
}

fn client(url: &str, requests: usize, concurrency: usize, dir: &Path) -> Result<()> {
    let config = OpenAiConfig { max_concurrency: concurrency, timeout_seconds: 60.0, ..OpenAiConfig::new(url, "mock") };
    let runtime = runtime()?;
    let began = Instant::now();
    let options = RunOptions { sampling: Sampling { seed: Some(42), ..Sampling::default() }, lookahead: requests, ..RunOptions::default() };
    let driver = Driver {
        runtime: runtime.handle(),
        generator: Arc::new(OpenAi::new(config, None)?),
        options: &options,
        judge: None,
        journal: Some(Arc::new(Journal::open(dir)?)),
        progress: &|_| (),
        cancel: &|| false,
    };
    let prompt = Prompt::default();
    let asks = (0..requests).map(|index| {
        Ok(prompt.ask(Problem { problem_id: format!("p{index}"), prompt: format!("question {index}"), ..Problem::default() }))
    });
    let mut good = 0;
    let report = driver.run(asks, &mut |row| {
        good += usize::from(row.reasoning.is_some_and(|text| text.len() > 3500));
        Ok(())
    })?;
    let wall = began.elapsed().as_secs_f64();
    print_json(
        &json!({ "wall": wall, "cpu": cpu_seconds()?, "peak_mb": peak_mb()?, "rows": good, "truncated": report.truncated, "failed": report.totals.failed }),
    )
}

fn fill(dir: &Path, records: usize) -> Result<()> {
    let journal = Arc::new(Journal::open(dir)?);
    let behaviour = Behaviour { reasoning_bytes: 4000, ..Behaviour::default() };
    let began = Instant::now();
    runtime()?.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..records {
            // As many at once as a busy client has replies coming in.
            while tasks.len() >= 1024 {
                if let Some(done) = tasks.join_next().await {
                    done??;
                }
            }
            let journal = Arc::clone(&journal);
            tasks.spawn(async move {
                let (reasoning, answer) = common::answer(behaviour, &number.to_string());
                let body =
                    json!({ "choices": [{ "message": { "reasoning_content": reasoning, "content": answer.to_string() } }] }).to_string();
                let key = RequestKey(*blake3::hash(&number.to_le_bytes()).as_bytes());
                journal.append(key, &Record::Raw { body: body.into_bytes().into(), latency_ms: 200 }).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    let rate = records as f64 / began.elapsed().as_secs_f64();
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    print_json(&json!({ "rate": rate, "bytes": bytes }))
}

fn open(dir: &Path) -> Result<()> {
    let began = Instant::now();
    let journal = Journal::open(dir)?;
    let wall = began.elapsed().as_secs_f64();
    let last = RequestKey(*blake3::hash(&(journal.stats().records - 1).to_le_bytes()).as_bytes());
    if journal.get(&last)?.is_none() {
        return Err("the last reply is missing".into());
    }
    print_json(&json!({ "wall": wall, "peak_mb": peak_mb()?, "records": journal.stats().records }))
}

fn print_json(value: &Value) -> Result<()> {
    println!("{value}");
    std::io::stdout().flush()?;
    Ok(())
}

/// Processor time of this process, user and system.
fn cpu_seconds() -> Result<f64> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<f64>()? / 1024.0)
}
