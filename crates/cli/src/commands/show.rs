//! `potstill show`

use std::process::ExitCode;

use arrow::array::RecordBatch;
use potstill_data::stats::{ColumnStats, describe};
use potstill_data::{Attempt, Pair, Problem, Query, Sample, query};
use potstill_pipeline::{Artifact, PlanState, Port, Store};

use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::load::{Loaded, PipelineArgs};
use crate::report::grouped;
use crate::terminal::{complain, say, table};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage to look at, or one of its outputs: NAME or NAME.OUTPUT; without it the stages are listed
    #[arg(long, short, value_name = "NAME")]
    stage: Option<String>,
    /// Only rows where this SQL condition holds
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Sort by SQL expressions, each perhaps with DESC
    #[arg(long, value_name = "SQL")]
    sort: Option<String>,
    /// Print so many rows as JSON lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 0)]
    limit: usize,
}

pub(crate) fn run(args: &Args) -> Done {
    let Loaded { pipeline, app } = args.pipeline.load()?;
    let path = args.pipeline.store_path();
    let Some(store) = args.pipeline.store_if_any()? else {
        return Err(Failure::new(
            FAILED,
            format!("there is no store at `{}`", path.display()),
            Some("`potstill run` makes it, or name one with --store"),
        ));
    };
    let plan = potstill_pipeline::plan(&pipeline, Some(&store), &app)?;
    let Some(wanted) = &args.stage else {
        let mut rows = vec![["stage", "kind", "state", "rows", "outputs"].map(str::to_owned).to_vec()];
        for stage in &plan {
            let state = if stage.state == PlanState::Cached { "in the store" } else { "not run" };
            let outputs: Vec<String> = stage.outputs.iter().map(|(name, port)| format!("{name} ({port})")).collect();
            rows.push(vec![
                stage.name.clone(),
                stage.kind.to_owned(),
                state.to_owned(),
                stage.rows.map_or_else(String::new, grouped),
                outputs.join(", "),
            ]);
        }
        say(&table(&rows, &[3]));
        return Ok(ExitCode::SUCCESS);
    };
    let (name, output) = wanted.split_once('.').map_or((wanted.as_str(), None), |(name, output)| (name, Some(output)));
    let Some(stage) = plan.iter().find(|stage| stage.name == name) else {
        let near = potstill_pipeline::near(name, plan.iter().map(|s| s.name.as_str())).map(|near| format!("did you mean `{near}`?"));
        return Err(Failure::new(CONFIG, format!("no stage is named `{name}`"), near.as_deref()));
    };
    let Some(artifact) = store.find(&stage.fingerprint)? else {
        return Err(Failure::new(
            FAILED,
            format!("`{name}` has not run with these settings"),
            Some("`potstill run --only` brings it up to date"),
        ));
    };
    show(args, &store, &artifact, output)
}

fn show(args: &Args, store: &Store, artifact: &Artifact, output: Option<&str>) -> Done {
    let manifest = &artifact.manifest;
    let Some(shown) = manifest.output(output) else {
        let known: Vec<&str> = manifest.outputs.iter().map(|o| o.name.as_str()).collect();
        return Err(Failure::config(format!(
            "`{}` has no output `{}`; there are: {}",
            manifest.stage,
            output.unwrap_or_default(),
            known.join(", ")
        )));
    };
    // With rows on standard output, what is said about them goes beside it, so that the rows can be piped on.
    let head = if args.limit == 0 { say } else { complain };
    head(&format!("{} ({}), {} {}", manifest.stage, manifest.kind, shown.rows.map_or_else(String::new, grouped), shown.port));
    head(&format!(
        "made by {} in {:.1} s, fingerprint {}, store {}",
        manifest.tool,
        manifest.seconds,
        manifest.fingerprint,
        store.root().display()
    ));
    for (reason, count) in &manifest.dropped {
        head(&format!("  dropped {}: {reason}", grouped(*count)));
    }
    if !manifest.stats.is_null() {
        head(&format!("  {}", serde_json::to_string(&manifest.stats).unwrap_or_default()));
    }
    let files = artifact.files(output);
    let query_args = Query { condition: args.condition.clone(), sort: args.sort.clone(), limit: args.limit };
    let rows = match shown.port {
        Port::Problems => query::<Problem>(&files, &query_args)?,
        Port::Attempts => query::<Attempt>(&files, &query_args)?,
        Port::Samples => query::<Sample>(&files, &query_args)?,
        Port::Pairs => query::<Pair>(&files, &query_args)?,
        Port::Model | Port::Report | Port::Dataset => {
            files.iter().for_each(|file| say(&file.display().to_string()));
            return Ok(ExitCode::SUCCESS);
        }
    };
    if args.limit == 0 {
        say("");
        say(&columns(&describe(&files)?.columns));
    } else {
        say(&json_lines(&rows)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each column: type, nulls, spread, a small histogram, the frequent values.
fn columns(columns: &[ColumnStats]) -> String {
    let mut rows = vec![["column", "type", "null", "min", "median", "max", "spread", "frequent"].map(str::to_owned).to_vec()];
    for column in columns {
        let numbers = column.numbers.as_ref();
        let number = |pick: fn(&potstill_data::stats::NumberStats) -> f64| numbers.map_or_else(String::new, |n| short(pick(n)));
        let spread = numbers.map_or_else(String::new, |n| spark(&n.histogram.iter().map(|b| b.count).collect::<Vec<_>>()));
        let top: Vec<String> = column.top.iter().take(4).map(|(value, count)| format!("{} ×{}", clip(value), grouped(*count))).collect();
        rows.push(vec![
            column.name.clone(),
            column.data_type.clone(),
            grouped(column.nulls),
            number(|n| n.min),
            number(|n| n.p50),
            number(|n| n.max),
            spread,
            top.join(", "),
        ]);
    }
    table(&rows, &[2, 3, 4, 5])
}

fn short(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn clip(text: &str) -> String {
    let line: String = text.chars().take(24).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 24 { format!("{line}…") } else { line }
}

/// Counts as a row of blocks.
fn spark(counts: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    counts.iter().map(|n| if *n == 0 { ' ' } else { BLOCKS[usize::try_from((n * 7).div_ceil(most)).unwrap_or(7).min(7)] }).collect()
}

fn json_lines(rows: &RecordBatch) -> Result<String, Failure> {
    let failed = |e: arrow::error::ArrowError| Failure::new(FAILED, format!("rows cannot be shown: {e}"), None);
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(rows).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_fits_a_line() {
        assert_eq!(spark(&[0, 1, 7, 14]), " ▂▅█");
        assert_eq!(spark(&[]), "");
    }
}
