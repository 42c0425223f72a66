//! Extra columns of a source: typed scalars that travel with every row made from it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One value of a [`Meta`] column.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text; lists and objects of a source arrive as their JSON text.
    Text(String),
}

impl Scalar {
    /// The type of the column that holds this value.
    pub fn kind(&self) -> ScalarKind {
        match self {
            Self::Bool(_) => ScalarKind::Bool,
            Self::Int(_) => ScalarKind::Int,
            Self::Float(_) => ScalarKind::Float,
            Self::Text(_) => ScalarKind::Text,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Scalar {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Scalar {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<String> for Scalar {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Scalar {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// The extra columns of one row by name; an absent key is a null in the file.
pub type Meta = BTreeMap<String, Scalar>;

/// The type of a meta column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalarKind {
    /// Truth values.
    Bool,
    /// 64-bit whole numbers.
    Int,
    /// 64-bit floating-point numbers.
    Float,
    /// Text.
    Text,
}

impl ScalarKind {
    /// The narrowest type that holds both: whole numbers widen to floats, everything else to text.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::Text,
        }
    }

    /// Whether a column of this type can hold `value` (after [widening](Self::union)).
    pub fn holds(self, value: &Scalar) -> bool {
        self.union(value.kind()) == self
    }
}

/// The names and types of the meta columns that a file of rows carries.
///
/// A Parquet file has one schema, while rows know only their own values, so whoever writes rows says
/// beforehand which meta fields may occur: from a source's first pass, or from the parts it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFields(pub BTreeMap<String, ScalarKind>);

impl MetaFields {
    /// No meta columns at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there are no meta columns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields that occur in the given rows' metas.
    pub fn of_rows<'a>(metas: impl IntoIterator<Item = &'a Meta>) -> Self {
        let mut fields = Self::none();
        for meta in metas {
            fields.observe(meta);
        }
        fields
    }

    /// Adds what one row carries.
    pub fn observe(&mut self, meta: &Meta) {
        for (name, value) in meta {
            self.add(name, value.kind());
        }
    }

    /// Adds one field, widening its type where it is there already.
    pub fn add(&mut self, name: &str, kind: ScalarKind) {
        if let Some(known) = self.0.get_mut(name) {
            *known = known.union(kind);
        } else {
            self.0.insert(name.to_owned(), kind);
        }
    }

    /// The fields of both, each with a type that holds either's values.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (name, kind) in &other.0 {
            self.add(name, *kind);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_without_losing_values() {
        let rows = [
            Meta::from([("level".to_owned(), Scalar::Int(3)), ("flag".to_owned(), Scalar::Bool(true))]),
            Meta::from([("level".to_owned(), Scalar::Float(2.5)), ("flag".to_owned(), Scalar::Int(1))]),
        ];
        let fields = MetaFields::of_rows(&rows);
        assert_eq!(fields.0["level"], ScalarKind::Float);
        assert_eq!(fields.0["flag"], ScalarKind::Text);
        assert!(rows.iter().all(|meta| meta.iter().all(|(name, value)| fields.0[name].holds(value))));
    }
}
