//! Numerals: digits, decimals, repeating decimals, powers of ten.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Num as _, One, Pow, Zero};

use super::ast::Number;

/// Longer numerals are refused: reading them is quadratic.
const MAX_DIGITS: usize = 20_000;

pub(super) fn ten_to(n: u32) -> BigInt {
    Pow::pow(BigInt::from(10), n)
}

/// The value of a numeral: `text` with an optional point, `repeat` digits for ever, times `10^exp`; `dots` after it.
pub(super) fn number(text: &str, repeat: &str, exp: i32, dots: bool) -> Option<Number> {
    if text.len() + repeat.len() > MAX_DIGITS {
        return None;
    }
    let (whole, frac) = text.split_once('.').unwrap_or((text, ""));
    if dots
        && repeat.is_empty()
        && let Some((stem, cycle)) = cycle(frac)
    {
        return number(&format!("{whole}.{stem}"), cycle, exp, false);
    }
    let places = u32::try_from(frac.len()).ok()?;
    let digits: String = [whole, frac].concat();
    let mut top = if digits.is_empty() { BigInt::zero() } else { BigInt::from_str_radix(&digits, 10).ok()? };
    let mut bottom = ten_to(places);
    let mut decimals = (places > 0).then_some(places);
    if !repeat.is_empty() {
        // x.y(r) = (xyr − xy) / (10^|y| (10^|r| − 1))
        let r = BigInt::from_str_radix(repeat, 10).ok()?;
        let nines = ten_to(u32::try_from(repeat.len()).ok()?) - BigInt::one();
        top = top * &nines + r;
        bottom *= nines;
        decimals = None;
    }
    let mut value = BigRational::new(top, bottom);
    if exp != 0 {
        if exp.unsigned_abs() > 5000 {
            return None;
        }
        value *= Pow::pow(BigRational::from_integer(BigInt::from(10)), exp);
        decimals = Some(u32::try_from((i64::from(decimals.unwrap_or(0)) - i64::from(exp)).max(0)).ok()?);
        decimals = decimals.filter(|d| *d > 0);
    }
    Some(Number { value, decimals })
}

/// The repeating block that dots after these decimals mean: one digit at least three times, or a longer block twice.
fn cycle(frac: &str) -> Option<(&str, &str)> {
    for len in 1..=frac.len() / 2 {
        let block = &frac[frac.len() - len..];
        let mut start = frac.len();
        let mut times = 0;
        while start >= len && &frac[start - len..start] == block {
            start -= len;
            times += 1;
        }
        if times >= if len == 1 { 3 } else { 2 } {
            return Some((&frac[..start], block));
        }
    }
    None
}
