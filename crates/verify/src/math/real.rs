//! Enclosures of real numbers: the operations every precision offers, and the fast one on `f64`.
//!
//! An enclosure always contains the true value, so two that do not meet prove that the values differ.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{FromPrimitive, ToPrimitive};

/// A set of reals known to contain a value.
pub(super) trait Real: Clone {
    /// Steps of the work budget that one operation costs.
    const COST: u64;
    fn rational(q: &BigRational) -> Option<Self>;
    fn pi() -> Self;
    fn add(&self, other: &Self) -> Self;
    fn neg(&self) -> Self;
    fn mul(&self, other: &Self) -> Self;
    /// `None` when the divisor may be zero.
    fn div(&self, other: &Self) -> Option<Self>;
    /// `None` when the value may be negative.
    fn sqrt(&self) -> Option<Self>;
    fn exp(&self) -> Option<Self>;
    /// `None` unless the value is certainly positive.
    fn ln(&self) -> Option<Self>;
    fn sin_cos(&self) -> Option<(Self, Self)>;
    fn atan(&self) -> Option<Self>;
    /// The certain sign; `Some(0)` only for exact zero.
    fn sign(&self) -> Option<i8>;
    /// The integer part towards −∞, when certain.
    fn floor(&self) -> Option<BigInt>;
    /// Whether the two certainly differ.
    fn apart(&self, other: &Self) -> bool;
    /// Whether the enclosure is tight enough that meeting means equality, for practical purposes.
    fn is_tight(&self) -> bool;

    fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    fn int(n: i64) -> Option<Self> {
        Self::rational(&BigRational::from_integer(BigInt::from(n)))
    }
}

/// A closed interval of `f64`, rounded outwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    lo: f64,
    hi: f64,
}

/// Library functions are within one unit in the last place; two leave room.
fn outward(lo: f64, hi: f64) -> Interval {
    Interval { lo: lo.next_down().next_down(), hi: hi.next_up().next_up() }
}

fn hull(values: &[f64]) -> Interval {
    if values.iter().any(|v| v.is_nan()) {
        return Interval { lo: f64::NEG_INFINITY, hi: f64::INFINITY };
    }
    let lo = values.iter().copied().fold(f64::INFINITY, f64::min);
    let hi = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Interval { lo: lo.next_down(), hi: hi.next_up() }
}

impl Interval {
    fn is_finite(self) -> bool {
        self.lo.is_finite() && self.hi.is_finite()
    }

    /// The middle, for ordering and display only.
    pub(super) fn mid(self) -> f64 {
        self.lo / 2.0 + self.hi / 2.0
    }
}

impl Real for Interval {
    const COST: u64 = 1;

    fn rational(q: &BigRational) -> Option<Self> {
        let x = q.to_f64()?;
        if x == f64::INFINITY {
            return Some(Self { lo: f64::MAX, hi: x });
        }
        if x == f64::NEG_INFINITY {
            return Some(Self { lo: x, hi: f64::MIN });
        }
        // Small integers are exact.
        if q.is_integer() && x.abs() < 9e15 {
            return Some(Self { lo: x, hi: x });
        }
        Some(outward(x, x))
    }

    fn pi() -> Self {
        outward(std::f64::consts::PI, std::f64::consts::PI)
    }

    fn add(&self, o: &Self) -> Self {
        hull(&[self.lo + o.lo, self.hi + o.hi])
    }

    fn neg(&self) -> Self {
        Self { lo: -self.hi, hi: -self.lo }
    }

    fn mul(&self, o: &Self) -> Self {
        hull(&[self.lo * o.lo, self.lo * o.hi, self.hi * o.lo, self.hi * o.hi])
    }

    fn div(&self, o: &Self) -> Option<Self> {
        if o.lo <= 0.0 && o.hi >= 0.0 {
            return None;
        }
        Some(hull(&[self.lo / o.lo, self.lo / o.hi, self.hi / o.lo, self.hi / o.hi]))
    }

    fn sqrt(&self) -> Option<Self> {
        if self.lo == 0.0 && self.hi == 0.0 {
            return Some(*self);
        }
        (self.lo >= 0.0).then(|| {
            let out = outward(self.lo.sqrt(), self.hi.sqrt());
            Self { lo: out.lo.max(0.0), hi: out.hi }
        })
    }

    fn exp(&self) -> Option<Self> {
        let out = outward(self.lo.exp(), self.hi.exp());
        Some(Self { lo: out.lo.max(0.0), hi: out.hi })
    }

    fn ln(&self) -> Option<Self> {
        (self.lo > 0.0).then(|| outward(self.lo.ln(), self.hi.ln()))
    }

    fn sin_cos(&self) -> Option<(Self, Self)> {
        if !self.is_finite() || self.lo.abs().max(self.hi.abs()) > 1e9 || self.hi - self.lo > 1.0 {
            return None;
        }
        // Widened by the slope, which is at most one.
        let mid = self.mid();
        let r = (self.hi - self.lo) / 2.0 + 4.0 * f64::EPSILON * mid.abs().max(f64::EPSILON);
        let around = |v: f64| {
            let wide = outward(v - r, v + r);
            Self { lo: wide.lo.max(-1.0), hi: wide.hi.min(1.0) }
        };
        if self.lo == 0.0 && self.hi == 0.0 {
            return Some((Self { lo: 0.0, hi: 0.0 }, Self { lo: 1.0, hi: 1.0 }));
        }
        Some((around(mid.sin()), around(mid.cos())))
    }

    fn atan(&self) -> Option<Self> {
        if self.lo == 0.0 && self.hi == 0.0 {
            return Some(*self);
        }
        Some(outward(self.lo.atan(), self.hi.atan()))
    }

    fn sign(&self) -> Option<i8> {
        if self.lo > 0.0 {
            Some(1)
        } else if self.hi < 0.0 {
            Some(-1)
        } else if self.lo == 0.0 && self.hi == 0.0 {
            Some(0)
        } else {
            None
        }
    }

    fn floor(&self) -> Option<BigInt> {
        let (a, b) = (self.lo.floor(), self.hi.floor());
        (a == b && a.is_finite()).then(|| BigInt::from_f64(a)).flatten()
    }

    fn apart(&self, o: &Self) -> bool {
        self.lo > o.hi || self.hi < o.lo
    }

    fn is_tight(&self) -> bool {
        self.is_finite() && (self.hi - self.lo) <= 1e-9 * self.lo.abs().max(self.hi.abs()).max(1e-3)
    }
}
