//! From rendered samples to rows of tokens: the over-long policy, and packing of several documents into one row.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::OverLong;

/// A teacher's distributions over tokens: its most probable ones, where it is known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SoftTokens {
    /// Tokens kept per position.
    pub top: usize,
    /// `[positions · top]`
    pub ids: Vec<u32>,
    /// Their probabilities, `[positions · top]`; zeros where the teacher is not known.
    pub probabilities: Vec<f32>,
}

impl SoftTokens {
    /// Adds the distribution at a position of another one, nothing known where there is none.
    pub(crate) fn push(&mut self, other: Option<&Self>, at: usize) {
        let part = other.map(|other| other.part(at..at + 1)).unwrap_or_default();
        let end = self.ids.len() + self.top;
        self.ids.extend(part.ids);
        self.probabilities.extend(part.probabilities);
        self.ids.resize(end, 0);
        self.probabilities.resize(end, 0.0);
    }

    /// The distributions of a range of positions.
    fn part(&self, range: Range<usize>) -> Self {
        let range = range.start * self.top..range.end * self.top;
        Self { top: self.top, ids: self.ids[range.clone()].to_vec(), probabilities: self.probabilities[range].to_vec() }
    }
}

/// A rendered sample: its tokens, and what the loss counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// Id of the sample it comes from.
    pub sample_id: String,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Weight of each token as a target; 0 for tokens that are only read. As long as `tokens`.
    pub weights: Vec<f32>,
    /// A teacher's distribution for each token as a target.
    pub soft: Option<SoftTokens>,
}

impl Document {
    /// A part of it, as a document of its own.
    fn part(&self, range: Range<usize>) -> Self {
        Self {
            sample_id: self.sample_id.clone(),
            tokens: self.tokens[range.clone()].to_vec(),
            weights: self.weights[range.clone()].to_vec(),
            soft: self.soft.as_ref().map(|soft| soft.part(range)),
        }
    }

    /// Tokens that are trained: the targets of weight other than 0. The first token of a document has nothing before it
    /// that could predict it.
    #[must_use]
    pub fn trained(&self) -> usize {
        self.weights.iter().skip(1).filter(|weight| **weight != 0.0).count()
    }
}

/// How the samples became documents. Nothing is lost without a count.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LengthCounts {
    /// Samples that came in.
    pub samples: usize,
    /// Longer than the limit and left out.
    pub dropped_over_long: usize,
    /// Longer than the limit and cut.
    pub truncated: usize,
    /// Longer than the limit and cut into pieces.
    pub split: usize,
    /// Left out because no trained token remained (after truncation, or a piece of a split).
    pub dropped_untrained: usize,
}

/// Applies the over-long policy and leaves out what has no trained token.
#[must_use]
pub fn fit_length(documents: Vec<Document>, max_length: usize, policy: OverLong) -> (Vec<Document>, LengthCounts) {
    let mut counts = LengthCounts { samples: documents.len(), ..LengthCounts::default() };
    let mut fitted = Vec::with_capacity(documents.len());
    for mut document in documents {
        if document.tokens.len() > max_length {
            match policy {
                OverLong::Drop => {
                    counts.dropped_over_long += 1;
                    continue;
                }
                OverLong::Truncate => {
                    counts.truncated += 1;
                    document = document.part(0..max_length);
                }
                OverLong::Split => {
                    counts.split += 1;
                    let length = document.tokens.len();
                    let pieces = (0..length).step_by(max_length).map(|start| start..(start + max_length).min(length));
                    fitted.extend(pieces.map(|piece| document.part(piece)));
                    continue;
                }
            }
        }
        fitted.push(document);
    }
    let before = fitted.len();
    fitted.retain(|document| document.trained() > 0);
    counts.dropped_untrained = before - fitted.len();
    (fitted, counts)
}

/// A row: indices of the documents that stand in it one after another.
pub type Row = Vec<usize>;

/// One document per row.
#[must_use]
pub fn one_per_row(documents: &[Document]) -> Vec<Row> {
    (0..documents.len()).map(|index| vec![index]).collect()
}

/// Packs documents of the given lengths into rows of at most `capacity` tokens by best-fit decreasing: every document
/// goes, longest first, into the fullest row that still has room. Deterministic; each document lands in exactly one row.
///
/// A document longer than `capacity` gets a row of its own.
#[must_use]
pub fn pack(lengths: &[usize], capacity: usize) -> Vec<Row> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(lengths[index]), index));
    let mut rows: Vec<Row> = Vec::new();
    // Rows by the room that is left in them; of equally full rows the youngest is taken.
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in order {
        let length = lengths[index];
        let found = open.range(length.max(1)..).next().map(|(room, _)| *room);
        let (row, room) = match found.and_then(|room| Some((pop_row(&mut open, room)?, room))) {
            Some(place) => place,
            None => {
                rows.push(Row::new());
                (rows.len() - 1, capacity.max(length))
            }
        };
        rows[row].push(index);
        if room > length {
            open.entry(room - length).or_default().push(row);
        }
    }
    rows
}

fn pop_row(open: &mut BTreeMap<usize, Vec<usize>>, room: usize) -> Option<usize> {
    let rows = open.get_mut(&room)?;
    let row = rows.pop();
    if rows.is_empty() {
        open.remove(&room);
    }
    row
}

/// Share of the tokens of `rows` rows of `capacity` that are filled by documents of these lengths.
#[must_use]
pub fn fill(lengths: &[usize], rows: usize, capacity: usize) -> f64 {
    lengths.iter().sum::<usize>() as f64 / (rows * capacity).max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(id: &str, length: usize, trained_from: usize) -> Document {
        Document {
            sample_id: id.into(),
            tokens: (0..length as u32).collect(),
            weights: (0..length).map(|at| if at >= trained_from { 1.0 } else { 0.0 }).collect(),
            soft: None,
        }
    }

    #[test]
    fn the_policies_count_what_they_change() {
        let documents = || vec![document("fits", 4, 1), document("long", 11, 2), document("late", 11, 9), document("none", 3, 3)];
        let run = |policy| {
            let (kept, counts) = fit_length(documents(), 5, policy);
            (kept.iter().map(|d| format!("{}:{}", d.sample_id, d.tokens.len())).collect::<Vec<_>>().join(" "), counts)
        };
        let (kept, counts) = run(OverLong::Drop);
        assert_eq!((kept.as_str(), counts.dropped_over_long, counts.dropped_untrained), ("fits:4", 2, 1));
        let (kept, counts) = run(OverLong::Truncate);
        assert_eq!((kept.as_str(), counts.truncated, counts.dropped_untrained), ("fits:4 long:5", 2, 2));
        // The last piece of one token has nothing before it to predict it from.
        let (kept, counts) = run(OverLong::Split);
        assert_eq!((kept.as_str(), counts.split, counts.dropped_untrained), ("fits:4 long:5 long:5 late:5", 2, 4));
    }

    #[test]
    fn packing_fills_rows_of_realistic_lengths() {
        // Lengths like those of reasoning traces: long-tailed, up to the limit.
        let lengths: Vec<usize> = (0..20_000_u64).map(|i| 40 + (i * 2_654_435_761 % 1_000_003) as usize % 1900).collect();
        let rows = pack(&lengths, 4096);
        assert!(fill(&lengths, rows.len(), 4096) >= 0.995, "fill {}", fill(&lengths, rows.len(), 4096));
    }

    proptest! {
        #[test]
        fn packing_loses_and_overflows_nothing(lengths in prop::collection::vec(0_usize..70, 0..200)) {
            let rows = pack(&lengths, 64);
            let mut seen: Vec<usize> = rows.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                prop_assert!(!row.is_empty());
                let total: usize = row.iter().map(|&index| lengths[index]).sum();
                prop_assert!(total <= 64 || row.len() == 1 || row.iter().filter(|&&i| lengths[i] > 0).count() == 1);
            }
        }
    }
}
