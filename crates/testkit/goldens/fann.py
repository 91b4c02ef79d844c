"""What torch says about small dense networks: crates/fann/tests/goldens/{gradients,steps}.safetensors.

    python fann.py ../../fann/tests/goldens
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(sys.argv[1])
HIDDEN = {
    "linear": nn.Identity(), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01),
    "gelu": nn.GELU(), "softmax": nn.Softmax(dim=-1),
}


def flat(values):
    """Weights [in, out], then biases, layer after layer: the order of `Network::parameters`."""
    return torch.cat([v.T.reshape(-1) if v.dim() == 2 else v for v in values]).detach().contiguous()


def gradients():
    out = {}
    for name, hidden in HIDDEN.items():
        for loss in ["mse", "softmax_mse", "cross_entropy", "binary_cross_entropy"]:
            torch.manual_seed(len(out))
            first, second = nn.Linear(5, 20), nn.Linear(20, 3)
            x, z = torch.randn(6, 5), None
            z = second(hidden(first(x)))
            if loss == "mse":
                t = torch.randn(6, 3)
                value = nn.functional.mse_loss(z, t)
            elif loss == "softmax_mse":
                t = torch.rand(6, 3)
                value = nn.functional.mse_loss(z.softmax(-1), t)
            elif loss == "cross_entropy":
                t = torch.rand(6, 3).softmax(-1)
                value = nn.functional.cross_entropy(z, t)
            else:
                t = torch.rand(6, 3)
                value = nn.functional.binary_cross_entropy_with_logits(z, t)
            value.backward()
            parameters = [first.weight, first.bias, second.weight, second.bias]
            key = f"{name}.{loss}."
            out |= {key + "x": x, key + "t": t, key + "loss": value.detach().reshape(1), key + "parameters": flat(parameters),
                    key + "gradient": flat([p.grad for p in parameters])}
    save_file(out, HERE / "gradients.safetensors")


def steps():
    o = torch.optim
    optimizers = {
        "sgd": lambda p: o.SGD(p, lr=0.1), "momentum": lambda p: o.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        "nesterov": lambda p: o.SGD(p, lr=0.1, momentum=0.8, nesterov=True), "adam": lambda p: o.Adam(p, lr=0.01),
        "adamw": lambda p: o.AdamW(p, lr=0.01, weight_decay=0.1), "rprop": lambda p: o.Rprop(p, lr=0.1),
        "clipped": lambda p: o.SGD(p, lr=0.1),
    }
    out = {}
    for name, make in optimizers.items():
        torch.manual_seed(7)
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        x, t = torch.randn(10, 3), torch.randn(10, 2)
        out |= {"x": x, "t": t, "before": flat(list(net.parameters()))}
        optimizer = make(net.parameters())
        for _ in range(8):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(x), t).backward()
            if name == "clipped":
                nn.utils.clip_grad_norm_(net.parameters(), 0.2)
            optimizer.step()
        out[name] = flat(list(net.parameters()))
    save_file(out, HERE / "steps.safetensors")


def sequential():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3, bias=False))
    x = torch.randn(3, 4)
    save_file(net.state_dict(), HERE / "sequential.safetensors")
    save_file({"x": x, "y": net(x).detach()}, HERE / "sequential_outputs.safetensors")


gradients()
steps()
sequential()
