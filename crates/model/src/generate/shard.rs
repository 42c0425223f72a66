//! One batch in flight: prompts wait, take a slot of the cache, are decoded together and leave when they end.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Finish, Generated, Prompt, Run, cache::KvCache, sampling};
use crate::{CausalLm, Error, Result, kernels::decode::Step};

/// Prompt tokens fed in one forward pass; longer prompts go alone.
const PREFILL_TOKENS: usize = 2048;
/// A stop string is looked for in the text of its length plus this many tokens.
const STOP_MARGIN: usize = 8;

/// A sequence that is being decoded.
struct Sequence {
    prompt: usize,
    slot: usize,
    cached: usize,
    tokens: Vec<u32>,
    prompt_len: usize,
    rng: ChaCha8Rng,
}

/// The prompts that one thread decodes with one cache.
pub(super) struct Shard<'a> {
    model: &'a CausalLm,
    run: &'a Run<'a>,
    prompts: &'a [Prompt],
    waiting: VecDeque<usize>,
    active: Vec<Sequence>,
    free_slots: Vec<usize>,
    outputs: Vec<Option<Generated>>,
}

impl<'a> Shard<'a> {
    pub(super) fn new(model: &'a CausalLm, run: &'a Run<'a>, prompts: &'a [Prompt]) -> Self {
        let slots = run.decoding.batch_size.min(prompts.len());
        Self {
            model,
            run,
            prompts,
            waiting: (0..prompts.len()).collect(),
            active: Vec::new(),
            free_slots: (0..slots).rev().collect(),
            outputs: prompts.iter().map(|_| None).collect(),
        }
    }

    pub(super) fn run(mut self) -> Result<Vec<Generated>> {
        let device = self.model.embed_tokens.val().device();
        let longest = self.prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let capacity = longest + self.run.decoding.max_new_tokens.min(256);
        let mut cache = KvCache::new(self.model, self.free_slots.len(), capacity, &device);
        while !(self.waiting.is_empty() && self.active.is_empty()) {
            let admitted = self.admit();
            let first = self.active.len() - admitted;
            if admitted > 0 {
                self.advance(&mut cache, first)?;
            } else {
                self.advance(&mut cache, 0)?;
            }
            self.retire()?;
        }
        Ok(self.outputs.into_iter().flatten().collect())
    }

    /// Gives waiting prompts the free slots, as many as one prefill takes; returns how many.
    fn admit(&mut self) -> usize {
        let (mut admitted, mut tokens) = (0, 0);
        while let Some(&prompt) = self.waiting.front() {
            let ids = &self.prompts[prompt].ids;
            if admitted > 0 && tokens + ids.len() > PREFILL_TOKENS {
                break;
            }
            let Some(slot) = self.free_slots.pop() else { break };
            self.waiting.pop_front();
            let rng = ChaCha8Rng::seed_from_u64(self.prompts[prompt].seed);
            self.active.push(Sequence { prompt, slot, cached: 0, tokens: ids.clone(), prompt_len: ids.len(), rng });
            (admitted, tokens) = (admitted + 1, tokens + ids.len());
        }
        admitted
    }

    /// Feeds what the cache lacks of the sequences from `first` on and gives each its next token.
    fn advance(&mut self, cache: &mut KvCache, first: usize) -> Result<()> {
        let sequences = &mut self.active[first..];
        let mut fed = Vec::new();
        let steps: Vec<Step> = sequences
            .iter()
            .map(|sequence| {
                fed.extend_from_slice(&sequence.tokens[sequence.cached..]);
                Step { slot: sequence.slot, cached: sequence.cached, count: sequence.tokens.len() - sequence.cached }
            })
            .collect();
        cache.reserve(sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(0));
        let logits = self.model.forward_cached(&fed, &steps, cache);
        let mut logits = logits.try_into_vec_as::<f32>().map_err(|error| Error::Generate(format!("logits cannot be read: {error:?}")))?;
        let vocab = self.model.config().vocab_size;
        for (sequence, row) in sequences.iter_mut().zip(logits.chunks_exact_mut(vocab)) {
            sequence.cached = sequence.tokens.len();
            let token = sampling::choose(row, self.run.decoding, &sequence.tokens, &mut sequence.rng);
            sequence.tokens.push(token);
        }
        self.run.advance(0, steps.len())
    }

    /// Moves ended sequences to the outputs and frees their slots.
    fn retire(&mut self) -> Result<()> {
        let mut index = 0;
        let mut finished = 0;
        while index < self.active.len() {
            match self.ended(&self.active[index])? {
                Some(output) => {
                    let sequence = self.active.remove(index);
                    self.free_slots.push(sequence.slot);
                    self.outputs[sequence.prompt] = Some(output);
                    finished += 1;
                }
                None => index += 1,
            }
        }
        self.run.advance(finished, 0)
    }

    fn ended(&self, sequence: &Sequence) -> Result<Option<Generated>> {
        let new = &sequence.tokens[sequence.prompt_len..];
        let Some((&last, before)) = new.split_last() else { return Ok(None) };
        let decoding = self.run.decoding;
        let stops = if decoding.stop_ids.is_empty() { &self.model.config().eos_token_ids } else { &decoding.stop_ids };
        if stops.contains(&last) {
            return self.output(before, Finish::Stop).map(Some);
        }
        if self.stop_string_in(new)? {
            return self.output(new, Finish::Stop).map(Some);
        }
        if new.len() >= decoding.max_new_tokens {
            return self.output(new, Finish::Length).map(Some);
        }
        Ok(None)
    }

    /// Whether a stop string stands at the end of the text so far; an earlier one would have ended the sequence.
    fn stop_string_in(&self, new: &[u32]) -> Result<bool> {
        let stops = &self.run.decoding.stop_strings;
        let Some(longest) = stops.iter().map(String::len).max() else { return Ok(false) };
        let tail = self.run.tokenizer.decode(&new[new.len().saturating_sub(longest + STOP_MARGIN)..], true)?;
        Ok(stops.iter().any(|stop| tail.contains(stop.as_str())))
    }

    fn output(&self, ids: &[u32], finish: Finish) -> Result<Generated> {
        let mut text = self.run.tokenizer.decode(ids, true)?;
        if finish == Finish::Stop
            && let Some(at) = self.run.decoding.stop_strings.iter().filter_map(|stop| text.find(stop.as_str())).min()
        {
            text.truncate(at);
        }
        Ok(Generated { ids: ids.to_vec(), text, finish })
    }
}
