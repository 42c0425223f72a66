"""Shows that llama.cpp loads a GGUF file that potstill wrote, and continues prompts with the same tokens.

    pip install xllamacpp tokenizers
    cargo run --release -p potstill-model --example continuations -- MODEL EXPECTED.json 5 24
    python tests/reference/llama_cpp.py FILE.gguf EXPECTED.json TOKENIZER.json [CACHE_TYPE]

EXPECTED.json, written by the example from the same weights, holds a list of {"prompt": [ids], "continuation": [ids]}, decoded
greedily. Keys and values are kept in f32, as potstill keeps them.
"""

import json
import sys

import xllamacpp as xlc
from tokenizers import Tokenizer


def read(reply):
    reply = json.loads(reply) if isinstance(reply, str) else reply
    return reply[0] if isinstance(reply, list) else reply


def main(path: str, expected: str, tokenizer_file: str, cache_type: str = "f32") -> None:
    params = xlc.CommonParams()
    params.model.path = path
    params.n_ctx = 1024
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = 2
    kind = getattr(xlc.ggml_type, f"GGML_TYPE_{cache_type.upper()}")
    params.cache_type_k = params.cache_type_v = kind
    server = xlc.Server(params)
    tokenizer = Tokenizer.from_file(tokenizer_file)
    same = 0
    cases = json.load(open(expected))
    for case in cases:
        count = len(case["continuation"])
        request = {"prompt": case["prompt"], "n_predict": count, "temperature": 0, "cache_prompt": False}
        reply = read(server.handle_completions(request))
        # The reply has text, not tokens, and ends where the model ends a turn.
        wanted = tokenizer.decode(case["continuation"], skip_special_tokens=False).split("<|im_end|>")[0]
        choice = reply["choices"][0]
        equal = choice["text"] == wanted
        same += equal
        if not equal:
            print(f"prompt of {len(case['prompt'])} tokens: {choice['text']!r} is not {wanted!r}")
    print(f"{same} of {len(cases)} continuations are identical")
    if same != len(cases):
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
