//! Identity testing in finite fields (Schwartz 1980, Zippel 1979): expressions become numbers modulo a prime.
//!
//! Every prime comes with a ring homomorphism from the numbers involved: variables, π and e go to random elements,
//! √q to a root of the prime q, i to a root of −1, odd roots to the unique odd root. Equal expressions are equal
//! there; different images prove difference, and powers are taken modularly, so that `^6000` never expands.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use super::ast::{Const, Expr, Func};
use super::exact::exact;
use super::work::Work;

/// Random 61-bit primes, 7 mod 8, 2 mod 3, 4 mod 5, not 1 mod 7 or 11: √2, √3, √5 exist, and cube, fifth … roots are unique.
const REAL: &[u64] = &[
    1_788_674_337_947_378_039,
    2_021_299_332_357_200_879,
    2_182_765_250_742_511_679,
    2_255_075_615_449_686_479,
    1_402_727_585_755_249_199,
    1_323_141_241_201_120_079,
    1_895_915_104_783_085_159,
    1_683_045_507_412_413_239,
    1_899_668_751_448_396_679,
    1_937_451_304_287_333_119,
    2_047_557_129_302_288_039,
    1_367_225_365_785_952_199,
    1_157_590_789_369_279_799,
    1_296_537_392_918_170_199,
    1_388_764_310_084_196_839,
    1_342_792_478_262_988_679,
    1_487_796_010_048_248_119,
    1_169_410_091_496_257_879,
    1_194_115_241_687_757_479,
    1_415_966_935_234_740_719,
    2_241_591_846_005_630_639,
    1_325_496_597_919_870_319,
    2_163_122_469_778_065_359,
    1_323_713_084_892_987_479,
    2_185_709_217_264_187_919,
    1_453_512_139_745_801_159,
    1_527_691_037_136_305_519,
    1_427_577_493_331_337_119,
    1_896_524_215_109_782_319,
    1_496_848_394_225_134_199,
    1_256_480_814_828_671_039,
    1_180_499_455_544_012_399,
];

/// Random 61-bit primes, 9 mod 16, 1 mod 3, 1 mod 5: i, √2, √3, √5 exist.
const GAUSSIAN: &[u64] = &[
    1_157_290_940_314_343_641,
    1_841_438_872_287_989_641,
    1_831_563_538_358_550_121,
    2_120_899_168_302_442_681,
    2_132_979_486_882_806_281,
    1_691_640_724_555_379_881,
    1_538_229_012_215_543_881,
    1_854_073_724_074_479_001,
    1_558_551_952_714_552_921,
    1_362_210_823_130_726_521,
    1_896_608_128_086_178_681,
    1_827_845_270_389_089_241,
    1_496_766_793_202_122_201,
    1_307_246_700_154_844_521,
    1_754_949_192_498_613_801,
    1_836_495_156_261_397_081,
    1_326_396_725_279_246_281,
    1_167_772_625_843_679_481,
    2_145_026_194_021_575_481,
    1_474_512_523_348_113_721,
    1_650_053_513_176_292_041,
    1_793_660_727_722_760_601,
    1_169_676_459_397_841_881,
    1_643_139_235_226_988_601,
    1_382_706_948_780_724_921,
    1_229_930_901_744_836_521,
    2_148_729_724_601_610_121,
    1_217_256_775_113_082_201,
    1_436_766_226_202_760_601,
    1_389_236_275_138_693_321,
    1_920_786_718_969_828_201,
    1_940_695_953_164_766_841,
];

/// Why an expression has no image under this prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// This prime lacks a root or makes a denominator vanish; another may do.
    Prime,
    /// No prime helps: outside the class this layer decides, or the budget is spent.
    Class,
}

type Image = Result<u64, Miss>;

/// A prime field and one homomorphism into it.
pub(super) struct Field<'w> {
    p: u64,
    seed: u64,
    work: &'w Work,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a of a name, as the seed of its random value.
pub(super) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// The images of `exprs` under two homomorphisms; `None` when they are outside the class.
pub(super) fn images(exprs: &[&Expr], work: &Work) -> Option<Vec<[u64; 2]>> {
    let gaussian = exprs.iter().any(|e| e.any(&|x| matches!(x, Expr::Const(Const::I))));
    let pools: [&[u64]; 2] = if gaussian { [GAUSSIAN, &[]] } else { [REAL, GAUSSIAN] };
    let mut found: Vec<Vec<u64>> = Vec::with_capacity(2);
    for p in pools.into_iter().flatten() {
        let field = Field { p: *p, seed: found.len() as u64 + 1, work };
        match exprs.iter().map(|e| field.image(e)).collect::<Result<Vec<u64>, Miss>>() {
            Ok(images) => found.push(images),
            Err(Miss::Prime) => continue,
            Err(Miss::Class) => return None,
        }
        if let [a, b] = &found[..] {
            return Some(a.iter().zip(b).map(|(x, y)| [*x, *y]).collect());
        }
    }
    None
}

impl<'w> Field<'w> {
    /// The `index`-th homomorphism of the pool for real numbers.
    pub(super) fn real(index: usize, seed: u64, work: &'w Work) -> Self {
        Self { p: REAL[index % REAL.len()], seed, work }
    }

    pub(super) fn mul(&self, a: u64, b: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a 64-bit prime")]
        let r = (u128::from(a) * u128::from(b) % u128::from(self.p)) as u64;
        r
    }

    fn add(&self, a: u64, b: u64) -> u64 {
        (a + b) % self.p
    }

    pub(super) fn sub(&self, a: u64, b: u64) -> u64 {
        (a + self.p - b) % self.p
    }

    fn pow(&self, mut base: u64, mut e: u64) -> u64 {
        let mut acc = 1;
        while e > 0 {
            if e & 1 == 1 {
                acc = self.mul(acc, base);
            }
            base = self.mul(base, base);
            e >>= 1;
        }
        acc
    }

    fn div(&self, a: u64, b: u64) -> Image {
        if b == 0 { Err(Miss::Prime) } else { Ok(self.mul(a, self.pow(b, self.p - 2))) }
    }

    fn random(&self, key: u64) -> u64 {
        // Away from 0 and 1.
        2 + mix(key ^ mix(self.seed ^ self.p)) % (self.p - 3)
    }

    fn integer(&self, n: &BigInt) -> u64 {
        n.mod_floor(&BigInt::from(self.p)).to_u64().unwrap_or(0)
    }

    fn rational(&self, q: &BigRational) -> Image {
        self.div(self.integer(q.numer()), self.integer(q.denom()))
    }

    /// The image of an expression.
    pub(super) fn image(&self, e: &Expr) -> Image {
        self.work.spend(1).ok_or(Miss::Class)?;
        match e {
            Expr::Num(n) => self.rational(&n.value),
            // Constants stay what they are when the point changes.
            Expr::Const(Const::Pi) => Ok(2 + mix(self.p) % (self.p - 3)),
            Expr::Const(Const::E) => Ok(2 + mix(self.p ^ 1) % (self.p - 3)),
            Expr::Const(Const::I) => self.sqrt_of(self.p - 1),
            Expr::Var(name) => Ok(self.random(hash(name))),
            Expr::Apply(..) => Ok(self.random(hash(&format!("{e:?}")))),
            Expr::Neg(a) => Ok(self.sub(0, self.image(a)?)),
            Expr::Add(v) => v.iter().try_fold(0, |sum, x| Ok(self.add(sum, self.image(x)?))),
            Expr::Mul(v) => v.iter().try_fold(1, |product, x| Ok(self.mul(product, self.image(x)?))),
            Expr::Div(a, b) => self.div(self.image(a)?, self.image(b)?),
            Expr::Percent(a) => self.div(self.image(a)?, 100),
            Expr::Pow(b, e) => self.power(b, e),
            Expr::Root(n, a) => match exact(n, self.work) {
                Some(n) if n.is_integer() && n.is_positive() => self.rational_power(a, &n.recip()),
                _ => Err(Miss::Class),
            },
            Expr::Call(func, args) => self.call(*func, args),
            _ => Err(Miss::Class),
        }
    }

    fn power(&self, base: &Expr, exponent: &Expr) -> Image {
        if let Some(q) = exact(exponent, self.work) {
            return self.rational_power(base, &q);
        }
        // A tower: the exponent modulo the order of the group.
        if exponent.any(&|x| matches!(x, Expr::Var(_) | Expr::Const(_) | Expr::Root(..) | Expr::Call(..))) {
            return Err(Miss::Class);
        }
        let e = tower(exponent, &BigInt::from(self.p - 1), self.work).ok_or(Miss::Class)?;
        let base = self.image(base)?;
        if base == 0 {
            return Err(Miss::Prime);
        }
        Ok(self.pow(base, e.to_u64().unwrap_or(0)))
    }

    fn rational_power(&self, base: &Expr, exponent: &BigRational) -> Image {
        let order = BigInt::from(self.p - 1);
        let index = exponent.denom();
        if index == &BigInt::from(1) {
            let value = self.image(base)?;
            if value == 0 {
                return if exponent.is_positive() {
                    Ok(0)
                } else if exponent.is_zero() {
                    Ok(1)
                } else {
                    Err(Miss::Prime)
                };
            }
            return Ok(self.pow(value, exponent.numer().mod_floor(&order).to_u64().unwrap_or(0)));
        }
        let numerator = exponent.numer().mod_floor(&order).to_u64().unwrap_or(0);
        if index.is_odd() {
            // The odd root is unique where the index is prime to the order.
            let inverse = index.extended_gcd(&order);
            if !num_traits::One::is_one(&inverse.gcd) {
                return Err(Miss::Prime);
            }
            let e = inverse.x.mod_floor(&order).to_u64().unwrap_or(0);
            return Ok(self.pow(self.pow(self.image(base)?, e), numerator));
        }
        if index != &BigInt::from(2) {
            return Err(Miss::Class);
        }
        let value = exact(base, self.work).ok_or(Miss::Class)?;
        Ok(self.pow(self.sqrt_rational(&value)?, numerator))
    }

    /// √(a/b) through the prime factors, so that √6 = √2·√3 holds in the image too.
    fn sqrt_rational(&self, q: &BigRational) -> Image {
        let mut image = self.div(1, self.integer(q.denom()))?;
        let product = q.numer() * q.denom();
        if product.is_negative() {
            image = self.mul(image, self.sqrt_of(self.p - 1)?);
        }
        let mut n = product.abs();
        if n.bits() > 60 {
            return Err(Miss::Class);
        }
        let mut left = n.to_u64().unwrap_or(0);
        let mut d = 2;
        while d * d <= left && d < 20_000 {
            self.work.spend(1).ok_or(Miss::Class)?;
            let mut odd = false;
            while left.is_multiple_of(d) {
                left /= d;
                odd = !odd;
                if !odd {
                    image = self.mul(image, d);
                }
            }
            if odd {
                image = self.mul(image, self.sqrt_of(d)?);
            }
            d += 1;
        }
        n = BigInt::from(left);
        let r = n.sqrt();
        if &r * &r == n {
            return Ok(self.mul(image, self.integer(&r)));
        }
        // Without its factors, a large rest is a square root of its own; that is sound while it is prime.
        if d < 20_000 { Ok(self.mul(image, self.sqrt_of(left)?)) } else { Err(Miss::Class) }
    }

    /// A square root modulo p (Tonelli–Shanks), the smaller of the two; misses when there is none.
    fn sqrt_of(&self, a: u64) -> Image {
        let a = a % self.p;
        if a == 0 {
            return Ok(0);
        }
        if self.pow(a, (self.p - 1) / 2) != 1 {
            return Err(Miss::Prime);
        }
        let s = (self.p - 1).trailing_zeros();
        let q = (self.p - 1) >> s;
        let mut z = 2;
        while self.pow(z, (self.p - 1) / 2) == 1 {
            z += 1;
        }
        let (mut m, mut c, mut t, mut r) = (s, self.pow(z, q), self.pow(a, q), self.pow(a, q.div_ceil(2)));
        while t != 1 {
            let mut i = 0;
            let mut square = t;
            while square != 1 && i < m {
                square = self.mul(square, square);
                i += 1;
            }
            if i == m {
                return Err(Miss::Prime);
            }
            let b = self.pow(c, 1 << (m - i - 1));
            (m, c) = (i, self.mul(b, b));
            (t, r) = (self.mul(t, c), self.mul(r, b));
        }
        Ok(r.min(self.p - r))
    }

    fn call(&self, func: Func, args: &[Expr]) -> Image {
        if let Some(q) = exact(&Expr::Call(func, args.to_vec()), self.work) {
            return self.rational(&q);
        }
        let small = |e: &Expr| exact(e, self.work).filter(BigRational::is_integer).and_then(|q| q.to_integer().to_u64());
        match (func, args) {
            (Func::Factorial, [n]) => {
                let n = small(n).filter(|n| *n <= 200_000).ok_or(Miss::Class)?;
                self.work.spend(n).ok_or(Miss::Class)?;
                Ok((2..=n).fold(1, |acc, k| self.mul(acc, k)))
            }
            (Func::Binom, [n, k]) => {
                // A polynomial in n for a small lower index.
                let k = small(k).filter(|k| *k <= 1_000).ok_or(Miss::Class)?;
                let n = self.image(n)?;
                let mut acc = 1;
                for i in 0..k {
                    self.work.spend(1).ok_or(Miss::Class)?;
                    acc = self.div(self.mul(acc, self.sub(n, i % self.p)), i + 1)?;
                }
                Ok(acc)
            }
            _ => Err(Miss::Class),
        }
    }
}

/// A nonnegative integer expression modulo `m`, powers taken modularly.
fn tower(e: &Expr, m: &BigInt, work: &Work) -> Option<BigInt> {
    work.spend(10)?;
    if let Some(q) = exact(e, work) {
        return q.is_integer().then(|| q.to_integer().mod_floor(m));
    }
    Some(match e {
        Expr::Neg(a) => (-tower(a, m, work)?).mod_floor(m),
        Expr::Add(v) => v.iter().try_fold(BigInt::zero(), |s, x| Some((s + tower(x, m, work)?).mod_floor(m)))?,
        Expr::Mul(v) => v.iter().try_fold(BigInt::from(1), |s, x| Some((s * tower(x, m, work)?).mod_floor(m)))?,
        Expr::Pow(b, e) => {
            let exponent = exact(e, work).filter(|q| q.is_integer() && !q.is_negative())?.to_integer();
            work.spend(exponent.bits())?;
            tower(b, m, work)?.modpow(&exponent, m)
        }
        _ => return None,
    })
}
