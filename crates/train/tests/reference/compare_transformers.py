"""Repeats the run of examples/reference_run.rs in a plain PyTorch loop over transformers and compares the curves.

    cargo run --release -p potstill-train --example reference_run -- FOLDER
    python3 compare_transformers.py FOLDER

Loss: max |difference| <= 1e-3 and mean relative <= 1e-5; gradient norm: max relative <= 1e-3.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM

folder = pathlib.Path(sys.argv[1])
run = json.loads((folder / "run.json").read_text())
config = run["config"]
model = AutoModelForCausalLM.from_pretrained(folder / "student", torch_dtype=torch.float32, attn_implementation="eager")
model.train()
decayed, plain = [], []
for name, parameter in model.named_parameters():
    (decayed if parameter.dim() >= 2 and "embed" not in name else plain).append(parameter)
optimizer = torch.optim.AdamW(
    [{"params": decayed, "weight_decay": config["weight_decay"]}, {"params": plain, "weight_decay": 0.0}],
    lr=config["learning_rate"], betas=config["betas"], eps=config["eps"],
)
losses, norms = [], []
for step, expected in zip(run["steps"], run["curve"]):
    for group in optimizer.param_groups:
        group["lr"] = expected["learning_rate"]
    trained = sum(sum(1 for weight in document["weights"][1:] if weight) for document in step)
    total = 0.0
    for document in step:
        tokens = torch.tensor([document["tokens"]])
        weights = torch.tensor(document["weights"][1:])
        logits = model(tokens).logits[0, :-1].float()
        loss = (torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none") * weights).sum() / trained
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config["grad_clip"]).item()
    optimizer.step()
    optimizer.zero_grad()
    losses.append((total, expected["loss"]))
    norms.append((norm, expected["grad_norm"]))

largest = max(abs(a - b) for a, b in losses)
mean = sum(abs(a - b) / abs(a) for a, b in losses) / len(losses)
norm = max(abs(a - b) / abs(a) for a, b in norms)
print(f"{len(losses)} steps, loss {losses[0][0]:.4f} -> {losses[-1][0]:.4f}")
print(f"loss: max |difference| {largest:.2e}, mean relative {mean:.2e}; gradient norm: max relative {norm:.2e}")
sys.exit(0 if largest <= 1e-3 and mean <= 1e-5 and norm <= 1e-3 else 1)
