//! The hub as the command line meets it: settings from the environment, progress, and which files of a dataset or model are wanted.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use potstill_data::{DataError, Manifest};
use potstill_generate::SecretKey;
use potstill_hub::{ENDPOINT, Fetch, Fetched, Hub, HubConfig, HubError, Progress, Repo, RepoKind, looks_like_repo};
use potstill_pipeline::StageError;
use tokio::runtime::Handle;

use crate::app::App;
use crate::terminal::{complain, is_terminal};

/// The variable with the user's token.
pub(crate) const TOKEN: &str = "HF_TOKEN";

/// The files of a model that a student or a local teacher is made of.
const MODEL_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model*.safetensors"];
/// Those that not every model has.
const MORE_MODEL_FILES: [&str; 7] = [
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "model.safetensors.index.json",
    "README.md",
];

/// Opens the hub that the environment names, as Python's client reads it: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_CACHE` or `HF_HOME`,
/// `HF_HUB_OFFLINE`.
///
/// # Errors
/// A variable with an unusable value; its content is not told.
pub(crate) fn open() -> Result<Hub, StageError> {
    let config = |error: HubError| hub_error(&error);
    let key = App::variable(TOKEN).filter(|text| !text.trim().is_empty()).map(|text| SecretKey::new(&text)).transpose();
    let key = key.map_err(|why| StageError::config(format!("the token in `{TOKEN}` cannot be used: {why}")))?;
    let authorization = key.as_ref().map(SecretKey::bearer).transpose().map_err(StageError::config)?;
    let offline = App::variable("HF_HUB_OFFLINE").is_some_and(|v| matches!(v.to_lowercase().as_str(), "1" | "true" | "yes" | "on"));
    let endpoint = App::variable("HF_ENDPOINT").filter(|v| !v.is_empty()).unwrap_or_else(|| ENDPOINT.to_owned());
    Hub::new(HubConfig { endpoint, cache: cache_folder()?, authorization, offline }).map_err(config)
}

/// The folder that Python's client uses as well.
fn cache_folder() -> Result<PathBuf, StageError> {
    let folder = |name: &str| App::variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let found = folder("HF_HUB_CACHE")
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(folder("HOME")?.join(".cache/huggingface/hub")));
    found.ok_or_else(|| StageError::config("nothing says where downloads are kept").hint("set HF_HUB_CACHE to a folder"))
}

/// Whether the user gave a token at all.
pub(crate) fn has_token() -> bool {
    App::variable(TOKEN).is_some_and(|text| !text.trim().is_empty())
}

/// What a failure of the hub means for a stage or a command.
pub(crate) fn hub_error(error: &HubError) -> StageError {
    let stage = match error {
        error if error.is_temporary() => StageError::temporary(error.to_string()),
        HubError::File { .. } | HubError::Damaged { .. } | HubError::Answer { .. } | HubError::Status { .. } => {
            StageError::failed(error.to_string())
        }
        _ => StageError::config(error.to_string()),
    };
    match error.hint() {
        Some(hint) => stage.hint(hint),
        None => stage,
    }
}

/// Waits for work with the hub and shows how far it is; an interrupt ends it, and what was loaded is kept.
///
/// # Errors
/// What the work says, or that the user interrupted it.
pub(crate) fn wait<T>(
    runtime: &Handle,
    what: &str,
    work: impl AsyncFnOnce(&(dyn Fn(Progress) + Sync)) -> Result<T, HubError>,
) -> Result<T, StageError> {
    let bar = if is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what.to_owned());
    let watch = |progress: Progress| {
        if bar.length() != Some(progress.total) {
            bar.set_length(progress.total);
        }
        bar.set_position(progress.bytes);
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = work(&watch) => done.map_err(|error| hub_error(&error)),
            _ = tokio::signal::ctrl_c() => Err(StageError::cancelled()),
        }
    });
    bar.finish_and_clear();
    done
}

/// Fetches files of a repository into the cache.
///
/// # Errors
/// As [`wait`].
pub(crate) fn fetch(runtime: &Handle, hub: &Hub, fetch: &Fetch) -> Result<Fetched, StageError> {
    let fetched = wait(runtime, fetch.repo.name(), async |watch| hub.fetch(fetch, watch).await)?;
    if fetched.downloaded > 0 {
        let mib = fetched.downloaded as f64 / f64::from(1 << 20);
        complain(&format!("fetched {} at {} from {} ({mib:.1} MiB)", fetch.repo.name(), &fetched.commit[..12], hub.endpoint()));
    }
    Ok(fetched)
}

/// Puts the files of a manifest's dataset where the manifest expects them, as links into the cache.
///
/// # Errors
/// The manifest does not say where its files come from or go to, or they cannot be fetched.
pub(crate) fn dataset(runtime: &Handle, hub: &Hub, manifest: &Manifest) -> Result<Fetched, StageError> {
    let (Some(from), Some(folder)) = (&manifest.hub, manifest.hub_folder()) else {
        let hint = manifest.obtain.clone().unwrap_or_else(|| "its page is the manifest's `homepage`".to_owned());
        return Err(StageError::config(format!("{} cannot be fetched from a hub", manifest.name)).hint(hint));
    };
    let repo = Repo::new(RepoKind::Dataset, &from.repo).map_err(|error| hub_error(&error))?;
    let request = Fetch { repo, revision: from.revision().to_owned(), required: from.files.clone(), optional: Vec::new() };
    let fetched = self::fetch(runtime, hub, &request)?;
    for file in &fetched.files {
        link(&fetched.folder.join(file), &folder.join(file))?;
    }
    Ok(fetched)
}

/// A link at `place` to a file of the cache; another link there is replaced, a file of the user's own stays.
fn link(file: &Path, place: &Path) -> Result<(), StageError> {
    let failed = |e: std::io::Error| StageError::failed(format!("cannot link `{}` to the cache", place.display())).caused_by(e);
    let file = std::path::absolute(file).map_err(failed)?;
    std::fs::create_dir_all(place.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    match place.symlink_metadata() {
        Ok(about) if !about.is_symlink() => return Ok(()),
        Ok(_) => std::fs::remove_file(place).map_err(failed)?,
        Err(_) => {}
    }
    std::os::unix::fs::symlink(file, place).map_err(failed)
}

/// A model's folder as a pipeline names it: `organisation/name`, perhaps with `@revision`.
pub(crate) struct ModelId<'a> {
    /// `organisation/name`.
    pub(crate) name: &'a str,
    /// The branch, tag or commit.
    pub(crate) revision: &'a str,
}

impl<'a> ModelId<'a> {
    /// `None` for what can only be a path.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        looks_like_repo(name).then_some(Self { name, revision })
    }

    /// The folder with the model's files, fetched if they are not in the cache.
    ///
    /// # Errors
    /// As [`wait`].
    pub(crate) fn fetch(&self, runtime: &Handle, hub: &Hub) -> Result<Fetched, StageError> {
        let repo = Repo::new(RepoKind::Model, self.name).map_err(|error| hub_error(&error))?;
        let (required, optional) = (MODEL_FILES.map(str::to_owned).to_vec(), MORE_MODEL_FILES.map(str::to_owned).to_vec());
        fetch(runtime, hub, &Fetch { repo, revision: self.revision.to_owned(), required, optional })
    }
}

/// Whether a dataset's files are missing and a hub has them.
pub(crate) fn is_missing(manifest: &Manifest) -> bool {
    manifest.hub_folder().is_some() && matches!(manifest.require_files(), Err(DataError::Missing { .. }))
}
