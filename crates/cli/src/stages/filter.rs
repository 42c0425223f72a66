//! `filter`: an SQL condition, checks of replies, the best rows of each problem; what is dropped is kept aside with its
//! reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use potstill_curate::checks::{CountTokens, Rewards, View, rewards};
use potstill_curate::{Checks, ChecksConfig, Decision, Decisions, Keyed, PerProblem, PerProblemConfig};
use potstill_data::parts::{BatchReader, conform};
use potstill_data::sql::RowFilter;
use potstill_data::{Attempt, MetaFields, Problem, Row, Sample};
use potstill_model::Tokenizer;
use potstill_pipeline::{CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided::{self, Sorted, arrow_error};
use super::rows::{content_hash, files, parallel, row_count, same_rows};
use super::{curate_error, data_error};
use crate::app::App;
use crate::estimate::passed_on;

/// Keeps rows by a condition, by checks, and the best of each problem.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// An SQL condition over the row's columns, such as `verdict = 'correct' AND NOT truncated`; extra columns are `meta.NAME`.
    #[serde(default, rename = "where")]
    condition: Option<String>,
    /// What a reply must not be, such as `{ loops = true, think_tags = true }`; asked of the rows that the condition keeps.
    #[serde(default)]
    checks: Option<ChecksConfig>,
    /// A `tokenizer.json`, or a folder with one, that counts tokens for `min_tokens` and `max_tokens`; without it the
    /// teacher's own counts are used.
    #[serde(default)]
    tokenizer: Option<String>,
    /// Add R1's rule rewards as columns that `where` may name: `meta.reward_accuracy`, `meta.reward_format` and
    /// `meta.reward_language`, each from 0 to 1.
    #[serde(default)]
    rewards: bool,
    /// At most so many rows of each problem, the best by a column; chosen among the rows that passed.
    #[serde(default)]
    per_problem: Option<PerProblemConfig>,
}

impl Stage<App> for Filter {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let port = same_rows(inputs)?;
        if self.rewards && port != Port::Attempts {
            return Err(PortError::wrong(0, port, &[Port::Attempts]).hint("rewards are of attempts; leave `rewards` out"));
        }
        if port == Port::Problems && self.checks.as_ref().is_some_and(ChecksConfig::of_replies) {
            return Err(
                PortError::wrong(0, port, &[Port::Attempts, Port::Samples]).hint("of the checks only `leaked_answer` looks at problems")
            );
        }
        Ok(decided::outputs(port))
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        if self.condition.is_none() && self.per_problem.is_none() && self.checks.is_none() && !self.rewards {
            return vec![
                Mistake::at("", "a filter without `where`, `checks`, `per_problem` and `rewards` keeps everything as it is")
                    .hint("add one of them, or leave the stage out"),
            ];
        }
        let mut mistakes = Vec::new();
        let checks = self.checks.clone().unwrap_or_default();
        mistakes.extend(Checks::new(&checks, None).err().map(|e| Mistake::at("checks", e.to_string())));
        if let Some(file) = &self.tokenizer {
            mistakes.extend(cx.app.check_file("tokenizer", file));
            if checks.min_tokens.is_none() && checks.max_tokens.is_none() {
                mistakes.push(Mistake::at("tokenizer", "a tokenizer without anything to count").hint("set `max_tokens` in `checks`"));
            }
        }
        mistakes.extend(self.check_condition());
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let mut identity = json!({ "where": self.condition, "per_problem": self.per_problem });
        // Absent where not used, so that artifacts from before these keys keep their address.
        if let Some(checks) = &self.checks {
            identity["checks"] = json!(checks);
        }
        if let Some(file) = &self.tokenizer {
            identity["tokenizer"] = json!(content_hash(&tokenizer_file(&app.path(file)))?);
        }
        if self.rewards {
            identity["rewards"] = json!(true);
        }
        Ok(identity)
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(passed_on(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.filter::<Problem>(cx),
            Some(Port::Samples) => self.filter::<Sample>(cx),
            _ => self.filter::<Attempt>(cx),
        }
    }
}

/// A row that checks can look at.
trait Checked: Row + Keyed {
    fn view(&self) -> View<'_>;
    /// Adds the reward columns, where the kind has any.
    fn reward(&mut self) {}
}

impl Checked for Problem {
    fn view(&self) -> View<'_> {
        self.into()
    }
}

impl Checked for Sample {
    fn view(&self) -> View<'_> {
        self.into()
    }
}

impl Checked for Attempt {
    fn view(&self) -> View<'_> {
        self.into()
    }
    fn reward(&mut self) {
        rewards(self).write(&mut self.problem.meta);
    }
}

/// What decides about a batch by itself.
struct Rules {
    schema: SchemaRef,
    meta: MetaFields,
    condition: Option<RowFilter>,
    reason: String,
    checks: Option<Checks>,
    rewards: bool,
    threads: usize,
}

impl Filter {
    /// The kind of rows shows only in the graph; a condition that fits no kind is wrong whatever the inputs are.
    fn check_condition(&self) -> Option<Mistake> {
        let condition = self.condition.as_ref().filter(|c| !c.contains("meta."))?;
        let schemas = [Attempt::schema, Problem::schema, Sample::schema].map(|schema| schema(&MetaFields::none()));
        let mut wrong = schemas.iter().map(|schema| RowFilter::new(condition, schema).err());
        let error = wrong.next().flatten().filter(|_| wrong.all(|e| e.is_some()))?;
        let mistake = Mistake::at("where", error.to_string());
        Some(error.hint().map_or(mistake.clone(), |hint| mistake.hint(hint)))
    }

    fn filter<R: Checked>(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let files = files(cx);
        let rules = self.rules::<R>(cx, &files)?;
        let best = self.best::<R>(&rules)?;
        match best {
            Some(best) => {
                let decisions = self.decide::<R>(cx, &files, &rules, best)?;
                self.sort::<R>(cx, &files, &rules, Some(decisions))
            }
            None => self.sort::<R>(cx, &files, &rules, None),
        }
    }

    fn rules<R: Row>(&self, cx: &StageContext<'_, App>, files: &[PathBuf]) -> Result<Rules, StageError> {
        let mut meta = MetaFields::of_parts(files).map_err(data_error)?;
        if self.rewards {
            meta = Rewards::meta_fields(meta);
        }
        let schema = R::schema(&meta);
        let condition = self.condition.as_ref().map(|sql| RowFilter::new(sql, &schema)).transpose().map_err(data_error)?;
        let count = self.tokenizer.as_ref().map(|file| counter(&cx.app.path(file))).transpose()?;
        let checks = self.checks.as_ref().map(|config| Checks::new(config, count.as_ref())).transpose().map_err(curate_error)?;
        Ok(Rules {
            schema,
            meta,
            condition,
            reason: format!("not ({})", self.condition.as_deref().unwrap_or_default()),
            checks: checks.filter(|checks| !checks.is_empty()),
            rewards: self.rewards,
            threads: cx.app.threads,
        })
    }

    fn best<R: Keyed>(&self, rules: &Rules) -> Result<Option<PerProblem>, StageError> {
        let names: Vec<&str> = rules.meta.0.keys().map(String::as_str).collect();
        self.per_problem.as_ref().map(|config| PerProblem::new::<R>(config, Some(&names))).transpose().map_err(curate_error)
    }

    /// The pass before the writing one, where the best of each problem can be told only at the end.
    fn decide<R: Checked>(
        &self,
        cx: &StageContext<'_, App>,
        files: &[PathBuf],
        rules: &Rules,
        mut best: PerProblem,
    ) -> Result<Decisions, StageError> {
        let (mut decisions, mut observed) = (Decisions::new(), Vec::new());
        for located in BatchReader::open(files).map_err(data_error)? {
            cx.check_cancelled()?;
            let batch = rules.prepare::<R>(&located.map_err(data_error)?.batch)?;
            let first = decisions.len();
            rules.decide::<R>(&batch, &mut decisions)?;
            for (row, value) in R::from_batch(&batch).map_err(data_error)?.iter().enumerate() {
                if decisions.keeps(first + row) {
                    observed.push(first + row);
                    best.observe(value);
                }
            }
        }
        let best = best.finish();
        for (place, row) in observed.into_iter().enumerate() {
            if let Some(reason) = best.reason(place) {
                decisions.set(row, Decision::Drop(reason.to_owned().into()));
            }
        }
        Ok(decisions)
    }

    /// The writing pass; without decisions it decides on the way.
    fn sort<R: Checked>(
        &self,
        cx: &StageContext<'_, App>,
        files: &[PathBuf],
        rules: &Rules,
        decided: Option<Decisions>,
    ) -> Result<StageResult, StageError> {
        let mut sorted = Sorted::create(cx, &rules.schema)?;
        let known = decided.is_some();
        let mut decisions = decided.unwrap_or_default();
        let mut first = 0;
        for located in BatchReader::open(files).map_err(data_error)? {
            cx.check_cancelled()?;
            let batch = rules.prepare::<R>(&located.map_err(data_error)?.batch)?;
            if !known {
                rules.decide::<R>(&batch, &mut decisions)?;
            }
            sorted.write(&batch, first, &decisions)?;
            first += batch.num_rows();
            cx.progress(first as u64, row_count(cx), "rows", &[]);
        }
        sorted.finish(&decisions)
    }
}

impl Rules {
    /// The batch in the output's schema, with the reward columns where they are wanted.
    fn prepare<R: Checked>(&self, batch: &RecordBatch) -> Result<RecordBatch, StageError> {
        if !self.rewards {
            // A dropped row's reason is no column of its kind; the writer would leave it out.
            let fields = self.schema.fields().iter().filter(|f| f.is_nullable() || batch.column_by_name(f.name()).is_some());
            let schema = Schema::new(fields.cloned().collect::<Vec<_>>());
            return conform(batch, &Arc::new(schema)).map_err(data_error);
        }
        let rewarded = |part: RecordBatch| -> Result<RecordBatch, StageError> {
            let mut rows = R::from_batch(&part).map_err(data_error)?;
            rows.iter_mut().for_each(R::reward);
            R::to_batch(&rows, &self.meta).map_err(data_error)
        };
        let parts: Result<Vec<RecordBatch>, StageError> =
            parallel(slices(batch, self.threads), self.threads, &rewarded).into_iter().collect();
        arrow::compute::concat_batches(&self.schema, &parts?).map_err(arrow_error)
    }

    fn decide<R: Checked>(&self, batch: &RecordBatch, decisions: &mut Decisions) -> Result<(), StageError> {
        let first = decisions.len();
        let mask = self.condition.as_ref().map(|c| c.mask(batch)).transpose().map_err(data_error)?;
        for row in 0..batch.num_rows() {
            match &mask {
                Some(mask) if !mask.value(row) => decisions.push(Decision::Drop(self.reason.clone().into())),
                _ => decisions.push(Decision::Keep),
            }
        }
        let Some(checks) = &self.checks else { return Ok(()) };
        let check = |part: RecordBatch| -> Result<Vec<Decision>, StageError> {
            let rows = R::from_batch(&part).map_err(data_error)?;
            Ok(rows.iter().map(|row| checks.decide(row.view())).collect())
        };
        let mut row = first;
        for part in parallel(slices(batch, self.threads), self.threads, &check) {
            for decision in part? {
                if decisions.keeps(row) {
                    decisions.set(row, decision);
                }
                row += 1;
            }
        }
        Ok(())
    }
}

/// The batch cut into a piece for each thread.
fn slices(batch: &RecordBatch, threads: usize) -> Vec<RecordBatch> {
    let share = batch.num_rows().div_ceil(threads.max(1)).max(1);
    (0..batch.num_rows()).step_by(share).map(|from| batch.slice(from, share.min(batch.num_rows() - from))).collect()
}

fn tokenizer_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() }
}

fn counter(path: &Path) -> Result<CountTokens, StageError> {
    let file = tokenizer_file(path);
    let tokenizer =
        Tokenizer::load(&file).map_err(|e| StageError::config(format!("the tokenizer `{}` cannot be used: {e}", file.display())))?;
    Ok(Arc::new(move |text: &str| tokenizer.encode_ordinary(text).ok().map(|tokens| tokens.len())))
}
