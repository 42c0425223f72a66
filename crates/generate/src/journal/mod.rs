//! The journal of paid replies: what was answered once is never asked again.
//!
//! A folder of append-only segments, one per writing process, each a chain of [`frame`]s. Replies are written in
//! groups and fsynced together (at most 50 ms or 64 replies later); [`Journal::append`] returns only after that, so
//! whatever the caller then relies on survives `kill -9` and a power cut. A writer holds a lock on its segment, so
//! several processes share one folder without sharing a file; a segment whose writer is gone is taken over, its torn
//! tail cut off.
//!
//! The key is a hash of what was asked ([`RequestKey`]) and of nothing else: not of the stage, the pipeline, the rest
//! of the data set or the server's address. Raw replies are kept, so that whatever reads them can change for free.

mod frame;
mod index;
mod key;
mod record;
mod segment;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use key::{KeyMaker, RequestKey};

use crate::request::Record;
use index::{Index, Place};
use segment::Segment;
use writer::Writer;

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk said no.
    #[error("journal {path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: Arc<io::Error>,
    },
    /// A file in the journal's folder is not a segment.
    #[error("journal {path}: not a journal segment of this version", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The journal stopped after an earlier failure to write; nothing more is acknowledged.
    #[error("journal {path}: stopped after a failed write: {reason}", path = path.display())]
    Stopped {
        /// The segment.
        path: PathBuf,
        /// The failure.
        reason: String,
    },
    /// A reply is larger than the journal takes.
    #[error("journal: a reply of {found} bytes is over the limit of {limit}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// The reply's size in bytes.
        found: usize,
    },
}

impl JournalError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }
}

/// What [`Journal::open`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Replies that can be had.
    pub records: usize,
    /// Segment files.
    pub segments: usize,
    /// Bytes of a torn tail that were cut off: a reply that was never acknowledged.
    pub torn_bytes: u64,
    /// Bytes in the middle of segments that could not be read and were stepped over.
    pub damaged_bytes: u64,
}

/// A folder of paid replies, open for reading and writing.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    state: Mutex<State>,
    /// Started by the first reply to write, so that reading alone leaves no file behind.
    writer: Mutex<Option<Writer>>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    segments: Vec<Arc<Segment>>,
    stats: JournalStats,
}

impl Journal {
    /// Opens the journal in `dir`, made if absent.
    ///
    /// # Errors
    /// [`JournalError::Io`], [`JournalError::Foreign`].
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(|error| JournalError::io("make the folder", dir, error))?;
        let journal = Self { dir: dir.to_owned(), state: Mutex::default(), writer: Mutex::default() };
        journal.refresh()?;
        Ok(journal)
    }

    /// Reads what other processes have written since.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn refresh(&self) -> Result<(), JournalError> {
        let mut state = self.state();
        for path in segment::list(&self.dir)? {
            if !state.segments.iter().any(|segment| segment.path() == path) {
                // A segment that vanished between listing and opening was an empty one given up by its writer.
                let Some(segment) = Segment::open(path)? else { continue };
                state.segments.push(Arc::new(segment));
            }
        }
        let State { index, segments, stats } = &mut *state;
        for (number, segment) in segments.iter().enumerate() {
            let scan = segment.scan(&mut |key, offset| index.insert(&key, Place::new(number, offset)))?;
            stats.torn_bytes += scan.torn_bytes;
            stats.damaged_bytes += scan.damaged_bytes;
        }
        stats.records = index.len();
        stats.segments = segments.len();
        Ok(())
    }

    /// The stored reply to a request, if it was answered before. A record that fails its checksum counts as absent.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn get(&self, key: &RequestKey) -> Result<Option<Record<'static>>, JournalError> {
        let (segment, offset) = {
            let state = self.state();
            let Some(place) = state.index.get(key) else { return Ok(None) };
            (Arc::clone(&state.segments[place.segment()]), place.offset())
        };
        let Some(payload) = segment.read(offset, key)? else { return Ok(None) };
        Ok(record::decode(&payload))
    }

    /// Whether a reply is stored.
    #[must_use]
    pub fn contains(&self, key: &RequestKey) -> bool {
        self.state().index.get(key).is_some()
    }

    /// Writes a reply; returns once it is on the disk.
    ///
    /// # Errors
    /// [`JournalError`]; after a failed write the journal takes no more replies, and what it acknowledged stays good.
    pub async fn append(&self, key: RequestKey, record: &Record<'_>) -> Result<(), JournalError> {
        let frame = frame::encode(&key, &record::encode(record)?)?;
        let (acknowledged, segment) = {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let writer = match &mut *writer {
                Some(writer) => writer,
                empty => empty.insert(self.start_writer()?),
            };
            (writer.append(frame), writer.segment_number())
        };
        let offset = acknowledged.await?;
        let mut state = self.state();
        state.index.insert(&key, Place::new(segment, offset));
        state.stats.records = state.index.len();
        Ok(())
    }

    /// Counts since opening.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        self.state().stats
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes over a segment whose writer is gone, or starts a new one.
    fn start_writer(&self) -> Result<Writer, JournalError> {
        let mut state = self.state();
        for (number, segment) in state.segments.iter().enumerate() {
            if let Some(file) = segment.claim()? {
                return Writer::start(Arc::clone(segment), number, file);
            }
        }
        let segment = Arc::new(Segment::create(&self.dir)?);
        let Some(file) = segment.claim()? else {
            return Err(JournalError::Stopped { path: segment.path().to_owned(), reason: "another process locked it".into() });
        };
        state.segments.push(Arc::clone(&segment));
        let number = state.segments.len() - 1;
        Writer::start(segment, number, file)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
