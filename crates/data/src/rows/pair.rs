//! Preference pairs: two replies to one prompt, one preferred to the other.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::build;
use super::columns::Columns;
use super::sample::{list_field, message_type, messages_array, texts_array, turn_bytes};
use super::{Message, Meta, MetaFields, Row};
use crate::Result;

/// A preference pair. Its columns `prompt`, `chosen` and `rejected` are what TRL's preference trainers read.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Unique within an artifact.
    pub pair_id: String,
    /// The problem of both replies.
    pub problem_id: String,
    /// The dataset that the problem came from.
    pub source: String,
    /// System and user turns.
    pub prompt: Vec<Message>,
    /// The preferred reply: one assistant turn.
    pub chosen: Vec<Message>,
    /// The other.
    pub rejected: Vec<Message>,
    /// The ids of the attempts: chosen, rejected.
    pub lineage: Vec<String>,
    /// Extra columns of the source.
    pub meta: Meta,
}

impl Row for Pair {
    const NAME: &'static str = "pairs";

    fn schema(meta: &MetaFields) -> SchemaRef {
        let fields = vec![
            build::text_field("pair_id", false),
            build::text_field("problem_id", false),
            build::text_field("source", false),
            list_field("prompt", message_type()),
            list_field("chosen", message_type()),
            list_field("rejected", message_type()),
            list_field("lineage", arrow::datatypes::DataType::Utf8),
        ];
        build::schema(fields, meta)
    }

    fn to_batch(rows: &[Self], meta: &MetaFields) -> Result<RecordBatch> {
        let arrays = vec![
            build::text(rows.iter().map(|row| row.pair_id.as_str())),
            build::text(rows.iter().map(|row| row.problem_id.as_str())),
            build::text(rows.iter().map(|row| row.source.as_str())),
            messages_array(rows.iter().map(|row| row.prompt.as_slice()))?,
            messages_array(rows.iter().map(|row| row.chosen.as_slice()))?,
            messages_array(rows.iter().map(|row| row.rejected.as_slice()))?,
            texts_array(rows.iter().map(|row| row.lineage.as_slice()))?,
        ];
        build::batch(Self::schema(meta), arrays, rows, meta)
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>> {
        let columns = Columns::new::<Self>(batch);
        let ids = columns.text("pair_id")?;
        let problem_ids = columns.opt_text("problem_id")?;
        let sources = columns.opt_text("source")?;
        let (mut prompts, mut chosen, mut rejected) =
            (columns.messages("prompt")?, columns.messages("chosen")?, columns.messages("rejected")?);
        let mut lineages = columns.text_lists("lineage")?;
        let rows = columns.meta()?.into_iter().enumerate().map(|(row, meta)| Self {
            pair_id: ids.get(row),
            problem_id: problem_ids.get(row).unwrap_or_default(),
            source: sources.get(row).unwrap_or_default(),
            prompt: std::mem::take(&mut prompts[row]),
            chosen: std::mem::take(&mut chosen[row]),
            rejected: std::mem::take(&mut rejected[row]),
            lineage: std::mem::take(&mut lineages[row]),
            meta,
        });
        Ok(rows.collect())
    }

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.pair_id)
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn approx_bytes(&self) -> usize {
        let turns = self.prompt.iter().chain(&self.chosen).chain(&self.rejected).map(turn_bytes).sum::<usize>();
        let ids = self.pair_id.len() + self.problem_id.len() + self.source.len();
        turns + ids + self.lineage.iter().map(String::len).sum::<usize>() + build::meta_bytes(&self.meta) + 32
    }
}
