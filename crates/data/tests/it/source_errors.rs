//! Bad input of every kind, each with its place and hint.

use crate::common::{Folder, LINES, with_meta};
use potstill_data::source::{Columns, Duplicates, Format};
use potstill_data::{SourceKind, SourceSpec};

#[test]
fn duplicate_ids_name_both_places() {
    let folder = Folder::new();
    let lines = "{\"q\": \"x\", \"i\": 1}\n{\"q\": \"y\", \"i\": 2}\n{\"q\": \"z\", \"i\": 1}\n";
    let columns = Columns { id: Some("i".to_owned()), prompt: Some("q".to_owned()), ..Columns::default() };
    let spec = SourceSpec { columns: Some(columns), ..folder.file("a.jsonl", lines) };
    let (error, hint) = folder.refused(&spec);
    assert_eq!(error, "id `1` occurs twice: DIR/a.jsonl, line 1 and DIR/a.jsonl, line 3");
    assert!(hint.contains("duplicates = \"first\""));
    let ids = |duplicates| {
        let rows = folder.problems(&SourceSpec { duplicates: Some(duplicates), ..spec.clone() });
        rows.into_iter().map(|row| row.problem_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Duplicates::First), ["1", "2"]);
    assert_eq!(ids(Duplicates::Suffix), ["1", "2", "1-2"]);
}

#[test]
fn bad_lines_are_named_with_line_and_place() {
    let folder = Folder::new();
    let good = "{\"q\": \"x\", \"a\": 1}\n";
    let bad = |name: &str, line: &[u8]| folder.refused(&folder.file(name, [good.as_bytes(), line, b"\n"].concat())).0;
    assert_eq!(bad("a.jsonl", b"{\"q\": \"caf\xe9\"}"), "DIR/a.jsonl, line 2: invalid UTF-8: byte 0xe9 at byte 11 of the line");
    assert_eq!(bad("a.jsonl", b"{\"q\": tru}"), "DIR/a.jsonl, line 2, column 10: bad JSON: expected ident");
    assert_eq!(bad("a.jsonl", b"[1, 2]"), "DIR/a.jsonl, line 2: a list, where an object is needed");
    assert_eq!(bad("a.jsonl", b"{\"q\": \" \"}"), "DIR/a.jsonl, line 2: the prompt is empty");
    assert_eq!(bad("a.jsonl", b"{\"question\": \"x\"}"), "DIR/a.jsonl, line 2: column `q` is missing or null");
    assert_eq!(bad("a.jsonl", b"{\"q\": [\"x\"]}"), "DIR/a.jsonl, line 2: column `q`: a list or object; map a conversation as `messages`");
    let array = |text: &str| folder.refused(&folder.file("a.json", text)).0;
    assert_eq!(array("[{\"q\": \"x\", \"a\": 1}\n {\"q\": 2}]"), "DIR/a.json, line 2: bad JSON: `{`, where `,` or `]` is needed");
    assert!(array("[{\"q\": \"x\", \"a\": 1},\n {\"q\": ").contains("line 2: bad JSON: the end of the file"));
    assert!(array("[1]").contains("`1`, where an object `{…}` is needed"));
    let csv = |text: &str| folder.refused(&folder.file("a.csv", text)).0;
    assert_eq!(csv("q,a\nx,1\ny\n"), "DIR/a.csv, line 3: 1 fields, where the header has 2");
    assert_eq!(csv("question,a\nx,1\n"), "DIR/a.csv: no column `q`");
}

#[test]
fn empty_and_missing_sources_are_errors() {
    let folder = Folder::new();
    for (name, text) in [("a.jsonl", ""), ("b.jsonl", "\n\n"), ("a.json", "[]"), ("a.csv", "q,a\n")] {
        assert!(folder.refused(&folder.file(name, text)).0.ends_with(&format!("{name}: no rows")), "{name}");
    }
    let mut spec = folder.file("train.jsonl", LINES);
    spec.path = Some("trian.jsonl".into());
    let (error, hint) = folder.refused(&spec);
    assert!(error.starts_with("no file") && hint.contains("`train.jsonl`"), "{error} {hint}");
    let never = SourceSpec { columns: Some(with_meta(&["levle"])), ..folder.file("a.jsonl", LINES) };
    let (error, hint) = folder.refused(&never);
    assert_eq!(error, "DIR/a.jsonl: no column `levle`");
    assert!(hint.contains("`n`"), "{hint}");
    let unnamed = folder.file("data.bin", LINES);
    assert!(folder.refused(&unnamed).1.contains("set `format`"));
    assert_eq!(folder.problems(&SourceSpec { format: Some(Format::Jsonl), ..unnamed }).len(), 3);
    let folder_itself = SourceSpec { path: Some(".".into()), ..never };
    assert!(folder.refused(&folder_itself).0.contains("is a folder"));
    assert!(folder.refused(&SourceSpec::default()).1.contains("`dataset` or `path`"));
}

#[test]
fn large_rows_pass_and_larger_ones_are_refused() {
    let folder = Folder::new();
    let large = format!("{{\"q\": \"x\", \"a\": 1}}\n{{\"q\": \"{}\", \"a\": 1}}\n", "y".repeat(10 << 20));
    let spec = folder.file("a.jsonl", &large);
    assert_eq!(folder.problems(&spec)[1].prompt.len(), 10 << 20);
    let limited = SourceSpec { max_row_bytes: Some(1 << 20), ..spec };
    let (error, hint) = folder.refused(&limited);
    assert_eq!(error, "DIR/a.jsonl, line 2: a row of more than 1048576 bytes, the limit");
    assert!(hint.contains("max_row_bytes"));
    let unclosed = format!("q,a\nx,1\n\"y,1\n{}", "z,1\n".repeat(2 << 20));
    let spec = SourceSpec { max_row_bytes: Some(1 << 20), ..folder.file("a.csv", unclosed) };
    assert!(folder.refused(&spec).0.contains("a row of more than 1048576 bytes"));
    let array = format!("[{}]", large.lines().nth(1).unwrap());
    let spec = SourceSpec { max_row_bytes: Some(1 << 20), ..folder.file("a.json", array) };
    assert!(folder.refused(&spec).0.contains("line 1: a row of more than"));
}

#[test]
fn damaged_packed_files_are_named() {
    let folder = Folder::new();
    let packed = zstd::encode_all(LINES.as_bytes(), 1).unwrap();
    let (error, hint) = folder.refused(&folder.file("a.jsonl.zst", &packed[..packed.len() / 2]));
    assert!(error.contains("a.jsonl.zst, line 1: cannot read on"), "{error}");
    assert!(hint.contains("truncated"), "{hint}");
}

#[test]
fn wrong_settings_are_refused_before_reading() {
    let folder = Folder::new();
    let spec = folder.file("a.jsonl", LINES);
    let refused = |change: &dyn Fn(&mut SourceSpec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        folder.refused(&spec).0
    };
    assert!(refused(&|spec| spec.gold_pattern = Some("(".to_owned())).contains("gold_pattern `(`"));
    assert!(refused(&|spec| spec.gold_pattern = Some("x".to_owned())).contains("has 0 groups"));
    assert!(refused(&|spec| spec.prompt_template = Some("{".to_owned())).contains("never closed"));
    assert!(refused(&|spec| spec.columns = None).contains("which column holds the prompt"));
    assert!(refused(&|spec| spec.rows = Some(SourceKind::Attempts)).contains("without replies"));
    assert!(refused(&|spec| spec.condition = Some("COUNT(*) > 1".to_owned())).contains("several rows"));
}
