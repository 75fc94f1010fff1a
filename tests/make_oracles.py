"""Write `oracles.json`: PyTorch's results, so that the tests can compare with them without PyTorch.

pip install torch && python tests/make_oracles.py
"""

from __future__ import annotations

import json

import torch
from oracles import FILE, PLATEAUS, RATE, STEPS, gradient, losses

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=RATE),
    "momentum": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=RATE),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=RATE),
    "adam": lambda p: torch.optim.Adam(p, lr=RATE),
    "adamw": lambda p: torch.optim.AdamW(p, lr=RATE),
}
REGULARIZED = {
    "adam, weight_decay": lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=0.1),
    "adam, l2": lambda p: torch.optim.Adam(p, lr=RATE, weight_decay=0.1),
    "momentum, l2": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, weight_decay=0.1),
    "sgd, clip_norm": lambda p: torch.optim.SGD(p, lr=RATE),
}


def paths_of(optimizers) -> dict[str, list[list[float]]]:
    """Return theta after each step for every optimizer, in double precision."""
    paths = {}
    for name, make in optimizers.items():
        theta = torch.ones(5, dtype=torch.float64, requires_grad=True)
        optimizer, paths[name] = make([theta]), []
        for step in range(STEPS):
            theta.grad = torch.as_tensor(gradient(theta.detach().numpy(), step))
            if "clip_norm" in name:
                torch.nn.utils.clip_grad_norm_([theta], 0.5)
            optimizer.step()
            paths[name].append(theta.tolist())
    return paths


def plateaus() -> dict[str, list[float]]:
    """Return the factor of each epoch for every setting of reduce on plateau; the first one is before any loss."""
    factors = {}
    for name, settings in PLATEAUS.items():
        settings = {("min_lr" if key == "least" else key): value for key, value in settings.items()}
        optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        scheduler, factors[name] = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings), [1.0]
        for loss in losses():
            scheduler.step(loss)
            factors[name] += scheduler.get_last_lr()
    return factors


if __name__ == "__main__":
    oracles = {
        "torch": torch.__version__,
        "optimizers": paths_of(OPTIMIZERS),
        "regularized": paths_of(REGULARIZED),
        "plateaus": plateaus(),
    }
    FILE.write_text(json.dumps(oracles) + "\n", encoding="utf-8")
