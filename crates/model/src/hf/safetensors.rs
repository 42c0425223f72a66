//! Reading safetensors tensor by tensor, and writing them the same way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    WEIGHTS,
    header::{self, Problem},
    read,
};
use crate::{
    CausalLm, Error, ModelConfig, Result, files,
    weights::{self, Source},
};

const INDEX: &str = "model.safetensors.index.json";
const LARGEST_INDEX: u64 = 64 << 20;
/// Elements read at a time.
const PIECE: usize = 1 << 18;

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

    /// The name in `config.json`.
    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
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
        let mut file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let (metadata, length) = header::parse(&mut file, size).map_err(|problem| match problem {
            Problem::Io(error) => Error::io(&path, error),
            Problem::Header(problem) => Error::weights(path.display().to_string(), problem),
        })?;
        Ok(Self { path, file, metadata, data: 8 + length })
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let broken = |problem: String| Error::weights(name, problem);
        let info =
            self.metadata.info(name).ok_or_else(|| broken(format!("is not in {}, though the index says so", self.path.display())))?;
        if info.shape != shape {
            return Err(broken(format!("has the shape {:?}, the configuration needs {shape:?}", info.shape)));
        }
        let values = self.decode(name, info)?;
        weights::check_finite(name, &values)?;
        Ok(values)
    }
}

impl Shard {
    /// A tensor's elements, read in pieces by all cores, so that beside the tensor itself nothing large is in memory.
    fn decode(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
        let (start, end) = info.data_offsets;
        let mut values = vec![0.0; info.shape.iter().product()];
        let width = (end - start).checked_div(values.len()).unwrap_or(0);
        values.par_chunks_mut(PIECE).enumerate().try_for_each(|(index, values)| {
            let mut bytes = vec![0; values.len() * width];
            let at = self.data + (start + index * PIECE * width) as u64;
            self.file.read_exact_at(&mut bytes, at).map_err(|error| Error::io(&self.path, error))?;
            if decode(&bytes, info.dtype, values) {
                return Ok(());
            }
            Err(Error::weights(name, format!("has the type {:?}; F32, F16, BF16 and F64 are supported", info.dtype)))
        })?;
        Ok(values)
    }
}

/// Reads elements from their bytes; `false` for a type that is not read.
fn decode(bytes: &[u8], dtype: Dtype, out: &mut [f32]) -> bool {
    fn each<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
        out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, &bytes)| *out = read(bytes));
    }
    match dtype {
        Dtype::F32 => each(bytes, out, f32::from_le_bytes),
        Dtype::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::F64 => each(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
        _ => return false,
    }
    true
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

/// Writes a model's tensors in their fixed order: one file, or several of at most `largest` bytes each (a larger tensor gets
/// one of its own) with an index.
pub(super) fn write(dir: &Path, model: &CausalLm, precision: Precision, largest: u64) -> Result<()> {
    let mut shards: Vec<Vec<Listed>> = vec![Vec::new()];
    let (mut filled, mut total) = (0u64, 0u64);
    weights::export(model, &mut |name, shape, _| {
        let bytes = shape.iter().product::<usize>() * precision.bytes();
        if filled > 0 && filled + bytes as u64 > largest {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes as u64;
        total += bytes as u64;
        if let Some(shard) = shards.last_mut() {
            shard.push(Listed { name: name.to_owned(), shape: shape.to_vec(), bytes });
        }
        Ok(())
    })?;
    // The other form of an earlier export would be read in place of this one.
    let stale = if shards.len() == 1 { dir.join(INDEX) } else { dir.join(WEIGHTS) };
    if stale.exists() {
        std::fs::remove_file(&stale).map_err(|error| Error::io(&stale, error))?;
    }
    if let [only] = shards.as_slice() {
        return write_file(&dir.join(WEIGHTS), model, precision, only);
    }
    let mut places = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        write_file(&dir.join(&file), model, precision, shard)?;
        places.extend(shard.iter().map(|tensor| (tensor.name.clone(), json!(file))));
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    files::write_atomically(&dir.join(INDEX), format!("{index:#}\n").as_bytes())
}

/// A tensor that a file will hold.
struct Listed {
    name: String,
    shape: Vec<usize>,
    bytes: usize,
}

fn write_file(path: &Path, model: &CausalLm, precision: Precision, tensors: &[Listed]) -> Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.bytes;
        let entry = json!({ "dtype": precision.name(), "shape": tensor.shape, "data_offsets": [offset, end] });
        header.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    // The format wants the tensors to begin at a multiple of eight bytes.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    files::write_with(path, |file| {
        let mut out = BufWriter::new(file);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        let mut wanted = tensors.iter().peekable();
        let written = weights::export(model, &mut |name, _, values| {
            if wanted.next_if(|tensor| tensor.name == name).is_none() {
                return Ok(());
            }
            out.write_all(&precision.encode(&values()?)).map_err(|error| Error::io(path, error))
        });
        written.map_err(std::io::Error::other)?;
        out.flush()
    })
}
