"""Takes real tokenizer.json files apart into the older forms, with the ids that the whole ones give.

    python real/directories.py OUT TEXTS.txt NAME=FOLDER... [vocab.txt=FILE] [spm=MODEL.gguf]

Each FOLDER has a tokenizer.json (or .xz) and perhaps a tokenizer_config.json. A byte-level BPE becomes vocab.json and
merges.txt; XLM-R's Unigram becomes sentencepiece.bpe.model; the vocab.txt is BERT's own; Llama 2's vocabulary in a GGUF file
becomes tokenizer.model again. OUT is no part of the repository (real/directories).
"""

import base64
import json
import lzma
import pathlib
import sys

import gguf
import sentencepiece
import tokenizers as tk
import transformers
from sentencepiece import sentencepiece_model_pb2 as proto

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import vocabularies  # noqa: E402


def put(out, name, texts, encode, config=None):
    write = vocabularies.write
    write(out / name / "ids.json", {"config": config, "texts": texts, "ids": [encode(text) for text in texts]})
    print(name)


def folder_of(out, name):
    (out / name).mkdir(parents=True, exist_ok=True)
    return out / name


def model(pieces, kind, charsmap=b"", squeezes=True, byte_fallback=False):
    made = proto.ModelProto()
    for text, score, type_ in pieces:
        made.pieces.add(piece=text, score=score, type=type_)
    made.trainer_spec.model_type, made.trainer_spec.byte_fallback = kind, byte_fallback
    made.normalizer_spec.precompiled_charsmap = charsmap
    made.normalizer_spec.remove_extra_whitespaces, made.normalizer_spec.add_dummy_prefix = squeezes, True
    return made.SerializeToString()


def from_json(out, name, source, texts):
    folder, packed = folder_of(out, name), source / "tokenizer.json.xz"
    text = lzma.open(packed).read() if packed.exists() else (source / "tokenizer.json").read_bytes()
    data = json.loads(text)
    config = source / "tokenizer_config.json"
    config = json.loads(config.read_text()) if config.exists() else {}
    bare = {**data, "added_tokens": [], "post_processor": None}
    tokenizer = tk.Tokenizer.from_str(json.dumps(bare))
    vocab = data["model"]["vocab"]
    if isinstance(vocab, dict):
        (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
        merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in data["model"]["merges"])
        (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges))
    else:
        normalizer = json.dumps(data["normalizer"])
        charsmap = base64.b64decode(normalizer.split('"precompiled_charsmap": "')[1].split('"')[0])
        own = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
        pieces = own + [(text, score, 1) for text, score in vocab[4:] if text != "<mask>"]
        (folder / "tokenizer.model").write_bytes(model(pieces, 1, charsmap))
        config = {"tokenizer_class": "XLMRobertaTokenizer"}
        texts = [text for text in texts if "<s>" not in text and "<unk>" not in text]
    keep = ("tokenizer_class", "added_tokens_decoder", "eos_token", "bos_token", "add_bos_token", "add_prefix_space")
    put(out, name, texts, lambda text: tokenizer.encode(text).ids, {key: config[key] for key in keep if key in config})


def main():
    out = pathlib.Path(sys.argv[1])
    texts = vocabularies.cases.TEXTS + [line for line in pathlib.Path(sys.argv[2]).read_text().split("\n") if line.strip()]
    for argument in sys.argv[3:]:
        name, path = argument.split("=", 1)
        if name == "vocab.txt":
            folder = folder_of(out, "bert")
            (folder / "vocab.txt").write_text(pathlib.Path(path).read_text())
            bare = vocabularies.bare(transformers.BertTokenizer.from_pretrained(folder))
            put(out, "bert", texts, lambda text: bare.encode(text).ids)
        elif name == "spm":
            fields = gguf.GGUFReader(path).fields
            get = lambda key: fields["tokenizer.ggml." + key].contents()
            pieces = zip(get("tokens"), get("scores"), get("token_type"))
            file = folder_of(out, "llama2") / "tokenizer.model"
            file.write_bytes(model(pieces, 2, squeezes=False, byte_fallback=True))
            put(out, "llama2", texts, sentencepiece.SentencePieceProcessor(model_file=str(file)).encode)
        else:
            from_json(out, name, pathlib.Path(path), texts)


if __name__ == "__main__":
    main()
