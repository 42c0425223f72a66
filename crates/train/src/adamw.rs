//! AdamW with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch's `torch.optim.AdamW` computes it.
//!
//! It works on plain slices: one pass over each parameter with everything in registers, where a composition of tensor
//! operations would read and write memory a dozen times.

use potstill_model::parallel::Split;

use crate::config::SftConfig;

/// Elements that a thread takes at a time.
const CHUNK: usize = 1 << 18;

/// Coefficients of one step.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    learning_rate: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    /// Updates done before this one.
    time: u64,
}

/// Coefficients of a step for every parameter alike.
pub(crate) struct Coefficients {
    /// Factor on decayed values.
    pub(crate) keep: f32,
    /// Learning rate over the first moment's bias correction.
    pub(crate) step_size: f32,
    /// Root of the second moment's bias correction.
    pub(crate) root_correction: f32,
    pub(crate) betas: [f32; 2],
    pub(crate) eps: f32,
}

/// A parameter with its gradient and moments.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// The values, which are updated.
    pub values: &'a mut [f32],
    /// The gradient.
    pub gradient: &'a [f32],
    /// Running mean of the gradients, which is updated.
    pub first: &'a mut [f32],
    /// Running mean of their squares, which is updated.
    pub second: &'a mut [f32],
}

/// First and second moments of every parameter, in the model's order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// Running mean of the gradients, per parameter.
    pub first: Vec<Vec<f32>>,
    /// Running mean of their squares, per parameter.
    pub second: Vec<Vec<f32>>,
    /// Updates done.
    pub time: u64,
}

impl Moments {
    /// Zero moments for parameters of these sizes.
    #[must_use]
    pub fn zeros(sizes: &[usize]) -> Self {
        let zeros = || sizes.iter().map(|&size| vec![0.0; size]).collect();
        Self { first: zeros(), second: zeros(), time: 0 }
    }
}

impl AdamW {
    /// The step that follows `time` earlier ones, at this learning rate.
    #[must_use]
    pub fn new(config: &SftConfig, learning_rate: f64, time: u64) -> Self {
        Self { learning_rate, betas: config.betas, eps: config.eps, weight_decay: config.weight_decay, time }
    }

    /// The step's coefficients in the precision that it is computed in.
    #[must_use]
    pub(crate) fn coefficients(&self) -> Coefficients {
        let [beta1, beta2] = self.betas;
        let time = self.time.saturating_add(1) as f64;
        Coefficients {
            keep: (1.0 - self.learning_rate * self.weight_decay) as f32,
            step_size: (self.learning_rate / (1.0 - beta1.powf(time))) as f32,
            root_correction: (1.0 - beta2.powf(time)).sqrt() as f32,
            betas: [beta1 as f32, beta2 as f32],
            eps: self.eps as f32,
        }
    }

    /// As [`update`](Self::update), shared among threads.
    ///
    /// # Panics
    /// As [`update`](Self::update).
    pub fn update_shared(&self, split: &Split, parameter: Parameter<'_>, scale: f32, decay: bool) {
        let Parameter { values, gradient, first, second } = parameter;
        assert!(values.len() == gradient.len() && values.len() == first.len() && values.len() == second.len());
        let moments = first.chunks_mut(CHUNK).zip(second.chunks_mut(CHUNK));
        let mut parts: Vec<_> = values.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)).zip(moments).collect();
        split.chunks_mut(&mut parts, 1, |_, parts| {
            for ((values, gradient), (first, second)) in parts {
                self.update(values, gradient, first, second, scale, decay);
            }
        });
    }

    /// Updates one parameter in place. The gradient is multiplied by `scale` (the clipping factor) on the way.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn update(&self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], scale: f32, decay: bool) {
        assert!(values.len() == gradient.len() && values.len() == first.len() && values.len() == second.len());
        let Coefficients { keep, step_size, root_correction, betas: [_, old2], eps } = self.coefficients();
        let keep = if decay { keep } else { 1.0 };
        let (new1, new2) = ((1.0 - self.betas[0]) as f32, (1.0 - self.betas[1]) as f32);
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((value, &gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * scale;
            *first += (gradient - *first) * new1;
            *second = *second * old2 + gradient * gradient * new2;
            *value = *value * keep - step_size * *first / (second.sqrt() / root_correction + eps);
        }
    }
}

/// Norm over all gradients together, accumulated in f64. Not finite if any gradient is not.
#[must_use]
pub fn global_norm(split: &Split, gradients: &[Vec<f32>]) -> f64 {
    let parts: Vec<&[f32]> = gradients.iter().flat_map(|gradient| gradient.chunks(CHUNK)).collect();
    split.map(parts.len(), |at| square_sum(parts[at])).iter().sum::<f64>().sqrt()
}

fn square_sum(values: &[f32]) -> f64 {
    // Eight independent sums let the compiler use vector registers; the order is fixed, so the result is too.
    let mut lanes = [0.0_f64; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// The factor that brings a gradient of this norm down to `limit` (PyTorch's `clip_grad_norm_`); 1 if `limit` is 0.
#[must_use]
pub fn clip_factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_and_clipping_are_global() {
        let gradients = vec![vec![3.0; 1], vec![0.0; 9], vec![-4.0; 1]];
        let global_norm = |gradients: &[Vec<f32>]| global_norm(&Split::new(1).unwrap(), gradients);
        assert!((global_norm(&gradients) - 5.0).abs() < 1e-12);
        assert!((clip_factor(5.0, 1.0) - 1.0 / (5.0 + 1e-6)).abs() < 1e-15);
        assert_eq!((clip_factor(0.5, 1.0), clip_factor(50.0, 0.0)), (1.0, 1.0));
        assert!(!global_norm(&[vec![f32::NAN]]).is_finite());
        assert!(!global_norm(&[vec![0.0; 20], vec![f32::INFINITY]]).is_finite());
    }
}
