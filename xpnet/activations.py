"""Activation functions.

An activation is a pair of pure functions over arrays of shape (..., n, m), n units and m samples::

    A  = forward(xp, Z)           the outputs of the units
    dZ = backward(xp, dA, Z, A)   the gradient of the loss with respect to Z, from the gradient with respect to A

and the lower and upper bound of A. `xp` is the array API namespace of the arrays. A custom activation is such a pair.
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
    "exp",
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
    """An activation function with its derivative and its bounds.

    Attributes
    ----------
    forward : callable
        ``forward(xp, Z) -> A`` for arrays of shape (..., n, m), n units and m samples.
    backward : callable
        ``backward(xp, dA, Z, A) -> dZ``, the product of dA and the derivative dA/dZ; all arrays have the shape of Z.
    bounds : (float, float)
        The lower and upper bound of A, by default −∞ and ∞. The targets of an output layer must lie within them.

    Examples
    --------
    A custom activation, softsign(z) = z / (1 + |z|):

    >>> import numpy as np
    >>> from xpnet import Activation, NeuralNetwork
    >>> softsign = Activation(
    ...     forward=lambda xp, Z: Z / (1 + xp.abs(Z)),
    ...     backward=lambda xp, dA, Z, A: dA * (1 - xp.abs(A)) ** 2,
    ...     bounds=(-1.0, 1.0),
    ... )
    >>> softsign.forward(np, np.array([[-1.0, 0.0, 3.0]]))
    array([[-0.5 ,  0.  ,  0.75]])
    >>> network = NeuralNetwork([2, 4, 1], activations=[softsign, "identity"])
    """

    forward: Callable[[Namespace, Array], Array]
    backward: Callable[[Namespace, Array, Array, Array], Array]
    bounds: tuple[float, float] = (-math.inf, math.inf)


def _identity(xp: Namespace, Z: Array) -> Array:
    """Z."""
    return Z


def _identity_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA."""
    return dA


def _relu(xp: Namespace, Z: Array) -> Array:
    """max(0, Z)."""
    return xp.maximum(Z, 0.0)


def _relu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA where Z > 0, else 0. The factor is sign(A), which is faster than `where` with a comparison."""
    return dA * xp.sign(A)


def _largest_exponent(xp: Namespace, Z: Array) -> float:
    """Return the logarithm of the largest number in the precision of Z."""
    return 709.0 if Z.dtype == xp.float64 else 88.0


def _sigmoid(xp: Namespace, Z: Array) -> Array:
    """1 / (1 + exp(−Z)). Z is clipped where exp would overflow: the result is 0 up to rounding there."""
    return 1.0 / (1.0 + xp.exp(-xp.maximum(Z, -_largest_exponent(xp, Z))))


def _sigmoid_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA σ(Z) (1 − σ(Z))."""
    return dA * (A * (1.0 - A))


def _tanh(xp: Namespace, Z: Array) -> Array:
    """tanh(Z)."""
    return xp.tanh(Z)


def _tanh_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA (1 − tanh² Z)."""
    return dA * (1.0 - A * A)


def _softmax(xp: Namespace, Z: Array) -> Array:
    """exp(Zᵢ) / Σⱼ exp(Zⱼ) over the units; subtracting max(Z) prevents overflow of exp."""
    E = xp.exp(Z - xp.max(Z, axis=-2, keepdims=True))
    return E / xp.sum(E, axis=-2, keepdims=True)


def _softmax_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """Aᵢ (dAᵢ − Σⱼ dAⱼ Aⱼ), the product of dA and the Jacobian diag(A) − A Aᵀ, computed without forming it."""
    return A * (dA - xp.sum(dA * A, axis=-2, keepdims=True))


def _leaky_relu(xp: Namespace, Z: Array) -> Array:
    """Z where Z > 0, else 0.01 Z; Maas et al., 2013."""
    return xp.maximum(Z, 0.01 * Z)


def _leaky_relu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA where Z > 0, else 0.01 dA."""
    return xp.where(Z > 0, dA, 0.01 * dA)


def _elu(xp: Namespace, Z: Array) -> Array:
    """Z where Z > 0, else exp(Z) − 1; Clevert et al., 2016, https://arxiv.org/abs/1511.07289."""
    return xp.where(Z > 0, Z, xp.expm1(xp.minimum(Z, 0.0)))


def _elu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA where Z > 0, else dA exp(Z)."""
    return xp.where(Z > 0, dA, dA * (A + 1.0))


_GELU_SCALE, _GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715


def _gelu(xp: Namespace, Z: Array) -> Array:
    """½ Z (1 + t) with t = tanh(√(2/π) (Z + 0.044715 Z³)), the tanh approximation of GELU.

    Hendrycks and Gimpel, 2016, https://arxiv.org/abs/1606.08415.
    """
    return 0.5 * Z * (1.0 + xp.tanh(_GELU_SCALE * (Z + _GELU_CUBE * Z * Z * Z)))


def _gelu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA (½ (1 + t) + ½ Z (1 − t²) √(2/π) (1 + 3 · 0.044715 Z²))."""
    Z = xp.minimum(xp.maximum(Z, -30.0), 30.0)  # t is ±1 outside, and the powers of Z might overflow
    t = xp.tanh(_GELU_SCALE * (Z + _GELU_CUBE * Z * Z * Z))
    return dA * 0.5 * (1.0 + t + Z * (1.0 - t * t) * _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBE * Z * Z))


def _silu(xp: Namespace, Z: Array) -> Array:
    """Z σ(Z), with Z clipped at −88 as in the sigmoid; Elfwing et al., 2018, https://arxiv.org/abs/1702.03118."""
    return xp.maximum(Z, -88.0) * _sigmoid(xp, Z)


def _silu_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA (σ(Z) + A (1 − σ(Z)))."""
    s = _sigmoid(xp, Z)
    return dA * (s + A * (1.0 - s))


def _softplus(xp: Namespace, Z: Array) -> Array:
    """log(1 + exp(Z)), computed as max(0, Z) + log(1 + exp(−|Z|)), where exp cannot overflow."""
    return xp.maximum(Z, 0.0) + xp.log1p(xp.exp(-xp.abs(Z)))


def _softplus_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA σ(Z)."""
    return dA * _sigmoid(xp, Z)


def _exp(xp: Namespace, Z: Array) -> Array:
    """exp(Z), the inverse of the canonical link of the Poisson distribution; Z is clipped where exp would overflow."""
    return xp.exp(xp.minimum(Z, _largest_exponent(xp, Z)))


def _exp_backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
    """dA exp(Z)."""
    return dA * A


identity = Activation(_identity, _identity_backward)
relu = Activation(_relu, _relu_backward, (0.0, math.inf))
leaky_relu = Activation(_leaky_relu, _leaky_relu_backward)
elu = Activation(_elu, _elu_backward, (-1.0, math.inf))
gelu = Activation(_gelu, _gelu_backward, (-0.170041, math.inf))
silu = Activation(_silu, _silu_backward, (-0.278465, math.inf))
softplus = Activation(_softplus, _softplus_backward, (0.0, math.inf))
exp = Activation(_exp, _exp_backward, (0.0, math.inf))
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
    "exp": exp,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
}
"""The built-in activations by name."""
