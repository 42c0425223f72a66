//! Parameters one after the other in one piece of memory.

use super::{F, H};
use crate::gpu::{Buffer, Gpu, args};
use crate::{Error, Result};

/// f32 values of parameters, and their bf16 copies.
pub(super) struct Arena {
    /// Where each parameter stands, and how long it is.
    pub(super) places: Vec<(usize, usize)>,
    /// Elements in all.
    pub(super) total: usize,
    pub(super) values: Buffer,
    halves: Buffer,
}

impl Arena {
    pub(super) fn new(gpu: &Gpu, sizes: &[usize], values: &[Vec<f32>]) -> Result<Self> {
        let found: Vec<usize> = values.iter().map(Vec::len).collect();
        if found != sizes {
            return Err(Error::Input(format!("the model has parameters of {sizes:?} elements, but {found:?} were given")));
        }
        let mut total = 0;
        let places = sizes.iter().map(|&size| {
            let place = (total, size);
            total += size.next_multiple_of(64);
            place
        });
        let places: Vec<_> = places.collect();
        let values = laid(gpu, &places, total, values)?;
        let halves = gpu.zeros(total * H)?;
        gpu.each("cast", total.div_ceil(8), args![&values, &halves, total as i64])?;
        Ok(Self { places, total, values, halves })
    }

    /// A buffer with an f32 for each element; zeros where nothing is given.
    pub(super) fn beside(&self, gpu: &Gpu, values: &[Vec<f32>]) -> Result<Buffer> {
        laid(gpu, &self.places, self.total, values)
    }

    /// Address of a parameter's values.
    pub(super) fn float(&self, parameter: usize) -> u64 {
        self.values.at(self.places[parameter].0, F)
    }

    /// Address of its bf16 copy.
    pub(super) fn half(&self, parameter: usize) -> u64 {
        self.halves.at(self.places[parameter].0, H)
    }
}

fn laid(gpu: &Gpu, places: &[(usize, usize)], total: usize, values: &[Vec<f32>]) -> Result<Buffer> {
    let mut buffer = gpu.zeros(total * F)?;
    for (&(at, _), values) in places.iter().zip(values) {
        gpu.write(&mut buffer, at, values)?;
    }
    Ok(buffer)
}
