"""Activation functions.

An activation is a pair of pure functions over arrays of shape (..., n, m), n units and m samples::

    A  = forward(xp, Z)           the activations of the units
    dZ = backward(xp, dA, Z, A)   the gradient with respect to Z, given the one with respect to A

and the bounds between which A lies. `xp` is the array API namespace of the arrays. A custom pair is as good as
those below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from xpnet._types import Array, Namespace

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "elu",
    "gelu",
    "identity",
    "leaky_relu",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


class Activation(NamedTuple):
    """An activation function, with its derivative and its bounds."""

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
    """1 / (1 + exp(−Z)), with exp kept below its overflow: beyond it the result is as good as 0 already."""
    greatest = 709.0 if Z.dtype == xp.float64 else 88.0  # log of the greatest number in double and single precision
    return 1.0 / (1.0 + xp.exp(-xp.maximum(Z, -greatest)))


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


def _leaky_relu(xp: Namespace, Z: Array) -> Array:
    """Z where Z > 0, else 0.01 Z."""
    return xp.maximum(Z, 0.01 * Z)


def _leaky_relu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    return xp.where(Z > 0, dA, 0.01 * dA)


def _elu(xp: Namespace, Z: Array) -> Array:
    """Z where Z > 0, else exp(Z) − 1; Clevert et al., https://arxiv.org/abs/1511.07289."""
    return xp.where(Z > 0, Z, xp.expm1(xp.minimum(Z, 0.0)))


def _elu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA where Z > 0, else dA exp(Z)."""
    return xp.where(Z > 0, dA, dA * (A + 1.0))


_GELU_SCALE, _GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715


def _gelu(xp: Namespace, Z: Array) -> Array:
    """½ Z (1 + t) with t = tanh(√(2/π) (Z + 0.044715 Z³)); Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415."""
    return 0.5 * Z * (1.0 + xp.tanh(_GELU_SCALE * (Z + _GELU_CUBE * Z * Z * Z)))


def _gelu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA (½ (1 + t) + ½ Z (1 − t²) √(2/π) (1 + 3 · 0.044715 Z²))."""
    Z = xp.minimum(xp.maximum(Z, -30.0), 30.0)  # beyond that t is ±1, and the powers of Z might overflow
    t = xp.tanh(_GELU_SCALE * (Z + _GELU_CUBE * Z * Z * Z))
    return dA * 0.5 * (1.0 + t + Z * (1.0 - t * t) * _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBE * Z * Z))


def _silu(xp: Namespace, Z: Array) -> Array:
    """Z σ(Z), where Z is kept above −88 as in the sigmoid itself; https://arxiv.org/abs/1702.03118."""
    return xp.maximum(Z, -88.0) * _sigmoid(xp, Z)


def _silu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA (σ(Z) + A (1 − σ(Z)))."""
    s = _sigmoid(xp, Z)
    return dA * (s + A * (1.0 - s))


def _softplus(xp: Namespace, Z: Array) -> Array:
    """log(1 + exp(Z)), as max(0, Z) + log(1 + exp(−|Z|)) so that no exp overflows."""
    return xp.maximum(Z, 0.0) + xp.log1p(xp.exp(-xp.abs(Z)))


def _softplus_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA σ(Z)."""
    return dA * _sigmoid(xp, Z)


identity = Activation(_identity, _identity_backward)
relu = Activation(_relu, _relu_backward, (0.0, math.inf))
leaky_relu = Activation(_leaky_relu, _leaky_relu_backward)
elu = Activation(_elu, _elu_backward, (-1.0, math.inf))
gelu = Activation(_gelu, _gelu_backward, (-0.170041, math.inf))
silu = Activation(_silu, _silu_backward, (-0.278465, math.inf))
softplus = Activation(_softplus, _softplus_backward, (0.0, math.inf))
sigmoid = Activation(_sigmoid, _sigmoid_backward, (0.0, 1.0))
tanh = Activation(_tanh, _tanh_backward, (-1.0, 1.0))
softmax = Activation(_softmax, _softmax_backward, (0.0, 1.0))

ACTIVATIONS = {
    "identity": identity,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
}
