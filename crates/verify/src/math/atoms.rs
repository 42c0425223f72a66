//! The atoms of the grammar: brackets, fractions, roots, calls, matrices, units.

use super::ast::{Const, Expr, Func};
use super::calculus::substitute;
use super::lexer::{Delim, ParseError, Tok};
use super::operators;
use super::parser::{Parsed, Parser, collapse, opaque};
use super::units::Unit;

impl Parser<'_> {
    pub(super) fn atom(&mut self) -> Parsed {
        self.deeper(Self::atom_inner)
    }

    fn atom_inner(&mut self) -> Parsed {
        let Some(tok) = self.peek().cloned() else { return Err(ParseError::Malformed("it ends too early".into())) };
        match tok {
            Tok::Num { .. } => return self.numeral(),
            Tok::Word(..) => return self.words(),
            Tok::Begin(env) => {
                self.at += 1;
                return self.environment(env);
            }
            _ => self.at += 1,
        }
        match tok {
            Tok::Name(name) => self.name(&name),
            Tok::Const(c) => Ok(Expr::Const(c)),
            Tok::Func(func) => self.call(func),
            Tok::Big(name) => self.big_operator(name),
            Tok::Frac => {
                let top = self.argument(true)?;
                let bottom = self.argument(true)?;
                match operators::differential_operator(&top, &bottom) {
                    Some((x, order, Some(body))) => Ok(operators::differentiated(&x, order, body)),
                    Some((x, order, None)) => Ok(operators::differentiated(&x, order, self.product()?)),
                    None => Ok(top.over(bottom)),
                }
            }
            Tok::Binom => {
                if self.peek() == Some(&Tok::Open(Delim::Paren)) {
                    return self.call(Func::Binom);
                }
                let top = self.argument(true)?;
                let bottom = self.argument(true)?;
                Ok(Expr::Call(Func::Binom, vec![top, bottom]))
            }
            Tok::Sqrt => self.root(),
            Tok::Open(open) => self.opened(open),
            // `]a, b[`: an open interval in French.
            Tok::Close(Delim::Bracket) if !self.reversed => {
                self.reversed = true;
                let out = self.fresh_bars(|p| p.bracket(false));
                self.reversed = false;
                out
            }
            Tok::Bar => self.bars(),
            Tok::Norm => self.norm(),
            Tok::Op('+') => self.atom(),
            Tok::Op('_' | '^') => self.counted_before(),
            Tok::Currency(code) => {
                let value = self.power()?;
                Ok(Expr::Quantity(Box::new(value), Unit::currency(code)))
            }
            Tok::Clock(h, m, pm) => Ok(Expr::Clock(h * 60 + m, pm)),
            Tok::Degree => Ok(Expr::Degrees(Box::new(Expr::int(1)))),
            _ => opaque("a sign where a value should stand"),
        }
    }

    /// What an opening delimiter begins.
    fn opened(&mut self, open: Delim) -> Parsed {
        match open {
            // `{}_{10}C_{3}`.
            Delim::Brace if self.peek() == Some(&Tok::Close(Delim::Brace)) && matches!(self.peek_at(1), Some(Tok::Op('_' | '^'))) => {
                self.at += 2;
                self.counted_before()
            }
            Delim::Brace => self.fresh_bars(Self::group),
            Delim::SetBrace => self.fresh_bars(Self::set),
            Delim::Abs => {
                let inner = self.fresh_bars(Self::list)?;
                self.expect_close(Delim::Abs)?;
                Ok(super::arrays::between_bars(inner))
            }
            Delim::Floor => self.rounding(Func::Floor, Delim::Floor),
            Delim::Ceil => self.rounding(Func::Ceil, Delim::Ceil),
            Delim::Angle => {
                let inner = self.fresh_bars(Self::list)?;
                self.expect_close(Delim::Angle)?;
                Ok(match inner {
                    Expr::List(v) => Expr::Tuple(v),
                    other => other,
                })
            }
            Delim::Paren if let Some(composed) = self.composition()? => Ok(composed),
            Delim::Paren | Delim::Bracket => self.fresh_bars(|p| p.bracket(open == Delim::Bracket)),
        }
    }

    /// A sum, product, integral or limit with its bounds; short sums and products are written out.
    fn big_operator(&mut self, name: &str) -> Parsed {
        if name == "det" {
            return Ok(match self.atom()? {
                Expr::Matrix(rows) => super::arrays::determinant(rows),
                other => Expr::Apply(name.into(), vec![other]),
            });
        }
        let (mut low, mut high) = (None, None);
        loop {
            match self.peek() {
                Some(Tok::Op('_')) if low.is_none() => {
                    self.at += 1;
                    low = Some(self.atom()?);
                }
                Some(Tok::Op('^')) if high.is_none() => {
                    self.at += 1;
                    let negative = self.eat(&Tok::Op('-'));
                    let bound = self.atom()?;
                    high = Some(if negative { bound.neg() } else { bound });
                }
                _ => break,
            }
        }
        if name == "int"
            && let Some((body, x)) = self.deeper(Self::integrand)?
        {
            return Ok(integral(low, high, body, x));
        }
        let body = self.deeper(Self::product)?;
        if let (Some(low), Some(high)) = (&low, &high)
            && let Some(terms) = operators::terms(low, high, &body)
        {
            return Ok(if name == "sum" { Expr::Add(terms) } else { Expr::Mul(terms) });
        }
        let (low, body) = operators::unnamed(low, body);
        Ok(Expr::Apply(name.into(), low.into_iter().chain(high).chain(std::iter::once(body)).collect()))
    }

    /// What stands under an integral, up to its differential; `None` (nothing taken) where there is none.
    fn integrand(&mut self) -> Result<Option<(Expr, Box<str>)>, ParseError> {
        let start = self.at;
        self.integrals += 1;
        let found = self.terms_to_differential();
        self.integrals -= 1;
        if !matches!(found, Ok(Some(_))) {
            self.at = start;
        }
        found
    }

    fn terms_to_differential(&mut self) -> Result<Option<(Expr, Box<str>)>, ParseError> {
        let mut terms = Vec::new();
        loop {
            let sign = match self.peek() {
                Some(Tok::Op(sign @ ('+' | '-'))) => *sign,
                Some(_) if terms.is_empty() => '+',
                _ => return Ok(None),
            };
            self.at += usize::from(matches!(self.peek(), Some(Tok::Op('+' | '-'))));
            let term = self.product()?;
            let term = if sign == '-' { term.neg() } else { term };
            if let Some((last, x)) = operators::without_differential(&term) {
                terms.push(last);
                return Ok(Some((collapse(terms, Expr::Add), x)));
            }
            terms.push(term);
        }
    }

    fn rounding(&mut self, func: Func, delim: Delim) -> Parsed {
        let inner = self.fresh_bars(Self::sum)?;
        self.expect_close(delim)?;
        Ok(Expr::Call(func, vec![inner]))
    }

    /// A variable, or an unknown function applied.
    fn name(&mut self, name: &str) -> Parsed {
        let mut name = name.to_owned();
        if name.ends_with(' ') {
            // `\angle ABC`: the letters belong to the name.
            while let Some(Tok::Name(n)) = self.peek() {
                name.push_str(n);
                self.at += 1;
            }
            return Ok(Expr::Var(name.into()));
        }
        if let Some(counted) = self.counted(&name)? {
            return Ok(counted);
        }
        while self.peek() == Some(&Tok::Op('\'')) {
            name.push('\'');
            self.at += 1;
        }
        if self.peek() == Some(&Tok::Op('_')) {
            self.at += 1;
            let start = self.at;
            self.deeper(Self::atom)?;
            name.push('_');
            for t in &self.toks[start..self.at] {
                match &t.tok {
                    Tok::Num { text, .. } => name.push_str(text),
                    Tok::Name(n) => name.push_str(n),
                    Tok::Word(w, _) => name.push_str(w),
                    Tok::Op(c) => name.push(*c),
                    Tok::Const(Const::E) => name.push('e'),
                    Tok::Const(Const::I) => name.push('i'),
                    _ => {}
                }
            }
        }
        if let Some(applied) = self.applied(&name)? {
            return Ok(applied);
        }
        Ok(Expr::Var(name.into()))
    }

    /// Consecutive words as one text.
    fn words(&mut self) -> Parsed {
        if let (Some(Tok::Word(w, _)), Some(Tok::Num { .. })) = (self.peek(), self.peek_at(1))
            && matches!(*w, "USD" | "usd" | "Rs" | "EUR" | "GBP" | "RMB" | "CNY")
        {
            let unit = Unit::named(w).unwrap_or_else(|| Unit::labelled(w));
            self.at += 1;
            let value = self.power()?;
            return Ok(Expr::Quantity(Box::new(value), unit));
        }
        let mut words = Vec::new();
        while let Some(Tok::Word(w, _)) = self.peek() {
            words.push(w.to_lowercase());
            self.at += 1;
        }
        Ok(Expr::Text(words.join(" ").into()))
    }

    /// The argument of `\frac` and its like: a group, one digit, or one atom.
    fn argument(&mut self, split_digits: bool) -> Parsed {
        if split_digits
            && let Some(Tok::Num { text, repeat: "", exp: 0, .. }) = self.peek()
            && text.len() > 1
            && !text.contains('.')
        {
            let digit = i64::from(text.as_bytes()[0] - b'0');
            let rest = text[1..].to_owned();
            if let Tok::Num { text, .. } = &mut self.toks[self.at].tok {
                *text = rest.into();
            }
            return Ok(Expr::int(digit));
        }
        self.atom()
    }

    fn root(&mut self) -> Parsed {
        let mut index = Expr::int(2);
        if self.peek() == Some(&Tok::Open(Delim::Bracket)) {
            self.at += 1;
            index = self.sum()?;
            self.expect_close(Delim::Bracket)?;
        }
        let radicand = self.argument(false)?;
        if !radicand.is_scalar() {
            return opaque("a root of something that is no number");
        }
        Ok(Expr::Root(Box::new(index), Box::new(radicand)))
    }

    /// `{…}`: a group, an old-style fraction, or a set of several entries in plain text.
    fn group(&mut self) -> Parsed {
        if self.eat(&Tok::Close(Delim::Brace)) {
            return Ok(Expr::Const(Const::Empty));
        }
        let left = self.list_or_element()?;
        let out = match self.peek() {
            Some(Tok::Over) => {
                self.at += 1;
                left.over(self.list()?)
            }
            Some(Tok::Choose) => {
                self.at += 1;
                Expr::Call(Func::Binom, vec![left, self.list()?])
            }
            Some(Tok::Bar | Tok::Mid) => {
                self.at += 1;
                self.builder(left)?
            }
            _ => match left {
                Expr::List(v) => Expr::Set(v),
                other => other,
            },
        };
        self.expect_close(Delim::Brace)?;
        Ok(out)
    }

    /// The inside of braces: `|` divides it where what precedes is a bare variable, as in `{x | x > 0}`.
    fn list_or_element(&mut self) -> Parsed {
        if matches!(self.peek(), Some(Tok::Name(_))) && matches!(self.peek_at(1), Some(Tok::Bar)) {
            return self.dividing_bars(Self::list);
        }
        self.list()
    }

    fn builder(&mut self, element: Expr) -> Parsed {
        let conditions = self.list()?;
        let conditions = if let Expr::List(v) = conditions { v } else { vec![conditions] };
        Ok(Expr::Builder(Box::new(element), conditions))
    }

    fn set(&mut self) -> Parsed {
        if self.eat(&Tok::Close(Delim::SetBrace)) {
            return Ok(Expr::Const(Const::Empty));
        }
        let first = self.dividing_bars(Self::list)?;
        if matches!(self.peek(), Some(Tok::Bar | Tok::Mid)) {
            self.at += 1;
            let built = self.builder(first)?;
            self.expect_close(Delim::SetBrace)?;
            return Ok(built);
        }
        self.expect_close(Delim::SetBrace)?;
        Ok(match first {
            // `{x : x ∈ ℤ, |x| ≤ 2}`.
            Expr::List(mut v) if v.iter().all(|x| matches!(x, Expr::Relation(..))) => match colon_builder(v.remove(0)) {
                Expr::Builder(element, mut conditions) => {
                    conditions.append(&mut v);
                    Expr::Builder(element, conditions)
                }
                other => {
                    v.insert(0, other);
                    Expr::Set(v)
                }
            },
            Expr::List(v) => Expr::Set(v),
            // `{x : x < 2 or x > 3}`.
            Expr::Union(mut v) => match colon_builder(v.remove(0)) {
                Expr::Builder(element, conditions) => {
                    v.splice(0..0, conditions);
                    Expr::Builder(element, vec![Expr::Union(v)])
                }
                other => {
                    v.insert(0, other);
                    Expr::Set(vec![Expr::Union(v)])
                }
            },
            relation @ Expr::Relation(..) => match colon_builder(relation) {
                built @ Expr::Builder(..) => built,
                other => Expr::Set(vec![other]),
            },
            one => Expr::Set(vec![one]),
        })
    }

    /// `( … )`, `[ … ]` and mixed ends: a group, a tuple or an interval.
    fn bracket(&mut self, left_closed: bool) -> Parsed {
        if self.eat(&Tok::Close(Delim::Paren)) || (left_closed && self.eat(&Tok::Close(Delim::Bracket))) {
            return Ok(Expr::Tuple(Vec::new()));
        }
        let inner = self.list()?;
        let right_closed = match self.peek() {
            Some(Tok::Close(Delim::Paren)) => false,
            Some(Tok::Close(Delim::Bracket)) => true,
            // `]a, b[`.
            Some(Tok::Open(Delim::Bracket)) => false,
            None => return Err(ParseError::Malformed("a bracket that never closes".into())),
            Some(_) => return opaque("a bracket closes in the wrong place"),
        };
        self.at += 1;
        Ok(match inner {
            Expr::List(v) if left_closed || right_closed => Expr::Bracket(left_closed, right_closed, v),
            Expr::List(v) => Expr::Tuple(v),
            other => other,
        })
    }

    /// A function with its power, base and argument.
    fn call(&mut self, mut func: Func) -> Parsed {
        let mut power = None;
        let mut base = None;
        loop {
            match self.peek() {
                Some(Tok::Op('^')) if power.is_none() => {
                    self.at += 1;
                    let negative = self.eat(&Tok::Op('-'));
                    let e = self.atom()?;
                    power = Some(if negative { e.neg() } else { e });
                }
                Some(Tok::Op('_')) if func == Func::LogBare && base.is_none() => {
                    self.at += 1;
                    base = Some(self.argument(true)?);
                }
                _ => break,
            }
        }
        if power == Some(Expr::int(-1))
            && let Some(inverse) = inverse(func)
        {
            power = None;
            func = inverse;
        }
        let mut args = self.call_arguments()?;
        if let Some(base) = base {
            args.push(base);
            func = Func::Log;
        } else if func == Func::LogBare && args.len() == 2 {
            func = Func::Log;
        }
        if args.len() != arity(func).unwrap_or(args.len()) {
            return opaque("a function with the wrong number of arguments");
        }
        let call = Expr::Call(func, args);
        Ok(match power {
            Some(p) => call.pow(p),
            None => call,
        })
    }

    fn call_arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        if let Some(Tok::Open(open @ (Delim::Paren | Delim::Bracket | Delim::Brace | Delim::SetBrace))) = self.peek() {
            let open = *open;
            self.at += 1;
            let inner = self.fresh_bars(Self::list)?;
            self.expect_close(open)?;
            return Ok(if let Expr::List(v) | Expr::Set(v) = inner { v } else { vec![inner] });
        }
        // Without brackets: a product of simple factors, up to the next function.
        let negative = self.eat(&Tok::Op('-'));
        let mut arg = self.power()?;
        while self.starts_factor()
            && !matches!(self.peek(), Some(Tok::Func(_) | Tok::Open(Delim::Paren | Delim::Bracket | Delim::SetBrace) | Tok::Begin(_)))
            && !(self.integrals > 0 && self.peek() == Some(&Tok::Name("d".into())) && matches!(self.peek_at(1), Some(Tok::Name(_))))
        {
            arg = arg.times(self.power()?);
        }
        Ok(vec![if negative { arg.neg() } else { arg }])
    }
}

/// `{x ∈ ℝ : x > 2}` parses as a relation with a ratio for one side: what precedes the colon is the element.
/// Without a colon it stays what it is.
fn colon_builder(relation: Expr) -> Expr {
    let Expr::Relation(mut sides, mut rels) = relation else { return relation };
    let Some(at) = sides.iter().position(|s| matches!(s, Expr::Ratio(r) if r.len() == 2)) else {
        return Expr::Relation(sides, rels);
    };
    let mut condition = sides.split_off(at);
    let condition_rels = rels.split_off(at);
    if let Expr::Ratio(parts) = &condition[0] {
        let (left, right) = (parts[0].clone(), parts[1].clone());
        sides.push(left);
        condition[0] = right;
    }
    let element = if rels.is_empty() { sides.remove(0) } else { Expr::Relation(sides, rels) };
    let condition = if condition_rels.is_empty() { condition.remove(0) } else { Expr::Relation(condition, condition_rels) };
    Expr::Builder(Box::new(element), vec![condition])
}

/// An integral; the variable of a definite one has no name of its own.
fn integral(low: Option<Expr>, high: Option<Expr>, body: Expr, x: Box<str>) -> Expr {
    let variable = Expr::Var(x);
    match (low, high) {
        (Some(low), Some(high)) => {
            let name = operators::bound_name(&body);
            Expr::Apply("int".into(), vec![low, high, substitute(&body, &variable, &name), name])
        }
        (None, None) => Expr::Apply("int".into(), vec![body, variable]),
        (low, high) => Expr::Apply("int".into(), low.into_iter().chain(high).chain([body, variable.clone(), variable]).collect()),
    }
}

fn inverse(func: Func) -> Option<Func> {
    Some(match func {
        Func::Sin => Func::Asin,
        Func::Cos => Func::Acos,
        Func::Tan => Func::Atan,
        Func::Cot => Func::Acot,
        Func::Sinh => Func::Asinh,
        Func::Cosh => Func::Acosh,
        Func::Tanh => Func::Atanh,
        _ => return None,
    })
}

/// How many arguments a function takes; `None` for any number.
fn arity(func: Func) -> Option<usize> {
    match func {
        Func::Max | Func::Min | Func::Gcd | Func::Lcm => None,
        Func::Log | Func::Binom | Func::Mod => Some(2),
        _ => Some(1),
    }
}
