//! Finding answers in replies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

#[path = "support/hostile.rs"]
mod hostile;

use potstill_verify::ExtractOptions;
use potstill_verify::extract::{How, Which, all_answers, extract};
use proptest::prelude::*;

fn last(reply: &str) -> Option<(&str, How)> {
    extract(reply, &ExtractOptions::default()).map(|answer| (answer.text, answer.how))
}

#[track_caller]
fn check(reply: &str, text: &str, how: How) {
    assert_eq!(last(reply), Some((text, how)), "{reply:?}");
}

#[test]
fn boxes() {
    check(r"so \boxed{42}.", "42", How::Boxed);
    check(r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}", How::Boxed);
    check(r"\boxed{\{1, 2\}}", r"\{1, 2\}", How::Boxed);
    check(r"\boxed{\left\{x \mid x > 0\right\}}", r"\left\{x \mid x > 0\right\}", How::Boxed);
    check(r"\fbox{7}", "7", How::Boxed);
    check(r"\boxed 5$", "5", How::Boxed);
    check(r"$\boxed5$", "5", How::Boxed);
    check(r"\boxed { 5 }", "5", How::Boxed);
    check(r"\\boxed{5}", "5", How::Boxed);
    check(r"\boxed{\boxed{5}}", "5", How::Boxed);
    check(r"\boxed{3} but rather \boxed{4}", "4", How::Boxed);
    check("$$\\boxed{\n12\n}$$", "12", How::Boxed);
    check(r"The final answer is $\boxed{8}$. I hope it is correct.", "8", How::Boxed);
    check(r"Put it in \boxed{}. The answer is 6.", "6", How::Phrase);
    check(r"\boxed{\text{(B)}}", r"\text{(B)}", How::Boxed);
}

#[test]
fn unclosed_marks() {
    check("\\boxed{12\nand more", "12", How::Unclosed);
    check(r"\boxed{1} then \boxed{2", "1", How::Boxed);
    check(r"<answer> (1+2)*3", "(1+2)*3", How::Unclosed);
    check("<answer>5\n\nThat was it.", "5", How::Unclosed);
    check("write it in <ANSWER> tags: <ANSWER>3</ANSWER>", "3", How::AnswerTag);
    check("<ANSWER>3</ANSWER> stands in <ANSWER> tags", "3", How::AnswerTag);
}

#[test]
fn tags_and_hashes() {
    check("<answer> 5 </answer>", "5", How::AnswerTag);
    check("<ANSWER>2</ANSWER>", "2", How::AnswerTag);
    check("<Answer >**b**</Answer>", "b", How::AnswerTag);
    check(r"<answer>It is $\boxed{9}$</answer>", "9", How::Boxed);
    check(r"\[ \boxed{<ANSWER>1</ANSWER>} \]", "1", How::AnswerTag);
    check("2 + 2 = 4\n#### 4", "4", How::Hashes);
    check("#### 1,234 apples\n", "1,234 apples", How::Hashes);
    check("#### Step 1: add\n2 + 2 = 4\n#### 4", "4", How::Hashes);
    check("#### 1. Add them\nThe answer is 4", "4", How::Phrase);
}

#[test]
fn phrases() {
    check("The answer is 42.", "42", How::Phrase);
    check("Therefore, the final answer is: **42**.", "42", How::Phrase);
    check("**Final Answer:** 3.5\n", "3.5", How::Phrase);
    check("**Answer: 12**", "12", How::Phrase);
    check("## Final Answer\n\n$$\n\\frac{1}{2}\n$$\n", r"\frac{1}{2}", How::Phrase);
    check("the answer to the question is therefore 7 apples. Done", "7 apples", How::Phrase);
    check("The correct option is (C).", "(C)", How::Phrase);
    check("所以最终答案是：12。", "12", How::Phrase);
    check("故选：B", "B", How::Phrase);
    check("答案为 $\\frac{1}{2}$", r"\frac{1}{2}", How::Phrase);
    check("La réponse finale est donc 15.", "15", How::Phrase);
    check("Réponse : 15", "15", How::Phrase);
    check("The answer is 5. Wait, that is wrong.\nThe answer is 6.", "6", How::Phrase);
}

#[test]
fn the_last_line_when_nothing_is_marked() {
    check("First 3.\nSo it makes 18\n\n", "So it makes 18", How::LastLine);
    check("x\n\\[\nx = 5\n\\]\n", "x = 5", How::LastLine);
    check("A: 26", "A: 26", How::LastLine);
    assert_eq!(last(""), None);
    assert_eq!(last("\n---\n***\n"), None);
}

#[test]
fn first_or_last_is_a_setting() {
    let first = ExtractOptions { which: Which::First, ..ExtractOptions::default() };
    let reply = "<ANSWER>1</ANSWER> No! <ANSWER>2</ANSWER>";
    assert_eq!(extract(reply, &first).unwrap().text, "1");
    assert_eq!(extract(reply, &ExtractOptions::default()).unwrap().text, "2");
    let reply = "The answer is 1. Or \\boxed{2}, or \\boxed{3}";
    assert_eq!(extract(reply, &first).unwrap().text, "2");
}

#[test]
fn only_after_thinking_on_request() {
    let after = ExtractOptions { after_think: true, ..ExtractOptions::default() };
    let reply = "<think>\\boxed{1}</think>\nIt is 2";
    assert_eq!(extract(reply, &after).unwrap().text, "It is 2");
    assert_eq!(extract(reply, &ExtractOptions::default()).unwrap().text, "1");
    assert_eq!(extract("<think>\\boxed{1}", &after), None);
    assert_eq!(extract("\\boxed{1}", &after).unwrap().text, "1");
    assert_eq!(extract("a</think>b<|end_of_thought|>\\boxed{3}", &after).unwrap().text, "3");
}

#[test]
fn a_trace_that_corrects_itself_gives_every_commitment_in_order() {
    let reply = "The answer is 12. Wait.\n<answer>13</answer> Hmm.\nSo \\boxed{15}.";
    let texts: Vec<&str> = all_answers(reply).into_iter().map(|answer| answer.text).collect();
    assert_eq!(texts, ["12", "13", "15"]);
}

#[test]
fn spans_point_into_the_reply() {
    let reply = "é **Answer:** `x`\n\\boxed{ü 5}";
    for answer in all_answers(reply) {
        assert_eq!(&reply[answer.span.clone()], answer.text);
    }
}

/// Beginnings of marks that never end, over and over. What each costs per byte is measured by `cargo bench -p potstill-verify`;
/// here a search that is not linear would not end at all.
#[test]
fn ten_megabytes_of_hostile_text_are_read() {
    for unit in hostile::UNITS {
        let reply = unit.repeat(10_000_000 / unit.len());
        if let Some(answer) = extract(&reply, &ExtractOptions::default()) {
            assert_eq!(&reply[answer.span.clone()], answer.text, "{unit:?}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_spans_are_ordered(
        pieces in prop::collection::vec(prop_oneof![
            Just("\\boxed{".to_owned()), Just("\\boxed ".to_owned()), Just("}".to_owned()), Just("{".to_owned()), Just("<answer>".to_owned()),
            Just("</ANSWER>".to_owned()), Just("#### ".to_owned()), Just("\n".to_owned()), Just("\n\n".to_owned()), Just("The answer is ".to_owned()),
            Just("答案是".to_owned()), Just("</think>".to_owned()), Just("**".to_owned()), Just("$".to_owned()), Just("\\".to_owned()), "\\PC{0,6}",
        ], 0..40),
        first in any::<bool>(),
        after_think in any::<bool>(),
    ) {
        let reply = pieces.concat();
        let which = if first { Which::First } else { Which::Last };
        if let Some(answer) = extract(&reply, &ExtractOptions { which, after_think }) {
            prop_assert_eq!(&reply[answer.span.clone()], answer.text);
            prop_assert!(!answer.text.is_empty());
        }
        let answers = all_answers(&reply);
        prop_assert!(answers.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start));
    }

    #[test]
    fn a_balanced_box_gives_its_content(content in "[a-z0-9+]{1,8}", depth in 0_usize..20, before in "[a-z {}]{0,20}") {
        let nested = format!("{}{content}{}", "\\sqrt{".repeat(depth), "}".repeat(depth));
        let reply = format!("{before}\n\n\\boxed{{{nested}}} and so on");
        prop_assert_eq!(last(&reply), Some((nested.as_str(), How::Boxed)));
    }
}
