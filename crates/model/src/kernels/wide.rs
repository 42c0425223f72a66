//! Sixteen floats at a time, held in registers.
//!
//! The compiler keeps an array of sums in memory where a product wants it in registers, so products are written over
//! [`Wide`] and compiled once per instruction set by [`widest!`].

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Floats of one [`Wide`].
pub(crate) const WIDTH: usize = 16;

/// Sixteen floats.
pub(crate) trait Wide: Copy {
    /// Rows of a product whose sums fit the registers together.
    const ROWS: usize;
    fn splat(x: f32) -> Self;
    fn load(from: &[f32; WIDTH]) -> Self;
    /// Brain floats.
    fn load_bf16(from: &[u16; WIDTH]) -> Self;
    fn load_i8(from: &[i8; WIDTH]) -> Self;
    fn store(self, to: &mut [f32; WIDTH]);
    fn mul(self, other: Self) -> Self;
    /// `self·other + sum`, rounded once.
    fn mul_add(self, other: Self, sum: Self) -> Self;
    /// The sum of the elements, in one fixed order on every machine.
    fn sum(self) -> f32 {
        let mut elements = [0.0; WIDTH];
        self.store(&mut elements);
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                elements[i] += elements[i + half];
            }
        }
        elements[0]
    }
}

/// The portable form.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; WIDTH]);

impl Wide for Plain {
    const ROWS: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; WIDTH])
    }

    #[inline(always)]
    fn load(from: &[f32; WIDTH]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn load_bf16(from: &[u16; WIDTH]) -> Self {
        Self(from.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    #[inline(always)]
    fn load_i8(from: &[i8; WIDTH]) -> Self {
        Self(from.map(f32::from))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; WIDTH]) {
        *to = self.0;
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }

    #[inline(always)]
    fn mul_add(self, other: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(other.0[i], sum.0[i])))
    }
}

/// One AVX-512 register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// Two AVX registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256; 2]);

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "registers wider than the baseline; the references are as long as the loads and stores")]
// SAFETY of every block below: `widest!` uses this type only inside functions compiled for AVX-512, which it calls only
// where the machine has it, and each load and store stays within the array that is referred to.
impl Wide for Avx512 {
    const ROWS: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn load(from: &[f32; WIDTH]) -> Self {
        Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }

    #[inline(always)]
    fn load_bf16(from: &[u16; WIDTH]) -> Self {
        Self(unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        })
    }

    #[inline(always)]
    fn load_i8(from: &[i8; WIDTH]) -> Self {
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) })
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; WIDTH]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, other: Self, sum: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, other.0, sum.0) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "registers wider than the baseline; the references are as long as the loads and stores")]
// SAFETY of every block below: as for `Avx512`, with AVX2 and FMA.
impl Wide for Avx2 {
    const ROWS: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([unsafe { _mm256_set1_ps(x) }; 2])
    }

    #[inline(always)]
    fn load(from: &[f32; WIDTH]) -> Self {
        Self([0, 8].map(|at| unsafe { _mm256_loadu_ps(from.as_ptr().add(at)) }))
    }

    #[inline(always)]
    fn load_bf16(from: &[u16; WIDTH]) -> Self {
        Self([0, 8].map(|at| unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().add(at).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }))
    }

    #[inline(always)]
    fn load_i8(from: &[i8; WIDTH]) -> Self {
        Self([0, 8].map(|at| unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().add(at).cast()))) }))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; WIDTH]) {
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self.0[1]);
        }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| unsafe { _mm256_mul_ps(self.0[i], other.0[i]) }))
    }

    #[inline(always)]
    fn mul_add(self, other: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|i| unsafe { _mm256_fmadd_ps(self.0[i], other.0[i], sum.0[i]) }))
    }
}

/// Defines a function over a [`Wide`] that runs with the widest one of this machine. Everything that it calls with its
/// type parameter must be `#[inline(always)]`.
macro_rules! widest {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$wide:ident>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn generic<$wide: $crate::kernels::wide::Wide>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                use $crate::kernels::{simd::{Level, level}, wide::{Avx2, Avx512}};
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) {
                    generic::<Avx512>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) {
                    generic::<Avx2>($($arg),*);
                }
                match level() {
                    Level::Avx512 => {
                        #[expect(unsafe_code, reason = "calling a function compiled for more instructions than the baseline")]
                        // SAFETY: `level` found these instructions on this machine.
                        return unsafe { avx512($($arg),*) };
                    }
                    Level::Avx2 => {
                        #[expect(unsafe_code, reason = "calling a function compiled for more instructions than the baseline")]
                        // SAFETY: `level` found these instructions on this machine.
                        return unsafe { avx2($($arg),*) };
                    }
                    Level::Baseline => {}
                }
            }
            #[allow(unreachable_code, reason = "other architectures have the baseline alone")]
            generic::<$crate::kernels::wide::Plain>($($arg),*);
        }
    };
}
pub(crate) use widest;

#[cfg(test)]
mod tests {
    use super::*;

    widest! {
        fn through<W>(out: &mut [[f32; WIDTH]; 5], floats: &[f32; WIDTH], halves: &[u16; WIDTH], bytes: &[i8; WIDTH]) {
            let x = W::load(floats);
            x.mul(W::splat(2.0)).store(&mut out[0]);
            W::load_bf16(halves).store(&mut out[1]);
            W::load_i8(bytes).store(&mut out[2]);
            x.mul_add(x, W::splat(1.0)).store(&mut out[3]);
            out[4][0] = x.sum();
        }
    }

    #[test]
    fn the_widest_form_computes_what_the_portable_one_does() {
        let floats: [f32; WIDTH] = std::array::from_fn(|i| i as f32 * 0.3 - 2.0);
        let halves: [u16; WIDTH] = std::array::from_fn(|i| half::bf16::from_f32(i as f32 - 7.5).to_bits());
        let bytes: [i8; WIDTH] = std::array::from_fn(|i| i as i8 * 16 - 127);
        let mut out = [[0.0; WIDTH]; 5];
        through(&mut out, &floats, &halves, &bytes);
        let x = Plain::load(&floats);
        let expected = [x.mul(Plain::splat(2.0)), Plain::load_bf16(&halves), Plain::load_i8(&bytes), x.mul_add(x, Plain::splat(1.0))];
        for (out, expected) in out.iter().zip(expected) {
            assert_eq!(*out, expected.0);
        }
        assert_eq!(out[4][0], x.sum());
        assert!((out[4][0] - floats.iter().sum::<f32>()).abs() < 1e-4);
    }
}
