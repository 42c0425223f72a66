//! `annotate`: a teacher fills new columns of rows, such as a domain and a difficulty.

use std::collections::BTreeMap;

use potstill_curate::annotate::DOMAIN;
use potstill_curate::{Labels, Unlabelled};
use potstill_data::{Attempt, Message, MetaFields, Problem, Row, RowReader, Scalar, Verdict};
use potstill_generate::Sampling;
use potstill_generate::driver::{Answers, Ask, Judge, RunOptions, StopWhen};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Level, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data_error;
use super::joined::Joined;
use super::rows::{ROWS, files, row_count, writer};
use crate::app::{App, prompt_texts};
use crate::asking::Asking;
use crate::estimate::Asked;

/// Lets a teacher label rows.
pub(crate) type Annotate = Joined<Own, Sampling>;

/// The prompt when no file is named.
const PROMPT: &str = include_str!("../../../../pipelines/prompts/annotate.txt");

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// Who labels: a `[teacher.NAME]` table.
    teacher: String,
    /// The columns to fill; `domain` becomes the rows' own column, every other one `meta.NAME`.
    columns: Labels,
    /// A text file with the user turn, in which `{prompt}`, `{gold}`, `{reasoning}`, `{response}` and `{form}` (the JSON that is asked for) are replaced; `prompts/annotate.txt` of potstill if absent.
    #[serde(default)]
    prompt: Option<String>,
    /// A text file with the system turn.
    #[serde(default)]
    system_prompt: Option<String>,
    /// Times that a row is asked about at most, until a reply has valid labels; after that they stay empty, with the reason counted.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    tries: u32,
    /// The most that this stage may spend, in US dollars, what is in flight included.
    #[serde(default)]
    max_cost_usd: Option<f64>,
}

fn three() -> u32 {
    3
}

/// Stands for the form in a prompt.
const FORM: &str = "{form}";

impl Stage<App> for Annotate {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        Ok(vec![(ROWS.to_owned(), some_inputs(inputs, &[Port::Problems, Port::Attempts])?)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let files = [("prompt", &self.own.prompt), ("system_prompt", &self.own.system_prompt)];
        let missing = files.iter().filter_map(|(key, file)| cx.app.check_file(key, file.as_ref()?));
        let mut mistakes: Vec<Mistake> = cx.app.check_teacher("teacher", &self.own.teacher).into_iter().chain(missing).collect();
        mistakes.extend(self.own.columns.check().err().map(|e| Mistake::at("columns", e.to_string())));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let mut texts = prompt_texts(app, &[("prompt", self.own.prompt.as_ref()), ("system_prompt", self.own.system_prompt.as_ref())])?;
        texts.entry("prompt".to_owned()).or_insert_with(|| PROMPT.to_owned());
        let mut settings = json!(self);
        if let Value::Object(keys) = &mut settings {
            ["teacher", "prompt", "system_prompt", "max_cost_usd"].iter().for_each(|key| drop(keys.remove(*key)));
        }
        Ok(json!({ "settings": settings, "prompts": texts, "teacher": app.teacher(&self.own.teacher)?.identity(app)? }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        app.generator(&self.own.teacher).map(drop)
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        let prompt = self.template(cx.app).unwrap_or_default();
        let asked = Asked {
            teacher: &self.own.teacher,
            samples: self.own.tries,
            max_tokens: self.settings.max_tokens,
            around: &prompt,
            shows: Port::Attempts,
            max_cost_usd: self.own.max_cost_usd,
        };
        let rows = cx.input_rows.iter().copied().sum();
        Some(Estimate { rows, ..asked.estimate(cx) })
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.annotate::<Problem>(cx),
            _ => self.annotate::<Attempt>(cx),
        }
    }
}

/// A row that can be labelled.
trait Labelled: Row {
    /// The problem in it, where labels go.
    fn problem(&mut self) -> &mut Problem;
    /// Prompt, gold, reasoning and response.
    fn texts(&self) -> [&str; 4];
}

impl Labelled for Problem {
    fn problem(&mut self) -> &mut Problem {
        self
    }

    fn texts(&self) -> [&str; 4] {
        [&self.prompt, self.gold.as_deref().unwrap_or_default(), "", ""]
    }
}

impl Labelled for Attempt {
    fn problem(&mut self) -> &mut Problem {
        &mut self.problem
    }

    fn texts(&self) -> [&str; 4] {
        let gold = self.problem.gold.as_deref().unwrap_or_default();
        [&self.problem.prompt, gold, self.reasoning.as_deref().unwrap_or_default(), &self.response]
    }
}

impl Annotate {
    fn annotate<R: Labelled>(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let labels = &self.own.columns;
        let template = self.template(cx.app)?;
        let system = self.own.system_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?;
        let valid = |attempt: &mut Attempt| {
            let verdict = if labels.read(&attempt.response).is_ok() { Verdict::Correct } else { Verdict::Incorrect };
            attempt.verdict = Some(verdict);
        };
        let mut asking = Asking::new(cx, &self.own.teacher, self.run_options(cx.rng_seed("annotate")))?
            .judged(Some(&valid as &Judge<'_>))
            .telling("replies", row_count(cx));
        let files = files(cx);
        let meta = labels.meta_fields(MetaFields::of_parts(&files).map_err(data_error)?);
        let mut out = writer::<R>(cx, ROWS, &meta)?;
        let mut tally = Tally::default();
        let items = RowReader::<R>::open(&files).map_err(data_error)?.map(|row| {
            let row = row?;
            let user = Message::new("user", fill(&template, &row.texts()));
            let turns = system.iter().map(|system| Message::new("system", system.clone())).chain([user]);
            let ask = Ask::new(row.id(), turns);
            Ok((row, ask))
        });
        asking.each(items, &mut |mut row: R, answers| {
            tally.add(label(&mut row, labels, &answers));
            Ok(out.push(&row)?)
        })?;
        let rows = out.finish().map_err(data_error)?.rows;
        let mut result = asking.finish()?;
        tally.tell(cx, &mut result);
        // Nothing is dropped: a row whose requests failed goes on without labels.
        result.dropped.clear();
        Ok(result.rows(ROWS, rows))
    }

    /// The prompt with the form in its place, or behind it.
    fn template(&self, app: &App) -> Result<String, StageError> {
        let text = self.own.prompt.as_deref().map_or_else(|| Ok(PROMPT.trim_end().to_owned()), |file| app.prompt(file))?;
        let form = self.own.columns.form();
        Ok(if text.contains(FORM) { text.replace(FORM, &form) } else { format!("{text}\n\n{form}") })
    }

    /// Every further try is another sample, so that the journal keeps them apart.
    fn run_options(&self, seed: u64) -> RunOptions {
        let seed = self.settings.seed.unwrap_or(seed);
        RunOptions {
            samples: self.own.tries,
            stop_when: Some(StopWhen { correct: 1 }),
            sampling: Sampling { seed: Some(seed), ..self.settings.clone() },
            max_cost_usd: self.own.max_cost_usd,
            ..RunOptions::default()
        }
    }
}

/// The template with the row's texts; what stands in those is never taken for a place itself.
fn fill(template: &str, texts: &[&str; 4]) -> String {
    const PLACES: [&str; 4] = ["{prompt}", "{gold}", "{reasoning}", "{response}"];
    let (mut out, mut rest) = (String::new(), template);
    loop {
        let next = PLACES.iter().enumerate().filter_map(|(which, place)| Some((rest.find(place)?, which))).min();
        let Some((at, which)) = next else { return out + rest };
        out.push_str(&rest[..at]);
        out.push_str(texts[which]);
        rest = &rest[at + PLACES[which].len()..];
    }
}

/// Puts the first valid labels into the row, or says why there are none.
fn label<R: Labelled>(row: &mut R, labels: &Labels, answers: &Answers) -> Result<BTreeMap<String, Scalar>, String> {
    let mut reason = None;
    for attempt in &answers.attempts {
        match labels.read(&attempt.response) {
            Ok(found) => {
                put(row.problem(), &found);
                return Ok(found);
            }
            Err(why) => reason = Some(if attempt.truncated { "the reply was cut off".to_owned() } else { Unlabelled::to_string(&why) }),
        }
    }
    Err(reason.unwrap_or_else(|| match answers.failures.first() {
        Some(failure) => format!("request failed: {}", failure.reason),
        None => "not asked".to_owned(),
    }))
}

fn put(problem: &mut Problem, found: &BTreeMap<String, Scalar>) {
    for (name, value) in found {
        if name == DOMAIN {
            problem.domain = Some(value.to_string());
        } else {
            problem.meta.insert(name.clone(), value.clone());
        }
    }
}

/// What came of the rows.
#[derive(Default)]
struct Tally {
    labelled: u64,
    unlabelled: BTreeMap<String, u64>,
    values: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Values of a column that are counted.
const COUNTED: usize = 100;

impl Tally {
    fn add(&mut self, found: Result<BTreeMap<String, Scalar>, String>) {
        let found = match found {
            Ok(found) => found,
            Err(reason) => {
                *self.unlabelled.entry(reason).or_default() += 1;
                return;
            }
        };
        self.labelled += 1;
        for (name, value) in found {
            let counts = self.values.entry(name).or_default();
            let value = value.to_string();
            if counts.len() < COUNTED || counts.contains_key(&value) {
                *counts.entry(value).or_default() += 1;
            }
        }
    }

    fn tell(self, cx: &StageContext<'_, App>, result: &mut StageResult) {
        for (reason, count) in &self.unlabelled {
            cx.message(Level::Warning, format!("{count} rows have no labels: {reason}"));
        }
        result.stats["labelled"] = json!(self.labelled);
        result.stats["unlabelled"] = json!(self.unlabelled);
        result.stats["labels"] = json!(self.values);
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn texts_take_their_places_and_are_not_read_for_places() {
        let texts = ["{response} of 2+2", "4", "", "It is {gold}"];
        assert_eq!(fill("P: {prompt}\nR: {response} {x}", &texts), "P: {response} of 2+2\nR: It is {gold} {x}");
    }
}
