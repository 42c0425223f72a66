//! One reply, one language: by script everywhere, by language in paragraphs long enough to tell.
//!
//! Formulas, code and links are taken out first. A script that stands in the prompt is allowed (a translation task);
//! single foreign words and names are too.

use std::collections::BTreeMap;

use super::function_words::{Paragraph, detected};
use super::{Check, View};
use crate::decision::Decision;

/// Writing systems, as far as they tell languages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Script {
    Latin,
    Greek,
    Cyrillic,
    Hebrew,
    Arabic,
    Indic,
    Thai,
    Hangul,
    Kana,
    Han,
    Other,
}

impl Script {
    /// The script of a letter; `None` for what is no letter.
    #[must_use]
    pub fn of(c: char) -> Option<Self> {
        if c.is_ascii() {
            return c.is_ascii_alphabetic().then_some(Self::Latin);
        }
        if !c.is_alphabetic() {
            return None;
        }
        Some(match u32::from(c) {
            // Letters of formulas (ℝ, 𝑥) belong to no language.
            0x2100..=0x214f | 0x1d400..=0x1d7ff => return None,
            0xaa..=0x24f | 0x1e00..=0x1eff | 0x2c60..=0x2c7f | 0xa720..=0xa7ff | 0xff21..=0xff5a => Self::Latin,
            0x370..=0x3ff | 0x1f00..=0x1fff => Self::Greek,
            0x400..=0x52f | 0x1c80..=0x1c8f | 0x2de0..=0x2dff => Self::Cyrillic,
            0x590..=0x5ff => Self::Hebrew,
            0x600..=0x6ff | 0x750..=0x77f | 0x8a0..=0x8ff | 0xfb50..=0xfdff | 0xfe70..=0xfeff => Self::Arabic,
            0x900..=0xdff => Self::Indic,
            0xe00..=0xe7f => Self::Thai,
            0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Self::Hangul,
            0x3040..=0x30ff | 0x31f0..=0x31ff => Self::Kana,
            0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff => Self::Han,
            _ => Self::Other,
        })
    }

    /// Japanese and Korean texts hold Han letters too: one family.
    fn family(self) -> Self {
        if matches!(self, Self::Kana | Self::Hangul) { Self::Han } else { self }
    }
}

/// Letters by script family.
#[must_use]
pub fn scripts(text: &str) -> BTreeMap<Script, usize> {
    let mut counts = BTreeMap::new();
    let latin = text.bytes().filter(u8::is_ascii_alphabetic).count();
    if latin > 0 {
        counts.insert(Script::Latin, latin);
    }
    if !text.is_ascii() {
        for script in text.chars().filter(|c| !c.is_ascii()).filter_map(Script::of) {
            *counts.entry(script.family()).or_default() += 1;
        }
    }
    counts
}

/// The prose of a reply: without code (fenced or in backticks), formulas (`$…$`, `\(…\)`, `\[…\]`), LaTeX commands and
/// links. What is never closed is prose.
#[must_use]
pub fn prose(text: &str) -> String {
    const FENCES: [(&str, &str); 6] = [("```", "```"), ("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"), ("`", "`")];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // A mark that is not closed from some place on is not closed later either: looked for once.
    let mut unclosed = [false; FENCES.len()];
    while let Some(at) = rest.find(['`', '$', '\\', 'h']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        // The commonest of the marks by far, and hardly ever a link.
        if from.starts_with('h') && !from.starts_with("http") {
            out.push('h');
            rest = &from[1..];
            continue;
        }
        let skipped = FENCES.iter().zip(&mut unclosed).filter(|((open, _), dead)| !**dead && from.starts_with(open)).find_map(
            |((open, close), dead)| {
                let end = from[open.len()..].find(close);
                // A single dollar sign or backtick pairs with another one of its paragraph, not with its neighbour.
                let end = end.filter(|e| open.len() > 1 || *e > 0 && !from[1..=*e].contains("\n\n"));
                *dead = end.is_none() && open.len() > 1;
                end.map(|e| open.len() + e + close.len())
            },
        );
        let plain = || {
            let end = from[1..].find(|c: char| !c.is_ascii_alphabetic()).map_or(from.len(), |e| e + 1);
            if from.starts_with('\\') { Some(end.max(1)) } else { None }
        };
        let link = || from.starts_with("http").then(|| from.find(char::is_whitespace).unwrap_or(from.len()));
        match skipped.or_else(plain).or_else(link) {
            Some(length) => {
                out.push(' ');
                rest = &from[length..];
            }
            None => {
                out.push_str(&from[..1]);
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Letters of a second script in a row of prose that make a change of language, not a name.
const LEAST_FOREIGN: usize = 4;
/// Letters of a paragraph from which on its language can be told.
const LEAST_LETTERS: usize = 120;

pub(super) struct OneLanguage;

impl Check for OneLanguage {
    fn check(&self, row: &View<'_>) -> Decision {
        for text in [row.reasoning.unwrap_or_default(), row.response] {
            let prose = prose(text);
            // Letters of ASCII are of one script.
            if !prose.is_ascii() {
                let allowed: Vec<Script> = scripts(row.prompt).into_keys().collect();
                if changes_script(&prose, &allowed) {
                    return Decision::drop("script changes within the reply");
                }
            }
            if changes_language(&prose) {
                return Decision::drop("language changes within the reply");
            }
        }
        Decision::Keep
    }
}

/// Does another script than the commonest stand there in a run of several letters? Greek letters are formulas' own.
fn changes_script(prose: &str, allowed: &[Script]) -> bool {
    let counts = scripts(prose);
    let Some(main) = counts.iter().max_by_key(|(_, n)| **n).map(|(s, _)| *s) else { return false };
    // Latin stands in any language's maths: only letters foreign to Latin and to the main script count.
    let foreign = |s: Script| s != main && s != Script::Latin && s != Script::Greek && !allowed.contains(&s);
    if !counts.keys().any(|s| foreign(*s)) {
        return false;
    }
    let mut run = 0;
    for c in prose.chars() {
        match Script::of(c).map(Script::family) {
            Some(s) if foreign(s) => run += 1,
            Some(_) => run = 0,
            // Blanks and punctuation do not end a run.
            None => {}
        }
        if run >= LEAST_FOREIGN {
            return true;
        }
    }
    false
}

/// Are two paragraphs surely in different languages?
fn changes_language(prose: &str) -> bool {
    let mut first = None;
    for paragraph in prose.split("\n\n").filter(|p| p.len() >= LEAST_LETTERS) {
        let seen = Paragraph::read(paragraph);
        // Lists of names, symbols and variables fool any detector: mostly real words, or nothing.
        if seen.letters < LEAST_LETTERS || seen.plain * 2 < seen.words {
            continue;
        }
        let Some(found) = seen.surely().or_else(|| detected(paragraph)) else { continue };
        if *first.get_or_insert(found) != found {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_without_code_formulas_and_links() {
        assert_eq!(
            prose("Let $x=1$ be, \\[y\\] and `z` so \\frac{1}{2}.").split_whitespace().collect::<Vec<_>>(),
            ["Let", "be,", "and", "so", "{1}{2}."]
        );
        assert_eq!(prose("a ```py\nfür = 1\n``` b https://x.y/z c"), "a   b   c");
        assert_eq!(prose("costs $5 each.\n\nThen $6."), "costs $5 each.\n\nThen $6.");
        assert_eq!(prose("open ``` code"), "open ``` code");
    }

    #[test]
    fn a_change_of_script_is_seen_and_a_sign_is_not() {
        let changed = |text: &str| changes_script(&prose(text), &[]);
        assert!(changed("So the answer 因此我们得到 is 7."));
        assert!(changed("Потом we find x, а потом мы find y and so on, as we said before."));
        assert!(!changed("The angle α and β, α + β = 90, the word 好."));
        assert!(!changed("所以 x = 3, 我们得到 answer 是七"));
        assert!(!changed("これは日本語の文章です。漢字もあります。"));
        assert!(!changes_script("translate 因此我们得到", &[Script::Han]));
    }

    #[test]
    fn a_change_of_language_needs_whole_paragraphs() {
        let english = "First we look at the number of apples that each of the children has got from the farmer, and then we add all of them together to find how many there are in total.";
        let german = "Zuerst betrachten wir die Anzahl der Äpfel, die jedes der Kinder vom Bauern bekommen hat, und dann zählen wir sie alle zusammen, um die Gesamtzahl zu finden.";
        assert!(changes_language(&format!("{english}\n\n{german}")));
        assert!(!changes_language(&format!("{english}\n\n{english}")));
        assert!(!changes_language(&format!("{english}\n\nAlso gut, ja.")));
        // Polish has no list of function words here: the detector tells it.
        let polish = "Najpierw patrzymy na liczbę jabłek, które każde z dzieci dostało od rolnika, a potem dodajemy je wszystkie razem, żeby znaleźć, ile ich jest łącznie.";
        assert!(changes_language(&format!("{english}\n\n{polish}")) && changes_language(&format!("{polish}\n\n{german}")));
    }
}
