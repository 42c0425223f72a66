//! The conventions that graders keep silent about, as settings with defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Conventions of the `math` verifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MathPolicy {
    /// `64%` equals `64` as well as `0.64`: a percent sign may be left out.
    pub percent_sign_optional: bool,
    /// A decimal gold was rounded: a value that rounds to all its digits equals it.
    pub decimal_gold_is_rounded: bool,
    /// A problem that asks for so many decimals or significant figures accepts a prediction rounded to them.
    pub rounding_from_prompt: bool,
    /// Significant digits from which a decimal prediction may stand for an exact gold it rounds; 0 never allows it.
    pub decimal_digits_for_exact: u32,
    /// A unit may be left out on either side; two units that are stated must agree.
    pub units_optional: bool,
    /// `x = 5` equals `5`, and `f(x) = x^2` equals `x^2`.
    pub names_optional: bool,
    /// An interval equals the inequality that describes it.
    pub intervals_equal_inequalities: bool,
    /// `1, 4, 9` without brackets is a set: order is free, also against `{1, 4, 9}`.
    pub lists_are_unordered: bool,
    /// `5:8` equals `5/8`.
    pub ratios_are_fractions: bool,
    /// `1,234` is a number and `1,234` digits are grouped; otherwise the comma always separates.
    pub thousands_separators: bool,
    /// `3,14` may be a decimal where the other side is one.
    pub decimal_comma: bool,
    /// A choice letter equals the text of that choice, when the prompt lists the choices.
    pub choice_letters: bool,
    /// Steps of work for one pair; a pair that needs more is undecided.
    pub steps: u64,
}

impl Default for MathPolicy {
    fn default() -> Self {
        Self {
            percent_sign_optional: true,
            decimal_gold_is_rounded: true,
            rounding_from_prompt: true,
            decimal_digits_for_exact: 10,
            units_optional: true,
            names_optional: true,
            intervals_equal_inequalities: true,
            lists_are_unordered: true,
            ratios_are_fractions: true,
            thousands_separators: true,
            decimal_comma: true,
            choice_letters: true,
            steps: 400_000,
        }
    }
}
