//! Reads a table into a parameter struct and finds all its mistakes at once.
//!
//! Serde stops at the first mistake. So the table is first held against the struct's JSON Schema, which finds unknown and missing keys,
//! wrong types and values out of range; then it is deserialized again and again, each time without what was found, until nothing new is
//! refused. The schema is made from the same struct, so the two cannot disagree for long.

use std::ops::Range;

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::conform::Conform;
use super::mistake::Found;
use super::tree::{encloses, remove};

/// Deserializes `table`; its mistakes go to `found`, those without a place of their own to `head`. `None` exactly when there were some.
pub(super) fn read<P: DeserializeOwned + JsonSchema>(
    table: &DeTable<'_>,
    head: Range<usize>,
    reserved: &[&str],
    found: &mut Vec<Found>,
) -> Option<P> {
    let schema = SchemaGenerator::default().into_root_schema_for::<P>();
    let mut own = Conform::new(schema.as_value()).check(table, head.clone(), reserved);
    let mut rest = table.clone();
    for mistake in &own {
        // A missing key has no entry: its place is the table's head, which encloses nothing.
        remove(&mut rest, &mistake.span);
    }
    let params = loop {
        match P::deserialize(Deserializer::from(Spanned::new(head.clone(), rest.clone()))) {
            Ok(params) => break Some(params),
            Err(error) => {
                let span = error.span().unwrap_or_else(|| head.clone());
                if !is_consequence(&error, &span, &own) {
                    own.push(Found::new(span.clone(), lowercase_first(error.message())));
                }
                if !remove(&mut rest, &span) {
                    break None;
                }
            }
        }
    };
    let clean = own.is_empty();
    found.append(&mut own);
    params.filter(|_| clean)
}

/// A refusal that only follows from a mistake already found: of the same place, of something around it, or of a key taken out.
fn is_consequence(error: &toml::de::Error, span: &Range<usize>, own: &[Found]) -> bool {
    let missing = error.message().starts_with("missing field");
    own.iter().any(|found| missing || encloses(span, &found.span) || encloses(&found.span, span))
}

fn lowercase_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
