"""Learning-rate schedules.

A schedule is a pure function ``schedule(xp, t) -> factor`` that says what the learning rate is multiplied with at the
time t, counted in epochs since the weights were drawn, fractions and all. Both are host arrays of the same shape;
factors are finite and not negative. Any such function of a user's own will do.

The shapes, and most of the names, are those of PyTorch's schedulers,
https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from xpnet._types import Array, Namespace
from xpnet.validation import number_from_zero, positive_number

Schedule: TypeAlias = Callable[[Namespace, Array], Array]


def constant(xp: Namespace, t: Array) -> Array:
    """1 at all times."""
    return xp.ones_like(t)


def _step(xp: Namespace, t: Array, *, every: float, gamma: float) -> Array:
    return gamma ** xp.floor(t / every)


def step(every: float, *, gamma: float = 0.1) -> Schedule:
    """γ^⌊t / every⌋: fall to the fraction `gamma` every so many epochs."""
    return partial(_step, every=_positive("every", every), gamma=_positive("gamma", gamma))


def _exponential(xp: Namespace, t: Array, *, gamma: float) -> Array:
    return gamma**t


def exponential(gamma: float) -> Schedule:
    """γᵗ: fall to the fraction `gamma` in every epoch."""
    return partial(_exponential, gamma=_positive("gamma", gamma))


def _cosine(xp: Namespace, t: Array, *, epochs: float, least: float) -> Array:
    return least + (1.0 - least) * 0.5 * (1.0 + xp.cos(math.pi * xp.minimum(t / epochs, 1.0)))


def cosine(epochs: float, *, least: float = 0.0) -> Schedule:
    """Fall along half a cosine from 1 to `least` in so many epochs, and stay there; https://arxiv.org/abs/1608.03983."""
    least = number_from_zero("least", least, "float64")
    return partial(_cosine, epochs=_positive("epochs", epochs), least=least)


def _inverse_scaling(xp: Namespace, t: Array, *, power: float) -> Array:
    return (1.0 + t) ** -power


def inverse_scaling(*, power: float = 0.5) -> Schedule:
    """1 / (1 + t)^power."""
    return partial(_inverse_scaling, power=_positive("power", power))


def _warm_up(xp: Namespace, t: Array, *, epochs: float, start: float, after: Schedule) -> Array:
    rise = start + (1.0 - start) * t / epochs
    return xp.where(t < epochs, rise, after(xp, xp.maximum(t - epochs, 0.0)))


def warm_up(epochs: float, after: Schedule = constant, *, start: float = 0.1) -> Schedule:
    """Rise in a straight line from `start` to 1 in so many epochs, then begin another schedule."""
    if not callable(after):
        msg = f"after must be a schedule, got {after!r}"
        raise TypeError(msg)
    return partial(_warm_up, epochs=_positive("epochs", epochs), start=_positive("start", start), after=after)


def _positive(name: str, value: float) -> float:
    return positive_number(name, value, "float64")
