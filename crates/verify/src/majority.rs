//! Majority voting: the final answer that most attempts at a problem agree on, where no reference answer is known.
//!
//! Answers are grouped by what they mean, not by how they are written: `1/2`, `0.5` and `\frac{1}{2}` are one class, by the
//! `math` comparison without the conventions that have a direction. Self-consistency (arXiv 2203.11171) takes the largest
//! class; as a stand-in for a reference answer it is only as good as the teacher, so whoever uses it marks the rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Verdict;
use crate::math::{MathPolicy, compare};

/// When a majority counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MajorityOptions {
    /// At least so many attempts must agree.
    pub votes: u32,
    /// At least this share of all attempts of the problem must agree, those without an answer included; from 0 to 1.
    pub share: f64,
}

impl Default for MajorityOptions {
    fn default() -> Self {
        Self { votes: 2, share: 0.5 }
    }
}

impl MajorityOptions {
    /// What is wrong with the settings, if anything: the field and the limit.
    #[must_use]
    pub fn mistake(&self) -> Option<(&'static str, String)> {
        if self.votes < 2 {
            return Some(("votes", format!("expected at least 2, found {}: one attempt agrees with itself", self.votes)));
        }
        (!(0.0..=1.0).contains(&self.share)).then(|| ("share", format!("expected 0 to 1, found {}", self.share)))
    }
}

/// The answer of the majority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// The answer, as it was first written.
    pub answer: String,
    /// How many attempts gave it.
    pub votes: u32,
    /// How many attempts there were.
    pub of: u32,
}

/// The answers to one problem, counted by meaning.
#[derive(Debug, Clone, Default)]
pub struct Ballot {
    classes: Vec<(String, u32)>,
    attempts: u32,
}

impl Ballot {
    /// Counts one attempt's final answer; `None` for an attempt without one.
    pub fn add(&mut self, answer: Option<&str>) {
        self.attempts += 1;
        let Some(answer) = answer else { return };
        let policy = MathPolicy { decimal_gold_is_rounded: false, rounding_from_prompt: false, ..MathPolicy::default() };
        let same = |class: &str| class == answer || compare(class, answer, "", &policy).verdict == Verdict::Correct;
        match self.classes.iter_mut().find(|(class, _)| same(class)) {
            Some((_, votes)) => *votes += 1,
            None => self.classes.push((answer.to_owned(), 1)),
        }
    }

    /// The largest class, if it is alone at the top and large enough.
    #[must_use]
    pub fn winner(&self, options: &MajorityOptions) -> Option<Winner> {
        let (answer, votes) = self.classes.iter().max_by_key(|(_, votes)| *votes)?;
        let alone = self.classes.iter().filter(|(_, other)| other == votes).count() == 1;
        let share = f64::from(*votes) / f64::from(self.attempts);
        (alone && *votes >= options.votes && share >= options.share).then(|| Winner {
            answer: answer.clone(),
            votes: *votes,
            of: self.attempts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(answers: &[&str]) -> Ballot {
        let mut ballot = Ballot::default();
        for answer in answers {
            ballot.add(Some(*answer).filter(|a| !a.is_empty()));
        }
        ballot
    }

    #[test]
    fn answers_are_counted_by_what_they_mean() {
        let winner = ballot(&["0.5", "\\frac{1}{2}", "1/2", "2"]).winner(&MajorityOptions::default()).unwrap();
        assert_eq!(winner, Winner { answer: "0.5".into(), votes: 3, of: 4 });
    }

    #[test]
    fn a_rounded_value_is_another_answer() {
        assert_eq!(ballot(&["1.41", "\\sqrt{2}"]).winner(&MajorityOptions::default()), None);
    }

    #[test]
    fn a_tie_a_small_share_and_a_lone_attempt_decide_nothing() {
        let decides = |answers: &[&str]| ballot(answers).winner(&MajorityOptions::default()).is_some();
        assert!(!decides(&["1", "1", "2", "2"]));
        assert!(!decides(&["1", "1", "2", "3", "4"]));
        assert!(!decides(&["1", "1", "", "", ""]), "attempts without an answer count");
        assert!(!decides(&["1"]));
        assert!(decides(&["1", "1", "2", ""]));
    }

    #[test]
    fn settings_that_cannot_mean_anything_are_named() {
        assert_eq!(MajorityOptions { votes: 1, share: 0.5 }.mistake().unwrap().0, "votes");
        assert_eq!(MajorityOptions { votes: 2, share: 1.5 }.mistake().unwrap().0, "share");
        assert_eq!(MajorityOptions::default().mistake(), None);
    }
}
