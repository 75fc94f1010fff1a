"""Epochs: every sample counts once, with its weight, and the networks of an ensemble do not affect each other.

"The document" is the notebook *Neural Network From Scratch* (see README).
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack

import numpy as np
import pytest
from document import Document
from hypothesis import given
from hypothesis import strategies as st

from xpnet import NeuralNetwork
from xpnet._types import State
from xpnet.activations import identity, relu, sigmoid
from xpnet.backends import Stream
from xpnet.backends.streams import permutations, seed_keys
from xpnet.core.epochs import Batches, NetworkChunk, split
from xpnet.core.parameters import Layout
from xpnet.core.step import make_step
from xpnet.data.samples import Samples
from xpnet.losses import half_squared_error
from xpnet.optimizers import OPTIMIZERS, Optimizer

sgd = OPTIMIZERS["sgd"]
LAYERS = [2, 4, 1]
LAYOUT = Layout(LAYERS)
N = 7


def batches_of(backend, X, Y, *given, **options):
    """Return batches of samples that are given as columns."""
    dtype = str(X.dtype).rpartition(".")[2]
    return Batches(Samples(backend, dtype, X.mT, Y.mT), *given, **options)


def train(
    backend,
    array,
    theta,
    X,
    Y,
    learning_rate=0.1,
    activations=(relu, sigmoid),
    optimizer=sgd,
    epochs=3,
    batch_size=1,
    keys=None,
):
    """Return theta and the losses after every epoch, as host arrays."""
    step = make_step(backend.xp, LAYOUT, list(activations), half_squared_error, optimizer)
    state = State(array(theta), optimizer.init(backend.xp, array(theta)))
    batches = batches_of(
        backend, array(X), array(Y), array(learning_rate), min(batch_size, X.shape[-1]), order_keys=keys
    )
    thetas, losses, chunk = [], [], NetworkChunk(backend, step, batches, state)
    with backend.on_device():
        for epoch in range(epochs):
            chunk.train(range(epoch, epoch + 1))
            thetas.append(backend.to_numpy(chunk.state.theta))
            losses.append(backend.to_numpy(chunk.losses[0, ...]))
    return thetas, np.array(losses)


@pytest.fixture
def theta(rng):
    return rng.standard_normal(LAYOUT.size)


@pytest.fixture
def X(rng):
    return rng.standard_normal((2, N))


@pytest.fixture
def Y(rng):
    return rng.random((1, N))


@pytest.fixture
def close(dtype):
    tolerance = {"float64": 1e-12, "float32": 1e-4}[dtype]
    return lambda actual, expected: np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_training_sample_by_sample_equals_the_documents(backend, array, theta, X, Y, close):
    parameters = {name: LAYOUT.view(np, theta, name) for name in LAYOUT.slots}
    losses = Document(parameters).train(X.T[:, :, None], Y.T[:, :, None], 0.1, 3)
    thetas, our_losses = train(backend, array, theta, X, Y)
    close(our_losses, losses)
    close(thetas[-1], np.concatenate([parameters[name].ravel() for name in LAYOUT.slots]))


@given(
    n_samples=st.integers(1, 30), batch_size=st.integers(1, 40), ensemble_shape=st.lists(st.integers(1, 2), max_size=1)
)
def test_batches_hold_every_sample_once_and_in_order(n_samples, batch_size, ensemble_shape):
    X = np.arange(np.prod(ensemble_shape, dtype=int) * 2 * n_samples).reshape(*ensemble_shape, 2, n_samples)
    stacks = split(np, X, batch_size)
    batches = [batch for stack in stacks for batch in stack]
    np.testing.assert_array_equal(np.concatenate(batches, axis=-1), X)
    sizes = [batch.shape[-1] for batch in batches]
    assert all(size == min(batch_size, n_samples) for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size


@pytest.mark.parametrize("batch_size", [1, 3, N, 100])
def test_the_loss_of_an_epoch_weights_every_sample_equally(batch_size, backend, array, theta, X, Y, close):
    """With a learning rate of almost zero it is the mean over the samples, for every batch size."""
    _, losses = train(backend, array, theta, X, Y, learning_rate=1e-30, batch_size=batch_size, epochs=1)
    A = Document({name: LAYOUT.view(np, theta, name) for name in LAYOUT.slots}).forward(X)
    close(losses, [0.5 * np.mean((A - Y) ** 2)])


def test_training_uses_every_batch_including_a_smaller_last_one(backend, array, theta, X, Y, close):
    expected = theta.copy()
    for start in (0, 3, 6):
        batch = slice(start, start + 3)
        (expected, *_), _ = train(
            backend, array, expected, X[:, batch], Y[:, batch], batch_size=len(range(N)[batch]), epochs=1
        )
    thetas, _ = train(backend, array, theta, X, Y, batch_size=3, epochs=1)
    close(thetas[0], expected)


def test_the_order_defines_the_sequence_of_samples(backend, array, theta, X, Y):
    keys = seed_keys([5], Stream.SHUFFLING)
    order = permutations(keys, N)[0]
    assert order.tolist() != sorted(order)
    ordered, losses = train(backend, array, theta, X[:, order], Y[:, order], epochs=1, batch_size=2)
    shuffled, same_losses = train(backend, array, theta, X, Y, epochs=1, batch_size=2, keys=keys)
    np.testing.assert_array_equal(shuffled, ordered)
    np.testing.assert_array_equal(same_losses, losses)


@pytest.mark.parametrize("batch_size", [1, 3, N])
@pytest.mark.parametrize("own_data", [False, True], ids=["shared data", "own data"])
def test_networks_of_an_ensemble_equal_networks_trained_individually(
    batch_size, own_data, backend, array, rng, X, Y, close
):
    E = 4
    thetas = rng.standard_normal((E, LAYOUT.size))
    rates = np.array([[0.1], [0.3], [0.01], [1.0]])
    Xs = rng.standard_normal((E, 2, N)) if own_data else X
    Ys = rng.random((E, 1, N)) if own_data else Y
    ensemble, losses = train(backend, array, thetas, Xs, Ys, rates, batch_size=batch_size)
    assert losses.shape == (3, E)
    for e in range(E):
        individual, own_losses = train(
            backend,
            array,
            thetas[e],
            Xs[e] if own_data else X,
            Ys[e] if own_data else Y,
            rates[e, 0],
            batch_size=batch_size,
        )
        close(ensemble[-1][e], individual[-1])
        close(losses[:, e], own_losses)


def test_training_does_not_change_the_callers_arrays(backend, array, theta, X, Y):
    given = [array(x) for x in (theta, X, Y)]
    train(backend, lambda x: x, given[0], given[1], given[2], learning_rate=array(0.1), batch_size=2)
    for actual, expected in zip(given, [theta, X, Y], strict=True):
        np.testing.assert_array_equal(backend.to_numpy(actual), backend.to_numpy(array(expected)))


def test_later_epochs_do_not_change_the_state_of_earlier_ones(backend, array, theta, X, Y):
    thetas, _ = train(backend, array, theta, X, Y, epochs=3)
    first, _ = train(backend, array, theta, X, Y, epochs=1)
    np.testing.assert_array_equal(thetas[0], first[0])
    assert not np.array_equal(thetas[0], thetas[2])


def test_a_diverging_network_keeps_its_last_finite_weights_and_the_others_continue(backend, array, rng, X, close):
    thetas = rng.standard_normal((2, LAYOUT.size))
    Y = rng.standard_normal((1, N))
    after, losses = train(
        backend, array, thetas, X, Y, np.array([[0.01], [100.0]]), activations=(relu, identity), epochs=40
    )
    individual, own_losses = train(backend, array, thetas[0], X, Y, 0.01, activations=(relu, identity), epochs=40)
    close(after[-1][0], individual[-1])
    close(losses[:, 0], own_losses)
    last_finite = np.flatnonzero(np.isfinite(losses[:, 1]))[-1:]
    assert np.isnan(losses[-1, 1])
    assert np.isfinite(after[-1][1]).all()
    expected = after[last_finite[0]][1] if last_finite.size else backend.to_numpy(array(thetas[1]))
    np.testing.assert_array_equal(after[-1][1], expected)


def test_the_optimizer_state_is_passed_from_step_to_step(backend, array, theta, X, Y, close):
    """Custom momentum: v ← 0.9 v + dθ, θ ← θ − α v."""

    def update(xp, theta, dtheta, state, learning_rate):
        v = 0.9 * state[0] + dtheta
        return theta - learning_rate * v, (v,)

    momentum = Optimizer(lambda xp, theta: (xp.zeros_like(theta),), update)
    thetas, _ = train(backend, array, theta, X, Y, batch_size=N, optimizer=momentum)
    expected, v = theta, 0
    for before in (theta, thetas[0], thetas[1]):
        (after, *_), _ = train(backend, array, before, X, Y, batch_size=N, epochs=1)
        v = 0.9 * v + (before - after) / 0.1
        expected = expected - 0.1 * v
    np.testing.assert_allclose(thetas[-1], expected, rtol=1e-4 if thetas[0].dtype == np.float32 else 1e-10)


def test_training_keeps_its_precision_throughout(backend, array, theta, X, Y, dtype):
    thetas, losses = train(backend, array, theta, X, Y, batch_size=3)
    assert str(thetas[-1].dtype) == dtype
    assert str(losses.dtype) == dtype


FORBIDDEN = ["__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__", "__iter__", "__dlpack__"]
FORBIDDEN += ["get", "item", "tolist", "to_device", "__len__"]


@pytest.fixture
def forbid_transfers(backend, monkeypatch):
    """Return a function that makes every transfer from the device, and every wait for it, an error."""

    def fail(*_, **__):
        msg = "an array left the device, or the host waited for it"
        raise AssertionError(msg)

    def forbid():
        for transfer in ("asarray", "to_numpy", "synchronize"):
            monkeypatch.setattr(type(backend), transfer, fail)
        with backend.on_device():
            kind = type(backend.xp.ones((1,)))
        for name in FORBIDDEN:
            if hasattr(kind, name):
                monkeypatch.setattr(kind, name, fail)
        if backend.name == "cupy":
            import cupy
            import cupyx

            monkeypatch.setattr(cupy, "asnumpy", fail)
            for name in ("deviceSynchronize", "streamSynchronize", "eventSynchronize"):
                monkeypatch.setattr(cupy.cuda.runtime, name, fail)
            allow.enter_context(warnings.catch_warnings(action="ignore"))  # CuPy calls it experimental
            allow.enter_context(cupyx.allow_synchronize(False))

    with ExitStack() as allow:
        yield forbid
        monkeypatch.undo()


@pytest.mark.not_numpy
def test_a_forbidden_transfer_raises_an_error(backend, array, forbid_transfers):
    number = array(1.0)
    forbid_transfers()
    for transfer in (float, bool, type(backend).to_numpy.__get__(backend), lambda x: [*x]):
        with pytest.raises(AssertionError, match="left the device"):
            transfer(number)


@pytest.mark.not_numpy
@pytest.mark.parametrize("batch_size", [1, 3, N])
def test_nothing_leaves_the_device_while_training(batch_size, backend, array, theta, X, Y, forbid_transfers):
    step = make_step(backend.xp, LAYOUT, [relu, sigmoid], half_squared_error, sgd)
    batches = batches_of(backend, array(X), array(Y), array(0.1), batch_size)
    chunk = NetworkChunk(backend, step, batches, State(array(theta), ()))
    forbid_transfers()
    with backend.on_device():
        for epoch in range(3):
            chunk.train(range(epoch, epoch + 1))
    assert chunk.state.theta.shape == (LAYOUT.size,)
    assert chunk.losses[0, ...].shape == chunk.finite.shape == ()


# ---- Orders from a function


def trained_on(X, y, settings, **training):
    network = NeuralNetwork(LAYERS, seed=0, **settings)
    options = {"epochs": 3, "verbose": False, "batch_size": 2, **training}
    network.train(X, y, 0.1, **options)
    return network


def test_given_rows_train_like_samples_in_that_order(backend, dtype, array, X, Y, close):
    rows, settings = [4, 4, 0, 6, 2], {"device": backend, "dtype": dtype}
    given_rows = trained_on(array(X.T), array(Y.T), settings, orders=lambda epoch: rows)
    in_order = trained_on(array(X.T[rows]), array(Y.T[rows]), settings)
    close(backend.to_numpy(given_rows.theta), backend.to_numpy(in_order.theta))
    close(given_rows.history["loss"], in_order.history["loss"])


def test_each_network_takes_rows_of_its_own(X, Y):
    rows = np.array([[1, 0, 3, 5], [2, 2, 6, 0]])
    ensemble = trained_on(X.T, Y.T, {"ensemble": 2}, orders=lambda epoch: rows, members_at_once=1)
    own = trained_on(X.T[rows], Y.T[rows], {"ensemble": 2})
    np.testing.assert_allclose(ensemble.theta, own.theta, rtol=1e-12)


def test_an_order_is_drawn_once_for_each_epoch_since_the_weights_were_initialized(X, Y):
    epochs = []

    def orders(epoch):
        epochs.append(epoch)
        return np.roll(np.arange(N), epoch)

    network = trained_on(X.T, Y.T, {"ensemble": 4}, orders=orders, members_at_once=2)
    network.train(X.T, Y.T, 0.1, epochs=2, verbose=False, orders=orders)
    assert epochs == [0, 1, 2, 3, 4]


WRONG_ORDERS = [
    ({"orders": [0, 1]}, TypeError, r"orders must be a function"),
    ({"orders": lambda epoch: [0, 1], "shuffle": True}, ValueError, "shuffle must be False with orders"),
    ({"orders": lambda epoch: [0, 7]}, ValueError, "orders must return rows from 0 to 6, got 0 to 7"),
    ({"orders": lambda epoch: [0, -1]}, ValueError, "orders must return rows from 0 to 6, got -1 to 0"),
    ({"orders": lambda epoch: [0.0, 1.0]}, TypeError, "orders must return integers"),
    ({"orders": lambda epoch: []}, ValueError, r"orders must return an array of shape \(rows,\), got \(0,\)"),
    ({"orders": lambda epoch: [[0, 1]]}, ValueError, r"orders must return an array of shape \(rows,\), got \(1, 2\)"),
    (
        {"orders": lambda epoch: [0] * (epoch + 1)},
        ValueError,
        r"the same shape for all epochs, got \(2,\) after \(1,\)",
    ),
]


@pytest.mark.parametrize(("training", "error", "says"), WRONG_ORDERS, ids=[case[2] for case in WRONG_ORDERS])
def test_orders_that_are_not_rows_are_refused(training, error, says, X, Y):
    with pytest.raises(error, match=says):
        trained_on(X.T, Y.T, {}, **training)
