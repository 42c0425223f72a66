//! Equality of two scalar expressions, in layers: structure, exact values, modular identity, enclosures.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::ast::{Const, Expr, Func};
use super::big::Ball;
use super::exact::exact;
use super::modular;
use super::numeric::{Complex, evaluate};
use super::real::{Interval, Real};
use super::work::Work;
use crate::Proof;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Equal, known how.
    Equal(Proof),
    /// Different, known how.
    Different(Proof),
    /// The layers cannot tell.
    Unknown,
}

impl Outcome {
    pub(super) fn is_equal(self) -> bool {
        matches!(self, Self::Equal(_))
    }

    /// The outcome of comparing all parts: the first difference decides, then the weakest proof.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut out = Self::Equal(Proof::Structural);
        for part in parts {
            match part {
                Self::Different(_) => return part,
                Self::Unknown => out = Self::Unknown,
                Self::Equal(p) => {
                    if let Self::Equal(q) = out {
                        out = Self::Equal(weaker(p, q));
                    }
                }
            }
        }
        out
    }
}

fn weaker(a: Proof, b: Proof) -> Proof {
    let rank = |p| match p {
        Proof::Structural => 0,
        Proof::Exact => 1,
        Proof::Identity => 2,
        Proof::Numeric => 3,
        _ => 4,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// Compares two scalar expressions.
pub(super) fn scalar_equal(a: &Expr, b: &Expr, work: &Work) -> Outcome {
    let mut first = with_natural_log(a, b, work);
    if !first.is_equal()
        && let Some(renamed) = other_case(a, b)
    {
        first = with_natural_log(a, &renamed, work);
    }
    if !first.is_equal() && (!a.variables().is_empty() || !b.variables().is_empty()) {
        let (c, d) = (with_constants(a, b), with_constants(b, a));
        if c.is_some() || d.is_some() {
            let again = with_natural_log(c.as_ref().unwrap_or(a), d.as_ref().unwrap_or(b), work);
            if again.is_equal() {
                return again;
            }
        }
    }
    let has_log = |e: &Expr| e.any(&|x| matches!(x, Expr::Call(Func::LogBare, _)));
    if first.is_equal() || !(has_log(a) || has_log(b)) {
        return first;
    }
    // The other reading of a logarithm without a base.
    let second = with_natural_log(&decimal_log(a), &decimal_log(b), work);
    if second.is_equal() { second } else { first }
}

/// `3 - 5*I/2`, `2*E**3`: the constants as programs write them, where the other side has them and `e` holds no other letter.
fn with_constants(e: &Expr, other: &Expr) -> Option<Expr> {
    fn constant(name: &str) -> Option<Const> {
        match name {
            "I" => Some(Const::I),
            "E" => Some(Const::E),
            _ => None,
        }
    }
    fn replaced(e: &Expr) -> Expr {
        match e {
            Expr::Var(name) => constant(name).map_or_else(|| e.clone(), Expr::Const),
            other => other.map_children(&mut replaced),
        }
    }
    let uses = |e: &Expr, c: Const| e.any(&|x| matches!(x, Expr::Const(k) if *k == c));
    let meant = |name: &str| constant(name).is_some_and(|c| uses(other, c) && !uses(e, c));
    let letters = e.variables();
    (!letters.is_empty() && !matches!(e, Expr::Var(_)) && letters.into_iter().all(meant)).then(|| replaced(e))
}

/// `b` with its one foreign variable renamed where it differs from `a`'s only by case, as in `+ C` and `+ c`, or where either letter
/// is free, as in `kπ` and `nπ`.
fn other_case(a: &Expr, b: &Expr) -> Option<Expr> {
    let (mine, theirs) = (a.variables(), b.variables());
    let only = |x: &[&str], y: &[&str]| -> Vec<String> { x.iter().filter(|v| !y.contains(v)).map(|v| (*v).to_owned()).collect() };
    let (wanted, found) = (only(&mine, &theirs), only(&theirs, &mine));
    let ([wanted], [found]) = (&wanted[..], &found[..]) else { return None };
    let same = wanted.to_lowercase() == found.to_lowercase() || free_parameter(wanted, a) && free_parameter(found, b);
    same.then(|| rename(b, found, wanted))
}

/// A letter that stands for any number: a constant of integration, or an integer beside a period with π.
fn free_parameter(name: &str, e: &Expr) -> bool {
    match name {
        "C" | "K" | "c" | "C_1" | "C_0" => matches!(e, Expr::Add(v) if v.iter().any(|term| matches!(term, Expr::Var(x) if **x == *name))),
        "k" | "n" | "m" | "l" | "j" => {
            e.variables().len() == 1 && e.any(&|x| matches!(x, Expr::Const(Const::Pi))) && !e.any(&|x| matches!(x, Expr::Apply(..)))
        }
        _ => false,
    }
}

fn rename(e: &Expr, from: &str, to: &str) -> Expr {
    match e {
        Expr::Var(v) if **v == *from => Expr::Var(to.into()),
        other => other.map_children(&mut |c| rename(c, from, to)),
    }
}

fn decimal_log(e: &Expr) -> Expr {
    let mapped = e.map_children(&mut decimal_log);
    match mapped {
        Expr::Call(Func::LogBare, mut args) => {
            args.push(Expr::int(10));
            Expr::Call(Func::Log, args)
        }
        other => other,
    }
}

fn with_natural_log(a: &Expr, b: &Expr, work: &Work) -> Outcome {
    if a == b {
        return Outcome::Equal(Proof::Structural);
    }
    match (a.infinite_sign(), b.infinite_sign()) {
        (Some(x), Some(y)) => return if x == y { Outcome::Equal(Proof::Structural) } else { Outcome::Different(Proof::Structural) },
        (Some(_), None) | (None, Some(_)) => return Outcome::Different(Proof::Structural),
        (None, None) => {}
    }
    if let (Some(x), Some(y)) = (exact(a, work), exact(b, work)) {
        return if x == y { Outcome::Equal(Proof::Exact) } else { Outcome::Different(Proof::Exact) };
    }
    if let (Expr::Call(Func::Mod, x), Expr::Call(Func::Mod, y)) = (a, b) {
        return residues(x, y, work);
    }
    let closed = a.variables().is_empty() && b.variables().is_empty() && !a.any(&is_apply) && !b.any(&is_apply);
    if closed { constants(a, b, work) } else { functions(a, b, work) }
}

fn is_apply(e: &Expr) -> bool {
    matches!(e, Expr::Apply(..))
}

fn residues(x: &[Expr], y: &[Expr], work: &Work) -> Outcome {
    let moduli = scalar_equal(&x[1], &y[1], work);
    if !moduli.is_equal() {
        return moduli;
    }
    let difference = x[0].clone().minus(y[0].clone()).over(x[1].clone());
    match exact(&difference, work) {
        Some(q) if q.is_integer() => Outcome::Equal(Proof::Exact),
        Some(_) => Outcome::Different(Proof::Exact),
        None => scalar_equal(&x[0], &y[0], work),
    }
}

fn nowhere(_: &str) -> BigRational {
    BigRational::from_integer(BigInt::from(0))
}

/// Two numbers.
fn constants(a: &Expr, b: &Expr, work: &Work) -> Outcome {
    if let (Some(x), Some(y)) = (evaluate::<Interval>(a, &nowhere, work), evaluate::<Interval>(b, &nowhere, work))
        && x.apart(&y)
    {
        return Outcome::Different(Proof::Interval);
    }
    let image = modular::images(&[a, b], work);
    if let Some(images) = &image
        && images[0] != images[1]
    {
        return Outcome::Different(Proof::Identity);
    }
    match (evaluate::<Ball>(a, &nowhere, work), evaluate::<Ball>(b, &nowhere, work)) {
        (Some(x), Some(y)) if x.apart(&y) => Outcome::Different(Proof::Interval),
        _ if image.is_some() => Outcome::Equal(Proof::Identity),
        (Some(x), Some(y)) if x.is_tight() && y.is_tight() => Outcome::Equal(Proof::Probable),
        _ => Outcome::Unknown,
    }
}

/// Ranges of the sample points, by their number; later ones are larger, the last ones negative.
const RANGES: &[(i64, i64)] = &[(1, 3), (0, 1), (3, 9), (9, 40), (40, 200), (-3, -1), (-1, 0), (-20, -3), (-3, -1), (-5, -1)];
/// How many of the ranges are positive.
const POSITIVE: usize = 5;

/// A pseudo-random value of a variable at sample point `k`: dyadic, or an integer where the functions need one.
pub(super) fn sample(k: usize, integers: bool) -> impl Fn(&str) -> BigRational {
    move |name| {
        let random = modular::mix(modular::hash(name) ^ modular::mix(k as u64 + 77));
        if integers {
            return BigRational::from_integer(BigInt::from(2 + random % (3 + 3 * k as u64)));
        }
        let (mut lo, mut hi) = RANGES[k % RANGES.len()];
        // After a point where all are negative, each variable has a sign of its own.
        if k > POSITIVE && random >> 60 & 1 == 1 {
            (lo, hi) = (-hi, -lo);
        }
        // Odd numerators over 128: never an integer, and squares stay short.
        let steps = u64::try_from((hi - lo) * 64).unwrap_or(64);
        BigRational::new(BigInt::from(lo * 128) + BigInt::from(2 * (random % steps) + 1), BigInt::from(128))
    }
}

fn needs_integers(e: &Expr) -> bool {
    e.any(&|x| match x {
        Expr::Call(Func::Factorial | Func::DoubleFactorial | Func::Binom | Func::Gcd | Func::Lcm, args) => {
            args.iter().any(|a| !a.variables().is_empty())
        }
        Expr::Pow(base, e) => {
            matches!(&**base, Expr::Neg(b) if matches!(**b, Expr::Num(_)))
                | matches!(&**base, Expr::Num(n) if num_traits::Signed::is_negative(&n.value))
                && !e.variables().is_empty()
        }
        _ => false,
    })
}

/// Two expressions with variables: an identity or not.
fn functions(a: &Expr, b: &Expr, work: &Work) -> Outcome {
    let integers = needs_integers(a) || needs_integers(b);
    if let Some(images) = modular::images(&[a, b], work) {
        return if images[0] == images[1] { Outcome::Equal(Proof::Identity) } else { Outcome::Different(Proof::Identity) };
    }
    let imaginary = [a, b].iter().any(|e| e.any(&|x| matches!(x, Expr::Const(Const::I))));
    let mut real = Vec::new();
    let mut complex = Vec::new();
    // Two powers of −1 agree at every second point by chance.
    let count = if integers { 16 } else { RANGES.len() };
    for k in 0..count {
        let point = sample(k, integers);
        let (Some(x), Some(y)) = (evaluate::<Interval>(a, &point, work), evaluate::<Interval>(b, &point, work)) else { continue };
        let is_real = |z: &Complex<Interval>| z.im.as_ref().is_none_or(|i| i.sign() == Some(0));
        if !(imaginary || is_real(&x) && is_real(&y)) {
            // Principal values are a convention where a root or logarithm leaves the reals.
            if k < POSITIVE && !x.apart(&y) {
                complex.push(k);
            }
            continue;
        }
        if x.apart(&y) {
            return Outcome::Different(Proof::Interval);
        }
        if k < POSITIVE || integers {
            real.push(k);
        }
    }
    let points = if real.len() >= 2 { real } else { complex };
    if points.len() < 2 {
        return Outcome::Unknown;
    }
    confirm(a, b, &points, integers, work)
}

/// Compares at two points with high precision.
fn confirm(a: &Expr, b: &Expr, points: &[usize], integers: bool, work: &Work) -> Outcome {
    let mut tight = 0;
    for k in points.iter().take(3) {
        let point = sample(*k, integers);
        let (Some(x), Some(y)) = (evaluate::<Ball>(a, &point, work), evaluate::<Ball>(b, &point, work)) else { continue };
        if x.apart(&y) {
            return Outcome::Different(Proof::Interval);
        }
        tight += usize::from(x.is_tight() && y.is_tight());
    }
    if tight >= 2 { Outcome::Equal(Proof::Probable) } else { Outcome::Unknown }
}
