//! Chat templates: a conversation to the text a model is trained on and prompted with.
//!
//! A template is a program from a foreign file. It runs in `minijinja`, which gives it no way to files or network,
//! with a bound on steps, recursion and output. The environment is that of Hugging Face's `apply_chat_template`:
//! trimmed blocks, Python's string methods, `tojson` as `json.dumps` writes it, `raise_exception`, `strftime_now`
//! (with a date that the caller gives, so that the same conversation always renders alike) and
//! `{% generation %}` blocks, which mark the text that the assistant produced.

mod date;
mod environment;
mod json;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use minijinja::Environment;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// ChatML with reasoning in think tags: `<|im_start|>role⏎content<|im_end|>⏎`, and before an assistant's content
/// `<think>⏎reasoning⏎</think>⏎⏎` where there is reasoning.
const CHATML: &str = include_str!("chatml.jinja");
const LARGEST_TEMPLATE: usize = 1 << 20;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or what the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
    /// What was thought before; templates see it as `reasoning_content` and as `reasoning`.
    #[serde(default)]
    pub reasoning: Option<String>,
}

impl ChatMessage {
    /// A turn without reasoning.
    #[must_use]
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned(), reasoning: None }
    }
}

/// The special tokens that templates print.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Specials {
    /// `bos_token`.
    pub bos: Option<String>,
    /// `eos_token`.
    pub eos: Option<String>,
    /// `pad_token`.
    pub pad: Option<String>,
    /// `unk_token`.
    #[serde(default)]
    pub unk: Option<String>,
}

/// How to render.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RenderOptions {
    /// End with the start of an assistant's turn.
    pub add_generation_prompt: bool,
    /// `YYYY-MM-DD`, what `strftime_now` reads; a template that asks for it without one is an error.
    pub date: Option<String>,
    /// Further variables, `enable_thinking` or `tools` for instance.
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl RenderOptions {
    /// For prompting: ends with the start of an assistant's turn.
    #[must_use]
    pub fn prompt() -> Self {
        Self { add_generation_prompt: true, ..Self::default() }
    }
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The bytes that stand inside `{% generation %}` blocks, in order; none when the template has no such block.
    pub generated: Vec<Range<usize>>,
}

/// A compiled chat template; clones share it.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
    specials: Specials,
    environment: Arc<Environment<'static>>,
}

impl ChatTemplate {
    /// The built-in template, for students that are made from scratch.
    ///
    /// # Errors
    /// Never in practice: the template is part of the program and tested.
    pub fn chatml() -> Result<Self> {
        let specials = Specials { bos: Some("<|bos|>".into()), eos: Some("<|im_end|>".into()), pad: Some("<|pad|>".into()), unk: None };
        Self::new(CHATML, specials)
    }

    /// Compiles a template.
    ///
    /// # Errors
    /// When it is too large or not valid Jinja.
    pub fn new(source: &str, specials: Specials) -> Result<Self> {
        if source.len() > LARGEST_TEMPLATE {
            return Err(Error::Template(format!("{} bytes, the largest allowed is {LARGEST_TEMPLATE}", source.len())));
        }
        Ok(Self { source: source.into(), specials, environment: Arc::new(environment::compile(source)?) })
    }

    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The special tokens that it prints.
    #[must_use]
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// When the template raises, runs too long or prints too much.
    pub fn render(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<String> {
        Ok(self.render_spans(messages, options)?.text)
    }

    /// Renders a conversation and says what of it the assistant produced.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_spans(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<Rendered> {
        environment::render(&self.environment, &self.specials, messages, options)
    }
}

#[cfg(test)]
mod tests;
