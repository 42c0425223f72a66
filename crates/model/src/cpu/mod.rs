//! Decoding on the CPU.
//!
//! Training runs through burn; decoding one token at a time is bound by reading the weights, so here they lie in the order
//! in which products read them, in the precision the caller wants ([`Storage`]), and a team of threads shares each product.
//! A sequence's logits do not depend on what else is in the batch, nor on the number of threads.

mod attention;
mod cache;
mod load;
mod packed;
mod product;
mod team;

pub use packed::Storage;

pub(crate) use cache::Kv;
pub(crate) use team::Team;

use packed::Packed;
use product::product;

use crate::{
    CausalLm, ModelConfig, Result,
    kernels::{attention::AttentionSpec, decode::Step, gated, rms_norm},
    weights::Source,
};

/// A model laid out for decoding.
#[derive(Debug)]
pub(crate) struct CpuModel {
    config: ModelConfig,
    embedding: Packed,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// None when the embedding is the head.
    head: Option<Packed>,
}

#[derive(Debug)]
struct Layer {
    input_norm: Vec<f32>,
    qkv: Packed,
    qkv_bias: Option<Vec<f32>>,
    q_norm: Option<Vec<f32>>,
    k_norm: Option<Vec<f32>>,
    o: Packed,
    after_attention_norm: Option<Vec<f32>>,
    post_norm: Vec<f32>,
    gate_up: Packed,
    down: Packed,
    after_mlp_norm: Option<Vec<f32>>,
    spec: AttentionSpec,
}

/// Buffers of a forward pass, reused from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    tiled: Vec<f32>,
    wide: Vec<f32>,
    narrow: Vec<f32>,
}

impl CpuModel {
    /// Packs the tensors of `source` as they come.
    pub(crate) fn load(config: &ModelConfig, source: &mut dyn Source, storage: Storage) -> Result<Self> {
        load::load(config, source, storage)
    }

    /// Packs a copy of a model's weights.
    pub(crate) fn of(model: &CausalLm, storage: Storage) -> Result<Self> {
        load::load(model.config(), &mut load::ModelSource(model), storage)
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty cache for one sequence.
    pub(crate) fn cache(&self) -> Kv {
        Kv::new(self.layers.len(), self.config.kv_size())
    }

    /// Bytes of weights that one decoding step reads.
    pub(crate) fn bytes(&self) -> usize {
        let layer = |layer: &Layer| [&layer.qkv, &layer.o, &layer.gate_up, &layer.down].map(Packed::bytes).iter().sum::<usize>();
        self.layers.iter().map(layer).sum::<usize>() + self.head.as_ref().unwrap_or(&self.embedding).bytes()
    }

    /// Feeds the steps' tokens (one step after the other) to their caches; with `logits`, returns those after each step's
    /// last token, `[steps, vocab]`.
    pub(crate) fn forward(
        &self,
        tokens: &[u32],
        steps: &[Step],
        caches: &mut [Kv],
        team: &Team,
        buffers: &mut Buffers,
        logits: bool,
    ) -> Vec<f32> {
        let mut x = self.embed(tokens);
        for (index, layer) in self.layers.iter().enumerate() {
            layer.forward(&mut x, index, steps, caches, &self.config, team, buffers);
        }
        if !logits {
            return Vec::new();
        }
        let hidden = self.config.hidden_size;
        let mut last = Vec::with_capacity(steps.len() * hidden);
        let mut end = 0;
        for step in steps {
            end += step.count;
            last.extend_from_slice(&x[(end - 1) * hidden..end * hidden]);
        }
        let normed = self.normed(&last);
        let mut out = Vec::new();
        product(&normed, self.head.as_ref().unwrap_or(&self.embedding), team, &mut buffers.tiled, &mut out);
        out
    }

    fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let hidden = self.config.hidden_size;
        let mut x = vec![0.0; tokens.len() * hidden];
        for (row, &token) in x.chunks_exact_mut(hidden).zip(tokens) {
            self.embedding.output(token as usize, row);
        }
        if let Some(scale) = self.config.embedding_scale {
            x.iter_mut().for_each(|x| *x *= scale as f32);
        }
        x
    }

    fn normed(&self, x: &[f32]) -> Vec<f32> {
        rms_norm::forward(x, &self.norm, self.config.rms_norm_eps as f32).0
    }
}

impl Layer {
    #[expect(clippy::too_many_arguments, reason = "one block needs its input, its caches and where to compute")]
    fn forward(
        &self,
        x: &mut [f32],
        index: usize,
        steps: &[Step],
        caches: &mut [Kv],
        config: &ModelConfig,
        team: &Team,
        buffers: &mut Buffers,
    ) {
        let eps = config.rms_norm_eps as f32;
        let Buffers { tiled, wide, narrow } = buffers;
        let add = |x: &mut [f32], block: &[f32], norm: &Option<Vec<f32>>| match norm {
            Some(weight) => add(x, &rms_norm::forward(block, weight, eps).0),
            None => add(x, block),
        };
        product(&rms_norm::forward(x, &self.input_norm, eps).0, &self.qkv, team, tiled, wide);
        self.finish_projections(wide, config);
        attention::forward(wide, steps, caches, index, &self.spec, team, narrow);
        product(narrow, &self.o, team, tiled, wide);
        add(x, wide, &self.after_attention_norm);
        product(&rms_norm::forward(x, &self.post_norm, eps).0, &self.gate_up, team, tiled, wide);
        let fed = gated::forward(wide, config.intermediate_size, config.activation);
        product(&fed, &self.down, team, tiled, narrow);
        add(x, narrow, &self.after_mlp_norm);
    }

    /// Bias and per-head norms of the merged projections, where the family has them.
    fn finish_projections(&self, qkv: &mut [f32], config: &ModelConfig) {
        let dim = config.head_dim;
        let (q, kv) = (config.q_size(), config.kv_size());
        for row in qkv.chunks_exact_mut(config.qkv_size()) {
            if let Some(bias) = &self.qkv_bias {
                add(row, bias);
            }
            let (queries, rest) = row.split_at_mut(q);
            for (heads, norm) in [(queries, &self.q_norm), (&mut rest[..kv], &self.k_norm)] {
                if let Some(weight) = norm {
                    let normed = rms_norm::forward(heads, weight, config.rms_norm_eps as f32).0;
                    debug_assert_eq!(weight.len(), dim);
                    heads.copy_from_slice(&normed);
                }
            }
        }
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
