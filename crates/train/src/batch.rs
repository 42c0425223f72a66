//! The order of the data, and the micro-batches of an optimizer step.
//!
//! Which rows form step `s` is a function of the seed and `s` alone, so a resumed run needs no saved reader state. How a
//! step is cut into micro-batches is a function of the settings, never of the number of threads.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use potstill_model::SequenceLayout;

use crate::error::Result;
use crate::rows::{Document, Row, SoftTokens};

/// Batches whose rows are sorted by length together: enough that the rows of a batch are of nearly one length, few
/// enough that batches still differ from epoch to epoch.
const GROUPED_BATCHES: usize = 32;

/// The rows of every step of a run.
#[derive(Debug, Clone)]
pub struct DataOrder {
    rows: usize,
    batch: usize,
    seed: u64,
    /// Tokens of every row, if rows of like length are to stand in one batch.
    lengths: Option<Vec<usize>>,
    /// The epoch whose permutation is kept, and the permutation.
    cached: Option<(u64, Vec<usize>)>,
}

impl DataOrder {
    /// Order of `rows` rows in batches of `batch`, shuffled anew in every epoch by `seed`.
    #[must_use]
    pub fn new(rows: usize, batch: usize, seed: u64) -> Self {
        Self { rows, batch: batch.max(1), seed, lengths: None, cached: None }
    }

    /// The same with rows of like length in one batch. Every epoch still sees every row once, and the batches come in
    /// random order; the batch that is not full stays the last one.
    #[must_use]
    pub fn grouped(self, lengths: Vec<usize>) -> Self {
        Self { lengths: Some(lengths), cached: None, ..self }
    }

    /// Steps per epoch; the last one may be smaller than a batch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.batch).max(1) as u64
    }

    /// Epoch that `step` (from 0) belongs to.
    #[must_use]
    pub fn epoch(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// Indices of the rows of `step`.
    pub fn step(&mut self, step: u64) -> &[usize] {
        let epoch = self.epoch(step);
        let rows = self.rows;
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            self.cached = None;
        }
        let fresh = || (epoch, permutation(rows, self.batch, self.seed, epoch, self.lengths.as_deref()));
        let (_, order) = self.cached.get_or_insert_with(fresh);
        let from = (step % (rows.div_ceil(self.batch).max(1) as u64)) as usize * self.batch;
        &order[from.min(rows)..(from + self.batch).min(rows)]
    }
}

/// The permutation of one epoch.
fn permutation(rows: usize, batch: usize, seed: u64, epoch: u64, lengths: Option<&[usize]>) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A stream per epoch: independent of how many numbers an earlier epoch drew.
    rng.set_stream(epoch.wrapping_add(1));
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut rng);
    let Some(lengths) = lengths else { return order };
    for group in order.chunks_mut(batch * GROUPED_BATCHES) {
        group.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    }
    let full = rows / batch;
    let mut batches: Vec<usize> = (0..full).collect();
    batches.shuffle(&mut rng);
    let shuffled = batches.into_iter().chain((full * batch < rows).then_some(full));
    shuffled.flat_map(|at| order[at * batch..((at + 1) * batch).min(rows)].iter().copied()).collect()
}

/// How the documents of a micro-batch lie in memory. The loss and its gradient do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// Back to back in a single row without any padding: what computes least on the CPU.
    Flat,
    /// Each row of the data padded on the right, to this many tokens at most: equal shapes for an accelerator.
    Rows(usize),
}

/// One forward and backward pass. Documents never see each other, and each starts at position 0.
#[derive(Debug, Clone, PartialEq)]
pub struct MicroBatch {
    /// Input tokens, `[batch, len]` of the layout row-major, padded with 0. A document's last token is only a target.
    pub tokens: Vec<i32>,
    /// Where the documents lie.
    pub layout: SequenceLayout,
    /// Flat index of each position whose next token is trained.
    pub selected: Vec<i32>,
    /// The token to predict at each selected position.
    pub targets: Vec<u32>,
    /// Weight of each selected position's loss.
    pub weights: Vec<f32>,
    /// A teacher's distribution for each selected position, if any document has some.
    pub soft: Option<SoftTokens>,
    /// Tokens of the documents.
    pub real_tokens: usize,
    /// Indices of the documents in it.
    pub documents: Vec<usize>,
}

impl MicroBatch {
    /// Lays rows of documents out.
    ///
    /// # Errors
    /// If a row is longer than the arrangement's width.
    pub fn new(rows: &[&Row], documents: &[Document], arrangement: Arrangement) -> Result<Self> {
        let inputs = |row: &Row| -> Vec<usize> { row.iter().map(|&index| documents[index].tokens.len().saturating_sub(1)).collect() };
        let (layout, width) = match arrangement {
            Arrangement::Flat => (SequenceLayout::flat(&rows.iter().flat_map(|row| inputs(row)).collect::<Vec<_>>()), None),
            Arrangement::Rows(width) => {
                let lengths: Vec<Vec<usize>> = rows.iter().map(|row| inputs(row)).collect();
                (SequenceLayout::packed(width, &lengths)?, Some(width))
            }
        };
        let top = rows.iter().flat_map(|row| row.iter()).filter_map(|&at| documents[at].soft.as_ref()).map(|soft| soft.top).max();
        let mut batch = Self {
            soft: top.map(|top| SoftTokens { top, ..SoftTokens::default() }),
            tokens: vec![0; layout.tokens()],
            layout,
            selected: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            real_tokens: 0,
            documents: rows.iter().flat_map(|row| row.iter().copied()).collect(),
        };
        let mut cell = 0;
        for (index, row) in rows.iter().enumerate() {
            cell = width.map_or(cell, |width| index * width);
            for &document in *row {
                cell = batch.lay(cell, &documents[document]);
            }
        }
        Ok(batch)
    }

    /// Writes one document from `cell` on and returns the cell after it.
    fn lay(&mut self, cell: usize, document: &Document) -> usize {
        let inputs = document.tokens.len().saturating_sub(1);
        for at in 0..inputs {
            self.tokens[cell + at] = document.tokens[at] as i32;
            let weight = document.weights[at + 1];
            if weight != 0.0 {
                self.selected.push((cell + at) as i32);
                self.targets.push(document.tokens[at + 1]);
                self.weights.push(weight);
                if let Some(soft) = &mut self.soft {
                    soft.push(document.soft.as_ref(), at + 1);
                }
            }
        }
        self.real_tokens += document.tokens.len();
        cell + inputs
    }
}

/// Widths of padded rows are multiples of this, so that few shapes occur; matrix units like them too.
const PAD: usize = 64;

/// Cuts the rows of a step into micro-batches of about `budget` tokens (one row at least).
///
/// Each row goes, longest first, to the micro-batch with the fewest tokens, so that threads end together. Padded rows go
/// together with rows of like length instead, since one row's length is paid for by all.
///
/// # Errors
/// If a row is longer than the arrangement's width.
pub fn micro_batches(
    step: &[usize],
    rows: &[Row],
    documents: &[Document],
    budget: usize,
    arrangement: Arrangement,
) -> Result<Vec<MicroBatch>> {
    let length = |row: usize| -> usize { rows[row].iter().map(|&index| documents[index].tokens.len()).sum() };
    let mut order: Vec<(usize, usize)> = step.iter().map(|&row| (length(row), row)).collect();
    order.sort_by_key(|&(length, row)| (std::cmp::Reverse(length), row));
    if let Arrangement::Rows(most) = arrangement {
        return padded(&order, rows, documents, budget, most);
    }
    let total: usize = order.iter().map(|(length, _)| length).sum();
    // An even number of parts keeps two threads (or four, from four parts on) busy to the end.
    let parts = match total.div_ceil(budget.max(1)) {
        0 | 1 => 1,
        parts if parts <= 4 => parts.next_multiple_of(2),
        parts => parts.next_multiple_of(4),
    };
    let mut shares: Vec<(usize, Vec<&Row>)> = vec![(0, Vec::new()); parts.min(order.len())];
    for (length, row) in order {
        if let Some(least) = shares.iter_mut().min_by_key(|(tokens, _)| *tokens) {
            least.0 += length;
            least.1.push(&rows[row]);
        }
    }
    shares.iter().map(|(_, part)| MicroBatch::new(part, documents, arrangement)).collect()
}

/// Rows, longest first, in micro-batches of at most `budget` cells, each as wide as its longest row needs.
fn padded(order: &[(usize, usize)], rows: &[Row], documents: &[Document], budget: usize, most: usize) -> Result<Vec<MicroBatch>> {
    let mut batches = Vec::new();
    let mut left = order;
    while let Some(&(longest, _)) = left.first() {
        let width = longest.saturating_sub(1).max(1).next_multiple_of(PAD).min(most);
        let (now, later) = left.split_at((budget / width).clamp(1, left.len()));
        let rows: Vec<&Row> = now.iter().map(|&(_, row)| &rows[row]).collect();
        batches.push(MicroBatch::new(&rows, documents, Arrangement::Rows(width))?);
        left = later;
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::one_per_row;

    fn document(tokens: &[u32], trained_from: usize) -> Document {
        Document {
            sample_id: "s".into(),
            tokens: tokens.to_vec(),
            weights: (0..tokens.len()).map(|at| if at >= trained_from { 1.0 } else { 0.0 }).collect(),
            soft: None,
        }
    }

    #[test]
    fn each_epoch_sees_every_row_once_in_its_own_order() {
        let mut order = DataOrder::new(10, 4, 7);
        let mut epoch = |from: u64| (from..from + 3).flat_map(|step| order.step(step).to_vec()).collect::<Vec<_>>();
        let (first, second) = (epoch(0), epoch(3));
        assert_ne!(first, second);
        for mut seen in [first.clone(), second] {
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
        // Reading step 4 straight away gives what reading in order gives.
        let mut again = DataOrder::new(10, 4, 7);
        let late = again.step(4).to_vec();
        assert_eq!(again.step(0), &first[..4]);
        assert_eq!(order.step(4), late);
        assert_eq!(order.step(2).len(), 2);
    }

    #[test]
    fn grouped_batches_hold_rows_of_like_length_and_lose_none() {
        let lengths: Vec<usize> = (0..203).map(|row| row * 37 % 100).collect();
        let mut order = DataOrder::new(203, 4, 7).grouped(lengths.clone());
        let spread = |rows: &[usize]| {
            let of = |row: &usize| lengths[*row];
            rows.iter().map(of).max().unwrap() - rows.iter().map(of).min().unwrap()
        };
        let epoch: Vec<Vec<usize>> = (0..51).map(|step| order.step(step).to_vec()).collect();
        let mean = epoch.iter().map(|rows| spread(rows)).sum::<usize>() / 51;
        assert!(mean <= 4, "{mean}");
        let mut seen = epoch.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..203).collect::<Vec<_>>());
        // Long and short batches alternate at random rather than falling from long to short.
        let first = |step: usize| lengths[epoch[step][0]];
        assert!((1..50).filter(|&step| first(step) > first(step - 1)).count() > 12);
    }

    #[test]
    fn targets_are_the_next_tokens_of_trained_positions() {
        let documents = [document(&[5, 6, 7, 8], 2), document(&[1, 2], 1), document(&[9, 3, 4], 0)];
        let rows = [vec![0], vec![1, 2]];
        let rows: Vec<&Row> = rows.iter().collect();
        let flat = MicroBatch::new(&rows, &documents, Arrangement::Flat).unwrap();
        assert_eq!(flat.tokens, [5, 6, 7, 1, 9, 3]);
        assert_eq!(flat.layout.documents(), [0..3, 3..4, 4..6]);
        // Token 9 starts its document: nothing predicts it.
        assert_eq!((flat.selected, flat.targets.clone()), (vec![1, 2, 3, 4, 5], vec![7, 8, 2, 3, 4]));
        let padded = MicroBatch::new(&rows, &documents, Arrangement::Rows(4)).unwrap();
        assert_eq!(padded.tokens, [5, 6, 7, 0, 1, 9, 3, 0]);
        assert_eq!(padded.layout.documents(), [0..3, 4..5, 5..7]);
        assert_eq!((padded.selected, padded.targets), (vec![1, 2, 4, 5, 6], flat.targets));
        assert!(MicroBatch::new(&rows, &documents, Arrangement::Rows(2)).is_err());
    }

    #[test]
    fn micro_batches_hold_every_row_once_in_even_shares() {
        let documents: Vec<Document> = (0..33).map(|i| document(&vec![1; 20 + i * 3 % 50], 1)).collect();
        let rows = one_per_row(&documents);
        let step: Vec<usize> = (0..33).collect();
        for (budget, parts) in [(1, 33), (64, 24), (300, 8), (600, 4), (900, 2), (5000, 1)] {
            let batches = micro_batches(&step, &rows, &documents, budget, Arrangement::Flat).unwrap();
            assert_eq!(batches.len(), parts, "{budget}");
            let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.documents.clone()).collect();
            seen.sort_unstable();
            assert_eq!(seen, step);
            let sizes: Vec<usize> = batches.iter().map(|batch| batch.real_tokens).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 70);
        }
    }

    #[test]
    fn padded_micro_batches_are_as_wide_as_their_longest_row() {
        let documents: Vec<Document> = [10, 300, 129, 20, 70].iter().map(|&length| document(&vec![1; length], 1)).collect();
        let rows = one_per_row(&documents);
        let batches = micro_batches(&[0, 1, 2, 3, 4], &rows, &documents, 256, Arrangement::Rows(310)).unwrap();
        let shapes: Vec<_> = batches.iter().map(|batch| (batch.layout.batch(), batch.layout.len(), batch.documents.clone())).collect();
        assert_eq!(shapes, [(1, 310, vec![1]), (2, 128, vec![2, 4]), (2, 64, vec![3, 0])]);
    }
}
