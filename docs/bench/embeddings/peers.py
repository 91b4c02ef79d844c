"""Lattice beside other runtimes on the same texts, in turn, on one machine.

usage: peers.py MODELDIR --peers DIR --lattice BINARY --texts DIR [--threads N] [--rounds N] [--secs S]
                [--shapes s16:1,s16:32,...] [--backends NAME,...] [--candle BINARY] [--csv FILE]

MODELDIR: a directory with config.json, tokenizer.json, model.safetensors, and what the runtimes read (model.onnx,
model_int8.onnx, model_ov_int8.xml, ct2/). --peers: where bench_embed.py is, which prints a line of JSON for each shape.
--lattice: the example `embed_rates` of lattice-inference, a release build. --texts: NAME.jsonl for each shape's name, a JSON
text on each line, and corpus.json with the same texts, which bench_embed.py reads. --candle: a program on candle-transformers
that takes a model, texts, --batch and --seconds and prints texts_s, gflops and best_ms as `embed_rates` does.
--summary: no runs, the table of what --csv holds of the model and number of threads.
A round runs every backend once, over all shapes; so the runtimes take turns. The table has the median of the rounds, in texts
a second, the ratio of ours to the best other one of the same kind, and the smallest cosine of 64 texts' vectors to those of
sentence-transformers in f32.
"""
import argparse, csv, json, os, statistics, subprocess, sys, tempfile
import numpy as np

OURS = {"lattice-f32": "f32", "lattice-bf16": "bf16", "lattice-int8": "int8"}
CANDLE = "candle-fp32"
PEERS = ["st-fp32", "st-bf16", "ort-fp32", "ort-int8", "ov-fp32", "ov-bf16", "ov-int8", "ct2-fp32", "ct2-bf16", "ct2-int8"]
KINDS = {"f32": ("lattice-f32", ("fp32",)), "bf16": ("lattice-bf16", ("bf16",)), "int8": ("lattice-int8", ("int8",))}


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model"); p.add_argument("--peers", required=True); p.add_argument("--lattice", required=True)
    p.add_argument("--texts", required=True); p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=1); p.add_argument("--secs", type=float, default=0.5)
    p.add_argument("--shapes", default="s16:1,s16:32,s16:256,m128:1,m128:32,l512:1,l512:8,mixed:1,mixed:32,mixed:256")
    p.add_argument("--backends", default=",".join(list(OURS) + PEERS)); p.add_argument("--csv"); p.add_argument("--candle")
    p.add_argument("--summary", action="store_true"); p.add_argument("--turn", type=int, default=0, help="number of the first round")
    p.add_argument("--before", default="", help="words before every command, e.g. 'chrt -f 1' on a machine that others use too")
    return p.parse_args()


def pinned(a):
    cores = sorted(os.sched_getaffinity(0))[-a.threads:]
    return a.before.split() + ["taskset", "-c", ",".join(map(str, cores))]


def lines_of(command, env):
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    found = [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]
    if not found:
        print(f"{' '.join(command[:6])}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return found


def peer(a, backend):
    env = dict(os.environ, PYTHONPATH=a.peers, CORPUS=f"{a.texts}/corpus.json")
    ref = f"{a.model}/reference.npy"
    command = pinned(a) + [sys.executable, f"{a.peers}/bench_embed.py", backend, a.model, str(a.threads),
                           "--secs", str(a.secs), "--shapes", a.shapes, "--ref", ref]
    cosine = None
    for j in lines_of(command, env):
        if j["kind"] == "ref":
            cosine = j["min_cos"]
        if j["kind"] == "embed":
            yield f"{j['shape']}:{j['batch']}", j["sent_s"], j["gflops"], 1e3 * j["batch"] / j["best_batch_sent_s"], cosine


def candle(a):
    env = dict(os.environ, RAYON_NUM_THREADS=str(a.threads))
    for shape in a.shapes.split(","):
        name, batch = shape.split(":")
        command = pinned(a) + [a.candle, a.model, f"{a.texts}/{name}.jsonl", "--batch", batch, "--seconds", str(a.secs)]
        for j in lines_of(command, env):
            yield shape, j["texts_s"], j["gflops"], j["best_ms"], None


def ours(a, compute):
    base = [a.lattice, a.model]
    rest = ["--compute", compute, "--threads", str(a.threads), "--max-tokens", "512"]
    cosine = None
    ref = f"{a.model}/reference.npy"
    if os.path.exists(ref):
        with tempfile.NamedTemporaryFile() as f:
            lines_of(pinned(a) + base + [f"{a.texts}/ref.jsonl"] + rest + ["--seconds", "0", "--batch", "1", "--out", f.name], None)
            r = np.load(ref); v = np.fromfile(f.name, dtype=np.float32).reshape(r.shape)
            cosine = float(((v * r).sum(1) / np.linalg.norm(v, axis=1) / np.linalg.norm(r, axis=1)).min())
    for shape in a.shapes.split(","):
        name, batch = shape.split(":")
        for j in lines_of(pinned(a) + base + [f"{a.texts}/{name}.jsonl"] + rest + ["--batch", batch, "--seconds", str(a.secs)], None):
            yield shape, j["texts_s"], j["gflops"], j["best_ms"], cosine


def main():
    a = arguments()
    found = {}
    name = os.path.basename(a.model.rstrip("/"))
    if a.summary:
        for model, threads, _, backend, shape, rate, gflops, best_ms, cosine in csv.reader(open(a.csv)):
            if (model, threads) == (name, str(a.threads)):
                row = float(rate), float(gflops), float(best_ms), float(cosine) if cosine else None
                found.setdefault(shape, {}).setdefault(backend, []).append(row)
        return table(found)
    file = open(a.csv, "a", newline="", buffering=1) if a.csv else None
    out = csv.writer(file) if file else None
    for turn in range(a.turn, a.turn + a.rounds):
        for backend in a.backends.split(",") + ([CANDLE] if a.candle else []):
            rows = ours(a, OURS[backend]) if backend in OURS else candle(a) if backend == CANDLE else peer(a, backend)
            for shape, rate, gflops, best_ms, cosine in rows:
                found.setdefault(shape, {}).setdefault(backend, []).append((rate, gflops, best_ms, cosine))
                if out:
                    out.writerow([name, a.threads, turn, backend, shape, f"{rate:.2f}",
                                  f"{gflops:.1f}", f"{best_ms:.3f}", "" if cosine is None else f"{cosine:.6f}"])
    table(found)


def table(found):
    for shape, backends in found.items():
        rate = {b: statistics.median(x[0] for x in rows) for b, rows in backends.items()}
        print(shape)
        for b, rows in sorted(backends.items(), key=lambda x: -rate[x[0]]):
            cosine = next((x[3] for x in rows if x[3] is not None), None)
            print(f"  {b:14s} {rate[b]:9.1f} texts/s {statistics.median(x[1] for x in rows):7.1f} GFLOP/s "
                  f"best {min(x[2] for x in rows):8.3f} ms  cosine {cosine if cosine is None else round(cosine, 6)}")
        for kind, (mine, words) in KINDS.items():
            others = [r for b, r in rate.items() if b not in OURS and b.endswith(words)]
            if mine in rate and others:
                print(f"  {kind}: {rate[mine] / max(others):.2f} x the best of its kind", end="")
                print(f", {rate[mine] / max(r for b, r in rate.items() if b not in OURS):.2f} x the best of all")


main()
