"""Makes crates/model/tests/fixtures/gguf_blocks.json: random blocks of every GGUF tensor type that is read, with the values
that gguf-py, the format's reference in Python, gives them.

    pip install gguf numpy
    python tests/reference/gguf_quants.py crates/model/tests/fixtures/gguf_blocks.json
"""

import json
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGML_QUANT_SIZES, quants

TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Where in a block the half-precision scales stand; random bytes there would be infinities now and then.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def main(out: str) -> None:
    random = np.random.default_rng(7)
    cases = []
    for name in TYPES:
        kind = Type[name]
        elements, size = GGML_QUANT_SIZES[kind]
        count = max(1, 64 // elements)
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        if name in ("F16", "BF16"):
            values = random.normal(size=count).astype(np.float32)
            blocks = quants.quantize(values, kind).view(np.uint8).reshape(count, size)
        for at in HALVES.get(name, []):
            scales = random.normal(size=count).astype(np.float16)
            blocks[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
        values = quants.dequantize(blocks.reshape(-1), kind).reshape(-1)
        assert np.isfinite(values).all()
        cases.append({"id": int(kind), "name": name, "bytes": blocks.reshape(-1).tobytes().hex(), "values": [float(v) for v in values]})
    with open(out, "w") as file:
        file.write(json.dumps(cases, separators=(",", ":")).replace('},{"id', '},\n{"id') + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
