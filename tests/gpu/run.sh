#!/usr/bin/env bash
# Measures training and generation on the first GPU beside PyTorch and transformers; needs python3 with torch,
# transformers, peft and tokenizers.
#   tests/gpu/run.sh TOKENIZER_FOLDER SAMPLES.jsonl [WORK_FOLDER]
# TOKENIZER_FOLDER holds SmolLM2's tokenizer files; SAMPLES.jsonl has {"prompt", "answer"} per line, some megabytes of them.
# `BIN` may name a folder with the programs `gpu` and `potstill`, built elsewhere with the feature `cuda`.
set -euo pipefail
tokenizer=$1 samples=$2 work=${3:-$(mktemp -d)}
here=$(dirname "$0")
if [ -z "${BIN:-}" ]; then
    cargo build --release -p potstill-cuda --example gpu
    cargo build --release -p potstill --features cuda
    BIN=$work/bin target="${CARGO_TARGET_DIR:-target}/release"
    mkdir -p "$BIN" && cp "$target/examples/gpu" "$target/potstill" "$BIN"
fi
gpu=$BIN/gpu potstill=$BIN/potstill

python3 "$here/native.py" make smollm2 "$work/smollm2"
python3 "$here/native.py" make qwen "$work/qwen"
python3 "$here/native.py" tokens "$work/smollm2" "$tokenizer" "$samples" 100 16 1024
"$gpu" train "$work/smollm2" 100 16 1024 16
python3 "$here/native.py" train "$work/smollm2" 100 16 1024 16
# Adapters; the larger shape takes the same tokens.
cp "$work/smollm2"/{tokens,rates}.bin "$work/qwen"
for kind in smollm2 qwen; do
    python3 "$here/native.py" adapters "$kind" "$work/$kind"
    "$gpu" lora "$work/$kind" 100 16 1024 8
    python3 "$here/native.py" lora "$kind" "$work/$kind" 100 16 1024 8
done
for kind in smollm2 qwen; do
    "$gpu" generate "$work/$kind" 512 64 512 512
    python3 "$here/native.py" generate "$kind" "$work/$kind" 512 64 512 512
done

# The same through the program: a Hugging Face folder, text in, text out.
for kind in smollm2 qwen; do
    folder=$work/$kind-folder
    python3 "$here/native.py" folder "$kind" "$folder" "$tokenizer" "$samples" 512 64
    generate() { "$potstill" generate "$folder" --device cuda:0 --raw --input "$folder/prompts.jsonl" --batch-size 512 --max-new-tokens 512 "$@"; }
    echo "one token of one prompt: start-up and loading"
    for _ in 1 2; do
        time "$potstill" generate "$folder" --device cuda:0 --raw --prompt One --max-new-tokens 1 --out "$work/one.jsonl"
    done
    generate --out "$work/replies.jsonl"
    generate --temperature 1 --out "$work/drawn.jsonl"
    python3 "$here/native.py" program "$folder" "$work/replies.jsonl" 512 512
done
