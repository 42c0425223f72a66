//! Evaluation of expressions over enclosures, with complex values where they arise.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::ast::{Const, Expr, Func};
use super::exact::exact;
use super::real::Real;
use super::work::Work;

/// A complex value; `im` is `None` for what is real by construction.
#[derive(Clone, Debug)]
pub(super) struct Complex<R> {
    pub(super) re: R,
    pub(super) im: Option<R>,
}

/// The exact value of each variable at the sample point.
pub(super) type Point<'p> = &'p dyn Fn(&str) -> BigRational;

impl<R: Real> Complex<R> {
    fn real(re: R) -> Self {
        Self { re, im: None }
    }

    fn int(n: i64) -> Option<Self> {
        R::int(n).map(Self::real)
    }

    fn unit() -> Option<Self> {
        Some(Self { re: R::int(0)?, im: Some(R::int(1)?) })
    }

    fn im(&self) -> Option<R> {
        self.im.clone().or_else(|| R::int(0))
    }

    fn add(&self, o: &Self) -> Self {
        let im = match (&self.im, &o.im) {
            (Some(a), Some(b)) => Some(a.add(b)),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        Self { re: self.re.add(&o.re), im }
    }

    fn neg(&self) -> Self {
        Self { re: self.re.neg(), im: self.im.as_ref().map(Real::neg) }
    }

    fn mul(&self, o: &Self) -> Self {
        match (&self.im, &o.im) {
            (None, None) => Self::real(self.re.mul(&o.re)),
            (Some(b), None) => Self { re: self.re.mul(&o.re), im: Some(b.mul(&o.re)) },
            (None, Some(d)) => Self { re: self.re.mul(&o.re), im: Some(self.re.mul(d)) },
            (Some(b), Some(d)) => Self { re: self.re.mul(&o.re).sub(&b.mul(d)), im: Some(self.re.mul(d).add(&b.mul(&o.re))) },
        }
    }

    fn div(&self, o: &Self) -> Option<Self> {
        let Some(d) = &o.im else {
            let im = match &self.im {
                Some(b) => Some(b.div(&o.re)?),
                None => None,
            };
            return Some(Self { re: self.re.div(&o.re)?, im });
        };
        let norm = o.re.mul(&o.re).add(&d.mul(d));
        let conjugate = Self { re: o.re.clone(), im: Some(d.neg()) };
        let top = self.mul(&conjugate);
        Some(Self { re: top.re.div(&norm)?, im: Some(top.im()?.div(&norm)?) })
    }

    /// |z|.
    fn modulus(&self) -> Option<R> {
        match &self.im {
            None => match self.re.sign()? {
                -1 => Some(self.re.neg()),
                _ => Some(self.re.clone()),
            },
            Some(b) => self.re.mul(&self.re).add(&b.mul(b)).sqrt(),
        }
    }

    /// The principal argument.
    fn argument(&self) -> Option<R> {
        let b = self.im()?;
        let pi = R::pi();
        match (self.re.sign(), b.sign()) {
            (Some(1), _) => b.div(&self.re)?.atan(),
            (_, Some(s @ (1 | -1))) => {
                let half = pi.mul(&R::rational(&BigRational::new(BigInt::from(s), BigInt::from(2)))?);
                Some(half.sub(&self.re.div(&b)?.atan()?))
            }
            (Some(-1), Some(0)) => Some(pi),
            _ => None,
        }
    }

    fn exp(&self) -> Option<Self> {
        let size = self.re.exp()?;
        let Some(b) = &self.im else { return Some(Self::real(size)) };
        let (sin, cos) = b.sin_cos()?;
        Some(Self { re: size.mul(&cos), im: Some(size.mul(&sin)) })
    }

    fn ln(&self) -> Option<Self> {
        if self.im.is_none() && self.re.sign()? > 0 {
            return Some(Self::real(self.re.ln()?));
        }
        Some(Self { re: self.modulus()?.ln()?, im: Some(self.argument()?) })
    }

    fn sqrt(&self) -> Option<Self> {
        let Some(b) = &self.im else {
            return match self.re.sign()? {
                -1 => Some(Self { re: R::int(0)?, im: Some(self.re.neg().sqrt()?) }),
                _ => Some(Self::real(self.re.sqrt()?)),
            };
        };
        if b.sign() == Some(0) {
            return Self::real(self.re.clone()).sqrt();
        }
        let half = R::rational(&BigRational::new(BigInt::one(), BigInt::from(2)))?;
        let size = self.modulus()?;
        let re = size.add(&self.re).mul(&half).sqrt()?;
        let im = size.sub(&self.re).mul(&half).sqrt()?;
        Some(Self { re, im: Some(if b.sign()? < 0 { im.neg() } else { im }) })
    }

    fn powi(&self, n: &BigInt) -> Option<Self> {
        let mut e = n.magnitude().to_u64()?;
        let mut base = self.clone();
        let mut acc = Self::int(1)?;
        while e > 0 {
            if e & 1 == 1 {
                acc = acc.mul(&base);
            }
            e >>= 1;
            if e > 0 {
                base = base.mul(&base);
            }
        }
        if n.is_negative() { Self::int(1)?.div(&acc) } else { Some(acc) }
    }

    /// The `n`-th root: real for real arguments where there is a real one, principal otherwise.
    fn root(&self, n: u32) -> Option<Self> {
        if n == 2 {
            return self.sqrt();
        }
        if self.im.is_none() {
            match self.re.sign()? {
                0 => return Some(self.clone()),
                1 => return self.fraction_of_log(n),
                _ if n.is_odd() => return Some(self.neg().fraction_of_log(n)?.neg()),
                _ => {}
            }
        }
        self.fraction_of_log(n)
    }

    fn fraction_of_log(&self, n: u32) -> Option<Self> {
        self.ln()?.div(&Self::int(i64::from(n))?)?.exp()
    }

    fn pow_rational(&self, q: &BigRational) -> Option<Self> {
        if q.is_integer() {
            return self.powi(&q.to_integer());
        }
        match q.denom().to_u32() {
            Some(index) if index <= 64 && q.numer().bits() <= 12 => self.root(index)?.powi(q.numer()),
            _ => self.ln()?.mul(&Self::real(R::rational(q)?)).exp(),
        }
    }

    /// Whether the two certainly differ.
    pub(super) fn apart(&self, o: &Self) -> bool {
        if self.re.apart(&o.re) {
            return true;
        }
        match (self.im(), o.im()) {
            (Some(a), Some(b)) => a.apart(&b),
            _ => false,
        }
    }

    pub(super) fn is_tight(&self) -> bool {
        self.re.is_tight() && self.im.as_ref().is_none_or(Real::is_tight)
    }
}

/// The value of `e` at `point`; `None` where it is undefined, uncertain, or not a number.
pub(super) fn evaluate<R: Real>(e: &Expr, point: Point<'_>, work: &Work) -> Option<Complex<R>> {
    work.spend(4 * R::COST)?;
    let eval = |x: &Expr| evaluate::<R>(x, point, work);
    match e {
        Expr::Num(n) => R::rational(&n.value).map(Complex::real),
        Expr::Const(Const::Pi) => Some(Complex::real(R::pi())),
        Expr::Const(Const::E) => R::int(1)?.exp().map(Complex::real),
        Expr::Const(Const::I) => Complex::unit(),
        Expr::Var(name) => R::rational(&point(name)).map(Complex::real),
        Expr::Apply(..) => R::rational(&point(&format!("{e:?}"))).map(Complex::real),
        Expr::Neg(a) => Some(eval(a)?.neg()),
        Expr::Add(v) => v.iter().try_fold(Complex::int(0)?, |sum, x| Some(sum.add(&eval(x)?))),
        Expr::Mul(v) => v.iter().try_fold(Complex::int(1)?, |product, x| Some(product.mul(&eval(x)?))),
        Expr::Div(a, b) => eval(a)?.div(&eval(b)?),
        Expr::Percent(a) => eval(a)?.div(&Complex::int(100)?),
        Expr::Degrees(a) => {
            let radians = R::pi().div(&R::int(180)?)?;
            Some(eval(a)?.mul(&Complex::real(radians)))
        }
        Expr::Root(n, a) => match exact(n, work) {
            Some(n) if n.is_integer() && n.is_positive() => eval(a)?.root(n.to_integer().to_u32()?),
            Some(_) => None,
            None => eval(a)?.ln()?.div(&eval(n)?)?.exp(),
        },
        Expr::Pow(b, e) => power(b, e, point, work),
        Expr::Call(func, args) => call(*func, args, point, work),
        _ => None,
    }
}

fn power<R: Real>(base: &Expr, exponent: &Expr, point: Point<'_>, work: &Work) -> Option<Complex<R>> {
    // A variable exponent is exact at the point, so that (−1)^n is what it should be at integers.
    let at_point = exponent.map_vars(point);
    if let Some(q) = exact(&at_point, work) {
        return evaluate::<R>(base, point, work)?.pow_rational(&q);
    }
    let e = evaluate::<R>(exponent, point, work)?;
    if matches!(base, Expr::Const(Const::E)) {
        return e.exp();
    }
    let base = evaluate::<R>(base, point, work)?;
    if base.im.is_none() && base.re.sign() == Some(0) {
        return (e.re.sign()? > 0).then_some(base);
    }
    base.ln()?.mul(&e).exp()
}

impl Expr {
    /// The expression with its variables replaced by their values at `point`.
    pub(super) fn map_vars(&self, point: Point<'_>) -> Expr {
        match self {
            Expr::Var(name) => Expr::rational(point(name)),
            other => other.map_children(&mut |c| c.map_vars(point)),
        }
    }
}

fn call<R: Real>(func: Func, args: &[Expr], point: Point<'_>, work: &Work) -> Option<Complex<R>> {
    work.spend(20 * R::COST)?;
    if matches!(func, Func::Factorial | Func::DoubleFactorial | Func::Binom | Func::Gcd | Func::Lcm) {
        let value = exact(&Expr::Call(func, args.iter().map(|a| a.map_vars(point)).collect()), work)?;
        return R::rational(&value).map(Complex::real);
    }
    let values: Vec<Complex<R>> = args.iter().map(|a| evaluate::<R>(a, point, work)).collect::<Option<_>>()?;
    let z = values.first()?;
    let one = Complex::<R>::int(1)?;
    let two = Complex::<R>::int(2)?;
    match func {
        Func::Sin => trig(z).map(|t| t.0),
        Func::Cos => trig(z).map(|t| t.1),
        Func::Tan => trig(z).and_then(|(s, c)| s.div(&c)),
        Func::Cot => trig(z).and_then(|(s, c)| c.div(&s)),
        Func::Sec => one.div(&trig(z)?.1),
        Func::Csc => one.div(&trig(z)?.0),
        Func::Asin => arcsine(z),
        Func::Acos => {
            let half = R::pi().div(&R::int(2)?)?;
            Some(Complex::real(half).add(&arcsine(z)?.neg()))
        }
        Func::Atan if z.im.is_none() => z.re.atan().map(Complex::real),
        Func::Acot if z.im.is_none() => {
            let half = R::pi().div(&R::int(2)?)?;
            Some(Complex::real(half.sub(&z.re.atan()?)))
        }
        Func::Sinh => z.exp()?.add(&z.neg().exp()?.neg()).div(&two),
        Func::Cosh => z.exp()?.add(&z.neg().exp()?).div(&two),
        Func::Tanh => {
            let (a, b) = (z.exp()?, z.neg().exp()?);
            a.add(&b.neg()).div(&a.add(&b))
        }
        Func::Asinh => z.add(&z.mul(z).add(&one).sqrt()?).ln(),
        Func::Acosh => z.add(&z.mul(z).add(&one.neg()).sqrt()?).ln(),
        Func::Atanh => one.add(z).div(&one.add(&z.neg()))?.ln()?.div(&two),
        Func::Ln | Func::LogBare => z.ln(),
        Func::Log => z.ln()?.div(&values.get(1)?.ln()?),
        Func::Exp => z.exp(),
        Func::Cis => z.mul(&Complex::unit()?).exp(),
        Func::Abs => z.modulus().map(Complex::real),
        Func::Floor if z.im.is_none() => R::rational(&BigRational::from_integer(z.re.floor()?)).map(Complex::real),
        Func::Ceil if z.im.is_none() => R::rational(&BigRational::from_integer(-z.re.neg().floor()?)).map(Complex::real),
        Func::Max | Func::Min => extreme(&values, func == Func::Max),
        Func::Arg => z.argument().map(Complex::real),
        Func::Re => Some(Complex::real(z.re.clone())),
        Func::Im => z.im().map(Complex::real),
        Func::Conj => Some(Complex { re: z.re.clone(), im: z.im.as_ref().map(Real::neg) }),
        _ => None,
    }
}

/// sin z and cos z.
fn trig<R: Real>(z: &Complex<R>) -> Option<(Complex<R>, Complex<R>)> {
    let Some(b) = &z.im else {
        let (s, c) = z.re.sin_cos()?;
        return Some((Complex::real(s), Complex::real(c)));
    };
    // e^{iz} = e^{−b}(cos a + i sin a)
    let w = Complex { re: b.neg(), im: Some(z.re.clone()) }.exp()?;
    let v = Complex { re: b.clone(), im: Some(z.re.neg()) }.exp()?;
    let two = Complex::<R>::int(2)?;
    let two_i = two.mul(&Complex::unit()?);
    Some((w.add(&v.neg()).div(&two_i)?, w.add(&v).div(&two)?))
}

fn arcsine<R: Real>(z: &Complex<R>) -> Option<Complex<R>> {
    if z.im.is_some() {
        return None;
    }
    let rest = R::int(1)?.sub(&z.re.mul(&z.re));
    match rest.sign() {
        Some(1) => z.re.div(&rest.sqrt()?)?.atan().map(Complex::real),
        // ±1 exactly.
        Some(0) => R::pi().div(&R::int(2 * i64::from(z.re.sign()?))?).map(Complex::real),
        _ => None,
    }
}

fn extreme<R: Real>(values: &[Complex<R>], largest: bool) -> Option<Complex<R>> {
    let mut best = values.first()?.clone();
    for v in &values[1..] {
        if best.im.is_some() || v.im.is_some() {
            return None;
        }
        let sign = v.re.sub(&best.re).sign()?;
        if (sign > 0) == largest && sign != 0 {
            best = v.clone();
        }
    }
    Some(best)
}

/// The value of a closed real expression as an `f64`, for ordering.
pub(super) fn approximate(e: &Expr, work: &Work) -> Option<f64> {
    match e.infinite_sign() {
        Some(true) => return Some(f64::INFINITY),
        Some(false) => return Some(f64::NEG_INFINITY),
        None => {}
    }
    if let Some(q) = exact(e, work) {
        return q.to_f64();
    }
    if !e.variables().is_empty() {
        return None;
    }
    let value = evaluate::<super::real::Interval>(e, &|_| BigRational::zero(), work)?;
    value.im.is_none().then(|| value.re.mid())
}
