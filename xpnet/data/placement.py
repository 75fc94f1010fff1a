"""Transfers of data to the library and device where a network computes, and of results back."""

from __future__ import annotations

from typing import Any, NamedTuple

from xpnet._checks import real_array
from xpnet._types import Array
from xpnet.backends import Backend, backend_of


def common_backend(**data: Any) -> Backend | None:
    """Return the common backend of the arrays among these arguments, or None if there are no arrays.

    Raises
    ------
    ValueError
        If the arrays are of different libraries or on different devices.
    TypeError
        If an array is of a library that has no backend.
    """
    first_name, first = "", None
    for name, x in data.items():
        try:
            backend = backend_of(x)
        except TypeError as error:
            msg = f"{name}: {error}"
            raise TypeError(msg) from None
        axes = getattr(x, "ndim", 0)
        if not isinstance(axes, int) or axes == 0:
            continue
        if first is None:
            first_name, first = name, backend
        elif backend != first:
            msg = (
                f"{first_name} and {name} must be arrays of one library on one device, got {first.name} on "
                f"{first.device} and {backend.name} on {backend.device}; convert one of them"
            )
            raise ValueError(msg)
    return first


def bring(name: str, x: Any, backend: Backend, dtype: str | None = None) -> Array:
    """Return real data as an array of a backend, of type `dtype` if given; errors call the data `name`."""
    source = backend_of(x)
    try:
        array = source.asarray(x)
    except Exception as error:  # NumPy and the __array__ method of the data may raise anything
        msg = f"{name} cannot be converted to an array: {error}"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(msg) from error
    real_array(source.xp, name, array, x)
    try:
        return backend.asarray(array if source.name == backend.name else source.to_numpy(array), dtype)
    except (TypeError, ValueError) as error:
        of = f" of {dtype}" if dtype else ""
        msg = f"{name} cannot be converted to an array{of} of {backend.name} on {backend.device}: {error}"
        raise ValueError(msg) from error


def copied(name: str, x: Any, backend: Backend, dtype: str) -> Array:
    """Return a copy of data as an array of a backend, see `bring`."""
    with backend.on_device():
        return backend.xp.asarray(bring(name, x, backend, dtype), copy=True)


class Transfer(NamedTuple):
    """A transfer between the caller's backend and the network's backend, which computes in the precision `dtype`."""

    caller: Backend
    backend: Backend
    dtype: str

    def to_network(self, name: str, x: Any) -> Array:
        """Return the caller's data as an array of the network's backend; errors call it `name`."""
        return bring(name, x, self.backend, self.dtype)

    def to_caller(self, array: Array) -> Array:
        """Return a result as an array of the caller's backend."""
        return array if self.caller == self.backend else bring("the result", array, self.caller)
