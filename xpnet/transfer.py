"""Data on its way: from where people have it to where a network computes, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from xpnet import validation
from xpnet._types import Array
from xpnet.backends import Backend, backend_of, get_backend


def home_of(**data: Any) -> Backend:
    """Return the one backend where all the arrays among these arguments live; numbers and lists go with the arrays.

    Raises
    ------
    ValueError
        If they live in two places.
    TypeError
        If one is an array of a library that has no backend.
    """
    homes = {}
    for name, x in data.items():
        try:
            backend = backend_of(x)
        except TypeError as error:
            msg = f"{name}: {error}"
            raise TypeError(msg) from None
        if getattr(x, "ndim", 0) > 0:
            homes[name] = backend
    for first, home in homes.items():
        for name, other in homes.items():
            if other != home:
                msg = (
                    f"{first} is an array of {home.name} on {home.device}, but {name} one of {other.name} on "
                    f"{other.device}: bring one to the other"
                )
                raise ValueError(msg)
    return next(iter(homes.values()), get_backend("cpu"))


class Transfer(NamedTuple):
    """Between the backend where the data is at home and the one that computes, in its precision."""

    home: Backend
    backend: Backend
    dtype: str

    def bring(self, name: str, x: Any) -> Array:
        """Return real data as an array where it is computed with; `name` is what the caller calls it."""
        source = backend_of(x)
        try:
            array = source.asarray(x)
        except (TypeError, ValueError) as error:
            msg = f"{name} cannot be made an array: {error}"
            raise type(error)(msg) from None
        validation.real_array(source.xp, name, array)
        return self.backend.asarray(array if source == self.backend else source.to_numpy(array), self.dtype)

    def send(self, array: Array) -> Array:
        """Return a result to where the data is at home."""
        return array if self.home == self.backend else self.home.asarray(self.backend.to_numpy(array))
