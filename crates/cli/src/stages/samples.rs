//! `samples`: graded attempts become training samples in a named format.

use potstill_curate::{Decision, SampleConfig, SampleMaker};
use potstill_data::{Attempt, MetaFields, RowReader, Sample, ScalarKind};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided::{Aside, DROPPED};
use super::rows::{ROWS, files, in_order, writer};
use super::{curate_error, data_error};
use crate::app::{App, prompt_texts};
use crate::estimate::passed_on;

/// Turns attempts into samples.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Samples(SampleConfig);

impl Samples {
    /// The settings with the prompt file's text in place of its path.
    fn maker(&self, app: &App) -> Result<SampleMaker, StageError> {
        let mut config = self.0.clone();
        config.render.system_prompt = config.render.system_prompt.as_deref().map(|file| app.prompt(file)).transpose()?;
        SampleMaker::new(&config).map_err(curate_error)
    }
}

impl Stage<App> for Samples {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Attempts])?;
        Ok(vec![(ROWS.to_owned(), Port::Samples), (DROPPED.to_owned(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = Vec::new();
        if let Some(file) = &self.0.render.system_prompt {
            mistakes.extend(cx.app.check_file("render.system_prompt", file));
        }
        mistakes.extend(SampleMaker::new(&self.0).err().map(|e| Mistake::at("render", e.to_string())));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let texts = prompt_texts(app, &[("system_prompt", self.0.render.system_prompt.as_ref())])?;
        Ok(json!({ "settings": self, "prompts": texts }))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(passed_on(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let maker = self.maker(cx.app)?;
        let files = files(cx);
        let mut out = writer::<Sample>(cx, ROWS, &sample_meta(&files)?)?;
        let mut aside = Aside::create(cx, &MetaFields::of_parts(&files).map_err(data_error)?)?;
        let rows = RowReader::<Attempt>::open(&files).map_err(data_error)?;
        let work = |attempt: Attempt| (maker.sample(&attempt), attempt);
        in_order(cx, rows, work, |(made, attempt)| match made {
            Ok(sample) => out.push(&sample).map_err(data_error),
            Err(Decision::Drop(reason)) => aside.push(attempt, reason),
            Err(Decision::Keep) => Ok(()),
        })?;
        let (rows, aside) = (out.finish().map_err(data_error)?.rows, aside.finish()?);
        Ok(StageResult { dropped: aside.reasons, ..StageResult::default() }.rows(ROWS, rows).rows(DROPPED, aside.rows))
    }
}

/// The meta fields of samples made from the attempts in `files`: the problem's own and its domain.
pub(crate) fn sample_meta(files: &[std::path::PathBuf]) -> Result<MetaFields, StageError> {
    let mut meta = MetaFields::of_parts(files).map_err(data_error)?;
    meta.add("domain", ScalarKind::Text);
    Ok(meta)
}
