//! The value of a convergent series: its first terms where they fall fast, otherwise what its partial sums tend to.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow, ToPrimitive};

use super::ast::{Expr, Rel};
use super::big::Ball;
use super::calculus::substitute;
use super::numeric::evaluate;
use super::operators::{MAX_TERMS, power_of_two};
use super::real::Real;
use super::scalar::sample;
use super::work::Work;

/// How near two values of one series must be, in bits.
const AGREE: u32 = 48;

/// |x| < 2^−bits.
pub(super) fn within(x: &Ball, bits: u32) -> Option<()> {
    let radius = Ball::rational(&BigRational::new(BigInt::one(), power_of_two(bits)))?;
    (radius.sub(x).sign()? > 0 && radius.add(x).sign()? > 0).then_some(())
}

/// Whether a value is zero, infinite, or not so near to zero that a limit found to some digits cannot be told from it.
pub(super) fn distinguishable(value: &Expr, work: &Work) -> Option<()> {
    let size = if value.infinite_sign().is_some() { return Some(()) } else { evaluate::<Ball>(value, &sample(1, false), work)?.re };
    let least = Ball::rational(&BigRational::new(BigInt::one(), power_of_two(10)))?;
    let clear = size.sub(&least).sign() == Some(1) || size.add(&least).sign() == Some(-1);
    (clear || size.sign() == Some(0)).then_some(())
}

/// Whether a series from `low` to infinity comes to `value`.
pub(super) fn converges(low: &Expr, body: &Expr, value: &Expr, work: &Work) -> Option<()> {
    let Expr::Relation(sides, rels) = low else { return None };
    let ([index, Expr::Num(from)], [Rel::Eq]) = (&sides[..], &rels[..]) else { return None };
    let from = from.value.to_integer().to_i64()?;
    distinguishable(value, work)?;
    let term = |k: i64| {
        let term = evaluate::<Ball>(&substitute(body, index, &Expr::int(from + k)), &sample(1, false), work)?;
        term.im.is_none().then_some(term.re)
    };
    let sum = if within(&term(MAX_TERMS)?, 60).is_some() {
        (0..MAX_TERMS).try_fold(Ball::int(0)?, |sum, k| Some(sum.add(&term(k)?)))?
    } else {
        slow(&term, body.variables().len() > 1)?
    };
    let wanted = evaluate::<Ball>(value, &sample(1, false), work)?;
    wanted.im.is_none().then_some(())?;
    within(&sum.sub(&wanted.re), AGREE)
}

/// The sum of a series of numbers that falls slowly: found twice, from different terms, to the same value.
fn slow(term: &impl Fn(i64) -> Option<Ball>, parameters: bool) -> Option<Ball> {
    if parameters {
        return None;
    }
    let terms: Vec<Ball> = (0..64).map(term).collect::<Option<_>>()?;
    let alternating = terms.windows(2).skip(8).all(|w| matches!((w[0].sign(), w[1].sign()), (Some(1), Some(-1)) | (Some(-1), Some(1))));
    let (one, other) = if alternating {
        (alternate(&terms[..44])?, alternate(&terms)?)
    } else {
        (richardson(&terms, 12, 24)?, richardson(&terms, 20, 30)?)
    };
    within(&one.sub(&other), AGREE + 6)?;
    Some(other)
}

/// Partial sums that differ from their limit by a series in 1/n, by Richardson's extrapolation of `order + 1` of them from `n` on.
fn richardson(terms: &[Ball], n: u32, order: u32) -> Option<Ball> {
    let mut partial = Ball::int(0)?;
    let mut sums = Vec::with_capacity(terms.len());
    for term in terms {
        partial = partial.add(term);
        sums.push(partial.clone());
    }
    // Σ_k (−1)^(k+N) (n+k)^N / (k! (N−k)!) S_(n+k)
    let factorial = |k: u32| (1..=k).fold(BigInt::one(), |product, i| product * i);
    let mut limit = Ball::int(0)?;
    for k in 0..=order {
        let top: BigInt = Pow::pow(BigInt::from(n + k), order);
        let weight = BigRational::new(if (k + order).is_multiple_of(2) { top } else { -top }, factorial(k) * factorial(order - k));
        limit = limit.add(&sums.get((n + k) as usize - 1)?.mul(&Ball::rational(&weight)?));
    }
    Some(limit)
}

/// An alternating series by the algorithm of Cohen, Rodriguez Villegas and Zagier.
fn alternate(terms: &[Ball]) -> Option<Ball> {
    let n = i64::try_from(terms.len()).ok()?;
    // ((3 + √8)^n + (3 − √8)^n) / 2, which is an integer.
    let (mut before, mut d) = (BigInt::one(), BigInt::from(3));
    for _ in 1..n {
        (before, d) = (d.clone(), d * 6 - before);
    }
    let (mut b, mut c, mut sum) = (-BigInt::one(), -d.clone(), Ball::int(0)?);
    for (k, term) in (0..n).zip(terms) {
        c = &b - c;
        // The sign of a term is in the algorithm.
        let magnitude = if k % 2 == 0 { term.clone() } else { term.neg() };
        sum = sum.add(&magnitude.mul(&Ball::rational(&BigRational::from_integer(c.clone()))?));
        b = b * (k + n) * (k - n) * 2 / ((2 * k + 1) * (k + 1));
    }
    sum.div(&Ball::rational(&BigRational::from_integer(d))?)
}
