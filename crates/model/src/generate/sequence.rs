//! One sequence that is being continued: its tokens, its text, when it ends, and what is written in the model's stead.

use std::{collections::VecDeque, sync::Arc};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Decoder, Decoding, Finish, Generated, TokenLogprob,
    runner::Draw,
    sampling,
    text::{GrowingText, certain, find_any},
};
use crate::{Result, ThinkingBudget};

/// A prompt and how each of its samples is continued.
#[derive(Debug)]
pub(super) struct Group {
    /// Chosen by whoever asks.
    pub(super) id: usize,
    pub(super) ids: Arc<[u32]>,
    /// One per sample.
    pub(super) seeds: Vec<u64>,
    pub(super) decoding: Arc<Decoding>,
    /// Text is wanted as it grows.
    pub(super) streamed: bool,
}

/// What a sample has grown by.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The new text.
    pub text: String,
    /// The log-probabilities of the new tokens, when they were asked for.
    pub logprobs: Vec<TokenLogprob>,
}

/// Where thinking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thinking {
    /// Not begun, or not watched.
    Outside,
    /// Since this new token and this byte of the text.
    Inside { token: usize, byte: usize },
    /// Over.
    Over,
}

/// A sample in flight.
pub(super) struct Sequence {
    pub(super) group: Arc<Group>,
    pub(super) sample: usize,
    pub(super) slot: usize,
    /// Tokens that the slot holds.
    pub(super) cached: usize,
    pub(super) tokens: Vec<u32>,
    rng: ChaCha8Rng,
    text: GrowingText,
    /// Bytes of the text that were handed out.
    emitted: usize,
    /// Log-probabilities that were handed out.
    told: usize,
    thinking: Thinking,
    extensions: u32,
    /// Tokens that come next whatever the model says.
    forced: VecDeque<u32>,
    logprobs: Vec<TokenLogprob>,
    finish: Option<(Finish, usize)>,
}

impl Sequence {
    pub(super) fn new(group: Arc<Group>, sample: usize, slot: usize, decoder: &Decoder) -> Result<Self> {
        let rng = ChaCha8Rng::seed_from_u64(group.seeds[sample]);
        let budget = group.decoding.thinking.as_ref();
        let thinking = match budget {
            Some(budget) if opens(decoder, &group.ids, budget)? => Thinking::Inside { token: 0, byte: 0 },
            _ => Thinking::Outside,
        };
        Ok(Self {
            tokens: group.ids.to_vec(),
            sample,
            slot,
            cached: 0,
            rng,
            text: GrowingText::default(),
            emitted: 0,
            told: 0,
            thinking,
            extensions: budget.map_or(0, |budget| budget.extensions),
            forced: VecDeque::new(),
            logprobs: Vec::new(),
            finish: None,
            group,
        })
    }

    pub(super) fn prompt_len(&self) -> usize {
        self.group.ids.len()
    }

    /// Whether all but the last token are in the cache, so that the next token can be decoded.
    pub(super) fn ready(&self) -> bool {
        self.cached + 1 == self.tokens.len()
    }

    /// Whether the next token is drawn from the logits as they are, and nothing else is asked of them.
    pub(super) fn is_plain(&self) -> bool {
        let decoding = &self.group.decoding;
        self.forced.is_empty() && decoding.repetition_penalty == 1.0 && decoding.logprobs.is_none()
    }

    /// How the next token is to be drawn; takes one number from the sequence's generator, unless there is nothing to draw.
    pub(super) fn draw(&mut self) -> Draw {
        let &Decoding { temperature, top_p, min_p, top_k, .. } = &*self.group.decoding;
        Draw { temperature, top_p, min_p, top_k, at: if temperature == 0.0 { 0.0 } else { self.rng.random() } }
    }

    fn new_tokens(&self) -> &[u32] {
        &self.tokens[self.prompt_len()..]
    }

    /// Takes the next token out of the logits, or out of what is forced.
    pub(super) fn advance(&mut self, logits: &mut [f32], decoder: &Decoder) -> Result<()> {
        let decoding = Arc::clone(&self.group.decoding);
        let forced = self.forced.pop_front();
        let scores = decoding.logprobs.map(|top| sampling::Scores::new(logits, top));
        let token = match forced {
            Some(token) => token,
            None => sampling::choose(logits, &decoding, &self.tokens, &mut self.rng),
        };
        if let Some(scores) = scores {
            self.logprobs.push(scores.of(token));
        }
        self.push(token, forced.is_some(), decoder)
    }

    /// Appends the next token and settles whether the sequence has ended.
    pub(super) fn push(&mut self, token: u32, forced: bool, decoder: &Decoder) -> Result<()> {
        let decoding = Arc::clone(&self.group.decoding);
        self.tokens.push(token);
        self.settle(&decoding, decoder, forced)?;
        if let Some((_, keep)) = self.finish
            && self.group.streamed
        {
            // What still waited for the rest of a character will not get it.
            self.text.restart(&decoder.tokenizer, &self.tokens[self.group.ids.len()..][..keep], decoding.prints_special())?;
        }
        // What was taken back leaves the cache too.
        self.cached = self.cached.min(self.tokens.len().saturating_sub(1));
        Ok(())
    }

    fn settle(&mut self, decoding: &Decoding, decoder: &Decoder, forced: bool) -> Result<()> {
        let prompt = self.prompt_len();
        let before = self.text.text.len();
        let last = self.tokens.len() - 1;
        if !forced && self.is_stop(self.tokens[last], decoding, decoder) {
            if let Some(budget) = self.extendable(decoding) {
                return self.extend(last - prompt, budget, decoding, decoder);
            }
            self.finish = Some((Finish::Stop, last - prompt));
            return Ok(());
        }
        if self.group.streamed || !decoding.stop_strings.is_empty() || decoding.thinking.is_some() {
            self.text.update(&decoder.tokenizer, &self.tokens[prompt..], decoding.prints_special())?;
        }
        let longest = decoding.stop_strings.iter().map(String::len).max().unwrap_or(0);
        if find_any(&self.text.text, &decoding.stop_strings, before.saturating_sub(longest)).is_some() {
            self.finish = Some((Finish::Stop, self.new_tokens().len()));
        } else {
            if let Some(budget) = &decoding.thinking {
                self.think(budget, decoding, decoder)?;
            }
            if self.new_tokens().len() >= decoding.max_new_tokens {
                self.finish = Some((Finish::Length, self.new_tokens().len()));
            }
        }
        Ok(())
    }

    fn is_stop(&self, token: u32, decoding: &Decoding, decoder: &Decoder) -> bool {
        let stops = if decoding.stop_ids.is_empty() { &decoder.config().eos_token_ids } else { &decoding.stop_ids };
        stops.contains(&token)
    }

    /// The budget, when thinking may still be made longer.
    fn extendable<'a>(&self, decoding: &'a Decoding) -> Option<&'a ThinkingBudget> {
        let inside = matches!(self.thinking, Thinking::Inside { .. }) && self.extensions > 0;
        decoding.thinking.as_ref().filter(|_| inside)
    }

    /// Follows thinking: where it opens, where it closes, and when it has gone on for long enough.
    fn think(&mut self, budget: &ThinkingBudget, decoding: &Decoding, decoder: &Decoder) -> Result<()> {
        if self.thinking == Thinking::Outside
            && let Some(at) = self.text.text.find(&budget.open)
        {
            self.thinking = Thinking::Inside { token: self.new_tokens().len(), byte: at + budget.open.len() };
        }
        let Thinking::Inside { token, byte } = self.thinking else { return Ok(()) };
        if let Some(at) = self.text.text.get(byte..).and_then(|text| text.find(&budget.close)) {
            if self.extensions == 0 || !self.forced.is_empty() {
                self.thinking = Thinking::Over;
                return Ok(());
            }
            return self.extend(self.tokens_before(byte + at, decoder)?, budget, decoding, decoder);
        }
        if budget.max_tokens.is_some_and(|most| self.new_tokens().len() - token >= most) {
            self.force(&budget.conclude_with, decoder)?;
            self.extensions = 0;
            self.thinking = Thinking::Over;
        }
        Ok(())
    }

    /// How many of the new tokens make up no more than the first `bytes` of the text.
    fn tokens_before(&self, bytes: usize, decoder: &Decoder) -> Result<usize> {
        let new = self.new_tokens();
        let mut count = new.len();
        while count > 0 && decoder.tokenizer.decode(&new[..count], false)?.len() > bytes {
            count -= 1;
        }
        Ok(count)
    }

    /// Takes the end of thinking back, down to `keep` new tokens, and has the model go on.
    fn extend(&mut self, keep: usize, budget: &ThinkingBudget, decoding: &Decoding, decoder: &Decoder) -> Result<()> {
        let prompt = self.prompt_len();
        self.tokens.truncate(prompt + keep);
        self.logprobs.truncate(keep);
        self.extensions -= 1;
        self.text.restart(&decoder.tokenizer, &self.tokens[prompt..], true)?;
        self.force(&budget.extend_with, decoder)?;
        if keep >= decoding.max_new_tokens {
            self.finish = Some((Finish::Length, keep));
        } else if let Some(token) = self.forced.pop_front() {
            // The first word of the extension follows at once: the cache holds all that is before it.
            self.tokens.push(token);
            if decoding.logprobs.is_some() {
                self.logprobs.push(TokenLogprob { id: token, logprob: 0.0, top: Vec::new() });
            }
            self.text.update(&decoder.tokenizer, &self.tokens[prompt..], true)?;
        }
        Ok(())
    }

    fn force(&mut self, text: &str, decoder: &Decoder) -> Result<()> {
        self.forced = decoder.tokenizer.encode(text)?.into();
        Ok(())
    }

    /// The text that is certain and was not handed out yet, with the log-probabilities of the tokens since the last time.
    pub(super) fn new_part(&mut self) -> Option<Part> {
        let decoding = &self.group.decoding;
        let text = &self.text.text;
        let close = self.extendable(decoding).map(|budget| budget.close.as_str());
        let end = match self.finish {
            Some(_) => self.cut(text).unwrap_or(text.len()),
            None => certain(text, decoding.stop_strings.iter().map(String::as_str).chain(close)),
        };
        let text = text.get(self.emitted..end).filter(|new| !new.is_empty())?.to_owned();
        self.emitted = end;
        let known = self.logprobs.len().min(self.finish.map_or(usize::MAX, |(_, keep)| keep));
        let logprobs = self.logprobs.get(self.told..known).unwrap_or_default().to_vec();
        self.told = known;
        Some(Part { text, logprobs })
    }

    fn cut(&self, text: &str) -> Option<usize> {
        find_any(text, &self.group.decoding.stop_strings, 0)
    }

    /// What was generated, once the sequence has ended.
    pub(super) fn finished(&mut self, decoder: &Decoder) -> Result<Option<Generated>> {
        let Some((finish, keep)) = self.finish else { return Ok(None) };
        let decoding = &self.group.decoding;
        let ids = self.new_tokens()[..keep].to_vec();
        let mut text = decoder.tokenizer.decode(&ids, !decoding.prints_special())?;
        if finish == Finish::Stop
            && let Some(at) = self.cut(&text)
        {
            text.truncate(at);
        }
        let mut logprobs = std::mem::take(&mut self.logprobs);
        logprobs.truncate(keep);
        Ok(Some(Generated { ids, text, finish, logprobs }))
    }
}

/// Whether the prompt ends with the opening of thinking.
fn opens(decoder: &Decoder, prompt: &[u32], budget: &ThinkingBudget) -> Result<bool> {
    let tail = &prompt[prompt.len().saturating_sub(budget.open.len() + 4)..];
    Ok(decoder.tokenizer.decode(tail, false)?.trim_end().ends_with(&budget.open))
}
