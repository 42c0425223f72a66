//! `kill -9` anywhere loses nothing: a run killed again and again ends with the bytes of an undisturbed one.

use std::time::{Duration, Instant};

use crate::support::Bench;

const PIPELINE: &str = r#"
version = 1
seed = 5

[teacher.searcher]
kind = "procedural"
ends_wrong = 0.1

[stage.problems]
kind = "source"
procedural = { task = "countdown", count = 1500 }

[stage.attempts]
kind = "generate"
inputs = ["problems"]
teacher = "searcher"
samples = 2

[stage.graded]
kind = "verify"
inputs = ["attempts"]

[stage.kept]
kind = "filter"
inputs = ["graded"]
where = "verdict = 'correct'"
per_problem = { keep = 1, order_by = "completion_tokens" }

[stage.samples]
kind = "samples"
inputs = ["kept"]

[stage.student]
kind = "train"
inputs = ["samples"]
from_scratch = { layers = 1, hidden_size = 32, heads = 2, kv_heads = 1, intermediate_size = 64, vocab_size = 320, max_positions = 512 }
max_steps = 120
batch_size = 4
learning_rate = 1e-3
save_every = 10
max_length = 512
"#;

/// Kills that the run must survive.
const KILLS: u32 = 24;

#[test]
fn killed_at_many_points_it_ends_with_the_same_bytes() {
    let undisturbed = Bench::new();
    let file = undisturbed.write("pipeline.toml", PIPELINE);
    let began = Instant::now();
    undisturbed.run_pipeline(&file, &[]);
    let whole = began.elapsed();

    let killed = Bench::new();
    let file = killed.write("pipeline.toml", PIPELINE);
    for kill in 1..=KILLS {
        // Points spread over the run; later ones come after what the earlier runs have committed.
        let wait = whole.mul_f64(f64::from(kill) / f64::from(KILLS)).min(Duration::from_secs(20));
        let mut child = killed.potstill(&["run", "pipeline.toml", "--store", "store", "--quiet"]).spawn().expect("the binary runs");
        std::thread::sleep(wait);
        child.kill().expect("SIGKILL");
        child.wait().expect("the child ends");
    }
    killed.run_pipeline(&file, &[]);
    let keep = |bench: &Bench| {
        let mut files = bench.committed();
        files.retain(|(_, path), _| path.ends_with(".parquet") || path.ends_with(".safetensors"));
        files
    };
    assert_eq!(keep(&killed), keep(&undisturbed));
}

#[test]
fn an_interrupt_ends_with_130_and_says_how_to_go_on() {
    let bench = Bench::new();
    let file = bench.write("pipeline.toml", PIPELINE.replace("max_steps = 120", "max_steps = 100000"));
    let child = bench
        .potstill(&["run", "pipeline.toml", "--store", "store"])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let child = child.expect("the binary runs");
    let pid = child.id().cast_signed();
    // Training has begun once its stage has an attempt folder of its own; a fixed wait is enough for that here.
    std::thread::sleep(Duration::from_secs(4));
    // SAFETY: sends a signal to the child started above, which has not been waited for.
    #[expect(unsafe_code, reason = "a signal to a child needs a system call")]
    let sent = unsafe { libc::kill(pid, libc::SIGINT) };
    assert_eq!(sent, 0);
    let ran = crate::support::Ran::of(child.wait_with_output().expect("the child ends"));
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(ran.stderr.contains("run the same command again"), "{}", ran.stderr);
    bench.run_pipeline(&file, &["stage.student.max_steps=5"]);
}

#[test]
fn two_runs_at_once_on_one_store_do_not_hurt_each_other() {
    let bench = Bench::new();
    bench.write("pipeline.toml", PIPELINE);
    let start = || bench.potstill(&["run", "pipeline.toml", "--store", "store", "--quiet"]).spawn().expect("the binary runs");
    let (mut first, mut second) = (start(), start());
    assert!(first.wait().expect("ends").success() && second.wait().expect("ends").success());
    let alone = Bench::new();
    let file = alone.write("pipeline.toml", PIPELINE);
    alone.run_pipeline(&file, &[]);
    let parquet = |bench: &Bench| {
        let mut files = bench.committed();
        files.retain(|(_, path), _| path.ends_with(".parquet") || path.ends_with(".safetensors"));
        files
    };
    assert_eq!(parquet(&bench), parquet(&alone));
}
