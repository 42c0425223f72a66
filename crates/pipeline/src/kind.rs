//! The seam to the application: the tables of stage kinds and teacher kinds, and what a stage must be able to do.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::file::{Mistake, Table};
use crate::run::{StageContext, StageResult};
use crate::store::StoreError;

/// What flows along an edge of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// Rows of problems.
    Problems,
    /// Rows of attempts, verified or not.
    Attempts,
    /// Rows of training samples.
    Samples,
    /// Rows of preference pairs.
    Pairs,
    /// A dataset folder for other programs: data files and a card.
    Dataset,
    /// A model folder.
    Model,
    /// A report.
    Report,
}

impl Port {
    /// The port's name as diagnostics and manifests write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Problems => "problems",
            Self::Attempts => "attempts",
            Self::Samples => "samples",
            Self::Pairs => "pairs",
            Self::Dataset => "dataset",
            Self::Model => "model",
            Self::Report => "report",
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The scarce thing that a stage occupies while it runs; the runner starts no more stages of a class than its capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Waits on a remote endpoint most of the time.
    Network,
    /// Keeps the processor's cores busy.
    Cpu,
    /// Needs the training device for itself.
    Accelerator,
}

/// One kind of stage. An application lists its kinds in a static table; parsing, help and the JSON Schema come from it.
pub struct Kind<C: 'static> {
    /// The value of `kind` in a pipeline file.
    pub name: &'static str,
    /// Raised when the same parameters begin to give another output, so that old artifacts are not taken for new ones.
    pub revision: u32,
    /// One line for help and the schema.
    pub about: &'static str,
    /// What the stage occupies while it runs.
    pub resource: Resource,
    /// Whether the stage may start from another stage's model (`init_from`).
    pub init_from: bool,
    /// Reads the stage's table; all its mistakes are left in the table. [`stage`] does it for a serde struct.
    pub parse: fn(&mut Table<'_>) -> Option<Box<dyn Stage<C>>>,
    /// The JSON Schema of the stage's own keys: `<Params as JsonSchema>::json_schema`.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// One kind of teacher: what `kind` in a `[teacher.NAME]` table selects.
pub struct DefKind<T: 'static> {
    /// The value of `kind`.
    pub name: &'static str,
    /// One line for help and the schema.
    pub about: &'static str,
    /// Reads the table into the application's own type; all its mistakes are left in the table.
    pub parse: fn(&mut Table<'_>) -> Option<T>,
    /// The JSON Schema of the table's own keys.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// [`Kind::parse`] of a stage whose parameters are the stage itself.
#[must_use]
pub fn stage<P, C>(table: &mut Table<'_>) -> Option<Box<dyn Stage<C>>>
where
    P: DeserializeOwned + JsonSchema + Stage<C> + 'static,
    C: 'static,
{
    Some(Box::new(table.params::<P>()?))
}

/// A step of the pipeline with its parameters. `C` is the application's context (teachers, secrets, handles), which this crate only hands through.
pub trait Stage<C>: Send + Sync {
    /// The named outputs for the given ports of `inputs`; the first is what `inputs = ["NAME"]` means, the others are `"NAME.OUTPUT"`.
    ///
    /// # Errors
    /// Which input is wrong and what is accepted.
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError>;

    /// Mistakes that only other tables or the disk show: an unknown teacher, a missing file. Uses no network, key or device.
    fn check(&self, _cx: &CheckContext<'_, C>) -> Vec<Mistake> {
        Vec::new()
    }

    /// Everything besides the inputs and the seed that decides the output: parameters, bytes of prompt files, hashes of source files,
    /// the teacher's identity. Never what does not: base URLs, keys, concurrency, budgets.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn identity(&self, app: &C) -> Result<Value, StageError>;

    /// What only a run needs: keys, devices, room. Asked of every stage that will run before any work starts, so that all of them are reported together.
    ///
    /// # Errors
    /// What is missing.
    fn ready(&self, _app: &C) -> Result<(), StageError> {
        Ok(())
    }

    /// Does the work: reads the inputs' files, writes to [`StageContext::out_file`].
    ///
    /// # Errors
    /// What went wrong, classed by whether a retry may help.
    fn run(&self, cx: &StageContext<'_, C>) -> Result<StageResult, StageError>;

    /// What a run is expected to take, for `plan`.
    fn estimate(&self, _cx: &EstimateContext<'_, C>) -> Option<Estimate> {
        None
    }
}

/// What [`Stage::check`] may look at.
pub struct CheckContext<'a, C> {
    /// The application's context.
    pub app: &'a C,
    /// The stage's name.
    pub name: &'a str,
    /// Its inputs as they are written: `STAGE` or `STAGE.OUTPUT`.
    pub inputs: &'a [&'a str],
    /// The pipeline's seed.
    pub seed: u64,
}

/// What [`Stage::estimate`] may look at.
pub struct EstimateContext<'a, C> {
    /// The application's context.
    pub app: &'a C,
    /// Rows of each input as far as they are known: counted where the input is cached, estimated elsewhere.
    pub input_rows: &'a [Option<u64>],
    /// Mean tokens of each input's problems, where its stage estimates them.
    pub input_tokens: &'a [Option<f64>],
    /// The files of each input; none where it is not cached.
    pub input_files: &'a [Vec<PathBuf>],
}

/// What a stage is expected to produce and to take; `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Rows of the first output, at most.
    pub rows: Option<u64>,
    /// Mean tokens of the problem that a row carries.
    pub row_tokens: Option<f64>,
    /// Requests to a teacher.
    pub calls: Option<u64>,
    /// Tokens sent.
    pub prompt_tokens: Option<u64>,
    /// Tokens received.
    pub completion_tokens: Option<u64>,
    /// Price in US dollars, at most.
    pub cost_usd: Option<f64>,
    /// The most that may be spent, in US dollars.
    pub max_cost_usd: Option<f64>,
    /// Wall-clock seconds.
    pub seconds: Option<f64>,
}

/// Inputs that a stage cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortError {
    /// The position in `inputs` of the one that is wrong; `None` when it is their number.
    pub input: Option<usize>,
    /// What is wrong, as it reads behind the kind's name: `takes model, found problems`.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl PortError {
    /// The input at `index` carries `found` where only `accepted` are taken.
    #[must_use]
    pub fn wrong(index: usize, found: Port, accepted: &[Port]) -> Self {
        Self { input: Some(index), message: format!("takes {}, found {found}", list_ports(accepted)), hint: None }
    }

    /// The number of inputs, or their combination, is wrong.
    #[must_use]
    pub fn number(message: impl Into<String>) -> Self {
        Self { input: None, message: message.into(), hint: None }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

fn list_ports(ports: &[Port]) -> String {
    match ports {
        [] => "nothing".to_owned(),
        [only] => only.to_string(),
        [others @ .., last] => {
            let others: Vec<&str> = others.iter().map(|port| port.as_str()).collect();
            format!("{} or {last}", others.join(", "))
        }
    }
}

/// For a stage without inputs.
///
/// # Errors
/// There are inputs.
pub fn no_inputs(inputs: &[Port]) -> Result<(), PortError> {
    match inputs {
        [] => Ok(()),
        _ => Err(PortError::number(format!("takes no inputs, found {}", inputs.len()))),
    }
}

/// For a stage with exactly one input; gives its port.
///
/// # Errors
/// There is not exactly one input, or it is of none of the `accepted` ports.
pub fn one_input(inputs: &[Port], accepted: &[Port]) -> Result<Port, PortError> {
    match inputs {
        [port] if accepted.contains(port) => Ok(*port),
        [port] => Err(PortError::wrong(0, *port, accepted)),
        _ => Err(PortError::number(format!("takes one input of {}, found {}", list_ports(accepted), inputs.len()))),
    }
}

/// For a stage with one or more inputs of one port; gives that port.
///
/// # Errors
/// There is no input, one is of none of the `accepted` ports, or they differ.
pub fn some_inputs(inputs: &[Port], accepted: &[Port]) -> Result<Port, PortError> {
    let Some(first) = inputs.first() else {
        return Err(PortError::number(format!("needs at least one input of {}", list_ports(accepted))));
    };
    for (index, port) in inputs.iter().enumerate() {
        if !accepted.contains(port) {
            return Err(PortError::wrong(index, *port, accepted));
        }
        if port != first {
            return Err(PortError::wrong(index, *port, &[*first]).hint("all inputs of this stage carry the same kind of rows"));
        }
    }
    Ok(*first)
}

/// What a failure means for whoever runs the pipeline again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The work failed; the same again fails again.
    Failed,
    /// Something outside failed that may be well later.
    Temporary,
    /// The configuration or the environment is wrong.
    Config,
    /// The user interrupted.
    Cancelled,
}

/// Why a stage did not finish.
#[derive(Debug)]
pub struct StageError {
    class: ErrorClass,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StageError {
    fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None, source: None }
    }

    /// A failure that repeats.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Failed, message)
    }

    /// A failure that a later retry may overcome.
    #[must_use]
    pub fn temporary(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Temporary, message)
    }

    /// A mistake in configuration or environment.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Config, message)
    }

    /// The stage stopped because it was asked to.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorClass::Cancelled, "interrupted")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the failure means for a retry.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// What to do about it.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The messages of the causes, outermost first.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        let mut failed = Self::failed(error.to_string());
        failed.hint = error.hint();
        failed.source = match error {
            StoreError::Io { source, .. } => Some(Box::new(source)),
            _ => None,
        };
        failed
    }
}
