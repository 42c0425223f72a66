//! Sequences on a GPU whose kernels have the model.

use std::sync::MutexGuard;

use potstill_cuda::{Decoder, Fed};

use super::runner::{Draw, Runner};
use crate::{Error, Result, kernels::decode::Step};

/// Tokens that a fresh cache has room for in each slot.
const FIRST_CAPACITY: usize = 512;

/// The GPU, for as long as one batch runs. A slot is a run of `capacity` rows of its cache.
pub(super) struct GpuRunner<'a> {
    decoder: MutexGuard<'a, Decoder>,
    slots: usize,
    capacity: usize,
    longest: usize,
    /// What went wrong where nothing could be told.
    failed: Option<Error>,
}

impl<'a> GpuRunner<'a> {
    pub(super) fn new(mut decoder: MutexGuard<'a, Decoder>, slots: usize, longest: usize) -> Result<Self> {
        let capacity = FIRST_CAPACITY.min(longest);
        decoder.resize(slots, 0, capacity)?;
        Ok(Self { decoder, slots, capacity, longest, failed: None })
    }

    /// Makes room for sequences of `needed` tokens, at least doubling.
    fn reserve(&mut self, needed: usize) -> Result<()> {
        if needed > self.capacity {
            let capacity = needed.max(2 * self.capacity).min(self.longest.max(needed));
            self.decoder.resize(self.slots, self.capacity, capacity)?;
            self.capacity = capacity;
        }
        Ok(())
    }

    /// Feeds the steps' tokens and hands them to `compute`.
    fn feed<R>(
        &mut self,
        tokens: &[u32],
        steps: &[Step],
        compute: impl FnOnce(&mut Decoder, &Fed<'_>) -> potstill_cuda::Result<R>,
    ) -> Result<R> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.reserve(steps.iter().map(|step| step.cached + step.count).max().unwrap_or(0))?;
        let tokens: Vec<i32> = tokens.iter().map(|&token| token.cast_signed()).collect();
        let of = |step: &Step, first: usize| {
            let range = first + step.cached..first + step.cached + step.count;
            range.map(|at| at as i32)
        };
        let positions: Vec<i32> = steps.iter().flat_map(|step| of(step, 0)).collect();
        let places: Vec<i32> = steps.iter().flat_map(|step| of(step, step.slot * self.capacity)).collect();
        let ends = steps.iter().scan(0, |end, step| {
            *end += step.count;
            Some(*end as i32 - 1)
        });
        let last: Vec<i32> = ends.collect();
        Ok(compute(&mut self.decoder, &Fed { tokens: &tokens, positions: &positions, places: &places, last: &last })?)
    }
}

impl Runner for GpuRunner<'_> {
    fn branch(&mut self, from: usize, to: usize, tokens: usize) {
        let copied = self.decoder.copy(from * self.capacity, to * self.capacity, tokens);
        self.failed = self.failed.take().or(copied.err().map(Error::from));
    }

    /// Later tokens are overwritten.
    fn truncate(&mut self, _: usize, _: usize) {}

    fn forward(&mut self, tokens: &[u32], steps: &[Step], logits: bool) -> Result<Vec<f32>> {
        if logits { self.feed(tokens, steps, Decoder::logits) } else { self.feed(tokens, steps, Decoder::feed).map(|()| Vec::new()) }
    }

    /// One number per sequence crosses to the host instead of a vocabulary.
    fn choose(&mut self, tokens: &[u32], steps: &[Step], greedy: bool, draws: &mut dyn FnMut() -> Vec<Draw>) -> Result<Option<Vec<u32>>> {
        let chosen = if greedy {
            self.feed(tokens, steps, Decoder::best)?
        } else {
            let of = |draw: Draw| potstill_cuda::Draw {
                temperature: draw.temperature,
                top_p: draw.top_p,
                min_p: draw.min_p,
                top_k: i32::try_from(draw.top_k).unwrap_or(0),
                at: draw.at,
            };
            let draws: Vec<potstill_cuda::Draw> = draws().into_iter().map(of).collect();
            self.feed(tokens, steps, |decoder, fed| decoder.draw(fed, &draws))?
        };
        Ok(Some(chosen.into_iter().map(i32::cast_unsigned).collect()))
    }
}
