//! The rounding that a problem asks for: "to three significant figures", "to the nearest tenth".

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Pow, Signed, ToPrimitive, Zero};

use super::ast::Expr;
use super::compare::Context;
use super::exact::exact;
use super::numeric::approximate;
use super::words;

/// What the answer is to be rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Digits after the point.
    Places(i32),
    /// Digits from the first that is not zero.
    Figures(i32),
}

impl Rounding {
    /// Reads the request in a problem; the last one counts.
    pub(super) fn asked_in(prompt: &str) -> Option<Self> {
        if !prompt.contains("decimal") && !prompt.contains("significant") && !prompt.contains("nearest") {
            return None;
        }
        let lower = prompt.to_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| c.is_whitespace() || c == '-').map(|w| w.trim_matches(['.', ',', ')', '(', '$', '?'])).collect();
        let count = |i: usize| -> Option<i32> {
            let word = words.get(i)?;
            let n = word.parse::<i32>().ok().or_else(|| words::number(word)?.to_i32())?;
            (0..=15).contains(&n).then_some(n)
        };
        (1..words.len()).rev().find_map(|i| match (words[i], words.get(i + 1).copied().unwrap_or("")) {
            ("decimal", "place" | "places" | "digits") => count(i - 1).map(Self::Places),
            ("significant", "figure" | "figures" | "digit" | "digits") => count(i - 1).map(Self::Figures),
            ("nearest", "tenth") => Some(Self::Places(1)),
            ("nearest", "hundredth") => Some(Self::Places(2)),
            ("nearest", "thousandth") => Some(Self::Places(3)),
            _ => None,
        })
    }

    /// The unit of the last digit kept in `value`.
    pub(super) fn unit_of(self, value: &Expr, cx: &Context<'_>) -> Option<BigRational> {
        let places = match self {
            Self::Places(n) => n,
            Self::Figures(n) => n - 1 - magnitude(value, cx)?,
        };
        Some(Pow::pow(BigRational::from_integer(BigInt::from(10)), -places))
    }
}

/// ⌊log₁₀ |value|⌋.
fn magnitude(value: &Expr, cx: &Context<'_>) -> Option<i32> {
    let Some(q) = exact(value, cx.work) else {
        let x = approximate(value, cx.work)?.abs().log10().floor();
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the test")]
        return (x.abs() < 300.0).then_some(x as i32);
    };
    if q.is_zero() {
        return None;
    }
    let ten = BigRational::from_integer(BigInt::from(10));
    let q = q.abs();
    // From the bit lengths, then adjusted.
    let bits = i64::try_from(q.numer().bits()).ok()? - i64::try_from(q.denom().bits()).ok()?;
    if bits.abs() > 3_000 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the test above")]
    let mut k = (bits as f64 * std::f64::consts::LOG10_2).floor() as i32;
    while Pow::pow(&ten, k) > q {
        k -= 1;
    }
    while Pow::pow(&ten, k + 1) <= q {
        k += 1;
    }
    Some(k)
}
