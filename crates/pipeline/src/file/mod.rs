//! From the text of a pipeline file to typed stages, in two phases: the top level and each table's `kind` first, then that kind's own
//! struct. Every mistake is kept with its place, and all of them are reported together.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::graph;
use crate::kind::{CheckContext, DefKind, Kind, Stage};
use crate::pipeline::Pipeline;

mod conform;
pub(crate) mod mistake;
pub(crate) mod near;
mod overrides;
mod params;
mod secrets;
pub(crate) mod source;
mod table;
mod tree;

pub use mistake::{FileError, FileMistake, Mistake};
pub use near::near;
pub use table::Table;

use mistake::Found;
use near::suggest;
use overrides::Override;
use source::Sources;
use tree::{Places, Value, entries};

/// The longest name of a stage or a teacher; stage names become file names.
pub const MAX_NAME: usize = 64;

/// The teachers of a file by name; `None` for one whose table has mistakes, which are reported already.
pub type Teachers<T> = BTreeMap<String, Option<T>>;

/// A pipeline file that is read but not yet checked as a whole. The application makes its context from the teachers, then calls
/// [`Draft::check`].
pub struct Draft<C: 'static> {
    pub(crate) seed: u64,
    pub(crate) stages: Vec<DraftStage<C>>,
    pub(crate) found: Vec<Found>,
    sources: Sources,
}

/// A `[stage.NAME]` table as far as it could be read.
pub(crate) struct DraftStage<C: 'static> {
    pub(crate) name: String,
    pub(crate) head: Range<usize>,
    pub(crate) places: Places,
    pub(crate) parsed: Option<Parsed<C>>,
    /// `None` for one whose mistake is reported already.
    pub(crate) inputs: Vec<Option<Reference>>,
    pub(crate) init_from: Option<Reference>,
}

/// A stage's kind with its parameters.
type Parsed<C> = (&'static Kind<C>, Box<dyn Stage<C>>);

/// A `"STAGE"` or `"STAGE.OUTPUT"` as it is written.
pub(crate) struct Reference {
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
}

impl<C> Draft<C> {
    /// Reads the text of the file called `name`, with `--set` overrides laid over it. Never fails: mistakes are kept for [`Draft::check`].
    #[must_use]
    pub fn read<T>(
        name: &str,
        text: &str,
        overrides: &[String],
        kinds: &'static [Kind<C>],
        teachers: &'static [DefKind<T>],
    ) -> (Self, Teachers<T>) {
        let mut draft = Self { seed: 0, stages: Vec::new(), found: Vec::new(), sources: Sources::new(name, text) };
        let split: Vec<_> = overrides.iter().map(|text| Override::new(text, &mut draft.sources)).collect();
        secrets::mask_texts(&mut draft.sources);
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut root = root.into_inner();
        for error in &errors {
            // Semantic mistakes of a half-understood file would mostly be echoes of these.
            let span = error.span().unwrap_or(0..0);
            draft.found.push(Found::new(span, format!("not valid TOML: {}", error.message())));
        }
        if errors.is_empty() {
            for one in &split {
                match one {
                    Ok(one) => draft.found.extend(one.apply(&mut root).err()),
                    Err(found) => draft.found.push(found.clone()),
                }
            }
        }
        secrets::take(&mut root, false, &mut draft.sources, &mut draft.found);
        let mut parsed = Teachers::new();
        if errors.is_empty() {
            draft.top_level(root, kinds, teachers, &mut parsed);
        }
        (draft, parsed)
    }

    fn top_level<T>(
        &mut self,
        mut root: DeTable<'_>,
        kinds: &'static [Kind<C>],
        teachers: &'static [DefKind<T>],
        parsed: &mut Teachers<T>,
    ) {
        self.version(root.remove("version"));
        self.seed = self.integer(root.remove("seed"), "seed");
        for (name, key, table) in self.section(&mut root, "teacher") {
            let teacher = table.and_then(|table| self.teacher(&name, key, table, teachers));
            parsed.insert(name, teacher);
        }
        for (name, key, table) in self.section(&mut root, "stage") {
            if let Some(table) = table {
                let stage = self.stage(name, key, table, kinds);
                self.stages.push(stage);
            }
        }
        for (key, _) in entries(&root) {
            let hint = suggest(key.get_ref(), "known keys", ["version", "seed", "teacher", "stage"]);
            self.found.push(Found::new(key.span(), format!("unknown key `{}`", key.get_ref())).hint(hint));
        }
        if self.stages.is_empty() && self.found.is_empty() {
            self.found.push(Found::new(0..0, "the file has no stages").hint("add a `[stage.NAME]` table with a `kind`".to_owned()));
        }
    }

    fn version(&mut self, version: Option<Value<'_>>) {
        let hint = "this program reads `version = 1`".to_owned();
        match version {
            None => self.found.push(Found::new(0..0, "missing key `version`").hint(hint)),
            Some(version) => {
                if !matches!(version.get_ref(), DeValue::Integer(number) if number.to_string() == "1") {
                    let found = conform::describe(version.get_ref());
                    self.found.push(Found::new(version.span(), format!("`version` must be 1, found {found}")).hint(hint));
                }
            }
        }
    }

    fn integer(&mut self, value: Option<Value<'_>>, name: &str) -> u64 {
        let Some(value) = value else { return 0 };
        let parsed = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        parsed.unwrap_or_else(|| {
            let found = conform::describe(value.get_ref());
            self.found.push(Found::new(value.span(), format!("`{name}` must be a non-negative integer, found {found}")));
            0
        })
    }

    /// The named tables of `[stage.*]` or `[teacher.*]`, in file order; `None` for an entry that is no table.
    fn section<'i>(&mut self, root: &mut DeTable<'i>, section: &str) -> Vec<(String, Range<usize>, Option<Spanned<DeTable<'i>>>)> {
        let Some(value) = root.remove(section) else {
            return Vec::new();
        };
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            self.found.push(Found::new(span, format!("`{section}` must be tables: `[{section}.NAME]`")));
            return Vec::new();
        };
        let mut named: Vec<_> = table.into_iter().collect();
        named.sort_by_key(|(key, _)| key.span().start);
        let mut tables = Vec::new();
        for (key, value) in named {
            let (name, key) = (key.get_ref().to_string(), key.span());
            if let Some(message) = bad_name(&name) {
                let hint = format!("names are 1 to {MAX_NAME} of `a`-`z`, `0`-`9`, `_` and `-`, and begin with a letter or a digit");
                self.found.push(Found::new(key.clone(), message).hint(hint));
            }
            let span = value.span();
            let table = match value.into_inner() {
                DeValue::Table(table) => Some(Spanned::new(span, table)),
                other => {
                    let found = conform::describe(&other);
                    self.found.push(Found::new(span, format!("`{section}.{name}` must be a table, found {found}")));
                    None
                }
            };
            tables.push((name, key, table));
        }
        tables
    }

    fn teacher<T>(&mut self, name: &str, key: Range<usize>, table: Spanned<DeTable<'_>>, kinds: &'static [DefKind<T>]) -> Option<T> {
        let (head, mut keys) = (head(key, &table), table.into_inner());
        let places = Places::of(head.clone(), &keys);
        let kind = self.kind(&mut keys, &head, "teacher", kinds.iter().map(|kind| kind.name));
        let kind = kinds.iter().find(|known| Some(known.name) == kind.as_deref())?;
        (kind.parse)(&mut Table { name, head, keys, reserved: &["kind"], places: &places, found: &mut self.found })
    }

    fn stage(&mut self, name: String, key: Range<usize>, table: Spanned<DeTable<'_>>, kinds: &'static [Kind<C>]) -> DraftStage<C> {
        let (head, mut keys) = (head(key, &table), table.into_inner());
        let places = Places::of(head.clone(), &keys);
        let kind = self.kind(&mut keys, &head, "stage", kinds.iter().map(|kind| kind.name));
        let kind = kinds.iter().find(|known| Some(known.name) == kind.as_deref());
        let inputs = keys.remove("inputs").map(|value| self.inputs(&value)).unwrap_or_default();
        let takes_model = kind.is_none_or(|kind| kind.init_from);
        let init_from = if takes_model { keys.remove("init_from") } else { None };
        let init_from = init_from.and_then(|value| self.reference("init_from", &value));
        let reserved: &[&str] = if takes_model { &["kind", "inputs", "init_from"] } else { &["kind", "inputs"] };
        let parsed = kind.and_then(|kind| {
            let mut table = Table { name: &name, head: head.clone(), keys, reserved, places: &places, found: &mut self.found };
            Some((kind, (kind.parse)(&mut table)?))
        });
        DraftStage { name, head, places, parsed, inputs, init_from }
    }

    /// Takes `kind` out of a table.
    fn kind(
        &mut self,
        keys: &mut DeTable<'_>,
        head: &Range<usize>,
        what: &str,
        known: impl Iterator<Item = &'static str> + Clone,
    ) -> Option<String> {
        let Some(value) = keys.remove("kind") else {
            let hint = format!("kinds: {}", known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "));
            self.found.push(Found::new(head.clone(), "missing key `kind`").hint(hint));
            return None;
        };
        match value.get_ref() {
            DeValue::String(kind) if known.clone().any(|name| name == kind.as_ref()) => Some(kind.to_string()),
            DeValue::String(kind) => {
                let hint = suggest(kind, "kinds", known);
                self.found.push(Found::new(value.span(), format!("unknown {what} kind `{kind}`")).hint(hint));
                None
            }
            other => {
                self.found.push(Found::new(value.span(), format!("`kind` must be a string, found {}", conform::describe(other))));
                None
            }
        }
    }

    fn inputs(&mut self, value: &Value<'_>) -> Vec<Option<Reference>> {
        let DeValue::Array(array) = value.get_ref() else {
            let found = conform::describe(value.get_ref());
            let hint = "write `inputs = [\"NAME\"]`".to_owned();
            self.found.push(Found::new(value.span(), format!("`inputs` must be an array of strings, found {found}")).hint(hint));
            return vec![None];
        };
        let mut inputs: Vec<Option<Reference>> = Vec::new();
        for element in array.iter() {
            let reference = self.reference("inputs", element);
            if let Some(reference) = &reference
                && inputs.iter().flatten().any(|other| other.text == reference.text)
            {
                self.found.push(Found::new(reference.span.clone(), format!("input `{}` is listed twice", reference.text)));
            }
            inputs.push(reference);
        }
        inputs
    }

    fn reference(&mut self, name: &str, value: &Value<'_>) -> Option<Reference> {
        match value.get_ref() {
            DeValue::String(text) if text == secrets::MASK => None,
            DeValue::String(text) => Some(Reference { text: text.to_string(), span: value.span() }),
            other => {
                let found = conform::describe(other);
                self.found.push(Found::new(value.span(), format!("`{name}` must name a stage, found {found}")));
                None
            }
        }
    }

    /// Checks the stages against the application's context and joins them into a graph.
    ///
    /// # Errors
    /// All mistakes of the file and its overrides.
    pub fn check(mut self, app: &C) -> Result<Pipeline<C>, FileError> {
        for stage in &self.stages {
            let Some((_, parsed)) = &stage.parsed else {
                continue;
            };
            let inputs: Vec<&str> = stage.inputs.iter().flatten().map(|reference| reference.text.as_str()).collect();
            for mistake in parsed.check(&CheckContext { app, name: &stage.name, inputs: &inputs, seed: self.seed }) {
                let span = stage.places.find(&mistake.key);
                // A value that is wrong already (a secret) would only be called wrong once more.
                if span == stage.head || self.found.iter().all(|found| found.span != span) {
                    self.found.push(Found::new(span, mistake.message).hint(mistake.hint));
                }
            }
        }
        let nodes = graph::join(self.stages, &mut self.found);
        if self.found.is_empty() { Ok(Pipeline::new(self.seed, nodes)) } else { Err(FileError::new(&self.sources, self.found)) }
    }
}

/// Where a table begins: its header, or the key of an inline or dotted one.
fn head(key: Range<usize>, table: &Spanned<DeTable<'_>>) -> Range<usize> {
    let span = table.span();
    if tree::encloses(&span, &key) { span } else { key }
}

pub(crate) fn bad_name(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        return Some(format!("the name `{name}` contains {wrong:?}"));
    }
    match name.len() {
        0 => Some("the name is empty".to_owned()),
        length if length > MAX_NAME => Some(format!("the name has {length} characters, at most {MAX_NAME} are allowed")),
        _ => name.starts_with(['-', '_']).then(|| format!("the name `{name}` begins with `{}`", &name[..1])),
    }
}
