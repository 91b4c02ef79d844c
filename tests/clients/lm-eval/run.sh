#!/usr/bin/env bash
# lm-eval's log-likelihoods through a server beside those of transformers; see ../README.md.
# usage: run.sh [LATTICE]     LM_EVAL_PYTHON: an interpreter that has lm_eval, transformers and torch
# Exit: 0 they are the same, 1 they are not, 3 the packages cannot be had here: nothing was run.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
lattice=$(realpath "${1:-$target/release/lattice}")
cd "$root/tests/clients/lm-eval"
work=$target/clients/lm-eval
mkdir -p "$work"

python=${LM_EVAL_PYTHON:-}
if [ -z "$python" ]; then
    python=$work/venv/bin/python
    if ! cmp -s requirements.txt "$work/requirements.txt"; then
        { python3 -m venv --clear "$work/venv" &&
            "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt; } || {
            echo "lm-eval: not run: its packages cannot be had"
            exit 3
        }
        cp requirements.txt "$work/"
    fi
fi
# As transformers computes: in f32, with keys and values in f32.
. ../server.sh lattice-tiny --bf16-isa f32_fma --kv f32
export OPENAI_API_KEY=$LATTICE_KEY HF_HOME=$work/hf HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$python" compare.py "$root/models/lattice-tiny" 2>"$work/compare.log" || {
    tail -5 "$work/compare.log"
    exit 1
}
