//! `tojson` as Hugging Face defines it: Python's `json.dumps`, which escapes nothing for HTML.

use std::io;

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, Rest},
};
use serde::Serialize;
use serde_json::{Serializer, Value as Json, ser::Formatter};

/// Spaces of an indent at most.
const WIDEST_INDENT: usize = 16;

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn dumps(value: &Value, _: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let failed = |error: serde_json::Error| Error::new(ErrorKind::InvalidOperation, format!("tojson: {error}"));
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let mut value = serde_json::to_value(value).map_err(failed)?;
    if options.get::<Option<bool>>("sort_keys")? == Some(true) {
        value.sort_all_objects();
    }
    let between = match (separators.as_deref(), indent) {
        (Some([item, key]), _) => [item.clone(), key.clone()],
        (Some(_), _) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators are two texts")),
        (None, Some(_)) => [",".into(), ": ".into()],
        (None, None) => [", ".into(), ": ".into()],
    };
    let style = Style {
        between,
        indent: indent.map(|width| " ".repeat(width.min(WIDEST_INDENT))),
        ascii: options.get::<Option<bool>>("ensure_ascii")? == Some(true),
        depth: 0,
        empty: true,
    };
    options.assert_all_used()?;
    write(&value, style).map(Value::from_safe_string).map_err(failed)
}

fn write(value: &Json, style: Style) -> serde_json::Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, style))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// What stands between the parts.
struct Style {
    /// After an item, and after a key.
    between: [String; 2],
    indent: Option<String>,
    /// Write other characters as `\uXXXX`.
    ascii: bool,
    depth: usize,
    /// Nothing has been written into the innermost array or object.
    empty: bool,
}

impl Style {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(indent.as_bytes()))
    }

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        (self.depth, self.empty) = (self.depth + 1, true);
        writer.write_all(&[bracket])
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth -= 1;
        if !self.empty {
            self.line(writer)?;
        }
        self.empty = false;
        writer.write_all(&[bracket])
    }

    fn part<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.between[0].as_bytes())?;
        }
        self.line(writer)
    }
}

impl Formatter for Style {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'[')
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b']')
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.part(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.empty = false;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'{')
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b'}')
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.part(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.between[1].as_bytes())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.empty = false;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => writer.write_all(&[byte])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_python_writes_it() {
        let value = json!({ "b": [1, "ü🤗<"], "a": {}, "c": [] });
        let style = |indent: Option<&str>, ascii| {
            let between = [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()];
            Style { between, indent: indent.map(str::to_owned), ascii, depth: 0, empty: true }
        };
        let text = |indent, ascii| write(&value, style(indent, ascii)).unwrap();
        assert_eq!(text(None, false), r#"{"b": [1, "ü🤗<"], "a": {}, "c": []}"#);
        assert_eq!(text(None, true), r#"{"b": [1, "\u00fc\ud83e\udd17<"], "a": {}, "c": []}"#);
        assert_eq!(text(Some("  "), false), "{\n  \"b\": [\n    1,\n    \"ü🤗<\"\n  ],\n  \"a\": {},\n  \"c\": []\n}");
    }
}
