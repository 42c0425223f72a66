//! The attempts of each problem together, in bounded memory and in the order in which problems first appear.
//!
//! A first pass over the column of problem ids numbers the problems. Then *windows* of as many consecutive problems as
//! fit the budget are gathered, each from the rows between its first and its last one. Where every problem's attempts
//! stand together, as `generate` writes them, that reads the parts once more in all; where inputs were joined and a
//! problem's attempts lie far apart, it reads them once per window, and needs no space on disk.

use std::collections::HashMap;
use std::path::PathBuf;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use potstill_curate::text::text_key;
use potstill_data::parts::{BatchReader, unpacked_bytes};
use potstill_data::{Attempt, DataError, Row};
use potstill_pipeline::StageError;

use super::data_error;
use super::decided::arrow_error;

/// Unpacked bytes of the attempts in one window, about.
const WINDOW_BYTES: u64 = 256 << 20;

/// Windows of problems.
pub(crate) struct Groups {
    files: Vec<PathBuf>,
    /// Per row the number of its problem.
    problem: Vec<u32>,
    /// Per problem its first and last row and how many it has.
    spans: Vec<Span>,
    window_rows: usize,
    next: usize,
    batches: BatchReader,
    /// The batch under the cursor, and its first row.
    batch: Option<(usize, RecordBatch)>,
    read: usize,
}

struct Span {
    first: usize,
    last: usize,
    rows: usize,
}

impl Groups {
    /// Numbers the problems.
    ///
    /// # Errors
    /// A part is missing or damaged.
    pub(crate) fn open(files: &[PathBuf]) -> Result<Self, StageError> {
        let bytes = unpacked_bytes(files).map_err(data_error)?;
        Self::with_window(files, |rows| (WINDOW_BYTES / (bytes / rows.max(1) as u64).max(1)) as usize)
    }

    fn with_window(files: &[PathBuf], window_rows: impl Fn(usize) -> usize) -> Result<Self, StageError> {
        let mut numbers: HashMap<u128, u32> = HashMap::new();
        let (mut problem, mut spans): (Vec<u32>, Vec<Span>) = (Vec::new(), Vec::new());
        for located in BatchReader::open(files).map_err(data_error)?.with_columns(&["problem_id"]) {
            let located = located.map_err(data_error)?;
            let ids = located.batch.column_by_name("problem_id").and_then(|column| column.as_string_opt::<i32>().cloned());
            let Some(ids) = ids else {
                return Err(StageError::failed(format!("`{}` has no text column `problem_id`", located.path.display())));
            };
            for id in ids.iter().map(Option::unwrap_or_default) {
                let row = problem.len();
                let number = *numbers.entry(text_key(id)).or_insert(spans.len() as u32);
                if number as usize == spans.len() {
                    spans.push(Span { first: row, last: row, rows: 0 });
                }
                let span = &mut spans[number as usize];
                (span.last, span.rows) = (row, span.rows + 1);
                problem.push(number);
            }
        }
        let window_rows = window_rows(problem.len());
        let batches = BatchReader::open(files).map_err(data_error)?;
        Ok(Self { files: files.to_owned(), problem, spans, window_rows, next: 0, batches, batch: None, read: 0 })
    }

    /// How many problems there are.
    pub(crate) fn problems(&self) -> usize {
        self.spans.len()
    }

    /// The attempts of the next problems, a list for each.
    ///
    /// # Errors
    /// A part is damaged.
    pub(crate) fn next_window(&mut self) -> Result<Option<Vec<Vec<Attempt>>>, StageError> {
        let from = self.next;
        let mut rows = 0;
        while self.next < self.spans.len() && (self.next == from || rows + self.spans[self.next].rows <= self.window_rows) {
            rows += self.spans[self.next].rows;
            self.next += 1;
        }
        if self.next == from {
            return Ok(None);
        }
        let wanted = &self.spans[from..self.next];
        // Problems are numbered as they first appear, so that the first one's first row is the window's.
        let (first, last) = (wanted[0].first, wanted.iter().map(|span| span.last).max().unwrap_or(0));
        let mut groups: Vec<Vec<Attempt>> = wanted.iter().map(|span| Vec::with_capacity(span.rows)).collect();
        if self.batch.as_ref().map_or(self.read, |(start, _)| *start) > first {
            (self.batches, self.batch, self.read) = (BatchReader::open(&self.files).map_err(data_error)?, None, 0);
        }
        loop {
            let Some((start, batch)) = self.batch.take().map_or_else(|| self.load(), |batch| Ok(Some(batch)))? else { break };
            let end = start + batch.num_rows();
            if end > first {
                self.gather(start, &batch, from, &mut groups)?;
            }
            if end > last {
                self.batch = Some((start, batch));
                break;
            }
        }
        Ok(Some(groups))
    }

    fn load(&mut self) -> Result<Option<(usize, RecordBatch)>, StageError> {
        let Some(located) = self.batches.next() else { return Ok(None) };
        let batch = located.map_err(data_error)?.batch;
        let start = self.read;
        self.read += batch.num_rows();
        Ok(Some((start, batch)))
    }

    /// The rows of a batch that belong to the window which begins with problem `from`.
    fn gather(&self, start: usize, batch: &RecordBatch, from: usize, groups: &mut [Vec<Attempt>]) -> Result<(), StageError> {
        let wanted = from..from + groups.len();
        let rows: Vec<u32> =
            (0..batch.num_rows()).filter(|row| wanted.contains(&(self.problem[start + row] as usize))).map(|row| row as u32).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let located = |error: DataError| data_error(error);
        let attempts = if rows.len() == batch.num_rows() {
            Attempt::from_batch(batch).map_err(located)?
        } else {
            let indices = UInt32Array::from_iter_values(rows.iter().copied());
            Attempt::from_batch(&take_record_batch(batch, &indices).map_err(arrow_error)?).map_err(located)?
        };
        for (row, attempt) in rows.into_iter().zip(attempts) {
            groups[self.problem[start + row as usize] as usize - from].push(attempt);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potstill_data::{MetaFields, Problem, RowWriter};

    fn write(path: &std::path::Path, ids: &[u32]) {
        let mut out = RowWriter::<Attempt>::create(path, &MetaFields::none()).unwrap();
        for (n, id) in ids.iter().enumerate() {
            let problem = Problem { problem_id: format!("p{id}"), ..Problem::default() };
            out.push(&Attempt { problem, sample_index: n as u32, ..Attempt::default() }).unwrap();
        }
        out.finish().unwrap();
    }

    fn groups(files: &[PathBuf], window: usize) -> Vec<Vec<Vec<u32>>> {
        let mut groups = Groups::with_window(files, |_| window).unwrap();
        let mut windows = Vec::new();
        while let Some(window) = groups.next_window().unwrap() {
            windows.push(window.iter().map(|g| g.iter().map(|a| a.sample_index).collect()).collect());
        }
        windows
    }

    #[test]
    fn problems_come_together_whatever_the_window_and_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![folder.path().join("a.parquet"), folder.path().join("b.parquet")];
        write(&files[0], &[1, 1, 2, 3, 3]);
        write(&files[1], &[2, 4, 1, 4]);
        let all: Vec<Vec<u32>> = vec![vec![0, 1, 2], vec![2, 0], vec![3, 4], vec![1, 3]];
        for window in [1, 2, 3, 5, 100] {
            let windows = groups(&files, window);
            assert_eq!(windows.concat(), all, "window of {window}");
            assert!(windows.iter().all(|w| w.len() == 1 || w.iter().map(Vec::len).sum::<usize>() <= window), "{windows:?}");
        }
        assert_eq!(groups(&files, 100).len(), 1);
    }
}
