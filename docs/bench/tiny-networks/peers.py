"""Tiny networks by ONNX Runtime and PyTorch on one thread: lines of JSON like those of `examples/rates.rs`.

    python peers.py [DRIVER]        onnxruntime 1.32.0, torch 2.15.0, onnx

DRIVER: onnxruntime.c, compiled. It calls the same library without Python.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
import numpy as np
import onnxruntime as ort
import torch
from torch import nn

torch.set_num_threads(1)


def latency(impl, net, call, turns=1000):
    for _ in range(200):
        call()
    took = []
    for _ in range(turns):
        start = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - start)
    took.sort()
    print(json.dumps({"kind": "net", "impl": impl, "net": net, "p50_ns": took[turns // 2], "p99_ns": took[turns * 99 // 100], "min_ns": took[0]}))


def sequential(widths, hidden):
    layers = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1])] + ([hidden()] if i < len(widths) - 2 else [])
    return nn.Sequential(*layers)


def forward(widths, hidden, last=None):
    model = sequential(widths, hidden)
    if last:
        model.append(last())
    model.eval()
    name = "-".join(map(str, widths)) + " " + hidden.__name__.lower()
    x = torch.rand(1, widths[0])
    with torch.inference_mode():
        latency("torch eager", name, lambda: model(x))
        frozen = torch.jit.freeze(torch.jit.trace(model, x))
        latency("torch jit frozen", name, lambda: frozen(x))
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/net.onnx"
        torch.onnx.export(model, (x,), path, input_names=["x"], output_names=["y"], dynamo=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        if len(sys.argv) > 1:
            [library] = glob.glob(os.path.dirname(ort.__file__) + "/capi/libonnxruntime.so*")
            sys.stdout.flush()
            subprocess.run([sys.argv[1], library, path, name, str(widths[0]), str(widths[-1])], check=True)
    row = x.numpy()
    latency("onnxruntime run", name, lambda: session.run(None, {"x": row}))
    bound = session.io_binding()
    bound.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(row))
    bound.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(np.zeros((1, widths[-1]), np.float32)))
    latency("onnxruntime bound", name, lambda: session.run_with_iobinding(bound))


def training(rows=4096):
    x, labels = torch.rand(rows, 784), torch.randint(0, 10, (rows,))
    for name in ("SGD", "Adam"):
        model = sequential((784, 128, 64, 10), nn.ReLU)
        optimizer = getattr(torch.optim, name)(model.parameters(), lr=1e-3)

        def epoch():
            for i in range(0, rows, 32):
                optimizer.zero_grad(set_to_none=True)
                nn.functional.cross_entropy(model(x[i : i + 32]), labels[i : i + 32]).backward()
                optimizer.step()

        epoch()
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(3):
            epoch()
        rate, cpu_rate = 3 * rows / (time.perf_counter() - start), 3 * rows / (time.process_time() - cpu)
        print(json.dumps({"kind": "train", "impl": f"torch {name} batch 32", "net": "784-128-64-10", "samples_s": round(rate), "samples_cpu_s": round(cpu_rate)}))


forward((784, 128, 64, 10), nn.ReLU)
forward((4, 8, 3), nn.Sigmoid, nn.Sigmoid)
training()
