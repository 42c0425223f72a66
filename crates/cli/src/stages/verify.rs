//! `verify`: attempts get a verdict, with its proof and the answer that was graded.

use std::collections::BTreeMap;

use potstill_data::{Attempt, MetaFields, Row, RowReader, Scalar, Verdict};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Level, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use potstill_verify::{Case, Judgement, VERIFIERS, Verifier, VerifyError, VerifyOptions, verifier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data_error;
use super::rows::{ROWS, files, in_order, writer};
use crate::app::App;
use crate::estimate::passed_on;

/// Grades attempts by the verifier that each problem names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verify {
    /// The verifier for all rows; without it each row's own (the column `verifier`).
    #[serde(default)]
    verifier: Option<String>,
    /// Policies: how answers are found and compared.
    #[serde(default)]
    options: VerifyOptions,
    /// A meta column with a verdict from elsewhere (true/false, 1/0 or a word) to compare with; rows on which the two differ come out as `NAME.disagreements`.
    #[serde(default)]
    reference: Option<String>,
}

/// The output with the rows on which verdict and reference differ.
const DISAGREEMENTS: &str = "disagreements";

impl Stage<App> for Verify {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Attempts])?;
        let mut outputs = vec![(ROWS.to_owned(), Port::Attempts)];
        if self.reference.is_some() {
            outputs.push((DISAGREEMENTS.to_owned(), Port::Attempts));
        }
        Ok(outputs)
    }

    fn check(&self, _cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let Some(name) = &self.verifier else { return Vec::new() };
        verifier(name, &self.options).err().map(|e| Mistake::at("verifier", e.to_string())).into_iter().collect()
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        serde_json::to_value(self).map_err(|e| StageError::failed("the settings cannot be written").caused_by(e))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(passed_on(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let files = files(cx);
        let graders = Graders::new(self.verifier.as_deref(), &self.options)?;
        let meta = MetaFields::of_parts(&files).map_err(data_error)?;
        let mut out = writer::<Attempt>(cx, ROWS, &meta)?;
        let mut disputed = self.reference.as_ref().map(|_| writer::<Attempt>(cx, DISAGREEMENTS, &meta)).transpose()?;
        let mut tally = Tally::default();
        let rows = RowReader::<Attempt>::open(&files).map_err(data_error)?;
        in_order(
            cx,
            rows,
            |attempt| graders.grade(attempt),
            |attempt| {
                let attempt = attempt?;
                tally.add(&attempt);
                if let (Some(column), Some(disputed)) = (&self.reference, &mut disputed)
                    && tally.compare(&attempt, column)?
                {
                    disputed.push(&attempt).map_err(data_error)?;
                }
                out.push(&attempt).map_err(data_error)
            },
        )?;
        tally.warn(cx);
        let mut result = StageResult { stats: tally.stats(self.reference.is_some()), ..StageResult::default() };
        if let Some(disputed) = disputed {
            result = result.rows(DISAGREEMENTS, disputed.finish().map_err(data_error)?.rows);
        }
        Ok(result.rows(ROWS, out.finish().map_err(data_error)?.rows))
    }
}

/// Every verifier, built once.
pub(crate) struct Graders {
    by_name: BTreeMap<&'static str, Box<dyn Verifier>>,
    fixed: Option<String>,
}

impl Graders {
    /// With `fixed` for every row, or each row's own verifier.
    ///
    /// # Errors
    /// Options that cannot work.
    pub(crate) fn new(fixed: Option<&str>, options: &VerifyOptions) -> Result<Self, StageError> {
        let wrong = |e: VerifyError| StageError::config(e.to_string());
        let wanted = VERIFIERS.iter().filter(|kind| fixed.is_none_or(|name| name == kind.name));
        let by_name = wanted.map(|kind| Ok((kind.name, (kind.build)(options)?))).collect::<Result<_, VerifyError>>().map_err(wrong)?;
        Ok(Self { by_name, fixed: fixed.map(str::to_owned) })
    }

    /// The attempt with its verdict; whatever verdict it had is replaced.
    ///
    /// # Errors
    /// A row that names no verifier, or one that does not exist.
    pub(crate) fn grade(&self, mut attempt: Attempt) -> Result<Attempt, StageError> {
        let judgement = self.judge(&attempt)?;
        attempt.verdict = Some(judgement.verdict);
        attempt.extracted = judgement.extracted;
        attempt.proof = Some(judgement.proof.as_str().to_owned());
        attempt.verifier_note = Some(judgement.note).filter(|note| !note.is_empty());
        Ok(attempt)
    }

    /// The judgement alone.
    ///
    /// # Errors
    /// As [`Graders::grade`].
    pub(crate) fn judge(&self, attempt: &Attempt) -> Result<Judgement, StageError> {
        let name = self.fixed.as_deref().or(attempt.problem.verifier.as_deref());
        let verifier = name.and_then(|name| self.by_name.get(name));
        let known = || self.by_name.keys().copied().collect::<Vec<_>>().join(", ");
        match (verifier, name) {
            (Some(verifier), _) => Ok(verifier.verify(&Case::from(attempt))),
            (None, Some(name)) => {
                let id = attempt.id();
                Err(StageError::failed(format!("attempt {id} names the verifier `{name}`, which does not exist"))
                    .hint(format!("there are: {}", known())))
            }
            (None, None) => {
                let id = attempt.id();
                Err(StageError::failed(format!("attempt {id} names no verifier")).hint("set `verifier` in the source or in this stage"))
            }
        }
    }
}

/// Verdicts counted as they come.
#[derive(Default)]
struct Tally {
    verdicts: BTreeMap<&'static str, u64>,
    proofs: BTreeMap<String, u64>,
    agree: u64,
    disagree: u64,
    unreferenced: u64,
}

impl Tally {
    fn add(&mut self, attempt: &Attempt) {
        let verdict = attempt.verdict.unwrap_or(Verdict::Undecided);
        *self.verdicts.entry(verdict.as_str()).or_default() += 1;
        *self.proofs.entry(attempt.proof.clone().unwrap_or_default()).or_default() += 1;
    }

    /// Whether the verdict differs from the reference column.
    fn compare(&mut self, attempt: &Attempt, column: &str) -> Result<bool, StageError> {
        let Some(value) = attempt.problem.meta.get(column) else {
            self.unreferenced += 1;
            return Ok(false);
        };
        let said = match value {
            Scalar::Bool(b) => *b,
            Scalar::Int(n) => *n != 0,
            Scalar::Float(f) => *f >= 0.5,
            Scalar::Text(word) => matches!(word.to_lowercase().as_str(), "correct" | "true" | "yes" | "1"),
        };
        let differs = said != (attempt.verdict == Some(Verdict::Correct));
        *(if differs { &mut self.disagree } else { &mut self.agree }) += 1;
        Ok(differs)
    }

    fn warn(&self, cx: &StageContext<'_, App>) {
        let bad_gold = self.proofs.get("bad_gold").copied().unwrap_or(0);
        if bad_gold > 0 {
            cx.message(
                Level::Warning,
                format!(
                    "{bad_gold} attempts have a gold answer or tests that are missing or cannot be read: they are undecided, never correct"
                ),
            );
        }
        if self.unreferenced > 0 {
            cx.message(Level::Warning, format!("{} attempts have no reference verdict", self.unreferenced));
        }
    }

    fn stats(&self, referenced: bool) -> Value {
        let mut stats = json!({ "verdicts": self.verdicts, "proofs": self.proofs });
        if referenced {
            let all = self.agree + self.disagree;
            let share = if all == 0 { Value::Null } else { json!(self.agree as f64 / all as f64) };
            stats["reference"] =
                json!({ "agree": self.agree, "disagree": self.disagree, "without": self.unreferenced, "agreement": share });
        }
        stats
    }
}
