//! `potstill convert`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use potstill_model::gguf::{self, GgufFormat};
use potstill_model::hf::{self, ModelCard, Precision, SaveOptions};
use potstill_model::{Checkpoint, Device};
use potstill_pipeline::store::Manifest;
use potstill_pipeline::{Artifact, Port};

use super::model::{locate, model_failure};
use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::load::{Loaded, PipelineArgs};
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A Hugging Face folder, a GGUF file, a model of a hub (ORGANISATION/NAME), or a pipeline file whose trained model is meant
    from: PathBuf,
    /// The train stage of the pipeline file (its last one)
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// The pipeline's artifact store; `.potstill` beside the pipeline file if not given
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// A new folder to write for Hugging Face, or a new file that ends in .gguf
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How weights are stored; q8_0 in GGUF only
    #[arg(long, value_enum, default_value_t = Kept::F32)]
    precision: Kept,
    /// Split the folder's weights over files of at most so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 5_000_000_000)]
    max_file_bytes: u64,
    /// The model's name (that of the stage, folder or file)
    #[arg(long)]
    name: Option<String>,
    /// The model that training began with, for the model card
    #[arg(long)]
    base_model: Option<String>,
    /// The licence, for the model card
    #[arg(long)]
    license: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kept {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

pub(crate) fn run(args: &Args) -> Done {
    let to_gguf = args.out.extension().is_some_and(|extension| extension == "gguf");
    if args.precision == Kept::Q8_0 && !to_gguf {
        return Err(Failure::new(CONFIG, "q8_0 is a format of GGUF files", Some("let --out end in .gguf, or choose bf16")));
    }
    if args.out.exists() && !args.out.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        return Err(Failure::new(
            CONFIG,
            format!("`{}` is there already", args.out.display()),
            Some("name a new place, or remove it first"),
        ));
    }
    let (path, mut card) = source(args)?;
    card.name = args.name.clone().unwrap_or(card.name);
    card.base_model = args.base_model.clone().or(card.base_model);
    card.license.clone_from(&args.license);
    let Checkpoint { model, tokenizer, template } = Checkpoint::load(&path, &Device::flex()).map_err(model_failure)?;
    if to_gguf {
        let format = match args.precision {
            Kept::F32 => GgufFormat::F32,
            Kept::F16 => GgufFormat::F16,
            Kept::Bf16 => GgufFormat::Bf16,
            Kept::Q8_0 => GgufFormat::Q8_0,
        };
        gguf::save(&args.out, &model, &tokenizer, template.as_ref(), &card.name, format).map_err(model_failure)?;
    } else {
        let precision = match args.precision {
            Kept::F16 => Precision::F16,
            Kept::Bf16 => Precision::Bf16,
            Kept::F32 | Kept::Q8_0 => Precision::F32,
        };
        let options = SaveOptions { precision, largest_file: args.max_file_bytes, card: Some(card.render(model.config())) };
        hf::save_with(&args.out, &model, &tokenizer, template.as_ref(), &options).map_err(model_failure)?;
    }
    say(&args.out.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// The model's place, and what is known of it.
fn source(args: &Args) -> Result<(PathBuf, ModelCard), Failure> {
    if args.from.extension().is_none_or(|extension| extension != "toml") {
        let place = locate(&args.from)?;
        let name = args.from.file_stem().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        return Ok((place, ModelCard { name, ..ModelCard::default() }));
    }
    let artifact = trained(args)?;
    let manifest = &artifact.manifest;
    let entry = artifact.entry(None).ok_or_else(|| Failure::new(FAILED, format!("`{}` has no model folder", manifest.stage), None))?;
    let base_model = manifest.stats["start"]["folder"]
        .as_str()
        .map(|folder| Path::new(folder).file_name().map_or_else(|| folder.to_owned(), |name| name.to_string_lossy().into_owned()));
    Ok((entry, ModelCard { name: manifest.stage.clone(), base_model, lineage: lineage(manifest), ..ModelCard::default() }))
}

/// The train stage's artifact.
fn trained(args: &Args) -> Result<Artifact, Failure> {
    let pipeline_args = PipelineArgs { file: Some(args.from.clone()), set: Vec::new(), store: args.store.clone() };
    let Loaded { pipeline, app } = pipeline_args.load()?;
    let not_run = |what: String| Failure::new(FAILED, what, Some("`potstill run` makes it"));
    let store =
        pipeline_args.store_if_any()?.ok_or_else(|| not_run(format!("there is no store at `{}`", pipeline_args.store_path().display())))?;
    let plan = potstill_pipeline::plan(&pipeline, Some(&store), &app)?;
    let models = || plan.iter().filter(|stage| stage.outputs.iter().any(|(_, port)| *port == Port::Model));
    let stage = match &args.stage {
        Some(name) => models().find(|stage| stage.name == *name),
        None => models().next_back(),
    };
    let known: Vec<&str> = models().map(|stage| stage.name.as_str()).collect();
    let stage = stage
        .ok_or_else(|| Failure::config(format!("`{}` has no such train stage; there are: {}", args.from.display(), known.join(", "))))?;
    store.find(&stage.fingerprint)?.ok_or_else(|| not_run(format!("`{}` has not run with these settings", stage.name)))
}

/// A line for each stage that led to the model.
fn lineage(manifest: &Manifest) -> Vec<String> {
    let line = |stage: &str, kind: &str, fingerprint: String| format!("`{stage}` ({kind}), fingerprint `{fingerprint}`");
    let ancestors = manifest.lineage.iter().map(|a| line(&a.stage, &a.kind, a.fingerprint.to_string()));
    ancestors
        .chain([format!("{}, made by {}", line(&manifest.stage, &manifest.kind, manifest.fingerprint.to_string()), manifest.tool)])
        .collect()
}
