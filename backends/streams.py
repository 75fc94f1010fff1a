"""Random numbers, generated on the host: the same seed gives the same numbers on every backend.

NumPy's generators (`random_stream`) provide numbers that are needed once, such as initial weights. Those of each epoch,
permutations of the samples and dropout masks, are computed from the seed, their purpose and the epoch, with
Threefry-2x32 of 13 rounds, the fewest that pass TestU01 [1]_. Any of them can be computed without the preceding ones,
and compiled code computes the same numbers (`xpnet.backends.compiled.random`).

References
----------
.. [1] J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011, https://doi.org/10.1145/2063384.2063405
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy


class Stream(IntEnum):
    """The purposes of random numbers; each has a separate stream, so that they do not influence each other.

    Attributes
    ----------
    WEIGHTS, SHUFFLING, DROPOUT, VALIDATION : int
        Weight initialization, the order of samples, dropout masks, and the split into training and validation samples.

    Examples
    --------
    >>> from xpnet.backends import Stream, random_stream
    >>> random_stream(0, Stream.SHUFFLING, 7).permutation(5).shape  # of epoch 7
    (5,)
    """

    WEIGHTS = 0
    SHUFFLING = 1
    DROPOUT = 2
    VALIDATION = 3


def new_seed() -> int:
    """Return a random seed from the entropy of the operating system.

    Returns
    -------
    seed : int
        From 0 to 2³² − 1.

    Examples
    --------
    >>> from xpnet.backends import new_seed
    >>> 0 <= new_seed() < 2**32
    True
    """
    return int(numpy.random.SeedSequence().generate_state(1)[0])  # 32 bits: short enough to write down


def random_stream(seed: int, *key: int) -> numpy.random.Generator:
    """Return the random generator of a purpose, or of a part of it such as an epoch.

    Parameters
    ----------
    seed : int
        The seed, not negative.
    *key : int
        A `Stream`, then further numbers, for example that of the epoch. Streams of different keys are independent; they
        are those that NumPy spawns from the seed [1]_.

    Returns
    -------
    generator : numpy.random.Generator
        A new generator, always in the same state for the same seed and key.

    References
    ----------
    .. [1] https://numpy.org/doc/stable/reference/random/parallel.html

    Examples
    --------
    >>> from xpnet.backends import Stream, random_stream
    >>> a, b = (random_stream(94, Stream.WEIGHTS).random() for _ in range(2))
    >>> a == b
    True
    """
    return numpy.random.default_rng(numpy.random.SeedSequence(seed, spawn_key=key))


# All numbers are unsigned and all sums are masked, because Numba computes with 64 bits.
_R = tuple(map(numpy.uint32, (13, 15, 26, 6, 17, 29, 16, 24)))
_N = tuple(map(numpy.uint32, range(4)))
_WIDTH, _PARITY, _MASK = numpy.uint32(32), numpy.uint32(0x1BD11BDA), numpy.uint32(0xFFFFFFFF)


def threefry(key0: Any, key1: Any, counter0: Any, counter1: Any) -> tuple[Any, Any]:
    """Return two random 32-bit words for a key and a counter of two words each (Threefry-2x32, 13 rounds).

    Parameters
    ----------
    key0, key1, counter0, counter1 : arrays of uint32
        The key and the counter, of shapes that can be broadcast.

    Returns
    -------
    word0, word1 : arrays of uint32
        The words, of the broadcast shape.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.backends.streams import threefry
    >>> word0, word1 = threefry(*np.zeros((4, 1), "uint32"))
    >>> f"{word0[0]:x} {word1[0]:x}"
    '9d1c5ec6 8bd50731'
    """
    # The rounds are written out: with a loop over them, compiled code is not vectorized and takes seven times as long.
    key2 = (key0 ^ key1) ^ _PARITY
    x0, x1 = (counter0 + key0) & _MASK, (counter1 + key1) & _MASK
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[0]) | (x1 >> (_WIDTH - _R[0]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[1]) | (x1 >> (_WIDTH - _R[1]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[2]) | (x1 >> (_WIDTH - _R[2]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[3]) | (x1 >> (_WIDTH - _R[3]))) & _MASK ^ x0
    x0 = (x0 + key1) & _MASK
    x1 = (x1 + key2 + _N[1]) & _MASK
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[4]) | (x1 >> (_WIDTH - _R[4]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[5]) | (x1 >> (_WIDTH - _R[5]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[6]) | (x1 >> (_WIDTH - _R[6]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[7]) | (x1 >> (_WIDTH - _R[7]))) & _MASK ^ x0
    x0 = (x0 + key2) & _MASK
    x1 = (x1 + key0 + _N[2]) & _MASK
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[0]) | (x1 >> (_WIDTH - _R[0]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[1]) | (x1 >> (_WIDTH - _R[1]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[2]) | (x1 >> (_WIDTH - _R[2]))) & _MASK ^ x0
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[3]) | (x1 >> (_WIDTH - _R[3]))) & _MASK ^ x0
    x0 = (x0 + key0) & _MASK
    x1 = (x1 + key1 + _N[3]) & _MASK
    x0 = (x0 + x1) & _MASK
    x1 = ((x1 << _R[4]) | (x1 >> (_WIDTH - _R[4]))) & _MASK ^ x0
    return x0, x1


@lru_cache(maxsize=2**16)
def _key(seed: int, stream: int) -> tuple[int, int]:
    first, second = numpy.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(2).tolist()
    return first, second


def seed_keys(seeds: Any, stream: int) -> Any:
    """Return the keys of a purpose's random words.

    Parameters
    ----------
    seeds : sequence of int
        The seeds of E networks.
    stream : Stream
        The purpose of the words.

    Returns
    -------
    keys : array of uint32 of shape (E, 2)
        A key for each network, that of epoch 0.

    Examples
    --------
    >>> from xpnet.backends import Stream
    >>> from xpnet.backends.streams import seed_keys
    >>> seed_keys([94, 95], Stream.SHUFFLING).shape
    (2, 2)
    """
    return numpy.asarray([_key(seed, stream) for seed in seeds], "uint32")


def epoch_keys(keys: Any, epoch: int) -> Any:
    """Return the keys of an epoch's random words.

    Parameters
    ----------
    keys : array of uint32 of shape (E, 2)
        The keys of epoch 0, from `seed_keys`.
    epoch : int
        The epoch, from 0 since the weights were initialized.

    Returns
    -------
    keys : array of uint32 of shape (E, 2)
        The keys, whose second word is larger by the number of the epoch, modulo 2³².

    Examples
    --------
    >>> from xpnet.backends import Stream
    >>> from xpnet.backends.streams import epoch_keys, seed_keys
    >>> keys = seed_keys([94], Stream.SHUFFLING)
    >>> (epoch_keys(keys, 5) - keys).tolist()
    [[0, 5]]
    """
    return keys + numpy.asarray([0, epoch % 2**32], "uint32")


def random_words(keys: Any, first: int, last: int, count: int, layer: int = 0) -> Any:
    """Return `count` random words for each row of a range.

    Parameters
    ----------
    keys : array of uint32 of shape (E, 2)
        A key for each network.
    first, last : int
        The range of rows. The words of a row do not depend on the range.
    count : int
        The number of words of a row, at most 2²⁵. The first words do not depend on it.
    layer : int
        Each layer has other words.

    Returns
    -------
    words : array of uint32 of shape (E, last - first, count)
        The words.

    Examples
    --------
    >>> from xpnet.backends import Stream
    >>> from xpnet.backends.streams import random_words, seed_keys
    >>> keys = seed_keys([94], Stream.DROPOUT)
    >>> bool((random_words(keys, 3, 5, 7) == random_words(keys, 0, 9, 10)[:, 3:5, :7]).all())
    True
    """
    rows = numpy.arange(first, last, dtype="uint32")[:, None]
    pairs = numpy.arange(-(-count // 2), dtype="uint32") + numpy.uint32(first_pair(layer))
    words = numpy.stack(threefry(keys[:, 0, None, None], keys[:, 1, None, None], rows, pairs), axis=-1)
    return words.reshape(len(keys), last - first, -1)[..., :count]


def first_pair(layer: int) -> int:
    """Return the number of the first pair of a layer's words in a row, so that layers have different words."""
    return layer * 2**24 % 2**32


def permutations(keys: Any, N: int) -> Any:
    """Return a random permutation of N samples for each key, by the inside-out Fisher-Yates shuffle.

    Parameters
    ----------
    keys : array of uint32 of shape (E, 2)
        A key for each network.
    N : int
        The number of samples, below 2³².

    Returns
    -------
    orders : array of int64 of shape (E, N)
        Permutations of 0 to N − 1. Each draw of the shuffle is uniform up to a relative error of N / 2³².

    Examples
    --------
    >>> from xpnet.backends import Stream
    >>> from xpnet.backends.streams import permutations, seed_keys
    >>> sorted(permutations(seed_keys([94], Stream.SHUFFLING), 5)[0].tolist())
    [0, 1, 2, 3, 4]
    """
    words = random_words(keys, 0, 1, N)[:, 0].astype("uint64")
    places = ((words * numpy.arange(1, N + 1, dtype="uint64")) >> numpy.uint64(32)).astype("int64")
    if len(keys) == 1:
        order = list(range(N))
        for i, j in enumerate(places[0].tolist()):
            order[i] = order[j]
            order[j] = i
        return numpy.asarray([order])
    orders, networks = numpy.zeros((N, len(keys)), "int64"), numpy.arange(len(keys))
    for i, j in enumerate(places.T):
        orders[i] = orders[j, networks]
        orders[j, networks] = i
    return numpy.ascontiguousarray(orders.T)


def keep_mask(keys: Any, first: int, last: int, layer: int, units: int, rate: float) -> Any:
    """Return the dropout mask of a layer for a range of samples of an epoch.

    Parameters
    ----------
    keys : array of uint32 of shape (E, 2)
        A key for each network.
    first, last : int
        The range of positions in the epoch.
    layer : int
        The number of the hidden layer, from 0.
    units : int
        The number of its units. The mask of a unit does not depend on it.
    rate : float
        Its dropout rate.

    Returns
    -------
    kept : array of bool of shape (E, last - first, units)
        True for units that are kept.

    Examples
    --------
    >>> from xpnet.backends import Stream
    >>> from xpnet.backends.streams import keep_mask, seed_keys
    >>> keys = seed_keys([94], Stream.DROPOUT)
    >>> bool(abs(keep_mask(keys, 0, 1000, 0, 8, 0.25).mean() - 0.75) < 0.05)
    True
    """
    return random_words(keys, first, last, units, layer) >= numpy.uint64(smallest_kept(rate))


def smallest_kept(rate: float) -> int:
    """Return the smallest random word that keeps a unit, for a dropout rate."""
    return round(rate * 2**32)
