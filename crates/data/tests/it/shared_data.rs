//! The real problems and traces in `../shared/data` (beside the checkout) load through mappings. Where
//! that folder is not there, these tests say so and pass.

use std::path::PathBuf;

use potstill_data::source::{Columns, Duplicates, GoldRule, TestColumns};
use potstill_data::{Attempt, MetaFields, Problem, Row, RowWriter, Source, SourceKind, SourceSpec, Table, read_all, stats::describe};

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn shared_data() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    if !folder.is_dir() {
        eprintln!("skipped: no {}", folder.display());
        return None;
    }
    Some(folder)
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn problems_of(id: &str, prompt: &str, gold: Option<&str>, meta: &[&str]) -> Columns {
    Columns {
        id: named(id),
        prompt: named(prompt),
        gold: gold.map(str::to_owned),
        meta: meta.iter().map(|name| (*name).to_owned()).collect(),
        ..Columns::default()
    }
}

fn traces_of(prompt: &str, gold: Option<&str>, meta: &[&str]) -> Columns {
    Columns { response: named("response"), teacher: named("model"), ..problems_of("id", prompt, gold, meta) }
}

/// File, its columns, and its number of rows.
fn tables() -> Vec<(&'static str, Columns, usize)> {
    let countdown =
        TestColumns::Object([("numbers", "nums"), ("target", "target")].map(|(key, column)| (key.to_owned(), column.to_owned())).into());
    let graded = &["benchmark", "model_license", "correct", "n_reflect", "n_chars", "gold_harness"];
    vec![
        ("problems/gsm8k_train.parquet", problems_of("id", "question", Some("gold"), &[]), 7473),
        ("problems/gsm8k_test.parquet", problems_of("id", "question", Some("gold"), &["answer"]), 1319),
        ("problems/math500.parquet", problems_of("id", "problem", Some("gold"), &["subject", "level"]), 500),
        ("problems/math_train_sample2000.parquet", problems_of("id", "problem", Some("gold"), &["difficulty"]), 2000),
        ("problems/aime24.parquet", problems_of("id", "problem", Some("gold"), &["url"]), 30),
        ("problems/amc22_23.parquet", problems_of("id", "problem", Some("gold"), &["url"]), 83),
        (
            "problems/countdown_2000.parquet",
            Columns { tests: Some(countdown), ..problems_of("id", "prompt", None, &["solvable", "solution"]) },
            2000,
        ),
        ("problems/humaneval.parquet", problems_of("task_id", "prompt", None, &["entry_point", "test"]), 164),
        ("problems/mbpp_minus_validation.parquet", problems_of("task_id", "text", None, &["test_list"]), 884),
        (
            "problems/code_contests_stdio_100.parquet",
            Columns { tests: Some(TestColumns::One("tests_json".to_owned())), ..problems_of("id", "problem", None, &[]) },
            100,
        ),
        ("traces/farel_reasoning.parquet", traces_of("question", Some("gold"), &["correct", "relation", "extracted"]), 675),
        (
            "traces/misguided_attention_reasoning.parquet",
            Columns { reasoning: named("thinking"), ..traces_of("question", None, &["judge_score"]) },
            611,
        ),
        ("traces/sky_t1_long_cot_amc23_aime24.parquet", traces_of("question", Some("gold"), graded), 370),
        ("traces/camel_star_r1_math.parquet", traces_of("problem", Some("solution"), &["evaluate_success"]), 4),
        ("traces/can_ai_code_r1_distill.parquet", traces_of("question", None, &["correct", "passed", "language"]), 90),
        ("verdicts/math500_three_models.parquet", traces_of("question", Some("gold"), graded), 1500),
        (
            "verdicts/gsm8k_openai_model_solutions.parquet",
            Columns { teacher: named("system"), ..traces_of("question", Some("gold"), &["correct"]) },
            3200,
        ),
        ("verdicts/reasoning_gym_easy.parquet", traces_of("question", Some("gold"), &["task", "score"]), 20375),
    ]
}

/// Two tables have several prompts under one id.
fn duplicates_of(name: &str) -> Option<Duplicates> {
    ["can_ai_code", "reasoning_gym"].iter().any(|table| name.contains(table)).then_some(Duplicates::Suffix)
}

fn copy<R: Row + PartialEq>(path: &PathBuf, meta: &MetaFields, rows: &[R]) {
    let mut writer = RowWriter::create(path, meta).unwrap();
    rows.iter().try_for_each(|row| writer.push(row)).unwrap();
    writer.finish().unwrap();
    assert!(read_all::<R, _>(&[path]).unwrap() == rows, "{} came back otherwise", path.display());
}

#[test]
fn every_table_loads_and_comes_back() {
    let Some(shared) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, columns, count) in tables() {
        let spec = SourceSpec { path: Some(name.into()), columns: Some(columns), duplicates: duplicates_of(name), ..SourceSpec::default() };
        let mut source = Source::open(&spec, &shared).unwrap_or_else(|error| panic!("{name}: {error}: {:?}", error.hint()));
        let rows: Vec<Attempt> =
            source.by_ref().collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{name}: {error}: {:?}", error.hint()));
        assert_eq!(rows.len(), count, "{name}");
        assert!(rows.iter().all(|row| !row.problem.prompt.is_empty()), "{name}");
        let path = folder.path().join("copy.parquet");
        if source.kind() == SourceKind::Attempts {
            copy(&path, source.meta_fields(), &rows);
        } else {
            let problems: Vec<Problem> = rows.into_iter().map(|row| row.problem).collect();
            copy(&path, source.meta_fields(), &problems);
        }
        let description = describe(Table::open(&path).unwrap().batches()).unwrap();
        assert_eq!(description.rows, count as u64);
        let prompt = description.columns.iter().find(|column| column.name == "prompt").unwrap();
        assert!(prompt.nulls == 0 && prompt.numbers.as_ref().unwrap().min > 0.0, "{name}");
    }
}

#[test]
fn gold_answers_in_gsm8k_solutions_are_those_of_the_gold_column() {
    let Some(shared) = shared_data() else { return };
    let spec = SourceSpec {
        path: Some("problems/gsm8k_*.parquet".into()),
        columns: Some(problems_of("id", "question", Some("answer"), &["gold"])),
        gold_rule: Some(GoldRule::Hashes),
        ..SourceSpec::default()
    };
    let mut source = Source::open(&spec, &shared).unwrap();
    let plain = |text: &str| text.replace(',', "");
    let rows: Vec<Problem> = source.problems().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 7473 + 1319);
    let other = rows.iter().filter(|row| plain(row.gold.as_deref().unwrap()) != plain(&row.meta["gold"].to_string()));
    assert_eq!(other.count(), 0);
}

#[test]
fn boxed_answers_of_math500_are_those_of_the_gold_column() {
    let Some(shared) = shared_data() else { return };
    let spec = SourceSpec {
        path: Some("problems/math500.parquet".into()),
        columns: Some(problems_of("id", "problem", Some("solution"), &["gold"])),
        gold_rule: Some(GoldRule::Boxed),
        duplicates: Some(Duplicates::Error),
        ..SourceSpec::default()
    };
    let mut source = Source::open(&spec, &shared).unwrap();
    let rows: Vec<Problem> = source.problems().map(Result::unwrap).collect();
    let same = rows.iter().filter(|row| row.gold.as_deref() == Some(row.meta["gold"].to_string().trim()));
    assert_eq!(same.count(), 500);
}
