//! Where sequences are computed: on the CPU over packed weights, or on a device through burn.

use burn::tensor::{Device, Tensor};

use super::cache::KvCache;
use crate::{
    CausalLm, Error, Result,
    cpu::{Buffers, CpuModel, Kv, Team},
    kernels::decode::Step,
};

/// Computes sequences, each in a slot of its own.
pub(crate) trait Runner {
    /// Makes slot `to` hold what slot `from` holds of its first `tokens`.
    fn branch(&mut self, from: usize, to: usize, tokens: usize);

    /// Makes the slot forget what comes after its first `tokens`.
    fn truncate(&mut self, slot: usize, tokens: usize);

    /// Feeds the steps' tokens, one step after the other; with `logits` returns those after each step's last token,
    /// `[steps, vocab]`.
    fn forward(&mut self, tokens: &[u32], steps: &[Step], logits: bool) -> Result<Vec<f32>>;

    /// As [`forward`](Self::forward), but draws the token after each step, where that is cheaper than handing out a
    /// vocabulary of logits; `None` where it is not: nothing was fed, and `draws` was not called. With `greedy` all draws take
    /// the most probable token.
    fn choose(&mut self, tokens: &[u32], steps: &[Step], greedy: bool, draws: &mut dyn FnMut() -> Vec<Draw>) -> Result<Option<Vec<u32>>> {
        let _ = (tokens, steps, greedy, draws);
        Ok(None)
    }
}

/// How a token is drawn; see [`Decoding`](super::Decoding).
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the CPU hands out logits; only a GPU draws"))]
pub(crate) struct Draw {
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) min_p: f32,
    pub(crate) top_k: usize,
    /// Where the token is taken in the sum over what is left of the distribution, 0 to 1.
    pub(crate) at: f32,
}

/// The CPU.
pub(super) struct CpuRunner<'a> {
    model: &'a CpuModel,
    caches: Vec<Kv>,
    team: Team,
    buffers: Buffers,
}

impl<'a> CpuRunner<'a> {
    pub(super) fn new(model: &'a CpuModel, slots: usize, threads: usize) -> Result<Self> {
        let caches = (0..slots).map(|_| model.cache()).collect();
        Ok(Self { model, caches, team: Team::new(threads)?, buffers: Buffers::default() })
    }
}

impl Runner for CpuRunner<'_> {
    fn branch(&mut self, from: usize, to: usize, tokens: usize) {
        self.caches[to] = self.caches[from].branch(tokens);
    }

    fn truncate(&mut self, slot: usize, tokens: usize) {
        self.caches[slot].truncate(tokens);
    }

    fn forward(&mut self, tokens: &[u32], steps: &[Step], logits: bool) -> Result<Vec<f32>> {
        let Self { model, caches, team, buffers } = self;
        Ok(team.enter(|| model.forward(tokens, steps, caches, team, buffers, logits)))
    }
}

/// Any device of burn.
pub(super) struct DeviceRunner {
    model: CausalLm,
    cache: KvCache,
}

/// Tokens that a fresh cache has room for in each slot.
const FIRST_CAPACITY: usize = 256;

impl DeviceRunner {
    pub(super) fn new(model: CausalLm, slots: usize, device: &Device) -> Self {
        let capacity = FIRST_CAPACITY.min(model.config().max_position_embeddings);
        let cache = KvCache::new(&model, slots, capacity, device);
        Self { model, cache }
    }
}

impl Runner for DeviceRunner {
    fn branch(&mut self, from: usize, to: usize, tokens: usize) {
        self.cache.copy(from, to, tokens);
    }

    /// Later tokens are overwritten.
    fn truncate(&mut self, _: usize, _: usize) {}

    fn forward(&mut self, tokens: &[u32], steps: &[Step], logits: bool) -> Result<Vec<f32>> {
        let out = self.feed(tokens, steps);
        if !logits {
            return Ok(Vec::new());
        }
        out.try_into_vec_as::<f32>().map_err(unreadable)
    }

    /// One number per sequence crosses to the host instead of a vocabulary.
    fn choose(&mut self, tokens: &[u32], steps: &[Step], greedy: bool, _: &mut dyn FnMut() -> Vec<Draw>) -> Result<Option<Vec<u32>>> {
        if !greedy {
            return Ok(None);
        }
        let best = self.feed(tokens, steps).argmax(1).try_into_data().map_err(unreadable)?;
        Ok(Some(best.iter::<u32>().collect()))
    }
}

impl DeviceRunner {
    fn feed(&mut self, tokens: &[u32], steps: &[Step]) -> Tensor<2> {
        self.cache.reserve(steps.iter().map(|step| step.cached + step.count).max().unwrap_or(0));
        self.model.forward_cached(tokens, steps, &mut self.cache)
    }
}

fn unreadable(error: impl std::fmt::Debug) -> Error {
    Error::Generate(format!("logits cannot be read: {error:?}"))
}
