//! Checkpoints: an atomic set of files from which a run goes on as if it had never stopped.
//!
//! A checkpoint is a folder `step-00000120` with the weights, the optimizer's moments and the state. It is written under
//! a temporary name with its manifest last, synced, and renamed into place; a reader takes only folders whose manifest
//! names every file with the length and hash that it has.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::adamw::Moments;
use crate::config::SftConfig;
use crate::error::{Result, TrainError};
use crate::params::ParamInfo;
use crate::report::HeldOut;
use crate::spike::NormMean;

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const BEST: &str = "best.safetensors";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
const PREFIX: &str = "step-";

/// Everything but the tensors. The order of the data and the learning rate follow from the step and the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimizer steps done, skipped ones included.
    pub step: u64,
    /// Updates done by the optimizer.
    pub updates: u64,
    /// Steps skipped in a row up to here.
    pub skipped_in_a_row: u32,
    /// Steps skipped in all.
    pub skipped: u64,
    /// Trained tokens so far.
    pub trained_tokens: u64,
    /// Tokens so far, padding excluded.
    pub tokens: u64,
    /// Loss of the last step that was not skipped.
    pub last_loss: Option<Exact>,
    /// Held-out loss and token accuracy before the first step.
    pub before: Option<[Exact; 2]>,
    /// Step, held-out loss and token accuracy where the held-out loss was lowest so far.
    pub best: Option<(u64, [Exact; 2])>,
    /// Running mean of the gradient norms.
    pub norms: NormMean,
    /// Measurements of the held-out loss since then.
    pub measured_since_best: u32,
    /// Length of the training log in bytes.
    pub log_bytes: u64,
    /// Hash of the documents and of the model's shape.
    pub data: String,
    /// The settings.
    pub config: SftConfig,
}

impl State {
    /// The state before the first step.
    #[must_use]
    pub fn new(config: &SftConfig, data: String) -> Self {
        Self {
            step: 0,
            updates: 0,
            skipped_in_a_row: 0,
            skipped: 0,
            trained_tokens: 0,
            tokens: 0,
            last_loss: None,
            before: None,
            best: None,
            norms: NormMean::default(),
            measured_since_best: 0,
            log_bytes: 0,
            data,
            config: config.clone(),
        }
    }
}

/// A float that stands in JSON as text: reading JSON's numbers back need not give the same bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exact(pub f64);

impl Serialize for Exact {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| serde::de::Error::custom(format!("{text:?} is no number")))
    }
}

impl From<HeldOut> for [Exact; 2] {
    fn from(held_out: HeldOut) -> Self {
        [Exact(held_out.loss), Exact(held_out.token_accuracy)]
    }
}

impl From<[Exact; 2]> for HeldOut {
    fn from([loss, token_accuracy]: [Exact; 2]) -> Self {
        Self { loss: loss.0, token_accuracy: token_accuracy.0 }
    }
}

impl State {
    /// Where the held-out loss was lowest.
    #[must_use]
    pub fn lowest(&self) -> Option<Lowest> {
        self.best.map(|(step, held_out)| Lowest { step, held_out: held_out.into() })
    }
}

/// Where the held-out loss was lowest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lowest {
    /// Steps done then.
    pub step: u64,
    /// What was measured.
    pub held_out: HeldOut,
}

/// The tensors of a checkpoint, each list in the model's order of parameters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensors {
    /// Values.
    pub weights: Vec<Vec<f32>>,
    /// The optimizer's moments.
    pub moments: Moments,
    /// Values at the lowest held-out loss, where they are kept.
    pub best: Option<Vec<Vec<f32>>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: Vec<FileEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileEntry {
    name: String,
    bytes: u64,
    blake3: String,
}

/// A checkpoint read back.
#[derive(Debug)]
pub struct Loaded {
    /// Where it was.
    pub path: PathBuf,
    /// The state.
    pub state: State,
    /// The tensors.
    pub tensors: Tensors,
}

struct Values<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// Writes a checkpoint into `folder` and returns its path. Nothing of it is visible before it is complete.
///
/// # Errors
/// [`TrainError::Io`] with the file that could not be written.
pub fn save(folder: &Path, params: &[ParamInfo], tensors: &Tensors, state: &State) -> Result<PathBuf> {
    let path = folder.join(format!("{PREFIX}{:08}", state.step));
    let part = folder.join(format!(".part-{PREFIX}{:08}", state.step));
    remove(&part)?;
    fs::create_dir_all(&part).map_err(TrainError::io("cannot create", &part))?;
    let moments = &tensors.moments;
    write_tensors(&part.join(WEIGHTS), params, &[("", &tensors.weights)])?;
    write_tensors(&part.join(MOMENTS), params, &[("first.", &moments.first), ("second.", &moments.second)])?;
    let mut names = vec![WEIGHTS, MOMENTS, STATE];
    if let Some(best) = &tensors.best {
        write_tensors(&part.join(BEST), params, &[("", best)])?;
        names.push(BEST);
    }
    write_json(&part.join(STATE), state)?;
    let files = names.iter().map(|name| entry(&part, name)).collect::<Result<Vec<_>>>()?;
    write_json(&part.join(MANIFEST), &Manifest { files })?;
    sync(&part)?;
    remove(&path)?;
    fs::rename(&part, &path).map_err(TrainError::io("cannot write", &path))?;
    sync(folder)?;
    Ok(path)
}

/// Writes lists of parameter values, each under its prefix.
fn write_tensors(path: &Path, params: &[ParamInfo], groups: &[(&str, &Vec<Vec<f32>>)]) -> Result<()> {
    let tensors = groups.iter().flat_map(|(prefix, values)| {
        let named = params.iter().zip(values.iter());
        // A parameter of Muon has no second moment.
        let shape = |param: &'_ ParamInfo, values: &[f32]| if values.is_empty() { vec![0] } else { param.shape.clone() };
        named.map(move |(param, values)| (format!("{prefix}{}", param.name), Values { shape: shape(param, values), values }))
    });
    safetensors::serialize_to_file(tensors, None, path).map_err(|error| TrainError::Io {
        action: "cannot write",
        path: path.into(),
        source: std::io::Error::other(error),
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| TrainError::Io {
        action: "cannot write",
        path: path.into(),
        source: error.into(),
    })?;
    fs::write(path, text).map_err(TrainError::io("cannot write", path))?;
    sync(path)
}

fn entry(folder: &Path, name: &str) -> Result<FileEntry> {
    let path = folder.join(name);
    let file = File::open(&path).map_err(TrainError::io("cannot read", &path))?;
    file.sync_all().map_err(TrainError::io("cannot write", &path))?;
    let mut hash = blake3::Hasher::new();
    hash.update_reader(&file).map_err(TrainError::io("cannot read", &path))?;
    Ok(FileEntry { name: name.into(), bytes: hash.count(), blake3: hash.finalize().to_hex().to_string() })
}

fn sync(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(TrainError::io("cannot open", path))?;
    file.sync_all().map_err(TrainError::io("cannot write", path))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::Io { action: "cannot remove", path: path.into(), source: error })
        }
        _ => Ok(()),
    }
}

/// Complete checkpoints of a folder, oldest first. A missing folder has none.
///
/// # Errors
/// [`TrainError::Io`] if the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TrainError::Io { action: "cannot read", path: folder.into(), source: error }),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(TrainError::io("cannot read", folder))?.path();
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
        if named && path.join(MANIFEST).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes all but the `keep` newest checkpoints.
///
/// # Errors
/// [`TrainError::Io`] if one cannot be removed.
pub fn prune(folder: &Path, keep: usize) -> Result<()> {
    let found = list(folder)?;
    found.iter().take(found.len().saturating_sub(keep)).try_for_each(|path| remove(path))
}

/// Reads a checkpoint for a model with these parameters, checking every hash and shape.
///
/// # Errors
/// [`TrainError::Checkpoint`] if a file is missing, changed or of another shape; [`TrainError::Io`] if it cannot be read.
pub fn load(path: &Path, params: &[ParamInfo]) -> Result<Loaded> {
    let manifest: Manifest = read_json(&path.join(MANIFEST))?;
    for wanted in &manifest.files {
        let found = entry(path, &wanted.name)?;
        if found.blake3 != wanted.blake3 {
            let reason = format!("{} has {} bytes and another hash than the {} bytes written", wanted.name, found.bytes, wanted.bytes);
            return Err(TrainError::Checkpoint { path: path.into(), reason });
        }
    }
    let state: State = read_json(&path.join(STATE))?;
    let weights = read_tensors(&path.join(WEIGHTS), "", params, false)?;
    let first = read_tensors(&path.join(MOMENTS), "first.", params, false)?;
    let second = read_tensors(&path.join(MOMENTS), "second.", params, true)?;
    let kept = manifest.files.iter().any(|file| file.name == BEST);
    let best = if kept { Some(read_tensors(&path.join(BEST), "", params, false)?) } else { None };
    let moments = Moments { first, second, time: state.updates };
    Ok(Loaded { path: path.into(), state, tensors: Tensors { weights, moments, best } })
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(TrainError::io("cannot read", path))?;
    serde_json::from_slice(&text).map_err(|error| TrainError::Checkpoint { path: path.into(), reason: error.to_string() })
}

fn read_tensors(path: &Path, prefix: &str, params: &[ParamInfo], may_be_empty: bool) -> Result<Vec<Vec<f32>>> {
    let damaged = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
    let bytes = fs::read(path).map_err(TrainError::io("cannot read", path))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let read = |param: &ParamInfo| {
        let name = format!("{prefix}{}", param.name);
        let tensor = tensors.tensor(&name).map_err(|error| damaged(error.to_string()))?;
        let fits = tensor.shape() == param.shape || (may_be_empty && tensor.shape() == [0]);
        if tensor.dtype() != Dtype::F32 || !fits {
            return Err(damaged(format!("{name} is {:?} {:?}, expected F32 {:?}", tensor.dtype(), tensor.shape(), param.shape)));
        }
        let words = tensor.data().chunks_exact(4);
        Ok(words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
    };
    params.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ParamGroup;

    fn example(step: u64) -> (Vec<ParamInfo>, Tensors, State) {
        let params = vec![
            ParamInfo { name: "embed".into(), shape: vec![2, 3], group: ParamGroup::Embedding },
            ParamInfo { name: "norm".into(), shape: vec![3], group: ParamGroup::Vector },
        ];
        let weights = vec![vec![1.0, 2.0, 3.0, 4.0, 5.0, -0.0], vec![f32::MIN_POSITIVE, 0.1, 0.2]];
        let mut moments = Moments::zeros(&[6, 3]);
        moments.time = step;
        moments.second[1][2] = 7.5;
        let best = (step > 50).then(|| weights.clone());
        let held_out = HeldOut { loss: 1.0 / 3.0, token_accuracy: 0.1 };
        let fresh = State::new(&SftConfig::default(), "d".into());
        let state = State { step, updates: step, best: Some((2, held_out.into())), log_bytes: 5, ..fresh };
        (params, Tensors { weights, moments, best }, state)
    }

    #[test]
    fn what_is_saved_is_loaded_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        for step in [1, 20, 100] {
            let (params, tensors, state) = example(step);
            save(folder.path(), &params, &tensors, &state).unwrap();
            prune(folder.path(), 2).unwrap();
        }
        let found = list(folder.path()).unwrap();
        assert_eq!(found.len(), 2);
        for (path, step) in found.iter().zip([20, 100]) {
            let (params, tensors, state) = example(step);
            let loaded = load(path, &params).unwrap();
            assert_eq!((loaded.tensors, loaded.state), (tensors, state));
        }
    }

    #[test]
    fn damage_and_half_written_checkpoints_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (mut params, tensors, state) = example(3);
        let path = save(folder.path(), &params, &tensors, &state).unwrap();
        fs::create_dir(folder.path().join("step-00000009")).unwrap();
        fs::create_dir(folder.path().join(".part-step-00000010")).unwrap();
        assert_eq!(list(folder.path()).unwrap(), std::slice::from_ref(&path));
        params[1].shape = vec![4];
        assert!(load(&path, &params).unwrap_err().to_string().contains("norm is F32 [3], expected F32 [4]"));
        let file = path.join(WEIGHTS);
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(load(&path, &params).unwrap_err().to_string().contains("another hash"));
    }
}
