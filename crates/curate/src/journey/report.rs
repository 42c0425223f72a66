//! What came of a `journey` stage, in numbers.

use std::collections::BTreeMap;

use potstill_data::{Sample, Scalar};
use serde::Serialize;

use super::compose::Outcome;
use crate::text::reflection_words;

/// Why a problem, or one draft of it, gave no journey sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// No attempt that ends right and is whole.
    NoRight,
    /// No wrong attempt to join, and none that recovered.
    NoMistake,
    /// Solved without a mistake by its only right attempt, which is the shortcut and cannot be the journey too.
    OnlyShortcut,
    /// The wrong attempts commit to no answer that the judge finds wrong.
    Uncommitted,
    /// The wrong attempts are longer than `max_wrong_chars`.
    TooLong,
    /// The judge does not find the composed text correct.
    EndsWrong,
    /// No shortcut of the same problem for the control set.
    NoShortcut,
    /// The writer gave an error or an empty text.
    WriterFailed,
    /// The written text no longer ends correct.
    WriterChangedAnswer,
    /// The written text no longer holds the mistake.
    WriterLostMistake,
}

impl Skip {
    /// The reason as counted in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRight => "no right attempt",
            Self::NoMistake => "no wrong attempt",
            Self::OnlyShortcut => "the only right attempt is the shortcut",
            Self::Uncommitted => "wrong attempt commits to no wrong answer",
            Self::TooLong => "wrong attempt too long",
            Self::EndsWrong => "composed text does not end correct",
            Self::NoShortcut => "no shortcut of the same problem",
            Self::WriterFailed => "writer failed",
            Self::WriterChangedAnswer => "writer changed the answer",
            Self::WriterLostMistake => "writer lost the mistake",
        }
    }
}

/// The spread of a quantity over samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Number of values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The median (the lower of two).
    pub p50: f64,
    /// Nine of ten are at most this.
    pub p90: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of the given values; all zero of none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |q: f64| values[((values.len() - 1) as f64 * q).floor() as usize];
        match values.len() {
            0 => Self::default(),
            count => {
                Self { count, mean: values.iter().sum::<f64>() / count as f64, min: at(0.0), p50: at(0.5), p90: at(0.9), max: at(1.0) }
            }
        }
    }
}

/// Running counts and statistics over problems.
#[derive(Debug, Clone, Default)]
pub struct JourneyReport {
    /// Problems seen.
    pub problems: u64,
    /// Problems that gave at least one journey sample.
    pub used: u64,
    /// Journey samples by where their mistake came from.
    pub journeys: BTreeMap<&'static str, u64>,
    /// Samples of problems that needed no correction, kept beside the journeys.
    pub straight: u64,
    /// Shortcut samples of the same problems.
    pub shortcuts: u64,
    /// Problems without a journey sample, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Drafts that were not used although their problem was, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    reflection_words: [Vec<f64>; 2],
    chars: [Vec<f64>; 2],
    first_error: Vec<f64>,
}

impl JourneyReport {
    /// Takes in the outcome of one problem.
    pub fn add(&mut self, outcome: &Outcome) {
        self.problems += 1;
        match outcome.skipped {
            Some(skip) => *self.skipped.entry(skip.as_str()).or_default() += 1,
            None => self.used += 1,
        }
        for skip in &outcome.rejected {
            *self.rejected.entry(skip.as_str()).or_default() += 1;
        }
        self.shortcuts += outcome.shortcuts.len() as u64;
        self.straight += u64::from(outcome.straight.is_some());
        for (origin, sample) in &outcome.journeys {
            *self.journeys.entry(origin.as_str()).or_default() += 1;
            if let Some(Scalar::Float(at)) = sample.meta.get(super::meta::FIRST_ERROR_AT) {
                self.first_error.push(*at);
            }
            self.measure(0, sample);
        }
        outcome.shortcuts.iter().for_each(|s| self.measure(1, s));
    }

    fn measure(&mut self, set: usize, sample: &Sample) {
        let said = sample.messages.iter().filter(|m| m.role == "assistant");
        let texts: Vec<&str> = said.flat_map(|m| [m.reasoning.as_deref().unwrap_or_default(), &m.content]).collect();
        self.reflection_words[set].push(texts.iter().map(|t| f64::from(reflection_words(t))).sum());
        self.chars[set].push(texts.iter().map(|t| t.chars().count() as f64).sum());
    }

    /// The report as JSON, for manifests and the HTML report: counts, reasons and spreads.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let spread = |values: &Vec<f64>| Spread::of(values.clone());
        serde_json::json!({
            "problems": self.problems,
            "used": self.used,
            "journeys": self.journeys,
            "straight": self.straight,
            "shortcuts": self.shortcuts,
            "skipped": self.skipped,
            "rejected_drafts": self.rejected,
            "first_error_at": spread(&self.first_error),
            "journey": { "reflection_words": spread(&self.reflection_words[0]), "chars": spread(&self.chars[0]) },
            "shortcut": { "reflection_words": spread(&self.reflection_words[1]), "chars": spread(&self.chars[1]) },
        })
    }
}
