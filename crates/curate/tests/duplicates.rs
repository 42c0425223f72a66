//! Duplicates and contamination: found, named, whatever the rows' order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::attempt;
use potstill_curate::decontaminate::{Contamination, Index, Rule};
use potstill_curate::dedup::{Duplicates, Method, On, dedup};
use potstill_curate::shingles::similarity;
use potstill_curate::{DecontaminateConfig, Decontaminator, DedupConfig};
use potstill_data::Attempt;
use proptest::prelude::*;

fn with_prompt(id: &str, sample: u32, prompt: &str, response: &str) -> Attempt {
    let mut row = attempt(id, sample, None, response);
    row.problem.prompt = prompt.into();
    row
}

const LONG: &str = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. \
    How many clips did Natalia sell altogether in April and May?";

#[test]
fn equal_and_nearly_equal_prompts() {
    let rows = [
        with_prompt("b", 0, LONG, "x"),
        with_prompt("a", 0, &LONG.to_uppercase().replace(' ', "  "), "y"),
        with_prompt("c", 0, &LONG.replace("altogether", "in total"), "z"),
        with_prompt("b", 1, LONG, "w"),
        with_prompt("d", 0, "What is 2 + 2?", "4"),
    ];
    let exact = dedup(&rows, &DedupConfig { method: Method::Exact, ..DedupConfig::default() }).unwrap();
    assert_eq!(exact.decisions.mask().collect::<Vec<_>>(), [false, true, true, false, true]);
    assert_eq!(exact.decisions.dropped(), BTreeMap::from([("prompt equal to another problem's".into(), 2)]));
    let near = dedup(&rows, &DedupConfig { threshold: 0.5, ..DedupConfig::default() }).unwrap();
    assert_eq!(near.decisions.mask().collect::<Vec<_>>(), [false, true, false, false, true]);
    let cluster = &near.clusters[0];
    assert_eq!((&*cluster.kept, cluster.kept_row), ("a", 1));
    assert_eq!(cluster.dropped.iter().map(|d| (&*d.id, d.row)).collect::<Vec<_>>(), [("b", 0), ("c", 2)]);
    let strict = dedup(&rows, &DedupConfig { threshold: 0.9, ..DedupConfig::default() }).unwrap();
    assert!(strict.decisions.keeps(2));
}

#[test]
fn the_best_of_a_cluster_stays() {
    let mut rows = [attempt("a", 0, None, LONG), attempt("b", 0, None, LONG), attempt("c", 0, None, "other")];
    rows[0].completion_tokens = Some(9);
    rows[1].completion_tokens = Some(5);
    let config = |order: &str| DedupConfig { on: On::Response, order_by: Some(order.into()), ..DedupConfig::default() };
    let kept = |d: Duplicates| d.decisions.mask().collect::<Vec<_>>();
    assert_eq!(kept(dedup(&rows, &config("completion_tokens")).unwrap()), [false, true, true]);
    assert_eq!(kept(dedup(&rows, &config("completion_tokens desc")).unwrap()), [true, false, true]);
    let error = dedup(&rows, &config("tokens")).unwrap_err().to_string();
    assert!(error.starts_with("no column `tokens` in attempts"), "{error}");
    let error = dedup(&rows, &DedupConfig { threshold: 7.0, ..DedupConfig::default() }).unwrap_err().to_string();
    assert_eq!(error, "`threshold` must be from 0.1 to 1, found 7");
}

fn scan(config: &DecontaminateConfig, rows: &[Attempt]) -> Contamination {
    let mut index = Index::new(config).unwrap();
    index.add("gsm8k", "g1", LONG);
    index.add("gsm8k", "g2", "What is 2 + 2?");
    let mut pass = Decontaminator::new(&index);
    rows.iter().for_each(|row| pass.observe(row));
    pass.finish()
}

#[test]
fn contamination_names_item_rule_and_words() {
    let rows = [
        with_prompt("a", 0, &format!("Solve: {}", LONG.to_lowercase()), "x"),
        with_prompt("a", 1, &format!("Solve: {}", LONG.to_lowercase()), "y"),
        with_prompt("b", 0, "Think of one.", &format!("For example: {LONG}")),
        with_prompt("c", 0, "what is  2 + 2?", "4"),
        with_prompt("d", 0, "What is 2 + 3?", "5"),
        with_prompt("e", 0, &LONG.replace("48", "52").replace("clips", "pins"), "x"),
    ];
    let found = scan(&DecontaminateConfig::default(), &rows);
    assert_eq!(found.decisions.mask().collect::<Vec<_>>(), [false, false, false, false, true, true]);
    let seen: Vec<_> = found.matches.iter().map(|m| (m.problem_id.as_str(), m.item_id.as_str(), m.rule)).collect();
    assert_eq!(seen, [("a", "g1", Rule::Ngram), ("b", "g1", Rule::Ngram), ("c", "g2", Rule::Exact)]);
    assert_eq!(found.matches[0].excerpt, "natalia sold clips to 48 of her friends in april, and then she");
    assert_eq!(found.by_benchmark(), BTreeMap::from([("gsm8k".into(), 3)]));
    let prompts_only = scan(&DecontaminateConfig { replies: false, ..DecontaminateConfig::default() }, &rows);
    assert!(prompts_only.decisions.keeps(2));
}

#[test]
fn near_items_need_the_same_numbers() {
    let config = DecontaminateConfig { ngram: 0, near: 0.6, ..DecontaminateConfig::default() };
    let rows = [with_prompt("a", 0, &LONG.replace("altogether", "overall"), "x"), with_prompt("b", 0, &LONG.replace("48", "52"), "x")];
    let found = scan(&config, &rows);
    assert_eq!((found.decisions.keeps(0), found.decisions.keeps(1)), (false, true));
    assert_eq!(found.matches[0].rule, Rule::Near);
}

#[test]
fn settings_are_checked() {
    let error = |config| Index::new(&config).map(|_| ()).unwrap_err().to_string();
    let base = DecontaminateConfig::default;
    assert_eq!(error(DecontaminateConfig { ngram: 33, ..base() }), "`ngram` must be at most 32 words, found 33");
    assert_eq!(error(DecontaminateConfig { near: 2.0, ..base() }), "`near` must be 0 (off) or from 0.1 to 1, found 2");
    let none = DecontaminateConfig { ngram: 0, exact: false, near: 0.0, ..base() };
    assert_eq!(error(none), "`decontaminate` must be one rule at least (`ngram`, `exact` or `near`), found none");
}

proptest! {
    /// Texts over four words, so that near-duplicates of all degrees abound.
    #[test]
    fn dedup_is_order_independent_and_precise(
        texts in prop::collection::vec(prop::collection::vec(0_u8..4, 0..25), 1..30),
        turn in 0_usize..30,
    ) {
        let text = |words: &Vec<u8>| words.iter().map(|w| ["one", "two", "three", "four"][usize::from(*w)]).collect::<Vec<_>>().join(" ");
        let rows: Vec<Attempt> = texts.iter().zip(0..).map(|(t, n)| attempt(&format!("p{n}"), 0, None, &text(t))).collect();
        let config = DedupConfig { on: On::Response, threshold: 0.7, ngram: 3, ..DedupConfig::default() };
        let found = dedup(&rows, &config).unwrap();
        for cluster in &found.clusters {
            let kept = cluster.kept_row as usize;
            prop_assert!(found.decisions.keeps(kept));
            prop_assert_eq!(rows[kept].attempt_id(), cluster.kept.to_string());
            for repeat in &cluster.dropped {
                let truth = similarity(&rows[kept].response, &rows[repeat.row as usize].response, 3);
                prop_assert!(truth >= 0.7 && (truth - f64::from(repeat.similarity)).abs() < 1e-6);
            }
        }
        let in_clusters: usize = found.clusters.iter().map(|c| c.dropped.len()).sum();
        prop_assert_eq!(in_clusters, rows.len() - found.decisions.kept());
        let kept = |rows: &[Attempt]| -> BTreeSet<String> {
            dedup(rows, &config).unwrap().decisions.select(rows).iter().map(Attempt::attempt_id).collect()
        };
        let mut turned = rows.clone();
        turned.rotate_left(turn % rows.len());
        turned.reverse();
        prop_assert_eq!(kept(&rows), kept(&turned));
    }

    /// Whatever stands around it, a whole item is found; a text without its words is not.
    #[test]
    fn a_planted_item_is_always_found(before in "\\PC{0,60}", after in "\\PC{0,60}") {
        let planted = scan(&DecontaminateConfig::default(), &[with_prompt("p", 0, "q", &format!("{before} {LONG} {after}"))]);
        prop_assert!(!planted.decisions.keeps(0));
        let clean = scan(&DecontaminateConfig::default(), &[with_prompt("p", 0, &before, &after)]);
        prop_assert!(clean.decisions.keeps(0));
    }
}
