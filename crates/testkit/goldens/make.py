"""Writes the goldens: tiny random checkpoints with transformers' logits and greedy ids.

    python make.py                                   all families, and lattice-tiny
    python make.py --only qwen3_5 --only llama       some families
    python make.py --tiny path/to/lattice-tiny       where that checkpoint lies

Out: families/<name>/ (config.json, safetensors, logits.safetensors), lattice_tiny.json and
lattice_tiny.safetensors beside this file, and a table of the reference's own noise on stdout.
The same versions on the same machine give the same bytes; another CPU may move the last bits of the logits.
"""

import argparse
import json
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import reference
from families import FAMILIES, VOCAB

HERE = Path(__file__).resolve().parent
PROMPT_TOKENS = (1, 7, 64, 65, 300)
GREEDY_PROMPT_TOKENS = 7
GREEDY_TOKENS = 64
ROWS_KEPT = {300: 32}  # the last rows only: they depend on all the others


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_checkpoint(out, name, family):
    """config.json and the tensors, in one file or in shards with an index, as the hub has them."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*"):
        old.unlink()
    write_json(out / "config.json", family.config)
    tensors = family.tensors(name)
    if family.shards == 1:
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        return
    names, weight_map = sorted(tensors), {}
    for shard in range(family.shards):
        file = f"model-{shard + 1:05}-of-{family.shards:05}.safetensors"
        part = {n: tensors[n] for n in names[shard :: family.shards]}
        save_file(part, out / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(out / "model.safetensors.index.json", index)


def prompts(name):
    rng = np.random.Generator(np.random.PCG64([1, zlib.crc32(name.encode())]))
    return {n: [int(i) for i in rng.integers(0, VOCAB - 2, n)] for n in PROMPT_TOKENS}


def demand(name, condition, message):
    """A golden that hangs on the last bits of float32 would test luck: such a seed is refused."""
    if not condition:
        raise SystemExit(f"{name}: {message}; choose another seed")


def u32(ids):
    return np.asarray(ids, np.uint32)


def make_family(name, family):
    """One family; returns its row of the noise table."""
    out = HERE / "families" / name
    write_checkpoint(out, name, family)
    model = reference.load(out, family.model_class)
    golden, full = {}, {}
    for n, ids in prompts(name).items():
        full[n] = reference.logits(model, ids)
        golden[f"prompt_{n}.ids"] = u32(ids)
        golden[f"prompt_{n}.logits"] = np.ascontiguousarray(full[n][-ROWS_KEPT.get(n, n) :])
    prompt = prompts(name)[GREEDY_PROMPT_TOKENS]
    ids, gaps = reference.greedy(model, prompt, GREEDY_TOKENS)
    demand(name, VOCAB - 1 not in ids, "greedy text holds the stop id")
    demand(name, min(gaps) > 1e-3, "a greedy choice is too close")
    golden |= {"greedy.prompt": u32(prompt), "greedy.ids": u32(ids), "greedy.gaps": np.asarray(gaps, np.float32)}
    save_file(golden, out / "logits.safetensors")

    margin = reference.router_margin(model, [*prompts(name).values(), prompt + ids])
    demand(name, margin > 1e-4, "a choice of experts is too close")
    whole = reference.logits(model, prompt + ids[:-1])[len(prompt) - 1 :]
    demand(name, [int(i) for i in whole.argmax(1)] == ids, "cached decoding differs from one pass")
    model = reference.as_float64(model)
    noise = [reference.nmse(reference.logits_in_float64(model, i), full[n]) for n, i in prompts(name).items()]
    demand(name, max(noise) < 2e-11, "float32 is too inexact on these weights")
    kib = sum(f.stat().st_size for f in out.iterdir()) / 1024
    return [name, *(f"{x:.1e}" for x in noise), f"{full[65].std():.2f}", f"{min(gaps):.1e}",
            f"{margin:.1e}", f"{len(set(ids))}", f"{kib:.0f}"]


def print_table(rows):
    head = ["family", *(f"NMSE {n}" for n in PROMPT_TOKENS), "logit std", "least gap", "router margin",
            "distinct ids", "KiB"]
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=[*FAMILIES, "lattice_tiny"])
    parser.add_argument("--tiny", type=Path, default=HERE.parents[2] / "models" / "lattice-tiny")
    arguments = parser.parse_args()
    chosen = arguments.only or [*FAMILIES, "lattice_tiny"]
    rows = [make_family(name, family) for name, family in FAMILIES.items() if name in chosen]
    if rows:
        print("float32 against float64, both by transformers:")
        print_table(rows)
    if "lattice_tiny" in chosen:
        import lattice_tiny

        lattice_tiny.make(arguments.tiny, HERE)


if __name__ == "__main__":
    main()
