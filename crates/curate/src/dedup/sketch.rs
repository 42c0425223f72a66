//! MinHash sketches and their bands.
//!
//! The sketch is the *fast similarity sketch* of Dahlgaard, Knudsen and Thorup (FOCS 2017): bins are filled by
//! rehashing all n-grams in rounds until none is empty. Each bin of two sketches agrees with the chance of their
//! Jaccard similarity J, as with k-permutation MinHash, but at a cost of O(n + k log k) instead of O(n·k).

use crate::shingles::mix;

/// Most bins of a sketch.
const MAX_BINS: usize = 128;
/// The chance that a pair at the threshold shares a band.
const RECALL: f64 = 0.99;

/// The shape of locality-sensitive hashing: texts of similarity J share one of `bands` bands of `rows` bins with the
/// chance `1 - (1 - J^rows)^bands`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bands {
    /// Number of bands.
    pub bands: usize,
    /// Bins in each.
    pub rows: usize,
}

impl Bands {
    /// The most selective shape (most rows) that finds a pair of similarity `threshold` with a chance of 0.99 and
    /// needs no more than 128 bins.
    #[must_use]
    pub fn of(threshold: f64) -> Self {
        let bands = |rows: usize| {
            let band = threshold.powi(rows as i32);
            if band >= 1.0 { 1.0 } else { ((1.0 - RECALL).ln() / (1.0 - band).ln()).ceil().max(1.0) }
        };
        let fits = |rows: &usize| bands(*rows) * *rows as f64 <= MAX_BINS as f64;
        let rows = (1..=16).rev().find(fits).unwrap_or(1);
        Self { bands: bands(rows).min(MAX_BINS as f64) as usize, rows }
    }

    /// Appends one key per band for the n-grams of a text (repetitions do not matter). Nothing for no n-grams.
    pub fn keys(&self, shingles: &[u64], bins: &mut Vec<u64>, out: &mut Vec<u64>) {
        if shingles.is_empty() {
            return;
        }
        sketch(shingles, self.bands * self.rows, bins);
        let key = |(band, values): (usize, &[u64])| values.iter().fold(band as u64, |key, v| mix(key ^ v).wrapping_add(*v));
        out.extend(bins.chunks_exact(self.rows).enumerate().map(key));
    }
}

/// Fills `bins` with the fast similarity sketch of a non-empty list of hashes.
fn sketch(shingles: &[u64], size: usize, bins: &mut Vec<u64>) {
    bins.clear();
    bins.resize(size, u64::MAX);
    let mut empty = size;
    // The first `size` rounds throw each n-gram into a bin at random, the others fill one bin each: none stays empty.
    for round in 0..2 * size {
        let salt = mix(round as u64 + 1);
        for shingle in shingles {
            let hash = mix(shingle ^ salt);
            let bin = if round < size { ((hash >> 32) as usize * size) >> 32 } else { round - size };
            // A value of an earlier round always wins.
            let value = ((round as u64) << 32) | (hash & 0xffff_ffff);
            if value < bins[bin] {
                empty -= usize::from(bins[bin] == u64::MAX);
                bins[bin] = value;
            }
        }
        if empty == 0 {
            return;
        }
    }
}

/// The different n-grams of a text in ascending order, at 32 bits each.
#[must_use]
pub(crate) fn set_of(shingles: &[u64]) -> Box<[u32]> {
    let mut set: Vec<u32> = shingles.iter().map(|s| (s >> 32) as u32).collect();
    set.sort_unstable();
    set.dedup();
    set.into_boxed_slice()
}

/// The exact Jaccard similarity of two ascending sets, if it reaches `threshold`.
#[must_use]
pub(crate) fn jaccard(a: &[u32], b: &[u32], threshold: f64) -> Option<f64> {
    let (small, large) = (a.len().min(b.len()), a.len().max(b.len()));
    if large == 0 || (small as f64) < threshold * large as f64 {
        return None;
    }
    let (mut x, mut y, mut common) = (0, 0, 0);
    while x < a.len() && y < b.len() {
        let (p, q) = (a[x], b[y]);
        common += usize::from(p == q);
        x += usize::from(p <= q);
        y += usize::from(q <= p);
    }
    let similarity = common as f64 / (small + large - common) as f64;
    (similarity >= threshold).then_some(similarity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_follows_from_the_threshold() {
        assert_eq!(Bands::of(0.7), Bands { bands: 17, rows: 4 });
        assert_eq!(Bands::of(0.9), Bands { bands: 11, rows: 10 });
        assert_eq!(Bands::of(1.0), Bands { bands: 1, rows: 16 });
        for threshold in [0.3, 0.5, 0.6, 0.7, 0.8, 0.95] {
            let Bands { bands, rows } = Bands::of(threshold);
            assert!(bands * rows <= MAX_BINS);
            assert!(1.0 - (1.0 - threshold.powi(rows as i32)).powi(bands as i32) >= RECALL - 1e-9, "{threshold}");
        }
    }

    /// The share of agreeing bins estimates J, for texts shorter and longer than the sketch.
    #[test]
    fn bins_agree_with_the_chance_of_jaccard() {
        for (common, own) in [(5, 1), (30, 10), (400, 100), (100, 300)] {
            let truth = f64::from(common) / f64::from(common + 2 * own);
            let (mut agree, mut all) = (0, 0);
            for trial in 0..200_u64 {
                let element = |n: u32| mix((trial << 32) | u64::from(n));
                let a: Vec<u64> = (0..common + own).map(element).collect();
                let b: Vec<u64> = (0..common).chain(common + own..common + 2 * own).map(element).collect();
                let (mut x, mut y) = (Vec::new(), Vec::new());
                sketch(&a, 64, &mut x);
                sketch(&b, 64, &mut y);
                agree += x.iter().zip(&y).filter(|(p, q)| p == q).count();
                all += 64;
            }
            let estimate = agree as f64 / f64::from(all);
            assert!((estimate - truth).abs() < 0.03, "J = {truth}, found {estimate}");
        }
    }

    #[test]
    fn jaccard_is_exact() {
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4], 0.5), Some(0.5));
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4], 0.51), None);
        assert_eq!(jaccard(&[], &[], 0.0), None);
    }
}
