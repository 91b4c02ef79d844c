"""The reference: transformers on the CPU, float32, eager attention, one thread.

In: a checkpoint directory and token ids. Out: float32 logits, greedy ids with the gap between the two
best logits, and the same logits in float64 to know how exact float32 itself is.
"""

import contextlib
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

torch.set_num_threads(1)
torch.set_float32_matmul_precision("highest")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def load(model_dir, model_class):
    """The model in float32; an error if a tensor is missing, left over or of another shape."""
    arguments = {"dtype": torch.float32, "attn_implementation": "eager", "local_files_only": True}
    if "Moe" in model_class:
        arguments["experts_implementation"] = "eager"
    model, info = getattr(transformers, model_class).from_pretrained(
        model_dir, output_loading_info=True, **arguments
    )
    wrong = {kind: names for kind, names in info.items() if names}
    if wrong:
        raise SystemExit(f"{model_dir}: {wrong}")
    return model.eval()


@torch.no_grad()
def logits(model, ids):
    """Every row of a prompt that starts a new sequence: [tokens, vocab]."""
    return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()


@torch.no_grad()
def greedy(model, prompt, count, stop=()):
    """Up to `count` greedy ids by cached decoding, and the gap to the second best logit at each step."""
    ids, gaps = [], []
    feed, cache = list(prompt), None
    while len(ids) < count:
        out = model(torch.tensor([feed]), past_key_values=cache, use_cache=True)
        row, cache = out.logits[0, -1], out.past_key_values
        best = torch.topk(row, 2)
        ids.append(int(best.indices[0]))
        gaps.append(float(best.values[0] - best.values[1]))
        feed = ids[-1:]
        if ids[-1] in stop:
            break
    return ids, gaps


@torch.no_grad()
def router_margin(model, prompts):
    """The least difference in probability between the last expert chosen and the first one left out."""
    margins = [1.0]

    def watch(router, _, output):
        best = output[0].softmax(-1).topk(router.top_k + 1).values
        margins.append(float((best[:, -2] - best[:, -1]).min()))

    routers = [m for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
    hooks = [m.register_forward_hook(watch) for m in routers]
    for ids in prompts:
        logits(model, ids)
    for hook in hooks:
        hook.remove()
    return min(margins)


@contextlib.contextmanager
def everything_in_float64():
    """transformers casts to float32 by name inside its layers: here those names mean float64."""
    kept = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept


def as_float64(model):
    """Turns the model (in place) into float64, rotary frequencies included."""
    model.double()
    with everything_in_float64():
        for module in model.modules():
            if not hasattr(module, "inv_freq"):
                continue
            kind = module.config.rope_parameters["rope_type"]
            rule = ROPE_INIT_FUNCTIONS.get(kind, getattr(module, "compute_default_rope_parameters", None))
            module.inv_freq = rule(module.config)[0]
            assert module.inv_freq.dtype == torch.float64
            # What angles that depend on the length fall back to.
            if hasattr(module, "original_inv_freq"):
                module.original_inv_freq = module.inv_freq.clone()
    return model


def logits_in_float64(model, ids):
    """As [`logits`], of a model that went through [`as_float64`]."""
    with everything_in_float64():
        rows = logits(model, ids)
    assert rows.dtype == np.float64
    return rows


def nmse(reference, found):
    """Sum of squared differences over the sum of squares of the reference."""
    reference, found = np.asarray(reference, np.float64), np.asarray(found, np.float64)
    return float(((found - reference) ** 2).sum() / (reference**2).sum())
