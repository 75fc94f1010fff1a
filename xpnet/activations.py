"""Activation functions.

An activation is a pair of pure functions over arrays of shape (..., n, m), n units and m samples::

    A  = forward(xp, Z)           what the units answer to their net input
    dZ = backward(xp, dA, Z, A)   the gradient with respect to Z, given the one with respect to A

and the bounds between which A lies. `xp` is the array API namespace of the arrays. A user's own pair is as good as
those below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from xpnet._types import Array, Namespace


class Activation(NamedTuple):
    """An activation function, with its derivative and the least and greatest value that it can answer."""

    forward: Callable[[Namespace, Array], Array]
    backward: Callable[[Namespace, Array, Array, Array], Array]
    bounds: tuple[float, float] = (-math.inf, math.inf)


def _identity(xp: Namespace, Z: Array) -> Array:
    return Z


def _identity_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    return dA


def _relu(xp: Namespace, Z: Array) -> Array:
    """max(0, Z)."""
    return xp.maximum(Z, 0.0)


def _relu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA where Z > 0, else 0: sign(A) is just that factor, and cheaper than a comparison with a choice."""
    return dA * xp.sign(A)


def _sigmoid(xp: Namespace, Z: Array) -> Array:
    """1 / (1 + exp(−Z)), with exp kept below its overflow: beyond it the answer is as good as 0 already."""
    limit = math.floor(math.log(xp.finfo(Z.dtype).max))
    return 1.0 / (1.0 + xp.exp(-xp.maximum(Z, -limit)))


def _sigmoid_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA σ(Z) (1 − σ(Z))."""
    return dA * (A * (1.0 - A))


def _tanh(xp: Namespace, Z: Array) -> Array:
    return xp.tanh(Z)


def _tanh_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA (1 − tanh² Z)."""
    return dA * (1.0 - A * A)


def _softmax(xp: Namespace, Z: Array) -> Array:
    """exp(Zᵢ) / Σⱼ exp(Zⱼ) over the units, shifted by the greatest Z so that no exp overflows."""
    E = xp.exp(Z - xp.max(Z, axis=-2, keepdims=True))
    return E / xp.sum(E, axis=-2, keepdims=True)


def _softmax_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """Aᵢ (dAᵢ − Σⱼ dAⱼ Aⱼ): the product with softmax's Jacobian, diag(A) − A Aᵀ, which is never formed."""
    return A * (dA - xp.sum(dA * A, axis=-2, keepdims=True))


identity = Activation(_identity, _identity_backward)
relu = Activation(_relu, _relu_backward, (0.0, math.inf))
sigmoid = Activation(_sigmoid, _sigmoid_backward, (0.0, 1.0))
tanh = Activation(_tanh, _tanh_backward, (-1.0, 1.0))
softmax = Activation(_softmax, _softmax_backward, (0.0, 1.0))

ACTIVATIONS = {"identity": identity, "relu": relu, "sigmoid": sigmoid, "tanh": tanh, "softmax": softmax}
