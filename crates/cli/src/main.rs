//! `potstill`: distil reasoning models. A pipeline file in; a verified dataset, a student and a report out.

mod app;
mod asking;
mod commands;
mod estimate;
mod exit;
mod export;
mod hub;
mod load;
mod progress;
mod report;
mod sandbox;
mod serve;
mod stages;
mod teachers;
mod terminal;
mod training;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    check, completions, convert, diff, doctor, export as export_command, fetch, generate, new, plan, preview, push,
    report as report_command, run, schema, serve as serve_command, show, train, verify,
};
use exit::Failure;

// Training frees and takes large buffers all the time; the system's allocator returns them to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Distil reasoning models: a pipeline file in; a verified dataset, a fine-tuned student and an honest report out.
#[derive(Parser)]
#[command(name = "potstill", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring every stage of a pipeline up to date (the quickstart, if no file is named)
    Run(run::Args),
    /// Find every mistake of pipeline files without doing anything: needs no network, key or GPU
    Check(check::Args),
    /// Show what a run would do: cached and stale stages, calls, tokens, cost
    Plan(plan::Args),
    /// Ask a teacher's endpoint how it is: models, a tiny chat, what it supports, latency
    Doctor(doctor::Args),
    /// Look at what a store or a table file holds: artifacts, rows, statistics, histograms, dropped rows
    Show(show::Args),
    /// Compare two tables or artifacts: rows gained, lost and changed
    Diff(diff::Args),
    /// Fetch datasets and models from a hub into the local cache
    Fetch(fetch::Args),
    /// Push a dataset or model folder to a hub
    Push(push::Args),
    /// Make the HTML report of what the store holds for a pipeline
    Report(report_command::Args),
    /// Write rows of the store as a dataset folder that other trainers read, with a dataset card
    Export(export_command::Args),
    /// Grade a Parquet or JSONL file that has a gold and a prediction column
    Verify(verify::Args),
    /// Fine-tune a student on any file of conversations
    Train(train::Args),
    /// See what a training run would learn from: masks, lengths, packing, memory
    Preview(preview::Args),
    /// Have a model folder or GGUF file answer prompts
    Generate(generate::Args),
    /// Serve a model folder or GGUF file as an OpenAI-compatible endpoint
    Serve(serve_command::Args),
    /// Write a model as a Hugging Face folder or a GGUF file
    Convert(convert::Args),
    /// Write a ready pipeline file to start from
    New(new::Args),
    /// Print the JSON Schema of pipeline files, for editors
    Schema(schema::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// How this program starts itself as a helper of the sandbox; not for people
    #[command(name = sandbox::HELPER, hide = true)]
    SandboxHelper,
}

fn main() -> ExitCode {
    app::huge_pages(false);
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Push(args) => push::run(&args),
        Command::Report(args) => report_command::run(&args),
        Command::Export(args) => export_command::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Preview(args) => preview::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Serve(args) => serve_command::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::New(args) => new::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::SandboxHelper => Ok(potstill_verify::sandbox::serve()),
    };
    done.unwrap_or_else(Failure::tell)
}
