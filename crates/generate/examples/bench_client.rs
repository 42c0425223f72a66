//! Measures `potstill run` against a mock teacher in another process: the table of docs/benchmarks.md.
//!
//! `cargo build --release && cargo run --release -p potstill-generate --example bench_client -- [SCENARIO …] [--small]`
//! where SCENARIO is one of `plain`, `flood`, `faults`, `limit`, `queue`, `kill`, `journal`; all of them when none is
//! named. The program measured is the `potstill` beside the folder of this example; the whole of its life counts, from
//! start to end: reading problems, asking, journal with fsync, Parquet, manifests.

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

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Behaviour, Faults, Stats};
use potstill_data::Attempt;
use potstill_generate::Record;
use potstill_generate::journal::{Journal, RequestKey};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", behaviour] => serve(&serde_json::from_str(behaviour)?),
        ["watch", dir] => watch(Path::new(dir)),
        ["fill", dir, records] => fill(Path::new(dir), records.parse()?),
        ["open", dir] => open(Path::new(dir)),
        _ => table(&words),
    }
}

/// Replies of about 4 KB after 200 ± 50 ms.
const REPLY: Behaviour = Behaviour { latency_ms: 200, spread_ms: 50, reasoning_bytes: 4000, ..Behaviour::NONE };

fn table(words: &[&str]) -> Result<()> {
    let small = words.contains(&"--small");
    let named: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with("--")).collect();
    let count = |full: usize| if small { full / 20 } else { full };
    println!(
        "| scenario | wall s | of the ideal rate | CPU s / 1,000 | peak MB | kept | asked | notes |\n|---|---|---|---|---|---|---|---|"
    );
    for name in ["plain", "flood", "faults", "limit", "queue", "kill", "journal"] {
        if !named.is_empty() && !named.contains(&name) {
            continue;
        }
        match name {
            "plain" => drop(measure(name, &REPLY, count(2000), 256, 0.2)?),
            "flood" => {
                let flying = if small { 1000 } else { 10_000 };
                measure(name, &Behaviour { latency_ms: 5000, ..REPLY }, flying * 3, flying, 5.0)?;
            }
            "faults" => drop(measure(name, &Behaviour { faults: Faults::TABLE, ..REPLY }, count(2000), 256, 0.2)?),
            "limit" => {
                let limited = Behaviour { limit: Some(128), ..REPLY };
                let knew = measure("limit of 128, known", &limited, count(2000), 128, 0.2)?;
                let found = measure("limit of 128, to be found", &limited, count(2000), 256, 0.2)?;
                println!("| | | | | | | | {:.2} × the wall time of the client that knew |", found / knew);
            }
            "queue" => {
                let queueing = Behaviour { places: Some(64), ..REPLY };
                measure("64 places and a queue without end", &queueing, count(10_000), 512, 0.2 * 512.0 / 64.0)?;
            }
            "kill" => kill(if small { 5 } else { 100 })?,
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

/// A pipeline of a source and a teacher's answers, run by `potstill`.
struct Bench {
    dir: tempfile::TempDir,
    server: Server,
}

impl Bench {
    fn new(behaviour: &Behaviour, requests: usize, concurrency: usize) -> Result<Self> {
        let (dir, server) = (tempfile::tempdir()?, Server::start(behaviour)?);
        let problems: String = (0..requests).map(|number| format!("{{\"q\":\"question {number}\"}}\n")).collect();
        std::fs::write(dir.path().join("problems.jsonl"), problems)?;
        let pipeline = format!(
            "version = 1\nseed = 42\n[teacher.mock]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"mock\"\nmax_concurrency = {concurrency}\ntimeout_seconds = 60\n\
             [stage.problems]\nkind = \"source\"\npath = \"problems.jsonl\"\ncolumns = {{ prompt = \"q\" }}\n\
             [stage.traces]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"mock\"\n",
            server.url()
        );
        std::fs::write(dir.path().join("pipeline.toml"), pipeline)?;
        Ok(Self { dir, server })
    }

    /// A run watched by a process of its own, whose only child it is: what its children used is what the run used.
    fn watched(&self) -> Result<Value> {
        let mut watcher = child(&["watch", &self.dir.path().to_string_lossy()])?;
        let result = serde_json::from_str(&line(&mut watcher)?)?;
        watcher.wait()?;
        Ok(result)
    }

    /// The answers that the run wrote.
    fn rows(&self) -> Result<Vec<Attempt>> {
        let store = self.dir.path().join("store");
        for entry in std::fs::read_dir(store.join("artifacts"))? {
            let manifest: Value = serde_json::from_slice(&std::fs::read(entry?.path().join("manifest.json"))?)?;
            let manifest = &manifest["manifest"];
            if manifest["stage"] == "traces" {
                let attempt = store.join("attempts").join(manifest["attempt"].as_str().ok_or("no attempt")?);
                let files = manifest["outputs"][0]["files"].as_array().ok_or("no files")?;
                let files: Vec<PathBuf> = files.iter().filter_map(|file| Some(attempt.join(file["path"].as_str()?))).collect();
                return Ok(potstill_data::read_all(&files)?);
            }
        }
        Err("no answers".into())
    }

    /// Answers whose reasoning came whole, and those of them that are marked as cut.
    fn kept(&self) -> Result<(usize, usize)> {
        let rows = self.rows()?;
        let whole = rows.iter().filter(|row| row.reasoning.as_ref().is_some_and(|text| text.len() > 3500));
        Ok((whole.count(), rows.iter().filter(|row| row.truncated && row.finish_reason == "length").count()))
    }
}

/// `potstill run` in a folder made by [`Bench`].
fn potstill(dir: &Path) -> Result<Command> {
    let beside = std::env::current_exe()?.parent().and_then(Path::parent).ok_or("no folder")?.join("potstill");
    let mut command = Command::new(beside);
    command.args(["run", "pipeline.toml", "--quiet", "--store", "store", "--json", "out.json"]).current_dir(dir);
    command.stdout(Stdio::null()).stdin(Stdio::null());
    Ok(command)
}

fn watch(dir: &Path) -> Result<()> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let began = Instant::now();
    let status = potstill(dir)?.status()?;
    let wall = began.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("potstill ended with {status}").into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6;
    let summary: Value = serde_json::from_slice(&std::fs::read(dir.join("out.json"))?)?;
    let asking = summary["stages"].as_array().and_then(|stages| stages.iter().find(|stage| stage["name"] == "traces"));
    let asking = asking.and_then(|stage| stage["seconds"].as_f64());
    print_json(&json!({ "wall": wall, "asking": asking, "cpu": cpu, "peak_mb": usage.max_rss() as f64 / 1024.0 }))
}

/// One line of the table; the wall time. `seconds` is what a request takes in the mean with a place at once.
fn measure(name: &str, behaviour: &Behaviour, requests: usize, concurrency: usize, seconds: f64) -> Result<f64> {
    let bench = Bench::new(behaviour, requests, concurrency)?;
    let result = bench.watched()?;
    let (stats, number) = (bench.server.stats()?, |key: &str| result[key].as_f64().unwrap_or(0.0));
    let (kept, cut) = bench.kept()?;
    let (wall, asking, ideal) = (number("wall"), number("asking"), requests as f64 / concurrency as f64 * seconds);
    let perfect = perfect(behaviour, requests, concurrency);
    println!(
        "| {name}: {requests} requests, {concurrency} in flight | {wall:.2} | {:.0} % | {:.3} | {:.0} | {kept} of {requests}, {cut} cut | {} | the stage alone {asking:.2} s, {:.0} %; a perfect client {perfect:.2} s, {:.0} %; {:.0} replies/s; most in flight {} |",
        100.0 * ideal / wall,
        number("cpu") / requests as f64 * 1000.0,
        number("peak_mb"),
        stats.requests,
        100.0 * ideal / asking,
        100.0 * perfect / wall,
        requests as f64 / wall,
        stats.most_in_flight,
    );
    Ok(wall)
}

/// Wall time of a client that costs nothing: every place is taken again at once, latencies are drawn evenly. Some places
/// stay empty while the last replies are awaited, so that it is more than `requests / concurrency` mean latencies.
fn perfect(behaviour: &Behaviour, requests: usize, concurrency: usize) -> f64 {
    const DRAWS: u64 = 20;
    let mut total = 0;
    for draw in 0..DRAWS {
        let mut ends: BinaryHeap<Reverse<u64>> = (0..concurrency).map(|_| Reverse(0)).collect();
        let mut last = 0;
        for request in 0..requests {
            let hash = blake3::hash(&[draw.to_le_bytes(), (request as u64).to_le_bytes()].concat());
            let share = f64::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])) / f64::from(u16::MAX);
            let spread = (2.0 * share - 1.0) * behaviour.spread_ms as f64 * 1000.0;
            let Some(Reverse(free)) = ends.pop() else { break };
            let end = free + (behaviour.latency_ms as f64 * 1000.0 + spread) as u64;
            last = last.max(end);
            ends.push(Reverse(end));
        }
        total += last;
    }
    total as f64 / DRAWS as f64 / 1e6
}

/// Kills a run again and again at a random moment, then lets one finish.
fn kill(times: usize) -> Result<()> {
    let (requests, concurrency) = (times * 100, 64);
    let bench = Bench::new(&REPLY, requests, concurrency)?;
    let (mut flying, mut killed) = (0, 0);
    let began = Instant::now();
    while killed < times {
        let mut process = potstill(bench.dir.path())?.stderr(Stdio::null()).spawn()?;
        // Evenly over a span in which up to two hundred replies arrive.
        std::thread::sleep(Duration::from_millis(100 + 3 * u64::from(blake3::hash(&killed.to_le_bytes()).as_bytes()[0])));
        if process.try_wait()?.is_some() {
            return Err("a run ended before it was killed".into());
        }
        flying += bench.server.stats()?.in_flight;
        process.kill()?;
        process.wait()?;
        killed += 1;
    }
    bench.watched()?;
    let (stats, (kept, _)) = (bench.server.stats()?, bench.kept()?);
    println!(
        "| kill -9, {killed} times, {requests} requests, {concurrency} in flight | {:.1} | | | | {kept} of {requests} | {} | asked again {} ({:.1} a kill); on the wire at the kills {flying} |",
        began.elapsed().as_secs_f64(),
        stats.requests,
        stats.requests - stats.questions,
        (stats.requests - stats.questions) as f64 / killed as f64,
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

fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<f64>()? / 1024.0)
}
