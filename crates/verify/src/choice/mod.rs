//! `choice`: the chosen option of a multiple-choice problem, by its label or by its text.

mod options;

use std::collections::BTreeSet;

use crate::extract::{Extracted, How};
use crate::read::{self, SHOWN, shown};
use crate::{Case, Judgement, Proof, Verifier, VerifyError, VerifyOptions, text};
use options::{Choice, listed};

/// Compares choices. Labels are A to J, or numbers; options are read from the prompt.
#[derive(Debug)]
struct MultipleChoice {
    options: VerifyOptions,
}

/// Builds the verifier.
pub(crate) fn build(options: &VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError> {
    Ok(Box::new(MultipleChoice { options: options.clone() }))
}

impl Verifier for MultipleChoice {
    fn name(&self) -> &'static str {
        "choice"
    }

    fn verify(&self, case: &Case<'_>) -> Judgement {
        read::judge(case, &self.options, |gold, answer| {
            let choices = listed(case.prompt);
            match labels(gold, &choices) {
                Labels::These(gold) => compare(&gold, answer, &choices),
                Labels::Conflict(why) => Judgement::bad_gold(format!("the gold answer {why}")),
                Labels::None if choices.is_empty() => compare_text(gold, answer),
                Labels::None => Judgement::bad_gold(format!("the gold answer `{}` is none of the options", shown(gold, SHOWN))),
            }
        })
    }
}

fn compare(gold: &BTreeSet<String>, answer: &Extracted<'_>, choices: &[Choice]) -> Judgement {
    let chosen = match labels(answer.text, choices) {
        Labels::None if matches!(answer.how, How::Phrase | How::LastLine) => labels_in_prose(answer.text, choices),
        other => other,
    };
    match chosen {
        Labels::These(chosen) if chosen == *gold => Judgement::correct(Proof::Exact, "the same choice"),
        Labels::These(chosen) => Judgement::incorrect(Proof::Exact, format!("chose {}, not {}", joined(&chosen), joined(gold))),
        Labels::Conflict(why) => Judgement::undecided(Proof::BadAnswer, format!("the answer {why}")),
        Labels::None if choices.is_empty() => {
            Judgement::undecided(Proof::BadAnswer, "the answer is no label, and the prompt lists no options")
        }
        Labels::None => Judgement::incorrect(Proof::BadAnswer, "the answer is none of the options"),
    }
}

/// Gold is a text and the prompt lists no options: only equal texts can be decided.
fn compare_text(gold: &str, answer: &Extracted<'_>) -> Judgement {
    if text::normalize(gold, false) == text::normalize(answer.text, false) {
        Judgement::correct(Proof::Exact, "the same text")
    } else if label(answer.text).is_some() {
        Judgement::undecided(Proof::BadGold, "the answer is a label, but the gold is a text and the prompt lists no options")
    } else {
        Judgement::incorrect(Proof::Exact, format!("not the text `{}`", shown(gold, SHOWN)))
    }
}

fn joined(labels: &BTreeSet<String>) -> String {
    labels.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The labels that a text names.
enum Labels {
    These(BTreeSet<String>),
    /// It contradicts itself; the text says how.
    Conflict(String),
    None,
}

/// Reads `B`, `(B)`, `B. Paris`, `option 2`, `A and C`, or an option's text.
fn labels(answer: &str, choices: &[Choice]) -> Labels {
    let answer = without_word(text::unwrap(answer));
    let normal = text::normalize(answer, false);
    let one = |label: String| Labels::These(BTreeSet::from([label]));
    let by_text: Vec<&Choice> = choices.iter().filter(|choice| choice.text == normal).collect();
    if let Some(label) = label(answer) {
        // An option's text may look like a label: `2` among numbered options whose texts are numbers.
        let same_by_text = by_text.iter().all(|choice| choice.label == label);
        let known = choices.is_empty() || choices.iter().any(|choice| choice.label == label);
        return match (known, by_text.as_slice()) {
            (true, _) if same_by_text => one(label),
            (true, _) => Labels::Conflict(format!("`{label}` is the label of one option and the text of another")),
            (false, [only]) => one(only.label.clone()),
            (false, _) => Labels::These(BTreeSet::from([label])),
        };
    }
    if let [only] = by_text.as_slice() {
        return one(only.label.clone());
    }
    if let Some((label, rest)) = leading_label(answer) {
        let rest = text::normalize(rest, false);
        let other = choices.iter().find(|choice| choice.label != label && choice.text == rest);
        return match other {
            Some(other) => Labels::Conflict(format!("names option {label} with the text of option {}", other.label)),
            None => one(label),
        };
    }
    list(answer).map_or(Labels::None, Labels::These)
}

/// `Option B`, `choice (2)`: the word before a label carries nothing.
fn without_word(answer: &str) -> &str {
    const WORDS: [&str; 4] = ["option", "choice", "answer", "statement"];
    let word_end = answer.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(answer.len());
    let (word, rest) = answer.split_at(word_end);
    let known = WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
    if known && !rest.trim().is_empty() { rest.trim_start_matches([':', ' ']) } else { answer }
}

/// A text that is a label and nothing else.
fn label(answer: &str) -> Option<String> {
    let bare = answer.trim().trim_start_matches('(').trim_end_matches([')', '.', ':', ' ']);
    let bare = text::unwrap(bare);
    let letter = bare.len() == 1 && bare.bytes().all(|b| matches!(b.to_ascii_uppercase(), b'A'..=b'J'));
    let number = (1..=2).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_digit());
    (letter || number).then(|| bare.to_ascii_uppercase())
}

/// `B. Paris`, `(B) Paris`, `2) he`: the label and what follows.
fn leading_label(answer: &str) -> Option<(String, &str)> {
    let end = answer.find([')', '.', ':', '、']).filter(|&at| at <= 4)?;
    let label = label(&answer[..end])?;
    let rest = &answer[end..];
    let rest = rest.trim_start_matches([')', '.', ':', '、', '*']);
    // `2.5` is a number, not option 2.
    (!rest.starts_with(|c: char| c.is_ascii_digit())).then_some((label, rest))
}

/// `A, C`, `A and C`, `AC`: at least two different letters.
fn list(answer: &str) -> Option<BTreeSet<String>> {
    let mut letters = BTreeSet::new();
    for word in answer.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '/' | '、')) {
        let word = word.trim_matches(['(', ')']);
        if word.is_empty() || word.eq_ignore_ascii_case("and") {
            continue;
        }
        if !word.bytes().all(|b| matches!(b, b'A'..=b'J')) {
            return None;
        }
        for letter in word.chars() {
            // A letter twice is a word (`ABBA`), not a list.
            if !letters.insert(letter.to_string()) {
                return None;
            }
        }
    }
    (letters.len() >= 2).then_some(letters)
}

/// Reads prose: the only bracketed or lone capital label, or else the only option whose text it contains.
fn labels_in_prose(prose: &str, choices: &[Choice]) -> Labels {
    let mut found = BTreeSet::new();
    for word in prose.split_whitespace() {
        let bracketed = word.starts_with('(') && word.contains(')');
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let label = bare.len() == 1 && bare.bytes().all(|b| matches!(b, b'A'..=b'J'));
        // A lone `A` or `I` is an article or a pronoun.
        if label && (bracketed || !matches!(bare, "A" | "I")) {
            found.insert(bare.to_owned());
        }
    }
    if found.is_empty() {
        let prose = text::normalize(prose, false);
        let texts = choices.iter().filter(|choice| !choice.text.is_empty() && prose.contains(&choice.text));
        found.extend(texts.map(|choice| choice.label.clone()));
    }
    match found.len() {
        0 => Labels::None,
        1 => Labels::These(found),
        _ => Labels::Conflict(format!("mentions several options: {}", joined(&found))),
    }
}

#[cfg(test)]
mod tests;
