"""The tiny random checkpoints: configurations as the hub writes them, and the rule that fills each tensor.

In: nothing. Out: `FAMILIES`, a dict of name -> Family with `config` (the config.json), `model_class`
(the transformers class that is the reference), `tensors()` (name -> float32 array, named and shaped as
hub checkpoints are) and `shards`. It does not know transformers or torch.

Sizes are chosen so that most are no multiple of 16: the tails of vector loops are part of the test.
"""

import zlib
from dataclasses import dataclass
from typing import Callable

import numpy as np

VOCAB = 149


@dataclass
class Family:
    """`seed` is one for which make.py's conditions hold: clear choices, little noise in the reference."""

    config: dict
    model_class: str
    shapes: Callable[[dict], dict]
    seed: int = 0
    shards: int = 1

    def text(self):
        return self.config.get("text_config", self.config)

    def tensors(self, name):
        return {tensor: fill(name, tensor, shape, self) for tensor, shape in self.shapes(self.config).items()}


def fill(family_name, tensor, shape, family):
    """Values with a real spread, so that greedy choices are clear and no gain or decay is neutral."""
    rng = np.random.Generator(np.random.PCG64([family.seed, zlib.crc32(f"{family_name}/{tensor}".encode())]))
    leaf = tensor.removesuffix(".weight").rsplit(".", 1)[-1]
    shifted_norms = family.model_class.startswith("Qwen3_5")
    if leaf == "A_log":
        values = np.log(rng.uniform(0.05, 6.0, shape))
    elif leaf == "dt_bias":
        values = rng.standard_normal(shape) - 1.5
    elif leaf == "conv1d":
        values = 0.6 * rng.standard_normal(shape) * faint_last_key_head(family.text())
    elif leaf in ("embed_tokens", "lm_head"):
        values = 0.5 * rng.standard_normal(shape)
    elif leaf == "bias":
        values = 0.5 * rng.standard_normal(shape)
    elif tensor.endswith("linear_attn.norm.weight"):
        values = 1.0 + 0.3 * rng.standard_normal(shape)  # plain gain in every family
    elif len(shape) == 1:
        values = (0.0 if shifted_norms else 1.0) + 0.3 * rng.standard_normal(shape)
    else:
        values = 1.6 * rng.standard_normal(shape) / np.sqrt(shape[-1])
    return values.astype(np.float32)


def faint_last_key_head(c):
    """Queries and keys of one head so small that the epsilon of their L2 norm counts: [channels, 1, 1]."""
    heads, dim = c["linear_num_key_heads"], c["linear_key_head_dim"]
    scale = np.ones((heads * 2 * dim + c["linear_num_value_heads"] * c["linear_value_head_dim"], 1, 1))
    for end in (heads * dim, 2 * heads * dim):
        scale[end - dim : end] = 0.01
    return scale


def attention_shapes(prefix, c, gated, head_norms, bias):
    """`bias` names the projections that have one: "qkvo", "qkv" or none."""
    h, d = c["hidden_size"], c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    out = {
        f"{prefix}q_proj.weight": (2 * q if gated else q, h),
        f"{prefix}k_proj.weight": (kv, h),
        f"{prefix}v_proj.weight": (kv, h),
        f"{prefix}o_proj.weight": (h, q),
    }
    if head_norms:
        out |= {f"{prefix}q_norm.weight": (d,), f"{prefix}k_norm.weight": (d,)}
    for p in bias:
        rows = out[f"{prefix}{p}_proj.weight"][0]
        out[f"{prefix}{p}_proj.bias"] = (rows,)
    return out


def mlp_shapes(prefix, hidden, inner):
    return {
        f"{prefix}gate_proj.weight": (inner, hidden),
        f"{prefix}up_proj.weight": (inner, hidden),
        f"{prefix}down_proj.weight": (hidden, inner),
    }


def delta_shapes(prefix, c):
    h = c["hidden_size"]
    keys = c["linear_num_key_heads"] * c["linear_key_head_dim"]
    heads, values = c["linear_num_value_heads"], c["linear_num_value_heads"] * c["linear_value_head_dim"]
    return {
        f"{prefix}in_proj_qkv.weight": (2 * keys + values, h),
        f"{prefix}in_proj_z.weight": (values, h),
        f"{prefix}in_proj_b.weight": (heads, h),
        f"{prefix}in_proj_a.weight": (heads, h),
        f"{prefix}conv1d.weight": (2 * keys + values, 1, c["linear_conv_kernel_dim"]),
        f"{prefix}A_log": (heads,),
        f"{prefix}dt_bias": (heads,),
        f"{prefix}norm.weight": (c["linear_value_head_dim"],),
        f"{prefix}out_proj.weight": (h, values),
    }


def moe_shapes(prefix, c):
    h, experts, inner = c["hidden_size"], c["num_experts"], c["moe_intermediate_size"]
    return {
        f"{prefix}gate.weight": (experts, h),
        f"{prefix}experts.gate_up_proj": (experts, 2 * inner, h),
        f"{prefix}experts.down_proj": (experts, h, inner),
        f"{prefix}shared_expert_gate.weight": (1, h),
    } | mlp_shapes(f"{prefix}shared_expert.", h, c["shared_expert_intermediate_size"])


def decoder_shapes(config, prefix, layer):
    c = config.get("text_config", config)
    h = c["hidden_size"]
    out = {f"{prefix}embed_tokens.weight": (c["vocab_size"], h), f"{prefix}norm.weight": (h,)}
    for i in range(c["num_hidden_layers"]):
        p = f"{prefix}layers.{i}."
        out |= {f"{p}input_layernorm.weight": (h,), f"{p}post_attention_layernorm.weight": (h,)}
        out |= layer(p, c, i)
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = (c["vocab_size"], h)
    return out


def qwen3_5_shapes(config):
    def layer(p, c, i):
        if c["layer_types"][i] == "full_attention":
            out = attention_shapes(f"{p}self_attn.", c, gated=True, head_norms=True, bias="")
        else:
            out = delta_shapes(f"{p}linear_attn.", c)
        if "num_experts" in c:
            return out | moe_shapes(f"{p}mlp.", c)
        return out | mlp_shapes(f"{p}mlp.", c["hidden_size"], c["intermediate_size"])

    return decoder_shapes(config, "model.language_model.", layer)


def dense_shapes(head_norms):
    def layer(p, c, _):
        bias = "qkv" if c["model_type"] == "qwen2" else "qkvo" if c.get("attention_bias") else ""
        out = attention_shapes(f"{p}self_attn.", c, False, head_norms, bias)
        return out | mlp_shapes(f"{p}mlp.", c["hidden_size"], c["intermediate_size"])

    return lambda config: decoder_shapes(config, "model.", layer)


def qwen3_5_text(model_type, tied, layer_types, **sizes):
    """The text part of a Qwen3.5 config.json, with the fields that public checkpoints carry."""
    return {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_output_gate": True,
        "dtype": "float32",
        "eos_token_id": VOCAB - 1,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "layer_types": [f"{t}_attention" for t in layer_types],
        "linear_conv_kernel_dim": 4,
        "mamba_ssm_dtype": "float32",
        "max_position_embeddings": 4096,
        "model_type": model_type,
        "num_hidden_layers": len(layer_types),
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": tied,
        "use_cache": True,
        "vocab_size": VOCAB,
        **sizes,
    }


def mrope(theta, section):
    return {
        "mrope_interleaved": True,
        "mrope_section": section,
        "rope_type": "default",
        "rope_theta": theta,
        "partial_rotary_factor": 0.25,
    }


def dense(architecture, model_type, tied, **fields):
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "attention_dropout": 0.0,
        "bos_token_id": VOCAB - 2,
        "eos_token_id": VOCAB - 1,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "num_hidden_layers": 4,
        "tie_word_embeddings": tied,
        "use_cache": True,
        "vocab_size": VOCAB,
        **fields,
    }


INTERVAL = ["linear", "linear", "linear", "full"]

FAMILIES = {
    # Grouped value heads, tied head, nested text_config: the layout of Qwen3.5-0.8B with the heads of the 27B.
    "qwen3_5": Family(
        config={
            "architectures": ["Qwen3_5ForConditionalGeneration"],
            "model_type": "qwen3_5",
            "text_config": qwen3_5_text(
                "qwen3_5_text", True, INTERVAL, full_attention_interval=4,
                hidden_size=52, intermediate_size=60, num_attention_heads=4, num_key_value_heads=2,
                head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4,
                linear_key_head_dim=16, linear_value_head_dim=12,
                mtp_num_hidden_layers=0, mtp_use_dedicated_embeddings=False,
                rope_parameters=mrope(10000000, [1, 1, 0]),
            ),
            "tie_word_embeddings": True,
        },
        model_class="Qwen3_5ForCausalLM",
        shapes=qwen3_5_shapes,
        seed=9,
    ),
    # Equal heads, untied head, flat text config, sharded.
    "qwen3_5_untied": Family(
        config={"architectures": ["Qwen3_5ForCausalLM"]} | qwen3_5_text(
            "qwen3_5_text", False, INTERVAL, full_attention_interval=4,
            hidden_size=44, intermediate_size=60, num_attention_heads=3, num_key_value_heads=1,
            head_dim=32, linear_num_key_heads=3, linear_num_value_heads=3,
            linear_key_head_dim=16, linear_value_head_dim=16,
            mtp_num_hidden_layers=0, mtp_use_dedicated_embeddings=False,
            partial_rotary_factor=0.25, rope_parameters=mrope(10000.0, [2, 1, 1]),
        ),
        model_class="Qwen3_5ForCausalLM",
        shapes=qwen3_5_shapes,
        seed=14,
        shards=3,
    ),
    # Layer types that follow no interval: the list is what counts.
    "qwen3_5_moe": Family(
        config={
            "architectures": ["Qwen3_5MoeForConditionalGeneration"],
            "model_type": "qwen3_5_moe",
            "text_config": qwen3_5_text(
                "qwen3_5_moe_text", False, ["linear", "full", "linear", "full"],
                hidden_size=36, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                linear_num_key_heads=2, linear_num_value_heads=4,
                linear_key_head_dim=16, linear_value_head_dim=16,
                moe_intermediate_size=10, shared_expert_intermediate_size=20,
                num_experts=8, num_experts_per_tok=2,
                mtp_num_hidden_layers=0, mtp_use_dedicated_embeddings=False,
                rope_parameters=mrope(10000000, [1, 1, 0]),
            ),
            "tie_word_embeddings": False,
        },
        model_class="Qwen3_5MoeForCausalLM",
        shapes=qwen3_5_shapes,
        seed=130,
    ),
    # A larger epsilon than the public ones: at 1e-6 another value would hardly show.
    "qwen3": Family(
        config=dense(
            "Qwen3ForCausalLM", "qwen3", True, attention_bias=False,
            hidden_size=48, intermediate_size=76, num_attention_heads=4, num_key_value_heads=2, head_dim=20,
            max_position_embeddings=4096, max_window_layers=4, sliding_window=None, use_sliding_window=False,
            rms_norm_eps=1e-5, rope_scaling=None, rope_theta=1000000, torch_dtype="float32",
        ),
        model_class="Qwen3ForCausalLM",
        shapes=dense_shapes(head_norms=True),
    ),
    # No head_dim field: it is hidden_size / heads.
    "llama": Family(
        config=dense(
            "LlamaForCausalLM", "llama", False, attention_bias=False, mlp_bias=False,
            hidden_size=48, intermediate_size=100, num_attention_heads=6, num_key_value_heads=2,
            max_position_embeddings=2048, pretraining_tp=1,
            rms_norm_eps=1e-5, rope_scaling=None, rope_theta=10000.0, torch_dtype="float32",
        ),
        model_class="LlamaForCausalLM",
        shapes=dense_shapes(head_norms=False),
    ),
    # Original context of 64: one frequency is kept, two are blended and the rest divided by 8.
    "llama3_rope": Family(
        config=dense(
            "LlamaForCausalLM", "llama", True, attention_bias=False, mlp_bias=False,
            hidden_size=56, intermediate_size=76, num_attention_heads=4, num_key_value_heads=1, head_dim=16,
            max_position_embeddings=512, pretraining_tp=1, rms_norm_eps=1e-5,
            rope_scaling={
                "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64, "rope_type": "llama3",
            },
            rope_theta=10000.0, torch_dtype="float32",
        ),
        model_class="LlamaForCausalLM",
        shapes=dense_shapes(head_norms=False),
    ),
    # Biases on q, k, v and o; rope values only in the newer rope_parameters.
    "llama_bias": Family(
        config=dense(
            "LlamaForCausalLM", "llama", True, attention_bias=True, mlp_bias=False,
            hidden_size=56, intermediate_size=76, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
            max_position_embeddings=2048, pretraining_tp=1, rms_norm_eps=1e-5,
            rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}, dtype="float32",
        ),
        model_class="LlamaForCausalLM",
        shapes=dense_shapes(head_norms=False),
    ),
    # Biases on q, k and v alone; the last two of four layers see 40 tokens.
    "qwen2": Family(
        config=dense(
            "Qwen2ForCausalLM", "qwen2", True,
            hidden_size=48, intermediate_size=76, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=2048, max_window_layers=2, sliding_window=40, use_sliding_window=True,
            rms_norm_eps=1e-6, rope_theta=1000000.0, torch_dtype="float32",
        ),
        model_class="Qwen2ForCausalLM",
        shapes=dense_shapes(head_norms=False),
    ),
    # Every layer sees 24 tokens; a head is not hidden_size / heads wide.
    "mistral": Family(
        config=dense(
            "MistralForCausalLM", "mistral", False,
            hidden_size=44, intermediate_size=60, num_attention_heads=4, num_key_value_heads=2, head_dim=14,
            num_hidden_layers=3, max_position_embeddings=2048, sliding_window=24,
            rms_norm_eps=1e-5, rope_theta=10000.0, torch_dtype="float32",
        ),
        model_class="MistralForCausalLM",
        shapes=dense_shapes(head_norms=False),
    ),
    # Original context of 64 stretched four times: some angles are kept, some divided, some blended.
    "qwen3_yarn": Family(
        config=dense(
            "Qwen3ForCausalLM", "qwen3", True, attention_bias=False,
            hidden_size=48, intermediate_size=60, num_attention_heads=4, num_key_value_heads=2, head_dim=20,
            num_hidden_layers=2, max_position_embeddings=64, max_window_layers=2, sliding_window=None,
            use_sliding_window=False, rms_norm_eps=1e-6,
            rope_scaling={
                "factor": 8.0, "original_max_position_embeddings": 64, "rope_type": "yarn",
                "beta_fast": 8.0, "beta_slow": 1.0,
            },
            rope_theta=10000.0, torch_dtype="float32",
        ),
        model_class="Qwen3ForCausalLM",
        shapes=dense_shapes(head_norms=True),
    ),
    # Within the original context, where the short factors hold; the factor of the angles follows from the two contexts.
    "llama_longrope": Family(
        config=dense(
            "LlamaForCausalLM", "llama", False, attention_bias=False, mlp_bias=False,
            hidden_size=48, intermediate_size=60, num_attention_heads=3, num_key_value_heads=1,
            num_hidden_layers=2, max_position_embeddings=4096, original_max_position_embeddings=512,
            rms_norm_eps=1e-5,
            rope_scaling={
                "rope_type": "longrope",
                "short_factor": [1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 1.8, 2.5],
                "long_factor": [1.1, 1.3, 1.7, 2.5, 4.0, 6.0, 8.0, 8.0],
            },
            rope_theta=10000.0, torch_dtype="float32",
        ),
        model_class="LlamaForCausalLM",
        shapes=dense_shapes(head_norms=False),
    ),
}
