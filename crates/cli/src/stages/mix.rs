//! `mix`: inputs joined by weights and quotas, in a seeded order.

use potstill_curate::mix::repeated;
use potstill_curate::{Keyed, MixConfig, Mixer};
use potstill_data::{Attempt, MetaFields, Problem, Row, Sample, read_all};
use potstill_pipeline::{Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{ROWS, files, same_rows, writer};
use super::{curate_error, data_error};
use crate::app::App;

/// Joins rows of several stages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Mix(MixConfig);

impl Stage<App> for Mix {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let port = same_rows(inputs)?;
        if port != Port::Samples && self.0.max_repeats.is_some_and(|n| n > 1) {
            return Err(PortError::number(format!("repeats {port}, whose ids must stay unique"))
                .hint("only samples can be repeated; leave `max_repeats` out"));
        }
        Ok(vec![(ROWS.to_owned(), port)])
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        Ok(json!(self.0))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.mix::<Problem>(cx, |row, _| row.clone()),
            Some(Port::Samples) => self.mix::<Sample>(cx, repeated),
            _ => self.mix::<Attempt>(cx, |row, _| row.clone()),
        }
    }
}

impl Mix {
    fn mix<R: Row + Keyed>(&self, cx: &StageContext<'_, App>, copy: fn(&R, u32) -> R) -> Result<StageResult, StageError> {
        let names: Vec<&str> = cx.inputs.iter().map(|input| input.stage.as_str()).collect();
        let mut mixer = Mixer::new::<R>(&self.0, &names, cx.rng_seed("mix")).map_err(curate_error)?;
        let mut inputs: Vec<Vec<R>> = Vec::new();
        for (at, input) in cx.inputs.iter().enumerate() {
            cx.check_cancelled()?;
            let rows: Vec<R> = read_all(&input.files).map_err(data_error)?;
            rows.iter().for_each(|row| mixer.observe(at, row));
            inputs.push(rows);
        }
        let mix = mixer.finish().map_err(curate_error)?;
        let mut out = writer::<R>(cx, ROWS, &MetaFields::of_parts(&files(cx)).map_err(data_error)?)?;
        let total = mix.takes.len() as u64;
        for (done, take) in mix.takes.iter().enumerate() {
            out.push(&copy(&inputs[take.input as usize][take.row as usize], take.copy)).map_err(data_error)?;
            cx.progress(done as u64 + 1, Some(total), "rows", &[]);
        }
        let mut result = StageResult::default();
        for decisions in &mix.decisions {
            for (reason, count) in decisions.dropped() {
                *result.dropped.entry(reason).or_default() += count;
            }
        }
        Ok(result.rows(ROWS, out.finish().map_err(data_error)?.rows))
    }
}
