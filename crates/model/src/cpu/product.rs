//! `x · W` for packed weights.
//!
//! Every element of the result is one chain of fused multiply-adds over the inputs in their order, whatever the number of
//! rows and threads: a sequence gets the same logits alone and in any batch, bit for bit.

use std::cell::RefCell;

use super::{
    packed::{Elements, GROUP, Packed, TILE},
    team::Team,
};
use crate::kernels::wide::{WIDTH, Wide, widest};

/// From so many rows on, a tile of small weights is widened once for all of them.
const WIDEN_FROM: usize = 4;
/// Pieces that each thread gets, so that a late one can be helped.
const PIECES: usize = 4;

thread_local! {
    /// A tile in f32.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `x [n, inputs]` to `[n, outputs]`, row-major. `tiled` is scratch.
pub(crate) fn product(x: &[f32], weights: &Packed, team: &Team, tiled: &mut Vec<f32>, out: &mut Vec<f32>) {
    let (rows, tiles) = (x.len() / weights.inputs, weights.tiles());
    let area = rows * TILE;
    tiled.resize(tiles * area, 0.0);
    let piece = tiles.div_ceil(PIECES * team.threads()).max(1);
    team.pieces(tiled, piece * area.max(1), |index, piece_out| {
        for (i, out) in piece_out.chunks_exact_mut(area).enumerate() {
            tile_product(x, weights, index * piece + i, out);
        }
    });
    out.resize(rows * weights.outputs, 0.0);
    if rows == 1 {
        out.copy_from_slice(&tiled[..weights.outputs]);
        return;
    }
    for (row, out) in out.chunks_exact_mut(weights.outputs).enumerate() {
        for (out, tile) in out.chunks_mut(TILE).zip(tiled.chunks_exact(area)) {
            out.copy_from_slice(&tile[row * TILE..row * TILE + out.len()]);
        }
    }
}

/// All rows against one tile: `[rows, TILE]`.
fn tile_product(x: &[f32], weights: &Packed, tile: usize, out: &mut [f32]) {
    let inputs = weights.inputs;
    let at = tile * inputs * TILE..(tile + 1) * inputs * TILE;
    let many = out.len() >= WIDEN_FROM * TILE;
    match &weights.elements {
        Elements::F32(data) => floats(x, inputs, &data[at], out),
        Elements::Bf16(data) if many => widened(x, inputs, out, |to| widen_bf16(&data[at], to)),
        Elements::Bf16(data) => halves(x, inputs, &data[at], out),
        Elements::Int8 { quants, scales } => {
            let groups = inputs.div_ceil(GROUP);
            let scales = &scales[tile * groups * TILE..(tile + 1) * groups * TILE];
            if many {
                widened(x, inputs, out, |to| widen_i8(&quants[at], scales, to));
            } else {
                bytes(x, inputs, &quants[at], scales, out);
            }
        }
    }
}

fn widened(x: &[f32], inputs: usize, out: &mut [f32], widen: impl FnOnce(&mut [f32])) {
    WIDENED.with_borrow_mut(|tile| {
        tile.resize(inputs * TILE, 0.0);
        widen(tile);
        floats(x, inputs, tile, out);
    });
}

/// The two halves of each input's weights in a tile.
fn pairs<T>(tile: &[T]) -> &[[[T; WIDTH]; 2]] {
    tile.as_chunks::<WIDTH>().0.as_chunks::<2>().0
}

fn pairs_mut<T>(tile: &mut [T]) -> &mut [[[T; WIDTH]; 2]] {
    tile.as_chunks_mut::<WIDTH>().0.as_chunks_mut::<2>().0
}

widest! {
    fn floats<W>(x: &[f32], inputs: usize, tile: &[f32], out: &mut [f32]) {
        let (mut x, mut out) = (x, pairs_mut(out));
        while !out.is_empty() {
            let taken = match out.len().min(W::ROWS) {
                8.. => block::<W, 8>(x, inputs, tile, out),
                4.. => block::<W, 4>(x, inputs, tile, out),
                2.. => block::<W, 2>(x, inputs, tile, out),
                _ => block::<W, 1>(x, inputs, tile, out),
            };
            (x, out) = (&x[taken * inputs..], &mut out[taken..]);
        }
    }
}

/// `ROWS` rows against a tile; returns `ROWS`.
#[inline(always)]
fn block<W: Wide, const ROWS: usize>(x: &[f32], inputs: usize, tile: &[f32], out: &mut [[[f32; WIDTH]; 2]]) -> usize {
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * inputs..(row + 1) * inputs]);
    let mut sums = [[W::splat(0.0); 2]; ROWS];
    for (i, weights) in pairs(tile)[..inputs].iter().enumerate() {
        let weights = [W::load(&weights[0]), W::load(&weights[1])];
        for row in 0..ROWS {
            let x = W::splat(rows[row][i]);
            sums[row] = [weights[0].mul_add(x, sums[row][0]), weights[1].mul_add(x, sums[row][1])];
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        sums[0].store(&mut out[0]);
        sums[1].store(&mut out[1]);
    }
    ROWS
}

widest! {
    fn halves<W>(x: &[f32], inputs: usize, tile: &[u16], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(inputs).zip(pairs_mut(out)) {
            let mut sums = [W::splat(0.0); 2];
            for (&x, weights) in x.iter().zip(pairs(tile)) {
                let x = W::splat(x);
                sums = [W::load_bf16(&weights[0]).mul_add(x, sums[0]), W::load_bf16(&weights[1]).mul_add(x, sums[1])];
            }
            sums[0].store(&mut out[0]);
            sums[1].store(&mut out[1]);
        }
    }
}

widest! {
    fn bytes<W>(x: &[f32], inputs: usize, tile: &[i8], scales: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(inputs).zip(pairs_mut(out)) {
            let mut sums = [W::splat(0.0); 2];
            for ((x, tile), scale) in x.chunks(GROUP).zip(tile.chunks(GROUP * TILE)).zip(pairs(scales)) {
                let scale = [W::load(&scale[0]), W::load(&scale[1])];
                for (&x, weights) in x.iter().zip(pairs(tile)) {
                    let x = W::splat(x);
                    // The product with the scale is rounded, as in a widened tile, so that both ways agree.
                    sums = [
                        W::load_i8(&weights[0]).mul(scale[0]).mul_add(x, sums[0]),
                        W::load_i8(&weights[1]).mul(scale[1]).mul_add(x, sums[1]),
                    ];
                }
            }
            sums[0].store(&mut out[0]);
            sums[1].store(&mut out[1]);
        }
    }
}

widest! {
    fn widen_bf16<W>(tile: &[u16], to: &mut [f32]) {
        for (to, weights) in to.as_chunks_mut().0.iter_mut().zip(tile.as_chunks().0) {
            W::load_bf16(weights).store(to);
        }
    }
}

widest! {
    fn widen_i8<W>(tile: &[i8], scales: &[f32], to: &mut [f32]) {
        for ((to, tile), scale) in to.chunks_mut(GROUP * TILE).zip(tile.chunks(GROUP * TILE)).zip(pairs(scales)) {
            let scale = [W::load(&scale[0]), W::load(&scale[1])];
            for (to, weights) in pairs_mut(to).iter_mut().zip(pairs(tile)) {
                W::load_i8(&weights[0]).mul(scale[0]).store(&mut to[0]);
                W::load_i8(&weights[1]).mul(scale[1]).store(&mut to[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::packed::Storage, *};

    #[test]
    fn products_are_right_and_the_same_in_any_company() {
        let (inputs, outputs, rows) = (70, 75, 11);
        let weights: Vec<f32> = (0..inputs * outputs).map(|i| (i as f32 * 0.61).sin()).collect();
        let x: Vec<f32> = (0..inputs * rows).map(|i| (i as f32 * 0.37).cos()).collect();
        for (storage, apart) in [(Storage::F32, 1e-4), (Storage::Bf16, 0.1), (Storage::Int8, 0.1)] {
            let mut packed = Packed::zeros(inputs, outputs, storage);
            packed.fill(0, &weights);
            let run = |x: &[f32], threads: usize| {
                let (mut tiled, mut out) = (Vec::new(), Vec::new());
                product(x, &packed, &Team::new(threads).unwrap(), &mut tiled, &mut out);
                out
            };
            let all = run(&x, 1);
            for (row, out) in all.chunks_exact(outputs).enumerate() {
                for (output, found) in out.iter().enumerate() {
                    let pairs = x[row * inputs..(row + 1) * inputs].iter().zip(&weights[output * inputs..]);
                    let exact: f64 = pairs.map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
                    assert!((f64::from(*found) - exact).abs() < apart, "{storage:?}: {found} for {exact}");
                }
                assert_eq!(out, run(&x[row * inputs..(row + 1) * inputs], 1), "{storage:?} alone");
            }
            assert_eq!(all, run(&x, 3), "{storage:?} on three threads");
            assert_eq!(all[..3 * outputs], run(&x[..3 * inputs], 2), "{storage:?} three rows");
        }
    }
}
