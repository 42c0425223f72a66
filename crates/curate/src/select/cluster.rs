//! Problems grouped by what they ask: k-means over vectors from an embedding model, or over their words.
//!
//! The centres are fitted on a bounded sample drawn by the seed and the problems' ids, so that memory does not grow with
//! the set and neither the sample nor the clusters depend on the rows' order; then every problem is placed.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::CurateError;
use crate::shingles::words;
use crate::text::{seeded_rank, text_key};

/// Into how many clusters, and by which vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Clusters; as many as there are problems, if those are fewer.
    #[schemars(range(min = 2, max = 4096))]
    pub count: u32,
    /// A file with a vector for every problem; without it the words of the prompts are compared, which needs no model.
    pub embeddings: Option<Embeddings>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self { count: 50, embeddings: None }
    }
}

impl ClusterConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Fewer than two clusters, or more than 4,096.
    pub fn check(&self) -> Result<(), CurateError> {
        if (2..=4096).contains(&self.count) {
            return Ok(());
        }
        Err(CurateError::OutOfRange { setting: "clusters.count", limit: "from 2 to 4096".into(), found: self.count.to_string() })
    }
}

/// Where vectors come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embeddings {
    /// A Parquet file, relative to the pipeline file; `*` stands for any part of its name. It may be the one that the
    /// problems come from.
    pub path: String,
    /// The column with the problems' ids.
    #[serde(default = "problem_id")]
    pub id: String,
    /// The column with the vectors: lists of numbers, all of one length.
    #[serde(default = "embedding")]
    pub column: String,
}

fn problem_id() -> String {
    "problem_id".to_owned()
}
fn embedding() -> String {
    "embedding".to_owned()
}

/// Numbers of the sampled vectors together, at most: 64 MB.
const SAMPLE_NUMBERS: usize = 16 << 20;
/// Sampled items, at most.
const SAMPLE_ITEMS: usize = 20_000;
/// Rounds of k-means, at most; it ends before when no problem changes its cluster.
const ROUNDS: usize = 25;
/// Numbers in the vector of a text's words.
const WORD_NUMBERS: usize = 256;

/// A sample of bounded size that does not depend on the order in which items come.
#[derive(Debug)]
pub struct Drawn<T> {
    seed: u64,
    most: usize,
    kept: BTreeMap<(u64, u128), T>,
}

impl<T> Drawn<T> {
    /// For items of `numbers` numbers each.
    #[must_use]
    pub fn new(seed: u64, numbers: usize) -> Self {
        Self { seed, most: (SAMPLE_NUMBERS / numbers.max(1)).clamp(1, SAMPLE_ITEMS), kept: BTreeMap::new() }
    }

    /// Draws the item of an id, unless others come before it. A second item of the same id changes nothing.
    pub fn offer(&mut self, id: &str, item: impl FnOnce() -> T) {
        let place = (seeded_rank(self.seed, "cluster", id), text_key(id));
        let full = self.kept.len() >= self.most;
        if self.kept.contains_key(&place) || (full && self.kept.last_key_value().is_some_and(|(last, _)| *last < place)) {
            return;
        }
        self.kept.insert(place, item());
        if full {
            self.kept.pop_last();
        }
    }

    /// The items in their drawn order.
    pub fn items(self) -> impl Iterator<Item = T> {
        self.kept.into_values()
    }
}

/// Where a problem lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Its cluster, from 0.
    pub cluster: u32,
    /// How far it is from the cluster's centre, from 0 (the cosine distance).
    pub distance: f32,
}

/// The centres of clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Centres {
    numbers: usize,
    /// One unit vector after the other.
    centres: Vec<f32>,
}

impl Centres {
    /// Spherical k-means with seeded k-means++ starts over vectors of one length; of `count` centres those remain that
    /// different vectors can fill.
    #[must_use]
    pub fn fit(vectors: impl Iterator<Item = Vec<f32>>, count: usize, seed: u64) -> Self {
        let vectors: Vec<Vec<f32>> = vectors.map(unit).collect();
        let numbers = vectors.first().map_or(0, Vec::len);
        let mut centres = Self { numbers, centres: Vec::new() };
        centres.start(&vectors, count, seed);
        let mut places = vec![u32::MAX; vectors.len()];
        for _ in 0..ROUNDS {
            let now: Vec<u32> = vectors.iter().map(|v| centres.nearest(v).cluster).collect();
            if now == places {
                break;
            }
            places = now;
            centres.move_to_means(&vectors, &places);
        }
        centres
    }

    /// The first centre is the first vector; each further one is drawn with a chance that grows with its squared
    /// distance to those before.
    fn start(&mut self, vectors: &[Vec<f32>], count: usize, seed: u64) {
        let Some(first) = vectors.first() else { return };
        self.centres.extend(first);
        let mut far: Vec<f64> = vectors.iter().map(|v| f64::from(apart(v, first)).powi(2)).collect();
        for n in 1..count {
            let sum: f64 = far.iter().sum();
            if sum <= 1e-9 {
                return;
            }
            let share = seeded_rank(seed, "centre", &n.to_string()) as f64 / u64::MAX as f64;
            let mut left = share * sum;
            let reached = |f: &f64| {
                left -= f;
                left <= 0.0
            };
            let Some(at) = far.iter().position(reached).or_else(|| far.iter().rposition(|f| *f > 0.0)) else { return };
            self.centres.extend(&vectors[at]);
            for (f, v) in far.iter_mut().zip(vectors) {
                *f = f.min(f64::from(apart(v, &vectors[at])).powi(2));
            }
        }
    }

    /// A cluster that lost all its vectors keeps its centre.
    fn move_to_means(&mut self, vectors: &[Vec<f32>], places: &[u32]) {
        let mut sums = vec![0.0_f32; self.centres.len()];
        for (vector, place) in vectors.iter().zip(places) {
            let from = *place as usize * self.numbers;
            sums[from..from + self.numbers].iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
        }
        for (centre, sum) in self.centres.chunks_exact_mut(self.numbers.max(1)).zip(sums.chunks_exact(self.numbers.max(1))) {
            let length = dot(sum, sum).sqrt();
            if length > 0.0 {
                centre.iter_mut().zip(sum).for_each(|(c, s)| *c = s / length);
            }
        }
    }

    /// Clusters that there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.centres.len() / self.numbers.max(1)
    }

    /// The nearest centre; of equally near ones the first.
    #[must_use]
    pub fn place(&self, vector: &[f32]) -> Placed {
        self.nearest(&unit(vector.to_vec()))
    }

    fn nearest(&self, vector: &[f32]) -> Placed {
        let mut best = Placed { cluster: 0, distance: f32::INFINITY };
        for (cluster, centre) in self.centres.chunks_exact(self.numbers.max(1)).enumerate() {
            let distance = apart(vector, centre);
            if distance < best.distance {
                best = Placed { cluster: cluster as u32, distance };
            }
        }
        best
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = dot(&vector, &vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// The cosine distance of unit vectors.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    (1.0 - dot(a, b)).max(0.0)
}

/// Eight sums side by side, so that the processor adds them together; always in the same order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (mut sums, (a_parts, b_parts)) = ([0.0_f32; 8], (a.chunks_exact(8), b.chunks_exact(8)));
    let rest: f32 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_parts.zip(b_parts) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// How many texts hold each word: what a word tells of a text.
#[derive(Debug, Default)]
pub struct Lexicon {
    held_by: FxHashMap<u64, u32>,
    texts: u32,
    scratch: Vec<u64>,
}

impl Lexicon {
    /// Words of a text that say what it is about: no numbers and no signs.
    fn words_of(text: &str, out: &mut Vec<u64>) {
        out.clear();
        words(text, |hash, from, to| {
            if text[from..to].chars().next().is_some_and(char::is_alphabetic) {
                out.push(hash);
            }
        });
    }

    /// Takes in a text.
    pub fn observe(&mut self, text: &str) {
        self.texts += 1;
        let mut found = std::mem::take(&mut self.scratch);
        Self::words_of(text, &mut found);
        found.sort_unstable();
        found.dedup();
        for word in &found {
            *self.held_by.entry(*word).or_default() += 1;
        }
        self.scratch = found;
    }

    /// The words of a text as a vector: each weighs the logarithm of how rare it is, and falls on one of 256 numbers with
    /// a sign by its hash. A word that stands in one text alone joins it to no other and weighs nothing.
    #[must_use]
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let (mut vector, mut found) = (vec![0.0; WORD_NUMBERS], Vec::new());
        Self::words_of(text, &mut found);
        for word in found {
            let held_by = self.held_by.get(&word).copied().filter(|texts| *texts > 1).unwrap_or(self.texts);
            let weight = (f64::from(self.texts.max(1)) / f64::from(held_by.max(1))).ln() as f32;
            let sign = if word >> 63 == 0 { 1.0 } else { -1.0 };
            vector[word as usize % WORD_NUMBERS] += sign * weight;
        }
        vector
    }

    /// The length of its vectors.
    #[must_use]
    pub fn numbers() -> usize {
        WORD_NUMBERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three directions with a little noise each.
    fn vectors() -> Vec<Vec<f32>> {
        let noise = |n: usize, d: usize| (seeded_rank(n as u64, "noise", &d.to_string()) % 100) as f32 / 1000.0;
        (0..90).map(|n| (0..12).map(|d| f32::from(u8::from(d == n % 3)) + noise(n, d)).collect()).collect()
    }

    #[test]
    fn clusters_are_found_and_do_not_depend_on_the_order() {
        let all = vectors();
        let fit = |order: &mut dyn Iterator<Item = usize>| {
            let mut drawn = Drawn::new(7, 12);
            order.for_each(|n| drawn.offer(&n.to_string(), || all[n].clone()));
            Centres::fit(drawn.items(), 3, 7)
        };
        let centres = fit(&mut (0..90));
        assert_eq!(centres, fit(&mut (0..90).rev()));
        assert_eq!(centres.count(), 3);
        let of: Vec<u32> = all.iter().map(|v| centres.place(v).cluster).collect();
        assert!((0..90).all(|n| of[n] == of[n % 3]) && of[0] != of[1] && of[1] != of[2] && of[0] != of[2], "{of:?}");
        assert!(all.iter().all(|v| centres.place(v).distance < 0.1));
    }

    #[test]
    fn fewer_vectors_than_clusters_and_none_at_all() {
        let same = Centres::fit(std::iter::repeat_n(vec![1.0, 0.0], 5), 4, 1);
        assert_eq!((same.count(), same.place(&[2.0, 0.0])), (1, Placed { cluster: 0, distance: 0.0 }));
        assert_eq!(Centres::fit(std::iter::empty(), 4, 1).place(&[1.0]).cluster, 0);
        assert_eq!(Centres::fit([vec![0.0, 0.0], vec![0.0, 1.0]].into_iter(), 2, 1).count(), 2);
    }

    #[test]
    fn a_sample_is_bounded_and_keeps_the_first_of_an_id() {
        let mut drawn = Drawn::new(1, SAMPLE_NUMBERS / 10);
        (0..1000).for_each(|n| drawn.offer(&(n / 2).to_string(), || n));
        let items: Vec<i32> = drawn.items().collect();
        assert_eq!(items.len(), 10);
        assert!(items.iter().all(|n| n % 2 == 0));
    }
}
