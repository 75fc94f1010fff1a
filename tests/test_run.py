"""A training is taken in epoch by epoch, each whole or not at all, wherever Ctrl-C comes; and it always ends."""

from __future__ import annotations

import copy
import sys
import threading

import numpy as np
import pytest
from attacks import RUNS, Steps, assert_free, assert_whole, interrupted_at, network_and_call, same, whole_run
from oddities import X, Y

from xpnet import NeuralNetwork
from xpnet.training.run import Run


def assert_whole_wherever_interrupted(name, positions, **how):
    (whole, steps), seen = whole_run(name), 0
    for position in positions:
        network, call = network_and_call(name)
        came = interrupted_at(position, call, **how)
        if network.epochs_trained and "patience" in RUNS[name]:
            assert network.best_epoch is not None, position
        assert_whole(network, steps, whole)
        if not came:
            break
        seen += 1
    return seen


@pytest.mark.parametrize("name", RUNS)
def test_ctrl_c_at_any_line_leaves_one_epoch_whole(name, capsys):
    step = 1 if name in ("plain", "early stopping") else 3  # the others run the same code, and a little more
    assert assert_whole_wherever_interrupted(name, range(0, 10_000, step)) > 100


@pytest.mark.parametrize("name", ["plain", "early stopping"])
def test_a_second_ctrl_c_leaves_it_free_to_train(name):
    """The best epoch may then not be gone back to at once; but nothing is locked."""
    rng, twice = np.random.default_rng(0), 0
    for position in range(0, 800, 5):
        network, call = network_and_call(name)
        twice += interrupted_at(position, call, again=int(rng.integers(12)))
        assert_free(network)
    assert twice > 60


@pytest.mark.parametrize("name", ["plain", "early stopping"])
def test_a_traceback_that_is_kept_locks_nothing(name):
    """As a notebook keeps it, after two Ctrl-C of which the second came as the training was being ended."""

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
def test_ctrl_c_at_any_instruction_leaves_one_epoch_whole(name, capsys):
    assert assert_whole_wherever_interrupted(name, range(100_000), every_instruction=True) > 2000


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


def everything(network):
    """All that a network is, to compare."""
    state = network.state_dict()
    arrays = [state["theta"], *state["optimizer_state"], state["history"]["loss"]]
    return [array.tolist() for array in arrays], state["seed"], state["draws"]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_ctrl_c_at_any_line_of_a_change_leaves_what_was_before_or_after(change):
    before, after = trained(), trained()
    change(after)
    assert everything(before) != everything(after)
    for position in range(10_000):
        network = trained()
        came = interrupted_at(position, lambda: change(network))  # noqa: B023 - it is called at once
        assert everything(network) in (everything(before), everything(after))
        if not came:
            break
    assert position > 5
    assert everything(network) == everything(after)


def test_the_interrupts_do_come():
    seen = []
    assert interrupted_at(0, lambda: trained())
    assert not interrupted_at(10**6, lambda: seen.append(trained()))
    assert seen


# ---- Copies, and others who look


def test_a_shallow_copy_shares_nothing_that_changes():
    network = trained()
    before = everything(network)
    other = copy.copy(network)
    other.train(X, Y, 0.05, epochs=2, verbose=False, shuffle=True)
    assert everything(network) == before
    network.train(X, Y, 0.05, epochs=2, verbose=False, shuffle=True)
    assert everything(network) == everything(other)


def test_histories_that_part_keep_their_own():
    network = trained()
    other, history = copy.copy(network), network.history
    network.train(X, Y, 0.05, epochs=1, verbose=False)
    other.train(X, Y, 0.9, epochs=2, verbose=False)
    network.train(X, Y, 0.05, epochs=1, verbose=False)
    assert network.epoch_loss != other.epoch_loss
    assert network.epoch_loss[:2] == other.epoch_loss[:2] == history["loss"].tolist()


def test_a_second_training_at_the_same_moment_is_refused_in_its_own_words():
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
def hurried():
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("patience", [None, 1000])
def test_who_looks_from_another_thread_sees_one_epoch_whole(patience, hurried):
    steps, done = Steps(), threading.Event()
    expected, network = (NeuralNetwork([2, 3, 1], optimizer="adam", seed=0) for _ in range(2))
    expected.train(X, Y, 0.05, epochs=150, verbose=False, callbacks=steps)
    seen, losses = [], []

    def look():
        while not done.is_set():
            seen.append(network.state_dict())
            losses.append(network.history["loss"])
            network.predict(X)

    thread = threading.Thread(target=look)
    thread.start()
    network.train(X, Y, 0.05, epochs=150, verbose=False, metrics="r2_score", patience=patience)
    done.set()
    thread.join()
    assert network.epochs_trained == 150
    assert len({state["history"]["loss"].size for state in seen}) > 2
    for state in seen[:-1]:
        assert same([state["theta"], *state["optimizer_state"]], steps.kept[state["history"]["loss"].size])
    for loss in losses:
        np.testing.assert_array_equal(loss, expected.history["loss"][: loss.size])


def test_copies_trained_by_two_threads_keep_records_of_their_own(hurried):
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
            alone = trained()
            alone.train(X, Y, rate, epochs=epochs, verbose=False)
            assert network.epoch_loss == alone.epoch_loss


def test_trainings_of_one_network_at_the_same_moment_are_one_or_refused(hurried):
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
def test_what_a_callback_is_shown_cannot_be_written_to(write):
    network, expected = (NeuralNetwork([2, 3, 1], seed=0) for _ in range(2))
    with pytest.raises(ValueError, match="read-only"):
        network.train(X, Y, 0.05, epochs=3, verbose=False, callbacks=write)
    expected.train(X, Y, 0.05, epochs=1, verbose=False)
    np.testing.assert_array_equal(network.theta, expected.theta)


def test_a_copy_does_not_see_what_is_written_in_place():
    network = trained()
    other, before = copy.copy(network), network.theta.copy()
    other.theta[:] = 7.0
    np.testing.assert_array_equal(network.theta, before)
