//! A language model as a second tier: which rows it sees, what its votes change, and how far it agrees with the rules.

use std::collections::BTreeMap;

use potstill_data::{Attempt, Message, Verdict};
use potstill_generate::Sampling;
use potstill_generate::driver::{Ask, RunOptions};
use potstill_pipeline::{CheckContext, Mistake, StageContext, StageError, StageResult};
use potstill_verify::judge::{DEFAULT_PROMPT, Question, check_template, settle};
use potstill_verify::{Case, Judgement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tally::differs;
use crate::app::App;
use crate::asking::Asking;

/// A model that judges what the rules leave open.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Judge {
    /// Who judges: a `[teacher.NAME]` table.
    pub(super) teacher: String,
    /// Which rows are judged; only rows with a gold answer ever are.
    #[serde(default)]
    pub(super) when: When,
    /// How often each row is judged; more than half of the votes must agree.
    #[serde(default = "one")]
    pub(super) votes: u32,
    /// A text file with the question, in which `{problem}`, `{gold}`, `{answer}`, `{response}` and `{code}` are replaced; `prompts/judge.txt` of potstill if absent.
    #[serde(default)]
    pub(super) prompt: Option<String>,
    /// How votes are drawn.
    #[serde(default)]
    pub(super) sampling: Sampling,
    /// The most that judging may spend, in US dollars, what is in flight included.
    #[serde(default)]
    pub(super) max_cost_usd: Option<f64>,
}

/// Which rows are judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    /// What the rules cannot decide; the votes decide.
    #[default]
    Undecided,
    /// What the rules cannot decide, and what they decide otherwise than the `reference` column; the votes decide both.
    Disagreement,
    /// Every row; the votes decide what the rules cannot, and are only counted against the rules elsewhere.
    All,
}

const fn one() -> u32 {
    1
}

impl Judge {
    /// Mistakes in the table `judge`.
    pub(super) fn check(&self, cx: &CheckContext<'_, App>, referenced: bool) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = cx.app.check_teacher("judge.teacher", &self.teacher).into_iter().collect();
        mistakes.extend(self.prompt.as_ref().and_then(|file| cx.app.check_file("judge.prompt", file)));
        if mistakes.is_empty() {
            let template = self.template(cx.app).and_then(|text| check_template(&text).map_err(|e| StageError::config(e.to_string())));
            mistakes.extend(template.err().map(|e| Mistake::at("judge.prompt", e.to_string())));
        }
        if self.votes == 0 {
            mistakes.push(Mistake::at("judge.votes", "expected at least 1, found 0"));
        }
        if self.when == When::Disagreement && !referenced {
            mistakes.push(Mistake::at("judge.when", "`disagreement` needs a `reference` column to disagree with"));
        }
        mistakes
    }

    /// What of the judge decides the output.
    ///
    /// # Errors
    /// A prompt file that cannot be read, or a teacher that does not exist.
    pub(super) fn identity(&self, app: &App) -> Result<Value, StageError> {
        Ok(json!({
            "when": self.when,
            "votes": self.votes,
            "sampling": self.sampling,
            "prompt": self.template(app)?,
            "teacher": app.teacher(&self.teacher)?.identity(app)?,
        }))
    }

    /// The template of the question.
    ///
    /// # Errors
    /// The prompt file cannot be read.
    pub(super) fn template(&self, app: &App) -> Result<String, StageError> {
        self.prompt.as_deref().map_or_else(|| Ok(DEFAULT_PROMPT.trim_end().to_owned()), |file| app.prompt(file))
    }

    fn wants(&self, attempt: &Attempt, reference: Option<&str>) -> bool {
        let gold = attempt.problem.gold.as_deref().is_some_and(|gold| !gold.trim().is_empty());
        gold && match self.when {
            When::All => true,
            _ if attempt.verdict == Some(Verdict::Undecided) => true,
            When::Disagreement => reference.and_then(|column| differs(attempt, column)) == Some(true),
            When::Undecided => false,
        }
    }

    fn decides(&self, attempt: &Attempt) -> bool {
        self.when == When::Disagreement || attempt.verdict == Some(Verdict::Undecided)
    }
}

/// The judge at work.
pub(super) struct SecondTier<'a> {
    judge: &'a Judge,
    reference: Option<&'a str>,
    template: String,
    asking: Asking<'a>,
    agreement: Agreement,
}

impl<'a> SecondTier<'a> {
    /// # Errors
    /// The teacher cannot be asked, or the prompt cannot be read.
    pub(super) fn new(cx: &'a StageContext<'a, App>, judge: &'a Judge, reference: Option<&'a str>) -> Result<Self, StageError> {
        let seed = judge.sampling.seed.unwrap_or_else(|| cx.rng_seed("judge"));
        let sampling = Sampling { seed: Some(seed), ..judge.sampling.clone() };
        let options = RunOptions { samples: judge.votes, sampling, max_cost_usd: judge.max_cost_usd, ..RunOptions::default() };
        Ok(Self {
            judge,
            reference,
            template: judge.template(cx.app)?,
            asking: Asking::new(cx, &judge.teacher, options)?,
            agreement: Agreement::default(),
        })
    }

    /// Judges what is wanted of graded rows.
    ///
    /// # Errors
    /// The teacher cannot be asked at all, the money is spent, or the run is cancelled.
    pub(super) fn judge(&mut self, rows: &mut [Attempt]) -> Result<(), StageError> {
        let questions: Vec<((usize, Question), Ask)> = rows
            .iter()
            .enumerate()
            .filter(|(_, attempt)| self.judge.wants(attempt, self.reference))
            .map(|(at, attempt)| {
                let question = Question::of(&self.template, &Case::from(attempt), attempt.extracted.as_deref());
                let ask = Ask::new(attempt.attempt_id(), [Message::new("user", question.text.clone())]);
                ((at, question), ask)
            })
            .collect();
        let (judge, agreement) = (self.judge, &mut self.agreement);
        self.asking.each(questions.into_iter().map(Ok), &mut |(at, question), answers| {
            let votes: Vec<_> = answers.attempts.iter().map(|answer| question.read(&answer.response)).collect();
            let opinion = settle(&votes, judge.votes as usize);
            let attempt = &mut rows[at];
            agreement.add(attempt, &opinion, votes.iter().flatten().count(), judge.votes);
            if judge.decides(attempt) {
                decide(attempt, opinion);
            } else if attempt.verdict != Some(opinion.verdict) {
                let note = attempt.verifier_note.take().map(|note| format!("{note}; ")).unwrap_or_default();
                attempt.verifier_note = Some(format!("{note}the judge says {}: {}", opinion.verdict, opinion.note));
            }
            Ok(())
        })
    }

    /// What judging took, and its statistics.
    ///
    /// # Errors
    /// Every request failed.
    pub(super) fn finish(self) -> Result<(StageResult, Value), StageError> {
        let mut stats = self.agreement.stats();
        let asked = self.asking.finish()?;
        stats["asking"] = asked.stats.clone();
        Ok((asked, stats))
    }
}

/// The votes' verdict on a row that is theirs to decide; what the rules said goes along.
fn decide(attempt: &mut Attempt, opinion: Judgement) {
    let rules = attempt.verdict.map_or("undecided", Verdict::as_str);
    let proof = attempt.proof.take().unwrap_or_default();
    attempt.verdict = Some(opinion.verdict);
    attempt.proof = Some(opinion.proof.as_str().to_owned());
    attempt.verifier_note = Some(format!("{} (rules: {rules}, {proof})", opinion.note));
}

/// The judge against the rules, row by row.
#[derive(Default)]
struct Agreement {
    /// How often the rules said the first and the judge the second.
    table: BTreeMap<(&'static str, &'static str), u64>,
    votes: u64,
    unreadable: u64,
}

impl Agreement {
    fn add(&mut self, attempt: &Attempt, opinion: &Judgement, read: usize, asked: u32) {
        let rules = attempt.verdict.unwrap_or(Verdict::Undecided).as_str();
        *self.table.entry((rules, opinion.verdict.as_str())).or_default() += 1;
        self.votes += u64::from(asked);
        self.unreadable += u64::from(asked).saturating_sub(read as u64);
    }

    fn stats(&self) -> Value {
        let of = |rules: &str, judge: &str| self.table.iter().find(|(key, _)| **key == (rules, judge)).map_or(0, |(_, count)| *count);
        let both = [("correct", "correct"), ("correct", "incorrect"), ("incorrect", "correct"), ("incorrect", "incorrect")];
        let [yes, yes_no, no_yes, no] = both.map(|(rules, judge)| of(rules, judge));
        let decided = yes + yes_no + no_yes + no;
        let mut table: BTreeMap<String, u64> = BTreeMap::new();
        for ((rules, judge), count) in &self.table {
            table.insert(format!("rules {rules}, judge {judge}"), *count);
        }
        json!({
            "rows": self.table.values().sum::<u64>(),
            "votes": self.votes,
            "votes_unreadable": self.unreadable,
            "table": table,
            "both_decided": decided,
            "agreement": (decided > 0).then(|| (yes + no) as f64 / decided as f64),
            "cohens_kappa": kappa(yes, yes_no, no_yes, no),
        })
    }
}

/// Agreement beyond chance of two raters with two verdicts; `None` where chance alone would agree always.
fn kappa(yes: u64, yes_no: u64, no_yes: u64, no: u64) -> Option<f64> {
    let all = (yes + yes_no + no_yes + no) as f64;
    let observed = (yes + no) as f64 / all;
    let chance = ((yes + yes_no) as f64 * (yes + no_yes) as f64 + (no_yes + no) as f64 * (yes_no + no) as f64) / (all * all);
    (all > 0.0 && chance < 1.0).then(|| (observed - chance) / (1.0 - chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kappa_is_one_for_full_agreement_and_zero_for_chance() {
        assert_eq!(kappa(5, 0, 0, 5), Some(1.0));
        assert_eq!(kappa(25, 25, 25, 25), Some(0.0));
        assert_eq!(kappa(7, 0, 0, 0), None);
        assert_eq!(kappa(0, 0, 0, 0), None);
    }
}
