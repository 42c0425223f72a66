//! One optimizer step over all trained parameters: AdamW, or Muon for matrices and AdamW for the rest.

use burn::optim::momentum::{MomentumConfig, MomentumState};
use burn::optim::{AdjustLrFn, MuonConfig, MuonState, Optimizer as _};
use burn::tensor::{Device, Tensor, TensorData};
use potstill_model::CausalLm;
use potstill_model::parallel::Split;

use crate::adamw::{AdamW, Moments, Parameter, global_norm};
use crate::config::{OptimizerKind, SftConfig};
use crate::params::{self, ParamGroup, ParamInfo};

/// Muon's momentum.
const MOMENTUM: f64 = 0.95;

/// The optimizer's state, and what it knows of the parameters.
#[derive(Debug)]
pub struct Optimizer {
    infos: Vec<ParamInfo>,
    /// The moments, which a checkpoint keeps. A matrix under Muon has a momentum and no second moment.
    pub moments: Moments,
}

impl Optimizer {
    /// Zero moments for the trained parameters of a model.
    #[must_use]
    pub fn new(config: &SftConfig, model: &CausalLm) -> Self {
        let infos = params::describe(model);
        let sizes: Vec<usize> = infos.iter().map(ParamInfo::size).collect();
        let mut moments = Moments::zeros(&sizes);
        for (info, second) in infos.iter().zip(&mut moments.second) {
            if uses_muon(config, info) {
                *second = Vec::new();
            }
        }
        Self { infos, moments }
    }

    /// The trained parameters.
    #[must_use]
    pub fn infos(&self) -> &[ParamInfo] {
        &self.infos
    }

    /// Whether each trained parameter decays.
    pub(crate) fn decays(&self, config: &SftConfig) -> Vec<bool> {
        self.infos.iter().map(|info| decays(config, info)).collect()
    }

    /// Norm over all gradients together.
    #[must_use]
    pub fn norm(&self, split: &Split, gradients: &[Vec<f32>]) -> f64 {
        global_norm(split, gradients)
    }

    /// Updates every trained parameter at this learning rate. Gradients are multiplied by `clip` on the way.
    pub fn step(
        &mut self,
        config: &SftConfig,
        split: &Split,
        model: CausalLm,
        gradients: &[Vec<f32>],
        (learning_rate, clip): (f64, f64),
    ) -> CausalLm {
        let adamw = AdamW::new(config, learning_rate, self.moments.time);
        let (infos, Moments { first, second, time }) = (&self.infos, &mut self.moments);
        let model = params::update(model, &mut |index, values| {
            let (info, gradient) = (&infos[index], &gradients[index]);
            if uses_muon(config, info) {
                muon(config, info, values, gradient, &mut first[index], (learning_rate, clip), *time == 0);
            } else {
                let parameter = Parameter { values, gradient, first: &mut first[index], second: &mut second[index] };
                adamw.update_shared(split, parameter, clip as f32, decays(config, info));
            }
        });
        *time += 1;
        model
    }
}

fn uses_muon(config: &SftConfig, info: &ParamInfo) -> bool {
    config.optimizer == OptimizerKind::Muon && info.group == ParamGroup::Matrix
}

fn decays(config: &SftConfig, info: &ParamInfo) -> bool {
    match info.group {
        ParamGroup::Matrix | ParamGroup::Head => true,
        ParamGroup::Embedding => config.decay_embeddings,
        ParamGroup::Vector => false,
    }
}

/// burn's Muon on one matrix. Its step is matched to AdamW's root mean square (Liu et al. 2025, arXiv:2502.16982), so that
/// one learning rate serves both.
fn muon(
    config: &SftConfig,
    info: &ParamInfo,
    values: &mut [f32],
    gradient: &[f32],
    velocity: &mut [f32],
    (learning_rate, clip): (f64, f64),
    fresh: bool,
) {
    let device = Device::flex();
    let [rows, cols] = info.shape[..] else { return };
    let tensor = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [rows, cols]), &device);
    let momentum = MomentumConfig { momentum: MOMENTUM, dampening: 0.0, nesterov: true };
    let optimizer = MuonConfig::new().with_momentum(momentum).with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW).build();
    let gradient: Vec<f32> = gradient.iter().map(|g| g * clip as f32).collect();
    let state = (!fresh).then(|| MuonState::new(MomentumState::new(tensor(velocity.to_vec()))));
    // burn keeps the new momentum to itself; it is this.
    let keep = if fresh { 0.0 } else { MOMENTUM as f32 };
    velocity.iter_mut().zip(&gradient).for_each(|(v, g)| *v = *v * keep + g);
    if decays(config, info) {
        let keep = (1.0 - learning_rate * config.weight_decay) as f32;
        values.iter_mut().for_each(|value| *value *= keep);
    }
    let (updated, _) = optimizer.step(learning_rate, tensor(values.to_vec()), tensor(gradient), state);
    values.copy_from_slice(&params::to_vec(updated));
}
