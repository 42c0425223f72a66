//! Numerals and clock times in the text, with every way to group their digits.

use std::borrow::Cow;

use super::lexer::{Lexer, Tok};

impl<'a> Lexer<'a> {
    /// The length of a separator of thousands at `at`, when a group of exactly three digits follows it.
    ///
    /// A comma, braced, styled or with a negative space beside it (`,\! `, as TeX sets digits), an apostrophe, an underscore, or
    /// space alone. A comma with ordinary space after it divides a list.
    fn thousands(&self, at: usize) -> Option<usize> {
        const COMMAS: [&str; 3] = ["{,}", "\\text{,}", "\\!,"];
        let rest = self.src.get(at..)?;
        let plain_comma = !self.reading.comma_splits && !self.reading.decimal_comma && self.depth <= 0;
        let after = if let Some(after) = COMMAS.iter().find_map(|comma| rest.strip_prefix(comma)) {
            after_space(after)
        } else if let Some(after) = rest.strip_prefix(',').filter(|_| plain_comma) {
            if after_space(after).len() < after.len() && !after.trim_start().starts_with("\\!") { return None } else { after_space(after) }
        } else if let Some(after) = rest.strip_prefix(['\'', '_']) {
            after
        } else {
            ["{ }", "\\,", "\\ ", " ", "~"].iter().find_map(|space| rest.strip_prefix(space))?
        };
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        (digits == 3).then_some(rest.len() - after.len())
    }

    fn digits(&mut self) -> &'a str {
        let start = self.at;
        while self.byte(0).is_ascii_digit() {
            self.at += 1;
        }
        &self.src[start..self.at]
    }

    pub(super) fn number(&mut self) {
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
        self.push(Tok::Num { text, repeat, exp, dots });
    }

    fn repeat_ahead(&self, offset: usize) -> bool {
        self.src.get(self.at + offset..).is_some_and(|r| {
            r.starts_with("\\overline")
                || (r.starts_with('(') && r.find(')').is_some_and(|i| i > 1 && r[1..i].bytes().all(|b| b.is_ascii_digit())))
                || r.starts_with("\\bar")
                || r.starts_with("\\dot{")
        })
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
