"""The forward and the backward pass through the layers.

Columns are samples: A and Z have the shape (..., n, m), W (..., n_out, n_in) and b (..., n_out, 1). Sums over samples
run along the last axis only, and leading axes never mix: the same code computes one sample, a batch, a stack of samples
and an ensemble of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from xpnet._types import Array, Layers, Namespace
from xpnet.activations import Activation
from xpnet.core.regularization import apply_dropout

Cache: TypeAlias = list[tuple[Array, Array, Array, Array, Array]]
"""``(Z, W, b, A_prev, A)`` of every layer, the first one first; A is before the dropout mask, A_prev after it."""

Dropout: TypeAlias = Sequence[tuple[Array | None, float]]
"""``(mask, rate)`` of every hidden layer, see `apply_dropout`; empty without dropout."""

Gradients: TypeAlias = list[tuple[Array, Array, Array]]
"""``(dA_prev, dW, db)`` of every layer, the first one first."""


def forward(
    xp: Namespace, X: Array, layers: Layers, activations: Sequence[Activation], dropout: Dropout = ()
) -> tuple[Array, Cache]:
    """Compute the forward pass: Z = W A_prev + b, A = g(Z) in every layer.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    X : array of shape (..., n_0, m)
        The samples, one per column.
    layers : sequence of (W, b)
        The weights and biases, the first layer first.
    activations : sequence of Activation
        One for each layer.
    dropout : sequence of (mask, rate)
        One for each hidden layer, or empty.

    Returns
    -------
    A : array of shape (..., n_L, m)
        The outputs of the network.
    cache : list of (Z, W, b, A_prev, A)
        What `backward` needs, the first layer first.
    """
    cache: Cache = []
    A = X
    for (W, b), activation in zip(layers, activations, strict=True):
        A_prev = apply_dropout(xp, A, *dropout[len(cache) - 1]) if dropout and cache else A
        Z = W @ A_prev + b
        A = activation.forward(xp, Z)
        cache.append((Z, W, b, A_prev, A))
    return A, cache


def backward(
    xp: Namespace,
    dA: Array,
    cache: Cache,
    activations: Sequence[Activation],
    dropout: Dropout = (),
    *,
    input_gradient: bool = True,
) -> Gradients:
    """Compute the backward pass: the gradient of a loss with respect to all weights, biases and layer inputs.

    With dZ = dA g'(Z), the chain rule gives dW = dZ A_prevᵀ, db = dZ summed over the samples, and dA_prev = Wᵀ dZ
    (Rumelhart, Hinton and Williams, 1986).

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    dA : array of shape (..., n_L, m)
        The gradient of the loss with respect to the outputs of the network.
    cache : list of (Z, W, b, A_prev, A)
        From `forward`.
    activations : sequence of Activation
        The same as for `forward`.
    dropout : sequence of (mask, rate)
        The same as for `forward`.
    input_gradient : bool
        Whether to compute the gradient with respect to the samples too; training does not need it, and saves a product.

    Returns
    -------
    gradients : list of (dA_prev, dW, db)
        The first layer first; its dA_prev is the gradient with respect to the samples, None without `input_gradient`.
    """
    gradients: Gradients = []
    for l in range(len(cache) - 1, -1, -1):
        Z, W, _, A_prev, A = cache[l]
        dZ = activations[l].backward(xp, dA, Z, A)
        dW = dZ @ A_prev.mT
        # The sum over one sample is the sample; computing it would take a sixth of a per-sample step.
        db = dZ if dZ.shape[-1] == 1 else xp.sum(dZ, axis=-1, keepdims=True)
        dA = W.mT @ dZ if l > 0 or input_gradient else None
        if dropout and l > 0:
            dA = apply_dropout(xp, dA, *dropout[l - 1])
        gradients.append((dA, dW, db))
    return gradients[::-1]
