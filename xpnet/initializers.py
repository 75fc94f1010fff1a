"""Weight initialization.

An initializer is a function ``initializer(rng, n_out, n_in) -> (W, b)`` that draws the parameters of one layer on the
host from the NumPy generator `rng`: W of shape (n_out, n_in), b of shape (n_out, 1), in double precision. The drawn
numbers do not depend on the backend or on the precision in which the network trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from xpnet._checks import boolean, positive_number
from xpnet._types import Layer

__all__ = [
    "INITIALIZERS",
    "Initializer",
    "glorot",
    "he",
    "lecun",
    "normal",
]

Initializer: TypeAlias = Callable[[Any, int, int], Layer]


def _normal(rng: Any, n_out: int, n_in: int, *, scale: float) -> Layer:
    """Return W of shape (n_out, n_in) and b of shape (n_out, 1), normally distributed."""
    W = rng.standard_normal((n_out, n_in)) * scale
    b = rng.standard_normal((n_out, 1)) * scale
    return W, b


def normal(scale: float = 0.1) -> Initializer:
    """Return an initializer that draws weights and biases from the normal distribution N(0, scale²).

    Parameters
    ----------
    scale : float
        The standard deviation, above 0; the document uses 0.1.

    Returns
    -------
    initializer : callable
        ``initializer(rng, n_out, n_in) -> (W, b)``; W has the shape (n_out, n_in), b the shape (n_out, 1).

    Raises
    ------
    TypeError, ValueError
        If `scale` is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.initializers import normal
    >>> W, b = normal(0.5)(np.random.default_rng(0), 200, 100)
    >>> W.shape, b.shape, round(float(W.std()), 1)
    ((200, 100), (200, 1), 0.5)
    """
    return partial(_normal, scale=positive_number("scale", scale, "float32"))


def _scaled(rng: Any, n_out: int, n_in: int, *, gain: float, fan: Callable[[int, int], float], uniform: bool) -> Layer:
    """Return W of shape (n_out, n_in) with the variance gain / fan, and b = 0 of shape (n_out, 1)."""
    deviation = math.sqrt(gain / fan(n_in, n_out))
    if uniform:
        limit = math.sqrt(3.0) * deviation  # the uniform distribution on [−a, a] has the variance a² / 3
        W = rng.uniform(-limit, limit, (n_out, n_in))
    else:
        W = rng.standard_normal((n_out, n_in)) * deviation
    return W, W[:, :1] * 0.0


def _fan_in(n_in: int, n_out: int) -> float:
    """n_in."""
    return n_in


def _fan_average(n_in: int, n_out: int) -> float:
    """(n_in + n_out) / 2."""
    return (n_in + n_out) / 2


def glorot(*, uniform: bool = True) -> Initializer:
    """Return an initializer with Var(W) = 2 / (n_in + n_out) and b = 0, suited to tanh and sigmoid [1]_.

    Parameters
    ----------
    uniform : bool
        Whether to draw W uniformly from [−a, a] with a = √(6 / (n_in + n_out)), instead of normally.

    Returns
    -------
    initializer : callable
        ``initializer(rng, n_out, n_in) -> (W, b)``; W has the shape (n_out, n_in), b the shape (n_out, 1).

    Raises
    ------
    TypeError
        If `uniform` is not True or False.

    References
    ----------
    .. [1] Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
       https://proceedings.mlr.press/v9/glorot10a.html

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.initializers import glorot
    >>> W, b = glorot()(np.random.default_rng(0), 100, 50)
    >>> bool(abs(W).max() <= 0.2)  # a = √(6 / (50 + 100)) = 0.2
    True
    """
    return partial(_scaled, gain=1.0, fan=_fan_average, uniform=boolean("uniform", uniform))


def he(*, uniform: bool = False) -> Initializer:
    """Return an initializer with Var(W) = 2 / n_in and b = 0, suited to relu and its variants [1]_.

    Parameters
    ----------
    uniform : bool
        Whether to draw W uniformly from [−a, a] with a = √(6 / n_in), instead of normally.

    Returns
    -------
    initializer : callable
        ``initializer(rng, n_out, n_in) -> (W, b)``; W has the shape (n_out, n_in), b the shape (n_out, 1).

    Raises
    ------
    TypeError
        If `uniform` is not True or False.

    References
    ----------
    .. [1] He et al., "Delving deep into rectifiers", ICCV 2015, https://arxiv.org/abs/1502.01852

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.initializers import he
    >>> W, b = he(uniform=True)(np.random.default_rng(0), 100, 600)
    >>> bool(abs(W).max() <= 0.1)  # a = √(6 / 600) = 0.1
    True
    """
    return partial(_scaled, gain=2.0, fan=_fan_in, uniform=boolean("uniform", uniform))


def lecun(*, uniform: bool = False) -> Initializer:
    """Return an initializer with Var(W) = 1 / n_in and b = 0 [1]_.

    Parameters
    ----------
    uniform : bool
        Whether to draw W uniformly from [−a, a] with a = √(3 / n_in), instead of normally.

    Returns
    -------
    initializer : callable
        ``initializer(rng, n_out, n_in) -> (W, b)``; W has the shape (n_out, n_in), b the shape (n_out, 1).

    Raises
    ------
    TypeError
        If `uniform` is not True or False.

    References
    ----------
    .. [1] LeCun et al., "Efficient BackProp", in "Neural Networks: Tricks of the Trade", Springer, 1998

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.initializers import lecun
    >>> W, b = lecun(uniform=True)(np.random.default_rng(0), 100, 300)
    >>> bool(abs(W).max() <= 0.1)  # a = √(3 / 300) = 0.1
    True
    """
    return partial(_scaled, gain=1.0, fan=_fan_in, uniform=boolean("uniform", uniform))


INITIALIZERS = {
    "normal": normal(),
    "glorot_uniform": glorot(uniform=True),
    "glorot_normal": glorot(uniform=False),
    "he_uniform": he(uniform=True),
    "he_normal": he(uniform=False),
    "lecun_uniform": lecun(uniform=True),
    "lecun_normal": lecun(uniform=False),
}
"""The built-in initializers by name."""
