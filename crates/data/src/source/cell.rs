//! One value of a source table, whatever its format.

use serde_json::Value;

use crate::{Scalar, ScalarKind};

/// A value of a source table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A list or an object.
    Json(Value),
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            // Whole numbers beyond i64 keep their digits as text.
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(large)) => Self::Text(large.to_string()),
                (None, None) => number.as_f64().map_or_else(|| Self::Text(number.to_string()), Self::Float),
            },
            Value::String(text) => Self::Text(text),
            nested => Self::Json(nested),
        }
    }
}

impl Cell {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value as text; lists and objects as JSON.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
            Self::Text(text) => Some(text.clone()),
            Self::Json(value) => Some(value.to_string()),
        }
    }

    /// The value as JSON; text that is itself a JSON list or object counts as that.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::from(*value),
            Self::Int(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Text(text) => match serde_json::from_str(text) {
                Ok(nested @ (Value::Array(_) | Value::Object(_))) => nested,
                _ => Value::from(text.as_str()),
            },
            Self::Json(value) => value.clone(),
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::Text(text) => text_bool(text),
            _ => None,
        }
    }

    /// The narrowest meta type that holds the value. In an untyped format (CSV) text that reads as a
    /// number or truth value counts as one.
    pub(super) fn scalar_kind(&self, untyped: bool) -> Option<ScalarKind> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(_) => ScalarKind::Bool,
            Self::Int(_) => ScalarKind::Int,
            Self::Float(_) => ScalarKind::Float,
            Self::Text(text) if untyped => text_kind(text),
            Self::Text(_) | Self::Json(_) => ScalarKind::Text,
        })
    }

    /// The value in a meta column of the given type.
    pub(super) fn scalar(&self, kind: ScalarKind) -> Option<Scalar> {
        match (kind, self) {
            (_, Self::Null) => None,
            (ScalarKind::Bool, _) => self.boolean().map(Scalar::Bool),
            (ScalarKind::Int, Self::Int(value)) => Some(Scalar::Int(*value)),
            (ScalarKind::Int, Self::Text(text)) => text.parse().ok().map(Scalar::Int),
            (ScalarKind::Float, _) => self.number().map(Scalar::Float),
            _ => self.text().map(Scalar::Text),
        }
    }

    /// About how many bytes the value takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Json(value) => json_bytes(value),
            _ => 8,
        }
    }
}

fn json_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(json_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + json_bytes(value)).sum(),
        _ => 8,
    }
}

fn text_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Only what converts back to the same digits counts as a whole number: `007` is text.
fn text_kind(text: &str) -> ScalarKind {
    if text_bool(text).is_some() {
        ScalarKind::Bool
    } else if text.parse::<i64>().is_ok_and(|number| number.to_string() == text) {
        ScalarKind::Int
    } else if text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
        && !text.starts_with("00")
        && text.contains(['.', 'e', 'E'])
        && text.parse::<f64>().is_ok_and(f64::is_finite)
    {
        ScalarKind::Float
    } else {
        ScalarKind::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untyped_text_counts_as_a_number_only_when_nothing_is_lost() {
        let kind = |text: &str| Cell::Text(text.to_owned()).scalar_kind(true);
        assert_eq!(kind("12"), Some(ScalarKind::Int));
        assert_eq!(kind("-1.5e3"), Some(ScalarKind::Float));
        assert_eq!(kind("False"), Some(ScalarKind::Bool));
        for text in ["007", "+1", "1,000", "nan", "00.5", "12a", ""] {
            assert_eq!(kind(text), Some(ScalarKind::Text), "{text}");
        }
    }

    #[test]
    fn large_whole_numbers_keep_their_digits() {
        let large: Value = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(Cell::from(large), Cell::Text("18446744073709551615".to_owned()));
    }
}
