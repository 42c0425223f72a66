//! Multiple choice: letters, several letters, and the texts of the options.

use super::answer::{Comparison, compare};
use super::policy::MathPolicy;
use super::words::plain_text;
use crate::{Proof, Verdict};

/// One side of the comparison as choices are read from it.
#[derive(Clone, Copy)]
pub(super) struct Written<'s> {
    /// The cleaned answer.
    pub(super) cleaned: &'s str,
    /// Whether it is words rather than mathematics.
    pub(super) is_text: bool,
}

/// Multiple choice: two letters, or a letter and the text of its option.
pub(super) fn choices(g: Written<'_>, p: Written<'_>, prompt: &str, policy: &MathPolicy) -> Option<Comparison> {
    if let (Some(gold), Some(several)) = (several(g.cleaned), several(p.cleaned))
        && gold == several
    {
        return Some(Comparison::new(Verdict::Correct, Proof::Exact, "the same choices"));
    }
    let gold = choice(g.cleaned);
    let pred = choice(p.cleaned);
    match (gold, pred) {
        (Some((a, text)), Some((b, other))) if a.is_ascii_uppercase() => {
            let correct =
                a == b && (text.is_empty() || other.is_empty() || plain_text(&text) == plain_text(&other) || policy.choice_letters);
            let note = if correct { "the same choice" } else { "another choice" };
            Some(Comparison::new(if correct { Verdict::Correct } else { Verdict::Incorrect }, Proof::Exact, note))
        }
        // `(C) 5` against `5`.
        (Some((_, text)), None) if !text.is_empty() => Some(compare(&text, p.cleaned, "", policy)),
        (None, Some((_, text))) if !text.is_empty() && !g.is_text => Some(compare(g.cleaned, &text, "", policy)),
        (Some((letter, _)), None) if policy.choice_letters => option_text(prompt, letter).map(|text| compare(&text, p.cleaned, "", policy)),
        (None, Some((letter, _))) if policy.choice_letters => option_text(prompt, letter).map(|text| compare(g.cleaned, &text, "", policy)),
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

/// Several letters as one answer: `ABD`, `A, B, D`, `A and C`; sorted, each once. Without separators only in rising order, which a
/// product of variables or the name of a figure seldom shows.
fn several(cleaned: &str) -> Option<Vec<char>> {
    const STYLES: [&str; 7] = ["\\text", "\\textbf", "\\mathrm", "\\mathbf", "\\mbox", "\\rm", "\\bf"];
    if cleaned.len() > 80 {
        return None;
    }
    let mut bare = cleaned.to_owned();
    for style in STYLES {
        bare = bare.replace(&format!("{style}{{"), " ").replace(&format!("{style} "), " ");
    }
    let mut letters = Vec::new();
    let mut separated = false;
    for word in bare.split([' ', ',', ';', '&', '(', ')', '{', '}', '.', '/', '、', '和']).filter(|w| !w.is_empty()) {
        match word {
            "and" | "AND" | "\\" | "option" | "options" | "choices" => {}
            word if word.chars().all(|c| ('①'..='⑳').contains(&c)) => letters.extend(word.chars()),
            word if word.bytes().all(|b| (b'A'..=b'J').contains(&b)) => {
                separated |= !letters.is_empty();
                letters.extend(word.chars());
            }
            _ => return None,
        }
    }
    let rising = letters.windows(2).all(|pair| pair[0] < pair[1]) || letters.iter().all(|c| !c.is_ascii());
    letters.sort_unstable();
    let count = letters.len();
    letters.dedup();
    (count >= 2 && letters.len() == count && (separated || rising)).then_some(letters)
}

/// The letter of a multiple-choice answer (`C`, `(C)`, `C.`, `\text{(C) } 5`, `option C`) and the text after it.
pub(super) fn choice(cleaned: &str) -> Option<(char, String)> {
    let mut text = String::with_capacity(cleaned.len());
    let mut rest = cleaned.trim();
    // Style commands and braces off, the signs kept.
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\\' && text.trim_start_matches(['(', '[', ' ']).is_empty() {
            let len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            if !matches!(
                &rest[..len],
                "text" | "textbf" | "textrm" | "mathrm" | "mathbf" | "mbox" | "boldsymbol" | "bf" | "rm" | "left" | "textit"
            ) {
                return None;
            }
            rest = &rest[len..];
        } else if !(matches!(c, '{' | '}' | '*' | '`') && text.len() < 6) {
            text.push(c);
        }
    }
    let text = text.trim();
    let lower = text.to_lowercase();
    let text = [
        "option ",
        "choice ",
        "answer ",
        "answer: ",
        "i choose ",
        "i pick ",
        "i select ",
        "i would choose ",
        "选项",
        "选择",
        "故选",
        "应选",
        "选",
    ]
    .iter()
    .find_map(|p| lower.starts_with(p).then(|| text[p.len()..].trim()))
    .unwrap_or(text);
    let body = text.strip_prefix(['(', '[']).unwrap_or(text).trim_start();
    let letter = body.chars().next().filter(char::is_ascii_alphabetic)?;
    let opened = body.len() < text.len();
    let after = body[1..].trim_start();
    let upper = letter.to_ascii_uppercase();
    if !('A'..='J').contains(&upper) {
        return None;
    }
    if after.is_empty() && !opened {
        // The constants.
        if matches!(letter, 'e' | 'i') {
            return None;
        }
        return Some((upper, String::new()));
    }
    let tail = after.strip_prefix([')', ']', '.', ':'])?;
    // `a:b` and `(a)(b)` are no labels.
    if !tail.is_empty() && !tail.starts_with([' ', '\\', '}', '$', '~', '.', ')']) {
        return None;
    }
    if !opened && letter.is_ascii_lowercase() && !tail.trim().is_empty() {
        return None;
    }
    let tail = tail.trim_start_matches([')', '.', ':', '\\', ',', ' ', '~', '}']).trim();
    Some((upper, tail.to_owned()))
}
