"""Random orders and masks: the published words, uniform, independent, and the same to the bit when compiled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet.backends import Stream
from xpnet.backends.streams import epoch_keys, keep_mask, permutations, random_words, seed_keys, threefry

MANY = 40_000
KNOWN = [  # counter, key and words of threefry2x32 with 13 rounds in Random123's kat_vectors
    ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
]


def words(*numbers):
    return [np.asarray([number], "uint32") for number in numbers]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_threefry_gives_the_published_words(counter, key, expected):
    assert tuple(int(word[0]) for word in threefry(*words(*key), *words(*counter))) == expected


def score(observed, expected):
    """Return how many standard deviations the chi-square statistic of counts is above its mean."""
    degrees = observed.size - 1
    return (np.sum((observed - expected) ** 2 / expected) - degrees) / math.sqrt(2 * degrees)


def keys_by(what):
    """Return keys of many seeds, or of many epochs of one seed."""
    if what == "seed":
        return seed_keys(range(MANY), Stream.SHUFFLING)
    return np.concatenate([epoch_keys(seed_keys([94], Stream.SHUFFLING), epoch) for epoch in range(MANY)])


@pytest.mark.parametrize("what", ["seed", "epoch"])
@pytest.mark.parametrize("N", [4, 5, 6])
def test_all_permutations_of_a_few_samples_are_equally_likely(N, what):
    orders = permutations(keys_by(what), N)
    numbers = np.unique(orders @ (N ** np.arange(N)), return_counts=True)[1]
    assert numbers.size == math.factorial(N)
    assert abs(score(numbers, MANY / numbers.size)) < 4.0


@pytest.mark.parametrize("what", ["seed", "epoch"])
def test_samples_take_all_positions_and_all_neighbours(what):
    N, orders = 50, permutations(keys_by(what), 50)
    positions = np.stack([np.bincount(orders[:, i], minlength=N) for i in range(N)])
    assert abs(score(positions, MANY / N)) < 4.0
    pairs = np.bincount((orders[:, :-1] * N + orders[:, 1:]).ravel(), minlength=N * N).reshape(N, N)
    assert np.all(np.diag(pairs) == 0)
    assert abs(score(pairs[~np.eye(N, dtype=bool)], MANY / N)) < 4.0


@given(N=st.integers(1, 200), seed=st.integers(0, 2**64), epoch=st.integers(0, 2**33))
def test_an_order_holds_every_sample_once(N, seed, epoch):
    (order,) = permutations(epoch_keys(seed_keys([seed], Stream.SHUFFLING), epoch), N)
    np.testing.assert_array_equal(np.sort(order), np.arange(N))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
def test_masks_drop_the_given_fraction_of_units_independently(rate):
    kept = keep_mask(seed_keys(range(100), Stream.DROPOUT), 0, 200, 1, 12, rate)
    deviation = math.sqrt(rate * (1 - rate))
    for axes in ((0, 1), (0, 2), (1, 2)):
        mean = kept.mean(axis=axes)
        count = kept.size / mean.size
        assert np.all(np.abs(mean - (1 - rate)) < 5 * deviation / math.sqrt(count))
    for other in (kept[:, :, 1:] * kept[:, :, :-1], kept[:, 1:] * kept[:, :-1], kept[1:] * kept[:-1]):
        assert abs(other.mean() - (1 - rate) ** 2) < 5 / math.sqrt(other.size)


def test_layers_epochs_purposes_and_seeds_have_different_words():
    def drawn(seed=94, stream=Stream.DROPOUT, epoch=0, layer=0):
        return random_words(epoch_keys(seed_keys([seed], stream), epoch), 0, 20, 20, layer).ravel()

    other = [{}, {"seed": 95}, {"stream": Stream.SHUFFLING}, {"epoch": 1}, {"layer": 1}, {"layer": 2}]
    assert np.unique(np.concatenate([drawn(**each) for each in other])).size == 6 * 400


def test_a_mask_depends_neither_on_the_range_of_samples_nor_on_the_number_of_units():
    keys = seed_keys([1, 2], Stream.DROPOUT)
    whole = keep_mask(keys, 0, 30, 2, 9, 0.5)
    np.testing.assert_array_equal(keep_mask(keys, 7, 12, 2, 4, 0.5), whole[:, 7:12, :4])


@pytest.mark.parametrize("N", [1, 2, 7, 500])
def test_compiled_orders_and_words_are_the_same_to_the_bit(N):
    pytest.importorskip("numba")
    from xpnet.backends.compiled import random

    keys = epoch_keys(seed_keys(range(5), Stream.SHUFFLING), 3)
    expected = permutations(keys, N)
    np.testing.assert_array_equal(random.permutations(keys, N), expected)
    wide, order = keys.T.astype("uint64").copy(), np.zeros((N, 5), "uint32")
    random.permutation_in_lanes(wide, order)
    np.testing.assert_array_equal(order.T, expected)

    first, row, pairs = np.uint64(2 * 2**24), np.uint64(8), (N + 1) // 2
    drawn = random_words(keys, 8, 9, 2 * pairs, layer=2)[:, 0].reshape(5, pairs, 2)
    lanes, alone = np.zeros((2, pairs, 5), "uint64"), np.zeros((2, pairs), "uint64")
    random.random_words_in_lanes(wide, row, first, lanes)
    random.random_words(wide[:, 4].copy(), row, first, alone)
    np.testing.assert_array_equal(lanes, drawn.transpose(2, 1, 0))
    np.testing.assert_array_equal(alone, drawn[4].T)
