"""Makes a bank of answer pairs of which SymPy knows by construction whether they are equal.

    python3 -m venv venv && venv/bin/pip install sympy==1.14.0
    venv/bin/python tests/reference/math_sympy_bank.py SEED bank.jsonl
    cargo run --release -p potstill-verify --example grade_bank -- bank.jsonl

Right predictions are rewritten (expanded, factored, rationalised, solved for other terms) and printed in another way; wrong
ones have one number, end, order or entry changed and are kept only where SymPy says that the value differs.
"""

import json
import random
import sys

import sympy as sp
from sympy import E, I, Rational as R, S, latex, pi, sqrt, symbols

rnd = random.Random(int(sys.argv[1]))
x, y, z, a, b, n, t = symbols("x y z a b n t")
POINT = {x: R(7, 5), y: R(11, 3), z: R(5, 7), a: R(3, 2), b: R(9, 4), n: R(13, 5), t: R(17, 9)}
PRINTERS = [
    latex, latex, latex, str,
    lambda e: latex(e, fold_short_frac=True), lambda e: latex(e, fold_func_brackets=True),
    lambda e: str(e).replace("**", "^"), lambda e: latex(e, mul_symbol="dot"), lambda e: latex(e, mul_symbol="times"),
    lambda e: latex(e, root_notation=False), lambda e: latex(e).replace("\\frac", "\\dfrac"),
]
WRAPS = ["{}", "{}", "{}", "${}$", "\\boxed{{{}}}", "The answer is ${}$.", "\\({}\\)", "So the final answer is $\\boxed{{{}}}$.",
         "Answer: ${}$", "**{}**"]
FORMS = [lambda e: e, sp.expand, sp.factor, sp.together, sp.radsimp, sp.nsimplify, sp.apart, sp.expand_log, sp.simplify, sp.cancel]
pairs = []


def show(e, wrap=True):
    text = rnd.choice(PRINTERS)(e)
    return rnd.choice(WRAPS).format(text) if wrap else text


def same(e, f):
    return sp.simplify(e - f) == 0 or abs(sp.N((e - f).subs(POINT), 30)) < 1e-20


def rewritten(e):
    for _ in range(6):
        try:
            return rnd.choice(FORMS)(e)
        except Exception:  # not every form takes every expression
            continue
    return e


def nudged(e):
    """Another value near the look of `e`."""
    numbers = sorted((k for k in e.atoms(sp.Rational) if k != 0), key=str)
    if not numbers:
        return e + 1
    k = rnd.choice(numbers)
    return e.xreplace({k: rnd.choice([k + 1, -k, 1 / k if k not in (1, -1) else k + 2, k - 1 or k + 1])})


def broken(e):
    return e.has(sp.nan, sp.zoo, sp.oo)


def values(make, count):
    made = 0
    while made < count:
        e = make()
        try:
            right = rnd.random() < 0.62
            f = rewritten(e) if right else nudged(e)
            if broken(f) or same(e, f) != right:
                continue
            pairs.append((show(e, False), show(f if right else rewritten(f)), right))
            made += 1
        except Exception:  # SymPy does not decide every difference
            continue


def number():
    r = lambda m=20: R(rnd.randint(-m, m) or 3, rnd.randint(1, 12))
    q = lambda: sqrt(rnd.choice([2, 3, 5, 6, 7, 10, 11, 15]))
    return rnd.choice([
        lambda: r(60), lambda: r() + r() * q(), lambda: (r() + q()) / (r(6) + 2 * q()), lambda: r() * pi + r(),
        lambda: r() * pi / q(), lambda: sp.cbrt(rnd.choice([2, 3, 4, 5])) * r(),
        lambda: sp.log(rnd.choice([2, 3, 5, 6])) * r() + r(), lambda: E ** r(3) * r(), lambda: r() + r() * I,
    ])()


def polynomial():
    c = lambda: rnd.randint(-6, 6)
    return rnd.choice([
        lambda: sp.prod([rnd.choice([1, 1, 2, 3]) * x + (c() or 1) for _ in range(rnd.randint(1, 3))]),
        lambda: (x + c()) ** rnd.randint(1, 3) + (c() or 2) * y, lambda: (x + y * (c() or 1)) ** 2 * (c() or 2) + z,
        lambda: sum(c() * x**i for i in range(4)) + x**4, lambda: (a + b) ** 2 - (c() or 1) * a * b,
    ])()


def rational():
    c = lambda: rnd.randint(1, 6)
    return rnd.choice([
        lambda: (x + c()) / ((x - c()) * (x + c() + 6)) + R(c(), c()), lambda: c() / (x + c()) + c() / (x - c()),
        lambda: (a * x + c()) / (b * y - c()), lambda: (x**2 - c() ** 2) / (x + c() * 3) + 1 / y,
    ])()


def transcendental():
    c = lambda: rnd.randint(1, 5)
    return rnd.choice([
        lambda: c() * sp.sin(c() * x) + sp.cos(x), lambda: sp.exp(-c() * t) * sp.cos(c() * t) * c(), lambda: sp.log(x + c()) * c(),
        lambda: sqrt(x**2 + c()) / c(), lambda: x ** R(c(), c() + 1) + c(), lambda: sp.sin(x) ** 2 * c() + c(),
        lambda: 2 ** (c() * n) + c() * n,
    ])()


def inequality(s):
    out = []
    for p in s.args if isinstance(s, sp.Union) else [s]:
        if isinstance(p, sp.FiniteSet):
            out.extend("x = " + latex(q) for q in p)
            continue
        low = "<" if p.left_open else rnd.choice(["\\le", "\\leq", "\\leqslant"])
        high = "<" if p.right_open else rnd.choice(["\\le", "\\leq"])
        if p.start == -sp.oo:
            out.append(f"x {high} {latex(p.end)}")
        elif p.end == sp.oo:
            out.append(f"{latex(p.start)} {low} x")
        else:
            out.append(f"{latex(p.start)} {low} x {high} {latex(p.end)}")
    return rnd.choice([" \\text{ or } ", " \\lor ", " or "]).join(out)


def intervals(count):
    for _ in range(count):
        v = sorted({R(rnd.randint(-9, 9), rnd.choice([1, 1, 2, 3])) for _ in range(4)})
        if len(v) < 3:
            continue
        l, r = rnd.random() < 0.5, rnd.random() < 0.5
        s = rnd.choice([
            sp.Interval(v[0], v[1], l, r), sp.Union(sp.Interval(-sp.oo, v[0], True, r), sp.Interval(v[1], sp.oo, l, True)),
            sp.Interval(v[0], sp.oo, l, True), sp.Union(sp.Interval(v[0], v[1], l, r), sp.FiniteSet(v[2])),
        ])
        if rnd.random() < 0.6:
            pairs.append((latex(s), rnd.choice([inequality(s), "x \\in " + latex(s), latex(s).replace("\\left", "").replace("\\right", "")]), True))
            continue
        others = [s.complement(S.Reals), sp.Union(s, sp.FiniteSet(v[2] + 20))]
        if isinstance(s, sp.Interval) and s.end != sp.oo:
            others.append(sp.Interval(s.start, s.end, not s.left_open, s.right_open))
        other = rnd.choice(others)
        if other not in (s, S.EmptySet):
            pairs.append((latex(s), latex(other), False))


def collections(count):
    listed = lambda v: ", ".join(latex(rewritten(q)) for q in v)
    for _ in range(count):
        v = [number() for _ in range(rnd.randint(2, 4))]
        if len(set(v)) < len(v) or any(w.has(I) for w in v):
            continue
        shuffled, other = rnd.sample(v, len(v)), v[:]
        other[rnd.randrange(len(v))] += rnd.choice([1, -1, 2])
        kind = rnd.randrange(3)
        if kind == 0:
            gold = "\\{" + listed(v) + "\\}"
            pairs.append((gold, rnd.choice(["\\left\\{" + listed(shuffled) + "\\right\\}", listed(shuffled), "x = " + listed(shuffled)]), True))
            pairs.append((gold, rnd.choice(["\\{" + listed(other) + "\\}", listed(v[:-1]), "\\{" + listed(v + [R(97)]) + "\\}"]), False))
        elif kind == 1:
            gold = "(" + listed(v) + ")"
            pairs.append((gold, rnd.choice(["\\left(" + listed(v) + "\\right)", "\\langle " + listed(v) + "\\rangle"]), True))
            if shuffled != v:
                pairs.append((gold, "\\left(" + listed(shuffled) + "\\right)", False))
        else:
            pairs.append((listed(v), rnd.choice([listed(shuffled), "\\boxed{" + listed(shuffled) + "}"]), True))
            pairs.append((listed(v), listed(other), False))


def matrices(count):
    styles = [latex, lambda q: latex(q, mat_delim="("), lambda q: latex(q, mat_str="pmatrix", mat_delim=""),
              lambda q: latex(q, mat_str="bmatrix", mat_delim=""), lambda q: latex(q, mat_str="array")]
    for _ in range(count):
        rows, columns = rnd.randint(1, 3), rnd.randint(2, 3)
        m = sp.Matrix(rows, columns, lambda *_: rnd.choice([R(rnd.randint(-5, 5), rnd.choice([1, 2])), x, sqrt(2) * rnd.randint(1, 3)]))
        if rnd.random() < 0.6:
            k = rnd.choice([1, 1, 2])
            pairs.append((rnd.choice(styles)(m), (latex(R(1, k)) + " " if k > 1 else "") + rnd.choice(styles)(m * k), True))
            continue
        other = m.copy()
        other[rnd.randrange(rows), rnd.randrange(columns)] += rnd.choice([1, -2])
        other = rnd.choice([other, m.T])
        if other != m:
            pairs.append((rnd.choice(styles)(m), rnd.choice(styles)(other), False))


def equations(count):
    for _ in range(count):
        e = polynomial()
        e = sp.expand(e if e.has(y) else e - y * rnd.choice([1, 2, 3]))
        if rnd.random() < 0.6:
            terms = rnd.sample(list(sp.Add.make_args(e)), len(sp.Add.make_args(e)))
            k, c = rnd.randint(0, len(terms) - 1), rnd.choice([2, -1, 3, R(1, 2)])
            left, right = sp.expand(c * sum(terms[:k])), sp.expand(-c * sum(terms[k:]))
            pairs.append((latex(e) + " = 0", f"{latex(left)} = {latex(right)}", True))
        else:
            f = nudged(e)
            if not sp.simplify(f / e).is_number:
                pairs.append((latex(e) + " = 0", latex(f) + " = 0", False))


def calculus(count):
    for _ in range(count):
        c = rnd.randint(1, 4)
        e = rnd.choice([
            lambda: sp.Integral(rnd.choice([x**c, sp.exp(c * x), sp.sin(c * x), 1 / (1 + x**2)]), (x, 0, rnd.choice([1, 2, pi]))),
            lambda: sp.Sum(rnd.choice([n**c, R(1, 2) ** n, n * (n + 1)]), (n, 1, rnd.choice([5, 10]))),
            lambda: sp.Limit(rnd.choice([sp.sin(c * x) / x, (sp.exp(c * x) - 1) / x, (1 + x) ** (c / x)]), x, 0),
            lambda: sp.Derivative(rnd.choice([x ** (c + 1), sp.sin(c * x), sp.log(x) * c]), x),
        ])()
        v = sp.simplify(e.doit())
        if v.has(sp.Integral, sp.Sum, sp.Limit):
            continue
        if rnd.random() < 0.6:
            pairs.append((latex(e), show(v), True) if rnd.random() < 0.5 else (latex(v), latex(e), True))
        else:
            w = nudged(v)
            if not broken(w) and not same(v, w):
                pairs.append((latex(e), show(w), False))


values(number, 170)
values(polynomial, 110)
values(rational, 90)
values(transcendental, 100)
intervals(80)
collections(80)
matrices(60)
equations(90)
calculus(50)
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for at, (gold, prediction, expected) in enumerate(dict.fromkeys(pairs)):
        row = {"id": f"s{sys.argv[1]}_{at:04}", "gold": gold, "prediction": prediction, "expected": expected}
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
