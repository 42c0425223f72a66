//! SQL over rows: what conditions keep, and what they refuse to be.

use arrow::array::Array;
use potstill_data::parts::{BatchWriter, schema_of_parts};
use potstill_data::sql::{Query, RowFilter, filter_parts, filter_rows, query};
use potstill_data::{Attempt, DataError, Meta, MetaFields, Problem, Row, RowWriter, Sample, Scalar, ScalarKind, Table, Verdict, read_all};

fn attempts() -> Vec<Attempt> {
    let attempt = |index: u32| Attempt {
        problem: Problem {
            problem_id: format!("p{}", index / 4),
            source: "test".to_owned(),
            prompt: format!("What is {index} + 1?"),
            meta: if index.is_multiple_of(3) { Meta::new() } else { Meta::from([("level".to_owned(), Scalar::Int(index.into()))]) },
            ..Problem::default()
        },
        sample_index: index % 4,
        response: "It's ".repeat(index as usize),
        truncated: index.is_multiple_of(5),
        completion_tokens: (!index.is_multiple_of(7)).then_some(index),
        verdict: [None, Some(Verdict::Correct), Some(Verdict::Incorrect)][index as usize % 3],
        ..Attempt::default()
    };
    (0..40).map(attempt).collect()
}

fn level() -> MetaFields {
    MetaFields([("level".to_owned(), ScalarKind::Int)].into())
}

/// The ids that a condition keeps.
fn kept(sql: &str) -> Vec<String> {
    let filter = RowFilter::new(sql, &Attempt::schema(&level())).unwrap_or_else(|error| panic!("{error}"));
    filter_rows(&filter, attempts()).unwrap().iter().map(Attempt::attempt_id).collect()
}

fn expected(keep: impl Fn(&Attempt) -> bool) -> Vec<String> {
    attempts().iter().filter(|attempt| keep(attempt)).map(Attempt::attempt_id).collect()
}

#[test]
fn conditions_keep_what_they_say() {
    let correct = |attempt: &Attempt| attempt.verdict == Some(Verdict::Correct);
    assert_eq!(kept("verdict = 'correct' AND NOT truncated"), expected(|attempt| correct(attempt) && !attempt.truncated));
    assert_eq!(kept("meta.level > 10"), expected(|attempt| matches!(attempt.meta().get("level"), Some(Scalar::Int(level)) if *level > 10)));
    assert_eq!(
        kept("completion_tokens BETWEEN 5 AND 20 OR verdict IS NULL"),
        expected(|attempt| attempt.verdict.is_none() || matches!(attempt.completion_tokens, Some(5..=20)))
    );
    assert_eq!(kept("LENGTH(response) >= 50"), expected(|attempt| attempt.response.len() >= 50));
    assert_eq!(kept("prompt LIKE '%3 + 1?'"), expected(|attempt| attempt.problem.prompt.ends_with("3 + 1?")));
    assert_eq!(kept("problem_id IN ('p1', 'p2')"), expected(|attempt| ["p1", "p2"].contains(&&*attempt.problem.problem_id)));
    assert_eq!(kept("completion_tokens * 2 + 1 = 9"), expected(|attempt| attempt.completion_tokens == Some(4)));
    assert_eq!(kept("CASE WHEN truncated THEN FALSE ELSE TRUE END"), expected(|attempt| !attempt.truncated));
    assert_eq!(kept("COALESCE(meta.level, 0) = 0"), expected(|attempt| attempt.meta().is_empty()));
    assert_eq!(kept("response = 'It''s '"), expected(|attempt| attempt.response == "It's "));
    assert_eq!(kept("TRUE").len(), 40);
    assert_eq!(kept("1 = 2").len(), 0);
}

#[test]
fn null_is_neither_true_nor_false() {
    assert_eq!(kept("verdict <> 'correct'"), expected(|attempt| attempt.verdict == Some(Verdict::Incorrect)));
    assert_eq!(kept("NOT (verdict = 'correct')"), expected(|attempt| attempt.verdict == Some(Verdict::Incorrect)));
    assert_eq!(kept("NULL").len(), 0);
    assert_eq!(kept("completion_tokens > 3 OR TRUE").len(), 40);
    assert_eq!(kept("(completion_tokens > 3) IS NULL"), expected(|attempt| attempt.completion_tokens.is_none()));
}

fn refused(sql: &str) -> DataError {
    match RowFilter::new(sql, &Attempt::schema(&level())) {
        Ok(_) => panic!("`{sql}` was accepted"),
        Err(error) => error,
    }
}

#[test]
fn what_looks_at_several_rows_is_refused() {
    for sql in [
        "COUNT(*) > 3",
        "completion_tokens > AVG(completion_tokens)",
        "completion_tokens = MIN(completion_tokens) OVER (PARTITION BY problem_id)",
        "ROW_NUMBER() OVER (ORDER BY completion_tokens) < 3",
        "LAG(completion_tokens) OVER (ORDER BY sample_index) > 2",
        "SUM(completion_tokens) > 2",
        "FIRST(verdict) = 'correct'",
        "CORR(completion_tokens, sample_index) > 0",
        "QUANTILE_CONT(completion_tokens, 0.5) > 3",
        "completion_tokens IN (SELECT completion_tokens FROM self)",
    ] {
        let error = refused(sql);
        assert!(error.to_string().contains(sql), "{error}");
    }
    let error = refused("completion_tokens > AVG(completion_tokens)");
    assert!(error.to_string().contains("an aggregate, which looks at several rows at once"), "{error}");
    assert!(error.hint().unwrap().contains("per_problem"));
}

#[test]
fn unknown_columns_come_with_suggestions() {
    let error = refused("verdit = 'correct'");
    assert_eq!(error.to_string(), "`verdit = 'correct'`: no column `verdit`");
    assert!(error.hint().unwrap().starts_with("did you mean `verdict`"), "{:?}", error.hint());
    assert!(refused("meta.levle > 3").hint().unwrap().contains("`meta.level`"));
    let error = refused("verdict = \"correct\"");
    assert!(error.hint().unwrap().starts_with("text stands in single quotes"), "{:?}", error.hint());
    let messages = RowFilter::new("messages IS NOT NULL", &Sample::schema(&MetaFields::none())).unwrap_err();
    assert!(messages.to_string().contains("`messages` holds no plain values"), "{messages}");
}

#[test]
fn mistakes_in_syntax_and_types_are_found_before_any_row() {
    for sql in ["verdict = ", "verdict == = 'x'", "truncated AND", "", "verdict; DROP TABLE x", "completion_tokens"] {
        refused(sql);
    }
    assert!(refused("completion_tokens + 1").to_string().contains("not a condition"));
    refused("completion_tokens = 'many'");
}

#[test]
fn casts_may_fail_on_values_but_not_on_the_check() {
    let filter = RowFilter::new("CAST(gold AS INT) > 5", &Problem::schema(&MetaFields::none())).unwrap();
    let problem = |gold: &str| Problem { gold: Some(gold.to_owned()), ..Problem::default() };
    assert_eq!(filter_rows(&filter, vec![problem("7"), problem("3")]).unwrap().len(), 1);
    let error = filter_rows(&filter, vec![problem("x")]).unwrap_err();
    assert!(error.to_string().contains("CAST(gold AS INT)"), "{error}");
}

#[test]
fn parts_are_filtered_and_queried_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut writer = RowWriter::create(&path, &level()).unwrap();
    attempts().iter().try_for_each(|attempt| writer.push(attempt)).unwrap();
    writer.finish().unwrap();
    let schema = schema_of_parts::<Attempt, _>(&[&path]).unwrap();
    let filter = RowFilter::new("verdict = 'correct'", &schema).unwrap();
    assert_eq!(filter.columns(), ["verdict"]);
    let (kept_path, dropped_path) = (folder.path().join("kept.parquet"), folder.path().join("dropped.parquet"));
    let mut kept = BatchWriter::create(&kept_path, schema.clone()).unwrap();
    let mut dropped = BatchWriter::create(&dropped_path, schema).unwrap();
    let counts = filter_parts(&[&path], &filter, &mut kept, &mut dropped).unwrap();
    assert_eq!((kept.finish().unwrap().rows, dropped.finish().unwrap().rows), counts);
    let is_correct = |attempt: &Attempt| attempt.verdict == Some(Verdict::Correct);
    let (right, rest): (Vec<_>, Vec<_>) = attempts().into_iter().partition(is_correct);
    assert_eq!(read_all::<Attempt, _>(&[&kept_path]).unwrap(), right);
    assert_eq!(read_all::<Attempt, _>(&[&dropped_path]).unwrap(), rest);

    let sorted = Query { condition: Some("NOT truncated".to_owned()), sort: Some("completion_tokens DESC".to_owned()), limit: 3 };
    let found = Attempt::from_batch(&query(&Table::open(&path).unwrap(), &sorted).unwrap()).unwrap();
    assert_eq!(found.iter().map(|attempt| attempt.completion_tokens).collect::<Vec<_>>(), [Some(39), Some(38), Some(37)]);
    let first = query(&Table::open(&path).unwrap(), &Query { limit: 2, ..Query::default() }).unwrap();
    assert_eq!(Attempt::from_batch(&first).unwrap(), attempts()[..2]);
    assert_eq!(first.column_by_name("meta").unwrap().len(), 2);
    assert!(query(&Table::open(&path).unwrap(), &Query { sort: Some("nope".to_owned()), limit: 2, condition: None }).is_err());
}
