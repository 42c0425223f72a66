//! What every rule-based verifier does first: read the gold answer, then the reply's answer.

use crate::extract::{self, Extracted, How};
use crate::{Case, Judgement, VerifyOptions};

/// The gold answer of a case.
///
/// A gold that is a whole worked solution (`… #### 42`, `… \boxed{42}`) gives its marked answer.
pub(crate) fn gold<'a>(case: &Case<'a>) -> Result<&'a str, Judgement> {
    let Some(gold) = case.gold.map(str::trim).filter(|gold| !gold.is_empty()) else {
        return Err(Judgement::bad_gold("the problem has no gold answer"));
    };
    let marked = extract::all_answers(gold).pop();
    let marked = marked.filter(|answer| matches!(answer.how, How::Boxed | How::AnswerTag | How::Hashes));
    Ok(marked.map_or(gold, |answer| answer.text))
}

/// The answer of a case's reply, or the judgement that there is none.
pub(crate) fn answer<'a>(case: &Case<'a>, options: &VerifyOptions) -> Result<Extracted<'a>, Judgement> {
    extract::extract(case.response, &options.extract).ok_or_else(|| options.no_answer.judgement())
}

/// A short form of `text` for a note, on one line and at most `limit` characters.
pub(crate) fn shown(text: &str, limit: usize) -> String {
    let mut line: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        line.push('…');
    }
    line
}

/// How many characters of an answer a note shows.
pub(crate) const SHOWN: usize = 60;

/// Reads gold and answer, compares them, and attaches the answer to the judgement.
pub(crate) fn judge<'a>(case: &Case<'a>, options: &VerifyOptions, compare: impl FnOnce(&'a str, &Extracted<'a>) -> Judgement) -> Judgement {
    let gold = match gold(case) {
        Ok(gold) => gold,
        Err(judgement) => return with_answer(judgement, case, options),
    };
    match answer(case, options) {
        Ok(answer) => compare(gold, &answer).of(answer.text),
        Err(judgement) => judgement,
    }
}

/// A judgement about the gold still shows what the reply answered.
pub(crate) fn with_answer(judgement: Judgement, case: &Case<'_>, options: &VerifyOptions) -> Judgement {
    match extract::extract(case.response, &options.extract) {
        Some(answer) => judgement.of(answer.text),
        None => judgement,
    }
}
