//! Rows that hold a benchmark's questions, by n-grams, by equality and by near-equality.
//!
//! Three rules, each of which can be switched off:
//! - *n-gram*: a row holds `min_matches` word n-grams of an item (13 words by default). Hits of the hash index are
//!   confirmed word by word, so that a match is a match.
//! - *exact*: prompt and item are equal but for case and white space; the only rule for items shorter than an n-gram.
//! - *near*: prompt and item are near-duplicates (see [`crate::dedup`]) *and* hold the same numbers.
//!
//! Numbers are never folded together: "add 3 and 4" does not contaminate "add 3 and 5". A match removes the problem
//! with all its rows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::Keyed;
use crate::decision::{Decision, Decisions};
use crate::dedup::{Bands, Reply, jaccard, set_of};
use crate::error::CurateError;
use crate::shingles::{MAX_NGRAM, Roller, shingles, words};
use crate::text::{normalise, text_key};

/// The `decontaminate` stage's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecontaminateConfig {
    /// Words in an n-gram; 0 switches the rule off. 13 and 8 are customary.
    #[schemars(range(max = 32))]
    pub ngram: u32,
    /// Different n-grams of one item that a row must hold.
    #[schemars(range(min = 1))]
    pub min_matches: u32,
    /// Drop rows whose prompt equals an item.
    pub exact: bool,
    /// Drop rows whose prompt is at least so similar to an item (Jaccard of word trigrams) and holds the same numbers;
    /// 0 switches the rule off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub near: f64,
    /// Look for n-grams in replies too, not in prompts alone.
    pub replies: bool,
}

impl Default for DecontaminateConfig {
    fn default() -> Self {
        Self { ngram: 13, min_matches: 1, exact: true, near: 0.8, replies: true }
    }
}

/// Words in the n-grams of the near rule: questions are short.
const NEAR_NGRAM: usize = 3;

/// Which rule found a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Equal but for case and white space.
    Exact,
    /// A shared n-gram.
    Ngram,
    /// A near-duplicate with the same numbers.
    Near,
}

impl Rule {
    fn reason(self) -> &'static str {
        match self {
            Self::Exact => "prompt equal to a benchmark item",
            Self::Ngram => "shares an n-gram with a benchmark item",
            Self::Near => "prompt nearly equal to a benchmark item",
        }
    }
}

/// One item of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    benchmark: u32,
    id: String,
    text: String,
}

/// What matched what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The row that matched, by its id; its whole problem goes.
    pub row_id: String,
    /// The problem that goes.
    pub problem_id: String,
    /// The benchmark's name.
    pub benchmark: String,
    /// The item's id in it.
    pub item_id: String,
    /// The rule that found it.
    pub rule: Rule,
    /// The words in common as they stand in the row, or the row's prompt (at most 200 characters).
    pub excerpt: String,
}

/// The items of all benchmarks, indexed.
#[derive(Debug)]
pub struct Index {
    config: DecontaminateConfig,
    benchmarks: Vec<String>,
    items: Vec<Item>,
    /// N-gram to the items (and the byte where it begins in each) that hold it.
    grams: FxHashMap<u64, Vec<(u32, u32)>>,
    /// Most words of a clean text are dismissed by one look at a small table.
    known_grams: Bloom,
    equal: FxHashMap<u128, u32>,
    bands: Bands,
    /// The n-grams of the near rule, whichever item holds them.
    near_grams: Bloom,
    near: FxHashMap<(u32, u64), Vec<u32>>,
    near_sets: Vec<Box<[u32]>>,
}

/// A set of hashes that errs by taking in a few too many: three bits of one word for each, in 256 KB that stay in a
/// core's own cache.
#[derive(Debug)]
struct Bloom(Vec<u64>);

impl Bloom {
    /// The number of words, as a power of two.
    const WORDS: u32 = 15;

    fn new() -> Self {
        Self(vec![0; 1 << Self::WORDS])
    }

    fn place(hash: u64) -> (usize, u64) {
        let bits = (1 << (hash & 63)) | (1 << ((hash >> 6) & 63)) | (1 << ((hash >> 12) & 63));
        ((hash >> (64 - Self::WORDS)) as usize, bits)
    }

    fn insert(&mut self, hash: u64) {
        let (word, bits) = Self::place(hash);
        self.0[word] |= bits;
    }

    #[inline]
    fn may_hold(&self, hash: u64) -> bool {
        let (word, bits) = Self::place(hash);
        self.0[word] & bits == bits
    }
}

impl Index {
    /// An empty index.
    ///
    /// # Errors
    /// Settings outside their ranges, or all rules switched off.
    pub fn new(config: &DecontaminateConfig) -> Result<Self, CurateError> {
        let wrong = |setting, limit: &str, found: String| CurateError::OutOfRange { setting, limit: limit.into(), found };
        if config.ngram as usize > MAX_NGRAM {
            return Err(wrong("ngram", "at most 32 words", config.ngram.to_string()));
        }
        if config.min_matches == 0 {
            return Err(wrong("min_matches", "at least 1", "0".into()));
        }
        if config.near != 0.0 && !(0.1..=1.0).contains(&config.near) {
            return Err(wrong("near", "0 (off) or from 0.1 to 1", config.near.to_string()));
        }
        if config.ngram == 0 && !config.exact && config.near == 0.0 {
            return Err(wrong("decontaminate", "one rule at least (`ngram`, `exact` or `near`)", "none".into()));
        }
        Ok(Self {
            config: config.clone(),
            benchmarks: Vec::new(),
            items: Vec::new(),
            grams: FxHashMap::default(),
            known_grams: Bloom::new(),
            equal: FxHashMap::default(),
            bands: Bands::of(config.near.max(0.1)),
            near_grams: Bloom::new(),
            near: FxHashMap::default(),
            near_sets: Vec::new(),
        })
    }

    /// Takes in an item of a benchmark. Empty texts are left out.
    pub fn add(&mut self, benchmark: &str, id: &str, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let known = self.benchmarks.iter().position(|b| b == benchmark);
        let benchmark = known.unwrap_or_else(|| {
            self.benchmarks.push(benchmark.to_owned());
            self.benchmarks.len() - 1
        }) as u32;
        let item = self.items.len() as u32;
        if self.config.ngram > 0 {
            let mut starts = Starts::new(self.config.ngram as usize);
            words(text, |word, from, _| {
                if let Some((gram, start)) = starts.push(word, from) {
                    self.known_grams.insert(gram);
                    let holders = self.grams.entry(gram).or_default();
                    if holders.last().is_none_or(|(last, _)| *last != item) {
                        holders.push((item, start as u32));
                    }
                }
            });
        }
        self.equal.entry(text_key(&normalise(text))).or_insert(item);
        if self.config.near > 0.0 {
            let (mut grams, mut bins, mut keys) = (Vec::new(), Vec::new(), Vec::new());
            shingles(text, NEAR_NGRAM, &mut grams);
            grams.iter().for_each(|gram| self.near_grams.insert(*gram));
            self.bands.keys(&grams, &mut bins, &mut keys);
            for (band, key) in keys.into_iter().enumerate() {
                self.near.entry((band as u32, key)).or_default().push(item);
            }
            self.near_sets.push(set_of(&grams));
        }
        self.items.push(Item { benchmark, id: id.to_owned(), text: text.to_owned() });
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Is there no item?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The first item that a prompt or one of its replies holds, if any: the rule, the item and the words in common.
    #[must_use]
    pub fn find<'t>(&self, prompt: &'t str, reply: &'t str) -> Option<(Rule, u32, &'t str)> {
        self.by_ngram(prompt).or_else(|| if self.config.replies { self.by_ngram(reply) } else { None }).or_else(|| {
            let (rule, item) = self.by_equality(prompt).or_else(|| self.by_nearness(prompt))?;
            Some((rule, item, head(prompt)))
        })
    }

    fn by_equality(&self, prompt: &str) -> Option<(Rule, u32)> {
        let item = self.config.exact.then(|| self.equal.get(&text_key(&normalise(prompt)))).flatten()?;
        Some((Rule::Exact, *item))
    }

    fn by_ngram<'t>(&self, text: &'t str) -> Option<(Rule, u32, &'t str)> {
        if self.config.ngram == 0 || text.is_empty() {
            return None;
        }
        let mut starts = Starts::new(self.config.ngram as usize);
        let mut found: Option<(u32, &'t str)> = None;
        let mut hits: BTreeMap<u32, FxHashSet<u64>> = BTreeMap::new();
        words(text, |word, from, to| {
            let Some((gram, start)) = starts.push(word, from) else {
                return;
            };
            if !self.known_grams.may_hold(gram) || found.is_some() {
                return;
            }
            for (item, at) in self.grams.get(&gram).into_iter().flatten() {
                if !same_words(&text[start..to], &self.items[*item as usize].text[*at as usize..]) {
                    continue;
                }
                let grams = hits.entry(*item).or_default();
                grams.insert(gram);
                if grams.len() >= self.config.min_matches as usize {
                    found = Some((*item, &text[start..to]));
                    return;
                }
            }
        });
        found.map(|(item, words)| (Rule::Ngram, item, words))
    }

    fn by_nearness(&self, prompt: &str) -> Option<(Rule, u32)> {
        if self.config.near == 0.0 {
            return None;
        }
        let (mut grams, mut bins, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        shingles(prompt, NEAR_NGRAM, &mut grams);
        let known = grams.iter().filter(|gram| self.near_grams.may_hold(**gram)).count();
        if known == 0 {
            return None;
        }
        // An item that is similar enough holds this share of the prompt's n-grams: without it no sketch is needed.
        let set = set_of(&grams);
        if known as f64 + 1e-6 < self.config.near * set.len() as f64 {
            return None;
        }
        self.bands.keys(&grams, &mut bins, &mut keys);
        let in_band = |(band, key): (usize, &u64)| self.near.get(&(band as u32, *key)).into_iter().flatten();
        let mut near: Vec<u32> = keys.iter().enumerate().flat_map(in_band).copied().collect();
        near.sort_unstable();
        near.dedup();
        let fits = |item: &u32| {
            let i = *item as usize;
            jaccard(&set, &self.near_sets[i], self.config.near).is_some() && numbers(prompt) == numbers(&self.items[i].text)
        };
        near.into_iter().find(fits).map(|item| (Rule::Near, item))
    }
}

/// Rolling n-grams that know where they begin.
struct Starts {
    roller: Roller,
    ring: [usize; MAX_NGRAM],
    n: usize,
    at: usize,
}

impl Starts {
    fn new(n: usize) -> Self {
        Self { roller: Roller::new(n), ring: [0; MAX_NGRAM], n, at: 0 }
    }

    #[inline]
    fn push(&mut self, word: u64, from: usize) -> Option<(u64, usize)> {
        self.ring[self.at] = from;
        self.at = if self.at + 1 == self.n { 0 } else { self.at + 1 };
        // The slot that is overwritten next holds the oldest of n words.
        self.roller.push(word).map(|gram| (gram, self.ring[self.at]))
    }
}

/// Do the words of `span` begin `rest`? Compared as lowercase letters, not as hashes.
fn same_words(span: &str, rest: &str) -> bool {
    let list = |text: &str, most: usize| {
        let mut all = Vec::new();
        words(text, |_, from, to| {
            if all.len() < most {
                all.push(text[from..to].to_lowercase());
            }
        });
        all
    };
    let ours = list(span, usize::MAX);
    // A word of the item is at most a few bytes longer in another case: look no further than needed.
    let mut end = rest.len().min(span.len() * 4 + 64);
    while !rest.is_char_boundary(end) {
        end -= 1;
    }
    list(&rest[..end], ours.len()) == ours
}

/// The numbers of a text, sorted: runs of digits.
fn numbers(text: &str) -> Vec<&str> {
    let mut all: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).collect();
    all.sort_unstable();
    all
}

/// The first 200 characters.
fn head(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(at, _)| &text[..at])
}

/// Looks at rows once and decides over them at the end, because one row's match removes its problem's other rows.
#[derive(Debug)]
pub struct Decontaminator<'i> {
    index: &'i Index,
    problems: FxHashMap<u128, u32>,
    rows: Vec<u32>,
    /// Per problem the rule that removes it.
    removed: Vec<Option<Rule>>,
    /// The prompt of the last row: its replies need only be read.
    last_prompt: Option<u128>,
    matches: Vec<Match>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contamination {
    /// Keep or drop, in the order of the rows.
    pub decisions: Decisions,
    /// The first match of every problem removed, by problem id.
    pub matches: Vec<Match>,
}

impl Contamination {
    /// Problems removed, by benchmark.
    #[must_use]
    pub fn by_benchmark(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for found in &self.matches {
            *counts.entry(found.benchmark.clone()).or_default() += 1;
        }
        counts
    }
}

impl<'i> Decontaminator<'i> {
    /// Against the items of `index`.
    #[must_use]
    pub fn new(index: &'i Index) -> Self {
        Self { index, problems: FxHashMap::default(), rows: Vec::new(), removed: Vec::new(), last_prompt: None, matches: Vec::new() }
    }

    /// Takes in the next row.
    pub fn observe<R: Keyed + Reply>(&mut self, row: &R) {
        let next = self.problems.len() as u32;
        let problem = *self.problems.entry(text_key(row.problem_id())).or_insert(next);
        if problem == next {
            self.removed.push(None);
        }
        self.rows.push(problem);
        let slot = problem as usize;
        if self.removed[slot].is_some() {
            return;
        }
        let prompt = row.prompt();
        let reply = if self.index.config.replies { row.reply() } else { Cow::Borrowed("") };
        let key = text_key(&prompt);
        let known = self.last_prompt.replace(key) == Some(key);
        let found = if known { self.index.by_ngram(&reply) } else { self.index.find(&prompt, &reply) };
        if let Some((rule, item, excerpt)) = found {
            self.removed[slot] = Some(rule);
            let item = &self.index.items[item as usize];
            self.matches.push(Match {
                row_id: row.row_id().into_owned(),
                problem_id: row.problem_id().to_owned(),
                benchmark: self.index.benchmarks[item.benchmark as usize].clone(),
                item_id: item.id.clone(),
                rule,
                excerpt: head(excerpt).to_owned(),
            });
        }
    }

    /// Decides.
    #[must_use]
    pub fn finish(mut self) -> Contamination {
        let decide = |problem: &u32| match self.removed[*problem as usize] {
            Some(rule) => Decision::drop(rule.reason()),
            None => Decision::Keep,
        };
        let decisions = self.rows.iter().map(decide).collect();
        self.matches.sort_by(|a, b| a.problem_id.cmp(&b.problem_id));
        Contamination { decisions, matches: self.matches }
    }
}
