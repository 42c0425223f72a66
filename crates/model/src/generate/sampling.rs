//! From logits to a token.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Decoding, TokenLogprob};
use crate::kernels::simd::{self, vectorized};

/// Tokens this much less probable than the best one (as a natural logarithm) are never drawn: all of a vocabulary of them
/// together are less probable than f32 can tell from nothing.
const NEGLIGIBLE: f32 = 30.0;

/// Chooses the next token; `logits` is one row and is used up. `seen` are the tokens of prompt and answer so far.
pub(crate) fn choose(logits: &mut [f32], decoding: &Decoding, seen: &[u32], rng: &mut ChaCha8Rng) -> u32 {
    if decoding.repetition_penalty != 1.0 {
        penalize(logits, decoding.repetition_penalty, seen);
    }
    let best = argmax(logits);
    if decoding.temperature == 0.0 {
        return best as u32;
    }
    let mut candidates = weights(logits, logits[best], decoding);
    let mut total: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
    if decoding.top_p < 1.0 {
        total = keep_nucleus(&mut candidates, total, f64::from(decoding.top_p));
    }
    let mut at = rng.random::<f64>() * total;
    for &(token, weight) in &candidates {
        at -= f64::from(weight);
        if at < 0.0 {
            return token;
        }
    }
    candidates.last().map_or(best as u32, |&(token, _)| token)
}

/// The first of the largest logits; NaN is never chosen.
fn argmax(logits: &[f32]) -> usize {
    let best = largest(logits);
    logits.iter().position(|&logit| logit == best).unwrap_or(0)
}

vectorized! {
    fn largest(logits: &[f32]) -> f32 {
        simd::max(logits)
    }
}

vectorized! {
    /// Σ e^(logit − shift).
    fn exp_sum(logits: &mut [f32], shift: f32) -> f32 {
        simd::exp_sub_sum(logits, shift)
    }
}

/// The model's own log-probabilities at one place, before temperature and penalties.
pub(crate) struct Scores {
    logits: Vec<f32>,
    log_total: f32,
    top: usize,
}

impl Scores {
    pub(crate) fn new(logits: &[f32], top: usize) -> Self {
        let shift = largest(logits);
        let log_total = shift + exp_sum(&mut logits.to_vec(), shift).ln();
        Self { logits: logits.to_vec(), log_total, top }
    }

    pub(crate) fn of(&self, token: u32) -> TokenLogprob {
        let logprob = |id: u32| self.logits[id as usize] - self.log_total;
        let mut order: Vec<u32> = (0..self.logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| self.logits[*b as usize].total_cmp(&self.logits[*a as usize]).then(a.cmp(b));
        let top = self.top.min(order.len());
        if top > 0 && top < order.len() {
            order.select_nth_unstable_by(top - 1, by_logit);
        }
        order.truncate(top);
        order.sort_unstable_by(by_logit);
        TokenLogprob { id: token, logprob: logprob(token), top: order.into_iter().map(|id| (id, logprob(id))).collect() }
    }
}

/// Each distinct seen token once, as in Keskar et al. 2019 (arXiv:1909.05858).
fn penalize(logits: &mut [f32], penalty: f32, seen: &[u32]) {
    let mut distinct = seen.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    for token in distinct {
        let logit = &mut logits[token as usize];
        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
    }
}

/// Tokens that pass top-k and min-p with `e^((logit − best)/temperature)`; in vocabulary order unless top-k sorted them.
fn weights(logits: &[f32], best: f32, decoding: &Decoding) -> Vec<(u32, f32)> {
    let (floor, lowest) = (decoding.min_p, best - NEGLIGIBLE * decoding.temperature);
    let near = logits.iter().enumerate().filter(|&(_, &logit)| logit >= lowest);
    let weigh = |(token, &logit): (usize, &f32)| (token as u32, ((logit - best) / decoding.temperature).exp());
    let mut candidates: Vec<(u32, f32)> = near.map(weigh).filter(|&(_, weight)| weight >= floor).collect();
    if decoding.top_k > 0 && decoding.top_k < candidates.len() {
        sort(&mut candidates);
        candidates.truncate(decoding.top_k);
    }
    candidates
}

/// Falling weight; equal ones in vocabulary order, so that the outcome is one on every machine.
fn sort(candidates: &mut [(u32, f32)]) {
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
}

/// Keeps the heaviest tokens until they reach the share `top_p` of `total`, at least one; returns their weight.
fn keep_nucleus(candidates: &mut Vec<(u32, f32)>, total: f64, top_p: f64) -> f64 {
    // Tokens below this are together lighter than what the nucleus leaves out, so it never reaches them: nothing to sort.
    let lightest = total * (1.0 - top_p) / candidates.len() as f64;
    candidates.retain(|&(_, weight)| f64::from(weight) >= lightest);
    sort(candidates);
    let mut reached = 0.0;
    let mut kept = 0;
    for &(_, weight) in candidates.iter() {
        reached += f64::from(weight);
        kept += 1;
        if reached >= total * top_p {
            break;
        }
    }
    candidates.truncate(kept);
    reached
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn sampled(decoding: &Decoding) -> Vec<usize> {
        let mut counts = vec![0; 4];
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..20_000 {
            let mut logits = [0.4f32, 0.3, 0.2, 0.1].map(f32::ln);
            counts[choose(&mut logits, decoding, &[], &mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let decoding = Decoding { temperature: 1.0, ..Decoding::default() };
        for (count, expected) in sampled(&decoding).into_iter().zip([8000.0, 6000.0, 4000.0, 2000.0]) {
            assert!((count as f64 - expected).abs() < 300.0, "{count} instead of about {expected}");
        }
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_the_tail() {
        let sharp = |decoding: Decoding| sampled(&Decoding { temperature: 1.0, ..decoding });
        let cut = |counts: Vec<usize>| counts.iter().filter(|&&count| count > 0).count();
        assert_eq!(cut(sharp(Decoding { top_k: 2, ..Decoding::default() })), 2);
        assert_eq!(cut(sharp(Decoding { top_p: 0.65, ..Decoding::default() })), 2);
        assert_eq!(cut(sharp(Decoding { top_p: 0.01, ..Decoding::default() })), 1);
        assert_eq!(cut(sharp(Decoding { min_p: 0.45, ..Decoding::default() })), 3);
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let scores = Scores::new(&[0.1f32, 0.4, 0.2, 0.3].map(f32::ln), 2);
        let found = scores.of(2);
        assert!((found.logprob - 0.2f32.ln()).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [1, 3]);
        assert!((found.top[0].1 - 0.4f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn greedy_takes_the_first_largest_and_the_penalty_moves_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let greedy = Decoding::default();
        assert_eq!(choose(&mut [1.0, 3.0, 3.0, f32::NAN], &greedy, &[], &mut rng), 1);
        assert_eq!(choose(&mut [f32::NAN, 3.0], &greedy, &[], &mut rng), 1);
        let penalized = Decoding { repetition_penalty: 2.0, ..Decoding::default() };
        assert_eq!(choose(&mut [1.0, 3.0, 2.0], &penalized, &[1, 1], &mut rng), 2);
    }
}
