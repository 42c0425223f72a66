//! One number with its percent sign and unit, and finding numbers in prose.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};

use super::scan;

/// Numbers with more digits than this, or larger powers of ten, are not read: a bound on the work.
const MAX_DIGITS: usize = 4_000;

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantity {
    /// The exact value of what stands before a percent sign or unit.
    pub(crate) value: BigRational,
    /// Digits after the decimal point, where it was written as a decimal without exponent.
    pub(crate) decimals: Option<u32>,
    /// Whether a percent sign follows.
    pub(crate) percent: bool,
    /// The unit, normalised: lower case, singular, currency by its code.
    pub(crate) unit: Option<String>,
}

impl Quantity {
    /// Reads text that is one number with an optional currency or unit and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = scan::plain(text);
        let text = plain.trim().trim_end_matches(['.', ',', ';']).trim_end();
        let text = text.strip_prefix('=').map_or(text, str::trim_start);
        let (start, found) = Reader::first(text, 0)?;
        if !text[..start].trim().is_empty() {
            return None;
        }
        let mut quantity = found.quantity;
        let tail = text[found.end..].trim();
        if !tail.is_empty() {
            let unit = unit(tail)?;
            if quantity.unit.as_ref().is_some_and(|currency| *currency != unit) {
                return None;
            }
            quantity.unit = Some(unit);
        }
        Some(quantity)
    }

    /// The number for a note.
    pub(crate) fn shown(&self) -> String {
        let mut shown = super::shown(&self.value.to_string(), super::SHOWN);
        if self.percent {
            shown.push('%');
        }
        shown
    }
}

/// A number in prose.
pub(super) struct Mention {
    /// The number.
    pub(super) quantity: Quantity,
    /// Whether an operator or a symbol stands next to it, so that it is only a part of the value meant.
    pub(super) in_formula: bool,
}

/// Every number in prose, in order.
pub(super) fn mentions(text: &str) -> Vec<Mention> {
    let plain = scan::plain(text);
    let mut numbers = Vec::new();
    let mut from = 0;
    while let Some((start, found)) = Reader::first(&plain, from) {
        from = found.end;
        let in_formula = operator_before(&plain[..start]) || operator_after(&plain[found.end..]);
        numbers.push(Mention { quantity: found.quantity, in_formula });
    }
    numbers
}

fn operator_before(head: &str) -> bool {
    let head = head.trim_end_matches([' ', '(']);
    let minus = head.strip_suffix('-').map(str::trim_end);
    head.ends_with(['^', '*', '×', '÷', '/', '+', '\\', '√', '_', '±'])
        || minus.is_some_and(|before| before.ends_with(|c: char| c.is_ascii_digit() || c == ')'))
}

fn operator_after(tail: &str) -> bool {
    let tail = tail.strip_prefix(')').unwrap_or(tail).trim_start_matches(' ');
    let minus = tail.strip_prefix('-').map(str::trim_start);
    tail.starts_with(['^', '*', '×', '÷', '/', '+', '\\', '√', '_', '±', 'π', '!'])
        || minus.is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit() || c == '('))
        || unit_word_is_symbol(tail.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
}

/// `5x`, `5 pi` and `3i` are not quantities of a unit.
fn unit_word_is_symbol(word: &str) -> bool {
    const LETTER_UNITS: &str = "mgshlLNJWVAKCFdkt";
    let letter = word.chars().count() == 1 && !LETTER_UNITS.contains(word) && !word.starts_with(['°', '€', '£', '$']);
    letter || matches!(word, "pi" | "sqrt" | "sin" | "cos" | "tan" | "log" | "ln" | "exp" | "mod" | "factorial")
}

/// A unit: up to four words of letters, with exponents and slashes as in `km/h` or `cm^2`.
fn unit(tail: &str) -> Option<String> {
    let fits = tail.len() <= 40
        && tail.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '/' | '^' | '°' | '$' | '€' | '£' | '\'' | '²' | '³' | '-' | '.'))
        && tail.starts_with(|c: char| c.is_alphabetic() || matches!(c, '°' | '$' | '€' | '£'))
        && tail.split_whitespace().count() <= 4
        // Digits stand only in exponents; `3 or 4` is not a quantity in `or 4`.
        && !tail.split_whitespace().any(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let list = tail.split_whitespace().any(|word| matches!(word, "and" | "or" | "to" | "plus" | "minus" | "times"));
    let symbol = tail.split([' ', '/', '^', '-']).any(unit_word_is_symbol);
    (fits && !list && !symbol).then(|| normal_unit(tail))
}

fn normal_unit(unit: &str) -> String {
    let lower = unit.to_lowercase();
    let singular = lower.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with('s')).unwrap_or(&lower);
    match singular {
        "$" | "dollar" | "us$" | "usd" | "buck" => "usd".to_owned(),
        "€" | "euro" | "eur" => "eur".to_owned(),
        "£" | "pound" | "gbp" => "gbp".to_owned(),
        other => other.to_owned(),
    }
}

struct Found {
    quantity: Quantity,
    end: usize,
}

/// Reads one number at a place in plain text.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The first number at or after byte `from`, and where it starts, sign and currency included.
    fn first(text: &'a str, from: usize) -> Option<(usize, Found)> {
        let bytes = text.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            let digit = bytes[at].is_ascii_digit() || (bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
            // Digits inside a name such as `x2` are not a number.
            let in_name = at > from && (bytes[at - 1].is_ascii_alphabetic() || bytes[at - 1] == b'_');
            if !digit {
                at += 1;
                continue;
            }
            let mut reader = Reader { bytes, at };
            let number = if in_name { None } else { reader.number() };
            if let Some(mut quantity) = number {
                let (start, negative, currency) = prefix(text, from, at);
                if negative {
                    quantity.value = -quantity.value;
                }
                quantity.unit = currency;
                return Some((start, Found { quantity, end: reader.at }));
            }
            at = reader.at.max(at + 1);
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
        }
        None
    }

    /// Digits, fraction or exponent, and a percent sign.
    fn number(&mut self) -> Option<Quantity> {
        let (mut value, mut decimals) = self.decimal()?;
        if let Some(exponent) = self.exponent()? {
            value *= power_of_ten(exponent)?;
            decimals = None;
        } else if decimals.is_none() {
            self.fraction(&mut value)?;
        }
        if let Some(scale) = self.scale_word() {
            value *= BigRational::from_integer(BigInt::from(scale));
            decimals = None;
        }
        let percent = self.percent();
        Some(Quantity { value, decimals, percent, unit: None })
    }

    /// `1234`, `1,234`, `1 234`, `1,234.50` or `.5`.
    fn decimal(&mut self) -> Option<(BigRational, Option<u32>)> {
        let mut digits = self.digits().to_vec();
        let first_group = digits.len();
        while (1..=3).contains(&first_group) && self.group_follows() {
            self.at += 1;
            digits.extend_from_slice(self.digits());
        }
        let mut decimals = None;
        if self.bytes.get(self.at) == Some(&b'.') && self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            let fraction = self.digits();
            decimals = Some(u32::try_from(fraction.len()).ok()?);
            digits.extend_from_slice(fraction);
        }
        if digits.is_empty() || digits.len() > MAX_DIGITS {
            return None;
        }
        let numerator = BigInt::parse_bytes(&digits, 10)?;
        let value = BigRational::new(numerator, BigInt::from(10).pow(decimals.unwrap_or(0)));
        Some((value, decimals))
    }

    fn digits(&mut self) -> &'a [u8] {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }

    /// Whether a separator and exactly three digits follow.
    fn group_follows(&self) -> bool {
        let next = |offset: usize| self.bytes.get(self.at + offset);
        matches!(next(0), Some(b',' | b' ' | b'\''))
            && (1..=3).all(|offset| next(offset).is_some_and(u8::is_ascii_digit))
            && !next(4).is_some_and(u8::is_ascii_digit)
            // `1 234/5` is a mixed number, not 1234 over 5.
            && !(next(0) == Some(&b' ') && next(4) == Some(&b'/'))
    }

    /// `e-5`, `×10^5` or `*10^{5}` (braces are already gone); `None` where it is absurdly large.
    #[expect(clippy::option_option, reason = "outer: readable at all; inner: present")]
    fn exponent(&mut self) -> Option<Option<i32>> {
        let rest = std::str::from_utf8(&self.bytes[self.at..]).ok()?;
        let tail = match rest.bytes().next() {
            Some(b'e' | b'E') => &rest[1..],
            _ => {
                let trimmed = rest.trim_start_matches(' ');
                let Some(ten) = trimmed.strip_prefix(['×', 'x']) else {
                    return Some(None);
                };
                let Some(power) = ten.trim_start_matches(' ').strip_prefix("10^") else {
                    return Some(None);
                };
                power
            }
        };
        let (negative, digits) = match tail.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, tail.strip_prefix('+').unwrap_or(tail)),
        };
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return Some(None);
        }
        let exponent: i32 = digits[..length].parse().ok()?;
        if usize::try_from(exponent).ok()? > MAX_DIGITS {
            return None;
        }
        self.at += rest.len() - digits.len() + length;
        Some(Some(if negative { -exponent } else { exponent }))
    }

    /// Turns `3` in `3/4`, or `1` in `1 3/4`, into the fraction; `None` where it divides by zero.
    fn fraction(&mut self, value: &mut BigRational) -> Option<()> {
        if let Some(denominator) = self.after_slash(self.at)? {
            *value /= denominator;
            return Some(());
        }
        // A mixed number.
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
            let numerator = self.digits().to_vec();
            if !numerator.is_empty()
                && numerator.len() <= MAX_DIGITS
                && let Some(denominator) = self.after_slash(self.at)?
            {
                *value += BigRational::from_integer(BigInt::parse_bytes(&numerator, 10)?) / denominator;
                return Some(());
            }
        }
        self.at = start;
        Some(())
    }

    /// The denominator after a slash at `at`, spaces allowed around it.
    #[expect(clippy::option_option, reason = "outer: readable at all; inner: present")]
    fn after_slash(&mut self, at: usize) -> Option<Option<BigRational>> {
        let mut slash = at;
        while self.bytes.get(slash) == Some(&b' ') && slash < at + 2 {
            slash += 1;
        }
        if self.bytes.get(slash) != Some(&b'/') {
            return Some(None);
        }
        let mut start = slash + 1;
        while self.bytes.get(start) == Some(&b' ') && start < slash + 3 {
            start += 1;
        }
        let length = self.bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
        if length == 0 {
            return Some(None);
        }
        if length > MAX_DIGITS {
            return None;
        }
        let denominator = BigInt::parse_bytes(&self.bytes[start..start + length], 10)?;
        self.at = start + length;
        (!denominator.is_zero()).then(|| Some(BigRational::from_integer(denominator)))
    }

    fn scale_word(&mut self) -> Option<u64> {
        const WORDS: [(&[u8], u64); 4] =
            [(b" thousand", 1_000), (b" million", 1_000_000), (b" billion", 1_000_000_000), (b" trillion", 1_000_000_000_000)];
        let rest = &self.bytes[self.at..];
        let (word, scale) =
            WORDS.into_iter().find(|(word, _)| rest.starts_with(word) && !rest.get(word.len()).is_some_and(u8::is_ascii_alphabetic))?;
        self.at += word.len();
        Some(scale)
    }

    fn percent(&mut self) -> bool {
        let rest = &self.bytes[self.at..];
        let signs: [&[u8]; 4] = [b"%", b" %", b" percent", b" per cent"];
        match signs.into_iter().find(|sign| rest.starts_with(sign)) {
            Some(sign) => {
                self.at += sign.len();
                true
            }
            None => false,
        }
    }
}

fn power_of_ten(exponent: i32) -> Option<BigRational> {
    let power = BigInt::from(10).pow(exponent.unsigned_abs());
    let whole = BigRational::from_integer(power);
    if exponent.is_negative() { (!whole.is_zero()).then(|| whole.recip()) } else { Some(whole.abs()) }
}

/// Sign and currency before the digits at `at`: where they start, whether the sign is minus, the currency.
fn prefix(text: &str, from: usize, at: usize) -> (usize, bool, Option<String>) {
    let mut head = &text[from..at];
    let (mut negative, mut currency) = (false, None);
    let mut start = at;
    for _ in 0..2 {
        let trimmed = head.trim_end_matches(' ');
        if currency.is_none()
            && let Some((mark, code)) = CURRENCIES.iter().find(|(mark, _)| trimmed.ends_with(mark))
        {
            currency = Some((*code).to_owned());
            head = &trimmed[..trimmed.len() - mark.len()];
            start = from + head.len();
        }
        // After a digit or a letter a dash is a minus between two things, or a hyphen.
        if let Some(before) = head.strip_suffix(['-', '+'])
            && !negative
            && !before.trim_end_matches(' ').ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | '%'))
        {
            negative = head.ends_with('-');
            head = before;
            start = from + head.len();
        }
    }
    (start, negative, currency)
}

const CURRENCIES: [(&str, &str); 6] = [("US$", "usd"), ("$", "usd"), ("€", "eur"), ("£", "gbp"), ("¥", "jpy"), ("₹", "inr")];
