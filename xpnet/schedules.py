"""Learning-rate schedules.

A schedule is a function ``schedule(xp, t, history) -> factor`` that says what the learning rate is multiplied with at
the times t of one epoch, counted in epochs since the weights were drawn, fractions and all, given the
`xpnet.training.history.History` of those before. t is a host array of shape (steps,), and so is the factor, or of shape
(steps, E) with one for each network of an ensemble; factors are finite and not negative. Any such function will do; one
that does not read the history does not wait for the device.

The shapes, and most of the names, are those of PyTorch's schedulers,
https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from xpnet._checks import integer_from_zero, number_from_zero, positive_number
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
    """1 at all times."""
    return xp.ones_like(t)


def _step(xp: Namespace, t: Array, history: Any, *, every: float, gamma: float) -> Array:
    return gamma ** xp.floor(t / every)


def step(every: float, *, gamma: float = 0.1) -> Schedule:
    """γ^⌊t / every⌋: fall to the fraction `gamma` every so many epochs."""
    return partial(_step, every=_positive("every", every), gamma=_positive("gamma", gamma))


def _exponential(xp: Namespace, t: Array, history: Any, *, gamma: float) -> Array:
    return gamma**t


def exponential(gamma: float) -> Schedule:
    """γᵗ: fall to the fraction `gamma` in every epoch."""
    return partial(_exponential, gamma=_positive("gamma", gamma))


def _cosine(xp: Namespace, t: Array, history: Any, *, epochs: float, least: float) -> Array:
    return least + (1.0 - least) * 0.5 * (1.0 + xp.cos(math.pi * xp.minimum(t / epochs, 1.0)))


def cosine(epochs: float, *, least: float = 0.0) -> Schedule:
    """Fall along half a cosine from 1 to `least` in so many epochs, and stay there; https://arxiv.org/abs/1608.03983."""
    least = number_from_zero("least", least, "float64")
    return partial(_cosine, epochs=_positive("epochs", epochs), least=least)


def _inverse_scaling(xp: Namespace, t: Array, history: Any, *, power: float) -> Array:
    return (1.0 + t) ** -power


def inverse_scaling(*, power: float = 0.5) -> Schedule:
    """1 / (1 + t)^power."""
    return partial(_inverse_scaling, power=_positive("power", power))


def _warm_up(xp: Namespace, t: Array, history: Any, *, epochs: float, start: float, after: Schedule) -> Array:
    then = after(xp, xp.maximum(t - epochs, 0.0), history)
    t = xp.reshape(t, t.shape + (1,) * (then.ndim - 1))
    return xp.where(t < epochs, start + (1.0 - start) * t / epochs, then)


def warm_up(epochs: float, after: Schedule = constant, *, start: float = 0.1) -> Schedule:
    """Rise in a straight line from `start` to 1 in so many epochs, then begin another schedule."""
    if not callable(after):
        msg = f"after must be a schedule, got {after!r}"
        raise TypeError(msg)
    return partial(_warm_up, epochs=_positive("epochs", epochs), start=_positive("start", start), after=after)


class _Plateau(NamedTuple):
    """Where a schedule stands that watches the loss, for each network."""

    best: Array = 1e308  # any loss is below it, and a fraction of it can be taken
    bad: Array = 0  # epochs without an improvement
    rests: Array = 0  # epochs that will not be counted
    factor: Array = 1.0


class _ReduceOnPlateau:
    """What `reduce_on_plateau` returns. Its factor depends on the history alone; it remembers how far it has read."""

    def __init__(self, factor: float, patience: int, threshold: float, cooldown: int, least: float) -> None:
        self.factor, self.patience, self.threshold, self.cooldown, self.least = (
            factor,
            patience,
            threshold,
            cooldown,
            least,
        )
        self._seen: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": None}

    def __call__(self, xp: Namespace, t: Array, history: Any) -> Array:
        start = (weakref.ref(history.record), history.monitored)
        read, epochs, plateau = self._seen or (start, 0, _Plateau())
        if read != start or epochs > history.epochs:
            epochs, plateau = 0, _Plateau()
        for loss in history.since(start[1], epochs):
            plateau = self._next(xp, plateau, loss)
        self._seen = (start, history.epochs, plateau)
        return xp.broadcast_to(xp.asarray(plateau.factor), (*t.shape, *history.ensemble_shape))

    def _next(self, xp: Namespace, plateau: _Plateau, loss: Array) -> _Plateau:
        best, bad, rests, factor = plateau
        better = loss < best - self.threshold * xp.abs(best)
        counts = xp.isfinite(loss) & ~better & (rests == 0)
        bad = xp.where(counts, bad + 1, xp.where(better | (rests > 0), 0, bad))
        falls, lower = bad > self.patience, xp.maximum(factor * self.factor, self.least)
        return _Plateau(
            xp.where(better, loss, best),
            xp.where(falls, 0, bad),
            xp.where(falls, self.cooldown, xp.maximum(rests - 1, 0)),
            xp.where(falls & (factor - lower > 1e-8), lower, factor),  # as in PyTorch, a fall too small is none
        )


def reduce_on_plateau(
    factor: float = 0.1, *, patience: int = 10, threshold: float = 1e-4, cooldown: int = 0, least: float = 0.0
) -> Schedule:
    """Fall by a factor whenever the loss has stopped falling: the validation loss where there is one.

    Looking at it waits for the device after every epoch. Each network of an ensemble is judged alone.

    Parameters
    ----------
    factor : float
        What to multiply with, below 1.
    patience : int
        How many epochs without an improvement are forgiven, 0 or more.
    threshold : float
        The fraction of the best loss by which a better one must be below it.
    cooldown : int
        How many epochs after a fall are not counted.
    least : float
        What the factor does not fall below.
    """
    factor = _positive("factor", factor)
    if factor >= 1.0:
        msg = f"factor must be below 1, got {factor}"
        raise ValueError(msg)
    patience, cooldown = (
        integer_from_zero(name, value) for name, value in (("patience", patience), ("cooldown", cooldown))
    )
    threshold, least = (
        number_from_zero(name, value, "float64") for name, value in (("threshold", threshold), ("least", least))
    )
    return _ReduceOnPlateau(factor, patience, threshold, cooldown, least)


def _positive(name: str, value: float) -> float:
    return positive_number(name, value, "float64")
