//! Labels that a teacher gives: which columns, how they are asked for, and what of a reply can be used.
//!
//! A reply holds one JSON object with a value for each column. Replies are written by language models, so a value is taken where its
//! meaning is plain (`"7"` for 7, another case of a listed word) and refused with a reason where it is not.

use std::collections::BTreeMap;
use std::fmt;

use potstill_data::{MetaFields, Scalar, ScalarKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::CurateError;

/// The type of a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// Text, one of `values` where these are given.
    #[default]
    Text,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
}

/// A column that a teacher fills.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Label {
    /// The type of its values.
    pub kind: LabelKind,
    /// What it means; told to the teacher.
    pub about: String,
    /// The texts that are allowed; any if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The smallest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// The columns to fill, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, Label>);

/// Why a reply gives no labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unlabelled {
    /// The reply holds no JSON object with any of the columns.
    NoObject,
    /// A column is not in the object, or null.
    Missing(String),
    /// A value has another type.
    Type(String),
    /// A value is none of those allowed, or out of range.
    NotAllowed(String),
}

impl fmt::Display for Unlabelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject => f.write_str("no JSON object in the reply"),
            Self::Missing(column) => write!(f, "`{column}` is missing"),
            Self::Type(column) => write!(f, "`{column}` has another type"),
            Self::NotAllowed(column) => write!(f, "`{column}` has a value that is not allowed"),
        }
    }
}

/// Places of a reply at which an object may begin that are tried, from its end.
const TRIED: usize = 64;
/// The longest text of a label without listed values, in characters.
const LONGEST: usize = 2000;

impl Labels {
    /// Checks the columns.
    ///
    /// # Errors
    /// No columns, one that rows have by themselves, or limits that allow nothing or do not fit the type.
    pub fn check(&self) -> Result<(), CurateError> {
        let wrong = |limit: &str, found: String| Err(CurateError::OutOfRange { setting: "columns", limit: limit.into(), found });
        if self.0.is_empty() {
            return wrong("at least one column", "none".into());
        }
        for (name, label) in &self.0 {
            let named = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
            if !named {
                return wrong("names of letters, digits and `_`", format!("`{name}`"));
            }
            if TAKEN.contains(&name.as_str()) {
                return wrong("columns that rows do not have by themselves", format!("`{name}`"));
            }
            let number = matches!(label.kind, LabelKind::Int | LabelKind::Float);
            if !label.values.is_empty() && label.kind != LabelKind::Text {
                return wrong("`values` for text only", format!("them for `{name}`"));
            }
            if (label.min.is_some() || label.max.is_some()) && !number {
                return wrong("`min` and `max` for numbers only", format!("them for `{name}`"));
            }
            if label.min.zip(label.max).is_some_and(|(min, max)| min > max) {
                return wrong("`min` not above `max`", format!("the opposite for `{name}`"));
            }
            if name == DOMAIN && label.kind != LabelKind::Text {
                return wrong("text for `domain`", format!("{:?}", label.kind).to_lowercase());
            }
        }
        Ok(())
    }

    /// What the teacher is told to reply: the object's form, as text for a prompt.
    #[must_use]
    pub fn form(&self) -> String {
        let mut text = String::from("Reply with one JSON object and nothing else. It has these keys:");
        for (name, label) in &self.0 {
            let range = match (label.min, label.max) {
                (Some(min), Some(max)) => format!(" from {min} to {max}"),
                (Some(min), None) => format!(" of at least {min}"),
                (None, Some(max)) => format!(" of at most {max}"),
                (None, None) => String::new(),
            };
            let kind = match label.kind {
                LabelKind::Text if !label.values.is_empty() => {
                    let values: Vec<String> = label.values.iter().map(|value| json!(value).to_string()).collect();
                    format!("one of {}", values.join(", "))
                }
                LabelKind::Text => "a text".to_owned(),
                LabelKind::Int => format!("a whole number{range}"),
                LabelKind::Float => format!("a number{range}"),
                LabelKind::Bool => "true or false".to_owned(),
            };
            let about = if label.about.is_empty() { String::new() } else { format!("; {}", label.about) };
            text.push_str(&format!("\n- {}: {kind}{about}", json!(name)));
        }
        text
    }

    /// The labels in a reply.
    ///
    /// # Errors
    /// Why it gives none.
    pub fn read(&self, reply: &str) -> Result<BTreeMap<String, Scalar>, Unlabelled> {
        let object = self.object(reply).ok_or(Unlabelled::NoObject)?;
        self.0.iter().map(|(name, label)| Ok((name.clone(), label.read(name, object.get(name))?))).collect()
    }

    /// The last JSON object in the reply that has one of the keys: models think aloud before they answer.
    fn object(&self, reply: &str) -> Option<Map<String, Value>> {
        let starts = reply.rmatch_indices('{').take(TRIED).map(|(at, _)| at);
        let objects = starts.filter_map(|at| {
            let mut values = serde_json::Deserializer::from_str(&reply[at..]).into_iter::<Value>();
            match values.next() {
                Some(Ok(Value::Object(object))) => Some(object),
                _ => None,
            }
        });
        objects.into_iter().find(|object| self.0.keys().any(|name| object.contains_key(name)))
    }

    /// The meta fields that the labels add; `domain` is a column of its own.
    #[must_use]
    pub fn meta_fields(&self, mut fields: MetaFields) -> MetaFields {
        for (name, label) in self.0.iter().filter(|(name, _)| *name != DOMAIN) {
            fields.add(name, label.scalar_kind());
        }
        fields
    }
}

/// The label that becomes a row's own column instead of a meta field.
pub const DOMAIN: &str = "domain";

/// Columns of rows that no label may take.
const TAKEN: [&str; 12] = [
    "problem_id",
    "attempt_id",
    "source",
    "prompt",
    "gold",
    "tests",
    "verifier",
    "meta",
    "response",
    "reasoning",
    "verdict",
    "sample_index",
];

impl Label {
    fn scalar_kind(&self) -> ScalarKind {
        match self.kind {
            LabelKind::Text => ScalarKind::Text,
            LabelKind::Int => ScalarKind::Int,
            LabelKind::Float => ScalarKind::Float,
            LabelKind::Bool => ScalarKind::Bool,
        }
    }

    fn read(&self, name: &str, value: Option<&Value>) -> Result<Scalar, Unlabelled> {
        let value = value.filter(|value| !value.is_null()).ok_or_else(|| Unlabelled::Missing(name.to_owned()))?;
        let wrong = || Unlabelled::Type(name.to_owned());
        let not_allowed = || Unlabelled::NotAllowed(name.to_owned());
        match self.kind {
            LabelKind::Text => {
                let text = value.as_str().ok_or_else(wrong)?.trim();
                if self.values.is_empty() {
                    let fits = !text.is_empty() && text.chars().count() <= LONGEST;
                    return if fits { Ok(Scalar::Text(text.to_owned())) } else { Err(not_allowed()) };
                }
                let listed = self.values.iter().find(|listed| listed.trim().to_lowercase() == text.to_lowercase());
                listed.map(|listed| Scalar::Text(listed.clone())).ok_or_else(not_allowed)
            }
            LabelKind::Bool => bool_of(value).map(Scalar::Bool).ok_or_else(wrong),
            LabelKind::Int | LabelKind::Float => {
                let number =
                    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|n: &f64| n.is_finite()).ok_or_else(wrong)?;
                if self.min.is_some_and(|min| number < min) || self.max.is_some_and(|max| number > max) {
                    return Err(not_allowed());
                }
                if self.kind == LabelKind::Float {
                    return Ok(Scalar::Float(number));
                }
                // Beyond 2^53 a JSON number may have lost its last digits already.
                if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 { Err(wrong()) } else { Ok(Scalar::Int(number as i64)) }
            }
        }
    }
}

fn bool_of(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "true" | "yes" => Some(true),
            "false" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> Labels {
        let text = |values: &[&str]| Label { values: values.iter().map(|v| (*v).to_owned()).collect(), ..Label::default() };
        let int = Label { kind: LabelKind::Int, min: Some(1.0), max: Some(10.0), about: "10 is hardest".into(), ..Label::default() };
        Labels(BTreeMap::from([("topic".into(), text(&["Algebra", "Geometry"])), ("difficulty".into(), int)]))
    }

    fn found(reply: &str) -> Result<Vec<(String, Scalar)>, String> {
        labels().read(reply).map(|labels| labels.into_iter().collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn values_are_read_where_their_meaning_is_plain() {
        let right = Ok(vec![("difficulty".to_owned(), Scalar::Int(7)), ("topic".to_owned(), Scalar::Text("Algebra".into()))]);
        for reply in [
            r#"{"topic":"Algebra","difficulty":7}"#,
            "```json\n{\"topic\": \" algebra \", \"difficulty\": \"7\", \"more\": [1]}\n```",
            "Set {1, 2} first; maybe {\"topic\":\"Geometry\",\"difficulty\":3}? No:\n{\"difficulty\":7.0,\"topic\":\"ALGEBRA\"} done",
        ] {
            assert_eq!(found(reply), right, "{reply}");
        }
    }

    #[test]
    fn what_is_not_plain_is_refused_with_its_reason() {
        for (reply, reason) in [
            ("I would say algebra", "no JSON object in the reply"),
            (r#"{"topic":"Algebra","difficulty":7"#, "no JSON object in the reply"),
            (r#"{"topic":"Algebra"}"#, "`difficulty` is missing"),
            (r#"{"topic":null,"difficulty":7}"#, "`topic` is missing"),
            (r#"{"topic":"Algebra","difficulty":7.5}"#, "`difficulty` has another type"),
            (r#"{"topic":"Algebra","difficulty":[7]}"#, "`difficulty` has another type"),
            (r#"{"topic":"Algebra","difficulty":11}"#, "`difficulty` has a value that is not allowed"),
            (r#"{"topic":"Topology","difficulty":1}"#, "`topic` has a value that is not allowed"),
        ] {
            assert_eq!(found(reply), Err(reason.to_owned()), "{reply}");
        }
    }

    #[test]
    fn columns_that_cannot_be_are_refused() {
        let with = |name: &str, label: Label| Labels(BTreeMap::from([(name.to_owned(), label)])).check();
        assert!(labels().check().is_ok() && with("domain", Label::default()).is_ok());
        assert!(Labels::default().check().is_err() && with("gold", Label::default()).is_err() && with("a b", Label::default()).is_err());
        assert!(with("x", Label { kind: LabelKind::Int, values: vec!["1".into()], ..Label::default() }).is_err());
        assert!(with("x", Label { min: Some(1.0), ..Label::default() }).is_err());
        assert!(with("x", Label { kind: LabelKind::Int, min: Some(2.0), max: Some(1.0), ..Label::default() }).is_err());
        assert!(with("domain", Label { kind: LabelKind::Bool, ..Label::default() }).is_err());
    }

    #[test]
    fn the_form_names_every_key_and_its_values() {
        let form = labels().form();
        assert!(form.contains("- \"difficulty\": a whole number from 1 to 10; 10 is hardest"), "{form}");
        assert!(form.contains("- \"topic\": one of \"Algebra\", \"Geometry\""), "{form}");
    }

    proptest! {
        #[test]
        fn no_reply_breaks_the_reader(reply in "[{}\"\\[\\]:,a-z0-9 \\\\]{0,200}") {
            drop(labels().read(&reply));
        }

        #[test]
        fn what_is_written_as_json_is_read_back(topic in 0..2_usize, difficulty in 1..=10_i64, before in "[^{}]{0,40}") {
            let topic = ["Algebra", "Geometry"][topic];
            let reply = format!("{before}{}", json!({ "topic": topic, "difficulty": difficulty }));
            let read = labels().read(&reply).unwrap();
            prop_assert_eq!(&read["topic"], &Scalar::Text(topic.into()));
            prop_assert_eq!(&read["difficulty"], &Scalar::Int(difficulty));
        }
    }
}
