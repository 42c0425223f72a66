//! One shape for answers that are written in several: systems, repeated names, signs, matrices, vectors.

use super::ast::{Const, Expr, Rel};
use super::relations::is_name;
use super::sets::is_set_like;

/// Brackets, lists and systems in one shape each.
pub(super) fn simplify(e: &Expr) -> Expr {
    match e {
        Expr::Set(v) if v.len() == 1 && matches!(v[0], Expr::List(_) | Expr::Tuple(_) | Expr::Relation(..)) => match &v[0] {
            Expr::List(items) => Expr::Set(items.clone()),
            _ => e.clone(),
        },
        // `x = 1 or x = 2`, `x = 1, 2`: the values under one name.
        Expr::List(v) if is_compound(v) => Expr::Add(v.clone()),
        Expr::Union(v) | Expr::List(v) => same_name(v).or_else(|| excluded(v)).unwrap_or_else(|| e.clone()),
        // A system in braces.
        Expr::Set(v) if v.len() > 1 && v.iter().all(|x| matches!(x, Expr::Relation(_, r) if r[..] == [Rel::Eq])) => Expr::List(v.clone()),
        // `x ∈ {1, 2}`.
        Expr::Relation(sides, rels) if rels[..] == [Rel::In] && matches!(&sides[1], Expr::Set(_)) => sides[1].clone(),
        Expr::Builder(element, conditions) if conditions.len() == 1 => match &conditions[0] {
            // `{x | x = 1 or x = 2}`.
            Expr::Union(v) if matches!(**element, Expr::Var(_)) => {
                same_name(v).map_or_else(|| e.clone(), |l| if let Expr::List(items) = l { Expr::Set(items) } else { l })
            }
            _ => e.clone(),
        },
        // The point `A(3, 4)`.
        Expr::Mul(v) if matches!(&v[..], [Expr::Var(name), Expr::Tuple(_)] if is_point_name(name)) => v[1].clone(),
        Expr::Apply(name, v) if v.len() >= 2 && is_point_name(name) => Expr::Tuple(v.clone()),
        // A column written as a row.
        Expr::Pow(base, t) if matches!(**base, Expr::Tuple(_)) && is_transpose(t) => (**base).clone(),
        Expr::Mul(_) | Expr::Div(..) | Expr::Neg(_) | Expr::Add(_) | Expr::Pow(..) => matrix(e).map_or_else(|| e.clone(), Expr::Matrix),
        _ => e.clone(),
    }
}

/// A capital letter, perhaps with an index or a prime.
fn is_point_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_uppercase()) && chars.all(|c| c.is_ascii_digit() || matches!(c, '_' | '\''))
}

/// Quantities of one dimension in falling units, such as 2 hours and 30 minutes.
fn is_compound(items: &[Expr]) -> bool {
    items.windows(2).all(|w| match (&w[0], &w[1]) {
        (Expr::Quantity(_, u), Expr::Quantity(_, v)) => u.dimension == v.dimension && u.dimension != [0; 8] && u.scale > v.scale,
        _ => false,
    })
}

/// `x ≠ 0, 1`: the relation holds for each value.
fn excluded(items: &[Expr]) -> Option<Expr> {
    let Some(Expr::Relation(sides, rels)) = items.first() else { return None };
    if rels[..] != [Rel::Ne] || !items[1..].iter().all(Expr::is_scalar) {
        return None;
    }
    let rest = items[1..].iter().map(|x| Expr::Relation(vec![sides[0].clone(), x.clone()], rels.clone()));
    Some(Expr::List(std::iter::once(items[0].clone()).chain(rest).collect()))
}

/// The values when all items are equations for one name, or only the first is.
fn same_name(items: &[Expr]) -> Option<Expr> {
    let named = |e: &Expr| match e {
        Expr::Relation(sides, rels) if sides.len() == 2 && matches!(rels[..], [Rel::Eq | Rel::Approx]) && is_name(&sides[0], &sides[1]) => {
            Some((sides[0].clone(), sides[1].clone()))
        }
        _ => None,
    };
    let (name, first) = named(items.first()?)?;
    let mut values = vec![first];
    for item in &items[1..] {
        match named(item) {
            Some((n, v)) if n == name => values.push(v),
            None if item.is_scalar() || matches!(item, Expr::PlusMinus(..)) => values.push(item.clone()),
            _ => return None,
        }
    }
    Some(Expr::List(values))
}

pub(super) fn without_conditions(e: &Expr) -> Option<Expr> {
    let Expr::List(items) = e else { return None };
    let is_condition = |x: &Expr| {
        matches!(x, Expr::Relation(sides, rels) if rels[..] == [Rel::In]
            && matches!(sides[1], Expr::Const(Const::Integers | Const::Naturals | Const::Reals | Const::Rationals | Const::Complexes)))
            || matches!(x, Expr::Relation(_, rels) if rels[..] == [Rel::Ne])
    };
    let kept: Vec<Expr> = items.iter().filter(|x| !is_condition(x)).cloned().collect();
    if kept.len() == items.len() || kept.is_empty() || kept.iter().all(is_set_like) {
        return None;
    }
    Some(super::parser::collapse(kept, Expr::List))
}

pub(super) fn both_signs(e: &Expr) -> Expr {
    if !e.any(&|x| matches!(x, Expr::PlusMinus(..))) {
        return e.clone();
    }
    match e {
        Expr::List(v) | Expr::Set(v) => {
            let items = v.iter().flat_map(|x| match both_signs(x) {
                Expr::List(two) => two,
                one => vec![one],
            });
            let items = items.collect();
            if matches!(e, Expr::Set(_)) { Expr::Set(items) } else { Expr::List(items) }
        }
        _ => Expr::List(vec![with_sign(e, true), with_sign(e, false)]),
    }
}

fn with_sign(e: &Expr, upper: bool) -> Expr {
    match e {
        Expr::PlusMinus(a, b, plus) => {
            let (a, b) = (with_sign(a, upper), with_sign(b, upper));
            Expr::Add(vec![a, if *plus == upper { b } else { b.neg() }])
        }
        other => other.map_children(&mut |c| with_sign(c, upper)),
    }
}

/// The components of `3i + 4j` along the unit vectors i, j, k.
pub(super) fn components(e: &Expr, dimension: usize) -> Option<Vec<Expr>> {
    const UNITS: [&str; 3] = ["→i", "→j", "→k"];
    let names = e.variables();
    if dimension > 3
        || !e.is_scalar()
        || !names.iter().any(|n| n.starts_with('→'))
        || names.iter().any(|n| n.starts_with('→') && !UNITS[..dimension].contains(n))
    {
        return None;
    }
    let only = |kept: usize| {
        fn substitute(e: &Expr, kept: &str) -> Expr {
            match e {
                Expr::Var(v) if v.starts_with('→') => Expr::int(i64::from(**v == *kept)),
                other => other.map_children(&mut |c| substitute(c, kept)),
            }
        }
        substitute(e, UNITS[kept])
    };
    Some((0..dimension).map(only).collect())
}

/// The values of a list of named values in the order of their names; the list itself otherwise.
pub(super) fn list_values(items: &[Expr]) -> Vec<Expr> {
    let mut pairs = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Expr::Relation(sides, rels) if rels[..] == [Rel::Eq] && sides.len() == 2 => match &sides[0] {
                Expr::Var(v) => pairs.push((v.clone(), sides[1].clone())),
                _ => return items.to_vec(),
            },
            _ => return items.to_vec(),
        }
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.into_iter().map(|p| p.1).collect()
}

/// The matrix an expression with matrices comes to: sums, and products with scalars.
fn matrix(e: &Expr) -> Option<Vec<Vec<Expr>>> {
    let each = |rows: Vec<Vec<Expr>>, f: &dyn Fn(Expr) -> Expr| rows.into_iter().map(|r| r.into_iter().map(f).collect()).collect();
    match e {
        Expr::Matrix(rows) => Some(rows.clone()),
        Expr::Neg(a) => Some(each(matrix(a)?, &Expr::neg)),
        Expr::Pow(a, t) if is_transpose(t) => {
            let rows = matrix(a)?;
            Some((0..rows.first()?.len()).map(|j| rows.iter().map(|row| row[j].clone()).collect()).collect())
        }
        Expr::Div(a, b) if b.is_scalar() => Some(each(matrix(a)?, &|x| x.over((**b).clone()))),
        Expr::Mul(parts) => {
            let (scalars, rest): (Vec<Expr>, Vec<Expr>) = parts.iter().cloned().partition(Expr::is_scalar);
            let mut product = matrix(rest.first()?)?;
            for next in &rest[1..] {
                product = row_by_column(&product, &matrix(next)?)?;
            }
            if scalars.is_empty() {
                return Some(product);
            }
            let factor = super::parser::collapse(scalars, Expr::Mul);
            Some(each(product, &|x| factor.clone().times(x)))
        }
        Expr::Add(parts) => {
            let mut sum = matrix(parts.first()?)?;
            for part in &parts[1..] {
                let next = matrix(part)?;
                if next.len() != sum.len() || next.first().map(Vec::len) != sum.first().map(Vec::len) {
                    return None;
                }
                for (row, other) in sum.iter_mut().zip(next) {
                    for (x, y) in row.iter_mut().zip(other) {
                        *x = Expr::Add(vec![x.clone(), y]);
                    }
                }
            }
            Some(sum)
        }
        _ => None,
    }
}

fn is_transpose(e: &Expr) -> bool {
    matches!(e, Expr::Var(t) if matches!(&**t, "T" | "top "))
}

/// The product of two matrices of scalars, small ones only.
fn row_by_column(a: &[Vec<Expr>], b: &[Vec<Expr>]) -> Option<Vec<Vec<Expr>>> {
    let (inner, columns) = (b.len(), b.first()?.len());
    if a.len() * columns * inner > 512 || a.iter().any(|row| row.len() != inner || !row.iter().all(Expr::is_scalar)) {
        return None;
    }
    let entry = |row: &[Expr], j: usize| Expr::Add(row.iter().zip(b).map(|(x, y)| x.clone().times(y[j].clone())).collect());
    b.iter().flatten().all(Expr::is_scalar).then(|| a.iter().map(|row| (0..columns).map(|j| entry(row, j)).collect()).collect())
}

/// The exact part and the approximation of `… ≈ 1.41`, when something exact precedes it.
pub(super) fn exact_and_approximate(e: &Expr) -> Option<(Expr, Expr)> {
    let Expr::Relation(sides, rels) = e else { return None };
    let (last, before) = rels.split_last()?;
    let value = sides.get(sides.len().checked_sub(2)?)?;
    if *last != Rel::Approx || !value.is_scalar() || !value.variables().is_empty() {
        return None;
    }
    let kept = sides[..sides.len() - 1].to_vec();
    let exact = if before.is_empty() { value.clone() } else { Expr::Relation(kept, before.to_vec()) };
    Some((exact, sides.last()?.clone()))
}

/// The letters of a product of variables in order and lower case: `II` read as I·I.
pub(super) fn letters(product: &Expr) -> Option<String> {
    let Expr::Mul(parts) = product else { return None };
    let each = parts.iter().map(|p| if let Expr::Var(v) = p { Some(v.to_lowercase()) } else { None });
    each.collect::<Option<Vec<_>>>().map(|v| v.concat())
}

/// Whether all items of a list are values under distinct names.
pub(super) fn has_names(items: &[Expr]) -> bool {
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Expr::Relation(sides, rels) if rels[..] == [Rel::Eq] && matches!(sides[0], Expr::Var(_)) && !names.contains(&&sides[0]) => {
                names.push(&sides[0]);
            }
            _ => return false,
        }
    }
    true
}
