//! Parts that share no problem: training, test and validation rows.
//!
//! Rows belong together if they share a problem id *or* the normal form of their prompt (see [`normalise`]), also along
//! a chain of such ties. A group's place depends on the seed and on its own text alone, so that rows added later move
//! no other row (with fractions) or only those at the border (with sizes).

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::Keyed;
use crate::error::CurateError;
use crate::text::{normalise, seeded_rank, text_key};

/// A part of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What is not held out.
    Train,
    /// Held out for evaluation.
    Test,
    /// Held out for choices made during training.
    Validation,
}

impl Part {
    /// Every part, in the order of [`Split::rows`].
    pub const ALL: [Self; 3] = [Self::Train, Self::Test, Self::Validation];

    /// The name as it stands in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::Validation => "validation",
        }
    }
}

/// The `split` stage's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// Problems held out for evaluation: a fraction below 1, or a number of problems.
    pub test: f64,
    /// Problems held out for choices made during training: a fraction below 1, or a number of problems.
    #[serde(default)]
    pub validation: f64,
}

/// Splits rows seen once: keeps 40 bytes a row and never the row itself.
#[derive(Debug)]
pub struct Splitter {
    config: SplitConfig,
    seed: u64,
    rows: Vec<(u128, u128)>,
}

impl Splitter {
    /// Checks the settings.
    ///
    /// # Errors
    /// A size that is negative, not finite, or neither a fraction nor whole; fractions that leave nothing to train on.
    pub fn new(config: &SplitConfig, seed: u64) -> Result<Self, CurateError> {
        for (setting, size) in [("test", config.test), ("validation", config.validation)] {
            if !(size.is_finite() && size >= 0.0 && (size < 1.0 || size.fract() == 0.0)) {
                let limit = "a fraction from 0 to below 1 or a whole number of problems".into();
                return Err(CurateError::OutOfRange { setting, limit, found: size.to_string() });
            }
        }
        if config.test < 1.0 && config.validation < 1.0 && config.test + config.validation >= 1.0 {
            return Err(CurateError::OutOfRange {
                setting: "validation",
                limit: format!("below {} beside test = {}", 1.0 - config.test, config.test),
                found: config.validation.to_string(),
            });
        }
        Ok(Self { config: config.clone(), seed, rows: Vec::new() })
    }

    /// Takes in the next row.
    pub fn observe<R: Keyed>(&mut self, row: &R) {
        self.rows.push((text_key(row.problem_id()), text_key(&normalise(&row.prompt()))));
    }

    /// Places every row.
    ///
    /// # Errors
    /// [`CurateError::TooFew`] if the sizes leave no problem to train on.
    pub fn finish(self) -> Result<Split, CurateError> {
        let groups = group(&self.rows);
        let mut ranked: Vec<(u64, u128)> = groups.texts.iter().map(|text| (self.rank(*text), *text)).collect();
        ranked.sort_unstable();
        let held_out = |size: f64| if size < 1.0 { 0 } else { size as usize };
        let (test, validation) = (held_out(self.config.test), held_out(self.config.validation));
        if test + validation > 0 && test + validation >= ranked.len() {
            return Err(CurateError::TooFew {
                setting: "test + validation".into(),
                wanted: format!("{} problems, at least 1 beside them to train on", test + validation),
                found: format!("{} problems", ranked.len()),
            });
        }
        let mut places: HashMap<u128, Part> = HashMap::with_capacity(ranked.len());
        let by_fraction = |rank: u64| {
            let at = rank as f64 / (u64::MAX as f64 + 1.0);
            let (test, validation) = (self.config.test.fract(), self.config.validation.fract());
            if at < test {
                Part::Test
            } else if at >= 1.0 - validation {
                Part::Validation
            } else {
                Part::Train
            }
        };
        let from_end = ranked.len() - validation;
        for (n, (rank, text)) in ranked.into_iter().enumerate() {
            let part = match n {
                n if n < test => Part::Test,
                n if n >= from_end => Part::Validation,
                _ => by_fraction(rank),
            };
            places.insert(text, part);
        }
        let parts: Vec<Part> = groups.of_row.iter().map(|g| places[&groups.texts[*g as usize]]).collect();
        Ok(Split { proof: Proof::of(&self.rows, &parts), parts })
    }

    fn rank(&self, text: u128) -> u64 {
        seeded_rank(self.seed, "split", &format!("{text:032x}"))
    }
}

/// Where every row went, and the proof that the parts are disjoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    parts: Vec<Part>,
    /// Counted anew from the rows, not taken from the grouping.
    pub proof: Proof,
}

impl Split {
    /// The part of row `row` (in the order in which rows were taken in).
    #[must_use]
    pub fn part(&self, row: usize) -> Option<Part> {
        self.parts.get(row).copied()
    }

    /// The rows of each part, in their order.
    #[must_use]
    pub fn rows(&self, part: Part) -> Vec<usize> {
        (0..self.parts.len()).filter(|r| self.parts[*r] == part).collect()
    }
}

/// What one part holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartCount {
    /// The part.
    pub part: Part,
    /// Its rows.
    pub rows: u64,
    /// Different problem ids.
    pub problems: u64,
    /// Different prompts in normal form.
    pub texts: u64,
}

/// Disjointness of the parts by problem id and by prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Every part that has rows.
    pub parts: Vec<PartCount>,
    /// Problem ids that stand in more than one part: 0.
    pub shared_ids: u64,
    /// Prompts in normal form that stand in more than one part: 0.
    pub shared_texts: u64,
}

impl Proof {
    fn of(rows: &[(u128, u128)], parts: &[Part]) -> Self {
        let distinct = |key: fn(&(u128, u128)) -> u128| {
            let mut seen: Vec<(u128, Part)> = rows.iter().zip(parts).map(|(r, p)| (key(r), *p)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        let (ids, texts) = (distinct(|r| r.0), distinct(|r| r.1));
        let shared = |seen: &[(u128, Part)]| seen.windows(2).filter(|w| w[0].0 == w[1].0).count() as u64;
        let of = |seen: &[(u128, Part)], part| seen.iter().filter(|(_, p)| *p == part).count() as u64;
        let count = |part| PartCount {
            part,
            rows: parts.iter().filter(|p| **p == part).count() as u64,
            problems: of(&ids, part),
            texts: of(&texts, part),
        };
        Self {
            parts: Part::ALL.into_iter().map(count).filter(|c| c.rows > 0).collect(),
            shared_ids: shared(&ids),
            shared_texts: shared(&texts),
        }
    }
}

struct Groups {
    /// The group of each row.
    of_row: Vec<u32>,
    /// The smallest text key of each group: its name, whatever the rows' order.
    texts: Vec<u128>,
}

/// Ties rows by id and by text with a disjoint-set forest.
fn group(rows: &[(u128, u128)]) -> Groups {
    let mut parent: Vec<u32> = (0..rows.len() as u32).collect();
    let (mut by_id, mut by_text) = (HashMap::new(), HashMap::new());
    for (n, (id, text)) in rows.iter().enumerate() {
        let n = n as u32;
        for first in [*by_id.entry(*id).or_insert(n), *by_text.entry(*text).or_insert(n)] {
            let (a, b) = (root(&mut parent, first), root(&mut parent, n));
            parent[a.max(b) as usize] = a.min(b);
        }
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let (mut of_row, mut texts) = (Vec::with_capacity(rows.len()), Vec::new());
    for (n, (_, text)) in rows.iter().enumerate() {
        let next = texts.len() as u32;
        let group = *numbers.entry(root(&mut parent, n as u32)).or_insert(next);
        if group == next {
            texts.push(*text);
        }
        let name: &mut u128 = &mut texts[group as usize];
        *name = (*name).min(*text);
        of_row.push(group);
    }
    Groups { of_row, texts }
}

fn root(parent: &mut [u32], mut at: u32) -> u32 {
    while parent[at as usize] != at {
        let up = parent[parent[at as usize] as usize];
        parent[at as usize] = up;
        at = up;
    }
    at
}

/// [`Splitter`] over rows in memory.
///
/// # Errors
/// As [`Splitter::new`] and [`Splitter::finish`].
pub fn split<R: Keyed>(rows: &[R], config: &SplitConfig, seed: u64) -> Result<Split, CurateError> {
    let mut splitter = Splitter::new(config, seed)?;
    rows.iter().for_each(|r| splitter.observe(r));
    splitter.finish()
}
