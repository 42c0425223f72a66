//! Holds a TOML table against the JSON Schema of its parameters.
//!
//! Only what schemars derives from parameter structs is understood: objects, maps, arrays, scalars with their ranges, optional values,
//! enums of names, and externally tagged enums. Anything else passes and is left to deserializing.

use std::ops::Range;

use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};

use super::mistake::Found;
use super::near::{near, suggest};
use super::tree::{Value, entries};

pub(super) struct Conform<'s> {
    root: &'s Json,
    found: Vec<Found>,
}

impl<'s> Conform<'s> {
    pub(super) fn new(root: &'s Json) -> Self {
        Self { root, found: Vec::new() }
    }

    /// All mistakes of the table; `reserved` are keys that may have been meant though the schema does not list them.
    pub(super) fn check(mut self, table: &DeTable<'_>, head: Range<usize>, reserved: &[&str]) -> Vec<Found> {
        self.table(self.root, table, head, reserved);
        self.found
    }

    fn report(&mut self, span: Range<usize>, message: String, hint: Option<String>) {
        self.found.push(Found::new(span, message).hint(hint));
    }

    /// Follows references and sees through `null` alternatives.
    fn resolve(&self, schema: &'s Json) -> &'s Json {
        if let Some(pointer) = schema.get("$ref").and_then(Json::as_str) {
            return match self.root.pointer(pointer.trim_start_matches('#')) {
                Some(target) => self.resolve(target),
                None => schema,
            };
        }
        let alternatives = ["anyOf", "oneOf", "allOf"].iter().find_map(|word| schema.get(word)?.as_array());
        let mut real = alternatives.into_iter().flatten().filter(|one| one.get("type") != Some(&Json::from("null")));
        match (real.next(), real.next()) {
            (Some(only), None) => self.resolve(only),
            _ => schema,
        }
    }

    fn table(&mut self, schema: &'s Json, table: &DeTable<'_>, head: Range<usize>, reserved: &[&str]) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let property = |name: &str| properties.and_then(|properties| properties.get(name));
        let mut meant = Vec::new();
        for (key, value) in entries(table) {
            let name: &str = key.get_ref();
            match (property(name), schema.get("additionalProperties")) {
                (Some(property), _) => self.value(property, name, value),
                (None, Some(Json::Bool(false))) => {
                    let known = properties.into_iter().flat_map(Map::keys).map(String::as_str).chain(reserved.iter().copied());
                    meant.extend(near(name, known.clone()));
                    self.report(key.span(), format!("unknown key `{name}`"), suggest(name, "known keys", known));
                }
                (None, Some(other)) if other.is_object() => self.value(other, name, value),
                (None, _) => {}
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        for name in required.filter_map(Json::as_str) {
            // A key that was misspelt is not missing too.
            if table.get(name).is_none() && !meant.contains(&name) {
                let about = property(name).and_then(|property| property.get("description")?.as_str());
                let hint = about.map(|about| format!("`{name}`: {}", about.lines().next().unwrap_or_default()));
                self.report(head.clone(), format!("missing key `{name}`"), hint);
            }
        }
    }

    fn value(&mut self, schema: &'s Json, name: &str, value: &Value<'_>) {
        let schema = self.resolve(schema);
        if let Some(variants) = ["oneOf", "anyOf"].iter().find_map(|word| schema.get(word)?.as_array()) {
            return self.variants(variants, name, value);
        }
        if let Some(names) = names_of(schema) {
            return self.one_of(&names, name, value);
        }
        if !self.has_type(schema, name, value) {
            return;
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(schema, table, value.span(), &[]),
            DeValue::Array(array) => {
                let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
                if (array.len() as u64) < least {
                    self.report(value.span(), format!("`{name}` must have at least {least} elements, found {}", array.len()), None);
                }
                if let Some(items) = schema.get("items") {
                    array.iter().for_each(|element| self.value(items, name, element));
                }
            }
            DeValue::String(text) => {
                let least = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
                if (text.chars().count() as u64) < least {
                    self.report(value.span(), format!("`{name}` must not be empty"), None);
                }
            }
            DeValue::Integer(_) | DeValue::Float(_) => self.range(schema, name, value),
            DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    /// An enum: a string names a variant; the key of a table does so for variants that carry data.
    fn variants(&mut self, variants: &'s [Json], name: &str, value: &Value<'_>) {
        let names: Vec<&str> = variants.iter().filter_map(names_of).flatten().collect();
        let tagged: Vec<(&str, &'s Json)> = variants
            .iter()
            .filter_map(|variant| Some((variant, variant.get("properties")?.as_object()?)))
            .flat_map(|(variant, properties)| properties.keys().map(move |key| (key.as_str(), variant)))
            .collect();
        match value.get_ref() {
            DeValue::String(_) if !names.is_empty() => self.one_of(&names, name, value),
            DeValue::Table(table) if !tagged.is_empty() => {
                let Some((key, _)) = entries(table).first().copied() else {
                    return;
                };
                match tagged.iter().find(|(tag, _)| tag == key.get_ref()) {
                    Some((_, variant)) => self.table(variant, table, value.span(), &[]),
                    None => {
                        let hint = suggest(key.get_ref(), "known keys", tagged.iter().map(|(tag, _)| *tag));
                        self.report(key.span(), format!("unknown key `{}`", key.get_ref()), hint);
                    }
                }
            }
            other if !names.is_empty() || !tagged.is_empty() => {
                let forms = [(names.is_empty(), "a string"), (tagged.is_empty(), "a table")];
                let forms: Vec<&str> = forms.iter().filter(|(absent, _)| !absent).map(|(_, form)| *form).collect();
                self.report(value.span(), format!("`{name}` must be {}, found {}", forms.join(" or "), describe(other)), None);
            }
            _ => {}
        }
    }

    fn one_of(&mut self, names: &[&str], name: &str, value: &Value<'_>) {
        match value.get_ref() {
            DeValue::String(text) if names.contains(&text.as_ref()) => {}
            DeValue::String(text) => {
                let hint = suggest(text, "accepted values", names.iter().copied());
                self.report(value.span(), format!("`{name}` has no value `{text}`"), hint);
            }
            other => self.report(value.span(), format!("`{name}` must be a string, found {}", describe(other)), None),
        }
    }

    fn has_type(&mut self, schema: &Json, name: &str, value: &Value<'_>) -> bool {
        let accepted: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).filter(|one| *one != "null").collect(),
            _ => return true,
        };
        let fits = |accepted: &&str| match value.get_ref() {
            DeValue::String(_) => *accepted == "string",
            DeValue::Integer(_) => matches!(*accepted, "integer" | "number"),
            DeValue::Float(_) => *accepted == "number",
            DeValue::Boolean(_) => *accepted == "boolean",
            DeValue::Array(_) => *accepted == "array",
            DeValue::Table(_) => *accepted == "object",
            DeValue::Datetime(_) => *accepted == "string",
        };
        let right = accepted.iter().any(fits);
        if !right {
            let wanted: Vec<&str> = accepted.iter().map(|one| article(one)).collect();
            let found = describe(value.get_ref());
            self.report(value.span(), format!("`{name}` must be {}, found {found}", wanted.join(" or ")), None);
        }
        right
    }

    fn range(&mut self, schema: &Json, name: &str, value: &Value<'_>) {
        let Some(number) = number(value.get_ref()) else {
            return;
        };
        let (least, most) = integer_limits(schema);
        let bound = |word: &str| schema.get(word).and_then(Json::as_f64);
        let bounds: [(Option<f64>, &str, Holds); 4] = [
            (bound("minimum").or(least), "at least", |number, bound| number >= bound),
            (bound("maximum").or(most), "at most", |number, bound| number <= bound),
            (bound("exclusiveMinimum"), "more than", |number, bound| number > bound),
            (bound("exclusiveMaximum"), "less than", |number, bound| number < bound),
        ];
        let broken = bounds.iter().find_map(|(bound, phrase, holds)| bound.filter(|bound| !holds(number, *bound)).map(|b| (phrase, b)));
        if let Some((phrase, bound)) = broken {
            let found = describe(value.get_ref());
            self.report(value.span(), format!("`{name}` must be {phrase} {bound}, found {found}"), None);
        }
    }
}

/// Whether a number holds against a bound.
type Holds = fn(f64, f64) -> bool;

/// The limits of an integer type, which the schema only names; those of 64 bits TOML keeps itself.
fn integer_limits(schema: &Json) -> (Option<f64>, Option<f64>) {
    let (least, most): (f64, f64) = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => (0.0, u8::MAX.into()),
        Some("uint16") => (0.0, u16::MAX.into()),
        Some("uint32") => (0.0, u32::MAX.into()),
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        _ => return (None, None),
    };
    (Some(least), Some(most))
}

/// The names that a schema of an enum without data accepts.
fn names_of(schema: &Json) -> Option<Vec<&str>> {
    if let Some(name) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![name]);
    }
    schema.get("enum")?.as_array()?.iter().map(Json::as_str).collect()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix()).ok().map(|integer| integer as f64),
        _ => None,
    }
}

fn article(type_name: &str) -> &'static str {
    match type_name {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "an array",
        "object" => "a table",
        _ => "a value",
    }
}

/// A value as a message shows it: scalars by what they are, long texts and collections by their type.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => {
            format!("the string {:?}", text.as_ref())
        }
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
