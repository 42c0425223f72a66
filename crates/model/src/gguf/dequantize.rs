//! llama.cpp's block formats back to f32. The layouts follow ggml's reference (`ggml-quants.c`).

use half::{bf16, f16};

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Format {
    const ALL: [Self; 11] =
        [Self::F32, Self::F16, Self::Bf16, Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4K, Self::Q5K, Self::Q6K];

    pub(super) fn from_id(id: u32) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.id() == id).ok_or_else(|| {
            format!("has the unknown type {id}; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are supported")
        })
    }

    /// Elements per block.
    pub(super) fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes per block.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Appends the elements of whole blocks.
    pub(super) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        for block in bytes.chunks_exact(self.block_bytes()) {
            match self {
                Self::F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                Self::F16 => out.push(half(block, 0)),
                Self::Bf16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Self::Q4_0 => nibbles(out, &block[2..], None, |q| (f32::from(q) - 8.0) * half(block, 0)),
                Self::Q4_1 => nibbles(out, &block[4..], None, |q| f32::from(q) * half(block, 0) + half(block, 2)),
                Self::Q5_0 => nibbles(out, &block[6..], Some(&block[2..6]), |q| (f32::from(q) - 16.0) * half(block, 0)),
                Self::Q5_1 => nibbles(out, &block[8..], Some(&block[4..8]), |q| f32::from(q) * half(block, 0) + half(block, 2)),
                Self::Q8_0 => out.extend(block[2..].iter().map(|&q| f32::from(q.cast_signed()) * half(block, 0))),
                Self::Q4K => q4_k(out, block),
                Self::Q5K => q5_k(out, block),
                Self::Q6K => q6_k(out, block),
            }
        }
    }

    /// Elements to whole blocks; only of the formats that are written.
    pub(super) fn encode(self, values: &[f32]) -> Option<Vec<u8>> {
        Some(match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
            Self::Q8_0 => values.chunks_exact(32).flat_map(q8_0).collect(),
            _ => return None,
        })
    }

    pub(super) fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }
}

/// Thirty-two elements with the scale that maps the largest to 127.
fn q8_0(values: &[f32]) -> [u8; 34] {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut block = [0; 34];
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = ((value * inverse).round() as i8).cast_unsigned();
    }
    block
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 32 values of four bits, low nibbles first, with an optional fifth bit each.
fn nibbles(out: &mut Vec<f32>, quants: &[u8], fifth: Option<&[u8]>, value: impl Fn(u8) -> f32) {
    let bit = |i: usize| fifth.map_or(0, |bits| (bits[i / 8] >> (i % 8) & 1) << 4);
    out.extend(quants.iter().enumerate().map(|(i, q)| value(q & 15 | bit(i))));
    out.extend(quants.iter().enumerate().map(|(i, q)| value(q >> 4 | bit(i + 16))));
}

/// The six-bit scale and minimum of the `j`-th group of 32 in a K block.
fn scale_min(scales: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        (scales[j + 4] & 15 | scales[j - 4] >> 6 << 4, scales[j + 4] >> 4 | scales[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

fn q4_k(out: &mut Vec<f32>, block: &[u8]) {
    let (d, dmin, scales) = (half(block, 0), half(block, 2), &block[4..16]);
    for (pair, quants) in block[16..].chunks_exact(32).enumerate() {
        for (group, shift) in [(2 * pair, 0), (2 * pair + 1, 4)] {
            let (scale, min) = scale_min(scales, group);
            out.extend(quants.iter().map(|q| d * scale * f32::from(q >> shift & 15) - dmin * min));
        }
    }
}

fn q5_k(out: &mut Vec<f32>, block: &[u8]) {
    let (d, dmin, scales, high) = (half(block, 0), half(block, 2), &block[4..16], &block[16..48]);
    for (pair, quants) in block[48..].chunks_exact(32).enumerate() {
        for (group, shift) in [(2 * pair, 0), (2 * pair + 1, 4)] {
            let (scale, min) = scale_min(scales, group);
            out.extend(quants.iter().zip(high).map(|(q, h)| d * scale * f32::from(q >> shift & 15 | (h >> group & 1) << 4) - dmin * min));
        }
    }
}

fn q6_k(out: &mut Vec<f32>, block: &[u8]) {
    let (d, scales) = (half(block, 208), &block[192..208]);
    for (part, (low, high)) in block[..128].chunks_exact(64).zip(block[128..192].chunks_exact(32)).enumerate() {
        for quarter in 0..4 {
            out.extend((0..32).map(|l| {
                let nibble = low[l + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
                let q = nibble | (high[l] >> (2 * quarter) & 3) << 4;
                let scale = scales[part * 8 + quarter * 2 + l / 16].cast_signed();
                d * f32::from(scale) * (f32::from(q) - 32.0)
            }));
        }
    }
}
