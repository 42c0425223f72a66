"""Reads the event files of a run with TensorBoard itself and compares them with the run's log.

    pip install tensorboard
    potstill train … --out STUDENT --tensorboard EVENTS
    python tests/reference/tensorboard_events.py EVENTS STUDENT/training_log.jsonl

EVENTS may also be the folder of a pipeline's stage. Demanded: the same tags at the same steps as the log has, with its
values to the precision of a float32.
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0}).Reload()
log = [json.loads(line) for line in pathlib.Path(sys.argv[2]).read_text().splitlines()]
TAGS = {
    "step": {
        "train/loss": "loss", "train/grad_norm": "grad_norm", "train/learning_rate": "learning_rate", "train/epoch": "epoch",
        "speed/tokens_per_second": "tokens_per_second", "speed/trained_tokens_per_second": "trained_tokens_per_second",
        "speed/tflops": "tflops",
    },
    "eval": {"eval/loss": "loss", "eval/token_accuracy": "token_accuracy"},
}
compared = 0
for kind, tags in TAGS.items():
    # A step that was done again after an interruption stands twice in the log; the later one counts.
    rows = {row["step"]: row for row in log if row["event"] == kind}
    for tag, field in tags.items() if rows else ():
        found = {scalar.step: scalar.value for scalar in events.Scalars(tag)}
        assert found.keys() == rows.keys(), f"{tag}: steps {sorted(found)} instead of {sorted(rows)}"
        for step, value in found.items():
            expected = rows[step][field]
            assert abs(value - expected) <= 1e-6 * abs(expected), f"{tag} at step {step}: {value} instead of {expected}"
            compared += 1
assert compared, "the log holds no step"
print(f"{compared} values of {len(events.Tags()['scalars'])} tags are the log's: {', '.join(events.Tags()['scalars'])}")
