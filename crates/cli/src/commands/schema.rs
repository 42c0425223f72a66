//! `potstill schema`

use std::process::ExitCode;

use crate::exit::Done;
use crate::stages::KINDS;
use crate::teachers::TEACHER_KINDS;
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Done {
    let schema = potstill_pipeline::schema(KINDS, TEACHER_KINDS);
    say(&serde_json::to_string_pretty(&schema).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
