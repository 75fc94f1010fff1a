"""Networks that train together end alone, and sparse inputs become dense only for some rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from xpnet import get_backend
from xpnet._types import State
from xpnet.activations import identity, tanh
from xpnet.core.parameters import Layout
from xpnet.core.step import make_step
from xpnet.data.samples import Samples
from xpnet.estimators import rules
from xpnet.estimators.fitting import Course, Fitting, SparseSamples

LAYOUT = Layout([2, 3, 1])
RULES = {"solver": "adam", "tol": 0.0, "n_iter_no_change": 100, "verbose": False}


def courses_of(counts, rows, **settings):
    courses = [Course() for _ in counts]
    for course, count in zip(courses, counts, strict=True):
        course.begin({**RULES, "tol": 1e9, "n_iter_no_change": count, **settings}, np.random.RandomState(0), rows)
        course.learning_rate = 0.1
    return courses


def fitting_of(backend, array, courses, X, Y):
    step = make_step(backend.xp, LAYOUT, [tanh, identity], rules.squared_error, rules.adam(0.9, 0.999, 1e-8), [0.0])
    samples = Samples(backend, str(array(X).dtype).rpartition(".")[2], array(X), array(Y))
    strengths = {"alpha": [0.1] * len(courses)}
    return Fitting(backend, step, samples, courses, True, 4, True, strengths), step


def test_each_network_ends_alone_and_equals_one_trained_alone(backend, array, rng):
    X, Y, theta = rng.standard_normal((9, 2)), rng.standard_normal((9, 1)), rng.standard_normal((3, LAYOUT.size))
    seen = []

    def trained(counts, thetas):
        courses = courses_of(counts, np.arange(9))
        fitting, step = fitting_of(backend, array, courses, X, Y)
        state = State(array(thetas), step.optimizer.init(backend.xp, array(thetas)))
        state = fitting.run(state, 20, lambda state, networks: seen.append(networks) or True)
        return courses, backend.to_numpy(state.theta)

    courses, together = trained([2, 5, 3], theta)
    assert [course.n_iter for course in courses] == [4, 7, 5]
    assert seen == [[0, 1, 2]] * 4 + [[1, 2]] + [[1]] * 2
    assert all(course.has_ended for course in courses)
    for k, count in enumerate([2, 5, 3]):
        alone = trained([count], theta[k : k + 1])[1][0]
        np.testing.assert_allclose(together[k], alone, rtol=1e-5, atol=1e-7)


def test_an_interrupt_keeps_the_last_complete_epoch(backend, array, rng):
    X, Y, theta = rng.standard_normal((9, 2)), rng.standard_normal((9, 1)), rng.standard_normal((1, LAYOUT.size))
    courses = courses_of([100], np.arange(9))
    fitting, step = fitting_of(backend, array, courses, X, Y)
    states = []

    def after_epoch(state, networks):
        states.append(backend.to_numpy(state.theta).copy())
        if len(states) == 3:
            raise KeyboardInterrupt
        return True

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        state = fitting.run(State(array(theta), step.optimizer.init(backend.xp, array(theta))), 20, after_epoch)
    np.testing.assert_array_equal(backend.to_numpy(state.theta), states[-1])


def test_rows_of_sparse_inputs_are_those_of_dense_ones(rng):
    X = np.where(rng.random((7, 4)) < 0.5, rng.standard_normal((7, 4)), 0.0)
    backend = get_backend("cpu")
    dense, thin = Samples(backend, "float64", X), SparseSamples(backend, "float64", sparse.csr_matrix(X))
    for which in (slice(1, 5), np.array([6, 0, 0]), np.array([[1, 2], [3, 0]])):
        np.testing.assert_array_equal(thin.inputs(which), dense.inputs(which))
    assert not SparseSamples(backend, "float64", sparse.csr_matrix(X), X[:, :1]).are_ready
