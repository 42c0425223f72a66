//! Decoder-only language models on burn: weights, tokenizer, chat template, generation.
