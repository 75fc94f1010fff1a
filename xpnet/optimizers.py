"""Optimizers.

An optimizer is a pair of pure functions over the flat parameter vector ``theta`` of shape (..., P)::

    optimizer_state = init(xp, theta)
    theta, optimizer_state = update(xp, theta, dtheta, optimizer_state, learning_rate)

The optimizer state is a tuple of arrays; each has the leading axes of theta and any number of axes after those. The
update takes one step against the gradient dtheta. `learning_rate` is a number, or an array of shape () or (..., 1).
The update may change theta, dtheta and the optimizer state in place; it must keep their shapes and types.

Names, formulas and defaults are those of PyTorch, https://docs.pytorch.org/docs/stable/optim.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from xpnet._checks import boolean, fraction, non_negative_number, positive_number
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
    """An optimizer: two pure functions that update the parameters with their gradient.

    Attributes
    ----------
    init : callable
        ``init(xp, theta) -> optimizer_state``, a tuple of arrays, for theta of shape (..., P).
    update : callable
        ``update(xp, theta, dtheta, optimizer_state, learning_rate) -> (theta, optimizer_state)``; dtheta has the shape
        of theta.
    weight_decay : float
        The default of a network's `weight_decay`, by default 0. The network applies it, not `update`.

    Examples
    --------
    A custom optimizer, which uses only the sign of the gradient:

    >>> import numpy as np
    >>> from xpnet import NeuralNetwork, Optimizer
    >>> sign_descent = Optimizer(
    ...     init=lambda xp, theta: (),
    ...     update=lambda xp, theta, dtheta, state, learning_rate: (theta - learning_rate * xp.sign(dtheta), state),
    ... )
    >>> theta, state = sign_descent.update(np, np.array([1.0, 2.0]), np.array([0.3, -5.0]), (), 0.5)
    >>> theta
    array([0.5, 2.5])
    >>> network = NeuralNetwork([1, 10, 1], optimizer=sign_descent)
    """

    init: Callable[[Namespace, Array], OptimizerState]
    update: Callable[[Namespace, Array, Array, OptimizerState, float | Array], tuple[Array, OptimizerState]]
    weight_decay: float = 0.0


def _sgd_init(xp: Namespace, theta: Array) -> OptimizerState:
    """()."""
    return ()


def _sgd_update(
    xp: Namespace, theta: Array, dtheta: Array, optimizer_state: OptimizerState, learning_rate: float | Array
) -> tuple[Array, OptimizerState]:
    """θ ← θ − α dθ."""
    theta -= learning_rate * dtheta
    return theta, optimizer_state


def _zeros(xp: Namespace, theta: Array) -> OptimizerState:
    """Zeros of shape (..., P)."""
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
    """v ← μ v + dθ; θ ← θ − α v, or with Nesterov momentum θ ← θ − α (dθ + μ v)."""
    (v,) = optimizer_state
    v *= momentum
    v += dtheta
    theta -= learning_rate * (dtheta + momentum * v if nesterov else v)
    return theta, (v,)


def sgd(*, momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """Return stochastic gradient descent, optionally with momentum [1]_ or Nesterov momentum [2]_.

    v ← μ v + dθ; θ ← θ − α v, or with Nesterov momentum θ ← θ − α (dθ + μ v). α is the learning rate; v starts at 0.

    Parameters
    ----------
    momentum : float
        μ in [0, 1). The default, 0, is plain gradient descent: θ ← θ − α dθ.
    nesterov : bool
        Whether to use Nesterov momentum; `momentum` must then be above 0.

    Returns
    -------
    optimizer : Optimizer
        Its state is empty, or v of shape (..., P).

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    References
    ----------
    .. [1] Polyak, "Some methods of speeding up the convergence of iteration methods", 1964
    .. [2] Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013,
       https://proceedings.mlr.press/v28/sutskever13.html

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.optimizers import sgd
    >>> optimizer = sgd(momentum=0.5)
    >>> theta, state = np.array([1.0, 2.0]), (np.array([2.0, 0.0]),)
    >>> optimizer.update(np, theta, np.array([1.0, 1.0]), state, 0.25)
    (array([0.5 , 1.75]), (array([2., 1.]),))
    """
    momentum, nesterov = fraction("momentum", momentum), boolean("nesterov", nesterov)
    if nesterov and momentum == 0.0:
        msg = "momentum must be above 0 for nesterov=True, got 0"
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
    """Return RMSProp, which divides the gradient by the root of a running mean of its square [1]_.

    s ← ρ s + (1 − ρ) dθ²; θ ← θ − α dθ / (√s + ε). α is the learning rate, and s starts at 0.

    Parameters
    ----------
    alpha : float
        ρ in [0, 1), the decay rate of the running mean.
    eps : float
        ε above 0, which prevents a division by zero.

    Returns
    -------
    optimizer : Optimizer
        Its state is s of shape (..., P).

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    References
    ----------
    .. [1] Tieleman and Hinton, "Lecture 6.5: rmsprop", COURSERA: Neural Networks for Machine Learning, 2012

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.optimizers import rmsprop
    >>> optimizer, theta = rmsprop(alpha=0.75), np.array([1.0])
    >>> theta, state = optimizer.update(np, theta, np.array([4.0]), optimizer.init(np, theta), 0.25)
    >>> theta.round(6), state  # s = 0.25 · 4², θ = 1 − 0.25 · 4 / √4
    (array([0.5]), (array([4.]),))
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
    """Return AdaGrad, which divides the gradient by the root of the sum of its squares so far [1]_.

    s ← s + dθ²; θ ← θ − α dθ / (√s + ε). α is the learning rate, and s starts at 0.

    Parameters
    ----------
    eps : float
        ε above 0, which prevents a division by zero.

    Returns
    -------
    optimizer : Optimizer
        Its state is s of shape (..., P).

    Raises
    ------
    TypeError, ValueError
        If `eps` is not a positive number.

    References
    ----------
    .. [1] Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 2011,
       https://jmlr.org/papers/v12/duchi11a.html

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.optimizers import adagrad
    >>> theta, state = adagrad().update(np, np.array([1.0]), np.array([3.0]), (np.array([16.0]),), 0.5)
    >>> theta.round(6), state  # s = 16 + 3², θ = 1 − 0.5 · 3 / √25
    (array([0.7]), (array([25.]),))
    """
    return Optimizer(_zeros, partial(_adagrad_update, eps=positive_number("eps", eps, "float32")))


def _adam_init(xp: Namespace, theta: Array) -> OptimizerState:
    """m and v, zeros of shape (..., P), and the step counter t of shape (..., 1)."""
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

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) in step t. 1 − βᵗ is computed as −expm1(t log β), which is accurate in
    single precision too.
    """
    m, v, t = optimizer_state
    m *= betas[0]
    m += (1.0 - betas[0]) * dtheta
    v *= betas[1]
    v += (1.0 - betas[1]) * dtheta * dtheta
    t += 1.0
    first, second = (-xp.expm1(t * math.log(beta) if beta else -math.inf * t) for beta in betas)
    # In place, to save memory: a large network may have no space for further arrays.
    size = xp.sqrt(v)
    size /= xp.sqrt(second)
    size += eps
    step = (learning_rate / first) * m
    step /= size
    theta -= step
    return theta, (m, v, t)


def adam(*, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Return Adam, which follows running means of the gradient and of its square [1]_.

    m ← β₁ m + (1 − β₁) dθ; v ← β₂ v + (1 − β₂) dθ²; θ ← θ − α m̂ / (√v̂ + ε), where m̂ = m / (1 − β₁ᵗ) and
    v̂ = v / (1 − β₂ᵗ) in step t. α is the learning rate, and m and v start at 0.

    Parameters
    ----------
    betas : (float, float)
        β₁ and β₂ in [0, 1), the decay rates of the running means.
    eps : float
        ε above 0, which prevents a division by zero.

    Returns
    -------
    optimizer : Optimizer
        Its state is m and v of shape (..., P), and t of shape (..., 1).

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    References
    ----------
    .. [1] Kingma and Ba, "Adam: A method for stochastic optimization", ICLR 2015, https://arxiv.org/abs/1412.6980

    Examples
    --------
    In the first step each parameter moves by the learning rate, for any gradient:

    >>> import numpy as np
    >>> from xpnet.optimizers import adam
    >>> optimizer, theta = adam(), np.array([1.0, 1.0])
    >>> theta, state = optimizer.update(np, theta, np.array([3.0, -40.0]), optimizer.init(np, theta), 0.5)
    >>> theta.round(6)
    array([0.5, 1.5])
    """
    if not isinstance(betas, Sequence) or len(betas) != 2:
        msg = f"betas must be two numbers, got {betas!r}"
        raise TypeError(msg)
    first, second = (fraction("betas", beta) for beta in betas)
    eps = positive_number("eps", eps, "float32")
    return Optimizer(_adam_init, partial(_adam_update, betas=(first, second), eps=eps))


def adamw(*, weight_decay: float = 0.01, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Return AdamW, which is Adam with decoupled weight decay [1]_.

    Each step also computes W ← W − α λ W for the weights, not for the biases. α is the learning rate.

    Parameters
    ----------
    weight_decay : float
        λ, 0 or above. The `weight_decay` of a network, if given, replaces it.
    betas, eps
        As for `adam`.

    Returns
    -------
    optimizer : Optimizer
        `adam` with a `weight_decay`, which the network applies.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    References
    ----------
    .. [1] Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, https://arxiv.org/abs/1711.05101

    Examples
    --------
    >>> from xpnet import NeuralNetwork
    >>> from xpnet.optimizers import adamw
    >>> network = NeuralNetwork([1, 10, 1], optimizer=adamw(weight_decay=0.1))
    """
    decay = non_negative_number("weight_decay", weight_decay, "float64")
    return adam(betas=betas, eps=eps)._replace(weight_decay=decay)


OPTIMIZERS = {
    "sgd": sgd(),
    "momentum": sgd(momentum=0.9),
    "nesterov": sgd(momentum=0.9, nesterov=True),
    "rmsprop": rmsprop(),
    "adagrad": adagrad(),
    "adam": adam(),
    "adamw": adamw(),
}
"""The built-in optimizers by name, with their default arguments."""

_BUILT_IN = [getattr(optimizer.update, "func", optimizer.update) for optimizer in OPTIMIZERS.values()]


def kind_of(optimizer: Optimizer) -> str:
    """Return the name of an optimizer's update function, which identifies the kind of its state."""
    function = getattr(optimizer.update, "func", optimizer.update)
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    return name.removeprefix("_").removesuffix("_update") if function in _BUILT_IN else name
