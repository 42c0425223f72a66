//! Reading safetensors tensor by tensor, and writing them the same way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{WEIGHTS, read};
use crate::{
    CausalLm, Error, ModelConfig, Result, files,
    weights::{self, Source},
};

const INDEX: &str = "model.safetensors.index.json";
const LARGEST_INDEX: u64 = 64 << 20;
const LARGEST_HEADER: u64 = 100 << 20;

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32-bit floats, exactly what was trained.
    #[default]
    F32,
    /// Brain floats: half the size, eight bits of mantissa.
    Bf16,
    /// IEEE half floats.
    F16,
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
        }
    }

    fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}

/// One open file.
struct Shard {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where tensor data begins.
    data: u64,
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self> {
        let io = |error| Error::io(&path, error);
        let broken = |problem: String| Error::weights(path.display().to_string(), problem);
        let mut file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > LARGEST_HEADER || length + 8 > size {
            return Err(broken(format!("claims a header of {length} bytes in a file of {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| broken(format!("header: {error}")))?;
        let (expected, found) = (metadata.data_len() as u64, size - 8 - length);
        if expected != found {
            return Err(broken(format!("the header describes {expected} bytes of tensors, but there are {found}")));
        }
        Ok(Self { path, file, metadata, data: 8 + length })
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let broken = |problem: String| Error::weights(name, problem);
        let info =
            self.metadata.info(name).ok_or_else(|| broken(format!("is not in {}, though the index says so", self.path.display())))?;
        if info.shape != shape {
            return Err(broken(format!("has the shape {:?}, the configuration needs {shape:?}", info.shape)));
        }
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        self.file.read_exact_at(&mut bytes, self.data + start as u64).map_err(|error| Error::io(&self.path, error))?;
        let values = decode(&bytes, info.dtype)
            .ok_or_else(|| broken(format!("has the type {:?}; F32, F16, BF16 and F64 are supported", info.dtype)))?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(broken(format!("holds {} at element {index}", values[index]))),
            None => Ok(values),
        }
    }
}

fn decode(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let values = match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        _ => return None,
    };
    Some(values)
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weights of a folder, in one file or in shards.
pub(super) struct Folder {
    shards: Vec<Shard>,
    place: BTreeMap<String, usize>,
    used: BTreeSet<String>,
}

impl Folder {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let index = dir.join(INDEX);
        if index.exists() {
            return Self::open_shards(dir, &read::json::<Index>(&index, LARGEST_INDEX)?);
        }
        let single = dir.join(WEIGHTS);
        if !single.exists() && (dir.join("pytorch_model.bin").exists() || dir.join("pytorch_model.bin.index.json").exists()) {
            return Err(Error::weights(
                dir.display().to_string(),
                "only pickled weights are there; pickle can run code and is refused, convert them to safetensors",
            ));
        }
        let shard = Shard::open(single)?;
        let place = shard.metadata.offset_keys().into_iter().map(|name| (name, 0)).collect();
        Ok(Self { shards: vec![shard], place, used: BTreeSet::new() })
    }

    fn open_shards(dir: &Path, index: &Index) -> Result<Self> {
        let names: Vec<&String> = index.weight_map.values().collect::<BTreeSet<_>>().into_iter().collect();
        let shards = names.iter().map(|name| Shard::open(read::shard_path(dir, name)?)).collect::<Result<_>>()?;
        let place = index.weight_map.iter().map(|(tensor, file)| (tensor.clone(), names.partition_point(|name| *name < file))).collect();
        Ok(Self { shards, place, used: BTreeSet::new() })
    }

    /// Refuses tensors that nobody asked for: ignoring them would compute something else.
    pub(super) fn check_all_used(&self, config: &ModelConfig) -> Result<()> {
        let foreign = |name: &&String| !self.used.contains(*name) && !name.ends_with("rotary_emb.inv_freq") && *name != HEAD;
        if let Some(name) = self.place.keys().find(foreign) {
            return Err(Error::weights(name.as_str(), format!("is not part of a {} model of this configuration", config.model_type)));
        }
        if config.tie_word_embeddings && self.place.contains_key(HEAD) {
            let shape = [config.vocab_size, config.hidden_size];
            if self.read(HEAD, &shape)? != self.read(EMBEDDING, &shape)? {
                return Err(Error::weights(HEAD, "differs from the embedding, though tie_word_embeddings says that they are one"));
            }
        }
        Ok(())
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let shard = self.place.get(name).and_then(|&index| self.shards.get(index));
        shard.ok_or_else(|| Error::weights(name, "is missing"))?.read(name, shape)
    }
}

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

impl Source for Folder {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.used.insert(name.to_owned());
        Self::read(self, name, shape)
    }
}

/// Writes a model's tensors in their fixed order.
pub(super) fn write(path: &Path, model: &CausalLm, precision: Precision) -> Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offset = 0;
    weights::export(model, &mut |name, shape, _| {
        let end = offset + shape.iter().product::<usize>() * precision.bytes();
        header.insert(name.to_owned(), json!({ "dtype": precision.name(), "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
        Ok(())
    })?;
    let mut header = Value::Object(header).to_string();
    // The format wants the tensors to begin at a multiple of eight bytes.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    files::write_with(path, |file| {
        let mut out = BufWriter::new(file);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        let written = weights::export(model, &mut |name, _, values| {
            out.write_all(&precision.encode(&values()?)).map_err(|error| Error::io(Path::new(name), error))
        });
        written.map_err(std::io::Error::other)?;
        out.flush()
    })
}
