"""Lattice's operations on vectors beside those of others, in turn.

usage: vectors_peers.py EXAMPLE THREADS [ROUNDS]      (EXAMPLE: target/release/examples/vectors)
Each round runs the example once for `scan` and `all` and then every peer in this process; the best of all rounds stands.
Needs numpy, faiss-cpu, torch.
"""
import os, subprocess, sys, time

example, threads = sys.argv[1], sys.argv[2]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = threads
import faiss
import numpy as np
import torch

faiss.omp_set_num_threads(int(threads))
torch.set_num_threads(int(threads))


def best(call, seconds):
    call()
    least, end = 1e9, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return least


def ours():
    found = {}
    for mode in ("scan", "all"):
        text = subprocess.run([example, mode, threads], capture_output=True, text=True, check=True).stdout
        for line in text.splitlines()[2:]:
            kind, metric, *rest = line.split()
            if metric == "plain":
                rest = rest[1:]
            found[f"{mode} {kind} {metric}"] = float(rest[0]) * 1e-3
    return found


def peers():
    random = np.random.default_rng(0)
    rows = random.standard_normal((100_000, 384), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = rows[:1].copy()
    flat = faiss.IndexFlatIP(384)
    half = faiss.IndexScalarQuantizer(384, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    byte = faiss.IndexScalarQuantizer(384, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT)
    bits = faiss.IndexBinaryFlat(384)
    packed = np.packbits(rows > 0, axis=1)
    flat.add(rows), half.train(rows), half.add(rows), byte.train(rows), byte.add(rows * 127), bits.add(packed)
    a, b = rows[:4096].copy(), rows[4096:8192].copy()
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    na, nb = ta.bfloat16(), tb.bfloat16()
    return {
        "scan f32 faiss": lambda: flat.search(query, 10),
        "scan f16 faiss": lambda: half.search(query, 10),
        "scan i8 faiss": lambda: byte.search(query * 127, 10),
        "scan bits faiss": lambda: bits.search(packed[:1], 10),
        "scan f32 numpy": lambda: rows @ query[0],
        "all f32 numpy (OpenBLAS)": lambda: a @ b.T,
        "all f32 torch": lambda: ta @ tb.T,
        "all bf16 torch": lambda: na @ nb.T,
    }


calls, times = peers(), {}
for _ in range(rounds):
    for name, seconds in ours().items():
        times[name] = min(times.get(name, 1e9), seconds)
    for name, call in calls.items():
        times[name] = min(times.get(name, 1e9), best(call, 0.6))
bytes_of = {"f32": 4, "f16": 2, "bf16": 2, "i8": 1, "bits": 1 / 8}
print(f"{threads} threads, faiss {faiss.__version__}, numpy {np.__version__}, torch {torch.__version__}")
for name, seconds in sorted(times.items()):
    mode, kind = name.split()[:2]
    rate = 38.4e6 * bytes_of[kind] / seconds / 1e9 if mode == "scan" else 2 * 4096 * 4096 * 384 / seconds / 1e9
    print(f"{name:<28} {seconds * 1e3:9.3f} ms {rate:9.1f} {'GB/s' if mode == 'scan' else 'GFLOP/s'}")
