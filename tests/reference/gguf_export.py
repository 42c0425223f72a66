"""Shows that a GGUF file that potstill wrote in F16, BF16 or Q8_0 holds, byte for byte, what gguf-py, the format's reference in
Python, makes of the same weights in f32. So llama.cpp computes from it what it computes from a conversion of its own.

    pip install gguf numpy
    potstill convert MODEL --out F32.gguf && potstill convert MODEL --precision q8_0 --out FILE.gguf
    python tests/reference/gguf_export.py F32.gguf FILE.gguf
"""

import sys
from collections import Counter

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, quants


def main(plain: str, packed: str) -> None:
    weights = {tensor.name: tensor for tensor in GGUFReader(plain).tensors}
    tensors = GGUFReader(packed).tensors
    assert {tensor.name for tensor in tensors} == set(weights), "the files hold different tensors"
    kinds, wrong = Counter(), []
    for tensor in tensors:
        kind = Type(tensor.tensor_type)
        kinds[kind.name] += 1
        values = np.asarray(weights[tensor.name].data, dtype=np.float32)
        expected = values if kind == Type.F32 else quants.quantize(values, kind)
        if expected.tobytes() != np.asarray(tensor.data).tobytes():
            wrong.append(tensor.name)
    print(f"{packed}: {dict(kinds)}, {len(wrong)} tensors differ {wrong[:5]}")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
