//! From a reply, or a gold field, to the bare answer that is compared.

use std::borrow::Cow;

use super::answer::{Comparison, compare, is_list, reads_as_value};
use super::policy::MathPolicy;
use super::repair::control_characters;
use super::words::number;
use crate::Verdict;
use crate::extract::{ExtractOptions, Extracted, How, Which, all_answers, end_of_thinking, extract};

/// Text longer than this after a phrase or on the last line is searched for its value at the end only.
const MAX_PROSE: usize = 2_000;

/// More boxes than this in one reply are no list of values.
const MAX_BOXES: usize = 12;

/// An answer found in a reply, and whether a sentence had to be read for it.
struct Found<'r> {
    text: Cow<'r, str>,
    /// All of the sentence.
    sentence: Option<&'r str>,
}

/// Compares the answer in `reply` with the gold; `None` when the reply holds no answer. Returns the answer read as well.
pub(super) fn judge(gold: &str, prompt: &str, reply: &str, options: &ExtractOptions, policy: &MathPolicy) -> Option<(Comparison, String)> {
    let reply = &*control_characters(reply);
    let gold = &*control_characters(gold);
    let found = answer_in(reply, options).or_else(|| {
        // Signs alone, such as `\{\}`, are no line of text but may be an answer.
        let whole = reply.trim();
        (whole.len() <= MAX_PROSE && !whole.is_empty() && reads_as_value(whole))
            .then_some(Found { text: Cow::Borrowed(whole), sentence: None })
    })?;
    let gold = gold_answer(gold);
    let comparison = compare(&gold, &found.text, prompt, policy);
    if comparison.verdict == Verdict::Correct {
        return Some((comparison, found.text.into_owned()));
    }
    for other in other_readings(&gold, reply, &found, options) {
        let again = compare(&gold, &other, prompt, policy);
        if again.verdict == Verdict::Correct {
            return Some((again, other));
        }
    }
    Some((comparison, found.text.into_owned()))
}

/// The final answer of a reply as the `math` verifier reads it, without a gold to compare with; `None` where there is none.
#[must_use]
pub fn final_answer(reply: &str, options: &ExtractOptions) -> Option<String> {
    answer_in(&control_characters(reply), options).map(|found| found.text.into_owned())
}

/// What else the reply may have meant, given the form of the gold.
fn other_readings(gold: &str, reply: &str, found: &Found<'_>, options: &ExtractOptions) -> Vec<String> {
    let mut readings = Vec::new();
    if let Some(sentence) = found.sentence {
        // `x² = 36` in a sentence, where a value was asked for.
        if !gold.contains(['=', '<', '>', '≡'])
            && !gold.contains("\\equiv")
            && let Some((left, value)) = found.text.rsplit_once('=')
            && reads_as_value(value)
            && gives_value(left, value, has_word(sentence))
        {
            readings.push(value.to_owned());
        }
        // An exclamation, not a factorial.
        if let Some(value) = found.text.strip_suffix('!')
            && reply.trim_end().ends_with('!')
            && is_prose(reply)
        {
            readings.push(value.to_owned());
        }
        if let Some(number) = spelt_number(sentence) {
            readings.push(number);
        }
        // "It is an ellipse."
        if !reads_as_value(gold) {
            readings.push(sentence.to_owned());
            readings.extend(after_copula(sentence).filter(|tail| !is_verdict(tail) && !ends_equation(sentence, tail)).map(str::to_owned));
        }
    }
    // Boxes all over the reply, one for each value of the gold.
    if options.which == Which::Last && (gold.contains([',', ';']) || gold.contains(" and ") || gold.contains(" or ")) {
        let from = if options.after_think { end_of_thinking(reply).unwrap_or(0) } else { 0 };
        let boxes: Vec<&str> =
            all_answers(reply).into_iter().filter(|a| a.how == How::Boxed && a.span.start >= from).map(|a| a.text).collect();
        if boxes.len() >= 2 && boxes.len() <= MAX_BOXES && is_list(gold) {
            readings.push(boxes.join(", "));
        }
    }
    readings
}

/// Whether `tail` is what stands after the last `=`.
fn ends_equation(sentence: &str, tail: &str) -> bool {
    sentence.rsplit_once('=').is_some_and(|(_, last)| last.trim().trim_end_matches(['.', '!', ',']) == tail)
}

/// A word in letters alone, so that more is said than a formula.
fn has_word(sentence: &str) -> bool {
    is_prose(sentence) || sentence.split_whitespace().any(|word| word.len() >= 4 && word.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// Whether what stands before the last `=` leads to the value after it: not where it lists other values (`x = 2 or x = 3`), and
/// without words around it not where it is an equation between unknowns (`3x + 4y = 12`).
fn gives_value(left: &str, value: &str, prose: bool) -> bool {
    const SEPARATORS: [&str; 10] = [",", ";", " or", " and", "\\lor", "\\vee", "\\text", "或", "和", "\\\\"];
    let listed = left.split_once('=').is_some_and(|(_, rest)| SEPARATORS.iter().any(|separator| rest.contains(separator)));
    let unknown = |c: char| c.is_ascii_alphabetic() && !value.contains(c);
    let mut command = false;
    let equation = left.chars().any(|c| {
        command = c == '\\' || command && c.is_ascii_alphabetic();
        !command && unknown(c)
    });
    !listed && (prose || !equation)
}

/// "True" at the end of a sentence says something of its subject, which is the answer only where no statement is.
fn is_verdict(tail: &str) -> bool {
    let word = tail.trim_end_matches(['.', '!', '}']).to_lowercase();
    matches!(word.as_str(), "true" | "false" | "correct" | "incorrect" | "right" | "wrong" | "yes" | "no")
}

/// The only number of a sentence, in words.
fn spelt_number(text: &str) -> Option<String> {
    if text.len() > 300 || text.contains(|c: char| c.is_ascii_digit() || c == '$' || c == '\\') {
        return None;
    }
    let words: Vec<&str> = text.split([' ', ',', '.']).filter(|w| !w.is_empty()).collect();
    let counts = |w: &str| number(w).is_some() && w != "a" && w != "second";
    let start = words.iter().position(|w| counts(w))?;
    let run = words[start..].iter().take_while(|w| counts(w) || **w == "and").count();
    let parts =
        words[start + run..].iter().any(|w| counts(w) || matches!(*w, "half" | "halves" | "quarter" | "quarters" | "thirds" | "times"));
    let value = number(&words[start..start + run].join(" "))?;
    // "One" is a pronoun as often as a number.
    (!parts && value != num_bigint::BigInt::from(1)).then(|| value.to_string())
}

/// The bare answer in a reply.
fn answer_in<'r>(reply: &'r str, options: &ExtractOptions) -> Option<Found<'r>> {
    let mut found = extract(reply, options)?;
    // `0.333...`: the dots are part of the numeral, not of the sentence.
    let tail = &reply[found.span.end..];
    if found.text.contains('.') && found.text.ends_with(|c: char| c.is_ascii_digit()) && tail.starts_with("...") {
        found.span.end += 3;
        found.text = &reply[found.span.clone()];
    }
    let sentence = matches!(found.how, How::Phrase | How::LastLine).then_some(found.text);
    let text = match found.how {
        How::Boxed => match boxed_list(reply, &found) {
            Cow::Borrowed(text) if is_prose(text) && !reads_as_value(text) => {
                // A sentence in the box: `\text{The answer is } 5`.
                let tail = after_copula(text).map(|t| t.trim_start_matches(['}', ' ']));
                Cow::Borrowed(tail.filter(|t| reads_as_value(t)).unwrap_or(text))
            }
            list => list,
        },
        How::AnswerTag | How::Hashes | How::Unclosed | How::Phrase => refined(found.text),
        How::LastLine => {
            if let Some(value) = before_explanation(reply) {
                return Some(Found { text: Cow::Borrowed(value), sentence: None });
            }
            // A bare answer over several lines, such as a matrix.
            let whole = reply.trim();
            if whole.len() <= MAX_PROSE && whole.contains('\n') && reads_as_value(whole) {
                return Some(Found { text: Cow::Borrowed(whole), sentence: None });
            }
            earlier_line(reply, &found).unwrap_or_else(|| refined(found.text))
        }
    };
    Some(Found { text, sentence })
}

/// A value alone on the first line, where what follows explains it.
fn before_explanation(reply: &str) -> Option<&str> {
    const WORDS: [&str; 12] =
        ["explanation", "reason", "because", "justification", "step", "solution", "proof", "here", "to see", "解析", "解释", "explication"];
    let mut lines = reply.lines().map(str::trim).filter(|line| !line.is_empty());
    let (first, second) = (lines.next()?, lines.next()?);
    let second = second.trim_start_matches(['*', '#', '_', ' ', '(']).to_lowercase();
    (WORDS.iter().any(|word| second.starts_with(word)) && first.len() < 200 && reads_as_value(first)).then_some(first)
}

/// Where the last line only comments, without digit or formula, the statement on one of the two lines before it.
fn earlier_line<'r>(reply: &'r str, last: &Extracted<'r>) -> Option<Cow<'r, str>> {
    let speaks = |line: &str| line.contains(|c: char| c.is_ascii_digit() || c == '$' || c == '\\');
    if speaks(last.text) || last.text.len() < 30 || reads_as_value(last.text) {
        return None;
    }
    let lines = reply[..last.span.start].lines().rev().map(str::trim).filter(|l| !l.is_empty());
    let line = lines.take(2).find(|l| speaks(l))?;
    after_copula(line).filter(|v| reads_as_value(v)).map(Cow::Borrowed)
}

/// The gold answer; a field that holds a whole solution is searched for its box or hashes.
fn gold_answer(gold: &str) -> Cow<'_, str> {
    if gold.contains("\\boxed") || gold.contains("####") {
        let options = ExtractOptions::default();
        if let Some(found) = extract(gold, &options) {
            return if found.how == How::Boxed { boxed_list(gold, &found) } else { Cow::Borrowed(found.text) };
        }
    }
    // `Answer: 9`, as some files have it.
    let announced = gold.len() <= MAX_PROSE && gold.trim_start().get(..3).is_some_and(|head| head.eq_ignore_ascii_case("ans"));
    if announced && let Some(found) = extract(gold, &ExtractOptions::default()).filter(|found| found.how == How::Phrase) {
        return refined(found.text);
    }
    if !is_prose(gold) {
        return Cow::Borrowed(gold);
    }
    match refined(gold) {
        Cow::Borrowed(part) if is_verdict(part) => Cow::Borrowed(gold),
        part => part,
    }
}

/// `\boxed{1} and \boxed{2}`: boxes with nothing but a connective between them are one answer.
fn boxed_list<'r>(reply: &'r str, last: &Extracted<'r>) -> Cow<'r, str> {
    let all = all_answers(reply);
    let Some(end) = all.iter().rposition(|a| a.span == last.span) else { return Cow::Borrowed(last.text) };
    let mut first = end;
    while first > 0 && all[first - 1].how == How::Boxed && all[first - 1].span.end < all[first].span.start {
        let between = &reply[all[first - 1].span.end..all[first].span.start];
        if !is_connective(between) {
            break;
        }
        first -= 1;
    }
    if first == end {
        return Cow::Borrowed(last.text);
    }
    let parts: Vec<&str> = all[first..=end].iter().map(|a| a.text).collect();
    Cow::Owned(parts.join(", "))
}

fn is_connective(between: &str) -> bool {
    let mut rest = between.replace("\\boxed", " ").replace("\\fbox", " ").replace("\\text", " ").replace("\\quad", " ").replace("\\,", " ");
    rest.retain(|c| !matches!(c, '$' | '{' | '}' | '\\' | '(' | ')' | '[' | ']' | ',' | ' ' | '\n' | ';' | '*'));
    // `x = \boxed{2} and y = \boxed{3}`: the name of the next value.
    if let Some(name) = rest.strip_suffix('=') {
        let word = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        let letter = word.chars().next_back().filter(char::is_ascii_alphabetic);
        rest.truncate(word.len() - usize::from(letter.is_some()));
    }
    rest.is_empty() && between.contains([',', ';']) || matches!(rest.as_str(), "and" | "or" | "和" | "或" | "et" | "ou")
}

/// The value in a phrase: all of it when it reads as one, otherwise what stands out in it.
fn refined(text: &str) -> Cow<'_, str> {
    let text = without_reason(without_connective(text.trim()));
    if reads_as_value(text) {
        return Cow::Borrowed(text);
    }
    if let Some(named) = named_values(text).filter(|named| reads_as_value(named)) {
        return Cow::Owned(named);
    }
    if let Some(two) = both(text) {
        return Cow::Owned(two);
    }
    if let Some(joined) = joined_segments(text).filter(|joined| reads_as_value(joined)) {
        return Cow::Owned(joined);
    }
    if let Some(end) = conclusion(text) {
        return Cow::Borrowed(end);
    }
    let speaks = is_prose(text) || [" equals ", " is ", " vaut "].iter().any(|verb| text.contains(verb));
    let prose = speaks.then(|| [after_copula(text), last_number(text)]);
    for candidate in [math_segment(text), emphasis(text)].into_iter().chain(prose.into_iter().flatten()).flatten() {
        if reads_as_value(candidate) {
            return Cow::Borrowed(candidate);
        }
    }
    Cow::Borrowed(text)
}

/// The sentence without the word that joins it to the one before.
fn without_connective(text: &str) -> &str {
    const WORDS: [&str; 12] = ["So", "Thus", "Hence", "Therefore", "Then", "Finally", "Donc", "Alors", "所以", "因此", "故", "综上"];
    WORDS
        .iter()
        .filter(|word| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)))
        .find_map(|word| text.get(word.len()..).filter(|rest| !word.is_ascii() || rest.starts_with([' ', ','])))
        .map_or(text, |rest| rest.trim_start_matches([',', '，', ' ', ':']))
}

/// The statement without the reason given for it.
fn without_reason(text: &str) -> &str {
    const CLAUSES: [&str; 18] = [
        " because ",
        " since ",
        ", because",
        ", since",
        ", as shown",
        "，因为",
        " (since ",
        " (because ",
        " (as ",
        " (where ",
        ", which ",
        ", of which ",
        ", not ",
        ", but not ",
        ", and not ",
        ", rather than ",
        ", or ",
        "，而",
    ];
    let letter = |head: &str| head.split(' ').next_back().is_some_and(|word| matches!(word.as_bytes(), [b'A'..=b'J']));
    let speaks = |head: &str| letter(head) || head.contains(|c: char| c.is_ascii_digit() || c == '$' || c == '\\');
    let at = CLAUSES.iter().filter_map(|word| text.find(word).map(|at| (at, *word))).filter(|(at, word)| {
        let rest = text[at + word.len()..].trim_start();
        // `x = 2, or x = 3` lists values; "18 minutes, or 0.3 hours" says one twice.
        speaks(&text[..*at]) && (*word != ", or " || is_prose(&text[..*at]) && !rest.contains(['=', '$', '\\']))
    });
    at.map(|(at, _)| at).min().map_or(text, |at| text[..at].trim_end_matches([' ', ',']))
}

/// `x is 3 and y is 4`, "the x-coordinate is 3 and the y-coordinate is 4".
fn named_values(text: &str) -> Option<String> {
    let is = |word: &str| matches!(word, "is" | "=" | "equals");
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| !matches!(*word, "the" | "The" | "its" | "Its"))
        .map(|word| word.strip_suffix("-coordinate").unwrap_or(word))
        .collect();
    let names = words.windows(2).filter(|w| w[0].len() == 1 && w[0].as_bytes()[0].is_ascii_alphabetic() && is(w[1])).count();
    let verbs = words.iter().filter(|word| is(word)).count();
    (names >= 2 && names == verbs).then(|| words.iter().map(|word| if is(word) { "=" } else { *word }).collect::<Vec<_>>().join(" "))
}

/// "Both 2 and 3 work."
fn both(text: &str) -> Option<String> {
    let (one, rest) = text.strip_prefix("Both ").or_else(|| text.strip_prefix("both "))?.split_once(" and ")?;
    let other = rest.split(' ').next()?;
    let value = |s: &str| s.len() < 40 && s.contains(|c: char| c.is_ascii_digit()) && reads_as_value(s);
    (value(one) && value(other)).then(|| format!("{one}, {other}"))
}

/// "…, so C": what a sentence comes to.
fn conclusion(text: &str) -> Option<&str> {
    let words = [", so ", ", hence ", ", therefore ", ", thus ", "; so ", "，所以", "，因此", ", donc "];
    let at = words.iter().filter_map(|word| text.rfind(word).map(|at| at + word.len())).max()?;
    let end = text[at..].trim();
    reads_as_value(end).then_some(end)
}

/// `$x = 2$ and $x = 3$`: the formulas that nothing but a connective divides from the one a sentence states.
fn joined_segments(text: &str) -> Option<String> {
    let stated = math_segment(text)?;
    let (open, close) = if text.contains("\\(") { ("\\(", "\\)") } else { ("$", "$") };
    let mut segments: Vec<std::ops::Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(open).map(|i| at + i + open.len())
        && let Some(end) = text[start..].find(close).map(|i| start + i)
    {
        segments.push(start..end);
        at = end + close.len();
    }
    let chosen = segments.iter().rposition(|s| text[s.clone()].trim() == stated)?;
    let joins = |a: usize| is_connective(&text[segments[a].end..segments[a + 1].start]);
    let mut first = chosen;
    while first > 0 && joins(first - 1) {
        first -= 1;
    }
    let mut last = chosen;
    while last + 1 < segments.len() && joins(last) {
        last += 1;
    }
    let parts: Vec<&str> = segments[first..=last].iter().map(|s| text[s.clone()].trim()).collect();
    (parts.len() > 1 && parts.len() <= MAX_BOXES).then(|| parts.join(", "))
}

/// Running text: two words at least, or Chinese.
fn is_prose(text: &str) -> bool {
    let word = |w: &&str| *w == "I" || w.len() >= 2 && w.chars().all(|c| c.is_alphabetic() || c == '\'');
    text.split_whitespace().map(|w| w.trim_matches(|c: char| c.is_ascii_punctuation())).filter(word).count() >= 2
        || text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

/// The formula that a sentence states: the last one directly after "is" or "equals", else the last, approximations aside.
fn math_segment(text: &str) -> Option<&str> {
    for (open, close) in [("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")] {
        let mut head = text;
        let (mut last, mut approximation) = (None, None);
        while let Some(end) = head.rfind(close)
            && let Some(start) = head[..end].rfind(open)
        {
            let segment = head.get(start + open.len()..end).unwrap_or("").trim();
            head = &head[..start];
            if segment.is_empty() {
                break;
            }
            if approximates(head) || segment.starts_with("\\approx") {
                approximation = approximation.or(Some(segment));
            } else if states(head) {
                return Some(segment);
            } else {
                last = last.or(Some(segment));
            }
        }
        if last.or(approximation).is_some() {
            return last.or(approximation);
        }
    }
    None
}

/// Whether the words before a formula state it.
fn states(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '*', ':', '\n']);
    [" is", " are", " equals", " equal to", "为", "是", " est", " sont", " vaut", " be", " gives", " giving", " get", " obtain", " yields"]
        .iter()
        .any(|word| before.ends_with(word))
}

/// Whether the words before a formula announce an approximation.
fn approximates(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '(']);
    ["approximately", "about", "roughly", "around", "≈", "approx.", "约", "约为", "environ", "nearly"]
        .iter()
        .any(|word| before.ends_with(word))
}

/// The last `**…**`.
fn emphasis(text: &str) -> Option<&str> {
    let end = text.rfind("**")?;
    let start = text[..end].rfind("**")?;
    Some(text[start + 2..end].trim())
}

/// What follows the last "is", "=", ":" or its like.
fn after_copula(text: &str) -> Option<&str> {
    let marks = [
        " is ", " are ", " equals ", " be ", ": ", "：", "为", "是", " est ", " sont ", " was ", " have ", " has ", " gives ", " get ",
        "共有", "有", " = ", "=",
    ];
    let at = marks.iter().filter_map(|m| text.rfind(m).map(|i| i + m.len())).max()?;
    let tail = text[at..].trim().trim_end_matches(['.', '!', ',']);
    let denied = text[..at].ends_with("不是") || tail.split_once(' ').is_some_and(|(word, _)| word == "not");
    (!tail.is_empty() && !denied).then_some(tail)
}

/// Whether the words before a value say that it is something else: "not", "greater than".
fn denies(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '$', '*']);
    // "Between 5 and 6."
    let range = before.ends_with(" and") && before.to_lowercase().contains("between ");
    range
        || before.ends_with("不是")
        || [" not", "greater than", "less than", "more than", "fewer than", "larger than", "smaller than", "between", "other than"]
            .iter()
            .any(|words| before.ends_with(words))
}

/// The last numeral, with its sign, separators and percent or currency sign.
fn last_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let mut start = end;
    while start > 0 && (bytes[start - 1].is_ascii_digit() || matches!(bytes[start - 1], b'.' | b',' | b'/')) {
        start -= 1;
    }
    while start < end && matches!(bytes[start], b',' | b'/' | b'.') {
        start += 1;
    }
    if start > 0 && bytes[start - 1] == b'$' {
        start -= 1;
    }
    if start > 0 && bytes[start - 1] == b'-' && (start == 1 || !bytes[start - 2].is_ascii_alphanumeric()) {
        start -= 1;
    }
    let end = end + usize::from(bytes.get(end) == Some(&b'%'));
    if text.get(..start).is_some_and(denies) { None } else { text.get(start..end) }
}
