//! What a run tells while it goes on: events over a channel, and the same as JSON lines in the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::kind::ErrorClass;
use crate::run::Outcome;

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// The run's id, also the name of its folder in the store.
        run: String,
        /// The stages that will be brought up to date, in topological order.
        stages: Vec<String>,
    },
    /// A stage begins, or is found in the store.
    StageStarted {
        /// The stage's name.
        stage: String,
        /// Its kind.
        kind: String,
        /// The address of its artifact.
        fingerprint: Fingerprint,
        /// Whether the artifact is there already and nothing runs.
        cached: bool,
    },
    /// A running stage got on.
    Progress {
        /// The stage's name.
        stage: String,
        /// Units done.
        done: u64,
        /// Units in all, as far as that is known.
        total: Option<u64>,
        /// What is counted: `rows`, `steps`, `bytes`.
        unit: String,
        /// Further figures: `tokens_per_second`, `loss`.
        fields: BTreeMap<String, f64>,
    },
    /// A line for people.
    Message {
        /// The stage that says it; `None` is the runner.
        stage: Option<String>,
        /// How much it matters.
        level: Level,
        /// The line.
        text: String,
    },
    /// A stage's artifact is in the store.
    StageFinished {
        /// The stage's name.
        stage: String,
        /// Whether nothing had to run.
        cached: bool,
        /// Rows of the first output.
        rows: Option<u64>,
        /// Seconds it took in this run.
        seconds: f64,
        /// What it paid in this run, in US dollars.
        cost_usd: Option<f64>,
        /// Rows dropped, by reason.
        dropped: BTreeMap<String, u64>,
    },
    /// A stage did not finish.
    StageFailed {
        /// The stage's name.
        stage: String,
        /// What that means for a retry.
        class: ErrorClass,
        /// What went wrong.
        message: String,
        /// The causes, outermost first.
        causes: Vec<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A stage was not tried because one before it failed or the run was interrupted.
    StageSkipped {
        /// The stage's name.
        stage: String,
    },
    /// The run is over.
    RunFinished {
        /// How it ended.
        outcome: Outcome,
        /// Seconds in all.
        seconds: f64,
        /// What it cost, in US dollars.
        cost_usd: f64,
    },
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something to look at.
    Warning,
}

/// A line of the log: seconds since the run began, and what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Seconds since the run began.
    pub t: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Hands events to the listener and appends them to the log.
pub(crate) struct Events {
    began: Instant,
    listener: Option<Sender<Event>>,
    log: Mutex<Option<(PathBuf, File)>>,
    /// Money that left in this run, by stage, in US dollars.
    paid: Mutex<BTreeMap<String, f64>>,
}

impl Events {
    pub(crate) fn new(listener: Option<Sender<Event>>, log: Option<(PathBuf, File)>) -> Self {
        Self { began: Instant::now(), listener, log: Mutex::new(log), paid: Mutex::default() }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Counts money that left for a stage.
    pub(crate) fn pay(&self, stage: &str, usd: f64) {
        *self.paid.lock().unwrap_or_else(PoisonError::into_inner).entry(stage.to_owned()).or_default() += usd;
    }

    /// What a stage paid in this run, if it paid anything; what was free of charge is not told.
    pub(crate) fn paid(&self, stage: &str) -> Option<f64> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner).get(stage).copied().filter(|usd| *usd > 0.0)
    }

    /// What the run paid, stages that failed included.
    pub(crate) fn paid_in_all(&self) -> f64 {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner).values().sum::<f64>().abs()
    }

    pub(crate) fn send(&self, event: Event) {
        if let Some(trouble) = self.append(&event) {
            self.tell(Event::Message { stage: None, level: Level::Warning, text: trouble });
        }
        self.tell(event);
    }

    fn tell(&self, event: Event) {
        if let Some(listener) = &self.listener {
            // A listener that is gone does not stop the work.
            let _ = listener.send(event);
        }
    }

    /// Writes the line; a log that cannot be written is given up with one message, for the work matters more.
    fn append(&self, event: &Event) -> Option<String> {
        let record = Record { t: (self.seconds() * 1e3).round() / 1e3, event: event.clone() };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, file) = log.as_mut()?;
        let line = serde_json::to_string(&record).map(|line| line + "\n");
        let written = line.map_err(std::io::Error::from).and_then(|line| file.write_all(line.as_bytes()));
        let trouble =
            written.err().map(|error| format!("cannot write the event log `{}`: {error}; the run goes on without it", path.display()));
        if trouble.is_some() {
            *log = None;
        }
        trouble
    }
}
