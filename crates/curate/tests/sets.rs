//! Decisions over whole sets: the best per problem, splits, mixes. None depends on the rows' order.

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
use potstill_curate::mix::mix;
use potstill_curate::split::{Part, Split, split};
use potstill_curate::{
    MixConfig, Mixer, NOT_BEST, PerProblem, PerProblemConfig, Quota, SampleConfig, SampleMaker, SplitConfig, per_problem,
};
use potstill_data::{Attempt, Sample, Scalar};
use proptest::prelude::*;

fn best(keep: u32, order_by: Option<&str>) -> PerProblemConfig {
    PerProblemConfig { keep, order_by: order_by.map(str::to_owned) }
}

fn samples(problem: &str, n: usize) -> Vec<Sample> {
    let maker = SampleMaker::new(&SampleConfig::default()).unwrap();
    (0..n).map(|i| maker.sample(&attempt(&format!("{problem}{i}"), 0, None, "\\boxed{14}")).unwrap()).collect()
}

#[test]
fn the_best_of_each_problem_stay() {
    let rows = [attempt("a", 0, None, "long \\boxed{14}"), attempt("b", 0, None, "x"), attempt("a", 1, None, "\\boxed{14}")];
    let short = per_problem(&rows, &best(1, Some("completion_tokens"))).unwrap();
    assert_eq!(short.mask().collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(short.dropped(), BTreeMap::from([(NOT_BEST.to_owned(), 1)]));
    let long = per_problem(&rows, &best(1, Some("completion_tokens desc"))).unwrap();
    assert_eq!(long.mask().collect::<Vec<_>>(), [true, true, false]);
    let mut unknown = rows.clone();
    unknown[2].completion_tokens = None;
    let last = per_problem(&unknown, &best(1, Some("completion_tokens"))).unwrap();
    assert_eq!(last.mask().collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(per_problem(&rows, &best(2, None)).unwrap().kept(), 3);
}

#[test]
fn settings_name_what_is_wrong() {
    let error = |config| PerProblem::new::<Attempt>(&config, Some(&["level"])).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error(best(0, None)), "`per_problem.keep` must be at least 1, found 0");
    assert!(error(best(1, Some("completion_token"))).ends_with("did you mean `completion_tokens`?"));
    assert!(error(best(1, Some("meta.lvel"))).ends_with("did you mean `meta.level`?"));
    assert_eq!(error(best(1, Some("a down"))), "`order_by` must be `COLUMN`, `COLUMN asc` or `COLUMN desc`, found `a down`");
    let size = |test, validation| split::<Attempt>(&[], &SplitConfig { test, validation }, 0).map(|_| ()).unwrap_err().to_string();
    assert_eq!(size(1.5, 0.0), "`test` must be a fraction from 0 to below 1 or a whole number of problems, found 1.5");
    assert_eq!(size(0.5, 0.6), "`validation` must be below 0.5 beside test = 0.5, found 0.6");
    assert_eq!(size(3.0, 0.0), "test + validation asks for 3 problems, at least 1 beside them to train on but there are only 0 problems");
    let mixed = |config: MixConfig| Mixer::new::<Sample>(&config, &["math", "code"], 0).map(|_| ()).unwrap_err().to_string();
    let weights = |name: &str, w: f64| MixConfig { weights: BTreeMap::from([(name.to_owned(), w)]), ..MixConfig::default() };
    assert_eq!(mixed(weights("maths", 1.0)), "no input `maths` (there are: math, code); did you mean `math`?");
    assert_eq!(mixed(weights("math", -1.0)), "`weights` must be 0 or more, found -1 for `math`");
}

#[test]
fn sizes_and_fractions_of_problems() {
    let rows: Vec<Attempt> = (0..1000).flat_map(|p| (0..3).map(move |s| attempt(&format!("p{p}"), s, None, "x"))).collect();
    let sized = split(&rows, &SplitConfig { test: 100.0, validation: 50.0 }, 1).unwrap();
    let problems: Vec<u64> = sized.proof.parts.iter().map(|p| p.problems).collect();
    assert_eq!((problems, sized.rows(Part::Test).len()), (vec![850, 100, 50], 300));
    let fraction = split(&rows, &SplitConfig { test: 0.1, validation: 0.1 }, 1).unwrap();
    let test = fraction.rows(Part::Test).len() / 3;
    assert!((70..130).contains(&test), "{test} of 1000 problems");
    // Rows added later move nothing.
    let fewer = split(&rows[..1500], &SplitConfig { test: 0.1, validation: 0.1 }, 1).unwrap();
    assert!((0..1500).all(|r| fewer.part(r) == fraction.part(r)));
    assert_ne!(fraction, split(&rows, &SplitConfig { test: 0.1, validation: 0.1 }, 2).unwrap());
}

#[test]
fn equal_prompts_stay_together() {
    let mut rows: Vec<Attempt> = (0..200).map(|p| attempt(&format!("p{p}"), 0, None, "x")).collect();
    for (n, row) in rows.iter_mut().enumerate() {
        row.problem.prompt = format!("Add  {}", n % 100);
        if n >= 100 {
            row.problem.prompt = row.problem.prompt.replace("Add  ", "add ");
        }
    }
    let halves = split(&rows, &SplitConfig { test: 0.5, validation: 0.0 }, 3).unwrap();
    assert!((0..100).all(|n| halves.part(n) == halves.part(n + 100)));
    assert_eq!((halves.proof.shared_ids, halves.proof.shared_texts), (0, 0));
}

#[test]
fn mixing_whole_inputs_keeps_every_row_once() {
    let (a, b) = (samples("a", 5), samples("b", 3));
    let (rows, _) = mix(&[("a", &a), ("b", &b)], &MixConfig::default(), 1).unwrap();
    let ids: BTreeSet<_> = rows.iter().map(|s| s.sample_id.clone()).collect();
    assert_eq!((rows.len(), ids.len()), (8, 8));
    let (again, _) = mix(&[("a", &a), ("b", &b)], &MixConfig::default(), 1).unwrap();
    let (other, _) = mix(&[("a", &a), ("b", &b)], &MixConfig::default(), 2).unwrap();
    assert!(rows == again && rows != other);
    let ordered = mix(&[("a", &a), ("b", &b)], &MixConfig { keep_order: true, ..MixConfig::default() }, 1).unwrap().0;
    assert_eq!(ordered, [a, b].concat());
}

#[test]
fn shares_repeats_and_quotas() {
    let (a, b) = (samples("a", 90), samples("b", 10));
    let weights = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), 1.0)]);
    let even = MixConfig { weights, ..MixConfig::default() };
    let inputs = [("a", a.as_slice()), ("b", b.as_slice())];
    let (rows, decisions) = mix(&inputs, &even, 1).unwrap();
    assert_eq!((rows.len(), decisions[0].dropped()["beyond its input's share"]), (20, 80));
    let forced = MixConfig { rows: Some(100), ..even.clone() };
    let error = mix(&inputs, &forced, 1).unwrap_err().to_string();
    assert_eq!(error, "input `b` asks for 50 rows (none twice; raise max_repeats) but there are only 10 rows");
    let (rows, _) = mix(&inputs, &MixConfig { max_repeats: Some(5), ..forced }, 1).unwrap();
    let ids: BTreeSet<_> = rows.iter().map(|s| s.sample_id.clone()).collect();
    assert_eq!((rows.len(), ids.len()), (100, 100));
    assert_eq!(rows.iter().filter(|s| s.problem_id == "b3").count(), 5);

    let mut levels = samples("c", 30);
    for (n, row) in levels.iter_mut().enumerate() {
        row.meta.insert("level".into(), Scalar::Int((n % 3) as i64));
    }
    let quota = Quota { by: "meta.level".into(), each: Some(4), max: BTreeMap::from([("2".into(), 1)]) };
    let (rows, decisions) = mix(&[("c", &levels)], &MixConfig { quota: Some(quota), ..MixConfig::default() }, 1).unwrap();
    assert_eq!((rows.len(), decisions[0].dropped()["beyond its quota"]), (9, 21));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_order_of_rows_changes_what_is_kept(
        spec in prop::collection::vec((0_u8..6, 0_u8..4, prop::option::of(0_u32..5)), 1..40),
        keep in 1_u32..4,
    ) {
        let rows: Vec<Attempt> = spec.iter().zip(0..).map(|((problem, _, tokens), n)| {
            let mut row = attempt(&format!("p{problem}"), n, None, "x");
            row.completion_tokens = *tokens;
            row
        }).collect();
        let kept = |rows: &[Attempt]| -> BTreeSet<String> {
            let decisions = per_problem(rows, &best(keep, Some("completion_tokens desc"))).unwrap();
            decisions.select(rows).iter().map(Attempt::attempt_id).collect()
        };
        let back: Vec<Attempt> = rows.iter().rev().cloned().collect();
        prop_assert_eq!(kept(&rows), kept(&back));
    }

    #[test]
    fn splits_are_disjoint_and_stable(
        spec in prop::collection::vec((0_u8..30, 0_u8..30), 2..60),
        seed in 0_u64..5,
        test in 0.0_f64..0.6,
    ) {
        // Ids and texts tie rows in chains.
        let rows: Vec<Attempt> = spec.iter().zip(0..).map(|((id, text), n)| {
            let mut row = attempt(&format!("p{id}"), n, None, "x");
            row.problem.prompt = format!("text {text}");
            row
        }).collect();
        let config = SplitConfig { test, validation: 0.2 };
        let parts = split(&rows, &config, seed).unwrap();
        let (mut by_id, mut by_text) = (BTreeMap::new(), BTreeMap::new());
        for (n, row) in rows.iter().enumerate() {
            let part = parts.part(n).unwrap();
            prop_assert_eq!(*by_id.entry(&row.problem.problem_id).or_insert(part), part);
            prop_assert_eq!(*by_text.entry(&row.problem.prompt).or_insert(part), part);
        }
        prop_assert_eq!((parts.proof.shared_ids, parts.proof.shared_texts), (0, 0));
        let back: Vec<Attempt> = rows.iter().rev().cloned().collect();
        let turned: Split = split(&back, &config, seed).unwrap();
        for n in 0..rows.len() {
            prop_assert_eq!(parts.part(n), turned.part(rows.len() - 1 - n));
        }
    }
}
