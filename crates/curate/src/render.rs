//! From a problem and a reply to the messages of a sample, in a named format.

use potstill_data::{Attempt, Message, Problem, Sample, SampleKind, Scalar, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::error::{CurateError, nearest};
use crate::text::apart;

/// How thought and answer stand in the assistant's turn.
#[derive(Debug)]
pub struct Format {
    /// The name used in pipeline files.
    pub name: &'static str,
    /// Recipes that write it so: further names.
    pub aliases: &'static [&'static str],
    /// What it looks like and who uses it.
    pub about: &'static str,
    /// The assistant's turn of a reasoning (if any) and a response.
    pub assistant: fn(Option<&str>, &str) -> Message,
}

/// What R1 and its distillations write; layouts without a place for thought use it too.
pub(crate) const THINK: Format = Format {
    name: "think",
    aliases: &["r1"],
    about: "`<think>` section, then the answer, in `content` (DeepSeek-R1 and its distillations)",
    assistant: |reasoning, response| joined(reasoning, response, "<think>\n", "\n</think>\n\n", ""),
};

/// All formats by name.
pub static FORMATS: &[Format] = &[
    Format {
        name: "plain",
        aliases: &[],
        about: "reasoning in the message's own `reasoning` field, the answer in `content`; the chat template decides the look",
        assistant: |reasoning, response| Message {
            role: "assistant".into(),
            content: response.into(),
            reasoning: reasoning.map(str::to_owned),
        },
    },
    THINK,
    Format {
        name: "think_answer",
        aliases: &["open_r1", "r1_zero"],
        about: "`<think>` and `<answer>` sections (R1-Zero, TinyZero, Open-R1)",
        assistant: |reasoning, response| {
            joined(Some(reasoning.unwrap_or_default()), response, "<think>\n", "\n</think>\n<answer>\n", "\n</answer>")
        },
    },
    Format {
        name: "sky_t1",
        aliases: &[],
        about: "`<|begin_of_thought|>` and `<|begin_of_solution|>` sections (Sky-T1, Bespoke-Stratos)",
        assistant: |reasoning, response| {
            let between = "\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n";
            joined(reasoning, response, "<|begin_of_thought|>\n\n", between, "\n\n<|end_of_solution|>")
        },
    },
    Format {
        name: "s1",
        aliases: &[],
        about: "`<|im_start|>think` and `<|im_start|>answer` sections (s1)",
        assistant: |reasoning, response| joined(reasoning, response, "<|im_start|>think\n", "\n<|im_start|>answer\n", ""),
    },
    Format {
        name: "answer",
        aliases: &[],
        about: "the answer alone; the reasoning is left out",
        assistant: |_, response| Message::new("assistant", response),
    },
];

/// The format of this name or alias.
///
/// # Errors
/// [`CurateError::Unknown`] with the names that there are.
pub(crate) fn format(name: &str) -> Result<&'static Format, CurateError> {
    let names = || FORMATS.iter().flat_map(|f| std::iter::once(&f.name).chain(f.aliases)).copied();
    FORMATS.iter().find(|f| f.name == name || f.aliases.contains(&name)).ok_or_else(|| CurateError::Unknown {
        what: "format",
        name: name.to_owned(),
        known: names().collect::<Vec<_>>().join(", "),
        near: nearest(name, names()),
    })
}

fn joined(reasoning: Option<&str>, response: &str, open: &str, between: &str, close: &str) -> Message {
    let content = match reasoning {
        Some(reasoning) => format!("{open}{reasoning}{between}{response}{close}"),
        None => response.to_owned(),
    };
    Message::new("assistant", content)
}

/// How rows become messages: the `render` table of the stages that write samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RenderConfig {
    /// The system turn; none if absent. (In a pipeline file: the path of a text file.)
    pub system_prompt: Option<String>,
    /// The user turn, with `{prompt}` where the problem's text goes.
    pub user_template: String,
    /// How thought and answer stand in the assistant's turn: `plain`, `think` (also `r1`), `think_answer` (also
    /// `open_r1`, `r1_zero`), `sky_t1`, `s1` or `answer`.
    pub format: String,
}

impl Default for RenderConfig {
    fn default() -> Self {
        Self { system_prompt: None, user_template: PROMPT.into(), format: "plain".into() }
    }
}

const PROMPT: &str = "{prompt}";

/// A checked [`RenderConfig`].
#[derive(Debug, Clone)]
pub struct Renderer {
    system_prompt: Option<String>,
    before_prompt: String,
    after_prompt: String,
    format: &'static Format,
}

impl Renderer {
    /// Looks up the format and the place of the prompt.
    ///
    /// # Errors
    /// An unknown format; a user template without `{prompt}` or with two.
    pub fn new(config: &RenderConfig) -> Result<Self, CurateError> {
        let format = format(&config.format)?;
        let parts: Vec<&str> = config.user_template.split(PROMPT).collect();
        let [before, after] = parts.as_slice() else {
            return Err(CurateError::Template {
                setting: "user_template",
                problem: "must hold `{prompt}` exactly once",
                template: config.user_template.clone(),
            });
        };
        Ok(Self {
            system_prompt: config.system_prompt.clone(),
            before_prompt: (*before).to_owned(),
            after_prompt: (*after).to_owned(),
            format,
        })
    }

    /// System turn (if set), user turn, assistant turn.
    #[must_use]
    pub fn messages(&self, prompt: &str, reasoning: Option<&str>, response: &str) -> Vec<Message> {
        let mut messages = Vec::with_capacity(3);
        messages.extend(self.system_prompt.as_deref().map(|s| Message::new("system", s)));
        messages.push(Message::new("user", format!("{}{prompt}{}", self.before_prompt, self.after_prompt)));
        messages.push((self.format.assistant)(reasoning, response));
        messages
    }
}

/// The `samples` stage: attempts as they are become samples.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// How rows become messages.
    pub render: RenderConfig,
    /// Keep attempts whose verdict is `incorrect` (s1 does; students then learn from wrong answers).
    pub keep_incorrect: bool,
}

/// Turns attempts into samples, one by one.
#[derive(Debug, Clone)]
pub struct SampleMaker {
    renderer: Renderer,
    keep_incorrect: bool,
}

impl SampleMaker {
    /// Checks the settings.
    ///
    /// # Errors
    /// As [`Renderer::new`].
    pub fn new(config: &SampleConfig) -> Result<Self, CurateError> {
        Ok(Self { renderer: Renderer::new(&config.render)?, keep_incorrect: config.keep_incorrect })
    }

    /// The sample of an attempt: `shortcut` where the verdict is correct, `general` otherwise. Its id is the attempt's.
    ///
    /// # Errors
    /// The decision to drop it: an empty response, or an incorrect one unless those are kept.
    pub fn sample(&self, attempt: &Attempt) -> Result<Sample, Decision> {
        if attempt.response.trim().is_empty() {
            return Err(Decision::drop("empty response"));
        }
        if attempt.verdict == Some(Verdict::Incorrect) && !self.keep_incorrect {
            return Err(Decision::drop("incorrect"));
        }
        let kind = if attempt.verdict == Some(Verdict::Correct) { SampleKind::Shortcut } else { SampleKind::General };
        Ok(as_is(attempt, kind, &self.renderer))
    }
}

/// An attempt's own text as a sample of the given kind.
pub(crate) fn as_is(attempt: &Attempt, kind: SampleKind, renderer: &Renderer) -> Sample {
    let (reasoning, response) = apart(attempt.reasoning.as_deref(), &attempt.response);
    Sample {
        sample_id: attempt.attempt_id(),
        problem_id: attempt.problem.problem_id.clone(),
        source: attempt.problem.source.clone(),
        messages: renderer.messages(&attempt.problem.prompt, reasoning.as_deref(), &response),
        kind,
        weight: 1.0,
        loss_spans: Vec::new(),
        lineage: vec![attempt.attempt_id()],
        meta: problem_meta(&attempt.problem),
    }
}

/// The problem's own columns, and its domain so that samples can still be balanced by it.
pub(crate) fn problem_meta(problem: &Problem) -> potstill_data::Meta {
    let mut meta = problem.meta.clone();
    if let Some(domain) = &problem.domain {
        meta.entry("domain".into()).or_insert_with(|| Scalar::Text(domain.clone()));
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(format: &str, reasoning: Option<&str>) -> String {
        let config = RenderConfig { format: format.into(), ..RenderConfig::default() };
        Renderer::new(&config).unwrap().messages("Q", reasoning, "A").pop().unwrap().content
    }

    #[test]
    fn formats_are_exact() {
        assert_eq!(content("think", Some("R")), "<think>\nR\n</think>\n\nA");
        assert_eq!(content("think", None), "A");
        assert_eq!(
            (content("r1", Some("R")), content("open_r1", Some("R"))),
            (content("think", Some("R")), content("think_answer", Some("R")))
        );
        assert_eq!(content("think_answer", Some("R")), "<think>\nR\n</think>\n<answer>\nA\n</answer>");
        assert_eq!(
            content("sky_t1", Some("R")),
            "<|begin_of_thought|>\n\nR\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nA\n\n<|end_of_solution|>"
        );
        assert_eq!(content("s1", Some("R")), "<|im_start|>think\nR\n<|im_start|>answer\nA");
        assert_eq!((content("plain", Some("R")), content("answer", Some("R"))), ("A".into(), "A".into()));
    }

    #[test]
    fn settings_are_checked() {
        let bad = |f: &str, t: &str| {
            let config = RenderConfig { format: f.into(), user_template: t.into(), system_prompt: None };
            Renderer::new(&config).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(
            bad("thnik", "{prompt}"),
            "no format `thnik` (there are: plain, think, r1, think_answer, open_r1, r1_zero, sky_t1, s1, answer); did you mean `think`?"
        );
        assert_eq!(bad("plain", "Solve."), "`user_template` must hold `{prompt}` exactly once: `Solve.`");
    }

    #[test]
    fn system_and_user_turns() {
        let config =
            RenderConfig { system_prompt: Some("S".into()), user_template: "Return \\boxed{}. {prompt} !".into(), format: "plain".into() };
        let messages = Renderer::new(&config).unwrap().messages("Q{prompt}", Some("R"), "A");
        let seen: Vec<_> = messages.iter().map(|m| (m.role.as_str(), m.content.as_str(), m.reasoning.as_deref())).collect();
        assert_eq!(seen, [("system", "S", None), ("user", "Return \\boxed{}. Q{prompt} !", None), ("assistant", "A", Some("R")),]);
    }
}
