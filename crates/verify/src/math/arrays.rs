//! Environments: matrices, determinants, systems and lists of lines.

use super::ast::{Const, Expr, Func};
use super::lexer::{ParseError, Tok};
use super::parser::{Parsed, Parser, opaque};
use super::shape::components;

/// Determinants larger than this are not written out.
const MAX_ORDER: usize = 4;

impl Parser<'_> {
    /// The rows of a matrix, a system or a list of lines.
    pub(super) fn environment(&mut self, env: &str) -> Parsed {
        let mut rows = vec![Vec::new()];
        while !matches!(self.peek(), Some(Tok::End(_)) | None) {
            match self.peek() {
                Some(Tok::RowBreak) => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                Some(Tok::Op('&' | ',' | ';')) => self.at += 1,
                Some(Tok::Rel(_)) => self.continued(&mut rows)?,
                _ => {
                    let cell = self.fresh_bars(|p| p.deeper(Self::cell))?;
                    if let Some(row) = rows.last_mut() {
                        row.push(cell);
                    }
                }
            }
        }
        if !self.eat(&Tok::End(env)) {
            return Err(ParseError::Malformed(format!("`\\begin{{{env}}}` without its end")));
        }
        rows.retain(|r| !r.is_empty());
        // A system set as an array.
        let equations = env == "array" && rows.iter().flatten().all(|cell| matches!(cell, Expr::Relation(..)));
        let matrix = env.contains("matrix") || env == "array" && !equations;
        if matrix {
            if rows.windows(2).any(|w| w[0].len() != w[1].len()) {
                return opaque("a matrix with rows of different lengths");
            }
            return Ok(if env == "vmatrix" { determinant(rows) } else { Expr::Matrix(rows) });
        }
        let mut lines: Vec<Expr> = rows.into_iter().map(|mut r| if r.len() == 1 { r.remove(0) } else { Expr::Tuple(r) }).collect();
        Ok(if lines.len() == 1 { lines.remove(0) } else { Expr::List(lines) })
    }

    /// `&= 5` in a line of its own: the chain of the line before goes on.
    fn continued(&mut self, rows: &mut [Vec<Expr>]) -> Result<(), ParseError> {
        let [.., before, last] = rows else { return opaque("a relation without its left side") };
        match before.pop() {
            Some(first) if last.is_empty() => {
                let whole = self.chain(first)?;
                before.push(whole);
                Ok(())
            }
            _ => opaque("a relation without its left side"),
        }
    }

    /// One cell: a relation or value without separators.
    fn cell(&mut self) -> Parsed {
        let first = self.sum()?;
        self.chain(first)
    }

    /// The relations that follow `first`; an aligned `& = x` continues the cell before.
    pub(super) fn chain(&mut self, first: Expr) -> Parsed {
        let (mut sides, mut rels) = match first {
            Expr::Relation(sides, rels) => (sides, rels),
            other => (vec![other], Vec::new()),
        };
        loop {
            if self.peek() == Some(&Tok::Op('&')) && matches!(self.peek_at(1), Some(Tok::Rel(_))) {
                self.at += 1;
            }
            let Some(Tok::Rel(rel)) = self.peek() else { break };
            rels.push(*rel);
            self.at += 1;
            self.eat(&Tok::Op('&'));
            sides.push(self.sum()?);
        }
        Ok(if rels.is_empty() { sides.remove(0) } else { Expr::Relation(sides, rels) })
    }
}

/// `|…|`: a determinant, the length of a vector, or an absolute value.
pub(super) fn between_bars(inner: Expr) -> Expr {
    match inner {
        Expr::Matrix(rows) => determinant(rows),
        Expr::Tuple(_) => length(&inner).unwrap_or_else(|| Expr::Call(Func::Abs, vec![inner])),
        inner => Expr::Call(Func::Abs, vec![inner]),
    }
}

/// `‖…‖`: the length of a vector, the absolute value of a number, or an operator that is not worked out.
pub(super) fn norm(inner: Expr) -> Expr {
    let closed = inner.is_scalar() && inner.variables().is_empty() && !inner.any(&|e| matches!(e, Expr::Apply(..)));
    match length(&inner) {
        Some(length) => length,
        None if closed => Expr::Call(Func::Abs, vec![inner]),
        None => Expr::Apply("norm".into(), vec![inner]),
    }
}

/// The Euclidean length of a vector with real components.
fn length(vector: &Expr) -> Option<Expr> {
    let components: Vec<Expr> = match vector {
        Expr::Tuple(v) => v.clone(),
        Expr::Matrix(rows) if rows.len() == 1 || rows.iter().all(|row| row.len() == 1) => rows.concat(),
        sum => (2..=3).find_map(|dimension| components(sum, dimension))?,
    };
    let real = |e: &Expr| e.is_scalar() && !e.any(&|x| matches!(x, Expr::Const(Const::I)));
    let squares = || components.iter().map(|c| c.clone().pow(Expr::int(2))).collect();
    components.iter().all(real).then(|| Expr::Root(Box::new(Expr::int(2)), Box::new(Expr::Add(squares()))))
}

/// The determinant of a small square matrix of scalars, expanded by its first row.
pub(super) fn determinant(rows: Vec<Vec<Expr>>) -> Expr {
    let small = rows.len() <= MAX_ORDER && rows.iter().all(|row| row.len() == rows.len() && row.iter().all(Expr::is_scalar));
    if small { expanded(&rows) } else { Expr::Apply("det".into(), vec![Expr::Matrix(rows)]) }
}

fn expanded(rows: &[Vec<Expr>]) -> Expr {
    let [first, rest @ ..] = rows else { return Expr::int(1) };
    let terms = first.iter().enumerate().map(|(column, entry)| {
        let minor: Vec<Vec<Expr>> =
            rest.iter().map(|row| row.iter().enumerate().filter(|(at, _)| *at != column).map(|(_, x)| x.clone()).collect()).collect();
        let term = entry.clone().times(expanded(&minor));
        if column % 2 == 0 { term } else { term.neg() }
    });
    Expr::Add(terms.collect())
}
