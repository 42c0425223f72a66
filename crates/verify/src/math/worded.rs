//! Inequalities in words: "x is at least 3", "all real numbers greater than 2", "x is nonnegative".

use super::parser::UNNAMED;

/// Phrases and the relation each stands for, longer ones before those they hold.
const PHRASES: [(&str, &str); 42] = [
    ("strictly greater than", "> "),
    ("strictly less than", "< "),
    ("is greater than or equal to", "\\ge "),
    ("are greater than or equal to", "\\ge "),
    ("greater than or equal to", "\\ge "),
    ("is less than or equal to", "\\le "),
    ("are less than or equal to", "\\le "),
    ("less than or equal to", "\\le "),
    ("is not less than", "\\ge "),
    ("is not greater than", "\\le "),
    ("is at least", "\\ge "),
    ("at least", "\\ge "),
    ("no less than", "\\ge "),
    ("is at most", "\\le "),
    ("at most", "\\le "),
    ("no more than", "\\le "),
    ("no greater than", "\\le "),
    ("is greater than", "> "),
    ("greater than", "> "),
    ("is larger than", "> "),
    ("larger than", "> "),
    ("is more than", "> "),
    ("more than", "> "),
    ("is less than", "< "),
    ("less than", "< "),
    ("is smaller than", "< "),
    ("smaller than", "< "),
    ("is not equal to", "\\ne "),
    ("not equal to", "\\ne "),
    ("is nonnegative", "\\ge 0"),
    ("is non-negative", "\\ge 0"),
    ("is nonpositive", "\\le 0"),
    ("is non-positive", "\\le 0"),
    ("is nonzero", "\\ne 0"),
    ("is positive", "> 0"),
    ("is negative", "< 0"),
    ("大于或等于", "\\ge "),
    ("大于等于", "\\ge "),
    ("小于或等于", "\\le "),
    ("小于等于", "\\le "),
    ("大于", "> "),
    ("小于", "< "),
];

/// Words that may stand before the variable, or for it.
const QUANTIFIERS: [&str; 22] = [
    "all", "any", "every", "each", "for", "the", "real", "number", "numbers", "value", "values", "integer", "integers", "reals", "of",
    "such", "that", "where", "with", "which", "are", "is",
];

/// The inequality that a phrase states; `None` where there is none, or where anything but it is said.
pub(super) fn inequality(s: &str) -> Option<String> {
    const HINTS: [&str; 13] = [
        " than",
        "between ",
        "at least",
        "at most",
        " equal to",
        "negative",
        "positive",
        "nonzero",
        "大于",
        "小于",
        "integers ",
        "reals ",
        "numbers ",
    ];
    if s.len() > 200 || !HINTS.iter().any(|hint| s.contains(hint)) {
        return None;
    }
    let mut text = s.replace("\\text{", " ").replace(['{', '}'], " ").replace("non-", "non");
    if text.contains("\\frac") || text.contains("\\sqrt") {
        // Groups matter there.
        text = s.to_owned();
    }
    let mut found = ["<", ">", "\\ge", "\\le", "\\ne"].iter().any(|sign| text.contains(sign));
    if let Some(chain) = between(&text) {
        return Some(chain);
    }
    for (phrase, sign) in PHRASES {
        let bounded = |at: usize| {
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
            !phrase.is_ascii() || !letter(text[..at].chars().next_back()) && !letter(text[at + phrase.len()..].chars().next())
        };
        if text.match_indices(phrase).any(|(at, _)| bounded(at)) {
            text = text.replace(phrase, &format!(" {sign}"));
            found = true;
        }
    }
    if !found {
        return None;
    }
    let relation = text.find(['<', '>', '\\'])?;
    let (head, tail) = text.split_at(relation);
    let words: Vec<&str> = head.split_whitespace().collect();
    let name = words.last().filter(|word| word.chars().count() == 1).copied();
    let quantifiers = &words[..words.len() - usize::from(name.is_some())];
    // `all x such that x > 3`: the variable once more.
    if !quantifiers.iter().all(|word| QUANTIFIERS.contains(&word.to_lowercase().as_str()) || Some(*word) == name) {
        return None;
    }
    let spoken = |word: &str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_alphabetic()) && !matches!(word, "and" | "or" | "pi");
    if tail.split_whitespace().any(spoken) || !tail.contains(|c: char| c.is_ascii_digit() || c.is_ascii_alphabetic()) {
        return None;
    }
    Some(format!("{} {tail}", name.unwrap_or(UNNAMED)).replace(UNNAMED, "").trim().to_owned())
}

/// "x is between 2 and 5, inclusive", where the ends are said to count or not.
fn between(text: &str) -> Option<String> {
    let (head, range) = text.split_once("between ")?;
    let (low, rest) = range.split_once(" and ")?;
    let (high, sign) = [(", inclusive", "\\le"), (" inclusive", "\\le"), (", exclusive", "<"), (" exclusive", "<")]
        .iter()
        .find_map(|(end, sign)| rest.trim_end_matches(['.', ')']).strip_suffix(end).map(|high| (high, *sign)))
        .or_else(|| head.trim_end().ends_with("strictly").then_some((rest, "<")))?;
    let value =
        |s: &str| !s.is_empty() && s.len() < 20 && s.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.' | '/' | ' ' | '$'));
    let words: Vec<&str> = head.split_whitespace().filter(|word| *word != "strictly").collect();
    let name =
        words.last().filter(|word| **word != "is" && word.trim_matches('$').chars().count() == 1).or(words.iter().rev().nth(1)).copied();
    let name = name.map(|name| name.trim_matches('$')).filter(|name| name.chars().count() == 1).unwrap_or("x");
    let plain = words.iter().all(|word| QUANTIFIERS.contains(&word.to_lowercase().as_str()) || word.trim_matches('$') == name);
    (plain && value(low) && value(high)).then(|| format!("{low} {sign} {name} {sign} {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_become_signs_and_sentences_do_not() {
        for (text, relation) in [
            ("x is greater than 3", "x  > 3"),
            ("x is nonnegative", "x \\ge 0"),
            ("n is at least 5", "n \\ge 5"),
            ("all real numbers greater than 3", "> 3"),
            ("all integers n \\ge 5", "n \\ge 5"),
        ] {
            let squeeze = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(inequality(text).map(|s| squeeze(&s)), Some(squeeze(relation)), "{text}");
        }
        for prose in ["at least 15 apples", "the sum is greater than 3", "negative five", "positive", "3 numbers"] {
            assert_eq!(inequality(prose), None, "{prose}");
        }
    }
}
