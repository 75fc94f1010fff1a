"""Which backends there are, and which one a device or an array asks for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from xpnet.backends.base import Array, Backend, DeviceUnavailable, first_line

GROUP = "xpnet.backends"
CUDA_FIX = 'pip install "xpnet[cuda12]" (or "xpnet[cuda13]", whichever CUDA the driver supports)'


class _BuiltIn(NamedTuple):
    module: str
    backend: str
    fix: str


_BUILT_IN = {
    "numpy": _BuiltIn("xpnet.backends.numpy_backend", "NumpyBackend", "pip install numpy"),
    "cupy": _BuiltIn("xpnet.backends.cupy_backend", "CupyBackend", CUDA_FIX),
    "array_api_strict": _BuiltIn("xpnet.backends.strict_backend", "StrictBackend", "pip install array-api-strict"),
}

_loaded: dict[str, type[Backend]] = {}

# The library that serves a device when none is named.
_LIBRARY_FOR = {"cpu": "numpy", "cuda": "cupy"}


@cache
def backend_names() -> list[str]:
    """Return the names of all known backends, usable here or not: the built-in ones, then those of other packages."""
    return [*_BUILT_IN, *(point.name for point in entry_points(group=GROUP) if point.name not in _BUILT_IN)]


def load_backend(name: str) -> type[Backend]:
    """Import the backend of a library.

    Parameters
    ----------
    name : str
        The import name of the array library, one of `backend_names`.

    Raises
    ------
    ValueError
        If no backend has that name.
    DeviceUnavailable
        If the library, or the package that brings the backend, cannot be imported.
    """
    if name in _loaded:  # importing what is imported takes as long as a small matrix product
        return _loaded[name]
    if name in _BUILT_IN:
        module, attribute, fix = _BUILT_IN[name]
        try:
            return _loaded.setdefault(name, getattr(import_module(module), attribute))
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == name
            reason = "is not installed" if missing else f"is installed but cannot be imported ({first_line(error)})"
            msg = f"{name} {reason}: {fix}"
            raise DeviceUnavailable(msg) from error
    for point in entry_points(group=GROUP, name=name):
        try:
            return point.load()  # type: ignore[no-any-return]
        except Exception as error:  # whatever another package may raise
            msg = f"the backend {name} ({point.value}) cannot be imported ({type(error).__name__}: {first_line(error)})"
            raise DeviceUnavailable(msg) from error
    msg = f"unknown backend {name!r}; known are {', '.join(backend_names())}"
    raise ValueError(msg)


def get_backend(device: str | Backend = "cpu", name: str | None = None) -> Backend:
    """Return the backend of a device.

    Parameters
    ----------
    device : str or Backend
        ``"cpu"``, ``"cuda"`` (the current GPU), ``"cuda:1"`` (the second one), ``"auto"`` (a GPU where one can be
        used, else the CPU), or with `name` whatever that library calls its devices. A backend is returned as it is.
    name : str, optional
        The array library, where not the usual one for the device: one of `backend_names`.

    Raises
    ------
    ValueError
        If the device or the name is unknown.
    DeviceUnavailable
        If the device cannot be used here; the message says what is missing and the command that mends it.
    """
    if isinstance(device, Backend):
        return device
    if not isinstance(device, str):
        msg = f"device must be a string such as 'cpu' or 'cuda:0', or a Backend, got {device!r}"
        raise TypeError(msg)
    if name is not None:
        if not isinstance(name, str):
            msg = f"name must be that of an array library, got {name!r}"
            raise TypeError(msg)
        return load_backend(name).open(device)
    if device == "auto":
        try:
            return load_backend("cupy").open("cuda")
        except DeviceUnavailable:
            return load_backend("numpy").open("cpu")
    kind, colon, index = device.partition(":")
    if kind not in _LIBRARY_FOR or (colon and (kind == "cpu" or not index.isdecimal())):
        msg = f"unknown device {device!r}; known are 'cpu', 'cuda', 'cuda:N' (N = 0, 1, …) and 'auto'"
        raise ValueError(msg)
    try:
        return load_backend(_LIBRARY_FOR[kind]).open(device)
    except DeviceUnavailable as error:
        msg = f"device {device!r} cannot be used: {error}"
        raise DeviceUnavailable(msg) from error.__cause__


@cache
def _library_of(kind: type) -> str | None:
    """Return which of the libraries that have a backend a class comes from, or one that it is derived from."""
    libraries = [cls.__module__.partition(".")[0] for cls in kind.__mro__]
    return next((library for library in libraries if library in backend_names()), None)


def backend_of(x: Array | Any) -> Backend:
    """Return the backend where an array lives; lists, numbers, data frames and the like live on the host, in NumPy.

    Raises
    ------
    TypeError
        If `x` is an array of a library that has no backend.
    """
    kind: Any = type(x)
    library = _library_of(kind)
    if library is not None:
        return load_backend(library).of(x)
    if hasattr(x, "__dlpack__") and not hasattr(x, "null_count"):  # columns of Arrow are taken as data frames are
        msg = (
            f"an array of {type(x).__module__.partition('.')[0]} has no backend here (known are "
            f"{', '.join(backend_names())}); numpy.from_dlpack or cupy.from_dlpack hands it over without a copy"
        )
        raise TypeError(msg)
    return load_backend("numpy").of(x)
