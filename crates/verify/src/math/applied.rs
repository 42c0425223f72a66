//! Names applied to arguments: `f(x)`, `f^{-1}(x)`, `(f \\circ g)(x)`, and any letter that an equation defines, `y(t) = …`.

use super::ast::{Expr, Func, Rel};
use super::lexer::{Delim, ParseError, Tok};
use super::parser::Parser;

/// Names read as functions when a bracket follows directly.
const FUNCTION_NAMES: &[&str] = &["f", "g", "h", "F", "G", "H", "P", "Q", "phi", "Phi", "Gamma"];

impl Parser<'_> {
    /// After a name: the function of that name applied; `None` (nothing taken) where it is a variable.
    pub(super) fn applied(&mut self, name: &str) -> Result<Option<Expr>, ParseError> {
        let stem = name.trim_end_matches('\'');
        let stem = stem.split('_').next().unwrap_or(stem);
        let function = FUNCTION_NAMES.contains(&stem);
        if function && self.inverse_ahead() {
            // The inverse function, not one over its value.
            self.at += 6;
            let argument = self.fresh_bars(Self::list)?;
            self.expect_close(Delim::Paren)?;
            return Ok(Some(Expr::Apply(format!("{name}^-1").into(), vec![argument])));
        }
        // `f \circ g(x)`.
        if function
            && let (Some(Tok::Degree), Some(Tok::Name(inner)), Some(Tok::Open(Delim::Paren))) =
                (self.peek(), self.peek_at(1), self.peek_at(2))
            && FUNCTION_NAMES.contains(&&**inner)
        {
            let inner = inner.to_string();
            self.at += 2;
            let arguments = self.arguments()?;
            return Ok(Some(Expr::Apply(name.into(), vec![Expr::Apply(inner.into(), arguments)])));
        }
        if !(function && self.peek() == Some(&Tok::Open(Delim::Paren)) || self.defined_ahead()) {
            return Ok(None);
        }
        let arguments = self.arguments()?;
        // Γ(n) = (n − 1)!
        if let ("Gamma", [Expr::Num(n)]) = (name, &arguments[..])
            && n.value.is_integer()
        {
            return Ok(Some(Expr::Call(Func::Factorial, vec![arguments[0].clone().minus(Expr::int(1))])));
        }
        Ok(Some(Expr::Apply(name.into(), arguments)))
    }

    /// `( … )` after a function's name.
    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.at += 1;
        let arguments = self.fresh_bars(Self::list)?;
        self.expect_close(Delim::Paren)?;
        Ok(if let Expr::List(v) = arguments { v } else { vec![arguments] })
    }

    /// `^{-1}(`.
    fn inverse_ahead(&self) -> bool {
        let ahead: [Option<&Tok<'_>>; 6] = std::array::from_fn(|offset| self.peek_at(offset));
        matches!(
            ahead,
            [
                Some(Tok::Op('^')),
                Some(Tok::Open(Delim::Brace)),
                Some(Tok::Op('-')),
                Some(Tok::Num { text, .. }),
                Some(Tok::Close(Delim::Brace)),
                Some(Tok::Open(Delim::Paren)),
            ] if text == "1"
        )
    }

    /// `(x) =`, `(x, y) =`: only letters in the brackets, and what they make of them after the sign.
    fn defined_ahead(&self) -> bool {
        if self.peek() != Some(&Tok::Open(Delim::Paren)) {
            return false;
        }
        let mut at = 1;
        while let Some(Tok::Name(_)) = self.peek_at(at) {
            match (self.peek_at(at + 1), self.peek_at(at + 2)) {
                (Some(Tok::Op(',')), _) => at += 2,
                (Some(Tok::Close(Delim::Paren)), Some(Tok::Rel(Rel::Eq))) => return true,
                _ => return false,
            }
        }
        false
    }

    /// `f \circ g)(x)` after the bracket that opened; `None` (nothing taken) where that is not what stands there.
    pub(super) fn composition(&mut self) -> Result<Option<Expr>, ParseError> {
        let (Some(Tok::Name(outer)), Some(Tok::Degree), Some(Tok::Name(inner))) = (self.peek(), self.peek_at(1), self.peek_at(2)) else {
            return Ok(None);
        };
        let applied = self.peek_at(3) == Some(&Tok::Close(Delim::Paren)) && self.peek_at(4) == Some(&Tok::Open(Delim::Paren));
        if !applied || !FUNCTION_NAMES.contains(&&**outer) || !FUNCTION_NAMES.contains(&&**inner) {
            return Ok(None);
        }
        let (outer, inner) = (outer.to_string(), inner.to_string());
        self.at += 4;
        let arguments = self.arguments()?;
        Ok(Some(Expr::Apply(outer.into(), vec![Expr::Apply(inner.into(), arguments)])))
    }

    /// `‖v‖` after its first sign.
    pub(super) fn norm(&mut self) -> Result<Expr, ParseError> {
        self.norms += 1;
        let inner = self.deeper(Self::sum);
        self.norms -= 1;
        let inner = inner?;
        if !self.eat(&Tok::Norm) {
            return super::parser::opaque("a norm that never closes");
        }
        Ok(super::arrays::norm(inner))
    }
}
