//! The device as a run-time value: `cpu`, or `cuda:N` where it is built in.

use burn::tensor::Device;

use crate::error::{Result, TrainError};

/// Whether the name means the CPU.
#[must_use]
pub fn is_cpu(name: &str) -> bool {
    name == "cpu"
}

/// The device of this name.
///
/// # Errors
/// [`TrainError::Device`] for an unknown name, or `cuda` in a build without it.
pub fn parse(name: &str) -> Result<Device> {
    let refuse = |reason: &str| Err(TrainError::Device { device: name.into(), reason: reason.into() });
    if is_cpu(name) {
        return Ok(Device::flex());
    }
    let index = match name.strip_prefix("cuda") {
        Some("") => Ok(0),
        Some(rest) => rest.strip_prefix(':').unwrap_or("?").parse::<usize>(),
        None => return refuse("it must be cpu, cuda or cuda:N"),
    };
    match index {
        Ok(index) => cuda(name, index),
        Err(_) => refuse("the number of the GPU must follow as in cuda:0"),
    }
}

#[cfg(feature = "cuda")]
fn cuda(_name: &str, index: usize) -> Result<Device> {
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _index: usize) -> Result<Device> {
    let reason = "this program is built without CUDA; build it with `--features cuda`, or set device = \"cpu\"";
    Err(TrainError::Device { device: name.into(), reason: reason.into() })
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
        #[cfg(not(feature = "cuda"))]
        assert!(parse("cuda:1").unwrap_err().to_string().contains("built without CUDA"));
    }
}
