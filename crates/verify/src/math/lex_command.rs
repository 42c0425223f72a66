//! LaTeX commands: style, decorations, delimiters, environments, and the signs they name.

use std::borrow::Cow;

use super::ast::{Const, Func};
use super::clean::closing_brace;
use super::lexer::{Delim, Lexer, ParseError, Tok};
use super::names;

/// Style commands nested deeper than this are refused; it bounds the stack.
const MAX_NESTING: u32 = 40;

impl<'a> Lexer<'a> {
    /// The group or single character that a command at `at` applies to, as a range of the source.
    fn argument(&self, end: usize) -> Result<(usize, usize, usize), ParseError> {
        let skip = self.rest().len() - self.rest().trim_start().len();
        let start = self.at + skip;
        if self.src.as_bytes().get(start) == Some(&b'{') {
            let close = closing_brace(self.src, start).filter(|c| *c <= end);
            let close = close.ok_or_else(|| ParseError::Malformed("a brace that never closes".into()))?;
            return Ok((start + 1, close - 1, close));
        }
        let c = self.src[start..end].chars().next().ok_or_else(|| ParseError::Malformed("a command without its argument".into()))?;
        if c == '\\' {
            let len = 1 + self.src[start + 1..end].bytes().take_while(u8::is_ascii_alphabetic).count();
            return Ok((start, start + len, start + len));
        }
        Ok((start, start + c.len_utf8(), start + c.len_utf8()))
    }

    /// Lexes the argument of a style command in place.
    fn styled(&mut self, end: usize, text_mode: bool) -> Result<(), ParseError> {
        let (from, to, after) = self.argument(end)?;
        if self.nesting >= MAX_NESTING {
            return Err(ParseError::Opaque("style commands nested too deeply".into()));
        }
        self.nesting += 1;
        let outer = std::mem::replace(&mut self.text_mode, text_mode);
        self.at = from;
        self.run(to)?;
        self.nesting -= 1;
        // `\rm 9.5`: a numeral that begins in the argument may end behind it.
        self.at = self.at.max(after);
        self.text_mode = outer;
        Ok(())
    }

    fn raw_argument(&mut self, end: usize) -> Result<&'a str, ParseError> {
        let (from, to, after) = self.argument(end)?;
        self.at = after;
        Ok(self.src[from..to].trim())
    }

    pub(super) fn command(&mut self, end: usize) -> Result<(), ParseError> {
        let after = &self.src[self.at + 1..end];
        let len = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        if len == 0 {
            return self.control_sign(after);
        }
        let name = &after[..len];
        self.at += 1 + len;
        if self.byte(0) == b'*' {
            self.at += 1;
        }
        match name {
            "text" | "textrm" | "textbf" | "textit" | "textsf" | "texttt" | "textnormal" | "mbox" | "hbox" | "mathrm" | "emph" | "rm"
            | "mathsf" | "mathtt" | "bf" | "it" => self.text_command(name, end),
            "operatorname" => {
                let arg = self.raw_argument(end)?;
                let tok = names::function(arg).unwrap_or(Tok::Name(Cow::Borrowed(arg)));
                self.push(tok);
                Ok(())
            }
            "mathbf" | "boldsymbol" | "bm" | "mathcal" | "mathit" | "vec" | "hat" | "overline" | "bar" | "overrightarrow" | "tilde"
            | "widehat" | "overset" | "dot" | "ddot" | "mathfrak" | "overleftrightarrow" | "overarc" | "wideparen" => {
                self.decorated(name, end)
            }
            "mathbb" | "Bbb" => {
                let arg = self.raw_argument(end)?;
                let tok = names::number_set(arg).map_or_else(|| Tok::Name(Cow::Borrowed(arg)), Tok::Const);
                self.push(tok);
                Ok(())
            }
            "left" | "right" | "middle" => {
                self.sized_delimiter(name);
                Ok(())
            }
            "begin" | "end" => {
                let arg = self.raw_argument(end)?;
                if name == "begin" && arg.starts_with("array") {
                    self.raw_argument(end)?;
                }
                self.push(if name == "begin" { Tok::Begin(arg) } else { Tok::End(arg) });
                Ok(())
            }
            "phantom" | "hspace" | "vspace" | "label" | "tag" | "color" => {
                self.raw_argument(end)?;
                Ok(())
            }
            "boxed" | "fbox" | "underline" | "ensuremath" | "textcolor" => self.styled(end, false),
            _ => self.named_command(name),
        }
    }

    /// `\left`, `\middle` and `\right`: the delimiter follows as it stands, but bars are told apart.
    fn sized_delimiter(&mut self, name: &str) {
        self.space = false;
        let trimmed = self.rest().trim_start();
        self.at = self.src.len() - trimmed.len();
        let rest = self.rest();
        if name == "left" {
            let delim = [("\\{", Delim::SetBrace), ("\\lbrace", Delim::SetBrace), ("(", Delim::Paren), ("[", Delim::Bracket)];
            self.lefts.push(delim.iter().find(|(d, _)| rest.starts_with(d)).map(|(_, d)| *d));
        }
        let opened = if name == "right" { self.lefts.pop().flatten() } else { None };
        if self.byte(0) == b'.' {
            self.at += 1;
            if let Some(delim) = opened {
                self.push(Tok::Close(delim));
            }
        } else if self.byte(0) == b'|' {
            self.at += 1;
            self.push(match name {
                "left" => Tok::Open(Delim::Abs),
                "right" => Tok::Close(Delim::Abs),
                _ => Tok::Mid,
            });
        }
    }

    fn text_command(&mut self, name: &'a str, end: usize) -> Result<(), ParseError> {
        let (from, to, _) = self.argument(end)?;
        let content = self.src[from..to].trim();
        self.space |= self.src[from..to].starts_with([' ', '~']);
        // Upright single letters are the constants or plain variables, not words.
        if name.starts_with("math") && content.len() == 1 && matches!(content, "e" | "i") {
            self.raw_argument(end)?;
            self.push(Tok::Const(if content == "e" { Const::E } else { Const::I }));
            return Ok(());
        }
        // `\mathrm{d}x`.
        if name.starts_with("math") && content == "d" {
            self.raw_argument(end)?;
            self.push(Tok::Name(Cow::Borrowed("d")));
            return Ok(());
        }
        self.styled(end, true)
    }

    fn decorated(&mut self, name: &'a str, end: usize) -> Result<(), ParseError> {
        let (from, to, _) = self.argument(end)?;
        let content = self.src[from..to].trim();
        let style_only = matches!(name, "mathbf" | "boldsymbol" | "bm" | "mathcal" | "mathit" | "mathfrak");
        if style_only && content.chars().count() != 1 && !content.starts_with('\\') {
            return self.styled(end, false);
        }
        if style_only && content.chars().next().is_some_and(|c| c.is_ascii_digit()) || name == "mathit" {
            return self.styled(end, false);
        }
        // A segment is named by its ends.
        if name == "overline" && content.len() >= 2 && content.bytes().all(|b| b.is_ascii_uppercase()) {
            return self.styled(end, false);
        }
        if matches!(name, "overline" | "bar") && content.contains(['+', '-']) {
            // The conjugate; the group follows as it stands.
            self.push(Tok::Func(Func::Conj));
            return Ok(());
        }
        let content = self.raw_argument(end)?;
        // `\dot{x}` is `x'`.
        if let "dot" | "ddot" = name
            && content.len() == 1
        {
            self.push(Tok::Name(Cow::Owned(format!("{content}{}", if name == "dot" { "'" } else { "''" }))));
            return Ok(());
        }
        let vector = matches!(name, "mathbf" | "boldsymbol" | "bm" | "vec" | "hat" | "overrightarrow" | "widehat");
        let mark = match name {
            _ if vector => "→",
            "overline" => "bar",
            _ => name,
        };
        self.push(Tok::Name(Cow::Owned(format!("{mark}{}", content.trim_start_matches('\\')))));
        Ok(())
    }

    fn named_command(&mut self, name: &'a str) -> Result<(), ParseError> {
        if names::is_spacing(name) {
            self.space = true;
            return Ok(());
        }
        let tok = names::command(name).ok_or_else(|| ParseError::Opaque(format!("unknown command `\\{name}`")))?;
        match tok {
            Tok::Open(_) => self.depth += 1,
            Tok::Close(_) => self.depth -= 1,
            _ => {}
        }
        self.push(tok);
        Ok(())
    }

    fn control_sign(&mut self, after: &'a str) -> Result<(), ParseError> {
        let c = after.chars().next().unwrap_or(' ');
        self.at += 1 + after.chars().next().map_or(0, char::len_utf8);
        match c {
            ',' | ';' | ':' | '!' | ' ' | '\n' | '/' => self.space = true,
            '{' => {
                self.depth += 1;
                self.push(Tok::Open(Delim::SetBrace));
            }
            '}' => {
                self.depth -= 1;
                self.push(Tok::Close(Delim::SetBrace));
            }
            '%' => self.push(Tok::Percent),
            '\\' => {
                if self.byte(0) == b'['
                    && let Some(close) = self.rest().find(']')
                {
                    self.at += close + 1;
                }
                self.push(Tok::RowBreak);
            }
            '|' => self.push(Tok::Norm),
            '&' => self.push(Tok::And),
            '#' | '_' => self.push(Tok::Op('_')),
            _ => return Err(ParseError::Opaque(format!("unknown command `\\{c}`"))),
        }
        Ok(())
    }
}
