//! Files without mistakes: what is read, what overrides change, and what decides a fingerprint.

use std::collections::BTreeMap;

use potstill_pipeline::{PlanState, Port, plan};
use proptest::prelude::*;

use crate::app::{KINDS, TEACHERS, WHOLE, load};

#[test]
fn a_whole_file_becomes_a_graph() {
    let (pipeline, _) = load(WHOLE, &[]).unwrap();
    assert_eq!(pipeline.seed(), 42);
    let names: Vec<&str> = pipeline.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["math", "traces", "kept", "sft", "more", "score"]);
    let more = &pipeline.nodes()[4];
    assert_eq!((more.inputs[0].stage, more.inputs[0].output.as_str()), (2, "dropped"));
    assert_eq!(more.inputs[0].port, Port::Attempts);
    assert_eq!(more.init_from.as_ref().unwrap().stage, 3);
}

#[test]
fn stages_may_be_used_before_they_are_written() {
    let file = r#"
        version = 1
        [stage.late]
        kind = "filter"
        where = "x"
        inputs = ["early"]
        [stage.alone]
        kind = "source"
        rows = 1
        [stage.early]
        kind = "source"
        rows = 1
    "#;
    let (pipeline, _) = load(file, &[]).unwrap();
    let names: Vec<&str> = pipeline.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["alone", "early", "late"]);
}

/// The parameters of every stage by name.
fn parameters(text: &str, overrides: &[&str]) -> BTreeMap<String, serde_json::Value> {
    let (pipeline, app) = load(text, overrides).unwrap();
    let identities = pipeline.identify(&app).unwrap();
    pipeline.nodes().iter().zip(identities).map(|(node, id)| (node.name.clone(), id.parameters)).collect()
}

#[test]
fn overrides_change_what_they_name() {
    let overrides = [
        "stage.sft.epochs=7",
        "stage.kept.where=verdict = 'x' AND y",
        "stage.kept.per_problem.order_by=\"cost_usd\"",
        "stage.more.schedule.kind=linear",
        "stage.\"traces\".temperature = 0.5",
        "stage.score.benchmark=10m",
    ];
    let changed = parameters(WHOLE, &overrides);
    assert_eq!(changed["sft"]["epochs"], 7);
    assert_eq!(changed["kept"]["where"], "verdict = 'x' AND y");
    assert_eq!(changed["kept"]["per_problem"]["order_by"], "cost_usd");
    assert_eq!(changed["kept"]["per_problem"]["keep"], 1);
    assert_eq!(changed["more"]["schedule"]["kind"], "linear");
    assert_eq!(changed["traces"]["parameters"]["temperature"], 0.5);
    assert_eq!(changed["score"]["benchmark"], "10m");
    let (pipeline, _) = load(WHOLE, &["seed=7"]).unwrap();
    assert_eq!(pipeline.seed(), 7);
}

/// The stages whose fingerprints differ between a file and the same with something replaced.
fn changed(from: &str, to: &str) -> Vec<String> {
    let prints = |text: &str| {
        let (pipeline, app) = load(text, &[]).unwrap();
        let names = pipeline.nodes().iter().map(|node| node.name.clone());
        names.zip(pipeline.identify(&app).unwrap()).map(|(name, id)| (name, id.fingerprint)).collect::<Vec<_>>()
    };
    assert!(WHOLE.contains(from));
    let (before, after) = (prints(WHOLE), prints(&WHOLE.replace(from, to)));
    before.into_iter().zip(after).filter(|(a, b)| a.1 != b.1).map(|(_, b)| b.0).collect()
}

#[test]
fn a_change_makes_only_what_lies_downstream_anew() {
    assert_eq!(changed("epochs = 3", "epochs = 4"), ["sft", "more", "score"]);
    assert_eq!(changed("benchmark = \"gsm8k\"", "benchmark = \"math\""), ["score"]);
    assert_eq!(changed("[\"kept.dropped\"]", "[\"kept\"]"), ["more", "score"]);
    assert_eq!(changed("init_from = \"sft\"", ""), ["more", "score"]);
    assert_eq!(changed("seed = 42", "seed = 43").len(), 6);
    assert_eq!(changed("model = \"QwQ-32B\"", "model = \"QwQ\""), ["traces", "kept", "sft", "more", "score"]);
}

#[test]
fn names_comments_and_endpoints_change_nothing() {
    assert_eq!(changed("kept", "retained"), [""; 0]);
    assert_eq!(changed("version = 1", "# hello\nversion = 1\n"), [""; 0]);
    assert_eq!(changed("api_key_env = \"TEACHER_API_KEY\"", "base_url = \"http://elsewhere\""), [""; 0]);
    assert_eq!(changed("samples = 4", "samples = 0x4"), [""; 0]);
}

#[test]
fn the_plan_without_a_store_estimates() {
    let (pipeline, app) = load(WHOLE, &[]).unwrap();
    let plan = plan(&pipeline, None, &app).unwrap();
    assert!(plan.iter().all(|stage| stage.state == PlanState::New));
    assert_eq!(plan[1].inputs, ["math.problems"]);
    assert_eq!(plan[1].estimate.as_ref().unwrap().calls, Some(40));
    assert_eq!((plan[1].rows, plan[2].rows), (Some(40), None));
    assert_eq!(plan[4].inputs, ["kept.dropped", "sft.model"]);
}

#[test]
fn the_schema_describes_every_kind() {
    let schema = potstill_pipeline::schema(KINDS, TEACHERS);
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
}

/// Every reference in the schema leads somewhere.
#[test]
fn the_schema_has_no_dangling_references() {
    fn check(root: &serde_json::Value, value: &serde_json::Value) {
        match value {
            serde_json::Value::Object(object) => {
                if let Some(target) = object.get("$ref") {
                    let pointer = target.as_str().unwrap().trim_start_matches('#');
                    assert!(root.pointer(pointer).is_some(), "{target} leads nowhere");
                }
                object.values().for_each(|value| check(root, value));
            }
            serde_json::Value::Array(array) => array.iter().for_each(|value| check(root, value)),
            _ => {}
        }
    }
    let schema = potstill_pipeline::schema(KINDS, TEACHERS);
    check(&schema, &schema);
}

/// Whatever is wrong, its place lies within its source, on boundaries of characters.
fn places_are_sound(text: &str, overrides: &[&str]) {
    let Err(error) = load(text, overrides) else {
        return;
    };
    for mistake in error.mistakes() {
        let place = mistake.place();
        let sources: Vec<&str> = match mistake.source_name() {
            "pipeline.toml" => vec![text],
            _ => overrides.to_vec(),
        };
        assert!(!mistake.message().is_empty());
        let within = sources.iter().any(|source| source.get(place.clone()).is_some());
        assert!(within, "{place:?} of {} for {mistake:?}", mistake.source_name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_told_about_without_panics(at in 0usize..WHOLE.len(), length in 0usize..40, put in "[ -~äπ\\n]{0,6}") {
        let end = (at + length).min(WHOLE.len());
        let text = format!("{}{put}{}", &WHOLE[..at], &WHOLE[end..]);
        places_are_sound(&text, &[]);
    }

    #[test]
    fn any_override_is_taken_or_told_about(text in "(stage|teacher|seed|[a-z]{1,3})[.=\"'a-z\\[\\]{}0-9ä\\n #]{0,30}") {
        places_are_sound(WHOLE, &["seed=3", &text]);
    }

    #[test]
    fn strings_come_through_an_override_whole(value in "[^\\p{Cc}]{0,30}") {
        let quoted = format!("stage.score.benchmark={}", toml::Value::String(value.clone()));
        // What looks like a secret is refused, whatever it is.
        if let Ok((pipeline, app)) = load(WHOLE, &[&quoted]) {
            let identities = pipeline.identify(&app).unwrap();
            prop_assert_eq!(&identities[5].parameters["benchmark"], &serde_json::Value::String(value));
        } else {
            prop_assert!(value.contains("://") || value.chars().filter(char::is_ascii_alphanumeric).count() > 8);
        }
    }

    #[test]
    fn bare_words_are_strings(word in "[a-zA-Z][a-zA-Z _/:.-]{0,20}") {
        prop_assume!(!["true", "false", "inf", "nan"].contains(&word.trim()));
        let (pipeline, app) = load(WHOLE, &[&format!("stage.score.benchmark={word}")]).unwrap();
        let identities = pipeline.identify(&app).unwrap();
        prop_assert_eq!(&identities[5].parameters["benchmark"], &serde_json::Value::String(word.trim().into()));
    }
}
