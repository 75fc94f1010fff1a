"""A step is pure: it can be traced, keeps no state, and gives the same result with cached views."""

from __future__ import annotations

import numpy as np
import pytest
from tracing import Tracer

from xpnet._types import State
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.core.parameters import Layout
from xpnet.core.step import make_step
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS, Optimizer

LAYOUT = Layout([2, 3, 3, 2])
DROPOUT = (0.5, 0.0)
xp = Tracer()


def inputs(ensemble_shape, *, weighted=False, dropped=False, m=4, **strengths):
    """Return theta and a batch, as host arrays."""
    if ensemble_shape:
        strengths = {name: np.full((*ensemble_shape, 1), value) for name, value in strengths.items()}
    if strengths:
        strengths["mask"] = LAYOUT.weights_mask(np)
    rng = np.random.default_rng(0)
    batch = (
        rng.standard_normal((2, m)),
        rng.random((*ensemble_shape, 2, m)),
        np.full((*ensemble_shape, 1) if ensemble_shape else (), 0.1),
        rng.random((1, m)) if weighted else None,
        [rng.random((*ensemble_shape, 3, m)) > 0.5, None] if dropped else (),
        strengths,
    )
    return rng.standard_normal((*ensemble_shape, LAYOUT.size)), batch


def assert_traced(activation, loss, optimizer, ensemble_shape, *, weighted=False, dropped=False, **settings):
    """Trace two steps, and compare them with two eager ones."""
    theta, batch = inputs(ensemble_shape, weighted=weighted, dropped=dropped, **settings)
    activations = [activation, ACTIVATIONS["tanh"], ACTIVATIONS["sigmoid"]]
    traced, eager = (make_step(namespace, LAYOUT, activations, loss, optimizer, DROPOUT) for namespace in (xp, np))
    results = [(State(theta, Tracer.trace(lambda theta: optimizer.init(xp, theta), theta)), None)]
    for _ in range(2):
        results.append(Tracer.trace(traced, results[-1][0], batch))
    expected, arrays = State(theta.copy(), optimizer.init(np, theta)), (theta, *results[0][0].optimizer_state)
    for state, value in results[1:]:
        expected, wanted = eager(expected, batch)
        assert value.shape == ensemble_shape
        np.testing.assert_array_equal(value, wanted)
        after, right = (state.theta, *state.optimizer_state), (expected.theta, *expected.optimizer_state)
        for one, before, other in zip(after, arrays, right, strict=True):
            assert (one.shape, one.dtype) == (before.shape, before.dtype)
            np.testing.assert_array_equal(one, other)


ensemble_shape = pytest.mark.parametrize("ensemble_shape", [(), (3,)], ids=["one network", "an ensemble"])
SGD = OPTIMIZERS["sgd"]
SETTINGS = {"plain": {}, "weight_decay": {"weight_decay": 0.1}, "l2": {"l2": 0.1}, "l1": {"l1": 0.1}}
SETTINGS |= {"clip_norm": {"clip_norm": 0.1}, "all": {"weight_decay": 0.1, "l2": 0.1, "l1": 0.1, "clip_norm": 0.1}}


@ensemble_shape
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_activation_and_loss_can_be_traced(activation, loss, ensemble_shape):
    assert_traced(ACTIVATIONS[activation], LOSSES[loss], SGD, ensemble_shape)


@ensemble_shape
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_can_be_traced_with_and_without_regularization(optimizer, settings, ensemble_shape):
    assert_traced(ACTIVATIONS["relu"], LOSSES["half_squared_error"], OPTIMIZERS[optimizer], ensemble_shape, **settings)


@ensemble_shape
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("weighted", [False, True], ids=["all alike", "weighted"])
def test_dropout_and_weights_can_be_traced(weighted, activation, ensemble_shape):
    loss = LOSSES["binary_crossentropy"]
    assert_traced(ACTIVATIONS[activation], loss, OPTIMIZERS["adam"], ensemble_shape, weighted=weighted, dropped=True)


KEPT = []
IMPURE = {
    "a branch on a value": ({"forward": lambda xp, Z: Z if xp.max(Z) > 0 else -Z}, "has no bool"),
    "a host number": ({"forward": lambda xp, Z: Z * float(xp.max(Z))}, "has no float"),
    "a host array": ({"forward": lambda xp, Z: xp.maximum(Z, np.zeros(1))}, "a host array"),
    "an array kept from before": (
        {"forward": lambda xp, Z: (KEPT.append(Z), Z + KEPT[0])[1]},
        "an array of an earlier trace",
    ),
}


@pytest.mark.parametrize(("functions", "says"), IMPURE.values(), ids=IMPURE)
def test_the_tracer_detects_impure_functions(functions, says):
    KEPT.clear()
    impure = Activation(**{"backward": lambda xp, dA, Z, A: dA, **functions})
    with pytest.raises(AssertionError, match=says):
        assert_traced(impure, LOSSES["half_squared_error"], SGD, ())


def test_the_tracer_detects_arrays_kept_by_an_optimizer():
    kept = []

    def update(xp, theta, dtheta, optimizer_state, learning_rate):
        kept.append(dtheta)
        return theta - learning_rate * kept[0], optimizer_state

    with pytest.raises(AssertionError, match="an array of an earlier trace"):
        assert_traced(ACTIVATIONS["tanh"], LOSSES["huber"], Optimizer(lambda xp, theta: (), update), ())


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_cached_views_do_not_change_the_result(name, backend, array, dtype):
    """A backend that updates in place may pass them."""
    theta, batch = inputs((), dropped=True)
    X, Y, _, _, (mask, _), _ = batch
    batch = (array(X), array(Y), array(0.1), None, [array(mask) > 0.5, None], {})
    activations = [ACTIVATIONS[name] for name in ("relu", "tanh", "sigmoid")]
    step = make_step(backend.xp, LAYOUT, activations, LOSSES["half_squared_error"], OPTIMIZERS[name], DROPOUT)
    runs = []
    for keeps in (False, True):
        state, views, of = State(array(theta), OPTIMIZERS[name].init(backend.xp, array(theta))), None, None
        for _ in range(3):
            if keeps and of is not state.theta:
                of, views = state.theta, step.layers(state.theta)
            state, loss = step(state, batch, views)
        runs.append([backend.to_numpy(each) for each in (*state.optimizer_state, state.theta, loss)])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
