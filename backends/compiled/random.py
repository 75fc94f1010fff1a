"""Compiled permutations of samples and dropout masks, bit-identical to those of `xpnet.backends.streams`."""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit

from xpnet.backends import streams

_jit = njit(nogil=True, cache=True)
_threefry = njit(inline="always")(streams.threefry)


@_jit
def _words(key0: Any, key1: Any, row: Any, words: Any) -> None:
    """Compute the random words of a row in pairs, of shape (2, pairs), in a loop that the compiler can vectorize."""
    for pair in range(words.shape[1]):
        words[0, pair], words[1, pair] = _threefry(key0, key1, row, numpy.uint64(pair))


@_jit
def _permutations(keys: Any, orders: Any) -> None:
    networks, N = orders.shape
    words = numpy.empty((2, (N + 1) // 2), numpy.uint64)
    for e in range(networks):
        _words(numpy.uint64(keys[e, 0]), numpy.uint64(keys[e, 1]), numpy.uint64(0), words)
        for i in range(N):
            j = (words[i % 2, i // 2] * numpy.uint64(i + 1)) >> numpy.uint64(32)
            orders[e, i] = orders[e, j]
            orders[e, j] = i


@_jit
def _keep_masks(keys: Any, first: int, limits: Any, kept: Any) -> None:
    networks, rows, units = kept.shape
    words = numpy.empty((2, (units + 1) // 2), numpy.uint64)
    for e in range(networks):
        for row in range(rows):
            _words(numpy.uint64(keys[e, 0]), numpy.uint64(keys[e, 1]), numpy.uint64(first + row), words)
            for unit in range(units):
                kept[e, row, unit] = words[unit % 2, unit // 2] >= limits[unit]


def permutations(keys: Any, N: int) -> Any:
    """Return a random permutation of N samples for each key, of shape (E, N); see `streams.permutations`."""
    orders = numpy.zeros((len(keys), N), "int64")
    _permutations(keys, orders)
    return orders


def keep_masks(keys: Any, first: int, last: int, rates: Any) -> Any:
    """Return the dropout masks, of shape (E, last - first, units), True for kept units; see `streams.keep_masks`."""
    limits = streams.limits(rates)
    kept = numpy.empty((len(keys), last - first, len(limits)), "bool")
    _keep_masks(keys, first, limits, kept)
    return kept
