//! The rule-based verifiers on real replies, against the verdicts stored with them. Every disagreement is
//! named here and explained in docs/verification.md; a change of behaviour shows as a changed list.
//!
//! The data is the folder `shared` beside the checkout; without it the tests print a note and pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod support;

use std::collections::BTreeMap;

use parquet::record::Field;
use potstill_verify::extract::Which;
use potstill_verify::{Case, CountdownOptions, ExtractOptions, Judgement, Usage, Verdict, VerifyOptions, verifier};
use support::{Row, rows, shared_data};

/// Verdicts by (stored verdict, ours), and the ids of the rows that differ.
#[derive(Default)]
struct Agreement {
    counts: BTreeMap<(bool, &'static str), usize>,
    different: Vec<String>,
}

impl Agreement {
    fn add(&mut self, id: &str, stored: bool, ours: &Judgement) {
        *self.counts.entry((stored, ours.verdict.as_str())).or_default() += 1;
        if stored != (ours.verdict == Verdict::Correct) {
            self.different.push(format!("{id}: stored {stored}, {} ({}, read {:?})", ours.verdict, ours.note, ours.extracted));
        }
    }

    fn rows(&self) -> usize {
        self.counts.values().sum()
    }

    fn print(&self, name: &str) {
        println!("{name}: {:?}, {} of {} agree", self.counts, self.rows() - self.different.len(), self.rows());
        self.different.iter().for_each(|line| println!("  {line}"));
    }
}

fn case<'a>(row: &'a Row) -> Case<'a> {
    Case { prompt: row.text("question"), gold: Some(row.text("gold")), response: row.text("response"), ..Case::default() }
}

fn farel(which: Which) -> Option<Agreement> {
    let options = VerifyOptions { extract: ExtractOptions { which, after_think: false }, ..VerifyOptions::default() };
    let choice = verifier("choice", &options).unwrap();
    let mut agreement = Agreement::default();
    for row in rows(&shared_data()?.join("traces/farel_reasoning.parquet")) {
        agreement.add(row.text("id"), row.flag("correct"), &choice.verify(&case(&row)));
    }
    Some(agreement)
}

#[test]
fn farel_choices() {
    let (Some(last), Some(first)) = (farel(Which::Last), farel(Which::First)) else {
        return;
    };
    last.print("farel, last answer");
    first.print("farel, first answer");
    assert_eq!(last.rows(), 675);
}

#[test]
fn gsm8k_solutions() {
    let Some(data) = shared_data() else { return };
    let number = verifier("number", &VerifyOptions::default()).unwrap();
    let mut agreement = Agreement::default();
    for row in rows(&data.join("verdicts/gsm8k_openai_model_solutions.parquet")) {
        agreement.add(row.text("id"), row.flag("correct"), &number.verify(&case(&row)));
    }
    agreement.print("gsm8k");
    assert_eq!(agreement.rows(), 3_200);
}

#[test]
fn countdown_solutions_and_their_mutations() {
    let Some(data) = shared_data() else { return };
    let exactly = VerifyOptions { countdown: CountdownOptions { usage: Usage::ExactlyOnce }, ..VerifyOptions::default() };
    let (default, exactly) = (verifier("countdown", &VerifyOptions::default()).unwrap(), verifier("countdown", &exactly).unwrap());
    let (mut solved, mut all_used, mut mutated) = (0, 0, 0);
    for row in rows(&data.join("problems/countdown_2000.parquet")) {
        let solution = row.text("solution");
        if solution.is_empty() {
            continue;
        }
        let Field::ListInternal(numbers) = row.field("nums") else { panic!("nums is a list") };
        let numbers: Vec<i64> = numbers.elements().iter().map(as_i64).collect();
        let tests = format!(r#"{{"numbers":{numbers:?},"target":{}}}"#, as_i64(row.field("target")));
        let verdict = |verifier: &dyn potstill_verify::Verifier, answer: &str| {
            let response = format!("<think>…</think><answer> {answer} </answer>");
            verifier.verify(&Case { tests: Some(&tests), response: &response, ..Case::default() })
        };
        let judgement = verdict(&*default, solution);
        assert_eq!(judgement.verdict, Verdict::Correct, "{}: {solution}: {}", row.text("id"), judgement.note);
        solved += 1;
        all_used += usize::from(verdict(&*exactly, solution).verdict == Verdict::Correct);
        for mutation in mutations(solution, &numbers) {
            let judgement = verdict(&*default, &mutation);
            assert_eq!(judgement.verdict, Verdict::Incorrect, "{}: {mutation}: {}", row.text("id"), judgement.note);
            mutated += 1;
        }
    }
    println!("countdown: {solved} solutions correct, {all_used} of them use every number; {mutated} mutations incorrect");
    assert!(solved > 1_000 && mutated > 3 * solved);
}

fn as_i64(field: &Field) -> i64 {
    match field {
        Field::Long(value) => *value,
        other => panic!("{other:?} is not an integer"),
    }
}

/// Wrong versions of a right solution: a number off by one, one used twice, a false tail, code, no end.
fn mutations(solution: &str, numbers: &[i64]) -> Vec<String> {
    let first = numbers.iter().find(|number| solution.contains(&number.to_string())).unwrap();
    vec![
        format!("{solution} + 1 - 1"),
        format!("{solution} + {first} - {first}"),
        format!("{solution} = 1000003"),
        format!("int({solution})"),
        format!("({solution}"),
        format!("{solution} +"),
    ]
}

#[test]
fn reasoning_gym_tasks() {
    let Some(data) = shared_data() else { return };
    let tasks = [
        ("chain_sum", "number"),
        ("basic_arithmetic", "number"),
        ("gsm_symbolic", "number"),
        ("leg_counting", "number"),
        ("gcd", "number"),
        ("lcm", "number"),
        ("products", "number"),
        ("count_primes", "number"),
        ("simple_equations", "number"),
        ("dice", "number"),
        ("base_conversion", "exact"),
        ("calendar_arithmetic", "exact"),
        ("syllogism", "exact"),
        ("zebra_puzzles", "exact"),
        ("knights_knaves", "exact"),
    ];
    let all = rows(&data.join("verdicts/reasoning_gym_easy.parquet"));
    for (task, name) in tasks {
        let verifier = verifier(name, &VerifyOptions::default()).unwrap();
        let mut agreement = Agreement::default();
        for row in all.iter().filter(|row| row.text("task") == task) {
            let full_score = matches!(row.field("score"), Field::Double(score) if *score == 1.0);
            agreement.add(row.text("id"), full_score, &verifier.verify(&case(row)));
        }
        agreement.print(&format!("{task} by {name}"));
        assert!(agreement.rows() > 0, "{task}");
    }
}
