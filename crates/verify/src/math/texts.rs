//! Two answers in words: the same, certainly different, or prose that rules cannot judge.

use std::borrow::Cow;

use super::ast::Expr;
use super::scalar::Outcome;
use crate::Proof;

/// From this many words on a text is prose, in which the same thing may be said in other words.
const PROSE: usize = 4;

/// Nouns that only repeat what was asked for: "isosceles triangle" says no more than "isosceles".
const CLASSES: [&str; 24] = [
    "triangle",
    "function",
    "series",
    "sequence",
    "number",
    "numbers",
    "quadrilateral",
    "quadrant",
    "angle",
    "angles",
    "equation",
    "distribution",
    "polygon",
    "figure",
    "curve",
    "graph",
    "shape",
    "statement",
    "integral",
    "limit",
    "system",
    "test",
    "matrix",
    "player",
];

/// What a sentence may hold before the answer at its end.
const SUBJECTS: [&str; 17] =
    ["this", "it", "they", "these", "its", "answer", "result", "is", "are", "was", "were", "will", "be", "would", "must", "so", "thus"];

/// Compares two texts, normalised: lower case, without articles and punctuation.
pub(super) fn texts(gold: &str, prediction: &str) -> Outcome {
    let (gold, prediction) = (&*one_form(gold), &*one_form(prediction));
    if gold == prediction || says(prediction, gold) || says(gold, prediction) {
        return Outcome::Equal(Proof::Structural);
    }
    if decidable(gold, prediction) { Outcome::Different(Proof::Structural) } else { Outcome::Unknown }
}

/// Verbs as adjectives.
fn one_form(text: &str) -> Cow<'_, str> {
    const FORMS: [(&str, &str); 3] = [("does not converge", "divergent"), ("diverges", "divergent"), ("converges", "convergent")];
    FORMS.iter().fold(Cow::Borrowed(text), |text, (from, to)| if text.contains(from) { Cow::Owned(text.replace(from, to)) } else { text })
}

/// Whether a text is long enough to say anything.
pub(super) fn is_prose(text: &str) -> bool {
    text.split(' ').count() >= PROSE
}

/// Whether the texts are too short to say the same thing in different words.
fn decidable(gold: &str, prediction: &str) -> bool {
    let closed =
        |text: &str| matches!(text, "yes" | "no" | "infinitely many" | "does not exist") || text.chars().count() == 1 && text.is_ascii();
    if closed(gold) && closed(prediction) {
        return true;
    }
    let count = |text: &str| text.split(' ').count() + text.chars().filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c)).count() / 2;
    let holds = |long: &str, short: &str| short.split(' ').all(|word| long.split(' ').any(|other| other == word));
    count(gold) < PROSE && count(prediction) < PROSE && !holds(gold, prediction) && !holds(prediction, gold)
}

/// Whether `sentence` says `answer` and nothing else: a class noun after it, a subject and a copula before it.
fn says(sentence: &str, answer: &str) -> bool {
    if answer.is_empty() || answer.chars().count() == 1 {
        return false;
    }
    let end = sentence.rsplit_once(' ').filter(|(_, noun)| CLASSES.contains(noun)).map(|(head, _)| head);
    [Some(sentence), end].into_iter().flatten().any(|text| {
        let Some(before) = text.strip_suffix(answer) else { return false };
        before.is_empty()
            || before.ends_with(' ') && before.split_whitespace().all(|word| SUBJECTS.contains(&word) || CLASSES.contains(&word))
    })
}

/// Days and months as a text of one form: `date 2000-01-31`, `date 01-31`.
pub(super) fn date(plain: &str) -> Option<Expr> {
    const MONTHS: [&str; 12] =
        ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
    if plain.len() > 40 {
        return None;
    }
    let text = |year: Option<u32>, month: u32, day: u32| {
        let year = year.map_or(String::new(), |year| format!("{year}-"));
        ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| Expr::Text(format!("date {year}{month:02}-{day:02}").into()))
    };
    // `2000-01-31`, both zeros written, is no difference.
    if plain.len() == 10 && plain.is_ascii() {
        let parts: Vec<&str> = plain.split('-').collect();
        if let [y, m, d] = parts[..]
            && (y.len(), m.len(), d.len()) == (4, 2, 2)
        {
            return text(Some(y.parse().ok()?), m.parse().ok()?, d.parse().ok()?);
        }
    }
    if let Some((year, rest)) = plain.split_once('年') {
        let (month, day) = rest.split_once('月')?;
        return text(
            Some(year.trim().parse().ok()?),
            month.trim().parse().ok()?,
            day.trim_end_matches(['日', '号', ' ']).trim().parse().ok()?,
        );
    }
    let words: Vec<&str> = plain.split(' ').filter(|word| *word != "of").collect();
    let month = |word: &str| {
        let at = MONTHS.iter().position(|name| *name == word || word.len() == 3 && name.starts_with(word))?;
        u32::try_from(at + 1).ok()
    };
    let day = |word: &str| {
        ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).parse().ok().filter(|_| word.len() <= 4)
    };
    let year = |word: &str| word.parse().ok().filter(|_| word.len() == 4);
    match words[..] {
        [a, b] => text(None, month(a).or_else(|| month(b))?, day(a).or_else(|| day(b))?),
        [a, b, y] => text(Some(year(y)?), month(a).or_else(|| month(b))?, day(a).or_else(|| day(b))?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_decided_and_prose_is_left_to_a_judge() {
        let verdict = |gold, prediction| match texts(gold, prediction) {
            Outcome::Equal(_) => "equal",
            Outcome::Different(_) => "different",
            Outcome::Unknown => "unknown",
        };
        for (gold, prediction, expected) in [
            ("isosceles", "isosceles triangle", "equal"),
            ("converges", "series converges", "equal"),
            ("cannot be determined", "it cannot be determined", "equal"),
            ("red", "blue", "different"),
            ("yes", "no", "different"),
            ("paris", "london", "different"),
            ("converges", "series diverges", "different"),
            ("paris", "london is larger than paris", "unknown"),
            ("smallest element is unique", "there is exactly one least element", "unknown"),
            ("not convergent", "convergent", "unknown"),
        ] {
            assert_eq!(verdict(gold, prediction), expected, "{gold} | {prediction}");
        }
    }

    #[test]
    fn dates_have_one_form() {
        let form = |text| date(text);
        assert_eq!(form("march 5"), form("5th march"));
        assert_eq!(form("january 1 2000"), form("2000-01-01"));
        assert_eq!(form("2000年1月1日"), form("1 january 2000"));
        for none in ["may", "3 apples", "march", "13 40", "2000-13-01", "1999-2000"] {
            assert_eq!(form(none), None, "{none}");
        }
    }
}
