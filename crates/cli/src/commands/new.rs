//! `potstill new`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::exit::{Done, FAILED, Failure};
use crate::terminal::say;

/// The ready pipelines; each is checked in CI.
const TEMPLATES: &[(&str, &str)] = &[
    ("quickstart", crate::load::QUICKSTART),
    ("sky-t1", include_str!("../../../../pipelines/sky-t1.toml")),
    ("curate-traces", include_str!("../../../../pipelines/curate-traces.toml")),
    ("code", include_str!("../../../../pipelines/code.toml")),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which pipeline to start from
    #[arg(value_parser = names())]
    template: String,
    /// The file to write; it must not exist yet
    file: PathBuf,
}

fn names() -> Vec<&'static str> {
    TEMPLATES.iter().map(|(name, _)| *name).collect()
}

pub(crate) fn run(args: &Args) -> Done {
    let text = TEMPLATES.iter().find(|(name, _)| *name == args.template).map(|(_, text)| *text).unwrap_or_default();
    let failed = |e: std::io::Error| Failure::new(FAILED, format!("cannot write `{}`: {e}", args.file.display()), None);
    let mut file = std::fs::File::create_new(&args.file).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    say(&format!("wrote {}; `potstill check {}` finds mistakes, `potstill run` does the work", args.file.display(), args.file.display()));
    Ok(ExitCode::SUCCESS)
}
