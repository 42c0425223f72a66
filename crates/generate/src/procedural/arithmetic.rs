//! Multi-step arithmetic: reduce the expression step by step, notice a slip, undo it.

use std::fmt::Write as _;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Ending, ProceduralConfig, Style, Written};

/// A token of an expression over whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Number(i64),
    Op(char),
    Open,
    Close,
}

/// Where the next step is: `tokens[at..=at + 2]` is `a op b`.
struct Next {
    at: usize,
    a: i64,
    op: char,
    b: i64,
}

/// The value of an expression, or why it has none.
pub(super) fn evaluate(expression: &str) -> Result<i64, String> {
    let mut tokens = tokenize(expression)?;
    while let Some(next) = next_step(&tokens) {
        let value = compute(&next)?;
        replace(&mut tokens, next.at, value);
    }
    match tokens.as_slice() {
        [Token::Number(value)] => Ok(*value),
        _ => Err(format!("`{expression}` is not an expression")),
    }
}

/// Reduces the expression on paper; slips are noticed and undone, except the one that a wrong ending needs.
pub(super) fn solve(expression: &str, config: &ProceduralConfig, ending: Ending, rng: &mut ChaCha8Rng) -> Result<Written, String> {
    let mut tokens = tokenize(expression)?;
    evaluate(expression)?;
    let steps = tokens.iter().filter(|t| matches!(t, Token::Op(_))).count();
    let fault_at = if steps == 0 { 0 } else { rng.random_range(0..steps) };
    let mut paper = String::new();
    for step in 0.. {
        let Some(next) = next_step(&tokens) else { break };
        let Ok(right) = compute(&next) else {
            // Only an earlier slip leads here: the expression itself has a value.
            let _ = write!(paper, "{} {} {} does not come out even. I give up.", next.a, next.op, next.b);
            return Ok(Written { reasoning: paper, answer: None });
        };
        let mut value = right;
        if step == fault_at && ending == Ending::GivesUp {
            let _ = write!(paper, "{} {} {} is too hard. I give up.", next.a, next.op, next.b);
            return Ok(Written { reasoning: paper, answer: None });
        }
        if step == fault_at && ending == Ending::Wrong {
            value = slip(right, rng);
        } else if config.style == Style::Search && rng.random_bool(config.slips) {
            let wrong = slip(right, rng);
            let _ = writeln!(paper, "{} {} {} = {wrong}. Check: that is not right, go back.", next.a, next.op, next.b);
        }
        replace(&mut tokens, next.at, value);
        let _ = writeln!(paper, "{} {} {} = {value}, so {}.", next.a, next.op, next.b, show(&tokens));
    }
    match tokens.as_slice() {
        [Token::Number(value)] => Ok(Written { reasoning: paper.trim_end().to_owned(), answer: Some(value.to_string()) }),
        _ => Err(format!("`{expression}` is not an expression")),
    }
}

/// A wrong result close to the right one.
fn slip(right: i64, rng: &mut ChaCha8Rng) -> i64 {
    let off = [-10, -2, -1, 1, 2, 10][rng.random_range(0..6)];
    right.saturating_add(off)
}

fn tokenize(expression: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '+' | '-' | '*' | '/' => tokens.push(Token::Op(c)),
            '0'..='9' => {
                let mut digits = String::from(c);
                while let Some(d) = chars.next_if(char::is_ascii_digit) {
                    digits.push(d);
                }
                tokens.push(Token::Number(digits.parse().map_err(|_| format!("the number {digits} is too large"))?));
            }
            _ => return Err(format!("`{c}` in `{expression}` is no part of an expression")),
        }
    }
    Ok(tokens)
}

/// The step that comes next by the usual rules: innermost parentheses, then `*` and `/`, then `+` and `-`, left to right.
fn next_step(tokens: &[Token]) -> Option<Next> {
    let close = tokens.iter().position(|t| *t == Token::Close).unwrap_or(tokens.len());
    let open = tokens[..close].iter().rposition(|t| *t == Token::Open).map_or(0, |at| at + 1);
    let triple = |at: usize| match tokens.get(at..at + 3)? {
        [Token::Number(a), Token::Op(op), Token::Number(b)] => Some(Next { at, a: *a, op: *op, b: *b }),
        _ => None,
    };
    let steps = || (open..close.saturating_sub(2)).filter_map(triple);
    steps().find(|n| matches!(n.op, '*' | '/')).or_else(|| steps().next())
}

fn compute(next: &Next) -> Result<i64, String> {
    let Next { a, op, b, .. } = next;
    let value = match op {
        '+' => a.checked_add(*b),
        '-' => a.checked_sub(*b),
        '*' => a.checked_mul(*b),
        _ => (*b != 0 && a % b == 0).then(|| a / b),
    };
    value.ok_or_else(|| format!("{a} {op} {b} is no whole number within 64 bits"))
}

/// Puts a step's value in its place and drops parentheses that hold one number.
fn replace(tokens: &mut Vec<Token>, at: usize, value: i64) {
    tokens.splice(at..at + 3, [Token::Number(value)]);
    let mut at = at;
    while at > 0 && at + 1 < tokens.len() && tokens[at - 1] == Token::Open && tokens[at + 1] == Token::Close {
        tokens.remove(at + 1);
        tokens.remove(at - 1);
        at -= 1;
    }
}

fn show(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        let spaced = !text.is_empty() && !text.ends_with('(') && *token != Token::Close;
        let _ = write!(text, "{}", if spaced { " " } else { "" });
        let _ = match token {
            Token::Number(n) => write!(text, "{n}"),
            Token::Op(op) => write!(text, "{op}"),
            Token::Open => write!(text, "("),
            Token::Close => write!(text, ")"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn values_follow_the_usual_precedence() {
        for (expression, value) in
            [("2 + 3 * 4", 14), ("(2 + 3) * 4", 20), ("20 - 8 / 2 - 3", 13), ("2 * (9 - (3 + 1))", 10), ("7", 7), ("((2 + 3)) * 2", 10)]
        {
            assert_eq!(evaluate(expression), Ok(value), "{expression}");
        }
        for broken in ["", "2 +", "(2", "7 / 2", "4 / 0", "x + 1", "99999999999999999999"] {
            assert!(evaluate(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn slips_are_noticed_and_undone() {
        let config = ProceduralConfig { slips: 1.0, ..ProceduralConfig::default() };
        let written = solve("(2 + 3) * 4", &config, Ending::Right, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert_eq!(written.answer.as_deref(), Some("20"));
        assert_eq!(written.reasoning.matches("go back").count(), 2, "{}", written.reasoning);
        assert!(written.reasoning.ends_with("5 * 4 = 20, so 20."), "{}", written.reasoning);
    }

    #[test]
    fn a_wrong_ending_is_wrong_and_giving_up_has_no_answer() {
        let config = ProceduralConfig::default();
        for seed in 0..50 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let wrong = solve("(2 + 3) + 4", &config, Ending::Wrong, rng).unwrap();
            assert_ne!(wrong.answer.as_deref(), Some("9"));
            assert_eq!(solve("2 + 3", &config, Ending::GivesUp, rng).unwrap().answer, None);
        }
    }
}
