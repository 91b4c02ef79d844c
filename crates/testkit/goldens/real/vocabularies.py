"""Writes what llama.cpp says about the vocabularies of real models, for tests that compare with it.

    python real/vocabularies.py MODELS OUT LLAMA_IDS TEXTS.txt...

MODELS is a folder of .gguf files, such as vendor/llama.cpp/models in the source distribution of llama-cpp-python. OUT, which
is no part of the repository (real/vocabularies), gets a file for each with its metadata and the ids that LLAMA_IDS
(llama_ids.c beside vocabularies.py) gives the lines of the texts.
"""

import json
import pathlib
import sys

import gguf

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import vocabularies  # noqa: E402

FIELDS = {
    "model": "model", "pre": "pre", "tokens": "tokens", "scores": "scores", "types": "token_type", "merges": "merges",
    "charsmap": "precompiled_charsmap", "bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id",
    "sep": "seperator_token_id", "add_bos": "add_bos_token", "add_eos": "add_eos_token", "add_space_prefix": "add_space_prefix",
    "remove_extra_whitespaces": "remove_extra_whitespaces",
}


def main():
    models, out, program = map(pathlib.Path, sys.argv[1:4])
    out.mkdir(parents=True, exist_ok=True)
    lines = [line for path in sys.argv[4:] for line in pathlib.Path(path).read_text().split("\n") if line.strip()]
    for path in sorted(models.glob("*.gguf")):
        reader = gguf.GGUFReader(path)
        value = lambda key: reader.fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in reader.fields else None
        fields = {name: value(key) for name, key in FIELDS.items()}
        inputs = path.with_name(path.name + ".inp")
        own = inputs.read_text().split("\n__ggml_vocab_test__\n") if inputs.exists() else []
        texts = vocabularies.cases.TEXTS + own + lines
        said = vocabularies.llama_ids(program, str(path), texts)
        another = lambda text: vocabularies.means_another(fields, fields["tokens"], fields["types"], text, True)
        ids = [None if another(text) else ids for text, ids in zip(texts, said)]
        vocabularies.write(out / f"{path.stem}.json", {"fields": fields, "own": len(own), "texts": texts, "ids": ids})
        print(path.stem, fields["model"], fields["pre"], len(fields["tokens"]), len(texts), sum(len(row) for row in ids if row))


if __name__ == "__main__":
    main()
