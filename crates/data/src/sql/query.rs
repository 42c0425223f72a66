//! Looking into a table: the first rows that satisfy a condition, in some order.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{SortColumn, SortOptions, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};

use super::{RowExpr, RowFilter};
use crate::table::Table;
use crate::{DataError, Result};

/// Rows held beyond twice the limit before the worst are let go.
const SLACK: usize = 4096;

/// What to look for in a table.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Keep rows where this SQL condition holds.
    pub condition: Option<String>,
    /// Sort by these SQL expressions, each perhaps with `ASC` or `DESC`; NULL comes last. Ties and
    /// unsorted rows stay in the table's order.
    pub sort: Option<String>,
    /// At most this many rows.
    pub limit: usize,
}

/// The rows that a query finds, as one batch with the table's columns.
///
/// Holds a few times `limit` rows in memory, however many there are.
///
/// # Errors
/// A file is missing or damaged, or an expression is wrong.
pub fn query(table: &Table, query: &Query) -> Result<RecordBatch> {
    let schema = table.schema().clone();
    let filter = query.condition.as_deref().map(|sql| RowFilter::new(sql, &schema)).transpose()?;
    let order = query.sort.as_deref().map(|sql| Order::new(sql, &schema)).transpose()?;
    let mut best = Best { schema, order, limit: query.limit, held: Vec::new(), rows: 0 };
    for located in table.batches() {
        if best.is_full() {
            break;
        }
        let batch = located?.batch;
        let batch = match &filter {
            Some(filter) => filter_record_batch(&batch, &filter.mask(&batch)?)?,
            None => batch,
        };
        best.add(batch)?;
    }
    best.finish()
}

/// Keys to sort by.
struct Order {
    keys: Vec<(RowExpr, SortOptions)>,
}

impl Order {
    fn new(sql: &str, schema: &Schema) -> Result<Self> {
        let keys = split_keys(sql).into_iter().map(|key| {
            let key = key.trim();
            let (expression, descending) = match key.rsplit_once(char::is_whitespace) {
                Some((expression, word)) if word.eq_ignore_ascii_case("desc") => (expression, true),
                Some((expression, word)) if word.eq_ignore_ascii_case("asc") => (expression, false),
                _ => (key, false),
            };
            Ok((RowExpr::new(expression.trim(), schema)?, SortOptions { descending, nulls_first: false }))
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(DataError::setting("nothing to sort by", "name a column, as in `completion_tokens DESC`"));
        }
        Ok(Self { keys })
    }

    /// The order of the batch's rows; ties stay as they are.
    fn indices(&self, batch: &RecordBatch, limit: usize) -> Result<UInt32Array> {
        let mut columns = Vec::with_capacity(self.keys.len() + 1);
        for (key, options) in &self.keys {
            columns.push(SortColumn { values: key.evaluate(batch)?, options: Some(*options) });
        }
        let row = UInt64Array::from_iter_values(0..batch.num_rows() as u64);
        columns.push(SortColumn { values: Arc::new(row) as ArrayRef, options: None });
        Ok(lexsort_to_indices(&columns, Some(limit))?)
    }
}

/// Splits at commas outside of brackets and quotes.
fn split_keys(sql: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0_i32, None, 0);
    let mut keys = Vec::new();
    for (index, character) in sql.char_indices() {
        match (quoted, character) {
            (Some(quote), _) if quote == character => quoted = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quoted = Some(character),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, ',') if depth == 0 => {
                keys.push(&sql[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    keys.push(&sql[start..]);
    keys.retain(|key| !key.trim().is_empty());
    keys
}

/// The best rows so far.
struct Best {
    schema: SchemaRef,
    order: Option<Order>,
    limit: usize,
    held: Vec<RecordBatch>,
    rows: usize,
}

impl Best {
    /// Whether no further row can matter.
    fn is_full(&self) -> bool {
        self.limit == 0 || (self.order.is_none() && self.rows >= self.limit)
    }

    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        self.held.push(batch);
        if self.order.is_some() && self.rows > 2 * self.limit + SLACK {
            self.shrink()?;
        }
        Ok(())
    }

    fn shrink(&mut self) -> Result<()> {
        let all = concat_batches(&self.schema, &self.held)?;
        let best = match &self.order {
            Some(order) => take_record_batch(&all, &order.indices(&all, self.limit)?)?,
            None => all.slice(0, all.num_rows().min(self.limit)),
        };
        self.rows = best.num_rows();
        self.held = vec![best];
        Ok(())
    }

    fn finish(mut self) -> Result<RecordBatch> {
        self.shrink()?;
        Ok(self.held.swap_remove(0))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn keys_split_at_their_own_commas_only() {
        assert_eq!(split_keys("a DESC, COALESCE(b, 0), c"), ["a DESC", " COALESCE(b, 0)", " c"]);
        assert_eq!(split_keys("CONCAT(a, ',', \"x,y\")"), ["CONCAT(a, ',', \"x,y\")"]);
    }

    #[test]
    fn orders_name_their_direction() {
        let schema = Schema::new(vec![Field::new("tokens", DataType::UInt32, true)]);
        let order = Order::new("tokens desc, tokens + 1", &schema).unwrap();
        assert!(order.keys[0].1.descending && !order.keys[1].1.descending);
        assert!(Order::new(" , ", &schema).is_err());
    }
}
