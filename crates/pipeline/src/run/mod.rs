//! Runs a pipeline: what is in the store is left alone, the rest runs concurrently within the capacity of each resource.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

mod context;
mod execute;
mod schedule;
mod summary;

pub use context::{Input, StageContext};
pub use summary::{RunSummary, StageSummary};

use crate::event::{Event, Events, Level};
use crate::file::near;
use crate::kind::{ErrorClass, Resource};
use crate::pipeline::{Identity, Pipeline, StageFailure};
use crate::store::{Artifact, At, OutputInfo, Store, StoreError, Tokens};

/// What a stage's work came to. Its files are those it left in the folders of its outputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageResult {
    /// Rows and entry of the outputs, by name; an output that is not mentioned has files only.
    pub outputs: BTreeMap<String, OutputInfo>,
    /// Statistics for `show` and the report.
    pub stats: Value,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Tokens exchanged with a teacher.
    pub tokens: Tokens,
    /// What its rows cost when they were bought, in US dollars. What is paid now goes to [`StageContext::pay`].
    pub cost_usd: Option<f64>,
    /// Results of evaluations; the summary adds the stage's name to each.
    pub evals: Vec<Value>,
}

impl StageResult {
    /// Adds an output of rows.
    #[must_use]
    pub fn rows(mut self, output: &str, rows: u64) -> Self {
        self.outputs.insert(output.to_owned(), OutputInfo { rows: Some(rows), entry: None });
        self
    }

    /// Adds an output that is opened at one file or folder, such as a model; `entry` is relative to the output's folder, `"."` itself.
    #[must_use]
    pub fn entry(mut self, output: &str, entry: &str) -> Self {
        self.outputs.insert(output.to_owned(), OutputInfo { rows: None, entry: Some(entry.to_owned()) });
        self
    }
}

/// Asks a run to stop. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the run to stop: no further stage starts, running ones return as soon as they notice.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The shared flag, for code that takes a plain one.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// How many stages of each resource class run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Stages that wait on an endpoint.
    pub network: NonZeroUsize,
    /// Stages that compute.
    pub cpu: NonZeroUsize,
    /// Stages that train or decode.
    pub accelerator: NonZeroUsize,
}

impl Default for Capacity {
    /// Two stages of each class at most wait or compute; the accelerator serves one.
    fn default() -> Self {
        let two = NonZeroUsize::MIN.saturating_add(1);
        Self { network: two, cpu: two, accelerator: NonZeroUsize::MIN }
    }
}

impl Capacity {
    fn of(&self, resource: Resource) -> usize {
        match resource {
            Resource::Network => self.network.get(),
            Resource::Cpu => self.cpu.get(),
            Resource::Accelerator => self.accelerator.get(),
        }
    }
}

/// How to run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The program and its version, for manifests.
    pub tool: String,
    /// Only these stages and what they need; all where none is named.
    pub targets: Vec<String>,
    /// Stages to run again, with all that depends on them, though the store has their artifacts.
    pub force: Vec<String>,
    /// How many stages run at once.
    pub capacity: Capacity,
    /// Asks the run to stop.
    pub cancel: CancelToken,
    /// Who listens to the events.
    pub listener: Option<Sender<Event>>,
}

/// How a run ended; the worst of its stages decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every stage asked for is in the store.
    Done,
    /// A stage failed.
    Failed,
    /// Stages failed for configuration or environment only.
    Config,
    /// Stages failed, and all failures may be overcome by running again later.
    Temporary,
    /// The user interrupted; running again continues.
    Cancelled,
}

/// What came of a run that got under way.
#[derive(Debug)]
pub struct RunReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Figures of the stages that are in the store now.
    pub summary: RunSummary,
    /// The artifacts of those stages by their present names, in topological order.
    pub artifacts: Vec<(String, Artifact)>,
    /// Every stage that failed, in topological order. Interrupted stages are not among them.
    pub failures: Vec<StageFailure>,
    /// Stages that did not finish for another reason than a failure of their own.
    pub not_run: Vec<String>,
    /// The run's folder in the store, with `events.jsonl` and `summary.json`.
    pub folder: std::path::PathBuf,
}

/// Why a run did not get under way. Nothing was done.
#[derive(Debug, Error)]
pub enum RunError {
    /// A target or a stage to force is not in the pipeline.
    #[error("no stage is named `{name}`")]
    UnknownStage {
        /// The name.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// Files that decide what a stage does cannot be read.
    #[error("{} cannot be identified", count(.0))]
    Identity(Vec<StageFailure>),
    /// Keys, devices or room are missing.
    #[error("{} cannot start", count(.0))]
    NotReady(Vec<StageFailure>),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn count(failures: &[StageFailure]) -> String {
    if failures.len() == 1 { "1 stage".to_owned() } else { format!("{} stages", failures.len()) }
}

/// Brings the targets up to date.
///
/// # Errors
/// The run did not get under way. Failures of stages are in the report.
pub fn run<C: Sync>(pipeline: &Pipeline<C>, store: &Store, app: &C, options: &RunOptions) -> Result<RunReport, RunError> {
    let unknown = |name: &str| RunError::UnknownStage {
        name: name.to_owned(),
        near: near(name, pipeline.nodes().iter().map(|node| node.name.as_str())).map(str::to_owned),
    };
    let selected = pipeline.select(&options.targets).map_err(unknown)?;
    let forced = pipeline.downstream(&options.force).map_err(unknown)?;
    let identities = pipeline.identify(app).map_err(RunError::Identity)?;
    let job = Job { pipeline, store, app, options, identities, selected, forced };
    job.ready()?;
    let (name, folder) = store.begin_run()?;
    let log = folder.join("events.jsonl");
    let file = File::create(&log).at("write", &log)?;
    let events = Events::new(options.listener.clone(), Some((log, file)));
    events.send(Event::RunStarted { run: name, stages: job.selected_nodes().map(|(_, node)| node.name.clone()).collect() });
    let states = schedule::run(&job, &events);
    Ok(job.report(states, &events, folder))
}

/// All that a run is about.
struct Job<'a, C: 'static> {
    pipeline: &'a Pipeline<C>,
    store: &'a Store,
    app: &'a C,
    options: &'a RunOptions,
    identities: Vec<Identity>,
    selected: Vec<bool>,
    forced: Vec<bool>,
}

impl<C: Sync> Job<'_, C> {
    fn selected_nodes(&self) -> impl Iterator<Item = (usize, &crate::pipeline::Node<C>)> {
        self.pipeline.nodes().iter().enumerate().filter(|(index, _)| self.selected[*index])
    }

    /// Asks every stage that will run whether it could, so that all that is missing is told before any work.
    fn ready(&self) -> Result<(), RunError> {
        let mut failures = Vec::new();
        for (index, node) in self.selected_nodes() {
            // A broken artifact is reported when its turn comes; here it only counts as something to run.
            let cached = !self.forced[index] && matches!(self.store.find(&self.identities[index].fingerprint), Ok(Some(_)));
            if !cached && let Err(error) = node.stage.ready(self.app) {
                failures.push(node.failure(error));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(RunError::NotReady(failures)) }
    }

    fn report(&self, states: Vec<schedule::State>, events: &Events, folder: std::path::PathBuf) -> RunReport {
        let mut report = RunReport {
            outcome: Outcome::Done,
            summary: RunSummary::new(events.seconds(), events.paid_in_all()),
            artifacts: Vec::new(),
            failures: Vec::new(),
            not_run: Vec::new(),
            folder,
        };
        for ((_, node), state) in self.pipeline.nodes().iter().enumerate().zip(states).filter(|((index, _), _)| self.selected[*index]) {
            match state {
                schedule::State::Done(done) => {
                    report.summary.add(&node.name, &done, events.paid(&node.name));
                    report.artifacts.push((node.name.clone(), done.artifact));
                }
                schedule::State::Failed(error) if error.class() != ErrorClass::Cancelled => {
                    report.failures.push(node.failure(error));
                }
                _ => report.not_run.push(node.name.clone()),
            }
        }
        report.outcome = outcome(&report.failures, &report.not_run);
        let summary = serde_json::to_string_pretty(&report.summary).map(|text| text + "\n").unwrap_or_default();
        let path = report.folder.join("summary.json");
        if let Err(error) = crate::store::write_flushed(&path, summary.as_bytes()) {
            events.send(Event::Message { stage: None, level: Level::Warning, text: error.to_string() });
        }
        events.send(Event::RunFinished { outcome: report.outcome, seconds: report.summary.seconds, cost_usd: report.summary.cost_usd });
        report
    }
}

fn outcome(failures: &[StageFailure], not_run: &[String]) -> Outcome {
    let has = |class| failures.iter().any(|failure| failure.error.class() == class);
    match () {
        () if has(ErrorClass::Failed) => Outcome::Failed,
        () if has(ErrorClass::Config) => Outcome::Config,
        () if has(ErrorClass::Temporary) => Outcome::Temporary,
        () if not_run.is_empty() => Outcome::Done,
        () => Outcome::Cancelled,
    }
}
