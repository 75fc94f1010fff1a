"""Custom parts that break their contract are detected before they are used, and the error names them."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import Activation, Callback, Loss, NeuralNetwork, Optimizer
from xpnet.metrics import Metric

LAYERS = [2, 4, 1]
X, Y = np.linspace(-1, 1, 14).reshape(7, 2), np.linspace(0, 1, 7)


def identity(**functions):
    part = Activation(lambda xp, Z: Z, lambda xp, dA, Z, A: dA)
    return {"activations": [part._replace(**functions), "identity"]}


def half(**functions):
    part = Loss(lambda xp, A, Y: xp.sum((A - Y) ** 2, axis=-2) / 2, lambda xp, A, Y: A - Y)
    return {"loss": part._replace(**functions)}


def sgd(**functions):
    part = Optimizer(lambda xp, theta: (), lambda xp, theta, d, memory, rate: (theta - rate * d, memory))
    return {"optimizer": part._replace(**functions)}


class Unhashable:
    __hash__ = None

    def __call__(self, xp, Z):
        return Z


def zeros(W, b=lambda n: np.zeros((n, 1))):
    return {"initializer": lambda rng, n_out, n_in: (W(n_out, n_in), b(n_out))}


def fails(*given):
    msg = "no such thing"
    raise LookupError(msg)


# The part, the error, and its message.
AT_ONCE = [
    (
        {"activations": [Activation(1, 1), "identity"]},
        TypeError,
        r"activations\[0\].forward must be a function \(xp, Z\)",
    ),
    (
        identity(forward=lambda Z: Z),
        TypeError,
        r"activations\[0\].forward must be a function \(xp, Z\), got .* with the signature \(Z\)",
    ),
    (identity(backward=lambda xp, dA: dA), TypeError, r"activations\[0\].backward must be a function \(xp, dA, Z, A\)"),
    (identity(bounds=5), ValueError, r"activations\[0\].bounds must be a pair of floats .* got 5"),
    (identity(bounds=(1.0, 0.0)), ValueError, r"activations\[0\].bounds must be a pair of floats"),
    (identity(forward=lambda xp, Z: None), TypeError, r"what activations\[0\].forward returns for Z must be an arr"),
    (identity(forward=lambda xp, Z: Z[:1, :]), ValueError, r"what activations\[0\].forward returns .* shape \(4, 3\)"),
    (
        identity(forward=lambda xp, Z: Z > 0),
        TypeError,
        r"what activations\[0\].forward returns for Z must have the dtype .*bool",
    ),
    (identity(forward=fails), ValueError, r"activations\[0\].forward must be .* it raised LookupError: no such thing"),
    (
        identity(backward=lambda xp, dA, Z, A: 1.0),
        TypeError,
        r"what activations\[0\].backward returns .* array, got 1.0",
    ),
    (
        identity(forward=lambda xp, Z: Z[:, 0] if Z.shape[-1] == 1 else Z),
        ValueError,
        r"what activations\[0\].forward ret",
    ),
    (half(value=lambda xp, A, Y: A[0, :] if A.shape[-1] > 1 else A), ValueError, r"what loss.value returns, .* \(1,\)"),
    (half(value=None), TypeError, r"loss.value must be a function \(xp, A, Y\), got None"),
    (half(value=lambda xp, A, Y: 0.5), TypeError, "what loss.value returns, one number per sample, must be an array"),
    (
        half(value=lambda xp, A, Y: (A - Y) ** 2),
        ValueError,
        r"what loss.value returns, .* the shape \(3,\), got \(1, 3\)",
    ),
    (half(value=lambda xp, A, Y: xp.sum(A)), ValueError, r"what loss.value returns, .* the shape \(3,\), got \(\)"),
    (
        half(gradient=lambda xp, A, Y: xp.sum(A, axis=-2)),
        ValueError,
        r"what loss.gradient returns .* \(1, 3\), got \(3,\)",
    ),
    (
        half(canonical=3),
        TypeError,
        r"loss.canonical must be None or a pair \(Activation, Loss of its Z\), got 3",
    ),
    (half(bounds=None), ValueError, "loss.bounds must be a pair of floats"),
    (sgd(init=lambda xp, theta: [theta]), TypeError, r"optimizer.init must return a tuple of arrays"),
    (
        sgd(init=lambda xp, theta: (1.0,)),
        TypeError,
        "an array of the state that optimizer.init returns must be an array",
    ),
    (sgd(update=lambda xp, theta: theta), TypeError, r"optimizer.update must be a function \(xp, theta, dtheta, opt"),
    (sgd(weight_decay="much"), TypeError, "optimizer.weight_decay must be 0 or a positive number, got 'much'"),
    ({"initializer": lambda n: n}, TypeError, r"initializer\[0\] must be a function \(rng, n_out, n_in\)"),
    ({"initializer": lambda rng, n_out, n_in: 3}, TypeError, r"initializer\[0\] must return a pair \(W, b\), got 3"),
    ({"initializer": fails}, ValueError, r"initializer\[0\] must be a function .* it raised LookupError"),
    (zeros(lambda n_out, n_in: np.zeros((n_in, n_out))), ValueError, r"W of initializer\[0\] must have .* \(4, 2\)"),
    (zeros(lambda n_out, n_in: "none"), TypeError, r"W of initializer\[0\] must hold real numbers"),
    (
        zeros(lambda *n: np.zeros(n), lambda n: np.full((n, 1), np.nan)),
        ValueError,
        r"b of initializer\[0\] must be fin",
    ),
]


@pytest.mark.parametrize(("part", "error", "says"), AT_ONCE, ids=range(len(AT_ONCE)))
def test_the_constructor_refuses_a_broken_part(part, error, says, backend, dtype):
    with pytest.raises(error, match=f"^{says}"):
        NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=0, **part)


@pytest.mark.parametrize("part", [identity(), half(), sgd(), zeros(lambda *n: np.zeros(n))])
@pytest.mark.parametrize("ensemble", [None, 2])
def test_the_constructor_accepts_parts_that_keep_their_contract(part, ensemble, backend, dtype):
    network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=0, ensemble=ensemble, **part)
    network.train(X, Y, 0.1, epochs=2, verbose=False, batch_size=3)
    assert network.epochs_trained == 2


def test_parts_need_not_be_hashable():
    network = NeuralNetwork(LAYERS, seed=0, **identity(forward=Unhashable()))
    assert "custom (Unhashable)" in repr(network)


def kept(xp, state, A, Y, weight):
    return A


# The settings of the network, the arguments of train, the error, and its message.
BEFORE_TRAINING = [
    (sgd(update=lambda xp, theta, d, memory, rate: theta), {}, TypeError, r"optimizer.update must return a pair"),
    (sgd(update=lambda xp, theta, d, memory, rate: (theta[:3], memory)), {}, ValueError,
     r"the theta that optimizer.update returns must have the shape \(17,\), got \(3,\)"),
    (sgd(update=lambda xp, theta, d, memory, rate: (xp.astype(theta, xp.int32), memory)), {}, TypeError,
     "the theta that optimizer.update returns must have the dtype .*int32"),
    (sgd(update=lambda xp, theta, d, memory, rate: (theta, (d,))), {}, ValueError,
     "the state that optimizer.update returns must have as many arrays as that of init, 0, got 1"),
    (sgd(update=lambda xp, theta, d, memory, rate: (theta[:3] if xp.any(d != 0) else theta, memory)), {}, ValueError,
     r"the theta that optimizer.update returns must have the shape \(17,\), got \(3,\)"),
    (sgd(update=fails), {}, ValueError, "optimizer.update must be .* it raised LookupError"),
    ({}, {"callbacks": lambda: None}, TypeError, r"callbacks\[0\] must be a function \(network\), got"),
    ({}, {"callbacks": [print, type("C", (Callback,), {"on_train_end": lambda self: None})()]}, TypeError,
     r"callbacks\[1\].on_train_end must be a function \(network\)"),
    ({}, {"schedule": lambda t: t}, TypeError, r"schedule, such as .*, must be a function \(xp, t, history\), got"),
    ({}, {"schedule": fails}, ValueError, "schedule must be a function .* it raised LookupError"),
    ({}, {"schedule": lambda xp, t, history: -t - 1.0}, ValueError, "what the schedule returns for epoch 0 must not"),
    ({}, {"metrics": Metric("m", kept, None)}, TypeError, r"metrics: m.finish must be a function \(xp, state\)"),
    ({}, {"metrics": Metric(3, kept, kept)}, TypeError, "metrics: the name of a Metric must be a string, got 3"),
    ({}, {"metrics": Metric("m", fails, lambda xp, state: 1)}, ValueError, "metrics: m.accumulate must .* LookupError"),
    ({}, {"metrics": Metric("m", kept, lambda xp, state: state)}, ValueError, r"metrics: what m returns must .* \(\)"),
    ({}, {"shuffle": "yes"}, TypeError, "shuffle must be True or False, got 'yes'"),
    ({}, {"shuffle": np.ones(3)}, TypeError, "shuffle must be True or False, got array"),
    ({}, {"verbose": None}, TypeError, "verbose must be True or False, got None"),
    ({}, {"progress_bar": "yes"}, TypeError, "progress_bar must be True or False, got 'yes'"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "training", "error", "says"), BEFORE_TRAINING, ids=range(len(BEFORE_TRAINING)))
def test_train_refuses_a_broken_part_before_the_first_epoch(settings, training, error, says, backend, dtype, array):
    network = NeuralNetwork(LAYERS, dtype=dtype, seed=1, **settings)
    before, place = network.theta.tolist(), network.backend
    with pytest.raises(error, match=f"^{says}"):
        network.train(array(X), array(Y), 0.1, epochs=2, **{"verbose": False, **training})
    assert network.theta.tolist() == before
    assert network.epoch_loss == []
    assert network.backend == place


@pytest.mark.not_numpy
@pytest.mark.parametrize(("part", "says"), [
    (identity(forward=lambda xp, Z: np.zeros(Z.shape)), r"what activations\[0\].forward returns for Z must be an arr"),
    (half(value=lambda xp, A, Y: np.zeros(A.shape[-1])), "what loss.value returns, .* must be an array of"),
    (sgd(init=lambda xp, theta: (np.zeros(theta.shape),)), "an array of the state that optimizer.init returns"),
])  # fmt: skip
def test_numpy_arrays_from_custom_parts_are_refused_on_other_backends(part, says, backend, dtype):
    with pytest.raises(TypeError, match=f"^{says}"):
        NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=0, **part)


def test_flags_may_be_numpy_booleans_or_numbers():
    network = NeuralNetwork(LAYERS, seed=0)
    network.train(X, Y, 0.1, epochs=1, verbose=0, shuffle=np.True_, progress_bar=np.False_)
    assert network.epochs_trained == 1
