//! `potstill check`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::exit::{CONFIG, Done};
use crate::load::PipelineArgs;
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pipeline files; the built-in quickstart if none is named
    files: Vec<PathBuf>,
    /// Override a setting, such as --set stage.sft.epochs=1 (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Done {
    let files: Vec<Option<PathBuf>> = if args.files.is_empty() { vec![None] } else { args.files.iter().cloned().map(Some).collect() };
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let name = file.as_ref().map_or_else(|| "the built-in quickstart".to_owned(), |f| f.display().to_string());
        match (PipelineArgs { file, set: args.set.clone(), store: None }).load() {
            Ok(loaded) => say(&format!("{name}: {} stages, no mistakes", loaded.pipeline.nodes().len())),
            Err(failure) => {
                failure.tell();
                code = ExitCode::from(CONFIG);
            }
        }
    }
    Ok(code)
}
