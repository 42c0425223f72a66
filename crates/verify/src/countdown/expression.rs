//! Arithmetic over given numbers: lexer, parser and exact evaluation in one pass with explicit stacks, so
//! that no nesting overflows the call stack and nothing is ever handed to an `eval`.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;

/// Longest expression that is read, in bytes; a Countdown answer has a few dozen.
pub(super) const MAX_LENGTH: usize = 4_096;
/// Longest number that is read, in digits.
const MAX_DIGITS: usize = 64;

/// An evaluated expression.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) value: BigRational,
    /// The numbers that it uses, in order.
    pub(super) numbers: Vec<BigRational>,
}

/// Evaluates `text`, or says why it cannot be: a lowercase fragment.
pub(super) fn evaluate(text: &str) -> Result<Evaluated, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the expression is empty".into());
    }
    if text.len() > MAX_LENGTH {
        return Err(format!("the expression has {} bytes, and at most {MAX_LENGTH} are read", text.len()));
    }
    let mut machine = Machine::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = machine.token(rest, c)?;
    }
    machine.finish()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Neg,
    /// An open bracket and the character that closes it.
    Open(char),
    /// The first and the second argument of `\frac`, both in braces.
    Numerator,
    Denominator,
}

impl Op {
    fn precedence(self) -> u8 {
        match self {
            Self::Add | Self::Sub => 1,
            Self::Mul | Self::Div => 2,
            Self::Neg => 3,
            Self::Open(_) | Self::Numerator | Self::Denominator => 0,
        }
    }
}

/// Shunting yard: operands and operators wait on two stacks.
#[derive(Debug, Default)]
struct Machine {
    values: Vec<BigRational>,
    ops: Vec<Op>,
    numbers: Vec<BigRational>,
    /// Whether the last token completed an operand, so that an operator may follow.
    after_operand: bool,
}

impl Machine {
    /// Consumes the token at the start of `rest`, whose first character is `c`.
    fn token<'a>(&mut self, rest: &'a str, c: char) -> Result<&'a str, String> {
        let next = &rest[c.len_utf8()..];
        match c {
            c if c.is_whitespace() => {}
            '0'..='9' | '.' => return self.number(rest),
            '+' => self.operator(Op::Add)?,
            '-' | '−' | '–' | '－' => self.operator(Op::Sub)?,
            '*' | '×' | '·' | '∙' | '⋅' | '∗' | '＊' => self.operator(Op::Mul)?,
            'x' | 'X' if self.after_operand => self.operator(Op::Mul)?,
            '/' | '÷' | '∕' | '／' => self.operator(Op::Div)?,
            '(' | '（' => self.open(')')?,
            '[' => self.open(']')?,
            '{' => self.open('}')?,
            ')' | '）' => self.close(')')?,
            ']' => self.close(']')?,
            '}' => return self.close_brace(next),
            '\\' => return self.command(next),
            other => {
                return Err(format!("the expression has the symbol `{}`, which is not allowed", other.escape_debug()));
            }
        }
        Ok(next)
    }

    fn number<'a>(&mut self, rest: &'a str) -> Result<&'a str, String> {
        if self.after_operand {
            return Err("two numbers stand side by side without an operator".into());
        }
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (text, tail) = rest.split_at(end);
        if text.len() > MAX_DIGITS {
            return Err(format!("a number has {} digits, and at most {MAX_DIGITS} are read", text.len()));
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        let malformed = || format!("`{text}` is not a number");
        if fraction.contains('.') || digits.is_empty() {
            return Err(malformed());
        }
        let numerator = BigInt::parse_bytes(digits.as_bytes(), 10).ok_or_else(malformed)?;
        let scale = u32::try_from(fraction.len()).map_err(|_| malformed())?;
        let value = BigRational::new(numerator, BigInt::from(10).pow(scale));
        self.numbers.push(value.clone());
        self.values.push(value);
        self.after_operand = true;
        Ok(tail)
    }

    fn operator(&mut self, op: Op) -> Result<(), String> {
        if !self.after_operand {
            return match op {
                Op::Add => Ok(()),
                Op::Sub => {
                    self.ops.push(Op::Neg);
                    Ok(())
                }
                _ => Err("an operator stands where a number should".into()),
            };
        }
        self.reduce(op.precedence())?;
        self.ops.push(op);
        self.after_operand = false;
        Ok(())
    }

    /// Opens a bracket; `2(3+4)` multiplies.
    fn open(&mut self, closing: char) -> Result<(), String> {
        if self.after_operand {
            self.operator(Op::Mul)?;
        }
        self.ops.push(Op::Open(closing));
        Ok(())
    }

    fn close(&mut self, closing: char) -> Result<(), String> {
        self.end_operand()?;
        match self.ops.pop() {
            Some(Op::Open(expected)) if expected == closing => Ok(()),
            _ => Err(format!("a `{closing}` has no matching opening bracket")),
        }
    }

    fn close_brace<'a>(&mut self, next: &'a str) -> Result<&'a str, String> {
        self.end_operand()?;
        match self.ops.pop() {
            Some(Op::Open('}')) => Ok(next),
            Some(Op::Numerator) => {
                let second = next.trim_start().strip_prefix('{').ok_or("`\\frac` lacks its second argument")?;
                self.ops.push(Op::Denominator);
                self.after_operand = false;
                Ok(second)
            }
            Some(Op::Denominator) => {
                self.apply(Op::Div)?;
                Ok(next)
            }
            _ => Err("a `}` has no matching opening bracket".into()),
        }
    }

    /// Everything since the last opening bracket becomes one operand.
    fn end_operand(&mut self) -> Result<(), String> {
        if !self.after_operand {
            return Err("a bracket closes where a number should stand".into());
        }
        self.reduce(1)
    }

    /// LaTeX commands; `next` is what follows the backslash.
    fn command<'a>(&mut self, next: &'a str) -> Result<&'a str, String> {
        let length = next.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(next.len());
        let (name, tail) = next.split_at(length);
        match name {
            "times" | "cdot" | "ast" => self.operator(Op::Mul)?,
            "div" => self.operator(Op::Div)?,
            "left" | "right" | "big" | "Big" | "bigl" | "bigr" | "quad" | "displaystyle" => {}
            "frac" | "dfrac" | "tfrac" => {
                if self.after_operand {
                    self.operator(Op::Mul)?;
                }
                let first = tail.trim_start().strip_prefix('{').ok_or("`\\frac` needs its arguments in braces")?;
                self.ops.push(Op::Numerator);
                return Ok(first);
            }
            // `\,`, `\!`, `\ ` and the like are spaces.
            "" => {
                let space = tail.strip_prefix([',', ';', ':', '!', ' ']);
                return space.ok_or_else(|| "the expression has a backslash, which is not allowed".into());
            }
            _ => {
                return Err(format!("the expression has the command `\\{name}`, which is not allowed"));
            }
        }
        Ok(tail)
    }

    /// Applies the waiting operators that bind at least as tightly as `precedence`.
    fn reduce(&mut self, precedence: u8) -> Result<(), String> {
        while let Some(&op) = self.ops.last() {
            if op.precedence() < precedence || op.precedence() == 0 {
                break;
            }
            self.ops.pop();
            self.apply(op)?;
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), String> {
        let missing = || "an operator lacks a number".to_owned();
        let right = self.values.pop().ok_or_else(missing)?;
        if op == Op::Neg {
            self.values.push(-right);
            return Ok(());
        }
        let left = self.values.pop().ok_or_else(missing)?;
        self.values.push(match op {
            Op::Add => left + right,
            Op::Sub => left - right,
            Op::Mul => left * right,
            _ if right.is_zero() => return Err("the expression divides by zero".into()),
            _ => left / right,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Evaluated, String> {
        if !self.after_operand {
            return Err("the expression ends where a number should stand".into());
        }
        self.reduce(1)?;
        if !self.ops.is_empty() {
            return Err("an opening bracket is never closed".into());
        }
        match (self.values.pop(), self.values.is_empty()) {
            (Some(value), true) => Ok(Evaluated { value, numbers: self.numbers }),
            _ => Err("the expression is incomplete".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        evaluate(text).map_or_else(|error| format!("error: {error}"), |found| found.value.to_string())
    }

    #[test]
    fn precedence_and_spellings() {
        for (text, expected) in [
            ("1+2*3", "7"),
            ("(1+2)*3", "9"),
            ("8-3-2", "3"),
            ("16/4/2", "2"),
            ("1/3", "1/3"),
            ("-3+5", "2"),
            ("2*-3", "-6"),
            ("-(2+3)*2", "-10"),
            ("5 × 4 ÷ 2", "10"),
            ("5 \\times 4 \\div 2", "10"),
            ("\\frac{1+2}{3}*4", "4"),
            ("\\frac{\\frac{8}{2}}{2}", "2"),
            ("2(3+4)", "14"),
            ("(1+2)(3+4)", "21"),
            ("[1+{2*(3)}]−4", "3"),
            ("0.5*4", "2"),
            ("5 x 3", "15"),
            ("\\left(1+2\\right)\\cdot 3", "9"),
            ("2\\frac{1}{2}", "1"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_arithmetic_is_named() {
        for text in [
            "",
            "1+",
            "*2",
            "1 2",
            "(1+2",
            "1+2)",
            "(1+2]",
            "1/0",
            "4/(2-2)",
            "2**3",
            "2^3",
            "5!",
            "a+1",
            "__import__('os')",
            "1..2",
            ".",
            "()",
            "\\frac12",
            "\\frac{1}",
            "\\sqrt{4}",
            "x5",
            "1,2",
            "3=3",
            "\u{0}",
            "\\",
            "}{",
            "\\frac{1}{2",
        ] {
            assert!(evaluate(text).is_err(), "{text:?} gave {}", value(text));
        }
        assert!(value(&"(".repeat(MAX_LENGTH)).starts_with("error"));
        assert!(value(&"(".repeat(10_000_000)).contains("at most 4096"));
        assert!(value(&"9".repeat(100)).contains("at most 64"));
        assert!(evaluate(&format!("{}1", "-".repeat(4_000))).is_ok());
    }
}
