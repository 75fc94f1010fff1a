"""Arrays with the restrictions of a tracer such as `jax.jit`, which compute with NumPy.

An array does not reveal its values, cannot be changed in place, and belongs to one trace: an array kept from an earlier
trace may not be used in a later one.
"""

from __future__ import annotations

import operator

import numpy as np


class Traced:
    """An array of one trace, or a constant, which belongs to none."""

    __array_ufunc__ = None  # NumPy arrays then leave operators to this class, which rejects them

    def __init__(self, value, trace):
        self._value, self._trace = np.asarray(value), trace

    shape = property(lambda self: self._value.shape)
    ndim = property(lambda self: self._value.ndim)
    size = property(lambda self: self._value.size)
    dtype = property(lambda self: self._value.dtype)
    mT = property(lambda self: Traced(self._value.mT, self._trace))

    def __getitem__(self, index):
        for each in index if isinstance(index, tuple) else (index,):
            assert each is None or each is ... or isinstance(each, (int, slice)), (
                f"an index that is not a constant: {each}"
            )
        return Traced(self._value[index], self._trace)


def _forbidden(what):
    def method(self, *_):
        msg = f"a traced array has no {what}"
        raise AssertionError(msg)

    return method


for _name in ("bool", "float", "int", "index", "complex", "len", "iter", "array", "setitem"):
    setattr(Traced, f"__{_name}__", _forbidden(_name))


def _operator(name, reflected):
    def method(self, other):
        a, b = (other, self) if reflected else (self, other)
        return Tracer.run(getattr(operator, name), a, b)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow", "matmul", "lt", "le", "gt", "ge", "eq", "ne", "and_", "or_"):
    _dunder = _name.strip("_")
    setattr(Traced, f"__{_dunder}__", _operator(_name, reflected=False))
    setattr(Traced, f"__r{_dunder}__", _operator(_name, reflected=True))
for _name in ("neg", "abs", "invert"):
    setattr(Traced, f"__{_name}__", lambda self, _name=_name: Tracer.run(getattr(operator, _name), self))
Traced.__hash__ = None


class Tracer:
    """A namespace `xp` for consecutive traces."""

    current = 0

    def __getattr__(self, name):
        value = getattr(np, name)
        if not callable(value) or isinstance(value, type) or name == "finfo":
            return value
        return lambda *arguments, **options: self.run(value, *arguments, **options)

    @classmethod
    def run(cls, function, *arguments, **options):
        """Call a function; its result is a constant if all arguments are."""
        trace = cls.current if any(map(cls._is_traced, arguments)) else None
        with np.errstate(all="ignore"):
            return Traced(function(*map(cls._plain, arguments), **options), trace)

    @classmethod
    def _is_traced(cls, x):
        if isinstance(x, (list, tuple)):
            return any(map(cls._is_traced, x))
        return isinstance(x, Traced) and x._trace is not None

    @classmethod
    def _plain(cls, x):
        if isinstance(x, (list, tuple)):
            return type(x)(map(cls._plain, x))
        if isinstance(x, Traced):
            assert x._trace in (None, cls.current), "an array of an earlier trace is used again"
            return x._value
        assert not isinstance(x, np.ndarray), "a host array is used"
        return x

    @classmethod
    def trace(cls, function, *arguments):
        """Call a function with arrays of a new trace."""
        cls.current += 1
        return cls._unwrapped(function(*cls._wrapped(arguments)))

    @classmethod
    def constant(cls, value):
        return Traced(value, None)

    @classmethod
    def _wrapped(cls, x):
        if isinstance(x, np.ndarray):
            return Traced(x, cls.current)
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return type(x)(*map(cls._wrapped, x))
        if isinstance(x, dict):
            return {name: cls._wrapped(value) for name, value in x.items()}
        return type(x)(map(cls._wrapped, x)) if isinstance(x, (list, tuple)) else x

    @classmethod
    def _unwrapped(cls, x):
        if isinstance(x, Traced):
            assert x._trace in (None, cls.current), "an array of an earlier trace is returned"
            return x._value
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return type(x)(*map(cls._unwrapped, x))
        return type(x)(map(cls._unwrapped, x)) if isinstance(x, (list, tuple)) else x
