"""Optimizers.

An optimizer is a pair of pure functions over the flat parameter vector ``theta`` of shape (..., P)::

    optimizer_state = init(xp, theta)
    theta, optimizer_state = update(xp, theta, dtheta, optimizer_state, learning_rate)

The optimizer state is a tuple of arrays that it keeps between steps; the update is one step down the gradient dtheta.
`learning_rate` broadcasts against theta: a number, or an array of shape () or (..., 1). The update owns theta, dtheta
and the optimizer state and may change them in place; it keeps their shapes and types. The arrays of the optimizer state
have the leading axes of theta and any after those.

Names, formulas and defaults are PyTorch's, https://docs.pytorch.org/docs/stable/optim.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from xpnet._checks import boolean, fraction, number_from_zero, positive_number
from xpnet._types import Array, Namespace

__all__ = [
    "OPTIMIZERS",
    "Optimizer",
    "adagrad",
    "adam",
    "adamw",
    "rmsprop",
    "sgd",
]

OptimizerState: TypeAlias = tuple[Array, ...]


class Optimizer(NamedTuple):
    """How the parameters follow their gradient.

    It may also name the decoupled weight decay that goes with it where none is asked for; a network applies it, to its
    weights.
    """

    init: Callable[[Namespace, Array], OptimizerState]
    update: Callable[[Namespace, Array, Array, OptimizerState, float | Array], tuple[Array, OptimizerState]]
    weight_decay: float = 0.0


def _sgd_init(xp: Namespace, theta: Array) -> OptimizerState:
    return ()


def _sgd_update(
    xp: Namespace, theta: Array, dtheta: Array, optimizer_state: OptimizerState, learning_rate: float | Array
) -> tuple[Array, OptimizerState]:
    """θ ← θ − α dθ."""
    theta -= learning_rate * dtheta
    return theta, optimizer_state


def _zeros(xp: Namespace, theta: Array) -> OptimizerState:
    return (xp.zeros_like(theta),)


def _momentum_update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    optimizer_state: OptimizerState,
    learning_rate: float | Array,
    *,
    momentum: float,
    nesterov: bool,
) -> tuple[Array, OptimizerState]:
    """v ← μ v + dθ; θ ← θ − α v, or with Nesterov's look ahead θ ← θ − α (dθ + μ v)."""
    (v,) = optimizer_state
    v *= momentum
    v += dtheta
    theta -= learning_rate * (dtheta + momentum * v if nesterov else v)
    return theta, (v,)


def sgd(*, momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """Step down the gradient, with a momentum from the steps before.

    Parameters
    ----------
    momentum : float
        How much of the last step lives on in the next, from 0 to below 1; Polyak, 1964.
    nesterov : bool
        Whether to look ahead to where the momentum leads; Sutskever et al.,
        https://proceedings.mlr.press/v28/sutskever13.html.
    """
    momentum, nesterov = fraction("momentum", momentum), boolean("nesterov", nesterov)
    if nesterov and momentum == 0.0:
        msg = "nesterov needs a momentum above 0"
        raise ValueError(msg)
    if momentum == 0.0:
        return Optimizer(_sgd_init, _sgd_update)
    return Optimizer(_zeros, partial(_momentum_update, momentum=momentum, nesterov=nesterov))


def _rmsprop_update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    optimizer_state: OptimizerState,
    learning_rate: float | Array,
    *,
    alpha: float,
    eps: float,
) -> tuple[Array, OptimizerState]:
    """s ← ρ s + (1 − ρ) dθ², where ρ is `alpha`; θ ← θ − α dθ / (√s + ε), where α is the learning rate."""
    (s,) = optimizer_state
    s *= alpha
    s += (1.0 - alpha) * dtheta * dtheta
    theta -= learning_rate * dtheta / (xp.sqrt(s) + eps)
    return theta, (s,)


def rmsprop(*, alpha: float = 0.99, eps: float = 1e-8) -> Optimizer:
    """Divide the gradient by a running mean of its size; Hinton, lecture 6e of "Neural Networks", 2012.

    Parameters
    ----------
    alpha : float
        How slowly the mean forgets, from 0 to below 1.
    eps : float
        What keeps the division from zero.
    """
    alpha, eps = fraction("alpha", alpha), positive_number("eps", eps, "float32")
    return Optimizer(_zeros, partial(_rmsprop_update, alpha=alpha, eps=eps))


def _adagrad_update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    optimizer_state: OptimizerState,
    learning_rate: float | Array,
    *,
    eps: float,
) -> tuple[Array, OptimizerState]:
    """s ← s + dθ²; θ ← θ − α dθ / (√s + ε)."""
    (s,) = optimizer_state
    s += dtheta * dtheta
    theta -= learning_rate * dtheta / (xp.sqrt(s) + eps)
    return theta, (s,)


def adagrad(*, eps: float = 1e-10) -> Optimizer:
    """Divide the gradient by the root of all its squares; Duchi et al., https://jmlr.org/papers/v12/duchi11a.html."""
    return Optimizer(_zeros, partial(_adagrad_update, eps=positive_number("eps", eps, "float32")))


def _adam_init(xp: Namespace, theta: Array) -> OptimizerState:
    return xp.zeros_like(theta), xp.zeros_like(theta), xp.zeros_like(theta[..., :1])


def _adam_update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    optimizer_state: OptimizerState,
    learning_rate: float | Array,
    *,
    betas: tuple[float, float],
    eps: float,
) -> tuple[Array, OptimizerState]:
    """m ← β₁ m + (1 − β₁) dθ; v ← β₂ v + (1 − β₂) dθ²; θ ← θ − α m̂ / (√v̂ + ε).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) in the t-th step, where 1 − βᵗ is −expm1(t log β), exact in single precision
    too.
    """
    m, v, t = optimizer_state
    m *= betas[0]
    m += (1.0 - betas[0]) * dtheta
    v *= betas[1]
    v += (1.0 - betas[1]) * dtheta * dtheta
    t += 1.0
    first, second = (-xp.expm1(t * math.log(beta) if beta else -math.inf * t) for beta in betas)
    # In place, for a large network has no room for more than these two beside the gradient.
    size = xp.sqrt(v)
    size /= xp.sqrt(second)
    size += eps
    step = (learning_rate / first) * m
    step /= size
    theta -= step
    return theta, (m, v, t)


def adam(*, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Follow a running mean of the gradient, divided by one of its size; Kingma and Ba, https://arxiv.org/abs/1412.6980.

    Parameters
    ----------
    betas : (float, float)
        How slowly the two means forget, from 0 to below 1.
    eps : float
        What keeps the division from zero.
    """
    if not isinstance(betas, Sequence) or len(betas) != 2:
        msg = f"betas must be two numbers, got {betas!r}"
        raise TypeError(msg)
    first, second = (fraction("betas", beta) for beta in betas)
    eps = positive_number("eps", eps, "float32")
    return Optimizer(_adam_init, partial(_adam_update, betas=(first, second), eps=eps))


def adamw(*, weight_decay: float = 0.01, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Adam beside a decoupled weight decay, of weights alone; Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.

    Parameters
    ----------
    weight_decay : float
        λ in W ← W − α λ W, which a network's own `weight_decay` replaces.
    betas, eps
        As of `adam`.
    """
    return adam(betas=betas, eps=eps)._replace(weight_decay=number_from_zero("weight_decay", weight_decay, "float64"))


OPTIMIZERS = {
    "sgd": sgd(),
    "momentum": sgd(momentum=0.9),
    "nesterov": sgd(momentum=0.9, nesterov=True),
    "rmsprop": rmsprop(),
    "adagrad": adagrad(),
    "adam": adam(),
    "adamw": adamw(),
}


_BUILT_IN = [getattr(optimizer.update, "func", optimizer.update) for optimizer in OPTIMIZERS.values()]


def kind_of(optimizer: Optimizer) -> str:
    """Return what tells apart the states of optimizers: the name of the function that updates them."""
    function = getattr(optimizer.update, "func", optimizer.update)
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    return name.removeprefix("_").removesuffix("_update") if function in _BUILT_IN else name
