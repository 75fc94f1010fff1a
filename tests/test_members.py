"""Each network of an ensemble equals a network with its seed and settings that is trained individually."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import Activation, Callback, Loss, NeuralNetwork, Optimizer
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import cosine, reduce_on_plateau, warm_up

LAYERS, E, N = [2, 5, 4, 1], 4, 11
RATES = [0.5, 0.1, 2.0, 0.01]


@pytest.fixture
def X(rng):
    return rng.standard_normal((N, 2))


@pytest.fixture
def y(rng):
    return rng.random(N)


@pytest.fixture
def close(backend, dtype):
    tolerance = {"float64": 1e-11, "float32": 2e-4}[dtype]

    def check(actual, expected):
        np.testing.assert_allclose(
            backend.to_numpy(actual.theta), backend.to_numpy(expected.theta), rtol=tolerance, atol=tolerance
        )
        for name in expected.history:
            np.testing.assert_allclose(
                actual.history[name], expected.history[name], rtol=tolerance * 10, atol=tolerance, err_msg=name
            )

    return check


# Settings of networks and options of training; a list has one value for each network.
VARIANTS = {
    "sample by sample": ({}, {}),
    "shuffled batches": ({}, {"batch_size": 3, "shuffle": True}),
    "given seeds": ({"seed": [7, 3, 7, 100]}, {"batch_size": 3, "shuffle": True}),
    "one seed": ({"seed": [7] * 4}, {"batch_size": 3, "shuffle": True}),
    "initial scales": ({"initial_scale": [1.0, 5.0, 0.1, 2.0]}, {}),
    "regularized": (
        {"weight_decay": [0.0, 0.1, 0.01, 0.2], "l2": [0.1, 0.0, 0.2, 0.0], "l1": [0.0, 0.0, 0.01, 0.1]},
        {"batch_size": 3},
    ),
    "clipped": ({"clip_norm": [0.01, 0.1, 1.0, 10.0]}, {}),
    "an optimizer with a state": ({"optimizer": "adamw"}, {"batch_size": 4}),
    "dropout": ({"dropout": [0.5, 0.2]}, {"batch_size": 4, "shuffle": True}),
    "a schedule": ({}, {"batch_size": 4, "schedule": warm_up(1, cosine(3))}),
    "reduce on plateau": ({}, {"schedule": reduce_on_plateau(0.5, patience=0, threshold=0.05)}),
    "validation": ({}, {"validation_split": 0.3, "metrics": ["r2_score"], "shuffle": True}),
}
every_variant = pytest.mark.parametrize(("settings", "training"), VARIANTS.values(), ids=VARIANTS)
PER_NETWORK = ("seed", "initial_scale", "weight_decay", "l2", "l1", "clip_norm")


def individual(i, settings, backend, dtype):
    own = {name: value[i] if name in PER_NETWORK else value for name, value in settings.items()}
    return NeuralNetwork(LAYERS, **{"seed": 20 + i, **own}, device=backend, dtype=dtype)


def ensemble_of_networks(settings, backend, dtype):
    return NeuralNetwork(LAYERS, **{"seed": 20, **settings}, ensemble=E, device=backend, dtype=dtype)


@every_variant
def test_every_network_equals_one_trained_individually(settings, training, backend, dtype, array, X, y, close):
    training = {"epochs": 2, "verbose": False, **training}
    ensemble, in_chunks = (ensemble_of_networks(settings, backend, dtype) for _ in range(2))
    ensemble.train(array(X), array(y), array(RATES), **training)
    in_chunks.train(array(X), array(y), array(RATES), members_at_once=3, **training)
    for i in (1, 3):  # one of each chunk
        expected = individual(i, settings, backend, dtype)
        expected.train(array(X), array(y), RATES[i], **training)
        close(ensemble.member(i), expected)
        close(in_chunks.member(i), expected)


@given(
    settings=st.fixed_dictionaries(
        {},
        optional={
            "optimizer": st.sampled_from(["momentum", "rmsprop", "adam", "adamw"]),
            "initializer": st.sampled_from(["glorot_uniform", "he_normal"]),
            "loss": st.sampled_from(["huber", "log_cosh", "binary_crossentropy", "poisson"]),
            "dropout": st.sampled_from([0.3, [0.0, 0.5]]),
            "seed": st.lists(st.integers(0, 3), min_size=E, max_size=E),
            "l2": st.lists(st.floats(0.0, 0.1), min_size=E, max_size=E),
            "clip_norm": st.lists(st.floats(0.01, 1.0), min_size=E, max_size=E),
        },
    ),
    training=st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.sampled_from([2, 5, 100, None]),
            "shuffle": st.booleans(),
            "patience": st.integers(1, 3),
            "tol": st.floats(0.0, 0.01),
            "validation_split": st.floats(0.1, 0.5),
            "metrics": st.just(["r2_score"]),
            "schedule": st.just(reduce_on_plateau(0.5, patience=0)),
        },
    ),
    own_data=st.booleans(),
    at_once=st.sampled_from([None, 1, 2, 3]),
)
def test_every_network_equals_one_trained_individually_with_any_options(settings, training, own_data, at_once):
    rng = np.random.default_rng(0)
    X, y, weight = rng.standard_normal((E, N, 2)), rng.random((E, N, 1)), rng.random((E, N))
    if not own_data:
        X, y, weight = X[0], y[0], weight[0]
    settings = {"activations": ["relu", "relu", "sigmoid"], **settings}
    training = {"epochs": 4, "verbose": False, **training}
    ensemble = NeuralNetwork(LAYERS, **{"seed": 20, **settings}, ensemble=E)
    ensemble.train(X, y, RATES, sample_weight=weight, members_at_once=at_once, **training)
    for i in range(E):
        own = (X[i], y[i], weight[i]) if own_data else (X, y, weight)
        expected = individual(i, settings, "cpu", "float64")
        expected.train(*own[:2], RATES[i], sample_weight=own[2], **training)
        np.testing.assert_allclose(ensemble.member(i).theta, expected.theta, rtol=1e-9, atol=1e-9)


def test_every_network_may_have_its_own_data(backend, dtype, array, rng, close):
    Xs, ys, weights = rng.standard_normal((E, N, 2)), rng.random((E, N, 1)), rng.random((E, N))
    training = {"epochs": 3, "verbose": False, "batch_size": 4, "shuffle": True, "validation_split": 0.2}
    for at_once in (None, 3):
        ensemble = ensemble_of_networks({}, backend, dtype)
        ensemble.train(array(Xs), array(ys), 0.5, sample_weight=array(weights), members_at_once=at_once, **training)
        predictions = backend.to_numpy(ensemble.predict(array(Xs)))
        assert predictions.shape == (E, N, 1)
        for i in range(E):
            expected = individual(i, {}, backend, dtype)
            expected.train(array(Xs[i]), array(ys[i]), 0.5, sample_weight=array(weights[i]), **training)
            close(ensemble.member(i), expected)
            np.testing.assert_allclose(predictions[i], backend.to_numpy(expected.predict(array(Xs[i]))), rtol=1e-4)


def test_networks_may_share_samples_but_not_targets(backend, dtype, array, rng, X, close):
    ys = rng.random((E, N, 1))
    ensemble = ensemble_of_networks({}, backend, dtype)
    ensemble.train(array(X), array(ys), 0.5, epochs=2, verbose=False, shuffle=True)
    for i in range(E):
        expected = individual(i, {}, backend, dtype)
        expected.train(array(X), array(ys[i]), 0.5, epochs=2, verbose=False, shuffle=True)
        close(ensemble.member(i), expected)


def test_every_network_may_have_its_own_labels(backend, dtype, array, rng, X):
    labels = rng.integers(0, 3, (E, N, 1))
    settings = {"loss": "categorical_crossentropy", "device": backend, "dtype": dtype}
    ensemble = NeuralNetwork([2, 4, 3], ensemble=E, seed=0, **settings)
    ensemble.train(array(X), array(labels), 0.5, epochs=2, verbose=False, class_weight="balanced")
    one = NeuralNetwork([2, 4, 3], seed=2, **settings)
    one.train(array(X), array(labels[2]), 0.5, epochs=2, verbose=False, class_weight="balanced")
    np.testing.assert_allclose(backend.to_numpy(ensemble.theta[2, ...]), backend.to_numpy(one.theta), rtol=1e-4)


def test_networks_share_the_documents_stack_even_if_they_are_as_many_as_the_samples():
    """One-hot targets of shape (N, n_L, 1) are not labels of N networks."""
    X, Y = np.eye(3)[:, :2], np.eye(3)[[2, 1, 0]]
    settings = {"activations": ["softmax"], "loss": "categorical_crossentropy"}
    ensemble = NeuralNetwork([2, 3], ensemble=3, seed=[0, 0, 0], **settings)
    ensemble.train(X[..., None], Y[..., None], 0.5, epochs=3, verbose=False)
    one = NeuralNetwork([2, 3], seed=0, **settings)
    one.train(X, Y, 0.5, epochs=3, verbose=False)
    np.testing.assert_allclose(ensemble.theta, np.stack([one.theta] * 3), rtol=1e-12)


def test_every_network_may_have_its_own_single_sample(rng):
    Xs, ys = rng.standard_normal((3, 1, 2)), rng.random((3, 1, 1))
    ensemble = NeuralNetwork([2, 3, 1], ensemble=3, seed=0)
    ensemble.train(Xs, ys, 0.5, epochs=3, verbose=False)
    one = NeuralNetwork([2, 3, 1], seed=1)
    one.train(Xs[1], ys[1], 0.5, epochs=3, verbose=False)
    np.testing.assert_allclose(ensemble.theta[1], one.theta, rtol=1e-12)


def test_custom_parts_work_in_an_ensemble(backend, dtype, array, X, y, close):
    settings = {
        "activations": [
            "relu",
            Activation(lambda xp, Z: Z / (1.0 + xp.abs(Z)), lambda xp, dA, Z, A: dA / (1.0 + xp.abs(Z)) ** 2),
            "identity",
        ],
        "loss": Loss(lambda xp, A, Y: xp.sum((A - Y) ** 4, axis=-2), lambda xp, A, Y: 4.0 * (A - Y) ** 3),
        "optimizer": Optimizer(
            lambda xp, theta: (xp.zeros_like(theta),),
            lambda xp, theta, d, state, rate: (theta - rate * (d + state[0]), (d,)),
        ),
        "initializer": lambda rng, n_out, n_in: (rng.random((n_out, n_in)), rng.random((n_out, 1))),
    }
    ensemble = ensemble_of_networks(settings, backend, dtype)
    ensemble.train(array(X), array(y), 0.01, epochs=3, verbose=False, batch_size=2, members_at_once=3)
    for i in range(E):
        expected = individual(i, settings, backend, dtype)
        expected.train(array(X), array(y), 0.01, epochs=3, verbose=False, batch_size=2)
        close(ensemble.member(i), expected)


def test_a_network_that_diverges_stops_and_the_others_continue(backend, dtype, array, X, y, close, capsys):
    settings = {"activations": ["relu", "relu", "identity"], "initial_scale": [10.0] * E}
    ensemble = ensemble_of_networks(settings, backend, dtype)
    ensemble.train(array(X), array(y), [0.001, 1e4, 0.002, 1e4], epochs=6, verbose_epoch=5)
    assert np.isfinite(ensemble.history["loss"][:, [0, 2]]).all()
    assert np.isnan(ensemble.history["loss"][-1, [1, 3]]).all()
    assert np.isfinite(backend.to_numpy(ensemble.theta)).all()
    assert ensemble.best_member().seed in (20, 22)
    assert "2 of 4 diverged" in capsys.readouterr().out
    expected = individual(2, settings, backend, dtype)
    expected.train(array(X), array(y), 0.002, epochs=6, verbose=False)
    close(ensemble.member(2), expected)


def test_training_stops_when_all_networks_have_diverged(X, y):
    ensemble = NeuralNetwork(LAYERS, activations=["relu", "relu", "identity"], initial_scale=10, ensemble=2, seed=0)
    with pytest.raises(FloatingPointError, match=r"most likely the learning rates of 1000 to 10000 are too high"):
        ensemble.train(X, y, [1e3, 1e4], epochs=50, verbose=False)
    assert ensemble.epochs_trained < 50
    assert np.isfinite(ensemble.history["loss"]).any(axis=1).all()


# ---- The ensemble as a network


def test_every_array_of_an_ensemble_has_a_leading_ensemble_axis(backend, dtype, array, assert_close, X):
    ensemble = ensemble_of_networks({}, backend, dtype)
    members = [ensemble.member(i) for i in range(E)]
    assert ensemble.ensemble == E
    assert ensemble.seed == [20, 21, 22, 23]
    assert ensemble.theta.shape == (E, ensemble.parameters.layout.size)
    assert ensemble.parameters["W1"].shape == (E, 5, 2)
    assert_close(ensemble.predict(array(X)), [backend.to_numpy(each.predict(array(X))) for each in members])
    AL = ensemble.deep_forward(array(X.T))
    assert_close(AL, [backend.to_numpy(each.deep_forward(array(X.T))) for each in members])
    Y = array(np.linspace(0, 1, N)[None, :])
    assert_close(
        ensemble.cost_function(Y, AL),
        [backend.to_numpy(each.cost_function(Y, AL[i, ...])) for i, each in enumerate(members)],
    )
    grads = ensemble.backward_pass(Y, AL)
    for i, each in enumerate(members):
        for name, value in each.backward_pass(Y, each.deep_forward(array(X.T))).items():
            assert_close(grads[name][i, ...], backend.to_numpy(value))
    ensemble.update_parameters(grads, 0.1)
    for each in members:
        each.update_parameters(each.backward_pass(Y, each.deep_forward(array(X.T))), 0.1)
    assert_close(ensemble.theta, [backend.to_numpy(each.theta) for each in members])


def test_predictions_keep_the_form_of_the_samples(X):
    one_input = NeuralNetwork([1, 3, 1], ensemble=E, seed=0)
    assert one_input.predict(X[:, 0]).shape == (E, N)
    assert one_input.predict(X[:, :1]).shape == (E, N, 1)
    ensemble = NeuralNetwork(LAYERS, ensemble=E, seed=0)
    assert ensemble.predict(X[:, :, None]).shape == (E, N, 1, 1)
    np.testing.assert_array_equal(ensemble.predict(X[:, :, None])[..., 0], ensemble.predict(X))


def test_a_member_trains_on_as_in_the_ensemble(X, y):
    ensemble = NeuralNetwork(LAYERS, ensemble=3, optimizer="adam", dropout=0.3, seed=5)
    training = {"verbose": False, "shuffle": True, "batch_size": 4}
    ensemble.train(X, y, [0.1, 0.01, 0.02], epochs=2, **training)
    member = ensemble.member(-1)
    assert (member.seed, member.ensemble, member.epochs_trained) == (7, None, 2)
    member.train(X, y, 0.02, epochs=2, **training)
    ensemble.train(X, y, [0.1, 0.01, 0.02], epochs=2, **training)
    np.testing.assert_allclose(member.theta, ensemble.theta[2], rtol=1e-10)
    member.clear_weights()
    ensemble.clear_weights()
    np.testing.assert_array_equal(member.theta, ensemble.theta[2])


def test_training_a_member_does_not_change_the_ensemble(backend, dtype, array, X, y):
    ensemble = ensemble_of_networks({}, backend, dtype)
    ensemble.train(array(X), array(y), 0.1, epochs=1, verbose=False)
    member, before = ensemble.member(0), backend.to_numpy(ensemble.theta).copy()
    assert member.backend == backend
    member.train(array(X), array(y), 0.1, epochs=1, verbose=False)
    np.testing.assert_array_equal(backend.to_numpy(ensemble.theta), before)


def test_the_best_member_has_the_lowest_loss(X, y):
    ensemble = NeuralNetwork(LAYERS, ensemble=E, seed=0)
    ensemble.train(X, y, RATES, epochs=3, verbose=False)
    assert ensemble.best_member().seed == int(np.argmin(ensemble.epoch_loss[-1]))
    others = np.ones((5, 2)), np.linspace(0.9, 1.0, 5)
    ensemble.train(X, y, RATES, epochs=1, verbose=False, validation_data=others)
    assert ensemble.best_member().seed == int(np.argmin(ensemble.evaluate(*others)["loss"]))


def test_the_best_member_stays_known_if_the_next_training_is_interrupted_at_once(X, y):
    class Interrupts(Callback):
        def on_train_begin(self, network):
            raise KeyboardInterrupt

    ensemble = NeuralNetwork(LAYERS, ensemble=E, seed=0)
    ensemble.train(X, y, RATES[::-1], epochs=3, verbose=False)
    before = ensemble.best_member_index()
    assert before != 0
    with pytest.raises(KeyboardInterrupt):
        ensemble.train(X, y, RATES, epochs=3, verbose=False, patience=2, callbacks=Interrupts())
    assert ensemble.best_member_index() == before


def test_an_ensemble_without_a_finite_loss_has_no_best_member(X, y):
    ensemble = NeuralNetwork(LAYERS, activations=["relu", "relu", "identity"], dtype="float32", ensemble=2, seed=0)
    ensemble.train(X, y, 0.1, epochs=1, verbose=False, validation_data=(X * 1e30, y))
    with pytest.raises(ValueError, match="an ensemble with a finite loss, got losses that are all NaN"):
        ensemble.best_member()


def test_changing_returned_settings_does_not_change_the_ensemble(X):
    ensemble = NeuralNetwork(LAYERS, ensemble=2, l2=[0.1, 0.2], initial_scale=[1.0, 2.0], seed=0)
    ensemble.seed[0] = 5
    ensemble.settings["dropout"].append(0.3)
    assert ensemble.seed == [0, 1]
    assert ensemble.l2 == [0.1, 0.2]
    assert ensemble.initial_scale == [1.0, 2.0]
    assert ensemble.dropout == [0.0, 0.0]


def test_an_ensemble_of_one_is_an_ensemble(X, y):
    ensemble, one = NeuralNetwork(LAYERS, ensemble=1, seed=3), NeuralNetwork(LAYERS, seed=3)
    for each in (ensemble, one):
        each.train(X, y, 0.1, epochs=2, verbose=False, shuffle=True, batch_size=2)
    assert ensemble.theta.shape == (1, *one.theta.shape)
    np.testing.assert_allclose(ensemble.best_member().theta, one.theta, rtol=1e-12)


def test_an_ensemble_trains_in_chunks_when_memory_is_short(monkeypatch, backend, dtype, array, X, y):
    training = {"epochs": 2, "verbose": False, "shuffle": True, "batch_size": 3}
    at_once, in_chunks = ensemble_of_networks({}, backend, dtype), ensemble_of_networks({}, backend, dtype)
    at_once.train(array(X), array(y), RATES, **training)
    monkeypatch.setattr(type(backend), "step_memory", 2500)
    assert len(in_chunks._members._chunks(backend, 200)) > 1
    in_chunks.train(array(X), array(y), RATES, **training)
    np.testing.assert_allclose(backend.to_numpy(in_chunks.theta), backend.to_numpy(at_once.theta), rtol=1e-5)


@pytest.mark.parametrize("ensemble", [None, 3])
def test_many_samples_are_predicted_in_chunks_that_fit_into_memory(ensemble, monkeypatch, backend, dtype, array, rng):
    network = NeuralNetwork([2, 5, 3], loss="categorical_crossentropy", ensemble=ensemble, device=backend, dtype=dtype)
    X, y = array(rng.standard_normal((50, 2))), array(rng.integers(0, 3, 50))
    results = []
    for memory in (backend.step_memory, 2000):
        monkeypatch.setattr(type(backend), "step_memory", memory)
        measured = network.evaluate(X, y, metrics=["accuracy"])
        results.append([backend.to_numpy(network.predict(X)), *measured.values()])
    for at_once, in_chunks in zip(*results, strict=True):
        np.testing.assert_allclose(in_chunks, at_once, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_predict_needs_no_memory_for_all_samples_in_all_layers(rng):
    network, X = NeuralNetwork([4, 200, 200, 1], dtype="float32", seed=0), rng.random((20_000, 4), dtype="float32")
    network.predict(X[:10])
    tracemalloc.start()
    network.predict(X)
    network.evaluate(X, X[:, 0], metrics=["r2_score"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20  # all layers of all samples would be 100 MiB


def test_plot_epoch_draws_the_losses_of_an_ensemble(X, y, monkeypatch):
    from matplotlib import pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    ensemble = NeuralNetwork(LAYERS, ensemble=E, seed=0)
    ensemble.train(X, y, 0.1, epochs=3, verbose=False)
    ensemble.plot_epoch()
    plt.close("all")


# ---- Bad input

REFUSED = [
    ({"ensemble": 0}, ValueError, "ensemble must be a positive integer, got 0"),
    ({"ensemble": 2.0}, TypeError, "ensemble must be a positive integer, got 2.0"),
    ({"ensemble": 2, "seed": [1, 2, 3]}, ValueError, "seed must be one integer, or a list of 2, .* got 3"),
    ({"ensemble": 2, "seed": [1, -2]}, ValueError, "seed must not be negative, got -2"),
    ({"ensemble": 2, "seed": 1.5}, TypeError, "seed must be an integer, or a list with .* each network, got 1.5"),
    ({"seed": [1, 2]}, TypeError, r"seed must be an integer, got \[1, 2\]"),
    ({"ensemble": 2, "l2": [0.1, -1.0]}, ValueError, r"l2\[1\] must be 0 or a positive number, finite in float.*"),
    ({"ensemble": 2, "l2": [0.1]}, ValueError, r"l2, with one value for each network, must have the shape \(2,\)"),
    ({"ensemble": 2, "weight_decay": ["a", "b"]}, TypeError, "weight_decay cannot be converted to an array"),
    ({"ensemble": 2, "initial_scale": [1.0, 0.0]}, ValueError, r"initial_scale\[1\] must be a positive"),
    ({"ensemble": 2, "clip_norm": [1.0, float("nan")]}, ValueError, r"clip_norm\[1\] must be a positive"),
    ({"l1": [0.1, 0.2]}, TypeError, r"l1 must be 0 or a positive number, got \[0.1, 0.2\]"),
    ({"ensemble": 2, "optimizer": Optimizer(lambda xp, theta: (xp.sum(theta),), OPTIMIZERS["sgd"].update)}, ValueError,
     r"the state that optimizer.init returns must have the shape \(2,\) \+ …, got \(\)"),
    ({"dropout": 1.0}, ValueError, "dropout must be below 1, got 1.0"),
    ({"dropout": -0.1}, ValueError, "dropout must be 0 or a positive"),
    ({"dropout": [0.1]}, ValueError, "dropout must be a list of 2, one for each of the hidden layers"),
    ({"layer_list": [2, 1], "dropout": 0.5}, ValueError, "dropout must be 0 for a network without hidden layers"),
    ({"dropout": "much"}, TypeError, "dropout must be a list with one for each of the 2 hidden layers"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "error", "says"), REFUSED, ids=[f"{i} {[*case[0]]}" for i, case in enumerate(REFUSED)]
)
def test_invalid_settings_are_refused(settings, error, says):
    with pytest.raises(error, match=says):
        NeuralNetwork(**{"layer_list": LAYERS, **settings})


UNFIT = [
    ({"learning_rate": [0.1, 0.2]}, ValueError, "learning_rate, with one value for each network, must have"),
    ({"learning_rate": [0.1, 0.2, 0.0, 1.0]}, ValueError, r"learning_rate\[2\] must be a positive"),
    ({"X": np.zeros((3, N, 2))}, ValueError, r"shape \(N, 2\), \(N, 2, 1\) or \(4, N, 2\), got \(3, 11, 2\)"),
    ({"y": np.zeros((4, N, 2))}, ValueError, "y must have"),
    ({"y": np.zeros((4, 5, 1))}, ValueError, "X and y must have the same number of samples, got 11 and 5"),
    ({"sample_weight": np.ones((3, N))}, ValueError, r"must have the shape \(11,\) or \(4, 11\), got \(3, 11\)"),
    ({"members_at_once": 0}, ValueError, "members_at_once must be a positive integer, got 0"),
    ({"schedule": lambda xp, t, history: xp.ones((11, 3))}, ValueError, r"have the shape \(11, 4\), got"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "error", "says"), UNFIT, ids=[next(iter(case[0])) + str(i) for i, case in enumerate(UNFIT)]
)
def test_invalid_training_arguments_are_refused(given, error, says, backend, dtype, array, X, y):
    ensemble = ensemble_of_networks({}, backend, dtype)
    before = backend.to_numpy(ensemble.theta).copy()
    arguments = {"X": X, "y": y, "learning_rate": 0.1, "epochs": 1, "verbose": False, **given}
    for name in ("X", "y", "sample_weight"):
        if name in arguments:
            arguments[name] = array(arguments[name])
    with pytest.raises(error, match=says):
        ensemble.train(**arguments)
    np.testing.assert_array_equal(backend.to_numpy(ensemble.theta), before)
    assert ensemble.epochs_trained == 0


def test_members_are_indexed_from_either_end(X):
    ensemble = NeuralNetwork(LAYERS, ensemble=3, seed=0)
    assert ensemble.member(-3).seed == 0
    for i in (3, -4):
        with pytest.raises(IndexError, match=f"i must be between -3 and 2, got {i}"):
            ensemble.member(i)
    with pytest.raises(TypeError):
        ensemble.member(1.0)
    with pytest.raises(ValueError, match="must be called on a trained ensemble, got one without a recorded loss"):
        ensemble.best_member()
    for ask in (lambda n: n.member(0), lambda n: n.best_member()):
        with pytest.raises(ValueError, match="is not an ensemble"):
            ask(NeuralNetwork(LAYERS))
