//! What names mean: commands, functions, letters, number sets, and which letter runs are words.

use std::borrow::Cow;

use super::ast::{Const, Func, Rel};
use super::lexer::{Delim, Tok};
use super::units;

/// The function of a name, in LaTeX or plain text.
pub(super) fn function<'a>(name: &str) -> Option<Tok<'a>> {
    Some(Tok::Func(match name {
        "sin" | "Sin" => Func::Sin,
        "cos" | "Cos" => Func::Cos,
        "tan" | "Tan" | "tg" => Func::Tan,
        "cot" | "ctg" => Func::Cot,
        "sec" => Func::Sec,
        "csc" | "cosec" => Func::Csc,
        "arcsin" | "asin" => Func::Asin,
        "arccos" | "acos" => Func::Acos,
        "arctan" | "atan" | "arctg" => Func::Atan,
        "arccot" | "acot" => Func::Acot,
        "sinh" | "sh" => Func::Sinh,
        "cosh" | "ch" => Func::Cosh,
        "tanh" | "th" => Func::Tanh,
        "arcsinh" | "asinh" | "arsinh" => Func::Asinh,
        "arccosh" | "acosh" | "arcosh" => Func::Acosh,
        "arctanh" | "atanh" | "artanh" => Func::Atanh,
        "ln" | "Ln" => Func::Ln,
        "log" | "Log" => Func::LogBare,
        "lg" => Func::LogBare,
        "exp" => Func::Exp,
        "abs" | "Abs" => Func::Abs,
        "floor" => Func::Floor,
        "ceil" | "ceiling" => Func::Ceil,
        "factorial" => Func::Factorial,
        "binomial" | "binom" => Func::Binom,
        "gcd" => Func::Gcd,
        "lcm" => Func::Lcm,
        "max" | "Max" => Func::Max,
        "min" | "Min" => Func::Min,
        "cis" => Func::Cis,
        "arg" | "Arg" => Func::Arg,
        "Re" => Func::Re,
        "Im" => Func::Im,
        "conj" => Func::Conj,
        "sqrt" => return Some(Tok::Sqrt),
        _ => return None,
    }))
}

/// The set a blackboard letter names.
pub(super) fn number_set(name: &str) -> Option<Const> {
    Some(match name {
        "R" => Const::Reals,
        "Z" => Const::Integers,
        "N" => Const::Naturals,
        "Q" => Const::Rationals,
        "C" => Const::Complexes,
        _ => return None,
    })
}

/// Commands that only set space or size.
pub(super) fn is_spacing(name: &str) -> bool {
    matches!(
        name,
        "quad"
            | "qquad"
            | "displaystyle"
            | "textstyle"
            | "limits"
            | "nolimits"
            | "big"
            | "Big"
            | "bigg"
            | "Bigg"
            | "bigl"
            | "bigr"
            | "Bigl"
            | "Bigr"
            | "biggl"
            | "biggr"
            | "Biggl"
            | "Biggr"
            | "thinspace"
            | "enspace"
            | "hfill"
            | "hline"
            | "rm"
            | "scriptstyle"
            | "nonumber"
            | "par"
            | "newline"
            | "centering"
            | "normalsize"
            | "large"
            | "Large"
            | "small"
            | "mathstrut"
            | "strut"
            | "allowbreak"
            | "space"
            | "medspace"
            | "noindent"
    )
}

const GREEK: &[&str] = &[
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "hbar",
    "nabla",
    "partial",
    "aleph",
];

fn greek<'a>(name: &str) -> Option<Tok<'a>> {
    let name = match name {
        "varepsilon" => "epsilon",
        "vartheta" => "theta",
        "varphi" => "phi",
        other => other,
    };
    GREEK.iter().find(|g| **g == name).map(|g| Tok::Name(Cow::Borrowed(*g)))
}

/// The token of a LaTeX command without argument.
pub(super) fn command(name: &str) -> Option<Tok<'static>> {
    if let Some(tok) = function(name).filter(|_| name != "binom") {
        return Some(tok);
    }
    Some(match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" | "sfrac" | "nicefrac" | "flatfrac" => Tok::Frac,
        "surd" => Tok::Sqrt,
        "binom" | "dbinom" | "tbinom" => Tok::Binom,
        "sum" => Tok::Big("sum"),
        "prod" => Tok::Big("prod"),
        "int" => Tok::Big("int"),
        "iint" => Tok::Big("iint"),
        "oint" => Tok::Big("oint"),
        "lim" => Tok::Big("lim"),
        "det" => Tok::Big("det"),
        "lVert" | "rVert" | "Vert" => Tok::Norm,
        "to" | "rightarrow" => Tok::Rel(Rel::To),
        "choose" => Tok::Choose,
        "over" => Tok::Over,
        "pi" | "Pi" => Tok::Const(Const::Pi),
        "infty" | "infin" => Tok::Const(Const::Infinity),
        "imath" => Tok::Const(Const::I),
        "emptyset" | "varnothing" | "O" => Tok::Const(Const::Empty),
        "cdot" | "times" | "ast" | "bullet" => Tok::Op('*'),
        "div" => Tok::Op('/'),
        "colon" => Tok::Op(':'),
        "prime" => Tok::Op('\''),
        "pm" => Tok::PlusMinus(true),
        "mp" => Tok::PlusMinus(false),
        "le" | "leq" | "leqslant" | "leqq" => Tok::Rel(Rel::Le),
        "ge" | "geq" | "geqslant" | "geqq" => Tok::Rel(Rel::Ge),
        "lt" => Tok::Rel(Rel::Lt),
        "gt" => Tok::Rel(Rel::Gt),
        "ne" | "neq" | "not" => Tok::Rel(Rel::Ne),
        "in" => Tok::Rel(Rel::In),
        "approx" | "simeq" | "cong" | "doteq" | "sim" => Tok::Rel(Rel::Approx),
        "equiv" => Tok::Rel(Rel::Eq),
        "cup" | "bigcup" => Tok::Union,
        "cap" | "bigcap" => Tok::Inter,
        "setminus" | "backslash" | "smallsetminus" => Tok::SetMinus,
        "lor" | "vee" => Tok::Or,
        "land" | "wedge" => Tok::And,
        "vert" => Tok::Bar,
        "mid" => Tok::Mid,
        "circ" | "degree" => Tok::Degree,
        "dollar" => Tok::Currency("usd"),
        "pounds" => Tok::Currency("gbp"),
        "euro" => Tok::Currency("eur"),
        "pmod" | "mod" | "bmod" | "pod" => Tok::Mod,
        "ldots" | "dots" | "cdots" | "dotsc" | "vdots" | "ddots" => Tok::Name("…".into()),
        "angle" | "measuredangle" | "triangle" | "odot" | "square" | "top" | "bot" | "perp" | "star" => {
            Tok::Name(Cow::Owned(format!("{name} ")))
        }
        "Re" => Tok::Func(Func::Re),
        "Im" => Tok::Func(Func::Im),
        _ => return delimiter(name).or_else(|| greek(name)),
    })
}

/// Brackets by name.
fn delimiter(name: &str) -> Option<Tok<'static>> {
    Some(match name {
        "lbrace" => Tok::Open(Delim::SetBrace),
        "rbrace" => Tok::Close(Delim::SetBrace),
        "langle" => Tok::Open(Delim::Angle),
        "rangle" => Tok::Close(Delim::Angle),
        "lfloor" => Tok::Open(Delim::Floor),
        "rfloor" => Tok::Close(Delim::Floor),
        "lceil" => Tok::Open(Delim::Ceil),
        "rceil" => Tok::Close(Delim::Ceil),
        "lvert" => Tok::Open(Delim::Abs),
        "rvert" => Tok::Close(Delim::Abs),
        "lbrack" => Tok::Open(Delim::Bracket),
        "rbrack" => Tok::Close(Delim::Bracket),
        "lparen" => Tok::Open(Delim::Paren),
        "rparen" => Tok::Close(Delim::Paren),
        _ => return None,
    })
}

/// A letter standing for itself: a constant or a variable.
pub(super) fn letter<'a>(c: char, slice: &'a str) -> Tok<'a> {
    match c {
        'e' => Tok::Const(Const::E),
        'i' => Tok::Const(Const::I),
        'π' => Tok::Const(Const::Pi),
        _ => Tok::Name(Cow::Borrowed(slice)),
    }
}

/// The token of a whole letter run that is a keyword; `rest` starts with the run.
pub(super) fn plain<'a>(run: &'a str, text_mode: bool, rest: &'a str) -> Option<Tok<'a>> {
    let after = rest[run.len()..].trim_start();
    Some(match run {
        "and" | "And" | "AND" | "和" | "与" | "et" | "及" => Tok::And,
        "or" | "Or" | "OR" | "或" | "或者" | "ou" => Tok::Or,
        "pi" | "Pi" | "PI" => Tok::Const(Const::Pi),
        "inf" | "infty" | "infinity" | "Infinity" | "oo" | "Inf" | "无穷" | "无穷大" => Tok::Const(Const::Infinity),
        "union" | "cup" => Tok::Union,
        "intersect" | "cap" => Tok::Inter,
        "degree" | "degrees" | "deg" | "Degrees" | "度" | "degrés" => Tok::Degree,
        "minus" | "negative" if !text_mode => Tok::Op('-'),
        "plus" if !text_mode => Tok::Op('+'),
        "percent" | "percents" | "pct" | "Percent" | "pourcent" => Tok::Percent,
        "mod" | "modulo" => Tok::Mod,
        "times" if !text_mode => Tok::Op('*'),
        "in" if after.starts_with(['(', '[', '\\']) && !text_mode => Tok::Rel(Rel::In),
        "emptyset" => Tok::Const(Const::Empty),
        "U" if after.starts_with(['(', '[', '{']) && !text_mode => Tok::Union,
        "min" if !after.starts_with(['(', '{', '\\']) => return Some(Tok::Word(run, text_mode)),
        "i" | "e" if text_mode => return None,
        _ => {
            if let Some(tok) = function(run).filter(|t| !matches!(t, Tok::Func(Func::Sinh | Func::Cosh | Func::Tanh)) || run.len() > 2) {
                return Some(tok);
            }
            if run.len() < 2 || text_mode { return None } else { return greek(run) }
        }
    })
}

/// Short words of running text that are not products of letters.
const SHORT_WORDS: &[&str] = &[
    "no", "No", "NO", "yes", "Yes", "YES", "the", "The", "is", "of", "to", "at", "by", "as", "be", "if", "all", "All", "any", "one", "two",
    "six", "ten", "One", "Two", "Six", "Ten", "odd", "Odd", "DNE", "dne", "for", "are", "per", "not", "it", "an", "in", "on", "so", "day",
    "cat", "dog", "red", "Red", "her", "his", "who", "non", "oui", "Oui", "Non", "un", "une", "le", "la", "les", "est", "Tom", "Ann",
    "Bob", "Sue", "Ben", "Sam", "Joe", "Amy", "Max", "May", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr",
    "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "win", "SSS", "SAS", "ASA", "AAS", "USD", "usd", "Rs", "EUR", "GBP", "RMB", "CNY",
];

/// Whether at least two words of running text stand in `src`.
pub(super) fn is_prose(src: &str) -> bool {
    let word = |w: &&str| w.len() >= 2 && w.bytes().all(|b| b.is_ascii_alphabetic()) && plain(w, false, w).is_none() && !units::is_unit(w);
    // Beside an operator letters are factors: `ab + bc + ca`.
    let operator = |w: &str| matches!(w, "+" | "-" | "=" | "*" | "/" | "<" | ">" | "^" | "\\cdot" | "\\times" | "\\le" | "\\ge");
    let (mut count, mut after_operator) = (0, false);
    let mut words = src.split(' ').filter(|w| !w.is_empty()).peekable();
    while let Some(w) = words.next() {
        let factor = after_operator || words.peek().is_some_and(|next| operator(next));
        after_operator = operator(w);
        count += usize::from(!factor && word(&w.trim_matches([',', '.', ';', ':'])));
    }
    count >= 2
}

/// Whether a letter run is a word rather than a product of variables.
///
/// `solo`: space or punctuation on both sides; `after_number`: it may be a unit.
pub(super) fn is_word(run: &str, solo: bool, after_number: bool) -> bool {
    if !run.is_ascii() {
        return true;
    }
    if run.len() == 1 {
        return false;
    }
    if run.len() >= 4 {
        return !run.bytes().all(|b| b == run.as_bytes()[0]) && (solo || run.len() >= 5 || after_number || units::is_unit(run));
    }
    if after_number && units::is_unit(run) {
        return true;
    }
    solo && SHORT_WORDS.contains(&run)
}
