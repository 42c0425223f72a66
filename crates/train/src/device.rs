//! The device as a run-time value: `cpu`; `cuda:N` is known by name, so that asking for it is answered clearly.

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
/// [`TrainError::Device`] for an unknown name, and for `cuda`, which this program does not contain.
pub fn parse(name: &str) -> Result<Device> {
    let refuse = |reason: &str| Err(TrainError::Device { device: name.into(), reason: reason.into() });
    if is_cpu(name) {
        return Ok(Device::flex());
    }
    let number = name.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').map_or(rest.is_empty(), |n| n.parse::<usize>().is_ok()));
    match number {
        Some(true) => refuse("CUDA is not built into this program; set device = \"cpu\""),
        Some(false) => refuse("the number of the GPU must follow as in cuda:0"),
        None => refuse("it must be cpu, cuda or cuda:N"),
    }
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
        for name in ["cuda", "cuda:1"] {
            assert!(parse(name).unwrap_err().to_string().contains("not built into"));
        }
    }
}
