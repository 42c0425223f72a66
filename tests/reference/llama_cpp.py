"""Shows that llama.cpp loads a GGUF file that potstill wrote, and continues prompts with the same tokens.

    pip install xllamacpp
    cargo run --release -p potstill-model --example continuations -- MODEL EXPECTED.json 5 24
    python tests/reference/llama_cpp.py FILE.gguf EXPECTED.json [CACHE_TYPE]

EXPECTED.json, written by the example from the same weights, holds a list of {"prompt": [ids], "continuation": [ids]}, decoded
greedily. Keys and values are kept in f32, as potstill keeps them.
"""

import json
import sys

import xllamacpp as xlc


def main(path: str, expected: str, cache_type: str = "f32") -> None:
    params = xlc.CommonParams()
    params.model.path = path
    params.n_ctx = 1024
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = 2
    kind = getattr(xlc.ggml_type, f"GGML_TYPE_{cache_type.upper()}")
    params.cache_type_k = params.cache_type_v = kind
    server = xlc.Server(params)
    same = 0
    cases = json.load(open(expected))
    for case in cases:
        count = len(case["continuation"])
        request = {"prompt": case["prompt"], "n_predict": count, "temperature": 0, "return_tokens": True, "ignore_eos": True, "cache_prompt": False}
        reply = server.handle_completions(request)
        reply = json.loads(reply) if isinstance(reply, str) else reply
        reply = reply[0] if isinstance(reply, list) else reply
        found = reply["tokens"]
        same += found == case["continuation"]
        if found != case["continuation"]:
            at = next((i for i, (a, b) in enumerate(zip(found, case["continuation"])) if a != b), min(len(found), count))
            print(f"prompt of {len(case['prompt'])} tokens: differs at token {at} of {count}")
    print(f"{same} of {len(cases)} continuations are identical")
    if same != len(cases):
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
