#!/usr/bin/env bash
# Measures training and generation on the first GPU beside PyTorch and transformers; needs python3 with torch,
# transformers and tokenizers.
#   tests/gpu/run.sh TOKENIZER_FOLDER SAMPLES.jsonl [WORK_FOLDER]
# TOKENIZER_FOLDER holds SmolLM2's tokenizer.json; SAMPLES.jsonl has {"prompt", "answer"} per line, some megabytes of them.
set -euo pipefail
tokenizer=$1 samples=$2 work=${3:-$(mktemp -d)}
here=$(dirname "$0")
cargo build --release -p potstill-cuda --example gpu
gpu="${CARGO_TARGET_DIR:-target}/release/examples/gpu"

python3 "$here/native.py" make smollm2 "$work/smollm2"
python3 "$here/native.py" make qwen "$work/qwen"
python3 "$here/native.py" tokens "$work/smollm2" "$tokenizer" "$samples" 100 16 1024
"$gpu" train "$work/smollm2" 100 16 1024 16
python3 "$here/native.py" train "$work/smollm2" 100 16 1024 16
for kind in smollm2 qwen; do
    "$gpu" generate "$work/$kind" 512 64 512 512
    python3 "$here/native.py" generate "$kind" "$work/$kind" 512 64 512 512
done
