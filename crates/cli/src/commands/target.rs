//! What a command looks at: a table in files, or an output of a stage in a store.
//!
//! Written as a path (a file, a pattern with `*`, a folder), or as `PIPELINE.toml:STAGE`, `PIPELINE.toml:STAGE.OUTPUT` and with a
//! version behind it: `@previous`, or `@` and the first digits of a fingerprint.

use std::path::PathBuf;
use std::time::SystemTime;

use potstill_data::Table;
use potstill_pipeline::{Artifact, PlannedStage, Store};

use crate::exit::{CONFIG, FAILED, Failure};
use crate::load::{Loaded, PipelineArgs};

/// An output of a stage, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageName {
    /// The stage.
    pub(crate) stage: String,
    /// Its output; the first where none is named.
    pub(crate) output: Option<String>,
    /// The artifact of the stage; the one of the file's present settings where none is named.
    pub(crate) version: Option<String>,
}

impl StageName {
    /// From `STAGE`, `STAGE.OUTPUT` or `STAGE.OUTPUT@VERSION`.
    pub(crate) fn parse(text: &str) -> Self {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version.to_owned())));
        let (stage, output) = name.split_once('.').map_or((name, None), |(stage, output)| (stage, Some(output.to_owned())));
        Self { stage: stage.to_owned(), output, version }
    }
}

/// `PIPELINE.toml:STAGE…` in its parts; `None` for the path of a table.
pub(crate) fn address(text: &str) -> Option<(PathBuf, StageName)> {
    let at = text.find(".toml:")? + ".toml".len();
    Some((PathBuf::from(&text[..at]), StageName::parse(&text[at + 1..])))
}

/// The store of a pipeline with what its stages would be.
pub(crate) struct Looked {
    pub(crate) store: Store,
    pub(crate) plan: Vec<PlannedStage>,
    /// Datasets that are not here yet: stages that read them cannot be told to be up to date.
    unfetched: Vec<String>,
}

impl Looked {
    /// Opens the store for looking.
    ///
    /// # Errors
    /// The pipeline has mistakes, or there is no store.
    pub(crate) fn open(args: &PipelineArgs) -> Result<Self, Failure> {
        let Loaded { pipeline, app } = args.load()?;
        let Some(store) = args.store_if_any()? else {
            let path = args.store_path();
            let hint = Some("`potstill run` makes it, or name one with --store");
            return Err(Failure::new(FAILED, format!("there is no store at `{}`", path.display()), hint));
        };
        let plan = potstill_pipeline::plan(&pipeline, Some(&store), &app)?;
        Ok(Self { store, plan, unfetched: app.unfetched() })
    }

    /// The stage's artifact.
    ///
    /// # Errors
    /// There is no such stage, it has not run, or no artifact is of that version.
    pub(crate) fn artifact(&self, name: &StageName) -> Result<Artifact, Failure> {
        let Some(stage) = self.plan.iter().find(|stage| stage.name == name.stage) else {
            let near = potstill_pipeline::near(&name.stage, self.plan.iter().map(|s| s.name.as_str()));
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            return Err(Failure::new(CONFIG, format!("no stage is named `{}`", name.stage), hint.as_deref()));
        };
        if let Some(version) = &name.version {
            return self.version(stage, version);
        }
        self.store.find(&stage.fingerprint)?.ok_or_else(|| {
            let hint = match self.unfetched.as_slice() {
                [] => "`potstill run --only` brings it up to date".to_owned(),
                // A stage may have run on files that were removed since.
                sets => format!("{} not here yet; `potstill run` and `potstill fetch` fetch what a hub has", sets.join(", ")),
            };
            Failure::new(FAILED, format!("`{}` has not run with these settings", name.stage), Some(&hint))
        })
    }

    fn version(&self, stage: &PlannedStage, version: &str) -> Result<Artifact, Failure> {
        let mut found: Vec<(SystemTime, Artifact)> = Vec::new();
        for fingerprint in self.store.fingerprints()? {
            let Ok(Some(artifact)) = self.store.find(&fingerprint) else { continue };
            if artifact.manifest.stage == stage.name && artifact.manifest.kind == stage.kind {
                let made = self.store.root().join("artifacts").join(fingerprint.to_string()).join("manifest.json");
                found.push((made.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH), artifact));
            }
        }
        found.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
        let prints = |artifact: &Artifact| artifact.manifest.fingerprint.to_string();
        let known: Vec<String> = found.iter().map(|(_, artifact)| prints(artifact)[..12].to_owned()).collect();
        let wanted = |artifact: &Artifact| match version {
            "previous" => artifact.manifest.fingerprint != stage.fingerprint,
            digits => !digits.is_empty() && prints(artifact).starts_with(digits),
        };
        found.into_iter().map(|(_, artifact)| artifact).find(wanted).ok_or_else(|| {
            let hint = match known.as_slice() {
                [] => "the store has nothing of this stage".to_owned(),
                known => format!("the store has, newest first: {}", known.join(", ")),
            };
            Failure::new(FAILED, format!("`{}` has no version `{version}` in the store", stage.name), Some(&hint))
        })
    }
}

/// The table of an output.
///
/// # Errors
/// No such output, or one without rows.
pub(crate) fn output_table(artifact: &Artifact, output: Option<&str>) -> Result<Table, Failure> {
    let manifest = &artifact.manifest;
    let Some(shown) = manifest.output(output) else {
        let known: Vec<&str> = manifest.outputs.iter().map(|o| o.name.as_str()).collect();
        let (stage, output) = (&manifest.stage, output.unwrap_or_default());
        return Err(Failure::config(format!("`{stage}` has no output `{output}`; there are: {}", known.join(", "))));
    };
    if shown.rows.is_none() {
        return Err(Failure::config(format!("`{}.{}` is a {}, which has no rows", manifest.stage, shown.name, shown.port)));
    }
    Ok(Table::of_files(artifact.files(output))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_part_into_file_stage_output_and_version() {
        let (file, name) = address("a/b.toml:kept.dropped@previous").unwrap();
        assert_eq!(file, PathBuf::from("a/b.toml"));
        assert_eq!(name, StageName { stage: "kept".into(), output: Some("dropped".into()), version: Some("previous".into()) });
        assert_eq!(address("b.toml:kept").unwrap().1, StageName { stage: "kept".into(), output: None, version: None });
        assert_eq!(address("rows.parquet"), None);
        assert_eq!(address("b.toml"), None);
    }
}
