//! The device as a run-time value: `cpu` or `cuda:N`.

use burn::tensor::Device;

use crate::error::{Result, TrainError};

/// Whether the name means the CPU.
#[must_use]
pub fn is_cpu(name: &str) -> bool {
    name == "cpu"
}

/// Where a model lives on the host for a device of this name: `cpu`, `cuda` (the first GPU) or `cuda:N`. What a GPU
/// computes it takes from there and brings back.
///
/// # Errors
/// [`TrainError::Device`] for an unknown name, for a GPU that is not there, and for any GPU in a program that was built
/// without the feature `cuda`.
pub fn parse(name: &str) -> Result<Device> {
    if !is_cpu(name) {
        gpu_number(name)?;
    }
    Ok(Device::flex())
}

/// The device of this name for what computes on the CPU alone.
///
/// # Errors
/// As [`parse`]; also for a GPU that is there.
pub fn host(name: &str) -> Result<Device> {
    let device = parse(name)?;
    if is_cpu(name) { Ok(device) } else { refuse(name, "this runs on the CPU alone; set device = \"cpu\"") }
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
    Err(TrainError::Device { device: name.into(), reason: reason.into() })
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
        assert!(host("cpu").is_ok() && host("cuda").is_err());
        for name in ["cuda", "cuda:999"] {
            let expected = if cfg!(feature = "cuda") { "GPU" } else { "not built into" };
            match parse(name) {
                Err(error) => assert!(error.to_string().contains(expected), "{error}"),
                Ok(_) => assert!(cfg!(feature = "cuda") && name == "cuda"),
            }
        }
    }
}
