#![allow(unsafe_code, reason = "kernels and cuBLAS take raw addresses; each use says why it holds")]
//! One GPU: memory, the compiled kernels, matrix products.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublas::{CudaBlas, result as blas, sys as blas_sys};
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};

use crate::{Error, Result};

const SOURCE: &str = include_str!("kernels.cu");
const KERNELS: [&str; 24] = [
    "draw",
    "embed",
    "embed_backward",
    "rms",
    "rms_backward",
    "cast",
    "gated",
    "gated_backward",
    "split",
    "merge",
    "to_rows",
    "to_heads",
    "softmax",
    "softmax_backward",
    "row_dots",
    "column_sums",
    "gather_rows",
    "scatter_rows",
    "cross_entropy",
    "square_sums",
    "adamw",
    "append",
    "attend",
    "argmax",
];

/// Memory on the GPU.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: CudaSlice<u8>,
    address: u64,
}

impl Buffer {
    /// The address of the element `index` of `size` bytes.
    pub(crate) fn at(&self, index: usize, size: usize) -> u64 {
        self.address + (index * size) as u64
    }
}

/// A kernel's argument.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg {
    Address(u64),
    Int(i32),
    Long(i64),
    Float(f32),
}

impl From<&Buffer> for Arg {
    fn from(buffer: &Buffer) -> Self {
        Self::Address(buffer.address)
    }
}
impl From<u64> for Arg {
    fn from(address: u64) -> Self {
        Self::Address(address)
    }
}
impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}
impl From<usize> for Arg {
    /// Sizes are `int` in the kernels; only element counts are [`Arg::Long`].
    fn from(value: usize) -> Self {
        Self::Int(value as i32)
    }
}
impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Long(value)
    }
}
impl From<f32> for Arg {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

/// Arguments of mixed types.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$(crate::gpu::Arg::from($arg)),*] };
}
pub(crate) use args;

/// A matrix in memory: rows of `stride` elements, read turned if `turned`; row-major. With `step`, one of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) address: u64,
    pub(crate) stride: usize,
    pub(crate) turned: bool,
    pub(crate) step: usize,
}

impl Matrix {
    pub(crate) fn new(address: u64, stride: usize) -> Self {
        Self { address, stride, turned: false, step: 0 }
    }

    pub(crate) fn turned(self) -> Self {
        Self { turned: !self.turned, ..self }
    }

    /// The columns from `column` on, of elements of `size` bytes.
    pub(crate) fn columns_after(self, column: usize, size: usize) -> Self {
        Self { address: self.address + (column * size) as u64, ..self }
    }

    pub(crate) fn step(self, step: usize) -> Self {
        Self { step, ..self }
    }
}

/// One GPU with the kernels for heads of one shape.
pub(crate) struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    blas: CudaBlas,
    kernels: BTreeMap<&'static str, CudaFunction>,
}

impl Gpu {
    /// Opens GPU `number` and compiles the kernels for heads of `dim` elements, `group` query heads per key head.
    pub(crate) fn new(number: usize, dim: usize, group: usize) -> Result<Self> {
        let context = CudaContext::new(number)?;
        // SAFETY: everything here runs on one stream, in order; events between streams would guard nothing.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let blas = CudaBlas::new(stream.clone())?;
        let (major, minor) = context.compute_capability()?;
        let options = CompileOptions {
            options: vec![
                format!("--gpu-architecture=compute_{major}{minor}"),
                format!("-DDIM={dim}"),
                format!("-DGROUP={group}"),
                "--std=c++17".into(),
            ],
            ..CompileOptions::default()
        };
        let ptx = compile_ptx_with_opts(SOURCE, options).map_err(|error| Error::Compile(format!("{error:?}")))?;
        let module = context.load_module(ptx)?;
        let load = |name: &'static str| Ok((name, module.load_function(name)?));
        let kernels = KERNELS.iter().map(|name| load(name)).collect::<Result<_>>()?;
        Ok(Self { context, stream, blas, kernels })
    }

    /// Free and total memory in bytes.
    pub(crate) fn memory(&self) -> Result<(usize, usize)> {
        Ok(self.context.mem_get_info()?)
    }

    pub(crate) fn zeros(&self, bytes: usize) -> Result<Buffer> {
        let memory = self.stream.alloc_zeros::<u8>(bytes.max(16)).map_err(|error| self.no_memory(bytes, error))?;
        Ok(self.buffer(memory))
    }

    /// Uninitialised memory.
    pub(crate) fn alloc(&self, bytes: usize) -> Result<Buffer> {
        // SAFETY: every buffer made this way is written by a kernel or a product before one reads it.
        let memory = unsafe { self.stream.alloc::<u8>(bytes.max(16)) }.map_err(|error| self.no_memory(bytes, error))?;
        Ok(self.buffer(memory))
    }

    fn no_memory(&self, bytes: usize, error: cudarc::driver::DriverError) -> Error {
        match self.memory() {
            Ok((free, _)) if free < bytes => Error::Memory { needed_mb: bytes >> 20, free_mb: free >> 20 },
            _ => error.into(),
        }
    }

    fn buffer(&self, memory: CudaSlice<u8>) -> Buffer {
        let address = memory.device_ptr(&self.stream).0;
        Buffer { memory, address }
    }

    pub(crate) fn clear(&self, buffer: &mut Buffer) -> Result<()> {
        Ok(self.stream.memset_zeros(&mut buffer.memory)?)
    }

    /// Copies values into a new buffer.
    pub(crate) fn upload<E: Copy + DeviceRepr>(&self, values: &[E]) -> Result<Buffer> {
        let mut buffer = self.alloc(size_of_val(values))?;
        self.write(&mut buffer, 0, values)?;
        Ok(buffer)
    }

    /// Copies values to element `offset` of a buffer of the same type.
    pub(crate) fn write<E: Copy + DeviceRepr>(&self, buffer: &mut Buffer, offset: usize, values: &[E]) -> Result<()> {
        let (from, bytes) = (offset * size_of::<E>(), size_of_val(values));
        let mut part = buffer.memory.slice_mut(from..from + bytes);
        // SAFETY: plain numbers are their bytes.
        let raw = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), bytes) };
        Ok(self.stream.memcpy_htod(raw, &mut part)?)
    }

    /// Copies `count` values from element `offset` on to the host; waits for everything before.
    pub(crate) fn read<E: Copy + Default + DeviceRepr>(&self, buffer: &Buffer, offset: usize, count: usize) -> Result<Vec<E>> {
        let mut values = vec![E::default(); count];
        let bytes = count * size_of::<E>();
        let from = offset * size_of::<E>();
        // SAFETY: any bytes are numbers of the plain types used here.
        let raw = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), bytes) };
        self.stream.memcpy_dtoh(&buffer.memory.slice(from..from + bytes), raw)?;
        self.stream.synchronize()?;
        Ok(values)
    }

    pub(crate) fn copy(&self, from: &Buffer, to: &mut Buffer, bytes: usize) -> Result<()> {
        Ok(self.stream.memcpy_dtod(&from.memory.slice(0..bytes), &mut to.memory.slice_mut(0..bytes))?)
    }

    /// Copies bytes from one address to another, in the stream's order.
    pub(crate) fn copy_bytes(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.context.bind_to_thread()?;
        // SAFETY: the caller's buffers hold these bytes, and live until the stream has passed.
        Ok(unsafe { cudarc::driver::result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }?)
    }

    pub(crate) fn wait(&self) -> Result<()> {
        Ok(self.stream.synchronize()?)
    }

    /// Launches a kernel on a grid of blocks.
    pub(crate) fn launch(&self, name: &'static str, grid: (usize, usize), block: u32, shared: usize, args: &[Arg]) -> Result<()> {
        let Some(kernel) = self.kernels.get(name) else { return Err(Error::Compile(format!("there is no kernel {name}"))) };
        if grid.0 == 0 || grid.1 == 0 {
            return Ok(());
        }
        let mut launch = self.stream.launch_builder(kernel);
        for arg in args {
            match arg {
                Arg::Address(value) => launch.arg(value),
                Arg::Int(value) => launch.arg(value),
                Arg::Long(value) => launch.arg(value),
                Arg::Float(value) => launch.arg(value),
            };
        }
        let config =
            LaunchConfig { grid_dim: (grid.0 as u32, grid.1 as u32, 1), block_dim: (block, 1, 1), shared_mem_bytes: shared as u32 };
        // SAFETY: the arguments are those of the kernel's signature, and each buffer is as long as the grid's rows.
        unsafe { launch.launch(config) }?;
        Ok(())
    }

    /// A thread for each of `count` elements.
    pub(crate) fn each(&self, name: &'static str, count: usize, args: &[Arg]) -> Result<()> {
        self.launch(name, (count.div_ceil(256), 1), 256, 0, args)
    }

    /// `c [m, n] = a [m, k] · b [k, n] (+ c if add)`, all row-major; a and b are bf16, c is f32 if `wide`. Sums are f32.
    /// Products of a batch lie `step` elements apart.
    #[expect(clippy::too_many_arguments, reason = "a product has three matrices and three sizes")]
    pub(crate) fn product(
        &self,
        a: Matrix,
        b: Matrix,
        c: Matrix,
        sizes: (usize, usize, usize),
        wide: bool,
        add: bool,
        batch: usize,
    ) -> Result<()> {
        self.scaled_product(1.0, a, b, c, sizes, [wide, add], batch)
    }

    /// As [`product`](Self::product), times a factor; `wide` and `add` stand together.
    #[expect(clippy::too_many_arguments, reason = "a product has three matrices and three sizes")]
    pub(crate) fn scaled_product(
        &self,
        factor: f32,
        a: Matrix,
        b: Matrix,
        c: Matrix,
        (m, n, k): (usize, usize, usize),
        [wide, add]: [bool; 2],
        batch: usize,
    ) -> Result<()> {
        use blas_sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        if m * n * k * batch == 0 {
            return Ok(());
        }
        let half = blas_sys::cudaDataType_t::CUDA_R_16BF;
        let result = if wide { blas_sys::cudaDataType_t::CUDA_R_32F } else { half };
        let beta = if add { 1.0f32 } else { 0.0f32 };
        let turn = |matrix: Matrix| if matrix.turned { CUBLAS_OP_T } else { CUBLAS_OP_N };
        // cuBLAS is column-major: it sees every matrix turned, so that cᵀ = bᵀ · aᵀ is asked for.
        // SAFETY: addresses and strides describe buffers of these sizes.
        unsafe {
            blas::gemm_strided_batched_ex(
                *self.blas.handle(),
                turn(b),
                turn(a),
                n as i32,
                m as i32,
                k as i32,
                (&raw const factor).cast::<c_void>(),
                b.address as *const c_void,
                half,
                b.stride as i32,
                b.step as i64,
                a.address as *const c_void,
                half,
                a.stride as i32,
                a.step as i64,
                (&raw const beta).cast::<c_void>(),
                c.address as *mut c_void,
                result,
                c.stride as i32,
                c.step as i64,
                batch as i32,
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
            )?;
        }
        Ok(())
    }
}
