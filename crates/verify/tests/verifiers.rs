//! What holds for every verifier of the table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use potstill_verify::{Case, NoAnswer, Proof, VERIFIERS, Verdict, VerifyError, VerifyOptions, verifier};
use proptest::prelude::*;

#[test]
fn names_are_unique_and_agree_with_the_verifiers() {
    let options = VerifyOptions::default();
    for kind in VERIFIERS {
        assert_eq!(VERIFIERS.iter().filter(|other| other.name == kind.name).count(), 1);
        if let Ok(built) = (kind.build)(&options) {
            assert_eq!(built.name(), kind.name);
        }
    }
}

#[test]
fn an_unknown_name_suggests_its_neighbours() {
    let error = verifier("Numbr", &VerifyOptions::default()).err().unwrap();
    assert!(error.to_string().contains("did you mean `number`?"), "{error}");
    let VerifyError::UnknownVerifier { known, .. } = error else { panic!("{error}") };
    assert_eq!(known.len(), VERIFIERS.len());
}

#[test]
fn no_answer_is_a_policy() {
    let case = Case { gold: Some("5"), response: "", ..Case::default() };
    for (policy, verdict) in [(NoAnswer::Incorrect, Verdict::Incorrect), (NoAnswer::Undecided, Verdict::Undecided)] {
        let options = VerifyOptions { no_answer: policy, ..VerifyOptions::default() };
        for name in ["exact", "number", "choice"] {
            let judgement = verifier(name, &options).unwrap().verify(&case);
            assert_eq!((judgement.verdict, judgement.proof), (verdict, Proof::NoAnswer), "{name}");
        }
    }
}

#[test]
fn options_are_strict() {
    let parse = serde_json::from_str::<VerifyOptions>;
    let options = parse(r#"{"extract":{"which":"first"},"countdown":{"use":"exactly_once"}}"#).unwrap();
    assert_eq!(serde_json::to_value(&options).unwrap()["countdown"]["use"], "exactly_once");
    for wrong in [r#"{"extrat":{}}"#, r#"{"extract":{"which":"middle"}}"#, r#"{"number":{"tolerance":1}}"#] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(gold in ".{0,30}", response in ".{0,80}", prompt in ".{0,80}", boxed in any::<bool>()) {
        let response = if boxed { format!("\\boxed{{{response}}}") } else { response };
        let tests = r#"{"numbers":[1,2,3],"target":6}"#;
        let case = Case { prompt: &prompt, gold: Some(&gold), tests: Some(tests), reasoning: None, response: &response };
        for name in ["exact", "choice", "number", "countdown"] {
            verifier(name, &VerifyOptions::default()).unwrap().verify(&case);
        }
    }

    #[test]
    fn a_gold_number_answers_itself_and_not_its_neighbour(number in -1_000_000_i64..1_000_000, scale in 0_u32..6) {
        let digits = usize::try_from(scale).unwrap();
        let gold = format!("{:.digits$}", number as f64 / 10_f64.powi(i32::try_from(scale).unwrap()));
        let number_verifier = verifier("number", &VerifyOptions::default()).unwrap();
        let judge = |answer: &str| {
            let response = format!("\\boxed{{{answer}}}");
            number_verifier.verify(&Case { gold: Some(&gold), response: &response, ..Case::default() }).verdict
        };
        prop_assert_eq!(judge(&gold), Verdict::Correct);
        prop_assert_eq!(judge(&format!("{gold}1e3")), Verdict::Incorrect);
        let neighbour = format!("{:.digits$}", (number + 1) as f64 / 10_f64.powi(i32::try_from(scale).unwrap()));
        prop_assert_eq!(judge(&neighbour), Verdict::Incorrect);
    }

    #[test]
    fn arithmetic_agrees_with_floats(numbers in prop::collection::vec(1_i64..30, 2..6), ops in prop::collection::vec(0_usize..4, 5)) {
        let symbols = ['+', '-', '*', '/'];
        let mut text = numbers[0].to_string();
        let mut value = numbers[0] as f64;
        for (index, number) in numbers.iter().enumerate().skip(1) {
            let op = symbols[ops[index - 1]];
            text = format!("({text}) {op} {number}");
            let operand = *number as f64;
            value = match op { '+' => value + operand, '-' => value - operand, '*' => value * operand, _ => value / operand };
        }
        let target = value.round();
        let tests = format!(r#"{{"numbers":{numbers:?},"target":{}}}"#, target as i64);
        let response = format!("<answer>{text}</answer>");
        let verdict = verifier("countdown", &VerifyOptions::default()).unwrap()
            .verify(&Case { tests: Some(&tests), response: &response, ..Case::default() }).verdict;
        let reached = (value - target).abs() < 1e-7;
        prop_assert_eq!(verdict, if reached { Verdict::Correct } else { Verdict::Incorrect });
    }
}
