//! Finding the final answer in a reply.
//!
//! Candidates are found in one pass each and ranked by how clearly they are marked: a closed `\boxed{}` or
//! `<answer>` tag, then a `#### x` line, then an unclosed box or tag, then a phrase such as "the answer
//! is", then the last line. Of the clearest kind present, the last one counts, because a trace that
//! corrects itself commits again; [`Which::First`] takes the first.

mod marks;
mod phrase;
mod trim;

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the answer is found in a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExtractOptions {
    /// Which of several answers counts.
    pub which: Which,
    /// Read only what follows the end of thinking (`</think>`); a reply that never stops thinking has no answer.
    pub after_think: bool,
}

/// Which of several answers in one reply counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The first one.
    First,
    /// The last one.
    #[default]
    Last,
}

/// How an answer was marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// `\boxed{…}`, `\fbox{…}` or `\boxed 5`.
    Boxed,
    /// `<answer>…</answer>`.
    AnswerTag,
    /// `#### 42`, the mark of GSM8K.
    Hashes,
    /// A `\boxed{` or `<answer>` that is never closed.
    Unclosed,
    /// "The answer is …", in English, Chinese or French.
    Phrase,
    /// Nothing marks it: the last line of the reply.
    LastLine,
}

/// An answer found in a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted<'a> {
    /// The answer, without Markdown emphasis, math delimiters and final punctuation.
    pub text: &'a str,
    /// Where `text` stands in the reply, in bytes.
    pub span: Range<usize>,
    /// How it was marked.
    pub how: How,
}

/// The final answer of a reply, or `None` if it holds none. Linear in the reply's length.
pub fn extract<'a>(reply: &'a str, options: &ExtractOptions) -> Option<Extracted<'a>> {
    let from = if options.after_think { end_of_thinking(reply)? } else { 0 };
    let mut found = explicit(reply, from);
    // What is only said while thinking does not count against what is said afterwards.
    let said = from.max(end_of_thinking(reply).unwrap_or(0));
    if last_line(reply, said).is_some() {
        found.retain(|answer| answer.how != How::Phrase || answer.span.start >= said);
    }
    let clearest = found.iter().map(|answer| rank(answer.how)).min();
    let mut clearest_only = found.into_iter().filter(|answer| Some(rank(answer.how)) == clearest);
    let chosen = match options.which {
        Which::First => clearest_only.next(),
        Which::Last => clearest_only.next_back(),
    };
    chosen.or_else(|| last_line(reply, said)).or_else(|| last_line(reply, from))
}

/// Every answer that the reply commits to, in order and without overlaps; where nothing is marked, the
/// last line alone. A trace that answers 12 and then corrects itself to 15 gives both.
pub fn all_answers(reply: &str) -> Vec<Extracted<'_>> {
    let found = explicit(reply, 0);
    if found.is_empty() { last_line(reply, 0).into_iter().collect() } else { found }
}

/// Byte offset at which the visible response starts: after the last end-of-thinking mark, 0 where the
/// reply does not think aloud, `None` where it begins to think and never ends.
pub fn end_of_thinking(reply: &str) -> Option<usize> {
    const MARKS: [(&str, &str); 3] =
        [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<|begin_of_thought|>", "<|end_of_thought|>")];
    let (mut end, mut opened) = (None, false);
    for (at, _) in reply.match_indices('<') {
        let rest = &reply[at..];
        match MARKS.iter().find(|(_, close)| rest.starts_with(close)) {
            Some((_, close)) => end = Some(at + close.len()),
            None => opened |= MARKS.iter().any(|(open, _)| rest.starts_with(open)),
        }
    }
    end.or((!opened).then_some(0))
}

/// Clearer marks have lower ranks.
fn rank(how: How) -> u8 {
    match how {
        How::Boxed | How::AnswerTag => 0,
        How::Hashes => 1,
        How::Unclosed => 2,
        How::Phrase => 3,
        How::LastLine => 4,
    }
}

/// A candidate before trimming: `outer` includes its mark.
#[derive(Debug, Clone)]
struct Mark {
    outer: Range<usize>,
    inner: Range<usize>,
    how: How,
}

/// Everything marked as an answer from byte `from` on, in order, overlaps resolved to the clearer mark.
fn explicit(reply: &str, from: usize) -> Vec<Extracted<'_>> {
    let mut marks = marks::boxes(reply, from);
    marks.extend(marks::tags(reply, from));
    marks.extend(marks::hashes(reply, from));
    marks.extend(phrase::phrases(reply, from));
    // An outer mark sorts before what it encloses.
    marks.sort_by_key(|mark| (mark.outer.start, std::cmp::Reverse(mark.outer.end)));
    let mut kept: Vec<Extracted<'_>> = Vec::new();
    let mut kept_outer = 0..0;
    for mark in marks {
        let Some(answer) = finish(reply, &mark) else {
            continue;
        };
        let overlaps = !kept.is_empty() && mark.outer.start < kept_outer.end;
        if overlaps {
            let enclosing = rank_of_last(&kept);
            // A box inside a tag, or a tag inside a box, is the more precise of the two.
            let nested =
                |last: &Extracted<'_>| matches!((last.how, answer.how), (How::AnswerTag, How::Boxed) | (How::Boxed, How::AnswerTag));
            if rank(answer.how) < enclosing || kept.last().is_some_and(nested) {
                kept.pop();
            } else {
                continue;
            }
        }
        kept_outer = mark.outer;
        kept.push(answer);
    }
    kept
}

fn rank_of_last(kept: &[Extracted<'_>]) -> u8 {
    kept.last().map_or(u8::MAX, |last| rank(last.how))
}

/// Trims a mark to its answer; `None` where nothing is left, as in "put it in `\boxed{}`".
fn finish<'a>(reply: &'a str, mark: &Mark) -> Option<Extracted<'a>> {
    let span = trim::trim(reply, mark.inner.clone());
    let text = &reply[span.clone()];
    let placeholder = text.chars().all(|c| matches!(c, '.' | '…' | '_' | '?' | ' '));
    (!placeholder).then_some(Extracted { text, span, how: mark.how })
}

/// The last line that holds more than delimiters.
fn last_line(reply: &str, from: usize) -> Option<Extracted<'_>> {
    let mut end = reply.len();
    loop {
        let start = reply[from..end].rfind('\n').map_or(from, |newline| from + newline + 1);
        let span = trim::trim(reply, start..end);
        let text = &reply[span.clone()];
        if text.chars().any(char::is_alphanumeric) || text.chars().any(|c| matches!(c, '∞' | '∅')) {
            return Some(Extracted { text, span, how: How::LastLine });
        }
        if start == from {
            return None;
        }
        end = start - 1;
    }
}
