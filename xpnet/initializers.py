"""Initial weights.

An initializer is a function ``initializer(rng, n_out, n_in) -> (W, b)`` that draws one layer on the host: W of shape
(n_out, n_in), b of shape (n_out, 1), in double precision. What is drawn does not depend on the backend or on the
precision that the network is trained in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from xpnet._types import Layer

Initializer: TypeAlias = Callable[[Any, int, int], Layer]


def _normal(rng: Any, n_out: int, n_in: int, *, scale: float) -> Layer:
    W = rng.standard_normal((n_out, n_in)) * scale
    b = rng.standard_normal((n_out, 1)) * scale
    return W, b


def normal(scale: float = 0.1) -> Initializer:
    """Draw weights and biases from a normal distribution of mean 0 and standard deviation `scale`."""
    return partial(_normal, scale=scale)


INITIALIZERS = {"normal": normal()}
