//! The header of a safetensors file.

use std::io::Read;

use safetensors::tensor::Metadata;

const LARGEST_HEADER: u64 = 100 << 20;

/// Why a header cannot be read.
pub(crate) enum Problem {
    /// The system refused.
    Io(std::io::Error),
    /// The header is wrong.
    Header(String),
}

/// Reads the header of a file of `size` bytes, checked against that size; and the header's length.
pub(crate) fn parse(reader: &mut impl Read, size: u64) -> std::result::Result<(Metadata, u64), Problem> {
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(Problem::Io)?;
    let start = length;
    let length = u64::from_le_bytes(start);
    if length.saturating_add(8) > size && (start.starts_with(b"PK\x03\x04") || (start[0] == 0x80 && (2..=5).contains(&start[1]))) {
        return Err(Problem::Header(
            "is pickled weights by another name; pickle can run code and is refused, convert them to safetensors".into(),
        ));
    }
    if length > LARGEST_HEADER || length + 8 > size {
        return Err(Problem::Header(format!("claims a header of {length} bytes in a file of {size}")));
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header).map_err(Problem::Io)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| Problem::Header(format!("header: {error}")))?;
    let (expected, found) = (metadata.data_len() as u64, size - 8 - length);
    if expected != found {
        return Err(Problem::Header(format!("the header describes {expected} bytes of tensors, but there are {found}")));
    }
    Ok((metadata, length))
}
