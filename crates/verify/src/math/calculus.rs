//! Derivatives and antiderivatives of elementary expressions, by rules.

use num_rational::BigRational;
use num_traits::{One, Zero};

use super::ast::{Const, Expr, Func};
use super::exact::exact;
use super::parser::collapse;
use super::scalar::scalar_equal;
use super::work::Work;

/// Integration by parts is tried this often.
const MAX_PARTS: u32 = 6;
/// Polynomials of a higher degree are not written out.
const MAX_DEGREE: usize = 40;

/// The tree with every occurrence of `from` replaced.
pub(super) fn substitute(e: &Expr, from: &Expr, to: &Expr) -> Expr {
    if e == from { to.clone() } else { e.map_children(&mut |c| substitute(c, from, to)) }
}

fn has(e: &Expr, x: &str) -> bool {
    e.any(&|part| matches!(part, Expr::Var(v) if **v == *x))
}

fn call(func: Func, argument: &Expr) -> Expr {
    Expr::Call(func, vec![argument.clone()])
}

fn square(e: &Expr) -> Expr {
    e.clone().pow(Expr::int(2))
}

fn sqrt(e: Expr) -> Expr {
    Expr::Root(Box::new(Expr::int(2)), Box::new(e))
}

/// The derivative with respect to `x`; `None` where a part has none that we can write.
pub(super) fn derivative(e: &Expr, x: &str) -> Option<Expr> {
    if !has(e, x) {
        return e.is_scalar().then(|| Expr::int(0));
    }
    Some(match e {
        Expr::Var(_) => Expr::int(1),
        Expr::Neg(a) => derivative(a, x)?.neg(),
        Expr::Add(v) => Expr::Add(v.iter().map(|term| derivative(term, x)).collect::<Option<_>>()?),
        Expr::Mul(v) => {
            let terms = (0..v.len()).filter(|i| has(&v[*i], x)).map(|i| {
                let mut factors = v.clone();
                factors[i] = derivative(&v[i], x)?;
                Some(Expr::Mul(factors))
            });
            collapse(terms.collect::<Option<_>>()?, Expr::Add)
        }
        Expr::Div(a, b) => {
            let top = derivative(a, x)?.times((**b).clone()).minus((**a).clone().times(derivative(b, x)?));
            top.over(square(b))
        }
        Expr::Pow(b, k) => match (has(b, x), has(k, x)) {
            (true, false) => (**k).clone().times((**b).clone().pow((**k).clone().minus(Expr::int(1)))).times(derivative(b, x)?),
            (false, _) if matches!(**b, Expr::Const(Const::E)) => e.clone().times(derivative(k, x)?),
            (false, _) => e.clone().times(call(Func::Ln, b)).times(derivative(k, x)?),
            (true, true) => {
                let rate =
                    Expr::Add(vec![derivative(k, x)?.times(call(Func::Ln, b)), (**k).clone().times(derivative(b, x)?).over((**b).clone())]);
                e.clone().times(rate)
            }
        },
        Expr::Root(n, a) if !has(n, x) => e.clone().times(derivative(a, x)?).over((**n).clone().times((**a).clone())),
        Expr::Call(Func::Log, v) if !has(&v[1], x) => derivative(&v[0], x)?.over(v[0].clone().times(call(Func::Ln, &v[1]))),
        Expr::Call(func, v) if v.len() == 1 => outer(*func, &v[0])?.times(derivative(&v[0], x)?),
        _ => return None,
    })
}

/// f′(u) of a function of one argument.
fn outer(func: Func, u: &Expr) -> Option<Expr> {
    let one = || Expr::int(1);
    Some(match func {
        Func::Sin => call(Func::Cos, u),
        Func::Cos => call(Func::Sin, u).neg(),
        Func::Tan => one().over(square(&call(Func::Cos, u))),
        Func::Cot => one().over(square(&call(Func::Sin, u))).neg(),
        Func::Sec => call(Func::Sec, u).times(call(Func::Tan, u)),
        Func::Csc => call(Func::Csc, u).times(call(Func::Cot, u)).neg(),
        Func::Asin => one().over(sqrt(one().minus(square(u)))),
        Func::Acos => one().over(sqrt(one().minus(square(u)))).neg(),
        Func::Atan => one().over(Expr::Add(vec![one(), square(u)])),
        Func::Acot => one().over(Expr::Add(vec![one(), square(u)])).neg(),
        Func::Sinh => call(Func::Cosh, u),
        Func::Cosh => call(Func::Sinh, u),
        Func::Tanh => one().over(square(&call(Func::Cosh, u))),
        Func::Ln | Func::LogBare => one().over(u.clone()),
        Func::Exp => call(Func::Exp, u),
        Func::Abs => u.clone().over(call(Func::Abs, u)),
        _ => return None,
    })
}

/// An antiderivative with respect to `x`, found by rules and checked by differentiating it.
pub(super) fn antiderivative(f: &Expr, x: &str, work: &Work) -> Option<Expr> {
    let found = Integrator { x, work }.integral(f, 0)?;
    scalar_equal(&derivative(&found, x)?, f, work).is_equal().then_some(found)
}

struct Integrator<'i> {
    x: &'i str,
    work: &'i Work,
}

impl Integrator<'_> {
    fn var(&self) -> Expr {
        Expr::Var(self.x.into())
    }

    fn integral(&self, f: &Expr, parts: u32) -> Option<Expr> {
        self.work.spend(20)?;
        if !has(f, self.x) {
            return Some(f.clone().times(self.var()));
        }
        match f {
            Expr::Neg(a) => return Some(self.integral(a, parts)?.neg()),
            Expr::Add(v) => return Some(Expr::Add(v.iter().map(|term| self.integral(term, parts)).collect::<Option<_>>()?)),
            Expr::Div(a, b) if !has(b, self.x) => return Some(self.integral(a, parts)?.over((**b).clone())),
            Expr::Mul(v) => {
                let (constants, rest): (Vec<Expr>, Vec<Expr>) = v.iter().cloned().partition(|factor| !has(factor, self.x));
                if !constants.is_empty() {
                    let inner = self.integral(&collapse(rest, Expr::Mul), parts)?;
                    return Some(collapse(constants, Expr::Mul).times(inner));
                }
            }
            _ => {}
        }
        if let Some((coefficient, exponent)) = self.monomial(f) {
            return Some(coefficient.times(power_rule(&self.var(), &exponent)));
        }
        if let Some(found) = self.of_linear(f) {
            return Some(found);
        }
        if let Some(coefficients) = self.polynomial(f) {
            let terms = coefficients.into_iter().enumerate().map(|(k, c)| c.times(power_rule(&self.var(), &integer(k))));
            return Some(Expr::Add(terms.collect()));
        }
        if let Expr::Div(a, b) = f {
            if let Expr::Add(terms) = &**a {
                let each = terms.iter().map(|term| self.integral(&term.clone().over((**b).clone()), parts));
                return each.collect::<Option<_>>().map(Expr::Add);
            }
            if !has(a, self.x)
                && let Some(found) = self.inverse_trigonometric(b)
            {
                return Some((**a).clone().times(found));
            }
        }
        self.by_parts(f, parts)
    }

    /// `c·x^q` as `(c, q)`.
    fn monomial(&self, e: &Expr) -> Option<(Expr, BigRational)> {
        if !has(e, self.x) {
            return Some((e.clone(), BigRational::zero()));
        }
        match e {
            Expr::Var(_) => Some((Expr::int(1), BigRational::one())),
            Expr::Neg(a) => self.monomial(a).map(|(c, q)| (c.neg(), q)),
            Expr::Mul(v) => v.iter().try_fold((Expr::int(1), BigRational::zero()), |(c, q), factor| {
                let (d, r) = self.monomial(factor)?;
                Some((c.times(d), q + r))
            }),
            Expr::Div(a, b) => {
                let ((c, q), (d, r)) = (self.monomial(a)?, self.monomial(b)?);
                Some((c.over(d), q - r))
            }
            Expr::Pow(b, k) => {
                let (k, (c, q)) = (exact(k, self.work)?, self.monomial(b)?);
                Some((if c == Expr::int(1) { c } else { c.pow(Expr::rational(k.clone())) }, q * k))
            }
            Expr::Root(n, a) => {
                let (n, (c, q)) = (exact(n, self.work)?, self.monomial(a)?);
                (c == Expr::int(1) && !n.is_zero()).then(|| (c, q / n))
            }
            _ => None,
        }
    }

    /// Powers and functions of `ax + b`.
    fn of_linear(&self, f: &Expr) -> Option<Expr> {
        let slope = |u: &Expr| derivative(u, self.x).filter(|rate| !has(rate, self.x));
        let (u, found) = match f {
            Expr::Call(func, v) if v.len() == 1 => (&v[0], primitive(*func, &v[0])?),
            Expr::Pow(b, u) if matches!(**b, Expr::Const(Const::E)) => (&**u, f.clone()),
            Expr::Pow(b, u) if !has(b, self.x) => (&**u, f.clone().over(call(Func::Ln, b))),
            Expr::Pow(u, k) => match (&**u, exact(k, self.work)) {
                (Expr::Call(func, v), Some(two)) if two == integer(2) => match func {
                    Func::Sec => (&v[0], call(Func::Tan, &v[0])),
                    Func::Csc => (&v[0], call(Func::Cot, &v[0]).neg()),
                    _ => return None,
                },
                (_, Some(k)) => (&**u, power_rule(u, &k)),
                _ => return None,
            },
            Expr::Root(n, u) => (&**u, power_rule(u, &exact(n, self.work).filter(|n| !n.is_zero())?.recip())),
            Expr::Div(one, b) if !has(one, self.x) => {
                let (u, k) = match &**b {
                    Expr::Pow(u, k) => (&**u, exact(k, self.work)?),
                    Expr::Root(n, u) => (&**u, exact(n, self.work).filter(|n| !n.is_zero())?.recip()),
                    u => (u, BigRational::one()),
                };
                (u, (**one).clone().times(power_rule(u, &-k)))
            }
            _ => return None,
        };
        Some(found.over(slope(u)?))
    }

    /// `1/(a + bx²)` and `1/√(a − bx²)`.
    fn inverse_trigonometric(&self, bottom: &Expr) -> Option<Expr> {
        let (inner, root) = match bottom {
            Expr::Root(n, u) if **n == Expr::int(2) => (&**u, true),
            u => (u, false),
        };
        let coefficients = self.polynomial(inner)?;
        let [a, middle, b] = &coefficients[..] else { return None };
        if !exact(middle, self.work)?.is_zero() {
            return None;
        }
        let b = if root { b.clone().neg() } else { b.clone() };
        let stretched = self.var().times(sqrt(b.clone().over(a.clone())));
        Some(if root { call(Func::Asin, &stretched).over(sqrt(b)) } else { call(Func::Atan, &stretched).over(sqrt(b.times(a.clone()))) })
    }

    /// The coefficients of a polynomial in `x`, from the constant term on.
    fn polynomial(&self, e: &Expr) -> Option<Vec<Expr>> {
        self.work.spend(10)?;
        if !has(e, self.x) {
            return e.is_scalar().then(|| vec![e.clone()]);
        }
        match e {
            Expr::Var(_) => Some(vec![Expr::int(0), Expr::int(1)]),
            Expr::Neg(a) => Some(self.polynomial(a)?.into_iter().map(Expr::neg).collect()),
            Expr::Add(v) => {
                let mut sum: Vec<Vec<Expr>> = Vec::new();
                for term in v {
                    for (k, c) in self.polynomial(term)?.into_iter().enumerate() {
                        if sum.len() <= k {
                            sum.push(Vec::new());
                        }
                        sum[k].push(c);
                    }
                }
                Some(sum.into_iter().map(|c| collapse(c, Expr::Add)).collect())
            }
            Expr::Mul(v) => v.iter().try_fold(vec![Expr::int(1)], |acc, factor| self.product(&acc, &self.polynomial(factor)?)),
            Expr::Div(a, b) if !has(b, self.x) => Some(self.polynomial(a)?.into_iter().map(|c| c.over((**b).clone())).collect()),
            Expr::Pow(b, k) => {
                let k = exact(k, self.work).filter(|k| k.is_integer() && *k >= BigRational::zero() && *k <= integer(12))?;
                let base = self.polynomial(b)?;
                let mut acc = vec![Expr::int(1)];
                let mut count = BigRational::zero();
                while count < k {
                    acc = self.product(&acc, &base)?;
                    count += BigRational::one();
                }
                Some(acc)
            }
            _ => None,
        }
    }

    fn product(&self, a: &[Expr], b: &[Expr]) -> Option<Vec<Expr>> {
        self.work.spend(10 * (a.len() * b.len()) as u64)?;
        if a.len() + b.len() > MAX_DEGREE {
            return None;
        }
        let mut out: Vec<Vec<Expr>> = vec![Vec::new(); a.len() + b.len() - 1];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                out[i + j].push(x.clone().times(y.clone()));
            }
        }
        // Written out while they are numbers, so that the trees stay small.
        let value = |terms: Vec<Expr>| {
            let sum = collapse(terms, Expr::Add);
            exact(&sum, self.work).map_or(sum, Expr::rational)
        };
        Some(out.into_iter().map(value).collect())
    }

    /// A polynomial times sine, cosine, an exponential or a logarithm.
    fn by_parts(&self, f: &Expr, parts: u32) -> Option<Expr> {
        if parts >= MAX_PARTS {
            return None;
        }
        let factors = match f {
            Expr::Mul(v) => v.clone(),
            Expr::Call(Func::Ln, _) => vec![f.clone(), Expr::int(1)],
            Expr::Div(a, b) if matches!(**a, Expr::Call(Func::Ln, _)) => vec![(**a).clone(), Expr::int(1).over((**b).clone())],
            _ => return None,
        };
        let logarithm = factors.iter().position(|factor| matches!(factor, Expr::Call(Func::Ln | Func::Atan, _)));
        let at = logarithm.or_else(|| factors.iter().position(|factor| self.polynomial(factor).is_some()))?;
        let mut others = factors;
        let kept = others.remove(at);
        let primitive = self.integral(&collapse(others, Expr::Mul), MAX_PARTS)?;
        let rest = derivative(&kept, self.x)?.times(primitive.clone());
        // Powers of x in one, so that `x²·(1/x)` is seen as `x`.
        let rest = match self.monomial(&rest) {
            Some((c, q)) => c.times(self.var().pow(Expr::rational(q))),
            None => rest,
        };
        Some(kept.times(primitive).minus(self.integral(&rest, parts + 1)?))
    }
}

fn integer(k: impl Into<num_bigint::BigInt>) -> BigRational {
    BigRational::from_integer(k.into())
}

/// `u^(k+1)/(k+1)`, or the logarithm.
fn power_rule(u: &Expr, k: &BigRational) -> Expr {
    let next = k + BigRational::one();
    if next.is_zero() {
        call(Func::Ln, &call(Func::Abs, u))
    } else {
        u.clone().pow(Expr::rational(next.clone())).over(Expr::rational(next))
    }
}

/// An antiderivative of a function of one argument.
fn primitive(func: Func, u: &Expr) -> Option<Expr> {
    let log = |e: Expr| call(Func::Ln, &call(Func::Abs, &e));
    Some(match func {
        Func::Sin => call(Func::Cos, u).neg(),
        Func::Cos => call(Func::Sin, u),
        Func::Tan => log(call(Func::Cos, u)).neg(),
        Func::Cot => log(call(Func::Sin, u)),
        Func::Exp => call(Func::Exp, u),
        Func::Sinh => call(Func::Cosh, u),
        Func::Cosh => call(Func::Sinh, u),
        _ => return None,
    })
}
