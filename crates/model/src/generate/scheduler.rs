//! Continuous batching: sequences wait, take a slot, are decoded together and make room when they end.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Decoder, Generated,
    runner::Runner,
    sequence::{Group, Part, Sequence},
};
use crate::{Result, kernels::decode::Step};

/// Prompt tokens of one sequence that are fed at a time. Pieces begin at multiples of it, so that a prompt is always cut
/// in the same places.
const PIECE: usize = 512;
/// Prompt tokens that are fed between two decoding steps.
const PREFILL: usize = 1024;

/// What happened to a sample.
pub(super) enum Event {
    /// It has a new token, and perhaps new text.
    Grew(Option<Part>),
    /// It ended.
    Ended(Generated),
}

/// A sample that has no slot yet.
struct Waiting {
    group: Arc<Group>,
    sample: usize,
}

/// A slot that nobody uses, and the prompt that it still holds.
struct Free {
    slot: usize,
    prompt: Option<Arc<Group>>,
}

/// The sequences of one runner.
pub(super) struct Scheduler<'a> {
    decoder: &'a Decoder,
    runner: Box<dyn Runner + 'a>,
    waiting: VecDeque<Waiting>,
    active: Vec<Sequence>,
    free: Vec<Free>,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(decoder: &'a Decoder, slots: usize, threads: usize) -> Result<Self> {
        let free = (0..slots).rev().map(|slot| Free { slot, prompt: None }).collect();
        Ok(Self { decoder, runner: decoder.runner(slots, threads)?, waiting: VecDeque::new(), active: Vec::new(), free })
    }

    /// Lines all samples of a group up.
    pub(super) fn push(&mut self, group: Group) {
        let group = Arc::new(group);
        self.waiting.extend((0..group.seeds.len()).map(|sample| Waiting { group: Arc::clone(&group), sample }));
    }

    /// Drops every sample of a group.
    pub(super) fn cancel(&mut self, id: usize) {
        self.waiting.retain(|waiting| waiting.group.id != id);
        let (gone, stay) = std::mem::take(&mut self.active).into_iter().partition(|sequence| sequence.group.id == id);
        self.active = stay;
        for sequence in gone {
            self.release(&sequence);
        }
    }

    /// Slots for which nobody waits.
    pub(super) fn room(&self) -> usize {
        self.free.len().saturating_sub(self.waiting.len())
    }

    pub(super) fn idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// Feeds some prompt tokens, decodes one token of every sequence that is ready, and tells what happened.
    pub(super) fn step(&mut self, tell: &mut dyn FnMut(&Group, usize, Event)) -> Result<()> {
        self.admit()?;
        self.prefill()?;
        self.decode()?;
        self.retire(tell)
    }

    /// Gives waiting samples the free slots. A sample whose prompt is being fed for another one waits for that.
    fn admit(&mut self) -> Result<()> {
        let mut index = 0;
        while !self.free.is_empty() && index < self.waiting.len() {
            let group = &self.waiting[index].group;
            let shared = group.ids.len() - 1;
            let sibling = self.active.iter().find(|sequence| Arc::ptr_eq(&sequence.group, group));
            if sibling.is_some_and(|sibling| sibling.cached < shared) {
                index += 1;
                continue;
            }
            let holder = self.free.iter().position(|free| free.prompt.as_ref().is_some_and(|held| Arc::ptr_eq(held, group)));
            let from = sibling.map(|sibling| sibling.slot).or_else(|| Some(self.free[holder?].slot));
            let free = self.free.swap_remove(holder.unwrap_or(self.free.len() - 1));
            let Some(waiting) = self.waiting.remove(index) else { break };
            let mut sequence = Sequence::new(waiting.group, waiting.sample, free.slot, self.decoder)?;
            match from {
                Some(from) if from != free.slot => self.runner.branch(from, free.slot, shared),
                Some(_) => self.runner.truncate(free.slot, shared),
                None => self.runner.truncate(free.slot, 0),
            }
            sequence.cached = if from.is_some() { shared } else { 0 };
            self.active.push(sequence);
        }
        Ok(())
    }

    /// Feeds prompts up to their last token, which is decoded like every later one.
    fn prefill(&mut self) -> Result<()> {
        let (mut tokens, mut steps) = (Vec::new(), Vec::new());
        for sequence in &mut self.active {
            let left = sequence.prompt_len() - 1 - sequence.cached.min(sequence.prompt_len() - 1);
            let count = left.min(PIECE);
            if count == 0 || (!tokens.is_empty() && tokens.len() + count > PREFILL) {
                continue;
            }
            tokens.extend_from_slice(&sequence.tokens[sequence.cached..sequence.cached + count]);
            steps.push(Step { slot: sequence.slot, cached: sequence.cached, count });
            sequence.cached += count;
        }
        if !steps.is_empty() {
            self.runner.forward(&tokens, &steps, false)?;
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<()> {
        let ready = |sequence: &&mut Sequence| sequence.ready();
        let steps: Vec<Step> = self.active.iter_mut().filter(ready).map(|s| Step { slot: s.slot, cached: s.cached, count: 1 }).collect();
        let tokens: Vec<u32> = self.active.iter_mut().filter(ready).filter_map(|s| s.tokens.last().copied()).collect();
        if steps.is_empty() {
            return Ok(());
        }
        let chosen = if self.active.iter_mut().filter(ready).all(|sequence| sequence.is_plain()) {
            let greedy = self.active.iter_mut().filter(ready).all(|sequence| sequence.group.decoding.temperature == 0.0);
            let Self { active, runner, .. } = self;
            let mut draws = || active.iter_mut().filter(ready).map(Sequence::draw).collect();
            runner.choose(&tokens, &steps, greedy, &mut draws)?
        } else {
            None
        };
        let mut logits = if chosen.is_none() { self.runner.forward(&tokens, &steps, true)? } else { Vec::new() };
        let mut rows = logits.chunks_exact_mut(self.decoder.config().vocab_size);
        for (index, sequence) in self.active.iter_mut().filter(ready).enumerate() {
            sequence.cached += 1;
            let cached = sequence.cached;
            match (&chosen, rows.next()) {
                (Some(chosen), _) => sequence.push(chosen[index], false, self.decoder)?,
                (None, Some(row)) => sequence.advance(row, self.decoder)?,
                (None, None) => {}
            }
            if sequence.cached < cached {
                self.runner.truncate(sequence.slot, sequence.cached);
            }
        }
        Ok(())
    }

    /// Tells what is new and frees the slots of sequences that have ended.
    fn retire(&mut self, tell: &mut dyn FnMut(&Group, usize, Event)) -> Result<()> {
        let mut index = 0;
        while index < self.active.len() {
            let sequence = &mut self.active[index];
            let group = Arc::clone(&sequence.group);
            if sequence.tokens.len() > sequence.prompt_len() {
                let part = if group.streamed { sequence.new_part() } else { None };
                tell(&group, sequence.sample, Event::Grew(part));
            }
            let Some(generated) = sequence.finished(self.decoder)? else {
                index += 1;
                continue;
            };
            let sequence = self.active.remove(index);
            self.release(&sequence);
            tell(&group, sequence.sample, Event::Ended(generated));
        }
        Ok(())
    }

    /// The slot keeps its prompt as long as another sample may want it.
    fn release(&mut self, sequence: &Sequence) {
        let wanted = sequence.cached + 1 >= sequence.prompt_len() && self.waiting.iter().any(|w| Arc::ptr_eq(&w.group, &sequence.group));
        if !wanted {
            self.runner.truncate(sequence.slot, 0);
        }
        self.free.push(Free { slot: sequence.slot, prompt: wanted.then(|| Arc::clone(&sequence.group)) });
    }
}
