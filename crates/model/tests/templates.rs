//! Published chat templates against transformers' `apply_chat_template`.
//!
//! The templates belong to their publishers and are not part of the project: `python tests/reference/templates.py fetch` puts
//! them into the cache; without them this test says so and passes. The fixture holds lengths and CRCs, made by the same script.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use potstill_model::{ChatMessage, ChatTemplate, RenderOptions, Specials};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    date: String,
    cases: Vec<Case>,
    templates: Vec<Expected>,
}

#[derive(Deserialize)]
struct Case {
    messages: Vec<Turn>,
    add_generation_prompt: bool,
    extra: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct Expected {
    name: String,
    template: String,
    renders: Vec<Option<String>>,
}

#[derive(Deserialize)]
struct Entry {
    template: String,
    bos: Option<String>,
    eos: Option<String>,
}

#[expect(clippy::disallowed_methods, reason = "where the reference files are kept")]
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("potstill/reference/templates")
}

fn digest(text: &str) -> String {
    format!("{}:{:08x}", text.len(), crc32fast::hash(text.as_bytes()))
}

/// Renderings that are known to differ, and why.
const APART: [(&str, &[usize], &str); 5] = [
    ("CohereForAI-c4ai-command-r-plus-tool_use", &[0, 1, 2, 3], NO_TOOLS),
    ("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", &[0, 1, 2, 3], NO_TOOLS),
    ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", &[0, 1, 2, 3], NO_TOOLS),
    ("llama-cpp-deepseek-r1", &[4], "prints a generator as JSON, which Python refuses; here it is a list"),
    ("meetkai-functionary-medium-v3.1", &[4], "adds text to a `safe` string, which Python escapes for HTML; here it stays as it is"),
];
const NO_TOOLS: &str = "walks over `tools` without asking whether there are any: Python refuses None, here it is an empty list";
/// The name of a key is that of a method of Python's: `schema.items` is the method there, and what the schema says here.
const METHOD: (&str, usize) = ("CohereForAI-c4ai-command-r-plus-tool_use", 4);

fn known(name: &str, case: usize) -> bool {
    (name, case) == METHOD || APART.iter().any(|(apart, cases, _)| *apart == name && cases.contains(&case))
}

#[test]
fn published_templates_render_as_transformers_renders_them() {
    let golden: Golden = serde_json::from_str(include_str!("fixtures/templates.json")).unwrap();
    assert!(golden.templates.len() >= 10);
    let (mut seen, mut wrong) = (0, Vec::new());
    for expected in &golden.templates {
        let path = cache().join(format!("{}.json", expected.name));
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let entry: Entry = serde_json::from_str(&text).unwrap();
        assert_eq!(digest(&entry.template), expected.template, "{}: another version of the template", expected.name);
        seen += 1;
        let specials = Specials { bos: entry.bos, eos: entry.eos, ..Specials::default() };
        let template = ChatTemplate::new(&entry.template, specials);
        for (at, (case, expected_text)) in golden.cases.iter().zip(&expected.renders).enumerate() {
            let turn =
                |turn: &Turn| ChatMessage { role: turn.role.clone(), content: turn.content.clone(), reasoning: turn.reasoning.clone() };
            let messages: Vec<ChatMessage> = case.messages.iter().map(turn).collect();
            let options = RenderOptions {
                add_generation_prompt: case.add_generation_prompt,
                date: Some(golden.date.clone()),
                extra: case.extra.clone(),
            };
            let found =
                template.as_ref().map_err(ToString::to_string).and_then(|t| t.render(&messages, &options).map_err(|e| e.to_string()));
            let same = found.as_ref().ok().map(|text| digest(text)) == *expected_text;
            assert!(!(same && known(&expected.name, at)), "{} case {at} no longer differs", expected.name);
            if !same && !known(&expected.name, at) {
                wrong.push(format!(
                    "{} case {at}: {found:?}, {} expected",
                    expected.name,
                    if expected_text.is_some() { "other text" } else { "a refusal" }
                ));
            }
        }
    }
    if seen == 0 {
        println!("skipped: {} is empty; python tests/reference/templates.py fetch", cache().display());
        return;
    }
    println!(
        "{seen} templates, {} conversations each; {} of all known to differ",
        golden.cases.len(),
        1 + APART.map(|a| a.1.len()).iter().sum::<usize>()
    );
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
