//! `select`: which attempts become the training set, by difficulty, length, quota, domain or diversity.

use potstill_curate::{SelectConfig, Selector};
use potstill_data::Attempt;
use potstill_pipeline::{CheckContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided;
use super::rows::{Ahead, files, row_count};
use super::{curate_error, data_error};
use crate::app::App;

/// Chooses attempts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Select(SelectConfig);

impl Stage<App> for Select {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        Ok(decided::outputs(some_inputs(inputs, &[Port::Attempts])?))
    }

    fn check(&self, _cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        self.0.check().err().map(|e| Mistake::at("", e.to_string())).into_iter().collect()
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        Ok(json!(self.0))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let files = files(cx);
        let mut selector = Selector::new(&self.0, cx.rng_seed("select")).map_err(curate_error)?;
        for (at, row) in Ahead::<Attempt>::open(&files).map_err(data_error)?.enumerate() {
            selector.observe(&row.map_err(data_error)?);
            if at % 4096 == 0 {
                cx.check_cancelled()?;
                cx.progress(at as u64, row_count(cx), "rows", &[]);
            }
        }
        decided::write::<Attempt>(cx, &files, &selector.finish().map_err(curate_error)?)
    }
}
