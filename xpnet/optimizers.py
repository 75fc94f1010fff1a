"""Optimizers.

An optimizer is a pair of pure functions over the flat parameter vector ``theta`` of shape (..., P)::

    memory = init(xp, theta)                                              what it keeps between steps, a tuple of arrays
    theta, memory = update(xp, theta, dtheta, memory, learning_rate)      one step down the gradient dtheta

`learning_rate` broadcasts against theta: a number, or an array of shape () or (..., 1). The update owns theta and the
memory and may change them in place; it keeps their shapes and types. The arrays of the memory have the leading axes of
theta and any after those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from xpnet._types import Array, Namespace

Memory: TypeAlias = tuple[Array, ...]


class Optimizer(NamedTuple):
    """How the parameters follow their gradient."""

    init: Callable[[Namespace, Array], Memory]
    update: Callable[[Namespace, Array, Array, Memory, float | Array], tuple[Array, Memory]]


def _sgd_init(xp: Namespace, theta: Array) -> Memory:
    return ()


def _sgd_update(
    xp: Namespace, theta: Array, dtheta: Array, memory: Memory, learning_rate: float | Array
) -> tuple[Array, Memory]:
    """θ ← θ − α dθ."""
    theta -= learning_rate * dtheta
    return theta, memory


sgd = Optimizer(_sgd_init, _sgd_update)

OPTIMIZERS = {"sgd": sgd}
