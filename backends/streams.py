"""Random numbers, drawn on the host: the same seed gives the same numbers on every backend."""

from __future__ import annotations

from enum import IntEnum

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
