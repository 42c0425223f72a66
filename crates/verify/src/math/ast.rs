//! What an answer means once it is parsed: one tree for scalars and for the forms answers come in.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::units::Unit;

/// A numeral as written: its exact value and, for decimals, how many digits stood after the point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: BigRational,
    /// Digits after the decimal point; `None` for integers and repeating decimals, which are exact.
    pub(super) decimals: Option<u32>,
}

impl Number {
    pub(super) fn exact(value: BigRational) -> Self {
        Self { value, decimals: None }
    }

    pub(super) fn integer(value: impl Into<BigInt>) -> Self {
        Self::exact(BigRational::from_integer(value.into()))
    }
}

/// Named constants and named sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Const {
    Pi,
    E,
    I,
    Infinity,
    Reals,
    Integers,
    Naturals,
    Rationals,
    Complexes,
    Empty,
}

/// Functions with a meaning; anything else is an opaque application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Func {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Acot,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    /// Natural logarithm.
    Ln,
    /// `\log` without a base: read as natural or decimal, by the policy's two readings.
    LogBare,
    /// `Log(value, base)`.
    Log,
    Exp,
    /// cos x + i sin x.
    Cis,
    Abs,
    Floor,
    Ceil,
    Factorial,
    DoubleFactorial,
    Binom,
    Gcd,
    Lcm,
    Max,
    Min,
    /// `Mod(a, m)`: the residue class of `a` modulo `m`.
    Mod,
    /// The principal argument of a complex number.
    Arg,
    Re,
    Im,
    Conj,
}

/// Relations between two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rel {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Approx,
    /// `x → 0`, under a limit.
    To,
}

impl Rel {
    /// The relation with its sides exchanged.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            other => other,
        }
    }

    pub(super) fn is_order(self) -> bool {
        matches!(self, Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }
}

/// A parsed answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Num(Number),
    Const(Const),
    Var(Box<str>),
    Neg(Box<Expr>),
    Add(Vec<Expr>),
    Mul(Vec<Expr>),
    Div(Box<Expr>, Box<Expr>),
    Pow(Box<Expr>, Box<Expr>),
    /// `Root(index, radicand)`.
    Root(Box<Expr>, Box<Expr>),
    Call(Func, Vec<Expr>),
    /// A function we know nothing about, such as `f(x)`.
    Apply(Box<str>, Vec<Expr>),
    /// `a ± b` (`true`) or `a ∓ b` (`false`).
    PlusMinus(Box<Expr>, Box<Expr>, bool),
    Percent(Box<Expr>),
    Degrees(Box<Expr>),
    Quantity(Box<Expr>, Unit),
    /// A numeral in a stated base: digits as written, base, value.
    Based(Box<str>, u32, BigInt),
    /// `(a, b, …)`: a point, or an open interval when it has two entries.
    Tuple(Vec<Expr>),
    /// `[a, b]`, `(a, b]`, `[a, b)`: whether each end is closed; a list when closed at both ends.
    Bracket(bool, bool, Vec<Expr>),
    Set(Vec<Expr>),
    /// `{x | condition, …}`.
    Builder(Box<Expr>, Vec<Expr>),
    /// Parts joined by commas, semicolons, `and` or `or`, without brackets.
    List(Vec<Expr>),
    Matrix(Vec<Vec<Expr>>),
    Ratio(Vec<Expr>),
    /// `a < b ≤ c`: one more operand than relations.
    Relation(Vec<Expr>, Vec<Rel>),
    Union(Vec<Expr>),
    Intersection(Vec<Expr>),
    Difference(Box<Expr>, Box<Expr>),
    /// Minutes after midnight or of duration, seconds, and the half of the day when stated.
    Clock(u32, Option<bool>),
    /// Words that are not mathematics, normalised.
    Text(Box<str>),
}

impl Expr {
    pub(super) fn int(value: i64) -> Self {
        Self::Num(Number::integer(value))
    }

    pub(super) fn rational(value: BigRational) -> Self {
        Self::Num(Number::exact(value))
    }

    pub(super) fn neg(self) -> Self {
        match self {
            Self::Num(n) if !n.value.is_zero() => Self::Num(Number { value: -n.value, decimals: n.decimals }),
            Self::Neg(inner) => *inner,
            other => Self::Neg(Box::new(other)),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self::Add(vec![self, other.neg()])
    }

    pub(super) fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::Num(n), x) | (x, Self::Num(n)) if n.value.is_one() && n.decimals.is_none() => x,
            (Self::Mul(mut a), b) => {
                a.push(b);
                Self::Mul(a)
            }
            (a, b) => Self::Mul(vec![a, b]),
        }
    }

    pub(super) fn over(self, other: Self) -> Self {
        Self::Div(Box::new(self), Box::new(other))
    }

    pub(super) fn pow(self, exponent: Self) -> Self {
        Self::Pow(Box::new(self), Box::new(exponent))
    }

    pub(super) fn infinity() -> Self {
        Self::Const(Const::Infinity)
    }

    pub(super) fn neg_infinity() -> Self {
        Self::Neg(Box::new(Self::infinity()))
    }

    /// `Some(true)` for ∞, `Some(false)` for −∞.
    pub(super) fn infinite_sign(&self) -> Option<bool> {
        match self {
            Self::Const(Const::Infinity) => Some(true),
            Self::Neg(inner) => inner.infinite_sign().map(|s| !s),
            Self::Add(items) if items.len() == 1 => items[0].infinite_sign(),
            _ => None,
        }
    }

    /// The direct parts of the tree.
    pub(super) fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Num(_) | Self::Const(_) | Self::Var(_) | Self::Based(..) | Self::Clock(..) | Self::Text(_) => Vec::new(),
            Self::Neg(a) | Self::Percent(a) | Self::Degrees(a) | Self::Quantity(a, _) => vec![a],
            Self::Div(a, b) | Self::Pow(a, b) | Self::Root(a, b) | Self::PlusMinus(a, b, _) | Self::Difference(a, b) => vec![a, b],
            Self::Add(v)
            | Self::Mul(v)
            | Self::Call(_, v)
            | Self::Apply(_, v)
            | Self::Tuple(v)
            | Self::Bracket(_, _, v)
            | Self::Set(v)
            | Self::List(v)
            | Self::Ratio(v)
            | Self::Relation(v, _)
            | Self::Union(v)
            | Self::Intersection(v) => v.iter().collect(),
            Self::Builder(a, v) => std::iter::once(&**a).chain(v).collect(),
            Self::Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// The tree with every direct part replaced by `f` of it.
    pub(super) fn map_children(&self, f: &mut impl FnMut(&Expr) -> Expr) -> Expr {
        fn all(v: &[Expr], f: &mut impl FnMut(&Expr) -> Expr) -> Vec<Expr> {
            v.iter().map(f).collect()
        }
        match self {
            Self::Num(_) | Self::Const(_) | Self::Var(_) | Self::Based(..) | Self::Clock(..) | Self::Text(_) => self.clone(),
            Self::Neg(a) => Self::Neg(Box::new(f(a))),
            Self::Percent(a) => Self::Percent(Box::new(f(a))),
            Self::Degrees(a) => Self::Degrees(Box::new(f(a))),
            Self::Quantity(a, u) => Self::Quantity(Box::new(f(a)), u.clone()),
            Self::Div(a, b) => Self::Div(Box::new(f(a)), Box::new(f(b))),
            Self::Pow(a, b) => Self::Pow(Box::new(f(a)), Box::new(f(b))),
            Self::Root(a, b) => Self::Root(Box::new(f(a)), Box::new(f(b))),
            Self::PlusMinus(a, b, s) => Self::PlusMinus(Box::new(f(a)), Box::new(f(b)), *s),
            Self::Difference(a, b) => Self::Difference(Box::new(f(a)), Box::new(f(b))),
            Self::Add(v) => Self::Add(all(v, f)),
            Self::Mul(v) => Self::Mul(all(v, f)),
            Self::Call(k, v) => Self::Call(*k, all(v, f)),
            Self::Apply(n, v) => Self::Apply(n.clone(), all(v, f)),
            Self::Tuple(v) => Self::Tuple(all(v, f)),
            Self::Bracket(l, r, v) => Self::Bracket(*l, *r, all(v, f)),
            Self::Set(v) => Self::Set(all(v, f)),
            Self::List(v) => Self::List(all(v, f)),
            Self::Ratio(v) => Self::Ratio(all(v, f)),
            Self::Relation(v, r) => Self::Relation(all(v, f), r.clone()),
            Self::Union(v) => Self::Union(all(v, f)),
            Self::Intersection(v) => Self::Intersection(all(v, f)),
            Self::Builder(a, v) => Self::Builder(Box::new(f(a)), all(v, f)),
            Self::Matrix(rows) => Self::Matrix(rows.iter().map(|r| all(r, f)).collect()),
        }
    }

    /// Whether `test` holds for any node of the tree.
    pub(super) fn any(&self, test: &impl Fn(&Expr) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|c| c.any(test))
    }

    /// The free variables, sorted and unique.
    pub(super) fn variables(&self) -> Vec<&str> {
        fn walk<'a>(e: &'a Expr, out: &mut Vec<&'a str>) {
            if let Expr::Var(name) = e {
                out.push(name);
            }
            for child in e.children() {
                walk(child, out);
            }
        }
        let mut out = Vec::new();
        walk(self, &mut out);
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Whether the tree is a single number-like value rather than a set, relation, text or other form.
    pub(super) fn is_scalar(&self) -> bool {
        !self.any(&|e| {
            matches!(
                e,
                Self::Tuple(_)
                    | Self::Bracket(..)
                    | Self::Set(_)
                    | Self::Builder(..)
                    | Self::List(_)
                    | Self::Matrix(_)
                    | Self::Ratio(_)
                    | Self::Relation(..)
                    | Self::Union(_)
                    | Self::Intersection(_)
                    | Self::Difference(..)
                    | Self::Clock(..)
                    | Self::Text(_)
                    | Self::Quantity(..)
                    | Self::PlusMinus(..)
                    | Self::Based(..)
                    | Self::Const(Const::Reals | Const::Integers | Const::Naturals | Const::Rationals | Const::Complexes | Const::Empty)
            )
        })
    }
}
