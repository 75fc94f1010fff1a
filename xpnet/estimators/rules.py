"""The optimizers and losses of scikit-learn's networks where they differ from xpnet's, and the quantile loss."""

from __future__ import annotations

import math
from functools import cache, partial

from xpnet._types import Array, Namespace
from xpnet.losses import Loss, half_squared_error
from xpnet.optimizers import Optimizer

# Equal arguments give the same object, because a backend may compile a step once for equal parts.


@cache
def sgd(momentum: float, nesterov: bool) -> Optimizer:
    """Return gradient descent whose velocity contains the learning rate: v ← μ v − α dθ, θ ← θ + v.

    With Nesterov's momentum, θ ← θ + μ v − α dθ. It differs from `xpnet.optimizers.sgd` where α changes.
    """
    if momentum == 0.0:
        return Optimizer(_no_state, _descent)
    return Optimizer(_zeros, partial(_momentum, momentum=momentum, nesterov=nesterov))


def _no_state(xp: Namespace, theta: Array) -> tuple[Array, ...]:
    return ()


def _zeros(xp: Namespace, theta: Array) -> tuple[Array, ...]:
    return (xp.zeros_like(theta),)


def _descent(
    xp: Namespace, theta: Array, dtheta: Array, state: tuple[Array, ...], learning_rate: Array
) -> tuple[Array, tuple[Array, ...]]:
    theta -= learning_rate * dtheta
    return theta, state


def _momentum(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    state: tuple[Array, ...],
    learning_rate: Array,
    *,
    momentum: float,
    nesterov: bool,
) -> tuple[Array, tuple[Array, ...]]:
    (v,) = state
    dtheta *= learning_rate
    v *= momentum
    v -= dtheta
    theta += momentum * v - dtheta if nesterov else v
    return theta, (v,)


@cache
def adam(beta_1: float, beta_2: float, epsilon: float) -> Optimizer:
    """Return Adam that adds ε before the correction of the bias: θ ← θ − α √(1 − β₂ᵗ) / (1 − β₁ᵗ) m / (√v + ε).

    This is the more efficient form in section 2 of Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980.
    """
    return Optimizer(_adam_state, partial(_adam, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon))


def _adam_state(xp: Namespace, theta: Array) -> tuple[Array, ...]:
    return xp.zeros_like(theta), xp.zeros_like(theta), xp.zeros_like(theta[..., :1])


def _adam(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    state: tuple[Array, ...],
    learning_rate: Array,
    *,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[Array, tuple[Array, ...]]:
    m, v, t = state
    t = t + 1.0
    m *= beta_1
    m += (1.0 - beta_1) * dtheta
    v *= beta_2
    v += (1.0 - beta_2) * (dtheta * dtheta)
    rate = learning_rate * xp.sqrt(_correction(xp, beta_2, t)) / _correction(xp, beta_1, t)
    theta -= rate * m / (xp.sqrt(v) + epsilon)
    return theta, (m, v, t)


def _correction(xp: Namespace, beta: float, t: Array) -> Array:
    """Return 1 − βᵗ, exact in single precision too."""
    return -xp.expm1(t * math.log(beta)) if beta else xp.ones_like(t)


def _mean_squared_error(xp: Namespace, A: Array, Y: Array) -> Array:
    return half_squared_error.value(xp, A, Y) / A.shape[-2]


# scikit-learn reports the mean over the outputs, and minimizes the sum: scikit-learn issue 8349.
squared_error = Loss(_mean_squared_error, half_squared_error.gradient)


@cache
def quantile_loss(quantiles: tuple[float, ...]) -> Loss:
    """Return the pinball loss, which is minimal at the quantiles of the targets.

    It is the sum over the outputs of max(q e, (q − 1) e) with e = Y − A; Koenker and Bassett, 1978,
    https://doi.org/10.2307/1913643. The outputs may be in blocks, one for each quantile.
    """
    return Loss(partial(_pinball, quantiles=quantiles), partial(_pinball_gradient, quantiles=quantiles))


def _pinball(xp: Namespace, A: Array, Y: Array, *, quantiles: tuple[float, ...]) -> Array:
    n, value = A.shape[-2] // len(quantiles), 0.0
    for k, q in enumerate(quantiles):
        error = Y[..., k * n : (k + 1) * n, :] - A[..., k * n : (k + 1) * n, :]
        value = value + xp.sum(xp.maximum(q * error, (q - 1.0) * error), axis=-2)
    return value


def _pinball_gradient(xp: Namespace, A: Array, Y: Array, *, quantiles: tuple[float, ...]) -> Array:
    """1 − q where A ≥ Y, else −q."""
    n, below = A.shape[-2] // len(quantiles), xp.astype(Y > A, A.dtype)
    blocks = [(1.0 - q) - below[..., k * n : (k + 1) * n, :] for k, q in enumerate(quantiles)]
    return blocks[0] if len(blocks) == 1 else xp.concat(blocks, axis=-2)
