//! What an answer names: `x = 5`, `f(x) = x²`, `dy/dx = 2x`, and when two names are of one thing.

use std::collections::BTreeSet;

use super::ast::{Expr, Func, Rel};
use super::compare::{Context, DIFFERENT, answers_equal};
use super::domains::renamed;
use super::parser::UNNAMED;
use super::relations::{is_name, same_derivative};
use super::scalar::{Outcome, scalar_equal};

/// The letters, without their index, that the parts of an answer give values or bounds for; `None` where a part does not.
pub(super) fn unknowns(e: &Expr) -> Option<BTreeSet<String>> {
    let stem = |name: &str| name.split('_').next().unwrap_or(name).to_owned();
    match e {
        Expr::List(v) | Expr::Union(v) | Expr::Set(v) => {
            let mut names = BTreeSet::new();
            for item in v {
                match unknowns(item) {
                    Some(more) => names.extend(more),
                    // `x = 1, −3`.
                    None if !names.is_empty() && item.is_scalar() && item.variables().is_empty() => {}
                    None => return None,
                }
            }
            (!names.is_empty()).then_some(names)
        }
        Expr::Relation(sides, rels) if rels.iter().all(|rel| rel.is_order() || matches!(rel, Rel::Eq | Rel::Ne)) => {
            // `x(t) = cos t` gives a value to `x` as well.
            let named = |side: &&Expr| match side {
                Expr::Var(_) => true,
                Expr::Apply(_, x) => x.iter().all(|x| matches!(x, Expr::Var(_))),
                _ => false,
            };
            let (letters, values): (Vec<&Expr>, Vec<&Expr>) = sides.iter().partition(named);
            let [Expr::Var(name) | Expr::Apply(name, _)] = letters[..] else { return None };
            let bound = letters[0].variables();
            let closed = |value: &&Expr| value.variables().iter().all(|v| bound.contains(v) && **v != **name);
            (**name != *UNNAMED && values.iter().all(closed)).then(|| BTreeSet::from([stem(name)]))
        }
        _ => None,
    }
}

/// The name and the value of `x = 5`, `f(x) = …`, `(x, y) = (1, 2)`, `1 + 4 = 5`.
fn named<'e>(e: &'e Expr, cx: &Context<'_>) -> Option<(&'e Expr, &'e Expr)> {
    let Expr::Relation(sides, rels) = e else { return None };
    if !rels.iter().all(|r| matches!(r, Rel::Eq | Rel::Approx)) {
        return None;
    }
    let (left, right) = (sides.first()?, sides.last()?);
    if is_name(left, right) {
        return Some((left, right));
    }
    // `5 = x`.
    if sides.len() == 2 && matches!(right, Expr::Var(_) | Expr::Apply(..)) && is_name(right, left) {
        return Some((right, left));
    }
    // An identity names nothing, but its last side is what was meant.
    (left.is_scalar() && right.is_scalar() && scalar_equal(left, right, cx.work).is_equal()).then_some((left, right))
}

/// Two answers of which one names its value, or both do; `None` where the names decide nothing.
pub(super) fn names(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Option<Outcome> {
    let relation = |e: &Expr| matches!(e, Expr::Relation(..));
    match (named(gold, cx), named(prediction, cx)) {
        (Some((n, v)), Some((m, w))) => {
            // "x ≡ 2 (mod 5)" is more than `x = 2`.
            let class = |e: &Expr| matches!(e, Expr::Call(Func::Mod, _));
            if class(v) != class(w) && v.variables().is_empty() && w.variables().is_empty() {
                return Some(DIFFERENT);
            }
            if n == m || matches!((n, m), (Expr::Text(_), _) | (_, Expr::Text(_))) || same_function(n, m) {
                // The letter of `f(t) = t²` is bound; `f(y) = x²` is another function.
                let bound = match (n, m) {
                    (Expr::Apply(_, x), Expr::Apply(_, y)) => match (&x[..], &y[..]) {
                        ([Expr::Var(x)], [Expr::Var(y)]) if x != y => Some((x, y)),
                        _ => None,
                    },
                    _ => None,
                };
                if let Some((x, _)) = bound
                    && w.variables().contains(&&**x)
                {
                    return Some(DIFFERENT);
                }
                let w = &bound.map_or_else(|| w.clone(), |(x, y)| renamed(w, y, x));
                let values = answers_equal(v, w, cx);
                if values.is_equal() || n == m && !v.is_scalar() {
                    return Some(values);
                }
            }
            None
        }
        (Some((n, v)), None) if !relation(prediction) && cx.policy.names_optional => match prediction {
            // A named value against a list of named values is a shorter answer.
            Expr::List(items) if items.iter().any(relation) && !matches!(n, Expr::Tuple(_)) => None,
            _ => Some(answers_equal(v, prediction, cx)),
        },
        (None, Some((n, w))) if !relation(gold) && cx.policy.names_optional => match gold {
            Expr::List(items) if items.iter().any(relation) && !matches!(n, Expr::Tuple(_)) => None,
            _ => Some(answers_equal(gold, w, cx)),
        },
        _ => None,
    }
}

/// `f(x)` and `y`, `f(x)` and `f`, `y'` and `dy/dx`: names of one function.
fn same_function(a: &Expr, b: &Expr) -> bool {
    if let Some(same) = same_derivative(a, b) {
        return same;
    }
    match (a, b) {
        (Expr::Apply(f, x), Expr::Var(v)) | (Expr::Var(v), Expr::Apply(f, x)) => {
            f == v || &**v == "y" || matches!(&x[..], [Expr::Var(n)] if **v == *format!("{f}_{n}"))
        }
        (Expr::Apply(f, x), Expr::Apply(g, y)) => {
            // `f(x)` and `f(t)` are one function, `f(2)` and `f(3)` two values, `P(A)` and `P(B)` two probabilities.
            let runs = |e: &Expr| matches!(e, Expr::Var(v) if v.starts_with(|c: char| c.is_lowercase()));
            (f == g || matches!((&**f, &**g), ("y", "f") | ("f", "y")))
                && x.len() == y.len()
                && x.iter().zip(y).all(|(a, b)| a == b || runs(a) || runs(b))
        }
        _ => false,
    }
}
