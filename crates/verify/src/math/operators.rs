//! Sums, products, integrals, limits and derivatives in answers: worked out where rules reach, tested at points elsewhere.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive};

use super::ast::{Const, Expr, Func, Rel};
use super::big::Ball;
use super::calculus::{antiderivative, derivative, substitute};
use super::compare::{Context, answers_equal};
use super::exact::exact;
use super::numeric::{approximate, evaluate};
use super::real::Real;
use super::scalar::{Outcome, sample, scalar_equal};
use super::scripts::{FROM_ABOVE, FROM_BELOW};
use super::series::{converges, distinguishable, within};
use super::work::Work;
use crate::Proof;

/// Sums and products of more terms are not written out.
pub(super) const MAX_TERMS: i64 = 200;
/// The prefix of the operator d/dx.
pub(super) const DERIVATIVE: &str = "d/d";

/// Whether any part of an answer is such an operator.
pub(super) fn any(e: &Expr) -> bool {
    e.any(&|x| matches!(x, Expr::Apply(name, _) if matches!(&**name, "sum" | "prod" | "int" | "iint" | "oint" | "lim") || name.starts_with(DERIVATIVE)))
}

/// Compares two answers of which one holds an operator; `None` where nothing more is known of it than how it is written.
pub(super) fn compare(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Option<Outcome> {
    let (g, p) = (resolve(gold, cx.work), resolve(prediction, cx.work));
    if g != *gold || p != *prediction {
        return Some(answers_equal(&g, &p, cx));
    }
    let found = [(gold, prediction), (prediction, gold)].into_iter().find_map(|(a, b)| one_sided(a, b, cx.work));
    found.or_else(|| sampled_bound(gold, prediction, cx.work)).filter(|outcome| outcome.is_equal())
}

/// Works out what rules reach, from the inside out.
fn resolve(e: &Expr, work: &Work) -> Expr {
    if !any(e) || work.spend(10).is_none() {
        return e.clone();
    }
    let e = e.map_children(&mut |c| resolve(c, work));
    let Expr::Apply(name, args) = &e else { return e };
    let value = match (&**name, &args[..]) {
        (name, [body]) if name.starts_with(DERIVATIVE) => derivative(body, &name[DERIVATIVE.len()..]),
        ("int", [low, high, body, Expr::Var(x)]) => definite(low, high, body, x, work),
        ("sum" | "prod", [low, high, body]) => terms(low, high, body)
            .map(|terms| if **name == *"sum" { Expr::Add(terms) } else { Expr::Mul(terms) })
            .or_else(|| (**name == *"sum").then(|| geometric(low, high, body, work)).flatten()),
        _ => None,
    };
    value.unwrap_or(e)
}

/// One operator against a value.
fn one_sided(a: &Expr, b: &Expr, work: &Work) -> Option<Outcome> {
    let Expr::Apply(name, args) = a else { return None };
    if !b.is_scalar() {
        return None;
    }
    match (&**name, &args[..]) {
        // Any antiderivative will do, with or without its constant.
        ("int", [f, Expr::Var(x)]) => match b {
            Expr::Apply(other, args) if other == name => match &args[..] {
                [g, y @ Expr::Var(name)] if name == x || !g.variables().contains(&&**x) => {
                    Some(scalar_equal(f, &substitute(g, y, &Expr::Var(x.clone())), work))
                }
                _ => None,
            },
            _ => Some(scalar_equal(&derivative(b, x)?, f, work)),
        },
        ("lim", [Expr::Relation(sides, rels), f]) if rels[..] == [Rel::To] && !any(b) && !any(f) => {
            tends(&sides[0], &sides[1], f, b, work).map(|()| Outcome::Equal(Proof::Probable))
        }
        ("sum", [low, Expr::Const(Const::Infinity), body]) if !any(b) && !any(body) => {
            converges(low, body, b, work).map(|()| Outcome::Equal(Proof::Probable))
        }
        _ => None,
    }
}

/// `∫` between bounds by an antiderivative, where the integrand has no pole between them.
fn definite(low: &Expr, high: &Expr, f: &Expr, x: &str, work: &Work) -> Option<Expr> {
    if any(f) {
        return None;
    }
    let primitive = antiderivative(f, x, work)?;
    let value = at_bound(&primitive, x, high, work)?.minus(at_bound(&primitive, x, low, work)?);
    (is_entire(f) || agrees_with_midpoints(f, &primitive, x, (low, high), work)).then_some(value)
}

/// Sums and products of polynomials, sine, cosine and the exponential: no poles anywhere.
fn is_entire(f: &Expr) -> bool {
    !f.any(&|e| match e {
        Expr::Div(_, b) => !b.variables().is_empty(),
        Expr::Pow(b, k) => !b.variables().is_empty() && !matches!(&**k, Expr::Num(n) if n.value.is_integer() && !n.value.is_negative()),
        Expr::Root(_, a) => !a.variables().is_empty(),
        Expr::Call(func, v) => {
            !matches!(func, Func::Sin | Func::Cos | Func::Exp | Func::Sinh | Func::Cosh) && v.iter().any(|a| !a.variables().is_empty())
        }
        Expr::Apply(..) => true,
        _ => false,
    })
}

/// F at a bound; at infinity what vanishes there is left out.
fn at_bound(primitive: &Expr, x: &str, bound: &Expr, work: &Work) -> Option<Expr> {
    let var = Expr::Var(x.into());
    let Some(positive) = bound.infinite_sign() else { return Some(substitute(primitive, &var, bound)) };
    if let Expr::Add(terms) = primitive {
        return terms.iter().map(|term| at_bound(term, x, bound, work)).collect::<Option<_>>().map(Expr::Add);
    }
    if !primitive.variables().contains(&x) {
        return Some(primitive.clone());
    }
    let far = Expr::rational(BigRational::from_integer(if positive { power_of_two(50) } else { -power_of_two(50) }));
    let value = approximate(&substitute(primitive, &var, &far), work)?;
    let quarter = std::f64::consts::FRAC_PI_2;
    if value.abs() < 1e-12 {
        Some(Expr::int(0))
    } else if primitive.any(&|e| matches!(e, Expr::Call(Func::Atan, _))) {
        // A multiple of the arctangent.
        let limit = primitive.map_children(&mut |c| arctangent_at_infinity(c, value > 0.0));
        let limit = if matches!(primitive, Expr::Call(Func::Atan, _)) { arctangent_at_infinity(primitive, value > 0.0) } else { limit };
        let exact = approximate(&limit, work)?;
        ((exact - value).abs() < 1e-9 && value.abs() < 1e3 * quarter).then_some(limit)
    } else {
        None
    }
}

fn arctangent_at_infinity(e: &Expr, positive: bool) -> Expr {
    if let Expr::Call(Func::Atan, _) = e {
        let quarter = Expr::Const(Const::Pi).over(Expr::int(2));
        return if positive { quarter } else { quarter.neg() };
    }
    e.map_children(&mut |c| arctangent_at_infinity(c, positive))
}

/// Whether the midpoint rule finds about what the antiderivative says; it does not where a pole lies between the bounds.
fn agrees_with_midpoints(f: &Expr, primitive: &Expr, x: &str, bounds: (&Expr, &Expr), work: &Work) -> bool {
    const STEPS: i32 = 64;
    let var = Expr::Var(x.into());
    let at = |e: &Expr, place: f64| {
        let place = BigRational::from_float(place)?;
        approximate(&substitute(e, &var, &Expr::rational(place)), work)
    };
    let rule = || {
        let (mut low, mut high) = (approximate(bounds.0, work)?, approximate(bounds.1, work)?);
        if low.is_infinite() && high.is_infinite() {
            (low, high) = (-10.0, 10.0);
        } else if high.is_infinite() {
            high = low + 10.0;
        } else if low.is_infinite() {
            low = high - 10.0;
        }
        let width = (high - low) / f64::from(STEPS);
        let (mut sum, mut size) = (0.0, 0.0);
        for step in 0..STEPS {
            let value = at(f, low + (f64::from(step) + 0.5) * width)? * width;
            sum += value;
            size += value.abs();
        }
        let exact = at(primitive, high)? - at(primitive, low)?;
        Some((sum - exact).abs() <= 0.06 * size)
    };
    rule().unwrap_or(false)
}

/// `Σ c·r^k` from a number to infinity, for |r| < 1 or a ratio with variables.
fn geometric(low: &Expr, high: &Expr, body: &Expr, work: &Work) -> Option<Expr> {
    let (Expr::Relation(sides, rels), Some(true)) = (low, high.infinite_sign()) else { return None };
    let ([index, from], [Rel::Eq]) = (&sides[..], &rels[..]) else { return None };
    let at = |k: Expr| substitute(body, index, &k);
    let ratio = at(from.clone().minus(Expr::int(-1))).over(at(from.clone()));
    let next = at(index.clone().minus(Expr::int(-1)));
    if !scalar_equal(&next, &ratio.clone().times(body.clone()), work).is_equal() {
        return None;
    }
    let bounded = if ratio.variables().is_empty() { approximate(&ratio, work)?.abs() < 1.0 } else { true };
    bounded.then(|| at(from.clone()).over(Expr::int(1).minus(ratio)))
}

pub(super) fn power_of_two(k: u32) -> BigInt {
    Pow::pow(BigInt::from(2), k)
}

/// Whether `f` at two points near `a`, on both sides, is as near to `value` as a limit would be.
fn tends(variable: &Expr, a: &Expr, f: &Expr, value: &Expr, work: &Work) -> Option<()> {
    distinguishable(value, work)?;
    let infinite = a.infinite_sign();
    let (a, sides): (&Expr, &[i64]) = match (infinite, a) {
        (Some(true), _) => (a, &[1]),
        (Some(false), _) => (a, &[-1]),
        (None, Expr::Apply(side, v)) if **side == *FROM_ABOVE => (&v[0], &[1]),
        (None, Expr::Apply(side, v)) if **side == *FROM_BELOW => (&v[0], &[-1]),
        (None, _) => (a, &[1, -1]),
    };
    for k in [30, 60] {
        for side in sides {
            let step = if infinite.is_some() {
                BigRational::from_integer(power_of_two(k))
            } else {
                BigRational::new(BigInt::one(), power_of_two(k))
            };
            let step = Expr::rational(step * BigInt::from(*side));
            let place = if infinite.is_some() { step } else { a.clone().minus(step.neg()) };
            let near = substitute(f, variable, &place);
            // Where letters are left, at two places.
            let letters = !near.variables().is_empty() || !value.variables().is_empty();
            for point in if letters { &[1, 3][..] } else { &[1] } {
                let seen = evaluate::<Ball>(&near, &sample(*point, false), work)?;
                if let Some(positive) = value.infinite_sign() {
                    let bound = Ball::rational(&BigRational::from_integer(power_of_two(20)))?;
                    let height = if positive { seen.re } else { seen.re.neg() };
                    (height.sub(&bound).sign()? > 0).then_some(())?;
                    continue;
                }
                let wanted = evaluate::<Ball>(value, &sample(*point, false), work)?;
                (seen.im.is_none() && wanted.im.is_none()).then_some(())?;
                within(&seen.re.sub(&wanted.re), k * 7 / 15)?;
            }
        }
    }
    Some(())
}

/// A closed form of a sum whose bound is a variable: both sides at several values of the bound.
fn sampled_bound(a: &Expr, b: &Expr, work: &Work) -> Option<Outcome> {
    if !a.is_scalar_but_bounds() || !b.is_scalar_but_bounds() {
        return None;
    }
    let bound = [a, b].into_iter().find_map(variable_bound)?;
    for k in 2..=8 {
        let value = Expr::int(k);
        let side = |e: &Expr| resolve(&substitute(e, &bound, &value), work);
        let (x, y) = (side(a), side(b));
        if any(&x) || any(&y) || !scalar_equal(&x, &y, work).is_equal() {
            return None;
        }
    }
    Some(Outcome::Equal(Proof::Probable))
}

impl Expr {
    /// Whether nothing but the bounds of operators keeps it from being a scalar.
    fn is_scalar_but_bounds(&self) -> bool {
        match self {
            Self::Apply(name, args) if matches!(&**name, "sum" | "prod") => {
                args.len() == 3 && args[1].is_scalar() && args[2].is_scalar_but_bounds()
            }
            Self::Relation(..) => false,
            leaf if leaf.children().is_empty() => leaf.is_scalar(),
            Self::Neg(_)
            | Self::Add(_)
            | Self::Mul(_)
            | Self::Div(..)
            | Self::Pow(..)
            | Self::Root(..)
            | Self::Call(..)
            | Self::Apply(..) => self.children().into_iter().all(Self::is_scalar_but_bounds),
            _ => false,
        }
    }
}

/// The variable that is the upper bound of a sum or product.
fn variable_bound(e: &Expr) -> Option<Expr> {
    if let Expr::Apply(name, args) = e
        && matches!(&**name, "sum" | "prod")
        && let [_, high, _] = &args[..]
    {
        let names = high.variables();
        if let [name] = names[..] {
            return Some(Expr::Var(name.into()));
        }
    }
    e.children().into_iter().find_map(variable_bound)
}

/// The terms of `Σ_{k=low}^{high} body` for literal bounds, a few hundred at most.
pub(super) fn terms(low: &Expr, high: &Expr, body: &Expr) -> Option<Vec<Expr>> {
    let Expr::Relation(sides, rels) = low else { return None };
    let ([index, from], [Rel::Eq]) = (&sides[..], &rels[..]) else { return None };
    let literal = |e: &Expr| exact(e, &Work::new(100)).filter(BigRational::is_integer)?.to_integer().to_i64();
    let (from, to) = (literal(from)?, literal(high)?);
    let size = i64::try_from(body.children().len()).ok()?;
    if !is_index(index) || from > to || to.checked_sub(from)? > MAX_TERMS || size > 50 {
        return None;
    }
    Some((from..=to).map(|k| substitute(body, index, &Expr::int(k))).collect())
}

/// The letter that runs; `i` is read as the imaginary unit everywhere else.
pub(super) fn is_index(e: &Expr) -> bool {
    matches!(e, Expr::Var(_) | Expr::Const(Const::I))
}

/// The bound and the body with one name for whatever letter runs, told apart by how deep sums are nested.
pub(super) fn unnamed(low: Option<Expr>, body: Expr) -> (Option<Expr>, Expr) {
    let index = match &low {
        Some(Expr::Relation(sides, _)) if is_index(&sides[0]) => sides[0].clone(),
        _ => return (low, body),
    };
    let name = bound_name(&body);
    (low.map(|low| substitute(&low, &index, &name)), substitute(&body, &index, &name))
}

/// A name for a bound variable, by how many are bound inside.
pub(super) fn bound_name(body: &Expr) -> Expr {
    let nested = body.variables().iter().filter(|name| name.starts_with('§')).count();
    Expr::Var(format!("§{nested}").into())
}

/// The integrand and the variable of `f dx`, `dx/f`, `-f dx`.
pub(super) fn without_differential(term: &Expr) -> Option<(Expr, Box<str>)> {
    match term {
        Expr::Neg(inner) => without_differential(inner).map(|(f, x)| (f.neg(), x)),
        Expr::Div(top, bottom) => without_differential(top).map(|(f, x)| (f.over((**bottom).clone()), x)),
        Expr::Mul(v) => match &v[..] {
            [rest @ .., Expr::Var(d), Expr::Var(x)] if **d == *"d" => Some((product(rest), x.clone())),
            [rest @ .., last @ Expr::Div(..)] if !rest.is_empty() => {
                let (f, x) = without_differential(last)?;
                Some((product(rest).times(f), x))
            }
            _ => None,
        },
        _ => None,
    }
}

fn product(factors: &[Expr]) -> Expr {
    if factors.is_empty() { Expr::int(1) } else { super::parser::collapse(factors.to_vec(), Expr::Mul) }
}

/// `d/dx`, `d²/dx²`, `∂/∂x`, `d(x²)/dx` as the top and bottom of a fraction: variable, order and what stands on top.
pub(super) fn differential_operator(top: &Expr, bottom: &Expr) -> Option<(Box<str>, u32, Option<Expr>)> {
    let is_d = |e: &Expr| matches!(e, Expr::Var(d) if matches!(&**d, "d" | "partial"));
    let Expr::Mul(below) = bottom else { return None };
    let [d, variable] = &below[..] else { return None };
    let (x, order) = match variable {
        Expr::Var(x) => (x, 1),
        Expr::Pow(x, n) => match (&**x, exact(n, &Work::new(10))?.to_integer().to_u32()?) {
            (Expr::Var(x), n @ 1..=4) => (x, n),
            _ => return None,
        },
        _ => return None,
    };
    if !is_d(d) {
        return None;
    }
    let symbol = |e: &Expr| match e {
        Expr::Pow(d, n) => is_d(d) && exact(n, &Work::new(10)) == Some(BigRational::from_integer(order.into())),
        other => order == 1 && is_d(other),
    };
    match top {
        whole if symbol(whole) => Some((x.clone(), order, None)),
        Expr::Mul(v)
            if symbol(&v[0]) && v[1..].iter().any(|factor| !matches!(factor, Expr::Var(_)) && factor.variables().contains(&&**x)) =>
        {
            Some((x.clone(), order, Some(product(&v[1..]))))
        }
        _ => None,
    }
}

/// The operator applied `order` times.
pub(super) fn differentiated(x: &str, order: u32, body: Expr) -> Expr {
    (0..order).fold(body, |inner, _| Expr::Apply(format!("{DERIVATIVE}{x}").into(), vec![inner]))
}
