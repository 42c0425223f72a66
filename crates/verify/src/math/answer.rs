//! Two answers as text: readings of what is ambiguous, words, choices, then the comparison.

use super::ast::Expr;
use super::choices::{Written, choice, choices};
use super::clean::{canonical, clean};
use super::compare::{Context, answers_equal};
use super::lexer::{ParseError, Reading};
use super::parser::parse;
use super::policy::MathPolicy;
use super::rounding::Rounding;
use super::scalar::Outcome;
use super::scripts::based;
use super::texts::texts;
use super::words::{counted_words, leading_verdict, meaning, plain_text};
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
    pub(super) fn new(verdict: Verdict, proof: Proof, note: impl Into<String>) -> Self {
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

    /// Style commands around nothing, such as `\text{}`.
    fn says_nothing(&self) -> bool {
        self.plain.is_empty() && matches!(self.parsed, Err(_) | Ok(Expr::Text(_))) && choice(&self.cleaned).is_none()
    }

    fn written(&self) -> Written<'_> {
        Written { cleaned: &self.cleaned, is_text: self.is_text() }
    }
}

/// Parses, after looking for words with a meaning and numerals in a base with letter digits.
fn read(cleaned: &str, plain: &str, reading: Reading) -> Result<Expr, ParseError> {
    if let Some(expr) = meaning(plain) {
        return Ok(expr);
    }
    if let Some(word) = leading_verdict(cleaned) {
        return Ok(Expr::Text(word.into()));
    }
    if let Some((digits, base)) = cleaned.split_once('_')
        && let digits = digits.replace("\\text{", "").replace("\\mathrm{", "").replace(['}', ' '], "")
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b) || (b'a'..=b'f').contains(&b))
        && let Ok(radix) = base.trim_matches(['{', '}']).parse::<u32>()
        && (digits.bytes().any(|b| b.is_ascii_digit()) || radix > 10 && digits.len() > 1)
        && let Ok(numeral) = based(&digits.to_uppercase(), Some(radix))
    {
        return Ok(numeral);
    }
    // "a prime number": the article is no variable.
    if ["a ", "an ", "A ", "An "].iter().any(|article| cleaned.starts_with(article))
        && plain.len() > 2
        && plain.chars().all(|c| c.is_alphabetic() || c == ' ')
    {
        return Ok(Expr::Text(plain.into()));
    }
    if let Some((part, whole)) = plain.split_once(" out of ").or_else(|| plain.split_once(" in ").filter(|_| plain.len() < 20))
        && [part, whole].iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    {
        return parse(&format!("{part}/{whole}"), reading);
    }
    if let Some(numeral) = counted_words(plain) {
        return parse(&numeral, reading);
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
        Ok(e) => !e.any(&|x| match x {
            Expr::Text(_) => true,
            Expr::Quantity(_, unit) => unit.is_sentence(),
            _ => false,
        }),
        Err(_) => choice(&side.cleaned).is_some(),
    }
}

/// Whether a text lists several values without an order.
pub(super) fn is_list(text: &str) -> bool {
    matches!(&Side::new(text).parsed, Ok(Expr::List(_) | Expr::Set(_) | Expr::Union(_)))
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
    if g.cleaned.is_empty() || g.says_nothing() {
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
    if let Some(found) = choices(g.written(), p.written(), prompt, policy) {
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
        Proof::Probable => "equal wherever the two were compared; not proved",
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
    let (g_binds, p_binds) = (has_joined_divisor(&g.cleaned), has_joined_divisor(&p.cleaned));
    if g_binds || p_binds {
        let binding = Reading { slash_binds: true, ..Reading::default() };
        let other = |side: &Side, binds: bool| if binds { read(&side.cleaned, &side.plain, binding) } else { side.parsed.clone() };
        let again = pair(g, p, &other(g, g_binds), &other(p, p_binds), cx);
        if again.is_equal() {
            return again;
        }
    }
    let comma = Reading { decimal_comma: true, ..Reading::default() };
    if cx.policy.decimal_comma {
        // Two values as gold are seldom one decimal: `2,4` stays a list.
        let (a, b) = (is_comma_decimal(&g.cleaned) && !is_short_list(&g.cleaned), is_comma_decimal(&p.cleaned));
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
            let listed = |e: &Expr| matches!(e, Expr::List(_) | Expr::Set(_) | Expr::Union(_));
            if !outcome.is_equal() && (g.is_text() || p.is_text()) && g.plain == p.plain && listed(a) == listed(b) {
                Outcome::Equal(Proof::Structural)
            } else {
                outcome
            }
        }
        _ if g.plain == p.plain && !g.plain.is_empty() && (g.plain.len() > 1 || g.cleaned == p.cleaned) => {
            Outcome::Equal(Proof::Structural)
        }
        (Ok(Expr::Text(_)), Err(_)) => texts(&g.plain, &p.plain),
        _ => Outcome::Unknown,
    }
}

/// `/` before a product written together, such as `/RC` or `/2\pi`.
fn has_joined_divisor(s: &str) -> bool {
    s.match_indices('/').any(|(at, _)| {
        let rest = s[at + 1..].trim_start();
        let first = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let first = if first.len() == rest.len() { rest.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or("") } else { first };
        first.starts_with(|c: char| c.is_ascii_alphabetic() || c == '\\')
    })
}

/// `1,234` outside brackets.
fn has_grouping(s: &str) -> bool {
    let b = s.as_bytes();
    (1..b.len()).any(|i| b[i] == b',' && b[i - 1].is_ascii_digit() && b.get(i + 1..i + 4).is_some_and(|d| d.iter().all(u8::is_ascii_digit)))
}

/// `2,4`: a list rather than a decimal, which would have more digits or begin with zero.
fn is_short_list(s: &str) -> bool {
    s.split_once(',').is_some_and(|(whole, rest)| rest.len() == 1 && !whole.ends_with('0'))
}

/// One comma between digits, no point: `3,14`.
fn is_comma_decimal(s: &str) -> bool {
    let b = s.as_bytes();
    let commas: Vec<usize> = (0..b.len()).filter(|i| b[*i] == b',').collect();
    let grouped = has_grouping(s) && !s.starts_with('0') && !s.starts_with("-0") && b.len() <= 8;
    !grouped
        && matches!(commas[..], [i] if i > 0 && b[i - 1].is_ascii_digit() && b.get(i + 1).is_some_and(u8::is_ascii_digit))
        && !s.contains(['.', '(', '[', '{'])
}
