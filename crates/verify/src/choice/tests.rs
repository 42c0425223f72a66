use super::*;
use crate::Verdict::{self, Correct, Incorrect, Undecided};

const CITIES: &str = "What is the capital of Italy?\nA. Paris\nB. Rome\nC. Oslo\nD. A city in Norway\n";
const NUMBERED: &str = "Select:\n1. Anthony is Ralph's child.\n2. Anthony is Ralph's parent.\nEnclose the number.";

#[track_caller]
fn check(prompt: &str, gold: &str, response: &str, expected: Verdict) {
    let case = Case { prompt, gold: Some(gold), response, ..Case::default() };
    let judgement = build(&VerifyOptions::default()).unwrap().verify(&case);
    assert_eq!(judgement.verdict, expected, "gold {gold:?}, response {response:?}: {judgement:?}");
}

#[test]
fn label_and_text_name_the_same_choice() {
    for answer in ["B", "(B)", "b", "B.", "B. Rome", "**B**", "\\text{B}", "Rome", "rome.", "option B", "(B) Rome", "\\textbf{(B)}"] {
        check(CITIES, "B", &format!("\\boxed{{{answer}}}"), Correct);
        check(CITIES, "Rome", &format!("<answer>{answer}</answer>"), Correct);
    }
    for answer in ["A", "Paris", "C. Oslo", "A, B", "E", "Milan"] {
        check(CITIES, "B", &format!("\\boxed{{{answer}}}"), Incorrect);
    }
    check(CITIES, "B", "\\boxed{B. Oslo}", Undecided);
}

#[test]
fn numbered_options() {
    check(NUMBERED, "1", "<ANSWER>1</ANSWER>", Correct);
    check(NUMBERED, "1", "<ANSWER>2</ANSWER>", Incorrect);
    check(NUMBERED, "1", "<ANSWER>Anthony is Ralph's child</ANSWER>", Correct);
    check(NUMBERED, "1", "<ANSWER>2. Anthony is Ralph's parent.</ANSWER>", Incorrect);
}

#[test]
fn prose() {
    check(CITIES, "B", "The answer is B because Rome is in Italy.", Correct);
    check(CITIES, "B", "So it must be Rome", Correct);
    check(CITIES, "B", "A capital: (C)", Incorrect);
    check(CITIES, "B", "Either B or C", Undecided);
}

#[test]
fn several_choices_are_a_set() {
    check("", "AC", "\\boxed{A, C}", Correct);
    check("", "A and C", "\\boxed{C,A}", Correct);
    check("", "AC", "\\boxed{A}", Incorrect);
}

#[test]
fn without_options_a_label_cannot_be_matched_to_a_text() {
    check("", "Rome", "\\boxed{B}", Undecided);
    check("", "B", "\\boxed{B}", Correct);
    check("", "B", "\\boxed{Rome}", Undecided);
    check(CITIES, "Madrid", "\\boxed{B}", Undecided);
}
