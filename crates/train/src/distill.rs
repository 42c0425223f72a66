//! A teacher's distribution over the next token, from what its server stored or from its weights.
//!
//! Stored log-probabilities are texts of tokens. They are laid over the rendered sample: where a token of the teacher
//! begins and ends as one of the student's does, its alternatives are the student's tokens of the same text. Where the two
//! cut the text differently nothing is known, and the student learns from the token alone.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use potstill_data::{Sample, Scalar};
use potstill_model::{CausalLm, SequenceLayout, Tokenizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::rows::{Document, SoftTokens};
use crate::student::Student;

/// Column of a sample's `meta` with the log-probabilities that the teacher's server gave, as JSON.
pub const LOGPROBS: &str = "logprobs";

/// Rows of logits held at a time.
const ROWS: usize = 64;

/// Learn a teacher's distribution over tokens beside the tokens themselves (Hinton et al. 2015).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DistillConfig {
    /// Share of the divergence from the teacher in the loss; the tokens' cross-entropy has the rest.
    pub weight: f64,
    /// Model folder or GGUF file of a teacher with the student's tokenizer. Without it the log-probabilities are taken
    /// from the samples, where the teacher's server has been asked for them (`top_logprobs`).
    pub teacher: Option<String>,
    /// Most probable tokens kept per position; the rest of the vocabulary counts as one more.
    pub top: usize,
}

impl Default for DistillConfig {
    fn default() -> Self {
        Self { weight: 0.5, teacher: None, top: 20 }
    }
}

impl DistillConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        if !(self.weight > 0.0 && self.weight <= 1.0) {
            return Err(TrainError::config("distill.weight", self.weight, "it must be above 0 and at most 1"));
        }
        if self.top == 0 || self.top > 1024 {
            return Err(TrainError::config("distill.top", self.top, "it must be between 1 and 1024"));
        }
        Ok(())
    }
}

/// One token of a teacher, as its server told of it.
#[derive(Debug, Deserialize)]
struct Stored {
    token: String,
    logprob: f64,
    #[serde(default)]
    top: Vec<(String, f64)>,
}

/// The student's tokens by their text.
pub(crate) struct Vocabulary<'a> {
    tokenizer: &'a Tokenizer,
    by_text: HashMap<String, u32>,
}

impl<'a> Vocabulary<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        let mut by_text = HashMap::new();
        for id in 0..tokenizer.vocab_size() as u32 {
            // Parts of a character decode to U+FFFD and have no text of their own.
            if let Ok(text) = tokenizer.decode(&[id], false)
                && !text.is_empty()
                && !text.contains('\u{FFFD}')
            {
                by_text.entry(text).or_insert(id);
            }
        }
        Self { tokenizer, by_text }
    }

    /// Adds the teacher's stored distributions to a document, and tells at how many trained tokens there is one.
    ///
    /// # Errors
    /// If the column holds something else than log-probabilities.
    pub(crate) fn add_stored(&self, sample: &Sample, document: &mut Document, top: usize) -> Result<usize> {
        let Some(Scalar::Text(text)) = sample.meta.get(LOGPROBS) else { return Ok(0) };
        let stored: Vec<Stored> = serde_json::from_str(text).map_err(|error| TrainError::Render {
            sample_id: sample.sample_id.clone(),
            reason: format!("its column {LOGPROBS} holds no log-probabilities: {error}"),
        })?;
        let pieces: Vec<String> = document.tokens.iter().map(|&id| self.tokenizer.decode(&[id], false)).collect::<Result<_, _>>()?;
        let whole = pieces.concat();
        let said: String = stored.iter().map(|token| token.token.as_str()).collect();
        let Some(mut at) = whole.rfind(said.trim_end()).filter(|_| !said.trim().is_empty()) else { return Ok(0) };
        let mut starts = HashMap::new();
        let mut start = 0;
        for (index, piece) in pieces.iter().enumerate() {
            starts.insert(start, index);
            start += piece.len();
        }
        let positions = document.tokens.len();
        let mut soft = SoftTokens { top, ids: vec![0; positions * top], probabilities: vec![0.0; positions * top] };
        let mut known = 0;
        for token in &stored {
            let found = starts.get(&at).copied().filter(|&index| pieces[index] == token.token && document.weights[index] != 0.0);
            if let Some(index) = found {
                known += 1;
                let place = index * top..(index + 1) * top;
                self.fill(token, document.tokens[index], &mut soft.ids[place.clone()], &mut soft.probabilities[place]);
            }
            at += token.token.len();
        }
        document.soft = (known > 0).then_some(soft);
        Ok(known)
    }

    /// The most probable tokens of a place, the drawn one among them.
    fn fill(&self, token: &Stored, drawn: u32, ids: &mut [u32], probabilities: &mut [f32]) {
        let mut all: Vec<(u32, f64)> = vec![(drawn, token.logprob)];
        for (text, logprob) in &token.top {
            if let Some(&id) = self.by_text.get(text)
                && all.iter().all(|(other, _)| *other != id)
            {
                all.push((id, *logprob));
            }
        }
        all.retain(|(_, logprob)| logprob.is_finite() && *logprob <= 1e-6);
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for ((id, probability), (found, logprob)) in ids.iter_mut().zip(probabilities).zip(all) {
            (*id, *probability) = (found, logprob.exp() as f32);
        }
    }
}

/// Adds the distributions of a local teacher at every trained token.
///
/// # Errors
/// If the teacher's tokenizer is another, or a document is longer than its context.
pub(crate) fn add_local<'a>(
    teacher: &Student,
    student: &Student,
    mut documents: impl Iterator<Item = &'a mut Document>,
    top: usize,
    device: &Device,
) -> Result<()> {
    let (ours, theirs) = (&student.tokenizer, &teacher.tokenizer);
    let size = ours.vocab_size();
    let differs = (0..size as u32).find(|&id| ours.id_to_token(id) != theirs.id_to_token(id));
    if let Some(id) = differs {
        let limit = format!(
            "its tokenizer differs from the student's: token {id} is {:?} there and {:?} here",
            theirs.id_to_token(id).unwrap_or_default(),
            ours.id_to_token(id).unwrap_or_default()
        );
        return Err(TrainError::config("distill.teacher", "set", limit));
    }
    let model = teacher.model.clone().to_device(device).valid();
    documents.try_for_each(|document| {
        document.soft = Some(local(&model, document, top.min(size), size, device)?);
        Ok(())
    })
}

fn local(model: &CausalLm, document: &Document, top: usize, vocab: usize, device: &Device) -> Result<SoftTokens> {
    let inputs = document.tokens.len() - 1;
    let tokens: Vec<i32> = document.tokens[..inputs].iter().map(|&token| token as i32).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [1, inputs]), device);
    let hidden = model.forward_hidden(tokens, &SequenceLayout::flat(&[inputs]))?;
    let positions = document.tokens.len();
    let mut soft = SoftTokens { top, ids: vec![0; positions * top], probabilities: vec![0.0; positions * top] };
    for start in (0..inputs).step_by(ROWS) {
        let count = ROWS.min(inputs - start);
        let logits = crate::params::to_vec(model.lm_head(hidden.clone().narrow(0, start, count)));
        let width = logits.len() / count;
        for (row, logits) in logits.chunks_exact(width).enumerate() {
            let position = start + row + 1;
            if document.weights[position] != 0.0 {
                let place = position * top..(position + 1) * top;
                // Rows beyond the vocabulary are padding of the embedding; nobody is to learn them.
                most_probable(&logits[..vocab.min(width)], &mut soft.ids[place.clone()], &mut soft.probabilities[place]);
            }
        }
    }
    Ok(soft)
}

/// The most probable tokens of a row of logits, best first.
fn most_probable(logits: &[f32], ids: &mut [u32], probabilities: &mut [f32]) {
    let shift = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&logit| f64::from(logit - shift).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let best = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let top = ids.len().min(order.len());
    if top < order.len() {
        order.select_nth_unstable_by(top, best);
    }
    order.truncate(top);
    order.sort_unstable_by(best);
    for ((id, probability), token) in ids.iter_mut().zip(probabilities).zip(order) {
        (*id, *probability) = (token, (f64::from(logits[token as usize] - shift).exp() / total) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_tokens_come_first_with_their_probabilities() {
        let logits = [0.0, 3.0_f32.ln(), f32::NEG_INFINITY, 0.0];
        let (mut ids, mut probabilities) = ([9; 2], [0.0; 2]);
        most_probable(&logits, &mut ids, &mut probabilities);
        assert_eq!(ids, [1, 0]);
        assert!((probabilities[0] - 0.6).abs() < 1e-6 && (probabilities[1] - 0.2).abs() < 1e-6);
    }
}
