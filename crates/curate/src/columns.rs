//! Columns of rows by name, for the settings that order or group by one (`order_by`, `by`).

use std::borrow::Cow;
use std::cmp::Ordering;

use potstill_data::{Attempt, Meta, Problem, Sample, Scalar};

use crate::error::{CurateError, nearest};

/// A column's value in one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Truth; `false` before `true`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text, ordered by code points.
    Text(String),
}

impl Value {
    /// A total order: numbers among themselves whatever their type, then truth values, then texts.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => match (a.number(), b.number()) {
                (Some(x), Some(y)) => x.total_cmp(&y),
                _ => a.rank().cmp(&b.rank()),
            },
        }
    }

    /// The value as a number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    /// The value as text: what a category is called.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Int(i) => i.to_string(),
            Self::Float(f) => f.to_string(),
            Self::Text(t) => t.clone(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Float(_) => 0,
            Self::Bool(_) => 1,
            Self::Text(_) => 2,
        }
    }
}

impl From<&Scalar> for Value {
    fn from(scalar: &Scalar) -> Self {
        match scalar {
            Scalar::Bool(b) => Self::Bool(*b),
            Scalar::Int(i) => Self::Int(*i),
            Scalar::Float(f) => Self::Float(*f),
            Scalar::Text(t) => Self::Text(t.clone()),
        }
    }
}

/// What curation needs to know of a row, whatever its kind.
pub trait Keyed {
    /// The kind's name: `problems`, `attempts` or `samples`.
    const ROWS: &'static str;
    /// The columns that can be ordered and grouped by; those of `meta` come as `meta.NAME` besides.
    const COLUMNS: &'static [&'static str];
    /// The row's own id.
    fn row_id(&self) -> Cow<'_, str>;
    /// The id of the problem that the row belongs to.
    fn problem_id(&self) -> &str;
    /// The text that the student sees as the task.
    fn prompt(&self) -> Cow<'_, str>;
    /// The columns of the source beside ours.
    fn meta_columns(&self) -> &Meta;
    /// A column's value; `None` where the row has none.
    fn value(&self, column: &str) -> Option<Value>;
}

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.to_owned()))
}

fn count(value: Option<u32>) -> Option<Value> {
    value.map(|v| Value::Int(i64::from(v)))
}

fn meta_value(meta: &Meta, column: &str) -> Option<Value> {
    meta.get(column.strip_prefix("meta.")?).map(Value::from)
}

impl Keyed for Problem {
    const ROWS: &'static str = "problems";
    const COLUMNS: &'static [&'static str] = &["problem_id", "source", "domain", "prompt", "gold", "verifier"];

    fn row_id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.problem_id)
    }
    fn problem_id(&self) -> &str {
        &self.problem_id
    }
    fn prompt(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.prompt)
    }
    fn meta_columns(&self) -> &Meta {
        &self.meta
    }
    fn value(&self, column: &str) -> Option<Value> {
        match column {
            "problem_id" => text(&self.problem_id),
            "source" => text(&self.source),
            "domain" => self.domain.as_deref().and_then(text),
            "prompt" => text(&self.prompt),
            "gold" => self.gold.as_deref().and_then(text),
            "verifier" => self.verifier.as_deref().and_then(text),
            other => meta_value(&self.meta, other),
        }
    }
}

impl Keyed for Attempt {
    const ROWS: &'static str = "attempts";
    const COLUMNS: &'static [&'static str] = &[
        "attempt_id",
        "problem_id",
        "source",
        "domain",
        "prompt",
        "gold",
        "verifier",
        "sample_index",
        "teacher",
        "finish_reason",
        "truncated",
        "prompt_tokens",
        "completion_tokens",
        "reasoning_tokens",
        "cost_usd",
        "latency_ms",
        "verdict",
        "extracted",
        "proof",
        "response_chars",
        "reasoning_chars",
    ];

    fn row_id(&self) -> Cow<'_, str> {
        Cow::Owned(self.attempt_id())
    }
    fn problem_id(&self) -> &str {
        &self.problem.problem_id
    }
    fn prompt(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.problem.prompt)
    }
    fn meta_columns(&self) -> &Meta {
        &self.problem.meta
    }
    fn value(&self, column: &str) -> Option<Value> {
        match column {
            "attempt_id" => Some(Value::Text(self.attempt_id())),
            "sample_index" => Some(Value::Int(i64::from(self.sample_index))),
            "teacher" => text(&self.teacher),
            "finish_reason" => text(&self.finish_reason),
            "truncated" => Some(Value::Bool(self.truncated)),
            "prompt_tokens" => count(self.prompt_tokens),
            "completion_tokens" => count(self.completion_tokens),
            "reasoning_tokens" => count(self.reasoning_tokens),
            "cost_usd" => self.cost_usd.map(Value::Float),
            "latency_ms" => count(self.latency_ms),
            "verdict" => self.verdict.and_then(|v| text(v.as_str())),
            "extracted" => self.extracted.as_deref().and_then(text),
            "proof" => self.proof.as_deref().and_then(text),
            "response_chars" => Some(Value::Int(self.response.chars().count() as i64)),
            "reasoning_chars" => self.reasoning.as_ref().map(|r| Value::Int(r.chars().count() as i64)),
            other => self.problem.value(other),
        }
    }
}

impl Keyed for Sample {
    const ROWS: &'static str = "samples";
    const COLUMNS: &'static [&'static str] = &["sample_id", "problem_id", "source", "kind", "weight"];

    fn row_id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.sample_id)
    }
    fn problem_id(&self) -> &str {
        &self.problem_id
    }
    fn prompt(&self) -> Cow<'_, str> {
        let mut user = self.messages.iter().filter(|m| m.role == "user");
        let first = user.next().map_or("", |m| m.content.as_str());
        user.fold(Cow::Borrowed(first), |all, m| Cow::Owned(format!("{all}\n{}", m.content)))
    }
    fn meta_columns(&self) -> &Meta {
        &self.meta
    }
    fn value(&self, column: &str) -> Option<Value> {
        match column {
            "sample_id" => text(&self.sample_id),
            "problem_id" => text(&self.problem_id),
            "source" => text(&self.source),
            "kind" => text(self.kind.as_str()),
            "weight" => Some(Value::Float(f64::from(self.weight))),
            other => meta_value(&self.meta, other),
        }
    }
}

/// Is `name` a column of these rows? `meta` names the source's own columns, if they are known yet.
///
/// # Errors
/// [`CurateError::UnknownColumn`] with what there is and the nearest name.
pub fn check_column<R: Keyed>(name: &str, meta: Option<&[&str]>) -> Result<(), CurateError> {
    let in_meta = |n: &str| meta.is_none_or(|m| m.contains(&n));
    if R::COLUMNS.contains(&name) || name.strip_prefix("meta.").is_some_and(in_meta) {
        return Ok(());
    }
    let mut columns: Vec<String> = R::COLUMNS.iter().map(|c| (*c).to_owned()).collect();
    columns.extend(meta.unwrap_or_default().iter().map(|m| format!("meta.{m}")));
    Err(CurateError::UnknownColumn {
        name: name.to_owned(),
        rows: R::ROWS,
        near: nearest(name, columns.iter().map(String::as_str)),
        columns: columns.join(", "),
    })
}

/// A column to order by, as written in a pipeline file: `completion_tokens` or `completion_tokens desc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    /// The column's name.
    pub column: String,
    /// Largest first?
    pub descending: bool,
}

impl OrderBy {
    /// Reads `COLUMN`, `COLUMN asc` or `COLUMN desc`.
    ///
    /// # Errors
    /// [`CurateError::OutOfRange`] for any other form.
    pub fn parse(text: &str) -> Result<Self, CurateError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let descending = match words.as_slice() {
            [_] => false,
            [_, way] if way.eq_ignore_ascii_case("asc") => false,
            [_, way] if way.eq_ignore_ascii_case("desc") => true,
            _ => {
                return Err(CurateError::OutOfRange {
                    setting: "order_by",
                    limit: "`COLUMN`, `COLUMN asc` or `COLUMN desc`".into(),
                    found: format!("`{text}`"),
                });
            }
        };
        Ok(Self { column: words[0].to_owned(), descending })
    }

    /// Orders two values of the column; rows without one come last in either direction.
    #[must_use]
    pub fn order(&self, a: Option<&Value>, b: Option<&Value>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => b.order(a),
            (Some(a), Some(b)) => a.order(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

/// Compares texts with their runs of digits compared as numbers, so that attempt #2 comes before #10.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (Some(p), Some(q)) = (x.bytes().next(), y.bytes().next()) else {
            return x.len().cmp(&y.len()).then(a.cmp(b));
        };
        if p.is_ascii_digit() && q.is_ascii_digit() {
            let (m, n) = (digits(x), digits(y));
            let (dm, dn) = (x[..m].trim_start_matches('0'), y[..n].trim_start_matches('0'));
            let by_value = dm.len().cmp(&dn.len()).then(dm.cmp(dn));
            if by_value != Ordering::Equal {
                return by_value;
            }
            (x, y) = (&x[m..], &y[n..]);
        } else {
            let (c, d) = (x.chars().next().unwrap_or_default(), y.chars().next().unwrap_or_default());
            if c != d {
                return c.cmp(&d);
            }
            (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]);
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order_of_ids() {
        assert_eq!(natural("p#2", "p#10"), Ordering::Less);
        assert_eq!(natural("p#10", "p#10"), Ordering::Equal);
        assert_eq!(natural("p#02", "p#2"), "p#02".cmp("p#2"));
        assert_eq!(natural("a", "b2"), Ordering::Less);
        assert_eq!(natural("é1", "é12"), Ordering::Less);
    }
}
