//! What the loss is made of: targets, weights, and the terms beyond plain cross-entropy.

use std::sync::Arc;

use crate::{Error, Result};

/// Terms of the loss beyond cross-entropy; by default there are none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossTerms {
    /// Share of the target's probability that is spread evenly over the vocabulary.
    pub label_smoothing: f32,
    /// Factor on the squared logarithm of the softmax's denominator.
    pub z_loss: f32,
}

/// A teacher's distribution over the next token for each row: its most probable tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftTargets {
    /// Tokens per row, `[n · top]`; a row that knows fewer repeats any token with probability 0.
    pub ids: Arc<[u32]>,
    /// Their probabilities, `[n · top]`. A row of zeros has no teacher: it learns from its target alone.
    pub probabilities: Arc<[f32]>,
    /// Tokens per row.
    pub top: usize,
    /// Share of the divergence in the loss, 0 to 1; the target's cross-entropy has the rest.
    pub weight: f32,
}

impl SoftTargets {
    /// The known tokens of a row and their probabilities; none if the row has no teacher.
    #[inline(always)]
    pub(crate) fn row(&self, at: usize) -> Option<(&[u32], &[f32])> {
        let part = at * self.top..(at + 1) * self.top;
        let probabilities = &self.probabilities[part.clone()];
        probabilities.iter().any(|&q| q > 0.0).then(|| (&self.ids[part], probabilities))
    }

    /// KL(q ‖ p) over the known tokens and the rest as one outcome, and the ratio of the rests, `q_rest / p_rest`.
    #[inline(always)]
    pub(crate) fn divergence(ids: &[u32], probabilities: &[f32], no_rest: f32, p: impl Fn(u32) -> f32) -> (f32, f32) {
        let (mut sum, mut known_q, mut known_p) = (0.0f32, 0.0f32, 0.0f32);
        for (&id, &q) in ids.iter().zip(probabilities) {
            if q > 0.0 {
                let p = p(id).max(f32::MIN_POSITIVE);
                sum += q * (q / p).ln();
                (known_q, known_p) = (known_q + q, known_p + p);
            }
        }
        let (rest_q, rest_p) = (1.0 - known_q, (1.0 - known_p).max(no_rest));
        if rest_q <= no_rest {
            return (sum, 0.0);
        }
        (sum + rest_q * (rest_q / rest_p).ln(), rest_q / rest_p)
    }
}

/// Targets and their weights, one per row of hidden states.
#[derive(Debug, Clone)]
pub struct Targets {
    /// The token to predict.
    pub ids: Arc<[u32]>,
    /// Weight of the row's loss.
    pub weights: Arc<[f32]>,
    /// Terms beyond cross-entropy.
    pub terms: LossTerms,
    /// A teacher's distributions.
    pub soft: Option<SoftTargets>,
}

impl Targets {
    /// Plain cross-entropy.
    #[must_use]
    pub fn plain(ids: &[u32], weights: &[f32]) -> Self {
        Self { ids: ids.into(), weights: weights.into(), terms: LossTerms::default(), soft: None }
    }

    /// Checks the counts and the tokens.
    pub(crate) fn check(&self, rows: usize, vocab: usize) -> Result<()> {
        if rows != self.ids.len() || rows != self.weights.len() {
            let (targets, weights) = (self.ids.len(), self.weights.len());
            return Err(Error::Input(format!("{rows} hidden states, but {targets} targets and {weights} weights")));
        }
        let soft: &[u32] = self.soft.as_ref().map_or(&[], |soft| &soft.ids);
        if let Some(token) = self.ids.iter().chain(soft).find(|&&token| token as usize >= vocab) {
            return Err(Error::Input(format!("token {token} is outside the vocabulary of {vocab}")));
        }
        match &self.soft {
            Some(soft) if soft.ids.len() != rows * soft.top || soft.probabilities.len() != rows * soft.top => Err(Error::Input(format!(
                "{rows} rows of {} tokens of a teacher, but {} tokens and {} probabilities",
                soft.top,
                soft.ids.len(),
                soft.probabilities.len()
            ))),
            _ => Ok(()),
        }
    }
}
