//! Countdown by depth-first search: combine two numbers, go on with the rest, go back where it leads nowhere.

use std::fmt::Write as _;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Ending, ProceduralConfig, Style, Written};

/// A number still on the table, with the expression that made it.
#[derive(Debug, Clone)]
struct Term {
    value: i64,
    text: String,
    /// The expression is an operation, so it needs parentheses inside another.
    compound: bool,
}

impl Term {
    fn number(value: i64) -> Self {
        Self { value, text: value.to_string(), compound: false }
    }

    fn combine(high: &Self, op: char, low: &Self, value: i64) -> Self {
        let wrap = |term: &Self| if term.compound { format!("({})", term.text) } else { term.text.clone() };
        Self { value, text: format!("{}{op}{}", wrap(high), wrap(low)), compound: true }
    }
}

const OPERATIONS: [char; 4] = ['+', '-', '*', '/'];

/// `high op low` as a whole number from 1 to `max_value`; `None` where there is none or the step changes nothing.
fn apply(high: i64, op: char, low: i64, max_value: i64) -> Option<i64> {
    let value = match op {
        '+' => high.checked_add(low)?,
        '-' => high - low,
        '*' if low != 1 => high.checked_mul(low)?,
        '/' if low > 1 && high % low == 0 => high / low,
        _ => return None,
    };
    (1..=max_value).contains(&value).then_some(value)
}

/// One step of the solution: `high op low = value`. Written without spaces, which would cost a student tokens.
struct Step {
    high: i64,
    op: char,
    low: i64,
    value: i64,
}

/// Whether the search reaches the target: the steps, without a word written.
pub(super) fn solvable(numbers: &[i64], target: i64, max_value: i64, max_tries: u32) -> bool {
    let config = ProceduralConfig { max_value, max_tries, ..ProceduralConfig::default() };
    let mut search = Search::new(target, &config);
    search.walk(&numbers.iter().copied().map(Term::number).collect::<Vec<_>>()).is_some()
}

/// Solves one problem on paper; `numbers` may each be used at most once.
pub(super) fn solve(numbers: &[i64], target: i64, config: &ProceduralConfig, ending: Ending, rng: &mut ChaCha8Rng) -> Written {
    let terms: Vec<Term> = numbers.iter().copied().map(Term::number).collect();
    let mut search = Search::new(target, config);
    if ending != Ending::Right {
        // The fault falls somewhere in the search; counting first tells how long the search is.
        let mut dry = Search::new(target, config);
        dry.walk(&terms);
        search.fault_at = Some((ending, rng.random_range(1..=dry.tries.max(1))));
    }
    let answer = search.walk(&terms);
    let reasoning = match (config.style, &answer) {
        (Style::Direct, Some(_)) => search.steps_alone(),
        _ => search.paper.trim_end().to_owned(),
    };
    Written { reasoning, answer: answer.map(|term| term.text) }
}

/// The state of one search and what it has written so far.
struct Search<'a> {
    target: i64,
    config: &'a ProceduralConfig,
    paper: String,
    steps: Vec<Step>,
    tries: u32,
    /// At this try the search gives up or takes a wrong result for the target.
    fault_at: Option<(Ending, u32)>,
    stopped: bool,
}

impl<'a> Search<'a> {
    fn new(target: i64, config: &'a ProceduralConfig) -> Self {
        Self { target, config, paper: String::new(), steps: Vec::new(), tries: 0, fault_at: None, stopped: false }
    }

    /// Depth first; the term that equals the target, or is taken for it. `None`: nothing found below, or given up.
    fn walk(&mut self, terms: &[Term]) -> Option<Term> {
        if terms.len() == 2 {
            return self.last_two(terms);
        }
        for i in 0..terms.len() {
            for j in i + 1..terms.len() {
                let (high, low) = ordered(&terms[i], &terms[j]);
                for op in OPERATIONS {
                    let Some(value) = apply(high.value, op, low.value, self.config.max_value) else { continue };
                    let made = Term::combine(high, op, low, value);
                    let rest = terms.iter().enumerate().filter(|(k, _)| *k != i && *k != j).map(|(_, t)| t.clone());
                    let left: Vec<Term> = std::iter::once(made.clone()).chain(rest).collect();
                    self.push(high, op, low, value);
                    let found = self.step_into(made, &left);
                    if found.is_some() || self.stopped {
                        return found;
                    }
                    self.steps.pop();
                }
            }
        }
        None
    }

    fn step_into(&mut self, made: Term, left: &[Term]) -> Option<Term> {
        let _ = write!(self.paper, "{}", self.steps.last().map(Step::text).unwrap_or_default());
        if made.value == self.target {
            let _ = writeln!(self.paper, ". That is {}.", self.target);
            return Some(made);
        }
        let values: Vec<String> = left.iter().map(|t| t.value.to_string()).collect();
        let (last, head) = values.split_last()?;
        let _ = write!(self.paper, ", left {} and {last}:{}", head.join(", "), if left.len() > 2 { "\n" } else { " " });
        self.walk(left)
    }

    /// All results of two numbers in one line.
    fn last_two(&mut self, terms: &[Term]) -> Option<Term> {
        let (high, low) = ordered(&terms[0], &terms[1]);
        self.tries += 1;
        let fault = self.fault_at.filter(|(_, at)| *at == self.tries).map(|(ending, _)| ending);
        if fault == Some(Ending::GivesUp) || self.tries > self.config.max_tries {
            self.stopped = true;
            self.paper.push_str("this takes too long. I give up.\n");
            return None;
        }
        let results = OPERATIONS.iter().filter_map(|op| Some((*op, apply(high.value, *op, low.value, self.config.max_value)?)));
        let mut first = true;
        for (op, value) in results {
            let taken_for_it = fault == Some(Ending::Wrong) && value != self.target;
            let written = if taken_for_it { self.target } else { value };
            let step = Step { high: high.value, op, low: low.value, value: written };
            let _ = write!(self.paper, "{}{}", if first { "" } else { "," }, step.text());
            first = false;
            if written == self.target {
                let _ = writeln!(self.paper, ". That is {}.", self.target);
                self.stopped = true;
                self.steps.push(step);
                return Some(Term::combine(high, op, low, value));
            }
        }
        let _ = writeln!(self.paper, "{} is {}, go back.", if first { "None" } else { ". None" }, self.target);
        None
    }

    fn push(&mut self, high: &Term, op: char, low: &Term, value: i64) {
        self.steps.push(Step { high: high.value, op, low: low.value, value });
    }

    fn steps_alone(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(Step::text).collect();
        format!("{}. That is {}.", steps.join(", "), self.target)
    }
}

impl Step {
    fn text(&self) -> String {
        format!("{}{}{}={}", self.high, self.op, self.low, self.value)
    }
}

fn ordered<'t>(a: &'t Term, b: &'t Term) -> (&'t Term, &'t Term) {
    if a.value >= b.value { (a, b) } else { (b, a) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn write(ending: Ending, style: Style) -> Written {
        let config = ProceduralConfig { style, ..ProceduralConfig::default() };
        solve(&[11, 2, 25], 28, &config, ending, &mut ChaCha8Rng::seed_from_u64(3))
    }

    #[test]
    fn the_search_shows_its_wrong_turns_and_the_solution() {
        let written = write(Ending::Right, Style::Search);
        assert!(written.reasoning.starts_with("11+2=13, left 13 and 25: 25+13=38,25-13=12. None is 28, go back.\n"));
        assert!(written.reasoning.ends_with("That is 28."));
        assert_eq!(written.answer.as_deref(), Some("(25-11)*2"));
    }

    #[test]
    fn the_direct_style_writes_the_solution_alone() {
        let written = write(Ending::Right, Style::Direct);
        assert_eq!(written.reasoning, "25-11=14, 14*2=28. That is 28.");
    }

    #[test]
    fn a_wrong_ending_claims_the_target_for_another_result() {
        let written = write(Ending::Wrong, Style::Search);
        assert!(written.reasoning.ends_with("That is 28."));
        assert_ne!(written.answer.as_deref(), Some("(25-11)*2"));
        assert!(written.answer.is_some());
    }

    #[test]
    fn giving_up_leaves_no_answer() {
        let written = write(Ending::GivesUp, Style::Search);
        assert!(written.reasoning.ends_with("I give up."));
        assert_eq!(written.answer, None);
    }

    #[test]
    fn four_numbers_are_searched_level_by_level() {
        let config = ProceduralConfig { max_tries: 5000, ..ProceduralConfig::default() };
        let written = solve(&[3, 7, 8, 9], 56, &config, Ending::Right, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(written.answer.is_some(), "{}", written.reasoning);
    }

    #[test]
    fn an_unsolvable_problem_ends_without_an_answer() {
        assert!(!solvable(&[1, 1, 1], 50, 60, 400));
        let written = solve(&[1, 1, 1], 50, &ProceduralConfig::default(), Ending::Right, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(written.answer, None);
    }
}
