//! Exact values: rationals by big integers, within a bound on their size.

use num_bigint::{BigInt, BigUint, Sign};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use super::ast::{Expr, Func};
use super::work::Work;

/// Results longer than this stay unexpanded; the modular layer decides them.
const MAX_BITS: u64 = 24_000;

/// The rational value of a closed expression; `None` when it has none or is too large to write out.
pub(super) fn exact(e: &Expr, work: &Work) -> Option<BigRational> {
    work.spend(1)?;
    let value = match e {
        Expr::Num(n) => n.value.clone(),
        Expr::Neg(a) => -exact(a, work)?,
        Expr::Add(v) => {
            let mut sum = BigRational::zero();
            for x in v {
                sum += exact(x, work)?;
            }
            sum
        }
        Expr::Mul(v) => {
            let mut product = BigRational::one();
            for x in v {
                product *= exact(x, work)?;
                fits(&product)?;
            }
            product
        }
        Expr::Div(a, b) => {
            let b = exact(b, work)?;
            if b.is_zero() {
                return None;
            }
            exact(a, work)? / b
        }
        Expr::Pow(b, e) => power(&exact(b, work)?, &exact(e, work)?)?,
        Expr::Root(n, a) => root(&exact(a, work)?, exact(n, work)?.to_integer().to_u32()?)?,
        Expr::Percent(a) => exact(a, work)? / BigInt::from(100),
        Expr::Call(func, args) => call(*func, args, work)?,
        _ => return None,
    };
    fits(&value)?;
    work.spend(1 + (value.numer().bits() + value.denom().bits()) / 256)?;
    Some(value)
}

fn fits(q: &BigRational) -> Option<()> {
    (q.numer().bits() + q.denom().bits() <= MAX_BITS).then_some(())
}

/// `base^exponent` where it is rational.
fn power(base: &BigRational, exponent: &BigRational) -> Option<BigRational> {
    if exponent.is_integer() {
        return integer_power(base, &exponent.to_integer());
    }
    let index = exponent.denom().to_u32()?;
    // The principal root of a negative number is not real; school's cube root is, and only odd indices have one.
    if base.is_negative() && index.is_even() {
        return None;
    }
    integer_power(&root(base, index)?, exponent.numer())
}

pub(super) fn integer_power(base: &BigRational, exponent: &BigInt) -> Option<BigRational> {
    if base.is_one() || exponent.is_zero() {
        return Some(BigRational::one());
    }
    if base.is_zero() {
        return exponent.is_positive().then(BigRational::zero);
    }
    if (-base).is_one() {
        return Some(if exponent.is_even() { BigRational::one() } else { -BigRational::one() });
    }
    let n = exponent.to_i32()?;
    let bits = base.numer().bits().max(base.denom().bits()).saturating_sub(1).max(1);
    (bits.checked_mul(u64::from(n.unsigned_abs()))? <= MAX_BITS).then(|| Pow::pow(base, n))
}

/// The rational `index`-th root, where there is one.
fn root(value: &BigRational, index: u32) -> Option<BigRational> {
    if index == 0 || (value.is_negative() && index.is_even()) || index > 10_000 {
        return None;
    }
    let part = |n: &BigInt| {
        let magnitude = n.magnitude();
        let r = magnitude.nth_root(index);
        (&Pow::pow(&r, index) == magnitude).then(|| BigInt::from_biguint(n.sign(), r))
    };
    Some(BigRational::new(part(value.numer())?, part(value.denom())?))
}

fn call(func: Func, args: &[Expr], work: &Work) -> Option<BigRational> {
    let values: Vec<BigRational> = args.iter().map(|a| exact(a, work)).collect::<Option<_>>()?;
    let integers = || values.iter().map(|v| v.is_integer().then(|| v.to_integer())).collect::<Option<Vec<BigInt>>>();
    let first = values.first()?;
    Some(match func {
        Func::Abs => first.abs(),
        Func::Floor => first.floor(),
        Func::Ceil => first.ceil(),
        Func::Max => values.iter().max()?.clone(),
        Func::Min => values.iter().min()?.clone(),
        Func::Gcd => integers()?.into_iter().reduce(|a, b| a.gcd(&b))?.into(),
        Func::Lcm => integers()?.into_iter().reduce(|a, b| a.lcm(&b))?.into(),
        Func::Factorial => factorial(integers()?.first()?, 1, work)?.into(),
        Func::DoubleFactorial => factorial(integers()?.first()?, 2, work)?.into(),
        Func::Binom => {
            let ints = integers()?;
            binomial(ints.first()?, ints.get(1)?, work)?.into()
        }
        Func::Log => logarithm(first, values.get(1)?)?.into(),
        Func::Ln if first.is_one() => BigRational::zero(),
        Func::Exp if first.is_zero() => BigRational::one(),
        Func::Re | Func::Conj => first.clone(),
        Func::Im => BigRational::zero(),
        _ => return None,
    })
}

fn factorial(n: &BigInt, step: u32, work: &Work) -> Option<BigInt> {
    let n = n.to_u32().filter(|n| *n <= 2_500)?;
    work.spend(u64::from(n))?;
    let mut product = BigUint::one();
    let mut k = n;
    while k > 1 {
        product *= k;
        k = k.saturating_sub(step);
    }
    Some(BigInt::from_biguint(Sign::Plus, product))
}

fn binomial(n: &BigInt, k: &BigInt, work: &Work) -> Option<BigInt> {
    let n = n.to_u32().filter(|n| *n <= 20_000)?;
    let k = k.to_i64()?;
    if k < 0 || k > i64::from(n) {
        return Some(BigInt::zero());
    }
    let k = u32::try_from(k).ok()?.min(n - u32::try_from(k).ok()?);
    let mut product = BigUint::one();
    for i in 0..k {
        work.spend(1)?;
        product = product * (n - i) / (i + 1);
        if product.bits() > MAX_BITS {
            return None;
        }
    }
    Some(BigInt::from_biguint(Sign::Plus, product))
}

/// `log_base(value)` when it is a small integer.
fn logarithm(value: &BigRational, base: &BigRational) -> Option<BigInt> {
    if !value.is_positive() || !base.is_positive() || base.is_one() {
        return None;
    }
    let ratio = |q: &BigRational| q.to_f64().filter(|x| x.is_finite() && *x > 0.0).map(f64::ln);
    let guess = (ratio(value)? / ratio(base)?).round();
    if guess.abs() > 2_000.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the test above")]
    let n = BigInt::from(guess as i64);
    (integer_power(base, &n)? == *value).then_some(n)
}
