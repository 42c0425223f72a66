//! Attempts: one reply of a teacher to a problem, and later its verdict.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, SchemaRef};
use serde::{Deserialize, Serialize};

use super::build;
use super::columns::Columns;
use super::{Meta, MetaFields, Problem, Row, UnknownName, problem};
use crate::Result;

/// What a verifier says about a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The final answer is right.
    Correct,
    /// The final answer is wrong or absent.
    Incorrect,
    /// The rules cannot tell; never counted as correct.
    Undecided,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Correct, Self::Incorrect, Self::Undecided];

    /// The name as it stands in files and SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Incorrect => "incorrect",
            Self::Undecided => "undecided",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|verdict| verdict.as_str() == name);
        found.ok_or_else(|| UnknownName::new("verdict", name, Self::ALL.map(Self::as_str)))
    }
}

/// One reply to a problem.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attempt {
    /// The problem that was asked.
    pub problem: Problem,
    /// Which of the problem's samples this is, from 0.
    pub sample_index: u32,
    /// The teacher that replied.
    pub teacher: String,
    /// The trace: the reasoning apart from the final response, where the teacher tells them apart.
    pub reasoning: Option<String>,
    /// The final response.
    pub response: String,
    /// Why generation ended: `stop`, `length`, or the server's own word.
    pub finish_reason: String,
    /// Whether the reply was cut off by a limit.
    pub truncated: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the reply, reasoning included.
    pub completion_tokens: Option<u32>,
    /// Tokens of the reasoning.
    pub reasoning_tokens: Option<u32>,
    /// Whether the token counts are ours because the teacher gave none.
    pub tokens_estimated: bool,
    /// What the reply cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// From request to the last byte, in milliseconds.
    pub latency_ms: Option<u32>,
    /// The key of the request in the journal of replies.
    pub request_key: Option<String>,
    /// The verdict, once verified.
    pub verdict: Option<Verdict>,
    /// The final answer that the verifier found in the reply.
    pub extracted: Option<String>,
    /// How the verdict was reached.
    pub proof: Option<String>,
    /// The verifier's explanation.
    pub verifier_note: Option<String>,
}

impl Attempt {
    /// `{problem_id}#{sample_index}`; also written as a column, so that SQL and other tools see it.
    pub fn attempt_id(&self) -> String {
        format!("{}#{}", self.problem.problem_id, self.sample_index)
    }

    fn texts(&self) -> [Option<&String>; 8] {
        [
            Some(&self.teacher),
            Some(&self.response),
            self.reasoning.as_ref(),
            self.request_key.as_ref(),
            self.extracted.as_ref(),
            self.proof.as_ref(),
            self.verifier_note.as_ref(),
            Some(&self.finish_reason),
        ]
    }
}

fn fields() -> Vec<Field> {
    let mut fields = vec![build::text_field("attempt_id", false)];
    fields.extend(problem::fields());
    fields.extend([
        Field::new("sample_index", DataType::UInt32, false),
        build::text_field("teacher", false),
        build::text_field("reasoning", true),
        build::text_field("response", false),
        build::text_field("finish_reason", false),
        Field::new("truncated", DataType::Boolean, false),
        Field::new("prompt_tokens", DataType::UInt32, true),
        Field::new("completion_tokens", DataType::UInt32, true),
        Field::new("reasoning_tokens", DataType::UInt32, true),
        Field::new("tokens_estimated", DataType::Boolean, false),
        Field::new("cost_usd", DataType::Float64, true),
        Field::new("latency_ms", DataType::UInt32, true),
        build::text_field("request_key", true),
        build::text_field("verdict", true),
        build::text_field("extracted", true),
        build::text_field("proof", true),
        build::text_field("verifier_note", true),
    ]);
    fields
}

impl Row for Attempt {
    const NAME: &'static str = "attempts";

    fn schema(meta: &MetaFields) -> SchemaRef {
        build::schema(fields(), meta)
    }

    fn to_batch(rows: &[Self], meta: &MetaFields) -> Result<RecordBatch> {
        let ids: Vec<String> = rows.iter().map(Self::attempt_id).collect();
        let mut arrays = vec![build::text(ids.iter().map(String::as_str))];
        arrays.extend(problem::arrays(rows.iter().map(|row| &row.problem)));
        arrays.extend([
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.sample_index))) as _,
            build::text(rows.iter().map(|row| row.teacher.as_str())),
            build::opt_text(rows.iter().map(|row| row.reasoning.as_deref())),
            build::text(rows.iter().map(|row| row.response.as_str())),
            build::text(rows.iter().map(|row| row.finish_reason.as_str())),
            Arc::new(rows.iter().map(|row| Some(row.truncated)).collect::<BooleanArray>()) as _,
            Arc::new(rows.iter().map(|row| row.prompt_tokens).collect::<UInt32Array>()) as _,
            Arc::new(rows.iter().map(|row| row.completion_tokens).collect::<UInt32Array>()) as _,
            Arc::new(rows.iter().map(|row| row.reasoning_tokens).collect::<UInt32Array>()) as _,
            Arc::new(rows.iter().map(|row| Some(row.tokens_estimated)).collect::<BooleanArray>()) as _,
            Arc::new(rows.iter().map(|row| row.cost_usd).collect::<Float64Array>()) as _,
            Arc::new(rows.iter().map(|row| row.latency_ms).collect::<UInt32Array>()) as _,
            build::opt_text(rows.iter().map(|row| row.request_key.as_deref())),
            build::opt_text(rows.iter().map(|row| row.verdict.map(Verdict::as_str))),
            build::opt_text(rows.iter().map(|row| row.extracted.as_deref())),
            build::opt_text(rows.iter().map(|row| row.proof.as_deref())),
            build::opt_text(rows.iter().map(|row| row.verifier_note.as_deref())),
        ]);
        build::batch(Self::schema(meta), arrays, rows, meta)
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>> {
        let columns = Columns::new::<Self>(batch);
        let sample_indices = columns.opt_u32("sample_index")?;
        let teachers = columns.opt_text("teacher")?;
        let reasonings = columns.opt_text("reasoning")?;
        let responses = columns.text("response")?;
        let finish_reasons = columns.opt_text("finish_reason")?;
        let truncated = columns.opt_bool("truncated")?;
        let prompt_tokens = columns.opt_u32("prompt_tokens")?;
        let completion_tokens = columns.opt_u32("completion_tokens")?;
        let reasoning_tokens = columns.opt_u32("reasoning_tokens")?;
        let tokens_estimated = columns.opt_bool("tokens_estimated")?;
        let costs = columns.opt_f64("cost_usd")?;
        let latencies = columns.opt_u32("latency_ms")?;
        let request_keys = columns.opt_text("request_key")?;
        let verdicts = columns.opt_text("verdict")?;
        let extracted = columns.opt_text("extracted")?;
        let proofs = columns.opt_text("proof")?;
        let notes = columns.opt_text("verifier_note")?;
        let rows = problem::read(&columns)?.into_iter().enumerate().map(|(row, problem)| {
            Ok(Attempt {
                problem,
                sample_index: sample_indices.get(row).unwrap_or(0),
                teacher: teachers.get(row).unwrap_or_default(),
                reasoning: reasonings.get(row),
                response: responses.get(row),
                finish_reason: finish_reasons.get(row).unwrap_or_default(),
                truncated: truncated.get(row).unwrap_or(false),
                prompt_tokens: prompt_tokens.get(row),
                completion_tokens: completion_tokens.get(row),
                reasoning_tokens: reasoning_tokens.get(row),
                tokens_estimated: tokens_estimated.get(row).unwrap_or(false),
                cost_usd: costs.get(row),
                latency_ms: latencies.get(row),
                request_key: request_keys.get(row),
                verdict: columns.parse("verdict", row, verdicts.get_str(row))?,
                extracted: extracted.get(row),
                proof: proofs.get(row),
                verifier_note: notes.get(row),
            })
        });
        rows.collect()
    }

    fn id(&self) -> Cow<'_, str> {
        Cow::Owned(self.attempt_id())
    }

    fn meta(&self) -> &Meta {
        &self.problem.meta
    }

    fn approx_bytes(&self) -> usize {
        let texts = self.texts().into_iter().flatten().map(String::len).sum::<usize>();
        self.problem.text_bytes() + self.problem.problem_id.len() + texts + 64
    }
}
