//! `split`: parts that share no problem, by id and by text.

use potstill_curate::split::Part;
use potstill_curate::{Keyed, SplitConfig, Splitter};
use potstill_data::{Attempt, MetaFields, Problem, Row, RowReader, RowWriter, Sample};
use potstill_pipeline::{CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{files, row_count, same_rows, writer};
use super::{curate_error, curate_mistake, data_error};
use crate::app::App;
use crate::estimate::passed_on;

/// Holds problems out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Split(SplitConfig);

impl Stage<App> for Split {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let port = same_rows(inputs)?;
        Ok(Part::ALL.iter().map(|part| (part.as_str().to_owned(), port)).collect())
    }

    fn check(&self, _cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        Splitter::new(&self.0, 0).err().map(curate_mistake).into_iter().collect()
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        Ok(json!(self.0))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(passed_on(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.split::<Problem>(cx),
            Some(Port::Samples) => self.split::<Sample>(cx),
            _ => self.split::<Attempt>(cx),
        }
    }
}

impl Split {
    fn split<R: Row + Keyed>(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let files = files(cx);
        let mut splitter = Splitter::new(&self.0, cx.rng_seed("split")).map_err(curate_error)?;
        for row in RowReader::<R>::open(&files).map_err(data_error)? {
            splitter.observe(&row.map_err(data_error)?);
        }
        let split = splitter.finish().map_err(curate_error)?;
        let meta = MetaFields::of_parts(&files).map_err(data_error)?;
        let mut parts: Vec<(Part, RowWriter<R>)> = Vec::new();
        for part in Part::ALL {
            parts.push((part, writer::<R>(cx, part.as_str(), &meta)?));
        }
        for (at, row) in RowReader::<R>::open(&files).map_err(data_error)?.enumerate() {
            if at % 4096 == 0 {
                cx.check_cancelled()?;
                cx.progress(at as u64, row_count(cx), "rows", &[]);
            }
            let row = row.map_err(data_error)?;
            if let Some((_, out)) = parts.iter_mut().find(|(part, _)| split.part(at) == Some(*part)) {
                out.push(&row).map_err(data_error)?;
            }
        }
        let mut result = StageResult { stats: json!({ "disjoint": split.proof }), ..StageResult::default() };
        for (part, out) in parts {
            result = result.rows(part.as_str(), out.finish().map_err(data_error)?.rows);
        }
        Ok(result)
    }
}
