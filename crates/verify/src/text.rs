//! Normal forms of plain text answers.

/// Text with white space collapsed, enclosing quotes, `\text{…}` and final punctuation removed and,
/// unless `keep_case`, in lower case.
pub(crate) fn normalize(text: &str, keep_case: bool) -> String {
    let text = unwrap(text);
    let mut normal = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        if keep_case {
            normal.push_str(word);
        } else {
            normal.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    normal
}

/// Strips layers that carry no meaning. Bounded, so that hostile nesting costs nothing.
pub(crate) fn unwrap(text: &str) -> &str {
    const PAIRS: [(&str, &str); 11] = [
        ("\\text{", "}"),
        ("\\textbf{", "}"),
        ("\\mathrm{", "}"),
        ("\\mathbf{", "}"),
        ("\"", "\""),
        ("'", "'"),
        ("“", "”"),
        ("«", "»"),
        ("$", "$"),
        ("**", "**"),
        ("`", "`"),
    ];
    const LAYERS: usize = 8;
    let mut text = trim_stops(text);
    for _ in 0..LAYERS {
        let inner = PAIRS.iter().find_map(|(open, close)| {
            let inner = text.strip_prefix(open)?.strip_suffix(close)?;
            (!inner.contains(open) && !inner.contains(close)).then_some(inner)
        });
        match inner {
            Some(inner) => text = trim_stops(inner),
            None => break,
        }
    }
    text
}

fn trim_stops(text: &str) -> &str {
    text.trim().trim_end_matches(['.', '。', ',', '，', ';']).trim_end()
}
