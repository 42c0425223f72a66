//! The header of a GGUF file: metadata and where the tensors are.
//!
//! Every length in the file is checked against the bytes that are left before anything is allocated: headers that lie
//! about dimensions have been used to read and write out of bounds (CVE-2026-7482, GHSA-7rxv-5jhh-j6xx).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use super::dequantize::Format;
use crate::{Error, Result};

const LARGEST_COUNT: u64 = 1 << 17;
const LARGEST_ELEMENTS: u64 = 1 << 24;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value; integers and floats are widened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// Where one tensor is and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    /// Row-major: the slowest dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) format: Format,
    /// In the file.
    pub(super) offset: u64,
    pub(super) bytes: usize,
}

/// A parsed header and the open file.
pub(super) struct Gguf {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let size = file.metadata().map_err(|error| Error::io(path, error))?.len();
        let (metadata, tensors) =
            parse(BufReader::new(&file), size).map_err(|problem| Error::weights(path.display().to_string(), problem))?;
        Ok(Self { path: path.to_path_buf(), file, metadata, tensors })
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(&self, key: &str) -> Option<i64> {
        match self.metadata.get(key)? {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Int(int) => Some(*int as f64),
            Value::Float(float) => Some(*float),
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> Option<&[Value]> {
        match self.metadata.get(key)? {
            Value::List(list) => Some(list),
            _ => None,
        }
    }
}

/// Reads the header at the beginning of `size` bytes. An error is the problem alone.
pub(crate) fn parse(reader: impl Read, size: u64) -> std::result::Result<Header, String> {
    Parser { reader, position: 0, size }.header()
}

/// Reads forward and knows how much is left. Its errors are the problem alone; the caller adds the place.
struct Parser<R> {
    reader: R,
    position: u64,
    size: u64,
}

type Parsed<T> = std::result::Result<T, String>;
pub(crate) type Header = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

impl<R: Read> Parser<R> {
    fn bytes<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| format!("ends within the header at byte {}: {error}", self.position))?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A count that its elements, of at least `width` bytes each, must be able to follow.
    fn count(&mut self, what: &str, limit: u64, width: u64) -> Parsed<usize> {
        let count = self.u64()?;
        let fitting = (self.size - self.position) / width.max(1);
        if count > limit || count > fitting {
            return Err(format!("claims {count} {what}, at most {} fit", limit.min(fitting)));
        }
        usize::try_from(count).map_err(|_| format!("claims {count} {what}"))
    }

    fn text(&mut self) -> Parsed<String> {
        let length = self.count("bytes of text", LARGEST_ELEMENTS, 1)?;
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).map_err(|error| format!("ends within a text at byte {}: {error}", self.position))?;
        self.position += length as u64;
        String::from_utf8(bytes).map_err(|_| format!("holds text that is not UTF-8 before byte {}", self.position))
    }

    fn value(&mut self, kind: u32, depth: u32) -> Parsed<Value> {
        Ok(match kind {
            0 => Value::Int(i64::from(self.bytes::<1>()?[0])),
            1 => Value::Int(i64::from(self.bytes::<1>()?[0].cast_signed())),
            2 => Value::Int(i64::from(u16::from_le_bytes(self.bytes()?))),
            3 => Value::Int(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Value::Int(i64::from(self.u32()?)),
            5 => Value::Int(i64::from(self.u32()?.cast_signed())),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 if depth == 0 => {
                let kind = self.u32()?;
                let width = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    8 | 10..=12 => 8,
                    _ => 4,
                };
                let count = self.count("elements", LARGEST_ELEMENTS, width)?;
                Value::List((0..count).map(|_| self.value(kind, depth + 1)).collect::<Parsed<_>>()?)
            }
            10 => {
                Value::Int(i64::try_from(self.u64()?).map_err(|_| format!("holds an integer beyond 2^63 before byte {}", self.position))?)
            }
            11 => Value::Int(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(format!("holds a value of unknown type {other} at byte {}", self.position)),
        })
    }

    fn header(&mut self) -> Parsed<Header> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err("is not a GGUF file: its first bytes are not `GGUF`".into());
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("has GGUF version {version}; 2 and 3 are supported"));
        }
        let tensor_count = self.count("tensors", LARGEST_COUNT, 24)?;
        let key_count = self.count("metadata keys", LARGEST_COUNT, 13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..key_count {
            let key = self.text()?;
            let kind = self.u32()?;
            metadata.insert(key, self.value(kind, 0)?);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let (name, info) = self.tensor()?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(format!("lists the tensor {name} twice"));
            }
        }
        self.place(&metadata, &mut tensors)?;
        Ok((metadata, tensors))
    }

    fn tensor(&mut self) -> Parsed<(String, TensorInfo)> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if !(1..=4).contains(&dimensions) {
            return Err(format!("tensor {name} claims {dimensions} dimensions, 1 to 4 are allowed"));
        }
        let mut shape = (0..dimensions)
            .map(|_| self.u64().and_then(|n| usize::try_from(n).map_err(|_| format!("tensor {name} is too large"))))
            .collect::<Parsed<Vec<usize>>>()?;
        let fastest = shape[0];
        shape.reverse();
        let format = Format::from_id(self.u32()?).map_err(|problem| format!("tensor {name} {problem}"))?;
        let elements = shape
            .iter()
            .try_fold(1usize, |product, &n| product.checked_mul(n))
            .ok_or_else(|| format!("tensor {name} claims dimensions {shape:?}, which overflow"))?;
        if !fastest.is_multiple_of(format.block()) {
            return Err(format!("tensor {name} has rows of {fastest} elements, which blocks of {} do not fill", format.block()));
        }
        let bytes = (elements / format.block()).checked_mul(format.block_bytes()).ok_or_else(|| format!("tensor {name} is too large"))?;
        let offset = self.u64()?;
        Ok((name, TensorInfo { shape, format, offset, bytes }))
    }

    /// Turns offsets into the data into offsets into the file, and checks that every tensor lies inside it.
    fn place(&self, metadata: &BTreeMap<String, Value>, tensors: &mut BTreeMap<String, TensorInfo>) -> Parsed<()> {
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Int(n)) if *n > 0 && *n <= 1 << 20 && (*n).cast_unsigned().is_power_of_two() => (*n).cast_unsigned(),
            Some(other) => return Err(format!("has the alignment {other:?}, a power of two is expected")),
        };
        let data = self.position.next_multiple_of(alignment);
        for (name, info) in tensors {
            let start = data.checked_add(info.offset);
            let end = start.and_then(|start| start.checked_add(info.bytes as u64));
            match (start, end) {
                (Some(start), Some(end)) if end <= self.size => info.offset = start,
                _ => {
                    return Err(format!(
                        "tensor {name} claims {} bytes at {}, beyond the file's {} bytes",
                        info.bytes, info.offset, self.size
                    ));
                }
            }
        }
        Ok(())
    }
}
