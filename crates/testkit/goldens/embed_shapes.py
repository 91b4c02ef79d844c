"""Writes full-size embedding models with random weights: the shape, files and tokenizer of each, not its knowledge.

    python embed_shapes.py OUT --wordpiece DIR --unigram tokenizer.json --qwen3 DIR [--only NAME] [--layers NAME=N] [--tokens NAME=N]
                          [--weights wide|untrained] [--device cuda]

Out: OUT/<name>/ as sentence-transformers keeps models (config.json, model.safetensors in f32, modules.json, 1_Pooling,
tokenizer files). `--wordpiece` is a directory with the uncased vocabulary of BERT (tokenizer.json, vocab.txt),
`--unigram` the tokenizer.json of XLM-R, `--qwen3` a directory with the tokenizer.json of Qwen3.
`--layers` makes a model of so many layers only, `--tokens` one that reads so many tokens, where memory or time forbid all.
Weights are drawn wider than an untrained model's (standard deviation 0.05), so that texts are told apart; `--weights untrained`
leaves them as transformers draws them before training (0.02, no biases, norms of one).
"""

import argparse
import json
import shutil
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

WORDPIECE, UNIGRAM, QWEN3 = "wordpiece", "unigram", "qwen3"
BERT = {
    "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30522,
}
XLMR = {
    "model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"], "hidden_act": "gelu", "layer_norm_eps": 1e-5,
    "max_position_embeddings": 514, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1,
    "vocab_size": 250002,
}
# multilingual-e5-small and paraphrase-multilingual-MiniLM-L12-v2 are BERT models with the tokenizer of XLM-R.
MULTI = BERT | {"vocab_size": 250037}
QWEN = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768, "rope_theta": 1000000, "vocab_size": 151669, "head_dim": 128,
    "num_key_value_heads": 8, "tie_word_embeddings": True, "attention_bias": False, "bos_token_id": 151643,
    "eos_token_id": 151643,
}
E5 = {"query": "query: ", "passage": "passage: "}
BGE = {"query": "Represent this sentence for searching relevant passages: "}
QWEN_PROMPTS = {
    "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
    "document": "",
}


def sizes(layers, hidden, heads, ffn):
    return {
        "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": ffn,
    }


def shape(config, pooling, tokenizer, tokens, prompts=None):
    return {"config": config, "pooling": pooling, "tokenizer": tokenizer, "tokens": tokens, "prompts": prompts or {}}


SHAPES = {
    "bge-small-en-v1.5": shape(BERT | sizes(12, 384, 12, 1536), "cls", WORDPIECE, 512, BGE),
    "bge-base-en-v1.5": shape(BERT | sizes(12, 768, 12, 3072), "cls", WORDPIECE, 512, BGE),
    "bge-large-en-v1.5": shape(BERT | sizes(24, 1024, 16, 4096), "cls", WORDPIECE, 512, BGE),
    "all-MiniLM-L6-v2": shape(BERT | sizes(6, 384, 12, 1536), "mean", WORDPIECE, 256),
    "paraphrase-multilingual-MiniLM-L12-v2": shape(MULTI | sizes(12, 384, 12, 1536), "mean", UNIGRAM, 128),
    "multilingual-e5-small": shape(MULTI | sizes(12, 384, 12, 1536), "mean", UNIGRAM, 512, E5),
    "multilingual-e5-base": shape(XLMR | sizes(12, 768, 12, 3072), "mean", UNIGRAM, 512, E5),
    "Qwen3-Embedding-0.6B": shape(QWEN | sizes(28, 1024, 16, 3072), "lasttoken", QWEN3, 8192, QWEN_PROMPTS),
    "Qwen3-Embedding-4B": shape(
        QWEN | sizes(36, 2560, 32, 9728) | {"vocab_size": 151665}, "lasttoken", QWEN3, 8192, QWEN_PROMPTS
    ),
}
MODES = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "lasttoken": "pooling_mode_lasttoken"}
END = "<|endoftext|>"


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(out, kind, sources, tokens, vocab):
    if kind == WORDPIECE:
        for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(sources.wordpiece / name, out / name)
        return
    if kind == UNIGRAM:
        shutil.copy(sources.unigram, out / "tokenizer.json")
        special = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", sep_token="</s>", pad_token="<pad>")
        special |= dict(cls_token="<s>", mask_token="<mask>")
        config = {"tokenizer_class": "XLMRobertaTokenizerFast", "model_max_length": tokens} | special
        write_json(out / "tokenizer_config.json", config)
        return
    # As the published tokenizer has it: the end token after each text.
    tokenizer = json.loads((sources.qwen3 / "tokenizer.json").read_text(encoding="utf-8"))
    # The 4B model has rows for fewer of the added tokens.
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < vocab]
    end = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == END)
    template = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": END, "type_id": 0}}],
        "pair": [
            {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": END, "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": END, "type_id": 0}},
        ],
        "special_tokens": {END: {"id": END, "ids": [end], "tokens": [END]}},
    }
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [tokenizer["post_processor"], template]}
    write_json(out / "tokenizer.json", tokenizer)
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 131072, "eos_token": END,
            "pad_token": END, "padding_side": "left",
        },
    )


def write_modules(out, shape):
    def module(index, path, kind):
        return {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}

    write_json(
        out / "modules.json",
        [module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"), module(2, "2_Normalize", "Normalize")],
    )
    pooling = {"word_embedding_dimension": shape["config"]["hidden_size"]}
    pooling |= {flag: mode == shape["pooling"] for mode, flag in MODES.items()}
    write_json(out / "1_Pooling/config.json", pooling | {"include_prompt": True})
    write_json(out / "sentence_bert_config.json", {"max_seq_length": shape["tokens"], "do_lower_case": False})
    versions = {"sentence_transformers": "2.7.0", "transformers": "4.41.2", "pytorch": "2.3.1"}
    write_json(
        out / "config_sentence_transformers.json",
        {
            "__version__": versions, "prompts": shape["prompts"], "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )


def random_weights(model, name):
    torch.manual_seed(zlib.crc32(name.encode()))
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        if key.endswith("norm.weight") or key.endswith("LayerNorm.weight"):
            value.normal_(1.0, 0.1)
        elif key.endswith(".bias"):
            value.normal_(0.0, 0.1)
        else:
            value.normal_(0.0, 0.05)


def make(out, name, shape, args):
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", shape["config"] | {"torch_dtype": "float32"})
    write_tokenizer(out, shape["tokenizer"], args, shape["tokens"], shape["config"]["vocab_size"])
    write_modules(out, shape)
    torch.manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad(), torch.device(args.device):
        model = AutoModel.from_config(AutoConfig.from_pretrained(out))
        if args.weights == "wide":
            random_weights(model, name)
        state = model.state_dict()
    save_file({key: value.contiguous().cpu() for key, value in state.items()}, out / "model.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wordpiece", type=Path, required=True)
    parser.add_argument("--unigram", type=Path, required=True)
    parser.add_argument("--qwen3", type=Path, required=True)
    parser.add_argument("--only", action="append")
    parser.add_argument("--weights", choices=("wide", "untrained"), default="wide")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", action="append", default=[], metavar="NAME=N")
    parser.add_argument("--tokens", action="append", default=[], metavar="NAME=N")
    args = parser.parse_args()
    for name, tokens in (wish.split("=") for wish in args.tokens):
        SHAPES[name]["tokens"] = int(tokens)
    for name, layers in (wish.split("=") for wish in args.layers):
        SHAPES[name]["config"]["num_hidden_layers"] = int(layers)
    for name, shape in SHAPES.items():
        if not args.only or name in args.only:
            make(args.out / name, name, shape, args)
            print(name, flush=True)


if __name__ == "__main__":
    main()
