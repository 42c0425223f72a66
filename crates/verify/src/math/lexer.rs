//! Tokens of LaTeX and plain mathematical text.

use std::borrow::Cow;

use super::ast::{Const, Func, Rel};
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
    Num {
        text: Cow<'a, str>,
        repeat: &'a str,
        exp: i32,
        dots: bool,
    },
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
    /// `‖`, which opens or closes.
    Norm,
    Mid,
    /// `\sum`, `\prod`, `\int`, `\lim`.
    Big(&'static str),
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
    /// `t/RC` divides by the whole product of what is written together.
    pub(super) slash_binds: bool,
}

pub(super) struct Lexer<'a> {
    pub(super) src: &'a str,
    pub(super) at: usize,
    out: Vec<Token<'a>>,
    pub(super) space: bool,
    pub(super) depth: i32,
    pub(super) reading: Reading,
    pub(super) text_mode: bool,
    /// Style commands open around this place.
    pub(super) nesting: u32,
    /// What each open `\left` opened, for a `\right.` that closes nothing visible.
    pub(super) lefts: Vec<Option<Delim>>,
    /// The text has words: letter runs that stand alone are words too.
    prose: bool,
    budget: usize,
}

/// Splits a cleaned answer into tokens.
pub(super) fn lex(src: &str, reading: Reading) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer {
        src,
        at: 0,
        out: Vec::with_capacity(src.len() / 2 + 4),
        space: false,
        depth: 0,
        reading,
        text_mode: false,
        nesting: 0,
        lefts: Vec::new(),
        prose: names::is_prose(src),
        budget: 40_000,
    };
    lexer.run(src.len())?;
    Ok(lexer.out)
}

impl<'a> Lexer<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.src[self.at..]
    }

    pub(super) fn byte(&self, offset: usize) -> u8 {
        self.src.as_bytes().get(self.at + offset).copied().unwrap_or(0)
    }

    pub(super) fn push(&mut self, tok: Tok<'a>) {
        let space = std::mem::take(&mut self.space);
        self.out.push(Token { tok, space });
    }

    pub(super) fn run(&mut self, end: usize) -> Result<(), ParseError> {
        while self.at < end {
            self.budget = self.budget.checked_sub(1).ok_or_else(|| ParseError::Opaque("too many tokens".into()))?;
            let Some(c) = self.rest().chars().next() else { break };
            match c {
                c if c.is_whitespace() || c == '~' => {
                    self.space = true;
                    self.at += c.len_utf8();
                }
                '0'..='9' => self.number(),
                '.' if self.byte(1).is_ascii_digit() => self.number(),
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
            (_, "||") if self.is_norm() => (Tok::Norm, 2),
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

    /// Whether `||` is the sign of a norm rather than two bars, as in `|a||b|`: it closes one that is open, or opens one that closes.
    fn is_norm(&self) -> bool {
        let after_operand = matches!(
            self.out.last().map(|t| &t.tok),
            Some(Tok::Num { .. } | Tok::Name(_) | Tok::Const(_) | Tok::Close(_) | Tok::End(_) | Tok::Bar | Tok::Op('!') | Tok::Percent)
        );
        let open = self.out.iter().filter(|t| t.tok == Tok::Norm).count() % 2 == 1;
        if after_operand { open } else { self.rest()[2..].contains("||") }
    }

    fn letters(&mut self, end: usize) {
        // `x或y`: the scripts of Latin letters and of Chinese divide words.
        let chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
        let first = self.rest().chars().next().is_some_and(chinese);
        let run_len: usize =
            self.src[self.at..end].chars().take_while(|c| c.is_alphabetic() && chinese(*c) == first).map(char::len_utf8).sum();
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
            if i > 0
                && let Some(tok) = names::function(&run[i..])
            {
                self.at += run_len;
                self.push(tok);
                return;
            }
            self.push(names::letter(c, &run[i..i + c.len_utf8()]));
        }
        self.at += run_len;
    }
}
