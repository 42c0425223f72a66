//! Quotas: at most so many rows of each value of a column, or of each combination of several columns' values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::columns::{Keyed, check_column};
use crate::error::CurateError;

/// What stands between the values of several columns in the name of their combination.
const BETWEEN: &str = " / ";

/// At most so many rows of each value of a column, or of each combination of several columns' values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// The column: `source`, `domain` (of samples: `meta.domain`), …; or several, as in `["source", "domain"]`.
    pub by: By,
    /// At most so many rows of each value, if nothing else is said in `max`.
    #[serde(default)]
    pub each: Option<u64>,
    /// At most so many rows of the named values; rows without a value are called `none`, and the values of several
    /// columns are joined as in `"gsm8k / algebra"`.
    #[serde(default)]
    pub max: BTreeMap<String, u64>,
}

impl Quota {
    /// Checks the columns against rows of kind `R`.
    ///
    /// # Errors
    /// No column, one that the rows do not have, or nothing that limits.
    pub(crate) fn check<R: Keyed>(&self) -> Result<(), CurateError> {
        let wrong = |setting, limit: &str, found: &str| CurateError::OutOfRange { setting, limit: limit.into(), found: found.into() };
        if self.by.0.is_empty() {
            return Err(wrong("quota.by", "a column or a list of columns", "an empty list"));
        }
        if self.each.is_none() && self.max.is_empty() {
            return Err(wrong("quota", "limited by `each` or `max`", "neither"));
        }
        self.by.0.iter().try_for_each(|column| check_column::<R>(column, None))
    }

    /// The name of the value, or of the combination of values, that a row counts for.
    pub(crate) fn label<R: Keyed>(&self, row: &R) -> String {
        let value = |column: &String| row.value(column).map_or_else(|| "none".to_owned(), |v| v.label());
        self.by.0.iter().map(value).collect::<Vec<_>>().join(BETWEEN)
    }

    /// How many rows each of the numbered labels may have; `None` is any number.
    pub(crate) fn limits<'l>(&self, labels: impl ExactSizeIterator<Item = (&'l String, &'l u32)>) -> Vec<Option<u64>> {
        let mut limits = vec![None; labels.len()];
        for (label, number) in labels {
            limits[*number as usize] = self.max.get(label).copied().or(self.each);
        }
        limits
    }
}

/// A column or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By(pub Vec<String>);

impl From<&str> for By {
    fn from(column: &str) -> Self {
        Self(vec![column.to_owned()])
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [column] => column.serialize(serializer),
            columns => columns.serialize(serializer),
        }
    }
}

// By hand, because an untagged enum would lose the place of a mistake.
impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByVisitor;
        impl<'de> Visitor<'de> for ByVisitor {
            type Value = By;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column or a list of columns")
            }

            fn visit_str<E>(self, column: &str) -> Result<By, E> {
                Ok(column.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut columns: A) -> Result<By, A::Error> {
                let mut all = Vec::new();
                while let Some(column) = columns.next_element()? {
                    all.push(column);
                }
                Ok(By(all))
            }
        }
        deserializer.deserialize_any(ByVisitor)
    }
}

impl JsonSchema for By {
    fn schema_name() -> Cow<'static, str> {
        "By".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A column or a list of columns.",
            "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
        })
    }
}
