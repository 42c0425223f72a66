//! The cache of keys and values, and the forward pass over it.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{CausalLm, kernels::decode::Step, ops};

/// Keys and values of the sequences in flight: per layer two tensors `[slots, capacity, kv_heads·head_dim]`.
pub(crate) struct KvCache {
    layers: Vec<(Tensor<3>, Tensor<3>)>,
    capacity: usize,
}

impl KvCache {
    /// Room for `slots` sequences of `capacity` tokens.
    pub(crate) fn new(model: &CausalLm, slots: usize, capacity: usize, device: &Device) -> Self {
        let shape = [slots, capacity, model.config().kv_size()];
        let layers = model.layers.iter().map(|_| (Tensor::zeros(shape, device), Tensor::zeros(shape, device))).collect();
        Self { layers, capacity }
    }

    /// Makes room for sequences of `needed` tokens, at least doubling.
    pub(crate) fn reserve(&mut self, needed: usize) {
        if needed <= self.capacity {
            return;
        }
        let capacity = needed.max(2 * self.capacity);
        let grow = |old: Tensor<3>| {
            let [slots, length, width] = old.dims();
            let grown = Tensor::zeros([slots, capacity, width], &old.device());
            grown.slice_assign([0..slots, 0..length, 0..width], old)
        };
        self.layers = std::mem::take(&mut self.layers).into_iter().map(|(keys, values)| (grow(keys), grow(values))).collect();
        self.capacity = capacity;
    }
}

impl CausalLm {
    /// Feeds the steps' tokens (one step after the other) and returns the logits `[steps, vocab]` after each step's last one.
    pub(crate) fn forward_cached(&self, tokens: &[u32], steps: &[Step], cache: &mut KvCache) -> Tensor<2> {
        let device = self.embed_tokens.val().device();
        let ints = |values: Vec<i32>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
        };
        let steps: Arc<[Step]> = steps.into();
        let mut x = self.embed(ints(tokens.iter().map(|&token| token.cast_signed()).collect()));
        for (layer, slot) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(x, self.config(), None, |qkv, spec| {
                // The cache is taken out while the operation runs, so that it is its only owner and writes in place.
                let empty = || Tensor::empty([0, 0, 0], &device);
                let (keys, values) = std::mem::replace(slot, (empty(), empty()));
                let (out, keys, values) = ops::attention_cached(qkv, keys, values, steps.clone(), spec);
                *slot = (keys, values);
                out
            });
        }
        if steps.len() < tokens.len() {
            let last = steps.iter().scan(0, |end, step| {
                *end += step.count;
                Some(*end as i32 - 1)
            });
            x = x.select(0, ints(last.collect()));
        }
        let hidden = ops::rms_norm(x, self.norm.val(), self.config().rms_norm_eps);
        self.lm_head(hidden)
    }
}
