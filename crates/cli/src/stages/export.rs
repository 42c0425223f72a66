//! `export`: a dataset folder that other trainers read, with a dataset card.

use potstill_pipeline::{CheckContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::row_count;
use crate::app::{App, prompt_texts};
use crate::export::{About, Part, Settings, UNFIT, check, write};

/// Writes a dataset.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Export(Settings);

/// The output's name.
const DATASET: &str = "dataset";

impl Stage<App> for Export {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        const ACCEPTED: &[Port] = &[Port::Samples, Port::Pairs, Port::Problems];
        if let Some((at, port)) = inputs.iter().enumerate().find(|(_, port)| !ACCEPTED.contains(port)) {
            let wrong = PortError::wrong(at, *port, ACCEPTED);
            return Err(if *port == Port::Attempts { wrong.hint("a `samples` stage before makes samples of attempts") } else { wrong });
        }
        if inputs.is_empty() {
            return Err(PortError::number("needs at least one input of samples, pairs or problems"));
        }
        check(&self.0, inputs).map_err(|message| PortError::number(format!("cannot write these inputs: {message}")))?;
        Ok(vec![(DATASET.to_owned(), Port::Dataset)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        self.0.system_prompt.as_ref().and_then(|file| cx.app.check_file("system_prompt", file)).into_iter().collect()
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let texts = prompt_texts(app, &[("system_prompt", self.0.system_prompt.as_ref())])?;
        // The card holds the pipeline file, so that its text decides the output too.
        let pipeline = blake3::hash(app.pipeline().as_bytes()).to_string();
        let tool = env!("CARGO_PKG_VERSION");
        Ok(json!({ "settings": self, "prompts": texts, "name": self.name(app), "pipeline": pipeline, "tool": tool }))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let parts: Vec<Part> =
            cx.inputs.iter().map(|input| Part { port: input.port, files: input.files.clone(), artifact: input.artifact.clone() }).collect();
        let system_prompt = self.0.system_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?;
        let name = self.name(cx.app);
        let about = About {
            name: &name,
            pipeline: cx.app.pipeline(),
            tool: TOOL,
            find: &|fingerprint| cx.artifact(fingerprint).map_err(StageError::from),
        };
        let card = cx.out_file(DATASET, "README.md")?;
        let folder = card.parent().unwrap_or(&card);
        let tick = |done: u64| {
            cx.progress(done, row_count(cx), "rows", &[]);
            cx.check_cancelled()
        };
        let written = write(folder, &parts, &self.0, system_prompt.as_deref(), &about, &tick)?;
        let mut result = StageResult { stats: json!({ "splits": written.splits }), ..StageResult::default() };
        if written.left_out > 0 {
            result.dropped.insert(UNFIT.to_owned(), written.left_out);
        }
        let mut result = result.entry(DATASET, ".");
        if let Some(output) = result.outputs.get_mut(DATASET) {
            output.rows = Some(written.rows);
        }
        Ok(result)
    }
}

/// The program, as cards name it.
pub(crate) const TOOL: &str = concat!("potstill ", env!("CARGO_PKG_VERSION"));

impl Export {
    fn name(&self, app: &App) -> String {
        self.0.name.clone().unwrap_or_else(|| app.name().to_owned())
    }
}
