//! The columns that tell how a journey sample was made.

use potstill_data::{Meta, MetaFields, Scalar, ScalarKind};

use super::compose::Draft;
use crate::text::{reflection_words, whole};

/// Meta column: where the mistake comes from, `recovered` or `joined`.
pub const ORIGIN: &str = "journey_origin";
/// Meta column: the first wrong answer (absent for a wrong turn without one).
pub const WRONG_ANSWER: &str = "journey_wrong_answer";
/// Meta column: where the first mistake has been said, as a fraction of the whole text.
pub const FIRST_ERROR_AT: &str = "journey_first_error_at";
/// Meta column: characters of the reasoning (of the content where there is none) before the last correction begins. What
/// of them counts less in the loss is said by the samples' `loss_spans` (see `mistake_weight`).
pub const MISTAKE_CHARS: &str = "journey_mistake_chars";
/// Meta column: reflection words in the whole text.
pub const REFLECTION_WORDS: &str = "journey_reflection_words";

/// The meta fields of journey samples made from rows with the fields `of_rows`.
#[must_use]
pub fn meta_fields(mut of_rows: MetaFields) -> MetaFields {
    for name in ["domain", ORIGIN, WRONG_ANSWER] {
        of_rows.add(name, ScalarKind::Text);
    }
    for name in [MISTAKE_CHARS, REFLECTION_WORDS] {
        of_rows.add(name, ScalarKind::Int);
    }
    of_rows.add(FIRST_ERROR_AT, ScalarKind::Float);
    of_rows
}

/// Writes the journey columns.
pub(super) fn describe(meta: &mut Meta, draft: &Draft) {
    let text = whole(draft.reasoning.as_deref(), &draft.response);
    let errs_in = draft.reasoning.as_deref().unwrap_or(&draft.response);
    meta.insert(ORIGIN.into(), Scalar::Text(draft.origin.as_str().into()));
    meta.insert(REFLECTION_WORDS.into(), Scalar::Int(i64::from(reflection_words(&text))));
    if let Some(answer) = draft.wrong_answers.first() {
        meta.insert(WRONG_ANSWER.into(), Scalar::Text(answer.clone()));
    }
    if let Some(first) = draft.mistakes.first() {
        meta.insert(FIRST_ERROR_AT.into(), Scalar::Float(first.end as f64 / text.len().max(1) as f64));
    }
    if let Some(before) = draft.mistakes.last().and_then(|last| errs_in.get(..last.end)) {
        meta.insert(MISTAKE_CHARS.into(), Scalar::Int(before.chars().count() as i64));
    }
}
