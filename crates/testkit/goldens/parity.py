"""Compares `lattice eval logits` with transformers and writes docs/parity.md.

    python parity.py path/to/lattice [--device reference --device cpu] [--tiny DIR] [--out FILE]

In: the binary, families/ and the bundled model. Every prompt goes through both engines on this machine, and
so does each greedy continuation (prompt and answer in one pass: if the best id of every row is the next
token, greedy decoding gives this very answer). Exit status 1 if a limit is broken; the page is written anyway.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

import reference
from families import FAMILIES
from make import HERE, PROMPT_TOKENS

ROOT = HERE.parents[2]
GREEDY_GAP = 1e-4
LIMITS = {"f32": 1e-9, "bf16": 1e-4}  # as the table in testkit's tolerance.rs


@dataclass
class Case:
    """One line of ids; `answers` are the greedy ids of its last rows, and `gaps` how clear each was."""

    label: str
    ids: list
    answers: list
    gaps: list


@dataclass
class Checkpoint:
    name: str
    dir: Path
    model_class: str
    weights: str
    cases: list


def greedy_case(label, prompt, ids, gaps):
    return Case(label, [*prompt, *ids[:-1]], list(ids), list(gaps))


def family_checkpoint(name, family):
    folder = HERE / "families" / name
    golden = load_file(folder / "logits.safetensors")
    cases = [Case(str(n), golden[f"prompt_{n}.ids"].tolist(), [], []) for n in PROMPT_TOKENS]
    greedy = (golden[f"greedy.{part}"].tolist() for part in ("prompt", "ids", "gaps"))
    return Checkpoint(name, folder, family.model_class, "f32", [*cases, greedy_case("greedy", *greedy)])


def tiny_checkpoint(folder):
    chats = json.loads((HERE / "lattice_tiny.json").read_text(encoding="utf-8"))
    greedy = [chat["greedy"] for chat in chats]
    cases = [greedy_case(f"chat {i + 1}", g["prompt"], g["ids"], g["gaps"]) for i, g in enumerate(greedy)]
    return Checkpoint("lattice-tiny", folder, "Qwen3_5ForCausalLM", "bf16", cases)


def lattice_logits(lattice, checkpoint, device):
    """One array [tokens, vocab] per case."""
    with tempfile.TemporaryDirectory() as folder:
        ids, out = Path(folder) / "ids.jsonl", Path(folder) / "logits.npy"
        ids.write_text("".join(json.dumps(case.ids) + "\n" for case in checkpoint.cases))
        command = [lattice, "eval", "logits", checkpoint.dir, "--ids", ids, "-o", out, "--device", device]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        rows = np.load(out)
    lengths = [len(case.ids) for case in checkpoint.cases]
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != sum(lengths):
        raise SystemExit(f"{checkpoint.name}: expected f32 [{sum(lengths)}, vocab], found {rows.dtype} {rows.shape}")
    return np.split(rows, np.cumsum(lengths)[:-1])


def wrong_steps(case, rows):
    """Steps at which the best id is another one than the reference's, where that had a clear best."""
    best = rows[len(case.ids) - len(case.answers) :].argmax(1)
    return sum(b != a and gap > GREEDY_GAP for b, a, gap in zip(best, case.answers, case.gaps))


def compare(lattice, checkpoint, devices):
    """Rows of the logits table, and the row of the greedy table."""
    model = reference.load(checkpoint.dir, checkpoint.model_class)
    expected = [reference.logits(model, case.ids) for case in checkpoint.cases]
    found = {device: lattice_logits(lattice, checkpoint, device) for device in devices}
    table = []
    for i, case in enumerate(checkpoint.cases):
        errors = []
        for device in devices:
            rows = found[device][i]
            errors += [reference.nmse(expected[i], rows), float(np.abs(rows - expected[i]).max())]
        table.append([checkpoint.name, case.label, *errors])
    steps = sum(len(case.answers) for case in checkpoint.cases)
    wrong = [sum(map(wrong_steps, checkpoint.cases, found[device])) for device in devices]
    return table, [checkpoint.name, steps, *wrong]


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def page(devices, logits, greedy):
    head = ["checkpoint", "prompt tokens"] + [f"{d} {what}" for d in devices for what in ("NMSE", "max abs")]
    logit_rows = [[*row[:2], *(f"{x:.1e}" for x in row[2:])] for row in logits]
    greedy_rows = [[*row[:2], *("all" if not n else f"all but {n}" for n in row[2:])] for row in greedy]
    return f"""# Parity with transformers

Written by `crates/testkit/goldens/parity.py`; do not edit. The reference is transformers {transformers.__version__} on
torch {torch.__version__}, CPU, float32, eager attention, on the same stored weights. Machine: {processor()}.
The limits: NMSE {LIMITS["f32"]:.0e} for the tiny f32 checkpoints, {LIMITS["bf16"]:.0e} for lattice-tiny (bf16).

## Logits

NMSE is the sum of squared differences over the sum of squares of the reference, over all rows of a prompt.
`greedy` is the prompt of 7 tokens with its greedy answer.

{markdown(head, logit_rows)}
## Greedy ids

Steps that agree, wherever the reference's best logit is more than {GREEDY_GAP:.0e} above the second.

{markdown(["checkpoint", "steps", *devices], greedy_rows)}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lattice", type=Path)
    parser.add_argument("--device", action="append", help="default: reference and cpu")
    parser.add_argument("--tiny", type=Path, default=ROOT / "models" / "lattice-tiny")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "parity.md")
    arguments = parser.parse_args()
    devices = arguments.device or ["reference", "cpu"]
    checkpoints = [family_checkpoint(name, family) for name, family in FAMILIES.items()]
    logits, greedy, broken = [], [], []
    for checkpoint in [*checkpoints, tiny_checkpoint(arguments.tiny)]:
        table, steps = compare(arguments.lattice.resolve(), checkpoint, devices)
        logits += table
        greedy.append(steps)
        # `not <=` so that a NaN breaks the limit too.
        broken += [row[:2] for row in table if not all(e <= LIMITS[checkpoint.weights] for e in row[2::2])]
        broken += [[checkpoint.name, "greedy ids"]] if any(steps[2:]) else []
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(page(devices, logits, greedy), encoding="utf-8")
    for name, what in broken:
        print(f"{name}: {what} is beyond its limit", file=sys.stderr)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
