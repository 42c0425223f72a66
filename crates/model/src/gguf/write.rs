//! The bytes of a GGUF file.

use super::{dequantize::Format, header::Value};

const VERSION: u32 = 3;
pub(super) const ALIGNMENT: u64 = 32;

/// A tensor that will follow the header.
pub(super) struct Entry {
    pub(super) name: String,
    /// Row-major: the slowest dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) format: Format,
}

impl Entry {
    pub(super) fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() / self.format.block() * self.format.block_bytes()) as u64
    }
}

/// Everything before the data, padded to where it begins. Tensors follow in order, each padded to [`ALIGNMENT`].
pub(super) fn header(metadata: &[(String, Value)], tensors: &[Entry]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        out.extend(kind(value).to_le_bytes());
        plain(&mut out, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&n| out.extend((n as u64).to_le_bytes()));
        out.extend(tensor.format.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    out
}

/// The type that llama.cpp expects: u32 and f32 for single numbers, i32 in lists.
fn kind(value: &Value) -> u32 {
    match value {
        Value::Int(_) => 4,
        Value::Float(_) => 6,
        Value::Bool(_) => 7,
        Value::Text(_) => 8,
        Value::List(_) => 9,
    }
}

fn plain(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(int) => out.extend((*int as u32).to_le_bytes()),
        Value::Float(float) => out.extend((*float as f32).to_le_bytes()),
        Value::Bool(flag) => out.push(u8::from(*flag)),
        Value::Text(string) => text(out, string),
        Value::List(list) => {
            const I32: u32 = 5;
            let element = match list.first() {
                None | Some(Value::Int(_)) => I32,
                Some(other) => kind(other),
            };
            out.extend(element.to_le_bytes());
            out.extend((list.len() as u64).to_le_bytes());
            list.iter().for_each(|value| plain(out, value));
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
