//! Combinations and arrangements in index notation: `C_{10}^{3}`, `A_5^2`, `{}_{10}C_3`.

use num_traits::One as _;

use super::ast::{Expr, Func};
use super::lexer::Tok;
use super::parser::{Parsed, Parser, opaque};

impl Parser<'_> {
    /// After the letter `C`, `A` or `P`: `_n^k` or `^k_n`, where the numbers allow a count; `None` (nothing taken) otherwise.
    pub(super) fn counted(&mut self, letter: &str) -> Result<Option<Expr>, super::lexer::ParseError> {
        let lower_first = match self.peek() {
            Some(Tok::Op('_')) => true,
            Some(Tok::Op('^')) => false,
            _ => return Ok(None),
        };
        if !matches!(letter, "C" | "A" | "P") {
            return Ok(None);
        }
        let second = if lower_first { '^' } else { '_' };
        let start = self.at;
        self.at += 1;
        let one = self.deeper(Self::atom)?;
        if self.eat(&Tok::Op(second)) {
            let other = self.deeper(Self::atom)?;
            let (n, k) = if lower_first { (one, other) } else { (other, one) };
            if let Some(counted) = count(letter, n, k) {
                return Ok(Some(counted));
            }
        }
        self.at = start;
        Ok(None)
    }

    /// After the sign of a script that stands before its letter: `_{10}C_{3}`, `^{10}C_3`.
    pub(super) fn counted_before(&mut self) -> Parsed {
        let n = self.deeper(Self::atom)?;
        let letter = match self.peek() {
            Some(Tok::Name(letter)) => letter.to_string(),
            _ => return opaque("a script before nothing"),
        };
        self.at += 1;
        if !self.eat(&Tok::Op('_')) {
            return opaque("a script before a letter");
        }
        let k = self.deeper(Self::atom)?;
        count(&letter, n, k).map_or_else(|| opaque("a script before a letter"), Ok)
    }
}

/// `k` of `n`: combinations by `C`, in order by `A` and `P`. A numeral index below the power is a variable's index.
fn count(letter: &str, n: Expr, k: Expr) -> Option<Expr> {
    let numeral = |e: &Expr| if let Expr::Num(x) = e { Some(x.value.clone()) } else { None };
    let sensible = match (numeral(&n), numeral(&k)) {
        (Some(a), Some(b)) => a >= b && a.is_integer() && b.is_integer() && !a.is_one(),
        (Some(_), None) => false,
        (None, _) => letter == "C" && n.is_scalar() && k.is_scalar(),
    };
    if !sensible {
        return None;
    }
    Some(match letter {
        "C" => Expr::Call(Func::Binom, vec![n, k]),
        "A" | "P" => {
            let rest = n.clone().minus(k);
            Expr::Call(Func::Factorial, vec![n]).over(Expr::Call(Func::Factorial, vec![rest]))
        }
        _ => return None,
    })
}
