//! Text as curation sees it: normalised for equality, hashed for order, measured for reflection.

use std::borrow::Cow;

/// Normal form under which two prompts count as the same: lowercase, every run of white space one blank, no white
/// space at the ends. Digits, signs and letters all stay: `x = -3` and `x = 3` are different problems.
#[must_use]
pub fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        if word.is_ascii() {
            out.extend(word.bytes().map(|b| char::from(b.to_ascii_lowercase())));
        } else {
            out.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    out
}

/// A 128-bit name of a text. Two of a billion texts share one with a chance below 1e-20.
#[must_use]
pub fn text_key(text: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// A number that depends on the seed, the use (`label`) and the row's id alone: it orders rows at random yet alike in
/// every run, and a row added later moves no other row's number.
#[must_use]
pub fn seeded_rank(seed: u64, label: &str, id: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&(label.len() as u64).to_le_bytes());
    hasher.update(label.as_bytes()).update(id.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Words and phrases by which a reasoner turns on its own work; lowercase, matched on whole words.
pub const REFLECTION_WORDS: &[&str] = &[
    "wait",
    "hmm",
    "alternatively",
    "actually",
    "let me check",
    "let me verify",
    "let me double-check",
    "let me reconsider",
    "let me try",
    "double-check",
    "go back",
    "going back",
    "backtrack",
    "dead end",
    "on second thought",
    "start again",
    "start over",
    "that's wrong",
    "that is wrong",
    "that's not right",
    "that is not right",
    "not correct",
    "mistake",
];

/// How often [`REFLECTION_WORDS`] occur in a text; overlapping phrases count once (the longest).
#[must_use]
pub fn reflection_words(text: &str) -> u32 {
    let lower = fold_quotes(text).to_lowercase();
    let bytes = lower.as_bytes();
    let word = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
    let mut count = 0;
    let mut at = 0;
    while at < bytes.len() {
        let starts_word = bytes[at].is_ascii_lowercase() && !(at > 0 && word(bytes.get(at - 1)));
        let found = if starts_word { longest_phrase(&bytes[at..]) } else { None };
        match found {
            Some(len) => {
                count += 1;
                at += len;
            }
            None => at += 1,
        }
    }
    count
}

fn longest_phrase(rest: &[u8]) -> Option<usize> {
    let ends_word = |len: usize| !rest.get(len).is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
    let fits = |p: &&&str| rest.starts_with(p.as_bytes()) && ends_word(p.len());
    REFLECTION_WORDS.iter().filter(fits).map(|p| p.len()).max()
}

fn fold_quotes(text: &str) -> Cow<'_, str> {
    if text.contains('’') { Cow::Owned(text.replace('’', "'")) } else { Cow::Borrowed(text) }
}

/// Marks that set thought off from the answer in one string; a text that moves into `reasoning` must not keep them.
const THOUGHT_MARKS: &[&str] =
    &["<think>", "</think>", "<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"];

/// The text without the marks of think sections, trimmed at both ends.
#[must_use]
pub fn without_thought_marks(text: &str) -> Cow<'_, str> {
    if !THOUGHT_MARKS.iter().any(|m| text.contains(m)) {
        return Cow::Borrowed(text.trim());
    }
    let mut out = text.to_owned();
    for mark in THOUGHT_MARKS {
        out = out.replace(mark, "");
    }
    Cow::Owned(out.trim().to_owned())
}

/// Marks after which the thought is over, with what may close the solution.
const THOUGHT_ENDS: &[&str] = &["</think>", "<|end_of_thought|>"];

/// Thought and answer apart and without marks, also where a reply holds both in one string. An empty thought is none.
#[must_use]
pub fn apart(reasoning: Option<&str>, response: &str) -> (Option<String>, String) {
    let cut = THOUGHT_ENDS.iter().find_map(|mark| response.split_once(mark));
    let (thought, answer) = match (reasoning, cut) {
        (None, Some((thought, answer))) => (Some(thought), answer),
        _ => (reasoning, response),
    };
    let thought = thought.map(without_thought_marks).filter(|t| !t.is_empty());
    (thought.map(Cow::into_owned), without_thought_marks(answer).into_owned())
}

/// Thought and answer as one text.
#[must_use]
pub fn whole<'t>(reasoning: Option<&str>, response: &'t str) -> Cow<'t, str> {
    match reasoning {
        Some(reasoning) if !reasoning.is_empty() => Cow::Owned(format!("{reasoning}\n\n{response}")),
        _ => Cow::Borrowed(response),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalise_keeps_numbers_and_signs() {
        assert_eq!(normalise("  Solve\n x = -3 \t"), "solve x = -3");
        assert_ne!(normalise("x=3"), normalise("x=-3"));
        assert_eq!(normalise("ÄRGER  Ü"), "ärger ü");
    }

    #[test]
    fn reflection_words_are_whole_words_and_longest() {
        assert_eq!(reflection_words("Wait, let me double-check. Waiter!"), 2);
        assert_eq!(reflection_words("That’s wrong. Go back: dead end"), 3);
        assert_eq!(reflection_words("awaiting 等 wait等"), 0);
    }

    #[test]
    fn thought_marks_go() {
        assert_eq!(without_thought_marks(" <think>\na\n</think> b "), "a\n b");
        assert_eq!(without_thought_marks(" plain "), "plain");
    }

    #[test]
    fn rank_depends_on_all_parts() {
        let r = seeded_rank(1, "split", "a");
        assert_eq!(r, seeded_rank(1, "split", "a"));
        assert!(r != seeded_rank(2, "split", "a") && r != seeded_rank(1, "mix", "a") && r != seeded_rank(1, "split", "b"));
        assert_ne!(seeded_rank(1, "ab", "c"), seeded_rank(1, "a", "bc"));
    }
}
