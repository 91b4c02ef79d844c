#!/usr/bin/env bash
# Runs the sessions of real clients against a server of its own; see README.md.
# usage: run.sh [LATTICE [NAME...]]     LATTICE: the program; NAME: sessions to run, as python/session_openai.py; all without one
# Exit: 0 all hold, 1 one does not, 3 the clients cannot be had here (no Python, Node or registry): nothing was run.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
lattice=$(realpath "${1:-$target/release/lattice}")
shift || true
cd "$root/tests/clients"
work=$target/clients
mkdir -p "$work"

cannot() {
    echo "clients: not run: $1"
    exit 3
}
command -v python3 >/dev/null || cannot "no python3"
command -v npm >/dev/null || cannot "no npm"

if ! cmp -s python/requirements.txt "$work/requirements.txt"; then
    python3 -m venv --clear "$work/venv" || cannot "python3 has no venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r python/requirements.txt ||
        cannot "the Python packages cannot be had"
    cp python/requirements.txt "$work/"
fi
if ! cmp -s node/package-lock.json "$work/node/package-lock.json"; then
    mkdir -p "$work/node"
    cp node/package.json node/package-lock.json "$work/node/"
    npm ci --prefix "$work/node" --silent --no-audit --no-fund || cannot "the Node packages cannot be had"
fi
cp node/*.mjs "$work/node/"

export LATTICE_MODEL_CACHE=$work/cache LATTICE_CHAT_MODEL=lattice-tiny LATTICE_EMBED_MODEL=bert_mean
. ./server.sh lattice-tiny "$root/crates/testkit/goldens/encoders/bert_mean"
export LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_TELEMETRY=False

failed=0
sessions=("$@")
[ $# -gt 0 ] || sessions=(python/session_*.py node/session_*.mjs)
for session in "${sessions[@]}"; do
    printf '%s: ' "$session"
    case $session in
        *.py) command=("$work/venv/bin/python" "$session") ;;
        *) command=(node "$work/$session") ;;
    esac
    timeout 120 "${command[@]}" 2>"$work/session.log" || {
        failed=1
        echo "failed"
        tail -5 "$work/session.log"
    }
done
exit $failed
