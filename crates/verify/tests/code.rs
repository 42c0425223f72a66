//! The verifier `code`: every form of tests, every language, every checker, and programs that cheat.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::Path;

use potstill_verify::code::CodeOptions;
use potstill_verify::sandbox::{Launcher, Level};
use potstill_verify::{Case, Judgement, Proof, Verdict, Verifier, VerifyOptions, verifier};
use serde_json::json;

fn options() -> VerifyOptions {
    let launcher = Launcher { program: env!("CARGO_BIN_EXE_potstill-sandbox").into(), args: Vec::new() };
    // A machine without any sandbox still tests the verdicts.
    let code = CodeOptions { launcher: Some(launcher), unsafe_no_sandbox: true, ..CodeOptions::default() };
    VerifyOptions { code, ..VerifyOptions::default() }
}

fn code() -> Box<dyn Verifier> {
    verifier("code", &options()).unwrap()
}

fn judge(verifier: &dyn Verifier, tests: &serde_json::Value, response: &str) -> Judgement {
    let tests = tests.to_string();
    verifier.verify(&Case { tests: Some(&tests), response, ..Case::default() })
}

fn fenced(language: &str, source: &str) -> String {
    format!("Here it is:\n```{language}\n{source}\n```\n")
}

/// Whether a tool is there; a test of its language says so and passes where it is not.
fn there(tool: &str) -> bool {
    let there = Path::new(tool).exists();
    if !there {
        println!("skipped: no {tool}");
    }
    there
}

fn doubled() -> serde_json::Value {
    json!({ "inputs": ["1\n", "21\n"], "outputs": ["2\n", "42\n"] })
}

#[test]
fn python_on_standard_input() {
    let verifier = code();
    let good = judge(verifier.as_ref(), &doubled(), &fenced("python", "print(int(input()) * 2)"));
    assert_eq!((good.verdict, good.proof), (Verdict::Correct, Proof::Executed), "{}", good.note);
    assert!(good.note.starts_with("2 of 2 cases passed; sandbox L"), "{}", good.note);
    assert_eq!(good.extracted.as_deref(), Some("print(int(input()) * 2)\n"));
    for (source, says) in [
        ("print(int(input()) + 1)", "case 2 of 2: line 1: expected `42`, found `22`"),
        ("print(2)", "case 2 of 2"),
        ("n = int(input())\nprint(n * 2)\nprint(n)", "case 1 of 2: 1 lines expected, 2 found"),
        ("print(input() * 2", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "exit status 3"),
        ("", "1 lines expected, 0 found"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')", "the output is not UTF-8 at byte 0"),
        ("print('2\\u0664')", "case 1 of 2"),
    ] {
        let found = judge(verifier.as_ref(), &doubled(), &fenced("python", source));
        assert_eq!(found.verdict, Verdict::Incorrect, "{source}: {}", found.note);
        assert!(found.note.contains(says), "{source}: {}", found.note);
    }
    // What programs take for granted.
    let main = "import sys\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\ndef main():\n    n = int(sys.stdin.readline())\n    print(A(n).x * 2)\n    exit()\nif __name__ == '__main__':\n    main()";
    assert_eq!(judge(verifier.as_ref(), &doubled(), &fenced("python", main)).verdict, Verdict::Correct);
}

#[test]
fn other_languages() {
    let verifier = code();
    if there("/usr/bin/g++") {
        let good = "#include <bits/stdc++.h>\nusing namespace std;\nint main() { long long n; cin >> n; cout << n * 2 << endl; }";
        let found = judge(verifier.as_ref(), &doubled(), &fenced("cpp", good));
        assert_eq!(found.verdict, Verdict::Correct, "{}", found.note);
        let found = judge(verifier.as_ref(), &doubled(), &fenced("cpp", "int main() { return undefined; }"));
        assert_eq!(found.verdict, Verdict::Incorrect);
        assert!(found.note.contains("does not compile") && found.note.contains("undefined"), "{}", found.note);
        let found = judge(verifier.as_ref(), &doubled(), &fenced("cpp", "int main() { int *p = 0; *p = 1; }"));
        assert!(found.note.contains("SIGSEGV"), "{}", found.note);
    }
    if there("/usr/bin/node") {
        let source = "const n = parseInt(require('fs').readFileSync(0, 'utf8'));\nconsole.log(n * 2);";
        let found = judge(verifier.as_ref(), &doubled(), &fenced("javascript", source));
        assert_eq!(found.verdict, Verdict::Correct, "{}", found.note);
        let calls = json!({ "fn_name": "twice", "inputs": [[1], [[1, 2]]], "outputs": [2, [1, 2, 1, 2]], "language": "javascript" });
        let source = "const twice = (x) => Array.isArray(x) ? [...x, ...x] : x * 2;";
        let found = judge(verifier.as_ref(), &calls, &fenced("js", source));
        assert_eq!(found.verdict, Verdict::Correct, "{}", found.note);
        let found = judge(verifier.as_ref(), &calls, &fenced("js", "function once(x) { return x; }"));
        assert!(found.note.contains("defines no `twice`"), "{}", found.note);
    }
}

#[test]
fn calls() {
    let verifier = code();
    let tests = json!({ "fn_name": "add", "inputs": [[1, 2], [[1], [2]]], "outputs": [3, [[1, 2]]] });
    for source in [
        "def add(a, b):\n    print('noise')\n    return a + b",
        "class Solution:\n    def add(self, a: List[int], b) -> Optional[int]:\n        return a + b",
        "def add(a, b):\n    return tuple(a + b) if isinstance(a, list) else a + b\nif __name__ == '__main__':\n    print(add(int(input()), 1))",
    ] {
        let found = judge(verifier.as_ref(), &tests, &fenced("python", source));
        assert_eq!(found.verdict, Verdict::Correct, "{source}: {}", found.note);
    }
    for (source, says) in [
        ("def add(a, b): return b + a", "call 2 of 2: expected `[[1,2]]`, found `[2,1]`"),
        ("def add(a): return a", "TypeError"),
        ("def plus(a, b): return a + b", "defines no `add`"),
        ("def add(a, b):\n    import os\n    os._exit(0)", "call 1 of 2: exit status 0"),
        ("def add(a, b): exit(0)", "SystemExit"),
        ("def add(a, b):\n    while True: pass", "time limit"),
        ("def add(a, b): return object()", "no value that tests can compare"),
    ] {
        let mut options = options();
        options.code.time_limit_s = 2.0;
        let verifier = potstill_verify::verifier("code", &options).unwrap();
        let found = judge(verifier.as_ref(), &tests, &fenced("python", source));
        assert_eq!(found.verdict, Verdict::Incorrect, "{source}: {}", found.note);
        assert!(found.note.contains(says), "{source}: {}", found.note);
    }
}

#[test]
fn checkers() {
    let verifier = code();
    let tests = |checker: serde_json::Value| json!({ "inputs": [""], "outputs": ["0.5\na\nb"], "checker": checker });
    let verdict = |checker: serde_json::Value, source: &str| judge(verifier.as_ref(), &tests(checker), &fenced("python", source)).verdict;
    assert_eq!(verdict(json!("tokens"), "print('0.50 \\na\\nb')"), Verdict::Incorrect);
    assert_eq!(verdict(json!("floats"), "print('0.5000001 \\na\\nb')"), Verdict::Correct);
    assert_eq!(verdict(json!("unordered"), "print('b\\n0.5\\na')"), Verdict::Correct);
    assert_eq!(verdict(json!("exact"), "print('0.5\\n a\\nb')"), Verdict::Incorrect);
    let own =
        "import sys\nread = lambda p: open(p).read().split()\nsys.exit(0 if sorted(read(sys.argv[2])) == sorted(read(sys.argv[3])) else 1)";
    let own = json!({ "language": "python", "source": own });
    assert_eq!(verdict(own.clone(), "print('b a 0.5')"), Verdict::Correct);
    assert_eq!(verdict(own, "print('b a')"), Verdict::Incorrect);
    let broken = judge(verifier.as_ref(), &tests(json!({ "language": "python", "source": "1/0" })), &fenced("python", "print(1)"));
    // A Python error is status 1, which rejects; a crash is not a verdict.
    assert_eq!(broken.verdict, Verdict::Incorrect);
    let crash =
        judge(verifier.as_ref(), &tests(json!({ "language": "python", "source": "import os; os.abort()" })), &fenced("python", "print(1)"));
    assert_eq!((crash.verdict, crash.proof), (Verdict::Undecided, Proof::Unavailable), "{}", crash.note);
}

fn human_eval() -> serde_json::Value {
    json!({
        "prompt": "from typing import List\n\ndef helper(x):\n    return x + 1\n\ndef f(x: List[int]) -> List[int]:\n    \"\"\" Adds one to each. \"\"\"\n",
        "test": "def check(candidate):\n    assert candidate([1, 2]) == [2, 3]\n    assert candidate([]) == []\n    assert sum(candidate([5])) == helper(5)\n",
        "entry_point": "f",
    })
}

#[test]
fn check_functions_and_assert_lists() {
    let verifier = code();
    for source in ["    return [helper(v) for v in x]", "def f(x: List[int]):\n    return [helper(v) for v in x]"] {
        let found = judge(verifier.as_ref(), &human_eval(), &fenced("python", source));
        assert_eq!(found.verdict, Verdict::Correct, "{source}: {}", found.note);
    }
    let objects = json!({
        "test_setup_code": "root = Node(1)\nroot.left = Node(2)",
        "test_list": ["assert height(root) == 2", "assert height(None) == 0", "assert pair(root) == (1, {'l': {2}})"],
        "challenge_test_list": [],
    });
    let source = "class Node:\n    def __init__(self, v):\n        self.v = v\n        self.left = None\ndef height(n):\n    return 0 if n is None else 1 + height(n.left)\ndef pair(n):\n    return (n.v, {'l': {n.left.v}})";
    let found = judge(verifier.as_ref(), &objects, &fenced("python", source));
    assert_eq!(found.verdict, Verdict::Correct, "{}", found.note);
    let found = judge(verifier.as_ref(), &objects, &fenced("python", &source.replace("1 + height", "2 + height")));
    assert!(found.verdict == Verdict::Incorrect && found.note.contains("test 2 of 4: a test is not met"), "{}", found.note);
    let in_place = json!({ "test_list": ["a = [3, 1]\norder(a)\nassert a == [1, 3]"] });
    assert_eq!(judge(verifier.as_ref(), &in_place, &fenced("python", "def order(a): a.sort()")).verdict, Verdict::Correct);
    let raising = json!({ "test_list": ["try:\n    f(0)\nexcept ZeroDivisionError:\n    pass\nelse:\n    assert False"] });
    assert_eq!(judge(verifier.as_ref(), &raising, &fenced("python", "def f(x): return 1 / x")).verdict, Verdict::Correct);
}

/// Programs that would pass if the verdict were in their reach.
const CHEATS: &[(&str, &str)] = &[
    ("prints a verdict", "print('passed'); print('{\"passed\": 3, \"total\": 3}')\ndef f(x): return 0"),
    ("ends at once", "import sys; sys.exit(0)"),
    ("ends when called", "import os\ndef f(x): os._exit(0)"),
    ("ends by an exit handler", "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): raise SystemExit(0)"),
    (
        "equals everything",
        "class E:\n    def __eq__(s, o): return True\n    def __ne__(s, o): return False\n    def __hash__(s): return 0\n    def __iter__(s): return iter([6])\ndef f(x): return E()",
    ),
    (
        "a list that equals everything",
        "class L(list):\n    def __eq__(s, o): return True\n    def __ne__(s, o): return False\ndef f(x): return L([0])",
    ),
    (
        "a number that equals everything",
        "class I(int):\n    def __eq__(s, o): return True\n    def __radd__(s, o): return 6\ndef f(x): return I(0)",
    ),
    (
        "patches builtins",
        "import builtins\nbuiltins.sum = lambda *a: 6\nbuiltins.sorted = lambda *a: [2, 3]\nbuiltins.isinstance = lambda *a: True\ndef f(x): return 0",
    ),
    (
        "patches json",
        "import json\njson.dumps = lambda *a, **k: '[2, 3]'\njson.loads = lambda *a, **k: {'value': [2, 3]}\ndef f(x): return 0",
    ),
    (
        "writes to every descriptor",
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'{\"passed\": 1, \"total\": 1, \"note\": \"\", \"broken\": false}\\n' * 5)\n    except OSError: pass\ndef f(x): return 0",
    ),
    (
        "answers before it is asked",
        "import os\nos.write(3, b'{\"value\": null}\\n' * 3 + b'{\"value\": true}\\n' * 20)\ndef f(x): return 0",
    ),
    (
        "says that the tests are broken",
        "import os\nos.write(3, b'{\"error\": \"SyntaxError\", \"message\": \"x\"}\\n')\ndef f(x): return 0",
    ),
    ("calls back what it was not given", "import os\nos.write(3, b'{\"callback\": \"f0\", \"args\": []}\\n')\ndef f(x): return 0"),
    ("sends another kind of value", "import os\nos.write(3, b'{\"value\": {\"t\": \"eval\", \"v\": \"1\"}}\\n' * 9)\ndef f(x): return 0"),
    (
        "looks for the expected values",
        "import gc, os, sys\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, list) and o == [2, 3]: return o\n    for p in os.listdir('.'):\n        if p != 'solution.py' and any(w in open(p, 'rb').read() for w in (b'candidate', b'[2, 3]', b'helper')): return [2, 3]\n    return 0",
    ),
    (
        "looks at its callers",
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        for v in list(frame.f_locals.values()) + list(frame.f_globals.values()):\n            if v == [2, 3]: return v\n        frame = frame.f_back\n    return 0",
    ),
    (
        "replaces the harness",
        "import sys\nm = sys.modules['__main__']\nm.answer = lambda r: {'value': True}\nm.serve = lambda *a, **k: None\ndef f(x): return 0",
    ),
    (
        "replaces what the harness reads and writes with",
        "import builtins, gc, io, posix, sys, _json\n_json.make_encoder = _json.make_scanner = builtins.open = builtins.compile = builtins.len = posix._exit = lambda *a, **k: [2, 3]\nfor o in gc.get_objects():\n    if isinstance(o, dict) and 'dumps' in o and 'loads' in o:\n        o['dumps'] = lambda *a, **k: '{\"value\": true}'\n        o['loads'] = lambda *a, **k: {'op': 'len', 'args': [[]]}\ndef f(x): return 0",
    ),
    (
        "leaves modules for the tests to load",
        "for name in ('decimal', 'fractions', 'datetime', 'collections', '_json', 'posix'):\n    open(name + '.py', 'w').write('class Decimal:\\n    def __eq__(s, o): return True\\n    __init__ = lambda s, *a: None\\n')\nimport os\ndef f(x):\n    os.write(3, b'{\"value\": {\"t\": \"decimal\", \"v\": [\"1\"]}}\\n' * 9)\n    return 0",
    ),
    (
        "sends what cannot be read",
        "import os\nfor junk in (b'\\xff\\xfe\\n', b'[' * 200000 + b'\\n', b'{\"value\": 1} {\"value\": 2}\\n', b'\\n', b'{\"value\": {\"t\": \"date\", \"v\": [0, 0, 0]}}\\n', b'{\"value\": {\"t\": [], \"v\": 0}}\\n'): os.write(3, junk)\ndef f(x): return 0",
    ),
    ("kills its parent", "import os, signal\ndef f(x):\n    try: os.kill(os.getppid(), 9)\n    except OSError: pass\n    return 0"),
    ("raises what tests expect", "def f(x): raise AssertionError('ok')"),
];

#[test]
fn cheats_gain_nothing() {
    let verifier = code();
    for (name, source) in CHEATS {
        let found = judge(verifier.as_ref(), &human_eval(), &fenced("python", source));
        assert_eq!(found.verdict, Verdict::Incorrect, "{name}: {}", found.note);
    }
    let calls = json!({ "fn_name": "f", "inputs": [[[1, 2]], [[5]]], "outputs": [[2, 3], [6]] });
    for (name, source) in CHEATS {
        let found = judge(verifier.as_ref(), &calls, &fenced("python", source));
        assert_eq!(found.verdict, Verdict::Incorrect, "{name}: {}", found.note);
    }
}

#[test]
fn values_of_many_kinds_cross_between_tests_and_program() {
    let steps = [
        "assert same(None) is None and same(True) is True and same(10**5000) == 10**5000 and same(1e308 * 10) == float('inf')",
        "assert same('\\ud800 é \\U0001F600') == '\\ud800 é \\U0001F600' and same(b'\\xff') == b'\\xff' and same(2 + 3j) == 2 + 3j",
        "assert same((1, [2], {3: {4}, (5,): frozenset([6])})) == (1, [2], {3: {4}, (5,): frozenset([6])}) and same(range(3)) == range(3)",
        "from decimal import Decimal\nassert twice(Decimal('1.10')) == Decimal('2.20') and type(same(Decimal(1))) is Decimal",
        "from fractions import Fraction\nassert twice(Fraction(1, 3)) == Fraction(2, 3)",
        "from collections import deque\nassert twice(deque([1])) == deque([1, 1])",
        "from datetime import date, datetime, time, timedelta\nassert twice(timedelta(1, 2, 3)) == timedelta(2, 4, 6) and same(date(2024, 2, 29)) == date(2024, 2, 29)",
        "assert same(datetime(2024, 2, 29, 1, 2, 3, 4)) == datetime(2024, 2, 29, 1, 2, 3, 4) and same(time(1, 2, 3, 4)) == time(1, 2, 3, 4)",
        "assert list(map(apply, [lambda x: x + 1], [4])) == [5]",
    ];
    let source = "def same(x): return x\ndef twice(x): return x + x\ndef apply(f, x): return f(x)";
    let found = judge(code().as_ref(), &json!({ "test_list": steps }), &fenced("python", source));
    assert_eq!(found.verdict, Verdict::Correct, "{}", found.note);
}

/// A folder with an interpreter of these lines of shell in it.
fn wrapped(lines: &str) -> (tempfile::TempDir, VerifyOptions) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("bin/python3");
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::fs::write(&tool, format!("#!/bin/sh\n{lines}\n")).unwrap();
    for path in [folder.path(), &folder.path().join("bin"), &tool] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut options = options();
    options.code.python = Some(tool);
    (folder, options)
}

#[test]
fn an_interpreter_without_the_c_functions_for_json_works_too() {
    let hide = "import runpy, sys; sys.modules['_json'] = None; runpy.run_path(sys.argv[1], run_name='__main__')";
    let lines =
        format!("case \"$*\" in *py_compile*) exec /usr/bin/python3 \"$@\";; esac\nexec /usr/bin/python3 -S -s -c \"{hide}\" \"$3\"");
    let (_folder, options) = wrapped(&lines);
    let verifier = verifier("code", &options).unwrap();
    let right = "def f(x):\n    import sys\n    return [v + 1 for v in x] if 'json.decoder' in sys.modules else 0";
    let wrong = "def f(x): return [2, 3]";
    for tests in [human_eval(), json!({ "fn_name": "f", "inputs": [[[1, 2]], [[5]]], "outputs": [[2, 3], [6]] })] {
        let found = judge(verifier.as_ref(), &tests, &fenced("python", right));
        assert_eq!(found.verdict, Verdict::Correct, "{}", found.note);
        assert_eq!(judge(verifier.as_ref(), &tests, &fenced("python", wrong)).verdict, Verdict::Incorrect);
    }
}

#[test]
fn bad_input_is_told() {
    let verifier = code();
    let source = fenced("python", "print(1)");
    let none = verifier.verify(&Case { response: &source, ..Case::default() });
    assert_eq!((none.verdict, none.proof), (Verdict::Undecided, Proof::BadGold));
    assert!(none.note.contains("no tests"), "{}", none.note);
    let absurd = judge(verifier.as_ref(), &json!({ "inputs": [""], "outputs": [""], "time_limit_s": 0 }), &source);
    assert_eq!((absurd.verdict, absurd.proof), (Verdict::Undecided, Proof::BadGold), "{}", absurd.note);
    let broken = json!({ "prompt": "def f(x):\n    pass\n", "test": "def check(candidate:\n", "entry_point": "f" });
    let broken = judge(verifier.as_ref(), &broken, &fenced("python", "def f(x): return 1"));
    assert_eq!((broken.verdict, broken.proof), (Verdict::Undecided, Proof::BadGold), "{}", broken.note);
    let imports = json!({ "test_list": ["import no_such_module\nassert f(1) == 1"] });
    let imports = judge(verifier.as_ref(), &imports, &fenced("python", "def f(x): return x"));
    assert_eq!((imports.verdict, imports.proof), (Verdict::Undecided, Proof::BadGold), "{}", imports.note);
    assert!(imports.note.contains("No module named 'no_such_module'"), "{}", imports.note);
    let own = json!({ "test_list": ["assert f(1) == 1"] });
    let own = judge(verifier.as_ref(), &own, &fenced("python", "def f(x):\n    import no_such_module"));
    assert_eq!((own.verdict, own.proof), (Verdict::Incorrect, Proof::Executed), "{}", own.note);
    let prose = judge(verifier.as_ref(), &doubled(), "I do not know.");
    assert_eq!((prose.verdict, prose.proof), (Verdict::Incorrect, Proof::NoAnswer));
    let mut options = options();
    options.code.python = Some("/no/such/python3".into());
    let missing = judge(potstill_verify::verifier("code", &options).unwrap().as_ref(), &doubled(), &source);
    assert_eq!((missing.verdict, missing.proof), (Verdict::Undecided, Proof::Unavailable));
    assert!(missing.note.contains("`code.python` is `/no/such/python3`, which is no absolute path of a file"), "{}", missing.note);
    options.code.cpp = Some("/bin/true".into());
    let cpp = json!({ "inputs": [""], "outputs": [""], "language": "cpp" });
    let idle = judge(potstill_verify::verifier("code", &options).unwrap().as_ref(), &cpp, &fenced("cpp", "int main() {}"));
    assert_eq!((idle.verdict, idle.proof), (Verdict::Undecided, Proof::Unavailable), "{}", idle.note);
    assert!(idle.note.contains("`/bin/true` does not work as a C++ compiler"), "{}", idle.note);
    for (lines, says) in [("exit 0", "exit status 0"), ("echo 'it is Python 2.7' >&2; exit 1", "exit status 1: it is Python 2.7")] {
        let (folder, options) = wrapped(lines);
        let broken = judge(potstill_verify::verifier("code", &options).unwrap().as_ref(), &doubled(), &source);
        assert_eq!((broken.verdict, broken.proof), (Verdict::Undecided, Proof::Unavailable), "{}", broken.note);
        let name = folder.path().join("bin/python3").display().to_string();
        assert!(broken.note.contains(&format!("`{name}` does not work as a Python 3 interpreter ({says})")), "{}", broken.note);
    }
    options.code.launcher = None;
    options.code.unsafe_no_sandbox = false;
    let alone = judge(potstill_verify::verifier("code", &options).unwrap().as_ref(), &doubled(), &source);
    assert_eq!((alone.verdict, alone.proof), (Verdict::Undecided, Proof::Unavailable), "{}", alone.note);
}

#[test]
fn settings_have_limits() {
    let wrong: [(fn(&mut CodeOptions), &str); 5] = [
        (|o| o.time_limit_s = 1e9, "option `code.time_limit_s` of verifier `code` is 1000000000, but must be from 0.05 to 600"),
        (|o| o.time_limit_s = f64::NAN, "code.time_limit_s"),
        (|o| o.memory_mb = 1, "code.memory_mb"),
        (|o| o.processes = 0, "code.processes"),
        (|o| (o.level, o.unsafe_no_sandbox) = (Some(Level::L3), false), "needs `unsafe_no_sandbox = true`"),
    ];
    for (change, says) in wrong {
        let mut options = options();
        change(&mut options.code);
        let error = verifier("code", &options).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn the_unsafe_level_works_when_asked_for() {
    let mut options = options();
    options.code.level = Some(Level::L3);
    let found = judge(verifier("code", &options).unwrap().as_ref(), &doubled(), &fenced("python", "print(int(input()) * 2)"));
    assert_eq!(found.verdict, Verdict::Correct, "{}", found.note);
    assert!(found.note.ends_with("sandbox L3"), "{}", found.note);
}
