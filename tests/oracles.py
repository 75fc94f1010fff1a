"""What PyTorch answered, kept as data: `make_oracles.py` asked it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "oracles.json"
ORACLES = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
STEPS, RATE = 100, 0.05


def gradient(theta, step: int):
    """Return the gradient of a bowl that sways: every optimizer takes another way down it."""
    i = np.arange(5)
    return (0.1 + i) * (theta - np.cos(i)) + 0.3 * np.sin(step + i)
