//! A fine-tune whose weights, gradients and optimizer live on a GPU: the trainer's side of [`potstill_cuda`].
//!
//! It computes what [`refusal`] does not name; burn's own backend computes the rest on the same GPU. The model on the host
//! only lends its shape; its weights are brought up to date when the run ends. A program without the feature `cuda` has
//! the type, but never a value of it: the device's name was refused before.

#[cfg(feature = "cuda")]
mod native {
    use potstill_cuda::{AdamW as Step, Adapters, Batch, Error::Unsupported, Trainer};
    use potstill_model::lora::{LoraSpec, Target};
    use potstill_model::{CausalLm, ModelConfig, gpu};

    use crate::adamw::{AdamW, Moments};
    use crate::batch::MicroBatch;
    use crate::config::{ComputeType, OptimizerKind, SftConfig};
    use crate::device;
    use crate::engine::LossSum;
    use crate::error::Result;
    use crate::params::copy_values;

    pub(crate) struct Accelerated {
        trainer: Trainer,
        time: u64,
    }

    impl Accelerated {
        /// Takes a model in f32, and the moments of a run that goes on, to the GPU of this name. `lora` is what the model's
        /// adapters were made of, if it has some.
        pub(crate) fn new(name: &str, model: &CausalLm, lora: Option<&LoraSpec>, moments: Option<&Moments>) -> Result<Self> {
            let kept = moments.map(|moments| (&moments.first[..], &moments.second[..]));
            let (number, shape) = (device::gpu_number(name)?, gpu::shape(model.config()).map_err(Unsupported)?);
            let trained = copy_values(model);
            let trainer = match lora {
                Some(spec) => {
                    let targets = Target::ALL.map(|target| spec.targets.contains(&target));
                    let adapters = Adapters { rank: spec.rank, scale: spec.scale as f32, targets };
                    Trainer::new(number, shape, &copy_values(&model.clone().without_lora()), Some((adapters, &trained)), kept)?
                }
                None => Trainer::new(number, shape, &trained, None, kept)?,
            };
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

        /// Bytes of the GPU's memory in use, by whomever.
        pub(crate) fn memory(&self) -> Option<u64> {
            self.trainer.memory().ok().map(|(used, _)| used as u64)
        }

        /// The moments of every parameter, copied to the host.
        pub(crate) fn moments(&self) -> Result<Moments> {
            let (first, second) = self.trainer.moments()?;
            Ok(Moments { first, second, time: self.time })
        }
    }

    /// The first thing about a run that these kernels do not compute, if there is one.
    pub(crate) fn refusal(config: &SftConfig, model: &ModelConfig) -> Option<String> {
        let missing = [
            (config.lora.as_ref().is_some_and(|lora| lora.dropout > 0.0), "dropout of adapters"),
            (config.distill.is_some(), "a teacher's probabilities"),
            (config.label_smoothing > 0.0, "label smoothing"),
            (config.z_loss > 0.0, "z-loss"),
            (config.neftune_alpha > 0.0, "NEFTune"),
            (config.optimizer != OptimizerKind::Adamw, "another optimizer than AdamW"),
            (config.activation_checkpointing, "activation checkpointing"),
            (config.compute == ComputeType::F32, "compute in f32"),
        ];
        let named = missing.iter().find(|(present, _)| *present).map(|(_, name)| (*name).to_owned());
        named.or_else(|| gpu::supported(model).err())
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
}

#[cfg(not(feature = "cuda"))]
mod none {
    use potstill_model::lora::LoraSpec;
    use potstill_model::{CausalLm, ModelConfig};

    use crate::adamw::{AdamW, Moments};
    use crate::batch::MicroBatch;
    use crate::config::SftConfig;
    use crate::device;
    use crate::engine::LossSum;
    use crate::error::Result;

    pub(crate) fn refusal(_: &SftConfig, _: &ModelConfig) -> Option<String> {
        Some("this program does not contain CUDA".into())
    }

    /// There is none.
    pub(crate) enum Accelerated {}

    impl Accelerated {
        pub(crate) fn new(name: &str, _: &CausalLm, _: Option<&LoraSpec>, _: Option<&Moments>) -> Result<Self> {
            match device::gpu_number(name) {
                Ok(number) => unreachable!("GPU {number} in a program without CUDA"),
                Err(error) => Err(error.into()),
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

        pub(crate) fn memory(&self) -> Option<u64> {
            match *self {}
        }

        pub(crate) fn moments(&self) -> Result<Moments> {
            match *self {}
        }
    }
}

#[cfg(feature = "cuda")]
pub(crate) use native::{Accelerated, refusal};
#[cfg(not(feature = "cuda"))]
pub(crate) use none::{Accelerated, refusal};
