//! Weights in the order in which products read them, in the precision they are kept in.

use half::bf16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernels::wide::WIDTH;

/// Outputs that are computed together: columns `32·t..32·t + 32` of a matrix lie next to each other, input by input.
pub(crate) const TILE: usize = 2 * WIDTH;
/// Inputs that share one scale in [`Storage::Int8`].
pub(crate) const GROUP: usize = 32;

/// How weights are kept for decoding; sums are always f32. Decoding is bound by reading them, so fewer bytes are more
/// tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// 32-bit floats, exactly the model.
    #[default]
    F32,
    /// Brain floats: half the bytes, exact for models published in bf16.
    Bf16,
    /// Eight-bit integers, one scale for 32 of them: a quarter of the bytes, close to the model.
    Int8,
}

#[derive(Debug)]
pub(crate) enum Elements {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    Int8 { quants: Vec<i8>, scales: Vec<f32> },
}

/// A matrix `[inputs, outputs]` in tiles of [`TILE`] outputs; the last tile is filled up with zeros.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) elements: Elements,
}

impl Packed {
    pub(crate) fn zeros(inputs: usize, outputs: usize, storage: Storage) -> Self {
        let columns = outputs.next_multiple_of(TILE);
        let elements = match storage {
            Storage::F32 => Elements::F32(vec![0.0; columns * inputs]),
            Storage::Bf16 => Elements::Bf16(vec![0; columns * inputs]),
            Storage::Int8 => Elements::Int8 { quants: vec![0; columns * inputs], scales: vec![0.0; columns * inputs.div_ceil(GROUP)] },
        };
        Self { inputs, outputs, elements }
    }

    pub(crate) fn tiles(&self) -> usize {
        self.outputs.div_ceil(TILE)
    }

    /// Puts `[out, in]` rows in place as the outputs from `first` on.
    pub(crate) fn fill(&mut self, first: usize, rows: &[f32]) {
        let inputs = self.inputs;
        for (row, weights) in rows.chunks_exact(inputs).enumerate() {
            let (tile, lane) = ((first + row) / TILE, (first + row) % TILE);
            let start = tile * inputs * TILE + lane;
            match &mut self.elements {
                Elements::F32(data) => spread(&mut data[start..], weights.iter().copied()),
                Elements::Bf16(data) => spread(&mut data[start..], weights.iter().map(|&w| bf16::from_f32(w).to_bits())),
                Elements::Int8 { quants, scales } => {
                    let groups = inputs.div_ceil(GROUP);
                    for (group, weights) in weights.chunks(GROUP).enumerate() {
                        let (scale, inverse) = scale_of(weights);
                        scales[(tile * groups + group) * TILE + lane] = scale;
                        let at = start + group * GROUP * TILE;
                        spread(&mut quants[at..], weights.iter().map(|w| (w * inverse).round_ties_even() as i8));
                    }
                }
            }
        }
    }

    /// The weights of one output, in f32: a row of the embedding.
    pub(crate) fn output(&self, output: usize, to: &mut [f32]) {
        let (tile, lane) = (output / TILE, output % TILE);
        let start = tile * self.inputs * TILE + lane;
        match &self.elements {
            Elements::F32(data) => to.iter_mut().zip(data[start..].iter().step_by(TILE)).for_each(|(to, &w)| *to = w),
            Elements::Bf16(data) => {
                to.iter_mut().zip(data[start..].iter().step_by(TILE)).for_each(|(to, &w)| *to = bf16::from_bits(w).to_f32());
            }
            Elements::Int8 { quants, scales } => {
                let scales = &scales[tile * self.inputs.div_ceil(GROUP) * TILE + lane..];
                for (i, (to, &q)) in to.iter_mut().zip(quants[start..].iter().step_by(TILE)).enumerate() {
                    *to = f32::from(q) * scales[i / GROUP * TILE];
                }
            }
        }
    }

    /// Bytes that a product reads.
    pub(crate) fn bytes(&self) -> usize {
        match &self.elements {
            Elements::F32(data) => 4 * data.len(),
            Elements::Bf16(data) => 2 * data.len(),
            Elements::Int8 { quants, scales } => quants.len() + 4 * scales.len(),
        }
    }
}

fn spread<T>(to: &mut [T], from: impl Iterator<Item = T>) {
    to.iter_mut().step_by(TILE).zip(from).for_each(|(to, from)| *to = from);
}

/// The scale that maps the largest weight to 127, and its inverse.
fn scale_of(weights: &[f32]) -> (f32, f32) {
    let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    if largest == 0.0 { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_come_back_within_the_precision_they_are_kept_in() {
        let (inputs, outputs) = (72, 45);
        let rows: Vec<f32> = (0..inputs * outputs).map(|i| (i as f32 * 0.77).sin()).collect();
        for (storage, apart) in [(Storage::F32, 0.0), (Storage::Bf16, 0.004), (Storage::Int8, 0.5 / 127.0)] {
            let mut packed = Packed::zeros(inputs, outputs, storage);
            packed.fill(0, &rows[..20 * inputs]);
            packed.fill(20, &rows[20 * inputs..]);
            let mut back = vec![9.0; inputs];
            for output in 0..outputs {
                packed.output(output, &mut back);
                for (back, row) in back.iter().zip(&rows[output * inputs..]) {
                    assert!((back - row).abs() <= apart, "{storage:?}: {back} for {row}");
                }
            }
        }
    }
}
