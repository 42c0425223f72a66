"""Grades a bank of answer pairs with Math-Verify, for comparison with `potstill verify`.

    python3 -m venv venv && venv/bin/pip install 'math-verify[antlr4_13_2]==0.9.0'
    venv/bin/python tests/reference/math_verify_compare.py crates/verify/tests/math_bank.jsonl

Each line of the bank holds `gold`, `prediction` and `expected`. A gold without delimiters is put between dollar
signs, as Math-Verify asks for; a prediction that does not parse is tried again in that way.
"""

import json
import sys
import time

from math_verify import parse, verify


def read(text: str, *, gold: bool) -> list:
    candidates = [f"${text}$", text] if gold or "\\boxed" not in text else [text]
    if "$" in text or "\\boxed" in text:
        candidates.reverse()
    for candidate in candidates:
        parsed = parse(candidate, parsing_timeout=5)
        if parsed:
            return parsed
    return []


def main(path: str) -> None:
    rows = [json.loads(line) for line in open(path, encoding="utf-8")]
    counts = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
    seconds = []
    for row in rows:
        start = time.perf_counter()
        try:
            correct = bool(verify(read(row["gold"], gold=True), read(row["prediction"], gold=False), timeout_seconds=5))
        except Exception as error:  # the library raises on some inputs; that is a miss, not a crash of the comparison
            print(row.get("id"), "raised", type(error).__name__)
            correct = False
        seconds.append(time.perf_counter() - start)
        counts["tp" if correct and row["expected"] else "fp" if correct else "fn" if row["expected"] else "tn"] += 1
        if correct != row["expected"]:
            print(json.dumps({k: row[k] for k in ("id", "gold", "prediction", "expected")}, ensure_ascii=False))
    seconds.sort()
    tp, fp, fn = counts["tp"], counts["fp"], counts["fn"]
    print(
        f"{len(rows)} pairs: accuracy {(tp + counts['tn']) / len(rows):.4f}, precision {tp / max(tp + fp, 1):.4f}, "
        f"recall {tp / max(tp + fn, 1):.4f}; {len(rows) / sum(seconds):.0f} pairs/s, "
        f"p99 {seconds[int(len(seconds) * 0.99)]:.3f} s, worst {seconds[-1]:.2f} s; {counts}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
