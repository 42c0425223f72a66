//! LIMO's text score: how a reasoner writes, by counts of words.

use crate::shingles::words;

const VERIFICATION: [&str; 10] =
    ["check", "checking", "verify", "verifying", "confirm", "confirms", "validate", "recheck", "indeed", "double"];
const TENTATIVE: [&str; 10] = ["perhaps", "might", "maybe", "possibly", "could", "suppose", "assume", "guess", "seems", "probably"];
const CONNECTIVES: [&str; 12] =
    ["therefore", "since", "thus", "hence", "because", "so", "then", "consequently", "however", "but", "although", "given"];

/// The parts of the score of one text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TextScore {
    /// Its length in words.
    pub length: f64,
    /// Verification words per word.
    pub verification: f64,
    /// Tentative words per word.
    pub tentative: f64,
    /// Connectives per word.
    pub connectives: f64,
}

impl TextScore {
    /// Counts the words of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut counts = [0.0; 4];
        words(text, |_, from, to| {
            counts[0] += 1.0;
            let word = text[from..to].to_ascii_lowercase();
            for (count, list) in counts[1..].iter_mut().zip([&VERIFICATION[..], &TENTATIVE, &CONNECTIVES]) {
                *count += f64::from(u8::from(list.contains(&word.as_str())));
            }
        });
        let per_word = |n: f64| n / counts[0].max(1.0);
        Self { length: counts[0], verification: per_word(counts[1]), tentative: per_word(counts[2]), connectives: per_word(counts[3]) }
    }

    fn weighted(&self) -> [(f64, f64); 4] {
        [(self.length, 0.30), (self.verification, 0.20), (self.tentative, 0.25), (self.connectives, 0.25)]
    }
}

/// The scores of a set of texts, 0 to 1 each: every part relative to its largest in the set, weighted as LIMO does.
#[must_use]
pub fn text_scores(parts: &[TextScore]) -> Vec<f64> {
    let mut largest = [0.0_f64; 4];
    for part in parts {
        for (most, (value, _)) in largest.iter_mut().zip(part.weighted()) {
            *most = most.max(value);
        }
    }
    let score = |part: &TextScore| {
        let scaled = part.weighted().into_iter().zip(largest);
        scaled.map(|((value, weight), most)| if most > 0.0 { value / most * weight } else { 0.0 }).sum()
    };
    parts.iter().map(score).collect()
}
