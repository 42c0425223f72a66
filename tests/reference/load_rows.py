"""Loads potstill's Parquet parts with pyarrow and HF `datasets` and checks what they see.

    pip install pyarrow datasets
    cargo run --release -p potstill-data --example write_rows -- /tmp/rows
    python tests/reference/load_rows.py /tmp/rows
"""

import json
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

TEXT = pa.string()
MESSAGES = {"role": "string", "content": "string", "reasoning": "string"}


def load(folder, kind):
    path = folder / f"{kind}.parquet"
    table = pq.read_table(path)
    rows = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    assert rows.num_rows == table.num_rows == 10, (kind, rows.num_rows)
    assert rows.column_names == table.column_names, kind
    return table, rows


def check_problems(folder):
    table, rows = load(folder, "problems")
    assert table.schema.field("prompt").type == TEXT and not table.schema.field("prompt").nullable
    assert rows[3]["meta"] == {"easy": True, "level": 3, "score": 0.375}, rows[3]["meta"]
    assert json.loads(rows[3]["tests"]) == {"numbers": [3, 3], "target": 6}
    assert rows[1]["domain"] is None and rows[2]["domain"] == "arithmetic"
    assert rows[0]["prompt"].endswith("Ω≈ç√")


def check_attempts(folder):
    table, rows = load(folder, "attempts")
    assert rows[4]["attempt_id"] == "p4#1" and rows[4]["verdict"] == "correct"
    assert table.schema.field("sample_index").type == pa.uint32()
    assert rows[4]["truncated"] is False and rows[4]["cost_usd"] is None


def check_samples(folder):
    _, rows = load(folder, "samples")
    first = rows[0]["messages"]
    assert [turn["role"] for turn in first] == ["user", "assistant"], first
    assert first[0]["reasoning"] is None and first[1]["reasoning"] == "add them"
    assert rows[0]["lineage"] == ["p0#1"] and rows[0]["weight"] == 1.0
    # What TRL sees of a conversational dataset: a list of dicts with role and content.
    feature = rows.features["messages"]
    inner = feature[0] if isinstance(feature, list) else feature.feature
    assert {name: value.dtype for name, value in inner.items()} == MESSAGES, feature


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for check in (check_problems, check_attempts, check_samples):
        check(target)
    print(f"pyarrow {pa.__version__} and datasets {datasets.__version__} load all three kinds of rows")
