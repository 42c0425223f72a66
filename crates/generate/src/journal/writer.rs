//! The thread that writes: many replies, one fsync.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::JournalError;
use super::segment::{Segment, WriteHalf};

/// A group is written once it has this many replies …
const GROUP: usize = 64;
/// … or its first reply has waited this long; what queued up meanwhile goes along, up to [`GROUP_BYTES`]. The shorter,
/// the fewer replies a kill finds between the wire and the disk; while one group is flushed the next gathers anyway.
const PATIENCE: Duration = Duration::from_millis(2);
const GROUP_BYTES: usize = 8 << 20;

/// A frame to write, and where to send its offset once it is on the disk.
struct Job {
    frame: Vec<u8>,
    done: oneshot::Sender<Result<u64, JournalError>>,
}

/// Handle to the writing thread. Dropping it writes what is queued and ends the thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    segment: Arc<Segment>,
    number: usize,
}

impl Writer {
    pub(super) fn start(segment: Arc<Segment>, number: usize, file: WriteHalf) -> Result<Self, JournalError> {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn({
                let segment = Arc::clone(&segment);
                move || write_groups(&queue, &segment, file)
            })
            .map_err(|error| JournalError::io("start a thread for", segment.path(), error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), segment, number })
    }

    pub(super) fn segment_number(&self) -> usize {
        self.number
    }

    /// Queues a frame; the future is its offset, ready once it is on the disk.
    pub(super) fn append(&self, frame: Vec<u8>) -> impl Future<Output = Result<u64, JournalError>> + use<> {
        let (done, acknowledged) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // A send that fails drops `done`, which the future sees.
            let _ = jobs.send(Job { frame, done });
        }
        let path = self.segment.path().to_owned();
        async move { acknowledged.await.unwrap_or_else(|_| Err(JournalError::Stopped { path, reason: "the writer is gone".into() })) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_groups(queue: &Receiver<Job>, segment: &Segment, mut file: WriteHalf) {
    let mut failure: Option<String> = None;
    let mut bytes = Vec::new();
    while let Some(group) = next_group(queue) {
        if failure.is_none() {
            let result = write_group(&group, &mut bytes, &mut file, segment);
            match result {
                Ok(start) => acknowledge(group, start),
                Err(error) => {
                    failure = Some(error.to_string());
                    let source = Arc::new(error);
                    for job in group {
                        let path = segment.path().to_owned();
                        let _ = job.done.send(Err(JournalError::Io { action: "write", path, source: Arc::clone(&source) }));
                    }
                }
            }
        } else {
            for job in group {
                let (path, reason) = (segment.path().to_owned(), failure.clone().unwrap_or_default());
                let _ = job.done.send(Err(JournalError::Stopped { path, reason }));
            }
        }
    }
}

/// The next replies to write together; `None` once no more can come.
fn next_group(queue: &Receiver<Job>) -> Option<Vec<Job>> {
    let first = queue.recv().ok()?;
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = first.frame.len();
    let mut group = vec![first];
    while bytes < GROUP_BYTES {
        let wait = if group.len() < GROUP { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
        match queue.recv_timeout(wait) {
            Ok(job) => {
                bytes += job.frame.len();
                group.push(job);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    Some(group)
}

/// Writes and syncs a group; the offset of its first frame.
fn write_group(group: &[Job], bytes: &mut Vec<u8>, file: &mut WriteHalf, segment: &Segment) -> io::Result<u64> {
    bytes.clear();
    for job in group {
        bytes.extend_from_slice(&job.frame);
    }
    let start = file.end();
    file.append(bytes)?;
    segment.advance(start, file.end());
    // One large group must not keep its memory for the rest of the run.
    bytes.shrink_to(1 << 20);
    Ok(start)
}

fn acknowledge(group: Vec<Job>, mut offset: u64) {
    for job in group {
        let length = job.frame.len() as u64;
        let _ = job.done.send(Ok(offset));
        offset += length;
    }
}
