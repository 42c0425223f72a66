//! Text generation: continuous batching over a cache of keys and values.
//!
//! A [`Decoder`] is a model laid out for it. [`generate`] continues a list of prompts; an [`Engine`] takes requests as they
//! come. Sequences that have ended make room for waiting ones, samples of one prompt share its keys and values, and on the
//! CPU a sequence comes out the same alone, in any batch and on any number of threads.

mod cache;
mod decoder;
mod decoding;
mod engine;
#[cfg(feature = "cuda")]
mod gpu;
mod runner;
mod sampling;
mod scheduler;
mod sequence;
mod text;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use serde::{Deserialize, Serialize};

pub use self::{
    decoder::Decoder,
    decoding::{Batching, Decoding, ThinkingBudget},
    engine::{Engine, Request, Update},
    sequence::Part,
};
use crate::{Error, Result};
use scheduler::{Event, Scheduler};
use sequence::Group;

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

/// One token with its log-probability under the model, before temperature and penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// Its natural log-probability.
    pub logprob: f32,
    /// The most probable tokens at this place, best first.
    pub top: Vec<(u32, f32)>,
}

/// What was generated for one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The new tokens, without the one that ended the sequence.
    pub ids: Vec<u32>,
    /// Their text, cut before a stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// One per token, when they were asked for.
    pub logprobs: Vec<TokenLogprob>,
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
/// Neighbouring prompts with the same tokens are samples of one prompt, whose keys and values they share.
///
/// # Errors
/// When a setting is out of range, a prompt is empty, has tokens outside the vocabulary or does not fit the context
/// together with `max_new_tokens`, or when the run was stopped.
pub fn generate(
    decoder: &Decoder,
    prompts: &[Prompt],
    decoding: &Decoding,
    batching: Batching,
    progress: &(dyn Fn(Progress) -> bool + Sync),
) -> Result<GenerateReport> {
    let started = Instant::now();
    decoding.validate()?;
    batching.validate()?;
    let check = |(index, prompt): (usize, &Prompt)| decoder.check_prompt(&format!("prompt {index}"), &prompt.ids, decoding.max_new_tokens);
    prompts.iter().enumerate().try_for_each(check)?;
    let groups = groups(prompts, &Arc::new(decoding.clone()));
    // Side by side as long as each has a full batch; the threads that are left share each product.
    let full = prompts.len().div_ceil(batching.size).min(groups.len());
    let workers = if decoder.replicable() { batching.threads.min(full).max(1) } else { 1 };
    let run = Run {
        decoder,
        total: prompts.len(),
        groups: Mutex::new(groups),
        outputs: Mutex::new(prompts.iter().map(|_| None).collect()),
        progress,
        finished: AtomicUsize::new(0),
        new_tokens: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
    };
    let team = (batching.threads / workers).max(1);
    let slots = batching.size.min(prompts.len());
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(move || run.work(slots, team))).collect();
        let ended = |_| Err(Error::Generate("a worker ended early".into()));
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(ended)).collect()
    });
    outcomes.into_iter().collect::<Result<()>>()?;
    let outputs: Vec<Generated> = run.outputs.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect();
    Ok(GenerateReport {
        prompt_tokens: prompts.iter().map(|prompt| prompt.ids.len()).sum(),
        new_tokens: run.new_tokens.into_inner(),
        seconds: started.elapsed().as_secs_f64(),
        outputs,
    })
}

/// Neighbouring prompts with the same tokens, together; a group's id is the index of its first prompt.
fn groups(prompts: &[Prompt], decoding: &Arc<Decoding>) -> VecDeque<Group> {
    let mut groups: VecDeque<Group> = VecDeque::new();
    for (index, prompt) in prompts.iter().enumerate() {
        match groups.back_mut() {
            Some(group) if *group.ids == *prompt.ids => group.seeds.push(prompt.seed),
            _ => groups.push_back(Group {
                id: index,
                ids: prompt.ids.as_slice().into(),
                seeds: vec![prompt.seed],
                decoding: Arc::clone(decoding),
                streamed: false,
            }),
        }
    }
    groups
}

/// What all threads of a run share.
struct Run<'a> {
    decoder: &'a Decoder,
    total: usize,
    groups: Mutex<VecDeque<Group>>,
    outputs: Mutex<Vec<Option<Generated>>>,
    progress: &'a (dyn Fn(Progress) -> bool + Sync),
    finished: AtomicUsize,
    new_tokens: AtomicUsize,
    stopped: AtomicBool,
}

impl Run<'_> {
    fn next(&self) -> Option<Group> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Takes groups as there is room for them, until there are no more.
    fn work(&self, slots: usize, threads: usize) -> Result<()> {
        let mut scheduler = Scheduler::new(self.decoder, slots, threads)?;
        loop {
            while scheduler.room() > 0
                && let Some(group) = self.next()
            {
                scheduler.push(group);
            }
            if scheduler.idle() {
                return Ok(());
            }
            let (mut finished, mut new_tokens) = (0, 0);
            scheduler.step(&mut |group, sample, event| match event {
                Event::Grew(_) => new_tokens += 1,
                Event::Ended(generated) => {
                    self.outputs.lock().unwrap_or_else(PoisonError::into_inner)[group.id + sample] = Some(generated);
                    finished += 1;
                }
            })?;
            self.advance(finished, new_tokens)?;
        }
    }

    /// Counts and reports; an error once the run was stopped.
    fn advance(&self, finished: usize, new_tokens: usize) -> Result<()> {
        let finished = self.finished.fetch_add(finished, Ordering::Relaxed) + finished;
        let new_tokens = self.new_tokens.fetch_add(new_tokens, Ordering::Relaxed) + new_tokens;
        if self.stopped.load(Ordering::Relaxed) || !(self.progress)(Progress { finished, new_tokens }) {
            self.stopped.store(true, Ordering::Relaxed);
            return Err(Error::Generate(format!("stopped after {finished} of {} prompts", self.total)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
