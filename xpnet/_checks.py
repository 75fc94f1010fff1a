"""Checks of single values, names and arrays, wherever users hand them in.

Every function returns its argument in the form that the rest of xpnet works with, or raises a `ValueError` or
`TypeError` that names the argument, what came, and what was expected.
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

_NO_NUMBERS = ("bool", "timedelta64")  # which Python and NumPy count among the integers


def is_integer(value: Any) -> bool:
    """Say whether a value is an integer."""
    return isinstance(value, Integral) and type(value).__name__ not in _NO_NUMBERS


def is_number(value: Any) -> bool:
    """Say whether a value is a real number."""
    return isinstance(value, Real) and type(value).__name__ not in _NO_NUMBERS


def boolean(name: str, value: Any) -> bool:
    """Return True or False, which may be NumPy's, or the numbers 1 and 0."""
    if isinstance(value, bool) or type(value).__name__ == "bool" or (is_integer(value) and value in (0, 1)):
        return bool(value)
    msg = f"{name} must be True or False, got {repr(value)}"
    raise TypeError(msg)


def function(name: str, value: Any, form: str) -> Callable[..., Any]:
    """Return what can be called with so many arguments as a form such as ``(xp, Z)`` shows."""
    fits = callable(value)
    if fits:
        try:
            inspect.signature(value).bind(*form.split(","))
        except TypeError:
            fits = False
        except ValueError:  # what is written in C may not say what it takes
            pass
    if not fits:
        msg = f"{name} must be a function {form}, got {repr(value)}{_signature_of(value)}"
        raise TypeError(msg)
    return value  # type: ignore[no-any-return]


def _signature_of(value: Any) -> str:
    try:
        return f" of {inspect.signature(value)}"
    except (TypeError, ValueError):
        return ""


def positive_integer(name: str, value: Any) -> int:
    """Return a positive integer as an `int`."""
    return _integer(name, value, "a positive integer", 1)


def integer_from_zero(name: str, value: Any) -> int:
    """Return an integer that is zero or above as an `int`."""
    return _integer(name, value, "0 or a positive integer", 0)


def _integer(name: str, value: Any, kind: str, least: int) -> int:
    if not is_integer(value):
        msg = f"{name} must be {kind}, got {repr(value)}"
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be {kind}, got {int(value)}"
        raise ValueError(msg)
    return int(value)


def positive_number(name: str, value: Any, dtype: str) -> float:
    """Return a number that is above zero and finite in a precision, as a `float`, which suits any precision."""
    return _number(name, value, dtype, "a positive number", zero=False)


def number_from_zero(name: str, value: Any, dtype: str) -> float:
    """Return a number that is zero or above and finite in a precision, as a `float`."""
    return _number(name, value, dtype, "0 or a positive number", zero=True)


def _number(name: str, value: Any, dtype: str, kind: str, *, zero: bool) -> float:
    if not is_number(value):
        msg = f"{name} must be {kind}, got {repr(value)}"
        raise TypeError(msg)
    if zero and value == 0:
        return 0.0
    least, greatest = {"float32": (2.0**-149, 3.4e38), "float64": (2.0**-1074, sys.float_info.max)}[dtype]
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number <= greatest:
        msg = f"{name} must be {kind}, finite in {dtype}, got {repr(value)}"
        raise ValueError(msg)
    return number


def listed(must: str, value: Any) -> list[Any]:
    """Return what has an order as a list; `must` says what it has to be."""
    with suppress(TypeError):
        if not isinstance(value, (str, bytes, Mapping, Set, Iterator)):  # an iterator may never end
            return list(value)
    msg = f"{must}, got {repr(value)}"
    raise TypeError(msg)


def named(
    name: str, value: Any, known: Mapping[str, T], own: Any, check: Callable[[str, Any], object] | None = None
) -> T:
    """Look a part up among those known by name; a custom one, of the type `own`, is checked and returned as it is."""
    if isinstance(value, own):
        if check is not None and name_of(value, known) is None:
            check(name, value)
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str):
        own_name = "function" if own is Callable else own.__name__
        msg = f"{name} must be one of {', '.join(map(repr, known))}, or a custom {own_name}, got {repr(value)}"
        raise TypeError(msg)
    if value not in known:
        meant = _meant(value, known)
        hint = f" (did you mean {' or '.join(map(repr, meant))}?)" if meant else ""
        msg = f"{name}: there is no {repr(value)}{hint}; known are {', '.join(map(repr, known))}"
        raise ValueError(msg)
    return known[value]


# What other libraries call what is known here, without spaces, hyphens and underscores.
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


def _meant(value: str, known: Mapping[str, Any]) -> list[str]:
    """Return the known names that somebody who wrote another one most likely meant."""
    plain = {_plain(name): name for name in known}
    synonyms = [name for name in _SYNONYMS.get(_plain(value), []) if name in known]
    return synonyms or [plain[name] for name in difflib.get_close_matches(_plain(value), plain, n=2, cutoff=0.75)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def same_shape(name: str, array: Array, shape: tuple[int, ...], *, leading: bool = False) -> None:
    """Make sure that something is an array and has a shape, or only begins with it."""
    came = getattr(array, "shape", None)
    if not isinstance(came, tuple):
        msg = f"{name} must be an array, got {repr(array)}"
        raise TypeError(msg)
    if came[: len(shape) if leading else None] != tuple(shape):
        msg = f"{name} must have the shape {f'{tuple(shape)} + …' if leading else tuple(shape)}, got {came}"
        raise ValueError(msg)


def same_kind(name: str, array: Array, like: Array) -> None:
    """Make sure that an array is one of the library of another one, and on its device."""
    if type(array) is type(like):
        device, expected = (backend_of(each).device for each in (array, like))
        if device != expected:
            msg = f"{name} must be on {expected}, got an array on {device}"
            raise ValueError(msg)
    # What NumPy makes of an array without axes is a number of a type of its own.
    elif not (array.shape == () and hasattr(array, "dtype") and backend_of(array) == backend_of(like)):
        came, expected = (type(each).__module__.partition(".")[0] for each in (array, like))
        msg = (
            f"{name} must be an array of {expected}, got a {type(array).__name__} of {came}: use functions of xp alone"
        )
        raise TypeError(msg)


def real_array(xp: Any, name: str, array: Array, x: Any) -> None:
    """Make sure that an array holds real numbers; `x` is what it was made of."""
    try:
        real = xp.isdtype(array.dtype, ("bool", "integral", "real floating"))
    except TypeError:  # records have a type that is none
        real = False
    if not real:
        came = "an array" if x is array else f"a {type(x).__name__} that makes an array"
        msg = f"{name} must hold real numbers, got {came} of {array.dtype}"
        raise TypeError(msg)


def finite_array(xp: Any, name: str, array: Array) -> None:
    """Make sure that an array holds neither NaN nor infinity, which only floating-point numbers can."""
    if xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
        msg = f"{name} must be finite, but holds NaN or infinity (as {array.dtype})"
        raise ValueError(msg)


def type_name(dtype: Any) -> str:
    """Return what the standard calls a type, given by name or as any library's own."""
    return dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype)).rpartition(".")[2]


def fraction(name: str, value: Any) -> float:
    """Return a number from 0 to below 1 as a `float`."""
    number = number_from_zero(name, value, "float64")
    if number >= 1.0:
        msg = f"{name} must be below 1, got {number}"
        raise ValueError(msg)
    return number


def name_of(part: Any, known: Mapping[str, Any]) -> str | None:
    """Return the name of a part among the known ones, or None for a custom one."""
    return next((name for name, value in known.items() if value is part), None)
