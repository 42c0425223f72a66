//! The string before the lexer: Unicode to LaTeX, delimiters and Markdown off, wrappers open.

use std::borrow::Cow;

use super::repair::repaired;

/// LaTeX or ASCII for mathematical characters outside ASCII.
const LATEX: &[(char, &str)] = &[
    ('−', "-"),
    ('–', "-"),
    ('—', "-"),
    ('‐', "-"),
    ('‑', "-"),
    ('‒', "-"),
    ('﹣', "-"),
    ('－', "-"),
    ('＋', "+"),
    ('×', "\\times "),
    ('✕', "\\times "),
    ('⨯', "\\times "),
    ('·', "\\cdot "),
    ('⋅', "\\cdot "),
    ('∙', "\\cdot "),
    ('•', "\\cdot "),
    ('÷', "\\div "),
    ('√', "\\sqrt "),
    ('∛', "\\sqrt[3] "),
    ('∞', "\\infty "),
    ('≤', "\\le "),
    ('⩽', "\\le "),
    ('≦', "\\le "),
    ('≥', "\\ge "),
    ('⩾', "\\ge "),
    ('≧', "\\ge "),
    ('≠', "\\ne "),
    ('≈', "\\approx "),
    ('≅', "\\approx "),
    ('≃', "\\approx "),
    ('∪', "\\cup "),
    ('∩', "\\cap "),
    ('∈', "\\in "),
    ('∅', "\\emptyset "),
    ('Ø', "\\emptyset "),
    ('⌀', "\\emptyset "),
    ('∖', "\\setminus "),
    ('±', "\\pm "),
    ('∓', "\\mp "),
    ('°', "\\degree "),
    ('˚', "\\degree "),
    ('º', "\\degree "),
    ('℃', "\\degree C"),
    ('℉', "\\degree F"),
    ('∠', "\\angle "),
    ('△', "\\triangle "),
    ('…', "\\ldots "),
    ('⋯', "\\ldots "),
    ('⟨', "\\langle "),
    ('〈', "\\langle "),
    ('⟩', "\\rangle "),
    ('〉', "\\rangle "),
    ('⌊', "\\lfloor "),
    ('⌋', "\\rfloor "),
    ('⌈', "\\lceil "),
    ('⌉', "\\rceil "),
    ('ℝ', "\\mathbb{R} "),
    ('ℤ', "\\mathbb{Z} "),
    ('ℕ', "\\mathbb{N} "),
    ('ℚ', "\\mathbb{Q} "),
    ('ℂ', "\\mathbb{C} "),
    ('½', "\\frac{1}{2}"),
    ('⅓', "\\frac{1}{3}"),
    ('⅔', "\\frac{2}{3}"),
    ('¼', "\\frac{1}{4}"),
    ('¾', "\\frac{3}{4}"),
    ('⅕', "\\frac{1}{5}"),
    ('⅛', "\\frac{1}{8}"),
    ('⅜', "\\frac{3}{8}"),
    ('⅝', "\\frac{5}{8}"),
    ('⅞', "\\frac{7}{8}"),
    ('α', "\\alpha "),
    ('β', "\\beta "),
    ('γ', "\\gamma "),
    ('δ', "\\delta "),
    ('ε', "\\epsilon "),
    ('θ', "\\theta "),
    ('λ', "\\lambda "),
    ('μ', "\\mu "),
    ('µ', "\\mu "),
    ('ν', "\\nu "),
    ('π', "\\pi "),
    ('𝜋', "\\pi "),
    ('𝛑', "\\pi "),
    ('ρ', "\\rho "),
    ('σ', "\\sigma "),
    ('τ', "\\tau "),
    ('φ', "\\phi "),
    ('ϕ', "\\phi "),
    ('ψ', "\\psi "),
    ('ω', "\\omega "),
    ('Ω', "\\Omega "),
    ('Δ', "\\Delta "),
    ('′', "'"),
    ('’', "'"),
    ('‘', "'"),
    ('ʹ', "'"),
    ('″', "''"),
    ('“', " "),
    ('”', " "),
    ('„', " "),
    ('「', " "),
    ('」', " "),
    ('『', " "),
    ('』', " "),
    ('（', "("),
    ('）', ")"),
    ('［', "["),
    ('【', "["),
    ('］', "]"),
    ('】', "]"),
    ('｛', "{"),
    ('｝', "}"),
    ('，', ", "),
    ('、', ", "),
    ('；', "; "),
    ('：', ":"),
    ('∶', ":"),
    ('。', ". "),
    ('！', "!"),
    ('％', "%"),
    ('＝', "="),
    ('＜', "<"),
    ('＞', ">"),
    ('／', "/"),
    ('⁄', "/"),
    ('∕', "/"),
    ('＊', "*"),
    ('∗', "*"),
    ('｜', "|"),
    ('∣', "|"),
    ('￥', "¥"),
    ('¢', "\\text{ cents}"),
    ('\u{a0}', " "),
    ('\u{2009}', " "),
    ('\u{200a}', " "),
    ('\u{202f}', " "),
    ('\u{2002}', " "),
    ('\u{2003}', " "),
    ('\u{3000}', " "),
    ('\u{2005}', " "),
    ('\u{200b}', ""),
    ('\u{2061}', ""),
    ('\u{2062}', ""),
    ('\u{feff}', ""),
    ('\u{200e}', ""),
    ('\u{2060}', ""),
];

fn latex_of(c: char) -> Option<&'static str> {
    LATEX.iter().find(|(sign, _)| *sign == c).map(|(_, text)| *text)
}

fn superscript(c: char) -> Option<char> {
    const SUP: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ";
    SUP.chars().position(|s| s == c).and_then(|i| "0123456789+-n".chars().nth(i))
}

fn subscript(c: char) -> Option<char> {
    const SUB: &str = "₀₁₂₃₄₅₆₇₈₉₊₋ₙ";
    SUB.chars().position(|s| s == c).and_then(|i| "0123456789+-n".chars().nth(i))
}

/// Replaces mathematical Unicode by LaTeX or ASCII; borrows when there is nothing to do.
fn to_latex(s: &str) -> Cow<'_, str> {
    if s.is_ascii() {
        return Cow::Borrowed(s);
    }
    let mut out = String::with_capacity(s.len() + 16);
    let mut chars = s.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_ascii() {
            out.push(c);
        } else if let Some(t) = latex_of(c) {
            out.push_str(t);
        } else if let Some(d) = superscript(c) {
            push_script(&mut out, '^', d, &mut chars, superscript);
        } else if let Some(d) = subscript(c) {
            push_script(&mut out, '_', d, &mut chars, subscript);
        } else if ('０'..='９').contains(&c) || ('Ａ'..='Ｚ').contains(&c) || ('ａ'..='ｚ').contains(&c) {
            out.push(char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn push_script(
    out: &mut String,
    mark: char,
    first: char,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    digit: fn(char) -> Option<char>,
) {
    out.push(mark);
    out.push('{');
    out.push(first);
    while let Some(d) = chars.peek().copied().and_then(digit) {
        out.push(d);
        chars.next();
    }
    out.push('}');
}

/// The index just after the brace that closes the one at `open`; `None` when it never closes.
pub(super) fn closing_brace(s: &str, open: usize) -> Option<usize> {
    let bytes = s.as_bytes();
    let mut depth = 0usize;
    let mut i = open;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// The inside of `s` when all of it is one `\command{…}` group of the given command.
fn inside<'a>(s: &'a str, command: &str) -> Option<&'a str> {
    let rest = s.strip_prefix(command)?;
    let open = s.len() - rest.trim_start().len();
    (s.as_bytes().get(open) == Some(&b'{') && closing_brace(s, open) == Some(s.len())).then(|| &s[open + 1..s.len() - 1])
}

/// Takes one layer of wrapping off (`$…$`, `\(…\)`, `\boxed{…}`, `**…**`, a final full stop); `None` when there is none.
fn unwrap_once(s: &str) -> Option<&str> {
    const PAIRS: &[(&str, &str)] =
        &[("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("__", "__"), ("```", "```"), ("`", "`"), ("\"", "\"")];
    for (open, close) in PAIRS {
        if let Some(inner) = s.strip_prefix(open).and_then(|r| r.strip_suffix(close))
            && (!inner.contains(open) || *open == "**" && powers_only(inner))
            && !inner.ends_with('\\')
        {
            return Some(inner);
        }
    }
    for command in ["\\boxed", "\\fbox", "\\displaystyle", "\\mathbf", "\\boldsymbol", "\\bm", "\\textbf", "\\underline", "\\ensuremath"] {
        if let Some(inner) = inside(s, command) {
            // A bold single letter is a vector's name, not emphasis.
            if inner.len() > 1 || !command.starts_with("\\m") {
                return Some(inner);
            }
        }
    }
    if let Some(rest) = s.strip_suffix(['.', ',', ';'])
        && !rest.ends_with(['.', '\\'])
        && !rest.ends_with("\\right")
        && !rest.is_empty()
    {
        return Some(rest);
    }
    for space in ["\\ ", "\\,", "\\;", "\\!", "\\quad", "\\qquad", "\\\\", "~"] {
        if let Some(rest) = s.strip_suffix(space).or_else(|| s.strip_prefix(space)) {
            return Some(rest);
        }
    }
    None
}

/// Whether every `**` stands between operands: `3**(1/3)` inside emphasis.
fn powers_only(s: &str) -> bool {
    s.match_indices("**").all(|(at, _)| {
        s[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == ')')
            && s[at + 2..].starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '(' | '-'))
    })
}

/// The answer without the sign that announces it: `∴ 42`, `=> 42`.
fn without_arrow(s: &str) -> &str {
    const ARROWS: [&str; 12] =
        ["=>", "->", "-->", "==>", "⇒", "→", "∴", "\\therefore", "\\Rightarrow", "\\implies", "\\Longrightarrow", "\\rightarrow"];
    // "approximately 15", where the value follows at once.
    const ABOUT: [&str; 10] =
        ["approximately ", "Approximately ", "about ", "About ", "roughly ", "around ", "approx. ", "exactly ", "大约", "约"];
    let about = ABOUT.iter().find_map(|word| s.strip_prefix(word)).map(str::trim_start);
    if let Some(value) = about.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '$' | '\\' | '-' | '.'))) {
        return value;
    }
    let rest = ARROWS.iter().filter_map(|arrow| s.strip_prefix(arrow)).min_by_key(|rest| rest.len());
    rest.map(str::trim_start).filter(|rest| !rest.is_empty()).unwrap_or(s)
}

/// The answer as the lexer takes it.
pub(super) fn clean(raw: &str) -> String {
    let text = to_latex(raw);
    let mut s = text.trim();
    while let Some(inner) = unwrap_once(s) {
        s = inner.trim();
    }
    let mut out = without_arrow(s).to_owned();
    if out.ends_with("\\right") {
        // The full stop of `\right.` is no end of a sentence.
        out.push('.');
    }
    for (from, to) in [("\\$", "\\dollar "), ("\\(", " "), ("\\)", " "), ("\\[", " "), ("\\]", " "), ("**", " ")] {
        // `\\[2pt]` is a row break with a skip, `2**3` a power.
        let skip = (from.starts_with("\\[") || from.starts_with("\\]")) && out.contains("\\\\[");
        let power = from == "**" && !out.starts_with("**") && !out.ends_with("**") && !out.contains(" **");
        if !skip && !power && out.contains(from) {
            out = out.replace(from, to);
        } else if power && out.contains("**") {
            out = out.replace("**", "^");
        }
    }
    if out.contains('$') {
        // Pairs are math delimiters; a lone sign is money.
        let lone = out.matches('$').count() % 2 == 1;
        out = out.replace('$', if lone { "\\dollar " } else { " " });
    }
    match repaired(&out) {
        Cow::Owned(mended) => mended,
        Cow::Borrowed(_) => out,
    }
}

/// The text that structural equality compares: no spaces, sizing or style, one spelling per command.
pub(super) fn canonical(cleaned: &str) -> String {
    let mut out = String::with_capacity(cleaned.len());
    let mut rest = cleaned;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix('\\') {
            let name_len = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            if name_len == 0 {
                let c = after.chars().next().unwrap_or(' ');
                if !matches!(c, ',' | ';' | ':' | '!' | ' ') {
                    out.push('\\');
                    out.push(c);
                }
                rest = after.get(c.len_utf8()..).unwrap_or("");
                continue;
            }
            let name = &after[..name_len];
            match name {
                "left" | "right" | "displaystyle" | "limits" | "quad" | "qquad" | "big" | "Big" | "bigg" => {}
                "dfrac" | "tfrac" | "cfrac" => out.push_str("\\frac"),
                "leq" => out.push_str("\\le"),
                "geq" => out.push_str("\\ge"),
                "neq" => out.push_str("\\ne"),
                "degree" | "dollar" => {
                    out.push('\\');
                    out.push_str(name);
                }
                _ => {
                    out.push('\\');
                    out.push_str(name);
                    // Keep a separator, so that `\pi r` and `\pir` stay different.
                    out.push(' ');
                }
            }
            rest = &after[name_len..];
            continue;
        }
        if !c.is_whitespace() {
            out.push(c);
        } else if out.ends_with(|c: char| c.is_ascii_digit()) && rest.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
            // `1 3/7` is not `13/7`.
            out.push(' ');
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}
