"""Do HF `datasets` and TRL read what `potstill export` writes? Rerunnable, not part of CI.

    pip install datasets trl torch
    python tests/reference/load_exports.py target/release/potstill

Exports every layout of a small pipeline as Parquet and as JSONL, loads each folder by its card with `datasets`, compares
the two, and lets TRL's trainers take a step on what they are for: SFT on `messages` and `prompt_completion`, DPO on
`preference`, GRPO on `rl_prompts`. The student is a random Llama of a few thousand weights; nothing is downloaded.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from datasets import load_dataset

PROGRAM = Path(sys.argv[1]).resolve()
PIPELINE = Path(__file__).parents[1] / "pipelines" / "exports.toml"
STAGES = {
    "messages": "mixed",
    "sharegpt": "mixed",
    "alpaca": "mixed",
    "prompt_completion": "mixed",
    "preference": "pairs",
    "rl_prompts": "problems",
}


def export(folder):
    store = str(folder / "store")
    subprocess.run([PROGRAM, "run", PIPELINE, "--store", store], check=True, capture_output=True)
    for layout, stage in STAGES.items():
        for form in ("parquet", "jsonl"):
            out = str(folder / f"{layout}-{form}")
            command = [PROGRAM, "export", PIPELINE, "--store", store, "--stage", stage, "--layout", layout, "--format", form, "--out", out]
            subprocess.run(command, check=True, capture_output=True)


def plain(value):
    """Without the nulls that a table puts where a JSON object has no key."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None and v != []}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def load(folder):
    rows = {}
    for layout in STAGES:
        both = [load_dataset(str(folder / f"{layout}-{form}"), cache_dir=str(folder / "cache")) for form in ("parquet", "jsonl")]
        for loaded in both:
            assert list(loaded) == ["train"], list(loaded)
        table, lines = (loaded["train"] for loaded in both)
        assert len(table) == len(lines) > 0
        for a, b in zip(table, lines):
            assert plain(a) == plain(b), (a, b)
        print(f"{layout}: {len(table)} rows, columns {table.column_names}, Parquet and JSONL alike")
        rows[layout] = table
    spans = [s for row in rows["messages"] for s in row["loss_spans"] or []]
    assert spans and all(s["weight"] == 0 for s in spans), "journeys have loss spans"
    journey = next(row for row in rows["messages"] if row["loss_spans"])
    span = journey["loss_spans"][0]
    print("  a span covers:", repr(journey["messages"][span["message"]][span["part"]][span["start"] : span["end"]][-60:]))
    return rows


def student(texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|end|>", "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=512, special_tokens=special, initial_alphabet=alphabet))
    names = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>", model_input_names=names)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {% if m.get('reasoning') %}<think>{{ m['reasoning'] }}</think>{% endif %}"
        "{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=2048, eos_token_id=0, pad_token_id=1,
    )
    return (lambda: LlamaForCausalLM(config)), tokenizer


def train(rows, folder):
    import trl
    from trl.data_utils import is_conversational, maybe_convert_to_chatml

    for layout in ("messages", "prompt_completion", "preference", "rl_prompts"):
        assert is_conversational(rows[layout][0]), layout
    assert "messages" in maybe_convert_to_chatml(dict(rows["sharegpt"][0]))
    model, tokenizer = student([m["content"] for row in rows["messages"] for m in row["messages"]])
    common = dict(output_dir=str(folder / "out"), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False)
    for layout in ("messages", "prompt_completion"):
        args = trl.SFTConfig(**common)
        loss = trl.SFTTrainer(model(), args=args, train_dataset=rows[layout], processing_class=tokenizer).train().training_loss
        print(f"TRL {trl.__version__} SFT on {layout}: loss {loss:.3f}")
    args = trl.DPOConfig(**common)
    trainer = trl.DPOTrainer(model(), ref_model=model(), args=args, train_dataset=rows["preference"], processing_class=tokenizer)
    loss = trainer.train().training_loss
    print(f"TRL DPO on preference: loss {loss:.3f}")
    seen = []

    def reward(completions, gold, **_):
        seen.extend(gold)
        return [float(len(c[0]["content"])) for c in completions]

    args = trl.GRPOConfig(**common, num_generations=2, max_completion_length=8)
    trl.GRPOTrainer(model(), reward, args=args, train_dataset=rows["rl_prompts"], processing_class=tokenizer).train()
    assert seen and all(seen), "the gold answers reach the reward function"
    print("TRL GRPO on rl_prompts: the reward function was given", seen[:2])


with tempfile.TemporaryDirectory() as name:
    export(Path(name))
    loaded = load(Path(name))
    train(loaded, Path(name))
