"""Orders of samples and dropout masks as compiled loops, the same to the bit as in `xpnet.backends.streams`."""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit

from xpnet.backends import streams

_jit = njit(nogil=True, cache=True)
_threefry = njit(inline="always")(streams.threefry)


@_jit
def _permutations(keys: Any, orders: Any) -> None:
    networks, N = orders.shape
    for e in range(networks):
        key0, key1 = numpy.uint64(keys[e, 0]), numpy.uint64(keys[e, 1])
        word0, word1 = numpy.uint64(0), numpy.uint64(0)
        for i in range(N):
            if i % 2 == 0:
                word0, word1 = _threefry(key0, key1, numpy.uint64(0), numpy.uint64(i // 2))
            word = word0 if i % 2 == 0 else word1
            j = (word * numpy.uint64(i + 1)) >> numpy.uint64(32)
            orders[e, i] = orders[e, j]
            orders[e, j] = i


@_jit
def _keep_masks(keys: Any, first: int, limits: Any, kept: Any) -> None:
    networks, rows, units = kept.shape
    for e in range(networks):
        key0, key1 = numpy.uint64(keys[e, 0]), numpy.uint64(keys[e, 1])
        for row in range(rows):
            for pair in range((units + 1) // 2):
                word0, word1 = _threefry(key0, key1, numpy.uint64(first + row), numpy.uint64(pair))
                kept[e, row, 2 * pair] = word0 >= limits[2 * pair]
                if 2 * pair + 1 < units:
                    kept[e, row, 2 * pair + 1] = word1 >= limits[2 * pair + 1]


def permutations(keys: Any, N: int) -> Any:
    """Return a random order of N samples for each key, an array of shape (E, N); see `streams.permutations`."""
    orders = numpy.zeros((len(keys), N), "int64")
    _permutations(keys, orders)
    return orders


def keep_masks(keys: Any, first: int, last: int, rates: Any) -> Any:
    """Return which units dropout keeps, an array of shape (E, last - first, units); see `streams.keep_masks`."""
    limits = streams.limits(rates)
    kept = numpy.empty((len(keys), last - first, len(limits)), "bool")
    _keep_masks(keys, first, limits, kept)
    return kept
