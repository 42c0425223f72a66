//! Stripping what surrounds an answer: white space, Markdown emphasis, math delimiters, a final stop.

use std::ops::Range;

/// Pairs that may enclose a whole answer. Longer marks stand before their prefixes.
const PAIRS: [(&str, &str); 8] =
    [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("__", "__"), ("`", "`"), ("*", "*")];

/// More layers than this are left in place: it bounds the work on hostile input.
const MAX_LAYERS: usize = 12;

/// The part of `span` that is left when what surrounds the answer is stripped.
pub(super) fn trim(reply: &str, span: Range<usize>) -> Range<usize> {
    let mut span = span;
    for _ in 0..MAX_LAYERS {
        let before = span.clone();
        span = strip_space_and_stop(reply, span);
        span = strip_end_of_proof(reply, span);
        span = strip_unopened(reply, span);
        span = strip_pair(reply, span);
        span = strip_loose_emphasis(reply, span);
        if span == before {
            break;
        }
    }
    span
}

fn strip_space_and_stop(reply: &str, span: Range<usize>) -> Range<usize> {
    let text = &reply[span.clone()];
    let start = span.start + (text.len() - text.trim_start().len());
    // A decimal point at the end is a full stop; an exclamation mark may be a factorial and stays.
    let stop = |c: char| c.is_whitespace() || matches!(c, '.' | ',' | ';' | '。' | '，' | '；' | '．');
    let kept = text.trim_end_matches(stop);
    let end = span.start + kept.len();
    if end <= start { start..start } else { start..end }
}

/// Marks that end a proof, not an answer.
const END_OF_PROOF: [&str; 13] = [
    "$\\blacksquare$",
    "$\\square$",
    "$\\Box$",
    "\\(\\blacksquare\\)",
    "\\(\\square\\)",
    "\\blacksquare",
    "\\qed",
    "Q.E.D",
    "QED",
    "∎",
    "■",
    "□",
    "◻",
];

fn strip_end_of_proof(reply: &str, span: Range<usize>) -> Range<usize> {
    let text = &reply[span.clone()];
    let kept = END_OF_PROOF.iter().find_map(|mark| text.strip_suffix(mark)).unwrap_or(text);
    span.start..span.start + kept.len()
}

/// Delimiters of which the other half lies outside, as around `5` in `\[ \text{Answer: } 5 \]` after the announcement.
fn strip_unopened(reply: &str, span: Range<usize>) -> Range<usize> {
    let text = &reply[span.clone()];
    let (mut start, mut end) = (span.start, span.end);
    if text.starts_with('}') {
        start += 1;
    }
    for (open, close) in [("\\[", "\\]"), ("\\(", "\\)")] {
        if text.ends_with(close) && !text.contains(open) && end - close.len() > start {
            end -= close.len();
        }
    }
    start..end
}

fn strip_pair(reply: &str, span: Range<usize>) -> Range<usize> {
    let text = &reply[span.clone()];
    for (open, close) in PAIRS {
        if text.len() < open.len() + close.len() || !text.starts_with(open) || !text.ends_with(close) {
            continue;
        }
        let inner = &text[open.len()..text.len() - close.len()];
        // `$5$ and $6$` is not one formula.
        if !inner.is_empty() && !inner.contains(open) && !inner.contains(close) {
            return span.start + open.len()..span.end - close.len();
        }
    }
    span
}

/// Emphasis whose other half lies outside the answer, as in `**Answer:** 5` or `*the answer is 5*`.
fn strip_loose_emphasis(reply: &str, span: Range<usize>) -> Range<usize> {
    let text = &reply[span.clone()];
    if !text.starts_with('*') && !text.ends_with('*') {
        return span;
    }
    let inner = text.trim_matches('*');
    // Half of an inner pair must stay: `**a** and **b**`.
    if inner.is_empty() || inner.contains("**") {
        return span;
    }
    let start = span.start + (text.len() - text.trim_start_matches('*').len());
    start..start + inner.len()
}
