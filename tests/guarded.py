"""A stand-in for a second GPU: NumPy with CuPy's rules.

Arrays may be created and used only inside the context of their device, and never together with host arrays. On a
machine with two GPUs, CuPy would otherwise create them on the first GPU, or raise an error.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from xpnet.backends.host import host_array
from xpnet.backends.numpy_backend import NumpyBackend


def plain(x):
    """Return x with every guarded array as a plain NumPy array."""
    if isinstance(x, GuardedArray):
        return np.asarray(x)
    return type(x)(plain(each) for each in x) if isinstance(x, (list, tuple)) else x


def guarded(x):
    return tuple(guarded(each) for each in x) if isinstance(x, tuple) else np.asarray(x).view(GuardedArray)


def check(name, arguments):
    assert GuardedNumpy.open_contexts or name == "reshape", f"{name} outside the device context"  # a view needs none
    for x in arguments:
        if isinstance(x, (list, tuple)):
            check(name, x)
        assert isinstance(x, GuardedArray) or not isinstance(x, np.ndarray), f"{name} with a host array"


class GuardedArray(np.ndarray):
    def __array_ufunc__(self, function, method, *arguments, out=None, **options):
        check(function.__name__, arguments)
        if out is not None:
            options["out"] = plain(out)
        result = getattr(function, method)(*plain(arguments), **options)
        return out[0] if out is not None else guarded(result)

    def __array_function__(self, function, types, arguments, options):
        check(function.__name__, arguments)
        return guarded(function(*plain(arguments), **options))

    def __getitem__(self, index):
        return guarded(plain(self)[index])


class GuardedNumpy:
    """NumPy's namespace, whose functions return guarded arrays."""

    open_contexts = 0

    def __getattr__(self, name):
        value = getattr(np, name)
        if not callable(value) or isinstance(value, type) or name in ("isdtype", "finfo"):
            return value

        def function(*arguments, **options):
            check(name, arguments)
            return guarded(value(*plain(arguments), **options))

        return function


class GuardedBackend(NumpyBackend):
    name = "guarded"
    xp = GuardedNumpy()

    @classmethod
    def of(cls, array):
        return cls("gpu")

    @contextmanager
    def on_device(self):
        GuardedNumpy.open_contexts += 1
        try:
            with super().on_device():
                yield
        finally:
            GuardedNumpy.open_contexts -= 1

    def asarray(self, x, dtype=None):
        return np.array(host_array(plain(x), dtype)).view(GuardedArray)

    def to_numpy(self, array):
        return np.array(plain(array))
