//! Word n-grams of a text as hashes: the common ground of near-duplicate search and decontamination.
//!
//! A word is a run of letters and digits in any script, in lowercase; an ideograph is a word of its own, and so is a
//! sign that changes what a formula says (`+`, `-`, `=`, `<`, …). Other punctuation parts words and is not seen.
//! Numbers stay what they are: a filter that folds them together takes templated maths for copies.

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
const fn eat(hash: u64, byte: u64) -> u64 {
    (hash ^ byte).wrapping_mul(STEP).rotate_left(23)
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
    while let Some(byte) = bytes.get(at) {
        match CLASS[usize::from(*byte)] {
            // Setting this bit lowers letters and leaves digits as they are.
            WORD => {
                hash = eat(hash, u64::from(byte | 0x20));
                at += 1;
            }
            WIDE => {
                let Some(c) = text[at..].chars().next() else {
                    break;
                };
                match wide(c) {
                    Wide::Letter => {
                        hash = c.to_lowercase().fold(hash, |h, l| eat(h, u64::from(u32::from(l))));
                        at += c.len_utf8();
                    }
                    _ if at > start => break,
                    Wide::Alone => {
                        word(mix(eat(START, u64::from(u32::from(c)))), at, at + c.len_utf8());
                        return at + c.len_utf8();
                    }
                    Wide::Part => return at + c.len_utf8(),
                }
            }
            _ => break,
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

    #[test]
    fn case_and_space_do_not_matter_numbers_and_signs_do() {
        assert_eq!(grams("Add  3 AND ÄB", 2), grams("add 3, and äb", 2));
        assert_ne!(grams("x + 3", 3), grams("x - 3", 3));
        assert_ne!(grams("add 3 and 4", 3), grams("add 3 and 5", 3));
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
