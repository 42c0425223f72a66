//! `potstill completions`

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Done;
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "potstill", &mut text);
    say(String::from_utf8_lossy(&text).trim_end());
    Ok(ExitCode::SUCCESS)
}
