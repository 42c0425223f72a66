//! From a reply, or a gold field, to the bare answer that is compared.

use std::borrow::Cow;

use super::answer::{Comparison, compare, reads_as_value};
use super::policy::MathPolicy;
use crate::extract::{ExtractOptions, Extracted, How, all_answers, extract};

/// Text longer than this after a phrase or on the last line is searched for its value at the end only.
const MAX_PROSE: usize = 2_000;

/// Compares the answer in `reply` with the gold; `None` when the reply holds no answer. Returns the answer read as well.
pub(super) fn judge(gold: &str, prompt: &str, reply: &str, options: &ExtractOptions, policy: &MathPolicy) -> Option<(Comparison, String)> {
    let answer = answer_in(reply, options).or_else(|| {
        // Signs alone, such as `\{\}`, are no line of text but may be an answer.
        let whole = reply.trim();
        (whole.len() <= MAX_PROSE && !whole.is_empty() && reads_as_value(whole)).then_some(Cow::Borrowed(whole))
    })?;
    let gold = gold_answer(gold);
    let comparison = compare(&gold, &answer, prompt, policy);
    Some((comparison, answer.into_owned()))
}

/// The bare answer in a reply.
fn answer_in<'r>(reply: &'r str, options: &ExtractOptions) -> Option<Cow<'r, str>> {
    let mut found = extract(reply, options)?;
    // `0.333...`: the dots are part of the numeral, not of the sentence.
    let tail = &reply[found.span.end..];
    if found.text.contains('.') && found.text.ends_with(|c: char| c.is_ascii_digit()) && tail.starts_with("...") {
        found.span.end += 3;
        found.text = &reply[found.span.clone()];
    }
    match found.how {
        How::Boxed => Some(match boxed_list(reply, &found) {
            Cow::Borrowed(text) if is_prose(text) && !reads_as_value(text) => {
                // A sentence in the box: `\text{The answer is } 5`.
                let tail = after_copula(text).map(|t| t.trim_start_matches(['}', ' ']));
                Cow::Borrowed(tail.filter(|t| reads_as_value(t)).unwrap_or(text))
            }
            list => list,
        }),
        How::AnswerTag | How::Hashes | How::Unclosed => Some(refined(found.text)),
        How::Phrase => Some(refined(found.text)),
        How::LastLine => {
            // A bare answer over several lines, such as a matrix.
            let whole = reply.trim();
            if whole.len() <= MAX_PROSE && whole.contains('\n') && reads_as_value(whole) {
                return Some(Cow::Borrowed(whole));
            }
            Some(earlier_line(reply, &found).unwrap_or_else(|| refined(found.text)))
        }
    }
}

/// Where the last line only comments, without digit or formula, the statement on one of the two lines before it.
fn earlier_line<'r>(reply: &'r str, last: &Extracted<'r>) -> Option<Cow<'r, str>> {
    let speaks = |line: &str| line.contains(|c: char| c.is_ascii_digit() || c == '$' || c == '\\');
    if speaks(last.text) || last.text.len() < 30 || reads_as_value(last.text) {
        return None;
    }
    let lines = reply[..last.span.start].lines().rev().map(str::trim).filter(|l| !l.is_empty());
    let line = lines.take(2).find(|l| speaks(l))?;
    after_copula(line).filter(|v| reads_as_value(v)).map(Cow::Borrowed)
}

/// The gold answer; a field that holds a whole solution is searched for its box or hashes.
fn gold_answer(gold: &str) -> Cow<'_, str> {
    if gold.contains("\\boxed") || gold.contains("####") {
        let options = ExtractOptions::default();
        if let Some(found) = extract(gold, &options) {
            return if found.how == How::Boxed { boxed_list(gold, &found) } else { Cow::Borrowed(found.text) };
        }
    }
    if is_prose(gold) { refined(gold) } else { Cow::Borrowed(gold) }
}

/// `\boxed{1} and \boxed{2}`: boxes with nothing but a connective between them are one answer.
fn boxed_list<'r>(reply: &'r str, last: &Extracted<'r>) -> Cow<'r, str> {
    let all = all_answers(reply);
    let Some(end) = all.iter().rposition(|a| a.span == last.span) else { return Cow::Borrowed(last.text) };
    let mut first = end;
    while first > 0 && all[first - 1].how == How::Boxed && all[first - 1].span.end < all[first].span.start {
        let between = &reply[all[first - 1].span.end..all[first].span.start];
        if !is_connective(between) {
            break;
        }
        first -= 1;
    }
    if first == end {
        return Cow::Borrowed(last.text);
    }
    let parts: Vec<&str> = all[first..=end].iter().map(|a| a.text).collect();
    Cow::Owned(parts.join(", "))
}

fn is_connective(between: &str) -> bool {
    let mut rest = between.replace("\\boxed", " ").replace("\\fbox", " ").replace("\\text", " ").replace("\\quad", " ").replace("\\,", " ");
    rest.retain(|c| !matches!(c, '$' | '{' | '}' | '\\' | '(' | ')' | '[' | ']' | ',' | ' ' | '\n' | ';' | '*'));
    rest.is_empty() && between.contains([',', ';']) || matches!(rest.as_str(), "and" | "or" | "和" | "或" | "et" | "ou")
}

/// The value in a phrase: all of it when it reads as one, otherwise what stands out in it.
fn refined(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if reads_as_value(text) {
        return Cow::Borrowed(text);
    }
    let prose = is_prose(text).then(|| [after_copula(text), last_number(text)]);
    for candidate in [math_segment(text), emphasis(text)].into_iter().chain(prose.into_iter().flatten()).flatten() {
        if reads_as_value(candidate) {
            return Cow::Borrowed(candidate);
        }
    }
    Cow::Borrowed(text)
}

/// Running text: two words at least, or Chinese.
fn is_prose(text: &str) -> bool {
    let word = |w: &&str| w.len() >= 2 && w.chars().all(|c| c.is_alphabetic() || c == '\'');
    text.split_whitespace().map(|w| w.trim_matches(|c: char| c.is_ascii_punctuation())).filter(word).count() >= 2
        || text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

/// The last `$…$`, `\(…\)` or `\[…\]`.
fn math_segment(text: &str) -> Option<&str> {
    for (open, close) in [("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")] {
        if let Some(end) = text.rfind(close)
            && let Some(start) = text[..end].rfind(open)
            && start + open.len() < end
        {
            return Some(text[start + open.len()..end].trim());
        }
    }
    None
}

/// The last `**…**`.
fn emphasis(text: &str) -> Option<&str> {
    let end = text.rfind("**")?;
    let start = text[..end].rfind("**")?;
    Some(text[start + 2..end].trim())
}

/// What follows the last "is", "=", ":" or its like.
fn after_copula(text: &str) -> Option<&str> {
    let marks = [
        " is ", " are ", " equals ", " be ", ": ", "：", "为", "是", " est ", " sont ", " was ", " have ", " has ", " gives ", " get ",
        " = ", "=",
    ];
    let at = marks.iter().filter_map(|m| text.rfind(m).map(|i| i + m.len())).max()?;
    let tail = text[at..].trim().trim_end_matches(['.', '!', ',']);
    (!tail.is_empty()).then_some(tail)
}

/// The last numeral, with its sign, separators and percent or currency sign.
fn last_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let mut start = end;
    while start > 0 && (bytes[start - 1].is_ascii_digit() || matches!(bytes[start - 1], b'.' | b',' | b'/')) {
        start -= 1;
    }
    while start < end && matches!(bytes[start], b',' | b'/' | b'.') {
        start += 1;
    }
    if start > 0 && bytes[start - 1] == b'$' {
        start -= 1;
    }
    if start > 0 && bytes[start - 1] == b'-' && (start == 1 || !bytes[start - 2].is_ascii_alphanumeric()) {
        start -= 1;
    }
    let end = end + usize::from(bytes.get(end) == Some(&b'%'));
    text.get(start..end)
}
