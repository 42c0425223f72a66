//! From logits to a token.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Decoding;

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
        total = keep_nucleus(&mut candidates, total * f64::from(decoding.top_p));
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
    let mut best = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if logit > logits[best] || logits[best].is_nan() {
            best = index;
        }
    }
    best
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
    let floor = decoding.min_p;
    let weigh = |(token, &logit): (usize, &f32)| (token as u32, ((logit - best) / decoding.temperature).exp());
    let mut candidates: Vec<(u32, f32)> =
        logits.iter().enumerate().map(weigh).filter(|&(_, weight)| weight > 0.0 && weight >= floor).collect();
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

/// Keeps the heaviest tokens until they reach `enough`, at least one; returns their weight.
fn keep_nucleus(candidates: &mut Vec<(u32, f32)>, enough: f64) -> f64 {
    sort(candidates);
    let mut total = 0.0;
    let mut kept = 0;
    for &(_, weight) in candidates.iter() {
        total += f64::from(weight);
        kept += 1;
        if total >= enough {
            break;
        }
    }
    candidates.truncate(kept);
    total
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
    fn greedy_takes_the_first_largest_and_the_penalty_moves_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let greedy = Decoding::default();
        assert_eq!(choose(&mut [1.0, 3.0, 3.0, f32::NAN], &greedy, &[], &mut rng), 1);
        assert_eq!(choose(&mut [f32::NAN, 3.0], &greedy, &[], &mut rng), 1);
        let penalized = Decoding { repetition_penalty: 2.0, ..Decoding::default() };
        assert_eq!(choose(&mut [1.0, 3.0, 2.0], &penalized, &[1, 1], &mut rng), 2);
    }
}
