"""Do HF `datasets` and TRL read what the exporters write? Rerunnable, not part of CI.

    pip install datasets trl torch
    cargo run --release -p potstill-curate --example export_layouts -- /tmp/exports
    python tests/reference/load_exports.py /tmp/exports
"""

import sys
from pathlib import Path

from datasets import load_dataset

folder = Path(sys.argv[1])
rows = {f.stem: load_dataset("json", data_files=str(f), split="train") for f in sorted(folder.glob("*.jsonl"))}
assert set(rows) == {"messages", "sharegpt", "alpaca", "prompt_completion", "pairs", "rl_prompts"}, set(rows)
for name, data in rows.items():
    print(f"{name}: {len(data)} rows, columns {data.column_names}")
    assert len(data) == 20

assert rows["messages"][0]["messages"][-1]["reasoning"] == "0 and one more is 1."
assert rows["alpaca"][0]["output"] == "<think>\n0 and one more is 1.\n</think>\n\n\\boxed{1}"

try:
    from trl.data_utils import is_conversational, maybe_convert_to_chatml
except ImportError:
    print("trl is not installed: its own checks are left out")
    sys.exit(0)

for name in ("messages", "prompt_completion", "pairs", "rl_prompts"):
    assert is_conversational(rows[name][0]), name
chatml = maybe_convert_to_chatml(rows["sharegpt"][0])
assert "messages" in chatml, chatml.keys()
print("trl reads messages, prompt_completion, pairs and rl_prompts as conversations, and converts sharegpt")
