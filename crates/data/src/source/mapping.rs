//! From records of a source table to attempts (or problems: attempts without a reply).

use serde_json::{Map, Value};

use super::cell::Cell;
use super::records::Record;
use super::spec::{Columns, SourceKind, SourceSpec, TestColumns};
use super::text::{self, Conversation, Gold, Piece};
use crate::error::Place;
use crate::{Attempt, DataError, Meta, MetaFields, Problem, Result};

/// Wanted columns by the position they have in records.
#[derive(Debug, Clone, Default)]
struct Wanted(Vec<String>);

impl Wanted {
    fn position(&mut self, name: &str) -> usize {
        if let Some(position) = self.0.iter().position(|known| known == name) {
            return position;
        }
        self.0.push(name.to_owned());
        self.0.len() - 1
    }

    fn optional(&mut self, name: Option<&String>) -> Option<usize> {
        name.map(|name| self.position(name))
    }
}

#[derive(Debug, Clone)]
enum PromptPiece {
    Text(String),
    Column(usize),
}

#[derive(Debug, Clone)]
enum Tests {
    One(usize),
    Object(Vec<(String, usize)>),
}

/// Positions of the columns of a reply.
#[derive(Debug, Clone, Default)]
struct ReplyColumns {
    response: Option<usize>,
    reasoning: Option<usize>,
    teacher: Option<usize>,
    sample_index: Option<usize>,
    finish_reason: Option<usize>,
    truncated: Option<usize>,
    prompt_tokens: Option<usize>,
    completion_tokens: Option<usize>,
    reasoning_tokens: Option<usize>,
    cost_usd: Option<usize>,
}

/// Settings of a source, checked, with columns as positions.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    wanted: Wanted,
    kind: SourceKind,
    prompt: Vec<PromptPiece>,
    messages: Option<usize>,
    id: Option<usize>,
    id_prefix: String,
    gold: Option<usize>,
    gold_rule: Gold,
    tests: Option<Tests>,
    source: Option<usize>,
    source_name: String,
    domain: Option<usize>,
    domain_default: Option<String>,
    verifier: Option<usize>,
    verifier_default: Option<String>,
    reply: ReplyColumns,
    teacher_default: String,
    reasoning_tags: Option<[String; 2]>,
    response_tags: Option<[String; 2]>,
    meta: Vec<(String, usize)>,
}

/// The attempts of one record, before ids are made unique.
pub(super) struct Mapped {
    pub(super) attempts: Vec<Attempt>,
    /// Whether the record says which sample of its problem it is.
    pub(super) numbered: bool,
    /// Whether a gold answer was looked for and not found.
    pub(super) without_gold: bool,
}

impl Mapping {
    pub(super) fn new(spec: &SourceSpec, source_name: &str) -> Result<Self> {
        let none = Columns::default();
        let columns = spec.columns.as_ref().unwrap_or(&none);
        let mut wanted = Wanted::default();
        let kind = spec.kind();
        if kind == SourceKind::Attempts && columns.response.is_none() && columns.messages.is_none() {
            return Err(DataError::setting("`rows = \"attempts\"` without replies", "map `response` or `messages` in `columns`"));
        }
        if (spec.gold_rule.is_some() || spec.gold_pattern.is_some()) && columns.gold.is_none() {
            return Err(DataError::setting("a rule for the gold answer without a gold column", "set `columns.gold`"));
        }
        Ok(Self {
            kind,
            prompt: prompt(spec, columns, &mut wanted)?,
            messages: wanted.optional(columns.messages.as_ref()),
            id: wanted.optional(columns.id.as_ref()),
            id_prefix: spec.id_prefix.clone().unwrap_or_default(),
            gold: wanted.optional(columns.gold.as_ref()),
            gold_rule: Gold::new(spec.gold_rule, spec.gold_pattern.as_deref())?,
            tests: columns.tests.as_ref().map(|tests| match tests {
                TestColumns::One(column) => Tests::One(wanted.position(column)),
                TestColumns::Object(columns) => {
                    Tests::Object(columns.iter().map(|(key, column)| (key.clone(), wanted.position(column))).collect())
                }
            }),
            source: wanted.optional(columns.source.as_ref()),
            source_name: source_name.to_owned(),
            domain: wanted.optional(columns.domain.as_ref()),
            domain_default: spec.domain.clone(),
            verifier: wanted.optional(columns.verifier.as_ref()),
            verifier_default: spec.verifier.clone(),
            reply: reply_columns(columns, kind, &mut wanted),
            teacher_default: spec.teacher.clone().unwrap_or_default(),
            reasoning_tags: spec.reasoning_tags.clone(),
            response_tags: spec.response_tags.clone(),
            meta: columns.meta.iter().map(|name| (name.clone(), wanted.position(name))).collect(),
            wanted,
        })
    }

    pub(super) fn kind(&self) -> SourceKind {
        self.kind
    }

    /// The column with a reply, or with a list of them.
    pub(super) fn reply_column(&self) -> Option<&str> {
        self.reply.response.map(|column| self.wanted.0[column].as_str())
    }

    /// The columns to read, in the order that records have them.
    pub(super) fn wanted(&self) -> &[String] {
        &self.wanted.0
    }

    /// The attempts of a record; a problem is an attempt without a reply.
    pub(super) fn map(&self, record: &Record, fields: &MetaFields) -> Result<Mapped> {
        let row = Row { cells: &record.cells, place: &record.place, names: &self.wanted.0 };
        let conversation = self.conversation(row)?;
        let prompt = self.prompt(row, &conversation)?;
        let gold = self.gold.and_then(|gold| row.text(gold)).filter(|gold| !gold.trim().is_empty());
        let found = gold.as_deref().and_then(|gold| self.gold_rule.find(gold)).map(str::to_owned);
        let id = match self.id {
            Some(id) => row.text(id).filter(|id| !id.is_empty()).ok_or_else(|| row.missing(id))?,
            None => content_id(&prompt),
        };
        let problem = Problem {
            problem_id: format!("{}{id}", self.id_prefix),
            source: row.text_or(self.source, Some(&self.source_name)).unwrap_or_default(),
            domain: row.text_or(self.domain, self.domain_default.as_ref()),
            prompt,
            gold: found,
            tests: self.tests(row)?,
            verifier: row.text_or(self.verifier, self.verifier_default.as_ref()),
            meta: self.meta(row, fields),
        };
        let without_gold = self.gold.is_some() && problem.gold.is_none();
        let attempts = match self.kind {
            SourceKind::Problems => vec![Attempt { problem, ..Attempt::default() }],
            SourceKind::Attempts => self.replies(row, problem, conversation)?,
        };
        Ok(Mapped { attempts, numbered: self.reply.sample_index.is_some(), without_gold })
    }

    fn conversation(&self, row: Row<'_>) -> Result<Conversation> {
        let Some(messages) = self.messages else {
            return Ok(Conversation::default());
        };
        let cell = row.cell(messages);
        if cell.is_null() {
            return Err(row.missing(messages));
        }
        text::conversation(&cell.json()).map_err(|what| row.wrong(messages, &what))
    }

    fn prompt(&self, row: Row<'_>, conversation: &Conversation) -> Result<String> {
        let mut prompt = String::new();
        for piece in &self.prompt {
            match piece {
                PromptPiece::Text(text) => prompt.push_str(text),
                PromptPiece::Column(column) => {
                    if let (Cell::Json(_), 1) = (row.cell(*column), self.prompt.len()) {
                        return Err(row.wrong(*column, "a list or object; map a conversation as `messages`"));
                    }
                    prompt.push_str(&row.text(*column).ok_or_else(|| row.missing(*column))?);
                }
            }
        }
        if self.prompt.is_empty() {
            let messages = self.messages.unwrap_or(0);
            prompt = conversation.prompt.clone().ok_or_else(|| row.wrong(messages, "no user turn"))?;
        }
        if prompt.trim().is_empty() {
            return Err(DataError::Value {
                place: row.place.clone(),
                what: "the prompt is empty".to_owned(),
                hint: Some("remove the row or map another column to `prompt`".to_owned()),
            });
        }
        Ok(prompt)
    }

    fn tests(&self, row: Row<'_>) -> Result<Option<String>> {
        Ok(match &self.tests {
            None => None,
            Some(Tests::One(column)) => match row.cell(*column) {
                Cell::Text(text) if text.trim().is_empty() => None,
                Cell::Text(text) => {
                    serde_json::from_str::<&serde_json::value::RawValue>(text)
                        .map_err(|error| row.wrong(*column, &format!("tests that are no JSON: {error}")))?;
                    Some(text.clone())
                }
                cell => cell.text(),
            },
            Some(Tests::Object(columns)) => {
                let pairs = columns.iter().map(|(key, column)| (key.clone(), row.cell(*column).json()));
                Some(Value::Object(pairs.collect::<Map<_, _>>()).to_string())
            }
        })
    }

    fn meta(&self, row: Row<'_>, fields: &MetaFields) -> Meta {
        let values = self.meta.iter().filter_map(|(name, column)| {
            let kind = fields.0.get(name)?;
            Some((name.clone(), row.cell(*column).scalar(*kind)?))
        });
        values.collect()
    }

    fn replies(&self, row: Row<'_>, problem: Problem, conversation: Conversation) -> Result<Vec<Attempt>> {
        let texts = match (self.reply.response, conversation.response) {
            (Some(response), _) => match row.cell(response) {
                Cell::Json(Value::Array(replies)) => {
                    let text =
                        |reply: &Value| reply.as_str().map(str::to_owned).ok_or_else(|| row.wrong(response, "a reply that is no text"));
                    replies.iter().map(text).collect::<Result<Vec<_>>>()?
                }
                Cell::Null => return Err(row.missing(response)),
                cell => cell.text().into_iter().collect(),
            },
            (None, Some(response)) => vec![response],
            (None, None) => {
                let what = "no assistant turn; for problems alone set `rows = \"problems\"`";
                return Err(row.wrong(self.messages.unwrap_or(0), what));
            }
        };
        let first = self.count(row, self.reply.sample_index)?.unwrap_or(0);
        let reasoning = self.reply.reasoning.and_then(|reasoning| row.text(reasoning)).or(conversation.reasoning);
        let replies = texts.into_iter().zip(first..).map(|(text, sample_index)| {
            self.reply(row, Reply { problem: problem.clone(), sample_index, reasoning: reasoning.clone(), text })
        });
        replies.collect()
    }

    fn reply(&self, row: Row<'_>, reply: Reply) -> Result<Attempt> {
        let Reply { problem, sample_index, reasoning, text } = reply;
        let (reasoning, response) = match (&self.reasoning_tags, reasoning) {
            (Some(tags), None) => text::split_reasoning(&text, tags),
            (_, reasoning) => (reasoning, text),
        };
        let response = self.response_tags.as_ref().map_or_else(|| response.clone(), |tags| text::inside(&response, tags));
        let columns = &self.reply;
        let finish_reason = columns.finish_reason.and_then(|column| row.text(column));
        let cut = columns.truncated.and_then(|column| row.cell(column).boolean());
        Ok(Attempt {
            problem,
            sample_index,
            teacher: row.text_or(columns.teacher, Some(&self.teacher_default)).unwrap_or_default(),
            reasoning,
            response,
            truncated: cut.unwrap_or(finish_reason.as_deref() == Some("length")),
            finish_reason: finish_reason.unwrap_or_else(|| "unknown".to_owned()),
            prompt_tokens: self.count(row, columns.prompt_tokens)?,
            completion_tokens: self.count(row, columns.completion_tokens)?,
            reasoning_tokens: self.count(row, columns.reasoning_tokens)?,
            cost_usd: columns.cost_usd.and_then(|column| row.cell(column).number()),
            ..Attempt::default()
        })
    }

    fn count(&self, row: Row<'_>, column: Option<usize>) -> Result<Option<u32>> {
        let Some(column) = column else {
            return Ok(None);
        };
        let cell = row.cell(column);
        match cell.number() {
            Some(number) if number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0 => Ok(Some(number as u32)),
            None if cell.is_null() => Ok(None),
            _ => Err(row.wrong(column, &format!("{}, where a count is needed", cell.text().unwrap_or_default()))),
        }
    }
}

struct Reply {
    problem: Problem,
    sample_index: u32,
    reasoning: Option<String>,
    text: String,
}

fn prompt(spec: &SourceSpec, columns: &Columns, wanted: &mut Wanted) -> Result<Vec<PromptPiece>> {
    match (&spec.prompt_template, &columns.prompt) {
        (Some(template), _) => {
            let piece = |piece| match piece {
                Piece::Text(text) => PromptPiece::Text(text),
                Piece::Column(name) => PromptPiece::Column(wanted.position(&name)),
            };
            Ok(text::template(template)?.into_iter().map(piece).collect())
        }
        (None, Some(column)) => Ok(vec![PromptPiece::Column(wanted.position(column))]),
        (None, None) if columns.messages.is_some() => Ok(Vec::new()),
        (None, None) => Err(DataError::setting(
            "nothing says which column holds the prompt",
            "set `columns = { prompt = \"…\" }`, `prompt_template` or `columns.messages`",
        )),
    }
}

fn reply_columns(columns: &Columns, kind: SourceKind, wanted: &mut Wanted) -> ReplyColumns {
    if kind == SourceKind::Problems {
        return ReplyColumns::default();
    }
    ReplyColumns {
        response: wanted.optional(columns.response.as_ref()),
        reasoning: wanted.optional(columns.reasoning.as_ref()),
        teacher: wanted.optional(columns.teacher.as_ref()),
        sample_index: wanted.optional(columns.sample_index.as_ref()),
        finish_reason: wanted.optional(columns.finish_reason.as_ref()),
        truncated: wanted.optional(columns.truncated.as_ref()),
        prompt_tokens: wanted.optional(columns.prompt_tokens.as_ref()),
        completion_tokens: wanted.optional(columns.completion_tokens.as_ref()),
        reasoning_tokens: wanted.optional(columns.reasoning_tokens.as_ref()),
        cost_usd: wanted.optional(columns.cost_usd.as_ref()),
    }
}

/// An id that depends on the prompt alone.
fn content_id(prompt: &str) -> String {
    format!("b3-{}", &blake3::hash(prompt.as_bytes()).to_hex()[..16])
}

/// The cells of a record with what messages about them need.
#[derive(Clone, Copy)]
struct Row<'a> {
    cells: &'a [Cell],
    place: &'a Place,
    names: &'a [String],
}

impl<'a> Row<'a> {
    fn cell(self, column: usize) -> &'a Cell {
        self.cells.get(column).unwrap_or(&Cell::Null)
    }

    fn text(self, column: usize) -> Option<String> {
        self.cell(column).text()
    }

    fn text_or(self, column: Option<usize>, default: Option<&String>) -> Option<String> {
        column.and_then(|column| self.text(column)).or_else(|| default.cloned())
    }

    fn missing(self, column: usize) -> DataError {
        DataError::value(self.place.clone(), format!("column `{}` is missing or null", self.names[column]))
    }

    fn wrong(self, column: usize, what: &str) -> DataError {
        let name = self.names.get(column).map_or("", String::as_str);
        DataError::value(self.place.clone(), format!("column `{name}`: {what}"))
    }
}
