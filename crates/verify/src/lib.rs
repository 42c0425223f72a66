//! Verifiers: is this attempt's answer right, and how do we know?
//!
//! A [`Verifier`] looks at one [`Case`] (what was asked, what is right, what was replied) and returns a
//! [`Judgement`]: a verdict, the answer it read, the kind of [`Proof`] and a sentence. It is a trait
//! object without state between cases, so that a stage can pick one per row by name and call it from many
//! threads at once.
//!
//! Three rules hold for every verifier:
//! - a gold answer that cannot be read is [`Verdict::Undecided`], never correct;
//! - gold and reply are different fields, so that they cannot be swapped by the order of arguments;
//! - `verify` does not panic and does not hang, whatever the reply holds.
//!
//! To add a verifier, write `src/<name>.rs` and one line in [`VERIFIERS`].

mod case;
mod choice;
pub mod code;
mod countdown;
mod error;
mod exact;
pub mod extract;
pub mod judge;
pub mod majority;
pub mod math;
mod number;
mod options;
mod read;
mod registry;
pub mod sandbox;
mod swap;
mod text;

pub use case::{Case, Judgement, Proof, Verifier};
pub use code::CodeOptions;
pub use countdown::{CountdownOptions, Usage};
pub use error::VerifyError;
pub use exact::ExactOptions;
pub use extract::ExtractOptions;
pub use math::MathPolicy;
pub use number::{NumberOptions, Percent, Units};
pub use options::{NoAnswer, VerifyOptions};
pub use potstill_data::Verdict;
pub use registry::{VERIFIERS, VerifierKind, verifier};
pub use swap::SwapCheck;
