//! Rotary position embedding in Hugging Face's half-rotation layout, with its scaling variants.
//!
//! Dimension `i` of a head is rotated together with dimension `i + head_dim/2` (not with `i + 1`). Angles, cosines
//! and sines are computed in f32 exactly as transformers does; lower precision loses far positions.

use std::{borrow::Cow, f64::consts::PI, sync::Arc};

use crate::{Error, Result};

/// Positions whose angles are kept ready; later ones are computed when they occur.
const READY: usize = 4096;

/// Base frequency and its scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// θ, the base of the frequencies.
    pub theta: f64,
    /// How the frequencies are stretched for contexts longer than in pre-training.
    pub scaling: RopeScaling,
}

impl Default for RopeConfig {
    fn default() -> Self {
        Self { theta: 10_000.0, scaling: RopeScaling::None }
    }
}

/// The published ways to stretch rotary frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    None,
    /// All frequencies divided by `factor`.
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// NTK-aware base that grows with the sequence; equals `None` up to `max_position_embeddings`, and longer
    /// sequences are refused.
    Dynamic {
        /// The stretch.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a smooth ramp between.
    Llama3 {
        /// The stretch.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are stretched.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of pre-training.
        original: usize,
    },
    /// YaRN (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// The stretch.
        factor: f64,
        /// Rotations above which a dimension is kept.
        beta_fast: f64,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f64,
        /// Context length of pre-training.
        original: usize,
        /// Factor on cosine and sine, already resolved from `attention_factor`, `mscale` and `factor`.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded to whole dimensions.
        truncate: bool,
    },
}

impl RopeConfig {
    /// Checks the numbers.
    pub(crate) fn validate(&self) -> Result<()> {
        if !(self.theta.is_finite() && self.theta > 1.0) {
            return Err(Error::config("rope_theta", format!("must be finite and above 1, found {}", self.theta)));
        }
        let factor = match self.scaling {
            RopeScaling::None => return Ok(()),
            RopeScaling::Linear { factor } | RopeScaling::Dynamic { factor } => factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                if !(low_freq_factor > 0.0 && high_freq_factor > low_freq_factor) || original == 0 {
                    return Err(Error::config(
                        "rope_scaling",
                        "needs 0 < low_freq_factor < high_freq_factor and a positive original length",
                    ));
                }
                factor
            }
            RopeScaling::Yarn { factor, original, .. } => {
                if original == 0 {
                    return Err(Error::config("rope_scaling", "needs a positive original_max_position_embeddings"));
                }
                factor
            }
        };
        if factor.is_finite() && factor >= 1.0 {
            return Ok(());
        }
        Err(Error::config("rope_scaling.factor", format!("must be finite and at least 1, found {factor}")))
    }

    pub(crate) fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = |i: usize| 1.0 / self.theta.powf(2.0 * i as f64 / head_dim as f64);
        let half = head_dim / 2;
        let scaled = |i: usize| match self.scaling {
            RopeScaling::None | RopeScaling::Dynamic { .. } => plain(i),
            RopeScaling::Linear { factor } => plain(i) / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let wavelength = 2.0 * PI / plain(i);
                let smooth = (original as f64 / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let smooth = smooth.clamp(0.0, 1.0);
                (1.0 - smooth) * plain(i) / factor + smooth * plain(i)
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original, truncate, .. } => {
                let dimension =
                    |rotations: f64| head_dim as f64 * (original as f64 / (rotations * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
                if high == low {
                    high += 0.001;
                }
                let keep = 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain(i) / factor * (1.0 - keep) + plain(i) * keep
            }
        };
        (0..half).map(|i| scaled(i) as f32).collect()
    }

    fn attention_factor(&self) -> f32 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        }
    }
}

/// Cosines and sines of one rotary embedding: per position `head_dim/2` cosines, then as many sines.
#[derive(Debug)]
pub struct RopeTable {
    inverse_frequencies: Vec<f32>,
    attention_factor: f32,
    ready: Vec<f32>,
}

impl RopeTable {
    /// The table for heads of `head_dim`, ready for `positions` (up to a few thousand; later ones on demand).
    #[must_use]
    pub fn new(config: &RopeConfig, head_dim: usize, positions: usize) -> Arc<Self> {
        let mut table = Self {
            inverse_frequencies: config.inverse_frequencies(head_dim),
            attention_factor: config.attention_factor(),
            ready: Vec::new(),
        };
        table.ready = table.compute(0, positions.min(READY));
        Arc::new(table)
    }

    /// `[count, head_dim]`: for each position from `first` its cosines, then its sines.
    #[must_use]
    pub fn rows(&self, first: usize, count: usize) -> Cow<'_, [f32]> {
        let width = 2 * self.inverse_frequencies.len();
        match self.ready.get(first * width..(first + count) * width) {
            Some(rows) => Cow::Borrowed(rows),
            None => Cow::Owned(self.compute(first, count)),
        }
    }

    fn compute(&self, first: usize, count: usize) -> Vec<f32> {
        let mut rows = Vec::with_capacity(count * 2 * self.inverse_frequencies.len());
        for position in first..first + count {
            let angles = self.inverse_frequencies.iter().map(|frequency| position as f32 * frequency);
            rows.extend(angles.clone().map(|angle| angle.cos() * self.attention_factor));
            rows.extend(angles.map(|angle| angle.sin() * self.attention_factor));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_short_and_stretches_long_wavelengths() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original: 8192 };
        let scaled = RopeConfig { theta: 500_000.0, scaling }.inverse_frequencies(128);
        let plain = RopeConfig { theta: 500_000.0, scaling: RopeScaling::None }.inverse_frequencies(128);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[63] - plain[63] / 8.0).abs() < 1e-12);
        assert!(scaled[31] < plain[31] && scaled[31] > plain[31] / 8.0);
    }

    #[test]
    fn rows_beyond_the_ready_ones_are_computed_alike() {
        let table = RopeTable::new(&RopeConfig::default(), 8, 16);
        let late = table.rows(12, 8).into_owned();
        assert_eq!(late[..4 * 8], table.rows(12, 4)[..]);
        assert_eq!(late.len(), 64);
    }
}
