//! `potstill export`

use std::path::PathBuf;
use std::process::ExitCode;

use potstill_pipeline::{Port, StageError};

use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::export::{About, FileFormat, Part, Settings, write};
use crate::load::{Loaded, PipelineArgs};
use crate::report::grouped;
use crate::stages::TOOL;
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage whose rows are exported, or one of its outputs: NAME or NAME.OUTPUT; each further one is a further split,
    /// named as in SPLIT=NAME
    #[arg(long, short, value_name = "NAME", required = true)]
    stage: Vec<String>,
    /// messages, sharegpt, alpaca or prompt_completion of samples; preference of pairs; rl_prompts of problems
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<String>,
    /// The files' format: parquet or jsonl
    #[arg(long, default_value = "parquet", value_parser = ["parquet", "jsonl"])]
    format: String,
    /// The dataset's name on its card
    #[arg(long)]
    name: Option<String>,
    /// A text file with the system turn before each prompt of rl_prompts
    #[arg(long, value_name = "FILE")]
    system_prompt: Option<PathBuf>,
    /// The folder to write; it must be empty or not there
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Done {
    let Loaded { pipeline, app } = args.pipeline.load()?;
    let path = args.pipeline.store_path();
    let none = || Failure::new(FAILED, format!("there is no store at `{}`", path.display()), Some("`potstill run` comes first"));
    let store = args.pipeline.store_if_any()?.ok_or_else(none)?;
    let plan = potstill_pipeline::plan(&pipeline, Some(&store), &app)?;
    let mut parts = Vec::new();
    let mut splits = Vec::new();
    for wanted in &args.stage {
        let (split, wanted) = wanted.split_once('=').map_or((None, wanted.as_str()), |(split, wanted)| (Some(split), wanted));
        splits.extend(split.map(str::to_owned));
        let (name, output) = wanted.split_once('.').map_or((wanted, None), |(name, output)| (name, Some(output)));
        let Some(stage) = plan.iter().find(|stage| stage.name == name) else {
            let near = potstill_pipeline::near(name, plan.iter().map(|s| s.name.as_str())).map(|near| format!("did you mean `{near}`?"));
            return Err(Failure::new(CONFIG, format!("no stage is named `{name}`"), near.as_deref()));
        };
        let Some(artifact) = store.find(&stage.fingerprint)? else {
            let hint = Some("`potstill run --only` brings it up to date");
            return Err(Failure::new(FAILED, format!("`{name}` has not run with these settings"), hint));
        };
        let Some(port) = artifact.manifest.output(output).map(|output| output.port) else {
            let known: Vec<&str> = artifact.manifest.outputs.iter().map(|o| o.name.as_str()).collect();
            let output = output.unwrap_or_default();
            return Err(Failure::config(format!("`{name}` has no output `{output}`; there are: {}", known.join(", "))));
        };
        parts.push(Part { port, files: artifact.files(output), artifact });
    }
    let format = if args.format == "jsonl" { FileFormat::Jsonl } else { FileFormat::Parquet };
    let settings = Settings { layout: args.layout.clone(), format, name: args.name.clone(), splits, system_prompt: None };
    check(&settings, &parts)?;
    empty(&args.out)?;
    let unreadable = |file: &PathBuf, e: std::io::Error| Failure::config(format!("cannot read `{}`: {e}", file.display()));
    let system_prompt = args.system_prompt.as_ref().map(|file| std::fs::read_to_string(file).map_err(|e| unreadable(file, e)));
    let system_prompt = system_prompt.transpose()?;
    let about = About {
        name: args.name.as_deref().unwrap_or(app.name()),
        pipeline: app.pipeline(),
        tool: TOOL,
        find: &|fingerprint| store.find(fingerprint).map_err(StageError::from),
    };
    let written = write(&args.out, &parts, &settings, system_prompt.as_deref().map(str::trim_end), &about, &|_| Ok(()))?;
    let left_out = if written.left_out > 0 { format!(", {} left out", grouped(written.left_out)) } else { String::new() };
    say(&format!("wrote {} rows to {}{left_out}", grouped(written.rows), args.out.display()));
    Ok(ExitCode::SUCCESS)
}

fn check(settings: &Settings, parts: &[Part]) -> Result<(), Failure> {
    let ports: Vec<Port> = parts.iter().map(|part| part.port).collect();
    crate::export::check(settings, &ports).map_err(|message| {
        let hint = (ports.len() > 1).then_some("name the splits, as in --stage train=halves.train --stage test=halves.test");
        Failure::new(CONFIG, message, hint)
    })
}

/// Nothing is ever written over.
fn empty(folder: &std::path::Path) -> Result<(), Failure> {
    let cannot = |e: std::io::Error| Failure::config(format!("cannot look into `{}`: {e}", folder.display()));
    let mut entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(cannot(e)),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            let hint = Some("name a folder that is not there yet");
            Err(Failure::new(CONFIG, format!("the folder `{}` is not empty", folder.display()), hint))
        }
    }
}
