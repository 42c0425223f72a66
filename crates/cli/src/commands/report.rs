//! `potstill report`

use std::path::PathBuf;
use std::process::ExitCode;

use potstill_pipeline::Artifact;

use crate::exit::{Done, FAILED, Failure};
use crate::load::{Loaded, PipelineArgs};
use crate::report::{Source, render};
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The HTML file to write
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// How many attempts are shown in full
    #[arg(long, default_value_t = 12)]
    traces: usize,
}

pub(crate) fn run(args: &Args) -> Done {
    let Loaded { pipeline, app } = args.pipeline.load()?;
    let none = || {
        Failure::new(
            FAILED,
            format!("the store `{}` holds nothing of this pipeline", args.pipeline.store_path().display()),
            Some("`potstill run` comes first"),
        )
    };
    let store = args.pipeline.store_if_any()?.ok_or_else(none)?;
    let mut artifacts: Vec<Artifact> = Vec::new();
    for stage in potstill_pipeline::plan(&pipeline, Some(&store), &app)?.iter().filter(|s| s.kind != "report") {
        artifacts.extend(store.find(&stage.fingerprint)?);
    }
    if artifacts.is_empty() {
        return Err(none());
    }
    let title = args
        .pipeline
        .file
        .as_ref()
        .and_then(|f| f.file_stem())
        .map_or_else(|| "Quickstart".to_owned(), |s| s.to_string_lossy().into_owned());
    let seed = artifacts.first().map_or(0, |a| a.manifest.seed);
    let page = render(&Source { title: &title, seed, traces: args.traces, artifacts: &artifacts })?;
    std::fs::write(&args.out, page).map_err(|e| Failure::new(FAILED, format!("cannot write `{}`: {e}", args.out.display()), None))?;
    say(&format!("wrote {}", args.out.display()));
    Ok(ExitCode::SUCCESS)
}
