//! The decoder-only transformer.

use std::sync::Arc;

use burn::{
    backend::Dispatch,
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};

use crate::{
    Error, ModelConfig, Result, SequenceLayout,
    config::LayerKind,
    init::Random,
    input::Input,
    kernels::attention::AttentionSpec,
    lora::{Dropout, LayerLora, Target},
    loss::Targets,
    ops::{self, Projections},
    rope::RopeTable,
    weights::{Source, Weights},
};

/// A decoder-only language model as a burn module.
///
/// Parameter paths: `embed_tokens`, `layers.N.{input_norm, qkv_proj, qkv_bias, q_norm, k_norm, o_proj, post_norm, gate_up_proj,
/// down_proj, lora}`, `norm`, `lm_head`. Projections are `[in, out]`; query, key and value are one matrix, and so are gate and up, because
/// one large product is faster than several small ones. The embedding and the head are `[vocab, hidden]`.
#[derive(Module, Debug)]
pub struct CausalLm {
    pub(crate) embed_tokens: Param<Tensor<2>>,
    pub(crate) layers: Vec<DecoderLayer>,
    pub(crate) norm: Param<Tensor<1>>,
    pub(crate) lm_head: Option<Param<Tensor<2>>>,
    #[module(skip)]
    config: Arc<ModelConfig>,
}

/// One block: attention and the gated feed-forward, each added to the residual stream.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    pub(crate) input_norm: Param<Tensor<1>>,
    pub(crate) qkv_proj: Param<Tensor<2>>,
    pub(crate) qkv_bias: Option<Param<Tensor<1>>>,
    pub(crate) q_norm: Option<Param<Tensor<1>>>,
    pub(crate) k_norm: Option<Param<Tensor<1>>>,
    pub(crate) o_proj: Param<Tensor<2>>,
    pub(crate) after_attention_norm: Option<Param<Tensor<1>>>,
    pub(crate) post_norm: Param<Tensor<1>>,
    pub(crate) gate_up_proj: Param<Tensor<2>>,
    pub(crate) down_proj: Param<Tensor<2>>,
    pub(crate) after_mlp_norm: Option<Param<Tensor<1>>>,
    pub(crate) lora: Option<LayerLora>,
    #[module(skip)]
    pub(crate) spec: AttentionSpec,
}

/// What a layer with adapters keeps for its backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All that would cost a matrix product to make again.
    More,
    /// Not the merged queries, keys and values: a sixth less for one product more in some twenty. Where the adapters have
    /// dropout or queries and keys a norm, they are kept nevertheless.
    Less,
}

impl CausalLm {
    /// A model with fresh weights: normal with standard deviation `initializer_range`, norms one. The same seed gives
    /// the same weights on every machine and device.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        config.validate()?;
        Self::from_source(config, &mut Random::new(config, seed), device)
    }

    /// Builds the module from a source of weights.
    pub(crate) fn from_source(config: &ModelConfig, source: &mut dyn Source, device: &Device) -> Result<Self> {
        Self::from_weights(config, &mut Weights::new(config, source), device)
    }

    fn from_weights(config: &ModelConfig, weights: &mut Weights<'_>, device: &Device) -> Result<Self> {
        config.validate()?;
        let embed_tokens = weights.embedding(device)?;
        let layers = attention_specs(config).enumerate().map(|(index, spec)| weights.layer(index, spec, device));
        let layers = layers.collect::<Result<_>>()?;
        let norm = weights.final_norm(device)?;
        let lm_head = if config.tie_word_embeddings { None } else { Some(weights.head(device)?) };
        Ok(Self { embed_tokens, layers, norm, lm_head, config: Arc::new(config.clone()) })
    }

    /// What the model is made of.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The model with further tokens that end a turn, in `config.json` and `generation_config.json` when it is saved.
    #[must_use]
    pub fn with_stop_tokens(mut self, tokens: impl IntoIterator<Item = u32>) -> Self {
        let known = &mut Arc::make_mut(&mut self.config).eos_token_ids;
        for token in tokens {
            if !known.contains(&token) {
                known.push(token);
            }
        }
        self
    }

    /// Hidden states `[batch·len, hidden]`, row-major, after the final norm. `tokens` is `[batch, len]`; padding may
    /// hold any token of the vocabulary.
    ///
    /// The same as [`embed_tokens`](Self::embed_tokens), every [`layer`](Self::layer), then [`finish`](Self::finish).
    ///
    /// # Errors
    /// When tokens and layout differ in shape, or a document is longer than `max_position_embeddings`.
    pub fn forward_hidden(&self, tokens: Tensor<2, Int>, layout: &SequenceLayout) -> Result<Tensor<2>> {
        let mut x = self.embed_tokens(tokens, layout)?;
        for index in 0..self.layers.len() {
            x = self.layer(index, x, layout, None, Keep::More);
        }
        Ok(self.finish(x))
    }

    /// What goes into the first layer, `[batch·len, hidden]`.
    ///
    /// # Errors
    /// As [`forward_hidden`](Self::forward_hidden).
    pub fn embed_tokens(&self, tokens: Tensor<2, Int>, layout: &SequenceLayout) -> Result<Tensor<2>> {
        let found = tokens.dims();
        if found != [layout.batch(), layout.len()] {
            return Err(Error::Input(format!(
                "the layout is {}×{}, but the tokens are {}×{}",
                layout.batch(),
                layout.len(),
                found[0],
                found[1]
            )));
        }
        self.check_length(layout.longest())?;
        Ok(self.embed(tokens.reshape([layout.tokens()])))
    }

    /// `x [batch·len, hidden]` through the layer of this index; `dropout` concerns adapters alone.
    ///
    /// # Panics
    /// When there is no such layer.
    #[must_use]
    pub fn layer(&self, index: usize, x: Tensor<2>, layout: &SequenceLayout, dropout: Option<Dropout>, keep: Keep) -> Tensor<2> {
        let dropout = dropout.map(|dropout| dropout.at_layer(index));
        let layer = &self.layers[index];
        let projections = match keep {
            Keep::Less => layer.projections(&x, &self.config, dropout),
            Keep::More => Projections::Kept,
        };
        layer.forward(x, &self.config, dropout, |qkv, spec| ops::attention(qkv, projections, layout, spec))
    }

    /// The layers, whose parameters a caller may visit one layer at a time.
    #[must_use]
    pub fn layers(&self) -> &[DecoderLayer] {
        &self.layers
    }

    /// The final norm.
    #[must_use]
    pub fn finish(&self, x: Tensor<2>) -> Tensor<2> {
        ops::rms_norm(x, self.norm.val(), self.config.rms_norm_eps)
    }

    /// Logits `[n, vocab]` of hidden states `[n, hidden]`; select the rows of interest first.
    #[must_use]
    pub fn lm_head(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head().transpose())
    }

    /// Logits `[batch, len, vocab]`.
    ///
    /// # Errors
    /// As [`forward_hidden`](Self::forward_hidden).
    pub fn forward(&self, tokens: Tensor<2, Int>, layout: &SequenceLayout) -> Result<Tensor<3>> {
        let hidden = self.forward_hidden(tokens, layout)?;
        Ok(self.lm_head(hidden).reshape([layout.batch(), layout.len(), self.config.vocab_size]))
    }

    /// `[1]`: Σ weightᵢ · −log p(targetᵢ) in f32 for hidden states `[n, hidden]`. Logits exist only for a chunk of rows at a time.
    ///
    /// # Errors
    /// When there is not one target and one weight per row, or a target is outside the vocabulary.
    pub fn cross_entropy_sum(&self, hidden: Tensor<2>, targets: &[u32], weights: &[f32]) -> Result<Tensor<1>> {
        self.loss_sum(hidden, Targets::plain(targets, weights))
    }

    /// `[1]`: the weighted sum of the losses of hidden states `[n, hidden]`, in f32, with the terms that `targets` asks
    /// for. Logits exist only for a chunk of rows at a time.
    ///
    /// # Errors
    /// When there is not one target and one weight per row, or a target is outside the vocabulary.
    pub fn loss_sum(&self, hidden: Tensor<2>, targets: Targets) -> Result<Tensor<1>> {
        targets.check(hidden.dims()[0], self.config.vocab_size)?;
        Ok(ops::cross_entropy(hidden, self.head(), targets))
    }

    /// Embeds a row of tokens: `[n]` to `[n, hidden]`.
    pub(crate) fn embed(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        let x = self.embed_tokens.val().select(0, tokens);
        match self.config.embedding_scale {
            Some(scale) => x.mul_scalar(scale),
            None => x,
        }
    }

    pub(crate) fn check_length(&self, longest: usize) -> Result<()> {
        let limit = self.config.max_position_embeddings;
        if longest <= limit {
            return Ok(());
        }
        Err(Error::Input(format!("a sequence of {longest} tokens is longer than the model's context of {limit}")))
    }

    fn head(&self) -> Tensor<2> {
        self.lm_head.as_ref().map_or_else(|| self.embed_tokens.val(), Param::val)
    }
}

/// What attention needs to know, layer by layer.
pub(crate) fn attention_specs(config: &ModelConfig) -> impl Iterator<Item = AttentionSpec> {
    let rope = RopeTable::new(&config.rope, config.head_dim, config.max_position_embeddings);
    let local_rope = config.local_rope.as_ref().map(|local| RopeTable::new(local, config.head_dim, config.max_position_embeddings));
    config.layers.iter().map(move |kind| spec(config, kind, if kind.local_rope { local_rope.as_ref() } else { Some(&rope) }))
}

fn spec(config: &ModelConfig, kind: &LayerKind, rope: Option<&Arc<RopeTable>>) -> AttentionSpec {
    AttentionSpec {
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        scale: config.attention_scale as f32,
        window: kind.window,
        rope: if kind.no_rope { None } else { rope.cloned() },
    }
}

impl DecoderLayer {
    /// `x [n, hidden]` through the block; `attention` maps merged projections to attention's output.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        config: &ModelConfig,
        dropout: Option<Dropout>,
        attention: impl FnOnce(Tensor<2>, &AttentionSpec) -> Tensor<2>,
    ) -> Tensor<2> {
        let [_, o, gate_up, down] = Self::parts(config);
        let optional = |x: Tensor<2>, weight: &Option<Param<Tensor<1>>>| match weight {
            Some(weight) => ops::rms_norm(x, weight.val(), config.rms_norm_eps),
            None => x,
        };
        let normed = |x: &Tensor<2>, weight: &Param<Tensor<1>>| Input::normed(x.clone(), weight.val(), config.rms_norm_eps);
        let qkv = self.project(&normed(&x, &self.input_norm), config, dropout);
        let attended = self.linear(&attention(qkv, &self.spec).into(), &self.o_proj, &o, dropout);
        let x = x + optional(attended, &self.after_attention_norm);
        let gate_up = self.linear(&normed(&x, &self.post_norm), &self.gate_up_proj, &gate_up, dropout);
        let fed = self.linear(&Input::gated(gate_up, config.activation), &self.down_proj, &down, dropout);
        x + optional(fed, &self.after_mlp_norm)
    }

    /// What the columns of the four matrices are: merged query, key and value; output; merged gate and up; down.
    pub(crate) fn parts(config: &ModelConfig) -> [Vec<(Target, usize)>; 4] {
        let with_width = |target: Target| (target, target.shape(config)[1]);
        [
            [Target::Query, Target::Key, Target::Value].map(with_width).into(),
            vec![with_width(Target::Output)],
            [Target::Gate, Target::Up].map(with_width).into(),
            vec![with_width(Target::Down)],
        ]
    }

    /// `x·W` and what the adapters of its columns add.
    fn linear(&self, x: &Input, weight: &Param<Tensor<2>>, parts: &[(Target, usize)], dropout: Option<Dropout>) -> Tensor<2> {
        let product = x.linear(weight.val());
        match &self.lora {
            Some(lora) => lora.add_to(product, x, parts, dropout),
            None => product,
        }
    }

    /// How the merged projections of `x` are made again.
    fn projections(&self, x: &Tensor<2>, config: &ModelConfig, dropout: Option<Dropout>) -> Projections<Dispatch> {
        let Some(lora) = self.lora.as_ref().filter(|_| dropout.is_none() && self.q_norm.is_none() && self.k_norm.is_none()) else {
            return Projections::Kept;
        };
        let device = x.device();
        let none = || Tensor::<2>::zeros([0, 0], &device);
        let factors = |target| lora.factors(target).unwrap_or_else(|| [none(), none()]).map(Tensor::into_dispatch);
        let [[query_a, query_b], [key_a, key_b], [value_a, value_b]] = [Target::Query, Target::Key, Target::Value].map(factors);
        let bias = self.qkv_bias.as_ref().map_or_else(|| Tensor::zeros([0], &device), Param::val);
        Projections::Made {
            x: x.clone().into_dispatch(),
            norm: self.input_norm.val().into_dispatch(),
            eps: config.rms_norm_eps as f32,
            w: self.qkv_proj.val().into_dispatch(),
            bias: bias.into_dispatch(),
            query_a,
            query_b,
            key_a,
            key_b,
            value_a,
            value_b,
            places: [0, config.q_size(), config.q_size() + config.kv_size()].map(|column| lora.place(column)),
        }
    }

    /// Merged query, key and value, with bias and per-head norms where the family has them.
    fn project(&self, x: &Input, config: &ModelConfig, dropout: Option<Dropout>) -> Tensor<2> {
        let mut qkv = self.linear(x, &self.qkv_proj, &Self::parts(config)[0], dropout);
        if let Some(bias) = &self.qkv_bias {
            qkv = qkv + bias.val().unsqueeze();
        }
        let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) else { return qkv };
        let tokens = qkv.dims()[0];
        let parts = qkv.split_with_sizes(vec![config.q_size(), config.kv_size(), config.kv_size()], 1);
        let normed = parts.into_iter().zip([Some(q_norm), Some(k_norm), None]).map(|(part, weight)| match weight {
            Some(weight) => {
                let width = part.dims()[1];
                let heads = part.reshape([tokens * width / config.head_dim, config.head_dim]);
                ops::rms_norm(heads, weight.val(), config.rms_norm_eps).reshape([tokens, width])
            }
            None => part,
        });
        Tensor::cat(normed.collect(), 1)
    }
}

#[cfg(test)]
mod tests;
