"""Initial weights.

An initializer is a function ``initializer(rng, n_out, n_in) -> (W, b)`` that draws one layer on the host: W of shape
(n_out, n_in), b of shape (n_out, 1), in double precision. What is drawn does not depend on the backend or on the
precision that the network is trained in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from xpnet._checks import boolean, positive_number
from xpnet._types import Layer

__all__ = [
    "INITIALIZERS",
    "Initializer",
    "glorot",
    "he",
    "lecun",
    "normal",
]

Initializer: TypeAlias = Callable[[Any, int, int], Layer]


def _normal(rng: Any, n_out: int, n_in: int, *, scale: float) -> Layer:
    W = rng.standard_normal((n_out, n_in)) * scale
    b = rng.standard_normal((n_out, 1)) * scale
    return W, b


def normal(scale: float = 0.1) -> Initializer:
    """Draw weights and biases from a normal distribution of mean 0 and standard deviation `scale`."""
    return partial(_normal, scale=positive_number("scale", scale, "float32"))


def _scaled(rng: Any, n_out: int, n_in: int, *, gain: float, fan: Callable[[int, int], float], uniform: bool) -> Layer:
    deviation = math.sqrt(gain / fan(n_in, n_out))
    if uniform:
        limit = math.sqrt(3.0) * deviation  # a uniform distribution over ±a has the variance a² / 3
        W = rng.uniform(-limit, limit, (n_out, n_in))
    else:
        W = rng.standard_normal((n_out, n_in)) * deviation
    return W, W[:, :1] * 0.0


def _fan_in(n_in: int, n_out: int) -> float:
    return n_in


def _fan_average(n_in: int, n_out: int) -> float:
    return (n_in + n_out) / 2


def glorot(*, uniform: bool = True) -> Initializer:
    """Draw weights of variance 2 / (n_in + n_out), uniform or normal; biases are zero.

    For tanh and sigmoid: Glorot and Bengio, https://proceedings.mlr.press/v9/glorot10a.html.
    """
    return partial(_scaled, gain=1.0, fan=_fan_average, uniform=boolean("uniform", uniform))


def he(*, uniform: bool = False) -> Initializer:
    """Draw weights of variance 2 / n_in, uniform or normal; biases are zero.

    For relu and its kin: He et al., https://arxiv.org/abs/1502.01852.
    """
    return partial(_scaled, gain=2.0, fan=_fan_in, uniform=boolean("uniform", uniform))


def lecun(*, uniform: bool = False) -> Initializer:
    """Draw weights of variance 1 / n_in, uniform or normal; biases are zero.

    LeCun et al., "Efficient BackProp", 1998.
    """
    return partial(_scaled, gain=1.0, fan=_fan_in, uniform=boolean("uniform", uniform))


INITIALIZERS = {
    "normal": normal(),
    "glorot_uniform": glorot(uniform=True),
    "glorot_normal": glorot(uniform=False),
    "he_uniform": he(uniform=True),
    "he_normal": he(uniform=False),
    "lecun_uniform": lecun(uniform=True),
    "lecun_normal": lecun(uniform=False),
}
