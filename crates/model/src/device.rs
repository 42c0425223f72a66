//! The device as a run-time value: `cpu` or `cuda:N`.

use burn::tensor::Device;

use crate::{Error, Result};

/// Whether the name means the CPU.
#[must_use]
pub fn is_cpu(name: &str) -> bool {
    name == "cpu"
}

/// The device of this name: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// # Errors
/// [`Error::Device`] for an unknown name, for a GPU that is not there, and for any GPU in a program that was built
/// without the feature `cuda`.
pub fn parse(name: &str) -> Result<Device> {
    if is_cpu(name) { Ok(Device::flex()) } else { gpu_number(name).map(gpu) }
}

#[cfg(feature = "cuda")]
fn gpu(number: usize) -> Device {
    Device::cuda(number)
}

#[cfg(not(feature = "cuda"))]
fn gpu(number: usize) -> Device {
    unreachable!("GPU {number} in a program without CUDA")
}

/// The number of the GPU of this name.
///
/// # Errors
/// As [`parse`]; also for `cpu`.
pub fn gpu_number(name: &str) -> Result<usize> {
    let number = name.strip_prefix("cuda").map(|rest| match rest.strip_prefix(':') {
        Some(number) => number.parse::<usize>().ok(),
        None => rest.is_empty().then_some(0),
    });
    match number {
        Some(Some(number)) => present(name, number),
        Some(None) => refuse(name, "the number of the GPU must follow as in cuda:0"),
        None => refuse(name, "it must be cpu, cuda or cuda:N"),
    }
}

fn refuse<T>(name: &str, reason: &str) -> Result<T> {
    Err(Error::Device { device: name.into(), reason: reason.into() })
}

/// The number of the GPU that a device is, if it is one of NVIDIA's.
#[cfg(feature = "cuda")]
pub(crate) fn number_of(device: &Device) -> Option<usize> {
    let device = device.clone().without_autodiff();
    (0..potstill_cuda::devices()).find(|&number| Device::cuda(number) == device)
}

#[cfg(feature = "cuda")]
fn present(name: &str, number: usize) -> Result<usize> {
    match potstill_cuda::devices() {
        0 => refuse(name, "no NVIDIA GPU is visible to this program (is the driver installed?); set device = \"cpu\""),
        found if number >= found => refuse(name, &format!("the machine has {found} GPU(s), numbered from 0")),
        _ => Ok(number),
    }
}

#[cfg(not(feature = "cuda"))]
fn present(name: &str, _number: usize) -> Result<usize> {
    refuse(name, "CUDA is not built into this program; set device = \"cpu\", or build with `--features cuda`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(parse("cpu").is_ok());
        for (name, part) in [("gpu", "must be cpu, cuda or cuda:N"), ("cuda:x", "number of the GPU"), ("cuda0", "number of the GPU")] {
            assert!(parse(name).unwrap_err().to_string().contains(part), "{name}");
        }
        for name in ["cuda", "cuda:999"] {
            let expected = if cfg!(feature = "cuda") { "GPU" } else { "not built into" };
            match parse(name) {
                Err(error) => assert!(error.to_string().contains(expected), "{error}"),
                Ok(_) => assert!(cfg!(feature = "cuda") && name == "cuda"),
            }
        }
    }
}
