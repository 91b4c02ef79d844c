"""Compares Lattice's vectors with those of sentence-transformers on whole models; writes docs/parity-embeddings.md.

    python embeddings.py DIR --program target/release/examples/text_vectors [--lattice target/release/lattice]
                         [--only NAME] [--forms FORM,...] [--prompts N] [--peers] [--device cuda]
                         [--sts sts-test.csv] [--table docs/parity-embeddings.md]

DIR holds model directories as `embed_shapes.py` writes them, and others of sentence-transformers. For each: vectors and ids
of `embed_texts.texts()` in f32 by sentence-transformers (kept in DIR/.vectors), and by Lattice of the same files, computing
in f32, in bf16 (`--compute bf16`) and in bytes (`--compute int8`); of a copy with all its tensors rounded to bf16, beside
sentence-transformers computing that copy in f32; and, with --lattice, of a packed copy (`quantize --to q8`). A comparison is
the least cosine, the largest difference of a component, and whether all ids agree. --sts adds, for models whose weights are no random ones, the
Spearman correlation of cosines with the scores of people on the STS benchmark. --prompts compares the first N texts once more with
each prompt that the model names (by `lattice embed --prompt`). --peers adds what others make of the same files: sentence-transformers
in bf16, and in f32 of matrices rounded as llama.cpp's Q8_0 rounds them (32 values, scale the largest over 127, in f16).
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

from embed_texts import texts

LIMITS = {
    "f32": (0.9999999, 2e-6), "--compute bf16": (0.9999, None), "bf16 file": (0.9999, None),
    "--compute int8": (0.999, None), "q8": (0.9995, None),
}
BF16 = "bf16 file"


def encoder_of(model, device, dtype="float32"):
    import sentence_transformers
    import torch

    return sentence_transformers.SentenceTransformer(str(model), device=device, model_kwargs={"dtype": getattr(torch, dtype)})


def encode(encoder, wanted, prompt=None):
    """One text at a time, so that nothing is padded."""
    rows = [encoder.encode([text], batch_size=1, convert_to_tensor=True, prompt=prompt)[0] for text in wanted]
    return np.stack([row.float().cpu().numpy() for row in rows])


def reference(model, kept, device, name=None):
    """Vectors [texts, dims] and ids by sentence-transformers, computed once for each name."""
    file = kept / f"{name or model.name}.npz"
    if not file.exists():
        encoder = encoder_of(model, device)
        rows = encode(encoder, texts())
        ids = [encoder.preprocess([text])["input_ids"][0].tolist() for text in texts()]
        np.savez(file, rows=rows, ids=json.dumps(ids))
    found = np.load(file)
    return found["rows"], json.loads(str(found["ids"]))


def ours(model, program, kept, threads, wanted=None, compute="as-stored"):
    wanted = texts() if wanted is None else wanted
    lines = kept / "texts.jsonl"
    lines.write_text("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in wanted), encoding="utf-8")
    out = kept / "ours"
    said = subprocess.run([program, model, lines, out, str(threads), compute], check=True, capture_output=True, text=True)
    rows = np.fromfile(f"{out}.f32", np.float32).reshape(len(wanted), -1)
    ids = [json.loads(line) for line in Path(f"{out}.ids").read_text().splitlines()]
    return rows, ids, said.stdout.strip()


def rounded(model, out):
    """A copy with every tensor in bf16."""
    import torch
    from safetensors.torch import load_file, save_file

    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("model.safetensors"))
    tensors = load_file(model / "model.safetensors")
    to_bf16 = lambda t: t.to(torch.bfloat16) if t.is_floating_point() else t
    save_file({name: to_bf16(tensor) for name, tensor in tensors.items()}, out / "model.safetensors")
    return out


def packed(model, out, lattice):
    if out.exists():
        shutil.rmtree(out)
    subprocess.run([lattice, "quantize", model, "-o", out, "--to", "q8"], check=True, capture_output=True)
    return out


def compare(expected, found):
    a, b = expected.astype(np.float64), found.astype(np.float64)
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosine.min(), np.abs(a - b).max()


def q8_0(encoder):
    """Rounds every matrix as llama.cpp's Q8_0 does, where its rows are whole blocks."""
    import torch

    with torch.no_grad():
        for value in encoder.state_dict().values():
            if value.ndim == 2 and value.shape[1] % 32 == 0:
                blocks = value.reshape(-1, 32)
                scale = blocks.abs().amax(1, keepdim=True) / 127
                steps = torch.round(blocks / scale.clamp_min(1e-30))
                value.copy_((steps * scale.half().float()).reshape(value.shape))
    return encoder


def peers(model, expected, device):
    """What others lose on the same file."""
    for what, encoder in (
        ("sentence-transformers bf16", encoder_of(model, device, "bfloat16")),
        ("weights in Q8_0", q8_0(encoder_of(model, device))),
    ):
        cosine, difference = compare(expected, encode(encoder, texts()))
        print(f"{model.name:40} {what} cos {cosine:.9f} diff {difference:.2e}", flush=True)


def prompts(model, args, kept):
    """The first texts with each prompt of the model's own."""
    encoder = encoder_of(model, args.device)
    some = texts()[: args.prompts]
    lines, out = kept / "some.jsonl", kept / "some.npy"
    lines.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in some), encoding="utf-8")
    # A model calls what is searched through by one name or the other.
    searched = next((name for name in ("passage", "document") if encoder.prompts.get(name)), "document")
    for name, role in (("query", "query"), (searched, "passage")):
        if name not in encoder.prompts:
            continue
        out.unlink(missing_ok=True)
        said = [args.lattice, "embed", "--model", model, "--prompt", role, "-f", lines, "-o", out]
        subprocess.run(said, check=True, capture_output=True)
        cosine, difference = compare(encode(encoder, some, encoder.prompts[name]), np.load(out))
        print(f"{model.name:40} prompt {name} cos {cosine:.9f} diff {difference:.2e}, {len(some)} texts", flush=True)


def spread(rows):
    """Mean cosine of different texts: near 1, a comparison would prove little."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float((unit @ unit.T)[~np.eye(len(unit), dtype=bool)].mean())


def sts(model, args, kept):
    """Spearman correlation on the STS benchmark, times 100."""
    from scipy.stats import spearmanr

    rows = [line.rstrip("\n").split("\t") for line in args.sts.read_text(encoding="utf-8").splitlines()]
    scores = [float(row[4]) for row in rows]
    vectors, _, _ = ours(model, args.program, kept, args.threads, [row[5] for row in rows] + [row[6] for row in rows])
    a, b = np.split(vectors.astype(np.float64), 2)
    return 100 * spearmanr((a * b).sum(1), scores).statistic


def check(model, args, kept):
    expected, expected_ids = reference(model, kept, args.device)
    if args.peers:
        peers(model, expected, args.device)
    if args.prompts:
        prompts(model, args, kept)
    forms = {"f32": lambda: model, BF16: lambda: rounded(model, kept / "bf16")}
    forms |= {f"--compute {name}": lambda: model for name in ("bf16", "int8")}
    if args.lattice:
        forms["q8"] = lambda: packed(model, kept / "q8", args.lattice)
    if args.forms is not None:
        forms = {form: forms[form] for form in filter(None, args.forms.split(","))}
    for form, directory in forms.items():
        path, compute = directory(), form.removeprefix("--compute ") if "compute" in form else "as-stored"
        rows, ids, said = ours(path, args.program, kept, args.threads, compute=compute)
        same_weights = expected if form != BF16 else reference(path, kept, args.device, f"{model.name}-bf16")[0]
        cosine, difference = compare(same_weights, rows)
        to_f32, _ = compare(expected, rows)
        same = sum(a == b for a, b in zip(ids, expected_ids, strict=True))
        least, most = LIMITS[form]
        holds = cosine >= least and (most is None or difference <= most) and same == len(ids)
        verdict = "yes" if holds else "NO"
        print(f"{model.name:40} {form:14} cos {cosine:.9f} ({to_f32:.9f}) diff {difference:.2e} ids {same}/{len(ids)} {verdict}  {said}", flush=True)
        yield (model.name, expected.shape[1], form, f"{cosine:.9f}", f"{to_f32:.9f}", f"{difference:.1e}", f"{same} of {len(ids)}", f"{spread(expected):.2f}", verdict)


def table(rows, note):
    import sentence_transformers
    import torch
    import transformers

    head = ("model", "dims", "computed", "least cosine", "to the f32 file", "largest difference", "ids equal", "mean cosine of two texts", "within limits")
    versions = f"sentence-transformers {sentence_transformers.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    lines = [
        "# Parity of vectors", "",
        "Written by `crates/testkit/goldens/embeddings.py`. Each row compares the vectors of 200 texts in twelve languages, from one",
        f"character to several thousand tokens, with those of {versions} in f32.",
        "Limits: f32 cosine at least 0.9999999 and no component further than 2e-6; bf16 0.9999; int8 0.999; q8 (`lattice quantize --to q8`) 0.9995; ids",
        "equal throughout. \"bf16 file\" is a copy with every tensor rounded to bf16, compared with sentence-transformers computing that copy in f32; \"to the",
        "f32 file\" is the same row beside the file as it was.", "", note, "",
        "| " + " | ".join(head) + " |", "|" + "---|" * len(head),
    ]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lattice")
    parser.add_argument("--only", action="append")
    parser.add_argument("--forms")
    parser.add_argument("--prompts", type=int, default=0)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--sts", type=Path)
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    kept = args.models / ".vectors"
    kept.mkdir(exist_ok=True)
    rows = []
    for model in sorted(args.models.iterdir()):
        wanted = not args.only or model.name in args.only
        if wanted and (model / "modules.json").exists() and not model.name.startswith("."):
            rows.extend(check(model, args, kept))
            if args.sts and model.name == "minilm":
                found = sts(model, args, kept)
                args.note += f"STS benchmark (test), `{model.name}` in f32: Spearman {found:.2f}."
                print(args.note, flush=True)
    if args.table:
        args.table.write_text(table(rows, args.note), encoding="utf-8")


if __name__ == "__main__":
    main()
