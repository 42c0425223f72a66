//! The comparison of two parsed answers: which form each has, and which forms may equal which.

use super::ast::{Const, Expr, Func, Rel};
use super::domains::{integers, named_alike};
use super::naming::{names, unknowns};
use super::operators;
use super::parser::UNNAMED;
use super::policy::MathPolicy;
use super::relations::{ratios_equal, relations_equal, same_time};
use super::residues::residue_equal;
use super::rounding::Rounding;
use super::scalar::Outcome;
use super::sets::{is_set_like, real_set};
use super::shape::{both_signs, components, exact_and_approximate, has_names, letters, list_values, simplify, without_conditions};
use super::texts::{is_prose, texts};
use super::values::value_equal;
use super::work::Work;
use crate::Proof;

/// What every comparison carries.
pub(super) struct Context<'c> {
    pub(super) policy: &'c MathPolicy,
    pub(super) work: &'c Work,
    /// How the problem asks for the answer to be rounded.
    pub(super) rounding: Option<Rounding>,
}

pub(super) const DIFFERENT: Outcome = Outcome::Different(Proof::Structural);
const SAME: Outcome = Outcome::Equal(Proof::Structural);

/// Compares gold with prediction, whatever their forms.
pub(super) fn answers_equal(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    if gold == prediction {
        return SAME;
    }
    if cx.work.spend(10).is_none() {
        return Outcome::Unknown;
    }
    if let (Some(mine), Some(theirs)) = (unknowns(gold), unknowns(prediction))
        && mine != theirs
        && (mine.len() > 1 || theirs.len() > 1 || mine.is_disjoint(&theirs) && several(gold) && several(prediction))
    {
        return DIFFERENT;
    }
    // `x = 2 or x = −3` gives two values of one letter, which are no point.
    let point = |e: &Expr| matches!(e, Expr::Tuple(_));
    let values = |e: &Expr| match e {
        Expr::Union(v) | Expr::List(v) => {
            let bound = v.iter().any(|x| matches!(x, Expr::Relation(_, rels) if rels.iter().any(|rel| *rel != Rel::Eq)));
            !bound && !indexed(e) && unknowns(e).is_some_and(|names| names.len() == 1)
        }
        _ => false,
    };
    if point(gold) && values(prediction) || values(gold) && point(prediction) {
        return DIFFERENT;
    }
    let counted = (counted(gold, prediction), counted(prediction, gold));
    let (gold, prediction) = (&simplify(counted.0.as_ref().unwrap_or(gold)), &simplify(counted.1.as_ref().unwrap_or(prediction)));
    if gold == prediction {
        return SAME;
    }
    let written_out = (integers(gold, prediction, cx), integers(prediction, gold, cx));
    if written_out.0.is_some() || written_out.1.is_some() {
        return answers_equal(written_out.0.as_ref().unwrap_or(gold), written_out.1.as_ref().unwrap_or(prediction), cx);
    }
    if operators::any(gold) || operators::any(prediction) {
        return operators::compare(gold, prediction, cx).unwrap_or_else(|| {
            // Two operators that look different may have one value.
            let alike = written_alike(gold, prediction, cx);
            if alike.is_equal() { alike } else { Outcome::Unknown }
        });
    }
    written_alike(gold, prediction, cx)
}

/// Whether the letters of a list carry an index, `x_1 = 2, x_2 = 3`.
fn indexed(e: &Expr) -> bool {
    e.variables().iter().any(|name| name.contains('_'))
}

/// Whether an answer has more than one value.
fn several(e: &Expr) -> bool {
    matches!(e, Expr::List(_) | Expr::Union(_) | Expr::Set(_)) || e.any(&|x| matches!(x, Expr::PlusMinus(..)))
}

/// `C(10, 3)` and `P(10, 3)` beside a number are no points but count.
fn counted(e: &Expr, other: &Expr) -> Option<Expr> {
    if !other.is_scalar() || !other.variables().is_empty() {
        return None;
    }
    let binomial = |v: &[Expr]| Expr::Call(Func::Binom, v.to_vec());
    match e {
        Expr::Mul(v) => match &v[..] {
            [Expr::Var(name), Expr::Tuple(v)] if **name == *"C" && v.len() == 2 => Some(binomial(v)),
            _ => None,
        },
        Expr::Apply(name, v) if **name == *"P" && v.len() == 2 => Some(binomial(v).times(Expr::Call(Func::Factorial, vec![v[1].clone()]))),
        _ => None,
    }
}

/// Compares what is left after all that can be worked out beforehand.
fn written_alike(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    if let Some(outcome) = conditions(gold, prediction, cx) {
        return outcome;
    }
    if let Some(outcome) = approximations(gold, prediction, cx) {
        return outcome;
    }
    if let Some(outcome) = names(gold, prediction, cx) {
        return outcome;
    }
    if let Some(outcome) = plus_minus(gold, prediction, cx) {
        return outcome;
    }
    forms(gold, prediction, cx)
}

/// Drops side conditions such as `k ∈ ℤ` or `x ≠ 1` that only one side, or both, spell out.
fn conditions(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Option<Outcome> {
    let (g, p) = (without_conditions(gold), without_conditions(prediction));
    if g.is_none() && p.is_none() {
        return None;
    }
    let outcome = answers_equal(g.as_ref().unwrap_or(gold), p.as_ref().unwrap_or(prediction), cx);
    Some(outcome)
}

/// `x = √2 ≈ 1.41`: the exact value counts, or the approximation where the gold is a decimal itself.
fn approximations(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Option<Outcome> {
    let (g, p) = (exact_and_approximate(gold), exact_and_approximate(prediction));
    if g.is_none() && p.is_none() {
        return None;
    }
    let (gold, _) = g.as_ref().map_or((gold, gold), |(e, a)| (e, a));
    let (exact, approximate) = p.as_ref().map_or((prediction, prediction), |(e, a)| (e, a));
    let first = answers_equal(gold, exact, cx);
    let decimal = gold.any(&|x| matches!(x, Expr::Num(n) if n.decimals.is_some()));
    if first.is_equal() || !decimal {
        return Some(first);
    }
    let second = answers_equal(gold, approximate, cx);
    Some(if second.is_equal() { second } else { first })
}

/// Both values of each `±`.
fn plus_minus(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Option<Outcome> {
    let has = |e: &Expr| e.any(&|x| matches!(x, Expr::PlusMinus(..)));
    if !has(gold) && !has(prediction) {
        return None;
    }
    Some(answers_equal(&both_signs(gold), &both_signs(prediction), cx))
}

/// Dispatch on the forms that are left.
fn forms(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    match (gold, prediction) {
        (Expr::Text(a), Expr::Text(b)) => return texts(a, b),
        // `\text{A}` and `A`.
        (Expr::Text(t), Expr::Var(v)) | (Expr::Var(v), Expr::Text(t)) => return if **t == *v.to_lowercase() { SAME } else { DIFFERENT },
        (Expr::Text(t), product @ Expr::Mul(_)) | (product @ Expr::Mul(_), Expr::Text(t)) => {
            return if letters(product).is_some_and(|l| l == **t) { SAME } else { DIFFERENT };
        }
        (Expr::Text(t), Expr::Const(Const::Infinity)) | (Expr::Const(Const::Infinity), Expr::Text(t)) if &**t == "infinitely many" => {
            return SAME;
        }
        // "There are no such numbers" may be 0.
        (Expr::Text(t), _) | (_, Expr::Text(t)) if is_prose(t) => return Outcome::Unknown,
        // `\triangle ABC` and `ABC`.
        (Expr::Var(v), product @ Expr::Mul(_)) | (product @ Expr::Mul(_), Expr::Var(v)) if v.contains(' ') => {
            let name = v.split_once(' ').map(|(_, name)| name.to_lowercase());
            return if letters(product) == name { SAME } else { DIFFERENT };
        }
        (Expr::Clock(a, h), Expr::Clock(b, k)) => return if (a, h) == (b, k) { SAME } else { DIFFERENT },
        (Expr::Clock(a, half), Expr::Ratio(r)) | (Expr::Ratio(r), Expr::Clock(a, half)) => {
            return if same_time(*a, *half, r) { SAME } else { DIFFERENT };
        }
        (Expr::Based(a, m, x), Expr::Based(b, n, y)) => {
            return if m == n && a == b || m != n && x == y { Outcome::Equal(Proof::Exact) } else { Outcome::Different(Proof::Exact) };
        }
        // The base may be left out like a unit: the digits must agree.
        (Expr::Based(digits, _, _), other) | (other, Expr::Based(digits, _, _)) => {
            let agree = matches!(other, Expr::Num(n) if n.value.is_integer() && n.value.to_integer().to_string() == **digits);
            return if agree && cx.policy.units_optional { SAME } else { DIFFERENT };
        }
        (Expr::Ratio(a), Expr::Ratio(b)) => return ratios_equal(a, b, cx),
        (Expr::Ratio(r), other) | (other, Expr::Ratio(r)) if r.len() == 2 && cx.policy.ratios_are_fractions => {
            let quotient = r[0].clone().over(r[1].clone());
            let swapped = matches!(prediction, Expr::Ratio(_));
            return if swapped { value_or_different(other, &quotient, cx) } else { value_or_different(&quotient, other, cx) };
        }
        (Expr::Call(Func::Mod, a), other) if other.is_scalar() && !matches!(other, Expr::Call(Func::Mod, _)) => {
            return residue_equal(a, other, cx);
        }
        (other, Expr::Call(Func::Mod, a)) if other.is_scalar() && !matches!(other, Expr::Call(Func::Mod, _)) => {
            return residue_equal(a, other, cx);
        }
        _ => {}
    }
    let matrix = matches!(gold, Expr::Matrix(_)) || matches!(prediction, Expr::Matrix(_));
    if !matrix && (is_set_like(gold) || is_set_like(prediction)) {
        let sets = sets_equal(gold, prediction, cx);
        return match (gold, prediction) {
            // Two inequalities for one letter are the sets of its values.
            (Expr::Relation(..), Expr::Relation(..))
                if sets != Outcome::Unknown && gold.variables().len() == 1 && gold.variables() == prediction.variables() =>
            {
                sets
            }
            (Expr::Relation(a, ra), Expr::Relation(b, rb)) if !sets.is_equal() && ra[..] != [Rel::In] && rb[..] != [Rel::In] => {
                let chains = chains_equal(a, ra, b, rb, cx);
                if chains.is_equal() { chains } else { sets }
            }
            _ => sets,
        };
    }
    if let (Expr::Relation(a, ra), Expr::Relation(b, rb)) = (gold, prediction) {
        return chains_equal(a, ra, b, rb, cx);
    }
    if matches!(gold, Expr::Relation(..)) || matches!(prediction, Expr::Relation(..)) {
        return DIFFERENT;
    }
    collections(gold, prediction, cx)
}

fn value_or_different(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    if is_value(gold) && is_value(prediction) { value_equal(gold, prediction, cx) } else { DIFFERENT }
}

/// A scalar, with or without a unit.
fn is_value(e: &Expr) -> bool {
    match e {
        Expr::Quantity(v, _) | Expr::Percent(v) | Expr::Degrees(v) | Expr::Neg(v) => is_value(v),
        Expr::Add(v) | Expr::Mul(v) => v.iter().all(is_value),
        Expr::Div(a, b) => is_value(a) && is_value(b),
        other => other.is_scalar(),
    }
}

fn chains_equal(a: &[Expr], ra: &[Rel], b: &[Expr], rb: &[Rel], cx: &Context<'_>) -> Outcome {
    if let ([l, r], [rel], [m, s], [sel]) = (a, ra, b, rb) {
        return match (rel, sel) {
            (Rel::In, Rel::In) => Outcome::all([answers_equal(l, m, cx), answers_equal(r, s, cx)]),
            (Rel::In, _) | (_, Rel::In) => Outcome::Unknown,
            _ => relations_equal((l, *rel, r), (m, *sel, s), cx),
        };
    }
    // Longer chains: the same one forwards or backwards.
    let forwards = ra == rb && a.len() == b.len();
    let backwards = ra.len() == rb.len() && ra.iter().zip(rb.iter().rev()).all(|(x, y)| *x == y.flipped());
    if forwards {
        let same = Outcome::all(a.iter().zip(b).map(|(x, y)| answers_equal(x, y, cx)));
        if same.is_equal() || !backwards {
            return same;
        }
    }
    if backwards {
        return Outcome::all(a.iter().zip(b.iter().rev()).map(|(x, y)| answers_equal(x, y, cx)));
    }
    DIFFERENT
}

/// At least one side is an interval, an inequality, or built from them.
fn sets_equal(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    let relation = |e: &Expr| e.any(&|x| matches!(x, Expr::Relation(_, r) if r.iter().any(|r| *r != Rel::In)));
    if relation(gold) != relation(prediction) && !cx.policy.intervals_equal_inequalities {
        return DIFFERENT;
    }
    match (gold, prediction) {
        // `[1, 2]` may list the values that the gold lists; as gold it is an interval.
        (Expr::List(a), Expr::Bracket(true, true, b)) if !a.iter().any(|x| matches!(x, Expr::Relation(..))) => return unordered(a, b, cx),
        (Expr::Tuple(_), Expr::Bracket(true, true, _)) | (Expr::Bracket(true, true, _), Expr::Tuple(_)) => return DIFFERENT,
        _ => {}
    }
    match (real_set(gold, cx), real_set(prediction, cx)) {
        (Some(g), Some(p)) => {
            if let (Some(v), Some(w)) = (&g.variable, &p.variable)
                && v != w
                && v != UNNAMED
                && w != UNNAMED
            {
                return DIFFERENT;
            }
            g.equals(&p, cx)
        }
        _ => match (gold, prediction) {
            (Expr::Relation(a, ra), Expr::Relation(b, rb)) => chains_equal(a, ra, b, rb, cx),
            (Expr::Union(a), Expr::Union(b)) | (Expr::List(a), Expr::List(b)) | (Expr::Intersection(a), Expr::Intersection(b)) => {
                unordered(a, b, cx)
            }
            (Expr::Union(a), Expr::List(b)) | (Expr::List(a), Expr::Union(b)) => unordered(a, b, cx),
            (Expr::Builder(..), Expr::Builder(..)) => match (gold, &named_alike(gold, prediction)) {
                (Expr::Builder(a, c), Expr::Builder(b, d)) => Outcome::all([answers_equal(a, b, cx), unordered(c, d, cx)]),
                _ => Outcome::Unknown,
            },
            (Expr::Difference(a, b), Expr::Difference(c, d)) => Outcome::all([answers_equal(a, c, cx), answers_equal(b, d, cx)]),
            _ => Outcome::Unknown,
        },
    }
}

/// One to one, in any order.
fn unordered(g: &[Expr], p: &[Expr], cx: &Context<'_>) -> Outcome {
    if g.len() != p.len() {
        return DIFFERENT;
    }
    let mut free: Vec<&Expr> = p.iter().collect();
    let (mut out, mut unknown) = (SAME, false);
    for a in g {
        let mut hit = None;
        for (i, b) in free.iter().enumerate() {
            match answers_equal(a, b, cx) {
                Outcome::Equal(proof) => {
                    hit = Some((i, proof));
                    break;
                }
                Outcome::Unknown => unknown = true,
                Outcome::Different(_) => {}
            }
            if cx.work.is_spent() {
                return Outcome::Unknown;
            }
        }
        match hit {
            Some((i, proof)) => {
                free.remove(i);
                out = Outcome::all([out, Outcome::Equal(proof)]);
            }
            None if unknown => return Outcome::Unknown,
            None => return Outcome::Different(Proof::Structural),
        }
    }
    out
}

/// Tuples, lists, sets and matrices; two plain values in the end.
fn collections(gold: &Expr, prediction: &Expr, cx: &Context<'_>) -> Outcome {
    let pairwise = |a: &[Expr], b: &[Expr]| {
        if a.len() == b.len() { Outcome::all(a.iter().zip(b).map(|(x, y)| answers_equal(x, y, cx))) } else { DIFFERENT }
    };
    match (gold, prediction) {
        (Expr::Matrix(a), Expr::Matrix(b)) => {
            if a.len() != b.len() || a.first().map(Vec::len) != b.first().map(Vec::len) {
                return DIFFERENT;
            }
            pairwise(&a.concat(), &b.concat())
        }
        (Expr::Matrix(m), other) | (other, Expr::Matrix(m)) => {
            let vector = m.len() == 1 || m.first().is_some_and(|r| r.len() == 1);
            match other {
                Expr::Tuple(v) | Expr::List(v) | Expr::Bracket(true, true, v) if vector => {
                    let m = m.concat();
                    if matches!(gold, Expr::Matrix(_)) { pairwise(&m, v) } else { pairwise(v, &m) }
                }
                one if m.len() == 1 && m[0].len() == 1 => answers_equal(&m[0][0], one, cx),
                sum if vector && sum.is_scalar() => {
                    let m = m.concat();
                    components(sum, m.len())
                        .map_or(DIFFERENT, |c| if matches!(gold, Expr::Matrix(_)) { pairwise(&m, &c) } else { pairwise(&c, &m) })
                }
                // A list of rows.
                Expr::Tuple(rows) | Expr::Bracket(_, _, rows) => {
                    let rows = rows.iter().map(|r| match r {
                        Expr::Tuple(v) | Expr::Bracket(_, _, v) => Some(v.clone()),
                        _ => None,
                    });
                    match rows.collect::<Option<Vec<_>>>() {
                        Some(rows) if rows.len() == m.len() && rows.iter().zip(m).all(|(r, s)| r.len() == s.len()) => {
                            pairwise(&m.concat(), &rows.concat())
                        }
                        _ => DIFFERENT,
                    }
                }
                _ => DIFFERENT,
            }
        }
        (Expr::Tuple(v), sum) if sum.is_scalar() => components(sum, v.len()).map_or(DIFFERENT, |c| pairwise(v, &c)),
        (sum, Expr::Tuple(v)) if sum.is_scalar() => components(sum, v.len()).map_or(DIFFERENT, |c| pairwise(&c, v)),
        // Distinct names give the values an order.
        (Expr::List(a), Expr::Set(_)) | (Expr::Set(_), Expr::List(a)) if has_names(a) => DIFFERENT,
        (Expr::List(a), Expr::List(b)) if has_names(a) != has_names(b) => pairwise(a, b),
        (Expr::List(a), Expr::List(b)) => {
            if cx.policy.lists_are_unordered {
                unordered(a, b, cx)
            } else {
                pairwise(a, b)
            }
        }
        (Expr::Set(a), Expr::Set(b)) if a.len() != b.len() => unordered(&distinct(a, cx), &distinct(b, cx), cx),
        (Expr::Set(a), Expr::Set(b) | Expr::List(b)) | (Expr::List(a), Expr::Set(b)) => unordered(a, b, cx),
        (Expr::Tuple(a), Expr::Tuple(b)) => pairwise(a, b),
        (Expr::Tuple(t), Expr::List(l)) | (Expr::List(l), Expr::Tuple(t)) => {
            let values = list_values(l);
            if matches!(gold, Expr::Tuple(_)) { pairwise(t, &values) } else { pairwise(&values, t) }
        }
        (Expr::Bracket(l, r, a), Expr::Bracket(m, s, b)) => {
            if (l, r) == (m, s) {
                pairwise(a, b)
            } else {
                DIFFERENT
            }
        }
        (Expr::Bracket(true, true, a), Expr::Tuple(b)) | (Expr::Tuple(a), Expr::Bracket(true, true, b)) => pairwise(a, b),
        (Expr::Bracket(true, true, a), Expr::List(b) | Expr::Set(b)) | (Expr::List(a) | Expr::Set(a), Expr::Bracket(true, true, b)) => {
            unordered(a, b, cx)
        }
        (Expr::Set(v), other) if v.len() == 1 => answers_equal(&v[0], other, cx),
        (other, Expr::Set(v)) if v.len() == 1 => answers_equal(other, &v[0], cx),
        _ => value_or_different(gold, prediction, cx),
    }
}

/// The elements of a set, each once.
fn distinct(items: &[Expr], cx: &Context<'_>) -> Vec<Expr> {
    let mut kept: Vec<Expr> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.iter().any(|k| answers_equal(k, item, cx).is_equal()) {
            kept.push(item.clone());
        }
    }
    kept
}
