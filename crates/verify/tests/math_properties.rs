//! Properties of the math verifier: equal under rewriting, different under mutation, total on arbitrary text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use potstill_verify::math::{MathPolicy, compare};
use potstill_verify::{Case, Verdict, VerifyOptions, verifier};
use proptest::prelude::*;

fn verdict(gold: &str, prediction: &str) -> Verdict {
    compare(gold, prediction, "", &MathPolicy::default()).verdict
}

/// An expression in x and y as a tree, so that it can be written in several ways.
#[derive(Clone, Debug)]
enum Tree {
    Int(i32),
    Var(char),
    Add(Box<Tree>, Box<Tree>),
    Sub(Box<Tree>, Box<Tree>),
    Mul(Box<Tree>, Box<Tree>),
    Square(Box<Tree>),
    Root(u32),
}

impl Tree {
    fn latex(&self) -> String {
        match self {
            Self::Int(n) if *n < 0 => format!("({n})"),
            Self::Int(n) => n.to_string(),
            Self::Var(c) => c.to_string(),
            Self::Add(a, b) => format!("\\left({}+{}\\right)", a.latex(), b.latex()),
            Self::Sub(a, b) => format!("\\left({}-{}\\right)", a.latex(), b.latex()),
            Self::Mul(a, b) => format!("{} \\cdot {}", a.latex(), b.latex()),
            Self::Square(a) => format!("\\left({}\\right)^{{2}}", a.latex()),
            Self::Root(n) => format!("\\sqrt{{{n}}}"),
        }
    }

    /// The same value written otherwise: sides exchanged, differences and squares spelt out, plain text.
    fn rewritten(&self) -> String {
        match self {
            Self::Int(n) => format!("({}-1)", i64::from(*n) + 1),
            Self::Var(c) => format!("(2*{c}-{c})"),
            Self::Add(a, b) => format!("({}+{})", b.rewritten(), a.rewritten()),
            Self::Sub(a, b) => format!("(-({})+{})", b.rewritten(), a.rewritten()),
            Self::Mul(a, b) => format!("({})*({})", b.rewritten(), a.rewritten()),
            Self::Square(a) => format!("({0})*({0})", a.rewritten()),
            Self::Root(n) => format!("(sqrt({}))/3", 9 * n),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (-20i32..100).prop_map(Tree::Int),
        prop::sample::select(vec!['x', 'y']).prop_map(Tree::Var),
        (2u32..40).prop_map(Tree::Root)
    ];
    leaf.prop_recursive(4, 20, 2, |inner| {
        let pair = (inner.clone().prop_map(Box::new), inner.clone().prop_map(Box::new));
        prop_oneof![
            pair.clone().prop_map(|(a, b)| Tree::Add(a, b)),
            pair.clone().prop_map(|(a, b)| Tree::Sub(a, b)),
            pair.prop_map(|(a, b)| Tree::Mul(a, b)),
            inner.prop_map(|a| Tree::Square(Box::new(a))),
        ]
    })
}

/// Pieces of mathematical text, so that random strings reach deep into the parser.
fn soup() -> impl Strategy<Value = String> {
    let pieces = vec![
        "1",
        "23",
        "4.5",
        "x",
        "y",
        "i",
        "e",
        "\\pi",
        "\\frac",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "^",
        "_",
        "+",
        "-",
        "*",
        "/",
        "!",
        "%",
        "°",
        "\\sqrt",
        "\\sin",
        "\\log_",
        " ",
        ",",
        ";",
        "=",
        "<",
        "\\le",
        "\\in",
        "\\cup",
        "\\pm",
        "\\text{",
        "cm",
        " and ",
        " or ",
        "\\begin{pmatrix}",
        "&",
        "\\\\",
        "\\end{pmatrix}",
        "|",
        "\\left",
        "\\right",
        "\\infty",
        "\\binom",
        "\\boxed{",
        "$",
        "\\",
        "é",
        "十",
        "1e9",
        "10^{10^{10}}",
        ":",
        "'",
        "...",
        "p.m.",
        "\\over",
        "²",
        "½",
        "**",
        "####",
        "<answer>",
        "</think>",
        "\u{0}",
        "\u{2061}",
        "👍",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|v| v.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn rewriting_keeps_the_verdict(t in tree()) {
        prop_assert_eq!(verdict(&t.latex(), &t.rewritten()), Verdict::Correct, "{} {}", t.latex(), t.rewritten());
        prop_assert_eq!(verdict(&t.rewritten(), &t.latex()), Verdict::Correct);
    }

    #[test]
    fn a_changed_constant_changes_the_verdict(t in tree(), by in 1i32..50) {
        prop_assert_eq!(verdict(&t.latex(), &format!("{}+{by}", t.latex())), Verdict::Incorrect);
        prop_assert_eq!(verdict(&t.latex(), &format!("{}+\\frac{{1}}{{10^{{30}}}}", t.latex())), Verdict::Incorrect);
    }

    #[test]
    fn rationals_compare_exactly(a in -10_000i64..10_000, b in 1i64..10_000, c in -10_000i64..10_000, d in 1i64..10_000) {
        let equal = a * d == c * b;
        prop_assert_eq!(verdict(&format!("\\frac{{{a}}}{{{b}}}"), &format!("{c}/{d}")) == Verdict::Correct, equal);
        prop_assert_eq!(verdict(&format!("{a}/{b}"), &format!("\\dfrac{{{}}}{{{}}}", a * 7, b * 7)), Verdict::Correct);
    }

    #[test]
    fn integers_in_groups_of_three_are_themselves(n in 0i64..2_000_000_000) {
        let digits = n.to_string();
        let grouped: String = digits.chars().rev().collect::<Vec<_>>().chunks(3).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join(",").chars().rev().collect();
        for written in [grouped.clone(), grouped.replace(',', "{,}"), grouped.replace(',', "\\,"), grouped.replace(',', ",\\!"), grouped.replace(',', " ")] {
            prop_assert_eq!(verdict(&digits, &written), Verdict::Correct, "{}", written);
        }
        prop_assert_eq!(verdict(&digits, &(n + 1).to_string()), Verdict::Incorrect);
    }

    #[test]
    fn sets_have_no_order_and_tuples_have(mut v in prop::collection::vec(-99i32..99, 2..6)) {
        v.dedup();
        let join = |v: &[i32]| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut back = v.clone();
        back.reverse();
        let unordered = verdict(&format!("\\{{{}\\}}", join(&v)), &format!("\\{{{}\\}}", join(&back)));
        prop_assert_eq!(unordered, Verdict::Correct);
        let ordered = verdict(&format!("({})", join(&v)), &format!("({})", join(&back)));
        prop_assert_eq!(ordered == Verdict::Correct, v == back);
    }

    #[test]
    fn any_text_is_judged_without_panic(gold in soup(), reply in soup()) {
        let math = verifier("math", &VerifyOptions::default()).unwrap();
        let case = Case { gold: Some(&gold), response: &reply, ..Case::default() };
        let first = math.verify(&case);
        prop_assert_eq!(first, math.verify(&case));
    }

    #[test]
    fn any_unicode_is_judged_without_panic(gold in any::<String>(), reply in any::<String>()) {
        let math = verifier("math", &VerifyOptions::default()).unwrap();
        math.verify(&Case { gold: Some(&gold), response: &reply, ..Case::default() });
    }
}
