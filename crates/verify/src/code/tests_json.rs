//! What a program must do, read from a problem's tests.
//!
//! The forms of public data sets, all as JSON:
//! - `{"inputs": […], "outputs": […]}`, with `fn_name` for calls: APPS, TACO;
//! - `[{"input": …, "output": …, "testtype": …}]`, alone or as `cases` beside `metadata`: LiveCodeBench;
//! - `{"public_tests": {"input": […], "output": […]}, "private_tests": …}`: CodeContests;
//! - `{"prompt": …, "test": …, "entry_point": …}` with a function `check(candidate)`: HumanEval;
//! - `{"test_list": […], "test_setup_code": …, "challenge_test_list": […]}`: MBPP.
//!
//! Beside them may stand `language`, `checker`, `time_limit_s` and `memory_mb`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::checker::Checker;
use super::options::{Language, MEMORY, TIME, between};
use crate::read::shown;

/// A problem's tests.
#[derive(Debug)]
pub(super) struct TestSet {
    pub(super) form: Form,
    pub(super) language: Option<Language>,
    pub(super) checker: Option<Checking>,
    pub(super) time_limit_s: Option<f64>,
    pub(super) memory_mb: Option<u64>,
}

/// The forms of tests.
#[derive(Debug)]
pub(super) enum Form {
    /// Standard input and the output expected for it.
    Streams(Vec<(String, String)>),
    /// A function's arguments as a JSON list, and the value expected, as JSON text.
    Calls { name: String, cases: Vec<(String, String)> },
    /// Python code that fails where the program is wrong.
    Asserts { prelude: String, entry: Option<String>, steps: Vec<String> },
}

/// How outputs are checked.
#[derive(Debug)]
pub(super) enum Checking {
    Named(Checker),
    Program { language: Language, source: String },
}

/// Most cases that a problem may have.
const MOST_CASES: usize = 10_000;

type Fields = BTreeMap<String, Box<RawValue>>;

/// The keys by which a form is known.
const FORMS: &str = "`inputs` and `outputs`, `cases`, `test`, `test_list`, or `public_tests`";

/// Reads tests; the error is a sentence for the verdict's note.
pub(super) fn read(text: &str) -> Result<TestSet, String> {
    let text = unquoted(text)?;
    if text.trim_start().starts_with('[') {
        return finish(listed(&text, None)?, &Fields::new());
    }
    let fields: Fields = serde_json::from_str(&text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => format!("the tests are no JSON object or list but `{}`", shown(&text, 40)),
        _ => format!("the tests are no JSON ({e}): `{}`", shown(&text, 40)),
    })?;
    finish(form(&fields)?, &fields)
}

/// Text that is a JSON string holds the JSON proper.
fn unquoted(text: &str) -> Result<String, String> {
    if text.trim_start().starts_with('"') {
        return serde_json::from_str(text).map_err(|e| format!("the tests are no JSON: {e}"));
    }
    Ok(text.to_owned())
}

fn form(fields: &Fields) -> Result<Form, String> {
    if let Some(inner) = fields.get("input_output") {
        let inner: Fields = serde_json::from_str(&unquoted(inner.get())?).map_err(|e| format!("`input_output`: {e}"))?;
        return form(&inner);
    }
    if fields.contains_key("inputs") || fields.contains_key("outputs") {
        return paired(fields);
    }
    if let Some(cases) = fields.get("cases").or_else(|| fields.get("public_test_cases")) {
        let name = fields.get("metadata").and_then(|m| unquoted(m.get()).ok()).and_then(|m| {
            #[derive(Deserialize)]
            struct Metadata {
                func_name: Option<String>,
            }
            serde_json::from_str::<Metadata>(&m).ok()?.func_name
        });
        return listed(&unquoted(cases.get())?, text(fields, "fn_name")?.or(name));
    }
    if let Some(test) = text(fields, "test")? {
        let entry = text(fields, "entry_point")?.ok_or("tests with `test` need `entry_point`")?;
        let prelude = text(fields, "prompt")?.unwrap_or_default();
        return Ok(Form::Asserts { prelude, steps: vec![format!("{test}\ncheck({entry})\n")], entry: Some(entry) });
    }
    if fields.contains_key("test_list") || fields.contains_key("asserts") {
        let mut steps = Vec::new();
        for key in ["test_list", "asserts", "challenge_test_list"] {
            steps.extend(list::<String>(fields, key)?);
        }
        if steps.is_empty() {
            return Err("the tests have no case".to_owned());
        }
        let setup = text(fields, "test_setup_code")?.or(text(fields, "setup")?).filter(|code| !code.trim().is_empty());
        // Setup code may build objects of the program's own classes, so it is a step among the tests.
        steps.splice(0..0, setup);
        return Ok(Form::Asserts { prelude: String::new(), entry: text(fields, "entry_point")?, steps });
    }
    if ["public_tests", "private_tests", "generated_tests"].iter().any(|key| fields.contains_key(*key)) {
        return contests(fields);
    }
    let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
    let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
    Err(format!("the tests have none of the known forms; their keys are: {keys}; there must be {FORMS}"))
}

/// APPS and TACO.
fn paired(fields: &Fields) -> Result<Form, String> {
    let (inputs, outputs) = (list::<Box<RawValue>>(fields, "inputs")?, list::<Box<RawValue>>(fields, "outputs")?);
    if inputs.len() != outputs.len() {
        return Err(format!("the tests have {} inputs but {} outputs", inputs.len(), outputs.len()));
    }
    let cases = inputs.iter().zip(&outputs);
    match text(fields, "fn_name")?.filter(|name| !name.is_empty()) {
        Some(name) => {
            let cases = cases.map(|(input, output)| Ok((arguments(input.get())?, returned(output.get(), input.get())?)));
            Ok(Form::Calls { name, cases: cases.collect::<Result<_, String>>()? })
        }
        None => Ok(Form::Streams(cases.map(|(i, o)| Ok((stream(i.get())?, stream(o.get())?))).collect::<Result<_, String>>()?)),
    }
}

/// LiveCodeBench.
fn listed(cases: &str, name: Option<String>) -> Result<Form, String> {
    #[derive(Deserialize)]
    struct Case {
        input: Box<RawValue>,
        output: Box<RawValue>,
        #[serde(default)]
        testtype: Option<String>,
        #[serde(default)]
        fn_name: Option<String>,
    }
    let cases: Vec<Case> = serde_json::from_str(cases).map_err(|e| format!("the list of test cases: {e}"))?;
    let called = cases.iter().any(|case| case.testtype.as_deref() == Some("functional"));
    let name = name.or_else(|| cases.iter().find_map(|case| case.fn_name.clone())).filter(|name| !name.is_empty());
    match name {
        Some(name) => {
            let cases = cases.iter().map(|c| Ok((arguments(c.input.get())?, returned(c.output.get(), c.input.get())?)));
            Ok(Form::Calls { name, cases: cases.collect::<Result<_, String>>()? })
        }
        None if called => Err("the test cases call a function, but nothing names it (`fn_name`, or `func_name` in `metadata`)".to_owned()),
        None => {
            Ok(Form::Streams(cases.iter().map(|c| Ok((stream(c.input.get())?, stream(c.output.get())?))).collect::<Result<_, String>>()?))
        }
    }
}

/// CodeContests.
fn contests(fields: &Fields) -> Result<Form, String> {
    #[derive(Deserialize)]
    struct Part {
        input: Vec<String>,
        output: Vec<String>,
    }
    let mut cases = Vec::new();
    for key in ["public_tests", "private_tests", "generated_tests"] {
        let Some(part) = fields.get(key).filter(|part| part.get() != "null") else { continue };
        let part: Part = serde_json::from_str(&unquoted(part.get())?).map_err(|e| format!("`{key}`: {e}"))?;
        if part.input.len() != part.output.len() {
            return Err(format!("`{key}` has {} inputs but {} outputs", part.input.len(), part.output.len()));
        }
        cases.extend(part.input.into_iter().zip(part.output));
    }
    Ok(Form::Streams(cases))
}

/// Arguments as a JSON list: they are one already, or each line of a text is one.
fn arguments(input: &str) -> Result<String, String> {
    if input.trim_start().starts_with('[') {
        return Ok(input.to_owned());
    }
    if input.trim_start().starts_with('"') {
        let lines: String = serde_json::from_str(input).map_err(|e| format!("arguments: {e}"))?;
        let args: Vec<&str> = lines.lines().filter(|line| !line.trim().is_empty()).collect();
        for arg in &args {
            serde_json::from_str::<&RawValue>(arg)
                .map_err(|e| format!("the argument `{}` is no JSON: {e}", crate::read::shown(arg, 40)))?;
        }
        return Ok(format!("[{}]", args.join(",")));
    }
    Err("the arguments of a call must be a list, or a text with one argument on each line".to_owned())
}

/// The value expected; beside arguments that are text it is JSON within text too.
fn returned(output: &str, input: &str) -> Result<String, String> {
    if input.trim_start().starts_with('"') && output.trim_start().starts_with('"') {
        let inner: String = serde_json::from_str(output).map_err(|e| format!("outputs: {e}"))?;
        // A bare word is the text itself.
        return Ok(if serde_json::from_str::<&RawValue>(inner.trim()).is_ok() { inner.trim().to_owned() } else { output.to_owned() });
    }
    Ok(output.to_owned())
}

/// What stands on a stream: text, lines, or a number that is meant as text.
fn stream(value: &str) -> Result<String, String> {
    let value = value.trim();
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).map_err(|e| e.to_string()),
        Some(b'[') => {
            let lines: Vec<Box<RawValue>> = serde_json::from_str(value).map_err(|e| e.to_string())?;
            Ok(lines.iter().map(|line| stream(line.get())).collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        Some(b'{') | None => Err("an input or output is neither text nor lines".to_owned()),
        Some(_) => Ok(value.to_owned()),
    }
}

fn text(fields: &Fields, key: &str) -> Result<Option<String>, String> {
    let Some(value) = fields.get(key) else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|_| format!("`{key}` of the tests is no text"))
}

fn list<T: for<'de> Deserialize<'de>>(fields: &Fields, key: &str) -> Result<Vec<T>, String> {
    let Some(value) = fields.get(key).filter(|value| value.get() != "null") else { return Ok(Vec::new()) };
    serde_json::from_str(&unquoted(value.get())?).map_err(|e| format!("`{key}` of the tests: {e}"))
}

fn finish(form: Form, fields: &Fields) -> Result<TestSet, String> {
    let cases = match &form {
        Form::Streams(cases) | Form::Calls { cases, .. } => cases.len(),
        Form::Asserts { steps, .. } => steps.len(),
    };
    if cases == 0 {
        return Err("the tests have no case".to_owned());
    }
    if cases > MOST_CASES {
        return Err(format!("the tests have {cases} cases, at most {MOST_CASES} are run"));
    }
    let number = |key: &str| -> Result<Option<f64>, String> {
        let Some(value) = fields.get(key).filter(|value| value.get() != "null") else { return Ok(None) };
        let text = unquoted(value.get())?;
        text.trim().parse().map(Some).map_err(|_| format!("`{key}` of the tests is `{}`, no number", crate::read::shown(&text, 40)))
    };
    let time_limit_s = number("time_limit_s")?.or(number("time_limit")?);
    if let Some(seconds) = time_limit_s.filter(|seconds| !TIME.contains(seconds)) {
        return Err(format!("the time limit of the tests is {seconds} seconds, but it {}", between(&TIME)));
    }
    let memory = number("memory_mb")?;
    if let Some(found) = memory.filter(|m| !(*MEMORY.start() as f64..=*MEMORY.end() as f64).contains(m)) {
        return Err(format!("the memory limit of the tests is {found} MiB, but it {}", between(&MEMORY)));
    }
    let language = text(fields, "language")?;
    let language = language
        .map(|tag| Language::of_tag(&tag).ok_or_else(|| format!("the tests are for the language `{tag}`, which cannot be run")))
        .transpose()?;
    Ok(TestSet { form, language, checker: checker(fields)?, time_limit_s, memory_mb: memory.map(|m| m as u64) })
}

fn checker(fields: &Fields) -> Result<Option<Checking>, String> {
    #[derive(Deserialize)]
    struct Program {
        language: String,
        source: String,
    }
    let Some(value) = fields.get("checker").filter(|value| value.get() != "null") else { return Ok(None) };
    if let Ok(named) = serde_json::from_str::<Checker>(value.get()) {
        return Ok(Some(Checking::Named(named)));
    }
    let wrong =
        |e: serde_json::Error| format!("`checker` of the tests is neither exact, tokens, floats, unordered nor {{language, source}}: {e}");
    let Program { language, source } = serde_json::from_str(value.get()).map_err(wrong)?;
    let language = Language::of_tag(&language).ok_or_else(|| format!("the checker is written in `{language}`, which cannot be run"))?;
    Ok(Some(Checking::Program { language, source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(text: &str) -> Vec<(String, String)> {
        match read(text).unwrap().form {
            Form::Streams(cases) => cases,
            other => panic!("{other:?}"),
        }
    }

    fn calls(text: &str) -> (String, Vec<(String, String)>) {
        match read(text).unwrap().form {
            Form::Calls { name, cases } => (name, cases),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn streams_of_every_data_set() {
        let one = vec![("1\n".to_owned(), "2".to_owned())];
        assert_eq!(streams(r#"{"inputs":["1\n"],"outputs":["2"]}"#), one);
        assert_eq!(streams(r#"{"inputs":["1\n"],"outputs":["2"],"fn_name":null}"#), one);
        assert_eq!(streams(r#""{\"inputs\":[\"1\\n\"],\"outputs\":[\"2\"]}""#), one, "JSON within a JSON string");
        assert_eq!(streams(r#"[{"input":"1\n","output":"2","testtype":"stdin"}]"#), one);
        assert_eq!(streams(r#"{"public_tests":{"input":["1\n"],"output":["2"]},"private_tests":null}"#), one);
        assert_eq!(streams(r#"{"inputs":[["1","2"]],"outputs":[[3]]}"#), [("1\n2".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn calls_of_every_data_set() {
        let one = |args: &str, value: &str| ("f".to_owned(), vec![(args.to_owned(), value.to_owned())]);
        assert_eq!(calls(r#"{"fn_name":"f","inputs":[[[1,2],3]],"outputs":[[5]]}"#), one("[[1,2],3]", "[5]"));
        assert_eq!(
            calls(
                r#"{"cases":"[{\"input\":\"[1,2]\\n3\",\"output\":\"5\",\"testtype\":\"functional\"}]","metadata":"{\"func_name\":\"f\"}"}"#
            ),
            one("[[1,2],3]", "5")
        );
        assert!(read(r#"[{"input":"1","output":"5","testtype":"functional"}]"#).unwrap_err().contains("nothing names it"));
    }

    #[test]
    fn asserts() {
        let Form::Asserts { entry, steps, .. } = read(r#"{"prompt":"p","test":"def check(c): pass","entry_point":"f"}"#).unwrap().form
        else {
            panic!()
        };
        assert_eq!((entry.as_deref(), steps.len()), (Some("f"), 1));
        let Form::Asserts { steps, .. } = read(r#"{"test_list":["assert 1","assert 2"],"test_setup_code":"x = 1"}"#).unwrap().form else {
            panic!()
        };
        assert_eq!(steps, ["x = 1", "assert 1", "assert 2"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (tests, says) in [
            ("7", "the tests are no JSON object or list but `7`"),
            ("inputs: 1", "the tests are no JSON (expected value at line 1 column 1): `inputs: 1`"),
            ("{}", "their keys are: none; there must be `inputs` and `outputs`"),
            (r#"{"inputs":["1"],"outputs":[]}"#, "1 inputs but 0 outputs"),
            (r#"{"inputs":[],"outputs":[]}"#, "no case"),
            (r#"{"test_list":[]}"#, "no case"),
            (r#"{"numbers":[1]}"#, "none of the known forms; their keys are: numbers"),
            (
                r#"{"inputs":["1"],"outputs":["1"],"time_limit_s":1e9}"#,
                "time limit of the tests is 1000000000 seconds, but it must be from 0.05 to 600",
            ),
            (r#"{"inputs":["1"],"outputs":["1"],"memory_mb":1}"#, "memory limit of the tests is 1 MiB"),
            (r#"{"inputs":["1"],"outputs":["1"],"language":"cobol"}"#, "language `cobol`"),
            (r#"{"inputs":["1"],"outputs":["1"],"checker":"fuzzy"}"#, "neither exact, tokens"),
            (r#"{"test":"def check(c): pass"}"#, "need `entry_point`"),
        ] {
            let error = read(tests).unwrap_err();
            assert!(error.contains(says), "{tests}: {error}");
        }
    }
}
