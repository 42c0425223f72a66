//! What every format and every layout writes, to the letter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use common::attempt;
use potstill_curate::export::{LAYOUTS, Make};
use potstill_curate::pairs::{PairMaker, PairsConfig};
use potstill_curate::{FORMATS, JourneyConfig, RenderConfig, Renderer, journey};
use potstill_data::{Message, Problem, Sample};
use serde_json::Value;

fn render(format: &str) -> RenderConfig {
    RenderConfig {
        system_prompt: Some("Think first.".into()),
        user_template: "Return your answer in \\boxed{}. {prompt}".into(),
        format: format.into(),
    }
}

/// The assistant's turn with a thought and without one, in every format.
#[test]
fn formats() {
    for format in FORMATS {
        let renderer = Renderer::new(&render(format.name)).unwrap();
        let turns = [Some("3 + 5 = 8.\n\n8 + 6 = 14."), None].map(|thought| {
            let messages = renderer.messages("What is 3 + 5 + 6?", thought, "It is \\boxed{14}.");
            serde_json::to_string_pretty(&messages).unwrap()
        });
        insta::assert_snapshot!(format!("format_{}", format.name), turns.join("\n"));
    }
}

/// A journey whose mistake does not count, with its shortcut; a conversation of several turns; pairs; a prompt.
#[test]
fn layouts() {
    let rows = [
        attempt("p", 0, None, "3 + 5 = 9, so \\boxed{15}."),
        attempt("p", 1, Some("3 + 5 = 8, 8 + 6 = 14."), "It is \\boxed{14}."),
        attempt("p", 2, Some("Ünïcode 好: 8 + 6 = 14."), "So \\boxed{14}."),
    ];
    let config = JourneyConfig {
        mistake_weight: 0.0,
        reflections: vec!["Wait, {answer}?".into()],
        render: render("plain"),
        ..JourneyConfig::default()
    };
    let (mut samples, shortcuts, _) = journey::journey(&rows, &config, 1, &common::eyes(), None).unwrap();
    samples.extend(shortcuts);
    let mut talk: Sample = samples[1].clone();
    talk.sample_id = "talk".into();
    talk.weight = 0.5;
    talk.messages.extend([Message::new("user", "Sure?"), Message::new("assistant", "Yes.")]);
    samples.push(talk);
    let pairs = PairMaker::new(PairsConfig { render: render("plain"), ..PairsConfig::default() }).unwrap().problem(&rows).unwrap();
    let problem = Problem { domain: Some("arithmetic".into()), verifier: Some("number".into()), ..rows[0].problem.clone() };
    for layout in LAYOUTS {
        let values: Vec<Option<Value>> = match layout.make {
            Make::Samples(make) => samples.iter().map(make).collect(),
            Make::Pairs(make) => pairs.iter().map(|pair| Some(make(pair))).collect(),
            Make::Problems(make) => vec![Some(make(&problem, Some("Think first."))), Some(make(&rows[0].problem, None))],
        };
        let lines: Vec<String> = values.iter().map(|v| v.as_ref().map_or("left out".into(), Value::to_string)).collect();
        insta::assert_snapshot!(format!("layout_{}", layout.name), lines.join("\n"));
        // Every key of a row is a column of the schema, so that nothing is lost in Parquet.
        let schema = layout.schema();
        for key in values.iter().flatten().flat_map(|v| v.as_object().unwrap().keys()) {
            assert!(schema.column_with_name(key).is_some(), "{}: no column {key}", layout.name);
        }
    }
}
