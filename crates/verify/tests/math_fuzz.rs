//! The fuzz corpus and random damage to real answers: no panic, no hang, nothing correct by accident of a broken gold.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

use potstill_verify::{Case, Judgement, Proof, Verdict, Verifier, VerifyOptions, verifier};

const ROUNDS: u64 = 20_000;

/// SplitMix64: the same damage in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

fn math() -> Box<dyn Verifier> {
    verifier("math", &VerifyOptions::default()).unwrap()
}

/// Judges, and demands what must hold whatever the texts are.
fn judge(math: &dyn Verifier, gold: &str, response: &str) -> Judgement {
    let judgement = math.verify(&Case { gold: Some(gold), response, ..Case::default() });
    assert!(judgement.proof != Proof::BadGold || judgement.verdict == Verdict::Undecided, "{gold:?} {response:?}");
    judgement
}

#[test]
fn the_corpus_of_the_fuzz_target_passes() {
    let math = math();
    let corpus = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/compare")).unwrap();
    let mut count = 0;
    for file in corpus {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let (gold, response) = text.split_once('\0').unwrap_or((&text, &text));
        judge(math.as_ref(), gold, response);
        count += 1;
    }
    assert!(count >= 10, "{count} files");
}

/// Pieces that break parsers, put anywhere.
const SHRAPNEL: [&str; 24] = [
    "{",
    "}",
    "\\",
    "$",
    "(",
    ")",
    "[",
    "]",
    "^",
    "_",
    "\\frac",
    "\\sqrt[",
    "\\left",
    "\\right.",
    "\\begin{pmatrix}",
    "\\end{array}",
    "|",
    "\\boxed{",
    "</think>",
    "\u{200b}",
    "½",
    "\0",
    "\\text{",
    "10^{10^{10}}",
];

#[test]
fn damaged_answers_neither_panic_nor_hang() {
    let math = math();
    let bank = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/math_bank.jsonl")).unwrap();
    let pairs: Vec<[String; 2]> = bank
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            ["gold", "prediction"].map(|key| row[key].as_str().unwrap().to_owned())
        })
        .collect();
    let mut random = Random(7);
    for _ in 0..ROUNDS {
        let mut texts = pairs[random.below(pairs.len())].clone();
        for text in &mut texts {
            for _ in 0..random.below(4) {
                let mut chars: Vec<char> = text.chars().collect();
                let at = random.below(chars.len() + 1);
                match random.below(3) {
                    0 if at < chars.len() => drop(chars.remove(at)),
                    1 => drop(chars.splice(at..at, SHRAPNEL[random.below(SHRAPNEL.len())].chars())),
                    _ => {
                        // A piece of another answer.
                        let other: Vec<char> = pairs[random.below(pairs.len())][1].chars().collect();
                        let from = random.below(other.len() + 1);
                        let to = (from + 1 + random.below(12)).min(other.len());
                        drop(chars.splice(at..at, other[from.min(to)..to].iter().copied()));
                    }
                }
                *text = chars.into_iter().collect();
            }
        }
        judge(math.as_ref(), &texts[0], &texts[1]);
    }
}
