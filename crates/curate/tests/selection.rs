//! Selection, preference pairs and exports.

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
use potstill_curate::card::{Card, CardSource, CardSplit, CardStage};
use potstill_curate::checks::View;
use potstill_curate::export::layout;
use potstill_curate::pairs::{PairMaker, PairsConfig, Preference, rl_prompt};
use potstill_curate::select::cluster::{Centres, Drawn, Lexicon};
use potstill_curate::select::{ClusterConfig, Method, Pick, Solved, select};
use potstill_curate::text::text_key;
use potstill_curate::{By, Checks, ChecksConfig, Decision, Quota, RenderConfig, SampleConfig, SampleMaker, SelectConfig, Selector};
use potstill_data::{Attempt, Sample, Scalar};
use proptest::prelude::*;
use serde_json::json;

/// Six attempts on each problem: the first `right` correct, longer from one to the next.
fn solved(problem: &str, right: u32) -> Vec<Attempt> {
    let answer = |n| if n < right { "\\boxed{14}" } else { "\\boxed{9}" };
    (0..6).map(|n| attempt(problem, n, None, &format!("{}{}", "so ".repeat(n as usize), answer(n)))).collect()
}

fn kept(rows: &[Attempt], config: &SelectConfig) -> Vec<String> {
    select(rows, config, 5).unwrap().select(rows).iter().map(Attempt::attempt_id).collect()
}

#[test]
fn difficulty_windows_and_picks() {
    let rows = [solved("a", 0), solved("b", 3), solved("c", 6)].concat();
    let window = Some(Solved { min: 1, max: Some(3), min_rate: 0.0, max_rate: 1.0 });
    let pick = |pick| kept(&rows, &SelectConfig { solved: window, pick, ..SelectConfig::default() });
    assert_eq!(pick(Pick::ShortestCorrect), ["b#0"]);
    assert_eq!(pick(Pick::MedianCorrect), ["b#1"]);
    assert_eq!(pick(Pick::LongestCorrect), ["b#2"]);
    assert_eq!(pick(Pick::Correct), ["b#0", "b#1", "b#2"]);
    assert_eq!(pick(Pick::All).len(), 6);
    let dropped = select(&rows, &SelectConfig { solved: window, pick: Pick::Correct, ..SelectConfig::default() }, 5).unwrap().dropped();
    let counts = [("not correct", 3), ("problem solved too often", 6), ("problem solved too rarely", 6)];
    assert_eq!(dropped, counts.map(|(r, n)| (r.to_owned(), n)).into());
    let rates = Some(Solved { min: 0, max: None, min_rate: 0.9, max_rate: 1.0 });
    assert_eq!(kept(&rows, &SelectConfig { solved: rates, ..SelectConfig::default() }).len(), 6);
}

#[test]
fn methods_choose_what_they_say() {
    let mut rows: Vec<Attempt> = (0..40).map(|n| attempt(&format!("p{n}"), 0, None, &"word ".repeat(n + 1))).collect();
    for (n, row) in rows.iter_mut().enumerate() {
        row.problem.domain = Some(if n < 36 { "algebra" } else { "geometry" }.into());
        row.problem.meta.insert("level".into(), Scalar::Int((n % 5) as i64));
    }
    let choose = |method, order_by: Option<&str>, count| {
        kept(&rows, &SelectConfig { method, count: Some(count), order_by: order_by.map(str::to_owned), ..SelectConfig::default() })
    };
    assert_eq!(choose(Method::Best, Some("response_chars desc"), 2), ["p38#0", "p39#0"]);
    let s1 = choose(Method::S1, None, 8);
    let geometry = ["p36#0", "p37#0", "p38#0", "p39#0"];
    // Domains are drawn alike although one has nine times the rows, and the longest of a domain lead.
    assert!(s1.iter().filter(|id| geometry.contains(&id.as_str())).count() >= 2, "{s1:?}");
    assert!(s1.contains(&"p35#0".to_owned()) && s1.contains(&"p39#0".to_owned()), "{s1:?}");
    assert_eq!(choose(Method::Random, None, 10), choose(Method::Random, None, 10));
    let quota = Quota { by: "meta.level".into(), each: Some(2), max: BTreeMap::from([("0".into(), 1)]) };
    assert_eq!(kept(&rows, &SelectConfig { quota: Some(quota), ..SelectConfig::default() }).len(), 9);
    // Five levels of each of two domains, one row each; one combination may have none.
    let by = By(["domain", "meta.level"].map(str::to_owned).to_vec());
    let quota = Quota { by, each: Some(1), max: BTreeMap::from([("geometry / 4".into(), 0)]) };
    let chosen = kept(&rows, &SelectConfig { quota: Some(quota), ..SelectConfig::default() });
    assert_eq!(chosen.len(), 5 + 3, "geometry has the levels 1, 2, 3 and 4: {chosen:?}");

    let prompts = ["count the red apples", "count the red apples", "count the red pears", "prove a deep theorem on graphs"];
    let mut rows: Vec<Attempt> = (0..4).map(|n| attempt(&format!("q{n}"), 0, None, "x")).collect();
    rows.iter_mut().zip(prompts).for_each(|(r, p)| r.problem.prompt = p.into());
    let cover = SelectConfig { method: Method::Coverage, count: Some(3), ..SelectConfig::default() };
    assert_eq!(kept(&rows, &cover), ["q0#0", "q2#0", "q3#0"]);
    rows[1].response = "Perhaps so. Let me check: therefore it might be 3, since we verify it.".into();
    assert_eq!(kept(&rows, &SelectConfig { method: Method::Limo, count: Some(1), ..SelectConfig::default() }), ["q1#0"]);
}

/// Sixty problems on three subjects, most of them on one: by clusters, every subject comes in turn.
#[test]
fn clusters_bring_every_subject() {
    let subjects =
        ["triangle angle circle radius tangent", "prime divisor remainder modulo integer", "dice coin probability expected random"];
    let subject = |n: usize| if n < 40 { 0 } else { 1 + n % 2 };
    let mut rows: Vec<Attempt> = (0..60).map(|n| attempt(&format!("p{n}"), 0, None, "x")).collect();
    for (n, row) in rows.iter_mut().enumerate() {
        row.problem.prompt = format!("Find the {} of item number{n}", subjects[subject(n)]);
        row.completion_tokens = Some(1000 - n as u32);
    }
    let clusters = Some(ClusterConfig { count: 3, embeddings: None });
    let mut lexicon = Lexicon::default();
    rows.iter().for_each(|row| lexicon.observe(&row.problem.prompt));
    let mut drawn = Drawn::new(3, Lexicon::numbers());
    rows.iter().for_each(|row| drawn.offer(&row.problem.problem_id, || lexicon.vector(&row.problem.prompt)));
    let centres = Centres::fit(drawn.items(), 3, 3);
    let places = |row: &Attempt| (text_key(&row.problem.problem_id), centres.place(&lexicon.vector(&row.problem.prompt)));
    let choose = |config: SelectConfig| {
        let mut selector = Selector::new(&config, 3).unwrap().with_clusters(rows.iter().map(places).collect());
        rows.iter().for_each(|row| selector.observe(row));
        let kept = selector.finish().unwrap();
        (0..60).filter(|n| kept.keeps(*n)).collect::<Vec<usize>>()
    };
    let turn = SelectConfig { method: Method::Clusters, clusters: clusters.clone(), count: Some(6), ..SelectConfig::default() };
    let counts = |chosen: &[usize]| (0..3).map(|s| chosen.iter().filter(|n| subject(**n) == s).count()).collect::<Vec<_>>();
    assert_eq!(counts(&choose(turn.clone())), [2, 2, 2]);
    let ordered = choose(SelectConfig { order_by: Some("completion_tokens".into()), ..turn.clone() });
    assert_eq!(ordered, [38, 39, 56, 57, 58, 59]);
    let s1 = choose(SelectConfig { method: Method::S1, domain: "cluster".into(), count: Some(30), ..turn.clone() });
    assert!(counts(&s1).iter().all(|n| *n >= 4), "{:?}", counts(&s1));
    let stray = SelectConfig { method: Method::Random, ..turn };
    let error = stray.check().unwrap_err().to_string();
    assert_eq!(error, "`clusters` must be left out unless method is `clusters`, or `s1` with domain `cluster`, found it");
}

#[test]
fn selection_settings_are_checked() {
    let error = |config: SelectConfig| select(&solved("a", 2), &config, 0).unwrap_err().to_string();
    let base = SelectConfig::default;
    assert_eq!(error(SelectConfig { count: Some(7), ..base() }), "count asks for 7 rows but there are only 6 rows left to choose from");
    assert_eq!(
        error(SelectConfig { method: Method::Best, ..base() }),
        "`order_by` must be a column, because method is `best`, found nothing"
    );
    let crossed = Some(Solved { min: 0, max: None, min_rate: 0.5, max_rate: 0.1 });
    assert!(error(SelectConfig { solved: crossed, ..base() }).starts_with("`solved` must be rates from 0 to 1"));
}

#[test]
fn preference_pairs() {
    let pairs = |config: PairsConfig, rows: &[Attempt]| PairMaker::new(config).unwrap().problem(rows);
    let short = PairsConfig { prefer: Preference::ShortToLong, per_problem: 2, ..PairsConfig::default() };
    let found = pairs(short.clone(), &solved("a", 6)).unwrap();
    assert_eq!(found.iter().map(|p| p.lineage.join(" > ")).collect::<Vec<_>>(), ["a#0 > a#5", "a#1 > a#4"]);
    assert_eq!(pairs(short, &solved("a", 1)[..1]).unwrap_err(), "correct attempts of like length");
    let right = pairs(PairsConfig::default(), &solved("a", 3)).unwrap();
    assert_eq!(right[0].lineage.join(" > "), "a#2 > a#3");
    assert_eq!(right[0].prompt[0].role, "user");
    assert_eq!((right[0].chosen[0].content.as_str(), right[0].pair_id.as_str()), ("so so \\boxed{14}", "a~pair0"));
    assert_eq!(pairs(PairsConfig::default(), &solved("a", 6)).unwrap_err(), "no incorrect attempt");
    let row = rl_prompt(&solved("a", 1)[0].problem, Some("S"));
    assert_eq!(row["prompt"], json!([{"role": "system", "content": "S"}, {"role": "user", "content": "What is asked in a?"}]));
    assert_eq!(row["reward_model"]["ground_truth"], "14");
}

fn sample(system: Option<&str>) -> Sample {
    let render = RenderConfig { system_prompt: system.map(str::to_owned), ..RenderConfig::default() };
    let maker = SampleMaker::new(&SampleConfig { render, keep_incorrect: false }).unwrap();
    maker.sample(&attempt("p", 0, Some("R"), "A \\boxed{14}")).unwrap()
}

#[test]
fn layouts_hold_the_conversation() {
    let row = |name: &str| layout(name).unwrap().sample(&sample(Some("S"))).unwrap();
    let told = json!({"sample_id": "p#0", "problem_id": "p", "source": "test", "kind": "shortcut"});
    let with = |mut row: serde_json::Value| {
        row.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        row
    };
    let (q, a) = ("What is asked in p?", "<think>\nR\n</think>\n\nA \\boxed{14}");
    assert_eq!(
        row("sharegpt"),
        with(json!({"conversations": [
        {"from": "system", "value": "S"}, {"from": "human", "value": q}, {"from": "gpt", "value": a}]}))
    );
    assert_eq!(row("alpaca"), with(json!({"instruction": q, "input": "", "output": a, "system": "S"})));
    assert_eq!(
        row("messages"),
        with(json!({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": q},
        {"role": "assistant", "content": "A \\boxed{14}", "reasoning": "R"}]}))
    );
    assert_eq!(
        row("prompt_completion"),
        with(json!({
        "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": q}],
        "completion": [{"role": "assistant", "content": a}]}))
    );
    let mut long = sample(None);
    long.messages.extend(long.messages.clone());
    assert!(layout("alpaca").unwrap().sample(&long).is_none());
    assert!(layout("sharegtp").unwrap_err().to_string().ends_with("did you mean `sharegpt`?"));
}

#[test]
fn the_card_tells_counts_licences_and_decontamination() {
    let card = Card {
        name: "countdown \"journey\"".into(),
        kinds: BTreeMap::from([("journey".into(), 900), ("shortcut".into(), 1100)]),
        splits: vec![
            CardSplit { name: "train".into(), files: "data/train-*.parquet".into(), rows: 1900 },
            CardSplit { name: "test".into(), files: "data/test-*.parquet".into(), rows: 100 },
        ],
        uncompared: vec!["general".into()],
        layout: "messages".into(),
        teachers: vec!["QwQ".into()],
        sources: vec![CardSource {
            name: "gsm8k".into(),
            licence: Some("MIT".into()),
            note: None,
            url: Some("https://x.y".into()),
            rows: 2000,
        }],
        stages: vec![CardStage { name: "kept".into(), kind: "filter".into(), rows: 2000, dropped: BTreeMap::from([("a|b".into(), 7)]) }],
        decontaminated: Some(BTreeMap::from([("math500".into(), 3)])),
        pipeline: "version = 1\n# ```\n".into(),
        tool: "potstill 0.1.0".into(),
    };
    let text = card.to_markdown();
    for part in [
        "---\npretty_name: \"countdown \\\"journey\\\"\"\nlicense: \"mit\"\nsize_categories:\n- \"1K<n<10K\"\n",
        "2000 rows in the `messages` layout, made by potstill 0.1.0.",
        "| [gsm8k](https://x.y) | 2000 | MIT |",
        "| kept | filter | 2000 | 7 a\\|b |",
        "  - split: \"test\"\n    path: \"data/test-*.parquet\"\n",
        "That does not hold for rows that came through: general.",
        "removed with all their rows: math500 (3 problems removed).",
        "````toml\nversion = 1\n# ```\n````\n",
    ] {
        assert!(text.contains(part), "missing {part:?} in\n{text}");
    }
    assert!(Card::default().to_markdown().contains("not compared with any benchmark"));
}

#[test]
fn checks_drop_with_their_reason() {
    let on = ChecksConfig {
        empty: true,
        truncated: true,
        loops: true,
        think_tags: true,
        one_language: true,
        leaked_answer: true,
        refusals: true,
        max_tokens: Some(500),
        ..ChecksConfig::default()
    };
    let checks = Checks::new(&on, None).unwrap();
    let good = attempt("p", 0, Some("Let me think about it."), "It is \\boxed{14}.");
    assert_eq!(checks.decide(&good), Decision::Keep);
    let reason = |change: &dyn Fn(&mut Attempt)| {
        let mut row = good.clone();
        change(&mut row);
        match checks.decide(&row) {
            Decision::Drop(reason) => reason.into_owned(),
            Decision::Keep => "kept".into(),
        }
    };
    assert_eq!(reason(&|r| r.response = " ".into()), "empty response");
    assert_eq!(reason(&|r| r.truncated = true), "truncated");
    assert_eq!(reason(&|r| r.reasoning = None), "no thought");
    assert_eq!(reason(&|r| r.response = "<think>a".into()), "think mark not closed");
    assert_eq!(reason(&|r| r.response = "a</think>b</think>c".into()), "think marks out of order");
    assert_eq!(reason(&|r| r.response = "I’m sorry, but I can’t help.".into()), "refusal");
    assert_eq!(reason(&|r| r.problem.prompt = "Add. Answer: 14".into()), "prompt states its answer");
    assert_eq!(reason(&|r| r.problem.prompt = "Add. The answer is 14.5".into()), "kept");
    assert_eq!(reason(&|r| r.completion_tokens = Some(501)), "more tokens than max_tokens");
    assert_eq!(reason(&|r| r.completion_tokens = None), "length in tokens not known");
    assert_eq!(reason(&|r| r.reasoning = Some("Wait, let me check that again. ".repeat(20))), "ends in a loop");
    assert_eq!(reason(&|r| r.response = "So we add them all, 因此我们得到 that it is 14".into()), "script changes within the reply");
    let view = View::from(&sample(None)).response.to_owned();
    assert_eq!(view, "A \\boxed{14}");
    let error = |config| Checks::new(&config, None).unwrap_err().to_string();
    assert_eq!(
        error(ChecksConfig { min_tokens: Some(9), max_tokens: Some(3), ..ChecksConfig::default() }),
        "`min_tokens` must be at most max_tokens = 3, found 9"
    );
    let counted =
        Checks::new(&ChecksConfig { max_tokens: Some(3), ..on }, Some(&(std::sync::Arc::new(|t: &str| Some(t.len())) as _))).unwrap();
    assert_eq!(counted.decide(&good), Decision::drop("more tokens than max_tokens"));
}

proptest! {
    #[test]
    fn checks_never_panic(text in "\\PC{0,200}|[`$\\\\<>()\\[\\]thinkboxed{} \n]{0,200}", gold in "\\PC{0,6}") {
        let on = ChecksConfig { loops: true, think_tags: true, one_language: true, leaked_answer: true, refusals: true, ..ChecksConfig::default() };
        let mut row = attempt("p", 0, Some(&text), &text);
        row.problem.gold = Some(gold);
        row.problem.prompt = format!("answer: {text}");
        let _ = Checks::new(&on, None).unwrap().decide(&row);
    }

    #[test]
    fn selection_is_order_independent(
        spec in prop::collection::vec((0_u8..8, any::<bool>(), 0_usize..9), 6..30),
        method in prop::sample::select(vec![Method::Random, Method::S1, Method::Limo, Method::Coverage]),
    ) {
        let rows: Vec<Attempt> = spec.iter().zip(0..).map(|((problem, right, long), n)| {
            let mut row = attempt(&format!("p{problem}"), n, None, &format!("{}{}", "so ".repeat(*long), if *right { "\\boxed{14}" } else { "9" }));
            row.problem.domain = Some(format!("d{}", problem % 3));
            row
        }).collect();
        let config = SelectConfig { method, count: Some(5), ..SelectConfig::default() };
        let set = |rows: &[Attempt]| kept(rows, &config).into_iter().collect::<BTreeSet<_>>();
        let back: Vec<Attempt> = rows.iter().rev().cloned().collect();
        prop_assert_eq!(set(&rows), set(&back));
        prop_assert_eq!(set(&rows).len(), 5);
    }
}
