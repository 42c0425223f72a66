//! Dataset manifests: where a public dataset is, which column is what, and under which licence.
//!
//! A manifest names files that the user has fetched; when they are not there, the error says how to get
//! them. All mistakes of a manifest are reported together, each with its line.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use crate::source::{SourceKind, SourceSpec, check_spec};
use crate::{DataError, Result};

/// The version of the manifest format.
pub const VERSION: u32 = 1;

/// A dataset manifest (`datasets/*.toml`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// The version of the manifest format: 1.
    pub version: u32,
    /// The dataset's name, which its rows carry as their source.
    pub name: String,
    /// What it is, in a sentence or two.
    pub about: String,
    /// Its page.
    pub homepage: String,
    /// Whom to cite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
    /// The rows it has as published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Its licence.
    pub licence: Licence,
    /// Where it stands on the Hugging Face hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<Hub>,
    /// How to get the files, where the hub's address does not say it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obtain: Option<String>,
    /// The files (relative to the manifest) and their columns.
    pub source: SourceSpec,
    /// The folder that the manifest stands in.
    #[serde(skip)]
    folder: PathBuf,
}

/// The licence of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Licence {
    /// Its SPDX identifier, or `unknown`.
    pub name: String,
    /// What to mind beyond it: terms of the model that wrote the replies, rights in the problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Files on the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// The dataset repository, such as `openai/gsm8k`.
    pub repo: String,
    /// The files in it; `*` stands for any part of a name.
    pub files: Vec<String>,
    /// The branch, tag or commit; `main` if absent. Only a commit always means the same files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl Hub {
    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// What its form does not allow: names that lead elsewhere.
    fn faults(&self) -> Vec<String> {
        let plain =
            |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let mut faults = Vec::new();
        if self.repo.is_empty() || self.files.is_empty() {
            faults.push("`hub` needs `repo` and `files`".to_owned());
        } else if self.repo.split('/').count() > 2 || !self.repo.split('/').all(plain) {
            faults.push(format!("`hub.repo`: `{}` is no `organisation/name`", self.repo));
        }
        let inside = |file: &String| !file.contains('\\') && file.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if let Some(file) = self.files.iter().find(|file| !inside(file)) {
            faults.push(format!("`hub.files`: `{file}` would leave the repository"));
        }
        faults
    }
}

/// One mistake of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Its line, counted from 1.
    pub line: usize,
    /// What is wrong, and what helps.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// The file is missing, or has mistakes (all are listed).
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| DataError::read(path, error))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|mistakes| DataError::Manifest { path: path.to_owned(), mistakes })
    }

    /// Parses and checks the text of a manifest that stands in `folder`.
    ///
    /// # Errors
    /// All its mistakes.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Mistake>> {
        let lines = Lines(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut mistakes: Vec<Mistake> = errors.iter().map(|error| lines.mistake(error)).collect();
        if mistakes.is_empty() {
            let errors = errors_of::<Self>(table.get_ref(), &[]);
            mistakes.extend(errors.iter().map(|error| lines.mistake(error)));
        }
        if mistakes.is_empty() {
            match toml::from_str::<Self>(text) {
                Ok(manifest) => {
                    mistakes = manifest.faults(&lines, table.get_ref());
                    if mistakes.is_empty() {
                        return Ok(Self { folder: folder.to_owned(), ..manifest });
                    }
                }
                Err(error) => mistakes.push(lines.mistake(&error)),
            }
        }
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes.dedup();
        Err(mistakes)
    }

    /// What is well-formed and still wrong.
    fn faults(&self, lines: &Lines<'_>, table: &DeTable<'_>) -> Vec<Mistake> {
        let line_of =
            |key: &str| table.iter().find(|(known, _)| known.get_ref() == key).map_or(1, |(known, _)| lines.line(known.span().start));
        let mut mistakes = Vec::new();
        let mut add = |key: &str, what: String| mistakes.push(Mistake { line: line_of(key), what });
        if self.version != VERSION {
            add("version", format!("version is {}, but {VERSION} is the one known", self.version));
        }
        for (key, value) in [("name", &self.name), ("about", &self.about), ("homepage", &self.homepage)] {
            if value.trim().is_empty() {
                add(key, format!("`{key}` is missing"));
            }
        }
        if self.licence.name.trim().is_empty() {
            add("licence", "`licence.name` is missing; write `unknown` if it is".to_owned());
        }
        self.hub.iter().flat_map(Hub::faults).for_each(|what| add("hub", what));
        if self.hub.is_none() && self.obtain.is_none() {
            add("source", "nothing says how to get the files: set `hub` or `obtain`".to_owned());
        }
        if self.source.path.is_none() {
            add("source", "`source.path` is missing".to_owned());
        }
        if self.source.dataset.is_some() {
            add("source", "`source.dataset`: a manifest cannot build on another".to_owned());
        }
        if let Err(error) = check_spec(&self.source) {
            let hint = error.hint().map_or(String::new(), |hint| format!("; {hint}"));
            add("source", format!("{error}{hint}"));
        }
        mistakes
    }

    /// What its rows become.
    pub fn kind(&self) -> SourceKind {
        self.source.kind()
    }

    /// The settings of its source, with the path made whole and the dataset's name.
    pub fn spec(&self) -> SourceSpec {
        let mut spec = self.source.clone();
        spec.path = spec.path.map(|path| self.folder.join(path));
        spec.name.get_or_insert_with(|| self.name.clone());
        spec
    }

    /// Checks that the files are there.
    ///
    /// # Errors
    /// They are not; the hint says how to get them.
    pub fn require_files(&self) -> Result<()> {
        let path = self.spec().path.unwrap_or_default();
        match crate::source::expand(&path) {
            Err(DataError::Missing { path, .. }) => Err(DataError::Missing { hint: Some(self.how_to_get()), path }),
            other => other.map(|_| ()),
        }
    }

    /// The folder in which the hub's files stand under their own names: `source.path` without the first of them. `None` without a
    /// hub, or where the path names files differently.
    pub fn hub_folder(&self) -> Option<PathBuf> {
        let (path, first) = (self.spec().path?, self.hub.as_ref()?.files.first()?);
        let folder = path.to_str()?.strip_suffix(first.as_str())?;
        (folder.is_empty() || folder.ends_with('/')).then(|| PathBuf::from(folder.trim_end_matches('/')))
    }

    fn how_to_get(&self) -> String {
        let from_hub = self.hub.as_ref().map(|hub| {
            let files = hub.files.iter().map(|file| format!("--include \"{file}\"")).collect::<Vec<_>>().join(" ");
            let folder = self.hub_folder().unwrap_or_else(|| PathBuf::from("FOLDER"));
            let revision = hub.revision.as_ref().map_or_else(String::new, |revision| format!(" --revision {revision}"));
            format!("hf download {} --repo-type dataset{revision} {files} --local-dir {}", hub.repo, folder.display())
        });
        let fetch = self.hub_folder().map(|_| format!("potstill fetch {}", self.folder.join(format!("{}.toml", self.name)).display()));
        let ways = [self.obtain.clone(), fetch, from_hub].into_iter().flatten().collect::<Vec<_>>().join("; or with ");
        format!("get {}: {ways}", self.name)
    }
}

/// The line numbers of a text.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.0.as_bytes().get(..offset).unwrap_or(self.0.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn mistake(&self, error: &toml::de::Error) -> Mistake {
        let line = self.line(error.span().map_or(0, |span| span.start));
        Mistake { line, what: with_suggestion(error.message()) }
    }
}

/// Adds the nearest of the names that serde lists.
fn with_suggestion(message: &str) -> String {
    let message = message.trim().replace('\n', ": ");
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next().filter(|_| message.starts_with("unknown ")) else {
        return message;
    };
    match crate::near::nearest(unknown, names).first() {
        Some(near) => format!("{}; did you mean `{near}`?", message.split(", expected").next().unwrap_or(&message)),
        None => message.clone(),
    }
}

/// The errors of a table's keys, each tried alone: serde stops at the first, but every field has a
/// default, so a table with one key tells what is wrong with that key.
fn errors_of<T: DeserializeOwned>(table: &DeTable<'_>, path: &[&Spanned<DeString<'_>>]) -> Vec<toml::de::Error> {
    let mut errors = Vec::new();
    for (key, value) in table {
        let mut inner: Vec<&Spanned<DeString<'_>>> = path.to_vec();
        inner.push(key);
        // `columns.tests` is a table with keys of the user's own.
        match value.get_ref() {
            DeValue::Table(inside) if key.get_ref() != "tests" && !inside.is_empty() => {
                errors.extend(errors_of::<T>(inside, &inner));
            }
            _ => errors.extend(T::deserialize(ValueDeserializer::from(nested(&inner, value))).err()),
        }
    }
    errors
}

/// A table of tables that holds one value at the end of a path.
fn nested<'a>(path: &[&Spanned<DeString<'a>>], value: &Spanned<DeValue<'a>>) -> Spanned<DeValue<'a>> {
    path.iter().rev().fold(value.clone(), |value, key| {
        let span = key.span();
        let mut table = DeTable::new();
        table.insert((*key).clone(), value);
        Spanned::new(span, DeValue::Table(table))
    })
}
