//! What the sandbox costs: overhead of a run over a bare spawn, and programs verified in a second.
//!
//! `cargo run --release -p potstill-verify --example bench_code`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use potstill_verify::code::CodeOptions;
use potstill_verify::sandbox::{Job, Launcher, Level, Limits, Sandbox, Settings};
use potstill_verify::{Case, Verdict, VerifyOptions, verifier};

const PYTHON: &str = "/usr/bin/python3";
/// The word that makes this program a helper of its own sandbox.
const HELPER: &str = "--helper";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(HELPER) {
        return potstill_verify::sandbox::serve();
    }
    let launcher = Launcher { program: std::env::current_exe().unwrap(), args: vec![HELPER.to_owned()] };
    for (what, argv) in [("/bin/true", vec!["/bin/true"]), ("python3 -c pass", vec![PYTHON, "-S", "-s", "-c", "pass"])] {
        overhead(&launcher, what, &argv);
    }
    throughput(&launcher);
    ExitCode::SUCCESS
}

/// The median time of a run, bare and in each kind of box, one after the other on one thread.
fn overhead(launcher: &Launcher, what: &str, argv: &[&str]) {
    let bare = || {
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        assert!(command.output().unwrap().status.success());
    };
    let bare = median(bare);
    println!("{what}: bare spawn {:.2} ms", ms(bare));
    for level in [Level::L1, Level::L2] {
        let settings = Settings { launcher: launcher.clone(), level: Some(level), boxes: 2, readable: Vec::new(), scratch: "/tmp".into() };
        match Sandbox::start(settings) {
            Ok(sandbox) => {
                let boxed = median(|| {
                    let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
                    sandbox.run(Job { argv, limits: Limits::default(), ..Job::default() }).unwrap();
                });
                println!("{what}: {level} {:.2} ms, overhead {:.2} ms ({})", ms(boxed), ms(boxed) - ms(bare), sandbox.notes().join("; "));
            }
            Err(error) => println!("{what}: {error}"),
        }
    }
}

/// Small programs verified in a second by as many threads as processors.
fn throughput(launcher: &Launcher) {
    let streams = r#"{"inputs":["3 4\n"],"outputs":["7"]}"#;
    let calls = r#"{"fn_name":"add","inputs":[[3,4],[1,1]],"outputs":[7,2]}"#;
    let asserts = r#"{"test_list":["assert add(3, 4) == 7","assert add(1, 1) == 2"]}"#;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for level in [Level::L1, Level::L2] {
        let code = CodeOptions { launcher: Some(launcher.clone()), level: Some(level), ..CodeOptions::default() };
        let verifier = verifier("code", &VerifyOptions { code, ..VerifyOptions::default() }).unwrap();
        for (what, tests, source) in [
            ("one case on standard input", streams, "print(sum(map(int, input().split())))"),
            ("calls", calls, "def add(a, b):\n    return a + b"),
            ("asserts (two boxes)", asserts, "def add(a, b):\n    return a + b"),
        ] {
            let response = format!("```python\n{source}\n```");
            let case = Case { tests: Some(tests), response: &response, ..Case::default() };
            let first = verifier.verify(&case);
            if first.verdict != Verdict::Correct {
                println!("{level}, {what}: {}", first.note);
                continue;
            }
            let (done, begun) = (AtomicUsize::new(0), Instant::now());
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        while begun.elapsed() < Duration::from_secs(4) {
                            assert_eq!(verifier.verify(&case).verdict, Verdict::Correct);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            let rate = done.into_inner() as f64 / begun.elapsed().as_secs_f64();
            println!("{level}, {what}: {rate:.0} programs/s on {threads} threads");
        }
    }
}

fn median(mut run: impl FnMut()) -> Duration {
    (0..5).for_each(|_| run());
    let timed = |_| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    let mut times: Vec<Duration> = (0..101).map(timed).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
