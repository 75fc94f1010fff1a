"""Data on its way: from where people have it to where a network computes, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xpnet import validation
from xpnet._types import Array
from xpnet.backends import HOST, Backend, backend_of
from xpnet.backends.base import State


def place_of(**data: Any) -> Backend | None:
    """Return the one backend where the arrays among these arguments live, or None where none of them is an array.

    Raises
    ------
    ValueError
        If they live in two places.
    TypeError
        If one is an array of a library that has no backend.
    """
    places = {}
    for name, x in data.items():
        try:
            backend = backend_of(x)
        except TypeError as error:
            msg = f"{name}: {error}"
            raise TypeError(msg) from None
        if getattr(x, "ndim", 0) > 0:
            places[name] = backend
    for name, place in places.items():
        first = next(iter(places))
        if place != places[first]:
            msg = (
                f"{first} is an array of {places[first].name} on {places[first].device}, but {name} one of "
                f"{place.name} on {place.device}: bring one to the other"
            )
            raise ValueError(msg)
    return next(iter(places.values()), None)


def bring(name: str, x: Any, backend: Backend, dtype: str | None = None) -> Array:
    """Return real data, which the caller calls `name`, as an array of a backend, and of a precision if one is given."""
    source = backend_of(x)
    try:
        array = source.asarray(x)
    except TypeError as error:
        msg = f"{name} cannot be made an array: {error}"
        raise TypeError(msg) from None
    except ValueError as error:
        msg = f"{name} cannot be made an array: {error}"
        raise ValueError(msg) from None
    validation.real_array(source.xp, name, array, x)
    return backend.asarray(array if source.name == backend.name else source.to_numpy(array), dtype)


def copied(name: str, x: Any, backend: Backend, dtype: str) -> Array:
    """Return what `bring` does, as an array of its own that shares nothing with the data."""
    with backend.on_device():
        return backend.xp.asarray(bring(name, x, backend, dtype), copy=True)


class Transfer(NamedTuple):
    """Between the backend where the data lives and the one that computes, in its precision."""

    caller: Backend
    backend: Backend
    dtype: str

    def to_network(self, name: str, x: Any) -> Array:
        """Return data of the caller's, who calls it `name`, as an array of the network's."""
        return bring(name, x, self.backend, self.dtype)

    def to_caller(self, array: Array) -> Array:
        """Return a result in the library and on the device of the caller's data."""
        return array if self.caller == self.backend else bring("the result", array, self.caller)

    def answers_and_targets(self, AL: Any, name: str, Y: Any) -> tuple[Array, Array]:
        """Bring both, in the shape of the answers; a single number answers, or is the target of every answer."""
        xp = self.backend.xp
        AL, Y = self.to_network("AL", AL), self.to_network(name, Y)
        if AL.ndim == 0:
            AL = xp.reshape(AL, (1, 1))
        if AL.ndim < 2 or 0 in AL.shape:
            msg = f"AL must have the shape (n, m), one sample a column, got {tuple(AL.shape)}"
            raise ValueError(msg)
        if Y.size == 1:
            return AL, xp.broadcast_to(xp.reshape(Y, ()), AL.shape)
        for shape in (AL.shape, AL.shape[-2:]):
            if [n for n in Y.shape if n > 1] == [n for n in shape if n > 1]:
                return AL, xp.broadcast_to(xp.reshape(Y, shape), AL.shape)
        msg = f"{name} has the shape {tuple(Y.shape)}, which does not fit AL of shape {tuple(AL.shape)}"
        raise ValueError(msg)


def bring_state(values: State, backend: Backend) -> State:
    """Return parameters and an optimizer's memory as arrays of a backend."""
    return bring("theta", values[0], backend), tuple(bring("memory", array, backend) for array in values[1])


def bring_state_like(state: State, values: State, backend: Backend) -> State:
    """Return other parameters and another memory as arrays of their own, of the shapes and types of a state.

    Raises
    ------
    ValueError
        If their shapes are others, or the parameters are not finite.
    """
    validation.same_shape("theta", values[0], state[0].shape)
    if not isinstance(values[1], (tuple, list)) or not all(hasattr(array, "shape") for array in values[1]):
        msg = f"memory must be a list of arrays, got {values[1]!r}"
        raise TypeError(msg)
    expected, came = ([tuple(array.shape) for array in memory] for _, memory in (state, values))
    if came != expected:
        msg = f"the memory is of another optimizer: its arrays have the shapes {came}, expected {expected}"
        raise ValueError(msg)
    ours, theirs = ([theta, *memory] for theta, memory in (state, values))
    theta, *memory = (
        copied("theta and memory", array, backend, validation.type_name(like.dtype))
        for array, like in zip(theirs, ours, strict=True)
    )
    with backend.on_device():
        validation.finite_array(backend.xp, "theta", theta)
    return theta, tuple(memory)


def member_values(
    name: str, value: Any, ensemble: int | None, check: Callable[[str, Any, str], float], dtype: str
) -> float | tuple[float, ...]:
    """Return a setting as a number, or for an ensemble as one for each network where an array or list is given."""
    if (
        ensemble is None
        or (not isinstance(value, Sequence) and getattr(value, "ndim", 0) == 0)
        or isinstance(value, str)
    ):
        return check(name, value, dtype)
    place = place_of(**{name: value}) or HOST
    host = place.to_numpy(bring(name, value, place))
    validation.same_shape(f"{name}, with one value for each network,", host, (ensemble,))
    return tuple(check(f"{name}[{i}]", each, dtype) for i, each in enumerate(host.tolist()))
