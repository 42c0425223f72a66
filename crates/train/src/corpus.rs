//! The documents of a run and the rows they form.

use std::collections::BTreeSet;

use potstill_model::Tokenizer;

use crate::batch::{Arrangement, MicroBatch, micro_batches};
use crate::config::{OverLong, SftConfig};
use crate::device;
use crate::error::{Result, TrainError};
use crate::params::ParamInfo;
use crate::render::is_special;
use crate::rows::{Document, LengthCounts, Row, fill, fit_length, one_per_row, pack};

/// The documents of a run and the rows they form.
pub(crate) struct Corpus {
    pub(crate) documents: Vec<Document>,
    pub(crate) rows: Vec<Row>,
    pub(crate) counts: LengthCounts,
    pub(crate) fill: Option<f64>,
    arrangement: Arrangement,
}

impl Corpus {
    /// Applies the over-long policy and packs.
    ///
    /// # Errors
    /// [`TrainError::Empty`] if nothing is left.
    pub(crate) fn new(config: &SftConfig, documents: Vec<Document>) -> Result<Self> {
        let data = Self::fit(config, documents);
        if data.documents.is_empty() {
            let counts = &data.counts;
            return Err(TrainError::Empty {
                reason: format!(
                    "of {} samples, {} are longer than max_length = {} tokens and {} have no trained token",
                    counts.samples, counts.dropped_over_long, config.max_length, counts.dropped_untrained
                ),
            });
        }
        Ok(data)
    }

    fn fit(config: &SftConfig, documents: Vec<Document>) -> Self {
        let (documents, counts) = fit_length(documents, config.max_length, config.over_long);
        let lengths: Vec<usize> = documents.iter().map(|document| document.tokens.len()).collect();
        let (rows, fill) = if config.packing {
            let rows = pack(&lengths, config.max_length);
            let fill = fill(&lengths, rows.len(), config.max_length);
            (rows, Some(fill))
        } else {
            (one_per_row(&documents), None)
        };
        let arrangement = if device::is_cpu(&config.device) { Arrangement::Flat } else { Arrangement::Rows(config.max_length) };
        Self { documents, rows, counts, fill, arrangement }
    }

    /// Held-out documents as micro-batches: over-long ones are truncated, so that the measure has the same meaning
    /// whatever the policy.
    pub(crate) fn held_out(config: &SftConfig, documents: Vec<Document>) -> Result<Vec<MicroBatch>> {
        let config = SftConfig { over_long: OverLong::Truncate, packing: false, ..config.clone() };
        let data = Self::fit(&config, documents);
        let all: Vec<usize> = (0..data.rows.len()).collect();
        data.batches(&all, config.micro_batch_tokens)
    }

    /// Micro-batches of the rows of a step.
    pub(crate) fn batches(&self, step: &[usize], budget: usize) -> Result<Vec<MicroBatch>> {
        micro_batches(step, &self.rows, &self.documents, budget, self.arrangement)
    }

    /// The special tokens that end documents' last trained stretches: what the student learns to stop with.
    pub(crate) fn stop_tokens(&self, tokenizer: &Tokenizer) -> BTreeSet<u32> {
        let last = |document: &Document| {
            let at = document.weights.iter().rposition(|&weight| weight != 0.0);
            at.map(|at| document.tokens[at])
        };
        let mut ends: BTreeSet<u32> = self.documents.iter().filter_map(last).collect();
        ends.retain(|&token| is_special(tokenizer, token));
        ends
    }

    /// Tokens of the longest row.
    pub(crate) fn longest_row(&self) -> usize {
        self.row_lengths().into_iter().max().unwrap_or(0)
    }

    /// Tokens of every row.
    pub(crate) fn row_lengths(&self) -> Vec<usize> {
        let length = |row: &Row| row.iter().map(|&index| self.documents[index].tokens.len()).sum();
        self.rows.iter().map(length).collect()
    }

    /// Hash of everything that the weights depend on besides the settings; `frozen` is that of weights that no checkpoint
    /// holds.
    pub(crate) fn fingerprint(&self, params: &[ParamInfo], frozen: Option<String>) -> String {
        let mut hash = blake3::Hasher::new();
        for document in &self.documents {
            hash.update(&(document.tokens.len() as u64).to_le_bytes());
            for (token, weight) in document.tokens.iter().zip(&document.weights) {
                hash.update(&token.to_le_bytes());
                hash.update(&weight.to_le_bytes());
            }
        }
        let soft = self.documents.iter().filter_map(|document| document.soft.as_ref());
        for (token, probability) in soft.flat_map(|soft| soft.ids.iter().zip(&soft.probabilities)) {
            hash.update(&token.to_le_bytes());
            hash.update(&probability.to_le_bytes());
        }
        for param in params {
            hash.update(format!("{}{:?}", param.name, param.shape).as_bytes());
        }
        hash.update(frozen.unwrap_or_default().as_bytes());
        hash.finalize().to_hex().to_string()
    }

    /// Ids of the samples of a step, each once.
    pub(crate) fn sample_ids(&self, step: &[usize]) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for &index in step.iter().flat_map(|&row| &self.rows[row]) {
            let id = &self.documents[index].sample_id;
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }
}
