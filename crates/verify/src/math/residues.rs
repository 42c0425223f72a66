//! Residue classes: `17 mod 5`, `x ≡ 2 (mod 5)`, and `5k + 2` for all numbers of a class.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};

use super::ast::Expr;
use super::compare::Context;
use super::exact::exact;
use super::scalar::{Outcome, scalar_equal};
use crate::Proof;

/// `17 mod 5` against a plain number: its representative as written, or reduced.
pub(super) fn residue_equal(class: &[Expr], plain: &Expr, cx: &Context<'_>) -> Outcome {
    let written = scalar_equal(&class[0], plain, cx.work);
    if written.is_equal() {
        // `a mod b` is `a` only for some values of the letters.
        let closed = class.iter().all(|e| e.variables().is_empty());
        // `7 mod 3` is 1.
        let reduced = match (exact(&class[0], cx.work), exact(&class[1], cx.work)) {
            (Some(a), Some(m)) => a < m.abs(),
            _ => true,
        };
        return match (closed, reduced) {
            (true, true) => written,
            (true, false) => Outcome::Different(Proof::Exact),
            _ => Outcome::Unknown,
        };
    }
    let parts = (exact(&class[0], cx.work), exact(&class[1], cx.work), exact(plain, cx.work));
    match parts {
        (Some(a), Some(m), Some(r)) if m.is_positive() && r < m && !r.is_negative() && ((&a - &r) / &m).is_integer() => {
            Outcome::Equal(Proof::Exact)
        }
        (Some(a), Some(m), None) if all_of_residue(&a, &m, plain, cx) => Outcome::Equal(Proof::Exact),
        _ => written,
    }
}

/// `5k + 2` with a letter for any integer: all numbers that leave 2 when divided by 5.
fn all_of_residue(residue: &BigRational, modulus: &BigRational, e: &Expr, cx: &Context<'_>) -> bool {
    let at = |k: i64| exact(&e.map_vars(&|_| BigRational::from_integer(k.into())), cx.work);
    let ([name], Some(f0), Some(f1), Some(f2), Some(f5)) = (&e.variables()[..], at(0), at(1), at(2), at(5)) else { return false };
    let slope = &f1 - &f0;
    let linear = &f2 - &f1 == slope && &f5 - &f0 == &slope * BigInt::from(5);
    matches!(*name, "k" | "n" | "m" | "t" | "j" | "l" | "q" | "s")
        && linear
        && !modulus.is_zero()
        && slope.abs() == modulus.abs()
        && ((f0 - residue) / modulus).is_integer()
}
