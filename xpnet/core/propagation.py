"""Forward and backward through the layers: the heart of the document.

Columns are samples: A and Z have the shape (..., n, m), W (..., n_out, n_in) and b (..., n_out, 1). Sums over samples
run along the last axis only, and leading axes never mix: one sample, a batch, a stack of samples and an ensemble of
networks are all the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from xpnet._types import Array, Layers, Namespace
from xpnet.activations import Activation
from xpnet.core.regularization import dropped

Cache: TypeAlias = list[tuple[Array, Array, Array, Array, Array]]
"""``(Z, W, b, A_prev, A)`` of every layer, the first one first; A is before dropout, A_prev after that of its layer."""

Dropout: TypeAlias = Sequence[tuple[Array | None, float]]
"""``(mask, rate)`` of every hidden layer, as `dropped` takes them; empty without dropout."""

Gradients: TypeAlias = list[tuple[Array, Array, Array]]
"""``(dA_prev, dW, db)`` of every layer, the first one first."""


def forward(
    xp: Namespace, X: Array, layers: Layers, activations: Sequence[Activation], dropout: Dropout = ()
) -> tuple[Array, Cache]:
    """Carry samples through the layers: Z = W A_prev + b, A = g(Z).

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    X : array of shape (..., n_0, m)
        The samples, one a column.
    layers : sequence of (W, b)
        The weights and biases, the first layer first.
    activations : sequence of Activation
        One a layer.
    dropout : sequence of (mask, rate)
        One for each hidden layer, or empty.

    Returns
    -------
    A : array of shape (..., n_L, m)
        The outputs of the last layer.
    cache : list of (Z, W, b, A_prev, A)
        What `backward` needs, the first layer first.
    """
    cache: Cache = []
    A = X
    for (W, b), activation in zip(layers, activations, strict=True):
        A_prev = dropped(xp, A, *dropout[len(cache) - 1]) if dropout and cache else A
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
    """Carry the gradient of a loss back through the layers.

    With dZ = dA g'(Z), the chain rule gives dW = dZ A_prevᵀ, db = dZ summed over the samples, and dA_prev = Wᵀ dZ.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    dA : array of shape (..., n_L, m)
        The gradient of the loss with respect to the outputs of the last layer.
    cache : list of (Z, W, b, A_prev, A)
        From `forward`.
    activations : sequence of Activation
        Those that `forward` was given.
    dropout : sequence of (mask, rate)
        That which `forward` was given.
    input_gradient : bool
        Whether to take the gradient with respect to the samples too; training does without, which saves a product.

    Returns
    -------
    gradients : list of (dA_prev, dW, db)
        The first layer first; its dA_prev is the gradient with respect to the samples, or None where not asked for.
    """
    gradients: Gradients = []
    for l in range(len(cache) - 1, -1, -1):
        Z, W, _, A_prev, A = cache[l]
        dZ = activations[l].backward(xp, dA, Z, A)
        dW = dZ @ A_prev.mT
        # One sample is its own sum; asking for it would take a sixth of a per-sample step.
        db = dZ if dZ.shape[-1] == 1 else xp.sum(dZ, axis=-1, keepdims=True)
        dA = W.mT @ dZ if l > 0 or input_gradient else None
        if dropout and l > 0:
            dA = dropped(xp, dA, *dropout[l - 1])
        gradients.append((dA, dW, db))
    return gradients[::-1]
