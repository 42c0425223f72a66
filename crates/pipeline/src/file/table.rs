//! A `[stage.NAME]` or `[teacher.NAME]` table on its way into typed parameters.

use std::ops::Range;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::mistake::{Found, Mistake};
use super::params;
use super::tree::Places;

/// The keys of one table that belong to its kind; `kind` itself and the edges are already taken out.
pub struct Table<'t> {
    pub(super) name: &'t str,
    pub(super) head: Range<usize>,
    pub(super) keys: DeTable<'t>,
    pub(super) reserved: &'t [&'t str],
    pub(super) places: &'t Places,
    pub(super) found: &'t mut Vec<Found>,
}

impl Table<'_> {
    /// The table's name: `sft` of `[stage.sft]`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Reads the keys into `P`. All mistakes are reported, not only the first: unknown and missing keys, wrong types and values
    /// out of range by the JSON Schema of `P`, and whatever its `Deserialize` refuses. `None` says that there were some.
    ///
    /// `P` denies unknown fields and uses neither flattening nor untagged or internally tagged enums: they lose the place of a mistake.
    #[must_use]
    pub fn params<P: DeserializeOwned + JsonSchema>(&mut self) -> Option<P> {
        params::read(&self.keys, self.head.clone(), self.reserved, self.found)
    }

    /// Reports a mistake that only a look at several keys together shows.
    pub fn mistake(&mut self, mistake: Mistake) {
        let span = self.places.find(&mistake.key);
        self.found.push(Found::new(span, mistake.message).hint(mistake.hint));
    }
}
