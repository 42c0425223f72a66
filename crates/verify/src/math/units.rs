//! Units: a dimension and an exact scale, or a label we do not know.

use std::collections::HashMap;
use std::sync::LazyLock;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow};

/// Length, mass, time, current, temperature, amount, money, information.
type Dimension = [i8; 8];

/// A unit of measure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    pub(super) dimension: Dimension,
    /// How many coherent base units one of it is.
    pub(super) scale: BigRational,
    /// What is counted (`apples`), or a unit we do not know; singular, lower case.
    pub(super) label: String,
    /// The label of what its name may mean as well: pounds are money, `C` is degrees Celsius without their sign.
    alias: Option<&'static str>,
}

/// The label of radians: no dimension, but no degrees either.
pub(super) const RADIAN: &str = "radian";
/// The labels of temperatures that do not count from absolute zero.
pub(super) const CELSIUS: &str = "celsius";
pub(super) const FAHRENHEIT: &str = "fahrenheit";

/// One row of the unit table: names, dimension, scale as a fraction of the base unit.
struct Row(&'static str, Dimension, i64, i64);

const LENGTH: Dimension = [1, 0, 0, 0, 0, 0, 0, 0];
const AREA: Dimension = [2, 0, 0, 0, 0, 0, 0, 0];
const VOLUME: Dimension = [3, 0, 0, 0, 0, 0, 0, 0];
const MASS: Dimension = [0, 1, 0, 0, 0, 0, 0, 0];
const TIME: Dimension = [0, 0, 1, 0, 0, 0, 0, 0];
const CURRENT: Dimension = [0, 0, 0, 1, 0, 0, 0, 0];
const TEMPERATURE: Dimension = [0, 0, 0, 0, 1, 0, 0, 0];
const AMOUNT: Dimension = [0, 0, 0, 0, 0, 1, 0, 0];
const MONEY: Dimension = [0, 0, 0, 0, 0, 0, 1, 0];
const BYTES: Dimension = [0, 0, 0, 0, 0, 0, 0, 1];
const FREQUENCY: Dimension = [0, 0, -1, 0, 0, 0, 0, 0];
const FORCE: Dimension = [1, 1, -2, 0, 0, 0, 0, 0];
const ENERGY: Dimension = [2, 1, -2, 0, 0, 0, 0, 0];
const POWER: Dimension = [2, 1, -3, 0, 0, 0, 0, 0];
const PRESSURE: Dimension = [-1, 1, -2, 0, 0, 0, 0, 0];
const CHARGE: Dimension = [0, 0, 1, 1, 0, 0, 0, 0];
const VOLTAGE: Dimension = [2, 1, -3, -1, 0, 0, 0, 0];
const RESISTANCE: Dimension = [2, 1, -3, -2, 0, 0, 0, 0];
const SPEED: Dimension = [1, 0, -1, 0, 0, 0, 0, 0];
const NONE: Dimension = [0; 8];

/// Conversions are exact by definition (international yard and pound, SI).
const TABLE: &[Row] = &[
    Row("m meter meters metre metres mètre mètres 米", LENGTH, 1, 1),
    Row("km kilometer kilometers kilometre kilometres kilomètre kilomètres 千米 公里", LENGTH, 1000, 1),
    Row("dm decimeter decimeters decimetre decimetres décimètre décimètres 分米", LENGTH, 1, 10),
    Row("cm centimeter centimeters centimetre centimetres centimètre centimètres 厘米", LENGTH, 1, 100),
    Row("mm millimeter millimeters millimetre millimetres millimètre millimètres 毫米", LENGTH, 1, 1000),
    Row("μm um mum micron microns micrometer micrometers micrometre micrometres", LENGTH, 1, 1_000_000),
    Row("nm nanometer nanometers nanometre nanometres", LENGTH, 1, 1_000_000_000),
    Row("Å Angstrom Angstroms angstrom angstroms", LENGTH, 1, 10_000_000_000),
    Row("pm picometer picometers", LENGTH, 1, 1_000_000_000_000),
    Row("in inch inches", LENGTH, 254, 10_000),
    Row("ft foot feet", LENGTH, 3048, 10_000),
    Row("yd yard yards", LENGTH, 9144, 10_000),
    Row("mi mile miles", LENGTH, 1_609_344, 1000),
    Row("acre acres", AREA, 316_160_658, 78_125),
    Row("hectare hectares ha", AREA, 10_000, 1),
    Row("L l liter liters litre litres 升", VOLUME, 1, 1000),
    Row("mL ml milliliter milliliters millilitre millilitres 毫升", VOLUME, 1, 1_000_000),
    Row("cc", VOLUME, 1, 1_000_000),
    Row("gal gallon gallons", VOLUME, 473_176_473, 125_000_000_000),
    Row("quart quarts qt", VOLUME, 473_176_473, 500_000_000_000),
    Row("pint pints pt", VOLUME, 473_176_473, 1_000_000_000_000),
    Row("cup cups", VOLUME, 473_176_473, 2_000_000_000_000),
    Row("g gram grams gramme grammes 克", MASS, 1, 1000),
    Row("kg kilogram kilograms kilogrammes 千克 公斤", MASS, 1, 1),
    Row("mg milligram milligrams", MASS, 1, 1_000_000),
    Row("lb lbs pound pounds", MASS, 45_359_237, 100_000_000),
    Row("oz ounce ounces", MASS, 45_359_237, 1_600_000_000),
    Row("ton tons tonne tonnes t 吨", MASS, 1000, 1),
    Row("s sec secs second seconds seconde secondes 秒", TIME, 1, 1),
    Row("ms millisecond milliseconds", TIME, 1, 1000),
    Row("μs us mus microsecond microseconds", TIME, 1, 1_000_000),
    Row("ns nanosecond nanoseconds", TIME, 1, 1_000_000_000),
    Row("min mins minute minutes 分钟", TIME, 60, 1),
    Row("h hr hrs hour hours heure heures 小时", TIME, 3600, 1),
    Row("d day days jour jours 天", TIME, 86_400, 1),
    Row("week weeks 周", TIME, 604_800, 1),
    Row("A amp amps ampere amperes", CURRENT, 1, 1),
    Row("mA milliampere milliamperes", CURRENT, 1, 1000),
    Row("K kelvin kelvins", TEMPERATURE, 1, 1),
    Row("mol mole moles", AMOUNT, 1, 1),
    Row("dollar dollars USD usd bucks buck 美元", MONEY, 1, 1),
    Row("cent cents", MONEY, 1, 100),
    Row("byte bytes B", BYTES, 1, 1),
    Row("Hz hertz", FREQUENCY, 1, 1),
    Row("kHz kilohertz", FREQUENCY, 1000, 1),
    Row("MHz megahertz", FREQUENCY, 1_000_000, 1),
    Row("GHz gigahertz", FREQUENCY, 1_000_000_000, 1),
    Row("N newton newtons", FORCE, 1, 1),
    Row("kN", FORCE, 1000, 1),
    Row("J joule joules", ENERGY, 1, 1),
    Row("kJ kilojoule kilojoules", ENERGY, 1000, 1),
    Row("MJ megajoule megajoules", ENERGY, 1_000_000, 1),
    Row("mJ millijoule millijoules", ENERGY, 1, 1000),
    Row("erg ergs", ENERGY, 1, 10_000_000),
    Row("kWh", ENERGY, 3_600_000, 1),
    Row("W watt watts", POWER, 1, 1),
    Row("kW kilowatt kilowatts", POWER, 1000, 1),
    Row("MW megawatt megawatts", POWER, 1_000_000, 1),
    Row("mW milliwatt milliwatts", POWER, 1, 1000),
    Row("Pa pascal pascals", PRESSURE, 1, 1),
    Row("kPa kilopascal kilopascals", PRESSURE, 1000, 1),
    Row("MPa", PRESSURE, 1_000_000, 1),
    Row("atm atmosphere atmospheres", PRESSURE, 101_325, 1),
    Row("bar bars", PRESSURE, 100_000, 1),
    Row("C coulomb coulombs", CHARGE, 1, 1),
    Row("V volt volts", VOLTAGE, 1, 1),
    Row("mV millivolt millivolts", VOLTAGE, 1, 1000),
    Row("kV kilovolt kilovolts", VOLTAGE, 1000, 1),
    Row("Ω ohm ohms Omega", RESISTANCE, 1, 1),
    Row("kΩ kOmega kiloohm kiloohms", RESISTANCE, 1000, 1),
    Row("mph", SPEED, 1_609_344, 3_600_000),
    Row("kph kmh kmph", SPEED, 1000, 3600),
    Row("unit units 个 只 人 岁 名 本 块 元 条 张 次 种 件 棵 支", NONE, 1, 1),
];

/// The table by name; of two rows with one name the first counts.
static NAMES: LazyLock<HashMap<&str, &Row>> =
    LazyLock::new(|| TABLE.iter().rev().flat_map(|row| row.0.split(' ').map(move |name| (name, row))).collect());

impl Unit {
    pub(super) fn none() -> Self {
        Self { dimension: NONE, scale: BigRational::one(), label: String::new(), alias: None }
    }

    /// Something counted or a unit outside the table.
    pub(super) fn labelled(word: &str) -> Self {
        let label = match singular(word).as_str() {
            "euro" => "eur".to_owned(),
            "yen" | "yuan" | "rmb" | "cny" | "renminbi" => "jpy".to_owned(),
            "rupee" => "inr".to_owned(),
            "celsiu" | "centigrade" => CELSIUS.to_owned(),
            "rad" => RADIAN.to_owned(),
            "pound sterling" | "sterling" => "gbp".to_owned(),
            other => other.to_owned(),
        };
        // A year is twelve months, but neither is a number of days.
        let months = match label.as_str() {
            "year" => 12,
            "decade" => 120,
            "century" => 1200,
            _ => return Self { label, ..Self::none() },
        };
        Self { label: "month".into(), scale: BigRational::from_integer(BigInt::from(months)), ..Self::none() }
    }

    pub(super) fn currency(code: &str) -> Self {
        if code == "usd" { Self::named("dollar").unwrap_or_else(Self::none) } else { Self::labelled(code) }
    }

    /// The unit of a name in the table; case counts only where two units differ by it.
    pub(super) fn named(name: &str) -> Option<Self> {
        if let Some(exponent) = electronvolts(name) {
            return Some(Self {
                dimension: ENERGY,
                scale: electronvolt() * Pow::pow(BigRational::from_integer(BigInt::from(10)), exponent),
                ..Self::none()
            });
        }
        let alias = match name {
            "pound" | "pounds" | "Pounds" => Some("gbp"),
            "C" => Some(CELSIUS),
            _ => None,
        };
        let find = |wanted: &str| NAMES.get(wanted).copied();
        let row = find(name).or_else(|| (name.len() > 2).then(|| find(&name.to_lowercase())).flatten())?;
        Some(Self { dimension: row.1, scale: BigRational::new(BigInt::from(row.2), BigInt::from(row.3)), label: String::new(), alias })
    }

    pub(super) fn millionth(&self) -> Self {
        Self { scale: &self.scale / BigInt::from(1_000_000), ..self.clone() }
    }

    pub(super) fn is_none(&self) -> bool {
        self.dimension == NONE && self.scale.is_one() && self.label.is_empty()
    }

    /// Running text that was taken for what is counted.
    pub(super) fn is_sentence(&self) -> bool {
        self.label
            .split(' ')
            .any(|w| matches!(w, "is" | "are" | "the" | "so" | "we" | "that" | "this" | "it" | "was" | "which" | "have" | "has"))
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let mut dimension = self.dimension;
        for (d, o) in dimension.iter_mut().zip(other.dimension) {
            *d = d.saturating_add(o);
        }
        let label = [self.label.as_str(), other.label.as_str()].into_iter().filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
        Self { dimension, scale: &self.scale * &other.scale, label, alias: None }
    }

    pub(super) fn powi(&self, exponent: i32) -> Self {
        let factor = i8::try_from(exponent).unwrap_or(0);
        let label = match exponent {
            _ if self.label.is_empty() => String::new(),
            1 => self.label.clone(),
            -1 => format!("per {}", self.label),
            n => format!("{}^{n}", self.label),
        };
        Self {
            dimension: self.dimension.map(|d| d.saturating_mul(factor)),
            scale: Pow::pow(&self.scale, exponent),
            label,
            alias: self.alias.filter(|_| exponent == 1),
        }
    }

    /// Whether the two units certainly or possibly mean the same under a second meaning of one's name.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        [(self, other), (other, self)].into_iter().any(|(a, b)| a.alias == Some(b.label.as_str()) && b.dimension == NONE)
    }

    /// The scale and the zero of a unit of temperature in kelvins: K = scale · t + zero.
    pub(super) fn thermometer(&self) -> Option<(BigRational, BigRational)> {
        let ratio = |top: i64, bottom: i64| BigRational::new(BigInt::from(top), BigInt::from(bottom));
        match self.label.as_str() {
            CELSIUS => Some((BigRational::one(), ratio(27_315, 100))),
            FAHRENHEIT => Some((ratio(5, 9), ratio(45_967, 180))),
            "" if self.dimension == TEMPERATURE && self.scale.is_one() => Some((BigRational::one(), ratio(0, 1))),
            _ => None,
        }
    }
}

/// The power of ten of `eV`, `keV`, `MeV`, `GeV`.
fn electronvolts(name: &str) -> Option<i32> {
    Some(match name {
        "eV" | "electronvolt" | "electronvolts" => 0,
        "meV" => -3,
        "keV" => 3,
        "MeV" => 6,
        "GeV" => 9,
        "TeV" => 12,
        _ => return None,
    })
}

/// In joules, exact since 2019.
fn electronvolt() -> BigRational {
    BigRational::new(BigInt::from(1_602_176_634_i64), Pow::pow(BigInt::from(10), 28_u32))
}

/// Whether a name stands in the table.
pub(super) fn is_unit(name: &str) -> bool {
    Unit::named(name).is_some()
}

/// The singular in lower case, as far as an `s` goes.
fn singular(word: &str) -> String {
    let lower = word.to_lowercase();
    match lower.strip_suffix("ies") {
        Some(stem) if stem.len() > 2 => format!("{stem}y"),
        _ => lower.strip_suffix('s').filter(|w| w.len() > 2 && !w.ends_with('s')).map_or(lower.clone(), str::to_owned),
    }
}
