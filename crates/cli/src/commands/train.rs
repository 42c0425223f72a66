//! `potstill train`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use potstill_data::Sample;
use potstill_train::{Observer, Places, TrainError, TrainEvent, TrainReport, train};

use super::fetch::runtime;
use super::samples::Inputs;
use crate::exit::{self, CONFIG, Done, FAILED, Failure, INTERRUPTED};
use crate::report::grouped;
use crate::terminal::{complain, is_terminal, say};
use crate::training::{self, Board, Judge};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// The folder to write the fine-tuned student to; a run that was interrupted there goes on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Share of the samples kept from training to measure the held-out loss on, whole problems at a time
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    held_out: f64,
    /// Keep the checkpoints in DIR/checkpoints after the run
    #[arg(long)]
    keep_checkpoints: bool,
    /// Write TensorBoard event files to this folder
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

/// Set by an interrupt.
static STOP: AtomicBool = AtomicBool::new(false);

pub(crate) fn run(args: &Args) -> Done {
    crate::app::huge_pages(true);
    if !(0.0..=0.5).contains(&args.held_out) {
        return Err(Failure::config(format!("--held-out is {}, but it must be between 0 and 0.5", args.held_out)));
    }
    refuse_finished(args)?;
    let settings = args.inputs.settings()?;
    let config = &settings.config;
    let judge = Judge::new(config).map_err(Failure::config)?;
    let samples = args.inputs.samples()?;
    let (held_out, samples) = part(samples, args.held_out, config.seed);
    let student = settings.student(&samples)?;
    let signals = runtime()?;
    exit::on_interrupt(signals.handle(), "stopping after this step", || STOP.store(true, Ordering::Relaxed));
    let work = args.out.join("work");
    std::fs::create_dir_all(&work).map_err(|e| Failure::new(FAILED, format!("cannot create `{}`: {e}", work.display()), None))?;
    let mut watch = Watch::new(judge, args)?;
    let places = Places { output: &args.out, work: Some(&work) };
    let done = train(config, student, &samples, &held_out, places, &mut watch);
    watch.bar.finish_and_clear();
    let (_, report) = done.map_err(|error| {
        // A run that was refused leaves nothing; a folder that holds anything stays.
        for folder in [work.join("checkpoints"), work.clone(), args.out.clone()] {
            let _ = std::fs::remove_dir(folder);
        }
        failure(&error, args)
    })?;
    let checkpoints = work.join("checkpoints");
    if args.keep_checkpoints && checkpoints.exists() {
        let kept = args.out.join("checkpoints");
        std::fs::rename(&checkpoints, &kept).map_err(|e| Failure::new(FAILED, format!("cannot write `{}`: {e}", kept.display()), None))?;
    }
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    let path = args.out.join(REPORT);
    std::fs::write(&path, text).map_err(|e| Failure::new(FAILED, format!("cannot write `{}`: {e}", path.display()), None))?;
    std::fs::remove_dir_all(&work).map_err(|e| Failure::new(FAILED, format!("cannot remove `{}`: {e}", work.display()), None))?;
    tell(&report, args);
    Ok(ExitCode::SUCCESS)
}

/// What a finished run leaves beside the student.
const REPORT: &str = "train_report.json";

/// A finished student is not trained over.
fn refuse_finished(args: &Args) -> Result<(), Failure> {
    if !args.out.join(REPORT).exists() {
        return Ok(());
    }
    let hint = "name another folder, or remove this one; --student starts from it";
    Err(Failure::new(CONFIG, format!("`{}` holds a finished student", args.out.display()), Some(hint)))
}

/// Held-out samples and the rest, whole problems at a time; samples without a problem each for itself.
fn part(samples: Vec<Sample>, share: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let aside = |sample: &Sample| {
        let id = if sample.problem_id.is_empty() { &sample.sample_id } else { &sample.problem_id };
        (potstill_curate::text::seeded_rank(seed, "held_out", id) as f64 / u64::MAX as f64) < share
    };
    samples.into_iter().partition(aside)
}

fn failure(error: &TrainError, args: &Args) -> Failure {
    match error {
        TrainError::Cancelled { .. } => {
            let hint = format!("the same command goes on from the checkpoint in `{}`", args.out.join("work").display());
            Failure::new(INTERRUPTED, error, Some(&hint))
        }
        TrainError::Changed { .. } => {
            let hint = format!("set them back, or remove `{}` to start anew", args.out.join("work").display());
            Failure::new(CONFIG, error, Some(&hint))
        }
        TrainError::Config { .. } | TrainError::Memory { .. } | TrainError::Model(potstill_model::Error::Device { .. }) => {
            Failure::config(error)
        }
        _ => Failure::new(FAILED, error, error.hint()),
    }
}

/// Shows a run.
struct Watch {
    judge: Judge,
    bar: ProgressBar,
    board: Board,
    last_line: Instant,
    total: u64,
}

/// How often a line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

impl Watch {
    fn new(judge: Judge, args: &Args) -> Result<Self, Failure> {
        let bar = if is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:24}] {pos}/{len} steps, {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let board = Board::open(args.tensorboard.as_deref()).map_err(|e| Failure::new(FAILED, e, None))?;
        Ok(Self { judge, bar, board, last_line: Instant::now(), total: 0 })
    }

    fn step(&mut self, event: &TrainEvent) {
        let TrainEvent::Step { step, eta_seconds, .. } = event else { return };
        let figures = training::figures(event).into_iter().map(|(name, value)| {
            let text = match name {
                "learning_rate" => format!("{value:.1e}"),
                _ if value >= 100.0 => grouped(value.round() as u64),
                _ => format!("{value:.3}"),
            };
            format!("{} {text}", name.replace('_', " "))
        });
        let text = format!("{}, ETA {:.0} s", figures.collect::<Vec<_>>().join(", "), eta_seconds);
        if !is_terminal() && (self.last_line.elapsed() >= PLAIN_EVERY || *step == 1 || *step == self.total) {
            self.last_line = Instant::now();
            complain(&format!("step {step}/{}: {text}", self.total));
        }
        self.bar.set_position(*step);
        self.bar.set_message(text);
    }
}

impl Observer for Watch {
    fn event(&mut self, event: &TrainEvent) {
        if let TrainEvent::Started { step, total_steps, parameters, rows, tokens, trained_tokens, .. } = event {
            self.total = *total_steps;
            self.bar.set_length(self.total);
            self.bar.set_position(*step);
            let figures = [*parameters, *rows as u64, *tokens, *trained_tokens].map(grouped);
            let [parameters, rows, tokens, trained] = figures;
            self.bar.suspend(|| {
                complain(&format!("trains {parameters} parameters on {rows} rows, {tokens} tokens, {trained} of them trained"));
            });
        }
        self.board.write(event);
        if let Some((_, text)) = training::message(event, self.total) {
            self.bar.suspend(|| complain(&text));
        }
        self.step(event);
    }

    fn judge(&mut self, sample: &Sample, answer: &str) -> Option<bool> {
        self.judge.judge(sample, answer)
    }

    fn cancelled(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

fn tell(report: &TrainReport, args: &Args) {
    let mut lines = vec![format!(
        "{} steps, {} tokens ({} trained), {:.0} tokens/s",
        grouped(report.steps),
        grouped(report.tokens),
        grouped(report.trained_tokens),
        report.tokens_per_second
    )];
    if let (Some(before), Some(after)) = (report.held_out_before, report.held_out_after) {
        lines.push(format!("held-out loss {:.4} before, {:.4} after", before.loss, after.loss));
    }
    if report.skipped_steps > 0 {
        lines.push(format!("{} steps were skipped; see skipped_steps.jsonl", grouped(report.skipped_steps)));
    }
    lines.push(format!("student {}", args.out.display()));
    say(&lines.join("\n"));
}
