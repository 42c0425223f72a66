//! At most `keep` rows of each problem, the best by a column.

use std::cmp::Ordering;
use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::{Keyed, OrderBy, Value, check_column, natural};
use crate::decision::{Decision, Decisions};
use crate::error::CurateError;

/// The reason given to rows beyond the first `keep` of their problem.
pub const NOT_BEST: &str = "not the best of its problem";

/// `per_problem = { keep = 1, order_by = "completion_tokens" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerProblemConfig {
    /// How many rows of one problem stay; at least 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub keep: u32,
    /// The column whose smallest values stay; `COLUMN desc` for the largest. Rows without a value come last; ties go
    /// to the smaller row id. Without it the smallest row ids stay.
    #[serde(default)]
    pub order_by: Option<String>,
}

fn one() -> u32 {
    1
}

/// Decides over rows seen once, in any order: keeps a key per row and never the row itself.
#[derive(Debug)]
pub struct PerProblem {
    keep: usize,
    order: Option<OrderBy>,
    problems: HashMap<String, u32>,
    rows: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    problem: u32,
    value: Option<Value>,
    id: Box<str>,
}

impl PerProblem {
    /// Checks the settings against rows of kind `R` whose `meta` columns are `meta` (`None`: not known yet).
    ///
    /// # Errors
    /// A `keep` of 0, or an `order_by` that is not a column of the rows.
    pub fn new<R: Keyed>(config: &PerProblemConfig, meta: Option<&[&str]>) -> Result<Self, CurateError> {
        if config.keep == 0 {
            return Err(CurateError::OutOfRange { setting: "per_problem.keep", limit: "at least 1".into(), found: "0".into() });
        }
        let order = config.order_by.as_deref().map(OrderBy::parse).transpose()?;
        if let Some(order) = &order {
            check_column::<R>(&order.column, meta)?;
        }
        Ok(Self { keep: config.keep as usize, order, problems: HashMap::new(), rows: Vec::new() })
    }

    /// Takes in the next row.
    pub fn observe<R: Keyed>(&mut self, row: &R) {
        let next = self.problems.len() as u32;
        let problem = match self.problems.get(row.problem_id()) {
            Some(known) => *known,
            None => *self.problems.entry(row.problem_id().to_owned()).or_insert(next),
        };
        let value = self.order.as_ref().and_then(|o| row.value(&o.column));
        self.rows.push(Entry { problem, value, id: row.row_id().into() });
    }

    /// The decisions, in the order in which the rows were taken in.
    #[must_use]
    pub fn finish(self) -> Decisions {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|a, b| {
            let (x, y) = (&self.rows[*a], &self.rows[*b]);
            let by_column = match &self.order {
                Some(o) => o.order(x.value.as_ref(), y.value.as_ref()),
                None => Ordering::Equal,
            };
            // Natural order of ids, so that attempt #2 comes before #10.
            x.problem.cmp(&y.problem).then(by_column).then_with(|| natural(&x.id, &y.id)).then(a.cmp(b))
        });
        let mut decisions = Decisions::keep_all(self.rows.len());
        let (mut current, mut taken) = (u32::MAX, 0);
        for at in order {
            let problem = self.rows[at].problem;
            if problem != current {
                (current, taken) = (problem, 0);
            }
            taken += 1;
            if taken > self.keep {
                decisions.set(at, Decision::drop(NOT_BEST));
            }
        }
        decisions
    }
}

/// [`PerProblem`] over rows in memory.
///
/// # Errors
/// As [`PerProblem::new`].
pub fn per_problem<R: Keyed>(rows: &[R], config: &PerProblemConfig) -> Result<Decisions, CurateError> {
    let mut pass = PerProblem::new::<R>(config, None)?;
    rows.iter().for_each(|r| pass.observe(r));
    Ok(pass.finish())
}
