//! The sizes of a model, and its parameters' order.

use crate::{Error, Result};

/// What the GPU must know of a model. Its parameters, in this order: the embedding `[vocab, hidden]`; per layer the input
/// norm `[hidden]`, query, key and value as one matrix `[hidden, (heads + 2·groups)·dim]`, their bias if any, the output
/// projection `[heads·dim, hidden]`, the second norm, gate and up `[hidden, 2·inner]`, down `[inner, hidden]`; the final
/// norm; the head `[vocab, hidden]` unless it is the embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Rows of the embedding.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated feed-forward.
    pub inner: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub groups: usize,
    /// Width of a head: a power of two from 8 to 256.
    pub dim: usize,
    /// Whether queries, keys and values have a bias.
    pub bias: bool,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// RMSNorm's ε.
    pub eps: f32,
    /// Factor on the scores.
    pub scale: f32,
    /// Per position `dim/2` cosines, then as many sines.
    pub angles: Vec<f32>,
}

/// A row's weight gradients of a norm are added up in 48 KB of shared memory.
const WIDEST: usize = 12_288;

/// Indices of a layer's parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerIndex {
    pub(crate) input_norm: usize,
    pub(crate) qkv: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) o: usize,
    pub(crate) post_norm: usize,
    pub(crate) gate_up: usize,
    pub(crate) down: usize,
}

impl Shape {
    /// Checks what the kernels rely on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the size that they do not have.
    pub fn check(&self) -> Result<()> {
        if !(8..=256).contains(&self.dim) || !self.dim.is_power_of_two() {
            return Err(Error::Unsupported(format!("a head of {} elements (powers of two from 8 to 256 are)", self.dim)));
        }
        if self.groups == 0 || !self.heads.is_multiple_of(self.groups) || self.heads / self.groups > 16 {
            return Err(Error::Unsupported(format!("{} query heads over {} key heads", self.heads, self.groups)));
        }
        if self.hidden > WIDEST {
            return Err(Error::Unsupported(format!("a residual stream of {} (at most {WIDEST})", self.hidden)));
        }
        Ok(())
    }

    /// Query heads per key head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.groups
    }

    /// Width of merged queries, keys and values.
    pub(crate) fn row(&self) -> usize {
        (self.heads + 2 * self.groups) * self.dim
    }

    /// Positions that have angles.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.angles.len() / self.dim
    }

    fn per_layer(&self) -> usize {
        6 + usize::from(self.bias)
    }

    pub(crate) fn layer(&self, index: usize) -> LayerIndex {
        let at = 1 + index * self.per_layer();
        let bias = usize::from(self.bias);
        LayerIndex {
            input_norm: at,
            qkv: at + 1,
            bias: self.bias.then_some(at + 2),
            o: at + 2 + bias,
            post_norm: at + 3 + bias,
            gate_up: at + 4 + bias,
            down: at + 5 + bias,
        }
    }

    pub(crate) fn final_norm(&self) -> usize {
        1 + self.layers * self.per_layer()
    }

    pub(crate) fn head(&self) -> usize {
        if self.tied { 0 } else { self.final_norm() + 1 }
    }

    /// Number of elements of every parameter, in order.
    #[must_use]
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![self.vocab * self.hidden];
        for _ in 0..self.layers {
            sizes.extend([self.hidden, self.hidden * self.row()]);
            sizes.extend(self.bias.then_some(self.row()));
            sizes.extend([self.heads * self.dim * self.hidden, self.hidden, 2 * self.hidden * self.inner, self.inner * self.hidden]);
        }
        sizes.push(self.hidden);
        sizes.extend((!self.tied).then_some(self.vocab * self.hidden));
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_where_their_indices_say() {
        for (bias, tied) in [(false, true), (true, false)] {
            let shape = Shape {
                vocab: 80,
                hidden: 64,
                inner: 96,
                layers: 3,
                heads: 4,
                groups: 2,
                dim: 32,
                bias,
                tied,
                eps: 1e-5,
                scale: 0.1,
                angles: vec![0.0; 32 * 7],
            };
            shape.check().unwrap();
            let (sizes, last) = (shape.sizes(), shape.layer(2));
            assert_eq!((sizes[last.qkv], sizes[last.o], sizes[last.down]), (64 * 256, 128 * 64, 96 * 64));
            assert_eq!(last.bias.map(|at| sizes[at]), bias.then_some(256));
            assert_eq!((sizes[last.gate_up], sizes[shape.final_norm()], sizes[shape.head()]), (64 * 192, 64, 80 * 64));
            assert_eq!(shape.final_norm() + 1 + usize::from(!tied), sizes.len());
            assert_eq!(shape.positions(), 7);
            let odd = Shape { dim: 48, ..shape };
            assert!(odd.check().unwrap_err().to_string().contains("a head of 48 elements"));
        }
    }
}
