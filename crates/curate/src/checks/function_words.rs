//! The language of a paragraph by its function words, where they leave no doubt; by trigrams otherwise.
//!
//! A statistical detector compares a paragraph with the profiles of seventy languages, which costs more than all other
//! checks together. Function words make up a third of any prose, and hardly any other language's: a paragraph full of
//! *the*, *of* and *that* need not be compared with anything.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use whatlang::Lang;

/// Languages told by function words.
const LANGUAGES: [Lang; 7] = [Lang::Eng, Lang::Deu, Lang::Fra, Lang::Spa, Lang::Por, Lang::Ita, Lang::Nld];

/// The commonest function words of each, in plain ASCII letters; a word that several share counts for all of them.
const WORDS: [&str; LANGUAGES.len()] = [
    "the of and to in is it that we for this are be so if by with as on at which then have has can from but let there not all \
     he she they one an or no so was were their his her its what how would will each when since these those because must",
    "der die das und ist zu den von mit auf dass wir ein eine einen einer nicht es auch sich bei dann wenn also sind hat als \
     an im um aus wie oder aber nach noch nur werden kann haben sie ich des dem am so zum zur alle diese durch",
    "le la les de des et est un une que qui dans pour nous on en il elle ce cette sur avec par pas plus donc si au aux du ne \
     sont ou mais comme tout son ses leur avons alors soit",
    "el la los las de que y en un una es por con para se no lo del al como su sus son esto esta pero si entonces hay tiene \
     cada todos tenemos donde cuando más ya o",
    "o a os as de que e em um uma do da dos das no na nos nas por com para se como mais mas ao ou isso esta este temos cada \
     quando todos ele ela foi",
    "il lo la i gli le di che e in un una per con non del della dei delle al alla si come da ma sono questo questa abbiamo \
     ogni quando quindi anche se o nel nella",
    "de het een en van is dat in op te we zijn voor met niet aan er om als ook dan door bij nog naar wordt maar hebben kan \
     dit deze die uit of alle elke dus moet heeft",
];

/// Function words that must be there.
const LEAST_HITS: u32 = 8;

/// The words as numbers, with a bit for each language that has them.
static TABLE: LazyLock<FxHashMap<u64, u8>> = LazyLock::new(|| {
    let mut table = FxHashMap::default();
    for (language, words) in WORDS.iter().enumerate() {
        for word in words.split_whitespace().filter_map(packed) {
            *table.entry(word).or_default() |= 1 << language;
        }
    }
    table
});

/// A word of up to eight ASCII letters as a number, in lowercase.
fn packed(word: &str) -> Option<u64> {
    let bytes = word.as_bytes();
    if bytes.is_empty() || bytes.len() > 8 || !bytes.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(byte | 0x20)))
}

/// What is counted of a paragraph.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paragraph {
    /// Letters of any script.
    pub(super) letters: usize,
    /// Runs of anything but white space.
    pub(super) words: usize,
    /// Those of several letters and of nothing else.
    pub(super) plain: usize,
    hits: [u32; LANGUAGES.len()],
}

impl Paragraph {
    /// Counts.
    pub(super) fn read(text: &str) -> Self {
        let mut seen = Self::default();
        for word in text.split_ascii_whitespace() {
            let (letters, characters) = if word.is_ascii() {
                (word.bytes().filter(u8::is_ascii_alphabetic).count(), word.len())
            } else {
                (word.chars().filter(|c| c.is_alphabetic()).count(), word.chars().count())
            };
            seen.letters += letters;
            seen.words += 1;
            seen.plain += usize::from(characters > 1 && letters == characters);
            let bare = word.trim_end_matches([',', '.', ';', ':', '!', '?', ')']);
            if let Some(languages) = packed(bare).and_then(|word| TABLE.get(&word)) {
                for (language, hits) in seen.hits.iter_mut().enumerate() {
                    *hits += u32::from(languages >> language & 1);
                }
            }
        }
        seen
    }

    /// The language, if its function words are a sixth of all words and no other language's are half as many.
    pub(super) fn surely(&self) -> Option<Lang> {
        let (best, hits) = self.hits.iter().enumerate().max_by_key(|(_, hits)| **hits)?;
        let second = self.hits.iter().enumerate().filter(|(language, _)| *language != best).map(|(_, hits)| *hits).max()?;
        (*hits >= LEAST_HITS && *hits as usize * 6 >= self.words && second * 2 < *hits).then_some(LANGUAGES[best])
    }
}

/// Characters that the detector looks at: more do not make it surer.
const DETECTED: usize = 600;
/// How sure it must be.
const SURE: f64 = 0.95;

/// The language by trigrams, if that is sure.
pub(super) fn detected(paragraph: &str) -> Option<Lang> {
    let head = paragraph.char_indices().nth(DETECTED).map_or(paragraph, |(at, _)| &paragraph[..at]);
    whatlang::detect(head).filter(|found| found.is_reliable() && found.confidence() >= SURE).map(|found| found.lang())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_words_tell_what_the_detector_tells() {
        let texts = [
            ("First we look at the number of apples that each of the children has got, and then we add all of them together.", Lang::Eng),
            (
                "Zuerst betrachten wir die Anzahl der Äpfel, die jedes der Kinder hat, und dann zählen wir sie alle zusammen, um sie zu finden.",
                Lang::Deu,
            ),
            (
                "Nous regardons d'abord le nombre de pommes que les enfants ont dans les paniers, et nous avons donc la somme de toutes les parts.",
                Lang::Fra,
            ),
            (
                "Primero miramos el número de manzanas que los niños tienen en las cestas, y entonces se suman para saber cuántas son en total.",
                Lang::Spa,
            ),
            (
                "Prima guardiamo il numero di mele che i bambini hanno nella cesta, e quindi la somma di tutte le parti che sono in un cesto.",
                Lang::Ita,
            ),
            (
                "Eerst kijken we naar het aantal appels dat de kinderen van de boer hebben, en dan tellen we ze op om te zien of het er meer zijn.",
                Lang::Nld,
            ),
        ];
        for (text, language) in texts {
            assert_eq!(Paragraph::read(text).surely(), Some(language), "{text}");
        }
        let unsure = ["x y z", "Natalia Albert Weng Randy Julie Betty James Ken Alexis Tina", "po chwili zobaczymy ile jest wszystkich"];
        assert!(unsure.iter().all(|text| Paragraph::read(text).surely().is_none()));
    }

    #[test]
    fn counts_of_a_paragraph() {
        let seen = Paragraph::read("Größe x = 3 (the ratio).");
        assert_eq!((seen.letters, seen.words, seen.plain, seen.hits[0]), (14, 6, 1, 0));
    }
}
