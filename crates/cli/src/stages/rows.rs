//! What stages over rows share: the input's files, the output's writer, parallel work in order.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use potstill_data::{DataError, MetaFields, Row, RowReader, RowWriter};
use potstill_pipeline::{Port, PortError, StageContext, StageError, some_inputs};
use serde::Serialize;

use super::data_error;
use crate::app::App;

/// The file of an output of rows.
pub(crate) const PART: &str = "part-000.parquet";
/// The name of the first output of a stage that gives rows.
pub(crate) const ROWS: &str = "rows";
/// Rows that are worked on together before they are written.
const CHUNK: usize = 256;

/// The three ports whose rows can be kept, dropped and joined.
pub(crate) const ROW_PORTS: &[Port] = &[Port::Problems, Port::Attempts, Port::Samples];

/// The output of a stage that passes its kind of rows on.
///
/// # Errors
/// No inputs, or inputs of several kinds.
pub(crate) fn same_rows(inputs: &[Port]) -> Result<Port, PortError> {
    some_inputs(inputs, ROW_PORTS)
}

/// The files of all inputs, in order.
pub(crate) fn files(cx: &StageContext<'_, App>) -> Vec<PathBuf> {
    cx.inputs.iter().flat_map(|input| input.files.iter().cloned()).collect()
}

/// The rows of all inputs together.
pub(crate) fn row_count(cx: &StageContext<'_, App>) -> Option<u64> {
    cx.inputs.iter().map(|input| input.rows).sum()
}

/// A writer for an output of rows.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn writer<R: Row>(cx: &StageContext<'_, App>, output: &str, meta: &MetaFields) -> Result<RowWriter<R>, StageError> {
    let path = cx.out_file(output, PART)?;
    RowWriter::create(&path, meta).map_err(data_error)
}

/// The rows of parts, unpacked by a thread of their own while the caller works on those before.
pub(crate) struct Ahead<R> {
    chunks: Receiver<Vec<Result<R, DataError>>>,
    ready: std::vec::IntoIter<Result<R, DataError>>,
    reader: Option<JoinHandle<()>>,
}

/// Rows handed over at a time, and chunks that wait: a few megabytes of the longest traces.
const AHEAD_ROWS: usize = 256;
const AHEAD_CHUNKS: usize = 4;

impl<R: Row> Ahead<R> {
    /// Opens the parts.
    ///
    /// # Errors
    /// A part is missing, unreadable or no sound Parquet file.
    pub(crate) fn open(files: &[PathBuf]) -> Result<Self, DataError> {
        let mut rows = RowReader::<R>::open(files)?;
        let (send, chunks) = sync_channel(AHEAD_CHUNKS);
        let reader = std::thread::spawn(move || {
            loop {
                let chunk: Vec<_> = rows.by_ref().take(AHEAD_ROWS).collect();
                // A receiver that is gone has seen enough.
                if chunk.is_empty() || send.send(chunk).is_err() {
                    return;
                }
            }
        });
        Ok(Self { chunks, ready: Vec::new().into_iter(), reader: Some(reader) })
    }
}

impl<R> Iterator for Ahead<R> {
    type Item = Result<R, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(row);
            }
            match self.chunks.recv() {
                Ok(chunk) => self.ready = chunk.into_iter(),
                Err(_) => {
                    // Rows end when the thread has returned; one that panicked has not told all of them.
                    if let Some(Err(panic)) = self.reader.take().map(JoinHandle::join) {
                        std::panic::resume_unwind(panic);
                    }
                    return None;
                }
            }
        }
    }
}

/// The blake3 hash of a file's content.
///
/// # Errors
/// It cannot be read.
pub(crate) fn content_hash(file: &Path) -> Result<String, StageError> {
    let unreadable = |e: std::io::Error| StageError::failed(format!("cannot read `{}`", file.display())).caused_by(e);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(file).map_err(unreadable)?).map_err(unreadable)?;
    Ok(hasher.finalize().to_string())
}

/// Writes a value a line.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn json_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<(), StageError> {
    let refused = |e: std::io::Error| StageError::failed(format!("cannot write `{}`", path.display())).caused_by(e);
    let mut out = BufWriter::new(std::fs::File::create(path).map_err(refused)?);
    for value in values {
        serde_json::to_writer(&mut out, value).map_err(|e| refused(e.into()))?;
        out.write_all(b"\n").map_err(refused)?;
    }
    out.flush().map_err(refused)
}

/// Works on rows with all threads and hands the results on in order; says how far it is and stops when asked to.
///
/// # Errors
/// A row that cannot be read, whatever `sink` says, or a cancelled run.
pub(crate) fn in_order<R: Row, T: Send>(
    cx: &StageContext<'_, App>,
    rows: impl Iterator<Item = Result<R, DataError>>,
    work: impl Fn(R) -> T + Sync,
    mut sink: impl FnMut(T) -> Result<(), StageError>,
) -> Result<(), StageError> {
    let total = row_count(cx);
    let mut done = 0;
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        cx.check_cancelled()?;
        let chunk: Vec<R> = rows.by_ref().take(CHUNK).collect::<Result<_, _>>().map_err(data_error)?;
        done += chunk.len() as u64;
        for result in parallel(chunk, cx.app.threads, &work) {
            sink(result)?;
        }
        cx.progress(done, total, "rows", &[]);
    }
    Ok(())
}

/// `work` on every item; each thread takes the next one when it is done, for one item may take a thousand times as long as
/// another. Results in the items' order.
pub(crate) fn parallel<I: Send, T: Send>(items: Vec<I>, threads: usize, work: &(impl Fn(I) -> T + Sync)) -> Vec<T> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let left = Mutex::new(items.into_iter().enumerate());
    // The lock is held for taking an item only, so that a panic in `work` cannot poison it.
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let mut results: Vec<(usize, T)> = std::thread::scope(|scope| {
        let run = |_| scope.spawn(|| std::iter::from_fn(next).map(|(at, item)| (at, work(item))).collect::<Vec<_>>());
        let handles: Vec<_> = (0..threads).map(run).collect();
        let mut results = Vec::new();
        for handle in handles {
            match handle.join() {
                Ok(part) => results.extend(part),
                // The runner turns a panic into the stage's failure; here it only changes threads.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for (items, threads) in [(0, 2), (1, 2), (7, 3), (100, 2), (5, 8)] {
            let results = parallel((0..items).collect(), threads, &|n: i32| n * 2);
            assert_eq!(results, (0..items).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
