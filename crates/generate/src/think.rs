//! Reasoning and answer, told apart in one text.
//!
//! Servers without a reasoning parser leave the model's thinking in the content, between tags; chat templates that
//! open the thinking themselves leave only the closing tag (vllm#13125).

/// Opening and closing tag of a thought section.
const THOUGHTS: [(&str, &str); 4] =
    [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<thought>", "</thought>")];

/// Tags around the answer that mark it as such and are no part of it.
const SOLUTION: (&str, &str) = ("<|begin_of_solution|>", "<|end_of_solution|>");

/// Splits a reply's content into its reasoning, if it holds any, and the answer.
///
/// A section that is never closed is a reply that was cut while thinking: all of it is reasoning and the answer is
/// empty. Text is kept as it stands except for the tags and the white space around the two parts.
#[must_use]
pub fn split(content: &str) -> (Option<String>, String) {
    let mut reasoning = String::new();
    let mut rest = content.trim();
    // Some models think several times before they answer; each section stands at the head of what is left.
    while let Some((thought, after)) = leading_thought(rest, reasoning.is_empty()) {
        if !reasoning.is_empty() && !thought.is_empty() {
            reasoning.push_str("\n\n");
        }
        reasoning.push_str(thought);
        rest = after;
    }
    ((!reasoning.is_empty()).then_some(reasoning), without_solution_tags(rest).to_owned())
}

/// The thought section at the head of `text` and what follows it. At the very beginning (`first`) the opening tag may
/// be missing.
fn leading_thought(text: &str, first: bool) -> Option<(&str, &str)> {
    for (open, close) in THOUGHTS {
        if let Some(inside) = text.strip_prefix(open) {
            let (thought, after) = inside.split_once(close).unwrap_or((inside, ""));
            return Some((thought.trim(), after.trim()));
        }
    }
    if !first {
        return None;
    }
    let (position, open, close) = THOUGHTS.iter().filter_map(|(open, close)| text.find(close).map(|at| (at, *open, *close))).min()?;
    let (thought, after) = (&text[..position], &text[position + close.len()..]);
    // With an opening tag further in, the text before it is not reasoning and the tags are not about this reply.
    (!thought.contains(open)).then(|| (thought.trim(), after.trim()))
}

fn without_solution_tags(text: &str) -> &str {
    let Some(inside) = text.strip_prefix(SOLUTION.0) else { return text };
    let inside = inside.trim();
    inside.strip_suffix(SOLUTION.1).unwrap_or(inside).trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(content: &str, reasoning: Option<&str>, response: &str) {
        assert_eq!(split(content), (reasoning.map(str::to_owned), response.to_owned()), "{content:?}");
    }

    #[test]
    fn every_form_of_thinking_is_told_apart() {
        check("42", None, "42");
        check("<think>\n2 * 21\n</think>\n\n42", Some("2 * 21"), "42");
        check("2 * 21\n</think>\n42", Some("2 * 21"), "42");
        check("<think>\n\n</think>\n\n42", None, "42");
        check("<think>2 * 2", Some("2 * 2"), "");
        check("<think>a</think><think>b</think>c", Some("a\n\nb"), "c");
        check("<think>a</think>say </think> b", Some("a"), "say </think> b");
        check("The tag <think> opens and </think> closes.", None, "The tag <think> opens and </think> closes.");
        check("<thinking>a</thinking>b", Some("a"), "b");
        check("<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n42\n\n<|end_of_solution|>", Some("hm"), "42");
        check("<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>4", Some("hm"), "4");
        check("<|begin_of_thought|>hm", Some("hm"), "");
        check("", None, "");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_panics(parts in prop::collection::vec(
            prop_oneof![
                Just("<think>".to_owned()), Just("</think>".to_owned()), Just("<|end_of_thought|>".to_owned()),
                Just("<|begin_of_thought|>".to_owned()), Just("<|begin_of_solution|>".to_owned()), "[a-z \n¹é]{0,8}",
            ], 0..12)) {
            let content = parts.concat();
            let (reasoning, response) = split(&content);
            let words = |text: &str| {
                let mut text = text.to_owned();
                for tag in THOUGHTS.iter().flat_map(|(open, close)| [*open, *close]).chain([SOLUTION.0, SOLUTION.1]) {
                    text = text.replace(tag, " ");
                }
                text.split_whitespace().collect::<String>()
            };
            prop_assert_eq!(words(&content), words(&format!("{} {response}", reasoning.unwrap_or_default())));
        }
    }
}
