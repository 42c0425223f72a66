//! Tables of any columns: files and folders of both formats, and what differs between two.

use std::path::Path;

use potstill_data::diff::{Change, DiffOptions, diff};
use potstill_data::sql::{Query, query};
use potstill_data::stats::describe;
use potstill_data::{Attempt, MetaFields, Problem, RowWriter, Table, Verdict};

use crate::common::Folder;

fn table(folder: &Folder, name: &str) -> Table {
    Table::open(&folder.0.path().join(name)).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()))
}

fn options(key: &[&str]) -> DiffOptions {
    DiffOptions { key: key.iter().map(|name| (*name).to_owned()).collect(), limit: 10 }
}

#[test]
fn json_lines_are_a_table_with_the_columns_they_have() {
    let folder = Folder::new();
    folder.file("a.jsonl", "{\"id\":\"x\",\"n\":1}\n{\"id\":\"y\",\"n\":4,\"more\":true}\n");
    folder.file("b.jsonl", "\n{\"id\":\"z\",\"n\":9,\"deep\":{\"k\":\"v\"}}\n");
    folder.file("notes.txt", "not a table");
    let all = table(&folder, "");
    assert_eq!(all.files().len(), 2);
    let found = query(&all, &Query { condition: Some("n > 1".into()), sort: Some("n DESC".into()), limit: 5 }).unwrap();
    assert_eq!(found.num_rows(), 2);
    let description = describe(all.batches()).unwrap();
    let column = |name: &str| description.columns.iter().find(|column| column.name == name).unwrap();
    assert_eq!((description.rows, column("n").nulls, column("more").nulls, column("deep.k").nulls), (3, 0, 2, 2));
}

#[test]
fn what_is_no_table_is_refused_with_its_place() {
    let folder = Folder::new();
    let refused = |name: &str| Table::open(&folder.0.path().join(name)).unwrap_err();
    folder.file("bad.jsonl", "{\"id\":1}\nnope\n");
    assert!(refused("bad.jsonl").to_string().contains("bad.jsonl, line 2: not a JSON object"), "{}", refused("bad.jsonl"));
    folder.file("latin.jsonl", b"{\"id\":\"\xff\"}\n");
    assert!(refused("latin.jsonl").to_string().contains("line 1: not UTF-8 at byte 7"), "{}", refused("latin.jsonl"));
    folder.file("t.csv", "a,b\n1,2\n");
    assert!(refused("t.csv").hint().unwrap().contains(".parquet or .jsonl"));
    assert!(refused("none.parquet").to_string().contains("no file"));
    std::fs::create_dir(folder.0.path().join("empty")).unwrap();
    assert!(refused("empty").hint().unwrap().contains("holds no .parquet"));
}

#[test]
fn rows_are_gained_lost_and_changed_by_key() {
    let folder = Folder::new();
    folder.file("a.jsonl", "{\"id\":\"p\",\"v\":1}\n{\"id\":\"q\",\"v\":2}\n{\"id\":\"r\",\"v\":3,\"old\":\"x\"}\n");
    folder.file("b.jsonl", "{\"id\":\"r\",\"v\":3}\n{\"id\":\"s\",\"v\":7}\n{\"id\":\"p\",\"v\":null}\n");
    let found = diff(&table(&folder, "a.jsonl"), &table(&folder, "b.jsonl"), &options(&[])).unwrap();
    assert_eq!(found.key, ["id"]);
    assert_eq!((found.rows, found.same, found.lost, found.gained, found.changed), ([3, 3], 1, 1, 1, 1));
    assert_eq!((found.first_lost.as_slice(), found.first_gained.as_slice()), (["q".to_owned()].as_slice(), ["s".to_owned()].as_slice()));
    let change = Change { key: "p".into(), column: "v".into(), before: Some("1".into()), after: None };
    assert_eq!(found.first_changed, [change]);
    assert_eq!(found.columns_lost.keys().collect::<Vec<_>>(), ["old"]);
    assert!(!found.is_empty());
    let error = diff(&table(&folder, "a.jsonl"), &table(&folder, "b.jsonl"), &options(&["old"])).unwrap_err();
    assert!(error.to_string().contains("b.jsonl: no column `old`"), "{error}");
}

#[test]
fn equal_keys_are_matched_in_order_and_without_keys_whole_rows_are() {
    let folder = Folder::new();
    folder.file("a.jsonl", "{\"id\":\"p\",\"v\":1}\n{\"id\":\"p\",\"v\":2}\n");
    folder.file("b.jsonl", "{\"id\":\"p\",\"v\":1}\n{\"id\":\"p\",\"v\":3}\n{\"id\":\"p\",\"v\":4}\n");
    let found = diff(&table(&folder, "a.jsonl"), &table(&folder, "b.jsonl"), &options(&[])).unwrap();
    assert_eq!((found.same, found.changed, found.gained, found.lost), (1, 1, 1, 0));
    folder.file("c.jsonl", "{\"w\":1}\n{\"w\":1}\n{\"w\":2}\n");
    folder.file("d.jsonl", "{\"w\":2}\n{\"w\":1}\n{\"w\":5}\n");
    let found = diff(&table(&folder, "c.jsonl"), &table(&folder, "d.jsonl"), &options(&[])).unwrap();
    assert_eq!((found.key.len(), found.same, found.lost, found.gained), (0, 2, 1, 1));
    assert_eq!((found.first_lost.as_slice(), found.first_gained.as_slice()), (["1".to_owned()].as_slice(), ["5".to_owned()].as_slice()));
}

#[test]
fn the_same_rows_in_both_formats_are_equal() {
    let folder = Folder::new();
    let attempts: Vec<Attempt> = (0..5000_u32)
        .map(|n| Attempt {
            problem: Problem { problem_id: format!("p{}", n / 4), prompt: format!("{n} \"quoted\"\n?"), ..Problem::default() },
            sample_index: n % 4,
            completion_tokens: (n % 3 > 0).then_some(n),
            verdict: (n % 2 == 0).then_some(Verdict::Correct),
            ..Attempt::default()
        })
        .collect();
    let path = folder.0.path().join("a.parquet");
    write(&path, &attempts);
    let parquet = Table::open(&path).unwrap();
    let mut lines = arrow::json::LineDelimitedWriter::new(std::fs::File::create(folder.0.path().join("a.jsonl")).unwrap());
    for located in parquet.batches() {
        lines.write(&located.unwrap().batch).unwrap();
    }
    lines.finish().unwrap();
    let found = diff(&parquet, &table(&folder, "a.jsonl"), &options(&[])).unwrap();
    assert_eq!(found.key, ["attempt_id"]);
    assert_eq!((found.same, found.changed, found.gained, found.lost), (5000, 0, 0, 0), "{found:?}");
    let mut other = attempts;
    other[17].verdict = Some(Verdict::Incorrect);
    write(&path, &other);
    let found = diff(&table(&folder, "a.jsonl"), &Table::open(&path).unwrap(), &options(&[])).unwrap();
    assert_eq!((found.changed, found.changed_columns.get("verdict")), (1, Some(&1)));
    assert_eq!(found.first_changed[0].key, "p4#1");
}

fn write(path: &Path, rows: &[Attempt]) {
    let mut writer = RowWriter::<Attempt>::create(path, &MetaFields::none()).unwrap();
    rows.iter().for_each(|row| writer.push(row).unwrap());
    writer.finish().unwrap();
}
