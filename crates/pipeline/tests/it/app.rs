//! A small application: stages that write their parameters and inputs as text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use potstill_pipeline::{
    CheckContext, DefKind, Draft, Estimate, EstimateContext, FileError, Kind, Mistake, Pipeline, Port, PortError, Resource, Stage,
    StageContext, StageError, StageResult, Table, Teachers, Tokens, no_inputs, one_input, some_inputs, stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The application's context: the teachers' models by name, and a log of the stages that ran.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) teachers: BTreeMap<String, Option<Teacher>>,
    pub(crate) ran: Mutex<Vec<String>>,
    /// What is missing for a stage that asks a teacher.
    pub(crate) missing: Option<String>,
    /// Stages of the kind `fault` that are at work, and the most there were.
    pub(crate) busy: AtomicUsize,
    pub(crate) peak: AtomicUsize,
}

impl App {
    pub(crate) fn ran(&self) -> Vec<String> {
        let mut ran = std::mem::take(&mut *self.ran.lock().unwrap());
        ran.sort();
        ran
    }
}

/// A teacher behind an endpoint.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Teacher {
    /// The model's name at the endpoint.
    model: String,
    /// The endpoint.
    #[serde(default)]
    #[expect(dead_code, reason = "no test asks an endpoint")]
    base_url: Option<String>,
    /// The name of the environment variable with the key.
    #[serde(default)]
    #[expect(dead_code, reason = "no test asks an endpoint")]
    api_key_env: Option<String>,
    /// The price.
    #[serde(default)]
    #[expect(dead_code, reason = "no test pays")]
    price: Option<Price>,
    /// Further headers.
    #[serde(default)]
    #[expect(dead_code, reason = "no test asks an endpoint")]
    headers: BTreeMap<String, String>,
}

/// US dollars for a million tokens.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "no test pays")]
pub(crate) struct Price {
    /// For tokens sent.
    #[schemars(range(min = 0))]
    input_per_million: f64,
    /// For tokens received.
    #[schemars(range(min = 0))]
    output_per_million: f64,
}

/// Writes rows.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Source {
    /// How many rows to write.
    rows: u64,
    /// A file that must exist.
    #[serde(default)]
    path: Option<String>,
}

impl Stage<App> for Source {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        no_inputs(inputs)?;
        Ok(vec![("problems".into(), Port::Problems)])
    }

    fn check(&self, _cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let missing = self.path.as_ref().filter(|path| !Path::new(path).exists());
        missing.map(|path| Mistake::at("path", format!("there is no file `{path}`"))).into_iter().collect()
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        identity(self)
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        write(cx, "problems", self.rows, self)
    }

    fn estimate(&self, _cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(Estimate { rows: Some(self.rows), ..Estimate::default() })
    }
}

/// Asks a teacher.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Generate {
    /// The teacher to ask.
    teacher: String,
    /// Completions for each problem.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    samples: u32,
    /// Randomness of the answers.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f64>,
    /// When to stop asking.
    #[serde(default)]
    stop_when: Option<StopWhen>,
}

/// When to stop asking.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StopWhen {
    /// So many correct answers.
    correct: u32,
}

fn one() -> u32 {
    1
}

impl Stage<App> for Generate {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        one_input(inputs, &[Port::Problems])?;
        Ok(vec![("attempts".into(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        if cx.app.teachers.contains_key(&self.teacher) {
            return Vec::new();
        }
        vec![Mistake::at("teacher", format!("no teacher is named `{}`", self.teacher)).hint("add a `[teacher.NAME]` table")]
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let model = app.teachers.get(&self.teacher).and_then(Option::as_ref).map(|teacher| teacher.model.clone());
        Ok(json!({ "parameters": self, "model": model }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        app.missing.as_ref().map_or(Ok(()), |missing| Err(StageError::config(missing.clone()).hint("export it")))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let rows = cx.inputs[0].rows.unwrap_or(0) * u64::from(self.samples);
        let mut result = write(cx, "attempts", rows, self)?;
        result.tokens = Tokens { prompt: rows, completion: 10 * rows };
        result.cost_usd = Some(0.25);
        cx.pay(0.25);
        Ok(result)
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        let calls = cx.input_rows[0]? * u64::from(self.samples);
        Some(Estimate { rows: Some(calls), calls: Some(calls), ..Estimate::default() })
    }
}

/// Keeps some rows.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// An SQL condition.
    #[serde(rename = "where")]
    condition: String,
    /// How many rows of each problem.
    #[serde(default)]
    per_problem: Option<PerProblem>,
}

/// How many rows of each problem.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PerProblem {
    /// So many.
    keep: u32,
    /// Which are first.
    order_by: OrderBy,
    /// Weights of columns.
    #[serde(default)]
    weights: BTreeMap<String, f32>,
}

/// Columns to order by.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OrderBy {
    /// The answer's length.
    CompletionTokens,
    /// The price.
    CostUsd,
    /// By a column of the source.
    Column(String),
}

impl Stage<App> for Filter {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let port = some_inputs(inputs, &[Port::Problems, Port::Attempts, Port::Samples])?;
        Ok(vec![("kept".into(), port), ("dropped".into(), port)])
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        identity(self)
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let rows: u64 = cx.inputs.iter().filter_map(|input| input.rows).sum();
        let mut result = write(cx, "kept", rows / 2, self)?;
        fs::write(cx.out_file("dropped", "part-0.txt")?, "dropped").map_err(|e| StageError::failed("cannot write").caused_by(e))?;
        result = result.rows("dropped", rows - rows / 2);
        result.dropped.insert("condition".into(), rows - rows / 2);
        Ok(result)
    }
}

/// Makes a model.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Train {
    /// Passes over the data.
    #[serde(default)]
    epochs: Epochs,
    /// The learning rate's course.
    #[serde(default)]
    schedule: Option<Schedule>,
    /// The student's vocabulary.
    #[serde(default)]
    #[schemars(length(min = 1))]
    student: Option<String>,
    /// Betas of the optimizer.
    #[serde(default)]
    betas: Option<[f64; 2]>,
}

/// A number that is at least one, checked by its own deserializer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
struct Epochs(u32);

impl Default for Epochs {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u32> for Epochs {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 0 { Err("`epochs` must be at least 1, found 0".into()) } else { Ok(Self(number)) }
    }
}

/// The learning rate's course.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Schedule {
    /// Its form.
    kind: ScheduleKind,
    /// The share of the steps that rise.
    #[serde(default)]
    warmup_ratio: f64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ScheduleKind {
    Cosine,
    Linear,
    Constant,
}

impl Stage<App> for Train {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        one_input(inputs, &[Port::Attempts, Port::Samples])?;
        Ok(vec![("model".into(), Port::Model)])
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        identity(self)
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        Ok(write(cx, "model", 0, self)?.entry("model", "."))
    }
}

/// Scores a model.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Eval {
    /// Its benchmark.
    benchmark: String,
}

impl Stage<App> for Eval {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        one_input(inputs, &[Port::Model])?;
        Ok(vec![("report".into(), Port::Report)])
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        identity(self)
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        assert!(cx.inputs[0].entry.as_ref().unwrap().is_dir());
        let mut result = write(cx, "report", 0, self)?;
        result.evals.push(json!({ "model": "student", "benchmark": self.benchmark, "metric": "accuracy", "value": 0.5 }));
        Ok(result)
    }
}

/// Goes wrong.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// In which way.
    mode: Mode,
    /// Tells stages apart.
    #[serde(default)]
    number: u32,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Fail,
    Temporary,
    Config,
    Panic,
    /// Fails the first time, having left something in scratch; then finishes.
    Resume,
    /// Takes a while.
    Slow,
    /// Waits until it is interrupted.
    Wait,
    Undeclared,
}

impl Stage<App> for Fault {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        one_input(inputs, &[Port::Problems, Port::Attempts])?;
        Ok(vec![("attempts".into(), Port::Attempts)])
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        identity(self)
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let cause = std::io::Error::other("the cause");
        match self.mode {
            Mode::Fail => {
                return Err(StageError::failed("it failed").caused_by(cause).hint("do it right"));
            }
            Mode::Temporary => return Err(StageError::temporary("it is busy")),
            Mode::Config => return Err(StageError::config("it is not set")),
            Mode::Panic => panic!("it fell over {}", self.number),
            Mode::Resume => {
                let mark = cx.scratch()?.join("mark");
                if !mark.exists() {
                    fs::write(mark, "half").unwrap();
                    return Err(StageError::temporary("half done"));
                }
            }
            Mode::Slow => {
                let busy = cx.app.busy.fetch_add(1, Ordering::SeqCst) + 1;
                cx.app.peak.fetch_max(busy, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(150));
                cx.app.busy.fetch_sub(1, Ordering::SeqCst);
            }
            Mode::Wait => loop {
                cx.check_cancelled()?;
                std::thread::sleep(Duration::from_millis(5));
            },
            Mode::Undeclared => return Ok(StageResult::default().rows("other", 1)),
        }
        write(cx, "attempts", 1, self)
    }
}

fn identity(parameters: &impl Serialize) -> Result<Value, StageError> {
    serde_json::to_value(parameters).map_err(|error| StageError::failed("cannot write the parameters").caused_by(error))
}

/// Writes the parameters and the inputs' texts, so that the bytes show all that went into an output.
fn write(cx: &StageContext<'_, App>, output: &str, rows: u64, parameters: &impl Serialize) -> Result<StageResult, StageError> {
    cx.app.ran.lock().unwrap().push(cx.name.to_owned());
    let mut text = format!("{} {}\n", identity(parameters)?, cx.rng_seed("rows"));
    for path in cx.inputs.iter().chain(&cx.init_from).flat_map(|input| &input.files) {
        text += &fs::read_to_string(path).map_err(|error| StageError::failed("cannot read an input").caused_by(error))?;
    }
    let path = cx.out_file(output, "part-0.txt")?;
    fs::write(path, text).map_err(|error| StageError::failed("cannot write the output").caused_by(error))?;
    cx.progress(rows, Some(rows), "rows", &[("speed", 1.5)]);
    Ok(StageResult::default().rows(output, rows))
}

macro_rules! kind {
    ($name:literal, $about:literal, $resource:ident, $init:literal, $params:ty) => {
        Kind {
            name: $name,
            revision: 1,
            about: $about,
            resource: Resource::$resource,
            init_from: $init,
            parse: stage::<$params, App>,
            schema: <$params as JsonSchema>::json_schema,
        }
    };
}

pub(crate) static KINDS: &[Kind<App>] = &[
    kind!("source", "Writes rows.", Cpu, false, Source),
    kind!("generate", "Asks a teacher.", Network, false, Generate),
    kind!("filter", "Keeps some rows.", Cpu, false, Filter),
    kind!("train", "Makes a model.", Accelerator, true, Train),
    kind!("fault", "Goes wrong.", Network, false, Fault),
    kind!("eval", "Scores a model.", Accelerator, false, Eval),
];

pub(crate) static TEACHERS: &[DefKind<Teacher>] = &[DefKind {
    name: "openai",
    about: "An endpoint that speaks the OpenAI protocol.",
    parse: |table: &mut Table<'_>| table.params(),
    schema: <Teacher as JsonSchema>::json_schema,
}];

/// Reads and checks a file.
pub(crate) fn load(text: &str, overrides: &[&str]) -> Result<(Pipeline<App>, App), FileError> {
    let overrides: Vec<String> = overrides.iter().map(|one| (*one).to_owned()).collect();
    let (draft, teachers): (Draft<App>, Teachers<Teacher>) = Draft::read("pipeline.toml", text, &overrides, KINDS, TEACHERS);
    let app = App { teachers, ..App::default() };
    let pipeline = draft.check(&app)?;
    Ok((pipeline, app))
}

/// A file without mistakes that has every kind.
pub(crate) const WHOLE: &str = r#"
version = 1
seed = 42

[teacher.qwq]
kind = "openai"
model = "QwQ-32B"
api_key_env = "TEACHER_API_KEY"
price = { input_per_million = 0.1, output_per_million = 0.3 }

[stage.math]
kind = "source"
rows = 10

[stage.traces]
kind = "generate"
inputs = ["math"]
teacher = "qwq"
samples = 4
stop_when = { correct = 1 }

[stage.kept]
kind = "filter"
inputs = ["traces"]
where = "verdict = 'correct'"
per_problem = { keep = 1, order_by = "completion_tokens", weights = { a = 1.5 } }

[stage.sft]
kind = "train"
inputs = ["kept"]
epochs = 3
schedule = { kind = "cosine", warmup_ratio = 0.1 }

[stage.more]
kind = "train"
inputs = ["kept.dropped"]
init_from = "sft"

[stage.score]
kind = "eval"
inputs = ["more"]
benchmark = "gsm8k"
"#;
