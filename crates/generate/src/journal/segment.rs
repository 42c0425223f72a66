//! One file of the journal: scanned once, read at random, written by at most one process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::{self, HEADER, Header, MAGIC};
use super::{JournalError, RequestKey};

pub(super) const EXTENSION: &str = "journal";

/// A segment file, open for reading.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    /// Frames up to here are in the index.
    scanned: AtomicU64,
}

/// What a scan stepped over.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Scan {
    pub(super) torn_bytes: u64,
    pub(super) damaged_bytes: u64,
}

/// The files of a folder with some ending, in a stable order.
pub(super) fn list(dir: &Path, ending: &str) -> Result<Vec<PathBuf>, JournalError> {
    let fail = |error| JournalError::io("list the folder", dir, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Segment {
    /// Starts a new segment; its name is in the folder for good once this returns.
    pub(super) fn create(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(format!("{}.{EXTENSION}", uuid::Uuid::new_v4().simple()));
        let fail = |action| move |error| JournalError::io(action, dir, error);
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(&path).map_err(fail("make a segment in"))?;
        file.write_all_at(MAGIC, 0).and_then(|()| file.sync_all()).map_err(|error| JournalError::io("write", &path, error))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("sync"))?;
        Ok(Self { path, file, scanned: AtomicU64::new(MAGIC.len() as u64) })
    }

    /// Opens an existing segment; `None` if it is gone.
    pub(super) fn open(path: PathBuf) -> Result<Option<Self>, JournalError> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::io("open", &path, error)),
        };
        let mut magic = [0; MAGIC.len()];
        let length = file.metadata().map_err(|error| JournalError::io("read", &path, error))?.len();
        // A writer killed while it made the file leaves a shorter one: no reply was acknowledged there.
        if length >= MAGIC.len() as u64 {
            file.read_exact_at(&mut magic, 0).map_err(|error| JournalError::io("read", &path, error))?;
            if magic != *MAGIC {
                return Err(JournalError::Foreign { path });
            }
        }
        Ok(Some(Self { path, file, scanned: AtomicU64::new(MAGIC.len() as u64) }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Becomes the segment's writer: the file, locked, positioned behind the last whole frame, its torn tail cut off.
    /// `None` while another writer lives.
    pub(super) fn claim(&self) -> Result<Option<WriteHalf>, JournalError> {
        let fail = |action| move |error| JournalError::io(action, &self.path, error);
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            // Not ours to write, or packed by another process meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(fail("open for writing")(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(fail("lock")(error)),
        }
        // Packed and removed between opening and locking: what is written there would be lost.
        if file.metadata().map_err(fail("read"))?.nlink() == 0 {
            return Ok(None);
        }
        // Whatever another process appended between our scan and this lock belongs to the journal.
        let length = file.metadata().map_err(fail("read"))?.len();
        if length < MAGIC.len() as u64 {
            file.write_all_at(MAGIC, 0).map_err(fail("write"))?;
        }
        let end = self.scan_tail()?;
        if length > end {
            file.set_len(end).and_then(|()| file.sync_all()).map_err(fail("cut the torn tail of"))?;
        }
        Ok(Some(WriteHalf { file, end }))
    }

    /// Calls `found` with each frame that was not seen before. Payloads are checked when they are read; here the
    /// chain of headers is followed, which costs a fraction of reading everything.
    pub(super) fn scan(&self, found: &mut dyn FnMut(RequestKey, u64)) -> Result<Scan, JournalError> {
        let fail = |error| JournalError::io("read", &self.path, error);
        let length = self.file.metadata().map_err(fail)?.len();
        let mut scan = Scan::default();
        let mut at = self.scanned.load(Ordering::Acquire);
        while at < length {
            match self.frame_at(at, length).map_err(fail)? {
                Some(header) => {
                    let next = at + (HEADER + header.payload) as u64;
                    // The last frame may be half written even though its length fits: it is checked whole.
                    if next < length || self.whole(at, &header).map_err(fail)? {
                        found(header.key, at);
                        at = next;
                        continue;
                    }
                    scan.torn_bytes += length - at;
                    break;
                }
                None => match self.next_frame(at + 1, length).map_err(fail)? {
                    Some(next) => {
                        scan.damaged_bytes += next - at;
                        at = next;
                    }
                    None => {
                        scan.torn_bytes += length - at;
                        break;
                    }
                },
            }
        }
        self.scanned.store(at, Ordering::Release);
        Ok(scan)
    }

    /// The end of the last whole frame.
    fn scan_tail(&self) -> Result<u64, JournalError> {
        let at = self.scanned.load(Ordering::Acquire);
        self.scan(&mut |_, _| ())?;
        let end = self.scanned.load(Ordering::Acquire);
        // What was scanned just now is not in the index yet; a later refresh must see it again.
        self.scanned.store(at, Ordering::Release);
        Ok(end.max(MAGIC.len() as u64))
    }

    /// Tells the scanner that the frames up to `end` are in the index already.
    pub(super) fn advance(&self, from: u64, end: u64) {
        // Only if nothing unseen lies between: otherwise the next refresh reads on from where it was.
        let _ = self.scanned.compare_exchange(from, end, Ordering::AcqRel, Ordering::Acquire);
    }

    /// A frame's payload if it is whole and `key`'s.
    pub(super) fn read(&self, offset: u64, key: &RequestKey) -> Result<Option<Vec<u8>>, JournalError> {
        let fail = |error| JournalError::io("read", &self.path, error);
        let length = self.file.metadata().map_err(fail)?.len();
        let Some(header) = self.frame_at(offset, length).map_err(fail)? else { return Ok(None) };
        let mut payload = vec![0; header.payload];
        self.file.read_exact_at(&mut payload, offset + HEADER as u64).map_err(fail)?;
        Ok((header.key == *key && header.matches(&payload)).then_some(payload))
    }

    /// The header at `at` if a frame begins there and fits the file.
    fn frame_at(&self, at: u64, length: u64) -> io::Result<Option<Header>> {
        if at + HEADER as u64 > length {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(Header::parse(&bytes).filter(|header| at + (HEADER + header.payload) as u64 <= length))
    }

    fn whole(&self, at: u64, header: &Header) -> io::Result<bool> {
        let mut payload = vec![0; header.payload];
        self.file.read_exact_at(&mut payload, at + HEADER as u64)?;
        Ok(header.matches(&payload))
    }

    /// The next place from `at` on where a whole frame stands, behind damage.
    fn next_frame(&self, mut at: u64, length: u64) -> io::Result<Option<u64>> {
        const WINDOW: usize = 64 << 10;
        let mut buffer = vec![0; WINDOW];
        while at + (HEADER as u64) <= length {
            let filled = WINDOW.min((length - at) as usize);
            self.file.read_exact_at(&mut buffer[..filled], at)?;
            let Some(found) = frame::find_marker(&buffer[..filled]) else {
                // A marker may straddle two windows.
                at += (filled - 3).max(1) as u64;
                continue;
            };
            at += found as u64;
            if let Some(header) = self.frame_at(at, length)?
                && self.whole(at, &header)?
            {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }
}

/// The writing side of a segment; the lock goes with the file.
#[derive(Debug)]
pub(super) struct WriteHalf {
    file: File,
    end: u64,
}

impl WriteHalf {
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends `frames` and syncs. After an error nothing of them is in the file.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(frames, self.end).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.end += frames.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A full disk leaves a part of the group behind; the torn tail would be cut on the next open anyway.
                let _ = self.file.set_len(self.end);
                Err(error)
            }
        }
    }
}
