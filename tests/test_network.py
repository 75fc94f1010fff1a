"""The document's class: its methods, data in every form and place, its record, and what it keeps in trouble."""

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


def host(network):
    return network.backend.to_numpy(network.theta).copy()


# ---- Data as people have it


@pytest.mark.parametrize("form", ["rows", "document"])
def test_samples_are_rows_or_the_documents_stack(form, backend, dtype, array, assert_close, X, y):
    shaped = {"rows": lambda a: a, "document": lambda a: a[:, :, None]}[form]
    network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    network.train(array(shaped(X)), array(shaped(y)), learning_rate=0.1, epochs=2, verbose=False)
    plain = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    plain.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(host(network), host(plain))
    answers = network.predict(array(shaped(X)))
    expected = backend.to_numpy(plain.deep_forward(array(X.T))).T
    assert_close(answers, shaped(expected))


def test_one_input_and_one_output_may_come_flat(backend, dtype, array, assert_close, rng):
    x, y = rng.standard_normal(N), rng.random(N)
    flat, rows = (NeuralNetwork([1, 3, 1], device=backend, dtype=dtype, seed=1) for _ in range(2))
    flat.train(array(x), array(y), learning_rate=0.1, epochs=2, verbose=False)
    rows.train(array(x[:, None]), array(y[:, None]), learning_rate=0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(host(flat), host(rows))
    assert_close(flat.predict(array(x)), backend.to_numpy(rows.predict(array(x[:, None])))[:, 0])


def test_lists_integers_and_booleans_are_data_too():
    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train([[0, 0], [0, 1], [1, 0], [1, 1]], [False, True, True, False], 0.1, epochs=2, verbose=False)
    assert network.predict([[0, 1]]).shape == (1,)


def test_a_network_without_a_device_goes_where_the_data_is(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, dtype=dtype, seed=1)
    assert network.backend == get_backend("cpu")
    network.train(array(X), array(y), learning_rate=0.1, epochs=1, verbose=False)
    assert network.backend == backend
    answers = network.predict(X)
    assert isinstance(answers, np.ndarray)
    assert network.backend == get_backend("cpu")
    assert len(network.epoch_loss) == 1


def test_lists_and_numbers_are_nowhere_and_leave_a_network_where_it_is(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, dtype=dtype, seed=1)
    network.train(array(X), array(y), learning_rate=0.1, epochs=1, verbose=False)
    answers = network.predict(X.tolist())
    assert isinstance(answers, np.ndarray)
    assert network.backend == backend


def test_a_network_with_a_device_stays_there_and_answers_where_the_data_is(backend, dtype, array, assert_close, X, y):
    network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    network.train(X, y, learning_rate=0.1, epochs=2, verbose=False)
    assert network.backend == backend
    answers = network.predict(X)
    assert isinstance(answers, np.ndarray)
    assert_close(network.predict(array(X)), answers)
    AL = network.deep_forward(X.T)
    grads = network.backward_pass(y.T, AL)
    assert all(isinstance(value, np.ndarray) for value in (AL, network.cost_function(y.T, AL), *grads.values()))
    network.update_parameters(grads, 0.1)
    assert network.backend == backend


def test_data_is_not_changed(network, array, backend, X, y):
    arrays = [array(X), array(y), array(X.T)]
    network.train(*arrays[:2], learning_rate=0.5, epochs=2, verbose=False, shuffle=True)
    network.deep_forward(arrays[2])
    for actual, expected in zip(arrays, [X, y, X.T], strict=True):
        np.testing.assert_array_equal(backend.to_numpy(actual), backend.to_numpy(array(expected)))


def counting_momentum():
    """Momentum that counts its steps too, in a memory of another shape and type than theta's."""

    def update(xp, theta, dtheta, memory, learning_rate):
        v, steps = 0.9 * memory[0] + dtheta, memory[1] + 1
        return theta - learning_rate * v, (v, steps)

    return Optimizer(lambda xp, theta: (xp.zeros_like(theta), xp.astype(xp.sum(theta * 0), xp.int32)), update)


def test_the_optimizers_memory_moves_with_the_network_and_keeps_shapes_and_types(backend, dtype, array, X, y):
    network, stays = (NeuralNetwork(LAYERS, dtype=dtype, optimizer=counting_momentum(), seed=1) for _ in range(2))
    for data in ((X, y), (array(X), array(y)), (X, y)):
        network.train(*data, learning_rate=0.1, epochs=2, verbose=False, batch_size=3)
        stays.train(X, y, learning_rate=0.1, epochs=2, verbose=False, batch_size=3)
    np.testing.assert_allclose(host(network), host(stays), rtol=1e-5)
    v, steps = network._snapshot.optimizer_state
    assert (v.shape, v.dtype) == (network.theta.shape, network.theta.dtype)
    assert (steps.shape, steps.dtype, int(steps)) == ((), np.int32, 18)


def test_assigning_all_parameters_makes_the_optimizer_start_anew(X, y):
    network = NeuralNetwork(LAYERS, optimizer=counting_momentum(), seed=1)
    network.train(X, y, 0.1, epochs=2, verbose=False)
    network.parameters = dict(network.parameters)
    assert int(network._snapshot.optimizer_state[1]) == 0


# ---- Seeds and precision


def test_the_same_seed_gives_the_same_start_everywhere(network, dtype):
    expected = NeuralNetwork(LAYERS, seed=1).theta.astype(dtype)
    np.testing.assert_array_equal(host(network), expected)
    assert str(network.theta.dtype).endswith(dtype)


def test_seeds_differ_and_a_network_knows_its_own():
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
def test_a_run_can_be_repeated_to_the_bit(options, backend, dtype, array, X, y):
    runs = []
    for _ in range(2):
        network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
        network.train(array(X), array(y), learning_rate=0.1, epochs=3, verbose=False, **options)
        runs.append((host(network), network.epoch_loss))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_dtype_is_a_name_or_a_librarys_own(dtype):
    network = NeuralNetwork(LAYERS, dtype=dtype)
    assert network.dtype == "float32"
    assert network.theta.dtype == np.float32


# ---- The record


def test_the_loss_of_every_epoch_is_kept_over_several_calls(network, array, X, y):
    for epochs in (1, 3):
        network.train(array(X), array(y), learning_rate=0.1, epochs=epochs, verbose=False)
    assert network.epochs_trained == 4
    assert len(network.epoch_loss) == 4
    assert all(type(loss) is float for loss in network.epoch_loss)
    assert network.epoch_loss[-1] < network.epoch_loss[0]


def test_clear_weights_starts_anew(network, array, X, y):
    before = host(network)
    network.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    network.deep_forward(array(X.T))
    network.clear_weights()
    assert network.epoch_loss == []
    assert network.epochs_trained == 0
    assert network.cache == []
    assert not np.array_equal(host(network), before)


def test_reports_have_the_documents_form(network, array, X, y, capsys):
    network.train(array(X), array(y), learning_rate=0.1, epochs=5, verbose_epoch=2)
    network.train(array(X), array(y), 0.1, 2, 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Epoch {epoch} Loss : {network.epoch_loss[epoch]}" for epoch in (0, 2, 4, 6)]


def test_otherwise_the_library_never_prints(network, array, X, y, capfd):
    network.train(array(X), array(y), 0.1, 2, 1, False)
    network.predict(array(X))
    assert capfd.readouterr() == ("", "")


def test_the_callback_sees_the_network_after_every_epoch(network, array, X, y):
    seen = []
    network.train(
        array(X),
        array(y),
        learning_rate=0.1,
        epochs=3,
        verbose=False,
        callbacks=lambda n: seen.append((n.epochs_trained, host(n), n.epoch_loss[-1])),
    )
    assert [epochs for epochs, *_ in seen] == [1, 2, 3]
    np.testing.assert_array_equal(seen[-1][1], host(network))
    assert [loss for *_, loss in seen] == network.epoch_loss


def test_the_record_is_the_networks_own(network, array, X, y):
    network.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    network.epoch_loss.clear()
    network.layer_list.append(7)
    assert network.epochs_trained == len(network.epoch_loss) == 2
    assert network.layer_list == LAYERS


def test_a_callback_may_predict_wherever_its_data_is(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, dtype=dtype, seed=1)
    answers = []
    network.train(
        array(X), array(y), 0.1, epochs=3, verbose=False, callbacks=lambda n: answers.append((n.predict(X), n.backend))
    )
    assert all(isinstance(answer, np.ndarray) and place == backend for answer, place in answers)
    assert network.backend == backend
    np.testing.assert_allclose(answers[-1][0], backend.to_numpy(network.predict(array(X))), rtol=1e-6)


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


def test_a_callback_may_not_change_the_network_at_the_start_either(X, y):
    class Changes(Callback):
        def on_train_begin(self, network):
            network.parameters["W1"] = np.zeros((4, 2))

    network, before = NeuralNetwork(LAYERS, seed=1), NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(RuntimeError, match="while the network trains"):
        network.train(X, y, 0.1, epochs=3, verbose=False, callbacks=Changes())
    np.testing.assert_array_equal(network.theta, before.theta)


def test_what_a_callback_raises_ends_the_training_and_keeps_it(X, y):
    def stop(network):
        raise LookupError

    network = NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(LookupError):
        network.train(X, y, 0.1, epochs=3, verbose=False, callbacks=stop)
    expected = NeuralNetwork(LAYERS, seed=1)
    expected.train(X, y, 0.1, epochs=1, verbose=False)
    np.testing.assert_array_equal(network.theta, expected.theta)
    assert network.epoch_loss == expected.epoch_loss


def test_the_settings_make_another_network(network, backend):
    again = NeuralNetwork(**network.settings, device=backend)
    assert again.settings == network.settings
    np.testing.assert_array_equal(host(again), host(network))


def test_the_network_says_what_it_is(network):
    place = f"device={network.backend.device!r}, dtype={network.dtype!r})  # 27 parameters, "
    assert repr(network) == (
        "NeuralNetwork([2, 4, 3], activations=['relu', 'sigmoid'], loss='half_squared_error', optimizer='sgd', "
        f"initializer='normal', seed=1, {place}0 epochs trained"
    )
    network.train(np.ones((2, 2)), np.ones((2, 3)), 0.1, epochs=3, verbose=False)
    assert repr(network).endswith(f"{place}3 epochs trained")


def test_what_the_network_says_of_itself_makes_another():
    network = NeuralNetwork([2, 4, 3], activations=["relu", "tanh"], optimizer="adam", ensemble=2, seed=[3, 5])
    again = eval(repr(network))
    assert again.settings == network.settings
    np.testing.assert_array_equal(again.theta, network.theta)


def test_a_seed_that_was_drawn_is_short():
    assert all(0 <= NeuralNetwork([1, 1]).seed < 2**32 for _ in range(20))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["copy", "pickle"])
def test_a_network_can_be_copied_and_goes_on_alike(duplicate, X, y):
    network = NeuralNetwork(LAYERS, seed=1)
    network.train(X, y, 0.1, epochs=1, verbose=False, shuffle=True)
    other = duplicate(network)
    for each in (network, other):
        each.train(X, y, 0.1, epochs=2, verbose=False, shuffle=True)
    np.testing.assert_array_equal(network.theta, other.theta)
    assert network.epoch_loss == other.epoch_loss


# ---- A user's own


def test_a_users_own_parts_are_as_good_as_the_built_in_ones(backend, dtype, array, X, y):
    """The built-in ones again, in other words."""
    leaky = Activation(lambda xp, Z: xp.maximum(Z, 0.0), lambda xp, dA, Z, A: xp.where(Z > 0, dA, 0.0))
    loss = Loss(lambda xp, A, Y: xp.sum((A - Y) ** 2, axis=-2) / 2, lambda xp, A, Y: A - Y)
    sgd = Optimizer(lambda xp, theta: (), lambda xp, theta, d, memory, rate: (theta - rate * d, memory))
    networks = [
        NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1),
        NeuralNetwork(
            LAYERS,
            activations=[leaky, "sigmoid"],
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
    np.testing.assert_allclose(host(networks[0]), host(networks[1]), rtol=1e-4, atol=1e-6)


# ---- When things go wrong


def test_divergence_stops_with_the_epoch_and_the_likely_cause_and_keeps_good_weights(backend, dtype, array, X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], device=backend, dtype=dtype, seed=1)
    network.train(array(X), array(y), learning_rate=0.1, epochs=2, verbose=False)
    with pytest.raises(
        FloatingPointError, match=r"NaN or infinite in epoch \d+: most likely the learning rate of 1000"
    ):
        network.train(array(X), array(y), learning_rate=1000, epochs=50, verbose=False)
    assert np.isfinite(host(network)).all()
    assert np.isfinite(network.epoch_loss).all()
    assert 2 <= network.epochs_trained == len(network.epoch_loss) < 52


def test_divergence_is_found_though_the_training_was_stopped(X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)

    def stop(network):
        if network.epochs_trained == 30:
            network.stop_training()

    with pytest.raises(FloatingPointError):
        network.train(X, y, 1000, epochs=50, verbose=False, callbacks=stop)
    assert network.epochs_trained < 30


def test_divergence_is_found_though_a_callback_read_the_losses(X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)
    with pytest.raises(FloatingPointError):
        network.train(X, y, 1000, epochs=50, verbose=False, callbacks=lambda n: n.epoch_loss)
    assert np.isfinite(network.epoch_loss).all()


def test_an_epoch_of_nan_at_the_end_is_found_before_callbacks_see_it(X, y):
    seen = []
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)
    with pytest.raises(FloatingPointError, match="in epoch 0"):
        network.train(X, y, 1e300, epochs=1, verbose=False, callbacks=lambda n: seen.append(n.epoch_loss))
    assert seen == []


@pytest.mark.parametrize("patience", [None, 2])
def test_a_training_without_a_good_epoch_changes_nothing(patience, X, y):
    network = NeuralNetwork(LAYERS, activations=["relu", "identity"], seed=1)
    network.train(X, y, 0.1, epochs=5, patience=3, verbose=False)
    before = network.best_epoch, network.best_loss, network.epoch_loss, host(network).tolist()
    with pytest.raises(FloatingPointError):
        network.train(X * 1e150, y, 1e300, epochs=2, patience=patience, verbose=False)
    assert (network.best_epoch, network.best_loss, network.epoch_loss, host(network).tolist()) == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, LookupError])
def test_stopping_after_an_unseen_divergence_leaves_no_bad_loss_behind(stop, X, y):
    def interrupt(network):
        if network.epochs_trained == 60:
            raise stop

    network = NeuralNetwork(LAYERS, activations=["identity", "identity"], seed=1)
    with pytest.raises(stop):
        network.train(X, y, 30.0, epochs=100, verbose=False, callbacks=interrupt)
    assert network.epochs_trained == len(network.epoch_loss) < 60
    assert np.isfinite(network.epoch_loss).all()
    assert np.isfinite(network.theta).all()


def test_an_epochs_order_of_samples_depends_on_the_seed_and_the_epoch_alone(X, y):
    def stop(network):
        if network.epochs_trained == 2:
            raise KeyboardInterrupt

    interrupted, expected = NeuralNetwork(LAYERS, seed=1), NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train(X, y, 0.1, epochs=5, verbose=False, shuffle=True, callbacks=stop)
    interrupted.train(X, y, 0.1, epochs=3, verbose=False, shuffle=True)
    expected.train(X, y, 0.1, epochs=5, verbose=False, shuffle=True)
    np.testing.assert_array_equal(interrupted.theta, expected.theta)


def test_ctrl_c_keeps_what_was_learned_and_says_when(backend, dtype, array, X, y):
    def stop(network):
        if network.epochs_trained == 3:
            raise KeyboardInterrupt

    network, expected = (NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1) for _ in range(2))
    with pytest.raises(KeyboardInterrupt, match=r"interrupted in epoch 3 \(of epochs 0 to 9\)"):
        network.train(array(X), array(y), learning_rate=0.1, epochs=10, verbose=False, callbacks=stop)
    expected.train(array(X), array(y), learning_rate=0.1, epochs=3, verbose=False)
    np.testing.assert_array_equal(host(network), host(expected))
    assert network.epoch_loss == expected.epoch_loss


def test_ctrl_c_in_the_middle_of_an_epoch_goes_back_to_its_start(X, y):
    steps = iter(range(10**6))

    def update(xp, theta, dtheta, memory, learning_rate):
        if next(steps) == 2 * N + 4:  # the first one is a rehearsal
            raise KeyboardInterrupt
        theta -= learning_rate * dtheta
        return theta, memory

    network = NeuralNetwork(LAYERS, optimizer=Optimizer(lambda xp, theta: (), update), seed=1)
    expected = NeuralNetwork(LAYERS, seed=1)
    with pytest.raises(KeyboardInterrupt, match="epoch 2"):
        network.train(X, y, 0.1, epochs=10, verbose=False)
    expected.train(X, y, 0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(network.theta, expected.theta)
