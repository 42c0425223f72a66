//! Journey samples: composed from real wrong turns, always ending right.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use common::{answers, attempt, eyes, judge};
use potstill_curate::RenderConfig;
use potstill_curate::journey::{Cut, Draft, Journey, JourneyConfig, JourneySource, MISTAKE_CHARS, Outcome, Skip, WRONG_ANSWER, journey};
use potstill_data::{Attempt, LossSpan, MessagePart, Sample, SampleKind, Scalar, Verdict};
use proptest::prelude::*;

fn compose(config: JourneyConfig, attempts: &[Attempt]) -> Outcome {
    Journey::new(config, 7).unwrap().problem(attempts, &eyes(), None)
}

fn assistant(sample: &Sample) -> (&str, &str) {
    let turn = sample.messages.last().unwrap();
    (turn.reasoning.as_deref().unwrap_or_default(), &turn.content)
}

#[test]
fn a_trace_that_recovered_is_a_journey_as_it_is() {
    let trace = "So 3+5=9.\n\nThe answer is \\boxed{9}.\n\nWait, 3+5=8.\n\nThen 8+6=14.";
    let rows = [attempt("p", 0, Some(trace), "\\boxed{14}"), attempt("p", 1, None, "Just \\boxed{14}")];
    let out = compose(JourneyConfig::default(), &rows);
    let [(JourneySource::Recovered, sample)] = out.journeys.as_slice() else { panic!("{out:?}") };
    assert_eq!(assistant(sample), (trace, "\\boxed{14}"));
    assert_eq!((sample.kind, sample.lineage.as_slice()), (SampleKind::Journey, ["p#0".to_owned()].as_slice()));
    assert_eq!(sample.meta[WRONG_ANSWER], Scalar::Text("9".into()));
    assert_eq!((out.shortcuts.len(), out.shortcuts[0].sample_id.as_str()), (1, "p#1"));
    assert_eq!(out.shortcuts[0].kind, SampleKind::Shortcut);
}

#[test]
fn a_trace_without_separate_reasoning_is_parted_before_its_final_paragraph() {
    let rows = [attempt("p", 0, None, "I get \\boxed{9}.\n\nHmm, no.\n\nSo it is \\boxed{14}.")];
    let out = compose(JourneyConfig::default(), &rows);
    assert_eq!(assistant(&out.journeys[0].1), ("I get \\boxed{9}.\n\nHmm, no.", "So it is \\boxed{14}."));
    // No other right attempt: the control is the final answer alone.
    assert_eq!((out.shortcuts[0].sample_id.as_str(), assistant(&out.shortcuts[0])), ("p#0~answer", ("", "So it is \\boxed{14}.")));
}

#[test]
fn wrong_and_right_are_joined_by_a_reflection() {
    let rows = [
        attempt("p", 0, None, "First 3+5=9.\n\\[\n\\boxed{9}\n\\]\nI hope it is correct."),
        attempt("p", 1, Some("3+5=8, 8+6=14."), "<think></think>So \\boxed{14}."),
    ];
    let config = JourneyConfig { reflections: vec!["No, {answer} is wrong.".into()], ..JourneyConfig::default() };
    let out = compose(config.clone(), &rows);
    let sample = &out.journeys[0].1;
    let wrong = "First 3+5=9.\n\\[\n\\boxed{9}\n\\]";
    assert_eq!(assistant(sample), (format!("{wrong}\n\nNo, 9 is wrong.\n\n3+5=8, 8+6=14.").as_str(), "So \\boxed{14}."));
    assert_eq!(sample.lineage, ["p#0", "p#1"]);
    assert_eq!(sample.meta[MISTAKE_CHARS], Scalar::Int(wrong.len() as i64));
    let before = compose(JourneyConfig { cut: Cut::BeforeAnswer, ..config.clone() }, &rows);
    assert!(assistant(&before.journeys[0].1).0.starts_with("First 3+5=9.\n\\[\n\nNo, 9"));
    let whole = compose(JourneyConfig { cut: Cut::Whole, ..config }, &rows);
    assert!(assistant(&whole.journeys[0].1).0.contains("I hope it is correct.\n\nNo, 9"));
}

/// With `mistake_weight` the wrong attempts, and they alone, lie in spans, wherever the format puts the thought.
#[test]
fn mistakes_are_spans_of_their_own_weight() {
    let rows = [
        attempt("p", 0, None, "ä \\boxed{7}"),
        attempt("p", 1, None, "b \\boxed{9}"),
        attempt("p", 2, Some("3+5=8, 8+6=14."), "d \\boxed{14}"),
    ];
    for (format, part) in [("plain", MessagePart::Reasoning), ("think", MessagePart::Content), ("sky_t1", MessagePart::Content)] {
        let render = RenderConfig { format: format.into(), system_prompt: Some("S".into()), ..RenderConfig::default() };
        let config = JourneyConfig { wrong_attempts: 2, mistake_weight: 0.0, render, ..JourneyConfig::default() };
        let out = compose(config, &rows);
        let sample = &out.journeys[0].1;
        let covered = |span: &LossSpan| {
            let message = &sample.messages[span.message as usize];
            let text = if span.part == MessagePart::Content { &message.content } else { message.reasoning.as_ref().unwrap() };
            text[span.bytes(text)].to_owned()
        };
        assert_eq!(sample.loss_spans.iter().map(covered).collect::<Vec<_>>(), ["ä \\boxed{7}", "b \\boxed{9}"], "{format}");
        assert!(sample.loss_spans.iter().all(|span| span.part == part && span.weight == 0.0 && span.message == 2), "{format}");
    }
    let render = RenderConfig { format: "answer".into(), ..RenderConfig::default() };
    let bare = compose(JourneyConfig { mistake_weight: 0.5, render, ..JourneyConfig::default() }, &rows);
    assert!(bare.journeys[0].1.loss_spans.is_empty());
    assert!(compose(JourneyConfig::default(), &rows).journeys[0].1.loss_spans.is_empty());
}

#[test]
fn a_problem_whose_only_right_attempt_is_the_shortcut_says_so() {
    let rows = [attempt("p", 0, Some("3+5=8, 8+6=14."), "\\boxed{14}")];
    let straight = JourneyConfig { keep_straight: true, ..JourneyConfig::default() };
    assert_eq!(compose(straight.clone(), &rows).skipped, Some(Skip::OnlyShortcut));
    assert_eq!(compose(JourneyConfig::default(), &rows).skipped, Some(Skip::NoMistake));
    assert!(compose(JourneyConfig { paired: false, ..straight }, &rows).straight.is_some());
}

#[test]
fn several_wrong_answers_go_in_by_plausibility() {
    let rows = [
        attempt("p", 0, None, "a \\boxed{7}"),
        attempt("p", 1, None, "b \\boxed{9}"),
        attempt("p", 2, None, "c \\boxed{9}"),
        attempt("p", 3, None, "d \\boxed{14}"),
    ];
    let two = JourneyConfig { wrong_attempts: 2, ..JourneyConfig::default() };
    assert_eq!(compose(two, &rows).journeys[0].1.lineage, ["p#1", "p#0", "p#3"]);
    let twice = compose(JourneyConfig { per_problem: 3, ..JourneyConfig::default() }, &rows);
    let lineages: Vec<_> = twice.journeys.iter().map(|(_, s)| (s.sample_id.as_str(), s.lineage.join(" "))).collect();
    assert_eq!(lineages, [("p~journey0", "p#1 p#3".to_owned()), ("p~journey1", "p#0 p#3".to_owned())]);
}

#[test]
fn why_there_is_no_journey() {
    let skip = |rows: &[Attempt]| compose(JourneyConfig::default(), rows).skipped;
    assert_eq!(skip(&[attempt("p", 0, None, "\\boxed{9}")]), Some(Skip::NoRight));
    assert_eq!(skip(&[attempt("p", 0, None, "\\boxed{14}")]), Some(Skip::NoMistake));
    assert_eq!(skip(&[attempt("p", 0, None, "dunno"), attempt("p", 1, None, "\\boxed{14}")]), Some(Skip::Uncommitted));
    let long = JourneyConfig { max_wrong_chars: 5, ..JourneyConfig::default() };
    let rows = [attempt("p", 0, None, "\\boxed{9}"), attempt("p", 1, None, "\\boxed{14}")];
    assert_eq!(compose(long, &rows).skipped, Some(Skip::TooLong));
    // A reflection that commits to another answer spoils a response without one: the whole text must end right.
    let mut blind = rows.clone();
    blind[1].response = "done".into();
    assert_eq!(skip(&blind), Some(Skip::EndsWrong));
    let in_one = [attempt("p", 0, None, "\\boxed{9} no, \\boxed{14}")];
    assert_eq!(skip(&in_one), Some(Skip::NoShortcut));
    assert_eq!(compose(JourneyConfig { paired: false, ..JourneyConfig::default() }, &in_one).journeys.len(), 1);
}

#[test]
fn wrong_turns_count_as_mistakes_when_named() {
    let rows = [attempt("p", 0, Some("try 3*5. dead end. try 3+5"), "\\boxed{14}")];
    assert_eq!(compose(JourneyConfig::default(), &rows).skipped, Some(Skip::NoMistake));
    let out = compose(JourneyConfig { wrong_turns: vec!["dead end".into()], ..JourneyConfig::default() }, &rows);
    assert_eq!(out.journeys[0].1.meta[MISTAKE_CHARS], Scalar::Int("try 3*5. dead end".len() as i64));
}

#[test]
fn what_a_writer_writes_is_verified() {
    let rows = [attempt("p", 0, None, "a \\boxed{9}"), attempt("p", 1, None, "b \\boxed{14}")];
    let strict = JourneyConfig { keep_unwritten: false, ..JourneyConfig::default() };
    let write = |config: &JourneyConfig, text: Result<&str, &str>| {
        let writer = |_: &Draft| text.map(str::to_owned).map_err(str::to_owned);
        Journey::new(config.clone(), 7).unwrap().problem(&rows, &eyes(), Some(&writer))
    };
    assert_eq!(write(&strict, Ok("smooth")).skipped, Some(Skip::WriterLostMistake));
    assert_eq!(write(&strict, Err("503")).skipped, Some(Skip::WriterFailed));
    let good = write(&strict, Ok("Say \\boxed{9}? No: that is off."));
    assert_eq!(assistant(&good.journeys[0].1).0, "Say \\boxed{9}? No: that is off.");
    let kept = write(&JourneyConfig::default(), Ok("smooth"));
    assert_eq!((kept.journeys.len(), kept.rejected), (1, vec![Skip::WriterLostMistake]));
}

#[test]
fn counts_and_statistics() {
    let mut rows = vec![attempt("a", 0, None, "x \\boxed{9}"), attempt("a", 1, None, "y \\boxed{14}")];
    rows.push(attempt("b", 0, None, "\\boxed{9}"));
    rows.push(attempt("c", 0, Some("\\boxed{9}? Wait, no."), "\\boxed{14}"));
    let (journeys, shortcuts, report) = journey(&rows, &JourneyConfig::default(), 7, &eyes(), None).unwrap();
    assert_eq!((journeys.len(), shortcuts.len()), (2, 2));
    let json = report.to_json();
    assert_eq!(json["journeys"], serde_json::json!({"joined": 1, "recovered": 1}));
    assert_eq!(json["skipped"], serde_json::json!({"no right attempt": 1}));
    assert_eq!((&json["problems"], &json["used"]), (&3.into(), &2.into()));
    assert_eq!(json["journey"]["reflection_words"]["count"], 2);
}

#[test]
fn bad_settings_are_named() {
    let error = |config| Journey::new(config, 0).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error(JourneyConfig { per_problem: 0, ..JourneyConfig::default() }), "`per_problem` must be at least 1, found 0");
    assert_eq!(
        error(JourneyConfig { from: vec![], ..JourneyConfig::default() }),
        "`from` must be `recovered`, `joined` or both, found an empty list"
    );
    assert_eq!(
        error(JourneyConfig { reflections: vec![" ".into()], ..JourneyConfig::default() }),
        "`reflections` must not hold an empty text: ` `"
    );
}

/// Any attempt text: bits of prose, answers right and wrong, line breaks, think marks, other scripts.
fn text() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        Just("\\boxed{14}".to_owned()),
        Just("\\boxed{9}".to_owned()),
        Just("\\boxed{7}".to_owned()),
        Just("\n\n".to_owned()),
        Just("\n".to_owned()),
        Just("</think>".to_owned()),
        Just("<think>".to_owned()),
        Just(" Wait, ".to_owned()),
        Just("等一下".to_owned()),
        Just("\\[".to_owned()),
        Just("\\]".to_owned()),
        "[a-z ]{0,6}",
    ];
    prop::collection::vec(bit, 0..10).prop_map(|bits| bits.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_journey_verifies_and_row_order_is_no_matter(
        texts in prop::collection::vec((prop::option::of(text()), text()), 1..7),
        turn in 0_usize..7,
        wrong_attempts in 1_u32..3,
        per_problem in 1_u32..3,
    ) {
        let rows: Vec<Attempt> = texts.iter().zip(0..).map(|((t, r), n)| attempt("p", n, t.as_deref(), r)).collect();
        let config = JourneyConfig { wrong_attempts, per_problem, wrong_turns: vec!["Wait".into()], ..JourneyConfig::default() };
        let out = compose(config.clone(), &rows);
        for sample in out.journeys.iter().map(|(_, s)| s).chain(&out.shortcuts) {
            let (reasoning, content) = assistant(sample);
            prop_assert_eq!(judge(&attempt("p", 0, None, content)), Verdict::Correct);
            prop_assert_eq!(judge(&attempt("p", 0, None, &format!("{reasoning}\n\n{content}"))), Verdict::Correct);
        }
        for (_, sample) in &out.journeys {
            let (reasoning, content) = assistant(sample);
            let wrong = answers(&format!("{reasoning}\n\n{content}")).iter().any(|c| c.text != "14");
            prop_assert!(wrong || reasoning.contains("Wait") || content.contains("Wait"));
        }
        prop_assert_eq!(out.journeys.is_empty(), out.skipped.is_some());
        prop_assert!(out.journeys.is_empty() || !out.shortcuts.is_empty());
        let mut turned = rows.clone();
        turned.rotate_left(turn % rows.len());
        turned.reverse();
        let again = compose(config, &turned);
        prop_assert_eq!(out.journeys, again.journeys);
        prop_assert_eq!(out.shortcuts, again.shortcuts);
        prop_assert_eq!(out.skipped, again.skipped);
    }
}
