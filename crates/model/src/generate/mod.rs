//! Text generation: batched decoding over a cache of keys and values.
//!
//! Prompts are cut into shards of fixed size, which threads take one after the other; within a shard finished sequences
//! leave the batch and waiting ones take their place. Which prompts meet in a batch depends on their order alone, so that
//! the outcome does not depend on the number of threads.

mod cache;
mod sampling;
mod shard;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use burn::module::Module;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CausalLm, Error, Result, Tokenizer};
use shard::Shard;

/// Prompts per shard, in batches: while the last sequences of a shard finish, its batch runs half empty.
const BATCHES_PER_SHARD: usize = 2;

/// How tokens are chosen and when a sequence ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// Most tokens to generate per prompt.
    pub max_new_tokens: usize,
    /// Softmax temperature; 0 always takes the most probable token.
    pub temperature: f32,
    /// Nucleus: sample from the most probable tokens that together reach this probability. 1 is off.
    pub top_p: f32,
    /// Sample from this many most probable tokens. 0 is off.
    pub top_k: usize,
    /// Drop tokens less probable than this fraction of the most probable one. 0 is off.
    pub min_p: f32,
    /// Logits of tokens that already occurred are divided (positive) or multiplied (negative) by this. 1 is off.
    pub repetition_penalty: f32,
    /// Tokens that end a sequence; the model's own when empty.
    pub stop_ids: Vec<u32>,
    /// Strings that end a sequence; they are cut off.
    pub stop_strings: Vec<String>,
    /// Sequences decoded together.
    pub batch_size: usize,
    /// Threads; each holds one batch. Results do not depend on it.
    pub threads: usize,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            max_new_tokens: 512,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            stop_ids: Vec::new(),
            stop_strings: Vec::new(),
            batch_size: 32,
            threads: 1,
        }
    }
}

impl Decoding {
    fn validate(&self) -> Result<()> {
        let wrong = |name: &str, limit: &str, found: String| Err(Error::Generate(format!("{name} must be {limit}, found {found}")));
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return wrong("temperature", "finite and not negative", self.temperature.to_string());
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", "above 0 and at most 1", self.top_p.to_string());
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min_p", "between 0 and 1", self.min_p.to_string());
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return wrong("repetition_penalty", "finite and positive", self.repetition_penalty.to_string());
        }
        if self.batch_size == 0 || self.threads == 0 || self.max_new_tokens == 0 {
            return wrong("batch_size, threads and max_new_tokens", "at least 1", "0".into());
        }
        Ok(())
    }
}

/// One sequence to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens, at least one.
    pub ids: Vec<u32>,
    /// Seed of the choices made for this prompt, whatever else is in the batch.
    pub seed: u64,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its turn, or a stop string appeared.
    Stop,
    /// `max_new_tokens` were generated.
    Length,
}

/// What was generated for one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the one that ended the sequence.
    pub ids: Vec<u32>,
    /// Their text without special tokens, cut before a stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

/// The outcome for all prompts, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateReport {
    /// One per prompt.
    pub outputs: Vec<Generated>,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub new_tokens: usize,
    /// Wall-clock time.
    pub seconds: f64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Prompts that are finished.
    pub finished: usize,
    /// Tokens generated so far.
    pub new_tokens: usize,
}

/// Continues every prompt. `progress` is called now and then, from several threads; when it returns `false` the run stops.
///
/// # Errors
/// When a setting is out of range, a prompt is empty, has tokens outside the vocabulary or does not fit the context
/// together with `max_new_tokens`, or when the run was stopped.
pub fn generate(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[Prompt],
    decoding: &Decoding,
    progress: &(dyn Fn(Progress) -> bool + Sync),
) -> Result<GenerateReport> {
    let started = Instant::now();
    decoding.validate()?;
    prompts.iter().enumerate().try_for_each(|(index, prompt)| check_prompt(model, index, prompt, decoding))?;
    let run = Run {
        prompts,
        tokenizer,
        decoding,
        progress,
        finished: AtomicUsize::new(0),
        new_tokens: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
    };
    let size = decoding.batch_size * BATCHES_PER_SHARD;
    let shards: Vec<&[Prompt]> = prompts.chunks(size).collect();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<Vec<Generated>>>>> = Mutex::new(shards.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..decoding.threads.min(shards.len()) {
            let replica = model.valid();
            scope.spawn(|| {
                let replica = replica;
                while let Some((index, shard)) = take(&next, &shards) {
                    let outcome = Shard::new(&replica, &run, shard).run();
                    results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(outcome);
                }
            });
        }
    });
    let mut outputs = Vec::with_capacity(prompts.len());
    for shard in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        outputs.extend(shard.unwrap_or_else(|| Err(Error::Generate("a worker ended early".into())))?);
    }
    Ok(GenerateReport {
        prompt_tokens: prompts.iter().map(|prompt| prompt.ids.len()).sum(),
        new_tokens: run.new_tokens.into_inner(),
        seconds: started.elapsed().as_secs_f64(),
        outputs,
    })
}

fn take<'a>(next: &AtomicUsize, shards: &[&'a [Prompt]]) -> Option<(usize, &'a [Prompt])> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, *shards.get(index)?))
}

fn check_prompt(model: &CausalLm, index: usize, prompt: &Prompt, decoding: &Decoding) -> Result<()> {
    let (length, new, limit) = (prompt.ids.len(), decoding.max_new_tokens, model.config().max_position_embeddings);
    if length == 0 {
        return Err(Error::Generate(format!("prompt {index} is empty")));
    }
    if length + new > limit {
        return Err(Error::Generate(format!(
            "prompt {index} has {length} tokens; with max_new_tokens = {new} it exceeds the model's context of {limit}"
        )));
    }
    model.check_tokens(&prompt.ids)
}

/// What all threads of a run share.
pub(crate) struct Run<'a> {
    prompts: &'a [Prompt],
    tokenizer: &'a Tokenizer,
    decoding: &'a Decoding,
    progress: &'a (dyn Fn(Progress) -> bool + Sync),
    finished: AtomicUsize,
    new_tokens: AtomicUsize,
    stopped: AtomicBool,
}

impl Run<'_> {
    /// Counts and reports; an error once the run was stopped.
    fn advance(&self, finished: usize, new_tokens: usize) -> Result<()> {
        let finished = self.finished.fetch_add(finished, Ordering::Relaxed) + finished;
        let new_tokens = self.new_tokens.fetch_add(new_tokens, Ordering::Relaxed) + new_tokens;
        if self.stopped.load(Ordering::Relaxed) || !(self.progress)(Progress { finished, new_tokens }) {
            self.stopped.store(true, Ordering::Relaxed);
            return Err(Error::Generate(format!("stopped after {finished} of {} prompts", self.prompts.len())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
