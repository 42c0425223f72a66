//! Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): `x·W + s·(x·A)·B` with a frozen `W`.
//!
//! The product `A·B` never exists while training; [`CausalLm::merge_lora`] adds it to the weights at the end.
//! [`save_adapter`] writes the folder that the `peft` library loads.

use std::path::Path;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor, TensorData},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{CausalLm, Error, ModelConfig, Result, files, input::Input, model::DecoderLayer, ops::Place};

/// A projection that an adapter can stand beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Target {
    /// Queries.
    #[serde(rename = "q_proj")]
    Query,
    /// Keys.
    #[serde(rename = "k_proj")]
    Key,
    /// Values.
    #[serde(rename = "v_proj")]
    Value,
    /// Attention's output.
    #[serde(rename = "o_proj")]
    Output,
    /// The gate of the feed-forward block.
    #[serde(rename = "gate_proj")]
    Gate,
    /// What the gate lets through.
    #[serde(rename = "up_proj")]
    Up,
    /// The feed-forward block's output.
    #[serde(rename = "down_proj")]
    Down,
}

impl Target {
    /// Every projection.
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Its name in Hugging Face's models.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"][self as usize]
    }

    fn path(self) -> String {
        let block = if self <= Self::Output { "self_attn" } else { "mlp" };
        format!("{block}.{}", self.name())
    }

    /// Width of what goes in and of what comes out.
    #[must_use]
    pub fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Query => [hidden, config.q_size()],
            Self::Key | Self::Value => [hidden, config.kv_size()],
            Self::Output => [config.q_size(), hidden],
            Self::Gate | Self::Up => [hidden, inner],
            Self::Down => [inner, hidden],
        }
    }
}

/// Which adapters to add.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSpec {
    /// Width of the bottleneck.
    pub rank: usize,
    /// Factor on what the adapters add.
    pub scale: f64,
    /// The projections that get one.
    pub targets: Vec<Target>,
}

impl LoraSpec {
    /// Parameters of the adapters of a model.
    #[must_use]
    pub fn num_parameters(&self, config: &ModelConfig) -> usize {
        let per_layer: usize = self.targets.iter().map(|target| target.shape(config).iter().sum::<usize>() * self.rank).sum();
        per_layer * config.num_hidden_layers
    }
}

/// The adapter of one projection.
#[derive(Module, Debug)]
pub struct Adapter {
    /// `[in, rank]`
    pub(crate) a: Param<Tensor<2>>,
    /// `[rank, out]`
    pub(crate) b: Param<Tensor<2>>,
}

/// The adapters of one layer.
#[derive(Module, Debug)]
pub struct LayerLora {
    /// One entry per [`Target`], in the order of [`Target::ALL`].
    adapters: Vec<Option<Adapter>>,
    #[module(skip)]
    scale: f64,
}

impl LayerLora {
    fn get(&self, target: Target) -> Option<&Adapter> {
        self.adapters.get(target as usize).and_then(Option::as_ref)
    }

    /// Gives every adapter other values than those that it begins with.
    #[cfg(test)]
    pub(crate) fn randomize(&mut self, values: impl Fn([usize; 2]) -> Tensor<2>) {
        for adapter in self.adapters.iter_mut().flatten() {
            for factor in [&mut adapter.a, &mut adapter.b] {
                *factor = Param::initialized(factor.id, values(factor.val().dims()).require_grad());
            }
        }
    }

    /// The factors of a projection's adapter.
    pub(crate) fn factors(&self, target: Target) -> Option<[Tensor<2>; 2]> {
        self.get(target).map(|adapter| [adapter.a.val(), adapter.b.val()])
    }

    /// Where an adapter adds, from this column on.
    pub(crate) fn place(&self, column: usize) -> Place {
        Place { column, scale: self.scale as f32 }
    }

    /// `sum`, which is `x·W`, with what the adapters of its columns add. `parts` are the columns' projections and widths.
    pub(crate) fn add_to(&self, mut sum: Tensor<2>, x: &Input, parts: &[(Target, usize)], dropout: Option<Dropout>) -> Tensor<2> {
        if parts.iter().all(|(target, _)| self.get(*target).is_none()) {
            return sum;
        }
        let x = match (dropout, parts.first()) {
            (Some(dropout), Some((target, _))) => dropout.apply(x.value().clone(), *target as u64).into(),
            _ => x.clone(),
        };
        let mut column = 0;
        for (target, width) in parts {
            if let Some(adapter) = self.get(*target) {
                sum = x.adapted(sum, adapter.a.val(), adapter.b.val(), self.place(column));
            }
            column += width;
        }
        sum
    }

    /// `s·A·B` of merged projections, `[in, Σ out]`; none if there are no adapters.
    fn product(&self, inputs: usize, parts: &[(Target, usize)], device: &Device) -> Option<Tensor<2>> {
        if parts.iter().all(|(target, _)| self.get(*target).is_none()) {
            return None;
        }
        let one = |(target, width): &(Target, usize)| match self.get(*target) {
            Some(adapter) => adapter.a.val().matmul(adapter.b.val()),
            None => Tensor::zeros([inputs, *width], device),
        };
        Some(join(parts.iter().map(one).collect()).mul_scalar(self.scale))
    }
}

fn join(mut parts: Vec<Tensor<2>>) -> Tensor<2> {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 1) }
}

/// Dropout on the adapters' inputs. Projections that share their input share its mask. The mask is a function of the
/// seed, so that a recomputed forward pass drops the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability to drop, below 1.
    pub rate: f32,
    /// Seed of this pass.
    pub seed: u64,
}

impl Dropout {
    /// The dropout of a layer.
    pub(crate) fn at_layer(self, index: usize) -> Self {
        Self { seed: mix(self.seed ^ ((index as u64 + 1) << 32)), ..self }
    }

    fn apply(self, x: Tensor<2>, salt: u64) -> Tensor<2> {
        let [rows, cols] = x.dims();
        let keep = 1.0 / (1.0 - self.rate);
        // A draw below the bound drops; 2⁶⁴ does not fit, but a rate of 1 is refused.
        let bound = (f64::from(self.rate) * 2f64.powi(64)) as u64;
        let start = mix(self.seed ^ salt);
        let draw = |at: u64| if mix(start.wrapping_add(at.wrapping_mul(0x9E37_79B9_7F4A_7C15))) < bound { 0.0 } else { keep };
        let mask: Vec<f32> = (0..(rows * cols) as u64).map(draw).collect();
        let mask = Tensor::<2>::from_data(TensorData::new(mask, [rows, cols]), &x.device());
        x * mask
    }
}

/// SplitMix64's output function (Steele, Lea and Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Marks every parameter as one that is not trained.
struct Freeze;

impl ModuleMapper for Freeze {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, _) = param.consume();
        Param::initialized(id, tensor.without_autodiff())
    }
}

/// Marks every parameter as one that is trained.
struct Unfreeze;

impl ModuleMapper for Unfreeze {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, _) = param.consume();
        Param::initialized(id, tensor).set_require_grad(true)
    }
}

impl CausalLm {
    /// Freezes the weights and adds adapters: `A` uniform within ±1/√in, `B` zero, so that nothing changes at first.
    ///
    /// # Errors
    /// For a rank of 0, no targets, or adapters upon adapters.
    pub fn with_lora(self, spec: &LoraSpec, seed: u64, device: &Device) -> Result<Self> {
        if spec.rank == 0 || spec.targets.is_empty() || !spec.scale.is_finite() {
            return Err(Error::Input(format!(
                "adapters need a rank above 0, a finite scale and targets; found rank {}, scale {}, {} targets",
                spec.rank,
                spec.scale,
                spec.targets.len()
            )));
        }
        if self.has_lora() {
            return Err(Error::Input("the model has adapters already; merge them first".into()));
        }
        let config = self.config().clone();
        let mut model = self.map(&mut Freeze);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for layer in &mut model.layers {
            let adapters = Target::ALL.map(|target| {
                let [inputs, outputs] = target.shape(&config);
                spec.targets.contains(&target).then(|| {
                    let bound = 1.0 / (inputs as f32).sqrt();
                    let a: Vec<f32> = (0..inputs * spec.rank).map(|_| rng.random_range(-bound..bound)).collect();
                    Adapter {
                        a: Param::from_data(TensorData::new(a, [inputs, spec.rank]), device),
                        b: Param::from_data(TensorData::new(vec![0.0_f32; spec.rank * outputs], [spec.rank, outputs]), device),
                    }
                })
            });
            layer.lora = Some(LayerLora { adapters: adapters.into(), scale: spec.scale });
        }
        Ok(model)
    }

    /// Whether there are adapters; then they alone are trained.
    #[must_use]
    pub fn has_lora(&self) -> bool {
        self.layers.iter().any(|layer| layer.lora.is_some())
    }

    /// The base model alone, its adapters thrown away.
    #[must_use]
    pub fn without_lora(mut self) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.lora = None);
        self.map(&mut Unfreeze)
    }

    /// The model with `s·A·B` added to its weights and no adapters left. It must not track gradients.
    #[must_use]
    pub fn merge_lora(mut self) -> Self {
        let config = self.config().clone();
        for layer in &mut self.layers {
            layer.merge_lora(&config);
        }
        self.map(&mut Unfreeze)
    }
}

impl DecoderLayer {
    fn merge_lora(&mut self, config: &ModelConfig) {
        let Some(lora) = self.lora.take() else { return };
        let [qkv, o, gate_up, down] = Self::parts(config);
        let all: [(&mut Param<Tensor<2>>, &[(Target, usize)]); 4] =
            [(&mut self.qkv_proj, &qkv), (&mut self.o_proj, &o), (&mut self.gate_up_proj, &gate_up), (&mut self.down_proj, &down)];
        for (weight, parts) in all {
            let value = weight.val();
            if let Some(delta) = lora.product(value.dims()[0], parts, &value.device()) {
                *weight = Param::initialized(weight.id, value + delta);
            }
        }
    }
}

/// What the adapter's folder says of how it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterInfo {
    /// As in [`LoraSpec`].
    pub rank: usize,
    /// The scale is `alpha / rank`, or `alpha / √rank` with `rslora`.
    pub alpha: f64,
    /// Dropout while training.
    pub dropout: f64,
    /// Whether the scale is rank-stabilised (Kalajdzievski 2023, arXiv:2312.03732).
    pub rslora: bool,
    /// Where the base model is: a folder or a name on a hub.
    pub base: Option<String>,
}

/// Writes the adapters as `adapter_model.safetensors` and `adapter_config.json`, which `peft` loads.
///
/// # Errors
/// When the model has no adapters or a file cannot be written.
pub fn save_adapter(dir: &Path, model: &CausalLm, info: &AdapterInfo) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|error| Error::io(dir, error))?;
    let mut tensors: Vec<(String, [usize; 2], Vec<u8>)> = Vec::new();
    let mut targets: Vec<&str> = Vec::new();
    for (index, layer) in model.layers.iter().enumerate() {
        for target in Target::ALL {
            let Some(adapter) = layer.lora.as_ref().and_then(|lora| lora.get(target)) else { continue };
            if !targets.contains(&target.name()) {
                targets.push(target.name());
            }
            for (name, param) in [("lora_A", &adapter.a), ("lora_B", &adapter.b)] {
                // PEFT keeps [out, in].
                let transposed = param.val().without_autodiff().transpose();
                let shape = transposed.dims();
                let name = format!("base_model.model.model.layers.{index}.{}.{name}.weight", target.path());
                let values = transposed.try_into_vec_as::<f32>();
                let values = values.map_err(|error| Error::weights(&name, format!("cannot be read back: {error:?}")))?;
                tensors.push((name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
            }
        }
    }
    if tensors.is_empty() {
        return Err(Error::Input("the model has no adapters to save".into()));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        view.map(|view| (name.as_str(), view)).map_err(|error| Error::weights(name.as_str(), error.to_string()))
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(views.collect::<Result<Vec<_>>>()?, Some(metadata));
    let bytes = bytes.map_err(|error| Error::weights("adapter_model.safetensors", error.to_string()))?;
    files::write_atomically(&dir.join("adapter_model.safetensors"), &bytes)?;
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": info.base,
        "r": info.rank,
        "lora_alpha": info.alpha,
        "lora_dropout": info.dropout,
        "use_rslora": info.rslora,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
    });
    files::write_atomically(&dir.join("adapter_config.json"), format!("{config:#}\n").as_bytes())
}
