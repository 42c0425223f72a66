//! Small rules on text: prompt templates, gold answers in solutions, tagged reasoning, conversations.

use regex::Regex;
use serde_json::Value;

use super::spec::GoldRule;
use crate::{DataError, Result};

/// A piece of a prompt template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Column(String),
}

/// Reads `text {column} {{brace}}`.
pub(super) fn template(text: &str) -> Result<Vec<Piece>> {
    let wrong = |what: &str| {
        DataError::setting(
            format!("prompt_template: {what}"),
            "values stand as {column}; braces that are meant as such are doubled: \\boxed{{}}",
        )
    };
    let (mut pieces, mut literal) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(wrong("a `}` that closes nothing"));
        }
        let (name, after) = after.split_once('}').ok_or_else(|| wrong("a `{` that is never closed"))?;
        if name.trim().is_empty() {
            return Err(wrong("`{}` names no column"));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Column(name.trim().to_owned()));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// How the gold answer is found in the gold column.
#[derive(Debug, Clone)]
pub(super) enum Gold {
    Whole,
    Boxed,
    Pattern(Regex),
}

impl Gold {
    pub(super) fn new(rule: Option<GoldRule>, pattern: Option<&str>) -> Result<Self> {
        match (rule, pattern) {
            (None, None) => Ok(Self::Whole),
            (Some(_), Some(_)) => Err(DataError::setting("both `gold_rule` and `gold_pattern` are set", "keep one of them")),
            (Some(GoldRule::Boxed), None) => Ok(Self::Boxed),
            (Some(GoldRule::Hashes), None) => Self::pattern(r"####[ \t]*(.+)"),
            (None, Some(pattern)) => Self::pattern(pattern),
        }
    }

    fn pattern(pattern: &str) -> Result<Self> {
        let regex = Regex::new(pattern).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            DataError::setting(format!("gold_pattern `{pattern}`: {reason}"), "see the syntax of the regex crate")
        })?;
        if regex.captures_len() != 2 {
            return Err(DataError::setting(
                format!("gold_pattern `{pattern}` has {} groups", regex.captures_len() - 1),
                "it needs exactly one: the answer",
            ));
        }
        Ok(Self::Pattern(regex))
    }

    /// The answer in a solution, without white space around it.
    pub(super) fn find<'a>(&self, solution: &'a str) -> Option<&'a str> {
        let answer = match self {
            Self::Whole => Some(solution),
            Self::Boxed => boxed(solution),
            Self::Pattern(regex) => regex.captures_iter(solution).last().and_then(|found| found.get(1)).map(|group| group.as_str()),
        };
        answer.map(str::trim).filter(|answer| !answer.is_empty())
    }
}

/// The content of the last `\boxed{…}` (or `\fbox{…}`) whose braces close.
fn boxed(text: &str) -> Option<&str> {
    let mut starts: Vec<usize> =
        ["\\boxed{", "\\fbox{"].iter().flat_map(|tag| text.match_indices(tag).map(move |(at, _)| at + tag.len())).collect();
    starts.sort_unstable();
    starts.into_iter().rev().find_map(|start| {
        let (mut depth, mut escaped) = (1_usize, false);
        for (at, character) in text[start..].char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(&text[start..start + at]);
            }
        }
        None
    })
}

/// The reasoning between tags and the rest of a reply. Without a closing tag (a reply that was cut off)
/// everything after the opening one is reasoning; without either there is none.
pub(super) fn split_reasoning(reply: &str, [open, close]: &[String; 2]) -> (Option<String>, String) {
    // Some chat templates put the opening tag into the prompt.
    let (before, inside) = reply.split_once(open.as_str()).map_or((None, reply), |(before, inside)| (Some(before), inside));
    let (reasoning, after) = match (inside.split_once(close.as_str()), before) {
        (Some((reasoning, after)), _) => (reasoning, after),
        (None, Some(_)) => (inside, ""),
        (None, None) => return (None, reply.to_owned()),
    };
    let before = before.unwrap_or("").trim();
    let response = if before.is_empty() { after.trim().to_owned() } else { format!("{before}\n{}", after.trim()) };
    (Some(reasoning.trim().to_owned()), response)
}

/// What stands between tags, or everything where they are not there.
pub(super) fn inside(reply: &str, [open, close]: &[String; 2]) -> String {
    let Some((_, inside)) = reply.split_once(open.as_str()) else {
        return reply.to_owned();
    };
    inside.rsplit_once(close.as_str()).map_or(inside, |(inside, _)| inside).trim().to_owned()
}

/// A conversation as sources store it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conversation {
    pub(super) prompt: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) response: Option<String>,
}

/// The first user turn and the last assistant turn.
pub(super) fn conversation(messages: &Value) -> Result<Conversation, String> {
    let turns = messages.as_array().ok_or("the messages are no list")?;
    let mut found = Conversation::default();
    for (index, turn) in turns.iter().enumerate() {
        let text = |keys: &[&str]| keys.iter().find_map(|key| turn.get(*key)).and_then(content);
        let role = text(&["role", "from"]).ok_or_else(|| format!("message {} has no `role`", index + 1))?;
        match role.as_str() {
            "user" | "human" if found.prompt.is_none() => found.prompt = text(&["content", "value"]),
            "assistant" | "gpt" | "model" => {
                found.response = text(&["content", "value"]);
                found.reasoning = text(&["reasoning", "reasoning_content", "thinking"]);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Text, or the text parts of a list of parts.
fn content(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_take_columns_and_doubled_braces() {
        let pieces = template("{q}\nAnswer in \\boxed{{}}.").unwrap();
        assert_eq!(pieces, [Piece::Column("q".to_owned()), Piece::Text("\nAnswer in \\boxed{}.".to_owned())]);
        for wrong in ["{q", "q}", "{}", "\\boxed{ }"] {
            assert!(template(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn gold_answers_are_found_in_solutions() {
        let hashes = Gold::new(Some(GoldRule::Hashes), None).unwrap();
        assert_eq!(hashes.find("2 + 2 = <<2+2=4>>4\n#### 1,234 "), Some("1,234"));
        assert_eq!(hashes.find("no answer"), None);
        let boxed = Gold::new(Some(GoldRule::Boxed), None).unwrap();
        assert_eq!(boxed.find(r"so \boxed{1}, no: \boxed{\frac{1}{2}\}}."), Some(r"\frac{1}{2}\}"));
        assert_eq!(boxed.find(r"\boxed{3} then \boxed{open"), Some("3"));
        for wrong in ["(", "no group", "(a)(b)"] {
            assert!(Gold::new(None, Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reasoning_is_split_with_or_without_its_opening_tag() {
        let tags = ["<think>".to_owned(), "</think>".to_owned()];
        let split = |reply: &str| split_reasoning(reply, &tags);
        assert_eq!(split("<think>\na\n</think>\n\nb"), (Some("a".to_owned()), "b".to_owned()));
        assert_eq!(split("a</think>b"), (Some("a".to_owned()), "b".to_owned()));
        assert_eq!(split("<think>a, cut off"), (Some("a, cut off".to_owned()), String::new()));
        assert_eq!(split("b"), (None, "b".to_owned()));
        assert_eq!(inside("x<think> y </think>", &tags), "y");
    }

    #[test]
    fn conversations_of_either_style_are_read() {
        let openai = json!([
            {"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": "a", "reasoning_content": "r"}
        ]);
        let found = conversation(&openai).unwrap();
        assert_eq!((found.prompt.as_deref(), found.reasoning.as_deref(), found.response.as_deref()), (Some("q"), Some("r"), Some("a")));
        let shared = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
        assert_eq!(conversation(&shared).unwrap().response.as_deref(), Some("a"));
        assert!(conversation(&json!([{"content": "q"}])).unwrap_err().contains("message 1"));
    }
}
