//! The options of a multiple-choice problem, read from its prompt.

use std::sync::LazyLock;

use regex::Regex;

use crate::text;

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// Its label: an upper-case letter or a number.
    pub(super) label: String,
    /// Its text, normalised.
    pub(super) text: String,
}

#[expect(clippy::expect_used, reason = "the pattern is a constant; a test compiles it")]
static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    // `A.`, `A)`, `(A)`, `A:`, `**A.**`, `\textbf{(A)}`, `1.`, `(1)`, at the start of a line or, in brackets, anywhere.
    Regex::new(
        r"(?mx)
        (?: ^[\ \t>*-]{0,8} (?:\*\*|\\textbf\{|\\text\{)? \(? ([A-J]|[1-9][0-9]?) (?:\)|\.|:|．|、|\s-\s) (?:\*\*|\})?
          | (?:\\textbf\{|\\text\{|\s|^)\(([A-J])\)\}? )[\ \t~\\]{0,6}",
    )
    .expect("a constant pattern")
});

/// The options that `prompt` lists, in order: labels that count up from A or from 1, the last such list
/// where there are several. Empty where there are fewer than two.
pub(super) fn listed(prompt: &str) -> Vec<Choice> {
    let labels: Vec<(usize, usize, &str)> = LABEL
        .captures_iter(prompt)
        .filter_map(|found| {
            let whole = found.get(0)?;
            let label = found.get(1).or_else(|| found.get(2))?;
            Some((whole.start(), whole.end(), label.as_str()))
        })
        .collect();
    let mut best = 0..0;
    let mut start = 0;
    while start < labels.len() {
        let mut end = start + 1;
        if matches!(labels[start].2, "A" | "1") {
            while end < labels.len() && Some(labels[end].2) == next_label(labels[end - 1].2).as_deref() {
                end += 1;
            }
            if end - start >= 2 {
                best = start..end;
            }
        }
        start = end;
    }
    best.clone()
        .map(|index| {
            let (_, from, label) = labels[index];
            // An option ends where the next begins; the last one ends with its line.
            let to =
                if index + 1 < best.end { labels[index + 1].0 } else { prompt[from..].find('\n').map_or(prompt.len(), |at| from + at) };
            Choice { label: label.to_owned(), text: text::normalize(&prompt[from..to], false) }
        })
        .collect()
}

fn next_label(label: &str) -> Option<String> {
    if let Ok(number) = label.parse::<u32>() {
        return Some((number + 1).to_string());
    }
    let letter = label.bytes().next()?;
    Some(char::from(letter + 1).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(prompt: &str) -> Vec<String> {
        listed(prompt).into_iter().map(|choice| format!("{}={}", choice.label, choice.text)).collect()
    }

    #[test]
    fn lists_in_many_forms() {
        assert_eq!(shown("Which?\nA. Paris\nB. Rome.\nAnswer with a letter."), ["A=paris", "B=rome"]);
        assert_eq!(shown("Which? (A) 1/2 (B) 3/4 (C) 5"), ["A=1/2", "B=3/4", "C=5"]);
        assert_eq!(shown("Pick:\n1. He is her son.\n2. He is her father.\nEnclose …"), ["1=he is her son", "2=he is her father"]);
        assert_eq!(shown("\\textbf{(A)}\\ 12 \\qquad\\textbf{(B)}\\ 13").len(), 2);
        assert_eq!(shown("**A)** up\n**B)** down"), ["A=up", "B=down"]);
    }

    #[test]
    fn prose_lists_nothing() {
        assert!(listed("A. Einstein wrote a letter. What is 1 + 1?").is_empty());
        assert!(listed("").is_empty());
    }
}
