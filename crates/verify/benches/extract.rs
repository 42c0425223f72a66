//! What finding the answer costs per byte of hostile text: the figure for 10 MB must be that for 100 kB.
//!
//! `cargo bench -p potstill-verify`

#[path = "../tests/support/hostile.rs"]
mod hostile;

use divan::Bencher;
use divan::counter::BytesCount;
use potstill_verify::ExtractOptions;
use potstill_verify::extract::extract;

fn main() {
    divan::main();
}

#[divan::bench(args = hostile::UNITS, consts = [100_000, 10_000_000], sample_count = 3, sample_size = 1)]
fn hostile_text<const SIZE: usize>(bencher: Bencher, unit: &str) {
    let reply = unit.repeat(SIZE / unit.len());
    bencher.counter(BytesCount::of_str(&reply)).bench(|| extract(divan::black_box(&reply), &ExtractOptions::default()).is_some());
}
