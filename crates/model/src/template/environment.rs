//! The Jinja environment of Hugging Face's `apply_chat_template`, within bounds.

use std::{borrow::Cow, io, ops::Range};

use minijinja::{Environment, ErrorKind, State, Value, syntax::SyntaxConfig, value::Serde};
use serde_json::{Map, Value as Json, json};

use super::{ChatMessage, RenderOptions, Rendered, Specials, date, json as python};
use crate::{Error, Result};

const NAME: &str = "chat_template";
const FUEL: u64 = 10_000_000;
const RECURSION: usize = 64;
const LARGEST_OUTPUT: usize = 64 << 20;
/// Stand where a generation block begins and ends while rendering. Unicode never assigns them to text.
const BEGIN: char = '\u{FDD0}';
const END: char = '\u{FDD1}';
const DATE_VARIABLE: &str = "potstill_date";

fn failed(error: &minijinja::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Error::Template(text)
}

pub(super) fn compile(source: &str) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| failed(&error))?);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", python::dumps);
    // Python does not iterate over None.
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", strftime_now);
    environment.add_template_owned(NAME, mark_generation(source).into_owned()).map_err(|error| failed(&error))?;
    Ok(environment)
}

/// Hugging Face's own block tag becomes a plain block that prints the marks, so that white space control stays as it is.
fn mark_generation(source: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = source;
    while let Some((before, open, mark, close, after)) = next_generation_tag(rest) {
        out.push_str(before);
        out.push_str(&format!("{{%{open} if true %}}{{{{ '{mark}' }}}}{{% endif {close}%}}"));
        rest = after;
    }
    if out.is_empty() { Cow::Borrowed(source) } else { Cow::Owned(out + rest) }
}

/// Splits at the first `{%- generation -%}` or `{%- endgeneration -%}`: text before, left control, mark, right control, text after.
fn next_generation_tag(source: &str) -> Option<(&str, &str, char, &str, &str)> {
    let mut from = 0;
    while let Some(found) = source[from..].find("{%") {
        let start = from + found;
        // The end may not share its sign with the start, as in `{%}`.
        let end = start + 2 + source[start + 2..].find("%}")?;
        let inside = &source[start + 2..end];
        let (open, inside) = ["-", "+"].iter().find_map(|sign| Some((*sign, inside.strip_prefix(sign)?))).unwrap_or(("", inside));
        let (close, inside) = ["-", "+"].iter().find_map(|sign| Some((*sign, inside.strip_suffix(sign)?))).unwrap_or(("", inside));
        let mark = match inside.trim() {
            "generation" => Some(BEGIN),
            "endgeneration" => Some(END),
            _ => None,
        };
        if let Some(mark) = mark {
            return Some((&source[..start], open, mark, close, &source[end + 2..]));
        }
        from = end + 2;
    }
    None
}

pub(super) fn render(
    environment: &Environment<'_>,
    specials: &Specials,
    messages: &[ChatMessage],
    options: &RenderOptions,
) -> Result<Rendered> {
    let marked = |text: &str| text.contains([BEGIN, END]);
    if let Some(index) = messages.iter().position(|message| marked(&message.content) || message.reasoning.as_deref().is_some_and(marked)) {
        return Err(Error::Template(format!("message {index} contains U+FDD0 or U+FDD1, which are not characters")));
    }
    let template = environment.get_template(NAME).map_err(|error| failed(&error))?;
    let mut output = Bounded { text: Vec::new() };
    template.render_captured_to(Value::from(Serde(context(specials, messages, options))), &mut output).map_err(|error| failed(&error))?;
    let text = String::from_utf8(output.text).map_err(|_| Error::Template("printed text that is not UTF-8".into()))?;
    unmark(&text)
}

fn context(specials: &Specials, messages: &[ChatMessage], options: &RenderOptions) -> Map<String, Json> {
    // As in transformers these two are always there, so that `is defined` holds and `is none` tells.
    let mut context: Map<String, Json> = ["tools", "documents"].map(|name| (name.to_owned(), Json::Null)).into_iter().collect();
    context.extend(options.extra.clone());
    context.insert("messages".into(), messages.iter().map(message).collect());
    context.insert("add_generation_prompt".into(), json!(options.add_generation_prompt));
    for (name, token) in
        [("bos_token", &specials.bos), ("eos_token", &specials.eos), ("pad_token", &specials.pad), ("unk_token", &specials.unk)]
    {
        if let Some(token) = token {
            context.insert(name.into(), json!(token));
        }
    }
    if let Some(date) = &options.date {
        context.insert(DATE_VARIABLE.into(), json!(date));
    }
    context
}

fn message(message: &ChatMessage) -> Json {
    let mut map = Map::new();
    map.insert("role".into(), json!(message.role));
    map.insert("content".into(), json!(message.content));
    if let Some(reasoning) = &message.reasoning {
        for name in ["reasoning_content", "reasoning", "thinking"] {
            map.insert(name.into(), json!(reasoning));
        }
    }
    Json::Object(map)
}

/// Takes the marks out and returns what stood between them.
fn unmark(text: &str) -> Result<Rendered> {
    let mut plain = String::with_capacity(text.len());
    let mut generated: Vec<Range<usize>> = Vec::new();
    let mut open = None;
    for piece in text.split_inclusive([BEGIN, END]) {
        match (piece.chars().next_back(), open) {
            (Some(BEGIN), None) => {
                plain.push_str(piece.trim_end_matches(BEGIN));
                open = Some(plain.len());
            }
            (Some(END), Some(start)) => {
                plain.push_str(piece.trim_end_matches(END));
                generated.push(start..plain.len());
                open = None;
            }
            (Some(BEGIN | END), _) => return Err(Error::Template("generation blocks overlap".into())),
            _ => plain.push_str(piece),
        }
    }
    if open.is_some() {
        return Err(Error::Template("a generation block is not closed".into()));
    }
    generated.retain(|span| !span.is_empty());
    Ok(Rendered { text: plain, generated })
}

/// Output that refuses to grow beyond a bound.
struct Bounded {
    text: Vec<u8>,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > LARGEST_OUTPUT {
            return Err(io::Error::other(format!("printed more than the {LARGEST_OUTPUT} bytes allowed")));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn strftime_now(state: &State<'_, '_>, format: &str) -> std::result::Result<String, minijinja::Error> {
    let invalid = |problem: String| minijinja::Error::new(ErrorKind::InvalidOperation, problem);
    let date = state.lookup(DATE_VARIABLE).filter(|date| !date.is_undefined());
    let date = date.ok_or_else(|| invalid("the template prints today's date; give it one (YYYY-MM-DD)".into()))?;
    date::format(date.as_str().unwrap_or_default(), format).map_err(invalid)
}
