//! Tree mode: steps instead of whole replies, several at each place, pruned by a judge or by where they lead.
//!
//! All trees of a chunk grow level by level, so that the teacher is asked about many places at once. Every request goes through the
//! journal by its own text, so that a killed run goes on without asking twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use potstill_curate::journey::TreeConfig;
use potstill_curate::journey::tree::{Step, Tree, Walk};
use potstill_data::{Attempt, Message, MetaFields, Problem, RowReader, Scalar, ScalarKind, Verdict};
use potstill_generate::Sampling;
use potstill_generate::driver::{Answers, Ask, RunOptions};
use potstill_pipeline::{CheckContext, Mistake, StageContext, StageError, StageResult};
use potstill_verify::extract::{How, all_answers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::data_error;
use super::super::joined::Joined;
use super::super::rows::{ROWS, files, row_count, writer};
use super::super::verify::Graders;
use super::Generate;
use crate::app::{App, prompt_texts};
use crate::asking::Asking;

/// Settings of tree mode.
pub(crate) type TreeMode = Joined<Own, TreeConfig>;

/// What tree mode needs besides the form of the tree.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// A `[teacher.NAME]` that says of every step whether it is right; without it a way is wrong when all its answers are.
    #[serde(default)]
    judge: Option<String>,
    /// A text file with the prompt for a step, in which `{prompt}` and `{steps}` are replaced; `prompts/step.txt` of potstill if absent.
    #[serde(default)]
    step_prompt: Option<String>,
    /// A text file with the prompt for the judge, in which `{prompt}`, `{steps}` and `{step}` are replaced; `prompts/step_judge.txt` of potstill if absent.
    #[serde(default)]
    judge_prompt: Option<String>,
    /// Tokens of a judge's reply at most.
    #[serde(default = "judge_tokens")]
    #[schemars(range(min = 1))]
    judge_max_tokens: u32,
}

fn judge_tokens() -> u32 {
    1024
}

const STEP_PROMPT: &str = include_str!("../../../../../pipelines/prompts/step.txt");
const JUDGE_PROMPT: &str = include_str!("../../../../../pipelines/prompts/step_judge.txt");

/// Trees that grow together.
const CHUNK: usize = 128;

/// Meta fields of the rows.
const ROLE: &str = "tree_role";
const NODES: &str = "tree_nodes";
const PRUNED: &str = "tree_pruned";
const TRIALS: &str = "tree_wrong_trials";

impl TreeMode {
    /// What is wrong with the settings, below the key `tree`.
    pub(super) fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let files = [("tree.step_prompt", &self.own.step_prompt), ("tree.judge_prompt", &self.own.judge_prompt)];
        let missing = files.iter().filter_map(|(key, file)| cx.app.check_file(key, file.as_ref()?));
        let judge = self.own.judge.as_ref().and_then(|name| cx.app.check_teacher("tree.judge", name));
        let mut mistakes: Vec<Mistake> = judge.into_iter().chain(missing).collect();
        mistakes.extend(self.settings.check().err().map(|e| Mistake::at("tree", e.to_string())));
        mistakes
    }

    /// What decides the trees: the texts of the prompts and the judge, not what they are called.
    pub(super) fn identity(&self, app: &App) -> Result<Value, StageError> {
        let mut texts = prompt_texts(app, &[("step", self.own.step_prompt.as_ref()), ("judge", self.own.judge_prompt.as_ref())])?;
        texts.entry("step".to_owned()).or_insert_with(|| STEP_PROMPT.to_owned());
        texts.entry("judge".to_owned()).or_insert_with(|| JUDGE_PROMPT.to_owned());
        let judge = self.own.judge.as_ref().map(|name| app.teacher(name)?.identity(app)).transpose()?;
        Ok(json!({ "form": self.settings, "prompts": texts, "judge": judge, "judge_max_tokens": self.own.judge_max_tokens }))
    }

    pub(super) fn ready(&self, app: &App) -> Result<(), StageError> {
        self.own.judge.as_ref().map_or(Ok(()), |name| app.generator(name).map(drop))
    }

    /// Requests about a problem, at most.
    pub(super) fn calls(&self) -> u32 {
        let form = &self.settings;
        let places = 1 + form.depth.saturating_sub(1).saturating_mul(form.beam.min(form.width.saturating_pow(form.depth.min(16))));
        places.saturating_mul(form.width)
    }
}

/// Runs the stage in tree mode.
pub(super) fn run(stage: &Generate, mode: &TreeMode, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
    let files = files(cx);
    let mut meta = MetaFields::of_parts(&files).map_err(data_error)?;
    meta.add(ROLE, ScalarKind::Text);
    [NODES, PRUNED, TRIALS].iter().for_each(|name| meta.add(name, ScalarKind::Int));
    let mut out = writer::<Attempt>(cx, ROWS, &meta)?;
    let mut grower = Grower::new(stage, mode, cx)?;
    let mut counts = Counts::default();
    let mut problems = RowReader::<Problem>::open(&files).map_err(data_error)?.peekable();
    while problems.peek().is_some() {
        let chunk: Vec<Problem> = problems.by_ref().take(CHUNK).collect::<Result<_, _>>().map_err(data_error)?;
        for (problem, grown) in grower.grow(chunk)? {
            for attempt in counts.rows(problem, &grown, &mode.settings) {
                out.push(&attempt).map_err(data_error)?;
            }
        }
        cx.progress(counts.problems, row_count(cx), "trees", &[("walks", counts.walks as f64)]);
    }
    let rows = out.finish().map_err(data_error)?.rows;
    let mut result = grower.finish()?;
    result.stats["trees"] = json!({ "problems": counts.problems, "steps": counts.steps, "pruned": counts.pruned, "walks": counts.walks, "wrong_trials": counts.trials });
    for (reason, count) in counts.dropped {
        *result.dropped.entry(reason.to_owned()).or_default() += count;
    }
    Ok(result.rows(ROWS, rows))
}

/// A tree with who wrote it.
#[derive(Default)]
struct Grown {
    tree: Tree,
    teacher: String,
}

/// Asks for steps and about them.
struct Grower<'a> {
    mode: &'a TreeMode,
    graders: Graders,
    system: Option<String>,
    step_prompt: String,
    judge_prompt: String,
    steps: Asking<'a>,
    judge: Option<Asking<'a>>,
}

impl<'a> Grower<'a> {
    fn new(stage: &'a Generate, mode: &'a TreeMode, cx: &'a StageContext<'a, App>) -> Result<Self, StageError> {
        let text = |file: &Option<String>, built_in: &str| {
            file.as_deref().map_or_else(|| Ok(built_in.trim_end().to_owned()), |file| cx.app.prompt(file))
        };
        let options =
            RunOptions { samples: mode.settings.width, stop_when: None, target_rows: None, ..stage.run_options(cx.rng_seed("generate")) };
        let judging = RunOptions {
            sampling: Sampling {
                seed: Some(cx.rng_seed("generate/tree/judge")),
                max_tokens: mode.own.judge_max_tokens,
                ..Sampling::default()
            },
            ..RunOptions::default()
        };
        Ok(Self {
            mode,
            graders: Graders::new(stage.own.verifier.as_deref(), &stage.own.options)?,
            system: stage.own.system_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?,
            step_prompt: text(&mode.own.step_prompt, STEP_PROMPT)?,
            judge_prompt: text(&mode.own.judge_prompt, JUDGE_PROMPT)?,
            steps: Asking::new(cx, &stage.own.teacher, options)?,
            judge: mode.own.judge.as_ref().map(|name| Asking::new(cx, name, judging)).transpose()?,
        })
    }

    /// Grows the trees of some problems until none wants to go on.
    fn grow(&mut self, problems: Vec<Problem>) -> Result<Vec<(Problem, Grown)>, StageError> {
        let mut all: Vec<(Problem, Grown)> =
            problems.into_iter().map(|problem| (problem, Grown { tree: Tree::new(), ..Grown::default() })).collect();
        loop {
            let mut asks = Vec::new();
            for (at, (problem, grown)) in all.iter().enumerate() {
                for (place, steps) in grown.tree.open().into_iter().enumerate() {
                    asks.push(((at, place), self.ask(problem, &steps)));
                }
            }
            if asks.is_empty() {
                return Ok(all);
            }
            let mut replies: BTreeMap<usize, Vec<Vec<Attempt>>> = BTreeMap::new();
            let items = asks.into_iter().map(Ok);
            self.steps.each(items, &mut |(at, _), answers: Answers| {
                replies.entry(at).or_default().push(answers.attempts);
                Ok(())
            })?;
            let mut steps = self.read(&all, replies)?;
            for (at, (_, grown)) in all.iter_mut().enumerate() {
                if let Some((teacher, steps)) = steps.remove(&at) {
                    grown.teacher = teacher;
                    grown.tree.grow(&self.mode.settings, steps);
                }
            }
        }
    }

    fn ask(&self, problem: &Problem, steps: &[&str]) -> Ask {
        let so_far = if steps.is_empty() { "(none yet)".to_owned() } else { steps.join("\n\n") };
        let user = fill(&self.step_prompt, &[("{prompt}", &problem.prompt), ("{steps}", &so_far)]);
        let system = self.system.iter().map(|text| Message::new("system", text.clone()));
        // The problem itself goes along: a procedural teacher reads it instead of the chat.
        Ask { problem: Arc::new(problem.clone()), messages: system.chain([Message::new("user", user)]).collect() }
    }

    /// What the replies are: steps with the verdict on an answer in them and the judge's opinion.
    #[expect(clippy::type_complexity, reason = "by tree: who wrote, and the steps of each place")]
    fn read(
        &mut self,
        all: &[(Problem, Grown)],
        replies: BTreeMap<usize, Vec<Vec<Attempt>>>,
    ) -> Result<BTreeMap<usize, (String, Vec<Vec<Step>>)>, StageError> {
        let mut read = BTreeMap::new();
        let mut doubtful = Vec::new();
        for (at, places) in replies {
            let (problem, grown) = &all[at];
            let open = grown.tree.open();
            let teacher = places.iter().flatten().next().map_or_else(|| grown.teacher.clone(), |attempt| attempt.teacher.clone());
            let mut steps: Vec<Vec<Step>> = Vec::new();
            for (place, attempts) in places.into_iter().enumerate() {
                let before = open.get(place).map(|steps| steps.join("\n\n")).unwrap_or_default();
                let mut siblings = Vec::new();
                for attempt in attempts {
                    let step = self.step(problem, &before, attempt)?;
                    if self.judge.is_some() && step.answer != Some(Verdict::Correct) && !step.text.is_empty() {
                        let user = fill(&self.judge_prompt, &[("{prompt}", &problem.prompt), ("{steps}", &before), ("{step}", &step.text)]);
                        let id = format!("{}/{at}/{place}/{}", problem.problem_id, siblings.len());
                        doubtful.push(((at, place, siblings.len()), Ask::new(id, [Message::new("user", user)])));
                    }
                    siblings.push(step);
                }
                steps.push(siblings);
            }
            read.insert(at, (teacher, steps));
        }
        if let Some(judge) = &mut self.judge {
            judge.each(doubtful.into_iter().map(Ok), &mut |(at, place, which), answers: Answers| {
                let said = answers.attempts.first().and_then(|attempt| opinion(&attempt.response));
                if let (Some((right, critique)), Some((_, steps))) = (said, read.get_mut(&at)) {
                    let step: &mut Step = &mut steps[place][which];
                    (step.judged, step.critique) = (Some(right), critique);
                }
                Ok(())
            })?;
        }
        Ok(read)
    }

    /// A reply as a step. It ends its path if an answer stands in it.
    fn step(&self, problem: &Problem, before: &str, attempt: Attempt) -> Result<Step, StageError> {
        let text = match &attempt.reasoning {
            // A program that answers at once writes all of it as one step.
            Some(reasoning) if before.is_empty() && answers(&attempt.response) => {
                format!("{}\n\n{}", reasoning.trim(), attempt.response.trim())
            }
            _ => attempt.response.trim().to_owned(),
        };
        let answer = if !answers(&text) || attempt.truncated {
            None
        } else {
            let whole = Attempt { problem: problem.clone(), response: format!("{before}\n\n{text}"), reasoning: None, ..attempt.clone() };
            Some(self.graders.judge(&whole)?.verdict)
        };
        Ok(Step { text, answer, judged: None, critique: None, tokens: attempt.completion_tokens.unwrap_or(0) })
    }

    fn finish(self) -> Result<StageResult, StageError> {
        let mut result = self.steps.finish()?;
        if let Some(judge) = self.judge {
            let judged = judge.finish()?;
            result.tokens.prompt += judged.tokens.prompt;
            result.tokens.completion += judged.tokens.completion;
            result.cost_usd = [result.cost_usd, judged.cost_usd].into_iter().flatten().reduce(|a, b| a + b);
            result.stats["judge"] = judged.stats;
        }
        Ok(result)
    }
}

/// The places of a template in one pass: what stands in the texts is never taken for a place.
fn fill(template: &str, places: &[(&str, &str)]) -> String {
    let (mut out, mut rest) = (String::new(), template);
    loop {
        let next = places.iter().filter_map(|(place, text)| Some((rest.find(place)?, *place, *text))).min_by_key(|(at, ..)| *at);
        let Some((at, place, text)) = next else { return out + rest };
        out.push_str(&rest[..at]);
        out.push_str(text);
        rest = &rest[at + place.len()..];
    }
}

/// Whether a step states the final answer. A last line is no such statement: every step has one.
fn answers(step: &str) -> bool {
    all_answers(step).iter().any(|answer| answer.how != How::LastLine)
}

/// Whether the judge holds a step right, and its critique: the last JSON object with `right` in the reply.
fn opinion(reply: &str) -> Option<(bool, Option<String>)> {
    let starts = reply.rmatch_indices('{').take(64).map(|(at, _)| at);
    starts.into_iter().find_map(|at| {
        let object = serde_json::Deserializer::from_str(&reply[at..]).into_iter::<Value>().next()?.ok()?;
        let right = object.get("right")?.as_bool()?;
        let critique = object.get("critique").and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        Some((right, critique.map(str::to_owned)))
    })
}

/// What came of the trees.
#[derive(Default)]
struct Counts {
    problems: u64,
    steps: u64,
    pruned: u64,
    walks: u64,
    trials: u64,
    dropped: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// The rows of a tree: the straight path, the walk where it errs, or a wrong path where none is right.
    fn rows(&mut self, problem: Problem, grown: &Grown, config: &TreeConfig) -> Vec<Attempt> {
        self.problems += 1;
        self.steps += grown.tree.len() as u64;
        self.pruned += grown.tree.pruned() as u64;
        let Some(Walk { path, walk, wrong_trials, path_tokens, walk_tokens }) = grown.tree.walk(config) else {
            let reason = if grown.tree.is_empty() { "no step was answered" } else { "no path leads to a right answer" };
            *self.dropped.entry(reason).or_default() += 1;
            let wrong = grown.tree.wrong_path().map(|path| path.into_iter().map(|step| step.trim().to_owned()).collect::<Vec<_>>());
            return wrong.into_iter().map(|path| row(&problem, grown, 0, "wrong", &path, (0, 0))).collect();
        };
        self.walks += u64::from(wrong_trials > 0);
        self.trials += u64::from(wrong_trials);
        let mut rows = vec![row(&problem, grown, 0, "straight", &path, (0, path_tokens))];
        if wrong_trials > 0 {
            rows.push(row(&problem, grown, 1, "journey", &walk, (wrong_trials, walk_tokens)));
        }
        rows
    }
}

/// Steps as an attempt: the last one is the response, what leads to it the reasoning.
fn row(problem: &Problem, grown: &Grown, index: u32, role: &str, steps: &[String], (trials, tokens): (u32, u32)) -> Attempt {
    let (last, before) = steps.split_last().map_or((String::new(), [].as_slice()), |(last, before)| (last.clone(), before));
    let mut problem = problem.clone();
    let mut add = |name: &str, value: Scalar| drop(problem.meta.insert(name.to_owned(), value));
    add(ROLE, Scalar::Text(role.to_owned()));
    add(NODES, Scalar::Int(grown.tree.len() as i64));
    add(PRUNED, Scalar::Int(grown.tree.pruned() as i64));
    add(TRIALS, Scalar::Int(i64::from(trials)));
    Attempt {
        problem,
        sample_index: index,
        teacher: grown.teacher.clone(),
        reasoning: (!before.is_empty()).then(|| before.join("\n\n")),
        response: last,
        finish_reason: "stop".to_owned(),
        completion_tokens: (tokens > 0).then_some(tokens),
        ..Attempt::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judges_opinion_is_its_last_word() {
        assert_eq!(opinion("{\"right\": true}"), Some((true, None)));
        let reply = "Maybe {\"right\": true}? No: ```json\n{\"right\": false, \"critique\": \" 2 + 2 is 4. \"}\n```";
        assert_eq!(opinion(reply), Some((false, Some("2 + 2 is 4.".into()))));
        assert_eq!((opinion("it is right"), opinion("{\"right\": \"yes\"}")), (None, None));
    }

    #[test]
    fn the_last_step_is_the_response() {
        let steps = ["a".to_owned(), "b".to_owned(), "it is 3".to_owned()];
        let row = row(&Problem::default(), &Grown::default(), 1, "journey", &steps, (1, 9));
        assert_eq!((row.reasoning.as_deref(), row.response.as_str(), row.completion_tokens), (Some("a\n\nb"), "it is 3", Some(9)));
        assert_eq!(row.problem.meta[ROLE], Scalar::Text("journey".into()));
    }
}
