"""Validation of arguments: single values, names and arrays.

Every function returns its argument in the form that the rest of xpnet uses, or raises a `ValueError` or `TypeError`
that names the argument, what is expected, and what was passed.
"""

from __future__ import annotations

import difflib
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from numbers import Integral, Real
from reprlib import repr
from typing import Any, TypeVar

from xpnet._types import Array
from xpnet.backends import backend_of

T = TypeVar("T")

_NOT_NUMBERS = ("bool", "timedelta64")  # Python and NumPy count these types as integers


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer."""
    return type(value) is int or (isinstance(value, Integral) and type(value).__name__ not in _NOT_NUMBERS)


def is_number(value: Any) -> bool:
    """Return whether a value is a real number."""
    return type(value) in (int, float) or (isinstance(value, Real) and type(value).__name__ not in _NOT_NUMBERS)


def boolean(name: str, value: Any) -> bool:
    """Return a Python, NumPy or 0/1 truth value as a `bool`."""
    if isinstance(value, bool) or type(value).__name__ == "bool" or (is_integer(value) and value in (0, 1)):
        return bool(value)
    msg = f"{name} must be True or False, got {repr(value)}"
    raise TypeError(msg)


def function(name: str, value: Any, signature: str) -> Callable[..., Any]:
    """Return a function that can be called with as many arguments as a signature such as ``(xp, Z)`` has."""
    accepts = callable(value)
    if accepts:
        try:
            inspect.signature(value).bind(*signature.split(","))
        except TypeError:
            accepts = False
        except ValueError:  # some functions written in C have no signature to inspect
            pass
    if not accepts:
        msg = f"{name} must be a function {signature}, got {repr(value)}{_signature_of(value)}"
        raise TypeError(msg)
    return value  # type: ignore[no-any-return]


def _signature_of(value: Any) -> str:
    try:
        return f" with the signature {inspect.signature(value)}"
    except (TypeError, ValueError):
        return ""


def positive_integer(name: str, value: Any) -> int:
    """Return a positive integer as an `int`."""
    return _integer(name, value, "a positive integer", 1)


def non_negative_integer(name: str, value: Any) -> int:
    """Return a non-negative integer as an `int`."""
    return _integer(name, value, "0 or a positive integer", 0)


def _integer(name: str, value: Any, kind: str, minimum: int) -> int:
    if not is_integer(value):
        msg = f"{name} must be {kind}, got {repr(value)}"
        raise TypeError(msg)
    if value < minimum:
        msg = f"{name} must be {kind}, got {int(value)}"
        raise ValueError(msg)
    return int(value)


def positive_number(name: str, value: Any, dtype: str) -> float:
    """Return a positive number that is finite in `dtype` as a `float`."""
    return _number(name, value, dtype, "a positive number", allow_zero=False)


def non_negative_number(name: str, value: Any, dtype: str) -> float:
    """Return a non-negative number that is finite in `dtype` as a `float`."""
    return _number(name, value, dtype, "0 or a positive number", allow_zero=True)


def _number(name: str, value: Any, dtype: str, kind: str, *, allow_zero: bool) -> float:
    if not is_number(value):
        msg = f"{name} must be {kind}, got {repr(value)}"
        raise TypeError(msg)
    if allow_zero and value == 0:
        return 0.0
    smallest, largest = {"float32": (2.0**-149, 3.4e38), "float64": (2.0**-1074, sys.float_info.max)}[dtype]
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not smallest <= number <= largest:
        msg = f"{name} must be {kind}, finite in {dtype}, got {repr(value)}"
        raise ValueError(msg)
    return number


def as_list(requirement: str, value: Any) -> list[Any]:
    """Return an ordered collection as a list; the error says `requirement`, such as "X must be a list"."""
    with suppress(TypeError):
        if not isinstance(value, (str, bytes, Mapping, Set, Iterator)):  # an iterator may never end
            return list(value)
    msg = f"{requirement}, got {repr(value)}"
    raise TypeError(msg)


def named(
    name: str, value: Any, known: Mapping[str, T], custom: Any, check: Callable[[str, Any], object] | None = None
) -> T:
    """Return the part of a name in `known`; a custom part, of the type `custom`, is checked and returned as it is."""
    if isinstance(value, custom):
        if check is not None and name_of(value, known) is None:
            check(name, value)
        return value  # type: ignore[no-any-return]
    custom_name = "function" if custom is Callable else custom.__name__
    msg = f"{name} must be one of {', '.join(map(repr, known))}, or a custom {custom_name}, got {repr(value)}"
    if not isinstance(value, str):
        raise TypeError(msg)
    if value not in known:
        suggestions = _suggestions(value, known)
        raise ValueError(msg + (f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else ""))
    return known[value]


# The names that other libraries use, without spaces, hyphens and underscores.
_SYNONYMS = {
    "linear": ["identity"],
    "none": ["identity"],
    "logistic": ["sigmoid"],
    "swish": ["silu"],
    "lrelu": ["leaky_relu"],
    "mse": ["half_squared_error"],
    "meansquarederror": ["half_squared_error"],
    "squarederror": ["half_squared_error"],
    "mae": ["mean_absolute_error"],
    "absoluteerror": ["mean_absolute_error"],
    "l1": ["mean_absolute_error"],
    "bce": ["binary_crossentropy"],
    "logloss": ["binary_crossentropy", "categorical_crossentropy"],
    "crossentropy": ["categorical_crossentropy", "binary_crossentropy"],
    "sparsecategoricalcrossentropy": ["categorical_crossentropy"],
    "nll": ["categorical_crossentropy"],
    "smoothl1": ["huber"],
    "xavier": ["glorot_uniform", "glorot_normal"],
    "xavieruniform": ["glorot_uniform"],
    "xaviernormal": ["glorot_normal"],
    "kaiming": ["he_normal", "he_uniform"],
    "kaiminguniform": ["he_uniform"],
    "kaimingnormal": ["he_normal"],
    "randomnormal": ["normal"],
    "acc": ["accuracy"],
    "r2": ["r2_score"],
    "gd": ["sgd"],
    "nag": ["nesterov"],
}


def _suggestions(value: str, known: Mapping[str, Any]) -> list[str]:
    """Return the known names that are most similar to an unknown one."""
    normalized = {_normalized(name): name for name in known}
    synonyms = [name for name in _SYNONYMS.get(_normalized(value), []) if name in known]
    matches = difflib.get_close_matches(_normalized(value), normalized, n=2, cutoff=0.75)
    return synonyms or [normalized[name] for name in matches]


def _normalized(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def same_shape(name: str, array: Array, shape: tuple[int, ...], *, leading: bool = False) -> None:
    """Raise an error unless `array` is an array of a shape, or with ``leading=True`` of a shape that begins with it."""
    actual = getattr(array, "shape", None)
    if not isinstance(actual, tuple):
        msg = f"{name} must be an array, got {repr(array)}"
        raise TypeError(msg)
    if actual[: len(shape) if leading else None] != tuple(shape):
        msg = f"{name} must have the shape {f'{tuple(shape)} + …' if leading else tuple(shape)}, got {tuple(actual)}"
        raise ValueError(msg)


def same_kind(name: str, array: Array, like: Array) -> None:
    """Raise an error unless an array is of the same library and on the same device as `like`."""
    if type(array) is type(like):
        device, expected = (backend_of(each).device for each in (array, like))
        if device != expected:
            msg = f"{name} must be on {expected}, got an array on {device}"
            raise ValueError(msg)
    # NumPy returns scalars, which have another type, instead of arrays without axes.
    elif not (array.shape == () and hasattr(array, "dtype") and backend_of(array) == backend_of(like)):
        actual, expected = (type(each).__module__.partition(".")[0] for each in (array, like))
        given = f"a {type(array).__name__} of {actual}"
        msg = f"{name} must be an array of {expected}, got {given}; use only functions of xp"
        raise TypeError(msg)


def real_array(xp: Any, name: str, array: Array, x: Any) -> None:
    """Raise a TypeError unless an array holds real numbers; `x` is the data that it was converted from."""
    if array.dtype in (xp.float64, xp.float32):
        return  # a shortcut, which matters for a sample at a time
    try:
        real = xp.isdtype(array.dtype, ("bool", "integral", "real floating"))
    except TypeError:  # structured arrays have a type that the standard does not define
        real = False
    if not real:
        given = "an array" if x is array else f"a {type(x).__name__} that converts to an array"
        msg = f"{name} must hold real numbers, got {given} of {array.dtype}"
        raise TypeError(msg)


def finite_array(xp: Any, name: str, array: Array) -> None:
    """Raise a ValueError if an array holds NaN or infinity, which only floating-point arrays can."""
    if xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
        msg = f"{name} must be finite, got NaN or infinity (as {array.dtype})"
        raise ValueError(msg)


def type_name(dtype: Any) -> str:
    """Return the standard's name of a data type, given by name or as the data type of any library."""
    return dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype)).rpartition(".")[2]


def fraction(name: str, value: Any) -> float:
    """Return a number in [0, 1) as a `float`."""
    number = non_negative_number(name, value, "float64")
    if number >= 1.0:
        msg = f"{name} must be below 1, got {number}"
        raise ValueError(msg)
    return number


def name_of(part: Any, known: Mapping[str, Any]) -> str | None:
    """Return the name of a part among the known ones, or None for a custom one."""
    return next((name for name, value in known.items() if value is part), None)
