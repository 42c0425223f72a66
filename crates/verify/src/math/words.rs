//! Words: numbers spelt out, answers that are words, and texts compared as texts.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;

use super::ast::{Const, Expr};

const UNITS: &[(&str, i64)] = &[
    ("zero", 0),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("dozen", 12),
    ("once", 1),
    ("twice", 2),
    ("first", 1),
    ("second", 2),
    ("third", 3),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("eleventh", 11),
    ("twelfth", 12),
    ("thirteenth", 13),
    ("twentieth", 20),
    ("un", 1),
    ("une", 1),
    ("deux", 2),
    ("trois", 3),
    ("quatre", 4),
    ("cinq", 5),
    ("sept", 7),
    ("huit", 8),
    ("neuf", 9),
    ("dix", 10),
    ("onze", 11),
    ("douze", 12),
    ("treize", 13),
    ("quatorze", 14),
    ("quinze", 15),
    ("seize", 16),
    ("vingt", 20),
    ("trente", 30),
    ("quarante", 40),
    ("cinquante", 50),
    ("soixante", 60),
    ("zéro", 0),
];

const MULTIPLIERS: &[(&str, i64)] = &[
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("cent", 100),
    ("mille", 1_000),
];

fn lookup(table: &[(&str, i64)], word: &str) -> Option<i64> {
    table.iter().find(|(w, _)| *w == word).map(|(_, v)| *v)
}

/// An integer in English, French or Chinese words, or an ordinal (`third`, `3rd`).
pub(super) fn number(text: &str) -> Option<BigInt> {
    let lower = text.trim().to_lowercase();
    let lower = lower.strip_prefix('第').map_or(lower.clone(), str::to_owned);
    if let Some(n) = chinese(lower.strip_suffix(['个', '种', '人', '次', '元', '天', '只', '条']).unwrap_or(&lower)) {
        return Some(n);
    }
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        return matches!(&lower[digits..], "st" | "nd" | "rd" | "th").then(|| lower[..digits].parse().ok()).flatten();
    }
    let (mut total, mut group, mut any, mut last) = (0i64, 0i64, false, i64::MAX);
    for word in lower.split([' ', '-']).filter(|w| !w.is_empty() && *w != "and" && *w != "et") {
        if let Some(n) = lookup(UNITS, word) {
            // "two three" is no number; "twenty three" is.
            if any && last < 20 && last != 0 || (n >= 10 && any && last < 100) {
                return None;
            }
            group += n;
            last = n;
        } else if word == "a" && !any {
            group = 1;
            last = 100;
        } else {
            let m = lookup(MULTIPLIERS, word)?;
            if m == 100 {
                group = group.max(1).checked_mul(100)?;
            } else {
                total = total.checked_add(group.max(1).checked_mul(m)?)?;
                group = 0;
            }
            last = 1000;
        }
        any = true;
    }
    (any && lower != "a").then(|| BigInt::from(total + group))
}

fn chinese(text: &str) -> Option<BigInt> {
    const DIGITS: &str = "零一二三四五六七八九";
    let (mut total, mut digit, mut any) = (0i64, 0i64, false);
    for c in text.chars() {
        if let Some(i) = DIGITS.chars().position(|d| d == c) {
            digit = i64::try_from(i).ok()?;
        } else if c == '两' {
            digit = 2;
        } else {
            let m = match c {
                '十' => 10,
                '百' => 100,
                '千' => 1_000,
                '万' => {
                    // What precedes is counted in ten thousands.
                    total = (total + digit).max(1).checked_mul(10_000)?;
                    digit = 0;
                    any = true;
                    continue;
                }
                _ => return None,
            };
            total += digit.max(1) * m;
            digit = 0;
        }
        any = true;
    }
    any.then(|| BigInt::from(total + digit))
}

/// A fraction in words: "one half", "three quarters", "two thirds".
fn fraction(text: &str) -> Option<BigRational> {
    if matches!(text, "half" | "moitié" | "一半") {
        return Some(BigRational::new(BigInt::from(1), BigInt::from(2)));
    }
    if let Some((bottom, top)) = text.split_once("分之") {
        let part = |s: &str| s.parse::<BigInt>().ok().or_else(|| chinese(s));
        let (bottom, top) = (if bottom == "百" { BigInt::from(100) } else { part(bottom)? }, part(top)?);
        return (!bottom.is_zero()).then(|| BigRational::new(top, bottom));
    }
    // "two and a third", without the article.
    if let Some((whole, rest)) = text.split_once(" and ")
        && let Some(whole) = number(whole)
        && let Some(part) = fraction(rest).or_else(|| Some(BigRational::new(BigInt::from(1), denominator(rest)?.into())))
    {
        return Some(BigRational::from_integer(whole) + part);
    }
    let (top, bottom) = text.rsplit_once([' ', '-'])?;
    let bottom = denominator(bottom)?;
    let top = if matches!(top, "a" | "an") { BigInt::from(1) } else { number(top)? };
    (!top.is_zero() && top < BigInt::from(20)).then(|| BigRational::new(top, BigInt::from(bottom)))
}

fn denominator(word: &str) -> Option<i64> {
    Some(match word.strip_suffix('s').unwrap_or(word) {
        "half" | "halve" | "demi" => 2,
        "third" | "tier" => 3,
        "quarter" | "fourth" | "quart" => 4,
        "fifth" | "cinquième" => 5,
        "sixth" | "sixième" => 6,
        "seventh" | "septième" => 7,
        "eighth" | "huitième" => 8,
        "ninth" | "neuvième" => 9,
        "tenth" | "dixième" => 10,
        ordinal if ordinal.ends_with("th") => return lookup(UNITS, ordinal),
        _ => return None,
    })
}

/// The answer of "Yes, it does." and its like: the word before the first stop.
pub(super) fn leading_verdict(cleaned: &str) -> Option<&'static str> {
    let text = ["\\text{", "\\textbf{", "**"].iter().find_map(|open| cleaned.strip_prefix(open)).unwrap_or(cleaned);
    let end = text.find(|c: char| !c.is_alphabetic())?;
    let word = match text[..end].to_lowercase().as_str() {
        "yes" | "true" | "是" | "是的" | "对" | "oui" | "vrai" => "yes",
        "no" | "false" | "否" | "不是" | "不" | "non" | "faux" => "no",
        _ => return None,
    };
    let rest = text[end..].trim_start_matches(['}', '*']);
    let said = rest.strip_prefix([',', '.', ';', ':', '!'])?.trim_start_matches([' ', '}', '*', '$']);
    (said.len() > 2 && said.contains(char::is_alphabetic)).then_some(word)
}

/// The text without LaTeX styling, case, articles and punctuation.
pub(super) fn plain_text(cleaned: &str) -> String {
    let mut out = String::with_capacity(cleaned.len());
    let mut rest = cleaned;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
                let name = &rest[..len];
                rest = &rest[len..];
                let style = name.starts_with("text")
                    || matches!(
                        name,
                        "mathrm" | "mbox" | "mathbf" | "rm" | "bf" | "operatorname" | "left" | "right" | "emph" | "boldsymbol"
                    );
                if len == 0 {
                    // `\ `, `\,`, `\%`.
                    let sign = rest.chars().next().unwrap_or(' ');
                    rest = rest.get(sign.len_utf8()..).unwrap_or("");
                    out.push(if matches!(sign, '%' | '{' | '}' | '&') { sign } else { ' ' });
                } else if !style {
                    out.push('\\');
                    out.push_str(name);
                    out.push(' ');
                }
            }
            '{' | '}' | '*' | '"' | '`' | '~' | '$' => out.push(' '),
            '.' | ',' | ';' | '!' | '?' | '(' | ')' | ':' | '-' | '\'' if !between_digits(&out, rest) => out.push(' '),
            c => out.extend(c.to_lowercase()),
        }
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    // The A of `A, C` is a choice, not an article.
    let article = |at: usize| match words[at] {
        "the" | "an" | "la" | "le" | "les" => true,
        "a" => words.get(at + 1).is_some_and(|next| next.chars().count() > 1),
        _ => false,
    };
    let kept: Vec<&str> = (0..words.len()).filter(|at| !article(*at)).map(|at| words[at]).collect();
    kept.join(" ")
}

fn between_digits(before: &str, after: &str) -> bool {
    before.ends_with(|c: char| c.is_ascii_digit()) && after.starts_with(|c: char| c.is_ascii_digit())
}

/// `15 degrees` for "fifteen degrees": a number in words and one or two words after it.
pub(super) fn counted_words(plain: &str) -> Option<String> {
    if !plain.contains(' ') || plain.len() > 80 || !plain.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-')) {
        return None;
    }
    let words: Vec<&str> = plain.split(' ').collect();
    (1..words.len()).rev().filter(|at| words.len() - at <= 2).find_map(|at| {
        let value = number(&words[..at].join(" "))?;
        Some(format!("{value} {}", words[at..].join(" ")))
    })
}

/// What an answer in words says, where it has a mathematical meaning.
pub(super) fn meaning(plain: &str) -> Option<Expr> {
    let empty = [
        "no solution",
        "no solutions",
        "no real solution",
        "no real solutions",
        "none",
        "empty set",
        "empty",
        "there is no solution",
        "there are no solutions",
        "no such number exists",
        "no such number",
        "no real roots",
        "no real root",
        "no roots",
        "no root",
        "there is no real solution",
        "there are no real solutions",
        "\\emptyset",
        "\\varnothing",
        "null set",
        "nothing",
        "no values",
        "no value",
        "no solution exists",
        "no solutions exist",
        "there exists no solution",
        "equation has no solution",
        "equation has no solutions",
        "it has no solution",
        "system has no solution",
        "no answer",
        "inconsistent",
        "无解",
        "没有解",
        "方程无解",
        "空集",
        "不存在实数解",
        "aucune solution",
        "pas de solution",
        "ensemble vide",
        "il n'y a pas de solution",
        "no integer solutions",
        "no integer solution",
        "no real number",
        "no real numbers",
        "impossible",
        "not possible",
        "∅",
    ];
    let undefined = [
        "does not exist",
        "dne",
        "undefined",
        "limit does not exist",
        "not defined",
        "不存在",
        "n'existe pas",
        "it does not exist",
        "non existent",
        "doesn t exist",
    ];
    let infinite = [
        "infinitely many",
        "infinitely many solutions",
        "infinite solutions",
        "infinite",
        "infinitely many values",
        "there are infinitely many solutions",
        "infinite number of solutions",
        "无穷多",
        "无数",
        "无穷多个",
        "无数个",
        "无穷多解",
        "infinité de solutions",
        "une infinité",
        "infinity many",
    ];
    let all_reals = [
        "all real numbers",
        "all reals",
        "all real",
        "any real number",
        "all real number",
        "every real number",
        "real numbers",
        "set of all real numbers",
        "all x",
        "全体实数",
        "一切实数",
        "任意实数",
        "所有实数",
        "tous les réels",
        "all real values",
        "all values of x",
        "always true for all real numbers",
        "reals",
        "all real x",
    ];
    let yes = ["yes", "true", "correct", "是", "是的", "对", "正确", "真", "oui", "vrai", "t", "y"];
    let no = ["no", "false", "incorrect", "否", "不是", "错", "错误", "假", "non", "faux"];
    let has = |set: &[&str]| set.contains(&plain);
    if has(&empty) {
        return Some(Expr::Const(Const::Empty));
    }
    if has(&all_reals) {
        return Some(Expr::Const(Const::Reals));
    }
    for (set, word) in [(&undefined[..], "does not exist"), (&infinite[..], "infinitely many"), (&yes[..], "yes"), (&no[..], "no")] {
        // One letter is a name unless it stands for a whole word elsewhere.
        if has(set) && plain.chars().count() > usize::from(plain.is_ascii()) {
            return Some(Expr::Text(word.into()));
        }
    }
    if let Some(q) = fraction(plain) {
        return Some(Expr::rational(q));
    }
    let sets = [
        (
            &["all integers", "integers", "set of integers", "set of all integers", "any integer", "所有整数", "全体整数"][..],
            Expr::Const(Const::Integers),
        ),
        (&["all positive integers", "positive integers", "set of positive integers", "正整数", "所有正整数"], Expr::Var("ℤ+".into())),
        (&["natural numbers", "all natural numbers", "自然数"], Expr::Const(Const::Naturals)),
        (&["rational numbers", "all rational numbers"], Expr::Const(Const::Rationals)),
        (&["all complex numbers", "complex numbers"], Expr::Const(Const::Complexes)),
    ];
    if let Some((_, set)) = sets.into_iter().find(|(names, _)| names.contains(&plain)) {
        return Some(set);
    }
    if let Some(date) = super::texts::date(plain) {
        return Some(date);
    }
    let negative = ["negative ", "minus ", "moins ", "负"].iter().find_map(|sign| plain.strip_prefix(sign));
    let value = number(negative.unwrap_or(plain))?;
    Some(Expr::rational(BigRational::from_integer(if negative.is_some() { -value } else { value })))
}
