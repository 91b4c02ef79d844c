"""Sinkhorn of Lattice beside ott-jax and POT on the table's points, in turn: one JSON line a run.

    cargo build --release -p lattice-transport --examples
    python peers.py --example ../../../target/release/examples/sinkhorn --rounds 3 > runs.jsonl

`seconds` is the best wall-clock time of a run, `cpu` the least processor time, which other programs disturb less.
Versions: ott-jax 0.6.0, jax 0.10.2, POT 0.9.7.post1, numpy 2.4.6. --threads 1 holds every engine to one core.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

POINTS = Path(__file__).parent.parent / "goldens" / "points.bin"
EPS, TOLERANCE = 0.01, 1e-6


def say(engine, seconds, iterations, cost, **more):
    print(json.dumps({"engine": engine, "seconds": seconds, "iterations": iterations, "cost": cost, **more}), flush=True)


def lattice(example, number, domain, threads):
    found, cpu = [], []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run([example, POINTS, "1000", str(EPS), number, domain, "dense", str(threads), str(TOLERANCE), "1"],
                             check=True, capture_output=True, text=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(json.loads(out))
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    best = min(found, key=lambda f: f["best_s"])
    say(f"lattice {number} {domain}", best["best_s"], best["iterations"], best["cost"], cpu=min(cpu), error=best["error"])


def ott(dtype):
    import jax
    jax.config.update("jax_enable_x64", dtype == "f64")
    import jax.numpy as jnp
    import numpy as np
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    X, Y = np.frombuffer(POINTS.read_bytes()).reshape(2, 1000, 2)
    C = jnp.asarray(((X[:, None] - Y[None]) ** 2).sum(-1), dtype="float64" if dtype == "f64" else "float32")
    # inner_iterations 1: the error is looked at in every iteration, as here; the default of 10 is also run.
    for inner in (10, 1):
        @jax.jit
        def solve(C):
            out = sinkhorn.Sinkhorn(threshold=TOLERANCE, max_iterations=2000, inner_iterations=inner)(
                linear_problem.LinearProblem(geometry.Geometry(cost_matrix=C, epsilon=EPS)))
            return out.n_iters, jnp.sum(out.matrix * C), out.converged
        jax.block_until_ready(solve(C))
        best, cpu = 1e9, 1e9
        for _ in range(3):
            t, c = time.perf_counter(), time.process_time()
            n, cost, converged = jax.block_until_ready(solve(C))
            best, cpu = min(best, time.perf_counter() - t), min(cpu, time.process_time() - c)
        say(f"ott-jax {dtype}, error every {inner}", best, int(n), float(cost), cpu=cpu, converged=bool(converged))


def pot(method):
    import numpy as np
    import ot

    X, Y = np.frombuffer(POINTS.read_bytes()).reshape(2, 1000, 2)
    C = ((X[:, None] - Y[None]) ** 2).sum(-1)
    a = np.full(1000, 1e-3)
    t, c = time.perf_counter(), time.process_time()
    P, log = ot.sinkhorn(a, a, C, EPS, method=method, stopThr=TOLERANCE, numItermax=2000, log=True, warn=False)
    say(f"POT {method} f64", time.perf_counter() - t, log["niter"], float((P * C).sum()), cpu=time.process_time() - c)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--example", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="one engine, in this process")
    args = parser.parse_args()
    if args.only:
        name, kind = args.only.split(":")
        return ott(kind) if name == "ott" else pot(kind)
    cores = ",".join(str(core) for core in range(args.threads))
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "OPENBLAS_NUM_THREADS": str(args.threads)}
    for _ in range(args.rounds):
        for number in ("f32", "f64"):
            for domain in ("auto", "log", "kernel"):
                lattice(args.example, number, domain, args.threads)
        for only in ("ott:f32", "ott:f64", "pot:sinkhorn", "pot:sinkhorn_log"):
            subprocess.run(["taskset", "-c", cores, sys.executable, __file__, "--example", args.example, "--only", only],
                           check=True, env=environment)


if __name__ == "__main__":
    main()
