//! `cargo +nightly fuzz run compare` in `crates/verify`: gold and reply, divided by the first zero byte.
//!
//! Whatever the texts hold: no panic, and no verdict but "undecided" for a gold that cannot be read.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use potstill_verify::{Case, Proof, Verdict, Verifier, VerifyOptions, verifier};

static MATH: LazyLock<Box<dyn Verifier>> = LazyLock::new(|| verifier("math", &VerifyOptions::default()).expect("the defaults are valid"));

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (gold, response) = text.split_once('\0').unwrap_or((&text, &text));
    let judgement = MATH.verify(&Case { gold: Some(gold), response, ..Case::default() });
    assert!(judgement.proof != Proof::BadGold || judgement.verdict == Verdict::Undecided);
});
