//! `potstill preview`

use std::io::IsTerminal;
use std::process::ExitCode;

use potstill_train::preview::{Piece, Preview, PreviewSample, preview};

use super::samples::Inputs;
use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::report::grouped;
use crate::terminal::{say, table};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// How many samples to show with their text
    #[arg(short, default_value_t = 1)]
    number: usize,
    /// Print everything as JSON instead
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Done {
    let settings = args.inputs.settings()?;
    let samples = args.inputs.samples()?;
    let found =
        preview(&settings.config, &settings.outline(&samples)?, &samples, args.number).map_err(|e| Failure::new(FAILED, e, None))?;
    if args.json {
        let text = serde_json::to_string_pretty(&found).map_err(|e| Failure::new(CONFIG, e, None))?;
        say(&text);
        return Ok(ExitCode::SUCCESS);
    }
    let colour = std::io::stdout().is_terminal();
    found.samples.iter().for_each(|sample| show(sample, colour));
    say(&summary(&found, settings.config.packing));
    Ok(ExitCode::SUCCESS)
}

/// A sample's text: what is trained in green, or between marks where there are no colours.
fn show(sample: &PreviewSample, colour: bool) {
    let piece = |piece: &Piece| match (piece.trained, colour) {
        (true, true) => format!("\u{1b}[32m{}\u{1b}[0m", piece.text),
        (true, false) => format!("⟦{}⟧", piece.text),
        (false, true) => format!("\u{1b}[2m{}\u{1b}[0m", piece.text),
        (false, false) => piece.text.clone(),
    };
    let text: String = sample.pieces.iter().map(piece).collect();
    let legend = if colour { "trained text is green" } else { "trained text stands in ⟦ ⟧" };
    say(&format!("— {}: {} tokens, {} trained; {legend}\n{text}\n", sample.sample_id, sample.tokens, sample.trained_tokens));
}

/// Whether the run would fit, where the system tells.
fn fits(found: &Preview) -> String {
    let Some(available) = found.available else { return String::new() };
    let verdict = if found.memory.total() > available { "more than the" } else { "of" };
    format!(" ({verdict} {:.2} GB available)", available as f64 / 1e9)
}

fn summary(found: &Preview, packing: bool) -> String {
    let lengths = &found.lengths;
    let share = |count: usize| format!("{} ({:.1} %)", grouped(count as u64), count as f64 * 100.0 / lengths.samples.max(1) as f64);
    let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let memory = &found.memory;
    let trained = found.trained_tokens as f64 * 100.0 / found.tokens.max(1) as f64;
    let rows = [
        ("samples", grouped(lengths.samples as u64)),
        ("longer than max_length: dropped", share(lengths.dropped_over_long)),
        ("longer than max_length: truncated", share(lengths.truncated)),
        ("longer than max_length: split", share(lengths.split)),
        ("fully masked, left out", share(lengths.dropped_untrained)),
        ("stop token trained", format!("{:.1} %", found.stop_trained * 100.0)),
        ("tokens per epoch", grouped(found.tokens)),
        ("trained tokens per epoch", format!("{} ({trained:.1} %)", grouped(found.trained_tokens))),
        ("fill of packed rows", format!("{:.2} %{}", found.packing_fill * 100.0, if packing { "" } else { " (packing is off)" })),
        ("optimizer steps", grouped(found.steps)),
        ("memory, estimated", format!("{}{}", gb(memory.total()), fits(found))),
        ("  weights", gb(memory.weights)),
        ("  optimizer", gb(memory.optimizer)),
        ("  gradients", gb(memory.gradients)),
        ("  activations", gb(memory.activations)),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let most = found.histogram.iter().map(|bin| bin.samples).max().unwrap_or(0).max(1);
    let bins: Vec<Vec<String>> = found
        .histogram
        .iter()
        .map(|bin| {
            vec![format!("≤ {}", grouped(bin.up_to as u64)), grouped(bin.samples as u64), "█".repeat((bin.samples * 40).div_ceil(most))]
        })
        .collect();
    format!("{}\n\nlengths in tokens\n{}", table(&rows, &[]), table(&bins, &[0, 1]))
}
