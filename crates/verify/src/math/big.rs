//! Enclosures of any precision: a big-integer midpoint with a radius (ball arithmetic, after van der Hoeven).

use std::sync::OnceLock;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::real::Real;

/// Bits of the midpoint.
const BITS: u64 = 256;
/// Bits of the fixed-point series.
const FIXED: u64 = BITS + 64;
/// Magnitudes beyond 2^±this are refused.
const MAX_EXPONENT: i64 = 1 << 60;

/// The reals within `radius·2^exp` of `mid·2^exp`.
#[derive(Clone, Debug)]
pub(super) struct Ball {
    mid: BigInt,
    radius: BigInt,
    exp: i64,
}

fn shift(n: &BigInt, by: i64) -> BigInt {
    let amount = by.unsigned_abs();
    if by >= 0 { n << amount } else { n >> amount }
}

impl Ball {
    fn new(mid: BigInt, radius: BigInt, exp: i64) -> Self {
        let excess = mid.bits().max(radius.bits()).saturating_sub(BITS);
        if excess == 0 {
            return Self { mid, radius, exp };
        }
        Self { mid: mid >> excess, radius: (radius >> excess) + 2, exp: exp.saturating_add(i64::try_from(excess).unwrap_or(i64::MAX)) }
    }

    fn exact(mid: BigInt) -> Self {
        Self { mid, radius: BigInt::zero(), exp: 0 }
    }

    /// From a fixed-point number with `FIXED` bits after the point and an error of `ulps`.
    fn from_fixed(value: BigInt, ulps: u32) -> Self {
        Self::new(value, BigInt::from(ulps), -(FIXED as i64))
    }

    /// The midpoint in fixed point and the radius, both with `FIXED` bits; `None` when it is too large for that.
    fn to_fixed(&self) -> Option<(BigInt, BigInt)> {
        let by = self.exp.checked_add(FIXED as i64)?;
        if by + i64::try_from(self.mid.bits().max(self.radius.bits())).ok()? > (FIXED + 64) as i64 {
            return None;
        }
        let by = by.max(-(FIXED as i64) * 4);
        Some((shift(&self.mid, by), shift(&self.radius, by) + 1))
    }

    fn in_range(self) -> Option<Self> {
        (self.exp.abs() < MAX_EXPONENT).then_some(self)
    }

    fn widened(mut self, radius: &BigInt) -> Self {
        // `radius` is fixed-point with `FIXED` bits.
        let r = shift(radius, -(FIXED as i64) - self.exp.max(-(FIXED as i64) * 8)) + 1;
        self.radius += r;
        Self::new(self.mid, self.radius, self.exp)
    }
}

fn one() -> BigInt {
    BigInt::one() << FIXED
}

fn fixed_mul(a: &BigInt, b: &BigInt) -> BigInt {
    (a * b) >> FIXED
}

/// Σ ±x^(2k+1)/(2k+1) in fixed point, |x| ≤ 1/2.
fn odd_series(x: &BigInt, alternating: bool) -> BigInt {
    let square = fixed_mul(x, x);
    let (mut term, mut sum, mut k) = (x.clone(), x.clone(), 1u32);
    while !term.is_zero() && term != BigInt::from(-1) {
        term = fixed_mul(&term, &square);
        if alternating {
            term = -term;
        }
        k += 2;
        sum += &term / k;
    }
    sum
}

fn ln2() -> &'static BigInt {
    static LN2: OnceLock<BigInt> = OnceLock::new();
    LN2.get_or_init(|| odd_series(&(one() / 3), false) * 2)
}

fn pi() -> &'static BigInt {
    static PI: OnceLock<BigInt> = OnceLock::new();
    // Machin: π = 16 atan(1/5) − 4 atan(1/239).
    PI.get_or_init(|| odd_series(&(one() / 5), true) * 16 - odd_series(&(one() / 239), true) * 4)
}

/// e^x in fixed point for |x| ≤ 1.
fn exp_series(x: &BigInt) -> BigInt {
    const HALVINGS: u32 = 8;
    let x = x >> HALVINGS;
    let (mut term, mut sum, mut k) = (one(), one(), 1u32);
    while !term.is_zero() && term != BigInt::from(-1) {
        term = fixed_mul(&term, &x) / k;
        sum += &term;
        k += 1;
    }
    for _ in 0..HALVINGS {
        sum = fixed_mul(&sum, &sum);
    }
    sum
}

/// sin and cos in fixed point for |x| ≤ 1.
fn sin_cos_series(x: &BigInt) -> (BigInt, BigInt) {
    let (mut sin, mut cos) = (BigInt::zero(), BigInt::zero());
    let (mut term, mut k) = (one(), 0u32);
    while !term.is_zero() && term != BigInt::from(-1) {
        match k % 4 {
            0 => cos += &term,
            1 => sin += &term,
            2 => cos -= &term,
            _ => sin -= &term,
        }
        k += 1;
        term = fixed_mul(&term, x) / k;
    }
    (sin, cos)
}

fn fixed_sqrt(x: &BigInt) -> BigInt {
    (x << FIXED).sqrt()
}

impl Real for Ball {
    const COST: u64 = 8;

    fn rational(q: &BigRational) -> Option<Self> {
        if q.is_integer() {
            return Self::new(q.to_integer(), BigInt::zero(), 0).in_range();
        }
        Self::exact(q.numer().clone()).div(&Self::exact(q.denom().clone()))
    }

    fn pi() -> Self {
        Self::from_fixed(pi().clone(), 1 << 16)
    }

    fn add(&self, o: &Self) -> Self {
        if self.mid.is_zero() && self.radius.is_zero() {
            return o.clone();
        }
        if o.mid.is_zero() && o.radius.is_zero() {
            return self.clone();
        }
        let (high, low) = if self.exp >= o.exp { (self, o) } else { (o, self) };
        let gap = high.exp.saturating_sub(low.exp);
        let low_bits = i64::try_from(low.mid.bits().max(low.radius.bits())).unwrap_or(i64::MAX);
        if gap > low_bits + 4 * BITS as i64 {
            // The lower one is less than one unit of the higher.
            return Self::new(&high.mid << BITS, (&high.radius << BITS) + 1, high.exp - BITS as i64);
        }
        Self::new(shift(&high.mid, gap) + &low.mid, shift(&high.radius, gap) + &low.radius, low.exp)
    }

    fn neg(&self) -> Self {
        Self { mid: -&self.mid, radius: self.radius.clone(), exp: self.exp }
    }

    fn mul(&self, o: &Self) -> Self {
        let radius = self.mid.abs() * &o.radius + o.mid.abs() * &self.radius + &self.radius * &o.radius;
        Self::new(&self.mid * &o.mid, radius, self.exp.saturating_add(o.exp))
    }

    fn div(&self, o: &Self) -> Option<Self> {
        let least = o.mid.abs() - &o.radius;
        if !least.is_positive() {
            return None;
        }
        let k = BITS + o.mid.bits() + 8;
        let mid = (&self.mid << k).div_floor(&o.mid);
        let error = ((&self.radius * o.mid.abs() + self.mid.abs() * &o.radius) << k).div_ceil(&(least * o.mid.abs()));
        Self::new(mid, error + 2, self.exp.checked_sub(o.exp)?.checked_sub(i64::try_from(k).ok()?)?).in_range()
    }

    fn sqrt(&self) -> Option<Self> {
        if self.mid.is_zero() && self.radius.is_zero() {
            return Some(self.clone());
        }
        if self.mid <= self.radius {
            return None;
        }
        let mut k = i64::try_from(2 * BITS).ok()?;
        if (self.exp - k).is_odd() {
            k += 1;
        }
        let mid = shift(&self.mid, k).sqrt();
        let error = shift(&self.radius, k).div_ceil(&mid) + 2;
        Self::new(mid, error, (self.exp - k) / 2).in_range()
    }

    fn exp(&self) -> Option<Self> {
        let (x, r) = self.to_fixed()?;
        if r > one() / 4 {
            return None;
        }
        let k = x.div_floor(ln2());
        // The error of ln 2 grows with k, which has at most 64 bits.
        let rest = x - &k * ln2();
        let value = exp_series(&rest);
        let error = fixed_mul(&value, &(r * 2)) + (&value >> (FIXED - 90)) + (BigInt::one() << 80);
        let out = Self::new(value, error, -(FIXED as i64));
        Self { exp: out.exp.checked_add(k.to_i64()?)?, ..out }.in_range()
    }

    fn ln(&self) -> Option<Self> {
        if self.mid <= self.radius {
            return None;
        }
        // mid = y·2^n with 1 ≤ y < 2.
        let bits = i64::try_from(self.mid.bits()).ok()?;
        let n = self.exp.checked_add(bits - 1)?;
        let y = shift(&self.mid, FIXED as i64 - bits + 1);
        let t = ((&y - one()) << FIXED) / (&y + one());
        let value = odd_series(&t, false) * 2 + ln2() * n;
        let relative = (&self.radius << FIXED).div_ceil(&(&self.mid - &self.radius));
        Some(Self::new(value, relative + (BigInt::one() << 76), -(FIXED as i64)))
    }

    fn sin_cos(&self) -> Option<(Self, Self)> {
        let (x, r) = self.to_fixed()?;
        if r > one() {
            return None;
        }
        let quarter: BigInt = pi() >> 1;
        let half: BigInt = &quarter >> 1;
        let shifted: BigInt = &x + half;
        let k = shifted.div_floor(&quarter);
        let (sin, cos) = sin_cos_series(&(x - &k * &quarter));
        let (sin, cos) = match k.mod_floor(&BigInt::from(4)).to_u8()? {
            0 => (sin, cos),
            1 => (cos, -sin),
            2 => (-sin, -cos),
            _ => (-cos, sin),
        };
        let r: BigInt = r + (BigInt::one() << 86u32);
        Some((Self::new(sin, r.clone(), -(FIXED as i64)), Self::new(cos, r, -(FIXED as i64))))
    }

    fn atan(&self) -> Option<Self> {
        let unit = Self::exact(BigInt::one());
        if self.mid.abs() > self.radius && self.to_fixed().is_none_or(|(x, _)| x.abs() > one()) {
            // atan x = ±π/2 − atan(1/x).
            let half = Self::pi().mul(&Self { mid: self.mid.signum(), radius: BigInt::zero(), exp: -1 });
            return Some(half.sub(&unit.div(self)?.atan()?));
        }
        let (mut x, r) = self.to_fixed()?;
        for _ in 0..3 {
            // atan x = 2 atan(x / (1 + √(1 + x²)))
            let root = fixed_sqrt(&(one() + fixed_mul(&x, &x)));
            x = (x << FIXED) / (one() + root);
        }
        Some(Self::from_fixed(odd_series(&x, true) * 8, 1 << 16).widened(&r))
    }

    fn sign(&self) -> Option<i8> {
        if self.mid.abs() > self.radius {
            Some(if self.mid.is_positive() { 1 } else { -1 })
        } else {
            (self.mid.is_zero() && self.radius.is_zero()).then_some(0)
        }
    }

    fn floor(&self) -> Option<BigInt> {
        if self.exp > 4096 || self.exp < -(1 << 20) {
            return None;
        }
        let (a, b) = (shift(&(&self.mid - &self.radius), self.exp), shift(&(&self.mid + &self.radius), self.exp));
        (a == b).then_some(a)
    }

    fn apart(&self, o: &Self) -> bool {
        self.sub(o).sign().is_some_and(|s| s != 0)
    }

    fn is_tight(&self) -> bool {
        if self.radius.is_zero() {
            return true;
        }
        let radius_top = self.exp.saturating_add(i64::try_from(self.radius.bits()).unwrap_or(i64::MAX));
        let mid_top = self.exp.saturating_add(i64::try_from(self.mid.bits()).unwrap_or(i64::MAX));
        radius_top <= mid_top.max(-20) - 100
    }
}
