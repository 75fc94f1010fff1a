"""Losses are per sample, and their mean over the samples is what training makes small."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.losses import LOSSES, mean_loss

FORMULAS = {"half_squared_error": lambda A, Y: 0.5 * ((Y - A) ** 2).sum(axis=-2)}
every_loss = pytest.mark.parametrize("name", LOSSES)


def test_every_loss_has_a_formula_here():
    assert FORMULAS.keys() == LOSSES.keys()


@every_loss
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (3, 5), (2, 3, 5)])
def test_mean_loss_is_the_formula_averaged_over_the_samples(name, shape, xp, array, assert_close, rng):
    A, Y = rng.random(shape), rng.random(shape)
    assert_close(LOSSES[name].value(xp, array(A), array(Y)), FORMULAS[name](A, Y))
    value, _ = mean_loss(xp, LOSSES[name], array(A), array(Y))
    assert_close(value, FORMULAS[name](A, Y).mean(axis=-1))


@pytest.mark.float64
@every_loss
@pytest.mark.parametrize("m", [1, 5])
def test_gradient_agrees_with_finite_differences(name, m, xp, backend, array, rng):
    A, Y, direction = (rng.random((3, m)) for _ in range(3))
    h = 1e-6

    def value(A):
        return float(backend.to_numpy(mean_loss(xp, LOSSES[name], array(A), array(Y))[0]))

    numeric = (value(A + h * direction) - value(A - h * direction)) / (2 * h)
    _, dA = mean_loss(xp, LOSSES[name], array(A), array(Y))
    assert np.sum(backend.to_numpy(dA) * direction) == pytest.approx(numeric, rel=1e-7)


def test_the_documents_cost_of_one_sample(xp, array, assert_close):
    cost, dA = mean_loss(xp, LOSSES["half_squared_error"], array([[0.5]]), array([[1.0]]))
    assert_close(cost, 0.125)
    assert_close(dA, [[-0.5]])
