//! `number`: the answer is the gold number, compared as exact rationals.

mod quantity;
mod scan;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{FromPrimitive, Signed, Zero};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extract::{Extracted, How};
use crate::read::{self, SHOWN, shown};
use crate::{Case, Judgement, Proof, Verifier, VerifyError, VerifyOptions};
pub(crate) use quantity::Quantity;

/// Settings of the verifier `number`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NumberOptions {
    /// What a percent sign on one side only means.
    pub percent: Percent,
    /// What units do.
    pub units: Units,
    /// A decimal gold accepts every answer that rounds to it: 3.14159 for a gold of 3.14.
    pub round_to_gold: bool,
    /// Largest accepted difference, in the gold's unit. At least 0.
    pub absolute_tolerance: f64,
    /// Largest accepted difference as a part of the gold's size. At least 0, below 1.
    pub relative_tolerance: f64,
}

impl Default for NumberOptions {
    fn default() -> Self {
        Self { percent: Percent::default(), units: Units::default(), round_to_gold: true, absolute_tolerance: 0.0, relative_tolerance: 0.0 }
    }
}

/// What a percent sign on one side only means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Percent {
    /// `50%` equals both `50` and `0.5`.
    #[default]
    Either,
    /// `50%` equals `0.5` only.
    Hundredths,
    /// `50%` equals `50` only.
    Ignored,
}

/// What units do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// A unit on one side is ignored; two different units leave the case undecided, as nothing is converted.
    #[default]
    Agree,
    /// Units are ignored.
    Strip,
}

/// Compares numbers.
#[derive(Debug)]
struct Number {
    options: VerifyOptions,
    absolute: BigRational,
    relative: BigRational,
}

/// Builds the verifier.
pub(crate) fn build(options: &VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError> {
    let absolute = tolerance("number.absolute_tolerance", options.number.absolute_tolerance, f64::MAX)?;
    let relative = tolerance("number.relative_tolerance", options.number.relative_tolerance, 1.0)?;
    Ok(Box::new(Number { options: options.clone(), absolute, relative }))
}

fn tolerance(option: &'static str, value: f64, below: f64) -> Result<BigRational, VerifyError> {
    let exact = BigRational::from_f64(value).filter(|_| (0.0..below).contains(&value));
    exact.ok_or_else(|| VerifyError::BadOption {
        verifier: "number",
        option,
        found: value.to_string(),
        limit: if below <= 1.0 { "must be at least 0 and below 1".into() } else { "must be finite and at least 0".into() },
    })
}

impl Verifier for Number {
    fn name(&self) -> &'static str {
        "number"
    }

    fn verify(&self, case: &Case<'_>) -> Judgement {
        read::judge(case, &self.options, |gold, answer| {
            let Some(gold_value) = Quantity::parse(gold) else {
                return Judgement::bad_gold(format!("the gold answer `{}` is not a number", shown(gold, SHOWN)));
            };
            match read_answer(answer) {
                Reading::One(value) => self.compare(&gold_value, &value),
                Reading::None => Judgement::incorrect(Proof::BadAnswer, "the answer holds no number"),
                Reading::Unclear(why) => Judgement::undecided(Proof::BadAnswer, why),
            }
        })
    }
}

/// What a text answer says as a number.
enum Reading {
    One(Quantity),
    Unclear(&'static str),
    None,
}

/// Reads the number out of an answer. Prose is read as people write it: after "the answer is" the number
/// comes first, a closing line ends with it, and after `=` comes the result.
fn read_answer(answer: &Extracted<'_>) -> Reading {
    if let Some(value) = Quantity::parse(answer.text) {
        return Reading::One(value);
    }
    let result = answer.text.rsplit(['=', '≈']).next().unwrap_or(answer.text);
    if let Some(value) = Quantity::parse(result) {
        return Reading::One(value);
    }
    let mut numbers = quantity::mentions(result);
    let marked = matches!(answer.how, How::Boxed | How::AnswerTag | How::Hashes | How::Unclosed);
    if marked && numbers.len() > 1 {
        return Reading::Unclear("the answer holds several numbers");
    }
    let chosen = if answer.how == How::Phrase && !numbers.is_empty() { Some(numbers.swap_remove(0)) } else { numbers.pop() };
    match chosen {
        None => Reading::None,
        Some(number) if number.in_formula => Reading::Unclear("the answer is a formula, which this verifier does not read"),
        Some(number) => Reading::One(number.quantity),
    }
}

impl Number {
    fn compare(&self, gold: &Quantity, answer: &Quantity) -> Judgement {
        let options = &self.options.number;
        if options.units == Units::Agree
            && let (Some(wanted), Some(found)) = (&gold.unit, &answer.unit)
            && wanted != found
        {
            let note = format!("the units `{found}` and `{wanted}` differ and are not converted");
            return Judgement::undecided(Proof::BadAnswer, note);
        }
        let pairs = percent_readings(gold, answer, options.percent);
        if pairs.iter().any(|(gold, answer)| gold == answer) {
            return Judgement::correct(Proof::Exact, "the same number");
        }
        match pairs.iter().find(|(wanted, found)| self.is_close(gold, wanted, found)) {
            Some(_) => Judgement::correct(Proof::Numeric, format!("within the tolerance of {}", gold.shown())),
            None => Judgement::incorrect(Proof::Exact, format!("{} is not {}", answer.shown(), gold.shown())),
        }
    }

    fn is_close(&self, gold: &Quantity, wanted: &BigRational, found: &BigRational) -> bool {
        let difference = (found - wanted).abs();
        let mut allowed = &self.relative * wanted.abs();
        if allowed < self.absolute {
            allowed.clone_from(&self.absolute);
        }
        if self.options.number.round_to_gold
            && let Some(digits) = gold.decimals
        {
            // Half a unit of the last digit the gold shows, in the reading under comparison.
            let scale = if *wanted == gold.value { BigRational::from_integer(BigInt::from(1)) } else { hundredth() };
            let half = BigRational::new(BigInt::from(1), BigInt::from(10).pow(digits) * 2) * scale;
            if allowed < half {
                allowed = half;
            }
        }
        !allowed.is_zero() && difference <= allowed
    }
}

fn hundredth() -> BigRational {
    BigRational::new(BigInt::from(1), BigInt::from(100))
}

/// The pairs (gold, answer) to compare: `value` is what stands before a percent sign.
fn percent_readings(gold: &Quantity, answer: &Quantity, policy: Percent) -> Vec<(BigRational, BigRational)> {
    let plain = (gold.value.clone(), answer.value.clone());
    if gold.percent == answer.percent || policy == Percent::Ignored {
        return vec![plain];
    }
    let hundredths =
        if gold.percent { (&gold.value * hundredth(), answer.value.clone()) } else { (gold.value.clone(), &answer.value * hundredth()) };
    if policy == Percent::Hundredths { vec![hundredths] } else { vec![plain, hundredths] }
}

#[cfg(test)]
mod tests;
