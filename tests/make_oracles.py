"""Write `oracles.json`: what PyTorch answers, so that the tests can compare without installing it.

pip install torch && python tests/make_oracles.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).parent / "oracles.json"
STEPS, RATE = 100, 0.05
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=RATE),
    "momentum": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=RATE),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=RATE),
    "adam": lambda p: torch.optim.Adam(p, lr=RATE),
}


def gradient(theta, step: int):
    """Return the gradient of a bowl that sways: every optimizer takes another way down it."""
    i = np.arange(5)
    return (0.1 + i) * (theta - np.cos(i)) + 0.3 * np.sin(step + i)


def optimizers() -> dict[str, list[list[float]]]:
    """Return for every optimizer theta after each step, in double precision."""
    paths = {}
    for name, make in OPTIMIZERS.items():
        theta = torch.ones(5, dtype=torch.float64, requires_grad=True)
        optimizer, paths[name] = make([theta]), []
        for step in range(STEPS):
            theta.grad = torch.as_tensor(gradient(theta.detach().numpy(), step))
            optimizer.step()
            paths[name].append(theta.tolist())
    return paths


if __name__ == "__main__":
    FILE.write_text(json.dumps({"torch": torch.__version__, "optimizers": optimizers()}) + "\n", encoding="utf-8")
