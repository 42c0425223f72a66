//! JSON: one object a line, or an array of objects; never more than one object in memory.

use std::io::{BufRead, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::cell::Cell;
use super::files::{self, Stream};
use super::records::{Names, Record, Records, path_of};
use crate::error::{Place, Spot};
use crate::{DataError, Result};

/// Opens a file of objects; a first `[` tells an array from lines.
pub(super) fn open(path: &Path, wanted: &[String], limit: u64) -> Result<Box<dyn Records>> {
    let mut text = Text { path: path.to_owned(), stream: files::open(path)?, line: 1, limit };
    text.skip_mark()?;
    let is_array = text.peek_solid()? == Some(b'[');
    let objects = if is_array { Layout::Array { started: false } } else { Layout::Lines };
    let seen = vec![false; wanted.len()];
    Ok(Box::new(JsonRecords { text, layout: objects, wanted: wanted.to_owned(), seen, names: Names::default(), buffer: Vec::new() }))
}

/// How objects follow each other.
enum Layout {
    Lines,
    Array { started: bool },
}

struct JsonRecords {
    text: Text,
    layout: Layout,
    wanted: Vec<String>,
    seen: Vec<bool>,
    names: Names,
    buffer: Vec<u8>,
}

impl Records for JsonRecords {
    fn next_record(&mut self) -> Result<Option<Record>> {
        let found = match &mut self.layout {
            Layout::Lines => self.text.line_of_object(&mut self.buffer)?,
            Layout::Array { started } => self.text.element(&mut self.buffer, started)?,
        };
        let Some(line) = found else { return Ok(None) };
        let place = Place::line(&self.text.path, line);
        let object = parse(&self.buffer, &place)?;
        self.names.see(object.keys());
        let cells = self.wanted.iter().zip(&mut self.seen).map(|(name, seen)| {
            let value = lookup(&object, name);
            *seen |= value.is_some();
            value.cloned().map_or(Cell::Null, Cell::from)
        });
        Ok(Some(Record { cells: cells.collect(), place }))
    }

    fn known(&self) -> Vec<String> {
        self.names.list()
    }

    fn unseen(&self) -> Vec<usize> {
        self.seen.iter().enumerate().filter(|(_, seen)| !**seen).map(|(index, _)| index).collect()
    }
}

/// The value of a column, or of a path into objects.
fn lookup<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    let mut steps = path_of(name);
    let first = object.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

fn parse(bytes: &[u8], place: &Place) -> Result<Map<String, Value>> {
    let corrupt = |place: Place, what: String, hint: &str| DataError::Corrupt { place, what, hint: Some(hint.to_owned()) };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let what = format!("invalid UTF-8: byte 0x{:02x} at byte {} of the line", bytes.get(at).unwrap_or(&0), at + 1);
        corrupt(place.clone(), what, "convert the file to UTF-8, for example with iconv")
    })?;
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "a list",
                Value::String(_) => "a text",
                _ => "a single value",
            };
            Err(corrupt(place.clone(), format!("{kind}, where an object is needed"), "each row is one `{…}`"))
        }
        Err(error) => {
            // Objects of an array may span lines; the place names their first.
            let above = (error.line() as u64).saturating_sub(1);
            let place = match place.spot {
                Some(Spot::Line(line)) => {
                    let column = error.column() as u64;
                    Place { spot: Some(Spot::Character { line: line + above, column }), ..place.clone() }
                }
                _ => place.clone(),
            };
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
            Err(corrupt(place, format!("bad JSON: {what}"), "each row is one JSON object"))
        }
    }
}

/// A byte stream that counts lines and refuses objects over the limit.
struct Text {
    path: PathBuf,
    stream: Stream,
    line: u64,
    limit: u64,
}

impl Text {
    fn fill(&mut self) -> Result<&[u8]> {
        loop {
            match self.stream.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        self.stream.fill_buf().map_err(|error| DataError::read(&self.path, error))
    }

    fn broken(&self, error: &std::io::Error) -> DataError {
        DataError::Corrupt {
            place: Place::line(&self.path, self.line),
            what: format!("cannot read on: {error}"),
            hint: Some("the file may be truncated or damaged; fetch it again".to_owned()),
        }
    }

    /// The byte order mark that some editors put first.
    fn skip_mark(&mut self) -> Result<()> {
        if self.fill()?.starts_with(b"\xef\xbb\xbf") {
            self.stream.consume(3);
        }
        Ok(())
    }

    /// The next byte that is no white space, which is skipped.
    fn peek_solid(&mut self) -> Result<Option<u8>> {
        loop {
            let buffer = self.fill()?;
            let Some(&byte) = buffer.first() else {
                return Ok(None);
            };
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.stream.consume(1);
            self.line += u64::from(byte == b'\n');
        }
    }

    fn check_limit(&self, bytes: usize, line: u64) -> Result<()> {
        if bytes as u64 <= self.limit {
            return Ok(());
        }
        Err(DataError::Value {
            place: Place::line(&self.path, line),
            what: format!("a row of more than {} bytes, the limit", self.limit),
            hint: Some("raise `max_row_bytes` if such rows are meant to be".to_owned()),
        })
    }

    /// Reads the next line that is not blank; returns its number.
    fn line_of_object(&mut self, object: &mut Vec<u8>) -> Result<Option<u64>> {
        loop {
            object.clear();
            let line = self.line;
            loop {
                let limit = self.limit;
                let buffer = self.fill()?;
                let end = buffer.iter().position(|byte| *byte == b'\n');
                let take = end.map_or(buffer.len(), |end| end + 1);
                let fits = (object.len() + take) as u64 <= limit + 2;
                if fits {
                    object.extend_from_slice(&buffer[..take]);
                }
                self.stream.consume(take);
                if !fits {
                    self.check_limit(usize::MAX, line)?;
                }
                if end.is_some() || take == 0 {
                    self.line += u64::from(end.is_some());
                    break;
                }
            }
            let ended = !object.ends_with(b"\n");
            let length = object.trim_ascii_end().len();
            object.truncate(length);
            self.check_limit(length, line)?;
            if !object.trim_ascii_start().is_empty() {
                return Ok(Some(line));
            }
            if ended {
                return Ok(None);
            }
        }
    }

    /// Reads the next element of an array; returns the number of its first line.
    fn element(&mut self, object: &mut Vec<u8>, started: &mut bool) -> Result<Option<u64>> {
        object.clear();
        let wanted = if *started { b',' } else { b'[' };
        match self.peek_solid()? {
            Some(byte) if byte == wanted => self.stream.consume(1),
            Some(b']') if *started => return Ok(None),
            found => {
                return Err(self.unexpected(found, if *started { "`,` or `]`" } else { "`[`" }));
            }
        }
        let first = !std::mem::replace(started, true);
        match self.peek_solid()? {
            Some(b'{') => {}
            Some(b']') if first => return Ok(None),
            found => return Err(self.unexpected(found, "an object `{…}`")),
        }
        let line = self.line;
        let mut braces = Braces::default();
        loop {
            let buffer = self.fill()?;
            if buffer.is_empty() {
                return Err(self.unexpected(None, "the end of the object"));
            }
            let end = buffer.iter().position(|byte| braces.close_at(*byte));
            let take = end.map_or(buffer.len(), |end| end + 1);
            let newlines = buffer[..take].iter().filter(|byte| **byte == b'\n').count();
            object.extend_from_slice(&buffer[..take]);
            self.stream.consume(take);
            self.line += newlines as u64;
            self.check_limit(object.len(), line)?;
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }

    fn unexpected(&self, found: Option<u8>, wanted: &str) -> DataError {
        let found = found.map_or("the end of the file".to_owned(), |byte| format!("`{}`", char::from(byte)));
        DataError::Corrupt {
            place: Place::line(&self.path, self.line),
            what: format!("bad JSON: {found}, where {wanted} is needed"),
            hint: Some("the file is read as one JSON array of objects".to_owned()),
        }
    }
}

/// Finds the brace that closes an object.
#[derive(Default)]
struct Braces {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Braces {
    fn close_at(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' if !self.quoted => self.depth += 1,
            b'}' if !self.quoted => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
