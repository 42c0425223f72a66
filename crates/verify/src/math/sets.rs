//! Sets of real numbers: intervals, rays, points, unions, and the inequalities that describe them.

use num_rational::BigRational;
use num_traits::{Signed, Zero};

use super::ast::{Const, Expr, Func, Rel};
use super::compare::Context;
use super::domains::ranges_over_reals;
use super::exact::exact;
use super::numeric::approximate;
use super::scalar::Outcome;
use super::values::value_equal;
use crate::Proof;

/// One interval; an infinite end is open.
#[derive(Clone, Debug)]
struct Piece {
    lo: Expr,
    hi: Expr,
    lo_closed: bool,
    hi_closed: bool,
}

/// A finite union of intervals.
#[derive(Clone, Debug)]
pub(super) struct RealSet {
    pieces: Vec<Piece>,
    /// The variable of the inequality it came from.
    pub(super) variable: Option<String>,
}

impl Piece {
    fn new(lo: Expr, hi: Expr, lo_closed: bool, hi_closed: bool) -> Self {
        let (lo_closed, hi_closed) = (lo_closed && lo.infinite_sign().is_none(), hi_closed && hi.infinite_sign().is_none());
        Self { lo, hi, lo_closed, hi_closed }
    }

    fn point(e: &Expr) -> Self {
        Self::new(e.clone(), e.clone(), true, true)
    }

    fn line() -> Self {
        Self::new(Expr::neg_infinity(), Expr::infinity(), false, false)
    }

    fn ends(&self, cx: &Context<'_>) -> Option<(f64, f64)> {
        Some((approximate(&self.lo, cx.work)?, approximate(&self.hi, cx.work)?))
    }
}

/// Ends this close are the same; the comparison proper decides afterwards.
fn same(a: f64, b: f64) -> bool {
    a == b || a.is_finite() && b.is_finite() && (a - b).abs() <= 1e-11 * a.abs().max(b.abs()).max(1e-6)
}

impl RealSet {
    fn of(pieces: Vec<Piece>) -> Self {
        Self { pieces, variable: None }
    }

    /// Sorted, disjoint pieces; `None` when the ends cannot be ordered.
    fn normalise(self, cx: &Context<'_>) -> Option<Self> {
        if self.pieces.len() <= 1 {
            if let [piece] = &self.pieces[..]
                && let Some((lo, hi)) = piece.ends(cx)
                && (lo > hi && !same(lo, hi) || same(lo, hi) && !(piece.lo_closed && piece.hi_closed))
            {
                return Some(Self { pieces: Vec::new(), ..self });
            }
            return Some(self);
        }
        let mut keyed = Vec::with_capacity(self.pieces.len());
        for piece in self.pieces {
            cx.work.spend(20)?;
            let (lo, hi) = piece.ends(cx)?;
            if lo < hi && !same(lo, hi) || same(lo, hi) && piece.lo_closed && piece.hi_closed {
                keyed.push((lo, hi, piece));
            }
        }
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.2.lo_closed.cmp(&a.2.lo_closed)));
        let mut merged: Vec<(f64, f64, Piece)> = Vec::with_capacity(keyed.len());
        for (lo, hi, piece) in keyed {
            if let Some((_, top, last)) = merged.last_mut() {
                let touch = same(lo, *top) && (piece.lo_closed || last.hi_closed);
                if touch || (lo < *top && !same(lo, *top)) {
                    if same(hi, *top) {
                        last.hi_closed |= piece.hi_closed;
                    } else if hi > *top {
                        (*top, last.hi, last.hi_closed) = (hi, piece.hi, piece.hi_closed);
                    }
                    continue;
                }
            }
            merged.push((lo, hi, piece));
        }
        Some(Self { pieces: merged.into_iter().map(|m| m.2).collect(), variable: self.variable })
    }

    fn union(sets: Vec<Self>, cx: &Context<'_>) -> Option<Self> {
        let variable = sets.iter().find_map(|s| s.variable.clone());
        Self { pieces: sets.into_iter().flat_map(|s| s.pieces).collect(), variable }.normalise(cx)
    }

    fn intersect(&self, other: &Self, cx: &Context<'_>) -> Option<Self> {
        let mut pieces = Vec::new();
        for a in &self.pieces {
            for b in &other.pieces {
                cx.work.spend(20)?;
                let ((alo, ahi), (blo, bhi)) = (a.ends(cx)?, b.ends(cx)?);
                let (lo, lo_closed) = if same(alo, blo) {
                    (&a.lo, a.lo_closed && b.lo_closed)
                } else if alo > blo {
                    (&a.lo, a.lo_closed)
                } else {
                    (&b.lo, b.lo_closed)
                };
                let (hi, hi_closed) = if same(ahi, bhi) {
                    (&a.hi, a.hi_closed && b.hi_closed)
                } else if ahi < bhi {
                    (&a.hi, a.hi_closed)
                } else {
                    (&b.hi, b.hi_closed)
                };
                pieces.push(Piece::new(lo.clone(), hi.clone(), lo_closed, hi_closed));
            }
        }
        let mut out = Self { pieces, variable: self.variable.clone().or_else(|| other.variable.clone()) };
        // A single reversed piece is empty as well.
        out.pieces.retain(|p| p.ends(cx).is_some_and(|(lo, hi)| lo < hi || same(lo, hi) && p.lo_closed && p.hi_closed));
        out.normalise(cx)
    }

    fn complement(&self, cx: &Context<'_>) -> Option<Self> {
        let sorted = self.clone().normalise(cx)?;
        let mut pieces = Vec::new();
        let (mut lo, mut lo_closed) = (Expr::neg_infinity(), false);
        for p in sorted.pieces {
            pieces.push(Piece::new(lo, p.lo, lo_closed, !p.lo_closed));
            (lo, lo_closed) = (p.hi, !p.hi_closed);
        }
        pieces.push(Piece::new(lo, Expr::infinity(), lo_closed, false));
        pieces.retain(|p| !(p.lo.infinite_sign().is_some() && p.lo.infinite_sign() == p.hi.infinite_sign()));
        Self { pieces, variable: sorted.variable }.normalise(cx)
    }

    /// The ends of each piece and whether they count; `None` for an infinite end.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Option<(&Expr, bool)>, Option<(&Expr, bool)>)> {
        let end = |e: &Expr| e.infinite_sign().is_none();
        self.pieces.iter().map(move |p| (end(&p.lo).then_some((&p.lo, p.lo_closed)), end(&p.hi).then_some((&p.hi, p.hi_closed))))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Compares piece by piece.
    pub(super) fn equals(&self, other: &Self, cx: &Context<'_>) -> Outcome {
        if self.pieces.len() != other.pieces.len() {
            return Outcome::Different(Proof::Structural);
        }
        Outcome::all(self.pieces.iter().zip(&other.pieces).flat_map(|(a, b)| {
            let closed = if (a.lo_closed, a.hi_closed) == (b.lo_closed, b.hi_closed) {
                Outcome::Equal(Proof::Structural)
            } else {
                Outcome::Different(Proof::Structural)
            };
            [closed, value_equal(&a.lo, &b.lo, cx), value_equal(&a.hi, &b.hi, cx)]
        }))
    }
}

/// Whether an expression can only be read as a set of reals (not a point, list or scalar).
pub(super) fn is_set_like(e: &Expr) -> bool {
    match e {
        Expr::Bracket(l, r, v) => v.len() == 2 && !(*l && *r && v.iter().any(|x| !x.is_scalar())),
        // `ℝ − {0}`.
        Expr::Add(v) => matches!(&v[..], [Expr::Const(Const::Reals), Expr::Neg(s)] if matches!(**s, Expr::Set(_))),
        Expr::Const(Const::Reals | Const::Empty) | Expr::Difference(..) | Expr::Builder(..) | Expr::Intersection(_) | Expr::Union(_) => {
            true
        }
        Expr::Relation(sides, rels) => {
            rels.iter().any(|r| r.is_order() || *r == Rel::Ne)
                || (rels[..] == [Rel::In]
                    && (is_set_like(&sides[1]) || matches!(&sides[1], Expr::Tuple(v) if v.len() == 2 && sides[0].is_scalar())))
        }
        Expr::Tuple(v) => v.len() == 2 && v.iter().any(|x| x.infinite_sign().is_some()),
        Expr::List(v) => v.iter().all(|x| matches!(x, Expr::Relation(..))) && v.iter().any(is_set_like),
        _ => false,
    }
}

/// The set an expression denotes; `None` when it is not one we can write as intervals.
pub(super) fn real_set(e: &Expr, cx: &Context<'_>) -> Option<RealSet> {
    cx.work.spend(10)?;
    match e {
        Expr::Const(Const::Reals) => Some(RealSet::of(vec![Piece::line()])),
        Expr::Const(Const::Empty) => Some(RealSet::of(Vec::new())),
        // `(0, 0)` is a point.
        Expr::Tuple(v) if v.len() == 2 && v[0] != v[1] => Some(RealSet::of(vec![Piece::new(v[0].clone(), v[1].clone(), false, false)])),
        Expr::Bracket(l, r, v) if v.len() == 2 => Some(RealSet::of(vec![Piece::new(v[0].clone(), v[1].clone(), *l, *r)])),
        Expr::Set(v) if v.iter().all(Expr::is_scalar) => RealSet::of(v.iter().map(Piece::point).collect()).normalise(cx),
        Expr::Union(v) => RealSet::union(v.iter().map(|x| real_set(x, cx)).collect::<Option<_>>()?, cx),
        Expr::Intersection(v) => {
            let mut sets = v.iter().map(|x| real_set(x, cx)).collect::<Option<Vec<_>>>()?.into_iter();
            let first = sets.next()?;
            sets.try_fold(first, |acc, s| acc.intersect(&s, cx))
        }
        Expr::Difference(a, b) => {
            // A bare number taken away is a set of one.
            let removed = if b.is_scalar() { RealSet::of(vec![Piece::point(b)]) } else { real_set(b, cx)? };
            real_set(a, cx)?.intersect(&removed.complement(cx)?, cx)
        }
        Expr::Add(v) => match &v[..] {
            [line, Expr::Neg(removed)] => real_set(&Expr::Difference(Box::new(line.clone()), removed.clone()), cx),
            _ => None,
        },
        Expr::Builder(element, conditions) => {
            if !ranges_over_reals(element, conditions) {
                return None;
            }
            let named = matches!(**element, Expr::Relation(..)) && !is_domain(element);
            let all = named.then(|| (**element).clone()).into_iter().chain(conditions.iter().cloned()).collect::<Vec<_>>();
            // The letter is bound: another would do.
            Some(RealSet { variable: None, ..conjunction(&all, cx)? })
        }
        Expr::List(v) if v.iter().all(|x| matches!(x, Expr::Relation(..))) => conjunction(v, cx),
        Expr::Relation(sides, rels) => relation_set(sides, rels, cx),
        _ => None,
    }
}

/// Conditions joined by commas or `and`; rays that cannot both hold were meant as alternatives.
fn conjunction(items: &[Expr], cx: &Context<'_>) -> Option<RealSet> {
    let items: Vec<&Expr> = items.iter().filter(|i| !is_domain(i)).collect();
    if items.is_empty() {
        return Some(RealSet::of(vec![Piece::line()]));
    }
    let sets = items.iter().map(|x| real_set(x, cx)).collect::<Option<Vec<_>>>()?;
    let mut both = sets.first()?.clone();
    for s in &sets[1..] {
        both = both.intersect(s, cx)?;
    }
    if both.is_empty() { RealSet::union(sets, cx) } else { Some(both) }
}

/// `x ∈ ℝ` and the like, which say nothing here.
fn is_domain(e: &Expr) -> bool {
    matches!(e, Expr::Relation(sides, rels) if rels[..] == [Rel::In] && matches!(sides[1], Expr::Const(Const::Reals)))
}

fn relation_set(sides: &[Expr], rels: &[Rel], cx: &Context<'_>) -> Option<RealSet> {
    if let ([_, set], [Rel::In]) = (sides, rels) {
        let mut out = real_set(set, cx)?;
        out.variable = sides[0].variables().first().map(|v| (*v).to_owned());
        return Some(out);
    }
    let mut out: Option<RealSet> = None;
    for (pair, rel) in sides.windows(2).zip(rels) {
        // `a < x < b` bounds its middle.
        let turned = matches!(sides, [_, middle @ Expr::Var(_), _] if pair[1] == *middle);
        let next =
            if turned { simple_relation(&pair[1], rel.flipped(), &pair[0], cx)? } else { simple_relation(&pair[0], *rel, &pair[1], cx)? };
        out = Some(match out {
            Some(acc) => acc.intersect_symbolic(next, cx)?,
            None => next,
        });
    }
    out
}

impl RealSet {
    /// Intersects a lower with an upper ray without ordering their ends, so that they may hold parameters.
    fn intersect_symbolic(self, other: Self, cx: &Context<'_>) -> Option<Self> {
        if let Some(both) = self.intersect(&other, cx)
            && (self.pieces.iter().chain(&other.pieces)).all(|p| p.ends(cx).is_some())
        {
            return Some(both);
        }
        let ([a], [b]) = (&self.pieces[..], &other.pieces[..]) else { return None };
        let (low, high) = if a.lo.infinite_sign().is_none() { (a, b) } else { (b, a) };
        if high.lo.infinite_sign().is_none() || low.hi.infinite_sign().is_none() {
            return None;
        }
        let piece = Piece::new(low.lo.clone(), high.hi.clone(), low.lo_closed, high.hi_closed);
        Some(Self { pieces: vec![piece], variable: self.variable })
    }
}

/// `variable rel bound`, or a linear inequality in one variable.
fn simple_relation(left: &Expr, rel: Rel, right: &Expr, cx: &Context<'_>) -> Option<RealSet> {
    let (variable, rel, bound) = match (left, right) {
        (Expr::Var(v), b) if !b.variables().contains(&&**v) => (v.to_string(), rel, b.clone()),
        (b, Expr::Var(v)) if !b.variables().contains(&&**v) => (v.to_string(), rel.flipped(), b.clone()),
        (Expr::Apply(..), b) if b.variables().is_empty() => ("f".to_owned(), rel, b.clone()),
        (b, Expr::Apply(..)) if b.variables().is_empty() => ("f".to_owned(), rel.flipped(), b.clone()),
        _ => match linear(left, right, cx) {
            Some((v, negative, bound)) => (v, if negative { rel.flipped() } else { rel }, bound),
            None => return absolute(left, rel, right, cx).or_else(|| quadratic(left, rel, right, cx)),
        },
    };
    let (inf, sup) = (Expr::neg_infinity(), Expr::infinity());
    let pieces = match rel {
        Rel::Lt => vec![Piece::new(inf, bound, false, false)],
        Rel::Le => vec![Piece::new(inf, bound, false, true)],
        Rel::Gt => vec![Piece::new(bound, sup, false, false)],
        Rel::Ge => vec![Piece::new(bound, sup, true, false)],
        Rel::Eq => vec![Piece::point(&bound)],
        Rel::Ne => vec![Piece::new(inf, bound.clone(), false, false), Piece::new(bound, sup, false, false)],
        Rel::In | Rel::Approx | Rel::To => return None,
    };
    Some(RealSet { pieces, variable: Some(variable) })
}

/// Solves `left = right` for its only variable when it is linear with rational coefficients: name, sign of the slope, root.
fn linear(left: &Expr, right: &Expr, cx: &Context<'_>) -> Option<(String, bool, Expr)> {
    let difference = left.clone().minus(right.clone());
    let names = difference.variables();
    let [name] = names[..] else { return None };
    let at = |x: i64| exact(&difference.map_vars(&|_| BigRational::from_integer(x.into())), cx.work);
    let (f0, f1, f7, below) = (at(0)?, at(1)?, at(7)?, at(-5)?);
    let slope = &f1 - &f0;
    if slope.is_zero() || &f7 - &f0 != &slope * num_bigint::BigInt::from(7) || &f0 - &below != &slope * num_bigint::BigInt::from(5) {
        return None;
    }
    Some((name.to_owned(), slope.is_negative(), Expr::rational(-f0 / slope)))
}

/// `|linear| rel bound` for a positive bound, either way round.
fn absolute(left: &Expr, rel: Rel, right: &Expr, cx: &Context<'_>) -> Option<RealSet> {
    let (inner, rel, bound) = match (left, right) {
        (Expr::Call(Func::Abs, v), b) => (&v[0], rel, b),
        (b, Expr::Call(Func::Abs, v)) => (&v[0], rel.flipped(), b),
        _ => return None,
    };
    if approximate(bound, cx.work)? <= 0.0 {
        return None;
    }
    let low = simple_relation(inner, rel.flipped(), &bound.clone().neg(), cx)?;
    let high = simple_relation(inner, rel, bound, cx)?;
    match rel {
        Rel::Lt | Rel::Le => low.intersect(&high, cx),
        Rel::Gt | Rel::Ge => RealSet::union(vec![low, high], cx),
        _ => None,
    }
}

/// A quadratic inequality with rational coefficients: between its roots, or outside them.
fn quadratic(left: &Expr, rel: Rel, right: &Expr, cx: &Context<'_>) -> Option<RealSet> {
    let difference = left.clone().minus(right.clone());
    let names = difference.variables();
    let [name] = names[..] else { return None };
    let at = |x: i64| exact(&difference.map_vars(&|_| BigRational::from_integer(x.into())), cx.work);
    let (f0, f1, fm, f3) = (at(0)?, at(1)?, at(-1)?, at(3)?);
    let two = BigRational::from_integer(2.into());
    let a = (&f1 + &fm) / &two - &f0;
    let b = (&f1 - &fm) / &two;
    let nine = BigRational::from_integer(9.into());
    if a.is_zero() || &a * nine + &b * BigRational::from_integer(3.into()) + &f0 != f3 || !rel.is_order() {
        return None;
    }
    let below = matches!(rel, Rel::Lt | Rel::Le) != a.is_negative();
    let closed = matches!(rel, Rel::Le | Rel::Ge);
    let discriminant = &b * &b - &a * &f0 * BigRational::from_integer(4.into());
    if discriminant.is_negative() {
        return Some(RealSet { pieces: if below { Vec::new() } else { vec![Piece::line()] }, variable: Some(name.to_owned()) });
    }
    // Ordered by taking the root of the discriminant over |2a|.
    let centre = Expr::rational(-&b / (&a * &two));
    let offset = Expr::Root(Box::new(Expr::int(2)), Box::new(Expr::rational(discriminant / (&a * &a * &two * &two))));
    let (low, high) = (centre.clone().minus(offset.clone()), Expr::Add(vec![centre, offset]));
    let pieces = if below {
        vec![Piece::new(low, high, closed, closed)]
    } else {
        vec![Piece::new(Expr::neg_infinity(), low, false, closed), Piece::new(high, Expr::infinity(), closed, false)]
    };
    RealSet { pieces, variable: Some(name.to_owned()) }.normalise(cx)
}
