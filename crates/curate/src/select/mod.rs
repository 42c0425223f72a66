//! Which attempts become the training set: by difficulty, by length, by quota, by domain, by diversity.
//!
//! Four steps, each left out unless set: a window on how often a problem was solved; one attempt per problem; a quota
//! per value of a column; and the choice of `count` rows from what is left.

mod choose;
pub mod cluster;
mod score;

use std::collections::{BTreeMap, HashMap};

use potstill_data::{Attempt, Verdict};
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::{Keyed, OrderBy, Value, check_column, natural};
use crate::decision::{Decision, Decisions};
use crate::error::{CurateError, nearest};
use crate::quota::Quota;
use crate::shingles::shingles;
use crate::text::{seeded_rank, text_key, whole};

pub use cluster::{ClusterConfig, Embeddings, Placed};
pub use score::{TextScore, text_scores};

/// How often the teacher solved a problem.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Solved {
    /// Least number of correct attempts.
    #[serde(default)]
    pub min: u32,
    /// Most correct attempts (LIMO keeps problems solved 1 to 3 times of 32).
    #[serde(default)]
    pub max: Option<u32>,
    /// Least share of correct attempts.
    #[serde(default)]
    pub min_rate: f64,
    /// Largest share of correct attempts.
    #[serde(default = "all")]
    pub max_rate: f64,
}

fn all() -> f64 {
    1.0
}

/// Which attempt of a problem stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// All of them.
    All,
    /// All correct ones.
    Correct,
    /// The shortest correct one, by characters.
    ShortestCorrect,
    /// The correct one of median length (the lower of two).
    MedianCorrect,
    /// The longest correct one.
    LongestCorrect,
}

/// How `count` rows are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// At random, by the seed.
    Random,
    /// The first by `order_by`.
    Best,
    /// s1's: a domain at random (all alike), in it a row with weight 2^-rank, the longest first; again and again.
    S1,
    /// The highest text scores (LIMO's: length 30 %, verification words 20 %, tentative words 25 %, connectives 25 %).
    Limo,
    /// Greedy coverage of the prompts' word trigrams, rare ones worth more: each row brings the most that is new.
    Coverage,
    /// From every cluster of problems in turn (see `clusters`) the one nearest to its centre that is left, or the first by
    /// `order_by`.
    Clusters,
}

/// The value of `domain` that stands for the clusters of problems.
const CLUSTER: &str = "cluster";

/// The `select` stage's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// Keep only problems solved so often.
    pub solved: Option<Solved>,
    /// Which attempts of a problem stay.
    pub pick: Pick,
    /// At most so many rows of each value of a column, or of several; the ones that the method would choose first.
    pub quota: Option<Quota>,
    /// Rows to choose; all if absent.
    pub count: Option<u64>,
    /// How they are chosen.
    pub method: Method,
    /// For `best` and `clusters`: the column to order by, `COLUMN desc` for the largest first.
    pub order_by: Option<String>,
    /// For `s1`: the column that holds the domain, or `cluster` to take the clusters of problems for domains.
    pub domain: String,
    /// How problems are grouped by what they ask, for `clusters` and for `s1` with `domain = "cluster"`.
    pub clusters: Option<ClusterConfig>,
}

impl Default for SelectConfig {
    fn default() -> Self {
        Self {
            solved: None,
            pick: Pick::All,
            quota: None,
            count: None,
            method: Method::Random,
            order_by: None,
            domain: "domain".into(),
            clusters: None,
        }
    }
}

impl SelectConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Rates outside 0 to 1 or crossed, a count of 0, unknown columns, `best` without an order.
    pub fn check(&self) -> Result<Option<OrderBy>, CurateError> {
        let wrong = |setting, limit: &str, found: String| CurateError::OutOfRange { setting, limit: limit.into(), found };
        if let Some(solved) = &self.solved {
            let (low, high) = (solved.min_rate, solved.max_rate);
            if !(0.0..=1.0).contains(&low) || !(low..=1.0).contains(&high) {
                return Err(wrong("solved", "rates from 0 to 1, min_rate at most max_rate", format!("{low} to {high}")));
            }
            if solved.max.is_some_and(|max| max < solved.min) {
                return Err(wrong("solved.max", "at least solved.min", format!("{:?}", solved.max.unwrap_or_default())));
            }
        }
        if self.count == Some(0) {
            return Err(wrong("count", "at least 1", "0".into()));
        }
        if self.method == Method::Best && self.order_by.is_none() {
            return Err(wrong("order_by", "a column, because method is `best`", "nothing".into()));
        }
        let order = self.order_by.as_deref().map(OrderBy::parse).transpose()?;
        order.as_ref().map_or(Ok(()), |o| check_column::<Attempt>(&o.column, None))?;
        if self.domain != CLUSTER {
            check_column::<Attempt>(&self.domain, None).map_err(|error| match error {
                CurateError::UnknownColumn { name, rows, columns, near } => {
                    let near = near.or_else(|| nearest(&name, [CLUSTER]));
                    CurateError::UnknownColumn { name, rows, columns: format!("{columns}; or `{CLUSTER}`"), near }
                }
                other => other,
            })?;
        }
        self.quota.as_ref().map_or(Ok(()), Quota::check::<Attempt>)?;
        if let Some(clusters) = &self.clusters {
            clusters.check()?;
            if !self.by_cluster() {
                return Err(wrong("clusters", "left out unless method is `clusters`, or `s1` with domain `cluster`", "it".into()));
            }
        }
        Ok(order)
    }

    fn by_cluster(&self) -> bool {
        self.method == Method::Clusters || (self.method == Method::S1 && self.domain == CLUSTER)
    }

    /// How problems are to be grouped, where the method needs them to be.
    #[must_use]
    pub fn needed_clusters(&self) -> Option<ClusterConfig> {
        self.by_cluster().then(|| self.clusters.clone().unwrap_or_default())
    }
}

/// What is kept of a row until the end.
#[derive(Debug)]
struct Entry {
    id: Box<str>,
    problem: u32,
    correct: bool,
    chars: u32,
    rank: u64,
    label: u32,
    domain: u32,
    distance: f32,
    value: Option<Value>,
    score: TextScore,
    grams: Box<[u32]>,
}

/// Selects over rows seen once: keeps a few numbers per row (and the prompts' n-grams for `coverage`).
#[derive(Debug)]
pub struct Selector {
    config: SelectConfig,
    order: Option<OrderBy>,
    seed: u64,
    problems: FxHashMap<u128, u32>,
    labels: BTreeMap<String, u32>,
    domains: BTreeMap<String, u32>,
    clusters: HashMap<u128, Placed>,
    rows: Vec<Entry>,
}

impl Selector {
    /// Checks the settings.
    ///
    /// # Errors
    /// As [`SelectConfig::check`].
    pub fn new(config: &SelectConfig, seed: u64) -> Result<Self, CurateError> {
        Ok(Self {
            order: config.check()?,
            config: config.clone(),
            seed,
            problems: FxHashMap::default(),
            labels: BTreeMap::new(),
            domains: BTreeMap::new(),
            clusters: HashMap::new(),
            rows: Vec::new(),
        })
    }

    /// Where problems lie, by [`text_key`] of their ids; see [`SelectConfig::needed_clusters`]. A problem that is not
    /// among them falls to the first cluster.
    #[must_use]
    pub fn with_clusters(self, clusters: HashMap<u128, Placed>) -> Self {
        Self { clusters, ..self }
    }

    /// Takes in the next row.
    pub fn observe(&mut self, row: &Attempt) {
        let next = self.problems.len() as u32;
        let key = text_key(row.problem_id());
        let problem = *self.problems.entry(key).or_insert(next);
        let label = self.config.quota.as_ref().map(|q| number(&mut self.labels, q.label(row))).unwrap_or_default();
        let placed = self.clusters.get(&key).copied().unwrap_or(Placed { cluster: 0, distance: 0.0 });
        let domain = match self.config.method {
            _ if self.config.by_cluster() => number(&mut self.domains, format!("{:04}", placed.cluster)),
            Method::S1 => number(&mut self.domains, row.value(&self.config.domain).map_or_else(|| "none".into(), |v| v.label())),
            _ => 0,
        };
        let text = || whole(row.reasoning.as_deref(), &row.response);
        let score = if self.config.method == Method::Limo { TextScore::of(&text()) } else { TextScore::default() };
        let mut grams = Vec::new();
        if self.config.method == Method::Coverage {
            shingles(&row.problem.prompt, 3, &mut grams);
        }
        let reasoning = row.reasoning.as_ref().map_or(0, |r| r.chars().count());
        let id = row.attempt_id();
        self.rows.push(Entry {
            problem,
            correct: row.verdict == Some(Verdict::Correct),
            chars: (reasoning + row.response.chars().count()) as u32,
            rank: seeded_rank(self.seed, "select", &id),
            id: id.into(),
            label,
            domain,
            distance: placed.distance,
            value: self.order.as_ref().and_then(|o| row.value(&o.column)),
            score,
            grams: crate::dedup::set_of(&grams),
        });
    }

    /// Decides.
    ///
    /// # Errors
    /// [`CurateError::TooFew`] if fewer than `count` rows are left to choose from.
    pub fn finish(self) -> Result<Decisions, CurateError> {
        let mut decisions = Decisions::keep_all(self.rows.len());
        self.window(&mut decisions);
        self.pick(&mut decisions);
        let left: Vec<u32> = (0..self.rows.len() as u32).filter(|r| decisions.keeps(*r as usize)).collect();
        let ordered = self.by_preference(left);
        let within = self.quota(ordered, &mut decisions);
        let Some(count) = self.config.count else { return Ok(decisions) };
        if (within.len() as u64) < count {
            return Err(CurateError::TooFew {
                setting: "count".into(),
                wanted: format!("{count} rows"),
                found: format!("{} rows left to choose from", within.len()),
            });
        }
        for row in &within[count as usize..] {
            decisions.set(*row as usize, Decision::drop("not selected"));
        }
        Ok(decisions)
    }

    fn window(&self, decisions: &mut Decisions) {
        let Some(window) = &self.config.solved else { return };
        let mut counts = vec![(0_u32, 0_u32); self.problems.len()];
        for row in &self.rows {
            let (correct, all) = &mut counts[row.problem as usize];
            *correct += u32::from(row.correct);
            *all += 1;
        }
        for (at, row) in self.rows.iter().enumerate() {
            let (correct, all) = counts[row.problem as usize];
            let rate = f64::from(correct) / f64::from(all);
            if correct < window.min || rate < window.min_rate {
                decisions.set(at, Decision::drop("problem solved too rarely"));
            } else if window.max.is_some_and(|max| correct > max) || rate > window.max_rate {
                decisions.set(at, Decision::drop("problem solved too often"));
            }
        }
    }

    fn pick(&self, decisions: &mut Decisions) {
        if self.config.pick == Pick::All {
            return;
        }
        let mut correct: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (at, row) in self.rows.iter().enumerate() {
            if !decisions.keeps(at) {
                continue;
            }
            if row.correct {
                correct.entry(row.problem).or_default().push(at as u32);
            } else {
                decisions.set(at, Decision::drop("not correct"));
            }
        }
        if self.config.pick == Pick::Correct {
            return;
        }
        for mut rows in correct.into_values() {
            rows.sort_by(|a, b| self.rows[*a as usize].chars.cmp(&self.rows[*b as usize].chars).then_with(|| self.by_id(*a, *b)));
            let picked = match self.config.pick {
                Pick::LongestCorrect => rows.len() - 1,
                Pick::MedianCorrect => (rows.len() - 1) / 2,
                Pick::All | Pick::Correct | Pick::ShortestCorrect => 0,
            };
            rows.remove(picked);
            for row in rows {
                decisions.set(row as usize, Decision::drop("not the attempt picked of its problem"));
            }
        }
    }

    fn by_id(&self, a: u32, b: u32) -> std::cmp::Ordering {
        natural(&self.rows[a as usize].id, &self.rows[b as usize].id).then(a.cmp(&b))
    }

    /// The first rows of each value, in the order given.
    fn quota(&self, rows: Vec<u32>, decisions: &mut Decisions) -> Vec<u32> {
        let Some(quota) = &self.config.quota else { return rows };
        let mut left = quota.limits(self.labels.iter());
        let mut within = Vec::with_capacity(rows.len());
        for row in rows {
            match &mut left[self.rows[row as usize].label as usize] {
                Some(0) => decisions.set(row as usize, Decision::drop("beyond its quota")),
                slot => {
                    *slot = slot.map(|n| n - 1);
                    within.push(row);
                }
            }
        }
        within
    }
}

/// The number of a label, a new one if it was not met before.
fn number(known: &mut BTreeMap<String, u32>, label: String) -> u32 {
    let next = known.len() as u32;
    *known.entry(label).or_insert(next)
}

/// [`Selector`] over rows in memory.
///
/// # Errors
/// As [`Selector::new`] and [`Selector::finish`].
pub fn select(rows: &[Attempt], config: &SelectConfig, seed: u64) -> Result<Decisions, CurateError> {
    let mut selector = Selector::new(config, seed)?;
    rows.iter().for_each(|row| selector.observe(row));
    selector.finish()
}
