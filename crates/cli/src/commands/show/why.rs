//! `potstill show why`: a row followed through the stages, by its id and its lineage.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use potstill_data::Table;
use potstill_pipeline::store::Output;
use potstill_pipeline::{Artifact, PlannedStage, Port};

use super::super::target::Looked;
use crate::exit::{Done, FAILED, Failure};
use crate::load::PipelineArgs;
use crate::report::grouped;
use crate::stages::DROPPED;
use crate::terminal::{say, table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The pipeline file
    file: std::path::PathBuf,
    /// The id of a problem, of an attempt (PROBLEM#INDEX) or of a sample
    id: String,
    /// Override a setting, such as --set stage.sft.epochs=1 (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// The artifact store; `.potstill` beside the pipeline file if not given
    #[arg(long, value_name = "DIR")]
    store: Option<std::path::PathBuf>,
}

/// The columns by which rows are known, and what is told about them.
const COLUMNS: [&str; 6] = ["problem_id", "attempt_id", "sample_id", "lineage", "verdict", "drop_reason"];

pub(crate) fn run(args: &Args) -> Done {
    let pipeline = PipelineArgs { file: Some(args.file.clone()), set: args.set.clone(), store: args.store.clone() };
    let looked = Looked::open(&pipeline)?;
    let artifacts = artifacts(&looked)?;
    let wanted = Wanted::find(&args.id, &artifacts)?;
    let trail = artifacts.iter().map(|(stage, artifact)| Step::of(stage, artifact, &wanted)).collect::<Result<Vec<_>, Failure>>()?;
    say(&wanted.told());
    say(&table(&lines(&trail), &[2]));
    say(&format!("\n{}", conclusion(&trail)));
    Ok(ExitCode::SUCCESS)
}

/// The stages that the store has, in topological order.
fn artifacts(looked: &Looked) -> Result<Vec<(&PlannedStage, Artifact)>, Failure> {
    let mut all = Vec::new();
    for stage in &looked.plan {
        all.extend(looked.store.find(&stage.fingerprint)?.map(|artifact| (stage, artifact)));
    }
    Ok(all)
}

/// Calls `visit` with every row of an output and its ids.
fn each_row(artifact: &Artifact, output: &str, mut visit: impl FnMut(&Row<'_>)) -> Result<(), Failure> {
    for located in Table::of_files(artifact.files(Some(output)))?.with_columns(&COLUMNS).batches() {
        let batch = located?.batch;
        let texts: Vec<Option<StringArray>> = COLUMNS.iter().map(|name| texts(&batch, name)).collect();
        for at in 0..batch.num_rows() {
            visit(&Row { batch: &batch, texts: &texts, at });
        }
    }
    Ok(())
}

fn texts(batch: &RecordBatch, name: &str) -> Option<StringArray> {
    let text = cast(batch.column_by_name(name).filter(|c| !matches!(c.data_type(), DataType::List(_)))?, &DataType::Utf8).ok()?;
    Some(text.as_string::<i32>().clone())
}

struct Row<'a> {
    batch: &'a RecordBatch,
    texts: &'a [Option<StringArray>],
    at: usize,
}

impl Row<'_> {
    fn get(&self, column: usize) -> Option<&str> {
        let texts = self.texts[column].as_ref()?;
        texts.is_valid(self.at).then(|| texts.value(self.at))
    }

    fn problem(&self) -> Option<&str> {
        self.get(0)
    }

    fn attempt(&self) -> Option<&str> {
        self.get(1)
    }

    fn sample(&self) -> Option<&str> {
        self.get(2)
    }

    /// The attempts that a sample was made of.
    fn lineage(&self) -> Vec<String> {
        let lists = self.batch.column_by_name(COLUMNS[3]).and_then(|column| column.as_list_opt::<i32>());
        let Some(lists) = lists.filter(|lists| lists.is_valid(self.at)) else { return Vec::new() };
        let texts = lists.value(self.at);
        texts.as_string_opt::<i32>().map(|texts| texts.iter().flatten().map(str::to_owned).collect()).unwrap_or_default()
    }
}

/// The ids that belong to the row asked about.
#[derive(Debug, Default)]
struct Wanted {
    id: String,
    problem: Option<String>,
    /// Where only some attempts of the problem are meant: these.
    attempts: BTreeSet<String>,
    is_sample: bool,
}

impl Wanted {
    fn find(id: &str, artifacts: &[(&PlannedStage, Artifact)]) -> Result<Self, Failure> {
        let mut wanted = Self { id: id.to_owned(), ..Self::default() };
        let mut known: BTreeSet<String> = BTreeSet::new();
        for (artifact, output) in outputs(artifacts) {
            each_row(artifact, output, |row| {
                let problem = row.problem().map(str::to_owned);
                if row.sample() == Some(id) {
                    wanted.is_sample = true;
                    wanted.attempts.extend(row.lineage());
                } else if row.attempt() == Some(id) {
                    wanted.attempts.insert(id.to_owned());
                } else if row.problem() != Some(id) {
                    if known.len() < 10_000 {
                        known.extend([row.sample().or(row.attempt()), row.problem()].into_iter().flatten().map(str::to_owned));
                    }
                    return;
                }
                wanted.problem = problem.or_else(|| wanted.problem.take());
            })?;
        }
        if wanted.problem.is_some() || wanted.is_sample || !wanted.attempts.is_empty() {
            return Ok(wanted);
        }
        let near = potstill_pipeline::near(id, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        let example =
            || known.first().map(|id| format!("ids look like `{id}`; `potstill show FILE --stage NAME -n 5` prints rows with theirs"));
        let what = format!("no problem, attempt or sample of this pipeline has the id `{id}`");
        Err(Failure::new(FAILED, what, near.or_else(example).or(Some("nothing of it has run yet".into())).as_deref()))
    }

    fn matches(&self, row: &Row<'_>) -> bool {
        if self.attempts.is_empty() && !self.is_sample {
            return row.problem() == Some(&self.id);
        }
        match (row.sample(), row.attempt()) {
            (Some(sample), _) if self.is_sample => sample == self.id,
            (Some(sample), _) => sample == self.id || row.lineage().contains(&self.id),
            (None, Some(attempt)) => self.attempts.contains(attempt),
            (None, None) => row.problem().is_some() && row.problem() == self.problem.as_deref(),
        }
    }

    fn told(&self) -> String {
        let attempts = || self.attempts.iter().cloned().collect::<Vec<_>>().join(", ");
        let problem = self.problem.as_deref().unwrap_or("?");
        if self.is_sample && !self.attempts.contains(&self.id) {
            return format!("`{}` is a sample made of {} (problem `{problem}`)", self.id, attempts());
        }
        if self.attempts.is_empty() {
            return format!("`{}` is a problem", self.id);
        }
        format!("`{}` is an attempt at the problem `{problem}`", self.id)
    }
}

/// Whether an output is one of rows that go from stage to stage: datasets for other programs and lists of what matched what
/// are counted in rows too.
fn holds_rows(output: &Output) -> bool {
    output.rows.is_some() && matches!(output.port, Port::Problems | Port::Attempts | Port::Samples | Port::Pairs)
}

/// Every output of rows.
fn outputs<'a>(artifacts: &'a [(&PlannedStage, Artifact)]) -> impl Iterator<Item = (&'a Artifact, &'a str)> {
    let rows = |artifact: &'a Artifact| artifact.manifest.outputs.iter().filter(|output| holds_rows(output));
    artifacts.iter().flat_map(move |(_, artifact)| rows(artifact).map(move |output| (artifact, output.name.as_str())))
}

/// What became of the row in one stage.
struct Step<'a> {
    stage: &'a PlannedStage,
    reads: bool,
    /// By output: rows, whether it is an output of dropped rows, and what is told of them.
    found: BTreeMap<&'a str, Found>,
    dropped: &'a BTreeMap<String, u64>,
}

#[derive(Default)]
struct Found {
    rows: u64,
    reasons: BTreeMap<String, u64>,
    verdicts: BTreeMap<String, u64>,
}

impl<'a> Step<'a> {
    fn of(stage: &'a PlannedStage, artifact: &'a Artifact, wanted: &Wanted) -> Result<Self, Failure> {
        let mut found: BTreeMap<&str, Found> = BTreeMap::new();
        for output in artifact.manifest.outputs.iter().filter(|output| holds_rows(output)) {
            let here = found.entry(output.name.as_str()).or_default();
            each_row(artifact, &output.name, |row| {
                if wanted.matches(row) {
                    here.rows += 1;
                    let mut count = |column, counts: fn(&mut Found) -> &mut BTreeMap<String, u64>| {
                        if let Some(text) = row.get(column) {
                            *counts(here).entry(text.to_owned()).or_default() += 1;
                        }
                    };
                    count(4, |found| &mut found.verdicts);
                    count(5, |found| &mut found.reasons);
                }
            })?;
        }
        // Models, reports and exports end a row's way: they read it and hold no rows themselves.
        let reads = !artifact.manifest.outputs.iter().any(holds_rows);
        Ok(Self { stage, reads, found, dropped: &artifact.manifest.dropped })
    }

    /// Rows that go on; those of an output of dropped rows do not.
    fn kept(&self, output: &str) -> u64 {
        self.found.get(output).filter(|found| found.reasons.is_empty()).map_or(0, |found| found.rows)
    }

    fn rows_in(&self, trail: &[Step<'_>]) -> u64 {
        let rows = |input: &String| {
            let (stage, output) = input.split_once('.')?;
            Some(trail.iter().find(|step| step.stage.name == stage)?.found.get(output)?.rows)
        };
        self.stage.inputs.iter().filter_map(rows).sum()
    }

    fn rows_out(&self) -> u64 {
        self.found.keys().map(|output| self.kept(output)).sum()
    }

    fn reasons(&self) -> impl Iterator<Item = (&String, &u64)> {
        self.found.values().flat_map(|found| &found.reasons)
    }
}

fn counted<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    counts
        .map(|(what, count)| if *count == 1 { what.clone() } else { format!("{what} ×{}", grouped(*count)) })
        .collect::<Vec<_>>()
        .join(", ")
}

fn lines(trail: &[Step<'_>]) -> Vec<Vec<String>> {
    let mut rows = vec![["stage", "kind", "rows", "what"].map(str::to_owned).to_vec()];
    for step in trail {
        let mut line = |name: String, count: String, what: String| rows.push(vec![name, step.stage.kind.to_owned(), count, what]);
        let rows_in = step.rows_in(trail);
        for (output, found) in step.found.iter().filter(|(_, found)| found.rows > 0) {
            let first = step.stage.outputs.first().is_some_and(|(name, _)| name == output);
            let name = if first { step.stage.name.clone() } else { format!("{}.{output}", step.stage.name) };
            let what = if found.reasons.is_empty() {
                counted(found.verdicts.iter())
            } else {
                format!("dropped: {}", counted(found.reasons.iter()))
            };
            line(name, grouped(found.rows), what);
        }
        if step.found.values().all(|found| found.rows == 0) && rows_in > 0 {
            let what = if step.reads { "reads it".to_owned() } else { unnamed(step) };
            line(step.stage.name.clone(), if step.reads { grouped(rows_in) } else { "0".to_owned() }, what);
        }
    }
    rows
}

/// A stage that made nothing of the row; where it keeps no dropped rows, its counts may tell why.
fn unnamed(step: &Step<'_>) -> String {
    match step.dropped.is_empty() || step.found.contains_key(DROPPED) {
        true => "not used".to_owned(),
        false => format!("not used; the stage counts its drops by reason only: {}", counted(step.dropped.iter())),
    }
}

fn conclusion(trail: &[Step<'_>]) -> String {
    let dropping = trail.iter().filter(|step| step.reasons().next().is_some());
    let mut told: Vec<String> = dropping.map(|step| format!("`{}` dropped it: {}", step.stage.name, counted(step.reasons()))).collect();
    for step in
        trail.iter().filter(|step| !step.reads && step.rows_in(trail) > 0 && step.rows_out() == 0 && step.reasons().next().is_none())
    {
        told.push(format!("`{}` made nothing of it", step.stage.name));
    }
    let last = trail.iter().rev().find(|step| step.rows_out() > 0);
    let readers: Vec<&str> =
        trail.iter().filter(|step| step.reads && step.rows_in(trail) > 0).map(|step| step.stage.name.as_str()).collect();
    match last {
        Some(step) if told.is_empty() => told.push(format!("nothing dropped it; it is in `{}`", step.stage.name)),
        _ => {}
    }
    if !readers.is_empty() {
        told.push(format!("read by {}", readers.join(", ")));
    }
    told.join("\n")
}
