//! What a running stage sees of the world.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::event::{Event, Events, Level};
use crate::fingerprint::Fingerprint;
use crate::kind::{Port, StageError};
use crate::store::{Artifact, Attempt, Store, StoreError};

use super::CancelToken;

/// Progress events of one stage are no closer than this, but for the last.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// An input of a running stage.
#[derive(Debug, Clone)]
pub struct Input {
    /// The name of the stage that it comes from.
    pub stage: String,
    /// The output of that stage.
    pub output: String,
    /// What it carries.
    pub port: Port,
    /// The absolute paths of its files, in order.
    pub files: Vec<PathBuf>,
    /// How many rows, where it carries rows.
    pub rows: Option<u64>,
    /// The absolute path of the file or folder to open, where it has one: a model's folder.
    pub entry: Option<PathBuf>,
    /// The whole artifact with its manifest.
    pub artifact: Artifact,
}

/// What [`Stage::run`](crate::Stage::run) works with.
pub struct StageContext<'a, C> {
    /// The application's context.
    pub app: &'a C,
    /// The stage's name.
    pub name: &'a str,
    /// The address of the artifact to be.
    pub fingerprint: Fingerprint,
    /// The pipeline's seed.
    pub seed: u64,
    /// The inputs, in the order of `inputs`.
    pub inputs: Vec<Input>,
    /// The model to start from.
    pub init_from: Option<Input>,
    pub(super) store: &'a Store,
    pub(super) attempt: &'a Attempt,
    pub(super) events: &'a Events,
    pub(super) cancel: &'a CancelToken,
    pub(super) last_progress: Mutex<Option<Instant>>,
}

impl<C> StageContext<'_, C> {
    /// The path for a file of an output, in a folder that is made; all files there when the stage returns are the output.
    ///
    /// # Errors
    /// The name would leave the output's folder, or the folder cannot be made.
    pub fn out_file(&self, output: &str, name: &str) -> Result<PathBuf, StoreError> {
        self.attempt.file(output, name)
    }

    /// A committed artifact of the store: what an input's lineage names.
    ///
    /// # Errors
    /// Its manifest or its files are damaged.
    pub fn artifact(&self, fingerprint: &Fingerprint) -> Result<Option<Artifact>, StoreError> {
        self.store.find(fingerprint)
    }

    /// A folder for partial work that a rerun continues from. Removed when the stage commits.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, StoreError> {
        self.store.scratch(&self.fingerprint)
    }

    /// A folder that all stages and runs on the store share.
    ///
    /// # Errors
    /// The name would leave the store, or the folder cannot be made.
    pub fn shared(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.store.shared(name)
    }

    /// A seed for one use of randomness, derived from the pipeline's seed and a label; the stage's name has no part in it.
    #[must_use]
    pub fn rng_seed(&self, label: &str) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("potstill stage seed v1");
        hasher.update(&self.seed.to_le_bytes()).update(label.as_bytes());
        let mut seed = [0; 8];
        hasher.finalize_xof().fill(&mut seed);
        u64::from_le_bytes(seed)
    }

    /// Tells how far the work is: `done` of `total` `unit`s, and further figures such as `("loss", 0.7)`. Cheap to call often.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str, fields: &[(&str, f64)]) {
        let mut last = self.last_progress.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PROGRESS_EVERY) && total != Some(done) {
            return;
        }
        *last = Some(Instant::now());
        self.events.send(Event::Progress {
            stage: self.name.to_owned(),
            done,
            total,
            unit: unit.to_owned(),
            fields: fields.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        });
    }

    /// Money that left, in US dollars: counts for the run also if the stage fails in the end.
    pub fn pay(&self, usd: f64) {
        self.events.pay(self.name, usd);
    }

    /// Says a line to the user.
    pub fn message(&self, level: Level, text: impl Into<String>) {
        self.events.send(Event::Message { stage: Some(self.name.to_owned()), level, text: text.into() });
    }

    /// Whether the stage is asked to stop.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Stops the stage when it is asked to: `cx.check_cancelled()?` in the loop over its work.
    ///
    /// # Errors
    /// The stage is asked to stop.
    pub fn check_cancelled(&self) -> Result<(), StageError> {
        if self.cancelled() { Err(StageError::cancelled()) } else { Ok(()) }
    }

    /// The token itself, for code that runs beside the stage.
    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        self.cancel
    }
}
