//! The hot loops of the CPU backend on plain slices.
//!
//! burn composes attention, normalisation and the gated feed-forward from a dozen primitive operations each, every one
//! a pass over memory with its own autodiff node. Here each is one pass forward and one backward. The matrix products
//! inside attention and the loss go through the `gemm` crate, the same one that burn's CPU backend uses; everything
//! else is compiled for several instruction sets, of which the widest is chosen at run time.
//!
//! All matrices are row-major f32.

pub(crate) mod attention;
pub(crate) mod cross_entropy;
pub(crate) mod decode;
pub(crate) mod gated;
pub(crate) mod linear;
pub(crate) mod matrix;
pub(crate) mod rms_norm;
pub(crate) mod simd;
