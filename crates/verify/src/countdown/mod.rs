//! `countdown`: an expression over the given numbers that reaches the target.

mod expression;

use num_bigint::BigInt;
use num_rational::BigRational;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extract::{Extracted, How};
use crate::read::{self, SHOWN, shown};
use crate::{Case, Judgement, Proof, Verifier, VerifyError, VerifyOptions};
use expression::{Evaluated, evaluate};

/// Settings of the verifier `countdown`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CountdownOptions {
    /// How often each given number must be used. State the same rule in the prompt.
    #[serde(rename = "use")]
    pub usage: Usage,
}

/// How often each given number is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    /// Each number at most once; some may be left over.
    #[default]
    AtMostOnce,
    /// Every number exactly once.
    ExactlyOnce,
}

/// The given numbers and the target: the JSON of a problem's `tests`.
#[derive(Debug, Deserialize)]
struct Puzzle {
    #[serde(alias = "nums")]
    numbers: Vec<i64>,
    target: i64,
}

/// Checks Countdown answers.
#[derive(Debug)]
struct Countdown {
    options: VerifyOptions,
}

/// Builds the verifier.
pub(crate) fn build(options: &VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError> {
    Ok(Box::new(Countdown { options: options.clone() }))
}

impl Verifier for Countdown {
    fn name(&self) -> &'static str {
        "countdown"
    }

    fn verify(&self, case: &Case<'_>) -> Judgement {
        let puzzle = match puzzle(case) {
            Ok(puzzle) => puzzle,
            Err(judgement) => return read::with_answer(judgement, case, &self.options),
        };
        match read::answer(case, &self.options) {
            Ok(answer) => self.check(&puzzle, &answer).of(answer.text),
            Err(judgement) => judgement,
        }
    }
}

fn puzzle(case: &Case<'_>) -> Result<Puzzle, Judgement> {
    let Some(tests) = case.tests.filter(|tests| !tests.trim().is_empty()) else {
        return Err(Judgement::bad_gold("the problem has no tests; expected {\"numbers\":[…],\"target\":n}"));
    };
    let puzzle: Puzzle = serde_json::from_str(tests)
        .map_err(|error| Judgement::bad_gold(format!("the tests are not {{\"numbers\":[…],\"target\":n}}: {error}")))?;
    if puzzle.numbers.is_empty() {
        return Err(Judgement::bad_gold("the tests give no numbers"));
    }
    Ok(puzzle)
}

impl Countdown {
    fn check(&self, puzzle: &Puzzle, answer: &Extracted<'_>) -> Judgement {
        let target = BigRational::from_integer(BigInt::from(puzzle.target));
        let used = match read_expression(answer, &target) {
            Ok(used) => used,
            Err(why) => return Judgement::incorrect(Proof::BadAnswer, why),
        };
        if used.value != target {
            let value = shown(&used.value.to_string(), SHOWN);
            return Judgement::incorrect(Proof::Exact, format!("it evaluates to {value}, not {}", puzzle.target));
        }
        match broken_rule(&used.numbers, &puzzle.numbers, self.options.countdown.usage) {
            Some(why) => Judgement::incorrect(Proof::Exact, why),
            None => Judgement::correct(Proof::Exact, format!("it evaluates to {} and uses the numbers as allowed", puzzle.target)),
        }
    }
}

/// The expression of an answer such as `(1+2)*3`, `(1+2)*3 = 9` or `9 = (1+2)*3`.
///
/// All sides must have one value: an answer with a false equation is wrong even where its first side is not.
fn read_expression(answer: &Extracted<'_>, target: &BigRational) -> Result<Evaluated, String> {
    let text = match answer.how {
        How::Phrase | How::LastLine => arithmetic_part(answer.text),
        _ => answer.text.trim_matches(['$', ' ']),
    };
    let mut sides = text.split('=');
    let mut expression = evaluate(sides.next().unwrap_or_default())?;
    for side in sides {
        let other = evaluate(side)?;
        if other.value != expression.value {
            return Err(format!("its equation is false: {} is not {}", expression.value, other.value));
        }
        // `9 = (1+2)*3` states the target first.
        if expression.numbers.len() == 1 && expression.value == *target && other.numbers.len() > 1 {
            expression = other;
        }
    }
    Ok(expression)
}

/// Prose around an expression removed: from the first digit, bracket or sign to the last digit or bracket.
fn arithmetic_part(text: &str) -> &str {
    let start = text.find(|c: char| c.is_ascii_digit() || matches!(c, '(' | '[' | '-' | '\\')).unwrap_or(0);
    let end = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, ')' | ']' | '}')).map_or(text.len(), |at| at + 1);
    if start < end { &text[start..end] } else { text }
}

/// Why the numbers used break the rule, if they do.
fn broken_rule(used: &[BigRational], given: &[i64], usage: Usage) -> Option<String> {
    let mut left: Vec<i64> = given.to_vec();
    for number in used {
        let position = left.iter().position(|&candidate| *number == BigRational::from_integer(BigInt::from(candidate)));
        let Some(position) = position else {
            let number_shown = shown(&number.to_string(), SHOWN);
            let is_given = given.iter().any(|&candidate| *number == BigRational::from_integer(BigInt::from(candidate)));
            return Some(if is_given {
                format!("it uses {number_shown} more often than it is given")
            } else {
                format!("it uses {number_shown}, which is not given")
            });
        };
        left.swap_remove(position);
    }
    match (usage, left.first()) {
        (Usage::ExactlyOnce, Some(unused)) => Some(format!("it leaves {unused} unused, and every number must be used")),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
