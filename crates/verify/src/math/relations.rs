//! Equations and inequalities: the same solutions, shown by proportional sides.

use num_traits::{Signed, ToPrimitive, Zero};

use super::ast::{Expr, Func, Rel};
use super::compare::Context;
use super::exact::exact;
use super::modular::{Field, Miss};
use super::numeric::evaluate;
use super::real::{Interval, Real};
use super::scalar::{Outcome, sample};
use crate::Proof;

/// Trees larger than this are not rearranged.
const MAX_NODES: usize = 300;

fn size(e: &Expr) -> usize {
    1 + e.children().into_iter().map(size).sum::<usize>()
}

/// Numerator and denominator of a rational expression.
fn fraction(e: &Expr, cx: &Context<'_>) -> (Expr, Expr) {
    let one = || Expr::int(1);
    match e {
        Expr::Neg(a) => {
            let (n, d) = fraction(a, cx);
            (n.neg(), d)
        }
        Expr::Div(a, b) => {
            let ((an, ad), (bn, bd)) = (fraction(a, cx), fraction(b, cx));
            (an.times(bd), ad.times(bn))
        }
        Expr::Mul(v) => v.iter().fold((one(), one()), |(n, d), x| {
            let (xn, xd) = fraction(x, cx);
            (n.times(xn), d.times(xd))
        }),
        Expr::Add(v) => v.iter().fold((Expr::int(0), one()), |(n, d), x| {
            let (xn, xd) = fraction(x, cx);
            if d == xd {
                return (Expr::Add(vec![n, xn]), d);
            }
            (Expr::Add(vec![n.times(xd.clone()), xn.times(d.clone())]), d.times(xd))
        }),
        Expr::Pow(b, k) => match exact(k, cx.work).filter(num_rational::BigRational::is_integer) {
            Some(k) => {
                let (n, d) = fraction(b, cx);
                let power = Expr::rational(k.abs());
                if k.is_negative() { (d.pow(power.clone()), n.pow(power)) } else { (n.pow(power.clone()), d.pow(power)) }
            }
            None => (e.clone(), one()),
        },
        other => (other.clone(), one()),
    }
}

/// Whether two functions are a constant multiple of each other, and that constant's sign where it is known.
fn proportional(a: &Expr, b: &Expr, cx: &Context<'_>) -> Outcome {
    // `1 = 1` holds everywhere, which no other equation says.
    let nothing = |e: &Expr| exact(e, cx.work).is_some_and(|q| q.is_zero());
    if nothing(a) || nothing(b) {
        return if nothing(a) && nothing(b) { Outcome::Unknown } else { Outcome::Different(Proof::Exact) };
    }
    let mut agreed = 0;
    for index in 0..24 {
        match cross(a, b, index, cx) {
            Ok(true) => agreed += 1,
            Ok(false) => return Outcome::Different(Proof::Identity),
            Err(Miss::Prime) => {}
            Err(Miss::Class) => break,
        }
        if agreed == 2 {
            return Outcome::Equal(Proof::Identity);
        }
    }
    let mut overlaps = 0;
    let value = |e: &Expr, k: usize| evaluate::<Interval>(e, &sample(k, false), cx.work);
    // Negative points too: `|x|` is `x` at positive ones.
    for k in 1..8 {
        let (Some(a0), Some(b0), Some(ak), Some(bk)) = (value(a, 0), value(b, 0), value(a, k), value(b, k)) else { continue };
        if a0.im.is_some() || b0.im.is_some() || ak.im.is_some() || bk.im.is_some() {
            continue;
        }
        if [&a0, &b0, &ak, &bk].iter().any(|v| !matches!(v.re.sign(), Some(1 | -1))) {
            continue;
        }
        let (left, right) = (a0.re.mul(&bk.re), ak.re.mul(&b0.re));
        if left.apart(&right) {
            return Outcome::Different(Proof::Interval);
        }
        overlaps += usize::from(left.is_tight() && right.is_tight());
    }
    if overlaps >= 3 { Outcome::Equal(Proof::Probable) } else { Outcome::Unknown }
}

/// One prime, three points: a(s)·b(t) = a(t)·b(s).
fn cross(a: &Expr, b: &Expr, index: usize, cx: &Context<'_>) -> Result<bool, Miss> {
    let mut values = Vec::with_capacity(3);
    for seed in 1..=3 {
        let field = Field::real(index, seed, cx.work);
        values.push((field.image(a)?, field.image(b)?));
    }
    let field = Field::real(index, 1, cx.work);
    if values.iter().any(|(x, y)| *x == 0 || *y == 0) {
        return if values.iter().all(|(x, y)| *x == 0 && *y == 0) { Err(Miss::Class) } else { Ok(false) };
    }
    let (x0, y0) = values[0];
    Ok(values[1..].iter().all(|(x, y)| field.mul(x0, *y) == field.mul(*x, y0)))
}

/// Compares two relations with two sides each.
pub(super) fn relations_equal(g: (&Expr, Rel, &Expr), p: (&Expr, Rel, &Expr), cx: &Context<'_>) -> Outcome {
    let sides = [g.0, g.2, p.0, p.2];
    if sides.iter().any(|s| !s.is_scalar()) || sides.iter().map(|s| size(s)).sum::<usize>() > MAX_NODES {
        return Outcome::Unknown;
    }
    let oriented = |(l, rel, r): (&Expr, Rel, &Expr)| match rel {
        Rel::Lt | Rel::Le => (r.clone().minus(l.clone()), rel.flipped()),
        _ => (l.clone().minus(r.clone()), rel),
    };
    let ((a, rel_a), (b, rel_b)) = (oriented(g), oriented(p));
    let equation = |r: Rel| matches!(r, Rel::Eq | Rel::Approx);
    if rel_a != rel_b && !(equation(rel_a) && equation(rel_b)) {
        return Outcome::Different(Proof::Structural);
    }
    if rel_a.is_order() {
        let same = proportional(&a, &b, cx);
        return if same.is_equal() && !same_sign(&a, &b, cx) { Outcome::Different(Proof::Interval) } else { same };
    }
    let direct = proportional(&a, &b, cx);
    if direct.is_equal() {
        return direct;
    }
    let ((n, _), (m, _)) = (fraction(&a, cx), fraction(&b, cx));
    proportional(&n, &m, cx)
}

fn same_sign(a: &Expr, b: &Expr, cx: &Context<'_>) -> bool {
    let sign = |e: &Expr, k| evaluate::<Interval>(e, &sample(k, false), cx.work).and_then(|v| v.re.sign());
    (0..5).any(|k| matches!((sign(a, k), sign(b, k)), (Some(x), Some(y)) if x == y && x != 0))
}

/// Whether the left side of an equation only names the right one.
pub(super) fn is_name(left: &Expr, right: &Expr) -> bool {
    let closed = right.variables().is_empty();
    match left {
        Expr::Var(v) => !right.variables().contains(&&**v),
        Expr::Apply(..) | Expr::Text(_) => true,
        Expr::Tuple(v) | Expr::Intersection(v) | Expr::Union(v) | Expr::Ratio(v) => v.iter().all(|x| matches!(x, Expr::Var(_))),
        Expr::Matrix(rows) => rows.iter().flatten().all(|x| matches!(x, Expr::Var(_))),
        // A segment or polygon, `AB = 5`; `dy/dx`; a sum that was asked for, `m + n = 7`.
        Expr::Mul(v) => v
            .iter()
            .all(|x| matches!(x, Expr::Var(n) if n.starts_with(|c: char| c.is_uppercase()) || n.starts_with("angle") || &**n == "m")),
        Expr::Div(..) => differentiated(left).is_some(),
        Expr::Add(v) => closed && v.len() >= 2 && v.iter().all(|x| matches!(x, Expr::Var(v) if !v.ends_with('\''))),
        Expr::Call(Func::Abs, v) => closed && !v[0].variables().is_empty(),
        Expr::Call(..) => closed && !left.variables().is_empty(),
        _ => false,
    }
}

/// A function, how often it is differentiated, and by what where that is said: `y'`, `f''(x)`, `dy/dx`, `d²y/dx²`.
#[derive(Clone, Copy)]
struct Derivative<'e> {
    function: &'e str,
    order: u32,
    by: Option<&'e str>,
    bound: bool,
}

/// What a name says of a derivative; `None` for other names.
fn differentiated(name: &Expr) -> Option<Derivative<'_>> {
    fn times(e: &Expr) -> Option<(&str, u32)> {
        match e {
            Expr::Pow(base, n) => match (&**base, &**n) {
                (Expr::Var(name), Expr::Num(n)) => Some((name, n.value.to_integer().to_u32()?)),
                _ => None,
            },
            Expr::Var(name) => Some((name, 1)),
            _ => None,
        }
    }
    let primed = |v: &'_ str| u32::try_from(v.len() - v.trim_end_matches('\'').len()).ok().filter(|order| *order > 0);
    match name {
        Expr::Var(v) => Some(Derivative { function: v.trim_end_matches('\''), order: primed(v)?, by: None, bound: false }),
        Expr::Apply(v, x) => match &x[..] {
            [Expr::Var(x)] => Some(Derivative { function: v.trim_end_matches('\''), order: primed(v)?, by: Some(x), bound: true }),
            _ => None,
        },
        Expr::Div(top, bottom) => {
            let (Expr::Mul(top), Expr::Mul(bottom)) = (&**top, &**bottom) else { return None };
            let ([above, Expr::Var(function)], [Expr::Var(below), variable]) = (&top[..], &bottom[..]) else { return None };
            let ((d, order), (by, power)) = (times(above)?, times(variable)?);
            (d == "d" && **below == *"d" && order == power && **function != *by).then_some(Derivative {
                function,
                order,
                by: Some(by),
                bound: false,
            })
        }
        _ => None,
    }
}

/// Whether two names are of the same derivative; `y` may stand for `f(x)`. `None` where not both are names of derivatives.
pub(super) fn same_derivative(a: &Expr, b: &Expr) -> Option<bool> {
    let (a, b) = (differentiated(a)?, differentiated(b)?);
    let named = a.function == b.function || matches!((a.function, b.function), ("y", "f") | ("f", "y"));
    // The letter in `f'(x)` is bound, the one in `dy/dx` is not.
    let by = a.by == b.by || a.by.is_none() || b.by.is_none() || a.bound && b.bound;
    Some(named && a.order == b.order && by)
}

/// The ratio `a : b : …` against another: all cross products agree.
pub(super) fn ratios_equal(g: &[Expr], p: &[Expr], cx: &Context<'_>) -> Outcome {
    if g.len() != p.len() {
        return Outcome::Different(Proof::Structural);
    }
    Outcome::all((1..g.len()).map(|i| {
        let left = g[0].clone().times(p[i].clone());
        let right = g[i].clone().times(p[0].clone());
        super::scalar::scalar_equal(&left, &right, cx.work)
    }))
}

/// Whether `4:35` can be the time `minutes` after twelve in the given half of the day (`true`: afternoon). From 13:00 on, and
/// at 0:35, it states its half itself.
pub(super) fn same_time(minutes: u32, afternoon: Option<bool>, parts: &[Expr]) -> bool {
    const HALF: u32 = 12 * 60;
    let [Expr::Num(h), Expr::Num(m)] = parts else { return false };
    let (Some(h), Some(m)) = (h.value.to_integer().to_u32(), m.value.to_integer().to_u32()) else { return false };
    if h >= 24 || m >= 60 {
        return false;
    }
    let written = h * 60 + m;
    if (1..=12).contains(&h) { written % HALF == minutes } else { written == minutes + if afternoon == Some(true) { HALF } else { 0 } }
}
