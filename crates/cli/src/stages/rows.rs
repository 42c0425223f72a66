//! What stages over rows share: the input's files, the output's writer, parallel work in order.

use std::path::PathBuf;

use potstill_data::{DataError, MetaFields, Row, RowWriter};
use potstill_pipeline::{Port, PortError, StageContext, StageError, some_inputs};

use super::data_error;
use crate::app::App;

/// The file of an output of rows.
pub(crate) const PART: &str = "part-000.parquet";
/// The name of the first output of a stage that gives rows.
pub(crate) const ROWS: &str = "rows";
/// Rows that are worked on together before they are written.
const CHUNK: usize = 2048;

/// The three ports that carry rows.
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

/// `work` on every item, shared out over threads; results in the items' order.
pub(crate) fn parallel<I: Send, T: Send>(items: Vec<I>, threads: usize, work: &(impl Fn(I) -> T + Sync)) -> Vec<T> {
    let share = items.len().div_ceil(threads.max(1)).max(1);
    if share >= items.len() {
        return items.into_iter().map(work).collect();
    }
    let mut shares: Vec<Vec<I>> = Vec::new();
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        shares.push(items.by_ref().take(share).collect());
    }
    std::thread::scope(|scope| {
        let run = |share: Vec<I>| scope.spawn(move || share.into_iter().map(work).collect::<Vec<T>>());
        let handles: Vec<_> = shares.into_iter().map(run).collect();
        let mut results = Vec::new();
        for handle in handles {
            match handle.join() {
                Ok(part) => results.extend(part),
                // The runner turns a panic into the stage's failure; here it only changes threads.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
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
