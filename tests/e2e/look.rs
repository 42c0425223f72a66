//! Looking at what there is: `show` on stages and files, `diff` between artifacts and files, `show why` along the lineage.

use serde_json::Value;

use crate::support::{Bench, Ran};

const PIPELINE: &str = r#"
version = 1
seed = 3
[teacher.careless]
kind = "procedural"
ends_wrong = 0.5
[stage.problems]
kind = "source"
procedural = { task = "arithmetic", count = 40, numbers = 3, max_number = 9, max_target = 100 }
[stage.attempts]
kind = "generate"
inputs = ["problems"]
teacher = "careless"
samples = 3
[stage.graded]
kind = "verify"
inputs = ["attempts"]
[stage.kept]
kind = "filter"
inputs = ["graded"]
where = "verdict = 'correct'"
per_problem = { keep = 1, order_by = "completion_tokens" }
[stage.made]
kind = "samples"
inputs = ["kept"]
[stage.report]
kind = "report"
inputs = ["graded", "made"]
"#;

struct Looked {
    bench: Bench,
}

impl Looked {
    fn new() -> Self {
        let bench = Bench::new();
        let file = bench.write("p.toml", PIPELINE);
        bench.run_pipeline(&file, &[]);
        Self { bench }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let store = self.bench.store().display().to_string();
        let args: Vec<&str> = args.iter().copied().chain(["--store", &store]).collect();
        self.bench.run(&args)
    }

    fn said(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        ran.stdout
    }

    /// Rows of a stage as JSON.
    fn rows(&self, stage: &str) -> Vec<Value> {
        let said = self.said(&["show", "p.toml", "--stage", stage, "-n", "1000"]);
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn id<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().expect("an id")
}

#[test]
fn show_tells_stages_columns_histograms_and_rows() {
    let looked = Looked::new();
    let stages = looked.said(&["show", "p.toml"]);
    assert!(stages.contains("kept") && stages.contains("in the store"), "{stages}");
    let columns = looked.said(&["show", "p.toml:graded"]);
    for word in ["120 rows", "completion_tokens", "correct ×", "█", "spread"] {
        assert!(columns.contains(word), "no {word}: {columns}");
    }
    let all = looked.said(&["show", "p.toml", "--stage", "graded", "--column", "verdict", "--column", "completion_tokens"]);
    assert!(all.contains("2 distinct values") && all.contains("median") && all.contains('█'), "{all}");
    let some = looked.said(&["show", "p.toml", "--stage", "graded", "--where", "verdict = 'incorrect'", "--column", "verdict"]);
    assert!(some.contains("1 distinct values") && some.contains("rows that satisfy the condition"), "{some}");
    let sorted = looked.said(&["show", "p.toml", "-s", "graded", "--sort", "completion_tokens DESC", "-n", "5"]);
    let tokens: Vec<u64> =
        sorted.lines().map(|l| serde_json::from_str::<Value>(l).expect("JSON")["completion_tokens"].as_u64().expect("tokens")).collect();
    assert!(tokens.len() == 5 && tokens.is_sorted_by(|a, b| a >= b), "{tokens:?}");
    // Dropped rows show why, and can be asked for by it.
    let dropped = looked.rows("kept.dropped");
    assert!(dropped.iter().all(|row| row["drop_reason"].is_string()) && !dropped.is_empty());
    let ran = looked.run(&["show", "p.toml:graded", "--column", "completion_token"]);
    assert!(ran.code == 2 && ran.stderr.contains("did you mean `completion_tokens`?"), "{}", ran.stderr);
}

#[test]
fn show_reads_any_table_file() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "{\"id\":\"a\",\"n\":3}\n{\"id\":\"b\",\"n\":5}\n{\"id\":\"c\",\"n\":5}\n");
    let ran = bench.run(&["show", "rows.jsonl"]);
    assert!(ran.code == 0 && ran.stdout.contains("3 rows") && ran.stdout.contains("Int64"), "{}{}", ran.stdout, ran.stderr);
    let ran = bench.run(&["show", "rows.jsonl", "--where", "n = 5", "-n", "9"]);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    bench.write("broken.jsonl", "{\"id\":\"a\"}\n{\"id\":\n");
    let ran = bench.run(&["show", "broken.jsonl"]);
    assert!(ran.code == 1 && ran.stderr.contains("line 2: not a JSON object"), "{}", ran.stderr);
    let ran = bench.run(&["show", "row.jsonl"]);
    assert!(ran.code == 1 && ran.stderr.contains("rows.jsonl"), "the neighbour is named: {}", ran.stderr);
}

#[test]
fn diff_tells_what_a_changed_filter_gained_and_lost() {
    let looked = Looked::new();
    let kept = looked.rows("kept").len();
    let same = looked.said(&["diff", "p.toml:kept", "p.toml:kept"]);
    assert!(same.contains(&format!("{kept} same, 0 lost, 0 gained, 0 changed")), "{same}");
    let against = looked.said(&["diff", "p.toml:graded", "p.toml:kept", "-n", "3"]);
    assert!(against.contains(&format!("{} lost", 120 - kept)) && against.contains("- … and"), "{against}");
    // The same stage with another condition: what the previous artifact had is compared with the present one.
    looked.bench.write("p.toml", PIPELINE.replace("verdict = 'correct'", "verdict = 'incorrect'"));
    let file = looked.bench.path("p.toml");
    let wrong = looked.bench.run_pipeline(&file, &[]).rows("kept");
    let versions: Value = serde_json::from_str(&looked.said(&["diff", "p.toml:kept", "--json"])).expect("JSON");
    assert_eq!(versions["rows"], serde_json::json!([kept, wrong]));
    assert_eq!((versions["lost"].as_u64(), versions["gained"].as_u64()), (Some(kept as u64), Some(wrong)));
    let ran = looked.run(&["diff", "p.toml:graded"]);
    assert!(ran.code == 1 && ran.stderr.contains("no version `previous`"), "{}", ran.stderr);
}

#[test]
fn why_names_the_stage_that_dropped_a_row_and_the_reason() {
    let looked = Looked::new();
    let dropped = looked.rows("kept.dropped");
    let wrong = dropped.iter().find(|row| row["verdict"] == "incorrect").expect("a wrong attempt");
    let said = looked.said(&["show", "why", "p.toml", id(wrong, "attempt_id")]);
    assert!(said.contains("`kept` dropped it: not (verdict = 'correct')"), "{said}");
    assert!(said.contains("graded") && said.contains("incorrect") && said.contains("is an attempt at the problem"), "{said}");
    let beaten = dropped.iter().find(|row| row["verdict"] == "correct").expect("a right attempt that another one beat");
    let said = looked.said(&["show", "why", "p.toml", id(beaten, "attempt_id")]);
    assert!(said.contains("`kept` dropped it: ") && !said.contains("not (verdict"), "{said}");
    // A row that went through, by its attempt, its sample and its problem.
    let kept = looked.rows("kept");
    let said = looked.said(&["show", "why", "p.toml", id(&kept[0], "attempt_id")]);
    assert!(said.contains("nothing dropped it; it is in `made`"), "{said}");
    let said = looked.said(&["show", "why", "p.toml", id(&kept[0], "problem_id")]);
    let attempts = said.lines().find(|line| line.starts_with("attempts")).expect("the stage");
    assert!(said.contains("is a problem") && attempts.contains('3'), "{said}");
    let ran = looked.run(&["show", "why", "p.toml", "nobody#7"]);
    assert!(ran.code == 1 && ran.stderr.contains("nobody#7"), "{}", ran.stderr);
}

#[test]
fn the_report_shows_the_columns_of_every_stage() {
    let looked = Looked::new();
    let page = std::fs::read_to_string(&looked.bench.files("report", "report")[0]).expect("the report");
    assert!(page.contains("<h2>Columns</h2>") && page.contains("class=\"spark\""), "{}", page.len());
    for column in ["completion_tokens", "verdict", "problem_id"] {
        assert!(page.contains(&format!("<td>{column}</td>")), "{column}");
    }
}
