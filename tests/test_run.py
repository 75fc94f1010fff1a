"""A training stores complete epochs only, wherever Ctrl-C arrives, and it always ends."""

from __future__ import annotations

import copy
import sys
import threading

import numpy as np
import pytest
from attacks import (
    RUNS,
    EpochStates,
    arrays_equal,
    assert_complete_epoch,
    assert_trainable,
    interrupted_at,
    network_and_call,
    uninterrupted_run,
)
from oddities import X, Y

from xpnet import NeuralNetwork
from xpnet.training.run import Run


def assert_complete_epoch_wherever_interrupted(name, positions, **how):
    (uninterrupted, epoch_states), seen = uninterrupted_run(name), 0
    for position in positions:
        network, call = network_and_call(name)
        interrupted = interrupted_at(position, call, **how)
        if network.epochs_trained and "patience" in RUNS[name]:
            assert network.best_epoch is not None, position
        assert_complete_epoch(network, epoch_states, uninterrupted)
        if not interrupted:
            break
        seen += 1
    return seen


@pytest.mark.parametrize("name", RUNS)
def test_ctrl_c_at_any_line_leaves_a_complete_epoch(name, capsys):
    step = 1 if name in ("plain", "early stopping") else 3  # the others run the same code, and a little more
    assert assert_complete_epoch_wherever_interrupted(name, range(0, 10_000, step)) > 100


@pytest.mark.parametrize("name", ["plain", "early stopping"])
def test_a_second_ctrl_c_leaves_a_network_that_can_train(name):
    """The best epoch may not be restored at once, but nothing is locked."""
    rng, twice = np.random.default_rng(0), 0
    for position in range(0, 800, 5):
        network, call = network_and_call(name)
        twice += interrupted_at(position, call, again=int(rng.integers(12)))
        assert_trainable(network)
    assert twice > 60


@pytest.mark.parametrize("name", ["plain", "early stopping"])
def test_a_stored_traceback_locks_nothing(name):
    """A notebook stores it, here after a second Ctrl-C that came while the training ended."""

    def interrupt(*_):
        raise KeyboardInterrupt

    network, call = network_and_call(name, callbacks=interrupt)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "end", interrupt)
        with pytest.raises(KeyboardInterrupt) as kept:
            call()
    network.clear_weights()
    network.train(X, Y, 0.05, epochs=1, verbose=False)
    assert network.epochs_trained == 1
    assert kept.value.__traceback__ is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ctrl_c_at_any_instruction_leaves_a_complete_epoch(name, capsys):
    assert assert_complete_epoch_wherever_interrupted(name, range(100_000), every_instruction=True) > 2000


def trained(seed=0):
    network = NeuralNetwork([2, 3, 1], optimizer="adam", seed=seed)
    network.train(X, Y, 0.05, epochs=2, verbose=False)
    return network


STATE = trained(9).state_dict()
CHANGES = {
    "clear_weights": lambda n: n.clear_weights(),
    "load_state_dict": lambda n: n.load_state_dict(STATE),
    "parameters": lambda n: setattr(n, "parameters", {k: 0.5 * v for k, v in n.parameters.items()}),
    "a parameter": lambda n: n.parameters.__setitem__("W1", np.ones((3, 2))),
    "update_parameters": lambda n: n.update_parameters(
        {f"d{name}": np.ones(value.shape) for name, value in n.parameters.items()}, 0.1
    ),
}


def state_of(network):
    """Return the complete state of a network, for comparisons."""
    state = network.state_dict()
    arrays = [state["theta"], *state["optimizer_state"], state["history"]["loss"]]
    return [array.tolist() for array in arrays], state["seed"], state["draws"]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_ctrl_c_at_any_line_of_a_change_leaves_the_state_before_or_after(change):
    before, after = trained(), trained()
    change(after)
    assert state_of(before) != state_of(after)
    for position in range(10_000):
        network = trained()
        interrupted = interrupted_at(position, lambda: change(network))  # noqa: B023 - it is called at once
        assert state_of(network) in (state_of(before), state_of(after))
        if not interrupted:
            break
    assert position > 5
    assert state_of(network) == state_of(after)


def test_interrupted_at_raises_ctrl_c_at_its_position():
    seen = []
    assert interrupted_at(0, lambda: trained())
    assert not interrupted_at(10**6, lambda: seen.append(trained()))
    assert seen


# ---- Copies and threads


def test_a_network_and_its_shallow_copy_train_independently():
    network = trained()
    before = state_of(network)
    other = copy.copy(network)
    other.train(X, Y, 0.05, epochs=2, verbose=False, shuffle=True)
    assert state_of(network) == before
    network.train(X, Y, 0.05, epochs=2, verbose=False, shuffle=True)
    assert state_of(network) == state_of(other)


def test_the_histories_of_copies_are_independent():
    network = trained()
    other, history = copy.copy(network), network.history
    network.train(X, Y, 0.05, epochs=1, verbose=False)
    other.train(X, Y, 0.9, epochs=2, verbose=False)
    network.train(X, Y, 0.05, epochs=1, verbose=False)
    assert network.epoch_loss != other.epoch_loss
    assert network.epoch_loss[:2] == other.epoch_loss[:2] == history["loss"].tolist()


def test_a_second_training_at_the_same_time_is_refused():
    network, started, go_on = NeuralNetwork([2, 3, 1], seed=0), threading.Event(), threading.Event()

    def wait(network):
        started.set()
        assert go_on.wait(10)

    thread = threading.Thread(
        target=network.train, args=(X, Y, 0.1), kwargs={"epochs": 1, "verbose": False, "callbacks": wait}
    )
    thread.start()
    assert started.wait(10)
    with pytest.raises(RuntimeError, match="train is refused while the network trains in another thread"):
        network.train(X, Y, 0.1, epochs=1, verbose=False)
    with pytest.raises(RuntimeError, match="clear_weights is refused while the network trains in another thread"):
        network.clear_weights()
    go_on.set()
    thread.join()
    network.train(X, Y, 0.1, epochs=1, verbose=False)
    assert network.epochs_trained == 2


@pytest.fixture
def frequent_thread_switches():
    """Make Python switch threads as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("patience", [None, 1000])
def test_another_thread_reads_complete_epochs_only(patience, frequent_thread_switches):
    epoch_states, done = EpochStates(), threading.Event()
    expected, network = (NeuralNetwork([2, 3, 1], optimizer="adam", seed=0) for _ in range(2))
    expected.train(X, Y, 0.05, epochs=150, verbose=False, callbacks=epoch_states)
    seen, losses = [], []

    def read():
        while not done.is_set():
            seen.append(network.state_dict())
            losses.append(network.history["loss"])
            network.predict(X)

    thread = threading.Thread(target=read)
    thread.start()
    network.train(X, Y, 0.05, epochs=150, verbose=False, metrics="r2_score", patience=patience)
    done.set()
    thread.join()
    assert network.epochs_trained == 150
    assert len({state["history"]["loss"].size for state in seen}) > 2
    for state in seen[:-1]:
        assert arrays_equal(
            [state["theta"], *state["optimizer_state"]], epoch_states.states[state["history"]["loss"].size]
        )
    for loss in losses:
        np.testing.assert_array_equal(loss, expected.history["loss"][: loss.size])


def test_copies_trained_by_two_threads_have_independent_histories(frequent_thread_switches):
    for _ in range(10):
        one = trained()
        networks, epochs = [one, copy.copy(one)], 20
        threads = [
            threading.Thread(target=network.train, args=(X, Y, rate), kwargs={"epochs": epochs, "verbose": False})
            for network, rate in zip(networks, (0.05, 0.5), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for network, rate in zip(networks, (0.05, 0.5), strict=True):
            individual = trained()
            individual.train(X, Y, rate, epochs=epochs, verbose=False)
            assert network.epoch_loss == individual.epoch_loss


def test_simultaneous_trainings_of_one_network_run_one_by_one_or_are_refused(frequent_thread_switches):
    outcomes = []
    for _ in range(40):
        network, barrier = NeuralNetwork([2, 3, 1], seed=0), threading.Barrier(2)

        def run():
            barrier.wait()  # noqa: B023 - the threads end within the loop
            try:
                network.train(X, Y, 0.1, epochs=2, verbose=False)  # noqa: B023
                outcomes.append("ran")
            except RuntimeError as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = NeuralNetwork([2, 3, 1], seed=0)
        expected.train(X, Y, 0.1, epochs=network.epochs_trained, verbose=False)
        np.testing.assert_array_equal(network.theta, expected.theta)
    assert set(outcomes) <= {"ran", "train is refused while the network trains in another thread"}


@pytest.mark.parametrize(
    "write",
    [
        lambda n: n.theta.fill(0.0),
        lambda n: n.parameters["W1"].__imul__(0.5),
        lambda n: n.parameters.__setitem__("W1", n.parameters["W1"].__imul__(0.5)),
        lambda n: n.history["loss"].fill(0.0),
    ],
    ids=["theta", "a parameter", "a parameter, assigned", "the history"],
)
def test_a_callback_receives_read_only_arrays(write):
    network, expected = (NeuralNetwork([2, 3, 1], seed=0) for _ in range(2))
    with pytest.raises(ValueError, match="read-only"):
        network.train(X, Y, 0.05, epochs=3, verbose=False, callbacks=write)
    expected.train(X, Y, 0.05, epochs=1, verbose=False)
    np.testing.assert_array_equal(network.theta, expected.theta)


def test_writing_into_a_copy_does_not_change_the_network():
    network = trained()
    other, before = copy.copy(network), network.theta.copy()
    other.theta[:] = 7.0
    np.testing.assert_array_equal(network.theta, before)
