//! Dataset folders for other programs: data files in a named layout, and a dataset card. The stage and the command
//! `export` both write them here.
//!
//! ```text
//! README.md                    the card, with the YAML head that the Hugging Face hub reads
//! data/<split>-00000.parquet   (or .jsonl) the rows; further files where a split is large
//! ```

mod card;
mod shards;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use potstill_curate::card::CardSplit;
use potstill_curate::export::{Layout, Make, layout};
use potstill_data::{Pair, Problem, Row, Sample};
use potstill_pipeline::{Artifact, Fingerprint, Port, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stages::rows::Ahead;
use crate::stages::{curate_error, data_error};

pub(crate) use shards::FileFormat;
use shards::Shards;

/// How a dataset is written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// `messages`, `sharegpt`, `alpaca` or `prompt_completion` of samples; `preference` of pairs; `rl_prompts` of problems.
    /// Absent: `messages`, or the one layout that the rows have.
    #[serde(default)]
    pub(crate) layout: Option<String>,
    /// The files' format.
    #[serde(default)]
    pub(crate) format: FileFormat,
    /// The dataset's name on its card; the pipeline file's name if absent.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// A name for each input, such as `["train", "test"]`; a single input is `train`.
    #[serde(default)]
    pub(crate) splits: Vec<String>,
    /// A text file with the system turn before each prompt of `rl_prompts`.
    #[serde(default)]
    pub(crate) system_prompt: Option<String>,
}

/// An input of the export: a split to be.
pub(crate) struct Part {
    pub(crate) port: Port,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) artifact: Artifact,
}

/// What the card tells besides the rows.
pub(crate) struct About<'a> {
    /// The dataset's name.
    pub(crate) name: &'a str,
    /// The text of the pipeline file.
    pub(crate) pipeline: &'a str,
    /// The program and its version.
    pub(crate) tool: &'a str,
    /// Finds an artifact of the lineage.
    pub(crate) find: &'a dyn Fn(&Fingerprint) -> Result<Option<Artifact>, StageError>,
}

/// What was written.
pub(crate) struct Written {
    pub(crate) rows: u64,
    /// Rows that the layout cannot hold.
    pub(crate) left_out: u64,
    pub(crate) splits: BTreeMap<String, u64>,
}

/// The reason for rows that the layout cannot hold.
pub(crate) const UNFIT: &str = "a conversation that the layout cannot hold";

impl Settings {
    /// The layout for rows of `port`.
    ///
    /// # Errors
    /// An unknown layout, or one of other rows; the message says what there is.
    pub(crate) fn layout(&self, port: Port) -> Result<&'static Layout, String> {
        let fits = |layout: &Layout| match layout.make {
            Make::Samples(_) => port == Port::Samples,
            Make::Pairs(_) => port == Port::Pairs,
            Make::Problems(_) => port == Port::Problems,
        };
        let own = potstill_curate::export::LAYOUTS.iter().find(|layout| fits(layout));
        let Some(name) = &self.layout else { return own.ok_or_else(|| format!("no layout is of {port}")) };
        let layout = layout(name).map_err(|e| e.to_string())?;
        if fits(layout) { Ok(layout) } else { Err(format!("the layout `{name}` is not of {port}")) }
    }

    /// The name of each of `inputs` splits.
    ///
    /// # Errors
    /// Another number of names, a name twice, or one that is no file name.
    pub(crate) fn split_names(&self, inputs: usize) -> Result<Vec<String>, String> {
        if self.splits.is_empty() && inputs == 1 {
            return Ok(vec!["train".to_owned()]);
        }
        if self.splits.len() != inputs {
            return Err(format!("{inputs} inputs need as many names in `splits`, found {}", self.splits.len()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for (at, name) in self.splits.iter().enumerate() {
            if name.is_empty() || !name.chars().all(plain) {
                return Err(format!("a split's name is letters, digits and `_`, found `{name}`"));
            }
            if self.splits[..at].contains(name) {
                return Err(format!("the split `{name}` is named twice"));
            }
        }
        Ok(self.splits.clone())
    }
}

/// Writes the dataset into `folder`; `system_prompt` is a text, not a file.
///
/// # Errors
/// Settings that do not fit the rows, a damaged input, a full disk, or `cancelled`.
pub(crate) fn write(
    folder: &Path,
    parts: &[Part],
    settings: &Settings,
    system_prompt: Option<&str>,
    about: &About<'_>,
    tick: &dyn Fn(u64) -> Result<(), StageError>,
) -> Result<Written, StageError> {
    let names = settings.split_names(parts.len()).map_err(StageError::config)?;
    let mut counts = card::Counts::default();
    let mut splits = Vec::new();
    let mut written = Written { rows: 0, left_out: 0, splits: BTreeMap::new() };
    for (part, name) in parts.iter().zip(names) {
        let layout = settings.layout(part.port).map_err(StageError::config)?;
        let mut shards = Shards::create(folder, &name, settings.format, layout)?;
        let mut row = |value: Option<Value>, kind: &str, source: &str| {
            tick(written.rows + written.left_out)?;
            let Some(value) = value else {
                written.left_out += 1;
                return Ok(());
            };
            written.rows += 1;
            counts.add(kind, source);
            shards.push(value)
        };
        match layout.make {
            Make::Samples(make) => each::<Sample>(&part.files, |r| row(make(r), r.kind.as_str(), &r.source))?,
            Make::Pairs(make) => each::<Pair>(&part.files, |r| row(Some(make(r)), "pair", &r.source))?,
            Make::Problems(make) => each::<Problem>(&part.files, |r| row(Some(make(r, system_prompt)), "prompt", &r.source))?,
        }
        let rows = shards.finish()?;
        let files = format!("data/{name}-*.{}", settings.format.extension());
        written.splits.insert(name.clone(), rows);
        splits.push(CardSplit { name, files, rows });
    }
    let layout = settings.layout(parts.first().map_or(Port::Samples, |part| part.port)).map_err(StageError::config)?;
    let text = card::card(layout.name, splits, counts, parts, about)?.to_markdown();
    let path = folder.join("README.md");
    std::fs::write(&path, text).map_err(|e| StageError::failed(format!("cannot write `{}`", path.display())).caused_by(e))?;
    Ok(written)
}

fn each<R: Row>(files: &[PathBuf], mut row: impl FnMut(&R) -> Result<(), StageError>) -> Result<(), StageError> {
    Ahead::<R>::open(files).map_err(data_error)?.try_for_each(|r| row(&r.map_err(data_error)?))
}

/// Checks `settings` for rows of all `ports`, for diagnostics.
pub(crate) fn check(settings: &Settings, ports: &[Port]) -> Result<(), String> {
    settings.split_names(ports.len())?;
    ports.iter().try_for_each(|port| settings.layout(*port).map(drop))?;
    if let Some(name) = &settings.layout {
        layout(name).map_err(|e| curate_error(e).to_string())?;
    }
    Ok(())
}
