//! `pairs`: preference pairs from graded attempts.

use potstill_curate::pairs::{PairMaker, PairsConfig};
use potstill_data::{MetaFields, Pair, ScalarKind};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided::{Aside, DROPPED};
use super::groups::Groups;
use super::rows::{ROWS, files, writer};
use super::{curate_error, curate_mistake, data_error};
use crate::app::{App, prompt_texts};
use crate::estimate::passed_on;

/// Makes preference pairs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Pairs(PairsConfig);

impl Stage<App> for Pairs {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Attempts])?;
        Ok(vec![(ROWS.to_owned(), Port::Pairs), (DROPPED.to_owned(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = Vec::new();
        if let Some(file) = &self.0.render.system_prompt {
            mistakes.extend(cx.app.check_file("render.system_prompt", file));
        }
        mistakes.extend(PairMaker::new(self.0.clone()).err().map(curate_mistake));
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
        let mut config = self.0.clone();
        config.render.system_prompt = config.render.system_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?;
        let maker = PairMaker::new(config).map_err(curate_error)?;
        let files = files(cx);
        let mut meta = MetaFields::of_parts(&files).map_err(data_error)?;
        let mut aside = Aside::create(cx, &meta)?;
        meta.add("domain", ScalarKind::Text);
        let mut out = writer::<Pair>(cx, ROWS, &meta)?;
        let mut without = 0;
        let mut groups = Groups::open(&files)?;
        let total = groups.problems() as u64;
        let mut done = 0;
        while let Some(window) = groups.next_window()? {
            cx.check_cancelled()?;
            for attempts in window {
                match maker.problem(&attempts) {
                    Ok(pairs) => pairs.iter().try_for_each(|pair| out.push(pair)).map_err(data_error)?,
                    Err(reason) => {
                        without += 1;
                        attempts.into_iter().try_for_each(|attempt| aside.push(attempt, reason))?;
                    }
                }
                done += 1;
                cx.progress(done, Some(total), "problems", &[]);
            }
        }
        let stats = json!({ "problems": total, "without_a_pair": without });
        let (rows, aside) = (out.finish().map_err(data_error)?.rows, aside.finish()?);
        Ok(StageResult { dropped: aside.reasons, stats, ..StageResult::default() }.rows(ROWS, rows).rows(DROPPED, aside.rows))
    }
}
