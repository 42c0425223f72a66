//! What can be wrong with a setting of this crate. Rows themselves are never errors: what cannot be used is dropped with a reason.

use thiserror::Error;

/// A setting that cannot be followed; the message names the setting, the limit and the value found.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CurateError {
    /// A column that the rows do not have.
    #[error("no column `{name}` in {rows} (columns: {columns}){}", hint(.near.as_deref()))]
    UnknownColumn {
        /// The name asked for.
        name: String,
        /// The kind of rows looked at: `problems`, `attempts` or `samples`.
        rows: &'static str,
        /// What there is, comma-separated.
        columns: String,
        /// The nearest name, if one is near.
        near: Option<String>,
    },
    /// A value outside what the setting allows.
    #[error("`{setting}` must be {limit}, found {found}")]
    OutOfRange {
        /// The setting's name, as in the pipeline file.
        setting: &'static str,
        /// What is allowed.
        limit: String,
        /// What was given.
        found: String,
    },
    /// A template without a place that it needs, or with one that nobody fills.
    #[error("`{setting}` {problem}: `{template}`")]
    Template {
        /// The setting's name, as in the pipeline file.
        setting: &'static str,
        /// What is wrong with it.
        problem: &'static str,
        /// The template as given.
        template: String,
    },
    /// A name that is not in the table of what there is.
    #[error("no {what} `{name}` (there are: {known}){}", hint(.near.as_deref()))]
    Unknown {
        /// What was looked up: an input, a format, a filter.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// What there is, comma-separated.
        known: String,
        /// The nearest name, if one is near.
        near: Option<String>,
    },
    /// Rows that cannot fill what was asked for.
    #[error("{setting} asks for {wanted} but there are only {found}")]
    TooFew {
        /// The setting's name, as in the pipeline file.
        setting: String,
        /// What was asked for, with its unit.
        wanted: String,
        /// What there is, with its unit.
        found: String,
    },
}

fn hint(near: Option<&str>) -> String {
    near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}

/// The nearest of `known` to `name`, if one is near enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.to_owned())
}
