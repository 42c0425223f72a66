//! Accuracies with their intervals.

use std::collections::BTreeMap;

use potstill_data::{Attempt, Verdict};
use serde_json::{Value, json};

/// The figures of one model: accuracy, and with several samples pass@k and majority voting.
pub(super) fn evals(model: &str, benchmark: &str, baseline: bool, attempts: &[Attempt], samples: u32) -> Vec<Value> {
    let mut problems: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    attempts.iter().for_each(|a| problems.entry(&a.problem.problem_id).or_default().push(a));
    let n = problems.len();
    let figure = |metric: String, value: f64| {
        let (low, high) = wilson(value, n);
        json!({ "model": model, "benchmark": benchmark, "metric": metric, "value": value, "low": low, "high": high, "n": n, "baseline": baseline })
    };
    let mean = |score: &dyn Fn(&[&Attempt]) -> f64| problems.values().map(|a| score(a)).sum::<f64>() / n.max(1) as f64;
    let accuracy = mean(&|a| a.iter().filter(|a| correct(a)).count() as f64 / a.len() as f64);
    if samples == 1 {
        return vec![figure("accuracy".to_owned(), accuracy)];
    }
    vec![
        figure("pass@1".to_owned(), accuracy),
        figure(format!("pass@{samples}"), mean(&|a| f64::from(u8::from(a.iter().any(|a| correct(a)))))),
        figure(format!("maj@{samples}"), mean(&|a| f64::from(u8::from(majority(a))))),
    ]
}

fn correct(attempt: &Attempt) -> bool {
    attempt.verdict == Some(Verdict::Correct)
}

/// Whether the commonest answer is correct; ties go to the answer given first.
fn majority(attempts: &[&Attempt]) -> bool {
    let answered = || attempts.iter().filter_map(|a| Some((a.extracted.as_deref()?.trim(), *a)));
    let votes = |answer: &str| answered().filter(|(other, _)| *other == answer).count();
    let mut best: Option<(usize, &Attempt)> = None;
    for (answer, attempt) in answered() {
        let count = votes(answer);
        if best.is_none_or(|(most, _)| count > most) {
            best = Some((count, attempt));
        }
    }
    best.is_some_and(|(_, attempt)| correct(attempt))
}

/// The 95 % Wilson score interval of a share among `n`.
fn wilson(share: f64, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, z) = (n as f64, 1.959_964);
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use potstill_data::Problem;

    use super::*;

    fn attempt(problem: &str, answer: &str, verdict: Verdict) -> Attempt {
        let problem = Problem { problem_id: problem.into(), ..Problem::default() };
        Attempt { problem, extracted: Some(answer.into()), verdict: Some(verdict), ..Attempt::default() }
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Values of R's binom.confint(60, 100, methods = "wilson") and (0, 10).
        let (low, high) = wilson(0.6, 100);
        assert!((low - 0.502_003).abs() < 1e-5 && (high - 0.690_599).abs() < 1e-5, "{low} {high}");
        let (low, high) = wilson(0.0, 10);
        assert!(low == 0.0 && (high - 0.277_533).abs() < 1e-5, "{high}");
    }

    #[test]
    fn several_samples_give_pass_and_majority() {
        let attempts = [
            attempt("a", "4", Verdict::Correct),
            attempt("a", "5", Verdict::Incorrect),
            attempt("a", "5", Verdict::Incorrect),
            attempt("b", "7", Verdict::Correct),
            attempt("b", "7", Verdict::Correct),
            attempt("b", "8", Verdict::Incorrect),
        ];
        let figures: Vec<(String, f64)> = evals("m", "b", false, &attempts, 3)
            .iter()
            .map(|e| (e["metric"].as_str().unwrap().to_owned(), e["value"].as_f64().unwrap()))
            .collect();
        assert_eq!(figures, [("pass@1".to_owned(), 0.5), ("pass@3".to_owned(), 1.0), ("maj@3".to_owned(), 0.5)]);
    }
}
