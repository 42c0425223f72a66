//! Mixed numbers: an integer and a proper fraction side by side.

use num_bigint::BigInt;
use num_traits::{Num as _, Zero};

use super::ast::Expr;
use super::lexer::{Delim, Tok};
use super::parser::Parser;

impl Parser<'_> {
    fn integer_at(&self, offset: usize) -> Option<BigInt> {
        match self.peek_at(offset)? {
            Tok::Num { text, repeat: "", exp: 0, .. } => BigInt::from_str_radix(text, 10).ok(),
            _ => None,
        }
    }

    /// `2\frac{3}{8}` or `2 3/8`: an integer and a proper fraction.
    pub(super) fn mixed_number(&mut self) -> Option<Expr> {
        let whole = self.integer_at(0)?;
        let (top, bottom, used) = match (self.peek_at(1)?, self.integer_at(1)) {
            (Tok::Frac, _) => self.literal_fraction(2)?,
            (_, Some(top)) if self.peek_at(2) == Some(&Tok::Op('/')) => (top, self.integer_at(3)?, 4),
            _ => return None,
        };
        if top >= bottom || bottom.is_zero() || whole.is_zero() || top.is_zero() {
            return None;
        }
        self.at += used;
        let value = num_rational::BigRational::new(whole * &bottom + top, bottom);
        Some(Expr::rational(value))
    }

    /// `{3}{8}`, `38`, `3{8}` at `offset`: numerator, denominator, tokens up to its end.
    fn literal_fraction(&self, offset: usize) -> Option<(BigInt, BigInt, usize)> {
        let mut at = offset;
        let mut parts = Vec::with_capacity(2);
        while parts.len() < 2 {
            if self.peek_at(at) == Some(&Tok::Open(Delim::Brace)) {
                parts.push(self.integer_at(at + 1)?);
                if self.peek_at(at + 2) != Some(&Tok::Close(Delim::Brace)) {
                    return None;
                }
                at += 3;
            } else {
                let text = self.integer_at(at)?.to_string();
                if text.len() > 2 || (text.len() == 2 && !parts.is_empty()) {
                    return None;
                }
                for digit in text.bytes() {
                    parts.push(BigInt::from(digit - b'0'));
                }
                at += 1;
            }
        }
        let bottom = parts.pop()?;
        Some((parts.pop()?, bottom, at))
    }
}
