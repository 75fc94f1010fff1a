"""The registry of backends: finds the backend of a library, a device or an array."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from xpnet.backends.base import Array, Backend, DeviceUnavailable, first_line

GROUP = "xpnet.backends"
CUDA_FIX = 'pip install "xpnet[cuda12]" or pip install "xpnet[cuda13]", for the CUDA version that the driver supports'


class _BuiltIn(NamedTuple):
    """A built-in backend: its module, its class and the command that installs its library."""

    module: str
    backend: str
    fix: str


_BUILT_IN = {
    "numpy": _BuiltIn("xpnet.backends.numpy_backend", "NumpyBackend", 'pip install "xpnet"'),
    "cupy": _BuiltIn("xpnet.backends.cupy_backend", "CupyBackend", CUDA_FIX),
    "torch": _BuiltIn("xpnet.backends.torch_backend", "TorchBackend", 'pip install "xpnet[torch]"'),
    "jax": _BuiltIn("xpnet.backends.jax_backend", "JaxBackend", 'pip install "xpnet[jax]"'),
    "array_api_strict": _BuiltIn("xpnet.backends.strict_backend", "StrictBackend", "pip install array-api-strict"),
}

_loaded: dict[str, type[Backend]] = {}

# The default library of each kind of device.
_LIBRARY_FOR = {"cpu": "numpy", "cuda": "cupy"}


@cache
def backend_names() -> list[str]:
    """Return the names of all backends, usable or not: the built-in ones, then those of other packages.

    Returns
    -------
    names : list of str
        The import names of the array libraries.

    Examples
    --------
    >>> from xpnet.backends import backend_names
    >>> backend_names()[:5]
    ['numpy', 'cupy', 'torch', 'jax', 'array_api_strict']
    """
    return [*_BUILT_IN, *(point.name for point in entry_points(group=GROUP) if point.name not in _BUILT_IN)]


def entry_points(**selected: str) -> Any:
    """Return entry points of installed packages; the module that finds them is imported only here, as it takes long."""
    from importlib import metadata

    return metadata.entry_points(**selected)


def load_backend(name: str) -> type[Backend]:
    """Import the backend of a library.

    Parameters
    ----------
    name : str
        The import name of the array library, one of `backend_names`.

    Returns
    -------
    backend : type
        The subclass of `Backend`.

    Raises
    ------
    ValueError
        If no backend has that name.
    DeviceUnavailable
        If the library, or the package of the backend, cannot be imported.

    Examples
    --------
    >>> from xpnet.backends import load_backend
    >>> load_backend("numpy").devices()
    ['cpu']
    """
    if name in _loaded:  # importing a module again takes as long as a small matrix product
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
        except Exception as error:  # another package may raise anything
            msg = f"the backend {name} ({point.value}) cannot be imported ({type(error).__name__}: {first_line(error)})"
            raise DeviceUnavailable(msg) from error
    msg = f"name must be that of a backend, one of {', '.join(map(repr, backend_names()))}, got {name!r}"
    raise ValueError(msg)


def get_backend(device: str | Backend = "cpu", name: str | None = None) -> Backend:
    """Return the backend of a device.

    Parameters
    ----------
    device : str or Backend
        ``"cpu"``, ``"cuda"`` (the current GPU), ``"cuda:1"`` (the second GPU), ``"auto"`` (a GPU if one can be used,
        else the CPU), or with `name` any device name of that library. A `Backend` is returned unchanged.
    name : str, optional
        The array library, one of `xpnet.backends.backend_names`; by default NumPy for the CPU and CuPy for GPUs.

    Returns
    -------
    backend : Backend
        The backend, whose device has been tested.

    Raises
    ------
    TypeError
        If the device or the name is not a string.
    ValueError
        If the device or the name is unknown.
    DeviceUnavailable
        If the device cannot be used; the message says what is missing and the command that installs it.

    Examples
    --------
    >>> from xpnet import get_backend
    >>> backend = get_backend("cpu")
    >>> backend.name, backend.device
    ('numpy', 'cpu')

    Another library, for example as the `device` of a network:

    >>> get_backend("cpu", name="array_api_strict").name
    'array_api_strict'
    """
    if isinstance(device, Backend):
        return device
    if not isinstance(device, str):
        msg = f"device must be a string such as 'cpu' or 'cuda:0', or a Backend, got {device!r}"
        raise TypeError(msg)
    if name is not None:
        if not isinstance(name, str):
            msg = f"name must be a string, the name of an array library, got {name!r}"
            raise TypeError(msg)
        return load_backend(name).open(device)
    if device == "auto":
        try:
            return load_backend("cupy").open("cuda")
        except DeviceUnavailable:
            return load_backend("numpy").open("cpu")
    kind, colon, index = device.partition(":")
    if kind not in _LIBRARY_FOR or (colon and (kind == "cpu" or not index.isdecimal())):
        msg = f"device must be 'cpu', 'cuda', 'cuda:N' (N = 0, 1, …) or 'auto', got {device!r}"
        raise ValueError(msg)
    try:
        return load_backend(_LIBRARY_FOR[kind]).open(device)
    except DeviceUnavailable as error:
        msg = f"device {device!r} cannot be used: {error}"
        raise DeviceUnavailable(msg) from error.__cause__


@cache
def _library_of(kind: type) -> str | None:
    """Return the library of an array class, or of one of its base classes, if the library has a backend."""
    libraries = [cls.__module__.partition(".")[0] for cls in kind.__mro__]
    return next((library for library in libraries if library in backend_names()), None)


def backend_of(x: Array | Any) -> Backend:
    """Return the backend of an array, or the NumPy backend for lists, numbers, data frames and other data.

    Parameters
    ----------
    x : array_like
        An array of any library, or other data.

    Returns
    -------
    backend : Backend
        The backend of the library and device of the array.

    Raises
    ------
    TypeError
        If `x` is an array of a library that has no backend.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import backend_of
    >>> backend_of(np.zeros(3)).device
    'cpu'
    """
    kind: Any = type(x)
    library = _library_of(kind)
    if library is not None:
        return load_backend(library).of(x)
    if hasattr(x, "__dlpack__") and not hasattr(x, "null_count"):  # Arrow columns are converted like data frames
        msg = (
            f"an array must be of a library with a backend ({', '.join(backend_names())}), got one of "
            f"{type(x).__module__.partition('.')[0]}; use numpy.from_dlpack or cupy.from_dlpack, which do not copy"
        )
        raise TypeError(msg)
    return load_backend("numpy").of(x)
