"""Makes the fixtures of crates/model/tests/architectures.rs: for every architecture a tiny model with random weights, made
by transformers, with its logits and its gradients on two texts.

    pip install torch "transformers>=5" safetensors numpy
    python tests/reference/tiny_models.py crates/model/tests/fixtures
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

COMMON = dict(
    vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.2,
)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
LINEAR = dict(rope_type="linear", factor=2.0)

MODELS = {
    "llama": lambda t: t.LlamaConfig(**COMMON, tie_word_embeddings=True, rms_norm_eps=1e-5),
    "llama3-scaled": lambda t: t.LlamaConfig(**COMMON, head_dim=8, rope_theta=500000.0, rope_scaling=LLAMA3),
    "llama-linear": lambda t: t.LlamaConfig(**COMMON, rope_scaling=LINEAR),
    "qwen2": lambda t: t.Qwen2Config(**COMMON, tie_word_embeddings=True, rope_theta=1000000.0),
    "qwen2-yarn": lambda t: t.Qwen2Config(**COMMON, rope_scaling=YARN),
    "qwen3": lambda t: t.Qwen3Config(**COMMON, head_dim=8, tie_word_embeddings=True),
    "smollm3": lambda t: t.SmolLM3Config(**{**COMMON, "num_hidden_layers": 4}),
    "gemma3": lambda t: t.Gemma3TextConfig(
        **COMMON, head_dim=8, query_pre_attn_scalar=8, sliding_window=5, layer_types=["sliding_attention", "full_attention"],
    ),
}


def main(out: Path) -> None:
    for name, configure in MODELS.items():
        torch.manual_seed(len(name))
        config = configure(transformers)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                # Norms and biases start at constants; random ones show whether they are applied, and where.
                if "norm" in key or key.endswith("bias"):
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        tokens = torch.randint(3, config.vocab_size, (2, 24))
        logits = model(tokens).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, config.vocab_size), tokens[:, 1:].reshape(-1), reduction="sum")
        loss.backward()
        folder = out / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        expected = {"tokens": tokens.int(), "logits": logits.detach(), "loss": loss.detach().reshape(1)}
        expected |= {f"grad.{key}": parameter.grad.clone() for key, parameter in model.named_parameters()}
        save_file(expected, folder / "expected.safetensors")
        print(name, sum(p.numel() for p in model.parameters()), float(loss))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
