"""NeuralNetwork: its methods, data in every form and on every device, its history, and its state after errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from xpnet import Activation, Callback, Loss, NeuralNetwork, Optimizer, get_backend

LAYERS = [2, 4, 3]
N = 7


@pytest.fixture
def network(backend, dtype):
    return NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)


@pytest.fixture
def X(rng):
    return rng.standard_normal((N, 2))


@pytest.fixture
def y(rng):
    return rng.random((N, 3))


def theta_of(network):
    return network.backend.to_numpy(network.theta).copy()


# ---- Forms of data


@pytest.mark.parametrize("form", ["rows", "document"])
def test_samples_are_rows_or_the_documents_stack(form, backend, dtype, array, assert_close, X, y):
    shaped = {"rows": lambda a: a, "document": lambda a: a[:, :, None]}[form]
    network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    network.train(array(shaped(X)), array(shaped(y)), learning_rate=0.1, epochs=2, verbose=False)
    plain = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    plain.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(theta_of(network), theta_of(plain))
    predictions = network.predict(array(shaped(X)))
    expected = backend.to_numpy(plain.deep_forward(array(X.T))).T
    assert_close(predictions, shaped(expected))


def test_one_input_and_one_output_may_be_flat_arrays(backend, dtype, array, assert_close, rng):
    x, y = rng.standard_normal(N), rng.random(N)
    flat, rows = (NeuralNetwork([1, 3, 1], device=backend, dtype=dtype, seed=1) for _ in range(2))
    flat.train(array(x), array(y), learning_rate=0.1, epochs=2, verbose=False)
    rows.train(array(x[:, None]), array(y[:, None]), learning_rate=0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(theta_of(flat), theta_of(rows))
    assert_close(flat.predict(array(x)), backend.to_numpy(rows.predict(array(x[:, None])))[:, 0])


def test_lists_of_integers_and_booleans_are_accepted():
    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train([[0, 0], [0, 1], [1, 0], [1, 1]], [False, True, True, False], 0.1, epochs=2, verbose=False)
    assert network.predict([[0, 1]]).shape == (1,)


def test_a_network_without_a_device_follows_the_datas_device(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, dtype=dtype, seed=1)
    assert network.backend == get_backend("cpu")
    network.train(array(X), array(y), learning_rate=0.1, epochs=1, verbose=False)
    assert network.backend == backend
    predictions = network.predict(X)
    assert isinstance(predictions, np.ndarray)
    assert network.backend == get_backend("cpu")
    assert len(network.epoch_loss) == 1


def test_lists_do_not_move_a_network(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, dtype=dtype, seed=1)
    network.train(array(X), array(y), learning_rate=0.1, epochs=1, verbose=False)
    predictions = network.predict(X.tolist())
    assert isinstance(predictions, np.ndarray)
    assert network.backend == backend


def test_a_network_with_a_device_stays_there_and_returns_results_on_the_datas_device(
    backend, dtype, array, assert_close, X, y
):
    network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    network.train(X, y, learning_rate=0.1, epochs=2, verbose=False)
    assert network.backend == backend
    predictions = network.predict(X)
    assert isinstance(predictions, np.ndarray)
    assert_close(network.predict(array(X)), predictions)
    AL = network.deep_forward(X.T)
    grads = network.backward_pass(y.T, AL)
    assert all(isinstance(value, np.ndarray) for value in (AL, network.cost_function(y.T, AL), *grads.values()))
    network.update_parameters(grads, 0.1)
    assert network.backend == backend


def test_training_does_not_change_the_data(network, array, backend, X, y):
    arrays = [array(X), array(y), array(X.T)]
    network.train(*arrays[:2], learning_rate=0.5, epochs=2, verbose=False, shuffle=True)
    network.deep_forward(arrays[2])
    for actual, expected in zip(arrays, [X, y, X.T], strict=True):
        np.testing.assert_array_equal(backend.to_numpy(actual), backend.to_numpy(array(expected)))


def counting_momentum():
    """Return momentum that also counts its steps, in a state whose shape and type differ from theta's."""

    def update(xp, theta, dtheta, state, learning_rate):
        v, steps = 0.9 * state[0] + dtheta, state[1] + 1
        return theta - learning_rate * v, (v, steps)

    return Optimizer(lambda xp, theta: (xp.zeros_like(theta), xp.astype(xp.sum(theta * 0), xp.int32)), update)


def test_the_optimizer_state_moves_with_the_network_and_keeps_its_shapes_and_types(backend, dtype, array, X, y):
    network, stays = (NeuralNetwork(LAYERS, dtype=dtype, optimizer=counting_momentum(), seed=1) for _ in range(2))
    for data in ((X, y), (array(X), array(y)), (X, y)):
        network.train(*data, learning_rate=0.1, epochs=2, verbose=False, batch_size=3)
        stays.train(X, y, learning_rate=0.1, epochs=2, verbose=False, batch_size=3)
    np.testing.assert_allclose(theta_of(network), theta_of(stays), rtol=1e-5)
    v, steps = network._snapshot.optimizer_state
    assert (v.shape, v.dtype) == (network.theta.shape, network.theta.dtype)
    assert (steps.shape, steps.dtype, int(steps)) == ((), np.int32, 18)


def test_assigning_all_parameters_resets_the_optimizer_state(X, y):
    network = NeuralNetwork(LAYERS, optimizer=counting_momentum(), seed=1)
    network.train(X, y, 0.1, epochs=2, verbose=False)
    network.parameters = dict(network.parameters)
    assert int(network._snapshot.optimizer_state[1]) == 0


# ---- Seeds and precision


def test_the_same_seed_gives_the_same_initial_weights_on_every_backend(network, dtype):
    expected = NeuralNetwork(LAYERS, seed=1).theta.astype(dtype)
    np.testing.assert_array_equal(theta_of(network), expected)
    assert str(network.theta.dtype).endswith(dtype)


def test_networks_without_a_given_seed_differ_and_can_be_repeated():
    one, other = NeuralNetwork(LAYERS), NeuralNetwork(LAYERS)
    assert not np.array_equal(one.theta, other.theta)
    np.testing.assert_array_equal(NeuralNetwork(LAYERS, seed=one.seed).theta, one.theta)


def test_initial_weights_do_not_depend_on_shuffling(X, y):
    shuffled, plain = NeuralNetwork(LAYERS, seed=1), NeuralNetwork(LAYERS, seed=1)
    shuffled.train(X, y, 0.1, epochs=3, verbose=False, shuffle=True)
    plain.train(X, y, 0.1, epochs=3, verbose=False)
    assert not np.array_equal(shuffled.theta, plain.theta)
    shuffled.clear_weights()
    plain.clear_weights()
    np.testing.assert_array_equal(shuffled.theta, plain.theta)


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"batch_size": None}, {"batch_size": 2, "shuffle": True}])
def test_repeated_runs_are_bit_identical(options, backend, dtype, array, X, y):
    runs = []
    for _ in range(2):
        network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
        network.train(array(X), array(y), learning_rate=0.1, epochs=3, verbose=False, **options)
        runs.append((theta_of(network), network.epoch_loss))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_dtype_may_be_a_name_or_a_type_of_numpy(dtype):
    network = NeuralNetwork(LAYERS, dtype=dtype)
    assert network.dtype == "float32"
    assert network.theta.dtype == np.float32


# ---- The history, reports and callbacks


def test_several_calls_of_train_record_the_loss_of_every_epoch(network, array, X, y):
    for epochs in (1, 3):
        network.train(array(X), array(y), learning_rate=0.1, epochs=epochs, verbose=False)
    assert network.epochs_trained == 4
    assert len(network.epoch_loss) == 4
    assert all(type(loss) is float for loss in network.epoch_loss)
    assert network.epoch_loss[-1] < network.epoch_loss[0]


def test_clear_weights_resets_the_network(network, array, X, y):
    before = theta_of(network)
    network.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    network.deep_forward(array(X.T))
    network.clear_weights()
    assert network.epoch_loss == []
    assert network.epochs_trained == 0
    assert network.cache == []
    assert not np.array_equal(theta_of(network), before)


def test_reports_have_the_documents_form(network, array, X, y, capsys):
    network.train(array(X), array(y), learning_rate=0.1, epochs=5, verbose_epoch=2)
    network.train(array(X), array(y), 0.1, 2, 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Epoch {epoch} Loss : {network.epoch_loss[epoch]}" for epoch in (0, 2, 4, 6)]


def test_a_network_that_is_not_verbose_prints_nothing(network, array, X, y, capfd):
    network.train(array(X), array(y), 0.1, 2, 1, False)
    network.predict(array(X))
    assert capfd.readouterr() == ("", "")


def test_a_callback_receives_the_network_after_every_epoch(network, array, X, y):
    seen = []
    network.train(
        array(X),
        array(y),
        learning_rate=0.1,
        epochs=3,
        verbose=False,
        callbacks=lambda n: seen.append((n.epochs_trained, theta_of(n), n.epoch_loss[-1])),
    )
    assert [epochs for epochs, *_ in seen] == [1, 2, 3]
    np.testing.assert_array_equal(seen[-1][1], theta_of(network))
    assert [loss for *_, loss in seen] == network.epoch_loss


def test_changing_returned_lists_does_not_change_the_network(network, array, X, y):
    network.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    network.epoch_loss.clear()
    network.layer_list.append(7)
    assert network.epochs_trained == len(network.epoch_loss) == 2
    assert network.layer_list == LAYERS


def test_a_callback_may_predict_on_data_of_any_device(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, dtype=dtype, seed=1)
    predictions = []
    network.train(
        array(X),
        array(y),
        0.1,
        epochs=3,
        verbose=False,
        callbacks=lambda n: predictions.append((n.predict(X), n.backend)),
    )
    assert all(isinstance(prediction, np.ndarray) and place == backend for prediction, place in predictions)
    assert network.backend == backend
    np.testing.assert_allclose(predictions[-1][0], backend.to_numpy(network.predict(array(X))), rtol=1e-6)


def test_a_callback_may_copy_the_network_and_train_the_copy(X, y):
    copies = []
    network = NeuralNetwork(LAYERS, seed=1)
    network.train(X, y, 0.1, epochs=3, verbose=False, callbacks=lambda n: copies.append(copy.deepcopy(n)))
    copies[0].train(X, y, 0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(copies[0].theta, network.theta)
    assert copies[0].epoch_loss == network.epoch_loss


@pytest.mark.parametrize(
    "change",
    [
        lambda n, X, y: n.train(X, y, 0.1),
        lambda n, X, y: n.clear_weights(),
        lambda n, X, y: n.update_parameters({}, 0.1),
        lambda n, X, y: setattr(n, "parameters", dict(n.parameters)),
        lambda n, X, y: n.parameters.__setitem__("W1", np.zeros((4, 2))),
    ],
    ids=["train", "clear_weights", "update_parameters", "parameters", "a parameter"],
)
def test_a_callback_may_not_change_the_network(change, X, y):
    network = NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(
        RuntimeError, match="while the network trains: a callback may read or copy the network, or raise"
    ):
        network.train(X, y, 0.1, epochs=3, verbose=False, callbacks=lambda n: change(n, X, y))
    expected = NeuralNetwork(LAYERS, seed=1)
    expected.train(X, y, 0.1, epochs=1, verbose=False)
    np.testing.assert_array_equal(network.theta, expected.theta)
    assert network.epoch_loss == expected.epoch_loss


def test_on_train_begin_may_not_change_the_network(X, y):
    class Changes(Callback):
        def on_train_begin(self, network):
            network.parameters["W1"] = np.zeros((4, 2))

    network, before = NeuralNetwork(LAYERS, seed=1), NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(RuntimeError, match="while the network trains"):
        network.train(X, y, 0.1, epochs=3, verbose=False, callbacks=Changes())
    np.testing.assert_array_equal(network.theta, before.theta)


def test_an_exception_of_a_callback_ends_the_training_and_keeps_its_epochs(X, y):
    def stop(network):
        raise LookupError

    network = NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(LookupError):
        network.train(X, y, 0.1, epochs=3, verbose=False, callbacks=stop)
    expected = NeuralNetwork(LAYERS, seed=1)
    expected.train(X, y, 0.1, epochs=1, verbose=False)
    np.testing.assert_array_equal(network.theta, expected.theta)
    assert network.epoch_loss == expected.epoch_loss


def test_the_settings_build_an_equal_network(network, backend):
    again = NeuralNetwork(**network.settings, device=backend)
    assert again.settings == network.settings
    np.testing.assert_array_equal(theta_of(again), theta_of(network))


def test_repr_shows_the_settings_and_the_state_of_the_network(network):
    place = f"device={network.backend.device!r}, dtype={network.dtype!r})  # 27 parameters, "
    assert repr(network) == (
        "NeuralNetwork([2, 4, 3], activations=['relu', 'sigmoid'], loss='half_squared_error', optimizer='sgd', "
        f"initializer='normal', seed=1, {place}0 epochs trained"
    )
    network.train(np.ones((2, 2)), np.ones((2, 3)), 0.1, epochs=3, verbose=False)
    assert repr(network).endswith(f"{place}3 epochs trained")


def test_repr_evaluates_to_an_equal_network():
    network = NeuralNetwork([2, 4, 3], activations=["relu", "tanh"], optimizer="adam", ensemble=2, seed=[3, 5])
    again = eval(repr(network))
    assert again.settings == network.settings
    np.testing.assert_array_equal(again.theta, network.theta)


def test_a_random_seed_has_at_most_32_bits():
    assert all(0 <= NeuralNetwork([1, 1]).seed < 2**32 for _ in range(20))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["copy", "pickle"])
def test_a_copy_of_a_network_trains_on_identically(duplicate, X, y):
    network = NeuralNetwork(LAYERS, seed=1)
    network.train(X, y, 0.1, epochs=1, verbose=False, shuffle=True)
    other = duplicate(network)
    for each in (network, other):
        each.train(X, y, 0.1, epochs=2, verbose=False, shuffle=True)
    np.testing.assert_array_equal(network.theta, other.theta)
    assert network.epoch_loss == other.epoch_loss


# ---- Custom parts


def test_custom_parts_train_like_the_built_in_ones(backend, dtype, array, X, y):
    """The custom parts repeat the built-in ones."""
    custom_relu = Activation(lambda xp, Z: xp.maximum(Z, 0.0), lambda xp, dA, Z, A: xp.where(Z > 0, dA, 0.0))
    loss = Loss(lambda xp, A, Y: xp.sum((A - Y) ** 2, axis=-2) / 2, lambda xp, A, Y: A - Y)
    sgd = Optimizer(lambda xp, theta: (), lambda xp, theta, d, state, rate: (theta - rate * d, state))
    networks = [
        NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1),
        NeuralNetwork(
            LAYERS,
            activations=[custom_relu, "sigmoid"],
            loss=loss,
            optimizer=sgd,
            initializer=lambda rng, n_out, n_in: (
                0.1 * rng.standard_normal((n_out, n_in)),
                0.1 * rng.standard_normal((n_out, 1)),
            ),
            device=backend,
            dtype=dtype,
            seed=1,
        ),
    ]
    for network in networks:
        network.train(array(X), array(y), learning_rate=0.5, epochs=3, verbose=False, batch_size=2)
    np.testing.assert_allclose(theta_of(networks[0]), theta_of(networks[1]), rtol=1e-4, atol=1e-6)


# ---- Divergence, errors and Ctrl-C


def test_divergence_raises_an_error_with_epoch_and_cause_and_keeps_finite_weights(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], device=backend, dtype=dtype, seed=1)
    network.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    with pytest.raises(
        FloatingPointError, match=r"NaN or infinite in epoch \d+: most likely the learning rate of 1000"
    ):
        network.train(array(X), array(y), learning_rate=1000, epochs=50, verbose=False)
    assert np.isfinite(theta_of(network)).all()
    assert np.isfinite(network.epoch_loss).all()
    assert 2 <= network.epochs_trained == len(network.epoch_loss) < 52


def test_divergence_is_detected_even_if_a_callback_stops_the_training(X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)

    def stop(network):
        if network.epochs_trained == 30:
            network.stop_training()

    with pytest.raises(FloatingPointError):
        network.train(X, y, 1000, epochs=50, verbose=False, callbacks=stop)
    assert network.epochs_trained < 30


def test_divergence_is_detected_even_if_a_callback_reads_the_losses(X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)
    with pytest.raises(FloatingPointError):
        network.train(X, y, 1000, epochs=50, verbose=False, callbacks=lambda n: n.epoch_loss)
    assert np.isfinite(network.epoch_loss).all()


def test_nan_in_the_last_epoch_is_detected_before_callbacks_are_called(X, y):
    seen = []
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)
    with pytest.raises(FloatingPointError, match="in epoch 0"):
        network.train(X, y, 1e300, epochs=1, verbose=False, callbacks=lambda n: seen.append(n.epoch_loss))
    assert seen == []


@pytest.mark.parametrize("patience", [None, 2])
def test_a_training_without_a_finite_epoch_changes_nothing(patience, X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)
    network.train(X, y, 0.1, epochs=5, patience=3, verbose=False)
    before = network.best_epoch, network.best_loss, network.epoch_loss, theta_of(network).tolist()
    with pytest.raises(FloatingPointError):
        network.train(X * 1e150, y, 1e300, epochs=2, patience=patience, verbose=False)
    assert (network.best_epoch, network.best_loss, network.epoch_loss, theta_of(network).tolist()) == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, LookupError])
def test_an_interruption_after_undetected_divergence_leaves_only_finite_losses(stop, X, y):
    def interrupt(network):
        if network.epochs_trained == 60:
            raise stop

    network = NeuralNetwork(LAYERS, activations=["identity", "identity"], seed=1)
    with pytest.raises(stop):
        network.train(X, y, 30.0, epochs=100, verbose=False, callbacks=interrupt)
    assert network.epochs_trained == len(network.epoch_loss) < 60
    assert np.isfinite(network.epoch_loss).all()
    assert np.isfinite(network.theta).all()


def test_the_order_of_samples_depends_only_on_the_seed_and_the_epoch(X, y):
    def stop(network):
        if network.epochs_trained == 2:
            raise KeyboardInterrupt

    interrupted, expected = NeuralNetwork(LAYERS, seed=1), NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train(X, y, 0.1, epochs=5, verbose=False, shuffle=True, callbacks=stop)
    interrupted.train(X, y, 0.1, epochs=3, verbose=False, shuffle=True)
    expected.train(X, y, 0.1, epochs=5, verbose=False, shuffle=True)
    np.testing.assert_array_equal(interrupted.theta, expected.theta)


def test_ctrl_c_keeps_the_completed_epochs_and_names_the_epoch(backend, dtype, array, X, y):
    def stop(network):
        if network.epochs_trained == 3:
            raise KeyboardInterrupt

    network, expected = (NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1) for _ in range(2))
    with pytest.raises(KeyboardInterrupt, match=r"interrupted in epoch 3 \(of epochs 0 to 9\)"):
        network.train(array(X), array(y), learning_rate=0.1, epochs=10, verbose=False, callbacks=stop)
    expected.train(array(X), array(y), learning_rate=0.1, epochs=3, verbose=False)
    np.testing.assert_array_equal(theta_of(network), theta_of(expected))
    assert network.epoch_loss == expected.epoch_loss


def test_ctrl_c_within_an_epoch_restores_the_state_before_it(X, y):
    steps = iter(range(10**6))

    def update(xp, theta, dtheta, state, learning_rate):
        if next(steps) == 2 * N + 4:  # the first one is a dry run
            raise KeyboardInterrupt
        theta -= learning_rate * dtheta
        return theta, state

    network = NeuralNetwork(LAYERS, optimizer=Optimizer(lambda xp, theta: (), update), seed=1)
    expected = NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(KeyboardInterrupt, match="epoch 2"):
        network.train(X, y, 0.1, epochs=10, verbose=False)
    expected.train(X, y, 0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(network.theta, expected.theta)
