//! One SQL expression over the columns of a row kind.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType as ArrowType, Field, Schema as ArrowSchema};
use polars::prelude::{Column, DataFrame, DataType, Expr, FunctionExpr, IntoLazy, PolarsError, Series, StructFunction, col};
use polars::sql::sql_expr;

use super::convert;
use crate::near::columns_hint;
use crate::{DataError, Result};

/// Separates the struct column `meta` from its field, in SQL and in the flat frames that polars sees.
const DOT: char = '.';

/// A column (or field of a struct column) that an expression names.
#[derive(Debug, Clone)]
struct Leaf {
    /// `completion_tokens`, or `meta.level`.
    name: String,
    data_type: DataType,
}

/// An SQL expression, checked against a schema and ready to be evaluated on batches of it.
///
/// Columns stand by name, meta fields as `meta.level`; text is in single quotes. NULL follows SQL's
/// three-valued logic.
#[derive(Debug, Clone)]
pub struct RowExpr {
    sql: String,
    expr: Expr,
    leaves: Vec<Leaf>,
    data_type: DataType,
}

impl RowExpr {
    /// Parses and types an expression.
    ///
    /// # Errors
    /// A syntax error, an unknown column (with suggestions), a type error, or something that does not
    /// decide row by row.
    pub fn new(sql: &str, schema: &ArrowSchema) -> Result<Self> {
        let parsed = sql_expr(sql).map_err(|error| fault(sql, &error))?.map_expr(flat);
        if let Some(what) = (&parsed).into_iter().find_map(not_by_row) {
            return Err(DataError::setting(
                format!("`{sql}`: {what}, which looks at several rows at once"),
                "an expression here decides row by row; to choose among the attempts of a problem use `per_problem`",
            ));
        }
        let names: BTreeSet<String> =
            (&parsed).into_iter().filter_map(|expr| if let Expr::Column(name) = expr { Some(name.to_string()) } else { None }).collect();
        let leaves = names.into_iter().map(|name| leaf(sql, name, schema)).collect::<Result<Vec<_>>>()?;
        let mut checked = Self { sql: sql.to_owned(), expr: parsed, leaves, data_type: DataType::Null };
        checked.data_type = checked.probe()?;
        Ok(checked)
    }

    /// The expression as it was given.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The top-level columns that it needs, sorted.
    pub fn columns(&self) -> Vec<String> {
        let roots = self.leaves.iter().map(|leaf| leaf.name.split(DOT).next().unwrap_or_default().to_owned());
        roots.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Its values for the rows of a batch, as an Arrow array of the same length.
    ///
    /// A meta field that the batch lacks is NULL.
    ///
    /// # Errors
    /// The expression fails on a value, or its type has no Arrow counterpart.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        convert::to_arrow(&self.series(batch)?)
    }

    pub(super) fn series(&self, batch: &RecordBatch) -> Result<Series> {
        let rows = batch.num_rows();
        let columns = self.leaves.iter().map(|leaf| match find(batch, &leaf.name) {
            Some(array) => convert::to_polars(&leaf.name, &array),
            None => Ok(Column::full_null(leaf.name.as_str().into(), rows, &leaf.data_type)),
        });
        self.run(rows, columns.collect::<Result<Vec<_>>>()?)
    }

    fn run(&self, rows: usize, columns: Vec<Column>) -> Result<Series> {
        let fault = |error: PolarsError| fault(&self.sql, &error);
        let frame = DataFrame::new(rows, columns).map_err(fault)?;
        let result = frame.lazy().select([self.expr.clone().alias("value")]).collect().map_err(fault)?;
        let series = result.column("value").map_err(fault)?.as_materialized_series().clone();
        // An expression without columns (`TRUE`) has one value for all rows.
        if self.leaves.is_empty() && series.len() == 1 {
            return Ok(series.new_from_index(0, rows));
        }
        if series.len() == rows { Ok(series) } else { Err(self.not_by_row()) }
    }

    fn not_by_row(&self) -> DataError {
        DataError::setting(
            format!("`{}` does not decide row by row", self.sql),
            "to choose among the attempts of a problem use `per_problem`",
        )
    }

    /// The type of the values, and whether they are the same for a few made-up rows together as one by
    /// one, whatever functions the expression calls.
    fn probe(&self) -> Result<DataType> {
        let columns: Vec<Column> = self.leaves.iter().map(probe_column).collect::<Result<_>>()?;
        let none = columns.iter().map(Column::clear).collect();
        let data_type = self.run(0, none)?.dtype().clone();
        // A cast may fail on made-up values, which says nothing about real ones.
        let Ok(together) = self.run(PROBES, columns.clone()) else {
            return Ok(data_type);
        };
        for row in 0..PROBES {
            let alone = self.run(1, columns.iter().map(|column| column.slice(row as i64, 1)).collect())?;
            if !alone.equals_missing(&together.slice(row as i64, 1)) {
                return Err(self.not_by_row());
            }
        }
        Ok(data_type)
    }
}

/// Rows of a [`RowExpr::probe`].
const PROBES: usize = 5;

/// Values of a type that no function of several rows maps to themselves; one of them is NULL.
fn probe_column(leaf: &Leaf) -> Result<Column> {
    use polars::prelude::NamedFrom;
    let name = leaf.name.as_str();
    let texts = Series::new(name.into(), [Some("7"), None, Some("correct"), Some("7"), Some("")]);
    if leaf.data_type == DataType::String {
        return Ok(texts.into());
    }
    if matches!(leaf.data_type, DataType::List(_)) {
        let lists: Vec<Option<Series>> = (0..PROBES).map(|row| (row != 1).then(|| texts.slice(row as i64, 1))).collect();
        return Ok(Series::new(name.into(), lists).into());
    }
    let numbers = Series::new(name.into(), [Some(3_i64), None, Some(0), Some(1), Some(3)]);
    numbers.cast(&leaf.data_type).map(Column::from).map_err(|error| fault(name, &error))
}

/// Field access on a struct column as the name of a flat column.
fn flat(expr: Expr) -> Expr {
    if let Expr::Function { input, function: FunctionExpr::StructExpr(StructFunction::FieldByName(field)) } = &expr
        && let [Expr::Column(root)] = input.as_slice()
    {
        return col(format!("{root}{DOT}{field}"));
    }
    expr
}

/// What the expression is, if its value for a row may depend on other rows.
fn not_by_row(expr: &Expr) -> Option<&'static str> {
    Some(match expr {
        // `x IN ('a', 'b')` gathers its constants with an aggregate.
        Expr::Agg(_) if expr.into_iter().any(|inner| matches!(inner, Expr::Column(_))) => "an aggregate",
        Expr::Len => "a count",
        Expr::Over { .. } => "a window function",
        Expr::Sort { .. } | Expr::SortBy { .. } => "sorting",
        Expr::Gather { .. } | Expr::Slice { .. } | Expr::Filter { .. } | Expr::Explode { .. } => "a selection of rows",
        Expr::SubPlan(..) => "a subquery",
        Expr::Selector(_) => "a choice of columns (`*`)",
        _ => return None,
    })
}

/// The named column of the schema.
fn leaf(sql: &str, name: String, schema: &ArrowSchema) -> Result<Leaf> {
    let leaves = leaves_of(schema);
    if let Some((_, data_type)) = leaves.iter().find(|(known, _)| *known == name) {
        return Ok(Leaf { name, data_type: data_type.clone() });
    }
    if schema.field_with_name(&name).is_ok() {
        return Err(DataError::setting(format!("`{sql}`: column `{name}` holds no plain values"), columns_hint(&name, &names(&leaves))));
    }
    let quoted = if sql.contains(&format!("\"{name}\"")) { "text stands in single quotes: 'so'; " } else { "" };
    Err(DataError::setting(format!("`{sql}`: no column `{name}`"), format!("{quoted}{}", columns_hint(&name, &names(&leaves)))))
}

fn names(leaves: &[(String, DataType)]) -> Vec<String> {
    leaves.iter().map(|(name, _)| name.clone()).collect()
}

/// Every column that expressions may name, with fields of struct columns as `column.field`.
fn leaves_of(schema: &ArrowSchema) -> Vec<(String, DataType)> {
    let mut leaves = Vec::new();
    let mut add = |name: String, field: &Field| {
        if let Some(data_type) = convert::polars_type(field.data_type()) {
            leaves.push((name, data_type));
        }
    };
    for field in schema.fields() {
        if let ArrowType::Struct(fields) = field.data_type() {
            fields.iter().for_each(|inner| add(format!("{}{DOT}{}", field.name(), inner.name()), inner));
        } else {
            add(field.name().clone(), field);
        }
    }
    leaves
}

/// The named column of a batch; fields of a null struct are null already in files of ours.
fn find(batch: &RecordBatch, name: &str) -> Option<ArrayRef> {
    if let Some(array) = batch.column_by_name(name) {
        return Some(array.clone());
    }
    let (root, field) = name.split_once(DOT)?;
    let parent = batch.column_by_name(root)?.as_struct_opt()?;
    let array = parent.column_by_name(field)?.clone();
    match parent.nulls() {
        Some(_) => arrow::compute::nullif(&array, &arrow::compute::is_null(parent).ok()?).ok(),
        None => Some(array),
    }
}

/// A message of polars without its name for itself and the plan it appends.
pub(super) fn fault(sql: &str, error: &PolarsError) -> DataError {
    let message = error.to_string();
    let first = message.lines().next().unwrap_or_default();
    let first = first.split("Resolved plan").next().unwrap_or(first).trim();
    DataError::Setting { what: format!("`{sql}`: {first}"), hint: None }
}
