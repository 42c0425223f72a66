//! Comparing what a program gave with what its tests expect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::read::shown;

/// How output is compared. Blank lines and spaces around the whole output never count, letters' case always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checker {
    /// The same text, apart from line endings and what ends the output.
    Exact,
    /// The same words on the same lines, blank lines left out.
    #[default]
    Tokens,
    /// As `tokens`, and numbers may differ by `absolute` or `relative`.
    Floats,
    /// The same lines in any order; for values that calls return, lists in any order.
    Unordered,
}

/// A checker with its tolerances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compare {
    pub(super) checker: Checker,
    pub(super) absolute: f64,
    pub(super) relative: f64,
}

impl Compare {
    /// Why `found` is not the `expected` output, if it is not.
    pub(super) fn text(self, expected: &str, found: &str) -> Option<String> {
        if self.checker == Checker::Exact {
            let normal = |text: &str| text.replace("\r\n", "\n").trim_end_matches('\n').to_owned();
            return (normal(expected) != normal(found)).then(|| difference(expected, found));
        }
        let (mut want, mut have) = (lines(expected), lines(found));
        if want.len() != have.len() {
            return Some(format!("{} lines expected, {} found", want.len(), have.len()));
        }
        if self.checker == Checker::Unordered {
            want.sort_unstable();
            have.sort_unstable();
        }
        for (number, (want, have)) in want.iter().zip(&have).enumerate() {
            if want.len() != have.len() {
                return Some(format!("line {}: {} words expected, {} found", number + 1, want.len(), have.len()));
            }
            if let Some((want, have)) = want.iter().zip(have).find(|(want, have)| !self.same_word(want, have)) {
                return Some(format!("line {}: {}", number + 1, difference(want, have)));
            }
        }
        None
    }

    fn same_word(self, want: &str, have: &str) -> bool {
        want == have
            || self.checker == Checker::Floats
                && matches!((want.parse::<f64>(), have.parse::<f64>()), (Ok(want), Ok(have)) if self.same_number(want, have))
    }

    fn same_number(self, want: f64, have: f64) -> bool {
        want == have || (want.is_finite() && have.is_finite() && (want - have).abs() <= self.absolute.max(self.relative * want.abs()))
    }

    /// Whether a returned value is the expected one; both as JSON text. Some data sets put the expected value in a list of one.
    pub(super) fn value(self, expected: &str, found: &str) -> Result<(), String> {
        let wrong = || difference(&minified(expected), &minified(found));
        if minified(expected) == minified(found) {
            return Ok(());
        }
        let (Ok(want), Ok(have)) = (serde_json::from_str::<Value>(expected), serde_json::from_str::<Value>(found)) else {
            return Err(wrong());
        };
        let boxed = match &want {
            Value::Array(items) if items.len() == 1 => self.same(&items[0], &have),
            _ => false,
        };
        if boxed || self.same(&want, &have) { Ok(()) } else { Err(wrong()) }
    }

    fn same(self, want: &Value, have: &Value) -> bool {
        match (want, have) {
            (Value::Number(want), Value::Number(have)) => {
                let (Some(a), Some(b)) = (want.as_f64(), have.as_f64()) else { return false };
                // Whole numbers too large for 64 bits have lost digits here; the text of the whole value has decided.
                let lost = |n: &serde_json::Number, f: f64| n.is_f64() && f.fract() == 0.0 && f.abs() >= 18_446_744_073_709_551_616.0;
                match self.checker {
                    Checker::Floats => self.same_number(a, b),
                    _ if want.is_f64() || have.is_f64() => a == b && !(lost(want, a) && lost(have, b)),
                    _ => want == have,
                }
            }
            (Value::Array(want), Value::Array(have)) if self.checker == Checker::Unordered => self.same_bag(want, have),
            (Value::Array(want), Value::Array(have)) => want.len() == have.len() && want.iter().zip(have).all(|(a, b)| self.same(a, b)),
            (Value::Object(want), Value::Object(have)) => {
                want.len() == have.len() && want.iter().all(|(key, a)| have.get(key).is_some_and(|b| self.same(a, b)))
            }
            _ => want == have,
        }
    }

    fn same_bag(self, want: &[Value], have: &[Value]) -> bool {
        let mut left: Vec<&Value> = have.iter().collect();
        want.len() == have.len()
            && want.iter().all(|item| left.iter().position(|other| self.same(item, other)).map(|at| left.swap_remove(at)).is_some())
    }
}

/// The words of each line that has any.
fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|words| !words.is_empty()).collect()
}

fn difference(expected: &str, found: &str) -> String {
    format!("expected `{}`, found `{}`", shown(expected.trim(), 40), shown(found.trim(), 40))
}

/// JSON text without the white space between its parts.
fn minified(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if quoted || !c.is_ascii_whitespace() {
            out.push(c);
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(checker: Checker) -> Compare {
        Compare { checker, absolute: 1e-6, relative: 1e-6 }
    }

    #[test]
    fn a_right_beginning_is_not_enough() {
        let tokens = compare(Checker::Tokens);
        assert_eq!(tokens.text("1 2\n3\n", "1  2 \n\n3"), None);
        for wrong in ["1 2", "1 2\n3\n4", "1 2 3", "1\n2 3", "2 1\n3", ""] {
            assert!(tokens.text("1 2\n3\n", wrong).is_some(), "{wrong}");
        }
        assert!(tokens.text("Yes", "YES").is_some(), "case counts");
    }

    #[test]
    fn each_checker_allows_what_it_says() {
        assert!(compare(Checker::Exact).text("1 2\n", "1  2").is_some());
        assert_eq!(compare(Checker::Exact).text("1 2\r\n", "1 2"), None);
        assert_eq!(compare(Checker::Floats).text("0.333333 x", "0.3333334 x"), None);
        assert!(compare(Checker::Floats).text("0.3333 x", "0.3334 x").is_some());
        assert!(compare(Checker::Floats).text("nan", "1").is_some());
        assert!(compare(Checker::Tokens).text("0.50", "0.5").is_some());
        assert_eq!(compare(Checker::Unordered).text("a\nb\nb", "b\na\nb"), None);
        assert!(compare(Checker::Unordered).text("a\nb\nb", "b\na\na").is_some());
    }

    #[test]
    fn values_are_compared_as_values() {
        let tokens = compare(Checker::Tokens);
        for (want, have) in [("[1, 2.0]", "[1,2]"), ("[[3]]", "[3]"), (r#"{"a": 1, "b": 2}"#, r#"{"b":2,"a":1}"#), ("\"a b\"", "\"a b\"")] {
            assert_eq!(tokens.value(want, have), Ok(()), "{want} {have}");
        }
        let large = "[100000000000000000000000001]";
        assert_eq!(tokens.value(large, large), Ok(()));
        for (want, have) in [
            ("1", "true"),
            ("1", "\"1\""),
            ("[1,2]", "[1]"),
            ("0.1", "0.10000001"),
            (large, "[100000000000000000000000002]"),
            ("\"a b\"", "\"ab\""),
        ] {
            assert!(tokens.value(want, have).is_err(), "{want} {have}");
        }
        assert_eq!(compare(Checker::Floats).value("0.1", "0.10000001"), Ok(()));
        assert_eq!(compare(Checker::Unordered).value("[[1],[2]]", "[[2],[1]]"), Ok(()));
    }
}
