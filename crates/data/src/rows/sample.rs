//! Samples: conversations to train on.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
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

/// The text of a message that a [`LossSpan`] lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessagePart {
    /// The message's `content`.
    Content,
    /// The message's `reasoning`.
    Reasoning,
}

impl MessagePart {
    /// Every part.
    pub const ALL: [Self; 2] = [Self::Content, Self::Reasoning];

    /// The name as it stands in files and SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Reasoning => "reasoning",
        }
    }
}

impl FromStr for MessagePart {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|part| part.as_str() == name);
        found.ok_or_else(|| UnknownName::new("part of a message", name, Self::ALL.map(Self::as_str)))
    }
}

/// A stretch of an assistant's message that counts otherwise in the loss than the rest of the sample: how a student
/// learns a correction without learning the mistake before it.
///
/// Spans of one part do not overlap. Whoever changes a message's text must move or drop its spans.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossSpan {
    /// Which message, from 0.
    pub message: u32,
    /// Which text of it.
    pub part: MessagePart,
    /// The first character (Unicode scalar value) of the span, from 0.
    pub start: u32,
    /// The character after the last.
    pub end: u32,
    /// Factor on the sample's weight for the tokens in the span; 0 leaves them out of the loss.
    pub weight: f32,
}

impl LossSpan {
    /// The bytes of `text`, the message's part, that the span covers; what lies beyond the text is left out.
    pub fn bytes(&self, text: &str) -> std::ops::Range<usize> {
        let byte = |character: u32| text.char_indices().nth(character as usize).map_or(text.len(), |(at, _)| at);
        let start = byte(self.start);
        start..byte(self.end).max(start)
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
    /// Stretches with a weight of their own; empty where the whole sample has one.
    pub loss_spans: Vec<LossSpan>,
    /// The ids of the attempts that it was made of.
    pub lineage: Vec<String>,
    /// Extra columns of the source.
    pub meta: Meta,
}

fn message_fields() -> Fields {
    Fields::from(vec![build::text_field("role", false), build::text_field("content", false), build::text_field("reasoning", true)])
}

/// The Arrow type of a message.
pub(super) fn message_type() -> DataType {
    DataType::Struct(message_fields())
}

/// Names the list element `element`, as pyarrow and HF `datasets` do.
pub(super) fn list_field(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", item, false))), false)
}

fn fields() -> Vec<Field> {
    vec![
        build::text_field("sample_id", false),
        build::text_field("problem_id", false),
        build::text_field("source", false),
        list_field("messages", message_type()),
        build::text_field("kind", false),
        Field::new("weight", DataType::Float32, false),
        list_field("lineage", DataType::Utf8),
        // Null where a sample has none, so that files from before this column was there read and conform.
        list_field("loss_spans", DataType::Struct(span_fields())).with_nullable(true),
    ]
}

fn span_fields() -> Fields {
    Fields::from(vec![
        Field::new("message", DataType::UInt32, false),
        build::text_field("part", false),
        Field::new("start", DataType::UInt32, false),
        Field::new("end", DataType::UInt32, false),
        Field::new("weight", DataType::Float32, false),
    ])
}

fn spans_array(rows: &[Sample]) -> Result<ArrayRef> {
    let spans = || rows.iter().flat_map(|row| &row.loss_spans);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(spans().map(|span| span.message))),
        build::text(spans().map(|span| span.part.as_str())),
        Arc::new(UInt32Array::from_iter_values(spans().map(|span| span.start))),
        Arc::new(UInt32Array::from_iter_values(spans().map(|span| span.end))),
        Arc::new(Float32Array::from_iter_values(spans().map(|span| span.weight))),
    ];
    let values = StructArray::try_new(span_fields(), columns, None)?;
    let item = Arc::new(Field::new("element", DataType::Struct(span_fields()), false));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.loss_spans.len()));
    let present: NullBuffer = rows.iter().map(|row| !row.loss_spans.is_empty()).collect();
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(values), Some(present))?))
}

fn list(item: DataType, lengths: impl Iterator<Item = usize>, values: ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("element", item, false));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?))
}

pub(super) fn messages_array<'a>(rows: impl Iterator<Item = &'a [Message]> + Clone) -> Result<ArrayRef> {
    let turns = || rows.clone().flatten();
    let columns = vec![
        build::text(turns().map(|turn| turn.role.as_str())),
        build::text(turns().map(|turn| turn.content.as_str())),
        build::opt_text(turns().map(|turn| turn.reasoning.as_deref())),
    ];
    let turns = StructArray::try_new(message_fields(), columns, None)?;
    list(message_type(), rows.map(<[Message]>::len), Arc::new(turns))
}

pub(super) fn texts_array<'a>(rows: impl Iterator<Item = &'a [String]> + Clone) -> Result<ArrayRef> {
    let texts = StringArray::from_iter_values(rows.clone().flatten());
    list(DataType::Utf8, rows.map(<[String]>::len), Arc::new(texts))
}

pub(super) fn turn_bytes(turn: &Message) -> usize {
    turn.role.len() + turn.content.len() + turn.reasoning.as_ref().map_or(0, String::len)
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
            messages_array(rows.iter().map(|row| row.messages.as_slice()))?,
            build::text(rows.iter().map(|row| row.kind.as_str())),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.weight))),
            texts_array(rows.iter().map(|row| row.lineage.as_slice()))?,
            spans_array(rows)?,
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
        let mut loss_spans = columns.loss_spans("loss_spans")?;
        let rows = columns.meta()?.into_iter().enumerate().map(|(row, meta)| {
            Ok(Sample {
                sample_id: ids.get(row),
                problem_id: problem_ids.get(row).unwrap_or_default(),
                source: sources.get(row).unwrap_or_default(),
                messages: std::mem::take(&mut messages[row]),
                kind: columns.parse("kind", row, kinds.get_str(row))?.unwrap_or(SampleKind::General),
                weight: weights.get(row).map_or(1.0, |weight| weight as f32),
                loss_spans: std::mem::take(&mut loss_spans[row]),
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
        let ids = self.sample_id.len() + self.problem_id.len() + self.source.len();
        let lineage = self.lineage.iter().map(String::len).sum::<usize>();
        let turns = self.messages.iter().map(turn_bytes).sum::<usize>();
        let spans = size_of_val(self.loss_spans.as_slice());
        ids + lineage + turns + spans + build::meta_bytes(&self.meta) + 32
    }
}
