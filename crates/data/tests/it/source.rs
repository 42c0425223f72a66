//! Sources of every format.

use std::io::Write;

use crate::common::{Folder, LINES, question_answer, with_meta};
use potstill_data::source::{Columns, Duplicates, GoldRule, TestColumns};
use potstill_data::{MetaFields, Problem, RowWriter, Scalar, ScalarKind, SourceKind, SourceSpec};

#[test]
fn every_text_format_gives_the_same_rows() {
    let folder = Folder::new();
    let array = "\u{feff}[ {\"q\": \"one?\", \"a\": 1, \"n\": 7},\n {\"q\": \"two?\",\n  \"a\": \"2\", \"n\": 7.5}, {\"q\": \"three?\"} ]";
    let csv = "q,a,n\none?,1,7\n\"two?\",2,7.5\nthree?,,\n";
    let gz = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let expected = folder.problems(&folder.file("a.jsonl", LINES));
    assert_eq!(expected.iter().map(|row| row.gold.as_deref()).collect::<Vec<_>>(), [Some("1"), Some("2"), None]);
    assert_eq!(expected[0].source, "a");
    assert!(expected[0].problem_id.starts_with("b3-") && expected[0].problem_id.len() == 19);
    for (name, bytes) in [
        ("a.ndjson", LINES.as_bytes().to_vec()),
        ("a.json", array.as_bytes().to_vec()),
        ("a.csv", csv.as_bytes().to_vec()),
        ("a.tsv", csv.replace(',', "\t").into_bytes()),
        ("a.jsonl.gz", gz(LINES)),
        ("a.csv.zst", zstd::encode_all(csv.as_bytes(), 1).unwrap()),
        // JSON lines under the name of JSON, packed without saying so.
        ("b/a.json", gz(LINES)),
    ] {
        std::fs::create_dir_all(folder.0.path().join("b")).unwrap();
        assert_eq!(folder.problems(&folder.file(name, bytes)), expected, "{name}");
    }
}

#[test]
fn meta_types_are_learned_from_all_rows() {
    let folder = Folder::new();
    for (name, text) in [("a.jsonl", LINES), ("a.csv", "q,a,n\none?,1,7\ntwo?,2,7.5\nthree?,3,\n")] {
        let spec = SourceSpec { columns: Some(with_meta(&["n"])), ..folder.file(name, text) };
        assert_eq!(folder.open(&spec).unwrap().meta_fields(), &MetaFields([("n".to_owned(), ScalarKind::Float)].into()));
        let rows = folder.problems(&spec);
        assert_eq!(rows[0].meta["n"], Scalar::Float(7.0), "{name}");
        assert!(rows[2].meta.is_empty());
    }
    let spec = SourceSpec { columns: Some(with_meta(&["zip", "ok"])), ..folder.file("b.csv", "q,a,zip,ok\nx,1,007,true\ny,1,12,false\n") };
    assert_eq!(folder.problems(&spec)[0].meta, [("ok".to_owned(), true.into()), ("zip".to_owned(), "007".into())].into());
}

#[test]
fn several_files_are_one_source() {
    let folder = Folder::new();
    for index in 0..3 {
        folder.file(&format!("part-{index}.jsonl"), format!("{{\"q\": \"q{index}\", \"a\": {index}}}\n"));
    }
    let spec = SourceSpec { path: Some("part-*.jsonl".into()), columns: Some(question_answer()), ..SourceSpec::default() };
    let rows = folder.problems(&spec);
    assert_eq!(rows.iter().map(|row| &*row.prompt).collect::<Vec<_>>(), ["q0", "q1", "q2"]);
    assert_eq!(rows[0].source, "part");
    let none = SourceSpec { path: Some("nope-*.jsonl".into()), ..spec };
    assert!(folder.refused(&none).1.contains("no file name matches"));
}

#[test]
fn parquet_of_any_schema_is_read() {
    use arrow::array::{ArrayRef, Int64Array, LargeStringArray, ListArray, RecordBatch, StructArray};
    use arrow::datatypes::{Field, Int64Type};
    use std::sync::Arc;
    let folder = Folder::new();
    let numbers = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(3), Some(5)]), None]);
    let info: ArrayRef = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("level", arrow::datatypes::DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![Some(4), None])) as ArrayRef,
    )]));
    let batch = RecordBatch::try_from_iter([
        ("q", Arc::new(LargeStringArray::from(vec!["make 8", "make 9"])) as ArrayRef),
        ("nums", Arc::new(numbers) as ArrayRef),
        ("target", Arc::new(Int64Array::from(vec![8, 9])) as ArrayRef),
        ("info", info),
    ])
    .unwrap();
    let path = folder.0.path().join("a.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let tests = [("numbers".to_owned(), "nums".to_owned()), ("target".to_owned(), "target".to_owned())];
    let columns = Columns {
        prompt: Some("q".to_owned()),
        tests: Some(TestColumns::Object(tests.into())),
        meta: vec!["info.level".to_owned()],
        ..Columns::default()
    };
    let spec = SourceSpec { path: Some("a.parquet".into()), columns: Some(columns), ..SourceSpec::default() };
    let rows = folder.problems(&spec);
    assert_eq!(rows[0].tests.as_deref(), Some(r#"{"numbers":[3,5],"target":8}"#));
    assert_eq!(rows[1].tests.as_deref(), Some(r#"{"numbers":null,"target":9}"#));
    assert_eq!(rows[0].meta["info.level"], Scalar::Int(4));
    let wrong = SourceSpec { columns: Some(Columns { prompt: Some("question".to_owned()), ..Columns::default() }), ..spec };
    let (error, hint) = folder.refused(&wrong);
    assert_eq!(error, "DIR/a.parquet: no column `question`");
    assert!(hint.contains("columns are `q`, `nums`, `target`, `info`"), "{hint}");
}

#[test]
fn traces_become_attempts() {
    let folder = Folder::new();
    let lines = concat!(
        "{\"q\": \"1+1?\", \"a\": \"2\", \"r\": \"<think>one and one</think>\\n2\", \"m\": \"t1\", \"f\": \"stop\"}\n",
        "{\"q\": \"1+1?\", \"a\": \"2\", \"r\": \"<think>hm, and so on\", \"m\": \"t1\", \"f\": \"length\"}\n",
        "{\"q\": \"2+2?\", \"a\": \"4\", \"r\": [\"4\", \"5\"], \"m\": \"t2\"}\n",
    );
    let columns =
        Columns { response: Some("r".to_owned()), teacher: Some("m".to_owned()), finish_reason: Some("f".to_owned()), ..question_answer() };
    let tags = Some(["<think>".to_owned(), "</think>".to_owned()]);
    let spec = SourceSpec { columns: Some(columns), reasoning_tags: tags, ..folder.file("a.jsonl", lines) };
    let rows = folder.attempts(&spec);
    assert_eq!(rows[0].reasoning.as_deref(), Some("one and one"));
    assert_eq!((&*rows[0].response, &*rows[0].teacher, rows[0].truncated), ("2", "t1", false));
    assert_eq!((rows[1].sample_index, rows[1].truncated, &*rows[1].response), (1, true, ""));
    assert_eq!(rows[0].problem.problem_id, rows[1].problem.problem_id);
    assert_eq!((&*rows[3].response, rows[3].sample_index, &*rows[3].finish_reason), ("5", 1, "unknown"));
    let problems = SourceSpec { rows: Some(SourceKind::Problems), duplicates: Some(Duplicates::First), ..spec };
    assert_eq!(folder.problems(&problems).len(), 2);
}

#[test]
fn conversations_become_attempts() {
    let folder = Folder::new();
    let turns = r#"[{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2", "reasoning": "easy"}]"#;
    let quoted = serde_json::to_string(turns).unwrap();
    let lines = format!("{{\"m\": {turns}}}\n{{\"m\": {quoted}}}\n");
    let columns = Columns { messages: Some("m".to_owned()), ..Columns::default() };
    let spec = SourceSpec { columns: Some(columns), ..folder.file("a.jsonl", lines) };
    let rows = folder.attempts(&spec);
    assert_eq!(rows.len(), 2);
    assert_eq!((&*rows[1].problem.prompt, rows[1].reasoning.as_deref(), &*rows[1].response), ("1+1?", Some("easy"), "2"));
    let unanswered = folder.file("b.jsonl", "{\"m\": [{\"role\": \"user\", \"content\": \"1+1?\"}]}\n");
    let spec = SourceSpec { columns: spec.columns, ..unanswered };
    assert!(folder.refused(&spec).0.contains("line 1: column `m`: no assistant turn"));
    assert_eq!(folder.problems(&SourceSpec { rows: Some(SourceKind::Problems), ..spec }).len(), 1);
}

#[test]
fn templates_gold_rules_and_limits() {
    let folder = Folder::new();
    let lines: String = (0..10).map(|n| format!("{{\"q\": \"{n}?\", \"a\": \"so {n}\\n#### {n}\", \"l\": {n}}}\n")).collect();
    let spec = SourceSpec {
        columns: Some(Columns { meta: vec!["l".to_owned()], gold: Some("a".to_owned()), ..Columns::default() }),
        prompt_template: Some("Q: {q} \\boxed{{}}".to_owned()),
        gold_rule: Some(GoldRule::Hashes),
        condition: Some("meta.l % 2 = 1".to_owned()),
        skip: Some(1),
        limit: Some(2),
        verifier: Some("number".to_owned()),
        id_prefix: Some("x-".to_owned()),
        ..folder.file("a.jsonl", lines)
    };
    let rows = folder.problems(&spec);
    assert_eq!(rows.iter().map(|row| row.gold.clone().unwrap()).collect::<Vec<_>>(), ["3", "5"]);
    assert_eq!(rows[0].prompt, "Q: 3? \\boxed{}");
    assert_eq!(rows[0].verifier.as_deref(), Some("number"));
    assert!(rows[0].problem_id.starts_with("x-b3-"));
    let nothing = SourceSpec { condition: Some("meta.l > 50".to_owned()), ..spec.clone() };
    assert!(folder.refused(&nothing).1.contains("`where` left out 10"));
    let unknown = SourceSpec { condition: Some("level > 5".to_owned()), ..spec.clone() };
    assert!(folder.refused(&unknown).0.contains("no column `level`"));
    let no_gold = SourceSpec { gold_rule: Some(GoldRule::Boxed), condition: None, ..spec };
    assert!(folder.refused(&no_gold).0.contains("no row has a gold answer"));
}

#[test]
fn own_parts_are_sources_too() {
    let folder = Folder::new();
    let path = folder.0.path().join("a.parquet");
    let mut writer = RowWriter::create(&path, &MetaFields::none()).unwrap();
    let problem = Problem { problem_id: "p".to_owned(), prompt: "x".to_owned(), ..Problem::default() };
    writer.push(&problem).unwrap();
    writer.finish().unwrap();
    let columns = Columns { id: Some("problem_id".to_owned()), prompt: Some("prompt".to_owned()), ..Columns::default() };
    let spec = SourceSpec { path: Some("a.parquet".into()), columns: Some(columns), ..SourceSpec::default() };
    assert_eq!(folder.problems(&spec)[0].problem_id, "p");
    let bytes = std::fs::read(&path).unwrap();
    let spec = SourceSpec { columns: spec.columns, ..folder.file("b.parquet", &bytes[..bytes.len() - 9]) };
    assert!(folder.refused(&spec).0.contains("b.parquet: no sound Parquet file"));
}

/// Parquet tells how many rows there are without being read; a list of replies makes an attempt of each.
#[test]
fn footers_tell_the_most_rows() {
    use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
    use potstill_data::parts::BatchWriter;

    let folder = Folder::new();
    let mut replies = ListBuilder::new(StringBuilder::new());
    for row in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
        row.iter().for_each(|reply| replies.values().append_value(reply));
        replies.append(true);
    }
    let questions: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["one?", "two?", "three?"]));
    let batch = RecordBatch::try_from_iter([("q", questions), ("replies", std::sync::Arc::new(replies.finish()) as ArrayRef)]).unwrap();
    let mut out = BatchWriter::create(&folder.0.path().join("a.parquet"), batch.schema()).unwrap();
    out.write(&batch).unwrap();
    out.finish().unwrap();
    let columns =
        |response: Option<&str>| Columns { prompt: Some("q".to_owned()), response: response.map(str::to_owned), ..Columns::default() };
    let spec = |response| SourceSpec { path: Some("a.parquet".into()), columns: Some(columns(response)), ..SourceSpec::default() };
    assert_eq!(folder.open(&spec(None)).unwrap().most_rows(), Some(3));
    assert_eq!(folder.open(&spec(Some("replies"))).unwrap().most_rows(), Some(6));
    assert_eq!(folder.attempts(&spec(Some("replies"))).len(), 6);
    let part = SourceSpec { skip: Some(1), limit: Some(4), ..spec(Some("replies")) };
    assert_eq!((folder.open(&part).unwrap().most_rows(), folder.attempts(&part).len()), (Some(4), 4));
    assert_eq!(folder.open(&folder.file("a.jsonl", LINES)).unwrap().most_rows(), None);
}
