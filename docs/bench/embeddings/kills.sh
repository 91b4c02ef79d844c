#!/bin/bash
# A big run of `lattice embed` that is killed again and again ends as one that is not: the same bytes.
#
#   kills.sh LATTICE MODEL DIR [TEXTS [SECONDS [FLAGS...]]]
#
# LATTICE: the program. MODEL: a model directory. DIR: an empty directory for texts and outputs. TEXTS (100,000): how many.
# SECONDS (20): a run is killed by SIGKILL after a random time of up to so many. FLAGS: of `lattice embed`, such as --compute int8.
# For each kind of file: texts, seconds and size of the whole run, the kills, and whether both files are equal. Exit status 1
# where one differs.
set -u
lattice=$1 model=$2 dir=$3 texts=${4:-100000} seconds=${5:-20}
shift $(($# < 5 ? $# : 5))
mkdir -p "$dir"
# Texts of 1 to 12 words, each with its number.
awk -v n="$texts" 'BEGIN { srand(7); for (i = 0; i < n; i++) { s = "text " i; k = int(12 * rand());
  for (j = 0; j < k; j++) s = s " word" int(5000 * rand()); print "{\"id\": " i ", \"text\": \"" s "\"}" } }' > "$dir/texts.jsonl"
failed=0
for kind in npy parquet jsonl; do
  whole=$dir/whole.$kind broken=$dir/broken.$kind
  rm -rf "$whole" "$broken" "$broken".*
  started=$(date +%s)
  "$lattice" embed -m "$model" -f "$dir/texts.jsonl" -o "$whole" "$@" > "$dir/whole.log" 2>&1 || { cat "$dir/whole.log"; exit 1; }
  took=$(($(date +%s) - started)) kills=0
  while :; do
    "$lattice" embed -m "$model" -f "$dir/texts.jsonl" -o "$broken" "$@" > "$dir/broken.log" 2>&1 &
    run=$!
    ( sleep "$(awk -v s="$seconds" -v r=$RANDOM 'BEGIN { print 0.2 + s * r / 32768 }')"; kill -9 "$run" ) 2>/dev/null &
    killer=$!
    if wait "$run" 2>/dev/null; then kill "$killer" 2>/dev/null; break; fi
    kills=$((kills + 1))
    [ -s "$dir/broken.log" ] && grep -q '^error' "$dir/broken.log" && { cat "$dir/broken.log"; exit 1; }
  done
  equal=equal
  cmp -s "$whole" "$broken" || { equal=DIFFERENT failed=1; }
  echo "$kind: $texts texts, ${took} s, $(stat -c %s "$whole") bytes, $kills kills: $equal"
done
exit $failed
