//! The words between a mistake and its correction.

use crate::error::CurateError;
use crate::text::seeded_rank;

/// The built-in reflections: they doubt, say that the check fails, and start again, without giving the answer away.
pub const REFLECTIONS: &[&str] = &[
    "Wait, let me check {answer} against the question before I settle on it. It does not hold up, so there is a mistake above. Let me go through it again.",
    "Hmm, something is off: I arrived at {answer}, but that does not fit what was asked. Let me start again, more carefully.",
    "Let me verify {answer}. No, that is not right. I must have slipped somewhere. Going back to the problem:",
    "Before I answer {answer}, let me double-check each step. One of them does not follow. I will work it out anew.",
    "Actually, {answer} cannot be right. Let me reconsider the problem from the beginning and watch every step.",
    "Hold on. If I put {answer} back into the problem, it does not work out. So that was a wrong turn; let me try another way.",
    "On second thought, I do not trust {answer}: the check fails. Let me set that aside and solve it once more.",
    "Wait, that is not correct. {answer} contradicts the conditions given. Let me redo this step by step.",
];

const ANSWER: &str = "{answer}";

/// Longest wrong answer named in a reflection, in characters; a longer one is called by a phrase.
const NAMED: usize = 80;

/// The reflection after the wrong answer `answer`, drawn by the seed and the sample's id.
pub(super) fn reflection(templates: &[String], seed: u64, id: &str, answer: &str) -> String {
    let draw = seeded_rank(seed, "reflection", id);
    let short = !answer.contains('\n') && answer.chars().count() <= NAMED;
    let name = if short { answer } else { "that answer" };
    let of = |n: usize| (draw % (n.max(1) as u64)) as usize;
    match templates.get(of(templates.len())) {
        Some(own) => own.replace(ANSWER, name),
        None => REFLECTIONS[of(REFLECTIONS.len())].replace(ANSWER, name),
    }
}

/// Are these usable as reflections?
pub(super) fn check(templates: &[String]) -> Result<(), CurateError> {
    match templates.iter().find(|t| t.trim().is_empty()) {
        Some(template) => {
            Err(CurateError::Template { setting: "reflections", problem: "must not hold an empty text", template: template.clone() })
        }
        None => Ok(()),
    }
}
