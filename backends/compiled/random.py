"""Compiled permutations of samples and dropout masks, bit-identical to those of `xpnet.backends.streams`.

Kernels call them for one network, or for the networks in lanes, which are the last axis of all arrays.
"""

from __future__ import annotations

from typing import Any

import numpy
from numba import njit

from xpnet.backends import streams

_jit = njit(nogil=True, cache=True)
_threefry = njit(inline="always")(streams.threefry)


@_jit
def random_words(key: Any, row: Any, first: Any, words: Any) -> None:
    """Compute random words of a row in pairs, of shape (2, pairs), in a loop that the compiler can vectorize."""
    for pair in range(words.shape[1]):
        words[0, pair], words[1, pair] = _threefry(key[0], key[1], row, first + numpy.uint64(pair))


@_jit
def random_words_in_lanes(keys: Any, row: Any, first: Any, words: Any) -> None:
    """Compute random words of a row for the networks in lanes, of shape (2, pairs, networks)."""
    for pair in range(words.shape[1]):
        for e in range(words.shape[2]):
            words[0, pair, e], words[1, pair, e] = _threefry(keys[0, e], keys[1, e], row, first + numpy.uint64(pair))


@_jit
def permutation(key: Any, order: Any) -> None:
    """Compute a random permutation, of shape (N,); see `streams.permutations`."""
    words = numpy.empty((2, (order.shape[0] + 1) // 2), numpy.uint64)
    random_words(key, numpy.uint64(0), numpy.uint64(0), words)
    for i in range(order.shape[0]):
        j = (words[i % 2, i // 2] * numpy.uint64(i + 1)) >> numpy.uint64(32)
        order[i] = order[j]
        order[j] = i


@_jit
def permutation_in_lanes(keys: Any, order: Any) -> None:
    """Compute a random permutation for the networks in lanes, of shape (N, networks)."""
    N, lanes = order.shape
    words = numpy.empty((2, lanes), numpy.uint64)
    for first in range(0, N, 2):
        for e in range(lanes):
            words[0, e], words[1, e] = _threefry(keys[0, e], keys[1, e], numpy.uint64(0), numpy.uint64(first // 2))
        for i in range(first, min(first + 2, N)):
            for e in range(lanes):
                j = (words[i - first, e] * numpy.uint64(i + 1)) >> numpy.uint64(32)
                order[i, e] = order[j, e]
                order[j, e] = i


def permutations(keys: Any, N: int) -> Any:
    """Return a random permutation of N samples for each key, of shape (E, N); see `streams.permutations`."""
    orders = numpy.zeros((len(keys), N), "int64")
    for key, order in zip(keys.astype("uint64"), orders, strict=True):
        permutation(key, order)
    return orders
