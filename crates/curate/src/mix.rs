//! Several inputs into one set: shares, quotas, up-sampling, a seeded order.

use std::collections::{BTreeMap, HashMap};

use potstill_data::Sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::Keyed;
use crate::decision::{Decision, Decisions};
use crate::error::{CurateError, nearest};
use crate::quota::Quota;
use crate::text::seeded_rank;

/// The `mix` stage's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixConfig {
    /// The share of each input by its stage name, in any unit; inputs not named have 1. Without weights every input
    /// goes in whole.
    pub weights: BTreeMap<String, f64>,
    /// Rows of the mix. Without it as many as the weights allow without repeating a row.
    pub rows: Option<u64>,
    /// How often one row may stand in the mix, at most; 1 repeats none.
    #[schemars(range(min = 1))]
    pub max_repeats: Option<u32>,
    /// At most so many rows of each value of a column, or of several, before shares are drawn.
    pub quota: Option<Quota>,
    /// Rows in the order of the inputs rather than shuffled by the seed.
    pub keep_order: bool,
}

/// One row of the mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Take {
    /// Which input.
    pub input: u32,
    /// Which of its rows.
    pub row: u32,
    /// Which copy of that row, from 0.
    pub copy: u32,
}

/// What goes into a mix, and in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// The rows in order.
    pub takes: Vec<Take>,
    /// Why rows of each input stay out.
    pub decisions: Vec<Decisions>,
}

impl Mix {
    /// How often each row of an input is taken, for callers that stream the inputs in their own order.
    #[must_use]
    pub fn copies(&self, input: usize) -> Vec<u32> {
        let mut copies = vec![0; self.decisions.get(input).map_or(0, Decisions::len)];
        for take in self.takes.iter().filter(|t| t.input as usize == input) {
            copies[take.row as usize] += 1;
        }
        copies
    }
}

/// Draws a mix from rows seen once: keeps an 8-byte rank and a category per row, never the row.
#[derive(Debug)]
pub struct Mixer {
    config: MixConfig,
    seed: u64,
    names: Vec<String>,
    inputs: Vec<Vec<Entry>>,
    labels: HashMap<String, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    rank: u64,
    label: u32,
}

impl MixConfig {
    /// Checks what does not depend on the kind of rows.
    ///
    /// # Errors
    /// A weight of an unknown input, negative or not finite; all weights 0; counts of 0.
    pub fn check(&self, inputs: &[&str]) -> Result<(), CurateError> {
        let wrong = |setting, limit: &str, found: String| CurateError::OutOfRange { setting, limit: limit.into(), found };
        for (name, weight) in &self.weights {
            if !inputs.contains(&name.as_str()) {
                return Err(CurateError::Unknown {
                    what: "input",
                    name: name.clone(),
                    known: inputs.join(", "),
                    near: nearest(name, inputs.iter().copied()),
                });
            }
            if !(weight.is_finite() && *weight >= 0.0) {
                return Err(wrong("weights", "0 or more", format!("{weight} for `{name}`")));
            }
        }
        if !inputs.is_empty() && inputs.iter().all(|i| self.weights.get(*i) == Some(&0.0)) {
            return Err(wrong("weights", "above 0 for an input", "all 0".into()));
        }
        if self.max_repeats == Some(0) {
            return Err(wrong("max_repeats", "at least 1", "0".into()));
        }
        if self.rows == Some(0) {
            return Err(wrong("rows", "at least 1", "0".into()));
        }
        Ok(())
    }
}

impl Mixer {
    /// Checks the settings against the inputs' names and rows of kind `R`.
    ///
    /// # Errors
    /// As [`MixConfig::check`]; an unknown quota column.
    pub fn new<R: Keyed>(config: &MixConfig, inputs: &[&str], seed: u64) -> Result<Self, CurateError> {
        config.check(inputs)?;
        if let Some(quota) = &config.quota {
            quota.check::<R>()?;
        }
        Ok(Self {
            config: config.clone(),
            seed,
            names: inputs.iter().map(|i| (*i).to_owned()).collect(),
            inputs: vec![Vec::new(); inputs.len()],
            labels: HashMap::new(),
        })
    }

    /// Takes in the next row of input `input` (by its place in the list given to [`Mixer::new`]).
    pub fn observe<R: Keyed>(&mut self, input: usize, row: &R) {
        let label = self.config.quota.as_ref().map_or_else(String::new, |q| q.label(row));
        let next = self.labels.len() as u32;
        let label = *self.labels.entry(label).or_insert(next);
        let rank = seeded_rank(self.seed, "mix", &row.row_id());
        if let Some(rows) = self.inputs.get_mut(input) {
            rows.push(Entry { rank, label });
        }
    }

    /// Draws.
    ///
    /// # Errors
    /// [`CurateError::TooFew`] where an input cannot fill its share without repeating rows more often than allowed.
    pub fn finish(self) -> Result<Mix, CurateError> {
        let mut decisions: Vec<Decisions> = self.inputs.iter().map(|rows| Decisions::keep_all(rows.len())).collect();
        let pools = self.pools(&mut decisions);
        let shares = self.shares(&pools)?;
        let mut takes = Vec::new();
        for (input, (pool, share)) in pools.iter().zip(&shares).enumerate() {
            let size = pool.len() as u64;
            for (n, row) in pool.iter().enumerate() {
                // Whole rounds over the pool, then the first rows of one more.
                let copies = share.checked_div(size).map_or(0, |rounds| rounds + u64::from((n as u64) < share % size));
                if copies == 0 {
                    decisions[input].set(*row as usize, Decision::drop("beyond its input's share"));
                }
                takes.extend((0..copies as u32).map(|copy| Take { input: input as u32, row: *row, copy }));
            }
        }
        self.order(&mut takes);
        Ok(Mix { takes, decisions })
    }

    /// Per input, the rows that the quotas leave, in their seeded order.
    fn pools(&self, decisions: &mut [Decisions]) -> Vec<Vec<u32>> {
        let mut all: Vec<(u64, u32, u32)> = Vec::new();
        for (input, rows) in self.inputs.iter().enumerate() {
            all.extend(rows.iter().enumerate().map(|(n, e)| (e.rank, input as u32, n as u32)));
        }
        all.sort_unstable();
        let unlimited = || vec![None; self.labels.len()];
        let mut left = self.config.quota.as_ref().map_or_else(unlimited, |quota| quota.limits(self.labels.iter()));
        let mut pools = vec![Vec::new(); self.inputs.len()];
        for (_, input, row) in all {
            let (i, r) = (input as usize, row as usize);
            match &mut left[self.inputs[i][r].label as usize] {
                Some(0) => decisions[i].set(r, Decision::drop("beyond its quota")),
                Some(n) => {
                    *n -= 1;
                    pools[i].push(row);
                }
                None => pools[i].push(row),
            }
        }
        pools
    }

    /// Rows to draw from each input.
    fn shares(&self, pools: &[Vec<u32>]) -> Result<Vec<u64>, CurateError> {
        let sizes: Vec<u64> = pools.iter().map(|p| p.len() as u64).collect();
        if self.config.weights.is_empty() && self.config.rows.is_none() {
            return Ok(sizes);
        }
        // Without weights every row has the same chance.
        let weight = |(name, size): (&String, &u64)| match self.config.weights.get(name) {
            Some(weight) => *weight,
            None if self.config.weights.is_empty() => *size as f64,
            None => 1.0,
        };
        let weights: Vec<f64> = self.names.iter().zip(&sizes).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let most = |repeats: u32, (w, size): (&f64, &u64)| {
            if *w > 0.0 { *size as f64 * f64::from(repeats) * sum / w } else { f64::INFINITY }
        };
        let repeats = self.config.max_repeats.unwrap_or(1);
        let fill = weights.iter().zip(&sizes).map(|pair| most(repeats, pair)).fold(f64::INFINITY, f64::min);
        let rows = self.config.rows.unwrap_or(if fill.is_finite() { (fill + 1e-9) as u64 } else { 0 });
        let shares = apportion(&weights, rows);
        for ((name, share), size) in self.names.iter().zip(&shares).zip(&sizes) {
            let most = size * u64::from(repeats);
            if *share > most {
                let times = if repeats == 1 { "none twice; raise max_repeats".into() } else { format!("each at most {repeats} times") };
                return Err(CurateError::TooFew {
                    setting: format!("input `{name}`"),
                    wanted: format!("{share} rows ({times})"),
                    found: format!("{size} rows"),
                });
            }
        }
        Ok(shares)
    }

    fn order(&self, takes: &mut [Take]) {
        if self.config.keep_order {
            takes.sort_unstable_by_key(|t| (t.input, t.row, t.copy));
            return;
        }
        // Ranks of the draw would sort copies together and the drawn before the rest: rank anew per copy.
        let rank = |t: &Take| {
            let own = self.inputs[t.input as usize][t.row as usize].rank;
            seeded_rank(own, "order", &t.copy.to_string())
        };
        takes.sort_by_cached_key(|t| (rank(t), t.input, t.row, t.copy));
    }
}

/// Whole shares of `rows` in proportion to the weights, by largest remainder; ties to the earlier input.
fn apportion(weights: &[f64], rows: u64) -> Vec<u64> {
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return vec![0; weights.len()];
    }
    let exact: Vec<f64> = weights.iter().map(|w| w / sum * rows as f64).collect();
    let mut shares: Vec<u64> = exact.iter().map(|e| (e + 1e-9).floor() as u64).collect();
    let mut rest: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > 0.0).collect();
    rest.sort_by(|a, b| (exact[*b] - shares[*b] as f64).total_cmp(&(exact[*a] - shares[*a] as f64)).then(a.cmp(b)));
    let missing = rows.saturating_sub(shares.iter().sum());
    for at in rest.iter().cycle().take(missing as usize) {
        shares[*at] += 1;
    }
    shares
}

/// A sample as its `copy`-th repetition: the same but for an id of its own.
#[must_use]
pub fn repeated(sample: &Sample, copy: u32) -> Sample {
    let mut again = sample.clone();
    if copy > 0 {
        again.sample_id = format!("{}~{}", sample.sample_id, copy + 1);
    }
    again
}

/// [`Mixer`] over samples in memory: the mixed samples, each with an id of its own, and what stayed out.
///
/// # Errors
/// As [`Mixer::new`] and [`Mixer::finish`].
pub fn mix(inputs: &[(&str, &[Sample])], config: &MixConfig, seed: u64) -> Result<(Vec<Sample>, Vec<Decisions>), CurateError> {
    let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
    let mut mixer = Mixer::new::<Sample>(config, &names, seed)?;
    for (input, (_, rows)) in inputs.iter().enumerate() {
        rows.iter().for_each(|row| mixer.observe(input, row));
    }
    let drawn = mixer.finish()?;
    let mut ids: HashMap<String, u32> = HashMap::new();
    let rows = drawn.takes.iter().map(|take| {
        let sample = &inputs[take.input as usize].1[take.row as usize];
        // Two inputs may hold the same sample; count by id rather than by copy.
        let copy = ids.entry(sample.sample_id.clone()).and_modify(|n| *n += 1).or_insert(0);
        repeated(sample, *copy)
    });
    Ok((rows.collect(), drawn.decisions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_and_exact() {
        assert_eq!(apportion(&[1.0, 1.0, 1.0], 10), [4, 3, 3]);
        assert_eq!(apportion(&[0.7, 0.3], 10), [7, 3]);
        assert_eq!(apportion(&[0.0, 2.0], 3), [0, 3]);
        assert_eq!(apportion(&[0.0], 3), [0]);
    }
}
