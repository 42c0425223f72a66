//! `potstill fetch`: datasets and models from a hub, before a run or for work without a network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use potstill_data::Manifest;

use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::hub::{self, ModelId};
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Dataset manifests (datasets/NAME.toml) and models (ORGANISATION/NAME, perhaps with @REVISION)
    #[arg(required = true, value_name = "MANIFEST|MODEL")]
    what: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Done {
    let runtime = runtime()?;
    let hub = hub::open()?;
    for what in &args.what {
        let folder = if Path::new(what).extension().is_some_and(|ending| ending == "toml") {
            let manifest = Manifest::load(Path::new(what))?;
            let fetched = hub::dataset(runtime.handle(), &hub, &manifest)?;
            tell(what, manifest.hub_folder().unwrap_or_default(), fetched.files.len(), &fetched.commit)
        } else if let Some(model) = ModelId::parse(what) {
            let fetched = model.fetch(runtime.handle(), &hub)?;
            tell(what, fetched.folder, fetched.files.len(), &fetched.commit)
        } else {
            let hint = Some("name a dataset manifest (datasets/NAME.toml) or a model as ORGANISATION/NAME");
            return Err(Failure::new(CONFIG, format!("`{what}` is neither a manifest nor a model"), hint));
        };
        say(&folder);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(what: &str, folder: PathBuf, files: usize, commit: &str) -> String {
    format!("{what}: {files} files at commit {commit} in {}", folder.display())
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.map_err(|e| Failure::new(FAILED, format!("cannot start threads: {e}"), None))
}
