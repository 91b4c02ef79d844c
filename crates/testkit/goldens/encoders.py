"""Writes encoders/<name>/: tiny random encoder models, and what sentence-transformers makes of texts with them in float32.

    python encoders.py [--only NAME]

Each folder is a model as sentence-transformers keeps it (config.json, model.safetensors, modules.json, tokenizer files) with
golden.json beside it: texts (or pairs) with their ids, type ids and rows; for a query prompt; and for other ways of pooling, with the
prompt and without.
Sizes are chosen so that most are no multiple of 16. Versions are in requirements.txt.
"""

import argparse
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import tokenizers
import torch
from safetensors.numpy import save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from embed_shapes import write_json, write_modules
from embed_texts import BANK, ODD

HERE = Path(__file__).resolve().parent
TOKENS = 20
BERT = {
    "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 32,
    "pad_token_id": 0, "type_vocab_size": 2, "num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 3,
    "intermediate_size": 40, "position_embedding_type": "absolute",
}
XLMR = BERT | {
    "model_type": "xlm-roberta", "layer_norm_eps": 1e-5, "max_position_embeddings": 34, "pad_token_id": 1,
    "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1,
}
QWEN3 = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6,
    "max_position_embeddings": 64, "rope_theta": 10000.0, "head_dim": 12, "num_key_value_heads": 1,
    "num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 20, "intermediate_size": 28,
    "tie_word_embeddings": True, "attention_bias": False,
}
TEXTS = [
    "The harbour freezes over in January.", "a", "Wie teuer ist das größere Zimmer?", "一月港口结冰，渡轮停航。",
    "  two  spaces\tand\na line  ", "cafe\u0301 caf\u00e9 na\u00efve", " ".join(BANK["en"]), " ".join(BANK["ru"]), "x" * 120,
    "an end that is cut, because it is longer than the model reads, by far, in every one of these",
]
PAIRS = [
    ("Where is the harbour?", "The harbour is in the north."), ("a", "b"), (" ".join(BANK["en"]), "a short one"),
    ("a short one", " ".join(BANK["fr"])), (" ".join(BANK["es"]), " ".join(BANK["de"])), ("", "an empty first one"),
]
CORPUS = [text for bank in BANK.values() for text in bank] + ODD[:-1] + TEXTS


def wordpiece():
    tok = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tok.train_from_iterator(
        [" ".join(BANK["en"] + BANK["de"] + TEXTS[:3])],
        trainers.WordPieceTrainer(vocab_size=170, special_tokens=special, show_progress=False),
    )
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tok.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    tok.decoder = decoders.WordPiece()
    names = dict(unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]")
    inputs = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    return tok, {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512} | inputs | names


def unigram():
    tok = tokenizers.Tokenizer(models.Unigram())
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=190, special_tokens=special, unk_token="<unk>", show_progress=False)
    tok.train_from_iterator(BANK["en"] + BANK["de"], trainer)
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tok.decoder = decoders.Metaspace()
    names = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", sep_token="</s>", pad_token="<pad>", cls_token="<s>")
    return tok, {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512} | names


def byte_level():
    end = "<|endoftext|>"
    tok = tokenizers.Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[end], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tok.train_from_iterator(BANK["en"] + BANK["de"], trainer)
    template = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tok.token_to_id(end))]
    )
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    tok.decoder = decoders.ByteLevel()
    names = dict(eos_token=end, pad_token=end)
    return tok, {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "padding_side": "left"} | names


def shape(config, pooling, tokenizer, **more):
    return {"config": config, "pooling": pooling, "tokenizer": tokenizer, "tokens": TOKENS, "dense": None} | more


PROMPT = "The harbour: "
QUERY = {"query": "Ask: ", "passage": ""}
SHAPES = {
    "bert_cls": shape(BERT, "cls", wordpiece, prompts=QUERY),
    "bert_mean": shape(BERT | {"hidden_act": "gelu_new"}, "mean", wordpiece, prompts={}),
    "bert_dense": shape(BERT | {"hidden_act": "relu"}, "mean", wordpiece, prompts={}, dense=18),
    "xlm_roberta_mean": shape(XLMR, "mean", unigram, prompts=QUERY),
    "qwen3_last": shape(QWEN3, "lasttoken", byte_level, prompts=QUERY),
}
CROSS = {
    "bert_cross": (BERT, wordpiece, 1),
    "xlm_roberta_cross": (XLMR, unigram, 3),
}


def fill(state, name):
    """Values with a real spread, so that texts are told apart."""
    filled = {}
    for key, value in state.items():
        rng = np.random.Generator(np.random.PCG64([3, zlib.crc32(f"{name}/{key}".encode())]))
        dims = tuple(value.shape)
        if key.endswith("norm.weight") or key.endswith("LayerNorm.weight"):
            values = 1.0 + 0.3 * rng.standard_normal(dims)
        elif key.endswith(".bias"):
            values = 0.3 * rng.standard_normal(dims)
        elif "embed" in key:
            values = 0.5 * rng.standard_normal(dims)
        else:
            values = 1.4 * rng.standard_normal(dims) / np.sqrt(dims[-1])
        filled[key] = values.astype(np.float32)
    return filled


def write_checkpoint(out, name, config, make_tokenizer, auto):
    # Training a vocabulary does not give the same one twice: one that is there stays.
    known = out / "tokenizer.json"
    tok, tok_config = make_tokenizer()
    if known.exists():
        tok = tokenizers.Tokenizer.from_file(str(known))
        shutil.rmtree(out)
    out.mkdir(parents=True)
    config = config | {"vocab_size": tok.get_vocab_size()}
    write_json(out / "config.json", config)
    tok.save(str(out / "tokenizer.json"))
    write_json(out / "tokenizer_config.json", tok_config)
    model = auto.from_config(AutoConfig.from_pretrained(out))
    state = {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
    save_file(fill(state, name), out / "model.safetensors", metadata={"format": "pt"})


def write_dense(out, name, inputs, outputs):
    modules = json.loads((out / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    modules[2] |= {"idx": 3, "name": "3", "path": "3_Normalize"}
    write_json(out / "modules.json", modules[:2] + [dense] + modules[2:])
    tanh = "torch.nn.modules.activation.Tanh"
    config = {"in_features": inputs, "out_features": outputs, "bias": True, "activation_function": tanh}
    write_json(out / "2_Dense/config.json", config)
    state = {"linear.weight": np.zeros((outputs, inputs)), "linear.bias": np.zeros(outputs)}
    save_file(fill(state, name), out / "2_Dense/model.safetensors", metadata={"format": "pt"})


def floats(rows):
    return [[float(x) for x in row] for row in np.asarray(rows, np.float32)]


def encoded(model, texts, prompt=""):
    rows = [model.encode([text], prompt=prompt)[0] for text in texts]
    ids = [model.preprocess([prompt + text])["input_ids"][0].tolist() for text in texts]
    return {"prompt": prompt, "ids": ids, "rows": floats(rows)}


def make_vectors(name):
    spec, out = SHAPES[name], HERE / "encoders" / name
    write_checkpoint(out, name, spec["config"], spec["tokenizer"], AutoModel)
    write_modules(out, spec)
    if spec["dense"]:
        write_dense(out, name, spec["config"]["hidden_size"], spec["dense"])
    model = SentenceTransformer(str(out), device="cpu")
    golden = {"texts": TEXTS, "plain": encoded(model, TEXTS)}
    if spec["prompts"]:
        golden["query"] = encoded(model, TEXTS, spec["prompts"]["query"])
    if name == "bert_mean":
        golden["pooled"] = {}
        for mode in ("cls", "max", "mean_sqrt_len_tokens", "lasttoken", "weightedmean"):
            model[1].pooling_mode = mode
            golden["pooled"][mode] = encoded(model, TEXTS)["rows"]
        model[1].include_prompt = False
        golden["without_prompt"] = {}
        for mode in ("cls", "max", "mean", "weightedmean"):
            model[1].pooling_mode = mode
            golden["without_prompt"][mode] = encoded(model, TEXTS, PROMPT)
    write_json(out / "golden.json", golden)


def make_cross(name):
    config, make_tokenizer, labels = CROSS[name]
    out = HERE / "encoders" / name
    class_name = {"bert": "Bert", "xlm-roberta": "XLMRoberta"}[config["model_type"]]
    config = config | {
        "architectures": [f"{class_name}ForSequenceClassification"],
        "id2label": {str(i): f"LABEL_{i}" for i in range(labels)},
        "label2id": {f"LABEL_{i}": i for i in range(labels)},
    }
    write_checkpoint(out, name, config, make_tokenizer, AutoModelForSequenceClassification)
    model = CrossEncoder(str(out), device="cpu", max_length=TOKENS)
    write_json(out / "sentence_bert_config.json", {"max_seq_length": TOKENS})
    logits = [model.predict([pair], activation_fn=torch.nn.Identity())[0] for pair in PAIRS]
    scores = [model.predict([pair])[0] for pair in PAIRS]
    features = [model.tokenizer([pair[0]], [pair[1]], truncation="longest_first", max_length=TOKENS) for pair in PAIRS]
    types = [f["token_type_ids"][0] if "token_type_ids" in f else [0] * len(f["input_ids"][0]) for f in features]
    golden = {
        "pairs": PAIRS, "ids": [f["input_ids"][0] for f in features], "type_ids": types,
        "logits": floats(np.reshape(logits, (len(PAIRS), -1))), "scores": floats(np.reshape(scores, (len(PAIRS), -1))),
    }
    write_json(out / "golden.json", golden)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        for name in SHAPES | CROSS:
            if not args.only or name in args.only:
                (make_vectors if name in SHAPES else make_cross)(name)
                print(name, flush=True)


if __name__ == "__main__":
    main()
