//! Duplicates: equal texts, and near-duplicates by MinHash-LSH with every candidate verified by exact Jaccard.
//!
//! Rows are visited best first; a row is dropped if it is similar to a row *kept* before it. So every dropped row has a
//! kept one beside it that it repeats, no two kept rows repeat each other (but for what LSH misses: at most 1 % of
//! pairs just at the threshold), and the outcome depends on the rows' contents and ids, not on their order.

mod sketch;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use potstill_data::{Attempt, Message, Problem, Sample};

use crate::columns::{Keyed, OrderBy, Value, check_column, natural};
use crate::decision::{Decision, Decisions};
use crate::error::CurateError;
use crate::shingles::{MAX_NGRAM, shingles};
use crate::text::{normalise, text_key, whole};

pub use sketch::Bands;
pub(crate) use sketch::{jaccard, set_of};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Prompts: a problem goes or stays with all its rows.
    Prompt,
    /// Replies, with their reasoning.
    Response,
    /// Prompt and reply as one text.
    Both,
}

/// When two texts count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Equal but for case and white space.
    Exact,
    /// Jaccard similarity of word n-grams at or above `threshold`.
    Near,
}

/// The `dedup` stage's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupConfig {
    /// What is compared.
    pub on: On,
    /// When two texts count as one.
    pub method: Method,
    /// Least Jaccard similarity of near-duplicates.
    #[schemars(range(min = 0.1, max = 1.0))]
    pub threshold: f64,
    /// Words in an n-gram.
    #[schemars(range(min = 1, max = 32))]
    pub ngram: u32,
    /// Which row of several stays: the first by this column (`COLUMN desc` for the largest), then the smallest row id.
    pub order_by: Option<String>,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self { on: On::Prompt, method: Method::Near, threshold: 0.7, ngram: 5, order_by: None }
    }
}

impl DedupConfig {
    /// Checks the settings against rows of kind `R`.
    ///
    /// # Errors
    /// A threshold or n-gram outside its range, or an `order_by` that is not a column.
    pub fn check<R: Keyed>(&self) -> Result<Option<OrderBy>, CurateError> {
        let out_of_range = |setting, limit: &str, found: String| CurateError::OutOfRange { setting, limit: limit.into(), found };
        if !(0.1..=1.0).contains(&self.threshold) {
            return Err(out_of_range("threshold", "from 0.1 to 1", self.threshold.to_string()));
        }
        if !(1..=MAX_NGRAM).contains(&(self.ngram as usize)) {
            return Err(out_of_range("ngram", "from 1 to 32 words", self.ngram.to_string()));
        }
        let order = self.order_by.as_deref().map(OrderBy::parse).transpose()?;
        if let Some(order) = &order {
            check_column::<R>(&order.column, None)?;
        }
        Ok(order)
    }
}

/// The reply of a row, where its kind has one.
pub trait Reply {
    /// Reasoning and response as one text; empty for problems.
    fn reply(&self) -> Cow<'_, str>;
}

impl Reply for Problem {
    fn reply(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

impl Reply for Attempt {
    fn reply(&self) -> Cow<'_, str> {
        whole(self.reasoning.as_deref(), &self.response)
    }
}

impl Reply for Sample {
    fn reply(&self) -> Cow<'_, str> {
        let mut said = self.messages.iter().filter(|m| m.role == "assistant");
        let first = said.next().map_or(Cow::Borrowed(""), turn);
        said.fold(first, |all, m| Cow::Owned(format!("{all}\n\n{}", turn(m))))
    }
}

/// What one turn of a conversation says.
fn turn(message: &Message) -> Cow<'_, str> {
    whole(message.reasoning.as_deref(), &message.content)
}

impl On {
    /// The text of a row that is compared.
    #[must_use]
    pub fn text<R: Keyed + Reply>(self, row: &R) -> Cow<'_, str> {
        match self {
            Self::Prompt => row.prompt(),
            Self::Response => row.reply(),
            Self::Both => Cow::Owned(format!("{}\n\n{}", row.prompt(), row.reply())),
        }
    }
}

/// A kept text and those dropped for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cluster {
    /// What stays: a problem's id where prompts are compared, else a row's.
    pub kept: Box<str>,
    /// Its first row, by its place among the rows.
    pub kept_row: u32,
    /// What goes, in the order of the rows.
    pub dropped: Vec<Repeat>,
}

/// A text that repeats a kept one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repeat {
    /// A problem's id or a row's, as of the cluster.
    pub id: Box<str>,
    /// Its first row, by its place.
    pub row: u32,
    /// Its exact Jaccard similarity to the kept text.
    pub similarity: f32,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Duplicates {
    /// Keep or drop, in the order of the rows.
    pub decisions: Decisions,
    /// Rows that had duplicates, in the order of their places.
    pub clusters: Vec<Cluster>,
    /// Pairs whose exact similarity was worked out.
    pub verified: u64,
    /// Texts that met more than 1,000 unlike candidates and were not compared with the rest.
    pub capped: u64,
}

/// Unlike candidates that one text is compared with, at most: bounds the cost on templated text.
const MOST_CANDIDATES: usize = 1000;
const SINGLE: u64 = u64::MAX;

/// The first pass: keeps eight bytes per band and a rank per text, never the text.
#[derive(Debug)]
pub struct Deduper {
    method: Method,
    ngram: usize,
    threshold: f64,
    bands: Bands,
    order: Option<OrderBy>,
    by_problem: bool,
    problems: FxHashMap<u128, u32>,
    /// Per row its unit: a text of its own, or its problem's.
    units: Vec<u32>,
    ranks: Vec<(Option<Value>, Box<str>)>,
    /// Per unit its band keys (`bands.bands` each; all `SINGLE` for an empty text), or one key of the equal text.
    keys: Vec<u64>,
    scratch: (Vec<u64>, Vec<u64>),
    on: On,
}

impl Deduper {
    /// Checks the settings.
    ///
    /// # Errors
    /// As [`DedupConfig::check`].
    pub fn new<R: Keyed>(config: &DedupConfig) -> Result<Self, CurateError> {
        let bands = match config.method {
            Method::Near => Bands::of(config.threshold),
            Method::Exact => Bands { bands: 2, rows: 1 },
        };
        Ok(Self {
            method: config.method,
            ngram: config.ngram as usize,
            threshold: config.threshold,
            bands,
            order: config.check::<R>()?,
            by_problem: config.on == On::Prompt,
            problems: FxHashMap::default(),
            units: Vec::new(),
            ranks: Vec::new(),
            keys: Vec::new(),
            scratch: (Vec::new(), Vec::new()),
            on: config.on,
        })
    }

    /// Takes in the next row.
    pub fn observe<R: Keyed + Reply>(&mut self, row: &R) {
        let value = self.order.as_ref().and_then(|o| row.value(&o.column));
        if self.by_problem {
            let unit = self.problems.len() as u32;
            let known = *self.problems.entry(text_key(row.problem_id())).or_insert(unit);
            self.units.push(known);
            if known == unit {
                self.unit(&row.prompt(), value, row.problem_id().into());
            } else if let Some(order) = &self.order {
                // A problem ranks as its best row.
                let best = &mut self.ranks[known as usize].0;
                if order.order(value.as_ref(), best.as_ref()) == Ordering::Less {
                    *best = value;
                }
            }
        } else {
            self.units.push(self.ranks.len() as u32);
            self.unit(&self.on.text(row), value, row.row_id().into());
        }
    }

    fn unit(&mut self, text: &str, value: Option<Value>, id: Box<str>) {
        self.ranks.push((value, id));
        let before = self.keys.len();
        match self.method {
            Method::Exact => {
                let key = text_key(&normalise(text));
                self.keys.extend([key as u64, (key >> 64) as u64]);
            }
            Method::Near => {
                let (grams, bins) = &mut self.scratch;
                shingles(text, self.ngram, grams);
                self.bands.keys(grams, bins, &mut self.keys);
            }
        }
        self.keys.resize(before + self.bands.bands, SINGLE);
    }

    /// Ends the first pass: which texts share a band with another.
    #[must_use]
    pub fn candidates(mut self) -> Candidates {
        let count = self.ranks.len();
        if self.method == Method::Exact {
            return Candidates {
                sets: vec![Box::default(); count],
                needed: vec![false; count],
                next: 0,
                first: self,
                seen: FxHashSet::default(),
            };
        }
        let bands = self.bands.bands;
        let mut needed = vec![false; count];
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(count);
        let mut bucket = 0;
        for band in 0..bands {
            order.clear();
            order.extend((0..count).map(|unit| (self.keys[unit * bands + band], unit as u32)));
            order.sort_unstable();
            for same in order.chunk_by(|a, b| a.0 == b.0) {
                let shared = same.len() > 1 && same[0].0 != SINGLE;
                for (_, unit) in same {
                    self.keys[*unit as usize * bands + band] = if shared { bucket } else { SINGLE };
                    needed[*unit as usize] |= shared;
                }
                bucket += u64::from(shared);
            }
        }
        Candidates { sets: vec![Box::default(); count], needed, next: 0, first: self, seen: FxHashSet::default() }
    }
}

/// The second pass over the same rows in the same order: keeps the n-grams of the texts that share a band.
#[derive(Debug)]
pub struct Candidates {
    first: Deduper,
    needed: Vec<bool>,
    sets: Vec<Box<[u32]>>,
    next: usize,
    seen: FxHashSet<u32>,
}

impl Candidates {
    /// Is the second pass needed at all?
    #[must_use]
    pub fn any(&self) -> bool {
        self.needed.contains(&true)
    }

    /// Is row `row` needed in the second pass? The others may be left out by calling [`Candidates::skip`].
    #[must_use]
    pub fn needs(&self, row: usize) -> bool {
        self.first.units.get(row).is_some_and(|unit| self.needed[*unit as usize])
    }

    /// Passes over the next row.
    pub fn skip(&mut self) {
        self.next += 1;
    }

    /// Takes in the next row again.
    pub fn observe<R: Keyed + Reply>(&mut self, row: &R) {
        let at = self.next;
        self.next += 1;
        let Some(unit) = self.first.units.get(at).copied() else {
            return;
        };
        if self.needed[unit as usize] && (!self.first.by_problem || self.seen.insert(unit)) {
            let grams = &mut self.first.scratch.0;
            shingles(&self.first.on.text(row), self.first.ngram, grams);
            self.sets[unit as usize] = set_of(grams);
        }
    }

    /// Decides.
    #[must_use]
    pub fn finish(self) -> Duplicates {
        let first = &self.first;
        let mut order: Vec<u32> = (0..first.ranks.len() as u32).collect();
        order.sort_by(|a, b| {
            let ((x, i), (y, j)) = (&first.ranks[*a as usize], &first.ranks[*b as usize]);
            let by_column = first.order.as_ref().map_or(Ordering::Equal, |o| o.order(x.as_ref(), y.as_ref()));
            by_column.then_with(|| natural(i, j)).then(a.cmp(b))
        });
        let (found, verified, capped) = match first.method {
            Method::Exact => (equal(&order, &first.keys), 0, 0),
            Method::Near => self.similar(&order),
        };
        first.decide(&found, verified, capped)
    }

    /// Per unit the kept one that it repeats, with their similarity.
    fn similar(&self, order: &[u32]) -> (Vec<Option<(u32, f32)>>, u64, u64) {
        let bands = self.first.bands.bands;
        let mut kept: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
        let mut found = vec![None; order.len()];
        let mut last_met = vec![u32::MAX; order.len()];
        let (mut verified, mut capped) = (0, 0);
        for unit in order.iter().copied().filter(|u| self.needed[*u as usize]) {
            let at = unit as usize * bands;
            let buckets = &self.first.keys[at..at + bands];
            let mut budget = MOST_CANDIDATES;
            let mut best: Option<(u32, f32)> = None;
            'candidates: for bucket in buckets.iter().filter(|b| **b != SINGLE) {
                for other in kept.get(bucket).into_iter().flatten() {
                    if std::mem::replace(&mut last_met[*other as usize], unit) == unit {
                        continue;
                    }
                    if budget == 0 {
                        capped += 1;
                        break 'candidates;
                    }
                    budget -= 1;
                    verified += 1;
                    if let Some(j) = jaccard(&self.sets[unit as usize], &self.sets[*other as usize], self.first.threshold) {
                        best = Some((*other, j as f32));
                        break 'candidates;
                    }
                }
            }
            found[unit as usize] = best;
            if best.is_none() {
                buckets.iter().filter(|b| **b != SINGLE).for_each(|b| kept.entry(*b).or_default().push(unit));
            }
        }
        (found, verified, capped)
    }
}

/// Per unit the best-ranked one of equal text, if that is another.
fn equal(order: &[u32], keys: &[u64]) -> Vec<Option<(u32, f32)>> {
    let mut kept: FxHashMap<(u64, u64), u32> = FxHashMap::default();
    let mut found = vec![None; order.len()];
    for unit in order {
        let at = *unit as usize * 2;
        let first = *kept.entry((keys[at], keys[at + 1])).or_insert(*unit);
        found[*unit as usize] = (first != *unit).then_some((first, 1.0));
    }
    found
}

impl Deduper {
    fn decide(&self, found: &[Option<(u32, f32)>], verified: u64, capped: u64) -> Duplicates {
        let reason = match (self.method, self.by_problem) {
            (Method::Exact, true) => "prompt equal to another problem's",
            (Method::Exact, false) => "text equal to another row's",
            (Method::Near, true) => "prompt nearly equal to another problem's",
            (Method::Near, false) => "text nearly equal to another row's",
        };
        let decide = |unit: &u32| match found[*unit as usize] {
            Some(_) => Decision::drop(reason),
            None => Decision::Keep,
        };
        let mut row_of = vec![0; self.ranks.len()];
        for (row, unit) in self.units.iter().enumerate().rev() {
            row_of[*unit as usize] = row as u32;
        }
        let id = |unit: u32| self.ranks[unit as usize].1.clone();
        let mut clusters: BTreeMap<u32, Cluster> = BTreeMap::new();
        for (unit, repeats) in found.iter().enumerate() {
            let Some((kept, similarity)) = repeats else { continue };
            let kept_row = row_of[*kept as usize];
            let cluster = clusters.entry(kept_row).or_insert_with(|| Cluster { kept: id(*kept), kept_row, dropped: Vec::new() });
            cluster.dropped.push(Repeat { id: id(unit as u32), row: row_of[unit], similarity: *similarity });
        }
        let sorted = |mut cluster: Cluster| {
            cluster.dropped.sort_unstable_by_key(|repeat| repeat.row);
            cluster
        };
        Duplicates {
            decisions: self.units.iter().map(decide).collect(),
            clusters: clusters.into_values().map(sorted).collect(),
            verified,
            capped,
        }
    }
}

/// Both passes over rows in memory.
///
/// # Errors
/// As [`Deduper::new`].
pub fn dedup<R: Keyed + Reply>(rows: &[R], config: &DedupConfig) -> Result<Duplicates, CurateError> {
    let mut first = Deduper::new::<R>(config)?;
    rows.iter().for_each(|row| first.observe(row));
    let mut second = first.candidates();
    if second.any() {
        rows.iter().for_each(|row| second.observe(row));
    }
    Ok(second.finish())
}
