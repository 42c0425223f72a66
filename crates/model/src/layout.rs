//! Which tokens of a batch belong together.

use std::{ops::Range, sync::Arc};

use crate::{Error, Result};

/// The documents of a `[batch, len]` block of tokens, row-major.
///
/// A token attends to the earlier tokens of its own document and to itself; positions restart with each
/// document. Tokens outside every document are padding: attention gives them zeros (never NaN), and nothing
/// attends to them. Kept on the host, so that a CPU kernel walks the documents instead of masking a square.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceLayout {
    batch: usize,
    len: usize,
    documents: Arc<[Range<usize>]>,
}

impl SequenceLayout {
    /// Every row is one document that fills it.
    #[must_use]
    pub fn dense(batch: usize, len: usize) -> Self {
        let documents = if len == 0 { Arc::from([]) } else { (0..batch).map(|row| row * len..(row + 1) * len).collect() };
        Self { batch, len, documents }
    }

    /// One document per row, padded on the right.
    ///
    /// # Errors
    /// When a length exceeds `len` or there is not one length per row.
    pub fn padded(batch: usize, len: usize, lengths: &[usize]) -> Result<Self> {
        if lengths.len() != batch {
            return Err(Error::Input(format!("{batch} rows, but {} lengths", lengths.len())));
        }
        let rows: Vec<Vec<usize>> = lengths.iter().map(|&length| vec![length]).collect();
        Self::packed(len, &rows)
    }

    /// Several documents per row, one after the other; what remains of a row is padding.
    ///
    /// # Errors
    /// When the documents of a row are together longer than `len`.
    pub fn packed(len: usize, rows: &[Vec<usize>]) -> Result<Self> {
        let mut documents = Vec::new();
        for (row, lengths) in rows.iter().enumerate() {
            let mut start = row * len;
            for &length in lengths.iter().filter(|&&length| length > 0) {
                documents.push(start..start + length);
                start += length;
            }
            if start > (row + 1) * len {
                let found: usize = lengths.iter().sum();
                return Err(Error::Input(format!("row {row} holds {found} tokens, but is {len} long")));
            }
        }
        Ok(Self { batch: rows.len(), len, documents: documents.into() })
    }

    /// One row that holds all documents back to back without padding: on the CPU the layout that computes least.
    #[must_use]
    pub fn flat(lengths: &[usize]) -> Self {
        let mut start = 0;
        let documents = lengths
            .iter()
            .filter(|&&length| length > 0)
            .map(|&length| {
                start += length;
                start - length..start
            })
            .collect();
        Self { batch: 1, len: start, documents }
    }

    /// Rows.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tokens per row, padding included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no token at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch * self.len == 0
    }

    /// `batch × len`.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.batch * self.len
    }

    /// The documents as ranges of row-major token indices, in order.
    #[must_use]
    pub fn documents(&self) -> &[Range<usize>] {
        &self.documents
    }

    /// Tokens of the longest document.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.documents.iter().map(Range::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_ranges_of_row_major_tokens() {
        let layout = SequenceLayout::packed(6, &[vec![2, 3], vec![6], vec![]]).unwrap();
        assert_eq!(layout.documents(), [0..2, 2..5, 6..12]);
        assert_eq!((layout.batch(), layout.len(), layout.longest()), (3, 6, 6));
        assert_eq!(SequenceLayout::flat(&[2, 0, 4]).documents(), [0..2, 2..6]);
        assert_eq!(SequenceLayout::dense(2, 3).documents(), [0..3, 3..6]);
    }

    #[test]
    fn too_long_documents_are_refused_with_the_numbers() {
        let error = SequenceLayout::packed(4, &[vec![2], vec![3, 2]]).unwrap_err().to_string();
        assert_eq!(error, "input: row 1 holds 5 tokens, but is 4 long");
        assert!(SequenceLayout::padded(2, 4, &[1]).is_err());
    }
}
