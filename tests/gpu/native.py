"""Inputs and comparison for crates/cuda/examples/gpu.rs and `potstill generate`; needs torch, transformers and a GPU.

python3 native.py make smollm2|qwen FOLDER          random weights of SmolLM2-135M's or Qwen2.5-1.5B's shape, fixed seed
python3 native.py tokens FOLDER TOKENIZER SAMPLES STEPS ROWS LEN      real text as tokens for `gpu train`
python3 native.py train FOLDER STEPS ROWS LEN MICRO_ROWS              PyTorch's run on the same tokens, after `gpu train`
python3 native.py adapters smollm2|qwen FOLDER                        adapters of rank 16 for `gpu lora`, B zero
python3 native.py lora smollm2|qwen FOLDER STEPS ROWS LEN MICRO_ROWS  peft's run on the same tokens, after `gpu lora`
python3 native.py generate smollm2|qwen FOLDER PROMPTS LENGTH NEW BATCH   transformers' generate, after `gpu generate`
python3 native.py folder smollm2|qwen FOLDER TOKENIZER SAMPLES PROMPTS LENGTH   the same weights as a Hugging Face folder in bf16,
                                                      with prompts.jsonl: pieces of real texts, LENGTH tokens each
python3 native.py program FOLDER REPLIES NEW BATCH    transformers on that folder, after `potstill generate … --out REPLIES`
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

CONFIGS = {
    "smollm2": LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=100000.0,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, tie_word_embeddings=True,
    ),
    "qwen": Qwen2Config(
        vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
        num_key_value_heads=2, max_position_embeddings=32768, rms_norm_eps=1e-6, rope_theta=1000000.0,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, tie_word_embeddings=True,
    ),
}
THETA = {"smollm2": 100000.0, "qwen": 1000000.0}
PEAK = 989e12  # dense bf16 of an H100 or H200, FLOP/s


def build(kind, dtype):
    torch.manual_seed(7)
    torch.set_default_device("cuda")
    model = AutoModelForCausalLM.from_config(CONFIGS[kind], attn_implementation="sdpa")
    # The parameters alone: the rotary frequencies stay in f32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(dtype)
    torch.set_default_device("cpu")
    theta = model.model.rotary_emb.inv_freq
    dim = CONFIGS[kind].hidden_size // CONFIGS[kind].num_attention_heads
    assert abs(float(theta[1]) - THETA[kind] ** (-2 / dim)) < 1e-6, f"the base of the angles was not taken: {theta[:3]}"
    return model


def ordered(model):
    """The parameters in the order of `Shape`, as matrices [in, out]."""
    yield model.model.embed_tokens.weight
    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        yield layer.input_layernorm.weight
        yield torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]).T
        if a.q_proj.bias is not None:
            yield torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias])
        yield a.o_proj.weight.T
        yield layer.post_attention_layernorm.weight
        yield torch.cat([m.gate_proj.weight, m.up_proj.weight]).T
        yield m.down_proj.weight.T
    yield model.model.norm.weight


def make(kind, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model, c = build(kind, torch.bfloat16), CONFIGS[kind]
    dim = c.hidden_size // c.num_attention_heads
    with open(folder / "parameters.bin", "wb") as file:
        for parameter in ordered(model):
            parameter.detach().float().contiguous().cpu().numpy().tofile(file)
    positions = torch.arange(4096).float()[:, None] * (1.0 / THETA[kind] ** (torch.arange(0, dim, 2).float() / dim))[None]
    torch.cat([positions.cos(), positions.sin()], 1).numpy().astype("float32").tofile(folder / "angles.bin")
    bias = int(model.model.layers[0].self_attn.q_proj.bias is not None)
    shape = dict(vocab=c.vocab_size, hidden=c.hidden_size, inner=c.intermediate_size, layers=c.num_hidden_layers,
                 heads=c.num_attention_heads, groups=c.num_key_value_heads, dim=dim, bias=bias, tied=1, eps=c.rms_norm_eps)
    (folder / "shape.txt").write_text("".join(f"{k} {v}\n" for k, v in shape.items()))
    rng = np.random.default_rng(1)
    rng.integers(100, 40000, (512, 256)).astype("int32").tofile(folder / "prompts.bin")


def tokens(folder, tokenizer, samples, steps, rows, length):
    from tokenizers import Tokenizer

    lines = [json.loads(line) for line in open(samples)]
    encode = Tokenizer.from_file(f"{tokenizer}/tokenizer.json")
    texts = ["<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n%s<|im_end|>\n" % (x["prompt"], x["answer"]) for x in lines]
    ids = [i for e in encode.encode_batch(texts, add_special_tokens=False) for i in e.ids]
    all_rows = np.array(ids[: len(ids) // (length + 1) * (length + 1)], dtype="int32").reshape(-1, length + 1)
    rng = np.random.default_rng(3)
    order = np.concatenate([rng.permutation(len(all_rows)) for _ in range(1 + steps * rows // len(all_rows))])[: steps * rows]
    all_rows[order].tofile(Path(folder) / "tokens.bin")
    warm = np.minimum(1.0, (np.arange(steps) + 1) / 10)
    (3e-4 * warm).astype("float32").tofile(Path(folder) / "rates.bin")
    print(f"{len(all_rows)} rows of real text, {steps * rows} used")


def flops_per_token(c, length):
    """Six per weight of every matrix product; attention's products over half the square, forward and twice that back."""
    dim = c.hidden_size // c.num_attention_heads
    projections = c.hidden_size * (2 * c.num_attention_heads + 2 * c.num_key_value_heads) * dim + 3 * c.hidden_size * c.intermediate_size
    weights = c.num_hidden_layers * projections + c.hidden_size * c.vocab_size
    return 6 * weights + c.num_hidden_layers * 6 * c.num_attention_heads * dim * length


RANK, ALPHA = 16, 32
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def widths(c):
    dim = c.hidden_size // c.num_attention_heads
    d, inner, q, kv = c.hidden_size, c.intermediate_size, c.num_attention_heads * dim, c.num_key_value_heads * dim
    return [(d, q), (d, kv), (d, kv), (q, d), (d, inner), (d, inner), (inner, d)]


def adapters(kind, folder):
    rng, c = np.random.default_rng(11), CONFIGS[kind]
    with open(Path(folder) / "adapters.bin", "wb") as file:
        for _ in range(c.num_hidden_layers):
            for inputs, outputs in widths(c):
                rng.uniform(-1 / inputs**0.5, 1 / inputs**0.5, (inputs, RANK)).astype("float32").tofile(file)
                np.zeros((RANK, outputs), dtype="float32").tofile(file)


def lora(kind, folder, steps, rows, length, micro):
    from peft import LoraConfig, get_peft_model

    model = build(kind, torch.bfloat16)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS)).train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    values, at = np.fromfile(Path(folder) / "adapters.bin", dtype="float32"), 0
    named = dict(model.named_parameters())
    for layer in range(CONFIGS[kind].num_hidden_layers):
        for target, (inputs, outputs) in zip(TARGETS, widths(CONFIGS[kind])):
            block = "self_attn" if target[0] in "qkvo" else "mlp"
            name = f"base_model.model.model.layers.{layer}.{block}.{target}.lora_A.default.weight"
            named[name].data.copy_(torch.from_numpy(values[at: at + inputs * RANK].reshape(inputs, RANK).T.copy()))
            at += RANK * (inputs + outputs)
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 0.1}]
    compare(kind, folder, model, groups, steps, rows, length, micro)


def train(folder, steps, rows, length, micro):
    model = build("smollm2", torch.float32).train()
    decay = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim >= 2 and "embed" not in n)]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    compare("smollm2", folder, model, groups, steps, rows, length, micro)


def compare(kind, folder, model, groups, steps, rows, length, micro):
    folder = Path(folder)
    curve = np.loadtxt(folder / "curve.txt")
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8, fused=True)
    data = torch.from_numpy(np.fromfile(folder / "tokens.bin", dtype="int32").reshape(-1, rows, length + 1)[:steps].astype("int64"))
    rates = np.fromfile(folder / "rates.bin", dtype="float32")
    losses, norms, times = [], [], []
    for step in range(steps):
        torch.cuda.synchronize()
        began = time.perf_counter()
        total = torch.zeros((), device="cuda")
        for part in data[step].split(micro):
            part = part.cuda(non_blocking=True)
            with torch.autocast("cuda", torch.bfloat16):
                logits = model(input_ids=part[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
            (loss / (rows * length)).backward()
            total += loss.detach()
            del logits, loss
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        for group in optimizer.param_groups:
            group["lr"] = float(rates[step])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(total) / (rows * length))
        times.append(time.perf_counter() - began)
    difference = np.abs(curve[:steps, 0] - np.array(losses))
    relative = np.abs(curve[:steps, 1] / np.array([float(n) for n in norms]) - 1)
    rate = lambda seconds: rows * length / statistics.median(seconds[steps // 2:])
    flops = flops_per_token(CONFIGS[kind], length)
    ours, theirs = rate(list(curve[:, 2])), rate(times)
    print(json.dumps(dict(
        steps=steps, mean_loss_difference=float(difference.mean()), largest_loss_difference=float(difference.max()),
        first_losses=[float(curve[0, 0]), losses[0]], last_losses=[float(curve[steps - 1, 0]), losses[-1]],
        mean_norm_difference=float(relative.mean()), ours_tokens_per_second=round(ours), ours_mfu=round(ours * flops / PEAK, 4),
        pytorch_tokens_per_second=round(theirs), pytorch_mfu=round(theirs * flops / PEAK, 4),
        ours_first_step_seconds=float(curve[0, 2]), pytorch_first_step_seconds=times[0],
        ours_gpu_memory_gib=round(float(curve[:, 3].max()) / 2**30, 2),
        pytorch_peak_reserved_gib=round(torch.cuda.max_memory_reserved() / 2**30, 2), device=torch.cuda.get_device_name(),
    ), indent=1))


def generate(kind, folder, prompts, length, new, batch):
    folder = Path(folder)
    model, c = build(kind, torch.bfloat16).eval(), CONFIGS[kind]
    ids = torch.from_numpy(np.fromfile(folder / "prompts.bin", dtype="int32")[: prompts * length].reshape(prompts, length).astype("int64")).cuda()
    options = dict(do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True)

    def run(ids, new):
        torch.cuda.synchronize()
        began = time.perf_counter()
        out = [model.generate(p, attention_mask=torch.ones_like(p), max_new_tokens=new, min_new_tokens=new, **options) for p in ids.split(batch)]
        torch.cuda.synchronize()
        return time.perf_counter() - began, torch.cat(out)[:, length:]

    run(ids[:batch], 4)
    seconds, out = run(ids, new)
    ours = np.fromfile(folder / "generated.bin", dtype="int32").reshape(prompts, new)
    same = ours == out.cpu().numpy()
    agreed = np.where(same.all(1), new, same.argmin(1))
    weights = sum(p.numel() for p in model.parameters()) * 2
    per_token = 2 * c.num_hidden_layers * c.num_key_value_heads * (c.hidden_size // c.num_attention_heads) * 2
    floor = new * (prompts // batch) * (weights + batch * per_token * (length + new / 2)) / 3e12
    print(json.dumps(dict(
        kind=kind, transformers_tokens_per_second=round(prompts * new / seconds), floor_tokens_per_second_at_3_tb_s=round(prompts * new / floor),
        first_token_equal=float(same[:, 0].mean()), mean_tokens_until_first_difference=float(agreed.mean()),
        peak_gib=round(torch.cuda.max_memory_reserved() / 2**30, 2), device=torch.cuda.get_device_name(),
    )))


def folder(kind, folder, tokenizer, samples, prompts, length):
    from tokenizers import Tokenizer

    build(kind, torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        Path(folder, name).write_bytes(Path(tokenizer, name).read_bytes())
    encode = Tokenizer.from_file(f"{tokenizer}/tokenizer.json")
    ids = [i for line in open(samples) for i in encode.encode(json.loads(line)["answer"], add_special_tokens=False).ids]
    # Many tokens apart, so that no two are the same.
    step = len(ids) // prompts
    with open(Path(folder, "prompts.jsonl"), "w") as out:
        for at in range(prompts):
            out.write(json.dumps({"prompt": encode.decode(ids[at * step: at * step + length])}) + "\n")


def program(folder, replies, new, batch):
    """What transformers generates from the folder and prompts that the program was given."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").cuda().eval()
    torch.cuda.synchronize()
    loaded = time.perf_counter() - began
    texts = [json.loads(line)["prompt"] for line in open(Path(folder, "prompts.jsonl"))]
    options = dict(do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True)

    def run(texts, new):
        torch.cuda.synchronize()
        began, out = time.perf_counter(), []
        for at in range(0, len(texts), batch):
            ids = tokenizer(texts[at: at + batch], return_tensors="pt", padding=True, add_special_tokens=False).to("cuda")
            ids.pop("token_type_ids", None)
            out += model.generate(**ids, max_new_tokens=new, min_new_tokens=new, **options)[:, ids["input_ids"].shape[1]:].tolist()
        torch.cuda.synchronize()
        return time.perf_counter() - began, out

    run(texts[:batch], 4)
    seconds, out = run(texts, new)
    theirs = [tokenizer.decode(ids, skip_special_tokens=True) for ids in out]
    ours = [json.loads(line)["response"] for line in open(replies)]
    c, length = model.config, len(tokenizer(texts[0], add_special_tokens=False).input_ids)
    weights = sum(p.numel() for p in model.parameters()) * 2
    per_token = 2 * c.num_hidden_layers * c.num_key_value_heads * (c.hidden_size // c.num_attention_heads) * 2
    floor = new * len(texts) / batch * (weights + batch * per_token * (length + new / 2)) / 3e12
    begin = [next((i for i, (a, b) in enumerate(zip(x, y)) if a != b), min(len(x), len(y))) for x, y in zip(ours, theirs)]
    print(json.dumps(dict(
        folder=str(folder), transformers_tokens_per_second=round(len(texts) * new / seconds), transformers_load_seconds=round(loaded, 2),
        floor_tokens_per_second_at_3_tb_s=round(len(texts) * new / floor), mean_characters_until_first_difference=statistics.mean(begin),
        device=torch.cuda.get_device_name(),
    )))


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    rest = [int(x) if x.isdigit() else x for x in rest]
    {"make": make, "tokens": tokens, "train": train, "adapters": adapters, "lora": lora, "generate": generate, "folder": folder, "program": program}[name](*rest)
