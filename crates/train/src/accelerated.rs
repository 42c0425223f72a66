//! A fine-tune whose weights, gradients and optimizer live on a GPU: the trainer's side of [`potstill_cuda`].
//!
//! The model on the host only lends its shape; its weights are brought up to date when the run ends. A program without the
//! feature `cuda` has the type, but never a value of it: the device's name was refused before.

#[cfg(feature = "cuda")]
mod native {
    use potstill_cuda::{AdamW as Step, Batch, Shape, Trainer};
    use potstill_model::{Activation, CausalLm, ModelConfig, rope::RopeTable};

    use crate::adamw::{AdamW, Moments};
    use crate::batch::MicroBatch;
    use crate::device;
    use crate::engine::LossSum;
    use crate::error::Result;
    use crate::params::copy_values;

    pub(crate) struct Accelerated {
        trainer: Trainer,
        time: u64,
    }

    impl Accelerated {
        /// Takes a model in f32, and the moments of a run that goes on, to the GPU of this name.
        pub(crate) fn new(name: &str, model: &CausalLm, moments: Option<&Moments>) -> Result<Self> {
            let kept = moments.map(|moments| (&moments.first[..], &moments.second[..]));
            let trainer = Trainer::new(device::gpu_number(name)?, shape(model.config())?, &copy_values(model), kept)?;
            Ok(Self { trainer, time: moments.map_or(0, |moments| moments.time) })
        }

        pub(crate) fn time(&self) -> u64 {
            self.time
        }

        /// Losses, and the norm of the gradient of their mean, which stays on the GPU.
        pub(crate) fn gradient(&mut self, batches: &[MicroBatch]) -> Result<(LossSum, f64)> {
            let starts: Vec<Vec<i32>> = batches.iter().map(starts).collect();
            let laid: Vec<Batch<'_>> = batches.iter().zip(&starts).map(|(batch, starts)| view(batch, starts)).collect();
            let (loss, norm) = self.trainer.gradient(&laid)?;
            let tokens = batches.iter().map(|batch| batch.targets.len() as u64).sum();
            Ok((LossSum { loss, tokens, correct: 0 }, norm))
        }

        /// Losses and right predictions, without a gradient.
        pub(crate) fn evaluate(&mut self, batches: &[MicroBatch]) -> Result<LossSum> {
            let mut sum = LossSum::default();
            for batch in batches.iter().filter(|batch| !batch.targets.is_empty()) {
                let (loss, correct) = self.trainer.loss(&view(batch, &starts(batch)))?;
                sum.add(LossSum { loss, tokens: batch.targets.len() as u64, correct });
            }
            Ok(sum)
        }

        /// One AdamW step; `scale` is the clipping factor.
        pub(crate) fn update(&mut self, optimizer: &AdamW, scale: f64, decays: &[bool]) -> Result<()> {
            let c = optimizer.coefficients();
            let step = Step {
                scale: scale as f32,
                keep: c.keep,
                step_size: c.step_size,
                root_correction: c.root_correction,
                betas: c.betas,
                eps: c.eps,
            };
            self.trainer.update(&step, decays)?;
            self.time += 1;
            Ok(())
        }

        /// The f32 values of every parameter.
        pub(crate) fn values(&self) -> Result<Vec<Vec<f32>>> {
            Ok(self.trainer.values()?)
        }

        /// The moments of every parameter, copied to the host.
        pub(crate) fn moments(&self) -> Result<Moments> {
            let (first, second) = self.trainer.moments()?;
            Ok(Moments { first, second, time: self.time })
        }
    }

    fn view<'a>(batch: &'a MicroBatch, starts: &'a [i32]) -> Batch<'a> {
        Batch {
            rows: batch.layout.batch(),
            len: batch.layout.len(),
            tokens: &batch.tokens,
            starts,
            selected: &batch.selected,
            targets: &batch.targets,
            weights: &batch.weights,
        }
    }

    /// Where in its row each token's document starts; the row's length for padding.
    fn starts(batch: &MicroBatch) -> Vec<i32> {
        let len = batch.layout.len();
        let mut starts = vec![len as i32; batch.layout.tokens()];
        for document in batch.layout.documents() {
            starts[document.clone()].fill((document.start % len) as i32);
        }
        starts
    }

    /// The model's shape; an error names what the GPU's kernels do not have.
    fn shape(config: &ModelConfig) -> Result<Shape> {
        let missing = [
            (config.qk_norm, "a norm on query and key heads (Qwen3, Gemma 3)"),
            (config.sandwich_norms, "norms after attention and feed-forward (Gemma 3)"),
            (config.activation != Activation::Silu, "GELU"),
            (config.embedding_scale.is_some(), "a scaled embedding"),
            (config.layers.iter().any(|layer| layer.window.is_some()), "windowed attention"),
            (config.layers.iter().any(|layer| layer.no_rope), "a layer without rotary embedding (SmolLM3)"),
        ];
        if let Some((_, name)) = missing.iter().find(|(present, _)| *present) {
            return Err(potstill_cuda::Error::Unsupported((*name).into()).into());
        }
        let positions = config.max_position_embeddings.min(LONGEST);
        Ok(Shape {
            vocab: config.vocab_size,
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            groups: config.num_key_value_heads,
            dim: config.head_dim,
            bias: config.qkv_bias,
            tied: config.tie_word_embeddings,
            eps: config.rms_norm_eps as f32,
            scale: config.attention_scale as f32,
            angles: RopeTable::new(&config.rope, config.head_dim, positions).rows(0, positions).into_owned(),
        })
    }

    /// Positions whose angles are kept on the GPU.
    const LONGEST: usize = 1 << 16;
}

#[cfg(not(feature = "cuda"))]
mod none {
    use potstill_model::CausalLm;

    use crate::adamw::{AdamW, Moments};
    use crate::batch::MicroBatch;
    use crate::device;
    use crate::engine::LossSum;
    use crate::error::Result;

    /// There is none.
    pub(crate) enum Accelerated {}

    impl Accelerated {
        pub(crate) fn new(name: &str, _: &CausalLm, _: Option<&Moments>) -> Result<Self> {
            match device::gpu_number(name) {
                Ok(number) => unreachable!("GPU {number} in a program without CUDA"),
                Err(error) => Err(error),
            }
        }

        pub(crate) fn time(&self) -> u64 {
            match *self {}
        }

        pub(crate) fn gradient(&mut self, _: &[MicroBatch]) -> Result<(LossSum, f64)> {
            match *self {}
        }

        pub(crate) fn evaluate(&mut self, _: &[MicroBatch]) -> Result<LossSum> {
            match *self {}
        }

        pub(crate) fn update(&mut self, _: &AdamW, _: f64, _: &[bool]) -> Result<()> {
            match *self {}
        }

        pub(crate) fn values(&self) -> Result<Vec<Vec<f32>>> {
            match *self {}
        }

        pub(crate) fn moments(&self) -> Result<Moments> {
            match *self {}
        }
    }
}

#[cfg(feature = "cuda")]
pub(crate) use native::Accelerated;
#[cfg(not(feature = "cuda"))]
pub(crate) use none::Accelerated;
