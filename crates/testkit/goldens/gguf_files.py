"""Writes tiny GGUF files by llama.cpp's own converter and quantiser, and blocks with their values: gguf/.

    python gguf_files.py LLAMA_SOURCE llama_peer

LLAMA_SOURCE is a checkout of llama.cpp (vendor/llama.cpp of llama-cpp-python 0.3.36), llama_peer is made of llama_peer.c.
`<name>.gguf` is a file, `<name>.safetensors` has 40 ids and the last 6 rows of logits, by transformers in float32 on the
weights that the blocks stand for, and by llama.cpp, which rounds the inputs of its products to 8 bits.
`blocks.safetensors` has, for each kind of block, bytes (filled up to words) and what the `gguf` package makes of them.
"""

import json
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import families

families.VOCAB = 262
from families import VOCAB, Family, dense, dense_shapes, mrope, qwen3_5_shapes, qwen3_5_text

HERE = Path(__file__).resolve().parent
OUT = HERE / "gguf"
TOKENS, ROWS = 40, 6
# The converter would look the tokenizer up by a hash of what it does; these are invented.
CONVERT = """
import runpy, sys
sys.path[:0] = [{root!r}, {root!r} + "/gguf-py"]
from conversion import base
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: {pre!r}
runpy.run_path({root!r} + "/convert_hf_to_gguf.py", run_name="__main__")
"""
LLAMA3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
    "rope_type": "llama3",
}


def llama(hidden, heads, kv_heads, **more):
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-5,
             "rope_theta": 10000.0, "mlp_bias": False, "max_position_embeddings": 512, "torch_dtype": "float32"}
    config = dense("LlamaForCausalLM", "llama", False, **sizes | more)
    return Family(config=config, model_class="LlamaForCausalLM", shapes=dense_shapes(head_norms=False))


def qwen3_5(kind, name, tied, **more):
    text = qwen3_5_text(f"{kind}_text", tied, ["linear", "full"], hidden_size=64, num_attention_heads=2,
                        num_key_value_heads=1, head_dim=32, linear_num_key_heads=2, linear_num_value_heads=4,
                        linear_key_head_dim=32, linear_value_head_dim=32, rope_parameters=mrope(10000000, [2, 1, 1]),
                        mtp_num_hidden_layers=0, mtp_use_dedicated_embeddings=False, **more)
    config = {"architectures": [f"{name}ForConditionalGeneration"], "model_type": kind, "text_config": text,
              "tie_word_embeddings": tied}
    return Family(config=config, model_class=f"{name}ForCausalLM", shapes=qwen3_5_shapes)


# Name: family, its pre-tokenizer's name, number of the quantiser's kind.
FILES = {
    "llama_q4_1": (llama(64, 4, 2, num_hidden_layers=2, intermediate_size=64, attention_bias=True, rope_scaling=LLAMA3), "gpt-2", 3),
    "llama_q4_k_m": (llama(256, 2, 1, num_hidden_layers=1, intermediate_size=32, head_dim=32, attention_bias=False), "gpt-2", 15),
    "qwen3_q8_0": (
        Family(config=dense("Qwen3ForCausalLM", "qwen3", True, num_hidden_layers=2, attention_bias=False, hidden_size=64,
                            intermediate_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=32,
                            max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=1000000, torch_dtype="float32"),
               model_class="Qwen3ForCausalLM", shapes=dense_shapes(head_norms=True)), "qwen2", 7),
    "qwen35_q4_0": (qwen3_5("qwen3_5", "Qwen3_5", True, intermediate_size=64), "qwen35", 2),
    "qwen35moe_q5_1": (
        qwen3_5("qwen3_5_moe", "Qwen3_5Moe", False, moe_intermediate_size=32, shared_expert_intermediate_size=32,
                num_experts=4, num_experts_per_tok=2), "qwen35", 9),
}


def write_tokenizer(out):
    """Bytes, a few pairs of letters, and three control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("t", "h"), ("e", "r"), ("i", "n")]
    words = alphabet + ["".join(pair) for pair in pairs]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in control])
    assert tokenizer.get_vocab_size() == VOCAB
    tokenizer.save(str(out / "tokenizer.json"))
    template = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
              "pad_token": "<|endoftext|>", "chat_template": template}
    (out / "tokenizer_config.json").write_text(json.dumps(config))


def write_checkpoint(out, family, tensors):
    out.mkdir(exist_ok=True)
    (out / "config.json").write_text(json.dumps(family.config))
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(out)


def convert(root, pre, checkpoint, file):
    extra = ["--no-mtp"] if pre == "qwen35" else []
    script = CONVERT.format(root=root, pre=pre)
    command = [sys.executable, "-c", script, str(checkpoint), "--outtype", "f32", "--outfile", str(file), *extra]
    subprocess.run(command, check=True, capture_output=True)


def values(file):
    """The values of all tensors of a GGUF file, with what the converter did to single values undone."""
    shifted, found = "35" in file.name or "35" in str(file.parent), {}
    for tensor in gguf.GGUFReader(file).tensors:
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).ravel()
        if tensor.name.endswith("ssm_a"):
            value = np.log(-value.astype(np.float64)).astype(np.float32)
        elif shifted and tensor.name.endswith("norm.weight") and "ssm_norm" not in tensor.name:
            value = value - np.float32(1)
        found[tensor.name] = value
    found.pop("rope_freqs.weight", None)
    return found


def places(root, pre, family, tensors, folder):
    """Where the converter puts each value: for each tensor of the file, numbers of tensors and places in them.

    It is asked with checkpoints whose values are these numbers, so that nothing here knows what it does.
    """
    asked = []
    for of_tensor in (True, False):
        numbers = {}
        for number, (name, tensor) in enumerate(sorted(tensors.items())):
            value = np.full(tensor.size, number) if of_tensor else np.arange(tensor.size)
            value = np.log(value + 1.0) if name.endswith("A_log") else value
            numbers[name] = value.astype(np.float32).reshape(tensor.shape)
        checkpoint, file = folder / f"places{of_tensor}", folder / f"places{of_tensor}{pre}.gguf"
        write_checkpoint(checkpoint, family, numbers)
        convert(root, pre, checkpoint, file)
        found = values(file)
        for name, value in found.items():
            found[name] = np.rint(np.exp(value) - 1 if name.endswith("ssm_a") else value).astype(int)
        asked.append(found)
    return {name: (asked[0][name], asked[1][name]) for name in asked[0]}


def dequantised(file, where, tensors):
    names = sorted(tensors)
    out = {name: np.full(tensor.size, np.nan, np.float32) for name, tensor in tensors.items()}
    for name, value in values(file).items():
        of, at = where[name]
        for number in np.unique(of):
            out[names[number]][at[of == number]] = value[of == number]
    assert all(np.isfinite(value).all() for value in out.values())
    return {name: value.reshape(tensors[name].shape) for name, value in out.items()}


def make(name, family, pre, kind, root, peer, folder):
    tensors = family.tensors(name)
    write_checkpoint(folder / "hub", family, tensors)
    plain, file = folder / f"{name}.f32.gguf", OUT / f"{name}.gguf"
    convert(root, pre, folder / "hub", plain)
    subprocess.run([peer, "quantize", plain, file, str(kind)], check=True, stdout=subprocess.DEVNULL)
    where = places(root, pre, family, tensors, folder)
    write_checkpoint(folder / "deq", family, dequantised(file, where, tensors))
    model = getattr(transformers, family.model_class).from_pretrained(
        folder / "deq", dtype=torch.float32, attn_implementation="eager")
    ids = np.random.default_rng(zlib.crc32(name.encode())).integers(0, VOCAB - 3, TOKENS)
    with torch.inference_mode():
        logits = model.eval()(torch.tensor(ids)[None], use_cache=False).logits[0].float().numpy()
    ids.astype(np.int32).tofile(folder / "ids")
    subprocess.run([peer, "logits", file, folder / "ids", folder / "logits"], check=True)
    theirs = np.fromfile(folder / "logits", np.float32).reshape(logits.shape)
    error = ((theirs - logits) ** 2).sum() / (logits**2).sum()
    kinds = sorted({tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors})
    print(f"{name}: {file.stat().st_size} bytes, {kinds}, llama.cpp is {error:.1e} away")
    save_file({f"prompt_{TOKENS}.ids": ids.astype(np.uint32), f"prompt_{TOKENS}.logits": logits[-ROWS:].copy(),
               f"llama_{TOKENS}.logits": theirs[-ROWS:].copy()}, OUT / f"{name}.safetensors")


def blocks():
    """Random bytes are blocks of every kind; only scales must be numbers."""
    rng, out = np.random.default_rng(7), {}
    for kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"):
        kind = gguf.GGMLQuantizationType[kind]
        size, bytes_of = gguf.GGML_QUANT_SIZES[kind]
        data = rng.integers(0, 256, (512 // size, bytes_of), dtype=np.uint8)
        scales = {"Q2_K": [80, 82], "Q3_K": [108], "Q6_K": [208], "MXFP4": []}.get(kind.name, [0])
        scales = scales + ([2] if kind.name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else [])
        for at in scales:
            numbers = (rng.standard_normal(len(data)) * 0.01).astype(np.float16)
            data[:, at : at + 2] = numbers.view(np.uint8).reshape(-1, 2)
        if kind.name == "MXFP4":
            data[:, 0] = rng.integers(100, 140, len(data))
            data[0, 0] = 1
        flat = np.concatenate([data.ravel(), np.zeros(-data.size % 4, np.uint8)])
        out[f"{kind.name}.bytes"] = flat.view(np.uint32).copy()
        out[f"{kind.name}.values"] = gguf.quants.dequantize(data, kind).astype(np.float32).ravel()
    save_file(out, OUT / "blocks.safetensors")


def main():
    root, peer = sys.argv[1:]
    OUT.mkdir(exist_ok=True)
    blocks()
    for name, (family, pre, kind) in FILES.items():
        with tempfile.TemporaryDirectory(suffix=name) as folder:
            make(name, family, pre, kind, os.path.abspath(root), os.path.abspath(peer), Path(folder))


if __name__ == "__main__":
    main()
