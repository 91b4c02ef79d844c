"""The values that the tests compare with: numpy, scipy and POT (versions in requirements.txt).

    python make.py

points.bin: f64, little-endian, row-major: X [1000, 2], then Y [1000, 2]. values.json: what they give.
"""

import json
from pathlib import Path

import numpy as np
import ot
from scipy.special import logsumexp

HERE = Path(__file__).parent


def plain(C, a, b, eps, tolerance, most=20000):
    """Plain iterations in the log domain from zero potentials: f, then g; stops on the row marginal's L1 error."""
    f, g = np.zeros(len(a)), np.zeros(len(b))
    la, lb = np.log(a), np.log(b)
    for k in range(1, most + 1):
        f = -eps * logsumexp(lb[None, :] + (g[None, :] - C) / eps, axis=1)
        g = -eps * logsumexp(la[:, None] + (f[:, None] - C) / eps, axis=0)
        P = np.exp((f[:, None] + g[None, :] - C) / eps) * a[:, None] * b[None, :]
        if np.abs(P.sum(1) - a).sum() <= tolerance:
            break
    kl = np.sum(P * (f[:, None] + g[None, :] - C) / eps)
    return k, float(np.sum(P * C)), float(kl)


def unbalanced(C, a, b, eps, rho):
    """The fixed point of the damped iterations: KL against a x b, penalty rho KL on both marginals."""
    damp = rho / (rho + eps)
    f, g = np.zeros(len(a)), np.zeros(len(b))
    la, lb = np.log(a), np.log(b)
    while True:
        before = f
        f = -damp * eps * logsumexp(lb[None, :] + (g[None, :] - C) / eps, axis=1)
        g = -damp * eps * logsumexp(la[:, None] + (f[:, None] - C) / eps, axis=0)
        if np.abs(f - before).max() < 1e-15:
            break
    P = np.exp((f[:, None] + g[None, :] - C) / eps) * a[:, None] * b[None, :]
    return {"eps": eps, "penalty": rho, "mass": P.sum(), "cost": np.sum(P * C)}


def blobs(n=64):
    x = np.linspace(0, 1, n)
    gx, gy = np.meshgrid(x, x, indexing="ij")
    out = []
    for cx, cy, s in [(0.25, 0.25, 0.05), (0.75, 0.30, 0.05), (0.50, 0.75, 0.08)]:
        p = np.exp(-((gx - cx) ** 2 + (gy - cy) ** 2) / (2 * s * s)) + 1e-6
        out.append(p / p.sum())
    return x, np.array(out)


def barycentre(A, x, eps, tolerance=1e-12, most=20000):
    """Iterative Bregman projections with the kernel exp(-(x-y)^2/eps) on each axis, in the log domain."""
    M = -((x[:, None] - x[None, :]) ** 2) / eps

    def conv(v):
        v = logsumexp(M[:, :, None] + v[None, :, :], axis=1)
        return logsumexp(M[None, :, :] + v[:, None, :], axis=2)

    la = np.log(A)
    v = np.zeros_like(la)
    for k in range(most):
        u = la - np.array([conv(p) for p in v])
        kt = np.array([conv(p) for p in u])
        b = kt.mean(0)
        error = np.abs(np.exp(v + kt) - np.exp(b)).sum(axis=(1, 2)).max()
        v = b[None] - kt
        if error < tolerance:
            break
    q = np.exp(b)
    gx, gy = np.meshgrid(x, x, indexing="ij")
    m = [(q * gx).sum() / q.sum(), (q * gy).sum() / q.sum()]
    var = [(q * (gx - m[0]) ** 2).sum() / q.sum(), (q * (gy - m[1]) ** 2).sum() / q.sum()]
    return {"eps": eps, "iterations": k + 1, "mass": q.sum(), "mean": m, "variance": var, "max": q.max()}


def main():
    r = np.random.default_rng(0)
    X, Y = r.random((1000, 2)), r.random((1000, 2))
    (HERE / "points.bin").write_bytes(np.concatenate([X, Y]).astype("<f8").tobytes())
    C = ((X[:, None, :] - Y[None, :, :]) ** 2).sum(-1)
    a = np.full(1000, 1e-3)
    out = {"versions": {"numpy": np.__version__, "pot": ot.__version__}}
    out["plain"] = [
        dict(zip(["eps", "tolerance", "iterations", "cost", "kl"], (e, t, *plain(C, a, a, e, t))))
        for e in (0.1, 0.05, 0.01) for t in (1e-6, 1e-9)
    ]
    out["unbalanced"] = [unbalanced(C, a, 1.5 * a, e, rho) for e in (0.1, 0.01) for rho in (1.0, 0.1)]
    out["exact"] = float(ot.emd2(a, a, C, numItermax=10**7))

    rng = np.random.default_rng(7)
    n, m = 60, 45
    wa, wb = rng.random(n), rng.random(m)
    wa[3], wb[5] = 0.0, 0.0
    wa, wb = wa / wa.sum(), wb / wb.sum()
    Ce = np.sqrt(C[:n, :m])
    out["weighted"] = {"a": wa.tolist(), "b": wb.tolist(), "euclidean": float(ot.emd2(wa, wb, Ce)),
                       "squared": float(ot.emd2(wa, wb, C[:n, :m]))}
    P = rng.normal(size=(2, 16))
    P /= np.linalg.norm(P, axis=0)
    sliced = lambda p, **k: float(ot.sliced_wasserstein_distance(X[:n], Y[:m], n_projections=16, p=p, projections=P, **k))
    out["sliced"] = {"directions": P.T.ravel().tolist(), "p1": sliced(1), "p2": sliced(2),
                     "weighted_p2": sliced(2, a=wa, b=wb)}
    X0 = rng.random((8, 2))
    free = ot.lp.free_support_barycenter([X[:30], Y[:40], X[40:60]], [np.full(30, 1 / 30), np.full(40, 1 / 40), np.full(20, 1 / 20)],
                                         X0, weights=np.array([0.5, 0.3, 0.2]), numItermax=200, stopThr=1e-14)
    out["free"] = {"start": X0.ravel().tolist(), "points": free.ravel().tolist()}
    x, A = blobs()
    out["barycentre"] = [barycentre(A, x, e) for e in (0.01, 0.002)]
    (HERE / "values.json").write_text(json.dumps(out, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
