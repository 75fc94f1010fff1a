"""Random numbers, always drawn on the host: the same seed gives the same numbers on every backend."""

from __future__ import annotations

from typing import NamedTuple

import numpy


class Streams(NamedTuple):
    """Independent random generators, so that drawing more from one does not change the others."""

    weights: numpy.random.Generator
    shuffling: numpy.random.Generator


def random_streams(seed: int | None = None) -> tuple[int, Streams]:
    """Spawn the random streams of one network.

    Parameters
    ----------
    seed : int, optional
        Not negative; without one the operating system is asked for one.

    Returns
    -------
    seed : int
        The seed that was used, so that every run can be repeated.
    streams : Streams
        One generator for each purpose, spawned in a fixed order [1]_: a later purpose leaves the earlier streams alone.

    References
    ----------
    .. [1] https://numpy.org/doc/stable/reference/random/parallel.html
    """
    sequence = numpy.random.SeedSequence(seed)
    used = sequence.entropy
    assert isinstance(used, int)
    return used, Streams(*map(numpy.random.default_rng, sequence.spawn(len(Streams._fields))))
