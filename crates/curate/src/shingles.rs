//! Word n-grams of a text as hashes: the common ground of near-duplicate search and decontamination.
//!
//! A word is a run of letters and digits in any script, in lowercase; an ideograph is a word of its own, and so is a
//! sign that changes what a formula says (`+`, `-`, `=`, `<`, …). Other punctuation parts words and is not seen.
//! Numbers stay what they are: a filter that folds them together takes templated maths for copies.

use std::collections::BTreeSet;

/// Longest n-gram, in words.
pub const MAX_NGRAM: usize = 32;

const PART: u8 = 0;
const WORD: u8 = 1;
const SIGN: u8 = 2;
const WIDE: u8 = 3;

/// What each byte is, as the first byte of a character.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [PART; 256];
    let mut at = 0;
    while at < 256 {
        let b = at as u8;
        table[at] = match b {
            _ if b.is_ascii_alphanumeric() => WORD,
            b'+' | b'-' | b'*' | b'/' | b'=' | b'<' | b'>' | b'^' | b'%' | b'!' | b'|' => SIGN,
            0x80.. => WIDE,
            _ => PART,
        };
        at += 1;
    }
    table
}

/// Spreads the bits of a number over all 64 (the finaliser of SplitMix64).
#[must_use]
pub(crate) const fn mix(mut h: u64) -> u64 {
    h ^= h >> 30;
    h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h ^= h >> 27;
    h = h.wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

const START: u64 = 0xcbf2_9ce4_8422_2325;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
const fn eat(hash: u64, part: u64) -> u64 {
    (hash ^ part).wrapping_mul(STEP).rotate_left(23)
}

/// A character beyond ASCII as a part of a hash: marked, so that no eight ASCII bytes make the same number.
#[inline]
fn beyond(c: char) -> u64 {
    u64::from(u32::from(c)) | (1 << 63)
}

/// A bit for every byte of a `u64`: its highest.
const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

/// The eight bytes at `at` as one number, the first in its lowest bits; zeros beyond the end.
#[inline]
fn eight(bytes: &[u8], at: usize) -> u64 {
    let mut chunk = [0; 8];
    match bytes.get(at..at + 8) {
        Some(whole) => chunk.copy_from_slice(whole),
        None => {
            let rest = bytes.get(at..).unwrap_or_default();
            chunk[..rest.len()].copy_from_slice(rest);
        }
    }
    u64::from_le_bytes(chunk)
}

/// How many of eight bytes, from the first on, are ASCII letters and digits: all eight are looked at together, which
/// is what makes reading a text fast.
#[inline]
const fn letters(chunk: u64) -> usize {
    let low = chunk & !HIGH;
    // Adding to seven bits sets the eighth exactly where the byte reaches a bound, and never carries into the next.
    let lower = low | (0x20 * ONES);
    let letter = (lower + (0x80 - b'a' as u64) * ONES) & !(lower + (0x7f - b'z' as u64) * ONES);
    let digit = (low + (0x80 - b'0' as u64) * ONES) & !(low + (0x7f - b'9' as u64) * ONES);
    let other = !((letter | digit) & !chunk) & HIGH;
    (other.trailing_zeros() / 8) as usize
}

/// Calls `word(hash, start, end)` for every word; `start..end` are its bytes in the text.
#[inline]
pub fn words(text: &str, mut word: impl FnMut(u64, usize, usize)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match CLASS[usize::from(bytes[at])] {
            PART => at += 1,
            SIGN => {
                word(mix(eat(START, u64::from(bytes[at]))), at, at + 1);
                at += 1;
            }
            _ => at = word_at(text, at, &mut word),
        }
    }
}

/// Reads the word (or skips the wide separator) at `at`; returns where it ends.
#[inline]
fn word_at(text: &str, start: usize, word: &mut impl FnMut(u64, usize, usize)) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut hash) = (start, START);
    loop {
        let chunk = eight(bytes, at);
        let run = letters(chunk);
        if run > 0 {
            // Setting this bit lowers letters and leaves digits as they are; no letter is 0, so that the length shows.
            let kept = (chunk | (0x20 * ONES)) & (u64::MAX >> (64 - 8 * run));
            hash = eat(hash, kept);
            at += run;
            if run == 8 {
                continue;
            }
        }
        if bytes.get(at).is_none_or(|byte| CLASS[usize::from(*byte)] != WIDE) {
            break;
        }
        let Some(c) = text[at..].chars().next() else {
            break;
        };
        match wide(c) {
            Wide::Letter => {
                hash = c.to_lowercase().fold(hash, |h, l| eat(h, beyond(l)));
                at += c.len_utf8();
            }
            _ if at > start => break,
            Wide::Alone => {
                word(mix(eat(START, beyond(c))), at, at + c.len_utf8());
                return at + c.len_utf8();
            }
            Wide::Part => return at + c.len_utf8(),
        }
    }
    word(mix(hash), start, at);
    at
}

enum Wide {
    Letter,
    Alone,
    Part,
}

fn wide(c: char) -> Wide {
    match u32::from(c) {
        // Kana, CJK ideographs and their extensions, Hangul is written with spaces.
        0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff => Wide::Alone,
        // General, CJK and full-width punctuation.
        0x2000..=0x206f | 0x3000..=0x303f | 0xff01..=0xff0f | 0xff1a..=0xff20 | 0xff3b..=0xff40 | 0xff5b..=0xff65 => Wide::Part,
        _ if c.is_alphanumeric() => Wide::Letter,
        _ if c.is_whitespace() || c.is_control() => Wide::Part,
        _ => Wide::Alone,
    }
}

/// Rolling n-gram hashes over words pushed one by one.
#[derive(Debug, Clone)]
pub struct Roller {
    n: usize,
    ring: [u64; MAX_NGRAM],
    at: usize,
    filled: usize,
    hash: u64,
    /// `BASE^n`: the weight of the word that leaves.
    leaving: u64,
}

const BASE: u64 = 0xd6e8_feb8_6659_fd93;

impl Roller {
    /// For n-grams of `n` words, 1 to [`MAX_NGRAM`] (a number outside is brought to the nearer end).
    #[must_use]
    pub fn new(n: usize) -> Self {
        let n = n.clamp(1, MAX_NGRAM);
        let leaving = (0..n).fold(1_u64, |p, _| p.wrapping_mul(BASE));
        Self { n, ring: [0; MAX_NGRAM], at: 0, filled: 0, hash: 0, leaving }
    }

    /// Takes in the next word; the hash of the n-gram that ends with it, once there are `n`.
    #[inline]
    pub fn push(&mut self, word: u64) -> Option<u64> {
        let old = std::mem::replace(&mut self.ring[self.at], word);
        self.at += 1;
        if self.at == self.n {
            self.at = 0;
        }
        // The ring starts with zeros, so that what leaves before it is full weighs nothing.
        self.hash = self.hash.wrapping_mul(BASE).wrapping_add(word).wrapping_sub(old.wrapping_mul(self.leaving));
        self.filled += 1;
        (self.filled >= self.n).then(|| mix(self.hash))
    }

    /// The hash of all words so far, for texts of fewer than `n` words; `None` of no words or of `n` and more.
    #[must_use]
    pub fn short(&self) -> Option<u64> {
        (self.filled > 0 && self.filled < self.n).then(|| mix(self.hash ^ self.filled as u64))
    }
}

/// Collects the hashes of all word n-grams of a text, repeated ones repeatedly; a text of fewer than `n` words is one
/// n-gram of its own. Clears `out` first.
pub fn shingles(text: &str, n: usize, out: &mut Vec<u64>) {
    out.clear();
    let mut roller = Roller::new(n);
    words(text, |word, _, _| out.extend(roller.push(word)));
    out.extend(roller.short());
}

/// The Jaccard similarity of two texts' word n-grams, worked out from the whole sets: slow, for what checks the fast ways.
#[must_use]
pub fn similarity(a: &str, b: &str, n: usize) -> f64 {
    let set = |text: &str| {
        let mut grams = Vec::new();
        shingles(text, n, &mut grams);
        grams.into_iter().collect::<BTreeSet<u64>>()
    };
    let (a, b) = (set(a), set(b));
    let common = a.intersection(&b).count();
    common as f64 / (a.len() + b.len() - common).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        words(text, |_, from, to| found.push(&text[from..to]));
        found
    }

    fn grams(text: &str, n: usize) -> Vec<u64> {
        let mut out = Vec::new();
        shingles(text, n, &mut out);
        out
    }

    #[test]
    fn words_of_prose_formulas_and_scripts() {
        assert_eq!(split("Don’t add 3.5, (x+2)^2!"), ["Don", "t", "add", "3", "5", "x", "+", "2", "^", "2", "!"]);
        assert_eq!(split("\\frac{1}{2} ≤ Größe"), ["frac", "1", "2", "≤", "Größe"]);
        assert_eq!(split("解方程x2。好"), ["解", "方", "程", "x2", "好"]);
        assert_eq!(split("a\u{3000}b\u{a0}c"), ["a", "b", "c"]);
        assert_eq!(split(""), Vec::<&str>::new());
    }

    /// Eight bytes are looked at together: every byte in every place must count as it does alone.
    #[test]
    fn letters_are_told_in_every_place() {
        for place in 0..8 {
            for byte in 0..=255_u8 {
                let mut chunk = [b'x'; 8];
                chunk[place] = byte;
                let run = if byte.is_ascii_alphanumeric() { 8 } else { place };
                assert_eq!(letters(u64::from_le_bytes(chunk)), run, "{byte} at {place}");
            }
        }
    }

    /// A word's hash does not depend on where it stands, and depends on every letter of it.
    #[test]
    fn words_of_any_length_are_told_apart() {
        let long = "abcdefghijklmnopqrstuvwxyz0123456789ßé";
        let mut seen = std::collections::HashSet::new();
        for (end, _) in long.char_indices().skip(1) {
            let word = &long[..end];
            assert!(seen.insert(grams(word, 1)), "{word}");
            for text in [format!("{word} "), format!("{word}."), format!("a, {word}"), format!("é {} x", word.to_uppercase())] {
                // `ß` in capitals is `SS`: another word.
                assert!(grams(&text, 1).contains(&grams(word, 1)[0]) || word.contains('ß'), "{text}");
            }
        }
    }

    #[test]
    fn case_and_space_do_not_matter_numbers_and_signs_do() {
        assert_eq!(grams("Add  3 AND ÄB", 2), grams("add 3, and äb", 2));
        assert_ne!(grams("x + 3", 3), grams("x - 3", 3));
        assert_ne!(grams("add 3 and 4", 3), grams("add 3 and 5", 3));
        // U+6161 and U+3161 are "aa" and "a1" read as numbers.
        assert_ne!(grams("\u{6161}", 1), grams("aa", 1));
        assert_ne!(grams("\u{3161}", 1), grams("a1", 1));
    }

    #[test]
    fn ngrams_roll() {
        let all = grams("a b c d a b c", 3);
        assert_eq!(all.len(), 5);
        assert_eq!((all[0], grams("a b c", 3)[0]), (all[4], all[0]));
        assert_ne!(grams("a b c", 3), grams("c b a", 3));
        // Short texts are one n-gram; a short text is not the beginning of a longer one.
        assert_eq!((grams("a b", 3).len(), grams("", 3).len()), (1, 0));
        assert_ne!(grams("a b", 3), grams("a b", 4).iter().map(|g| g ^ 1).collect::<Vec<_>>());
    }
}
