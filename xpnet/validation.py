"""What people hand in, looked at before anything is done with it.

Every function returns its argument in the form that the rest of xpnet works with, or raises a `ValueError` or
`TypeError` that names the argument, what came, and what was expected.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence, Set
from numbers import Integral, Real
from reprlib import repr
from typing import Any, TypeVar

from xpnet._types import Array

T = TypeVar("T")


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)  # Python counts True among the integers


def is_number(value: Any) -> bool:
    """Say whether a value is a real number."""
    return isinstance(value, Real) and not isinstance(value, bool)


def positive_integer(name: str, value: Any) -> int:
    """Return a positive integer as an `int`."""
    if not _is_integer(value):
        msg = f"{name} must be a positive integer, got {repr(value)}"
        raise TypeError(msg)
    if value < 1:
        msg = f"{name} must be a positive integer, got {int(value)}"
        raise ValueError(msg)
    return int(value)


def positive_number(name: str, value: Any, dtype: str) -> float:
    """Return a number that is above zero and finite in a precision, as a `float`, which suits any precision."""
    if not is_number(value):
        msg = f"{name} must be a positive number, got {repr(value)}"
        raise TypeError(msg)
    least, greatest = {"float32": (2.0**-149, 3.4e38), "float64": (2.0**-1074, sys.float_info.max)}[dtype]
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number <= greatest:
        msg = f"{name} must be a positive, finite number in {dtype}, got {repr(value)}"
        raise ValueError(msg)
    return number


def number_from_zero(name: str, value: Any, dtype: str) -> float:
    """Return a number that is zero or above and finite in a precision, as a `float`."""
    if is_number(value) and value == 0:
        return 0.0
    return positive_number(name, value, dtype)


def _listed(must: str, value: Any) -> list[Any]:
    """Return what has an order as a list; `must` says what it has to be."""
    try:
        if not isinstance(value, (str, bytes, Mapping, Set)):
            return list(value)
    except TypeError:
        pass
    msg = f"{must}, got {repr(value)}"
    raise TypeError(msg)


def layer_sizes(layer_list: Any) -> list[int]:
    """Return the sizes of the layers, inputs first, as a list of two or more positive integers."""
    sizes = _listed("layer_list must be a list of layer sizes such as [1, 10, 10, 1]", layer_list)
    if len(sizes) < 2:
        msg = f"layer_list needs at least two sizes, that of the inputs and that of the outputs, got {sizes}"
        raise ValueError(msg)
    return [positive_integer(f"layer_list[{l}]", size) for l, size in enumerate(sizes)]


def named(kind: str, value: Any, known: Mapping[str, T], own: Any) -> T:
    """Look a name up among the known ones; a value of the type `own`, a user's own, is returned as it is."""
    if isinstance(value, own):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str):
        msg = f"{kind} must be one of {', '.join(map(repr, known))}, or a user's own {own.__name__}, got {repr(value)}"
        raise TypeError(msg)
    if value not in known:
        msg = f"unknown {kind} {repr(value)}; known are {', '.join(map(repr, known))}"
        raise ValueError(msg)
    return known[value]


def last_activation(bounds: tuple[float, float], allowed: tuple[float, float]) -> None:
    """Make sure that what the last activation answers is what the loss is defined for."""
    if bounds[0] < allowed[0] or bounds[1] > allowed[1]:
        msg = (
            f"the loss is defined for answers from {allowed[0]:g} to {allowed[1]:g}, but the last activation reaches "
            f"from {bounds[0]:g} to {bounds[1]:g}: choose another for the last layer"
        )
        raise ValueError(msg)


def one_per_layer(name: str, values: Any, count: int, layers: str) -> list[Any]:
    """Return a sequence of one value for each of some layers as a list."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        msg = f"{name} must be a list, one for each of the {count} {layers}, got {repr(values)}"
        raise TypeError(msg)
    if len(values) != count:
        msg = f"{name} must be {count}, one for each of the {layers}, got {len(values)}"
        raise ValueError(msg)
    return list(values)


def same_shape(name: str, array: Array, shape: tuple[int, ...], *, leading: bool = False) -> None:
    """Make sure that something is an array and has a shape, or only begins with it."""
    if not hasattr(array, "shape"):
        msg = f"{name} must be an array, got {repr(array)}"
        raise TypeError(msg)
    came = tuple(array.shape)
    if came[: len(shape) if leading else None] != tuple(shape):
        msg = f"{name} must have the shape {f'{tuple(shape)} + …' if leading else tuple(shape)}, got {came}"
        raise ValueError(msg)


def real_array(xp: Any, name: str, array: Array, x: Any) -> None:
    """Make sure that an array holds real numbers; `x` is what it was made of."""
    if not xp.isdtype(array.dtype, ("bool", "integral", "real floating")):
        came = "an array" if x is array else f"a {type(x).__name__} that makes an array"
        msg = f"{name} must hold real numbers, got {came} of {array.dtype}"
        raise TypeError(msg)


def finite_array(xp: Any, name: str, array: Array) -> None:
    """Make sure that an array holds neither NaN nor infinity."""
    if not bool(xp.all(xp.isfinite(array))):
        msg = f"{name} must be finite, but holds NaN or infinity (as {array.dtype})"
        raise ValueError(msg)


def is_one_each(shape: tuple[int, ...], ensemble: int | None, units: int, samples: int | None) -> bool:
    """Say whether a shape is (E, N, ...), one set for each network, and not the document's (N, units, 1)."""
    if ensemble is None or len(shape) != 3 or shape[0] != ensemble:
        return False
    return tuple(shape[1:]) != (units, 1) or (samples is not None and samples == shape[1] != shape[0])


def sample_rows(
    xp: Any, name: str, array: Array, units: int, layer: str, ensemble: int | None = None, samples: int | None = None
) -> Array:
    """Return finite samples as rows, of shape (N, units), or (E, N, units) where each network has its own.

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
    ensemble : int, optional
        How many networks there are; an array of shape (E, N, units) is then one set for each of them, unless it is also
        one of (N, units, 1).
    samples : int, optional
        How many samples there should be, which tells such shapes apart.
    """
    came = tuple(array.shape)
    own = is_one_each(came, ensemble, units, samples)
    if array.ndim not in (1, 2, 3) or (array.ndim == 3 and came[2] != (units if own else 1)):
        forms = [
            f"(N, {units})",
            f"(N, {units}, 1)",
            *["(N,)"] * (units == 1),
            *[f"({ensemble}, N, {units})"] * bool(ensemble),
        ]
        msg = f"{name} must have the shape {', '.join(forms[:-1])} or {forms[-1]}, got {came}"
        raise ValueError(msg)
    if 0 in came:
        msg = f"{name} is empty: its shape is {came}"
        raise ValueError(msg)
    features = came[-1] if own else came[1] if array.ndim > 1 else 1
    if features != units:
        msg = f"{name} has the shape {came}, that is {features} a sample, but the {layer} has size {units}"
        raise ValueError(msg)
    finite_array(xp, name, array)
    return array if own else xp.reshape(array, (came[0], units))


def type_name(dtype: Any) -> str:
    """Return what the standard calls a type, given by name or as any library's own."""
    return dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype)).rpartition(".")[2]


def precision(dtype: Any) -> str:
    """Return the name of a floating-point type that networks compute in, given by name or as any library's own type."""
    name = type_name(dtype)
    if name not in ("float32", "float64"):
        msg = f"dtype must be 'float32' or 'float64', got {repr(dtype)}"
        raise ValueError(msg)
    return name


def seed(seed: Any) -> int:
    """Return a seed for random numbers, an integer that is not negative."""
    if not _is_integer(seed):
        msg = f"seed must be an integer, got {repr(seed)}"
        raise TypeError(msg)
    if seed < 0:
        msg = f"seed must not be negative, got {int(seed)}"
        raise ValueError(msg)
    return int(seed)


def seeds(value: Any, ensemble: int | None) -> list[int]:
    """Return a seed for each network: those given, or for an ensemble with one seed those from it on."""
    if ensemble is None:
        return [seed(value)]
    if _is_integer(value):
        return [seed(value) + i for i in range(ensemble)]
    values = _listed("seed must be an integer, or a list of one for each network", value)
    if len(values) != ensemble:
        msg = f"seed must be one integer, or {ensemble}, one for each network, got {len(values)}"
        raise ValueError(msg)
    return [seed(each) for each in values]


def labels(xp: Any, name: str, array: Array, classes: int) -> None:
    """Make sure that an array holds the numbers of classes, counted from 0."""
    finite_array(xp, name, array)
    least, greatest = float(xp.min(array)), float(xp.max(array))
    if least < 0 or greatest > classes - 1 or not bool(xp.all(xp.round(array) == array)):
        msg = (
            f"{name} of shape {tuple(array.shape)} holds labels of {classes} classes, whole numbers from 0 to "
            f"{classes - 1}, but it reaches from {least:g} to {greatest:g} or holds fractions"
        )
        raise ValueError(msg)


def within(xp: Any, name: str, array: Array, bounds: tuple[float, float]) -> None:
    """Make sure that targets lie where the last activation can reach, rounding aside."""
    least, greatest = float(xp.min(array)), float(xp.max(array))
    if least < bounds[0] - 1e-6 or greatest > bounds[1] + 1e-6:
        msg = (
            f"{name} reaches from {least} to {greatest}, but the activation of the last layer only from "
            f"{bounds[0]:g} to {bounds[1]:g}: scale the targets (labels count from 0), or end activations with "
            "'identity' where the loss allows it"
        )
        raise ValueError(msg)


def class_weights(value: Any, classes: int, dtype: str) -> list[float]:
    """Return the weights of the classes, 1 for those that are not named."""
    if not isinstance(value, Mapping):
        msg = f"class_weight must be 'balanced' or a mapping of labels to weights, got {repr(value)}"
        raise TypeError(msg)
    for label in value:
        if not _is_integer(label) or not 0 <= label < classes:
            msg = f"class_weight names the class {repr(label)}, but the labels are 0 to {classes - 1}"
            raise ValueError(msg)
    return [number_from_zero(f"class_weight[{c}]", value.get(c, 1.0), dtype) for c in range(classes)]


def fraction(name: str, value: Any) -> float:
    """Return a number from 0 to below 1 as a `float`."""
    number = number_from_zero(name, value, "float64")
    if number >= 1.0:
        msg = f"{name} must be below 1, got {number}"
        raise ValueError(msg)
    return number


def name_of(part: Any, known: Mapping[str, Any]) -> str | None:
    """Return the name of a part among the known ones, or None for a user's own."""
    return next((name for name, value in known.items() if value is part), None)
