//! Posing the problems that the procedural teacher can solve.

use std::collections::{BTreeMap, BTreeSet};

use potstill_data::Problem;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{arithmetic, countdown};
use crate::error::GenerateError;

/// What kind of problem is posed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Reach a target from a few numbers, each used at most once (Stream of Search, TinyZero).
    Countdown,
    /// Compute the value of an expression.
    Arithmetic,
}

/// Settings of a procedural source. Every problem posed has a solution and stands for itself: no two share numbers and
/// target (in whatever order) or expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProblemSpec {
    /// What kind of problem.
    pub task: Task,
    /// How many problems.
    pub count: usize,
    /// Countdown: numbers per problem, 2 to 6. Arithmetic: operands per expression, 2 to 12.
    #[serde(default = "three")]
    pub numbers: usize,
    /// Numbers are drawn from 1 to this.
    #[serde(default = "twenty_five")]
    pub max_number: i64,
    /// Countdown: targets are drawn from 1 to this. Arithmetic: values stay within ± this.
    #[serde(default = "fifty")]
    pub max_target: i64,
    /// Countdown: the solution needs no intermediate result above this.
    #[serde(default = "sixty")]
    pub max_value: i64,
}

fn three() -> usize {
    3
}
fn twenty_five() -> i64 {
    25
}
fn fifty() -> i64 {
    50
}
fn sixty() -> i64 {
    60
}

/// Draws without a new problem before the range is called exhausted.
const PATIENCE: u32 = 20_000;
/// Pairs tried per problem when checking that it has a solution.
const SEARCH_LIMIT: u32 = 200_000;

impl ProblemSpec {
    fn check(&self) -> Result<(), GenerateError> {
        let out_of = |field: &str, limit: &str, found: String| {
            Err(GenerateError::Config { field: field.to_owned(), message: format!("{limit}, found {found}") })
        };
        let most = if self.task == Task::Countdown { 6 } else { 12 };
        if !(2..=most).contains(&self.numbers) {
            return out_of("numbers", &format!("2 to {most}"), self.numbers.to_string());
        }
        for (field, value) in [("max_number", self.max_number), ("max_target", self.max_target), ("max_value", self.max_value)] {
            if !(2..=1_000_000).contains(&value) {
                return out_of(field, "2 to 1000000", value.to_string());
            }
        }
        if self.count == 0 {
            return out_of("count", "at least 1", "0".to_owned());
        }
        Ok(())
    }

    /// Starts posing; the same seed gives the same problems.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn problems(&self, seed: u64) -> Result<Problems, GenerateError> {
        self.check()?;
        Ok(Problems { spec: self.clone(), rng: ChaCha8Rng::seed_from_u64(seed), seen: BTreeSet::new(), failed: false })
    }
}

/// The problems of one spec, one after another.
pub struct Problems {
    spec: ProblemSpec,
    rng: ChaCha8Rng,
    seen: BTreeSet<String>,
    failed: bool,
}

impl Iterator for Problems {
    type Item = Result<Problem, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.seen.len() == self.spec.count {
            return None;
        }
        for _ in 0..PATIENCE {
            let drawn = match self.spec.task {
                Task::Countdown => self.countdown(),
                Task::Arithmetic => self.arithmetic(),
            };
            if let Some(problem) = drawn.filter(|p| !self.seen.contains(&p.problem_id)) {
                self.seen.insert(problem.problem_id.clone());
                return Some(Ok(problem));
            }
        }
        self.failed = true;
        let (found, wanted) = (self.seen.len(), self.spec.count);
        let message = format!("{wanted} different problems wanted, found {found} in this range; raise max_number or max_target");
        Some(Err(GenerateError::Config { field: "count".to_owned(), message }))
    }
}

impl Problems {
    fn countdown(&mut self) -> Option<Problem> {
        let spec = &self.spec;
        let numbers: Vec<i64> = (0..spec.numbers).map(|_| self.rng.random_range(1..=spec.max_number)).collect();
        let target = self.rng.random_range(1..=spec.max_target);
        if numbers.contains(&target) || !countdown::solvable(&numbers, target, spec.max_value, SEARCH_LIMIT) {
            return None;
        }
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let key: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        let listed: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let (last, head) = listed.split_last()?;
        let prompt = format!("Make {target} from {} and {last}, each used at most once.", head.join(", "));
        let tests = serde_json::json!({ "numbers": numbers, "target": target }).to_string();
        Some(posed("countdown", format!("countdown-{target}-from-{}", key.join("-")), prompt, target, tests))
    }

    fn arithmetic(&mut self) -> Option<Problem> {
        let operands = self.spec.numbers;
        let expression = self.expression(operands, false);
        let value = arithmetic::evaluate(&expression).ok().filter(|v| v.abs() <= self.spec.max_target)?;
        let id = blake3::hash(expression.as_bytes()).to_hex();
        let tests = serde_json::json!({ "expression": expression }).to_string();
        Some(posed("arithmetic", format!("arithmetic-{}", &id[..16]), format!("Compute {expression}."), value, tests))
    }

    /// A random expression; a sum inside a product stands in parentheses.
    fn expression(&mut self, operands: usize, inside: bool) -> String {
        if operands == 1 {
            return self.rng.random_range(1..=self.spec.max_number).to_string();
        }
        let left = self.rng.random_range(1..operands);
        let op = ['+', '-', '*', '/'][self.rng.random_range(0..4)];
        let tight = matches!(op, '*' | '/');
        let (a, b) = (self.expression(left, tight), self.expression(operands - left, true));
        if inside { format!("({a} {op} {b})") } else { format!("{a} {op} {b}") }
    }
}

fn posed(task: &str, problem_id: String, prompt: String, gold: i64, tests: String) -> Problem {
    let verifier = if task == "countdown" { "countdown" } else { "number" };
    Problem {
        problem_id,
        source: format!("procedural-{task}"),
        domain: Some(task.to_owned()),
        prompt,
        gold: Some(gold.to_string()),
        tests: Some(tests),
        verifier: Some(verifier.to_owned()),
        meta: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(task: Task, count: usize) -> ProblemSpec {
        ProblemSpec { task, count, numbers: 3, max_number: 25, max_target: 50, max_value: 60 }
    }

    #[test]
    fn the_same_seed_poses_the_same_problems() {
        for task in [Task::Countdown, Task::Arithmetic] {
            let draw = |seed| spec(task, 50).problems(seed).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
            assert_eq!(draw(1), draw(1));
            assert_ne!(draw(1), draw(2));
        }
    }

    #[test]
    fn no_problem_is_posed_twice_and_a_narrow_range_says_so() {
        let problems: Vec<_> = spec(Task::Countdown, 500).problems(7).unwrap().map(Result::unwrap).collect();
        let ids: BTreeSet<_> = problems.iter().map(|p| p.problem_id.clone()).collect();
        assert_eq!(ids.len(), 500);
        let narrow = ProblemSpec { max_number: 2, max_target: 4, ..spec(Task::Countdown, 500) };
        let error = narrow.problems(7).unwrap().find_map(Result::err).unwrap().to_string();
        assert!(error.contains("500 different problems wanted, found"), "{error}");
    }

    #[test]
    fn settings_out_of_range_name_the_limit_and_the_value() {
        let error = ProblemSpec { numbers: 9, ..spec(Task::Countdown, 5) }.problems(1).err().unwrap().to_string();
        assert_eq!(error, "numbers: 2 to 6, found 9");
    }
}
