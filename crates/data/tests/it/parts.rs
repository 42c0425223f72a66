//! Parts on disk: what is written is what is read, the bytes depend on the rows alone, and damaged
//! files are refused with a place.

use std::path::{Path, PathBuf};

use potstill_data::parts::{BatchReader, BatchWriter, conform, count_rows, schema_of_parts};
use potstill_data::{
    Attempt, DataError, LossSpan, Message, MessagePart, Meta, MetaFields, Pair, Problem, Row, RowReader, RowWriter, Sample, SampleKind,
    Scalar, Verdict, read_all,
};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-zA-Z0-9 ]{0,12}", 1 => any::<String>()]
}

fn scalar_of(column: usize) -> BoxedStrategy<Scalar> {
    match column {
        0 => any::<bool>().prop_map(Scalar::Bool).boxed(),
        1 => any::<i64>().prop_map(Scalar::Int).boxed(),
        2 => any::<f64>().prop_filter("NaN is not equal to itself", |value| !value.is_nan()).prop_map(Scalar::Float).boxed(),
        _ => text().prop_map(Scalar::Text).boxed(),
    }
}

/// Four columns of fixed types, each there or not.
fn meta() -> impl Strategy<Value = Meta> {
    let columns: Vec<_> = (0..4).map(|column| proptest::option::of(scalar_of(column))).collect();
    columns.prop_map(|values| {
        let named = values.into_iter().zip(["flag", "level", "score", "subject"]);
        named.filter_map(|(value, name)| Some((name.to_owned(), value?))).collect()
    })
}

fn problem() -> impl Strategy<Value = Problem> {
    let optional = || proptest::option::of(text());
    (text(), text(), optional(), text(), optional(), optional(), optional(), meta()).prop_map(
        |(problem_id, source, domain, prompt, gold, tests, verifier, meta)| Problem {
            problem_id,
            source,
            domain,
            prompt,
            gold,
            tests,
            verifier,
            meta,
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let optional = || proptest::option::of(text());
    let count = || proptest::option::of(any::<u32>());
    let verdict = proptest::option::of(prop::sample::select(Verdict::ALL.to_vec()));
    let texts = (text(), optional(), text(), text(), optional(), optional(), optional(), optional());
    let counts = (any::<u32>(), count(), count(), count(), count());
    let cost = proptest::option::of(0.0..1e3);
    (problem(), texts, counts, any::<bool>(), any::<bool>(), cost, verdict).prop_map(
        |(problem, texts, counts, truncated, tokens_estimated, cost_usd, verdict)| {
            let (teacher, reasoning, response, finish_reason, request_key, extracted, proof, verifier_note) = texts;
            let (sample_index, prompt_tokens, completion_tokens, reasoning_tokens, latency_ms) = counts;
            Attempt {
                problem,
                sample_index,
                teacher,
                reasoning,
                response,
                finish_reason,
                truncated,
                prompt_tokens,
                completion_tokens,
                reasoning_tokens,
                tokens_estimated,
                cost_usd,
                latency_ms,
                request_key,
                verdict,
                extracted,
                proof,
                verifier_note,
            }
        },
    )
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message =
        (text(), text(), proptest::option::of(text())).prop_map(|(role, content, reasoning)| Message { role, content, reasoning });
    proptest::collection::vec(message, 0..4)
}

fn pair() -> impl Strategy<Value = Pair> {
    let lineage = proptest::collection::vec(text(), 0..4);
    (text(), text(), text(), messages(), messages(), messages(), lineage, meta()).prop_map(
        |(pair_id, problem_id, source, prompt, chosen, rejected, lineage, meta)| Pair {
            pair_id,
            problem_id,
            source,
            prompt,
            chosen,
            rejected,
            lineage,
            meta,
        },
    )
}

fn sample() -> impl Strategy<Value = Sample> {
    let kind = prop::sample::select(SampleKind::ALL.to_vec());
    let lineage = proptest::collection::vec(text(), 0..4);
    let part = prop::sample::select(MessagePart::ALL.to_vec());
    let span = (0_u32..4, part, any::<u32>(), any::<u32>(), 0.0_f32..1.0).prop_map(|(message, part, start, end, weight)| LossSpan {
        message,
        part,
        start,
        end,
        weight,
    });
    let spans = proptest::collection::vec(span, 0..3);
    (text(), text(), text(), messages(), kind, 0.0_f32..10.0, spans, lineage, meta()).prop_map(
        |(sample_id, problem_id, source, messages, kind, weight, loss_spans, lineage, meta)| Sample {
            sample_id,
            problem_id,
            source,
            messages,
            kind,
            weight,
            loss_spans,
            lineage,
            meta,
        },
    )
}

fn write<R: Row>(path: &Path, rows: &[R]) -> MetaFields {
    let fields = MetaFields::of_rows(rows.iter().map(Row::meta));
    let mut writer = RowWriter::create(path, &fields).unwrap();
    for row in rows {
        writer.push(row).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(summary.rows, rows.len() as u64);
    assert_eq!(summary.bytes, std::fs::metadata(path).unwrap().len());
    fields
}

fn round_trip<R: Row + PartialEq + std::fmt::Debug>(rows: &[R]) {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    let fields = write(&first, rows);
    write(&second, rows);
    assert_eq!(read_all::<R, _>(&[&first]).unwrap(), rows);
    assert_eq!(MetaFields::of_parts(&[&first]).unwrap(), fields);
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "same rows, other bytes");
}

/// Samples written before there were loss spans have no such column.
#[test]
fn samples_without_the_column_of_spans_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.parquet");
    let sample = Sample {
        sample_id: "s".into(),
        problem_id: "p".into(),
        source: "old".into(),
        messages: vec![Message::new("user", "Q")],
        kind: SampleKind::General,
        weight: 1.0,
        loss_spans: Vec::new(),
        lineage: Vec::new(),
        meta: Meta::new(),
    };
    let batch = Sample::to_batch(std::slice::from_ref(&sample), &MetaFields::none()).unwrap();
    let kept: Vec<usize> = (0..batch.num_columns()).filter(|at| batch.schema().field(*at).name() != "loss_spans").collect();
    let old = batch.project(&kept).unwrap();
    let mut writer = BatchWriter::create(&path, old.schema()).unwrap();
    writer.write(&old).unwrap();
    writer.finish().unwrap();
    assert_eq!(read_all::<Sample, _>(&[&path]).unwrap(), [sample]);
    let schema = schema_of_parts::<Sample, _>(&[&path]).unwrap();
    assert_eq!(conform(&old, &schema).unwrap(), batch);
}

#[test]
fn spans_are_characters_and_end_with_the_text() {
    let span = |start, end| LossSpan { message: 0, part: MessagePart::Content, start, end, weight: 0.0 };
    assert_eq!(span(1, 3).bytes("aÄ好b"), 1..6);
    assert_eq!((span(2, 99).bytes("aÄb"), span(9, 99).bytes("ab"), span(3, 1).bytes("abcd")), (3..4, 2..2, 3..3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pairs_come_back(rows in proptest::collection::vec(pair(), 0..20)) {
        round_trip(&rows);
    }

    #[test]
    fn problems_come_back(rows in proptest::collection::vec(problem(), 0..20)) {
        round_trip(&rows);
    }

    #[test]
    fn attempts_come_back(rows in proptest::collection::vec(attempt(), 0..20)) {
        round_trip(&rows);
    }

    #[test]
    fn samples_come_back(rows in proptest::collection::vec(sample(), 0..20)) {
        round_trip(&rows);
    }
}

fn numbered(count: usize) -> Vec<Problem> {
    let problem = |index: usize| Problem {
        problem_id: format!("p{index}"),
        source: "test".to_owned(),
        prompt: format!("What is {index} + {}?", index * 7),
        gold: Some((index * 8).to_string()),
        ..Problem::default()
    };
    (0..count).map(problem).collect()
}

fn file(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

#[test]
fn parts_stream_in_order_whatever_their_meta_fields() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = numbered(10_000);
    rows[7_000].meta.insert("level".to_owned(), Scalar::Int(3));
    let (first, second) = (file(&folder, "a.parquet"), file(&folder, "b.parquet"));
    write(&first, &rows[..5_000]);
    write(&second, &rows[5_000..]);
    let reader = RowReader::<Problem>::open(&[&first, &second]).unwrap();
    assert_eq!(reader.rows(), 10_000);
    assert!(reader.map(Result::unwrap).eq(rows.iter().cloned()));

    let schema = schema_of_parts::<Problem, _>(&[&first, &second]).unwrap();
    let copy = file(&folder, "copy.parquet");
    let mut writer = BatchWriter::create(&copy, schema.clone()).unwrap();
    for located in BatchReader::open(&[&first, &second]).unwrap() {
        let located = located.unwrap();
        assert_eq!(conform(&located.batch, &schema).unwrap().schema(), schema);
        writer.write(&located.batch).unwrap();
    }
    assert_eq!(writer.finish().unwrap().rows, 10_000);
    assert_eq!(read_all::<Problem, _>(&[&copy]).unwrap(), rows);
    assert_eq!(count_rows(&[&copy]).unwrap(), 10_000);
}

#[test]
fn rows_of_ten_megabytes_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "large.parquet");
    let mut rows = numbered(5);
    rows[2].prompt = "x1y2 ".repeat(2 << 20);
    write(&path, &rows);
    assert_eq!(read_all::<Problem, _>(&[&path]).unwrap(), rows);
}

#[test]
fn a_projection_decodes_only_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "a.parquet");
    write(&path, &numbered(10));
    let mut reader = BatchReader::open(&[&path]).unwrap().with_columns(&["gold", "nothing"]);
    let batch = reader.next().unwrap().unwrap().batch;
    assert_eq!(batch.num_columns(), 1);
    assert_eq!(batch.num_rows(), 10);
}

#[test]
fn meta_that_does_not_fit_names_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "a.parquet");
    let mut rows = numbered(5_000);
    rows[4_500].meta.insert("level".to_owned(), Scalar::Int(3));
    let mut writer = RowWriter::create(&path, &MetaFields::none()).unwrap();
    let error = rows.iter().try_for_each(|row| writer.push(row)).and_then(|()| writer.finish()).unwrap_err();
    assert!(error.to_string().contains("row 4501: meta field `level` = 3"), "{error}");
}

#[test]
fn missing_files_and_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write(&file(&folder, "train.parquet"), &numbered(1));
    let error = read_all::<Problem, _>(&[file(&folder, "trian.parquet")]).unwrap_err();
    assert!(error.to_string().starts_with("no file ") && error.to_string().ends_with("trian.parquet"));
    assert!(error.hint().unwrap().contains("`train.parquet`"));
    let error = read_all::<Problem, _>(&[folder.path()]).unwrap_err();
    assert!(error.to_string().contains("a folder"), "{error}");
    let Err(error) = RowWriter::<Problem>::create(&file(&folder, "no/where.parquet"), &MetaFields::none()) else {
        panic!("a folder that is not there cannot be written to")
    };
    assert!(matches!(error, DataError::Write { .. }) && error.to_string().contains("no/where.parquet"));
}

#[test]
fn a_full_disk_keeps_path_and_cause() {
    let path = Path::new("/dev/full");
    if !path.exists() {
        return;
    }
    let mut writer = RowWriter::create(path, &MetaFields::none()).unwrap();
    let error = numbered(20_000).iter().try_for_each(|row| writer.push(row)).and_then(|()| writer.finish()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write /dev/full: "), "{error}");
    assert!(error.is_temporary() && error.hint().unwrap().contains("space"));
}

#[test]
fn a_wrong_kind_of_rows_lists_the_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "a.parquet");
    write(&path, &numbered(3));
    let error = read_all::<Attempt, _>(&[&path]).unwrap_err();
    assert!(error.to_string().ends_with("a.parquet: no column `response`"), "{error}");
    assert!(error.hint().unwrap().contains("`problem_id`"));
}

#[test]
fn every_truncation_and_most_flipped_bytes_are_errors_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "a.parquet");
    let rows = numbered(300);
    write(&path, &rows);
    let bytes = std::fs::read(&path).unwrap();
    let damaged = file(&folder, "damaged.parquet");
    for length in (0..bytes.len()).step_by(97) {
        std::fs::write(&damaged, &bytes[..length]).unwrap();
        let error = read_all::<Problem, _>(&[&damaged]).unwrap_err();
        assert!(error.to_string().contains("damaged.parquet: no sound Parquet file"), "{error}");
    }
    for position in (0..bytes.len()).step_by(13) {
        let mut flipped = bytes.clone();
        flipped[position] ^= 0x55;
        std::fs::write(&damaged, &flipped).unwrap();
        if let Err(error) = read_all::<Problem, _>(&[&damaged]) {
            assert!(error.to_string().contains("damaged.parquet"), "{error}");
        }
    }
}

#[test]
fn a_few_kilobytes_that_claim_many_rows_are_refused() {
    use arrow::array::{ArrayRef, Int32Array, RecordBatch};
    use parquet::file::properties::WriterProperties;
    use std::sync::Arc;

    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "bomb.parquet");
    let column: ArrayRef = Arc::new(Int32Array::from(vec![7; 4 << 20]));
    let batch = RecordBatch::try_from_iter([("prompt", column)]).unwrap();
    let properties = WriterProperties::builder().set_data_page_row_count_limit(4 << 20).set_write_batch_size(1 << 20);
    let out = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(out, batch.schema(), Some(properties.build())).unwrap();
    for _ in 0..8 {
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 8192, "{bytes}");
    let error = read_all::<Problem, _>(&[&path]).unwrap_err();
    assert!(error.to_string().contains(&format!("claims 33554432 rows in {bytes} bytes")), "{error}");
}
