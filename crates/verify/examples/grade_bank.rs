//! Accuracy, precision and recall of the `math` verifier on banks of answer pairs.
//!
//! `cargo run --release -p potstill-verify --example grade_bank -- BANK.jsonl…`
//!
//! Each line of a bank holds `gold`, `prediction` and `expected`. Every pair that is judged otherwise is printed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example may fail and print")]

use potstill_verify::{Case, Verdict, VerifyOptions, verifier};

fn main() {
    let math = verifier("math", &VerifyOptions::default()).unwrap();
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path).unwrap();
        let (mut right, mut wrong) = ([0_u32; 2], [0_u32; 2]);
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let of = |key: &str| row[key].as_str().unwrap();
            let expected = row["expected"].as_bool().unwrap();
            let judgement = math.verify(&Case { gold: Some(of("gold")), response: of("prediction"), ..Case::default() });
            let correct = judgement.verdict == Verdict::Correct;
            *(if correct == expected { &mut right } else { &mut wrong }).get_mut(usize::from(correct)).unwrap() += 1;
            if correct != expected {
                let kind = if correct { "FALSE POSITIVE" } else { "missed" };
                println!(
                    "{kind} {} {:?} ~~ {:?} read as {:?}, {} ({}): {}",
                    row["id"],
                    of("gold"),
                    of("prediction"),
                    judgement.extracted.unwrap_or_default(),
                    judgement.verdict.as_str(),
                    judgement.proof,
                    judgement.note
                );
            }
        }
        let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
        println!(
            "{path}: {} pairs, accuracy {:.4}, precision {:.4}, recall {:.4}, false positives {}, missed {}",
            right[0] + right[1] + wrong[0] + wrong[1],
            share(right[0] + right[1], right[0] + right[1] + wrong[0] + wrong[1]),
            share(right[1], right[1] + wrong[1]),
            share(right[1], right[1] + wrong[0]),
            wrong[1],
            wrong[0]
        );
    }
}
