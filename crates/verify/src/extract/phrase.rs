//! Answers announced in words: "the final answer is", "最终答案是", "la réponse est".

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{How, Mark};

/// The announcement, up to where the answer begins. Repetitions are bounded, so that the search stays
/// linear on hostile text.
#[expect(clippy::expect_used, reason = "the pattern is a constant; a test compiles it")]
static ANNOUNCEMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?imx)
        (?: \b(?:answer|ans|(?:final|correct)\s{1,4}(?:result|solution|value|choice|option))s?\b
            (?:\s{1,4}(?:to|of|for|here|in)\b[^\n.:=]{0,80}?)?
            [\ *_\t]{0,6}
            (?: \b(?:is|are|was|would\s+be|should\s+be|must\s+be|will\s+be|equals?|becomes)\b | [:=：] | [-–—]\ )
            (?:[\ *_\t]{0,6}(?:therefore|thus|then|hence|simply|just|indeed|clearly|now|option|choice|:|：)(?:\s|\b)){0,2}
          | \b(?:choose|select|pick|go\s+with|is)\s{1,4}(?:option|choice)\b
          | \br[ée]ponse(?:\s{1,4}(?:finale|correcte|exacte|recherchée))?
            (?:\s{1,4}(?:à|au|aux|de|du)\b[^\n.:=]{0,80}?)?
            [\ *_\t]{0,6}(?:\b(?:est|sera|vaut)\b(?:\s{1,4}(?:donc|alors|ainsi))?|[:=：])(?:\s{0,4}:)?
          | (?:答案|最终结果|最后结果)[\ *_]{0,6}(?:应该|应当|应)?[\ *_]{0,6}(?:[是为為选選]|[:=：])[\ *_]{0,6}[:：]?
          | (?:故选|应选|因此选|所以选|故選|應選)[\ *_]{0,6}[:：]?
          | ^[\ \t>]{0,6}答[\ *_]{0,6}[:：]
          | ^[\ \t\#*_>]{0,12}(?:final\s{1,4})?(?:answer|result|réponse\s{1,4}finale|最终答案)[\ \t*_]{0,8}$
        )",
    )
    .expect("a constant pattern")
});

/// Words that show that the announcement is about an answer rather than followed by one.
const NO_ANSWER: [&str; 10] = ["correct", "incorrect", "wrong", "right", "not", "given", "found", "obtained", "clear", "unclear"];

/// Every announced answer from byte `from` on.
pub(super) fn phrases(reply: &str, from: usize) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    let mut announcements = ANNOUNCEMENT.find_iter(&reply[from..]).peekable();
    while let Some(found) = announcements.next() {
        let (start, after) = (from + found.start(), from + found.end());
        // What is announced ends where the next announcement begins.
        let limit = announcements.peek().map_or(reply.len(), |next| from + next.start());
        let Some(inner) = answer_after(reply, after, limit) else {
            continue;
        };
        if is_about_the_answer(&reply[inner.clone()]) {
            continue;
        }
        marks.push(Mark { outer: start..inner.end, inner, how: How::Phrase });
    }
    marks
}

/// The rest of the announcement's sentence or, where its line ends there, the next line with content.
/// What is announced is short: looking no further than `WINDOW` bytes keeps many announcements linear.
fn answer_after(reply: &str, after: usize, limit: usize) -> Option<Range<usize>> {
    const LINES: usize = 5;
    const WINDOW: usize = 2_000;
    let mut start = after;
    let end = reply.floor_char_boundary((after + WINDOW).min(limit));
    for line in reply[after..end].split_inclusive('\n').take(LINES) {
        if line.chars().any(|c| c.is_alphanumeric() || matches!(c, '\\' | '∞' | '∅') && line.trim().len() > 2) {
            return Some(start..start + sentence_end(line));
        }
        start += line.len();
    }
    None
}

/// The end of the first sentence of a line: a full stop followed by white space or by nothing.
fn sentence_end(line: &str) -> usize {
    let mut after_stop = false;
    for (at, c) in line.char_indices() {
        if matches!(c, '。' | '\n') || (after_stop && c.is_whitespace()) {
            return at;
        }
        after_stop = c == '.';
    }
    line.len()
}

fn is_about_the_answer(text: &str) -> bool {
    let first = text.split(|c: char| !c.is_alphabetic()).find(|word| !word.is_empty());
    first.is_some_and(|word| NO_ANSWER.iter().any(|no| word.eq_ignore_ascii_case(no))) && text.trim_start().starts_with(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(reply: &str) -> Vec<String> {
        phrases(reply, 0).into_iter().map(|mark| reply[mark.inner].trim().to_owned()).collect()
    }

    #[test]
    fn the_sentence_ends_at_a_full_stop_but_not_at_a_decimal_point() {
        assert_eq!(announced("The answer is 3.5. Let me check."), ["3.5."]);
        assert_eq!(announced("最终答案是12。检查一下"), ["12"]);
    }

    #[test]
    fn the_answer_may_stand_on_the_next_line() {
        assert_eq!(announced("**Final Answer**\n\n$$\n42\n$$"), ["42"]);
        assert_eq!(announced("Answer:\n\n  7 km"), ["7 km"]);
    }

    #[test]
    fn talk_about_the_answer_is_not_an_answer() {
        assert!(announced("I think this answer is wrong.").is_empty());
    }
}
