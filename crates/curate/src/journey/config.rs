//! The settings of the `journey` stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::render::RenderConfig;

/// Where a journey's mistake comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JourneySource {
    /// One attempt that went wrong and recovered by itself.
    Recovered,
    /// Wrong attempts and a right one, joined by reflections.
    Joined,
}

impl JourneySource {
    /// The name as it stands in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Joined => "joined",
        }
    }
}

/// How much of a wrong attempt goes into a joined journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Up to and including the line of its last committed answer: the student sees what was believed.
    AfterAnswer,
    /// Up to that line, without it: the doubt comes before the answer is said.
    BeforeAnswer,
    /// All of it.
    Whole,
}

/// The `journey` stage's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JourneyConfig {
    /// Where mistakes may come from, the preferred first.
    pub from: Vec<JourneySource>,
    /// Journey samples per problem, at most.
    #[schemars(range(min = 1))]
    pub per_problem: u32,
    /// Wrong attempts in one joined journey, at most; the most plausible (the commonest answer) goes first.
    #[schemars(range(min = 1))]
    pub wrong_attempts: u32,
    /// How much of a wrong attempt goes in.
    pub cut: Cut,
    /// Longest text of one wrong attempt after the cut, in characters.
    pub max_wrong_chars: u32,
    /// Reflections put after a wrong attempt, one drawn by the seed; `{answer}` stands for the wrong answer. The
    /// built-in ones if empty.
    pub reflections: Vec<String>,
    /// Phrases that mark a noticed wrong turn without a committed answer (a search trace's `dead end`): an attempt that
    /// holds one and ends right counts as recovered.
    pub wrong_turns: Vec<String>,
    /// Keep a problem only if it also has a shortcut, so that journey and control sets hold the same problems.
    pub paired: bool,
    /// A problem that was solved without a mistake gives its longest right attempt to the journey set as it is, and its
    /// shortcut to the control set, so that the student also sees problems that need no correction.
    pub keep_straight: bool,
    /// Where a writer fails, keep the text as composed rather than dropping it.
    pub keep_unwritten: bool,
    /// Factor in the loss on the tokens of the mistakes, 0 to 1: 0 teaches the correction and not the mistake, 1 (as it
    /// is) teaches both. Written as `loss_spans` of the samples, which the trainer follows.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mistake_weight: f32,
    /// How rows become messages.
    pub render: RenderConfig,
}

impl Default for JourneyConfig {
    fn default() -> Self {
        Self {
            from: vec![JourneySource::Recovered, JourneySource::Joined],
            per_problem: 1,
            wrong_attempts: 1,
            cut: Cut::AfterAnswer,
            max_wrong_chars: 40_000,
            reflections: Vec::new(),
            wrong_turns: Vec::new(),
            paired: true,
            keep_straight: false,
            keep_unwritten: true,
            mistake_weight: 1.0,
            render: RenderConfig::default(),
        }
    }
}
