//! The parsed TOML tree, and the places of its keys.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

pub(crate) type Key<'i> = Spanned<DeString<'i>>;
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// The entries of a table in the order in which they are written.
pub(crate) fn entries<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Key<'i>, &'t Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

pub(crate) fn encloses(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Removes the innermost entry or element that encloses the span. False when there is none.
pub(crate) fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    if table.iter_mut().any(|(_, value)| remove_within(value, span)) {
        return true;
    }
    let enclosing = table
        .iter()
        .find(|(key, value)| encloses(&key.span(), span) || encloses(&value.span(), span))
        .map(|(key, _)| key.get_ref().clone());
    enclosing.is_some_and(|key| table.remove(&*key).is_some())
}

fn remove_within(value: &mut Value<'_>, span: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(array) => {
            if array.iter_mut().any(|element| remove_within(element, span)) {
                return true;
            }
            let Some(index) = array.iter().position(|element| encloses(&element.span(), span)) else {
                return false;
            };
            remove_element(array, index);
            true
        }
        _ => false,
    }
}

fn remove_element(array: &mut DeArray<'_>, index: usize) {
    *array = array.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, element)| element.clone()).collect();
}

/// Where the keys of a table stand, by dotted path; elements of arrays by their index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    head: Range<usize>,
    values: BTreeMap<String, Range<usize>>,
}

impl Places {
    pub(crate) fn of(head: Range<usize>, table: &DeTable<'_>) -> Self {
        let mut places = Self { head, values: BTreeMap::new() };
        places.add_table("", table);
        places
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            self.add(format!("{prefix}{}", key.get_ref()), value);
        }
    }

    fn add(&mut self, path: String, value: &Value<'_>) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&format!("{path}."), table),
            DeValue::Array(array) => {
                for (index, element) in array.iter().enumerate() {
                    self.add(format!("{path}.{index}"), element);
                }
            }
            _ => {}
        }
        self.values.insert(path, value.span());
    }

    /// The place of a path, or of its nearest ancestor that is there.
    pub(crate) fn find(&self, path: &str) -> Range<usize> {
        let mut path = path;
        loop {
            if let Some(span) = self.values.get(path) {
                return span.clone();
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return self.head.clone(),
            }
        }
    }
}
