"""Random numbers, always drawn on the host: the same seed gives the same numbers on every backend."""

from __future__ import annotations

from enum import IntEnum

import numpy


class Stream(IntEnum):
    """What random numbers are drawn for. Each purpose has a stream of its own, so that none disturbs the others."""

    WEIGHTS = 0
    SHUFFLING = 1
    DROPOUT = 2
    VALIDATION = 3


def new_seed() -> int:
    """Return a seed that the operating system draws."""
    return int(numpy.random.SeedSequence().generate_state(1)[0])  # 32 bits, short enough to be read and written down


def random_stream(seed: int, *key: int) -> numpy.random.Generator:
    """Return the generator of one purpose, or of one part of it.

    Parameters
    ----------
    seed : int
        Not negative.
    *key : int
        A `Stream`, then as many numbers as its parts need: the stream of the 7th epoch's shuffling does not depend on
        how those before were used. The streams are those that NumPy spawns from the seed [1]_.

    References
    ----------
    .. [1] https://numpy.org/doc/stable/reference/random/parallel.html
    """
    return numpy.random.default_rng(numpy.random.SeedSequence(seed, spawn_key=key))
