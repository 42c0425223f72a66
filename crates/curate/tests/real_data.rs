//! Published traces through the checks and the journey composer. Reads `shared/data` beside the checkout; where that is
//! absent each test says so and passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use potstill_curate::checks::{prose, repetition};
use potstill_curate::decontaminate::Index;
use potstill_curate::dedup::{On, dedup};
use potstill_curate::journey::{Committed, Eyes, journey};
use potstill_curate::{Checks, ChecksConfig, Decision, DecontaminateConfig, Decontaminator, DedupConfig, JourneyConfig};
use potstill_data::source::{Columns, Duplicates};
use potstill_data::{Attempt, Source, SourceSpec, Verdict};

fn shared_data() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    if !path.is_dir() {
        println!("skipped: no shared data beside the checkout");
        return None;
    }
    Some(path.to_owned())
}

fn read(file: &str, columns: Columns) -> Option<Vec<Attempt>> {
    let spec = SourceSpec {
        path: Some(shared_data()?.join(file)),
        columns: Some(columns),
        duplicates: Some(Duplicates::Suffix),
        ..SourceSpec::default()
    };
    Some(Source::open(&spec, Path::new(".")).unwrap().collect::<Result<_, _>>().unwrap())
}

fn columns(prompt: &str, reasoning: Option<&str>) -> Columns {
    let some = |name: &str| Some(name.to_owned());
    Columns {
        id: some("id"),
        prompt: some(prompt),
        response: some("response"),
        reasoning: reasoning.map(str::to_owned),
        teacher: some("model"),
        ..Columns::default()
    }
}

/// Why rows are dropped, with examples of each reason.
fn reasons(rows: &[Attempt], config: &ChecksConfig) -> BTreeMap<String, Vec<String>> {
    let checks = Checks::new(config, None).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        if let Decision::Drop(reason) = checks.decide(row) {
            found.entry(reason.into_owned()).or_default().push(row.attempt_id());
        }
    }
    for (reason, ids) in &found {
        println!("  {:4} {reason}: {}", ids.len(), ids.iter().take(8).cloned().collect::<Vec<_>>().join(", "));
    }
    found
}

fn count(found: &BTreeMap<String, Vec<String>>, reason: &str) -> usize {
    found.get(reason).map_or(0, Vec::len)
}

/// 97 of the 370 traces hit the token limit: 95 within the thought, 2 within the solution. Most of them loop; of the
/// 273 whole ones none does.
#[test]
fn sky_t1_traces_that_loop_or_were_cut() {
    let Some(rows) = read("traces/sky_t1_long_cot_amc23_aime24.parquet", columns("question", None)) else { return };
    assert_eq!(rows.len(), 370);
    let whole = |row: &&Attempt| row.response.contains("<|end_of_solution|>");
    let loops = ChecksConfig { loops: true, ..ChecksConfig::default() };
    let (complete, cut): (Vec<Attempt>, Vec<Attempt>) = rows.iter().cloned().partition(|r| whole(&r));
    println!("{} whole:", complete.len());
    assert_eq!(reasons(&complete, &loops).len(), 0);
    println!("{} cut off:", cut.len());
    let found = reasons(&cut, &loops);
    assert_eq!(cut.len(), 97);
    assert!(count(&found, "ends in a loop") >= 85 && found.values().map(Vec::len).sum::<usize>() >= 92, "{found:?}");
    let tags = reasons(&rows, &ChecksConfig { think_tags: true, ..ChecksConfig::default() });
    assert_eq!((tags.len(), count(&tags, "think mark not closed")), (1, 97));
    let languages = reasons(&rows, &ChecksConfig { one_language: true, ..ChecksConfig::default() });
    assert_eq!(languages.len(), 0);
}

#[test]
fn misguided_attention_traces() {
    let Some(rows) = read("traces/misguided_attention_reasoning.parquet", columns("question", Some("thinking"))) else { return };
    assert_eq!(rows.len(), 611);
    let every = ChecksConfig { empty: true, loops: true, one_language: true, refusals: true, ..ChecksConfig::default() };
    let found = reasons(&rows, &every);
    for id in found.iter().filter(|(reason, _)| reason.contains("language") || reason.contains("script")).flat_map(|(_, ids)| ids) {
        let row = rows.iter().find(|r| r.attempt_id() == *id).unwrap();
        let text = format!("{}\n{}", row.reasoning.as_deref().unwrap_or_default(), row.response);
        let foreign: String = prose(&text).chars().filter(|c| !c.is_ascii()).take(60).collect();
        println!("    {id} ({}): {foreign}", row.teacher);
    }
}

#[test]
fn math500_replies() {
    let Some(rows) = read("verdicts/math500_three_models.parquet", columns("question", None)) else { return };
    assert_eq!(rows.len(), 1500);
    let every = ChecksConfig { empty: true, loops: true, one_language: true, refusals: true, ..ChecksConfig::default() };
    let found = reasons(&rows, &every);
    // A degenerate student that repeats `\boxed{}` to its end is among the three models.
    assert!(count(&found, "ends in a loop") >= 60, "{found:?}");
    let looping = found["ends in a loop"].iter().map(|id| rows.iter().find(|r| r.attempt_id() == *id).unwrap());
    for row in looping {
        let end = repetition(&row.response);
        let tail: String = row.response.chars().rev().take(64).collect();
        assert!(end.ending.is_some() || tail.chars().all(|c| tail.starts_with(c)), "{}", row.attempt_id());
    }
    // Three models answered each problem: by prompt nothing is double but the problem itself.
    let same = dedup(&rows, &DedupConfig { on: On::Both, ..DedupConfig::default() }).unwrap();
    println!("  {} of 1500 replies repeat another to one problem", 1500 - same.decisions.kept());
}

/// GSM8K's training problems against its test problems and MATH-500.
#[test]
fn gsm8k_train_is_nearly_clean() {
    let Some(test) = read_problems("problems/gsm8k_test.parquet", "question") else { return };
    let Some(math) = read_problems("problems/math500.parquet", "problem") else { return };
    let Some(train) = read_problems("problems/gsm8k_train.parquet", "question") else { return };
    let mut index = Index::new(&DecontaminateConfig::default()).unwrap();
    for (name, rows) in [("gsm8k_test", &test), ("math500", &math)] {
        rows.iter().for_each(|row| index.add(name, &row.problem.problem_id, &row.problem.prompt));
    }
    assert_eq!(index.len(), 1819);
    let scan = |rows: &[Attempt]| {
        let mut pass = Decontaminator::new(&index);
        rows.iter().for_each(|row| pass.observe(row));
        pass.finish()
    };
    let found = scan(&train);
    println!("  {} of {} training problems match: {:?}", found.matches.len(), train.len(), found.by_benchmark());
    for hit in found.matches.iter().take(12) {
        println!("    {} ~ {} {} ({:?}): {}", hit.problem_id, hit.benchmark, hit.item_id, hit.rule, hit.excerpt);
    }
    assert!(found.matches.len() < train.len() / 50);
    assert_eq!(scan(&test).decisions.kept(), 0, "every test problem is its own contamination");
}

fn read_problems(file: &str, prompt: &str) -> Option<Vec<Attempt>> {
    let some = |name: &str| Some(name.to_owned());
    read(file, Columns { id: some("id"), prompt: some(prompt), gold: some("gold"), ..Columns::default() })
}

/// Answers in `\boxed{}` with nested braces.
fn boxed(text: &str) -> Vec<Committed> {
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("\\boxed{") {
        let start = at + mark.len();
        let mut depth = 1;
        let close = text[start..].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        if let Some((end, _)) = close {
            found.push(Committed { text: text[start..start + end].to_owned(), span: start..start + end });
        }
    }
    found
}

fn plain(answer: &str) -> String {
    let mut answer = answer.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac");
    for noise in ["\\left", "\\right", "\\!", "\\,", "\\text", "\\%", "^\\circ", "$", " ", "{", "}"] {
        answer = answer.replace(noise, "");
    }
    answer
}

fn judge(attempt: &Attempt) -> Verdict {
    match (boxed(&attempt.response).last(), &attempt.problem.gold) {
        (Some(last), Some(gold)) if plain(&last.text) == plain(gold) => Verdict::Correct,
        _ => Verdict::Incorrect,
    }
}

/// 244 problems with a wrong and a right reply each become journeys.
#[test]
fn wrong_and_right_replies_become_journeys() {
    let of = |side: &str| {
        let some = |name: String| Some(name);
        read(
            "journey/wrong_right_pairs_math500.parquet",
            Columns {
                id: some("id".into()),
                prompt: some("problem".into()),
                gold: some("gold".into()),
                response: some(format!("{side}_response")),
                teacher: some(format!("{side}_model")),
                ..Columns::default()
            },
        )
    };
    let (Some(wrong), Some(right)) = (of("wrong"), of("right")) else { return };
    assert_eq!((wrong.len(), right.len()), (244, 244));
    let mut rows = wrong;
    rows.extend(right.into_iter().map(|row| Attempt { sample_index: 1, ..row }));
    let eyes = Eyes { answers: &boxed, judge: &judge };
    let (journeys, shortcuts, report) = journey(&rows, &JourneyConfig::default(), 1, &eyes, None).unwrap();
    println!("  {}", serde_json::to_string_pretty(&report.to_json()).unwrap());
    assert!(journeys.len() >= 150, "{}", journeys.len());
    assert_eq!(journeys.len(), shortcuts.len());
    for sample in &journeys {
        let gold = rows.iter().find(|r| r.problem.problem_id == sample.problem_id).unwrap().problem.gold.clone();
        let last = boxed(&sample.messages.last().unwrap().content).pop().unwrap();
        assert_eq!(plain(&last.text), plain(&gold.unwrap()), "{}", sample.sample_id);
        assert_eq!(sample.kind.as_str(), "journey");
    }
    let shown = &journeys[journeys.len() / 2];
    println!("{}\n{:?}\n{}", shown.sample_id, shown.messages[1].reasoning, shown.messages[1].content);
}
