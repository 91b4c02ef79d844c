"""Writes tiny checkpoints as MLX, AWQ and GPTQ store them, with logits of the peer itself or of transformers: grouped/.

    python grouped.py

MLX ones are made by `mlx_lm.convert` and run by mlx on the CPU in float32, which changes no stored weight. AWQ and GPTQ ones
are packed here as their formats say, and transformers runs the float32 weights that they stand for.
"""

import json
import pathlib
import shutil
import tempfile
import zlib

import mlx.core as mx
import mlx_lm.utils
import numpy as np
from mlx_lm import convert
from safetensors.numpy import load_file, save_file

import families
import reference
from families import VOCAB, Family, dense, dense_shapes, mrope, qwen3_5_shapes, qwen3_5_text

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "grouped"
PROMPTS = {7: 7, 65: 16}  # length, and how many of its last rows are kept

LLAMA = Family(
    config=dense("LlamaForCausalLM", "llama", False, num_hidden_layers=2, hidden_size=64, intermediate_size=96,
                 num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, rms_norm_eps=1e-5,
                 rope_theta=10000.0, torch_dtype="float32"),
    model_class="LlamaForCausalLM", shapes=dense_shapes(head_norms=False))
QWEN3 = Family(
    config=dense("Qwen3ForCausalLM", "qwen3", True, num_hidden_layers=1, hidden_size=128, intermediate_size=128,
                 attention_bias=False, num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=2048,
                 rms_norm_eps=1e-6, rope_theta=1000000, torch_dtype="float32"),
    model_class="Qwen3ForCausalLM", shapes=dense_shapes(head_norms=True))


def qwen3_5(kind, name, tied, layers, **more):
    text = qwen3_5_text(f"{kind}_text", tied, layers, hidden_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=32,
                        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16,
                        rope_parameters=mrope(10000000, [2, 1, 1]), full_attention_interval=2, **more)
    config = {"architectures": [f"{name}ForConditionalGeneration"], "model_type": kind, "text_config": text, "tie_word_embeddings": tied}
    return Family(config=config, model_class=f"{name}ForCausalLM", shapes=qwen3_5_shapes)


QWEN3_5 = qwen3_5("qwen3_5", "Qwen3_5", True, ["linear", "full"], intermediate_size=96)
QWEN3_5_MOE = qwen3_5("qwen3_5_moe", "Qwen3_5Moe", False, ["linear", "full"], moe_intermediate_size=32,
                      shared_expert_intermediate_size=32, num_experts=4, num_experts_per_tok=2)


def some_in_eight(path, module):
    return {"group_size": 32, "bits": 8} if path.endswith(("down_proj", "in_proj_qkv")) else hasattr(module, "to_quantized")


# Name: family, arguments of mlx_lm.convert.
MLX = {
    "mlx_llama_4": (LLAMA, {"q_group_size": 32, "q_bits": 4, "dtype": "float16"}),
    "mlx_qwen3_8": (QWEN3, {"q_group_size": 128, "q_bits": 8, "dtype": "bfloat16"}),
    "mlx_qwen3_5_mixed": (QWEN3_5, {"q_group_size": 64, "q_bits": 4, "dtype": "float32", "quant_predicate": some_in_eight}),
    "mlx_qwen3_5_moe_f16": (QWEN3_5_MOE, {"quantize": False, "dtype": "float16"}),
    "mlx_qwen3_5_moe": (QWEN3_5_MOE, {"q_group_size": 32, "q_bits": 4, "dtype": "bfloat16"}),
}
PACKED = {"awq_llama": (LLAMA, "awq", 4), "gptq_llama": (LLAMA, "gptq", 4), "gptq_qwen3_8": (QWEN3, "gptq", 8)}


def prompts(name):
    rng = np.random.Generator(np.random.PCG64([2, zlib.crc32(name.encode())]))
    return {count: [int(i) for i in rng.integers(0, VOCAB - 2, count)] for count in PROMPTS}


def write_logits(name, run):
    golden = {}
    for count, ids in prompts(name).items():
        golden[f"prompt_{count}.ids"] = np.asarray(ids, np.uint32)
        golden[f"prompt_{count}.logits"] = np.ascontiguousarray(run(ids)[-PROMPTS[count]:], np.float32)
    save_file(golden, OUT / name / "logits.safetensors")


def write_hub(folder, config, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def make_mlx(name, family, arguments):
    with tempfile.TemporaryDirectory() as scratch:
        hub, mlx = pathlib.Path(scratch) / "hub", pathlib.Path(scratch) / "mlx"
        write_hub(hub, family.config, family.tensors(name))
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(HERE.parents[2] / "models" / "lattice-tiny" / file, hub / file)
        convert(str(hub), str(mlx), **{"quantize": True, **arguments})
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in ("config.json", "model.safetensors"):
            shutil.copy(mlx / file, folder / file)
        mx.set_default_device(mx.cpu)
        model, _ = mlx_lm.utils.load_model(folder)
        model.set_dtype(mx.float32)
        write_logits(name, lambda ids: np.array(model(mx.array([ids]))[0].astype(mx.float32)))


def pack_words(values, bits, order):
    """Integers along the last axis, eight or four to a word; `order` says which one has which place."""
    per_word = 32 // bits
    values = values.reshape(*values.shape[:-1], -1, per_word)[..., order].astype(np.uint32)
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    return np.bitwise_or.reduce(values << shifts, axis=-1).astype(np.uint32).view(np.int32)


def make_packed(name, family, method, bits, group=32):
    rng = np.random.Generator(np.random.PCG64([3, zlib.crc32(name.encode())]))
    stored, whole = {}, {}
    for tensor, values in family.tensors(name).items():
        values = values.astype(np.float16)
        if "_proj.weight" not in tensor:
            stored[tensor], whole[tensor] = values, values.astype(np.float32)
            continue
        base, (out, columns) = tensor.removesuffix(".weight"), values.shape
        groups = values.astype(np.float32).reshape(out, columns // group, group)
        least, most = groups.min(-1), groups.max(-1)
        scales = ((most - least) / (2**bits - 1)).astype(np.float16)
        zeros = np.clip(np.round(-least / scales.astype(np.float32)), 0, 2**bits - 1).astype(np.int64)
        zeros[0, 0] = 0  # stored as the largest number by GPTQ
        q = np.round(groups / scales.astype(np.float32)[..., None]) + zeros[..., None]
        q = np.clip(q, 0, 2**bits - 1).astype(np.int64)
        whole[tensor] = ((q - zeros[..., None]) * scales.astype(np.float32)[..., None]).reshape(out, columns).astype(np.float32)
        q = q.reshape(out, columns)
        straight = np.arange(32 // bits)
        if method == "awq":
            order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
            words, zero_words = pack_words(q.T, bits, order), pack_words(zeros.T, bits, order)
            unpacked = np.array(mlx_lm.utils._unpack_awq_weights(mx.array(words.view(np.uint32))))
            assert (unpacked == q.T).all(), "packed otherwise than AutoAWQ does"
        else:
            words = np.ascontiguousarray(pack_words(q, bits, straight).T)
            zero_words = pack_words((zeros.T - 1) % 2**bits, bits, straight)
            stored[f"{base}.g_idx"] = (np.arange(columns) // group).astype(np.int32)
        stored[f"{base}.qweight"], stored[f"{base}.qzeros"] = words, zero_words
        stored[f"{base}.scales"] = np.ascontiguousarray(scales.T)
    about = {"awq": {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True, "modules_to_not_convert": None},
             "gptq": {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": False, "sym": False, "damp_percent": 0.01,
                      "checkpoint_format": "gptq", "static_groups": False, "true_sequential": True}}[method]
    write_hub(OUT / name, {**family.config, "quantization_config": about}, stored)
    with tempfile.TemporaryDirectory() as scratch:
        write_hub(pathlib.Path(scratch), family.config, whole)
        model = reference.load(scratch, family.model_class)
        write_logits(name, lambda ids: reference.logits(model, ids))


def main():
    for name, (family, arguments) in MLX.items():
        make_mlx(name, family, arguments)
    for name, (family, method, bits) in PACKED.items():
        make_packed(name, family, method, bits)
    for folder in sorted(OUT.iterdir()):
        print(folder.name, sum(file.stat().st_size for file in folder.iterdir()) // 1024, "KiB")


if __name__ == "__main__":
    main()
