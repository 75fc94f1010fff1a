"""Backends: the array libraries and devices, and the only code of xpnet that imports an array library."""

from xpnet.backends.base import Backend, CannotCompile, DeviceUnavailable, NoCompiler
from xpnet.backends.host import HoldsText
from xpnet.backends.registry import backend_names, backend_of, get_backend, load_backend
from xpnet.backends.streams import Stream, new_seed, random_stream

HOST = get_backend("cpu")
"""The NumPy backend on the host, which draws the random numbers and stores recorded metrics."""

__all__ = [
    "HOST",
    "Backend",
    "CannotCompile",
    "DeviceUnavailable",
    "HoldsText",
    "NoCompiler",
    "Stream",
    "backend_names",
    "backend_of",
    "get_backend",
    "load_backend",
    "new_seed",
    "random_stream",
]
