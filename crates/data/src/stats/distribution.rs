//! A distribution of numbers in a stream: exact for few distinct values, to 1 % for many.
//!
//! Beyond a few hundred distinct values it counts in buckets whose bounds grow by 2 % (the DDSketch of
//! Masson, Rim and Lee, 2019), so that a quantile is within 1 % of a true value. Counts do not depend on
//! the order of the stream.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Distinct values counted exactly.
const EXACT: usize = 512;
/// The ratio of a bucket's bounds.
const GROWTH: f64 = 1.02;
/// Bars of a histogram.
const BARS: usize = 20;

/// Counts of buckets `index`, where a bucket holds values in (GROWTH^(index-1), GROWTH^index].
#[derive(Debug, Clone, Default)]
struct Buckets {
    first: i32,
    counts: Vec<u64>,
}

impl Buckets {
    fn add(&mut self, magnitude: f64, count: u64) {
        let index = (magnitude.ln() / GROWTH.ln()).ceil() as i32;
        if self.counts.is_empty() {
            self.first = index;
        }
        if index < self.first {
            let missing = (self.first - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = index;
        }
        let slot = (index - self.first) as usize;
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
        }
        self.counts[slot] += count;
    }

    /// A value of each bucket and its count, smallest first.
    fn values(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> {
        let middle = |index: i32| 2.0 * GROWTH.powi(index) / (GROWTH + 1.0);
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(move |(slot, count)| (middle(self.first + slot as i32), *count))
    }
}

/// A distribution in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Sketch {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    exact: HashMap<u64, u64>,
    spilled: bool,
    positive: Buckets,
    negative: Buckets,
    zeros: u64,
}

impl Sketch {
    pub(super) fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let value = if value == 0.0 { 0.0 } else { value };
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
        if self.spilled {
            return self.bucket(value, 1);
        }
        *self.exact.entry(value.to_bits()).or_default() += 1;
        if self.exact.len() > EXACT {
            self.spilled = true;
            for (bits, count) in std::mem::take(&mut self.exact) {
                self.bucket(f64::from_bits(bits), count);
            }
        }
    }

    fn bucket(&mut self, value: f64, count: u64) {
        if value > 0.0 {
            self.positive.add(value, count);
        } else if value < 0.0 {
            self.negative.add(-value, count);
        } else {
            self.zeros += count;
        }
    }

    /// Values (or a value near them) and their counts, smallest first.
    fn values(&self) -> Vec<(f64, u64)> {
        if !self.spilled {
            let mut values: Vec<_> = self.exact.iter().map(|(bits, count)| (f64::from_bits(*bits), *count)).collect();
            values.sort_by(|a, b| a.0.total_cmp(&b.0));
            return values;
        }
        let negative = self.negative.values().rev().map(|(value, count)| (-value, count));
        let zeros = (self.zeros > 0).then_some((0.0, self.zeros));
        let all = negative.chain(zeros).chain(self.positive.values());
        all.map(|(value, count)| (value.clamp(self.min, self.max), count)).collect()
    }

    /// What is known so far; `None` before the first number.
    pub(super) fn finish(&self) -> Option<NumberStats> {
        if self.count == 0 {
            return None;
        }
        let values = self.values();
        let quantile = |q: f64| {
            let rank = (q * (self.count - 1) as f64).round() as u64;
            let mut passed = 0;
            let found = values.iter().find(|(_, count)| {
                passed += count;
                passed > rank
            });
            found.map_or(self.max, |(value, _)| *value)
        };
        Some(NumberStats {
            min: self.min,
            max: self.max,
            mean: self.sum / self.count as f64,
            p05: quantile(0.05),
            p25: quantile(0.25),
            p50: quantile(0.5),
            p75: quantile(0.75),
            p95: quantile(0.95),
            exact: !self.spilled,
            histogram: self.histogram(&values),
        })
    }

    /// One bar per value where they are few, else bars of equal width.
    fn histogram(&self, values: &[(f64, u64)]) -> Vec<Bar> {
        if !self.spilled && values.len() <= BARS {
            return values.iter().map(|(value, count)| Bar { from: *value, to: *value, count: *count }).collect();
        }
        let width = (self.max - self.min) / BARS as f64;
        let edge = |bar: usize| self.min + width * bar as f64;
        let mut bars: Vec<Bar> = (0..BARS).map(|bar| Bar { from: edge(bar), to: edge(bar + 1), count: 0 }).collect();
        for (value, count) in values {
            let bar = ((value - self.min) / width) as usize;
            bars[bar.min(BARS - 1)].count += count;
        }
        bars
    }
}

/// Statistics of the numbers of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberStats {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The 5th percentile.
    pub p05: f64,
    /// The lower quartile.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// The upper quartile.
    pub p75: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// Whether the percentiles are exact; otherwise within 1 %.
    pub exact: bool,
    /// Bars from the smallest to the largest value.
    pub histogram: Vec<Bar>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Its lower bound.
    pub from: f64,
    /// Its upper bound; the same as the lower for a single value.
    pub to: f64,
    /// The values in it.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = f64>) -> NumberStats {
        let mut sketch = Sketch::default();
        values.for_each(|value| sketch.add(value));
        sketch.finish().unwrap()
    }

    #[test]
    fn few_values_are_exact() {
        let stats = of([3.0, 1.0, 2.0, 2.0, 100.0].into_iter());
        assert_eq!((stats.min, stats.p50, stats.max, stats.mean), (1.0, 2.0, 100.0, 21.6));
        assert!(stats.exact);
        assert_eq!(stats.histogram[1], Bar { from: 2.0, to: 2.0, count: 2 });
    }

    #[test]
    fn many_values_are_within_one_percent() {
        let stats = of((-5_000..100_000).map(f64::from));
        assert!(!stats.exact);
        for (found, q) in [(stats.p05, 0.05), (stats.p25, 0.25), (stats.p50, 0.5), (stats.p75, 0.75), (stats.p95, 0.95)] {
            let truth = -5_000.0 + q * 104_999.0;
            assert!((found - truth).abs() <= truth.abs() * 0.0101 + 1.0, "{q}: {found} for {truth}");
        }
        assert_eq!(stats.histogram.iter().map(|bar| bar.count).sum::<u64>(), 105_000);
        assert_eq!((stats.histogram[0].from, stats.histogram[19].to), (-5_000.0, 99_999.0));
    }

    #[test]
    fn order_does_not_matter() {
        let values = || (1..5_000).map(|value| f64::from(value * 7919 % 4999) / 3.0);
        let (there, back) = (of(values()), of(values().collect::<Vec<_>>().into_iter().rev()));
        assert_eq!((there.p05, there.p50, &there.histogram), (back.p05, back.p50, &back.histogram));
    }
}
