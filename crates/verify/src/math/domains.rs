//! Sets of integers that conditions describe, and the letter that a set builder binds.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, ToPrimitive};

use super::ast::{Const, Expr, Rel};
use super::compare::Context;
use super::exact::exact;
use super::sets::real_set;

/// Sets of more integers are not written out.
const MAX_INTEGERS: usize = 200;

/// Where a variable is said to be from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Domain {
    Integers,
    /// From 0 or from 1 on.
    Naturals,
    Positive,
}

/// The domain that `x ∈ ℤ` and its like give, with the variable.
fn domain(e: &Expr) -> Option<(&str, Domain)> {
    let Expr::Relation(sides, rels) = e else { return None };
    let ([Expr::Var(name), set], [Rel::In]) = (&sides[..], &rels[..]) else { return None };
    let domain = match set {
        Expr::Const(Const::Integers) => Domain::Integers,
        Expr::Const(Const::Naturals) => Domain::Naturals,
        Expr::Var(positive) if **positive == *"ℤ+" => Domain::Positive,
        _ => return None,
    };
    Some((name, domain))
}

/// `{x ∈ ℤ : |x| ≤ 2}` as the set of its elements, where there are finitely many; `−2 ≤ x ≤ 2, x ∈ ℤ` likewise beside a set or list
/// of values.
pub(super) fn integers(e: &Expr, other: &Expr, cx: &Context<'_>) -> Option<Expr> {
    let parts: Vec<&Expr> = match e {
        Expr::Builder(element, conditions) => std::iter::once(&**element).chain(conditions).collect(),
        Expr::List(items) if matches!(other, Expr::Set(_) | Expr::List(_)) && other.children().iter().all(|x| x.is_scalar()) => {
            items.iter().collect()
        }
        _ => return None,
    };
    let (name, from) = parts.iter().find_map(|part| domain(part))?;
    let element = Expr::Var(name.into());
    let conditions: Vec<Expr> =
        parts.iter().filter(|part| domain(part).is_none() && ***part != element).map(|part| (*part).clone()).collect();
    if conditions.is_empty() || conditions.iter().any(|c| !matches!(c, Expr::Relation(..)) || c.variables() != [name]) {
        return None;
    }
    let mut values = Vec::new();
    for (low, high) in real_set(&Expr::List(conditions), cx)?.spans() {
        let low = match (low, from) {
            (Some((end, closed)), _) => first_integer(&exact(end, cx.work)?, closed),
            (None, Domain::Positive) => BigInt::one(),
            (None, _) => return None,
        };
        let (end, closed) = high?;
        let high = -first_integer(&-exact(end, cx.work)?, closed);
        let low = if from == Domain::Positive { low.max(BigInt::one()) } else { low };
        // Whether 0 is a natural number is a convention.
        if from == Domain::Naturals && low < BigInt::one() {
            return None;
        }
        let count = (&high - &low).to_i64()?;
        if count >= i64::try_from(MAX_INTEGERS).ok()? {
            return None;
        }
        values.extend((0..=count).map(|k| Expr::rational(BigRational::from_integer(&low + BigInt::from(k)))));
    }
    (values.len() <= MAX_INTEGERS).then_some(Expr::Set(values))
}

/// The smallest integer not below `end`, or above it where the end is open.
fn first_integer(end: &BigRational, closed: bool) -> BigInt {
    let integer = end.numer().div_ceil(end.denom());
    if end.is_integer() && !closed { integer + BigInt::one() } else { integer }
}

/// Whether a set builder ranges over reals alone: its element is a bare variable and nothing says that it is an integer.
pub(super) fn ranges_over_reals(element: &Expr, conditions: &[Expr]) -> bool {
    let bare = match element {
        Expr::Var(_) => true,
        Expr::Relation(sides, rels) => matches!(sides[0], Expr::Var(_)) && rels[..] == [Rel::In],
        _ => false,
    };
    let discrete = |e: &Expr| {
        matches!(e, Expr::Relation(sides, rels) if rels.contains(&Rel::In)
            && matches!(sides.last(), Some(Expr::Const(Const::Integers | Const::Naturals | Const::Rationals | Const::Complexes) | Expr::Var(_))))
    };
    // A condition on another letter says nothing of the elements.
    fn about(e: &Expr, name: &str) -> bool {
        match e {
            Expr::Union(v) | Expr::List(v) => v.iter().all(|x| about(x, name)),
            other => other.variables().contains(&name),
        }
    }
    let name = element.variables().first().copied().unwrap_or_default();
    bare && !discrete(element) && !conditions.iter().any(discrete) && conditions.iter().all(|c| about(c, name))
}

/// `other` with its bound letter named as that of `builder`, where each binds one.
pub(super) fn named_alike(builder: &Expr, other: &Expr) -> Expr {
    match (&builder.variables()[..], &other.variables()[..]) {
        ([wanted], [found]) if wanted != found => renamed(other, found, wanted),
        _ => other.clone(),
    }
}

/// One letter for another.
pub(super) fn renamed(e: &Expr, from: &str, to: &str) -> Expr {
    match e {
        Expr::Var(v) if **v == *from => Expr::Var(to.into()),
        other => other.map_children(&mut |c| renamed(c, from, to)),
    }
}
