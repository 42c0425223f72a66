//! The `math` verifier: two mathematical answers, as people write them, are the same or not, and how we know.
//!
//! An answer is cleaned, lexed, parsed completely by precedence climbing, and compared by its form: numbers, quantities, sets, intervals, tuples, matrices, relations, texts. Scalars go through
//! layers, each of which may decide: structure, exact rationals, identity modulo random primes, certified
//! enclosures of rising precision, which refute soundly, and in the end agreement to 256 bits, which is called
//! probable. What conventions leave open is a field of [`MathPolicy`].

mod answer;
mod applied;
mod arrays;
mod ast;
mod atoms;
mod big;
mod calculus;
mod choices;
mod clean;
mod compare;
mod counting;
mod domains;
mod exact;
mod lex_command;
mod lex_number;
mod lexer;
mod measures;
mod mixed;
mod modular;
mod names;
mod naming;
mod numeral;
mod numeric;
mod operators;
mod parser;
mod policy;
mod real;
mod relations;
mod repair;
mod reply;
mod residues;
mod rounding;
mod scalar;
mod scripts;
mod series;
mod sets;
mod shape;
mod texts;
mod units;
mod values;
mod verifier;
mod worded;
mod words;
mod work;

pub use answer::{Comparison, compare};
pub use policy::MathPolicy;
pub use reply::final_answer;
pub(crate) use verifier::build;
