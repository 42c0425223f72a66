//! From a pipeline file to a checked pipeline with its context.

use std::path::{Path, PathBuf};

use clap::Args;
use potstill_pipeline::{Draft, Pipeline, Store};

use crate::app::App;
use crate::exit::Failure;
use crate::stages::KINDS;
use crate::teachers::TEACHER_KINDS;

/// The pipeline that runs when no file is named.
pub(crate) const QUICKSTART: &str = include_str!("../../../pipelines/quickstart.toml");

/// Which pipeline, and where its artifacts are.
#[derive(Args, Clone)]
pub(crate) struct PipelineArgs {
    /// The pipeline file; the built-in quickstart if none is named
    pub(crate) file: Option<PathBuf>,
    /// Override a setting, such as --set stage.sft.epochs=1 (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// The artifact store; `.potstill` beside the pipeline file if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
}

/// A checked pipeline.
pub(crate) struct Loaded {
    pub(crate) pipeline: Pipeline<App>,
    pub(crate) app: App,
}

impl PipelineArgs {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// All mistakes of the file at once.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let (name, text, base) = match &self.file {
            Some(file) => (file.display().to_string(), read(file)?, folder(file)),
            None => ("quickstart.toml (built in)".to_owned(), QUICKSTART.to_owned(), PathBuf::from(".")),
        };
        let (draft, teachers) = Draft::read(&name, &text, &self.set, KINDS, TEACHER_KINDS);
        let stem = self.file.as_ref().and_then(|file| file.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
        let app = App::new(base, teachers, stem.unwrap_or_else(|| "quickstart".to_owned()), text)
            .map_err(|e| Failure::new(crate::exit::FAILED, format!("cannot start threads: {e}"), None))?;
        let app = app.with_store(self.store_path());
        let pipeline = draft.check(&app).map_err(Failure::diagnostic)?;
        Ok(Loaded { pipeline, app })
    }

    /// The store's folder.
    pub(crate) fn store_path(&self) -> PathBuf {
        let beside = || self.file.as_deref().map_or_else(|| PathBuf::from("."), folder).join(".potstill");
        self.store.clone().unwrap_or_else(beside)
    }

    /// The store, opened for looking; `None` where there is none yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn store_if_any(&self) -> Result<Option<Store>, Failure> {
        let path = self.store_path();
        if path.join("artifacts").is_dir() { Ok(Some(Store::open_read_only(path)?)) } else { Ok(None) }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(file).map_err(|e| {
        Failure::new(crate::exit::CONFIG, format!("cannot read the pipeline file `{}`: {e}", file.display()), near_file(file).as_deref())
    })?;
    String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        Failure::config(format!("the pipeline file `{}` is not UTF-8 at line {line}", file.display()))
    })
}

fn near_file(file: &Path) -> Option<String> {
    let entries = folder(file).read_dir().ok()?;
    let names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let wanted = file.file_name()?.to_string_lossy().into_owned();
    let near = potstill_pipeline::near(&wanted, names.iter().map(String::as_str))?;
    Some(format!("did you mean `{}`?", file.with_file_name(near).display()))
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
