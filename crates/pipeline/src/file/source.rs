//! One address space for the file and the overrides, so that every span knows where it was written.

use std::ops::Range;
use std::sync::Arc;

use miette::{NamedSource, SourceSpan};

/// The pipeline file and after it the overrides, each a part that starts one byte behind the end of the part before.
pub(crate) struct Sources {
    parts: Vec<Part>,
}

struct Part {
    name: String,
    text: String,
    start: usize,
}

impl Part {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

impl Sources {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self { parts: vec![Part { name: name.to_owned(), text: text.to_owned(), start: 0 }] }
    }

    /// Adds a part and gives the offset of its first byte.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> usize {
        let start = self.parts.last().map_or(0, |last| last.end() + 1);
        self.parts.push(Part { name: name.to_owned(), text: text.to_owned(), start });
        start
    }

    /// The name of the pipeline file.
    pub(crate) fn name(&self) -> &str {
        self.parts.first().map_or("", |part| &part.name)
    }

    /// The texts with the offsets of their first bytes.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.parts.iter().map(|part| (part.start, part.text.as_str()))
    }

    fn part(&self, at: usize) -> usize {
        self.parts.iter().rposition(|part| part.start <= at).unwrap_or(0)
    }

    /// Overwrites a secret with asterisks of the same length, so that all spans stay right.
    pub(crate) fn mask(&mut self, span: &Range<usize>) {
        let index = self.part(span.start);
        let part = &mut self.parts[index];
        let local = span.start - part.start..span.end.saturating_sub(part.start).min(part.text.len());
        let Some(secret) = part.text.get(local.clone()) else {
            return;
        };
        let hidden: String = secret.chars().flat_map(|c| std::iter::repeat_n(if c == '\n' { '\n' } else { '*' }, c.len_utf8())).collect();
        part.text.replace_range(local, &hidden);
    }

    /// Every part as a source for diagnostics, in order.
    pub(crate) fn named(&self) -> Vec<NamedSource<Arc<str>>> {
        self.parts.iter().map(|part| NamedSource::new(&part.name, Arc::from(part.text.as_str()))).collect()
    }

    /// The part that a span lies in, and the span within it.
    pub(crate) fn locate(&self, span: &Range<usize>) -> (usize, SourceSpan) {
        let index = self.part(span.start);
        let part = &self.parts[index];
        let start = (span.start - part.start).min(part.text.len());
        let end = span.end.saturating_sub(part.start).clamp(start, part.text.len());
        (index, (start..end).into())
    }
}
