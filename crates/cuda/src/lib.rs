//! Decoder-only models on an NVIDIA GPU: training steps ([`Trainer`]) and batched decoding ([`Decoder`]).
//!
//! Forward and backward pass are written out by hand, in the manner of Karpathy's llm.c: matrix products by cuBLAS, what
//! lies between them by the kernels of `kernels.cu`, which the driver's compiler builds for the device at start (a few
//! seconds). The model computes in bf16; residual stream, norms, softmax, loss, gradients, weights and optimizer state are
//! f32. The crate knows slices of numbers, no framework: parameters come and go as `Vec<f32>` in the order of [`Shape`].
//!
//! The driver, NVRTC and cuBLAS are loaded at run time, so that it builds and ships without them.

mod decode;
mod gpu;
mod shape;
mod train;

pub use decode::{Decoder, Draw, Fed};
pub use shape::Shape;
pub use train::{AdamW, Adapters, Batch, Moments, Trainer};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver's word.
    #[error("CUDA: {0}")]
    Driver(#[from] cudarc::driver::DriverError),
    /// cuBLAS's word.
    #[error("cuBLAS: {0:?}")]
    Blas(#[from] cudarc::cublas::result::CublasError),
    /// The kernels could not be compiled.
    #[error("the kernels cannot be compiled: {0}")]
    Compile(String),
    /// A buffer does not fit.
    #[error("the GPU has {free_mb} MB free, but {needed_mb} MB more are needed")]
    Memory {
        /// What was asked for.
        needed_mb: usize,
        /// What is there.
        free_mb: usize,
    },
    /// The model has a part that the GPU's kernels do not have.
    #[error("the GPU's kernels do not have {0}")]
    Unsupported(String),
    /// The input does not fit the model.
    #[error("{0}")]
    Input(String),
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// GPUs that this program can use; none without a driver.
#[must_use]
#[allow(unsafe_code, reason = "looking for the driver opens a library")]
pub fn devices() -> usize {
    // SAFETY: it only tries to open the driver's library.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return 0;
    }
    cudarc::driver::CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}
