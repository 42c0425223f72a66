//! Units after a value: names, products, quotients and powers of them.

use super::lexer::{Delim, ParseError, Tok};
use super::parser::Parser;
use super::units::Unit;

impl Parser<'_> {
    /// The unit that words after a value make; `None` (nothing taken) when they make none.
    pub(super) fn unit(&mut self) -> Result<Option<Unit>, ParseError> {
        let start = self.at;
        let Some(mut unit) = self.unit_factor(true)? else {
            self.at = start;
            return Ok(None);
        };
        loop {
            let inverse = match self.peek() {
                Some(Tok::Op('/')) => true,
                Some(Tok::Word(w, _)) if matches!(w.to_lowercase().as_str(), "per" | "每" | "par") => true,
                Some(Tok::Op('*' | '-')) => false,
                // `kg m/s` outside text.
                Some(Tok::Name(n))
                    if self.space_before()
                        && Unit::named(n).is_some()
                        && matches!(self.peek_at(1), None | Some(Tok::Op('/' | '^') | Tok::Word(..))) =>
                {
                    if let Some(next) = self.unit_factor(true)? {
                        unit = unit.times(&next);
                    }
                    continue;
                }
                Some(Tok::Word(..)) => {
                    match self.unit_factor(false)? {
                        Some(next) => unit = unit.times(&next),
                        None => return Ok(Some(unit)),
                    }
                    continue;
                }
                _ => return Ok(Some(unit)),
            };
            let mark = self.at;
            self.at += 1;
            match self.unit_factor(true)? {
                Some(next) => unit = unit.times(&next.powi(if inverse { -1 } else { 1 })),
                None => {
                    self.at = mark;
                    return Ok(Some(unit));
                }
            }
        }
    }

    fn unit_factor(&mut self, first: bool) -> Result<Option<Unit>, ParseError> {
        let Some(Tok::Word(word, styled)) = self.peek().cloned() else {
            // `\mu\text{m}`.
            if let (Some(Tok::Name(n)), Some(Tok::Word(word, _))) = (self.peek(), self.peek_at(1))
                && **n == *"mu"
                && let Some(unit) = Unit::named(word)
            {
                self.at += 2;
                return Ok(Some(unit.millionth()));
            }
            // `km/h` outside text: the single letter after the slash.
            if first
                && let Some(Tok::Name(n)) = self.peek()
                && let Some(unit) = Unit::named(n)
            {
                self.at += 1;
                return Ok(Some(unit));
            }
            return Ok(None);
        };
        let power = match word.to_lowercase().as_str() {
            "square" | "sq" | "平方" => 2,
            "cubic" | "cu" | "立方" => 3,
            _ => 1,
        };
        if power > 1 {
            self.at += 1;
            let inner = self.unit_factor(first)?;
            return Ok(Some(inner.map_or_else(|| Unit::labelled(word), |u| u.powi(power))));
        }
        let _ = styled;
        self.at += 1;
        let mut joined = word.to_owned();
        // `\mathrm{m}\mathrm{m}`.
        while let Some(Tok::Word(next, true)) = self.peek()
            && !self.space_before()
            && super::units::is_unit(&format!("{joined}{next}"))
        {
            joined.push_str(next);
            self.at += 1;
        }
        let word = joined.as_str();
        let unit = match word.strip_prefix("平方") {
            Some(rest) => Unit::named(rest).map(|u| u.powi(2)),
            None => word.strip_prefix("立方").and_then(Unit::named).map(|u| u.powi(3)).or_else(|| Unit::named(word)),
        }
        .unwrap_or_else(|| Unit::labelled(word));
        Ok(Some(unit.powi(self.unit_power())))
    }

    /// `^2`, `²`, `cm2`, `squared` after a unit.
    pub(super) fn unit_power(&mut self) -> i32 {
        let digits = |tok: Option<&Tok<'_>>| match tok {
            Some(Tok::Num { text, .. }) => text.parse::<i32>().ok().filter(|n| (0..10).contains(n)),
            _ => None,
        };
        match self.peek() {
            Some(Tok::Op('^')) => {
                let braced = self.peek_at(1) == Some(&Tok::Open(Delim::Brace));
                let mut at = 1 + usize::from(braced);
                let negative = self.peek_at(at) == Some(&Tok::Op('-'));
                at += usize::from(negative);
                let Some(n) = digits(self.peek_at(at)) else { return 1 };
                self.at += at + 1 + usize::from(braced);
                if negative { -n } else { n }
            }
            Some(Tok::Num { .. }) if !self.space_before() => match digits(self.peek()) {
                Some(n @ (2 | 3)) => {
                    self.at += 1;
                    n
                }
                _ => 1,
            },
            Some(Tok::Word("squared", _)) => {
                self.at += 1;
                2
            }
            Some(Tok::Word("cubed", _)) => {
                self.at += 1;
                3
            }
            _ => 1,
        }
    }
}
