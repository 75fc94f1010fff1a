"""PyTorch's results, stored as data that `make_oracles.py` writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "oracles.json"
ORACLES = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
STEPS, RATE = 100, 0.05


def gradient(theta, step: int):
    """Return the gradient of a quadratic whose minimum oscillates, so that the paths of the optimizers differ."""
    i = np.arange(5)
    return (0.1 + i) * (theta - np.cos(i)) + 0.3 * np.sin(step + i)


PLATEAUS = {
    "default": {},
    "often": {"factor": 0.5, "patience": 0},
    "sometimes": {"factor": 0.5, "patience": 2, "threshold": 0.01},
    "rests": {"factor": 0.5, "patience": 1, "cooldown": 3},
    "no less": {"factor": 0.3, "patience": 1, "least": 0.05},
}


def losses():
    """Return losses of 60 epochs, which fall, level off and rise again."""
    i = np.arange(60)
    return [float(loss) for loss in np.round(0.2 + np.exp(-i / 8) + 0.02 * np.sin(2.7 * i) + 0.004 * i, 3)]
