//! Precedence climbing from tokens to [`Expr`]; leftovers are an error, never dropped.

use super::ast::{Const, Expr, Func, Rel};
use super::lexer::{Delim, ParseError, Reading, Tok, Token, lex};
use super::numeral::number;
use super::units::Unit;

/// Quotients, signs and scripts that chain without brackets nest the tree too; more than this are refused.
const MAX_LINKS: u32 = 300;
/// The variable of a relation without a left side, `≥ 3`.
pub(super) const UNNAMED: &str = "·";
/// Brackets and scripts nested deeper than this are refused; it bounds the stack.
const MAX_DEPTH: u32 = 60;

pub(super) struct Parser<'a> {
    pub(super) toks: Vec<Token<'a>>,
    pub(super) at: usize,
    depth: u32,
    bars: u32,
    /// How many norms are open: inside one, `‖` closes.
    pub(super) norms: u32,
    links: u32,
    /// How many integrals are open: inside one, `dx` ends an argument without brackets.
    pub(super) integrals: u32,
    /// Inside `]a, b[`, where `[` closes.
    pub(super) reversed: bool,
    slash_binds: bool,
}

pub(super) type Parsed = Result<Expr, ParseError>;

pub(super) fn opaque<T>(why: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::Opaque(why.into()))
}

/// Parses a cleaned answer completely.
pub(super) fn parse(cleaned: &str, reading: Reading) -> Parsed {
    let toks = lex(cleaned, reading)?;
    if toks.is_empty() {
        return opaque("nothing to read");
    }
    let mut parser =
        Parser { toks, at: 0, depth: 0, bars: 0, norms: 0, links: 0, integrals: 0, reversed: false, slash_binds: reading.slash_binds };
    if matches!(parser.peek(), Some(Tok::Rel(Rel::Eq | Rel::Approx))) {
        parser.at += 1;
    }
    let mut expr = parser.list()?;
    // `1 \over 2` without braces.
    if parser.eat(&Tok::Over) {
        expr = expr.over(parser.list()?);
    } else if parser.eat(&Tok::Choose) {
        expr = Expr::Call(Func::Binom, vec![expr, parser.list()?]);
    }
    match parser.peek() {
        None => Ok(expr),
        Some(Tok::Close(_) | Tok::End(_)) => Err(ParseError::Malformed("a bracket that never opened".into())),
        Some(_) => opaque("text left over after the answer"),
    }
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<&Tok<'a>> {
        self.toks.get(self.at).map(|t| &t.tok)
    }

    pub(super) fn peek_at(&self, offset: usize) -> Option<&Tok<'a>> {
        self.toks.get(self.at + offset).map(|t| &t.tok)
    }

    pub(super) fn space_before(&self) -> bool {
        self.toks.get(self.at).is_some_and(|t| t.space)
    }

    pub(super) fn eat(&mut self, tok: &Tok<'_>) -> bool {
        let hit = self.peek() == Some(tok);
        self.at += usize::from(hit);
        hit
    }

    pub(super) fn expect_close(&mut self, delim: Delim) -> Result<(), ParseError> {
        if self.eat(&Tok::Close(delim)) {
            return Ok(());
        }
        match self.peek() {
            None => Err(ParseError::Malformed("a bracket that never closes".into())),
            Some(_) => opaque("a bracket closes in the wrong place"),
        }
    }

    /// Runs `f` one level deeper, or refuses.
    pub(super) fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return opaque("nested too deeply");
        }
        self.depth += 1;
        let out = f(self);
        self.depth -= 1;
        out
    }

    /// Counts a link of a chain that deepens the tree.
    pub(super) fn link(&mut self) -> Result<(), ParseError> {
        self.links += 1;
        if self.links > MAX_LINKS { opaque("too many operations in a chain") } else { Ok(()) }
    }

    /// Parts joined by commas, semicolons, line breaks, `and`, `or`.
    pub(super) fn list(&mut self) -> Parsed {
        self.deeper(|p| {
            let mut items = vec![p.relation()?];
            let mut or = false;
            loop {
                let (mut separated, mut broken) = (false, false);
                while let Some(Tok::Op(',' | ';' | '&') | Tok::And | Tok::Or | Tok::RowBreak) = p.peek() {
                    or |= p.peek() == Some(&Tok::Or);
                    separated = true;
                    broken = p.peek() == Some(&Tok::RowBreak);
                    p.at += 1;
                }
                // `x = 2 + 3 \\\\ = 5`: the chain goes on in the next line.
                if broken
                    && matches!(p.peek(), Some(Tok::Rel(Rel::Eq | Rel::Approx)))
                    && let Some(before) = items.pop()
                {
                    items.push(p.chain(before)?);
                    continue;
                }
                if !separated || matches!(p.peek(), None | Some(Tok::Close(_) | Tok::End(_))) {
                    break;
                }
                items.push(p.relation()?);
            }
            if items.len() == 1 {
                return items.pop().ok_or_else(|| ParseError::Opaque("nothing to read".into()));
            }
            let relations = items.iter().any(|i| matches!(i, Expr::Relation(..)));
            Ok(if or && relations { Expr::Union(items) } else { Expr::List(items) })
        })
    }

    /// `a < b ≤ c`, or a single side.
    fn relation(&mut self) -> Parsed {
        let leading = matches!(self.peek(), Some(Tok::Rel(rel)) if rel.is_order() || *rel == Rel::Ne);
        let mut sides = vec![if leading { Expr::Var(UNNAMED.into()) } else { self.set_operation()? }];
        let mut rels = Vec::new();
        while let Some(Tok::Rel(rel)) = self.peek() {
            let mut rel = *rel;
            self.at += 1;
            // `\not=`.
            if rel == Rel::Ne && self.peek() == Some(&Tok::Rel(Rel::Eq)) {
                self.at += 1;
            }
            if rel == Rel::Approx && matches!(self.peek(), Some(Tok::Rel(Rel::Eq))) {
                self.at += 1;
                rel = Rel::Eq;
            }
            rels.push(rel);
            sides.push(self.set_operation()?);
        }
        match (rels.is_empty(), sides.pop()) {
            (true, Some(only)) => Ok(only),
            (false, Some(last)) => {
                sides.push(last);
                Ok(Expr::Relation(sides, rels))
            }
            (_, None) => opaque("a relation without sides"),
        }
    }

    fn set_operation(&mut self) -> Parsed {
        let mut left = self.ratio()?;
        loop {
            if matches!(self.peek(), Some(Tok::Union | Tok::Inter | Tok::SetMinus)) {
                self.link()?;
            }
            left = match self.peek() {
                Some(Tok::Union) => {
                    self.at += 1;
                    let right = self.ratio()?;
                    match left {
                        Expr::Union(mut v) => {
                            v.push(right);
                            Expr::Union(v)
                        }
                        other => Expr::Union(vec![other, right]),
                    }
                }
                Some(Tok::Inter) => {
                    self.at += 1;
                    Expr::Intersection(vec![left, self.ratio()?])
                }
                Some(Tok::SetMinus) => {
                    self.at += 1;
                    Expr::Difference(Box::new(left), Box::new(self.ratio()?))
                }
                _ => return Ok(left),
            };
        }
    }

    fn ratio(&mut self) -> Parsed {
        let first = self.modulus()?;
        if matches!(first, Expr::Text(_)) && self.eat(&Tok::Op(':')) {
            // `Width: 5` names what follows.
            return Ok(Expr::Relation(vec![first, self.modulus()?], vec![Rel::Eq]));
        }
        let mut parts = vec![first];
        while self.eat(&Tok::Op(':')) || self.eat(&Tok::Word("to", false)) || self.eat(&Tok::Word("to", true)) {
            parts.push(self.modulus()?);
        }
        Ok(collapse(parts, Expr::Ratio))
    }

    fn modulus(&mut self) -> Parsed {
        let value = self.sum()?;
        let opened = self.peek() == Some(&Tok::Open(Delim::Paren)) && self.peek_at(1) == Some(&Tok::Mod);
        if opened {
            self.at += 1;
        }
        if !self.eat(&Tok::Mod) {
            return Ok(value);
        }
        let modulus = self.sum()?;
        if opened {
            self.expect_close(Delim::Paren)?;
        }
        Ok(Expr::Call(Func::Mod, vec![value, modulus]))
    }

    pub(super) fn sum(&mut self) -> Parsed {
        let mut terms: Vec<Expr> = Vec::new();
        match self.peek() {
            Some(Tok::PlusMinus(_)) => terms.push(Expr::int(0)),
            Some(Tok::Op('+')) => {
                self.at += 1;
                terms.push(self.product()?);
            }
            _ => terms.push(self.product()?),
        }
        loop {
            match self.peek() {
                Some(Tok::Op('+')) => {
                    self.at += 1;
                    // A limit from the right, `0^+`, has nothing after the sign.
                    terms.push(self.product()?);
                }
                Some(Tok::Op('-')) => {
                    self.at += 1;
                    terms.push(self.product()?.neg());
                }
                Some(Tok::PlusMinus(sign)) => {
                    let sign = *sign;
                    self.at += 1;
                    self.link()?;
                    let left = collapse(std::mem::take(&mut terms), Expr::Add);
                    terms.push(Expr::PlusMinus(Box::new(left), Box::new(self.product()?), sign));
                }
                _ => return Ok(collapse(terms, Expr::Add)),
            }
        }
    }

    /// Products, quotients, juxtaposition, mixed numbers and units.
    pub(super) fn product(&mut self) -> Parsed {
        let mut negative = false;
        while let Some(Tok::Op('-')) = self.peek() {
            negative = !negative;
            self.at += 1;
        }
        let from = self.at;
        let mut acc = match self.mixed_number() {
            Some(mixed) => self.scripts(mixed)?,
            None => self.power()?,
        };
        // A lone numeral so far: a unit or a mixed number's fraction may follow.
        while let Some(tok) = self.peek() {
            acc = match tok {
                Tok::Op('*') => {
                    self.at += 1;
                    acc.times(self.signed_power()?)
                }
                Tok::Op('/') => {
                    self.at += 1;
                    self.link()?;
                    let divisor = self.signed_power()?;
                    acc.over(self.bound_together(divisor)?)
                }
                Tok::Word("to", _) => break,
                Tok::Open(Delim::Brace) if matches!(self.peek_at(1), Some(Tok::Word(..))) => {
                    self.at += 1;
                    let unit = self.unit()?.unwrap_or_else(Unit::none);
                    self.expect_close(Delim::Brace)?;
                    let unit = unit.powi(self.unit_power());
                    self.quantity(acc, unit)?
                }
                Tok::Word(word, _) if magnitude(word).is_some() => {
                    let factor = magnitude(word).unwrap_or(1);
                    self.at += 1;
                    acc.times(Expr::int(factor))
                }
                _ if matches!(acc, Expr::Text(_)) && (self.starts_factor() || matches!(tok, Tok::Word(..))) => {
                    return opaque("words beside a value");
                }
                Tok::Word(..) => match self.unit()? {
                    Some(unit) => self.quantity(acc, unit)?,
                    None => break,
                },
                Tok::Name(n) if **n == *"mu" && matches!(self.peek_at(1), Some(Tok::Word(w, _)) if super::units::is_unit(w)) => {
                    match self.unit()? {
                        Some(unit) => self.quantity(acc, unit)?,
                        None => break,
                    }
                }
                Tok::Currency(code) => {
                    let unit = Unit::currency(code);
                    self.link()?;
                    self.at += 1;
                    Expr::Quantity(Box::new(acc), unit)
                }
                Tok::Num { .. } if self.after_numeral(from) => break,
                _ if self.starts_factor() => acc.times(self.power()?),
                _ => break,
            };
        }
        Ok(if negative { acc.neg() } else { acc })
    }

    /// With `slash_binds`, what stands directly after a divisor belongs to it.
    fn bound_together(&mut self, mut divisor: Expr) -> Parsed {
        while self.slash_binds
            && !self.space_before()
            && matches!(self.peek(), Some(Tok::Name(_) | Tok::Const(_) | Tok::Sqrt | Tok::Func(_)))
        {
            divisor = divisor.times(self.power()?);
        }
        Ok(divisor)
    }

    /// Two numerals side by side are no product.
    fn after_numeral(&self, from: usize) -> bool {
        self.at > from && matches!(self.toks[self.at - 1].tok, Tok::Num { .. } | Tok::Name(_) | Tok::Const(Const::E))
    }

    /// Puts a unit on a value, and adds a smaller part that follows (`5 ft 6 in`).
    fn quantity(&mut self, value: Expr, unit: Unit) -> Parsed {
        let dimension = unit.dimension;
        let whole = Expr::Quantity(Box::new(value), unit);
        if !matches!(self.peek(), Some(Tok::Num { .. })) {
            return Ok(whole);
        }
        let part = self.product()?;
        match &part {
            Expr::Quantity(_, u) if u.dimension == dimension => Ok(Expr::Add(vec![whole, part])),
            Expr::Add(parts) if matches!(&parts[0], Expr::Quantity(_, u) if u.dimension == dimension) => Ok(Expr::Add(vec![whole, part])),
            _ => opaque("a number after a unit"),
        }
    }

    fn signed_power(&mut self) -> Parsed {
        let mut negative = false;
        while let Some(Tok::Op(sign @ ('-' | '+'))) = self.peek() {
            negative ^= *sign == '-';
            self.at += 1;
        }
        let value = self.power()?;
        Ok(if negative { value.neg() } else { value })
    }

    /// Whether the next token can begin a factor of a juxtaposed product.
    pub(super) fn starts_factor(&self) -> bool {
        match self.peek() {
            Some(Tok::Num { .. } | Tok::Name(_) | Tok::Func(_) | Tok::Const(_) | Tok::Frac | Tok::Sqrt | Tok::Binom | Tok::Big(_)) => true,
            Some(Tok::Open(Delim::Paren)) => self.peek_at(1) != Some(&Tok::Mod),
            // A bracket before nothing closes, as in `[2, ∞[`.
            Some(Tok::Open(Delim::Bracket)) => {
                !self.reversed && !matches!(self.peek_at(1), None | Some(Tok::Union | Tok::Inter | Tok::Close(_) | Tok::And | Tok::Or))
            }
            Some(Tok::Open(_)) => true,
            Some(Tok::Begin(_)) => true,
            Some(Tok::Bar) => self.bars == 0,
            Some(Tok::Norm) => self.norms == 0,
            _ => false,
        }
    }

    pub(super) fn power(&mut self) -> Parsed {
        let atom = self.atom()?;
        self.scripts(atom)
    }

    /// `|…|` as an absolute value.
    pub(super) fn bars(&mut self) -> Parsed {
        self.bars += 1;
        let inner = self.deeper(Self::sum);
        self.bars -= 1;
        let inner = inner?;
        if !self.eat(&Tok::Bar) {
            return opaque("a bar that never closes");
        }
        Ok(super::arrays::between_bars(inner))
    }

    /// Runs `f` with `|` opening again (inside brackets).
    pub(super) fn fresh_bars<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        let outer = std::mem::take(&mut self.bars);
        let out = f(self);
        self.bars = outer;
        out
    }

    /// Runs `f` with `|` only dividing or opening, as inside a set's braces.
    pub(super) fn dividing_bars<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        let outer = std::mem::replace(&mut self.bars, 1);
        let out = f(self);
        self.bars = outer;
        out
    }

    pub(super) fn numeral(&mut self) -> Parsed {
        let Some(Tok::Num { text, repeat, exp, dots }) = self.peek().cloned() else { return opaque("not a numeral") };
        self.at += 1;
        number(&text, repeat, exp, dots).map(Expr::Num).ok_or_else(|| ParseError::Opaque("a numeral that is too long".into()))
    }
}

/// Words that multiply the number before them.
fn magnitude(word: &str) -> Option<i64> {
    Some(match word.to_lowercase().as_str() {
        "dozen" | "dozens" => 12,
        "hundred" => 100,
        "thousand" => 1_000,
        "million" | "millions" => 1_000_000,
        "billion" | "billions" => 1_000_000_000,
        "trillion" => 1_000_000_000_000,
        "万" => 10_000,
        "亿" => 100_000_000,
        _ => return None,
    })
}

/// One item alone, several under `join`.
pub(super) fn collapse(mut items: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match (items.len(), items.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            items.push(last);
            join(items)
        }
        (_, None) => join(items),
    }
}
