//! Programs in replies run in the sandbox, through the binary.

use potstill_data::{Attempt, Verdict, read_all};
use serde_json::json;

use crate::support::{Bench, root};

#[test]
fn the_code_pipeline_keeps_what_passes() {
    let bench = Bench::new();
    // On a machine without any sandbox the sample is run without one; its hostile replies only read and connect.
    let summary = bench.run_pipeline(&root().join("pipelines/code.toml"), &["stage.graded.options.code.unsafe_no_sandbox=true"]);
    assert_eq!((summary.rows("graded"), summary.rows("kept")), (21, 10));
    let graded: Vec<Attempt> = read_all(&bench.files("graded", "rows")).expect("rows");
    for attempt in &graded {
        let note = attempt.verifier_note.as_deref().unwrap_or_default();
        println!("{} {}: {note}", attempt.problem.problem_id, attempt.teacher);
        assert!(note.contains("; sandbox L"), "{note}");
        assert_eq!(
            attempt.verdict == Some(Verdict::Correct),
            attempt.teacher == "careful",
            "{} by {}: {note}",
            attempt.problem.problem_id,
            attempt.teacher
        );
    }
}

#[test]
fn files_with_tests_are_graded() {
    let bench = Bench::new();
    let rows = [
        json!({ "tests": { "test_list": ["assert f(1) == 2"] }, "reply": "def f(x): return x + 1", "was": true }),
        json!({ "tests": { "test_list": ["assert f(1) == 2"] }, "reply": "def f(x): return x", "was": false }),
        json!({ "tests": null, "reply": "def f(x): return x", "was": false }),
    ];
    bench.write("rows.jsonl", rows.map(|row| row.to_string()).join("\n"));
    let common = ["--prediction", "reply", "--verifier", "code", "--out", "out.jsonl", "--unsafe-no-sandbox"];
    let args: Vec<&str> = ["verify", "rows.jsonl", "--tests", "tests", "--reference", "was"].into_iter().chain(common).collect();
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("3 rows, 1 correct (33.3 %), 1 incorrect, 1 undecided"), "{}", ran.stdout);
    assert!(ran.stdout.contains("agrees with the reference on 3 of 3 rows"), "{}", ran.stdout);
    // Several columns become one object.
    bench.write(
        "rows.jsonl",
        json!({ "test_list": ["assert f(1) == 2"], "test_setup_code": "", "reply": "def f(x): return x + 1" }).to_string(),
    );
    let args: Vec<&str> = ["verify", "rows.jsonl", "--tests", "test_list,test_setup_code"].into_iter().chain(common).collect();
    let ran = bench.run(&args);
    assert!(ran.stdout.contains("1 rows, 1 correct"), "{}{}", ran.stdout, ran.stderr);
    let ran = bench.run(&["verify", "rows.jsonl", "--tests", "test_lst", "--prediction", "reply", "--out", "out.jsonl"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no column `test_lst`") && ran.stderr.contains("did you mean `test_list`?"), "{}", ran.stderr);
}

#[test]
fn settings_that_cannot_work_are_told_before_any_work() {
    let bench = Bench::new();
    let pipeline = |options: &str| {
        format!(
            "version = 1\n[stage.a]\nkind = \"source\"\ndataset = \"{}\"\nrows = \"attempts\"\n[stage.b]\nkind = \"verify\"\ninputs = [\"a\"]\nverifier = \"code\"\noptions = {{ code = {{ {options} }} }}\n",
            root().join("datasets/code_sample.toml").display()
        )
    };
    for (options, says) in [
        ("time_limit_s = 1e9", "must be from 0.05 to 600"),
        ("level = \"l3\"", "unsafe_no_sandbox = true"),
        ("time_limit = 3", "time_limit_s"),
    ] {
        bench.write("p.toml", pipeline(options));
        let ran = bench.run(&["check", "p.toml"]);
        assert_eq!(ran.code, 2, "{options}: {}", ran.stdout);
        // The message is broken into lines to fit the terminal.
        let text = ran.stderr.split_whitespace().filter(|word| !word.contains('│')).collect::<Vec<_>>().join(" ");
        assert!(text.contains(says), "{options}: {}", ran.stderr);
    }
}
