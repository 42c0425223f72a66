"""Writes adamw_golden.json: the course of torch.optim.AdamW on fixed gradients, with a changing learning rate.

Run with any PyTorch on the CPU: python3 adamw_golden.py > adamw_golden.json
"""

import json
import math

import torch


def gradient(step: int, index: int) -> float:
    """The same formula stands in the Rust test."""
    return math.sin(step * 1.7 + index * 0.9) * 10.0 ** (index - 4)


start = [0.5, -1.25, 2.0, 1e-3, -3e-2, 0.0, 7.5]
settings = {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}
runs = []
for decay in (True, False):
    parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    optimizer = torch.optim.AdamW(
        [parameter], lr=0.0, betas=settings["betas"], eps=settings["eps"],
        weight_decay=settings["weight_decay"] if decay else 0.0, foreach=False,
    )
    values = []
    for step in range(25):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1.0 - step / 25)
        parameter.grad = torch.tensor([gradient(step, index) for index in range(len(start))], dtype=torch.float32)
        optimizer.step()
        values.append([float(value) for value in parameter.detach()])
    runs.append({"decay": decay, "values": values})
print(json.dumps({"torch": torch.__version__, "start": start, **settings, "runs": runs}))
