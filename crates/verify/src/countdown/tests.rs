use super::*;
use crate::Verdict::{self, Correct, Incorrect, Undecided};

const TESTS: &str = r#"{"numbers":[3,5,8,8],"target":14}"#;

fn judge(usage: Usage, tests: Option<&str>, response: &str) -> Judgement {
    let options = VerifyOptions { countdown: CountdownOptions { usage }, ..VerifyOptions::default() };
    build(&options).unwrap().verify(&Case { tests, response, ..Case::default() })
}

#[track_caller]
fn check(response: &str, expected: Verdict) {
    let judgement = judge(Usage::AtMostOnce, Some(TESTS), response);
    assert_eq!(judgement.verdict, expected, "{response:?}: {judgement:?}");
}

#[test]
fn right_answers_in_many_spellings() {
    for answer in [
        "3*5 - 8/8",
        "3 × 5 − 8 ÷ 8",
        "(3*5) - (8/8) = 14",
        "14 = 3*5 - 8/8",
        "$3 \\times 5 - \\frac{8}{8}$",
        "3*5 - 8/8 = 15 - 1 = 14",
        "[3*5]-8/8",
    ] {
        check(&format!("<answer> {answer} </answer>"), Correct);
    }
    check("So the expression is 3*5 - 8/8 = 14.", Correct);
    check("\\boxed{3\\cdot5-\\frac{8}{8}}", Correct);
}

#[test]
fn wrong_answers_say_why() {
    for (answer, why) in [
        ("3*5", "evaluates to 15"),
        ("3+3+8", "uses 3 more often"),
        ("7+7", "uses 7, which is not given"),
        ("14", "uses 14, which is not given"),
        ("3*5 - 8/8 = 15", "equation is false"),
        ("3*5-8/(8-8)", "divides by zero"),
        ("3*5-1", "uses 1, which"),
        ("35-21", "uses 35"),
        ("print(14)", "symbol `p`"),
        ("3*5-8**0", "operator stands"),
        ("(3*5-8/8", "never closed"),
    ] {
        let judgement = judge(Usage::AtMostOnce, Some(TESTS), &format!("<answer>{answer}</answer>"));
        assert_eq!(judgement.verdict, Incorrect, "{answer}");
        assert!(judgement.note.contains(why), "{answer}: {}", judgement.note);
    }
}

#[test]
fn the_usage_rule_is_one_setting() {
    let some = "<answer>(8 + 8) - 5 + 3</answer>";
    assert_eq!(judge(Usage::ExactlyOnce, Some(TESTS), some).verdict, Correct);
    let fewer = r#"{"nums":[6,8,1],"target":14}"#;
    assert_eq!(judge(Usage::AtMostOnce, Some(fewer), "<answer>6+8</answer>").verdict, Correct);
    let strict = judge(Usage::ExactlyOnce, Some(fewer), "<answer>6+8</answer>");
    assert_eq!(strict.verdict, Incorrect);
    assert!(strict.note.contains("leaves 1 unused"));
}

#[test]
fn tests_that_cannot_be_read_decide_nothing() {
    for tests in [None, Some(""), Some("{}"), Some("[1,2]"), Some(r#"{"numbers":[],"target":3}"#), Some(r#"{"numbers":["a"],"target":3}"#)]
    {
        let judgement = judge(Usage::AtMostOnce, tests, "<answer>1+2</answer>");
        assert_eq!((judgement.verdict, judgement.proof), (Undecided, Proof::BadGold), "{tests:?}");
    }
}

#[test]
fn without_an_answer_the_policy_decides() {
    let judgement = judge(Usage::AtMostOnce, Some(TESTS), "Use <answer></answer>?! …\n---");
    assert_eq!(judgement.verdict, Incorrect, "{judgement:?}");
}
