//! Tokens of LaTeX and plain mathematical text.

use std::borrow::Cow;

use super::ast::{Const, Func, Rel};
use super::clean::closing_brace;
use super::names;

/// Kinds of brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delim {
    Paren,
    Bracket,
    /// `{…}`: a group of LaTeX, or a set in plain text.
    Brace,
    /// `\{…\}`.
    SetBrace,
    Angle,
    Floor,
    Ceil,
    Abs,
}

/// One token; names borrow from the cleaned text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok<'a> {
    /// A numeral: digits (with a point), the repeating digits, a power of ten.
    Num { text: Cow<'a, str>, repeat: &'a str, exp: i32, dots: bool },
    /// A variable.
    Name(Cow<'a, str>),
    /// A word of text; `true` when it stood inside `\text{…}` or the like.
    Word(&'a str, bool),
    Func(Func),
    Const(Const),
    /// `+ - * / ^ _ ! , ; : & '` and `\backslash`-free signs.
    Op(char),
    Rel(Rel),
    PlusMinus(bool),
    Open(Delim),
    Close(Delim),
    /// `|`, which may open, close or divide.
    Bar,
    Mid,
    Frac,
    Sqrt,
    Binom,
    Percent,
    Degree,
    Begin(&'a str),
    End(&'a str),
    RowBreak,
    Union,
    Inter,
    SetMinus,
    And,
    Or,
    Over,
    Choose,
    Mod,
    Currency(&'static str),
    /// Hours, minutes, and afternoon or not.
    Clock(u32, u32, Option<bool>),
}

/// A token and whether space stood before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) tok: Tok<'a>,
    pub(super) space: bool,
}

/// Why a text is not mathematics to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ParseError {
    /// Broken: a brace or environment that never closes.
    Malformed(String),
    /// Well formed, but not understood.
    Opaque(String),
}

/// How the lexer reads what is ambiguous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// `1,234` outside brackets is two entries, not a thousand and more.
    pub(super) comma_splits: bool,
    /// `3,5` is three and a half.
    pub(super) decimal_comma: bool,
}

struct Lexer<'a> {
    src: &'a str,
    at: usize,
    out: Vec<Token<'a>>,
    space: bool,
    depth: i32,
    reading: Reading,
    text_mode: bool,
    /// What each open `\left` opened, for a `\right.` that closes nothing visible.
    lefts: Vec<Option<Delim>>,
    /// The text has words: letter runs that stand alone are words too.
    prose: bool,
    budget: usize,
}

/// What follows spaces, plain or LaTeX.
fn after_space(mut s: &str) -> &str {
    while let Some(rest) = [" ", "~", "\\ ", "\\,", "\\;", "\\!", "\\:"].iter().find_map(|p| s.strip_prefix(p)) {
        s = rest;
    }
    s
}

/// `1.234.567` or `1.234,56`: points group the digits, a comma is the decimal sign. The numeral and its length.
fn european(s: &str) -> Option<(String, usize)> {
    let digits = |at: usize| s.as_bytes().get(at..).map_or(0, |r| r.iter().take_while(|b| b.is_ascii_digit()).count());
    let first = digits(0);
    if !(1..=3).contains(&first) {
        return None;
    }
    let (mut at, mut text, mut groups) = (first, s[..first].to_owned(), 0);
    while s[at..].starts_with('.') && digits(at + 1) == 3 {
        text.push_str(&s[at + 1..at + 4]);
        at += 4;
        groups += 1;
    }
    let decimals = if groups > 0 && s[at..].starts_with(',') { digits(at + 1) } else { 0 };
    if groups < 2 && !(groups == 1 && (1..=2).contains(&decimals)) || s[at..].starts_with('.') && digits(at + 1) > 0 {
        return None;
    }
    if decimals > 0 {
        text.push('.');
        text.push_str(&s[at + 1..at + 1 + decimals]);
        at += 1 + decimals;
    }
    Some((text, at))
}

/// Splits a cleaned answer into tokens.
pub(super) fn lex(src: &str, reading: Reading) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer =
        Lexer { src, at: 0, out: Vec::with_capacity(src.len() / 2 + 4), space: false, depth: 0, reading, text_mode: false, lefts: Vec::new(), prose: names::is_prose(src), budget: 40_000 };
    lexer.run(src.len())?;
    Ok(lexer.out)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.src[self.at..]
    }

    fn byte(&self, offset: usize) -> u8 {
        self.src.as_bytes().get(self.at + offset).copied().unwrap_or(0)
    }

    fn push(&mut self, tok: Tok<'a>) {
        let space = std::mem::take(&mut self.space);
        self.out.push(Token { tok, space });
    }

    fn run(&mut self, end: usize) -> Result<(), ParseError> {
        while self.at < end {
            self.budget = self.budget.checked_sub(1).ok_or_else(|| ParseError::Opaque("too many tokens".into()))?;
            let Some(c) = self.rest().chars().next() else { break };
            match c {
                c if c.is_whitespace() || c == '~' => {
                    self.space = true;
                    self.at += c.len_utf8();
                }
                '0'..='9' => self.number(end),
                '.' if self.byte(1).is_ascii_digit() => self.number(end),
                '.' if self.rest().starts_with("...") => {
                    self.at += 3;
                    self.push(Tok::Name("…".into()));
                }
                '\\' => self.command(end)?,
                c if c.is_alphabetic() => self.letters(end),
                _ => self.sign(c)?,
            }
        }
        Ok(())
    }

    fn sign(&mut self, c: char) -> Result<(), ParseError> {
        let two = self.rest().get(..2).unwrap_or("");
        let (tok, len) = match (c, two) {
            (_, "<=" | "=<") => (Tok::Rel(Rel::Le), 2),
            (_, ">=" | "=>") => (Tok::Rel(Rel::Ge), 2),
            (_, "!=") => (Tok::Rel(Rel::Ne), 2),
            (_, "==") => (Tok::Rel(Rel::Eq), 2),
            (_, "+-") => (Tok::PlusMinus(true), 2),
            (_, "||") => (Tok::Name("‖".into()), 2),
            ('=', _) => (Tok::Rel(Rel::Eq), 1),
            ('<', _) => (Tok::Rel(Rel::Lt), 1),
            ('>', _) => (Tok::Rel(Rel::Gt), 1),
            ('(', _) => (Tok::Open(Delim::Paren), 1),
            (')', _) => (Tok::Close(Delim::Paren), 1),
            ('[', _) => (Tok::Open(Delim::Bracket), 1),
            (']', _) => (Tok::Close(Delim::Bracket), 1),
            ('{', _) => (Tok::Open(Delim::Brace), 1),
            ('}', _) => (Tok::Close(Delim::Brace), 1),
            ('|', _) => (Tok::Bar, 1),
            ('%', _) => (Tok::Percent, 1),
            ('&', _) => (Tok::Op('&'), 1),
            ('€', _) => (Tok::Currency("eur"), c.len_utf8()),
            ('£', _) => (Tok::Currency("gbp"), c.len_utf8()),
            ('¥', _) => (Tok::Currency("jpy"), c.len_utf8()),
            ('₹', _) => (Tok::Currency("inr"), c.len_utf8()),
            ('+' | '-' | '*' | '/' | '^' | '_' | '!' | ',' | ';' | ':' | '\'', _) => (Tok::Op(c), 1),
            // A full stop between words or at the end carries nothing.
            ('.' | '?' | '"', _) => {
                self.at += 1;
                self.space = true;
                return Ok(());
            }
            _ => return Err(ParseError::Opaque(format!("unknown sign `{c}`"))),
        };
        match tok {
            Tok::Open(_) => self.depth += 1,
            Tok::Close(_) => self.depth -= 1,
            _ => {}
        }
        self.at += len;
        self.push(tok);
        Ok(())
    }

    /// The length of a separator of thousands at `at`, when a group of exactly three digits follows it.
    fn thousands(&self, at: usize) -> Option<usize> {
        let rest = self.src.get(at..)?;
        let comma = !self.reading.comma_splits && !self.reading.decimal_comma && self.depth <= 0;
        let sep = ["{,}", "\\,", "\\!,", "\\ ", "{ }", "'"].iter().find(|s| rest.starts_with(**s)).map(|s| s.len()).or_else(|| {
            (rest.starts_with(' ') || (comma && rest.starts_with(',')) || (comma && rest.starts_with(",\\!"))).then(|| {
                if rest.starts_with(",\\!") { 3 } else { 1 }
            })
        })?;
        let digits = rest[sep..].bytes().take_while(u8::is_ascii_digit).count();
        (digits == 3).then_some(sep)
    }

    fn digits(&mut self) -> &'a str {
        let start = self.at;
        while self.byte(0).is_ascii_digit() {
            self.at += 1;
        }
        &self.src[start..self.at]
    }

    fn number(&mut self, end: usize) {
        if let Some(clock) = self.clock() {
            self.push(clock);
            return;
        }
        if let Some((text, len)) = european(self.rest()) {
            self.at += len;
            self.push(Tok::Num { text: Cow::Owned(text), repeat: "", exp: 0, dots: false });
            return;
        }
        let first = self.digits();
        let mut text = Cow::Borrowed(first);
        if (1..=3).contains(&first.len()) && !first.starts_with('0') {
            while let Some(sep) = self.thousands(self.at) {
                self.at += sep;
                let group = self.digits();
                text.to_mut().push_str(group);
            }
        }
        let comma = self.reading.decimal_comma && self.byte(0) == b',';
        if (self.byte(0) == b'.' || comma) && (self.byte(1).is_ascii_digit() || self.repeat_ahead(1)) {
            self.at += 1;
            let frac = self.digits();
            let text = text.to_mut();
            text.push('.');
            text.push_str(frac);
        }
        let repeat = if text.contains('.') { self.repeating() } else { "" };
        let exp = self.exponent();
        let dots = text.contains('.') && repeat.is_empty() && self.ellipsis();
        debug_assert!(self.at <= end || end == self.src.len());
        self.push(Tok::Num { text, repeat, exp, dots });
    }

    fn repeat_ahead(&self, offset: usize) -> bool {
        self.src.get(self.at + offset..).is_some_and(|r| r.starts_with("\\overline") || (r.starts_with('(') && r.find(')').is_some_and(|i| i > 1 && r[1..i].bytes().all(|b| b.is_ascii_digit()))) || r.starts_with("\\bar") || r.starts_with("\\dot{"))
    }

    /// `\overline{27}`, `\bar{3}`, `\dot{3}` or `(27)` after decimals.
    fn repeating(&mut self) -> &'a str {
        let rest = self.rest();
        for open in ["\\overline{", "\\bar{", "\\dot{", "\\overline", "\\bar ", "("] {
            let Some(inner) = rest.strip_prefix(open) else { continue };
            let len = inner.bytes().take_while(u8::is_ascii_digit).count();
            let close = match open {
                "(" => ")",
                o if o.ends_with('{') => "}",
                _ => "",
            };
            if len > 0 && inner[len..].starts_with(close) {
                self.at += open.len() + len + close.len();
                return &inner[..len];
            }
        }
        ""
    }

    fn ellipsis(&mut self) -> bool {
        for dots in ["...", "\\ldots", "\\dots", "\\cdots"] {
            if self.rest().starts_with(dots) {
                self.at += dots.len();
                return true;
            }
        }
        false
    }

    /// `e-9` or `E23` directly after the digits.
    fn exponent(&mut self) -> i32 {
        let rest = self.rest();
        let Some(tail) = rest.strip_prefix(['e', 'E']) else { return 0 };
        let signed = tail.strip_prefix(['-', '+']).unwrap_or(tail);
        let len = signed.bytes().take_while(u8::is_ascii_digit).count();
        let next = signed.as_bytes().get(len).copied().unwrap_or(b' ');
        if len == 0 || len > 6 || next.is_ascii_alphabetic() {
            return 0;
        }
        let value: i32 = signed[..len].parse().unwrap_or(0);
        self.at += rest.len() - signed.len() + len;
        if tail.starts_with('-') { -value } else { value }
    }

    /// `4:35 p.m.`: only with the half of the day; without it `4:35` is a ratio, which compares as well.
    fn clock(&mut self) -> Option<Tok<'a>> {
        let rest = self.rest();
        let h = rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut len = h;
        let mut minutes = 0;
        if rest.as_bytes().get(h) == Some(&b':') && rest[h + 1..].bytes().take_while(u8::is_ascii_digit).count() == 2 {
            minutes = rest[h + 1..h + 3].parse().ok()?;
            len = h + 3;
        }
        let tail = after_space(&rest[len..]);
        let tail = ["\\text{", "\\textrm{", "\\mathrm{", "\\mbox{"].iter().find_map(|p| tail.strip_prefix(p)).map_or(tail, after_space);
        let lower: String = tail.chars().take(6).filter(|c| *c != '.').collect::<String>().to_ascii_lowercase();
        let pm = lower.starts_with("pm");
        if !(pm || lower.starts_with("am")) || lower.as_bytes().get(2).is_some_and(u8::is_ascii_alphabetic) || h > 2 {
            return None;
        }
        let hours: u32 = rest[..h].parse().ok()?;
        let half = 2 + if tail[1..].starts_with('.') { 1 } else { 0 };
        let mut used = rest.len() - tail.len() + half;
        while rest[used..].starts_with(['.', '}']) {
            used += 1;
        }
        self.at += used;
        (hours <= 12 && minutes < 60).then_some(Tok::Clock(hours % 12, minutes, Some(pm)))
    }

    fn letters(&mut self, end: usize) {
        let run_len: usize = self.src[self.at..end].chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
        let run = &self.src[self.at..self.at + run_len];
        let solo = self.src[..self.at].chars().next_back().is_none_or(|c| c.is_whitespace() || "({[,;.".contains(c))
            && self.src[self.at + run_len..].chars().next().is_none_or(|c| c.is_whitespace() || ")}],;.:?!".contains(c));
        if let Some(tok) = names::plain(run, self.text_mode, self.rest()) {
            self.at += run_len;
            self.push(tok);
            return;
        }
        let after_number = matches!(self.out.last().map(|t| &t.tok), Some(Tok::Num { .. } | Tok::Close(_) | Tok::Const(_)));
        if self.text_mode || names::is_word(run, solo, after_number) || (self.prose && solo && run.len() > 1) {
            self.at += run_len;
            self.push(Tok::Word(run, self.text_mode));
            return;
        }
        // `2sqrt3`, `xsin`: a known function at the end of the run.
        for (i, c) in run.char_indices() {
            if i > 0 && let Some(tok) = names::function(&run[i..]) {
                self.at += run_len;
                self.push(tok);
                return;
            }
            self.push(names::letter(c, &run[i..i + c.len_utf8()]));
        }
        self.at += run_len;
    }

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
        let outer = std::mem::replace(&mut self.text_mode, text_mode);
        self.at = from;
        self.run(to)?;
        self.at = after;
        self.text_mode = outer;
        Ok(())
    }

    fn raw_argument(&mut self, end: usize) -> Result<&'a str, ParseError> {
        let (from, to, after) = self.argument(end)?;
        self.at = after;
        Ok(self.src[from..to].trim())
    }

    fn command(&mut self, end: usize) -> Result<(), ParseError> {
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
            "text" | "textrm" | "textbf" | "textit" | "textsf" | "texttt" | "textnormal" | "mbox" | "hbox" | "mathrm" | "emph" | "rm" | "mathsf"
            | "mathtt" | "bf" | "it" => self.text_command(name, end),
            "operatorname" => {
                let arg = self.raw_argument(end)?;
                let tok = names::function(arg).unwrap_or(Tok::Name(Cow::Borrowed(arg)));
                self.push(tok);
                Ok(())
            }
            "mathbf" | "boldsymbol" | "bm" | "mathcal" | "mathit" | "vec" | "hat" | "overline" | "bar" | "overrightarrow" | "tilde" | "widehat"
            | "overset" | "dot" | "ddot" | "mathfrak" | "overleftrightarrow" | "overarc" | "wideparen" => self.decorated(name, end),
            "mathbb" | "Bbb" => {
                let arg = self.raw_argument(end)?;
                let tok = names::number_set(arg).map_or_else(|| Tok::Name(Cow::Borrowed(arg)), Tok::Const);
                self.push(tok);
                Ok(())
            }
            "left" | "right" | "middle" => {
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
        if matches!(name, "overline" | "bar") && content.contains(['+', '-']) {
            // The conjugate; the group follows as it stands.
            self.push(Tok::Func(Func::Conj));
            return Ok(());
        }
        let content = self.raw_argument(end)?;
        let vector = matches!(name, "mathbf" | "boldsymbol" | "bm" | "vec" | "hat" | "overrightarrow" | "widehat");
        let mark = if vector { "→" } else { name };
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
                if self.byte(0) == b'[' && let Some(close) = self.rest().find(']') {
                    self.at += close + 1;
                }
                self.push(Tok::RowBreak);
            }
            '|' => self.push(Tok::Name("‖".into())),
            '&' => self.push(Tok::And),
            '#' | '_' => self.push(Tok::Op('_')),
            _ => return Err(ParseError::Opaque(format!("unknown command `\\{c}`"))),
        }
        Ok(())
    }
}
