use super::*;
use crate::Verdict::{self, Correct, Incorrect, Undecided};

fn judge(options: NumberOptions, gold: &str, response: &str) -> Judgement {
    let options = VerifyOptions { number: options, ..VerifyOptions::default() };
    build(&options).unwrap().verify(&Case { gold: Some(gold), response, ..Case::default() })
}

#[track_caller]
fn check(gold: &str, response: &str, expected: Verdict) {
    let judgement = judge(NumberOptions::default(), gold, response);
    assert_eq!(judgement.verdict, expected, "gold {gold:?}, response {response:?}: {judgement:?}");
}

#[test]
fn spellings_of_one_number() {
    for spelling in [
        "1234.5",
        "1,234.5",
        "1{,}234.50",
        "1\\,234.5",
        "$1,234.50",
        "1 234.5",
        "1.2345e3",
        "1.2345 \\times 10^{3}",
        "2469/2",
        "\\frac{2469}{2}",
        "1234 1/2",
        "1234\\frac{1}{2}",
        "1234½",
        "US$1,234.5",
        "1234.5 dollars",
        "１２３４．５",
    ] {
        check("1234.5", &format!("\\boxed{{{spelling}}}"), Correct);
    }
}

#[test]
fn near_misses_differ() {
    for (gold, answer) in [
        ("42", "-42"),
        ("42", "4.2"),
        ("42", "420"),
        ("1/3", "0.333"),
        ("1000", "1,00"),
        ("5", "5\\pi"),
        ("5", "5x"),
        ("5", "5!"),
        ("5", "\\sqrt{5}"),
        ("5", "5^2"),
        ("5", "3 + 5"),
        ("5", "5 + 3"),
        ("5", "x5"),
        ("26", "2*6"),
        ("6.6e-34", "9.1e-31"),
        ("5", "5i"),
        ("3", "3 or 4"),
        ("34", "3, 4"),
        ("5", "2^5"),
        ("2", "10^{-2}"),
    ] {
        let judgement = judge(NumberOptions::default(), gold, &format!("\\boxed{{{answer}}}"));
        assert_ne!(judgement.verdict, Correct, "gold {gold}, answer {answer}: {judgement:?}");
    }
}

#[test]
fn prose_is_read_as_people_write() {
    check("18", "She sells 9 eggs at $2 each, so she makes 9 * 2 = $18", Correct);
    check("18", "The answer is 18 dollars for 9 eggs.", Correct);
    check("26", "A: 26", Correct);
    check("26", "2 + 24 = 26.", Correct);
    check("18", "#### 18", Correct);
    check("18", "It is 18 - 2", Undecided);
    check("18", "nothing at all", Incorrect);
}

#[test]
fn a_decimal_gold_allows_its_last_digit() {
    check("3.14", "\\boxed{3.14159}", Correct);
    check("3.14", "\\boxed{3.146}", Incorrect);
    check("3.14159", "\\boxed{3.14}", Incorrect);
    let exact = NumberOptions { round_to_gold: false, ..NumberOptions::default() };
    assert_eq!(judge(exact, "3.14", "\\boxed{3.14159}").verdict, Incorrect);
    let loose = NumberOptions { relative_tolerance: 0.01, ..NumberOptions::default() };
    assert_eq!(judge(loose, "1000", "\\boxed{1009}").verdict, Correct);
    assert_eq!(judge(loose, "1000", "\\boxed{1011}").verdict, Incorrect);
}

#[test]
fn percent_is_a_policy() {
    let with = |percent| NumberOptions { percent, ..NumberOptions::default() };
    for (policy, as_fifty, as_half) in
        [(Percent::Either, Correct, Correct), (Percent::Hundredths, Incorrect, Correct), (Percent::Ignored, Correct, Incorrect)]
    {
        assert_eq!(judge(with(policy), "50", "\\boxed{50\\%}").verdict, as_fifty);
        assert_eq!(judge(with(policy), "0.5", "\\boxed{50 percent}").verdict, as_half);
    }
    check("50%", "\\boxed{50%}", Correct);
    check("50%", "\\boxed{0.005}", Incorrect);
}

#[test]
fn units_are_a_policy() {
    check("5", "\\boxed{5 \\text{ km}}", Correct);
    check("5 kilometers", "\\boxed{5 kilometer}", Correct);
    check("0.025 kg", "\\boxed{0.025 g}", Undecided);
    let strip = NumberOptions { units: Units::Strip, ..NumberOptions::default() };
    assert_eq!(judge(strip, "0.025 kg", "\\boxed{0.025 g}").verdict, Correct);
}

#[test]
fn a_gold_that_is_no_number_is_undecided() {
    for gold in ["", "abc", "x + 1", "5 or 6", "1/0", "\\pi", "2*6"] {
        check(gold, "\\boxed{5}", Undecided);
    }
    check("Worked out: 6*7\n#### 42", "\\boxed{42}", Correct);
}

#[test]
fn absurd_sizes_are_refused_quickly() {
    check("5", "\\boxed{1e999999999}", Incorrect);
    check("5", &format!("\\boxed{{{}}}", "9".repeat(1_000_000)), Incorrect);
    check("5", &format!("\\boxed{{1/{}}}", "0".repeat(100_000)), Incorrect);
}

#[test]
fn tolerances_outside_their_limits_are_named() {
    for (absolute_tolerance, relative_tolerance) in [(-1.0, 0.0), (f64::NAN, 0.0), (0.0, 1.0), (f64::INFINITY, 0.0)] {
        let number = NumberOptions { absolute_tolerance, relative_tolerance, ..NumberOptions::default() };
        let error = build(&VerifyOptions { number, ..VerifyOptions::default() }).err().unwrap();
        assert!(error.to_string().contains("tolerance"), "{error}");
    }
}
