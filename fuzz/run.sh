#!/usr/bin/env bash
# Fuzzes the targets one after the other and prints a line for each: executions, coverage, finds.
# Usage: run.sh SECONDS [TARGET...]   Needs: cargo-fuzz (see README.md). One core at low priority.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?how many seconds for each target}
shift
cargo fuzz build -s none --quiet 2>/dev/null || cargo fuzz build -s none
targets=${*:-$(cargo fuzz list)}
mkdir -p fuzz/artifacts
for target in $targets; do
    mkdir -p "fuzz/grown/$target" "fuzz/artifacts/$target"
    log=$(nice -n 19 "fuzz/target/x86_64-unknown-linux-gnu/release/$target" \
        "fuzz/grown/$target" "fuzz/corpus/$target" -artifact_prefix="fuzz/artifacts/$target/" \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 2>&1) || true
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' <<<"$log")
    coverage=$(grep -o 'cov: [0-9]*' <<<"$log" | tail -1)
    finds=$(find "fuzz/artifacts/$target" -type f | wc -l)
    printf '%-18s %12s executions  %-12s %s finds\n' "$target" "${executions:-none}" "${coverage:-}" "$finds"
done
