"""What people hand in, looked at before anything is done with it.

Every function returns its argument in the form that the rest of xpnet works with, or raises a `ValueError` or
`TypeError` that names the argument, what came, and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

from xpnet._types import Array

T = TypeVar("T")


def positive_integer(name: str, value: Any) -> int:
    """Return a positive integer as an `int`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        msg = f"{name} must be a positive integer, got {value!r}"
        raise TypeError(msg)
    if value < 1:
        msg = f"{name} must be a positive integer, got {int(value)}"
        raise ValueError(msg)
    return int(value)


def positive_number(name: str, value: Any) -> float:
    """Return a finite number above zero as a `float`, which takes part in any precision without changing it."""
    if not isinstance(value, Real) or isinstance(value, bool):
        msg = f"{name} must be a positive number, got {value!r}"
        raise TypeError(msg)
    number = float(value)
    if not 0 < number < math.inf:
        msg = f"{name} must be a positive, finite number, got {number}"
        raise ValueError(msg)
    return number


def layer_sizes(layer_list: Any) -> list[int]:
    """Return the sizes of the layers, inputs first, as a list of two or more positive integers."""
    if isinstance(layer_list, (str, Mapping)) or not hasattr(layer_list, "__getitem__"):
        msg = f"layer_list must be a list of layer sizes such as [1, 10, 10, 1], got {layer_list!r}"
        raise TypeError(msg)
    if len(layer_list) < 2:
        msg = f"layer_list needs at least two sizes, that of the inputs and that of the outputs, got {list(layer_list)}"
        raise ValueError(msg)
    return [positive_integer(f"layer_list[{l}]", size) for l, size in enumerate(layer_list)]


def named(kind: str, value: Any, known: Mapping[str, T], own: type | None = None) -> T:
    """Look a name up among the known ones; a value of the type `own`, a user's own, is returned as it is."""
    if isinstance(value, str):
        if value in known:
            return known[value]
        msg = f"unknown {kind} {value!r}; known are {', '.join(map(repr, known))}"
        raise ValueError(msg)
    if callable(value) if own is None else isinstance(value, own):
        return value  # type: ignore[no-any-return]
    one_of, another = ", ".join(map(repr, known)), own.__name__ if own else "function"
    msg = f"{kind} must be one of {one_of}, or a {another} of your own, got {value!r}"
    raise TypeError(msg)


def one_per_layer(name: str, values: Any, count: int) -> list[Any]:
    """Return a sequence of one value for each layer that computes as a list."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        msg = f"{name} must be a list, one for each of the {count} layers after the inputs, got {values!r}"
        raise TypeError(msg)
    if len(values) != count:
        msg = f"{name} must be {count}, one for each layer after the inputs, got {len(values)}"
        raise ValueError(msg)
    return list(values)


def real_array(xp: Any, name: str, array: Array) -> None:
    """Make sure that an array holds real numbers."""
    if not xp.isdtype(array.dtype, ("bool", "integral", "real floating")):
        msg = f"{name} must hold real numbers, got an array of {array.dtype}"
        raise TypeError(msg)


def finite_array(xp: Any, name: str, array: Array) -> None:
    """Make sure that an array holds neither NaN nor infinity."""
    if not bool(xp.all(xp.isfinite(array))):
        msg = f"{name} must be finite, but holds NaN or infinity (as {array.dtype})"
        raise ValueError(msg)


def sample_rows(xp: Any, name: str, array: Array, units: int, layer: str) -> Array:
    """Return finite samples as rows, of shape (N, units).

    Parameters
    ----------
    xp : module
        The array API namespace of the array.
    name : str
        What the caller calls it.
    array : array of shape (N, units), (N, units, 1), or (N,) where there is one unit
        The samples.
    units : int
        The size of the layer that they go to.
    layer : str
        What to call that layer.
    """
    shape = tuple(array.shape)
    if array.ndim not in (1, 2, 3) or (array.ndim == 3 and shape[2] != 1):
        msg = f"{name} must have the shape (N, {units}), (N, {units}, 1){' or (N,)' if units == 1 else ''}, got {shape}"
        raise ValueError(msg)
    if 0 in shape:
        msg = f"{name} is empty: its shape is {shape}"
        raise ValueError(msg)
    features = shape[1] if array.ndim > 1 else 1
    if features != units:
        msg = f"{name} has the shape {shape}, that is {features} a sample, but the {layer} has size {units}"
        raise ValueError(msg)
    finite_array(xp, name, array)
    return xp.reshape(array, (shape[0], units))


def precision(dtype: Any) -> str:
    """Return the name of a floating-point type that networks compute in, given by name or as any library's own type."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype)).rpartition(".")[2]
    return named("dtype", name, {"float32": "float32", "float64": "float64"}, str)


def random_seed(seed: Any) -> int | None:
    """Return a seed for random numbers: None, or an integer that is not negative."""
    if seed is None:
        return None
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        msg = f"seed must be an integer or None, got {seed!r}"
        raise TypeError(msg)
    if seed < 0:
        msg = f"seed must not be negative, got {int(seed)}"
        raise ValueError(msg)
    return int(seed)


def within(xp: Any, name: str, array: Array, bounds: tuple[float, float]) -> None:
    """Make sure that targets lie where the last activation can reach, rounding aside."""
    least, greatest = float(xp.min(array)), float(xp.max(array))
    if least < bounds[0] - 1e-6 or greatest > bounds[1] + 1e-6:
        msg = (
            f"{name} reaches from {least:g} to {greatest:g}, but the activation of the last layer only from "
            f"{bounds[0]:g} to {bounds[1]:g}: scale the targets, or end activations with 'identity'"
        )
        raise ValueError(msg)
