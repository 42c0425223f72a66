//! Low-rank adapters of a training step (Hu et al. 2021, arXiv:2106.09685): `x·W + s·(x·A)·B` with a frozen `W`.

use std::ops::Range;

use super::{H, Trainer, arena::Arena};
use crate::gpu::{Buffer, Matrix};
use crate::shape::Shape;
use crate::{Error, Result};

/// The merged queries, keys and values among [`Adapters::targets`], and the other products.
pub(super) const QKV: Range<usize> = 0..3;
pub(super) const OUTPUT: Range<usize> = 3..4;
pub(super) const GATE_UP: Range<usize> = 4..6;
pub(super) const DOWN: Range<usize> = 6..7;

/// Which projections have an adapter. Their parameters, in this order: per layer and target `A [in, rank]`, `B [rank, out]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapters {
    /// Width of the bottleneck.
    pub rank: usize,
    /// Factor on what the adapters add.
    pub scale: f32,
    /// Queries, keys, values, attention's output, gate, up, down.
    pub targets: [bool; 7],
}

impl Adapters {
    /// Width of what goes into a target and of what comes out.
    fn widths(shape: &Shape, target: usize) -> (usize, usize) {
        let (d, inner, q, kv) = (shape.hidden, shape.inner, shape.heads * shape.dim, shape.groups * shape.dim);
        [(d, q), (d, kv), (d, kv), (q, d), (d, inner), (d, inner), (inner, d)][target]
    }

    fn present(&self) -> impl Iterator<Item = usize> {
        (0..self.targets.len()).filter(|&target| self.targets[target])
    }

    /// Number of elements of every parameter, in order.
    #[must_use]
    pub fn sizes(&self, shape: &Shape) -> Vec<usize> {
        let one = |target| {
            let (inputs, outputs) = Self::widths(shape, target);
            [inputs * self.rank, self.rank * outputs]
        };
        let layer: Vec<usize> = self.present().flat_map(one).collect();
        layer.repeat(shape.layers)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.rank == 0 || !self.scale.is_finite() || self.present().next().is_none() {
            let told = format!("adapters of rank {}, scale {}, {} targets", self.rank, self.scale, self.present().count());
            return Err(Error::Input(told));
        }
        Ok(())
    }

    /// The adapters of one product of a layer.
    fn of<'a>(&'a self, shape: &'a Shape, layer: usize, product: Range<usize>) -> impl Iterator<Item = Place> + 'a {
        let count = self.present().count();
        let places = self.present().enumerate().filter(move |(_, target)| product.contains(target));
        places.map(move |(slot, target)| {
            let (inputs, outputs) = Self::widths(shape, target);
            let before = [QKV, OUTPUT, GATE_UP, DOWN].into_iter().find(|range| range.contains(&target)).map_or(target, |r| r.start);
            let column = (before..target).map(|earlier| Self::widths(shape, earlier).1).sum();
            Place { slot, parameter: 2 * (layer * count + slot), inputs, outputs, column }
        })
    }

    /// Elements of `x·A` of a layer's adapters, for each token.
    pub(super) fn low(&self) -> usize {
        self.present().count() * self.rank
    }
}

/// Where an adapter stands.
struct Place {
    /// Its number among those of its layer.
    slot: usize,
    /// Index of `A`; `B` follows.
    parameter: usize,
    inputs: usize,
    outputs: usize,
    /// Its first column of the product.
    column: usize,
}

/// What the adapters of one product read and add to.
pub(super) struct Side<'a> {
    pub(super) layer: usize,
    pub(super) product: Range<usize>,
    /// `[n, in]`
    pub(super) x: Matrix,
    /// `[n, Σ out]`: the product, or backward its gradient.
    pub(super) y: Matrix,
    /// `s·(x·A)` of all adapters of the layer, kept for the backward pass.
    pub(super) low: &'a Buffer,
    pub(super) n: usize,
}

impl Trainer {
    fn matrices(&self, arena: &Arena, place: &Place, rank: usize) -> [Matrix; 2] {
        [Matrix::new(arena.half(place.parameter), rank), Matrix::new(arena.half(place.parameter + 1), place.outputs)]
    }

    /// Adds to a product, which is f32 if `wide`, what its adapters give.
    pub(super) fn adapt(&self, side: &Side<'_>, wide: bool) -> Result<()> {
        let Some((adapters, arena)) = &self.adapters else { return Ok(()) };
        let (rank, n) = (adapters.rank, side.n);
        for place in adapters.of(&self.shape, side.layer, side.product.clone()) {
            let [a, b] = self.matrices(arena, &place, rank);
            let low = Matrix::new(side.low.at(place.slot * n * rank, H), rank);
            self.gpu.scaled_product(adapters.scale, side.x, a, low, (n, rank, place.inputs), [false, false], 1)?;
            // Products of f32 have one adapter, which begins at their first column.
            let y = side.y.columns_after(place.column, H);
            self.gpu.product(low, b, y, (n, place.outputs, rank), wide, true, 1)?;
        }
        Ok(())
    }

    /// From the gradient of a product those of its adapters, and what they add to that of `x`; `dlow` is scratch.
    pub(super) fn adapt_backward(&self, side: &Side<'_>, dx: Matrix, dlow: &Buffer) -> Result<()> {
        let Some((adapters, arena)) = &self.adapters else { return Ok(()) };
        let (rank, n, gpu) = (adapters.rank, side.n, &self.gpu);
        for place in adapters.of(&self.shape, side.layer, side.product.clone()) {
            let [a, b] = self.matrices(arena, &place, rank);
            let low = Matrix::new(side.low.at(place.slot * n * rank, H), rank);
            let (dy, dlow) = (side.y.columns_after(place.column, H), Matrix::new(dlow.at(0, H), rank));
            let gradient = |parameter, columns| Matrix::new(self.slope_of(arena, parameter), columns);
            gpu.scaled_product(adapters.scale, dy, b.turned(), dlow, (n, rank, place.outputs), [false, false], 1)?;
            gpu.product(low.turned(), dy, gradient(place.parameter + 1, place.outputs), (rank, place.outputs, n), true, true, 1)?;
            gpu.product(side.x.turned(), dlow, gradient(place.parameter, rank), (place.inputs, rank, n), true, true, 1)?;
            gpu.product(dlow, a.turned(), dx, (n, place.inputs, rank), false, true, 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_stand_where_their_projections_do() {
        let shape = Shape {
            vocab: 80,
            hidden: 64,
            inner: 96,
            layers: 2,
            heads: 4,
            groups: 2,
            dim: 32,
            bias: false,
            tied: true,
            eps: 1e-5,
            scale: 0.1,
            angles: Vec::new(),
        };
        let adapters = Adapters { rank: 3, scale: 2.0, targets: [true, false, true, false, true, true, true] };
        adapters.check().unwrap();
        let sizes = adapters.sizes(&shape);
        assert_eq!((sizes.len(), adapters.low()), (20, 15));
        let places: Vec<Place> = [QKV, OUTPUT, GATE_UP, DOWN].into_iter().flat_map(|product| adapters.of(&shape, 1, product)).collect();
        for place in &places {
            assert_eq!((sizes[place.parameter], sizes[place.parameter + 1]), (3 * place.inputs, 3 * place.outputs));
        }
        let columns: Vec<(usize, usize)> = places.iter().map(|place| (place.slot, place.column)).collect();
        // Values come after queries and keys, the part that the gate lets through after the gate.
        assert_eq!(columns, [(0, 0), (1, 192), (2, 0), (3, 96), (4, 0)]);
        assert!(Adapters { rank: 0, ..adapters.clone() }.check().is_err());
        assert!(Adapters { targets: [false; 7], ..adapters }.check().is_err());
    }
}
