"""Makes the goldens of text.rs and templates.rs from the reference implementations.

    python make.py            (versions: requirements.txt; no network is needed)

Small tokenizers are trained here on a few sentences, one of each kind, and written to tokenizers/. Ids, texts and rendered
conversations come from `tokenizers` and `transformers`.
"""

import datetime
import json
import pathlib

import tokenizers as tk
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils import chat_template_utils

import cases

HERE = pathlib.Path(__file__).parent
TINY = HERE / "../../../../models/lattice-tiny"
NOW = datetime.datetime(2026, 11, 24, 9, 5, 7)
LLAMA3_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
MARK = "▁"


def added(content, special=True, **flags):
    return tk.AddedToken(content, special=special, normalized=flags.pop("normalized", False), **flags)


def byte_level(name, pre_tokenizer, ignore_merges, more):
    tokenizer = tk.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(cases.TRAINING, trainer)
    more(tokenizer)
    return name, tokenizer


def llama3():
    def more(tokenizer):
        tokenizer.add_tokens([added("<|begin_of_text|>"), added("<|eot_id|>"), added("<|python_tag|>", special=False)])
        begin = tokenizer.token_to_id("<|begin_of_text|>")
        template = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])

    split = pre_tokenizers.Split(tk.Regex(LLAMA3_WORDS), behavior="isolated")
    words = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    name, tokenizer = byte_level("llama3", words, False, more)
    # A vocabulary entry that merges cannot reach is found whole.
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = [m for m in data["model"]["merges"] if "".join(m) not in ("the", "Ġthe")]
    known = set(data["model"]["vocab"])
    data["model"]["merges"] = [m for m in data["model"]["merges"] if m[0] in known and m[1] in known]
    return name, tk.Tokenizer.from_str(json.dumps(data))


def gpt2():
    def more(tokenizer):
        tokenizer.add_tokens([added("<|endoftext|>"), added("<mask>", lstrip=True), added("zebra", special=False, single_word=True, normalized=True)])

    return byte_level("gpt2", pre_tokenizers.ByteLevel(add_prefix_space=True), False, more)


def sentence_piece(name, normalizer, pre_tokenizer, scheme_decoder):
    trained = tk.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="first", split=True)
    trained.train_from_iterator(cases.TRAINING, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    data = json.loads(trained.to_str())["model"]
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    words = [token for token, _ in sorted(data["vocab"].items(), key=lambda entry: entry[1])]
    vocab = {token: index for index, token in enumerate(first + words)}
    model = models.BPE(vocab, [tuple(m) for m in data["merges"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = tk.Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = scheme_decoder
    tokenizer.add_tokens([added("<s>"), added("</s>"), added("[INST]", special=False, normalized=True), added("<unk>")])
    return name, tokenizer


def llama_decoder():
    return decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def spm_first():
    words = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="first", split=False)
    return sentence_piece("spm_first", None, words, llama_decoder())


def spm_legacy():
    normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    return sentence_piece("spm_legacy", normalizer, None, llama_decoder())


def unigram():
    tokenizer = tk.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tk.Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False)
    tokenizer.train_from_iterator(cases.TRAINING, trainer)
    tokenizer.add_tokens([added("<s>"), added("</s>"), added("<mask>", lstrip=True)])
    return "unigram", tokenizer


def word_piece():
    tokenizer = tk.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(cases.TRAINING, trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    pairs = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=pairs)
    return "word_piece", tokenizer


CONTROL = {
    "lattice_tiny": ["<|im_start|>", "<|im_end|>", "<think>"], "llama3": ["<|begin_of_text|>", "<|eot_id|>", "<|python_tag|>"],
    "gpt2": ["<|endoftext|>", "<mask>", "zebra"], "spm_first": ["<s>", "</s>", "[INST]"], "spm_legacy": ["<s>", "</s>", "[INST]"],
    "unigram": ["<s>", "</s>", "<mask>"], "word_piece": ["[CLS]", "[SEP]", "[MASK]"],
}


def ids_golden(name, tokenizer):
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = []
    processor, data["post_processor"] = data["post_processor"], None
    bare = tk.Tokenizer.from_str(json.dumps(data))
    prompts = [prompt.format(*CONTROL[name]) for prompt in cases.PROMPTS]
    prompt_ids = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    # The ids of the post-processor are those of the full tokenizer; the text between them is plain.
    with_specials = []
    for text in cases.TEXTS[:8]:
        plain = bare.encode(text).ids
        empty = tokenizer.encode("", add_special_tokens=True).ids if processor else []
        with_specials.append(empty[:1] + plain + empty[1:])
    text_ids = [bare.encode(text).ids for text in cases.TEXTS]
    return {
        "texts": text_ids,
        "prompts": prompt_ids,
        "with_specials": with_specials,
        "decoded": [tokenizer.decode(ids, skip_special_tokens=True) for ids in text_ids],
    }


def fnv(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


class FrozenDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def render(template, bos, messages, tools, thinking, generation):
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tk.Tokenizer(models.BPE()), **bos)
    more = {} if thinking is None else {"enable_thinking": thinking}
    try:
        return tokenizer.apply_chat_template(
            messages, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=generation, **more
        )
    except Exception as error:
        raised = type(error).__name__ == "TemplateError"
        return f"!{error}" if raised else "!!"


def joined(talk):
    """The conversation for a template that reads no parts: texts are joined by line breaks."""
    text = lambda content: content if isinstance(content, str) else "\n".join(part["text"] for part in content)
    return [{key: text(value) if key == "content" else value for key, value in message.items()} for message in talk]


def templates_golden():
    chat_template_utils.datetime = FrozenDate
    talks, golden = cases.conversations(), {}
    sources = {path.stem: path.read_text() for path in sorted((HERE / "templates").glob("*.jinja"))}
    sources["lattice_tiny"] = (TINY / "chat_template.jinja").read_text()
    for name, source in sources.items():
        bos = {"bos_token": "<|begin_of_text|>"} if name.startswith("llama") else {}
        probe = [{"role": "user", "content": [{"type": "text", "text": "probe"}]}]
        rendered = render(source, bos, probe, None, None, True)
        takes_parts = "probe" in rendered and "'probe'" not in rendered
        rows = []
        for index, talk in enumerate(talks if takes_parts else map(joined, talks)):
            row = []
            for tools in (None, [cases.WEATHER, cases.SUM]):
                for thinking in (None, True, False):
                    for generation in (True, False):
                        text = render(source, bos, talk, tools, thinking, generation)
                        whole = thinking is None and generation and tools is None and index % 4 == 0
                        row.append(text if whole or text.startswith("!") else "#" + fnv(text))
            rows.append(row)
        golden[name] = rows
    return golden


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    made = [("lattice_tiny", tk.Tokenizer.from_file(str(TINY / "tokenizer.json")))]
    for kind in [llama3, gpt2, spm_first, spm_legacy, unigram, word_piece]:
        path = HERE / "tokenizers" / f"{kind.__name__}.json"
        if not path.exists():
            # Some trainers depend on the order of threads, so a file that stands is kept.
            _, tokenizer = kind()
            path.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")))
        made.append((kind.__name__, tk.Tokenizer.from_file(str(path))))
    goldens = {name: ids_golden(name, tokenizer) for name, tokenizer in made}
    write(HERE / "ids.json", {"texts": cases.TEXTS, "prompts": cases.PROMPTS, "control": CONTROL, "tokenizers": goldens})
    write(HERE / "rendered.json", {"tools": [cases.WEATHER, cases.SUM], "conversations": cases.conversations(), "templates": templates_golden()})


if __name__ == "__main__":
    main()
