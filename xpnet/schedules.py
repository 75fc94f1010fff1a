"""Learning-rate schedules.

A schedule is a function ``schedule(xp, t, history) -> factor``. The learning rate of a step is multiplied with its
factor. t, a host array of shape (steps,), holds the times of the steps of one epoch, in epochs (with fractions) since
the weights were drawn; `history` is the `xpnet.training.history.History` of the epochs before. The factors have the
shape (steps,), or (steps, E) for the E networks of an ensemble; they must be finite and not negative. A custom schedule
is any such function. Training waits for the device only if the schedule reads the history.

The curves and most of the names are those of PyTorch's schedulers,
https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from xpnet._checks import non_negative_integer, non_negative_number, positive_number
from xpnet._types import Array, Namespace

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "inverse_scaling",
    "reduce_on_plateau",
    "step",
    "warm_up",
]

Schedule: TypeAlias = Callable[[Namespace, Array, Any], Array]


def constant(xp: Namespace, t: Array, history: Any) -> Array:
    """Return the factor 1 at all times.

    Parameters
    ----------
    xp : module
        The array API namespace of t.
    t : array of shape (steps,)
        The times, in epochs.
    history : History
        Not used.

    Returns
    -------
    factor : array of shape (steps,)
        Ones.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.schedules import constant
    >>> constant(np, np.array([0.0, 0.5, 1.0]), None)
    array([1., 1., 1.])
    """
    return xp.ones_like(t)


def _step(xp: Namespace, t: Array, history: Any, *, every: float, gamma: float) -> Array:
    """γ^⌊t / every⌋."""
    return gamma ** xp.floor(t / every)


def step(every: float, *, gamma: float = 0.1) -> Schedule:
    """Return a schedule that multiplies the learning rate with γ every few epochs: γ^⌊t / every⌋.

    Parameters
    ----------
    every : float
        The number of epochs between two changes, above 0.
    gamma : float
        γ, above 0.

    Returns
    -------
    schedule : callable
        ``schedule(xp, t, history) -> factor``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.schedules import step
    >>> step(10, gamma=0.5)(np, np.array([0.0, 9.9, 10.0, 20.0]), None)
    array([1.  , 1.  , 0.5 , 0.25])
    """
    return partial(_step, every=_positive("every", every), gamma=_positive("gamma", gamma))


def _exponential(xp: Namespace, t: Array, history: Any, *, gamma: float) -> Array:
    """γᵗ."""
    return gamma**t


def exponential(gamma: float) -> Schedule:
    """Return a schedule that decays exponentially: γᵗ.

    Parameters
    ----------
    gamma : float
        γ, the factor of one epoch, above 0.

    Returns
    -------
    schedule : callable
        ``schedule(xp, t, history) -> factor``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.schedules import exponential
    >>> exponential(0.5)(np, np.array([0.0, 1.0, 2.0]), None)
    array([1.  , 0.5 , 0.25])
    """
    return partial(_exponential, gamma=_positive("gamma", gamma))


def _cosine(xp: Namespace, t: Array, history: Any, *, epochs: float, least: float) -> Array:
    """l + ½ (1 − l) (1 + cos(π min(t / epochs, 1))) with l = least."""
    return least + (1.0 - least) * 0.5 * (1.0 + xp.cos(math.pi * xp.minimum(t / epochs, 1.0)))


def cosine(epochs: float, *, least: float = 0.0) -> Schedule:
    """Return a schedule that decays along half a cosine from 1 to `least`, and stays there; without restarts [1]_.

    The factor is l + ½ (1 − l) (1 + cos(π min(t / epochs, 1))), where l is `least`.

    Parameters
    ----------
    epochs : float
        The length of the decay in epochs, above 0.
    least : float
        The last factor, 0 or above.

    Returns
    -------
    schedule : callable
        ``schedule(xp, t, history) -> factor``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    References
    ----------
    .. [1] Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017,
       https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.schedules import cosine
    >>> cosine(100)(np, np.array([0.0, 50.0, 100.0, 200.0]), None).round(6)
    array([1. , 0.5, 0. , 0. ])
    """
    least = non_negative_number("least", least, "float64")
    return partial(_cosine, epochs=_positive("epochs", epochs), least=least)


def _inverse_scaling(xp: Namespace, t: Array, history: Any, *, power: float) -> Array:
    """1 / (1 + t)^power."""
    return (1.0 + t) ** -power


def inverse_scaling(*, power: float = 0.5) -> Schedule:
    """Return a schedule that decays as a power of the time: 1 / (1 + t)^power.

    Parameters
    ----------
    power : float
        The exponent, above 0.

    Returns
    -------
    schedule : callable
        ``schedule(xp, t, history) -> factor``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.schedules import inverse_scaling
    >>> inverse_scaling(power=0.5)(np, np.array([0.0, 3.0, 99.0]), None)
    array([1. , 0.5, 0.1])
    """
    return partial(_inverse_scaling, power=_positive("power", power))


def _warm_up(xp: Namespace, t: Array, history: Any, *, epochs: float, start: float, after: Schedule) -> Array:
    """Start + (1 − start) t / epochs for t < epochs, then after(t − epochs)."""
    then = after(xp, xp.maximum(t - epochs, 0.0), history)
    t = xp.reshape(t, t.shape + (1,) * (then.ndim - 1))
    return xp.where(t < epochs, start + (1.0 - start) * t / epochs, then)


def warm_up(epochs: float, after: Schedule = constant, *, start: float = 0.1) -> Schedule:
    """Return a schedule that increases linearly from `start` to 1, then follows another schedule.

    The factor is start + (1 − start) t / epochs for t < epochs, then after(t − epochs).

    Parameters
    ----------
    epochs : float
        The length of the warm-up in epochs, above 0.
    after : callable
        The schedule that follows, by default `constant`.
    start : float
        The first factor, above 0.

    Returns
    -------
    schedule : callable
        ``schedule(xp, t, history) -> factor``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.schedules import step, warm_up
    >>> warm_up(4, step(10), start=0.5)(np, np.array([0.0, 2.0, 4.0, 14.0]), None)
    array([0.5 , 0.75, 1.  , 0.1 ])
    """
    if not callable(after):
        msg = f"after must be a schedule, got {after!r}"
        raise TypeError(msg)
    return partial(_warm_up, epochs=_positive("epochs", epochs), start=_positive("start", start), after=after)


class _Plateau(NamedTuple):
    """The state of a schedule that monitors the loss, for each network."""

    best: Array = 1e308  # above any loss; infinity minus a fraction of it would be NaN
    bad: Array = 0  # epochs without an improvement
    cooldown: Array = 0  # epochs left that are not counted
    factor: Array = 1.0


class _ReduceOnPlateau:
    """The schedule of `reduce_on_plateau`. Its factor depends only on the history; it caches how far it has read it."""

    def __init__(self, factor: float, patience: int, threshold: float, cooldown: int, least: float) -> None:
        self.factor, self.patience, self.threshold = factor, patience, threshold
        self.cooldown, self.least = cooldown, least
        self._read: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": None}

    def __call__(self, xp: Namespace, t: Array, history: Any) -> Array:
        source = (weakref.ref(history.record), history.monitored)
        read, epochs, plateau = self._read or (source, 0, _Plateau())
        if read != source or epochs > history.epochs:
            epochs, plateau = 0, _Plateau()
        for loss in history.since(source[1], epochs):
            plateau = self._next(xp, plateau, loss)
        self._read = (source, history.epochs, plateau)
        return xp.broadcast_to(xp.asarray(plateau.factor), (*t.shape, *history.ensemble_shape))

    def _next(self, xp: Namespace, plateau: _Plateau, loss: Array) -> _Plateau:
        """Return the state after one more epoch, whose loss has the shape (...)."""
        best, bad, cooldown, factor = plateau
        better = loss < best - self.threshold * xp.abs(best)
        counts = xp.isfinite(loss) & ~better & (cooldown == 0)
        bad = xp.where(counts, bad + 1, xp.where(better | (cooldown > 0), 0, bad))
        reduces, lower = bad > self.patience, xp.maximum(factor * self.factor, self.least)
        return _Plateau(
            xp.where(better, loss, best),
            xp.where(reduces, 0, bad),
            xp.where(reduces, self.cooldown, xp.maximum(cooldown - 1, 0)),
            xp.where(reduces & (factor - lower > 1e-8), lower, factor),  # as in PyTorch, tiny reductions are ignored
        )


def reduce_on_plateau(
    factor: float = 0.1, *, patience: int = 10, threshold: float = 1e-4, cooldown: int = 0, least: float = 0.0
) -> Schedule:
    """Return a schedule that reduces the learning rate when the monitored loss has stopped improving.

    It monitors the validation loss if there is one, else the training loss, separately for each network of an ensemble.
    Reading the loss waits for the device after every epoch.

    Parameters
    ----------
    factor : float
        The learning rate is multiplied with it at each reduction; above 0 and below 1.
    patience : int
        The number of epochs without an improvement before a reduction, 0 or above.
    threshold : float
        A loss is an improvement if it is below (1 − threshold) times the best loss; 0 or above.
    cooldown : int
        The number of epochs after a reduction that do not count, 0 or above.
    least : float
        The lower bound of the schedule's factor, 0 or above.

    Returns
    -------
    schedule : callable
        ``schedule(xp, t, history) -> factor``; all factors of an epoch are the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> from xpnet import NeuralNetwork
    >>> from xpnet.schedules import reduce_on_plateau
    >>> network = NeuralNetwork([1, 4, 1], seed=0)
    >>> schedule = reduce_on_plateau(0.5, patience=5)
    >>> network.train([0.0, 1.0], [0.2, 0.8], learning_rate=0.5, epochs=3, schedule=schedule, verbose=False)
    """
    factor = _positive("factor", factor)
    if factor >= 1.0:
        msg = f"factor must be below 1, got {factor}"
        raise ValueError(msg)
    patience, cooldown = (
        non_negative_integer(name, value) for name, value in (("patience", patience), ("cooldown", cooldown))
    )
    threshold, least = (
        non_negative_number(name, value, "float64") for name, value in (("threshold", threshold), ("least", least))
    )
    return _ReduceOnPlateau(factor, patience, threshold, cooldown, least)


def _positive(name: str, value: float) -> float:
    return positive_number(name, value, "float64")
