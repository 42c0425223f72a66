//! What a source is told: files, columns and rules. The same struct serves pipeline files and manifests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A table of problems, or of attempts that somebody already has.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// A dataset manifest (`datasets/*.toml`), relative to the file that names it. What else stands
    /// here then overrides the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// The file, relative to the file that names it; `*` stands for any part of a file name, and the
    /// files are read in the order of their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The file's format; told from its name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The name that rows carry as their source; the file's name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which column is what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// The prompt as text with `{column}` for values; `{{` and `}}` are braces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// How the gold answer is found in the gold column; the whole column if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gold_rule: Option<GoldRule>,
    /// A regular expression with one group: the gold answer within the gold column (its last match).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gold_pattern: Option<String>,
    /// Opening and closing tag of the reasoning inside the response, such as `["<think>", "</think>"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tags: Option<[String; 2]>,
    /// Opening and closing tag of the final response, where a source has them too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_tags: Option<[String; 2]>,
    /// The verifier of rows without one of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
    /// The subject area of rows without one of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The teacher of attempts without one of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// What the rows become; attempts if a response or messages are mapped, else problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<SourceKind>,
    /// Put before every id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_prefix: Option<String>,
    /// What to do about a second row with the same id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Duplicates>,
    /// Keep only rows where this SQL condition over the rows' columns holds (`meta.x` for meta columns).
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Leave out this many of the rows kept so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// Stop after this many rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The largest row allowed, in bytes (64 MiB if absent).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_row_bytes: Option<u64>,
}

/// Rows larger than this are refused unless the source says otherwise: 64 MiB.
pub const MAX_ROW_BYTES: u64 = 64 << 20;

impl SourceSpec {
    /// What the rows become.
    pub fn kind(&self) -> SourceKind {
        let replies = self.columns.as_ref().is_some_and(|columns| columns.response.is_some() || columns.messages.is_some());
        self.rows.unwrap_or(if replies { SourceKind::Attempts } else { SourceKind::Problems })
    }

    /// These settings, with those of `base` where they are silent.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        let gold_given = self.gold_rule.is_some() || self.gold_pattern.is_some();
        let (gold_rule, gold_pattern) =
            if gold_given || self.columns.is_some() { (self.gold_rule, self.gold_pattern) } else { (base.gold_rule, base.gold_pattern) };
        Self {
            dataset: None,
            path: self.path.or(base.path),
            format: self.format.or(base.format),
            name: self.name.or(base.name),
            columns: self.columns.or(base.columns),
            prompt_template: self.prompt_template.or(base.prompt_template),
            gold_rule,
            gold_pattern,
            reasoning_tags: self.reasoning_tags.or(base.reasoning_tags),
            response_tags: self.response_tags.or(base.response_tags),
            verifier: self.verifier.or(base.verifier),
            domain: self.domain.or(base.domain),
            teacher: self.teacher.or(base.teacher),
            rows: self.rows.or(base.rows),
            id_prefix: self.id_prefix.or(base.id_prefix),
            duplicates: self.duplicates.or(base.duplicates),
            condition: self.condition.or(base.condition),
            skip: self.skip.or(base.skip),
            limit: self.limit.or(base.limit),
            max_row_bytes: self.max_row_bytes.or(base.max_row_bytes),
        }
    }
}

/// What the rows of a source become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Problems for a teacher.
    Problems,
    /// Problems with replies.
    Attempts,
}

/// A file format; each may be packed with gzip or zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
}

/// What to do about a second row with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Stop with an error that names both places.
    #[default]
    Error,
    /// Keep the first and count the others.
    First,
    /// Keep all, with `-2`, `-3` … after the id.
    Suffix,
}

/// A known way to find the gold answer in a reference solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GoldRule {
    /// The content of the last `\boxed{…}`.
    Boxed,
    /// What follows the last `####`, as in GSM8K.
    Hashes,
}

/// Which column of the table is what. A name with dots reaches into objects (`info.level`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The id; derived from the prompt's content if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The reference answer, or the solution that it is found in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gold: Option<String>,
    /// The tests: a column, or several that become one JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestColumns>,
    /// The dataset that the row came from originally.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The subject area.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The verifier's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
    /// A conversation (`role` and `content`, or `from` and `value`), as a list or JSON text: its first
    /// user turn is the prompt, its last assistant turn the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// The reply, or a list of replies to the same problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The reply's reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The model that replied.
    #[serde(alias = "model", skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// The number of the reply among those to its problem; counted if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_index: Option<String>,
    /// Why the reply ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Whether the reply was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<String>,
    /// Tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<String>,
    /// Tokens of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<String>,
    /// Tokens of the reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<String>,
    /// What the reply cost, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<String>,
    /// Columns to keep as they are, under `meta`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub meta: Vec<String>,
}

/// The columns that hold tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestColumns {
    /// One column with JSON text or a nested value.
    One(String),
    /// Columns that become a JSON object: key → column.
    Object(BTreeMap<String, String>),
}

impl Serialize for TestColumns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(column) => column.serialize(serializer),
            Self::Object(columns) => columns.serialize(serializer),
        }
    }
}

// By hand, because an untagged enum would lose the place of a mistake.
impl<'de> Deserialize<'de> for TestColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TestVisitor;
        impl<'de> Visitor<'de> for TestVisitor {
            type Value = TestColumns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column, a list of columns, or a table of key = column")
            }

            fn visit_str<E>(self, column: &str) -> Result<TestColumns, E> {
                Ok(TestColumns::One(column.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut columns: A) -> Result<TestColumns, A::Error> {
                let mut object = BTreeMap::new();
                while let Some(column) = columns.next_element::<String>()? {
                    object.insert(column.clone(), column);
                }
                Ok(TestColumns::Object(object))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut columns: A) -> Result<TestColumns, A::Error> {
                let mut object = BTreeMap::new();
                while let Some((key, column)) = columns.next_entry()? {
                    object.insert(key, column);
                }
                Ok(TestColumns::Object(object))
            }
        }
        deserializer.deserialize_any(TestVisitor)
    }
}

impl JsonSchema for TestColumns {
    fn schema_name() -> Cow<'static, str> {
        "TestColumns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A column with tests, a list of columns, or a table of key = column.",
            "oneOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
                { "type": "object", "additionalProperties": { "type": "string" } }
            ]
        })
    }
}
