//! What stands above, below and after a value: powers, indices, factorials, percent and degree signs.

use num_bigint::BigInt;
use num_traits::{Num as _, ToPrimitive};

use super::ast::{Const, Expr, Func};
use super::lexer::{Delim, ParseError, Tok};
use super::parser::{Parsed, Parser, opaque};
use super::units::{CELSIUS, FAHRENHEIT, Unit};

impl Parser<'_> {
    /// `^`, `!`, `%`, `°`, `'` after an atom.
    pub(super) fn scripts(&mut self, mut base: Expr) -> Parsed {
        loop {
            if matches!(self.peek(), Some(Tok::Op('^' | '!' | '_') | Tok::Percent | Tok::Degree)) {
                self.link()?;
            }
            base = match self.peek() {
                Some(Tok::Op('^' | '_'))
                    if matches!(base, Expr::Const(Const::Reals | Const::Integers | Const::Naturals | Const::Rationals)) =>
                {
                    self.at += 1;
                    self.part_of_set(base)?
                }
                Some(Tok::Op('^')) => {
                    self.at += 1;
                    match self.exponent()? {
                        Script::Power(e) => base.pow(e),
                        Script::Degree => self.degrees(base),
                        Script::Nothing => base,
                        Script::Prime => primed(base)?,
                        Script::Side(sign) => Expr::Apply(if sign == '+' { FROM_ABOVE } else { FROM_BELOW }.into(), vec![base]),
                    }
                }
                Some(Tok::Op('!')) => {
                    self.at += 1;
                    let func = if self.eat(&Tok::Op('!')) { Func::DoubleFactorial } else { Func::Factorial };
                    Expr::Call(func, vec![base])
                }
                Some(Tok::Percent) => {
                    self.at += 1;
                    Expr::Percent(Box::new(base))
                }
                Some(Tok::Degree) => {
                    self.at += 1;
                    self.degrees(base)
                }
                Some(Tok::Op('\'')) => {
                    self.at += 1;
                    primed(base)?
                }
                Some(Tok::Op('_')) => {
                    self.at += 1;
                    self.subscript(base)?
                }
                _ => return Ok(base),
            };
        }
    }

    /// Degrees of angle, or of temperature when a scale follows.
    fn degrees(&mut self, value: Expr) -> Expr {
        let scale = match self.peek() {
            Some(Tok::Name(n)) if matches!(&**n, "C" | "F") => Some(n.to_lowercase()),
            Some(Tok::Word(w, _)) if matches!(w.to_lowercase().as_str(), "c" | "f" | "celsius" | "fahrenheit" | "centigrade") => {
                Some(w.to_lowercase())
            }
            _ => None,
        };
        match scale {
            Some(scale) => {
                self.at += 1;
                let label = if scale.starts_with('f') { FAHRENHEIT } else { CELSIUS };
                Expr::Quantity(Box::new(value), Unit::labelled(label))
            }
            None => Expr::Degrees(Box::new(self.arc_minutes(value))),
        }
    }

    /// `1° 30'`: minutes of arc after the degrees.
    fn arc_minutes(&mut self, degrees: Expr) -> Expr {
        if !matches!(self.peek(), Some(Tok::Num { .. })) || self.peek_at(1) != Some(&Tok::Op('\'')) {
            return degrees;
        }
        match self.numeral() {
            Ok(minutes) => {
                self.at += 1;
                Expr::Add(vec![degrees, minutes.over(Expr::int(60))])
            }
            Err(_) => degrees,
        }
    }

    /// `ℝ⁺`, `ℤ_+`, `ℕ^*`: the positive numbers, or all but zero.
    fn part_of_set(&mut self, set: Expr) -> Parsed {
        let braced = self.eat(&Tok::Open(Delim::Brace));
        let Some(Tok::Op(sign @ ('+' | '-' | '*'))) = self.peek() else { return opaque("an index on a set") };
        let sign = *sign;
        self.at += 1;
        if braced {
            self.expect_close(Delim::Brace)?;
        }
        Ok(match (set, sign) {
            (Expr::Const(Const::Reals), '+') => Expr::Tuple(vec![Expr::int(0), Expr::infinity()]),
            (Expr::Const(Const::Reals), '-') => Expr::Tuple(vec![Expr::neg_infinity(), Expr::int(0)]),
            (Expr::Const(Const::Reals), _) => {
                Expr::Difference(Box::new(Expr::Const(Const::Reals)), Box::new(Expr::Set(vec![Expr::int(0)])))
            }
            (Expr::Const(Const::Integers), '+') | (Expr::Const(Const::Naturals), _) => Expr::Var("ℤ+".into()),
            (Expr::Const(c), sign) => Expr::Var(format!("{c:?}{sign}").into()),
            (other, _) => other,
        })
    }

    fn exponent(&mut self) -> Result<Script, ParseError> {
        match self.peek() {
            Some(Tok::Degree) => {
                self.at += 1;
                return Ok(Script::Degree);
            }
            Some(Tok::Op('\'')) => {
                self.at += 1;
                return Ok(Script::Prime);
            }
            Some(Tok::Op(sign @ ('+' | '-'))) if matches!(self.peek_at(1), None | Some(Tok::Close(_))) => {
                let sign = *sign;
                self.at += 1;
                return Ok(Script::Side(sign));
            }
            Some(Tok::Open(Delim::Brace)) => match (self.peek_at(1), self.peek_at(2)) {
                (Some(Tok::Op(sign @ ('+' | '-'))), Some(Tok::Close(Delim::Brace))) => {
                    let sign = *sign;
                    self.at += 3;
                    return Ok(Script::Side(sign));
                }
                (Some(Tok::Degree), Some(Tok::Close(Delim::Brace))) => {
                    self.at += 3;
                    return Ok(Script::Degree);
                }
                (Some(Tok::Op('\'')), Some(Tok::Close(Delim::Brace))) => {
                    self.at += 3;
                    return Ok(Script::Prime);
                }
                (Some(Tok::Word(w, _)), Some(Tok::Close(Delim::Brace))) if is_ordinal(w) => {
                    self.at += 3;
                    return Ok(Script::Nothing);
                }
                _ => {}
            },
            Some(Tok::Word(w, _)) if is_ordinal(w) => {
                self.at += 1;
                return Ok(Script::Nothing);
            }
            _ => {}
        }
        self.deeper(|p| {
            let mut negative = false;
            while let Some(Tok::Op(sign @ ('-' | '+'))) = p.peek() {
                negative ^= *sign == '-';
                p.at += 1;
            }
            let mut e = p.atom()?;
            if p.peek() == Some(&Tok::Op('^')) {
                e = p.scripts(e)?;
            }
            Ok(Script::Power(if negative { e.neg() } else { e }))
        })
    }

    /// A base on a numeral, an index on anything else.
    fn subscript(&mut self, base: Expr) -> Parsed {
        let start = self.at;
        let index = self.deeper(Self::atom)?;
        let written: String = match &index {
            Expr::Num(n) => n.value.to_string(),
            Expr::Text(t) => t.to_string(),
            Expr::Var(v) => v.to_string(),
            _ => format!("{:?}", &self.toks[start..self.at].iter().map(|t| &t.tok).collect::<Vec<_>>()),
        };
        match base {
            Expr::Num(n) if n.value.is_integer() && n.decimals.is_none() => {
                let radix = super::words::number(&written).and_then(|v| v.to_u32()).or_else(|| written.parse().ok());
                let digits = n.value.to_integer().to_string();
                based(&digits, radix)
            }
            Expr::Var(v) => Ok(Expr::Var(format!("{v}_{written}").into())),
            Expr::Const(c) => Ok(Expr::Var(format!("{}_{written}", if c == Const::E { "e" } else { "i" }).into())),
            _ => opaque("an index on an expression"),
        }
    }
}

/// The names of `a^+` and `a^-`, what a one-sided limit approaches.
pub(super) const FROM_ABOVE: &str = "side+";
pub(super) const FROM_BELOW: &str = "side-";

enum Script {
    Power(Expr),
    /// `0^+`: a sign and nothing after it.
    Side(char),
    Degree,
    Prime,
    Nothing,
}

fn is_ordinal(word: &str) -> bool {
    matches!(word, "st" | "nd" | "rd" | "th" | "e" | "ème")
}

fn primed(base: Expr) -> Parsed {
    match base {
        Expr::Var(v) => Ok(Expr::Var(format!("{v}'").into())),
        _ => opaque("a prime on an expression"),
    }
}

/// A numeral in base `radix`.
pub(super) fn based(digits: &str, radix: Option<u32>) -> Parsed {
    match radix {
        Some(radix @ 2..=36) => BigInt::from_str_radix(digits, radix)
            .map(|value| Expr::Based(digits.into(), radix, value))
            .map_err(|_| ParseError::Opaque(format!("`{digits}` is not a numeral in base {radix}"))),
        _ => opaque("an index on a number that is no base"),
    }
}
