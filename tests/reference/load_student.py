"""Shows that transformers loads a student that potstill wrote, and continues prompts with the same tokens.

    pip install torch "transformers>=5" safetensors
    python tests/reference/load_student.py MODEL_FOLDER EXPECTED.json

EXPECTED.json, written by `cargo run --release -p potstill-model --example continuations -- MODEL_FOLDER EXPECTED.json`, holds a list
of {"prompt": [ids], "continuation": [ids]}, decoded greedily.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(folder: str, expected: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = tokenizer.apply_chat_template([{"role": "user", "content": "2 + 2?"}], tokenize=False, add_generation_prompt=True)
    print("template:", repr(text))
    cases = json.load(open(expected))
    same = 0
    for case in cases:
        ids = torch.tensor([case["prompt"]])
        count = len(case["continuation"])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0,
        )
        found = out[0, ids.shape[1]:].tolist()
        same += found == case["continuation"]
        assert tokenizer.decode(found) is not None
    print(f"{same} of {len(cases)} continuations are identical")
    if same != len(cases):
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
