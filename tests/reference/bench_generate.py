"""Tokens per second of transformers on the CPU, measured as crates/model/examples/bench_generate.rs measures ours.

    pip install torch "transformers>=5" gguf
    OMP_NUM_THREADS=2 python tests/reference/bench_generate.py BATCH [PROMPT_TOKENS] [NEW_TOKENS]
"""

import sys
import time

import torch

from smollm2 import load


def main(batch: int, prompt: int = 128, new: int = 128) -> None:
    torch.set_num_threads(2)
    _, model = load()
    vocab = model.config.vocab_size
    ids = torch.tensor([[(i * 7919 + j * 104729 + 1000) % (vocab - 1000) for j in range(prompt)] for i in range(batch)])

    def run(count: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
        return time.perf_counter() - started

    run(2)
    first, all_ = run(1), run(new)
    print(f"transformers f32 batch {batch}: prefill {batch * prompt / first:.0f} tokens/s, decode {batch * (new - 1) / (all_ - first):.1f} tokens/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
