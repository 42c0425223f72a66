//! Equality of values as answers: decimals, percent, degrees and units by the policy.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::ast::{Const, Expr, Number};
use super::compare::Context;
use super::exact::{exact, integer_power};
use super::numeric::evaluate;
use super::real::{Interval, Real};
use super::scalar::{Outcome, scalar_equal};
use super::units::{RADIAN, Unit};
use crate::Proof;

/// A value and what was written around it.
struct Measured {
    value: Expr,
    unit: Option<Unit>,
    percent: bool,
    degrees: bool,
}

/// Takes unit, percent and degree signs off a value.
fn measured(e: &Expr) -> Measured {
    let plain = |value: Expr| Measured { value, unit: None, percent: false, degrees: false };
    match e {
        Expr::Quantity(v, u) => {
            let inner = measured(v);
            let unit = match inner.unit {
                Some(w) => u.times(&w),
                None => u.clone(),
            };
            Measured { unit: Some(unit), ..inner }
        }
        Expr::Percent(v) => Measured { percent: true, ..measured(v) },
        Expr::Degrees(v) => Measured { degrees: true, ..measured(v) },
        Expr::Neg(v) => {
            let inner = measured(v);
            Measured { value: inner.value.neg(), ..inner }
        }
        Expr::Add(parts) => sum_of_quantities(parts).unwrap_or_else(|| plain(e.clone())),
        Expr::Mul(parts) if parts.iter().any(|p| matches!(p, Expr::Quantity(..))) => {
            let mut value = Expr::int(1);
            let mut unit = Unit::none();
            for part in parts {
                let inner = measured(part);
                value = value.times(inner.value);
                unit = inner.unit.iter().fold(unit, |u, v| u.times(v));
            }
            Measured { value, unit: Some(unit), percent: false, degrees: false }
        }
        _ => plain(e.clone()),
    }
}

/// `5 ft 6 in`: one value in the first unit.
fn sum_of_quantities(parts: &[Expr]) -> Option<Measured> {
    // `4π − 8 cm²`: the unit of all of it.
    if let Some((last, rest)) = parts.split_last()
        && let Measured { value, unit: Some(unit), percent: false, degrees: false } = measured(last)
        && rest.iter().all(Expr::is_scalar)
    {
        let terms = rest.iter().cloned().chain(std::iter::once(value)).collect();
        return Some(Measured { value: Expr::Add(terms), unit: Some(unit), percent: false, degrees: false });
    }
    let mut total = Vec::with_capacity(parts.len());
    let mut first: Option<Unit> = None;
    for part in parts {
        let m = measured(part);
        let unit = m.unit?;
        let base = first.get_or_insert_with(|| unit.clone());
        if unit.dimension != base.dimension || unit.label != base.label {
            return None;
        }
        let factor = &unit.scale / &base.scale;
        total.push(m.value.times(Expr::rational(factor)));
    }
    Some(Measured { value: Expr::Add(total), unit: first, percent: false, degrees: false })
}

/// Compares two values with their units.
pub(super) fn value_equal(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    let (g, p) = (measured(gold), measured(prediction));
    if g.percent || p.percent {
        return percents(&g, &p, cx);
    }
    match (g.degrees, p.degrees) {
        (true, true) | (false, false) => {}
        _ => return angles(&g, &p, cx),
    }
    match (&g.unit, &p.unit) {
        (Some(u), Some(v)) if !u.is_none() && !v.is_none() => quantities(&g.value, u, &p.value, v, cx),
        (Some(u), _) | (_, Some(u)) if !u.is_none() && !cx.policy.units_optional => Outcome::Different(Proof::Structural),
        (Some(u), None) | (None, Some(u)) => {
            let plain = numbers_equal(&g.value, &p.value, cx);
            if plain.is_equal() {
                return plain;
            }
            // `5m` is five metres beside `5 m` in upright letters.
            match letter_unit(if g.unit.is_some() { &p.value } else { &g.value }) {
                Some((value, v)) if g.unit.is_some() => quantities(&g.value, u, &value, &v, cx),
                Some((value, v)) => quantities(&value, &v, &p.value, u, cx),
                None => plain,
            }
        }
        _ => {
            let plain = numbers_equal(&g.value, &p.value, cx);
            if plain.is_equal() || !cx.policy.units_optional {
                return plain;
            }
            match (letter_unit(&g.value), letter_unit(&p.value)) {
                // A gold such as `3m` may well be an unknown's multiple; `3cm` is not.
                (Some((value, _)), None) if p.value.variables().is_empty() && g.value.variables().len() > 1 => {
                    numbers_equal(&value, &p.value, cx)
                }
                (None, Some((value, _))) if g.value.variables().is_empty() => numbers_equal(&g.value, &value, cx),
                _ => plain,
            }
        }
    }
}

/// A number times letters that spell a unit, as in `5m` or `12 cm^2` outside text.
fn letter_unit(e: &Expr) -> Option<(Expr, Unit)> {
    let (top, bottom) = match e {
        Expr::Div(a, b) => (&**a, Some(&**b)),
        other => (other, None),
    };
    let Expr::Mul(parts) = top else { return None };
    let split = parts.iter().position(|p| !p.variables().is_empty())?;
    let (numbers, letters) = parts.split_at(split);
    if numbers.is_empty() {
        return None;
    }
    let factors = letters.iter().map(letter_power).collect::<Option<Vec<(&str, i32)>>>()?;
    let name: String = factors.iter().map(|f| f.0).collect();
    // Letters that problems use for unknowns stay unknowns.
    if matches!(name.as_str(), "x" | "y" | "z" | "n" | "a" | "b" | "c" | "k" | "p" | "q" | "r" | "t" | "u" | "v" | "d") {
        return None;
    }
    let (last, before) = factors.split_last()?;
    let mut unit = match Unit::named(&name).filter(|_| before.iter().all(|f| f.1 == 1) && (before.is_empty() || last.1 > 0)) {
        Some(unit) => unit.powi(last.1),
        None => factors.iter().try_fold(Unit::none(), |u, (n, k)| Some(u.times(&Unit::named(n)?.powi(*k))))?,
    };
    if let Some(bottom) = bottom {
        let (name, power) = letter_power(bottom)?;
        unit = unit.times(&Unit::named(name)?.powi(-power));
    }
    Some((super::parser::collapse(numbers.to_vec(), Expr::Mul), unit))
}

/// A letter and its integer power.
fn letter_power(e: &Expr) -> Option<(&str, i32)> {
    match e {
        Expr::Var(v) => Some((v, 1)),
        Expr::Pow(b, n) => match &**b {
            Expr::Var(v) => Some((v, integer_exponent(n)?.to_i32()?)),
            _ => None,
        },
        _ => None,
    }
}

fn quantities(g: &Expr, u: &Unit, p: &Expr, v: &Unit, cx: &Context<'_>) -> Outcome {
    if u.may_be(v) {
        return numbers_equal(g, p, cx);
    }
    if u != v
        && let (Some((scale, zero)), Some((other, offset))) = (u.thermometer(), v.thermometer())
    {
        let kelvins = Expr::Add(vec![p.clone().times(Expr::rational(other)), Expr::rational(offset - zero)]);
        return numbers_equal(g, &kelvins.over(Expr::rational(scale)), cx);
    }
    if u.dimension != v.dimension || u.label != v.label {
        // Two names we do not know may mean the same; two dimensions cannot.
        let labels_only = u.dimension == v.dimension && !u.label.is_empty() && !v.label.is_empty();
        let counted = |w: &Unit| w.dimension == [0; 8];
        if labels_only && counted(u) && words_overlap(&u.label, &v.label) {
            return numbers_equal(g, p, cx);
        }
        return if labels_only && numbers_equal(g, p, cx).is_equal() { Outcome::Unknown } else { Outcome::Different(Proof::Structural) };
    }
    if u.scale == v.scale {
        return numbers_equal(g, p, cx);
    }
    let factor = &v.scale / &u.scale;
    numbers_equal(g, &p.clone().times(Expr::rational(factor)), cx)
}

fn words_overlap(a: &str, b: &str) -> bool {
    a.split(' ').any(|w| w.len() > 2 && b.split(' ').any(|v| v == w))
}

fn percents(g: &Measured, p: &Measured, cx: &Context<'_>) -> Outcome {
    // Either sign may be left out, but not one for the other.
    let other = if g.percent { p } else { g };
    if g.percent != p.percent && (other.degrees || other.unit.as_ref().is_some_and(|unit| !unit.is_none())) {
        return Outcome::Different(Proof::Structural);
    }
    let hundredth = |e: &Expr| Expr::Percent(Box::new(e.clone()));
    if g.percent && p.percent {
        return numbers_equal(&g.value, &p.value, cx);
    }
    let same =
        if g.percent { numbers_equal(&hundredth(&g.value), &p.value, cx) } else { numbers_equal(&g.value, &hundredth(&p.value), cx) };
    if same.is_equal() || !cx.policy.percent_sign_optional {
        return same;
    }
    let bare = numbers_equal(&g.value, &p.value, cx);
    if bare.is_equal() { bare } else { same }
}

/// One side has a degree sign: the other may be radians, or degrees without the sign.
fn angles(g: &Measured, p: &Measured, cx: &Context<'_>) -> Outcome {
    let measure = if g.degrees { &p.unit } else { &g.unit };
    let in_radians = measure.as_ref().is_some_and(|unit| unit.label == RADIAN);
    if !in_radians && measure.as_ref().is_some_and(|unit| !unit.is_none()) {
        return Outcome::Different(Proof::Structural);
    }
    let signed = |m: &Measured| if m.degrees { Expr::Degrees(Box::new(m.value.clone())) } else { m.value.clone() };
    let radians = scalar_equal(&signed(g), &signed(p), cx.work);
    if radians.is_equal() || in_radians || !cx.policy.units_optional {
        return radians;
    }
    let other = if g.degrees { &p.value } else { &g.value };
    if other.any(&|e| matches!(e, Expr::Const(Const::Pi))) {
        return radians;
    }
    let bare = numbers_equal(&g.value, &p.value, cx);
    if bare.is_equal() { bare } else { radians }
}

/// A decimal literal, possibly times a power of ten: value, half a unit of its last digit, significant digits.
fn decimal(e: &Expr) -> Option<(BigRational, BigRational, usize)> {
    match e {
        Expr::Num(Number { value, decimals: Some(d) }) => {
            let unit = BigRational::new(One::one(), super::numeral::ten_to(*d));
            let digits = (value / &unit).to_integer().abs().to_string().trim_start_matches('0').len();
            Some((value.clone(), unit / BigInt::from(2), digits))
        }
        Expr::Neg(inner) => decimal(inner).map(|(v, h, d)| (-v, h, d)),
        Expr::Percent(inner) => decimal(inner).map(|(v, h, d)| (v / BigInt::from(100), h / BigInt::from(100), d)),
        Expr::Mul(parts) => {
            let [number, Expr::Pow(base, exponent)] = &parts[..] else { return None };
            let (Expr::Num(base), power) = (&**base, integer_exponent(exponent)?) else { return None };
            if base.value != BigRational::from_integer(10.into()) {
                return None;
            }
            let scale = integer_power(&base.value, &power)?;
            decimal(number).map(|(v, h, d)| (v * &scale, h * scale, d))
        }
        _ => None,
    }
}

fn integer_exponent(e: &Expr) -> Option<BigInt> {
    match e {
        Expr::Num(n) if n.value.is_integer() => Some(n.value.to_integer()),
        Expr::Neg(inner) => integer_exponent(inner).map(|n| -n),
        _ => None,
    }
}

/// Compares two numbers, allowing for the rounding of a decimal gold.
pub(super) fn numbers_equal(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    let strict = scalar_equal(gold, prediction, cx.work);
    if strict.is_equal() {
        return strict;
    }
    let p = decimal(prediction);
    if cx.policy.decimal_gold_is_rounded
        && let Some((value, half, digits)) = decimal(gold)
    {
        let near = within(prediction, &value, &(&half / BigInt::from(5)), cx);
        // A shorter decimal, or one digit in all, says too little; a longer one needs a gold that looks rounded.
        let enough = match &p {
            Some((_, other_half, more)) => *other_half < half && (digits >= 3 || digits == 2 && *more >= 5 && near),
            // `0.67` for 2/3, but not `4.5` for 2√5.
            None => digits >= 3 || digits == 2 && half <= BigRational::new(BigInt::one(), BigInt::from(200)),
        };
        if enough && within(prediction, &value, &half, cx) {
            return Outcome::Equal(Proof::Numeric);
        }
    }
    if let Some(rounding) = cx.rounding
        && let Some(unit) = rounding.unit_of(gold, cx)
        && let Some(centre) = exact(prediction, cx.work)
        && (&centre / &unit).is_integer()
        && within(gold, &centre, &(unit / BigInt::from(2)), cx)
    {
        return Outcome::Equal(Proof::Numeric);
    }
    if let Some((value, half, digits)) = decimal(gold)
        && digits >= 15
        && within(prediction, &value, &last_digit(&value, half, digits), cx)
    {
        return Outcome::Equal(Proof::Numeric);
    }
    // A binary double printed in full.
    if let (Some((value, half, digits)), Some(_)) = (&p, decimal(gold))
        && *digits >= 15
        && within(gold, value, &last_digit(value, half.clone(), *digits), cx)
    {
        return Outcome::Equal(Proof::Numeric);
    }
    if let Some((value, half, digits)) = p
        && cx.policy.decimal_digits_for_exact > 0
        && digits >= cx.policy.decimal_digits_for_exact as usize
        && decimal(gold).is_none()
        && (digits >= 15 || !terminates(gold, cx))
        && within(gold, &value, &last_digit(&value, half, digits), cx)
    {
        return Outcome::Equal(Proof::Numeric);
    }
    strict
}

/// Whether a value is written out in full by finitely many decimals, so that a longer decimal is another value.
fn terminates(e: &Expr, cx: &Context<'_>) -> bool {
    exact(e, cx.work).is_some_and(|q| {
        let mut rest = q.denom().clone();
        for p in [BigInt::from(2), BigInt::from(5)] {
            while rest.is_multiple_of(&p) {
                rest /= &p;
            }
        }
        rest.is_one()
    })
}

/// One unit of the last digit; a binary double printed in full is off by a few of its last digits.
fn last_digit(value: &BigRational, half: BigRational, digits: usize) -> BigRational {
    let double = value.abs() / BigInt::from(2_000_000_000_000_000_u64);
    let unit = half * BigInt::from(2);
    if digits >= 15 { unit.max(double) } else { unit }
}

/// Whether `e` certainly lies within `radius` of `centre`.
fn within(e: &Expr, centre: &BigRational, radius: &BigRational, cx: &Context<'_>) -> bool {
    if let Some(q) = exact(e, cx.work) {
        return (q - centre).abs() <= *radius;
    }
    if !e.variables().is_empty() {
        return false;
    }
    let Some(x) = evaluate::<Interval>(e, &|_| BigRational::zero(), cx.work) else { return false };
    let (Some(lo), Some(hi)) = (Interval::rational(&(centre - radius)), Interval::rational(&(centre + radius))) else { return false };
    x.im.is_none() && x.re.sub(&lo).sign().is_some_and(|s| s >= 0) && hi.sub(&x.re).sign().is_some_and(|s| s >= 0)
}
