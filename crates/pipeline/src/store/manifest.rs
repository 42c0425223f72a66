//! Manifests: what an artifact is, where it came from, and every file of it.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::StoreError;
use crate::fingerprint::Fingerprint;
use crate::kind::Port;

/// The version of the manifest's form that this program writes and reads.
pub const FORMAT: u32 = 1;

/// What a committed artifact is. Readers follow manifests only: data without one does not exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The program that wrote it, with its version.
    pub tool: String,
    /// The address of the artifact.
    pub fingerprint: Fingerprint,
    /// The name that the stage had when it ran.
    pub stage: String,
    /// The stage's kind.
    pub kind: String,
    /// The kind's revision.
    pub revision: u32,
    /// The pipeline's seed.
    pub seed: u64,
    /// The stage's identity in canonical form.
    pub parameters: Value,
    /// The artifacts that the stage read, in the order of its inputs; the model it started from is the last.
    pub inputs: Vec<Input>,
    /// All artifacts that these come from, and they themselves, each before what was made of it: the complete lineage.
    pub lineage: Vec<Ancestor>,
    /// The folder of the data, under `attempts/`: a UUID.
    pub attempt: String,
    /// The outputs; the first is the default.
    pub outputs: Vec<Output>,
    /// The stage's own statistics.
    pub stats: Value,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Tokens exchanged with a teacher.
    pub tokens: Tokens,
    /// What the stage's rows cost when they were bought, in US dollars.
    pub cost_usd: Option<f64>,
    /// Results of evaluations.
    pub evals: Vec<Value>,
    /// Wall-clock seconds that the stage took.
    pub seconds: f64,
}

/// An artifact that a stage read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The name that the stage before had.
    pub stage: String,
    /// The output that was read.
    pub output: String,
    /// What flowed along the edge.
    pub port: Port,
    /// The address of the artifact.
    pub fingerprint: Fingerprint,
    /// The folder of the data that was read.
    pub attempt: String,
}

/// An artifact that another one comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The address of the artifact.
    pub fingerprint: Fingerprint,
    /// The name that the stage had.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// The addresses of what it read.
    pub inputs: Vec<Fingerprint>,
}

/// A named output of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The output's name, also the name of its folder.
    pub name: String,
    /// What it carries.
    pub port: Port,
    /// How many rows, where it carries rows.
    pub rows: Option<u64>,
    /// The file or folder to open, relative to the attempt, where that is not every file: a model's folder.
    pub entry: Option<String>,
    /// Every file, in the order of their paths.
    pub files: Vec<FileEntry>,
}

/// A file of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The path relative to the attempt's folder, with `/` between its parts.
    pub path: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The blake3 hash of the content, in hexadecimal digits.
    pub blake3: String,
}

/// Tokens exchanged with a teacher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Tokens sent.
    pub prompt: u64,
    /// Tokens received.
    pub completion: u64,
}

/// The file's outer form: the manifest's text with its hash, so that a flipped digit does not go unseen.
#[derive(Serialize)]
struct Sealed<'a> {
    blake3: String,
    manifest: &'a RawValue,
}

#[derive(Deserialize)]
struct Seal<'a> {
    blake3: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

impl Manifest {
    /// The named output; the default where no name is given.
    #[must_use]
    pub fn output(&self, name: Option<&str>) -> Option<&Output> {
        match name {
            None => self.outputs.first(),
            Some(name) => self.outputs.iter().find(|output| output.name == name),
        }
    }

    /// Rows of the first output.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        self.outputs.first().and_then(|output| output.rows)
    }

    /// The lineage of an artifact made from these.
    pub(crate) fn lineage_of<'a>(inputs: impl Iterator<Item = &'a Self>) -> Vec<Ancestor> {
        let mut lineage: Vec<Ancestor> = Vec::new();
        for input in inputs {
            let own = Ancestor {
                fingerprint: input.fingerprint,
                stage: input.stage.clone(),
                kind: input.kind.clone(),
                inputs: input.inputs.iter().map(|input| input.fingerprint).collect(),
            };
            for ancestor in input.lineage.iter().cloned().chain([own]) {
                if lineage.iter().all(|known| known.fingerprint != ancestor.fingerprint) {
                    lineage.push(ancestor);
                }
            }
        }
        lineage
    }

    /// The text of the manifest's file.
    pub(super) fn seal(&self) -> Result<String, serde_json::Error> {
        let manifest = RawValue::from_string(serde_json::to_string_pretty(self)?)?;
        let blake3 = blake3::hash(manifest.get().as_bytes()).to_string();
        serde_json::to_string(&Sealed { blake3, manifest: &manifest }).map(|text| text + "\n")
    }

    /// Reads the text of a manifest's file that lies at `path` for the artifact `fingerprint`.
    pub(super) fn unseal(text: &str, fingerprint: &Fingerprint, path: &Path) -> Result<Self, StoreError> {
        let broken = |problem: String| StoreError::Manifest { path: path.to_owned(), problem };
        let seal: Seal<'_> = serde_json::from_str(text).map_err(|error| broken(format!("it is no manifest: {error}")))?;
        // The version comes first: another one may have another form.
        let form: Form = serde_json::from_str(seal.manifest.get()).map_err(|error| broken(format!("it is no manifest: {error}")))?;
        if form.format != FORMAT {
            return Err(broken(format!("its format is {}, this program reads {FORMAT}", form.format)));
        }
        if blake3::hash(seal.manifest.get().as_bytes()).to_string() != seal.blake3 {
            return Err(broken("its text does not have the hash that stands before it".to_owned()));
        }
        let manifest: Self = serde_json::from_str(seal.manifest.get()).map_err(|error| broken(format!("it is no manifest: {error}")))?;
        if manifest.fingerprint != *fingerprint {
            return Err(broken(format!("it belongs to the artifact {}", manifest.fingerprint)));
        }
        if Uuid::parse_str(&manifest.attempt).is_err() {
            return Err(broken(format!("it names the folder `{}`, which is no UUID", manifest.attempt)));
        }
        let mut paths = manifest.outputs.iter().flat_map(|output| output.files.iter().map(|file| &file.path).chain(&output.entry));
        if let Some(path) = paths.find(|path| !is_inside(path)) {
            return Err(broken(format!("it names the file `{path}` outside its folder")));
        }
        Ok(manifest)
    }
}

#[derive(Deserialize)]
struct Form {
    format: u32,
}

/// Whether a path stays inside the folder that it is joined to.
pub(super) fn is_inside(path: &str) -> bool {
    !path.is_empty() && !path.contains(['\0', '\\']) && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
