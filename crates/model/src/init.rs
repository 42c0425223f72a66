//! Fresh weights.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{ModelConfig, Result, weights::Source};

/// Normal weights with a standard deviation of `initializer_range`; projections that write into the residual stream get
/// `1/√(2·layers)` of it, as in GPT-2. Norms are one and biases zero.
pub(crate) struct Random {
    rng: ChaCha8Rng,
    deviation: f64,
    residual: f64,
    norm: f32,
}

impl Random {
    pub(crate) fn new(config: &ModelConfig, seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            deviation: config.initializer_range,
            residual: config.initializer_range / (2.0 * config.num_hidden_layers as f64).sqrt(),
            norm: if config.norm_offset { 0.0 } else { 1.0 },
        }
    }

    /// Box–Muller: two uniform numbers give two normal ones.
    fn pair(&mut self, deviation: f64) -> [f32; 2] {
        let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt() * deviation;
        let (sin, cos) = (TAU * self.rng.random::<f64>()).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    }
}

impl Source for Random {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let count: usize = shape.iter().product();
        if name.ends_with("bias") {
            return Ok(vec![0.0; count]);
        }
        if name.ends_with("norm.weight") {
            return Ok(vec![self.norm; count]);
        }
        let deviation = if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") { self.residual } else { self.deviation };
        let mut values: Vec<f32> = (0..count.div_ceil(2)).flat_map(|_| self.pair(deviation)).collect();
        values.truncate(count);
        Ok(values)
    }
}
