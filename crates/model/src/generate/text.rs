//! The text of a sequence as it grows.

use crate::{Result, Tokenizer};

/// Text of tokens that come one at a time. A character whose bytes are spread over tokens appears with its last one.
#[derive(Debug, Clone, Default)]
pub(super) struct GrowingText {
    pub(super) text: String,
    /// Tokens before this one cannot change any more; decoding starts here.
    settled: usize,
    /// Tokens before this one are in the text.
    read: usize,
}

/// What an unfinished character is decoded to.
const UNFINISHED: char = '\u{FFFD}';

impl GrowingText {
    /// Takes note that `tokens` has grown.
    pub(super) fn update(&mut self, tokenizer: &Tokenizer, tokens: &[u32], special: bool) -> Result<()> {
        let old = tokenizer.decode(&tokens[self.settled..self.read], !special)?;
        let new = tokenizer.decode(&tokens[self.settled..], !special)?;
        if new.ends_with(UNFINISHED) {
            return Ok(());
        }
        if let Some(added) = new.get(old.len()..) {
            self.text.push_str(added);
        }
        (self.settled, self.read) = (self.read, tokens.len());
        Ok(())
    }

    /// Starts over with fewer tokens.
    pub(super) fn restart(&mut self, tokenizer: &Tokenizer, tokens: &[u32], special: bool) -> Result<()> {
        *self = Self { text: tokenizer.decode(tokens, !special)?, settled: tokens.len(), read: tokens.len() };
        Ok(())
    }
}

/// Where the first of `needles` begins in `text` at or after the byte `from`, which need not be a character's first.
pub(super) fn find_any(text: &str, needles: &[String], mut from: usize) -> Option<usize> {
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    needles.iter().filter_map(|needle| text[from..].find(needle.as_str())).min().map(|at| from + at)
}

/// How much of `text` certainly stays: its end may be the beginning of a needle.
pub(super) fn certain<'a>(text: &str, needles: impl Iterator<Item = &'a str>) -> usize {
    let pending = |needle: &str| {
        let longest = text.len().min(needle.len() - 1);
        (1..=longest).rev().find(|&n| needle.is_char_boundary(n) && text.ends_with(&needle[..n])).unwrap_or(0)
    };
    text.len() - needles.filter(|needle| !needle.is_empty()).map(pending).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needles_are_found_and_waited_for() {
        let needles = ["</s>".to_owned(), "é!".to_owned()];
        assert_eq!(find_any("aé!b</s>", &needles, 2), Some(1));
        assert_eq!(find_any("aé!b</s>", &needles, 4), Some(5));
        assert_eq!(find_any("plain", &needles, 5), None);
        let certain = |text: &str| certain(text, needles.iter().map(String::as_str));
        assert_eq!((certain("ab<"), certain("ab</"), certain("ab</s"), certain("aé"), certain("ab")), (2, 2, 2, 1, 2));
    }
}
