//! `--set path=value`: values laid over the parsed file, each with its own place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::Found;
use super::near::suggest;
use super::source::Sources;
use super::tree::{Key, Value};

/// An override split into its path and its value, each padded so that a parser's spans are offsets in [`Sources`].
pub(super) struct Override {
    span: Range<usize>,
    path: String,
    value: String,
    bare: Range<usize>,
    text: String,
}

impl Override {
    /// Splits `PATH=VALUE` and gives the text its place in `sources`.
    pub(super) fn new(text: &str, sources: &mut Sources) -> Result<Self, Found> {
        let start = sources.add("--set", text);
        let span = start..start + text.len();
        let hint = "write `--set stage.NAME.KEY=VALUE`".to_owned();
        let Some(equals) = find_equals(text) else {
            return Err(Found::new(span, "an override needs a `=` between path and value").hint(hint));
        };
        let (path, value) = (&text[..equals], &text[equals + 1..]);
        if path.trim().is_empty() || path.contains('\n') {
            return Err(Found::new(span, "an override needs a path before the `=`").hint(hint));
        }
        let value_start = start + equals + 1;
        Ok(Self {
            path: format!("{}{path}=0", " ".repeat(start)),
            // `v=` ends where the value starts; a path of at least one letter leaves the room for it.
            value: format!("{}v={value}", " ".repeat(value_start - 2)),
            bare: value_start..span.end,
            text: value.trim().to_owned(),
            span,
        })
    }

    fn keys(&self) -> Option<Vec<Key<'_>>> {
        let mut keys = Vec::new();
        let mut table = DeTable::parse(&self.path).ok()?.into_inner();
        loop {
            let (key, value) = table.into_iter().next()?;
            keys.push(key);
            match value.into_inner() {
                DeValue::Table(next) => table = next,
                _ => return Some(keys),
            }
        }
    }

    /// The value as TOML; what is no TOML but a bare word or words is a string.
    fn parsed(&self) -> Result<Value<'_>, Found> {
        match DeTable::parse(&self.value) {
            Ok(mut table) if table.get_ref().len() == 1 => match table.get_mut().remove("v") {
                Some(value) => Ok(value),
                None => Err(Found::new(self.bare.clone(), "an override sets one value")),
            },
            Ok(_) => Err(Found::new(self.bare.clone(), "an override sets one value")),
            Err(error) if self.text.is_empty() || self.text.starts_with(['[', '{', '"', '\'']) => {
                let span = error.span().unwrap_or_else(|| self.bare.clone());
                Err(Found::new(span, format!("the value is not TOML: {}", error.message())))
            }
            Err(_) => Ok(Spanned::new(self.bare.clone(), DeValue::String(self.text.as_str().into()))),
        }
    }

    /// Lays the value over the tree.
    pub(super) fn apply<'t>(&'t self, root: &mut DeTable<'t>) -> Result<(), Found> {
        let keys = self.keys().ok_or_else(|| {
            Found::new(self.span.clone(), "the path of this override is no dotted key")
                .hint("write `--set stage.NAME.KEY=VALUE`".to_owned())
        })?;
        let value = self.parsed()?;
        self.named(&keys, root)?;
        set(root, &keys, value, &self.span)
    }

    /// A stage or a teacher is declared in the file; an override changes it but does not make one.
    fn named(&self, keys: &[Key<'_>], root: &DeTable<'_>) -> Result<(), Found> {
        let [section, name, ..] = keys else {
            return Ok(());
        };
        let (section, written) = (section.get_ref().as_ref(), name.get_ref().as_ref());
        if !matches!(section, "stage" | "teacher") {
            return Ok(());
        }
        let declared = match root.get(section).map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table.keys().map(|key| key.get_ref().as_ref()).collect(),
            _ => Vec::new(),
        };
        if declared.contains(&written) {
            return Ok(());
        }
        let hint = suggest(written, &format!("{section}s"), declared.iter().copied());
        Err(Found::new(name.span(), format!("no {section} is named `{written}`")).hint(hint))
    }
}

fn set<'t>(table: &mut DeTable<'t>, keys: &[Key<'t>], value: Value<'t>, span: &Range<usize>) -> Result<(), Found> {
    let Some((key, rest)) = keys.split_first() else {
        return Ok(());
    };
    let name: &str = key.get_ref();
    if rest.is_empty() {
        table.remove(name);
        table.insert(key.clone(), value);
        return Ok(());
    }
    if table.get(name).is_none() {
        table.insert(key.clone(), Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    }
    match table.get_mut(name).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => set(inner, rest, value, span),
        // The value itself may be a secret.
        Some(other) => {
            let message = format!("`{name}` is of type {}, no table", other.type_str());
            Err(Found::new(key.span(), message))
        }
        None => Ok(()),
    }
}

/// The first `=` outside quotes.
fn find_equals(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '=' => return Some(at),
            None => {}
        }
    }
    None
}
