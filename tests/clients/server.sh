# Starts `$lattice serve` with the arguments given, on a free port, its output in $work; it ends with the script that sources
# this one. Leaves LATTICE_URL and LATTICE_KEY.
export LATTICE_KEY=a-key-for-tests
"$lattice" serve "$@" --port 0 --api-key "$LATTICE_KEY" --json >"$work/events.jsonl" 2>"$work/server.log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 600); do
    LATTICE_URL=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$work/events.jsonl" | head -1)
    [ -n "$LATTICE_URL" ] && break
    kill -0 "$server" || { cat "$work/server.log"; exit 1; }
    sleep 0.1
done
[ -n "$LATTICE_URL" ] || { echo "the server did not say where it listens"; exit 1; }
export LATTICE_URL NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
