//! Samples: conversations to train on.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use serde::{Deserialize, Serialize};

use super::build;
use super::columns::Columns;
use super::{Meta, MetaFields, Row, UnknownName};
use crate::Result;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said.
    pub content: String,
    /// The trace that led to it, for assistant turns that keep it apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

impl Message {
    /// A turn without reasoning.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into(), reasoning: None }
    }
}

/// What a sample teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleKind {
    /// A correct trace as it is.
    Shortcut,
    /// A trace that goes wrong, notices and recovers.
    Journey,
    /// Conversation without a checked answer.
    General,
}

impl SampleKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Shortcut, Self::Journey, Self::General];

    /// The name as it stands in files and SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shortcut => "shortcut",
            Self::Journey => "journey",
            Self::General => "general",
        }
    }
}

impl fmt::Display for SampleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SampleKind {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| UnknownName::new("sample kind", name, Self::ALL.map(Self::as_str)))
    }
}

/// One conversation to train on, with its lineage.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Unique within an artifact.
    pub sample_id: String,
    /// The problem that it is about.
    pub problem_id: String,
    /// The dataset that the problem came from.
    pub source: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// What it teaches.
    pub kind: SampleKind,
    /// Its weight in the loss.
    pub weight: f32,
    /// The ids of the attempts that it was made of.
    pub lineage: Vec<String>,
    /// Extra columns of the source.
    pub meta: Meta,
}

fn message_fields() -> Fields {
    Fields::from(vec![build::text_field("role", false), build::text_field("content", false), build::text_field("reasoning", true)])
}

/// Names the list element `element`, as pyarrow and HF `datasets` do.
fn list_field(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", item, false))), false)
}

fn fields() -> Vec<Field> {
    vec![
        build::text_field("sample_id", false),
        build::text_field("problem_id", false),
        build::text_field("source", false),
        list_field("messages", DataType::Struct(message_fields())),
        build::text_field("kind", false),
        Field::new("weight", DataType::Float32, false),
        list_field("lineage", DataType::Utf8),
    ]
}

fn list(item: DataType, lengths: impl Iterator<Item = usize>, values: ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("element", item, false));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?))
}

fn messages_array(rows: &[Sample]) -> Result<ArrayRef> {
    let turns = || rows.iter().flat_map(|row| &row.messages);
    let columns = vec![
        build::text(turns().map(|turn| turn.role.as_str())),
        build::text(turns().map(|turn| turn.content.as_str())),
        build::opt_text(turns().map(|turn| turn.reasoning.as_deref())),
    ];
    let turns = StructArray::try_new(message_fields(), columns, None)?;
    list(DataType::Struct(message_fields()), rows.iter().map(|row| row.messages.len()), Arc::new(turns))
}

fn lineage_array(rows: &[Sample]) -> Result<ArrayRef> {
    let ids = StringArray::from_iter_values(rows.iter().flat_map(|row| &row.lineage));
    list(DataType::Utf8, rows.iter().map(|row| row.lineage.len()), Arc::new(ids))
}

impl Row for Sample {
    const NAME: &'static str = "samples";

    fn schema(meta: &MetaFields) -> SchemaRef {
        build::schema(fields(), meta)
    }

    fn to_batch(rows: &[Self], meta: &MetaFields) -> Result<RecordBatch> {
        let arrays = vec![
            build::text(rows.iter().map(|row| row.sample_id.as_str())),
            build::text(rows.iter().map(|row| row.problem_id.as_str())),
            build::text(rows.iter().map(|row| row.source.as_str())),
            messages_array(rows)?,
            build::text(rows.iter().map(|row| row.kind.as_str())),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.weight))),
            lineage_array(rows)?,
        ];
        build::batch(Self::schema(meta), arrays, rows, meta)
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>> {
        let columns = Columns::new::<Self>(batch);
        let ids = columns.text("sample_id")?;
        let problem_ids = columns.opt_text("problem_id")?;
        let sources = columns.opt_text("source")?;
        let mut messages = columns.messages("messages")?;
        let kinds = columns.opt_text("kind")?;
        let weights = columns.opt_f64("weight")?;
        let mut lineages = columns.text_lists("lineage")?;
        let rows = columns.meta()?.into_iter().enumerate().map(|(row, meta)| {
            Ok(Sample {
                sample_id: ids.get(row),
                problem_id: problem_ids.get(row).unwrap_or_default(),
                source: sources.get(row).unwrap_or_default(),
                messages: std::mem::take(&mut messages[row]),
                kind: columns.parse("kind", row, kinds.get_str(row))?.unwrap_or(SampleKind::General),
                weight: weights.get(row).map_or(1.0, |weight| weight as f32),
                lineage: std::mem::take(&mut lineages[row]),
                meta,
            })
        });
        rows.collect()
    }

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.sample_id)
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn approx_bytes(&self) -> usize {
        let turn_bytes = |turn: &Message| turn.role.len() + turn.content.len() + turn.reasoning.as_ref().map_or(0, String::len);
        let ids = self.sample_id.len() + self.problem_id.len() + self.source.len();
        let lineage = self.lineage.iter().map(String::len).sum::<usize>();
        let turns = self.messages.iter().map(turn_bytes).sum::<usize>();
        ids + lineage + turns + build::meta_bytes(&self.meta) + 32
    }
}
