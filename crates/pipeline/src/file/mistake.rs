//! Mistakes in a pipeline file, as diagnostics that underline their place.

use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

use super::secrets::redact;
use super::source::Sources;

/// A mistake that a stage found in its own table, placed at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Mistake {
    /// A mistake at a key of the stage's table: `"teacher"`, or below it `"columns.prompt"`, `"where.0"`. A key that the table
    /// lacks stands for its nearest table; `""` is the whole stage.
    #[must_use]
    pub fn at(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: None }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A mistake with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Found {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// All mistakes of a pipeline file and its overrides, in the order in which they stand there.
#[derive(Debug, Error, Diagnostic)]
#[error("{} in `{name}`", count(mistakes.len()))]
pub struct FileError {
    name: String,
    #[related]
    mistakes: Vec<FileMistake>,
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

/// One mistake of a pipeline file: its message, its place, and what would be right.
#[derive(Debug, Error, Diagnostic)]
#[error("{message}")]
pub struct FileMistake {
    message: String,
    #[help]
    hint: Option<String>,
    #[source_code]
    source_code: NamedSource<Arc<str>>,
    #[label]
    place: SourceSpan,
}

impl FileMistake {
    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The name of the file, or of the override, that holds the mistake.
    #[must_use]
    pub fn source_name(&self) -> &str {
        self.source_code.name()
    }

    /// The place as a byte range of that source.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.place.offset()..self.place.offset() + self.place.len()
    }
}

impl FileError {
    pub(crate) fn new(sources: &Sources, mut found: Vec<Found>) -> Self {
        found.sort_by_key(|found| (found.span.start, found.span.end));
        found.dedup();
        let named = sources.named();
        let mistakes = found.into_iter().map(|found| {
            let (part, place) = sources.locate(&found.span);
            FileMistake {
                message: redact(&found.message),
                hint: found.hint.as_deref().map(redact),
                source_code: named[part].clone(),
                place,
            }
        });
        Self { name: sources.name().to_owned(), mistakes: mistakes.collect() }
    }

    /// The mistakes, in the order in which they stand in the file.
    #[must_use]
    pub fn mistakes(&self) -> &[FileMistake] {
        &self.mistakes
    }
}
