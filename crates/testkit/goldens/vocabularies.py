"""Makes the goldens of tokenizers that are not written as tokenizer.json: vocabularies/.

    python vocabularies.py TEXTS.txt... [--llama PROGRAM]

Small vocabularies are trained once on the texts given (any English ones do) and on the sentences of
crates/inference/tests/text/cases.py; files that stand are kept. ids.json says what transformers, sentencepiece and
llama.cpp make of the texts there. PROGRAM is llama_ids.c beside this file, built against llama.cpp; without it what
llama.cpp says is kept as it stands. No network.
"""

import argparse
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import sentencepiece
import tokenizers as tk
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
OUT = HERE / "vocabularies"
sys.path.insert(0, str(HERE / "../../inference/tests/text"))
import cases  # noqa: E402

PAIRS = [("Is it raining?", "Yes, it is."), ("", "only the second"), ("only the first", "x"), ("中文 é", "<s> [SEP] </s>")]
MARK = "▁"
# The tokenizers library replaces at most six bytes at once; SentencePiece composes longer clusters, too.
LONG_MARKS = "\u0301\u0323"


def training(paths):
    lines = [line for path in paths for line in pathlib.Path(path).read_text().splitlines() if line.strip()]
    return lines[:4000] + cases.TRAINING * 8


def train_word_piece(lines):
    tokenizer = tk.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    both = lines[:1500] + [line.lower() for line in lines]
    tokenizer.train_from_iterator(both, trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False))
    vocab = tokenizer.get_vocab()
    return {"vocab.txt": "".join(f"{token}\n" for token in sorted(vocab, key=vocab.get))}


def train_byte_level(lines):
    tokenizer = tk.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = "#version: 0.2\n" + "".join(" ".join(merge) + "\n" for merge in model["merges"])
    return {"vocab.json": json.dumps(model["vocab"], ensure_ascii=False), "merges.txt": merges}


def train_sentence_piece(lines, kind, **options):
    with tempfile.TemporaryDirectory() as folder:
        text, prefix = pathlib.Path(folder) / "text", str(pathlib.Path(folder) / "out")
        text.write_text("\n".join(lines))
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=prefix, model_type=kind, vocab_size=700, minloglevel=2, num_threads=1, **options)
        return {"tokenizer.model": pathlib.Path(prefix + ".model").read_bytes()}


VOCABULARIES = {
    "word_piece": train_word_piece,
    "byte_level": train_byte_level,
    "spm_bpe": lambda lines: train_sentence_piece(
        lines, "bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.999,
        split_digits=True, allow_whitespace_only_pieces=True, user_defined_symbols=["<|user|>"]),
    "spm_unigram": lambda lines: train_sentence_piece(lines, "unigram", character_coverage=0.9995),
}


def vocabulary(name, lines):
    folder = OUT / name
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for file, content in VOCABULARIES[name](lines).items():
            content = content if isinstance(content, bytes) else content.encode()
            (folder / file).write_bytes(content)
    return folder


CHAT = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
CHAT_ADDED = {"<|im_start|>": 700, "<|im_end|>": 701, "<think>": 702}
DECODER = {"700": {"content": "<|im_start|>", "special": True}, "701": {"content": "<|im_end|>", "special": True},
           "702": {"content": "<think>", "special": False, "normalized": False}}
CONTROL = ["<|im_start|>", "<|im_end|>", "<think>"]
BEGIN = {"700": {"content": "<|begin_of_text|>", "special": True}, "701": {"content": "<|eot_id|>", "special": True}}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

# Name: vocabulary, class of the reference, tokenizer_config.json, special_tokens_map.json, added_tokens.json, control tokens.
SETTINGS = {
    "bert": ("word_piece", "BertTokenizer", {}, None, None, ["[CLS]", "[SEP]", "[MASK]"]),
    "bert_cased": ("word_piece", "BertTokenizer", {"do_lower_case": False, "tokenize_chinese_chars": False}, None, None, ["[CLS]", "[SEP]", "[MASK]"]),
    "bert_accents": ("word_piece", "BertTokenizer", {"strip_accents": False}, None, None, ["[CLS]", "[SEP]", "[MASK]"]),
    "gpt2": ("byte_level", "GPT2Tokenizer", {"add_bos_token": True}, CHAT, CHAT_ADDED, CONTROL),
    "gpt2_prefix": ("byte_level", "GPT2Tokenizer", {"add_prefix_space": True}, None, None, ["<|endoftext|>"] * 3),
    "qwen2": ("byte_level", "Qwen2Tokenizer", {"added_tokens_decoder": DECODER, "eos_token": "<|im_end|>", "add_bos_token": False}, None, None, CONTROL),
    "qwen3_5": ("byte_level", "Qwen3_5Tokenizer", {"added_tokens_decoder": DECODER, "eos_token": "<|im_end|>"}, None, None, CONTROL),
    "roberta": ("byte_level", "RobertaTokenizer", {"added_tokens_decoder": {
        "700": {"content": "<s>", "special": True}, "701": {"content": "</s>", "special": True}, "702": {"content": "<unk>", "special": True},
        "703": {"content": "<pad>", "special": True}, "704": {"content": "<mask>", "special": True, "lstrip": True}}}, None, None, ["<s>", "</s>", "<mask>"]),
    "llama3": ("byte_level", None, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
                                    "added_tokens_decoder": BEGIN}, None, None, ["<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>"]),
    "llama": ("spm_bpe", "LlamaTokenizer", {"add_bos_token": True, "legacy": False}, None, None, ["<s>", "</s>", "<|user|>"]),
    "llama_legacy": ("spm_bpe", "LlamaTokenizer", {"add_bos_token": True, "add_eos_token": True, "legacy": True}, None, None, ["<s>", "</s>", "<s>"]),
    "unigram": ("spm_unigram", None, {}, None, None, None),
    "xlm_roberta": ("spm_unigram", "XLMRobertaTokenizer", {"mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "special": True}}, None, None, ["<s>", "</s>", "<mask>"]),
}


def byte_level(folder):
    merges = (folder / "merges.txt").read_text().splitlines()[1:]
    return json.loads((folder / "vocab.json").read_text()), [tuple(line.split(" ")) for line in merges]


def qwen3_5(folder, config):
    """Its class does not read vocab.json itself."""
    vocab, merges = byte_level(folder)
    tokenizer = transformers.Qwen3_5Tokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens([tk.AddedToken(**{"normalized": False, **token}) for token in config["added_tokens_decoder"].values()])
    return tokenizer


def llama3(folder, config):
    tokenizer = tk.Tokenizer(models.BPE(*byte_level(folder), ignore_merges=True))
    split = pre_tokenizers.Split(tk.Regex(LLAMA3), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token["content"] for token in config["added_tokens_decoder"].values()])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", add_bos_token=True)


def reference(folder, kind, config, special, added):
    if kind is None:
        return llama3(folder, config)
    if kind == "Qwen3_5Tokenizer":
        return qwen3_5(folder, config)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for file in folder.iterdir():
            if file.name == "pieces.json":
                continue
            # The file has another name in XLM-R's directories.
            name = "sentencepiece.bpe.model" if kind.startswith("XLM") else file.name
            shutil.copy(file, scratch / name)
        write(scratch / "tokenizer_config.json", {"tokenizer_class": kind, **config})
        for name, content in (("special_tokens_map.json", special), ("added_tokens.json", added)):
            if content is not None:
                write(scratch / name, content)
        return getattr(transformers, kind).from_pretrained(scratch)


def as_published(tokenizer):
    """Llama's tokenizer with the normalizer that its tokenizer.json has: the mark is put before a space, too, as
    SentencePiece does it. The class of transformers 5 takes the space for the mark."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    data["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": MARK}, {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]}
    data["pre_tokenizer"] = None
    tokenizer._tokenizer = tk.Tokenizer.from_str(json.dumps(data))
    return tokenizer


def bare(tokenizer):
    """The same without added tokens and post-processor: what plain text becomes."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    data["added_tokens"], data["post_processor"] = [], None
    return tk.Tokenizer.from_str(json.dumps(data))


def golden(name, lines):
    base, kind, config, special, added, control = SETTINGS[name]
    folder = vocabulary(base, lines)
    entry = {"vocabulary": base, "config": {**({"tokenizer_class": kind} if kind else {}), **config}, "special": special, "added": added}
    model = folder / "tokenizer.model"
    sp = None
    if model.exists():
        sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
    if sp and not (kind or "").startswith("XLM"):
        entry["texts"] = [sp.encode(text) for text in cases.TEXTS]
        entry["decoded"] = [None if sp.unk_id() in ids else sp.decode(ids) for ids in entry["texts"]]
    if control is None:
        entry["texts"] = [None if LONG_MARKS in text else ids for text, ids in zip(cases.TEXTS, entry["texts"])]
        return entry
    tokenizer = reference(folder, kind, config, special, added)
    if name == "llama_legacy":
        tokenizer = as_published(tokenizer)
    plain = bare(tokenizer)
    if "texts" not in entry:
        entry["texts"] = [plain.encode(text).ids for text in cases.TEXTS]
        if sp:
            # Control pieces in a text: a Unigram of the tokenizers library finds them, SentencePiece does not.
            renumbered = lambda text: [3 if piece == sp.unk_id() else piece + 1 for piece in sp.encode(text)]
            entry["texts"] = [renumbered(text) if "<s>" in text else ids for text, ids in zip(cases.TEXTS, entry["texts"])]
        # BERT's decoder drops spaces before punctuation, which looks at more than one token.
        decoded = lambda ids: None if base == "word_piece" else tokenizer.decode(ids, skip_special_tokens=True)
        entry["decoded"] = [decoded(ids) for ids in entry["texts"]]
    entry["prompts"] = [prompt.format(*control) for prompt in cases.PROMPTS]
    if name == "llama":
        entry["prompts"] = [prompt for prompt in entry["prompts"] if not prompt.startswith(" ")]  # see as_published
    entry["prompt_ids"] = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in entry["prompts"]]
    rows = [tokenizer(*pair, return_token_type_ids=True) for pair in PAIRS[:3]]
    entry["pairs"] = [[row["input_ids"], row["token_type_ids"]] for row in rows]
    entry["one"] = tokenizer("Hello there")["input_ids"]
    return entry


# Name: vocabulary, fields of the metadata. Control tokens follow the vocabulary.
GGUF = {
    "llama": ("spm_bpe", {"model": "llama", "bos": 1, "eos": 2, "unk": 0}),
    "t5": ("spm_unigram", {"model": "t5", "unk": 0, "bos": 1, "eos": 2, "add_bos": True, "add_eos": True, "add_space_prefix": True,
                           "remove_extra_whitespaces": True}),
    "bert": ("word_piece", {"model": "bert", "pad": 0, "unk": 1, "bos": 2, "sep": 3}),
    **{pre: ("byte_level", {"model": "gpt2", "pre": pre, "bos": 700, "eos": 701}) for pre in [
        "gpt-2", "llama-bpe", "qwen2", "qwen35", "stablelm2", "smollm", "tekken", "gpt-4o", "falcon", "deepseek-coder", "deepseek-v3", "default"]},
}
KEYS = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "sep": "seperator_token_id", "pad": "padding_token_id",
        "add_bos": "add_bos_token", "add_eos": "add_eos_token"}


def gguf_tokens(base):
    """Tokens, scores, types and merges as llama.cpp's converter writes them."""
    folder = OUT / base
    if base == "word_piece":
        words = (folder / "vocab.txt").read_text().splitlines()
        types = [3 if word.startswith("[") and word.endswith("]") and len(word) > 1 else 1 for word in words]
        phantom = lambda word, kind: word if kind == 3 else word[2:] if word.startswith("##") else MARK + word
        return [phantom(*both) for both in zip(words, types)], [0.0] * len(words), types, None, None
    if base == "byte_level":
        vocab, merges = byte_level(folder)
        words = sorted(vocab, key=vocab.get) + ["<|im_start|>", "<|im_end|>", "<think>", "[PAD703]"]
        types = [3 if word == "<|endoftext|>" else 1 for word in words[:-4]] + [3, 3, 4, 5]
        return words, None, types, [" ".join(merge) for merge in merges], None
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((folder / "tokenizer.model").read_bytes())
    pieces = proto.pieces
    return [p.piece for p in pieces], [p.score for p in pieces], [p.type for p in pieces], None, proto.normalizer_spec.precompiled_charsmap


def write_gguf(path, base, fields):
    tokens, scores, types, merges, charsmap = gguf_tokens(base)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.ggml.model", fields["model"])
    if "pre" in fields:
        writer.add_string("tokenizer.ggml.pre", fields["pre"])
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", types)
    if scores:
        writer.add_array("tokenizer.ggml.scores", scores)
    if merges:
        writer.add_array("tokenizer.ggml.merges", merges)
    if charsmap and fields["model"] == "t5":
        writer.add_array("tokenizer.ggml.precompiled_charsmap", charsmap)
    for key, value in fields.items():
        if key not in ("model", "pre"):
            add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
            add("tokenizer.ggml." + KEYS.get(key, key), value)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.close()


def llama_ids(program, path, texts, *special):
    with tempfile.TemporaryDirectory() as scratch:
        into, out = pathlib.Path(scratch) / "in", pathlib.Path(scratch) / "out"
        into.write_bytes(b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts))
        subprocess.run([program, path, into, out, *special], check=True)
        data, at, rows = out.read_bytes(), 0, []
        for _ in texts:
            count = struct.unpack_from("<I", data, at)[0]
            rows.append(list(struct.unpack_from(f"<{count}i", data, at + 4)))
            at += 4 + 4 * count
        return rows


def means_another(fields, tokens, types, text, plain):
    """Where llama.cpp is not what the models were trained with, or gives people's text what only prompts may have."""
    model, pre = fields["model"], fields.get("pre") or ""
    marks = lambda c: unicodedata.category(c) in ("Me", "Mc") or "가" <= c <= "힣"
    defined = [token for token, kind in zip(tokens, types or []) if kind == 4 and token.strip()]
    return (
        plain and model == "gpt2" and any(token in text for token in defined)  # a token from people's text
        or pre.startswith("qwen") and unicodedata.normalize("NFC", text) != text  # llama.cpp does not compose
        or model == "bert" and any(map(marks, text))  # BERT takes Hangul apart and drops no other marks than Mn
        or model == "t5" and (LONG_MARKS in text or unicodedata.normalize("NFC", text) != text and "\u1112" in text)
    )


def gguf_goldens(program):
    made = {}
    for name, (base, fields) in GGUF.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = str(pathlib.Path(scratch) / "vocabulary.gguf")
            write_gguf(path, base, fields)
            control = {"word_piece": ["[CLS]", "[SEP]", "[MASK]"], "byte_level": CONTROL}.get(base, ["<s>", "</s>", "</s>"])
            prompts = [prompt.format(*control) for prompt in cases.PROMPTS]
            tokens, scores, types, merges, charsmap = gguf_tokens(base)
            rows = lambda texts, plain, *special: [
                None if means_another(fields, tokens, types, text, plain) else ids for text, ids in zip(texts, llama_ids(program, path, texts, *special))]
            made[name] = {"vocabulary": base, "fields": fields, "texts": rows(cases.TEXTS, True),
                          "prompts": prompts, "prompt_ids": rows(prompts, False, "special")}
            if scores and base != "word_piece":
                write(OUT / base / "pieces.json", {"tokens": tokens, "scores": scores, "types": types})
            if charsmap:
                at = (OUT / base / "tokenizer.model").read_bytes().find(charsmap)
                made[name]["charsmap"] = [at, len(charsmap)]
    return made


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("texts", nargs="+")
    arguments.add_argument("--llama")
    options = arguments.parse_args()
    lines = training(options.texts)
    made = {name: golden(name, lines) for name in SETTINGS}
    before = json.loads((OUT / "ids.json").read_text()) if (OUT / "ids.json").exists() else {}
    metadata = gguf_goldens(options.llama) if options.llama else before.get("gguf")
    write(OUT / "ids.json", {"texts": cases.TEXTS, "pairs": PAIRS[:3], "cases": made, "gguf": metadata})


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
