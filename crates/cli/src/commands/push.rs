//! `potstill push`: a folder to a hub, as one commit.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use potstill_hub::{Push, Repo, RepoKind};

use super::fetch::runtime;
use super::target::{Looked, address};
use crate::exit::{CONFIG, Done, Failure};
use crate::hub::{self, TOKEN};
use crate::load::PipelineArgs;
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A folder with a dataset or a model, or PIPELINE.toml:STAGE for what a stage exported or trained
    folder: String,
    /// The repository: ORGANISATION/NAME; made if it is not there
    #[arg(long, value_name = "NAME")]
    repo: String,
    /// What the folder holds; told from its files if not given
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// The branch
    #[arg(long, default_value = "main")]
    branch: String,
    /// The commit's message
    #[arg(long, short, default_value = "Upload with potstill")]
    message: String,
    /// Make the repository private, if it is made
    #[arg(long)]
    private: bool,
    /// The artifact store, for PIPELINE.toml:STAGE; `.potstill` beside the pipeline file if not given
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Dataset,
    Model,
}

pub(crate) fn run(args: &Args) -> Done {
    let folder = args.folder()?;
    let kind = match args.kind {
        Some(Kind::Dataset) => RepoKind::Dataset,
        Some(Kind::Model) => RepoKind::Model,
        None => guess(&folder)?,
    };
    let repo = Repo::new(kind, &args.repo).map_err(|error| Failure::from(hub::hub_error(&error)))?;
    if !hub::has_token() {
        let hint = format!("export {TOKEN}=… with a token that may write; it stands in no file and is never printed");
        return Err(Failure::new(CONFIG, format!("a push to {repo} needs a token"), Some(&hint)));
    }
    let hub = hub::open()?;
    let push = Push { repo, folder, branch: args.branch.clone(), message: args.message.clone(), private: args.private };
    let pushed = hub::wait(runtime()?.handle(), &args.repo, async |watch| hub.push(&push, watch).await)?;
    match &pushed.commit {
        Some(commit) => say(&format!("{}: {} files in commit {commit}, {} unchanged", pushed.page, pushed.sent, pushed.unchanged)),
        None => say(&format!("{}: nothing to push, all {} files are there", pushed.page, pushed.unchanged)),
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn folder(&self) -> Result<PathBuf, Failure> {
        let Some((file, name)) = address(&self.folder) else {
            let folder = PathBuf::from(&self.folder);
            if folder.is_dir() {
                return Ok(folder);
            }
            return Err(Failure::new(CONFIG, format!("`{}` is no folder", self.folder), Some("push a folder, or PIPELINE.toml:STAGE")));
        };
        let looked = Looked::open(&PipelineArgs { file: Some(file), set: Vec::new(), store: self.store.clone() })?;
        let artifact = looked.artifact(&name)?;
        let output = name.output.as_deref();
        let entry = artifact.entry(output).filter(|entry| entry.is_dir());
        let folder = entry.or_else(|| Some(artifact.files(output).first()?.parent()?.to_owned()));
        folder.ok_or_else(|| Failure::config(format!("`{}` has no files to push", self.folder)))
    }
}

/// A model has a configuration and weights.
fn guess(folder: &Path) -> Result<RepoKind, Failure> {
    let entries = folder.read_dir().map_err(|e| Failure::config(format!("cannot list `{}`: {e}", folder.display())))?;
    let names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let ends = |ending: &str| names.iter().any(|name| name.ends_with(ending));
    Ok(if ends(".safetensors") || ends(".gguf") { RepoKind::Model } else { RepoKind::Dataset })
}
