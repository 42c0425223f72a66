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

mod compact;
mod frame;
mod index;
mod key;
mod packed;
mod record;
mod segment;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use compact::Compacted;
pub use key::{KeyMaker, RequestKey};

use crate::request::Record;
use index::{Index, Place};
use packed::Packed;
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
    segments: Vec<Part>,
    stats: JournalStats,
}

/// One file of the journal.
#[derive(Debug, Clone)]
enum Part {
    Log(Arc<Segment>),
    Packed(Arc<Packed>),
    /// Packed into another one; its number stays taken.
    Gone,
}

impl Part {
    fn path(&self) -> &Path {
        match self {
            Self::Log(segment) => segment.path(),
            Self::Packed(packed) => packed.path(),
            Self::Gone => Path::new(""),
        }
    }
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
        // Logs first: of a log that is packed just now, one or the other is there.
        for path in segment::list(&self.dir, segment::EXTENSION)?.into_iter().chain(segment::list(&self.dir, packed::EXTENSION)?) {
            if state.segments.iter().any(|part| part.path() == path) {
                continue;
            }
            // A file that vanished between listing and opening was empty and given up, or is packed elsewhere.
            let part = if path.extension().is_some_and(|ending| ending == packed::EXTENSION) {
                Packed::open(path)?.map(|packed| Part::Packed(Arc::new(packed)))
            } else {
                Segment::open(path)?.map(|segment| Part::Log(Arc::new(segment)))
            };
            state.segments.extend(part);
        }
        let State { index, segments, stats } = &mut *state;
        for (number, part) in segments.iter().enumerate() {
            let mut found = |key: RequestKey, place| index.insert(&key, Place::new(number, place));
            match part {
                Part::Log(segment) => {
                    let scan = segment.scan(&mut found)?;
                    stats.torn_bytes += scan.torn_bytes;
                    stats.damaged_bytes += scan.damaged_bytes;
                }
                Part::Packed(packed) => packed.keys(&mut found)?,
                Part::Gone => {}
            }
        }
        stats.records = index.len();
        stats.segments = segments.iter().filter(|part| !matches!(part, Part::Gone)).count();
        Ok(())
    }

    /// The stored reply to a request, if it was answered before. A record that fails its checksum counts as absent.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn get(&self, key: &RequestKey) -> Result<Option<Record<'static>>, JournalError> {
        let (part, place) = {
            let state = self.state();
            let Some(place) = state.index.get(key) else { return Ok(None) };
            (state.segments[place.segment()].clone(), place.offset())
        };
        match part {
            Part::Log(segment) => Ok(segment.read(place, key)?.and_then(|payload| record::decode(&payload))),
            Part::Packed(packed) => packed.read(place, key),
            Part::Gone => Ok(None),
        }
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
        for (number, part) in state.segments.iter().enumerate() {
            if let Part::Log(segment) = part
                && let Some(file) = segment.claim()?
            {
                return Writer::start(Arc::clone(segment), number, file);
            }
        }
        let segment = Arc::new(Segment::create(&self.dir)?);
        let Some(file) = segment.claim()? else {
            return Err(JournalError::Stopped { path: segment.path().to_owned(), reason: "another process locked it".into() });
        };
        state.segments.push(Part::Log(Arc::clone(&segment)));
        let number = state.segments.len() - 1;
        Writer::start(segment, number, file)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
