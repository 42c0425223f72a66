//! Texts that repeat themselves: loops at the end, and the same phrases over and over.

use rustc_hash::FxHashSet;

use super::{Check, View};
use crate::decision::Decision;
use crate::shingles::{Roller, words};

/// Words in the n-grams that are looked for again.
const NGRAM: usize = 8;
/// A text of fewer words is too short to say that it repeats itself.
const LEAST_WORDS: usize = 100;
/// Times that the last period must stand at the end.
const LEAST_TURNS: usize = 3;
/// Words that a loop at the end must cover.
const LEAST_LOOP: usize = 24;
/// Equal characters in a row that count as a loop.
const LEAST_RUN: usize = 64;

/// How a text repeats itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Repetition {
    /// Words in all.
    pub words: usize,
    /// Words of the loop in which the text ends: its period and how many words it covers, if there is one.
    pub ending: Option<(usize, usize)>,
    /// Share of word 8-grams that stood in the text before, 0 to 1.
    pub repeated_share: f64,
}

/// Measures a text in linear time.
#[must_use]
pub fn repetition(text: &str) -> Repetition {
    let mut hashes = Vec::new();
    words(text, |hash, _, _| hashes.push(hash));
    let mut roller = Roller::new(NGRAM);
    let mut seen = FxHashSet::default();
    let (mut all, mut again) = (0_usize, 0_usize);
    for gram in hashes.iter().filter_map(|w| roller.push(*w)) {
        all += 1;
        again += usize::from(!seen.insert(gram));
    }
    hashes.reverse();
    Repetition { words: hashes.len(), ending: ending(&hashes), repeated_share: again as f64 / all.max(1) as f64 }
}

/// The longest loop at the end of a text whose words come in reverse: `(period, words covered)`. A cut-off last turn is
/// part of it: in reverse the text *begins* with the loop at any phase.
fn ending(reversed: &[u64]) -> Option<(usize, usize)> {
    // Longest common prefix of the text with itself from each place on (Z-function).
    let n = reversed.len();
    let mut z = vec![0_usize; n];
    let (mut left, mut right) = (0, 0);
    for i in 1..n {
        let mut length = if i < right { z[i - left].min(right - i) } else { 0 };
        while i + length < n && reversed[length] == reversed[i + length] {
            length += 1;
        }
        if i + length > right {
            (left, right) = (i, i + length);
        }
        z[i] = length;
    }
    let loops = |period: &usize| {
        let covered = period + z[*period];
        covered >= LEAST_TURNS * period && covered >= LEAST_LOOP
    };
    (1..n).filter(loops).map(|period| (period, period + z[period])).max_by_key(|(period, covered)| (*covered, usize::MAX - period))
}

/// The text ends in a run of one character (`!!!!…`, blank lines): not words, but as dead.
fn ends_in_run(text: &str) -> bool {
    let mut chars = text.chars().rev();
    chars.next().is_some_and(|last| chars.take_while(|c| *c == last).count() + 1 >= LEAST_RUN)
}

pub(super) struct Loops {
    pub(super) repeated_share: f64,
}

impl Check for Loops {
    fn check(&self, row: &View<'_>) -> Decision {
        for text in [row.reasoning.unwrap_or_default(), row.response] {
            let found = repetition(text);
            if found.ending.is_some() || ends_in_run(text) {
                return Decision::drop("ends in a loop");
            }
            if found.words >= LEAST_WORDS && found.repeated_share > self.repeated_share {
                return Decision::drop("repeats itself");
            }
        }
        Decision::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_at_the_end_are_found_at_any_phase() {
        let start = "We try to solve the equation by hand and then. ";
        let turn = "Wait, let me check it once more. ";
        let cut = format!("{start}{}{}", turn.repeat(5), "Wait, let me");
        assert_eq!(repetition(&cut).ending, Some((7, 38)));
        assert_eq!(repetition(&format!("{start}{}", turn.repeat(2))).ending, None);
        assert_eq!(repetition(&format!("{start}{}It is 7.", turn.repeat(9))).ending, None);
        assert!(repetition(&format!("{start}{}It is 7.", turn.repeat(90))).repeated_share > 0.9);
        assert_eq!(repetition("").ending, None);
    }

    #[test]
    fn prose_does_not_loop() {
        let prose = "Each of the three friends bought two apples, and later each of the three sold one of them.";
        assert_eq!(repetition(prose), Repetition { words: 18, ending: None, repeated_share: 0.0 });
        assert!(ends_in_run(&"!".repeat(64)) && !ends_in_run("yes!!!") && !ends_in_run(""));
    }
}
