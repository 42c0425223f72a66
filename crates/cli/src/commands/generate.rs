//! `potstill generate`

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use potstill_curate::text::apart;
use potstill_data::source::{Source, SourceSpec};
use potstill_model::generate::{Batching, Decoder, Decoding, Finish, Generated, Progress, Prompt, ThinkingBudget, generate};
use potstill_model::{ChatMessage, RenderOptions};
use serde_json::{Value, json};

use super::model::{ModelArgs, model_failure};
use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::serve::today;
use crate::terminal::{complain, is_terminal, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A prompt (may be repeated)
    #[arg(long, short, required_unless_present = "input", conflicts_with = "input")]
    prompt: Vec<String>,
    /// A Parquet, JSONL or CSV file with prompts
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The column with the prompts
    #[arg(long, value_name = "COL", default_value = "prompt", requires = "input")]
    column: String,
    /// A text file with the system turn
    #[arg(long, value_name = "FILE")]
    system: Option<PathBuf>,
    /// Continue the prompts as they are, without the chat template
    #[arg(long)]
    raw: bool,
    /// Write JSON lines to this file; without it the replies are printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replies to each prompt; more than one need a temperature
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    samples: u32,
    /// Tokens of a reply at most
    #[arg(long, default_value_t = 512)]
    max_new_tokens: usize,
    /// 0 decodes greedily
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Sample from the most probable tokens that together reach this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Sample from this many most probable tokens
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Drop tokens less probable than this fraction of the most probable one
    #[arg(long, default_value_t = 0.0)]
    min_p: f32,
    /// Make tokens that occurred less probable; 1 is off
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f32,
    /// A string that ends a reply (may be repeated)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// End thinking after so many tokens
    #[arg(long, value_name = "TOKENS")]
    thinking_tokens: Option<usize>,
    /// Replace the end of thinking by "Wait" so many times
    #[arg(long, value_name = "TIMES", default_value_t = 0)]
    thinking_extensions: u32,
    /// The seed of all draws
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Sequences decoded together
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: u32,
}

pub(crate) fn run(args: &Args) -> Done {
    let texts = args.texts()?;
    let decoding = args.decoding();
    decoding.validate().map_err(|error| Failure::new(CONFIG, error, None))?;
    if args.samples > 1 && args.temperature == 0.0 {
        return Err(Failure::new(CONFIG, format!("{} greedy replies are all the same", args.samples), Some("set --temperature")));
    }
    let decoder = args.model.load()?;
    let prompts = args.prompts(&decoder, &texts)?;
    let decoding = Decoding { special_tokens: decoder.marks_thinking_specially(), ..decoding };
    let bar = if is_terminal() { ProgressBar::new(prompts.len() as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} replies, {msg}") {
        bar.set_style(style);
    }
    let progress = |now: Progress| {
        bar.set_position(now.finished as u64);
        bar.set_message(format!("{} tokens", now.new_tokens));
        true
    };
    let batching = Batching { size: args.batch_size as usize, threads: args.model.threads() };
    let report = generate(&decoder, &prompts, &decoding, batching, &progress).map_err(model_failure)?;
    bar.finish_and_clear();
    let samples = args.samples as usize;
    let rows = report.outputs.iter().enumerate().map(|(at, output)| row(&texts[at / samples], at % samples, output, prompts[at].ids.len()));
    match &args.out {
        Some(out) => write(out, rows)?,
        None => report.outputs.iter().for_each(|output| say(&output.text)),
    }
    let rate = report.new_tokens as f64 / report.seconds.max(1e-9);
    let replies = if report.outputs.len() == 1 { "reply" } else { "replies" };
    complain(&format!("{} {replies}, {} tokens in {:.1} s: {rate:.0} tokens/s", report.outputs.len(), report.new_tokens, report.seconds));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn texts(&self) -> Result<Vec<String>, Failure> {
        let Some(input) = &self.input else { return Ok(self.prompt.clone()) };
        let settings = json!({ "path": input, "columns": { "prompt": self.column } });
        let spec: SourceSpec = serde_json::from_value(settings).map_err(Failure::config)?;
        let mut source = Source::open(&spec, Path::new("."))?;
        let texts: Vec<String> = source.problems().map(|problem| Ok(problem?.prompt)).collect::<Result<_, potstill_data::DataError>>()?;
        if texts.is_empty() {
            return Err(Failure::new(FAILED, format!("`{}` has no prompts", input.display()), None));
        }
        Ok(texts)
    }

    fn decoding(&self) -> Decoding {
        let budget = self.thinking_tokens.is_some() || self.thinking_extensions > 0;
        Decoding {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            stop_strings: self.stop.clone(),
            thinking: budget.then(|| ThinkingBudget {
                max_tokens: self.thinking_tokens,
                extensions: self.thinking_extensions,
                ..ThinkingBudget::default()
            }),
            ..Decoding::default()
        }
    }

    fn prompts(&self, decoder: &Decoder, texts: &[String]) -> Result<Vec<Prompt>, Failure> {
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file).map_err(|error| Failure::config(format!("cannot read `{}`: {error}", file.display())))
        };
        let system = self.system.as_ref().map(read).transpose()?;
        let options = RenderOptions { date: Some(today()), ..RenderOptions::prompt() };
        let mut prompts = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let rendered = if self.raw {
                text.clone()
            } else {
                let system = system.iter().map(|text| ChatMessage::new("system", text.trim_end()));
                let messages: Vec<ChatMessage> = system.chain([ChatMessage::new("user", text)]).collect();
                decoder.template().and_then(|template| template.render(&messages, &options)).map_err(model_failure)?
            };
            let ids = decoder.tokenizer.encode(&rendered).map_err(model_failure)?;
            let seed = |sample: u32| self.seed.wrapping_add(index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(sample.into());
            prompts.extend((0..self.samples).map(|sample| Prompt { ids: ids.clone(), seed: seed(sample) }));
        }
        Ok(prompts)
    }
}

fn row(prompt: &str, sample: usize, output: &Generated, prompt_tokens: usize) -> Value {
    let (reasoning, response) = apart(None, &output.text);
    json!({
        "prompt": prompt, "sample_index": sample, "reasoning": reasoning, "response": response,
        "finish_reason": if output.finish == Finish::Length { "length" } else { "stop" },
        "prompt_tokens": prompt_tokens, "completion_tokens": output.ids.len(),
    })
}

fn write(path: &Path, rows: impl Iterator<Item = Value>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(FAILED, format!("cannot write `{}`: {error}", path.display()), None);
    let mut out = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    for row in rows {
        writeln!(out, "{row}").map_err(failed)?;
    }
    out.flush().map_err(failed)
}
