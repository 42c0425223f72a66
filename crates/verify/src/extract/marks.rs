//! Answers in explicit marks: `\boxed{…}`, `<answer>…</answer>`, `#### …`. One pass over the bytes each.

use super::{How, Mark};

const BOX_COMMANDS: [&[u8]; 2] = [b"\\boxed", b"\\fbox"];

/// A box whose brace is open.
struct OpenBox {
    outer: usize,
    inner: usize,
    depth: usize,
    /// How many marks were complete when it opened: later ones lie inside.
    marks: usize,
}

/// Every `\boxed{…}`, `\fbox{…}` and `\boxed 5` from byte `from` on.
///
/// Braces nest and `\{` does not count. A blank line ends everything that is open, as it does in TeX, so a
/// box that was never closed cannot swallow the rest of the reply. Of nested boxes the outer counts,
/// unless it holds nothing but the inner.
pub(super) fn boxes(reply: &str, from: usize) -> Vec<Mark> {
    let bytes = reply.as_bytes();
    let mut scan = BoxScan { marks: Vec::new(), open: Vec::new(), depth: 0 };
    let mut at = from;
    while at < bytes.len() {
        at = match bytes[at] {
            b'\\' => scan.backslash(reply, at),
            b'{' => {
                scan.depth += 1;
                at + 1
            }
            b'}' => {
                scan.close(reply, at);
                at + 1
            }
            b'\n' if blank_line_follows(bytes, at) => {
                scan.abandon(reply, at);
                at + 1
            }
            _ => at + 1,
        };
    }
    scan.abandon(reply, bytes.len());
    scan.marks
}

struct BoxScan {
    marks: Vec<Mark>,
    open: Vec<OpenBox>,
    depth: usize,
}

impl BoxScan {
    /// Handles the backslash at `at`; returns where to go on.
    fn backslash(&mut self, reply: &str, at: usize) -> usize {
        let bytes = reply.as_bytes();
        let Some(after) = box_command(bytes, at) else {
            // `\\boxed` in text that was escaped once too often is still a box.
            let escaped_command = box_command(bytes, at + 1).is_some();
            return if escaped_command { at + 1 } else { at + 2 };
        };
        let argument = skip_blanks(bytes, after);
        if bytes.get(argument) == Some(&b'{') {
            self.open.push(OpenBox { outer: at, inner: argument + 1, depth: self.depth, marks: self.marks.len() });
            self.depth += 1;
            return argument + 1;
        }
        // `\boxed\{5\}`.
        if reply[argument..].starts_with("\\{")
            && let Some(close) = reply[argument..].find("\\}").filter(|close| !reply[argument..argument + close].contains('\n'))
        {
            let end = argument + close + 2;
            self.marks.push(Mark { outer: at..end, inner: argument + 2..end - 2, how: How::Boxed });
            return end;
        }
        let end = bare_argument_end(bytes, argument);
        if end > argument {
            self.marks.push(Mark { outer: at..end, inner: argument..end, how: How::Boxed });
        }
        end
    }

    fn close(&mut self, reply: &str, at: usize) {
        if self.depth == 0 {
            return;
        }
        self.depth -= 1;
        let Some(open) = self.open.pop_if(|open| open.depth == self.depth) else {
            return;
        };
        let content = &reply[open.inner..at];
        let inner_is_all =
            self.marks.len() == open.marks + 1 && self.marks.last().is_some_and(|inner| reply[inner.outer.clone()] == *content.trim());
        if !inner_is_all {
            self.marks.truncate(open.marks);
            self.marks.push(Mark { outer: open.outer..at + 1, inner: open.inner..at, how: How::Boxed });
        }
    }

    /// Gives up on everything open: each unclosed box ends with its line or where the next box starts.
    fn abandon(&mut self, reply: &str, at: usize) {
        self.depth = 0;
        let mut limit = at;
        while let Some(open) = self.open.pop() {
            if self.marks.len() == open.marks {
                let line = &reply[open.inner..limit];
                let end = open.inner + line.find('\n').unwrap_or(line.len());
                self.marks.push(Mark { outer: open.outer..end, inner: open.inner..end, how: How::Unclosed });
            }
            limit = open.outer;
        }
    }
}

fn blank_line_follows(bytes: &[u8], newline: usize) -> bool {
    bytes.get(skip_blanks(bytes, newline + 1)) == Some(&b'\n')
}

/// Skips spaces, tabs and carriage returns, a bounded number of them.
fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    const LIMIT: usize = 64;
    let blanks = bytes.iter().skip(from).take(LIMIT).take_while(|b| matches!(b, b' ' | b'\t' | b'\r'));
    from + blanks.count()
}

/// The offset after a box command that starts at `at`.
fn box_command(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let command = BOX_COMMANDS.iter().find(|command| rest.starts_with(command))?;
    let after = at + command.len();
    let longer_name = bytes.get(after).is_some_and(u8::is_ascii_alphabetic);
    (!longer_name).then_some(after)
}

/// The end of an argument without braces: up to white space, a delimiter or the next box.
fn bare_argument_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'$' | b'}' => break,
            b if b.is_ascii_whitespace() => break,
            b'\\' if matches!(bytes.get(at + 1), Some(b')' | b']')) || box_command(bytes, at).is_some() => {
                break;
            }
            _ => at += 1,
        }
    }
    at
}

/// Every `<answer>…</answer>` or `[answer]…[/answer]` from byte `from` on, in any case. An unclosed one ends at the next blank
/// line or the next tag: servers strip a stop sequence `</answer>` from the reply.
pub(super) fn tags(reply: &str, from: usize) -> Vec<Mark> {
    let bytes = reply.as_bytes();
    let mut marks = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for at in (from..bytes.len()).filter(|&at| matches!(bytes[at], b'<' | b'[')) {
        if let Some(after) = tag(bytes, at, b"answer") {
            if let Some((outer, inner)) = open.replace((at, after)) {
                marks.push(unclosed_tag(reply, outer, inner, at));
            }
        } else if let Some(after) = tag(bytes, at, b"/answer")
            && let Some((outer, inner)) = open.take()
        {
            marks.push(Mark { outer: outer..after, inner: inner..at, how: How::AnswerTag });
        }
    }
    if let Some((outer, inner)) = open {
        marks.push(unclosed_tag(reply, outer, inner, reply.len()));
    }
    marks
}

fn unclosed_tag(reply: &str, outer: usize, inner: usize, limit: usize) -> Mark {
    let text = &reply[inner..limit];
    let lead = text.len() - text.trim_start().len();
    let end = inner + text[lead..].find("\n\n").map_or(text.len(), |at| lead + at);
    Mark { outer: outer..end, inner: inner..end, how: How::Unclosed }
}

/// The offset after the tag `<name>` or `[name]` that starts at `at`.
fn tag(bytes: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let end = at + 1 + name.len();
    let matches = bytes.get(at + 1..end).is_some_and(|found| found.eq_ignore_ascii_case(name));
    let close = skip_blanks(bytes, end);
    let sign = if bytes[at] == b'<' { b'>' } else { b']' };
    (matches && bytes.get(close) == Some(&sign)).then_some(close + 1)
}

/// Every `#### x` from byte `from` on that is an answer and not a Markdown heading.
pub(super) fn hashes(reply: &str, from: usize) -> Vec<Mark> {
    let mut marks = Vec::new();
    // Few replies hold one: a search of all at once is cheaper than one for every line.
    if !reply[from..].contains("####") {
        return marks;
    }
    let visible_end = reply.trim_end().len();
    let mut line_start = from;
    for line in reply[from..].split_inclusive('\n') {
        if let Some(at) = line.find("####") {
            let text = line[at + 4..].trim();
            let own_mark = !line[at + 4..].starts_with('#') && line[..at].chars().next_back().is_none_or(char::is_whitespace);
            let is_last = line_start + line.len() >= visible_end;
            if own_mark && (is_last || starts_like_value(text)) {
                let inner = line_start + at + 4..line_start + line.len();
                marks.push(Mark { outer: line_start + at..inner.end, inner, how: How::Hashes });
            }
        }
        line_start += line.len();
    }
    marks
}

/// `42 apples` and `$3.50` start like a value; `Step 2` and the heading `2. Add them` do not.
fn starts_like_value(text: &str) -> bool {
    let numbered_heading =
        text.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(['.', ')', ':']).is_some_and(|rest| rest.starts_with(' '));
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '$' | '€' | '£' | '\\' | '.')) && !numbered_heading
}
