//! Rewriting the many spellings of numbers into one: LaTeX, Unicode and typography removed.

/// Text in which every number is written with ASCII digits, `-`, `.`, `,` between groups of three, `/` and
/// `%`. Everything else stays.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => command(&mut plain, rest),
            '{' if rest.starts_with("{,}") => {
                plain.push(',');
                &rest[3..]
            }
            _ => {
                push_char(&mut plain, c);
                &rest[c.len_utf8()..]
            }
        };
    }
    plain
}

fn push_char(plain: &mut String, c: char) {
    match c {
        '−' | '–' | '－' | '﹣' => plain.push('-'),
        '0'..='9' => plain.push(c),
        '０'..='９' => plain.push(char::from(b'0' + u8::try_from(c as u32 - '０' as u32).unwrap_or(0))),
        '，' => plain.push(','),
        '．' => plain.push('.'),
        '％' => plain.push('%'),
        '\u{a0}' | '\u{2009}' | '\u{202f}' | '~' => plain.push(' '),
        '½' => plain.push_str(" 1/2"),
        '¼' => plain.push_str(" 1/4"),
        '¾' => plain.push_str(" 3/4"),
        '{' | '}' | '`' => {}
        c => plain.push(c),
    }
}

/// Handles the LaTeX command at the start of `rest` and returns what follows it.
fn command<'a>(plain: &mut String, rest: &'a str) -> &'a str {
    let after = &rest[1..];
    if let Some(symbol) = after.chars().next().filter(|c| !c.is_alphabetic()) {
        match symbol {
            '$' | '%' => plain.push(symbol),
            // Thin spaces stand inside numbers: `1\,000`, `3{,}\!168`.
            ',' | '!' => {}
            ';' | ':' | ' ' => plain.push(' '),
            _ => {}
        }
        return &after[symbol.len_utf8()..];
    }
    let name_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    let (name, tail) = after.split_at(name_end);
    match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" => return fraction(plain, tail),
        "times" | "cdot" => plain.push('×'),
        "text" | "mathrm" | "textrm" | "mbox" | "textbf" | "mathbf" | "quad" | "qquad" => plain.push(' '),
        "left" | "right" | "displaystyle" => {}
        "degree" | "circ" => plain.push('°'),
        "approx" => plain.push('≈'),
        "" => {}
        // Anything else is not part of a number; keep it visible so that it is not silently dropped.
        _ => {
            plain.push('\\');
            plain.push_str(name);
        }
    }
    tail
}

/// `\frac{a}{b}` as ` a/b`; arguments that are not plain numbers stay visible.
fn fraction<'a>(plain: &mut String, tail: &'a str) -> &'a str {
    let Some((numerator, rest)) = argument(tail) else {
        return tail;
    };
    let Some((denominator, rest)) = argument(rest) else {
        return tail;
    };
    // A minus before the fraction belongs to it.
    if !plain.is_empty() && !plain.ends_with(['-', '(', ' ']) {
        plain.push(' ');
    }
    for part in [numerator, "/", denominator] {
        part.chars().for_each(|c| push_char(plain, c));
    }
    rest
}

fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        let (argument, rest) = inner.split_once('}')?;
        return Some((argument.trim(), rest));
    }
    let digit = text.chars().next().filter(char::is_ascii_digit)?;
    Some(text.split_at(digit.len_utf8()))
}
