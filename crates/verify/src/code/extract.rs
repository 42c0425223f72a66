//! Finding the program in a reply.

use super::Language;
use crate::extract::end_of_thinking;

/// A program found in a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its text.
    pub source: String,
    /// The language that its fence names, or that its text shows.
    pub language: Option<Language>,
}

/// A fenced block.
struct Block {
    tag: String,
    source: String,
}

/// The program of a reply: after the thinking, the last fenced block of the language that defines `name`, else the last one
/// of the language, else the last without a tag; a reply without fences is the program itself if it looks like one.
///
/// `None` where there is no program; a reply that never stops thinking has none.
pub fn program(reply: &str, wanted: Option<Language>, name: Option<&str>) -> Option<Program> {
    let visible = answer_section(&reply[end_of_thinking(reply)?..]);
    let blocks = blocks(visible);
    if blocks.is_empty() {
        let bare = visible.trim_matches(['\n', '\r']);
        let language = wanted.or_else(|| look(bare));
        return looks_like_code(bare).then(|| Program { source: bare.to_owned(), language });
    }
    let language = |block: &Block| Language::of_tag(&block.tag);
    let right = |block: &&Block| match wanted {
        Some(wanted) => language(block) == Some(wanted),
        None => language(block).is_some(),
    };
    let bare = |block: &&Block| block.tag.is_empty() && looks_like_code(&block.source);
    let defines = |block: &&Block| name.is_some_and(|name| defines(&block.source, name));
    let found = blocks
        .iter()
        .rfind(|b| right(b) && defines(b))
        .or_else(|| blocks.iter().rfind(|b| bare(b) && defines(b)))
        .or_else(|| blocks.iter().rfind(right))
        .or_else(|| blocks.iter().rfind(bare))?;
    Some(Program { source: found.source.clone(), language: language(found).or_else(|| wanted.or_else(|| look(&found.source))) })
}

/// Whether a program's text defines a function or class called `name`.
pub(super) fn defines(source: &str, name: &str) -> bool {
    const BEFORE: [&str; 6] = ["def ", "class ", "function ", "const ", "let ", "var "];
    source.match_indices(name).any(|(at, _)| {
        let (before, after) = (&source[..at], &source[at + name.len()..]);
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        whole && (BEFORE.iter().any(|word| before.ends_with(word)) || before.ends_with("function* ") || method(before, after))
    })
}

/// `name(…) {` at the start of a line, as methods of JavaScript classes are written.
fn method(before: &str, after: &str) -> bool {
    let line = after.lines().next().unwrap_or("");
    before.rsplit('\n').next().is_some_and(|lead| lead.trim().is_empty()) && line.starts_with('(') && line.trim_end().ends_with('{')
}

/// The last answer section, if the reply has sections and there is code in it.
fn answer_section(reply: &str) -> &str {
    for (open, close) in [("<answer>", "</answer>"), ("<|begin_of_solution|>", "<|end_of_solution|>")] {
        if let Some(at) = reply.rfind(open) {
            let inside = &reply[at + open.len()..];
            let inside = inside.find(close).map_or(inside, |end| &inside[..end]);
            if inside.contains("```") || looks_like_code(inside) {
                return inside;
            }
        }
    }
    reply
}

/// The fenced blocks of Markdown text. One that is never closed ends with the text.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, Block)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        match &mut open {
            None => {
                if let Some(mark) = fence(trimmed) {
                    let info = trimmed[mark.len()..].trim();
                    // A fence that holds a back-tick on its own line is code within a sentence.
                    if !info.contains('`') {
                        let tag = info.split([' ', ',', '{', ':']).next().unwrap_or("").to_owned();
                        open = Some((mark, indent, Block { tag, source: String::new() }));
                    }
                }
            }
            Some((mark, _, _))
                if trimmed.starts_with(mark.as_str()) && trimmed.trim_end().trim_start_matches(mark.as_bytes()[0] as char).is_empty() =>
            {
                blocks.extend(open.take().map(|(_, _, block)| block));
            }
            Some((_, indent, block)) => {
                // A fence inside a list is indented, and its code with it.
                let lead = line.chars().take(*indent).take_while(|c| c.is_whitespace()).map(char::len_utf8).sum::<usize>();
                block.source.push_str(&line[lead..]);
                block.source.push('\n');
            }
        }
    }
    blocks.extend(open.map(|(_, _, block)| block));
    blocks
}

fn fence(line: &str) -> Option<String> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    (length >= 3).then(|| mark.to_string().repeat(length))
}

/// Whether text that stands in no fence reads like a program.
fn looks_like_code(text: &str) -> bool {
    const STARTS: [&str; 22] = [
        "def ",
        "import ",
        "from ",
        "class ",
        "print(",
        "for ",
        "while ",
        "if ",
        "return ",
        "return\n",
        "#include",
        "int main",
        "using namespace",
        "function ",
        "const ",
        "let ",
        "var ",
        "@",
        "async ",
        "try:",
        "with ",
        "lambda ",
    ];
    text.lines().any(|line| {
        let line = line.trim_start();
        STARTS.iter().any(|start| line.starts_with(start)) && !prose(line) || line.contains(" = ") && !prose(line)
    })
}

/// `If we add them, …` is prose, and so is a line that ends like a sentence.
fn prose(line: &str) -> bool {
    let words = line.split_whitespace().count();
    words > 3 && line.ends_with(['.', '!', '?']) || words > 12 && !line.contains(['(', '=', '[', ':', '{', ';'])
}

fn look(source: &str) -> Option<Language> {
    let has = |words: &[&str]| words.iter().any(|word| source.contains(word));
    if has(&["#include", "using namespace std", "int main("]) {
        Some(Language::Cpp)
    } else if has(&["def ", "import ", "print("]) {
        Some(Language::Python)
    } else if has(&["function ", "const ", "let ", "=>", "console.log"]) {
        Some(Language::JavaScript)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(reply: &str, name: Option<&str>) -> Option<String> {
        program(reply, Some(Language::Python), name).map(|p| p.source)
    }

    #[test]
    fn the_last_block_of_the_language_counts() {
        let reply = "First:\n```python\nx = 1\n```\nThen\n```py\nx = 2\n```\nrun it:\n```bash\npython x.py\n```\n";
        assert_eq!(source(reply, None).as_deref(), Some("x = 2\n"));
        assert_eq!(program(reply, Some(Language::Cpp), None), None);
        let example = "```python\ndef f(x):\n    return x\n```\nExample:\n```python\nprint(f(1))\n```";
        assert_eq!(source(example, Some("f")).as_deref(), Some("def f(x):\n    return x\n"));
        assert_eq!(source(example, Some("g")).as_deref(), Some("print(f(1))\n"));
    }

    #[test]
    fn thoughts_and_sections() {
        let thinking = "<think>\n```python\nwrong = 1\n```\n</think>\nHere:\n```\ndef f():\n    pass\n```";
        assert_eq!(source(thinking, None).as_deref(), Some("def f():\n    pass\n"));
        assert_eq!(source("<think>\n```python\nx = 1\n```\n", None), None, "cut while thinking");
        let sections = "```python\nx = 1\n```\n<answer>\n```python\nx = 2\n```\n</answer>";
        assert_eq!(source(sections, None).as_deref(), Some("x = 2\n"));
    }

    #[test]
    fn odd_fences() {
        assert_eq!(source("1. Do\n   ```python\n   if x:\n       y = 1\n   ```", None).as_deref(), Some("if x:\n    y = 1\n"));
        assert_eq!(source("```python\nx = 1\ny = 2", None).as_deref(), Some("x = 1\ny = 2\n"), "cut off");
        assert_eq!(source("~~~~python\ns = '''\n~~~\n'''\n~~~~", None).as_deref(), Some("s = '''\n~~~\n'''\n"));
        assert_eq!(source("```Python\r\nx = 1\r\n```", None).as_deref(), Some("x = 1\n"));
        assert_eq!(source("```python title=\"a.py\"\nx = 1\n```", None).as_deref(), Some("x = 1\n"));
    }

    #[test]
    fn without_fences() {
        assert_eq!(source("    balance = 0\n    return balance\n", None).as_deref(), Some("    balance = 0\n    return balance"));
        assert_eq!(source("I cannot solve this problem.", None), None);
        assert_eq!(source("If we add all of the numbers together we get the sum that was asked for.", None), None);
        let cpp = program("#include <cstdio>\nint main() { puts(\"1\"); }", None, None);
        assert_eq!(cpp.and_then(|p| p.language), Some(Language::Cpp));
    }
}
