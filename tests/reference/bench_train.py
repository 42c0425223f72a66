"""Tokens per second of whole training steps in PyTorch on the CPU: the peer of crates/train/examples/bench_train.rs.

    pip install torch "transformers>=4.57,<5"
    python tests/reference/bench_train.py SHAPE BATCH LENGTH THREADS

SHAPE is `small` (4 layers of width 256) or `smollm2` (SmolLM2-135M with random weights): Llama in f32 with PyTorch's fused
attention, mean cross-entropy over all tokens, gradient clipping, AdamW.
"""

import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {"small": (4, 256, 4, 4, 1024, 4096), "smollm2": (30, 576, 9, 3, 1536, 49152)}
shape, batch, length, threads = sys.argv[1], *map(int, sys.argv[2:5])
layers, width, heads, kv_heads, inner, vocabulary = SHAPES[shape]
torch.set_num_threads(threads)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
    intermediate_size=inner, tie_word_embeddings=True, max_position_embeddings=2048, attn_implementation="sdpa",
)).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
tokens = torch.randint(0, vocabulary, (batch, length + 1))
best, spent, steps = float("inf"), 0.0, 0
while steps < 6 or spent < 8.0:
    start = time.perf_counter()
    logits = model(tokens[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - start
    if steps >= 2:
        best, spent = min(best, seconds), spent + seconds
    steps += 1
count = batch * length
print(f"PyTorch {torch.__version__}, {threads} threads: {count * (steps - 2) / spent:.0f} tokens/s mean, {count / best:.0f} best, over {steps - 2} steps")
