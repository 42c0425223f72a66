//! Slips of the pen around an answer: escaped twice, a backslash lost, a remark or a condition after the value.

use std::borrow::Cow;

use super::names;
use super::words::number;

/// Commands whose backslash gets lost: what follows them says that they were meant.
const WITH_GROUP: &[&str] = &[
    "frac", "dfrac", "tfrac", "nicefrac", "cfrac", "sqrt", "text", "textbf", "mathrm", "mathbf", "mathbb", "binom", "dbinom", "boxed",
    "overline",
];

/// Control characters that an unescaped `\f`, `\b` or `\t` of a LaTeX command leaves in a text read as JSON or a string
/// literal: `\frac` becomes a form feed and `rac`.
pub(super) fn control_characters(s: &str) -> Cow<'_, str> {
    let damaged = |at: usize| ["ext{", "extbf{", "imes", "frac", "heta", "an("].iter().any(|rest| s[at + 1..].starts_with(rest));
    let tabs = s.match_indices('\t').any(|(at, _)| damaged(at));
    if !tabs && !s.contains(['\u{8}', '\u{c}']) {
        return Cow::Borrowed(s);
    }
    let mut out = String::with_capacity(s.len() + 8);
    for (at, c) in s.char_indices() {
        match c {
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\t' if damaged(at) => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The answer with its slips mended; borrows when there are none.
pub(super) fn repaired(s: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(s);
    if escaped_twice(&out) {
        out = Cow::Owned(out.replace("\\\\", "\\"));
    }
    for (from, to) in [("per cent", "percent"), ("pour cent", "pourcent")] {
        if out.contains(from) && !out.contains("per cents") {
            out = Cow::Owned(out.replace(from, to));
        }
    }
    if let Some(mended) = letter_times(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(decimal) = decimal_comma(&out) {
        out = Cow::Owned(decimal);
    }
    if let Some(mended) = unbraced_signs(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(mended) = primes(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(mended) = lost_backslashes(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(mended) = spaced_relations(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(mended) = super::worded::inequality(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(mended) = exceptions(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(mended) = alternative_spelling(&out) {
        out = Cow::Owned(mended);
    }
    if let Some(end) = remark(&out) {
        out = Cow::Owned(out[..end].trim_end().to_owned());
    }
    out
}

/// `\\frac{1}{2}`: a row break before a command makes no sense outside an environment.
fn escaped_twice(s: &str) -> bool {
    if s.contains("\\begin") && !s.contains("\\\\begin") {
        return false;
    }
    s.match_indices("\\\\").any(|(at, _)| {
        let rest = &s[at + 2..];
        let name = &rest[..rest.bytes().take_while(u8::is_ascii_alphabetic).count()];
        name.len() > 1 && (names::command(name).is_some() || WITH_GROUP.contains(&name) || matches!(name, "left" | "begin"))
    })
}

/// `1.5 x 10^3`, `3 x 4`: the letter for the sign, between numerals.
fn letter_times(s: &str) -> Option<String> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let between = |at: usize, len: usize| {
        let (before, after) = (&s[..at], &s[at + len..]);
        let spaced = before.ends_with(' ') && after.starts_with(' ');
        digit(before.trim_end().chars().next_back())
            && digit(after.trim_start().chars().next())
            && (spaced || after.trim_start().starts_with("10^"))
    };
    let places: Vec<(usize, usize)> = s.match_indices(['x', 'X']).map(|(at, x)| (at, x.len())).collect();
    let mut out = s.to_owned();
    for (at, len) in places.into_iter().rev().filter(|(at, len)| between(*at, *len)) {
        out.replace_range(at..at + len, " \\times ");
    }
    (out != s).then_some(out)
}

/// `3{,}14`, where TeX writes a decimal comma; three digits after it are a thousand.
fn decimal_comma(s: &str) -> Option<String> {
    let (whole, rest) = s.split_once("{,}")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let single = whole.ends_with(|c: char| c.is_ascii_digit()) && digits > 0 && digits != 3 && !rest.contains("{,}");
    (single && !s.contains(['(', '[']) && !s.contains("\\{")).then(|| format!("{whole}.{rest}"))
}

/// `3{:}15`, `x{=}5`: braces that only take the space around a sign away. A script, `0^{+}`, keeps them, and so does the comma of
/// `1{,}000`.
fn unbraced_signs(s: &str) -> Option<String> {
    let bytes = s.as_bytes();
    let braced = |at: usize| {
        let sign = bytes.get(at + 1).is_some_and(|b| matches!(b, b':' | b'=' | b'+' | b'-' | b'<' | b'>' | b'/' | b'*' | b','));
        let before = s[..at].trim_end().as_bytes();
        let command = before.iter().rev().find(|b| !b.is_ascii_alphabetic()) == Some(&b'\\');
        let thousands = bytes.get(at + 1) == Some(&b',') && bytes.iter().skip(at + 3).take_while(|b| b.is_ascii_digit()).count() == 3;
        sign && bytes.get(at + 2) == Some(&b'}') && !matches!(before.last(), Some(b'^' | b'_' | b'}')) && !command && !thousands
    };
    let places: Vec<usize> = s.match_indices('{').map(|(at, _)| at).filter(|at| braced(*at)).collect();
    if places.is_empty() {
        return None;
    }
    let kept = s.char_indices().filter(|(at, _)| !places.iter().any(|open| *at == *open || *at == open + 2));
    Some(kept.map(|(_, c)| c).collect())
}

/// `f^{\prime\prime}`, `f^{''}` and `f^{(2)}` are `f''`.
fn primes(s: &str) -> Option<String> {
    if !s.contains("^{\\prime") && !s.contains("^\\prime") && !s.contains("^{'") && !s.contains("^{(") {
        return None;
    }
    let mut out = String::with_capacity(s.len());
    let mut rest = s;
    while let Some(at) = rest.find('^') {
        let (script, after) = match rest[at + 1..].strip_prefix('{') {
            Some(inner) => inner.split_once('}').unwrap_or((inner, "")),
            None => rest[at + 1..].split_at(rest[at + 1..].strip_prefix("\\prime").map_or(0, |_| "\\prime".len())),
        };
        out.push_str(&rest[..at]);
        let order = script.strip_prefix('(').and_then(|s| s.strip_suffix(')')?.parse().ok()).filter(|order| (1..=4).contains(order));
        let marks = match order {
            Some(order) if out.ends_with(['f', 'g', 'h', 'F', 'G', 'y']) => "'".repeat(order),
            _ => script.replace("\\prime", "'").replace(' ', ""),
        };
        if !marks.is_empty() && marks.bytes().all(|b| b == b'\'') {
            out.push_str(&marks);
            rest = after;
        } else {
            out.push('^');
            rest = &rest[at + 1..];
        }
    }
    out.push_str(rest);
    Some(out)
}

/// `frac{1}{2}`, `sqrt{3}`, `left( 1, 2 right)` with their backslashes.
fn lost_backslashes(s: &str) -> Option<String> {
    let mut out: Option<String> = None;
    let mut copied = 0;
    let bytes = s.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let len = bytes[at..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let (name, next) = (&s[at..at + len], bytes.get(at + len).copied().unwrap_or(0));
        let bare = at == 0 || bytes[at - 1] != b'\\';
        let group = WITH_GROUP.contains(&name) && (next == b'{' || name == "sqrt" && next == b'[');
        let sized = name == "left" && matches!(next, b'(' | b'[') || name == "right" && matches!(next, b')' | b']');
        if bare && (group || sized) {
            let text = out.get_or_insert_with(String::new);
            text.push_str(&s[copied..at]);
            text.push('\\');
            copied = at;
        }
        at += len;
    }
    let mut text = out?;
    text.push_str(&s[copied..]);
    Some(text)
}

/// `1000 (or 10^3)` says the same value twice: `1000 = 10^3`, which the comparison checks.
fn alternative_spelling(s: &str) -> Option<String> {
    let body = s.strip_suffix(')').or_else(|| s.strip_suffix(")}"))?;
    // `15 (fifteen)`, `fifteen (15)`.
    if let Some((head, inside)) = body.split_once(" (")
        && let Some(value) = number(head).or_else(|| head.parse().ok())
        && number(inside).or_else(|| inside.parse().ok()).as_ref() == Some(&value)
    {
        return Some(value.to_string());
    }
    for (mark, sign) in
        [("or", "="), ("i.e.,", "="), ("i.e.", "="), ("that is,", "="), ("approximately", "≈"), ("about", "≈"), ("approx.", "≈")]
    {
        for opening in ["\\text{ (", "\\text{(", "(", "\\ ("] {
            let open = format!("{opening}{mark} ");
            if let Some(at) = body.rfind(&open) {
                let rest = body[at + open.len()..].trim_start_matches(['}', ' ']);
                let head = body[..at].trim_end();
                let sign = if sign == "≈" { "\\approx " } else { sign };
                return (!head.is_empty() && !rest.is_empty() && !rest.contains(['(', ')'])).then(|| format!("{head} {sign} {rest}"));
            }
        }
    }
    None
}

/// `x = 3 \quad y = 4`: only space between two equations.
fn spaced_relations(s: &str) -> Option<String> {
    let space = ["\\qquad", "\\quad"].into_iter().find(|space| s.contains(space))?;
    let separate =
        s.split(space).all(|part| part.contains('=') && !part.trim_end().ends_with([',', ';', '=']) && !part.trim_start().starts_with('='));
    separate.then(|| s.replace(space, ", "))
}

/// "All real numbers except 2" is `x ≠ 2`.
fn exceptions(s: &str) -> Option<String> {
    const PHRASES: [&str; 6] = [
        "all real numbers except",
        "all reals except",
        "all real x except",
        "all real numbers x except",
        "all x except",
        "all real values except",
    ];
    let text = s.strip_prefix("\\text{").unwrap_or(s);
    let lower = text.get(..text.len().min(40).min(text.floor_char_boundary(40)))?.to_ascii_lowercase();
    let phrase = PHRASES.iter().find(|phrase| lower.starts_with(**phrase))?;
    let rest = text[phrase.len()..].trim_start().trim_start_matches("for ").trim_start_matches('}').trim_start();
    (!rest.is_empty()).then(|| format!("x \\ne {rest}"))
}

/// Where a remark on the variables begins: `… , where k is an integer`, `(k ∈ ℤ)`, `for all real x`.
fn remark(s: &str) -> Option<usize> {
    parenthesised_domain(s).or_else(|| parenthesised_words(s)).or_else(|| {
        const MARKS: [&str; 9] = ["where", "for all", "for any", "for every", "for some", "for each", "with", "其中", "for "];
        const DOMAINS: [&str; 11] =
            ["integer", "整数", "\\in", "natural", "real", "constant", "常数", "positive", "\\mathbb", "\\ge", "all"];
        let at = MARKS.iter().filter_map(|mark| find_word(s, mark)).min()?;
        let tail = &s[at..];
        if tail.len() > 200 || !DOMAINS.iter().any(|domain| tail.contains(domain)) {
            return None;
        }
        // A style command around the words opens before them.
        let head = s[..at].trim_end_matches([' ', ',', '(', '~', '\\', ':', ';']);
        let head = ["\\text{", "\\quad\\text{", "\\mathrm{", "\\mbox{", "\\textrm{"]
            .iter()
            .find_map(|open| head.strip_suffix(open))
            .unwrap_or(head);
        let head = head.trim_end_matches("\\quad").trim_end_matches([' ', ',', '(', '~', '\\', ':', ';']);
        (!head.is_empty() && !head.ends_with("\\text") && head.matches('{').count() == head.matches('}').count()).then_some(head.len())
    })
}

/// A word or Chinese sign at a word's beginning, after something.
fn find_word(s: &str, mark: &str) -> Option<usize> {
    s.match_indices(mark).map(|(at, _)| at).find(|&at| {
        let before = s[..at].chars().next_back();
        let after = s[at + mark.len()..].chars().next();
        before.is_some_and(|c| matches!(c, ' ' | ',' | '{' | '(' | ':' | '~' | ';') || !mark.is_ascii())
            && (mark.ends_with(' ') || !mark.is_ascii() || after.is_none_or(|c| !c.is_alphanumeric()))
    })
}

/// `42 (approximately)`: words in brackets after a value.
fn parenthesised_words(s: &str) -> Option<usize> {
    let (head, inside) = s.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
    let words = inside.split(' ').all(|word| word.chars().all(|c| c.is_alphabetic() || matches!(c, '.' | ',')))
        && inside.split(' ').any(|w| w.len() >= 5);
    (words && !inside.contains("mod") && head.contains(|c: char| c.is_ascii_digit())).then(|| head.trim_end().len())
}

/// `… (k \in \mathbb{Z})` at the end.
fn parenthesised_domain(s: &str) -> Option<usize> {
    let body = s.trim_end().strip_suffix(')')?;
    let open = body.rfind('(')?;
    let inside = &body[open + 1..];
    let (variable, set) = inside.split_once("\\in")?;
    let names = variable.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | ',' | '_'));
    let domain = set.trim_start_matches([' ', '{']).starts_with(['Z', 'N', 'R', 'Q', '\\']);
    let head = s[..open].trim_end().trim_end_matches("\\left").trim_end();
    (names && domain && !head.is_empty() && !head.ends_with(['=', '+', '-', '^', '_', '*', '/'])).then_some(head.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_mended_and_right_text_is_left_alone() {
        assert_eq!(repaired("\\\\frac{1}{2}"), "\\frac{1}{2}");
        assert_eq!(repaired("frac{1}{sqrt{2}}"), "\\frac{1}{\\sqrt{2}}");
        assert_eq!(repaired("1000 (or 10^3)"), "1000 = 10^3");
        assert_eq!(repaired("k\\pi, \\text{ where } k \\text{ is an integer}"), "k\\pi");
        assert_eq!(repaired("2k\\pi (k\\in \\mathbb{Z})"), "2k\\pi");
        for right in ["\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\frac{1}{2}", "x(x+1)", "(1,2)", "\\text{for}"] {
            assert!(matches!(repaired(right), Cow::Borrowed(_)), "{right}");
        }
    }

    #[test]
    fn a_form_feed_is_the_f_of_frac() {
        assert_eq!(control_characters("\u{8}oxed{\u{c}rac{1}{2}}"), "\\boxed{\\frac{1}{2}}");
        assert_eq!(control_characters("a\tb"), "a\tb");
    }
}
