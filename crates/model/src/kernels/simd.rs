//! Arithmetic that the compiler vectorises: everything here is `#[inline(always)]`, to become part of a function that
//! [`vectorized!`] compiles for several instruction sets.

const LANES: usize = 16;
/// Elements that are added up in f32.
const BLOCK: usize = 1024;

/// Defines a function that is compiled for AVX-512, for AVX2 with FMA and for the baseline, and that runs the widest
/// version the machine has. What it calls must be `#[inline(always)]` to take part.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn baseline($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    baseline($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    baseline($($arg),*)
                }
                match $crate::kernels::simd::level() {
                    $crate::kernels::simd::Level::Avx512 => {
                        #[expect(unsafe_code, reason = "calling a function compiled for more instructions than the baseline")]
                        // SAFETY: `level` found these instructions on this machine.
                        return unsafe { avx512($($arg),*) };
                    }
                    $crate::kernels::simd::Level::Avx2 => {
                        #[expect(unsafe_code, reason = "calling a function compiled for more instructions than the baseline")]
                        // SAFETY: `level` found these instructions on this machine.
                        return unsafe { avx2($($arg),*) };
                    }
                    $crate::kernels::simd::Level::Baseline => {}
                }
            }
            #[allow(unreachable_code, reason = "other architectures have the baseline alone")]
            baseline($($arg),*)
        }
    };
}
pub(crate) use vectorized;

/// Instruction sets that functions are compiled for.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Avx512,
    Avx2,
    Baseline,
}

/// The widest instruction set of this machine; the standard library remembers the answer.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn level() -> Level {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma");
    if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl") {
        Level::Avx512
    } else if avx2 {
        Level::Avx2
    } else {
        Level::Baseline
    }
}

/// `eˣ` to within 2 ulp for `x` in [-87, 88]; 0 below and the value at 88 above (Cephes' polynomial).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves the rounded integer in the low mantissa bits
    let clamped = x.clamp(-88.0, 88.0);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(0x4B40_0000).wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent through [`exp`].
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    2.0f32.mul_add(sigmoid(2.0 * x), -1.0)
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut half = [0.0; LANES / 2];
    for i in 0..LANES / 2 {
        half[i] = lanes[i] + lanes[i + LANES / 2];
    }
    (half[0] + half[4]) + (half[1] + half[5]) + ((half[2] + half[6]) + (half[3] + half[7]))
}

/// Σ f(aᵢ, bᵢ) in a fixed order that vectorises.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(&x, &y)| f(x, y)).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    fold(lanes) + tail
}

/// Σ aᵢ·bᵢ.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(&x, &y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = x[i].mul_add(y[i], lanes[i]);
        }
    }
    fold(lanes) + tail
}

/// The largest element; −∞ of nothing. NaN is not looked for.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let mut best = f32::NEG_INFINITY;
    for &x in chunks.remainder() {
        best = if x > best { x } else { best };
    }
    for x in chunks {
        for i in 0..LANES {
            lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
        }
    }
    for x in lanes {
        best = if x > best { x } else { best };
    }
    best
}

/// `a ← e^(a − shift)`; returns the sum. One term is 1 and a vocabulary has tens of thousands of tiny ones, which a long sum
/// in f32 would lose: blocks are added up in f64.
#[inline(always)]
pub(crate) fn exp_sub_sum(a: &mut [f32], shift: f32) -> f32 {
    let mut total = 0.0_f64;
    for block in a.chunks_mut(BLOCK) {
        let mut lanes = [0.0; LANES];
        let mut chunks = block.chunks_exact_mut(LANES);
        for x in &mut chunks {
            for i in 0..LANES {
                x[i] = exp(x[i] - shift);
                lanes[i] += x[i];
            }
        }
        let mut tail = 0.0;
        for x in chunks.into_remainder() {
            *x = exp(*x - shift);
            tail += *x;
        }
        total += f64::from(fold(lanes) + tail);
    }
    total as f32
}

/// `y ← y + f·x`.
#[inline(always)]
pub(crate) fn add_scaled(y: &mut [f32], f: f32, x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x.mul_add(f, *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_and_total() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "exp({x})");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert!(exp(1e30).is_finite());
    }

    #[test]
    fn small_terms_of_a_long_sum_are_not_lost() {
        // One token with nearly all of the probability, and fifty thousand with 2e-8 each: 1e-3 together.
        let mut logits = vec![-17.7_f32; 50_000];
        logits[7] = 0.0;
        let exact: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let found = f64::from(exp_sub_sum(&mut logits, 0.0));
        assert!((found / exact - 1.0).abs() < 3e-6, "{found} instead of {exact}");
    }

    #[test]
    fn reductions_match_plain_sums_at_every_length() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..n).map(|i| (i as f32 * 0.71).cos()).collect();
            let exact: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert!((dot(&a, &b) - exact).abs() < 1e-5);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
        assert!((tanh(0.3) - 0.3f32.tanh()).abs() < 1e-6);
    }
}
