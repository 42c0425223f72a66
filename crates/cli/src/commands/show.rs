//! `potstill show`: what a store or a table file holds.

pub(crate) mod columns;
mod why;

use std::path::Path;
use std::process::ExitCode;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use potstill_data::parts::Located;
use potstill_data::stats::{ColumnStats, describe};
use potstill_data::{DataError, Query, RowFilter, Table, query};
use potstill_pipeline::{Artifact, PlanState, Store};

use super::target::{Looked, StageName, address, output_table};
use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::load::PipelineArgs;
use crate::report::grouped;
use crate::terminal::{complain, say, table};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    question: Option<Question>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage to look at, or one of its outputs: NAME, NAME.OUTPUT, NAME@previous; without it the stages are listed
    #[arg(long, short, value_name = "NAME")]
    stage: Option<String>,
    /// Only rows where this SQL condition holds
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Sort by SQL expressions, each perhaps with DESC
    #[arg(long, value_name = "SQL", requires = "limit")]
    sort: Option<String>,
    /// Print so many rows as JSON lines
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
    /// Draw the histogram of this column (may be repeated)
    #[arg(long, short, value_name = "NAME")]
    column: Vec<String>,
}

#[derive(clap::Subcommand)]
enum Question {
    /// Follow a row (a problem's, attempt's or sample's id) through the stages: where it is, which stage dropped it and why
    Why(why::Args),
}

pub(crate) fn run(args: &Args) -> Done {
    if let Some(Question::Why(why)) = &args.question {
        return why::run(why);
    }
    let mut pipeline = args.pipeline.clone();
    let mut name = args.stage.as_deref().map(StageName::parse);
    if let Some(file) = &args.pipeline.file {
        if let Some((file, stage)) = file.to_str().and_then(address) {
            pipeline.file = Some(file);
            name = Some(stage);
        } else if file.is_dir() || file.extension().is_none_or(|ending| ending != "toml") {
            return show_table(args, &Table::open(file)?, file);
        }
    }
    let looked = Looked::open(&pipeline)?;
    match name {
        Some(name) => show_stage(args, &looked.store, &looked.artifact(&name)?, name.output.as_deref()),
        None => {
            list(&looked);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The pipeline's stages and what the store has of them.
fn list(looked: &Looked) {
    let mut rows = vec![["stage", "kind", "state", "rows", "outputs"].map(str::to_owned).to_vec()];
    for stage in &looked.plan {
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
}

fn show_table(args: &Args, table: &Table, file: &Path) -> Done {
    if args.stage.is_some() {
        let what = format!("`{}` is a table, which has no stages", file.display());
        return Err(Failure::new(CONFIG, what, Some("name the pipeline file (.toml) to look at a stage")));
    }
    let files = match table.files().len() {
        1 => String::new(),
        n => format!(" ({n} files)"),
    };
    head(args)(&format!("{}{files}", file.display()));
    rows_or_columns(args, table)
}

fn show_stage(args: &Args, store: &Store, artifact: &Artifact, output: Option<&str>) -> Done {
    let manifest = &artifact.manifest;
    let head = head(args);
    let shown = manifest.output(output);
    let rows = shown.and_then(|o| o.rows).map_or_else(String::new, grouped);
    let port = shown.map(|o| o.port.to_string()).unwrap_or_default();
    head(&format!("{} ({}), {rows} {port}", manifest.stage, manifest.kind));
    let (tool, seconds, fingerprint) = (&manifest.tool, manifest.seconds, &manifest.fingerprint);
    head(&format!("made by {tool} in {seconds:.1} s, fingerprint {fingerprint}, store {}", store.root().display()));
    for (reason, count) in &manifest.dropped {
        head(&format!("  dropped {}: {reason}", grouped(*count)));
    }
    if !manifest.stats.is_null() {
        head(&format!("  {}", serde_json::to_string(&manifest.stats).unwrap_or_default()));
    }
    if shown.is_some_and(|o| o.rows.is_none()) {
        artifact.files(output).iter().for_each(|file| say(&file.display().to_string()));
        return Ok(ExitCode::SUCCESS);
    }
    rows_or_columns(args, &output_table(artifact, output)?)
}

/// With rows on standard output, what is said about them goes beside it, so that the rows can be piped on.
fn head(args: &Args) -> fn(&str) {
    if args.limit.is_none() { say } else { complain }
}

fn rows_or_columns(args: &Args, table: &Table) -> Done {
    if let Some(limit) = args.limit {
        let query_args = Query { condition: args.condition.clone(), sort: args.sort.clone(), limit };
        say(&json_lines(&query(table, &query_args)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let filter = args.condition.as_deref().map(|sql| RowFilter::new(sql, table.schema())).transpose()?;
    let description = describe(table.batches().map(|located| kept(located?, filter.as_ref())))?;
    let what = if filter.is_some() { "rows that satisfy the condition" } else { "rows" };
    say(&format!("{} {what}\n", grouped(description.rows)));
    if args.column.is_empty() {
        say(&columns::overview(&description.columns));
        return Ok(ExitCode::SUCCESS);
    }
    for name in &args.column {
        say(&columns::detail(find(&description.columns, name)?, description.rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn kept(located: Located, filter: Option<&RowFilter>) -> Result<Located, DataError> {
    let Some(filter) = filter else { return Ok(located) };
    let batch = filter_record_batch(&located.batch, &filter.mask(&located.batch)?)?;
    Ok(Located { batch, ..located })
}

fn find<'a>(columns: &'a [ColumnStats], name: &str) -> Result<&'a ColumnStats, Failure> {
    columns.iter().find(|column| column.name == name).ok_or_else(|| {
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let near = potstill_pipeline::near(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        Failure::new(CONFIG, format!("no column `{name}`; there are: {}", known.join(", ")), near.as_deref())
    })
}

fn json_lines(rows: &RecordBatch) -> Result<String, Failure> {
    let failed = |e: arrow::error::ArrowError| Failure::new(FAILED, format!("rows cannot be shown: {e}"), None);
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(rows).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).trim_end().to_owned())
}
