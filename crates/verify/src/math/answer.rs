//! Two answers as text: readings of what is ambiguous, words, choices, then the comparison.

use super::ast::Expr;
use super::clean::{canonical, clean};
use super::compare::{Context, answers_equal};
use super::lexer::{ParseError, Reading};
use super::parser::parse;
use super::policy::MathPolicy;
use super::rounding::Rounding;
use super::scalar::Outcome;
use super::scripts::based;
use super::words::{choice, meaning, plain_text};
use super::work::Work;
use crate::{Proof, Verdict};

/// What comparing two answers found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether the prediction is right.
    pub verdict: Verdict,
    /// How that is known.
    pub proof: Proof,
    /// One sentence for people: a lowercase fragment.
    pub note: String,
}

impl Comparison {
    fn new(verdict: Verdict, proof: Proof, note: impl Into<String>) -> Self {
        Self { verdict, proof, note: note.into() }
    }
}

/// Answers longer than this are not parsed.
const MAX_BYTES: usize = 20_000;

/// One side of the comparison.
struct Side {
    cleaned: String,
    plain: String,
    parsed: Result<Expr, ParseError>,
}

impl Side {
    fn new(raw: &str) -> Self {
        let cleaned = clean(raw);
        let plain = plain_text(&cleaned);
        let parsed = read(&cleaned, &plain, Reading::default());
        Self { cleaned, plain, parsed }
    }

    fn is_text(&self) -> bool {
        matches!(self.parsed, Err(ParseError::Opaque(_)) | Ok(Expr::Text(_)))
    }
}

/// Parses, after looking for words with a meaning and numerals in a base with letter digits.
fn read(cleaned: &str, plain: &str, reading: Reading) -> Result<Expr, ParseError> {
    if let Some(expr) = meaning(plain) {
        return Ok(expr);
    }
    if let Some((digits, base)) = cleaned.split_once('_')
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b) || (b'a'..=b'f').contains(&b))
        && let Ok(radix) = base.trim_matches(['{', '}']).parse::<u32>()
        && (digits.bytes().any(|b| b.is_ascii_digit()) || radix > 10 && digits.len() > 1)
        && let Ok(numeral) = based(&digits.to_uppercase(), Some(radix))
    {
        return Ok(numeral);
    }
    match parse(cleaned, reading) {
        // Words alone are text, with their case and articles taken off.
        Ok(Expr::Text(_)) => Ok(Expr::Text(plain.into())),
        other => other,
    }
}

/// Whether a text reads completely as mathematics, a choice, or words with a meaning.
pub(super) fn reads_as_value(text: &str) -> bool {
    let side = Side::new(text);
    match &side.parsed {
        Ok(Expr::Text(word)) => meaning(word).is_some() || matches!(&**word, "does not exist" | "infinitely many" | "yes" | "no"),
        Ok(e) => !e.any(&|x| matches!(x, Expr::Text(_))),
        Err(_) => choice(&side.cleaned).is_some(),
    }
}

/// Compares a prediction with the gold answer; both are the bare answers, already extracted.
///
/// `prompt` is where multiple-choice options are looked up.
#[must_use]
pub fn compare(gold: &str, prediction: &str, prompt: &str, policy: &MathPolicy) -> Comparison {
    let work = Work::new(policy.steps);
    let cx = Context { policy, work: &work, rounding: if policy.rounding_from_prompt { Rounding::asked_in(prompt) } else { None } };
    if gold.len() > MAX_BYTES {
        return Comparison::new(
            Verdict::Undecided,
            Proof::BadGold,
            format!("the gold answer has {} bytes, the limit is {MAX_BYTES}", gold.len()),
        );
    }
    if prediction.len() > MAX_BYTES {
        return Comparison::new(
            Verdict::Undecided,
            Proof::BadAnswer,
            format!("the answer has {} bytes, the limit is {MAX_BYTES}", prediction.len()),
        );
    }
    let (g, p) = (Side::new(gold), Side::new(prediction));
    if g.cleaned.is_empty() {
        return Comparison::new(Verdict::Undecided, Proof::BadGold, "the gold answer is empty");
    }
    if let Err(ParseError::Malformed(why)) = &g.parsed {
        return Comparison::new(Verdict::Undecided, Proof::BadGold, format!("the gold answer cannot be read: {why}"));
    }
    if p.cleaned.is_empty() {
        return Comparison::new(Verdict::Incorrect, Proof::NoAnswer, "the answer is empty");
    }
    if canonical(&g.cleaned) == canonical(&p.cleaned) {
        return Comparison::new(Verdict::Correct, Proof::Structural, "the same text");
    }
    if let Some(found) = choices(&g, &p, prompt, policy) {
        return found;
    }
    let outcome = sides_equal(&g, &p, &cx);
    conclude(outcome, &g, &p, &work)
}

fn conclude(outcome: Outcome, g: &Side, p: &Side, work: &Work) -> Comparison {
    match outcome {
        Outcome::Equal(proof) => Comparison::new(Verdict::Correct, proof, how(proof)),
        Outcome::Different(proof) => Comparison::new(Verdict::Incorrect, proof, format!("differs from the gold answer ({})", why(proof))),
        Outcome::Unknown if work.is_spent() => Comparison::new(Verdict::Undecided, Proof::Budget, "the work budget ran out"),
        Outcome::Unknown => match (&g.parsed, &p.parsed) {
            (Err(ParseError::Opaque(why)), _) => {
                Comparison::new(Verdict::Undecided, Proof::BadGold, format!("the gold answer cannot be read: {why}"))
            }
            (_, Err(ParseError::Opaque(why) | ParseError::Malformed(why))) => {
                Comparison::new(Verdict::Undecided, Proof::BadAnswer, format!("the answer cannot be read: {why}"))
            }
            _ => Comparison::new(Verdict::Undecided, Proof::Probable, "no layer could decide"),
        },
    }
}

fn how(proof: Proof) -> &'static str {
    match proof {
        Proof::Exact => "equal exact values",
        Proof::Identity => "equal modulo two random primes",
        Proof::Numeric => "equal within the last digit of a decimal",
        Proof::Probable => "equal at every sample to more than 70 digits; not proved",
        _ => "the same structure",
    }
}

fn why(proof: Proof) -> &'static str {
    match proof {
        Proof::Exact => "exact values",
        Proof::Identity => "modulo a random prime",
        Proof::Interval => "certified enclosures do not meet",
        _ => "form or parts",
    }
}

/// Runs the comparison over the readings that the texts allow.
fn sides_equal(g: &Side, p: &Side, cx: &Context<'_>) -> Outcome {
    let first = pair(g, p, &g.parsed, &p.parsed, cx);
    if first.is_equal() {
        return first;
    }
    let split = Reading { comma_splits: true, ..Reading::default() };
    if cx.policy.thousands_separators && (has_grouping(&g.cleaned) || has_grouping(&p.cleaned)) {
        let again = pair(g, p, &read(&g.cleaned, &g.plain, split), &read(&p.cleaned, &p.plain, split), cx);
        if again.is_equal() {
            return again;
        }
    }
    let comma = Reading { decimal_comma: true, ..Reading::default() };
    if cx.policy.decimal_comma {
        let (a, b) = (is_comma_decimal(&g.cleaned), is_comma_decimal(&p.cleaned));
        let gold = if a && !b { read(&g.cleaned, &g.plain, comma) } else { g.parsed.clone() };
        let pred = if b && !a { read(&p.cleaned, &p.plain, comma) } else { p.parsed.clone() };
        // Only a single number on the other side makes the comma a decimal sign.
        let single = |e: &Result<Expr, ParseError>| matches!(e, Ok(e) if e.is_scalar());
        if a != b && single(&gold) && single(&pred) {
            let again = pair(g, p, &gold, &pred, cx);
            if again.is_equal() {
                return again;
            }
        }
    }
    first
}

fn pair(g: &Side, p: &Side, gold: &Result<Expr, ParseError>, prediction: &Result<Expr, ParseError>, cx: &Context<'_>) -> Outcome {
    match (gold, prediction) {
        (Ok(a), Ok(b)) => {
            let outcome = answers_equal(a, b, cx);
            // Words may hold what the trees do not show.
            if !outcome.is_equal() && (g.is_text() || p.is_text()) && g.plain == p.plain {
                Outcome::Equal(Proof::Structural)
            } else {
                outcome
            }
        }
        _ if g.plain == p.plain && !g.plain.is_empty() && (g.plain.len() > 1 || g.cleaned == p.cleaned) => {
            Outcome::Equal(Proof::Structural)
        }
        (Ok(Expr::Text(_)), Err(_)) => Outcome::Different(Proof::Structural),
        _ => Outcome::Unknown,
    }
}

/// `1,234` outside brackets.
fn has_grouping(s: &str) -> bool {
    let b = s.as_bytes();
    (1..b.len()).any(|i| b[i] == b',' && b[i - 1].is_ascii_digit() && b.get(i + 1..i + 4).is_some_and(|d| d.iter().all(u8::is_ascii_digit)))
}

/// One comma between digits, no point: `3,14`.
fn is_comma_decimal(s: &str) -> bool {
    let b = s.as_bytes();
    let commas: Vec<usize> = (0..b.len()).filter(|i| b[*i] == b',').collect();
    matches!(commas[..], [i] if i > 0 && b[i - 1].is_ascii_digit() && b.get(i + 1).is_some_and(u8::is_ascii_digit))
        && !s.contains(['.', '(', '[', '{'])
}

/// Multiple choice: two letters, or a letter and the text of its option.
fn choices(g: &Side, p: &Side, prompt: &str, policy: &MathPolicy) -> Option<Comparison> {
    let gold = choice(&g.cleaned);
    let pred = choice(&p.cleaned);
    match (gold, pred) {
        (Some((a, text)), Some((b, other))) if a.is_ascii_uppercase() => {
            let correct =
                a == b && (text.is_empty() || other.is_empty() || plain_text(&text) == plain_text(&other) || policy.choice_letters);
            let note = if correct { "the same choice" } else { "another choice" };
            Some(Comparison::new(if correct { Verdict::Correct } else { Verdict::Incorrect }, Proof::Exact, note))
        }
        // `(C) 5` against `5`.
        (Some((_, text)), None) if !text.is_empty() => Some(compare(&text, &p.cleaned, "", policy)),
        (None, Some((_, text))) if !text.is_empty() && !g.is_text() => Some(compare(&g.cleaned, &text, "", policy)),
        (Some((letter, _)), None) if policy.choice_letters => {
            option_text(prompt, letter).map(|text| compare(&text, &p.cleaned, "", policy))
        }
        (None, Some((letter, _))) if policy.choice_letters => {
            option_text(prompt, letter).map(|text| compare(&g.cleaned, &text, "", policy))
        }
        _ => None,
    }
}

/// The text of option `letter` in the prompt: from its label to the next label or the end of the line.
fn option_text(prompt: &str, letter: char) -> Option<String> {
    let label = |c: char| [format!("({c})"), format!("{c})"), format!("{c}."), format!("{c}:")];
    let next = char::from_u32(u32::from(letter) + 1)?;
    for (mark, end) in label(letter).into_iter().zip(label(next)) {
        let found = prompt.match_indices(&mark).filter(|(i, _)| !prompt[..*i].ends_with(char::is_alphanumeric)).last();
        let Some((at, _)) = found else { continue };
        let rest = &prompt[at + mark.len()..];
        let stop = rest.find(&end).into_iter().chain(rest.find('\n')).min().unwrap_or(rest.len());
        let text = rest[..stop].trim().trim_start_matches(['}', '~', '\\']).trim();
        let text = text
            .strip_suffix("\\textbf{")
            .or_else(|| text.strip_suffix("\\text{"))
            .unwrap_or(text)
            .trim()
            .trim_end_matches(['\\', '&', ' ', '$']);
        if !text.is_empty() {
            return Some(text.to_owned());
        }
    }
    None
}
