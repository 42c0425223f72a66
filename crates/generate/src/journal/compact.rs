//! Closed logs become Parquet: a third of the size, and open to every tool.

use std::collections::HashSet;
use std::fs::{self, File};
use std::sync::Arc;

use super::index::Place;
use super::packed::{EXTENSION, Packed, Packer};
use super::segment::{Segment, WriteHalf};
use super::{Journal, JournalError, Part, record};

/// Less than this stays a log: it is read as fast, and packing it would be done again and again.
const WORTH: u64 = 16 << 20;

/// Packed files up to this size are packed together with what comes.
const SMALL: u64 = 64 << 20;

/// The ending of a file that is being written.
const UNNAMED: &str = "tmp";

/// What packing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Replies packed.
    pub replies: u64,
    /// Bytes of the files before.
    pub bytes_before: u64,
    /// Bytes of the file now.
    pub bytes: u64,
}

/// A log that nobody writes to, with its lock.
struct Closed {
    number: usize,
    part: Part,
    _lock: WriteHalf,
}

impl Journal {
    /// Packs the logs that no process writes to into one Parquet file, once they are worth it (16 MiB). Logs of living
    /// writers stay as they are, those of other stages of this process included; this journal's own is closed first.
    ///
    /// A kill at any moment loses nothing: a log goes only when the file that holds its replies is on the disk under its
    /// name, and replies that stand in both are the same.
    ///
    /// # Errors
    /// [`JournalError`]; the logs are still there then.
    pub fn compact(&self) -> Result<Option<Compacted>, JournalError> {
        let fail = |action| move |error| JournalError::io(action, &self.dir, error);
        // One process at a time; another one's turn leaves nothing to do here.
        let lock = File::create(self.dir.join("compact.lock")).map_err(fail("lock"))?;
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        // What a kill left half written.
        for unnamed in super::segment::list(&self.dir, UNNAMED)? {
            let _ = fs::remove_file(unnamed);
        }
        drop(self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        self.refresh()?;
        let (closed, small) = self.packable()?;
        let size = |part: &Part| fs::metadata(part.path()).map_or(0, |metadata| metadata.len());
        if closed.iter().map(|closed| size(&closed.part)).sum::<u64>() < WORTH {
            return Ok(None);
        }
        let bytes_before = closed.iter().map(|c| size(&c.part)).chain(small.iter().map(|(_, part)| size(part))).sum();
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (unnamed, path) = (self.dir.join(format!("{name}.{UNNAMED}")), self.dir.join(format!("{name}.{EXTENSION}")));
        let packed = self.pack(&unnamed, &closed, &small);
        let replies = match packed {
            Ok(replies) => replies,
            Err(error) => {
                let _ = fs::remove_file(&unnamed);
                return Err(error);
            }
        };
        fs::rename(&unnamed, &path).and_then(|()| File::open(&self.dir)?.sync_all()).map_err(fail("name a file in"))?;
        let Some(packed) = Packed::open(path.clone())? else { return Ok(None) };
        let bytes = fs::metadata(&path).map_err(fail("read"))?.len();
        let old: Vec<(usize, Part)> = closed.iter().map(|c| (c.number, c.part.clone())).chain(small).collect();
        self.replace(packed, &old)?;
        for (_, part) in &old {
            // A file that stays does no harm.
            let _ = fs::remove_file(part.path());
        }
        Ok(Some(Compacted { replies, bytes_before, bytes }))
    }

    /// Logs without a writer, locked, and packed files that are small.
    fn packable(&self) -> Result<(Vec<Closed>, Vec<(usize, Part)>), JournalError> {
        let state = self.state();
        let (mut closed, mut small) = (Vec::new(), Vec::new());
        for (number, part) in state.segments.iter().enumerate() {
            match part {
                Part::Log(segment) => {
                    if let Some(lock) = segment.claim()? {
                        closed.push(Closed { number, part: part.clone(), _lock: lock });
                    }
                }
                Part::Packed(packed) if fs::metadata(packed.path()).is_ok_and(|file| file.len() < SMALL) => {
                    small.push((number, part.clone()));
                }
                Part::Packed(_) | Part::Gone => {}
            }
        }
        Ok((closed, small))
    }

    /// Writes all replies of some files into one.
    fn pack(&self, path: &std::path::Path, closed: &[Closed], small: &[(usize, Part)]) -> Result<u64, JournalError> {
        let mut packer = Packer::create(path)?;
        let mut seen: HashSet<[u8; 16]> = HashSet::new();
        // Half a key tells replies apart as well here as in the index.
        let mut fresh = |key: &super::RequestKey| <[u8; 16]>::try_from(&key.0[..16]).is_ok_and(|half| seen.insert(half));
        for (_, part) in small {
            if let Part::Packed(packed) = part {
                packed.each(&mut |key, record| if fresh(&key) { packer.push(&key, &record) } else { Ok(()) })?;
            }
        }
        for log in closed {
            // Read anew from its beginning, with every checksum.
            let Some(segment) = Segment::open(log.part.path().to_owned())? else { continue };
            let mut places = Vec::new();
            segment.scan(&mut |key, offset| places.push((key, offset)))?;
            for (key, offset) in places {
                let Some(payload) = segment.read(offset, &key)? else { continue };
                let Some(record) = record::decode(&payload) else { continue };
                if fresh(&key) {
                    packer.push(&key, &record)?;
                }
            }
        }
        let rows = packer.rows;
        packer.finish()?;
        Ok(rows)
    }

    /// Points the index at the packed file, and lets go of the old ones.
    fn replace(&self, packed: Packed, old: &[(usize, Part)]) -> Result<(), JournalError> {
        let mut state = self.state();
        let number = state.segments.len();
        packed.keys(&mut |key, row| state.index.point(&key, Place::new(number, row)))?;
        state.segments.push(Part::Packed(Arc::new(packed)));
        for (number, _) in old {
            state.segments[*number] = Part::Gone;
        }
        state.stats.records = state.index.len();
        Ok(())
    }
}
