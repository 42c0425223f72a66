//! `potstill run`

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use potstill_pipeline::{CancelToken, Capacity, Outcome, RunOptions, RunReport, Store};
use serde_json::Value;

use crate::exit::{self, Done, FAILED, Failure, code, failure};
use crate::load::{Loaded, PipelineArgs};
use crate::progress;
use crate::report::grouped;
use crate::terminal::{complain, say, table};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only these stages and what they need (may be repeated)
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
    /// Run these stages again, and all that depends on them, although the store has them (may be repeated)
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Write the run's summary as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run one stage at a time
    #[arg(long)]
    sequential: bool,
    /// Say nothing but errors and the summary
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: Args) -> Done {
    let Loaded { pipeline, mut app } = args.pipeline.load()?;
    app.fetches = true;
    let store = Store::open(args.pipeline.store_path())?;
    let cancel = CancelToken::default();
    let stop = cancel.clone();
    exit::on_interrupt(app.runtime(), "stopping after what is in flight", move || stop.cancel());
    let (sender, events) = std::sync::mpsc::channel();
    let quiet = args.quiet;
    let shown = std::thread::spawn(move || progress::show(&events, quiet));
    let options = RunOptions {
        tool: concat!("potstill ", env!("CARGO_PKG_VERSION")).to_owned(),
        targets: args.only,
        force: args.force,
        capacity: if args.sequential { one_at_a_time() } else { Capacity::default() },
        cancel,
        listener: Some(sender),
    };
    let report = potstill_pipeline::run(&pipeline, &store, &app, &options);
    drop(options);
    let _ = shown.join();
    let report = report?;
    tell(&report, &store);
    if let Some(path) = &args.json {
        write_summary(path, &report)?;
    }
    Ok(ExitCode::from(code(report.outcome)))
}

fn one_at_a_time() -> Capacity {
    Capacity { network: NonZeroUsize::MIN, cpu: NonZeroUsize::MIN, accelerator: NonZeroUsize::MIN }
}

fn write_summary(path: &Path, report: &RunReport) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&report.summary).map_err(|e| Failure::new(FAILED, e, None))?;
    std::fs::write(path, text + "\n").map_err(|e| Failure::new(FAILED, format!("cannot write the summary `{}`: {e}", path.display()), None))
}

fn tell(report: &RunReport, store: &Store) {
    let summary = &report.summary;
    let mut rows = vec![["stage", "kind", "rows", "dropped", "seconds"].map(str::to_owned).to_vec()];
    for stage in &summary.stages {
        let dropped: u64 = stage.dropped.values().sum();
        rows.push(vec![
            stage.name.clone(),
            stage.kind.clone(),
            stage.rows.map_or_else(String::new, grouped),
            if dropped > 0 { grouped(dropped) } else { String::new() },
            if stage.cached { "cached".to_owned() } else { format!("{:.1}", stage.seconds) },
        ]);
    }
    say(&format!("\n{}", table(&rows, &[2, 3, 4])));
    if !summary.evals.is_empty() {
        say(&format!("\n{}", table(&evals(&summary.evals), &[4, 5, 6])));
    }
    for failed in &report.failures {
        complain(&failure(failed));
    }
    if !report.not_run.is_empty() {
        complain(&format!("not run: {}", report.not_run.join(", ")));
    }
    let cost = if summary.cost_usd > 0.0 { format!(", ${:.4}", summary.cost_usd) } else { String::new() };
    match report.outcome {
        Outcome::Done => say(&format!("\ndone in {:.1} s{cost}; store {}", summary.seconds, store.root().display())),
        Outcome::Cancelled => complain("interrupted; run the same command again to go on from here"),
        _ => complain("run the same command again to go on from here: what is done stays done"),
    }
    let reports = report.artifacts.iter().filter(|(_, artifact)| artifact.manifest.kind == "report");
    for path in reports.filter_map(|(_, artifact)| artifact.entry(None)) {
        say(&format!("report {}", path.display()));
    }
}

fn evals(evals: &[Value]) -> Vec<Vec<String>> {
    let word = |eval: &Value, key: &str| eval[key].as_str().unwrap_or_default().to_owned();
    let percent = |eval: &Value, key: &str| format!("{:.1} %", eval[key].as_f64().unwrap_or_default() * 100.0);
    let mut rows = vec![["stage", "model", "benchmark", "metric", "value", "95 % interval", "n"].map(str::to_owned).to_vec()];
    for eval in evals {
        rows.push(vec![
            word(eval, "stage"),
            word(eval, "model"),
            word(eval, "benchmark"),
            word(eval, "metric"),
            percent(eval, "value"),
            format!("{} – {}", percent(eval, "low"), percent(eval, "high")),
            eval["n"].as_u64().map_or_else(String::new, grouped),
        ]);
    }
    rows
}
