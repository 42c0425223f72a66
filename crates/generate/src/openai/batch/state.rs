//! Which batches were handed in: one small file for each, written before and after every step that costs money.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::GenerateError;
use crate::journal::{JournalError, RequestKey};

/// How far a batch has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// It may or may not have reached the service.
    Begun,
    /// The service works on it.
    Submitted { batch_id: String },
    /// It has ended; these files hold its results for as long as the service keeps them.
    Ended { files: Vec<String>, why: String },
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch {
    /// The name we gave it, by which the service can find it.
    pub(super) name: String,
    pub(super) phase: Phase,
    /// The keys of its requests, in hex.
    keys: Vec<String>,
}

impl Batch {
    pub(super) fn keys(&self) -> impl Iterator<Item = RequestKey> {
        self.keys.iter().filter_map(|hex| RequestKey::from_hex(hex))
    }
}

/// The folder of notes.
#[derive(Debug)]
pub(super) struct Ledger(PathBuf);

impl Ledger {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Every batch noted, oldest name first.
    pub(super) fn read(&self) -> Result<Vec<Batch>, GenerateError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail("list the batches in", &self.0, error)),
        };
        let mut batches = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| fail("list the batches in", &self.0, error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = fs::read(&path).map_err(|error| fail("read", &path, error))?;
                let batch: Batch = serde_json::from_slice(&bytes).map_err(|error| fail("read", &path, error.into()))?;
                batches.push(batch);
            }
        }
        batches.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(batches)
    }

    /// Notes a batch that is about to be handed in.
    pub(super) fn begin(&self, keys: impl Iterator<Item = RequestKey>) -> Result<Batch, GenerateError> {
        fs::create_dir_all(&self.0).map_err(|error| fail("make the folder", &self.0, error))?;
        let name = format!("potstill-{}", uuid::Uuid::new_v4().simple());
        let batch = Batch { name, phase: Phase::Begun, keys: keys.map(|key| key.to_hex()).collect() };
        self.note(&batch)?;
        Ok(batch)
    }

    /// Notes how far a batch has come; the old note stands until the new one is whole.
    pub(super) fn note(&self, batch: &Batch) -> Result<(), GenerateError> {
        let path = self.0.join(format!("{}.json", batch.name));
        let fresh = path.with_extension("new");
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(batch)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| fail("write", &path, error))
    }

    /// Forgets a batch whose results can no longer be had.
    pub(super) fn forget(&self, batch: &Batch) -> Result<(), GenerateError> {
        let path = self.0.join(format!("{}.json", batch.name));
        fs::remove_file(&path).map_err(|error| fail("remove", &path, error))
    }
}

fn fail(action: &'static str, path: &Path, error: io::Error) -> GenerateError {
    JournalError::io(action, path, error).into()
}
