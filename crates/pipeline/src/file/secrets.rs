//! Finds keys and passwords written into a pipeline file, and hides them from every diagnostic.
//!
//! A pipeline file is made to be shared; a secret belongs into an environment variable that the file names. What looks like one is an
//! error, and its text is masked in all rendered sources before anything is reported.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::mistake::Found;
use super::source::Sources;
use super::tree::{Value, entries};

/// What stands in the tree for a secret that was taken out.
pub(super) const MASK: &str = "***";

const HINT: &str =
    "name the environment variable that holds it (`api_key_env = \"TEACHER_API_KEY\"`), and replace the key if this file was shared";

/// Masks secrets in all texts, whether they parse or not: tokens that look like keys, and what is assigned to a name of a secret.
pub(super) fn mask_texts(sources: &mut Sources) {
    let mut spans = Vec::new();
    for (start, text) in sources.texts() {
        let offset = |span: Range<usize>| start + span.start..start + span.end;
        spans.extend(secret_words(text).into_iter().map(offset));
        spans.extend(assignments(text).map(offset));
    }
    spans.iter().for_each(|span| sources.mask(span));
}

/// Takes secrets out of the tree, so that no later message can quote them, and reports each. `all` says that every string in the
/// table is one, for it stands below the name of a secret.
pub(super) fn take(table: &mut DeTable<'_>, all: bool, sources: &mut Sources, found: &mut Vec<Found>) {
    let names: Vec<(String, Range<usize>)> = entries(table).into_iter().map(|(key, _)| (key.get_ref().to_string(), key.span())).collect();
    for (name, key_span) in names {
        if is_secret(&name) {
            report(key_span, "a key", sources, found);
            table.remove(name.as_str());
        } else if let Some(value) = table.get_mut(name.as_str()) {
            let before = found.len();
            take_value(&name, value, all || is_secret_key(&name), sources, found);
            if found.len() > before && is_secret_key(&name) {
                // No kind has such a key: that it is unknown would be an echo.
                table.remove(name.as_str());
            }
        }
    }
}

fn take_value(name: &str, value: &mut Value<'_>, all: bool, sources: &mut Sources, found: &mut Vec<Found>) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => take(table, all, sources, found),
        DeValue::Array(array) => array.iter_mut().for_each(|element| take_value(name, element, all, sources, found)),
        DeValue::String(text) if (all && !text.is_empty()) || holds_secret(name, text) => {
            report(span, &format!("`{name}`"), sources, found);
            *text = MASK.into();
        }
        _ => {}
    }
}

fn report(span: Range<usize>, what: &str, sources: &mut Sources, found: &mut Vec<Found>) {
    sources.mask(&span);
    found.push(Found::new(span, format!("{what} holds a secret")).hint(HINT.to_owned()));
}

/// Whether a string looks like a secret, or stands where the name of a variable should.
fn holds_secret(name: &str, text: &str) -> bool {
    (is_variable_key(name) && !is_variable(text)) || text.split_whitespace().any(is_secret)
}

/// The text with everything masked that looks like a key: for messages that quote names.
pub(super) fn redact(text: &str) -> String {
    let mut redacted = text.to_owned();
    for span in secret_words(text).into_iter().rev() {
        redacted.replace_range(span, MASK);
    }
    redacted
}

/// Whether a key of this name can only hold a secret.
fn is_secret_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let whole = [
        "apikey",
        "token",
        "secret",
        "password",
        "passwd",
        "authorization",
        "bearer",
        "auth_token",
        "access_token",
        "hf_token",
        "api_token",
    ];
    whole.contains(&name.as_str()) || ["api_key", "secret_key", "_secret", "_password"].iter().any(|end| name.ends_with(end))
}

/// Whether a key of this name holds the name of an environment variable.
fn is_variable_key(name: &str) -> bool {
    name.ends_with("_key_env") || name.ends_with("_token_env")
}

fn is_variable(text: &str) -> bool {
    !text.is_empty() && !is_secret(text) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a word looks like a key: a well-known prefix and enough of a random tail, or a URL with a password.
fn is_secret(word: &str) -> bool {
    let prefixes = [
        ("sk-", 8),
        ("sk_", 8),
        ("hf_", 16),
        ("gsk_", 16),
        ("ghp_", 16),
        ("github_pat_", 16),
        ("glpat-", 12),
        ("xai-", 16),
        ("AKIA", 16),
        ("AIza", 24),
        ("xoxb-", 10),
        ("xoxp-", 10),
        ("eyJ", 24),
        ("pplx-", 16),
        ("r8_", 16),
        ("nvapi-", 16),
    ];
    let keyed = prefixes.iter().any(|(prefix, least)| {
        word.strip_prefix(prefix).is_some_and(|tail| {
            let random = tail.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).count();
            random >= *least && tail.chars().any(|c| c.is_ascii_digit())
        })
    });
    let with_password = word.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next()?.rsplit_once('@'));
    keyed || with_password.is_some_and(|(user, _)| user.contains(':'))
}

/// Where something looks like a key in a text: a word as TOML could hold it, or its end behind a dot, as in a dotted key.
fn secret_words(text: &str) -> Vec<Range<usize>> {
    let ends = |c: char| c.is_whitespace() || "\"'`=,[]{}".contains(c);
    let word_spans = text.split(ends).map(|word| {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        start..start + word.len()
    });
    let secret_end = |span: Range<usize>| {
        let word = &text[span.clone()];
        let starts = std::iter::once(0).chain(word.match_indices('.').map(|(dot, _)| dot + 1));
        starts.map(|at| span.start + at..span.end).find(|end| is_secret(&text[end.clone()]))
    };
    word_spans.filter_map(secret_end).collect()
}

/// What stands behind `NAME =` where the name is that of a secret: to the end of the line, or of a multi-line string.
fn assignments(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices('=').filter_map(|(at, _)| {
        let name = text[..at].trim_end().trim_end_matches(['"', '\'']);
        let start = name.rfind(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).map_or(0, |before| before + 1);
        let name = name.get(start..)?;
        if !(is_secret_key(name) || is_variable_key(name)) {
            return None;
        }
        let value = text[at + 1..].trim_start_matches([' ', '\t']);
        let value_start = text.len() - value.len();
        if is_variable_key(name) {
            // The name of a variable is no secret; anything else behind this key may be.
            let line = value.lines().next().unwrap_or_default();
            let quoted = line.trim_start_matches(['"', '\'']).split(['"', '\'', ' ', '#', ',', '}']).next().unwrap_or_default();
            return (!is_variable(quoted)).then_some(value_start..value_start + line.len());
        }
        let long = ["\"\"\"", "'''"].into_iter().find(|quotes| value.starts_with(quotes));
        let length = match long {
            Some(quotes) => value[3..].find(quotes).map_or(value.len(), |end| end + 6),
            None => value.find('\n').unwrap_or(value.len()),
        };
        Some(value_start..value_start + length)
    })
}

#[cfg(test)]
mod tests {
    use super::{Sources, is_secret, is_secret_key, mask_texts};

    #[test]
    fn keys_are_told_from_words() {
        for secret in ["sk-proj-abc123def456", "hf_abcdefghij1234567890", "https://user:pw@host/v1", "AKIA1234567890ABCDEF"] {
            assert!(is_secret(secret), "{secret}");
        }
        for word in ["sk-learn", "hf_hub", "https://host/v1", "TEACHER_API_KEY", "eyJ", "Qwen/QwQ-32B-Preview", "sk-"] {
            assert!(!is_secret(word), "{word}");
        }
        assert!(is_secret_key("api_key") && is_secret_key("OPENAI_API_KEY") && is_secret_key("Authorization") && is_secret_key("token"));
        assert!(
            !is_secret_key("max_tokens") && !is_secret_key("eos_token") && !is_secret_key("tokenizer") && !is_secret_key("api_key_env")
        );
    }

    #[test]
    fn texts_are_masked_even_where_they_do_not_parse() {
        let cases = [
            "api_key = hunter2",
            "# api_key = \"hunter2\"",
            "x = { api_key=\"hunter2\", y = 1",
            "password = \"\"\"\nhunter2\n",
            "\"api-key\" = 'hunter2'",
            "note = sk-hunter2-hunter2",
            "api_key_env = \"hunter2-is-no-variable\"",
        ];
        for text in cases {
            let mut sources = Sources::new("f", text);
            mask_texts(&mut sources);
            let masked: Vec<&str> = sources.texts().map(|(_, text)| text).collect();
            assert!(!masked[0].contains("hunter2"), "{masked:?}");
            assert_eq!(masked[0].len(), text.len());
        }
    }

    #[test]
    fn harmless_texts_stay() {
        let text = "api_key_env = \"TEACHER_API_KEY\" # the name\nmax_tokens = 5\n";
        let mut sources = Sources::new("f", text);
        mask_texts(&mut sources);
        assert_eq!(sources.texts().next().unwrap().1, text);
    }
}
