"""Optimizers follow their formula on the flat vector, with one learning rate for all or one a network."""

from __future__ import annotations

import numpy as np

from xpnet.optimizers import OPTIMIZERS


def test_sgd_is_the_documents_update(xp, array, assert_close, rng):
    theta, dtheta = rng.standard_normal(7), rng.standard_normal(7)
    sgd = OPTIMIZERS["sgd"]
    assert sgd.init(xp, array(theta)) == ()
    updated, memory = sgd.update(xp, array(theta), array(dtheta), (), 0.1)
    assert_close(updated, theta - 0.1 * dtheta)
    assert memory == ()


def test_every_network_may_have_its_own_learning_rate(xp, array, assert_close, rng):
    theta, dtheta, rates = rng.standard_normal((3, 7)), rng.standard_normal((3, 7)), np.array([[0.1], [0.2], [0.0]])
    updated, _ = OPTIMIZERS["sgd"].update(xp, array(theta), array(dtheta), (), array(rates))
    assert_close(updated, theta - rates * dtheta)
