"""Training with compiled steps is training: the same networks, histories and errors, up to rounding.

Most tests interpret the kernels (`without_numba`); those that compile share a few.
"""

from __future__ import annotations

import copy
import itertools
import threading
import warnings

import numpy as np
import pytest
from interpreted import lanes_for_few, without_numba
from trainings import DATA, LABELS, MANY, NETWORKS, OF_MANY, TRAININGS, WEIGHTS, X, Y, assert_close, trained

from xpnet import (
    Activation,
    Callback,
    Loss,
    NeuralNetwork,
    Optimizer,
    get_backend,
    load_checkpoint,
    save_checkpoint,
)
from xpnet.activations import ACTIVATIONS
from xpnet.backends import CannotCompile
from xpnet.core.epochs import Batches
from xpnet.data.samples import Samples
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import cosine, reduce_on_plateau

pytest.importorskip("numba")
from xpnet.backends.compiled import cpu_compiler as compiler_module
from xpnet.backends.compiled.cpu_compiler import Compiler, available_threads
from xpnet.backends.numpy_backend import NumpyBackend

__all__ = ["lanes_for_few", "without_numba"]


@pytest.mark.parametrize("networks", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("settings", "training"), TRAININGS.values(), ids=TRAININGS)
def test_every_training_gives_the_same_network(settings, training, networks, without_numba):
    settings = settings | networks
    assert_close(*(trained(compile, settings, training) for compile in (True, False)))
    assert without_numba


@pytest.mark.parametrize(("settings", "training", "other"), OF_MANY.values(), ids=OF_MANY)
def test_each_network_of_an_ensemble_has_its_own(settings, training, other, without_numba):
    settings = {"ensemble": MANY, **settings}
    assert_close(*(trained(compile, settings, training, **other) for compile in (True, False)))


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("options", DATA.values(), ids=DATA)
def test_samples_of_every_kind_give_the_same_network(options, shuffle, without_numba):
    options = {**options, "training": {"shuffle": shuffle, "batch_size": 2, **options.get("training", {})}}
    given = copy.deepcopy(options["data"])
    assert_close(*(trained(compile, **options) for compile in (True, False)))
    for before, after in zip(given, options["data"], strict=True):
        np.testing.assert_array_equal(before, after)


def test_samples_that_do_not_fit_into_a_block_are_taken_in_parts(without_numba, monkeypatch):
    """As are their dropout masks, here for 2 batches at a time."""
    monkeypatch.setattr("xpnet.core.epochs.BLOCK", 8 * 30 * 4)
    settings, training = {"dropout": 0.5, "ensemble": 3}, {"shuffle": True, "batch_size": 2}
    assert_close(*(trained(compile, settings, training) for compile in (True, False)))


@pytest.mark.parametrize("ensemble", [None, MANY])
def test_single_precision_stays_single_precision(ensemble, without_numba):
    settings = {"dtype": "float32", "ensemble": ensemble, "l2": 0.1, "dropout": 0.3}
    assert_close(*(trained(compile, settings, {"schedule": cosine(4), "batch_size": 3}) for compile in (True, False)))
    for double in ("np.float64(loss_[0", "np.float64(np.finfo(np.float32).max)"):
        assert double in without_numba[0]
        without_numba[0] = without_numba[0].replace(double, "")
    assert "float64(" not in without_numba[0]


# ---- What callbacks see, and how a training ends


@pytest.mark.parametrize("ensemble", [None, MANY])
def test_callbacks_see_every_epoch(ensemble, without_numba):
    seen = {True: [], False: []}
    for compile, thetas in seen.items():
        look = lambda network: thetas.append((network.epochs_trained, network.theta.copy()))  # noqa: B023, E731
        trained(compile, {"ensemble": ensemble}, {"callbacks": look})
    for (epoch, theta), (expected_epoch, expected) in zip(seen[True], seen[False], strict=True):
        assert epoch == expected_epoch
        np.testing.assert_allclose(theta, expected, rtol=1e-11, atol=1e-11)


def test_later_epochs_do_not_change_what_a_callback_has_kept(without_numba):
    kept, copies = [], []
    look = lambda network: (kept.append(network.theta), copies.append(network.theta.copy()))  # noqa: E731
    trained(True, {}, {"callbacks": look})
    np.testing.assert_array_equal(kept, copies)


def test_a_training_may_be_stopped_after_an_epoch(without_numba):
    stop = lambda network: network.epochs_trained == 2 and network.stop_training()  # noqa: E731
    stopped = trained(True, {}, {"epochs": 100, "callbacks": stop})
    np.testing.assert_array_equal(stopped.theta, trained(True, {}, {"epochs": 2}).theta)


def test_ctrl_c_in_a_callback_leaves_a_whole_epoch(without_numba):
    def interrupt(network):
        if network.epochs_trained == 2:
            raise KeyboardInterrupt

    network = NeuralNetwork([2, 4, 2], activations=["tanh", "sigmoid"], seed=3)
    with pytest.raises(KeyboardInterrupt):
        network.train(X, Y, 0.1, epochs=100, verbose=False, callbacks=interrupt, compile=True)
    np.testing.assert_array_equal(network.theta, trained(True, {}, {"epochs": 2}).theta)
    network.train(X, Y, 0.1, epochs=2, verbose=False, compile=True)
    np.testing.assert_array_equal(network.theta, trained(True).theta)


@pytest.mark.parametrize("ensemble", [None, 130], ids=["one network", "in three threads"])
def test_ctrl_c_within_an_epoch_leaves_the_epoch_before(ensemble, without_numba, monkeypatch):
    count, load = itertools.count(1), compiler_module.load

    def loaded(text, empty_arguments, announce):
        kernel = load(text, empty_arguments, announce)

        def interrupted(*arguments):
            kernel(*arguments)
            if next(count) == 8:
                raise KeyboardInterrupt

        return interrupted

    monkeypatch.setattr(compiler_module, "load", loaded)
    monkeypatch.setattr(compiler_module, "MAX_KERNEL_SECONDS", 1e-9)  # a step at a time
    monkeypatch.setattr(NumpyBackend, "compiler", lambda self, announce: Compiler(announce, n_threads=3))
    network = NeuralNetwork([2, 4, 2], activations=["tanh", "sigmoid"], seed=3, ensemble=ensemble)
    epochs = []
    with pytest.raises(KeyboardInterrupt):
        network.train(
            *(X, Y, 0.1),
            epochs=3,
            batch_size=3 if ensemble is None else 7,
            verbose=False,
            compile=True,
            callbacks=lambda network: epochs.append(network.theta.copy()),
        )
    assert network.epochs_trained == len(epochs) == 2
    np.testing.assert_array_equal(network.theta, epochs[-1])


def test_a_network_that_diverges_keeps_its_last_finite_weights(without_numba):
    networks = []
    for compile in (True, False):
        network = NeuralNetwork([2, 4, 2], activations=["relu", "identity"], seed=3)
        with pytest.raises(FloatingPointError, match="the learning rate of 1e\\+30 is too high"):
            network.train(X, Y, 1e30, epochs=5, verbose=False, compile=compile)
        networks.append(network)
    np.testing.assert_array_equal(networks[0].theta, networks[1].theta)
    assert networks[0].epochs_trained == networks[1].epochs_trained


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_members_that_diverge_freeze_and_the_others_go_on(dtype, without_numba):
    rates = np.full(MANY, 0.1)
    rates[[2, 5, 16]] = 1e30
    settings = {"ensemble": MANY, "dtype": dtype, "activations": ["relu", "identity"]}
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        compiled, eager = (trained(compile, settings, {"learning_rate": rates}) for compile in (True, False))
    assert_close(compiled, eager)
    losses = compiled.history["loss"][-1]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(losses)), [2, 5, 16])
    calm = trained(True, settings, {"learning_rate": np.where(rates > 1.0, 0.2, rates)})
    others = np.flatnonzero(rates < 1.0)
    np.testing.assert_array_equal(compiled.theta[others], calm.theta[others])


# ---- Several epochs at once


@pytest.fixture
def calls(without_numba, monkeypatch):
    """Return a list of the numbers of epochs of every call of a kernel; calls are fast from the second one on."""
    counts, load = [], compiler_module.load

    def loaded(*arguments):
        kernel = load(*arguments)
        return lambda *given: (counts.append(given[7]), kernel(*given))

    monkeypatch.setattr(compiler_module, "load", loaded)
    monkeypatch.setattr(compiler_module.time, "perf_counter", itertools.count().__next__)  # a call takes a second
    monkeypatch.setattr(compiler_module, "MAX_KERNEL_SECONDS", 70.0)
    return counts


@pytest.mark.parametrize("ensemble", [None, 3])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_epochs_that_nobody_sees_are_a_few_calls(shuffle, batch_size, ensemble, calls):
    settings, training = {"ensemble": ensemble, "dropout": 0.2}, {"shuffle": shuffle, "batch_size": batch_size}
    compiled, eager = (trained(compile, settings, {**training, "epochs": 50}) for compile in (True, False))
    assert_close(compiled, eager)
    assert len(calls) < 20  # also on several threads
    assert sum(calls) >= 50


SEEN = {
    "by a callback": {"callbacks": lambda network: None},
    "by early stopping": {"patience": 60},
    "by a metric": {"metrics": "r2_score"},
    "by a validation": {"validation_split": 0.3},
    "by a schedule": {"schedule": reduce_on_plateau(0.5, patience=0)},
}


@pytest.mark.parametrize("training", SEEN.values(), ids=SEEN)
def test_epochs_that_are_seen_are_calls_of_their_own(training, calls):
    assert_close(*(trained(compile, {}, {**training, "epochs": 9}) for compile in (True, False)))
    assert set(calls) == {1}


@pytest.mark.parametrize("ensemble", [None, 3])
def test_the_factors_of_a_schedule_belong_to_their_epochs(ensemble, calls):
    """Also if the schedule reads the history in some epochs only."""

    def schedule(xp, t, history):
        factor = 0.5 if 20 <= t[0] < 23 and np.max(history["loss"][-1]) < 1.0 else 1.0
        return factor * xp.exp(-t / 10)

    training = {"schedule": schedule, "epochs": 30, "batch_size": 3}
    assert_close(*(trained(compile, {"ensemble": ensemble}, training) for compile in (True, False)))
    assert 1 < max(calls) < 20


def test_reports_are_those_of_every_epoch(calls, capsys):
    printed = []
    for compile in (True, False):
        network = NeuralNetwork([2, 4, 2], activations=["tanh", "sigmoid"], seed=3)
        network.train(X, Y, 0.1, epochs=50, verbose_epoch=7, progress_bar=False, compile=compile)
        printed.append([line[:24] for line in capsys.readouterr().out.splitlines()])
    assert printed[0] == printed[1]
    assert max(calls) > 7


@pytest.mark.parametrize("rate", [30.0, 1e30])
def test_a_network_that_diverges_among_several_epochs_keeps_its_last_finite_weights(rate, calls, capsys):
    networks, printed = [], []
    for compile in (True, False):
        network = NeuralNetwork([2, 4, 2], activations=["relu", "identity"], seed=3)
        with pytest.raises(FloatingPointError, match="the loss became NaN or infinite in epoch") as raised:
            network.train(X, 0.3 * Y, rate, epochs=90, verbose_epoch=1, progress_bar=False, compile=compile)
        printed.append([*(line[:20] for line in capsys.readouterr().out.splitlines()), str(raised.value)])
        networks.append(network)
    assert_close(*networks)
    assert printed[0] == printed[1]


def test_members_that_diverge_among_several_epochs_freeze(calls):
    rates = np.full(MANY, 0.1)
    rates[[2, 5, 16]] = 30.0, 1e30, 20.0
    settings, training = {"ensemble": MANY, "activations": ["relu", "identity"]}, {"learning_rate": rates, "epochs": 60}
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        compiled, eager = (trained(compile, settings, training, data=(X, 0.3 * Y)) for compile in (True, False))
    assert_close(compiled, eager)
    assert 0 < np.isnan(compiled.history["loss"]).sum() < np.isnan(compiled.history["loss"][-1]).sum() * 60
    assert max(calls) > 5


def test_ctrl_c_among_several_epochs_leaves_a_complete_epoch(calls, monkeypatch):
    load = compiler_module.load

    def loaded(*arguments):
        kernel = load(*arguments)

        def interrupted(*given):
            kernel(*given)
            if len(calls) == 4:
                raise KeyboardInterrupt

        return interrupted

    monkeypatch.setattr(compiler_module, "load", loaded)
    network = NeuralNetwork([2, 4, 2], activations=["tanh", "sigmoid"], seed=3)
    with pytest.raises(KeyboardInterrupt):
        network.train(X, Y, 0.1, epochs=100, verbose=False, compile=True)
    assert network.epochs_trained == len(network.history["loss"]) == sum(calls[1:3])
    assert_close(network, trained(False, {}, {"epochs": network.epochs_trained}))


@pytest.mark.parametrize("ensemble", [None, MANY])
def test_an_epoch_in_parts_has_the_same_bits(ensemble, without_numba, monkeypatch):
    networks = []
    for seconds in (1e-9, 1e9):  # a step at a time, or all epochs but the first step
        monkeypatch.setattr(compiler_module, "MAX_KERNEL_SECONDS", seconds)
        networks.append(trained(True, {"ensemble": ensemble}))
    np.testing.assert_array_equal(networks[0].theta, networks[1].theta)
    np.testing.assert_array_equal(networks[0].history["loss"], networks[1].history["loss"])


def test_many_samples_with_orders_of_their_own_do_not_use_lanes(without_numba, monkeypatch):
    monkeypatch.setattr(compiler_module, "MAX_ORDERS_BYTES", 4 * 64 * 7 - 1)
    for shuffle in (True, False):
        assert_close(*(trained(compile, {"ensemble": MANY}, {"shuffle": shuffle}) for compile in (True, False)))
    assert ["permutation(" in text for text in dict.fromkeys(without_numba)] == [True, False]
    assert ["range(64)" in text or "U64" in text for text in dict.fromkeys(without_numba)] == [False, True]


def test_many_inputs_in_rows_that_are_given_do_not_use_lanes(without_numba, monkeypatch):
    rows = np.stack([np.random.default_rng(e).permutation(7) for e in range(MANY)])
    for maximum in (64 * 3 * 2 * 8, 64 * 3 * 2 * 8 - 1):
        monkeypatch.setattr(compiler_module, "MAX_INPUTS_BYTES", maximum)
        training = {"batch_size": 3, "orders": lambda epoch: rows}
        assert_close(*(trained(compile, {"ensemble": MANY}, training) for compile in (True, False)))
    assert ["range(64)" in text or "U64" in text for text in dict.fromkeys(without_numba)] == [True, False]


@pytest.mark.parametrize("at_once", [1, 10**9])
@pytest.mark.parametrize("ensemble", [None, 3])
def test_data_that_is_converted_in_parts_is_the_same(ensemble, at_once, without_numba, monkeypatch):
    monkeypatch.setattr(compiler_module, "MAX_COPIED_BYTES", 0)
    monkeypatch.setattr("xpnet.core.epochs.BLOCK", at_once)
    data = X.astype("float32"), Y.astype("float32")
    for training in ({"shuffle": True, "batch_size": 3}, {"orders": lambda epoch: np.arange(7)[::-1] % 6}):
        assert_close(*(trained(compile, {"ensemble": ensemble}, training, data=data) for compile in (True, False)))


# ---- Custom parts

SOFTSIGN = Activation(
    forward=lambda xp, Z: Z / (1 + xp.abs(Z)), backward=lambda xp, dA, Z, A: dA * (1 - xp.abs(A)) ** 2
)
QUARTIC = Loss(value=lambda xp, A, Y: xp.sum((A - Y) ** 4, axis=-2), gradient=lambda xp, A, Y: 4 * (A - Y) ** 3)


def update(xp, theta, dtheta, state, learning_rate):
    """Momentum with a count of steps; a number with an axis for each of the networks."""
    v, steps = state
    v *= 0.9
    v += xp.where(xp.abs(dtheta) > 1e-3, dtheta, 0.0)
    theta -= learning_rate / (1.0 + 0.01 * steps) * v
    return theta, (v, steps + 1.0)


COUNTED = Optimizer(lambda xp, theta: (xp.zeros_like(theta), xp.zeros_like(theta[..., :1])), update)
CUSTOM = {
    "activation": {"activations": [SOFTSIGN, "identity"]},
    "loss": {"loss": QUARTIC},
    "optimizer": {"optimizer": COUNTED},
    "all": {"activations": [SOFTSIGN, "identity"], "loss": QUARTIC, "optimizer": COUNTED, "l2": 0.1},
}


@pytest.mark.parametrize("ensemble", [None, 2, MANY])
@pytest.mark.parametrize("parts", CUSTOM.values(), ids=CUSTOM)
def test_custom_parts_compile(parts, ensemble, without_numba):
    settings, training = {**parts, "ensemble": ensemble}, {"batch_size": 3, "learning_rate": 0.01}
    assert_close(*(trained(compile, settings, training) for compile in (True, False)))


def backward(xp, dA, Z, A):
    return dA


FOR_EACH = np.array([[1.0], [2.0]])
RESISTING = {
    "a branch on a value": (
        {"activations": [Activation(lambda xp, Z: Z if xp.max(Z) > 9.0 else Z * 1.0, backward), "identity"]},
        "a branch on the value of an array",
    ),
    "a conversion": (
        {"activations": [Activation(lambda xp, Z: Z * float(xp.max(Z) > -9.0), backward), "identity"]},
        "its conversion to a number",
    ),
    "a function of NumPy": (
        {"activations": [Activation(lambda xp, Z: np.tanh(Z), backward), "identity"]},
        "TypeError: operand 'Array' does not support ufuncs",
    ),
    "a method of NumPy": (
        {"activations": [Activation(lambda xp, Z: Z.copy(), backward), "identity"]},
        "AttributeError: 'Array' object has no attribute 'copy'",
    ),
    "an operator that is not recorded": (
        {"activations": [Activation(lambda xp, Z: Z + Z // 1e9, backward), "identity"]},
        "TypeError: unsupported operand type",
    ),
    "a sort": (
        {"loss": Loss(lambda xp, A, Y: xp.sum(xp.sort(A - Y, axis=-2), axis=-2), lambda xp, A, Y: A - Y)},
        "sort",
    ),
    "whole numbers in the state of an optimizer": (
        {
            "optimizer": Optimizer(
                lambda xp, theta: (xp.zeros(theta.shape[:-1], dtype=xp.int64),),
                lambda xp, theta, dtheta, state, rate: (theta - rate * dtheta, (state[0] + 1,)),
            )
        },
        "an optimizer state of int64",
    ),
    "an array with a number for each network in an optimizer": (
        {
            "ensemble": 2,
            "optimizer": Optimizer(
                lambda xp, theta: (),
                lambda xp, theta, dtheta, state, rate: (theta - FOR_EACH * rate * dtheta, state),
            ),
        },
        "an optimizer that makes .* it may hold an array with a number for each",
    ),
    "an array with a number for each network in an activation": (
        {
            "ensemble": 2,
            "activations": [Activation(lambda xp, Z: Z * FOR_EACH[:, None], backward), "identity"],
        },
        "a product of arrays of the shapes",
    ),
    "an array with a number for each network in a loss": (
        {"ensemble": 2, "loss": Loss(lambda xp, A, Y: FOR_EACH * (A - Y)[..., 0, :], lambda xp, A, Y: A - Y)},
        "ValueError: the value of a loss must have the shape",
    ),
}
parts_that_resist = pytest.mark.parametrize(("settings", "says"), RESISTING.values(), ids=RESISTING)


@parts_that_resist
def test_what_cannot_be_compiled_is_named_before_anything_changes(settings, says, without_numba):
    network = NeuralNetwork([2, 4, 2], seed=3, **settings)
    before, called = network.theta.copy(), []
    with pytest.raises(CannotCompile, match=f"compile=True: .*{says}"):
        network.train(X, Y, 0.1, epochs=2, verbose=False, compile=True, callbacks=called.append)
    np.testing.assert_array_equal(network.theta, before)
    assert network.epochs_trained == 0
    assert not called
    assert not without_numba
    network.train(X, Y, 0.1, epochs=2, verbose=False, compile=False)
    assert network.epochs_trained == 2


@pytest.fixture
def always_pays(monkeypatch):
    for name in ("MIN_SECONDS_SAVED", "MIN_SECONDS_SAVED_WITH_LANES"):
        monkeypatch.setattr(compiler_module, name, 0.0)


@parts_that_resist
def test_auto_warns_once_of_what_cannot_be_compiled_and_trains(settings, says, without_numba, always_pays):
    eager, network = (NeuralNetwork([2, 4, 2], seed=3, **settings) for _ in range(2))
    eager.train(X, Y, 0.1, epochs=2, verbose=False, compile=False)
    with pytest.warns(RuntimeWarning, match=f"training is not compiled: .*{says}") as caught:
        network.train(X, Y, 0.1, epochs=2, verbose=False)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(network.theta, eager.theta)
    assert not without_numba


# ---- Whether to compile


def test_auto_compiles_what_takes_long_alone(without_numba, always_pays, monkeypatch):
    trained("auto")
    assert without_numba
    without_numba.clear()
    monkeypatch.undo()
    monkeypatch.setattr(compiler_module, "load", lambda *_: pytest.fail("it compiles"))
    trained("auto")
    trained("auto", {"ensemble": 40})
    NeuralNetwork([2, 4, 2], seed=0).train(X, Y, 0.1, epochs=2, verbose=False)


def test_whether_it_pays_depends_on_the_work():
    def pays(sizes, epochs, networks=None, N=500, batch_size=1):
        network = NeuralNetwork(sizes, seed=0, ensemble=networks)
        state = network._snapshot.state
        return Compiler().is_worthwhile(sizes, state, batch_size, -(-N // batch_size), epochs)

    assert not pays([1, 10, 10, 1], 20)
    assert pays([1, 10, 10, 1], 1000)
    assert not pays([1, 10, 10, 1], 10, networks=100)
    assert pays([1, 10, 10, 1], 1000, networks=100)
    assert not pays([1000, 1000, 10], 10, batch_size=100)
    assert pays([1000, 1000, 10], 100, batch_size=100)


def test_a_kernel_that_an_interrupt_leaves_running_keeps_its_memory_for_itself(monkeypatch, always_pays):
    """The threads of the kernel go on for a moment, while the next training may begin."""
    trained(True)
    assert compiler_module._SPARE
    (spare,) = compiler_module._SPARE
    used = []

    def interrupted(*arguments):
        used.append(arguments[8])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compiler_module, "load", lambda *_: interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(True)
    assert np.shares_memory(used[0], spare[0])
    assert not compiler_module._SPARE
    trained(True)
    assert not np.shares_memory(compiler_module._SPARE[0][0], spare[0])


def test_false_never_compiles(without_numba, always_pays):
    trained(False)
    assert not without_numba


@pytest.mark.parametrize("value", [None, 0, 1, 1.0, "True", "AUTO", "always", [], np.True_, np.array(True)], ids=repr)
def test_other_values_are_refused(value):
    network = NeuralNetwork([2, 4, 2], seed=3)
    with pytest.raises(ValueError, match="compile must be True, False or 'auto', got "):
        network.train(X, Y, 0.1, epochs=2, verbose=False, compile=value)
    assert network.epochs_trained == 0


def test_without_a_package_training_is_not_compiled(monkeypatch, always_pays):
    monkeypatch.setattr("xpnet.backends.numpy_backend.missing_for_compiling", lambda: ["numba", "platformdirs"])
    says = r'compile=True: numba and platformdirs must be installed; use pip install "xpnet\[jit\]"'
    with pytest.raises(CannotCompile, match=says):
        trained(True)
    np.testing.assert_array_equal(trained("auto").theta, trained(False).theta)


@pytest.mark.not_numpy
def test_other_backends_refuse_to_compile_and_ignore_auto(backend, array, dtype):
    network, other = (NeuralNetwork([2, 4, 2], seed=3, device=backend, dtype=dtype) for _ in range(2))
    with pytest.raises(CannotCompile, match=f"compile=True: the backend {backend.name} has no compiler"):
        network.train(array(X), array(Y), 0.1, epochs=2, verbose=False, compile=True)
    assert network.epochs_trained == 0
    network.train(array(X), array(Y), 0.1, epochs=2, verbose=False, compile="auto")
    other.train(array(X), array(Y), 0.1, epochs=2, verbose=False, compile=False)
    np.testing.assert_array_equal(backend.to_numpy(network.theta), backend.to_numpy(other.theta))


# ---- One kernel for all


def test_one_kernel_serves_all_samples_epochs_rates_seeds_and_strengths(without_numba):
    rng = np.random.default_rng(1)
    for N, epochs, rate, seed, l2 in ((7, 1, 0.1, 0, 0.1), (20, 3, 0.5, 1, 0.2), (1, 2, 1e-3, 2, 3.0)):
        data = rng.standard_normal((N, 2)), rng.random((N, 2))
        trained(True, {"seed": seed, "l2": l2}, {"epochs": epochs, "learning_rate": rate}, data=data)
    assert len(set(without_numba)) == 1


def test_one_kernel_serves_any_number_of_networks_side_by_side(without_numba):
    for networks in (MANY, 40, 64, 65):
        trained(True, {"ensemble": networks}, {"epochs": 1, "learning_rate": np.linspace(0.1, 0.2, networks)})
    assert len(set(without_numba)) == 1


@pytest.mark.parametrize("numbers", [(None, 1), (2, 3, 15)], ids=["one network", "a few networks"])
def test_one_kernel_serves_networks_one_after_the_other(numbers, without_numba):
    for networks in numbers:
        trained(True, {"ensemble": networks}, {"epochs": 1})
    assert len(set(without_numba)) == 1


def test_a_training_asks_once_for_a_kernel_that_serves_a_smaller_last_batch_too(without_numba):
    trained(True, {"ensemble": 4}, {"epochs": 5, "batch_size": 3, "members_at_once": 2, "shuffle": True})
    assert len(without_numba) == 2  # once for each two networks
    assert len(set(without_numba)) == 1


# ---- Compiled by Numba

FULL = (
    {"optimizer": "momentum", "dropout": 0.3, "l2": 0.1, "clip_norm": 1.0},
    {"shuffle": True, "sample_weight": WEIGHTS, "batch_size": 7, "schedule": cosine(4)},
)
IN_LANES = ({"ensemble": 130}, {"learning_rate": np.linspace(0.01, 0.5, 130)})


def test_one_network_compiled_by_numba_is_the_same():
    assert_close(*(trained(compile) for compile in (True, False)))


def test_networks_in_lanes_compiled_by_numba_are_the_same():
    assert_close(*(trained(compile, *IN_LANES) for compile in (True, False)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_training_with_all_options_compiled_by_numba_is_the_same(dtype):
    settings = {**FULL[0], "dtype": dtype}
    assert_close(*(trained(compile, settings, FULL[1]) for compile in (True, False)))


def test_members_that_diverge_freeze_in_compiled_code_too():
    rates = np.linspace(0.01, 0.5, 130)
    rates[[3, 64, 129]] = 1e200
    settings = {"ensemble": 130, "l2": 0.0, "activations": ["tanh", "sigmoid"]}
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        compiled, eager = (trained(compile, settings, {"learning_rate": rates}) for compile in (True, False))
    finite = np.isfinite(eager.history["loss"][-1])
    np.testing.assert_array_equal(np.isfinite(compiled.history["loss"][-1]), finite)
    np.testing.assert_allclose(compiled.theta[finite], eager.theta[finite], rtol=1e-10)
    np.testing.assert_array_equal(compiled.theta[rates < 1.0], trained(True, *IN_LANES).theta[rates < 1.0])


def test_the_number_of_threads_does_not_matter(monkeypatch):
    networks = []
    for n_threads in (1, 3):
        monkeypatch.setattr(NumpyBackend, "compiler", lambda self, announce, n=n_threads: Compiler(announce, n))
        networks.append(trained(True, *IN_LANES))
    np.testing.assert_array_equal(networks[0].theta, networks[1].theta)
    np.testing.assert_array_equal(networks[0].history["loss"], networks[1].history["loss"])


@pytest.mark.parametrize("members", [slice(0, 16), slice(50, 90), slice(99, 130)], ids=str)
def test_neither_the_place_of_a_network_nor_the_number_of_the_others_matters(members):
    whole, seeds = trained(True, *IN_LANES), NeuralNetwork([2, 4, 2], seed=3, ensemble=130).seed[members]
    settings = {"ensemble": len(seeds), "seed": seeds}
    part = trained(True, settings, {"learning_rate": IN_LANES[1]["learning_rate"][members]})
    np.testing.assert_array_equal(part.theta, whole.theta[members])
    np.testing.assert_array_equal(part.history["loss"], whole.history["loss"][:, members])


def test_a_checkpoint_resumes_bit_for_bit(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "network.safetensors"

    class Save(Callback):
        def on_epoch_end(self, network):
            if network.epochs_trained == 2:
                save_checkpoint(network, path)

    whole = trained(True, FULL[0], {**FULL[1], "callbacks": Save()})
    resumed = load_checkpoint(path)
    assert resumed.epochs_trained == 2
    resumed.train(X, Y, 0.1, epochs=2, verbose=False, **FULL[1], compile=True)
    np.testing.assert_array_equal(resumed.theta, whole.theta)
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])


def test_arrays_that_cannot_be_written_are_no_reason_to_compile_again(own_cache):
    expected = trained(True)
    kernel = made(expected)
    before = sorted(own_cache.rglob("*.nbc"))
    data = [array.copy() for array in (X, Y)]
    for array in data:
        array.flags.writeable = False
    np.testing.assert_array_equal(trained(True, data=data).theta, expected.theta)
    assert sorted(own_cache.rglob("*.nbc")) == before
    assert len(kernel.signatures) == 1


def made(network):
    """Return the kernel of a network."""
    compiler = Compiler(n_threads=1)
    step, backend = network._members.step(network.backend), network.backend
    batches = Batches(Samples(backend, "float64", X, Y), np.asarray(0.1), 1)
    ((kernel, *_),) = compiler.compile(step, network._snapshot.state, batches)._kernels.values()
    return kernel


def test_networks_may_train_in_several_threads_at_once():
    expected, networks = trained(True), []
    threads = [threading.Thread(target=lambda: networks.append(trained(True))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(networks) == 3
    for network in networks:
        np.testing.assert_array_equal(network.theta, expected.theta)


ALL = [*ACTIVATIONS]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_activations_losses_and_optimizers_compiled_by_numba_are_the_same(number):
    """In lanes, two activations each time."""
    settings = {
        "activations": [*ALL[2 * number : 2 * number + 2], "sigmoid"],
        "loss": [*LOSSES][number + 1],
        "optimizer": [*OPTIMIZERS][number + 2],
        "ensemble": MANY,
    }
    training = {"epochs": 1, "batch_size": None, "learning_rate": 0.01}
    assert_close(*(trained(compile, settings, training, sizes=(2, 3, 3, 2)) for compile in (True, False)))


@pytest.mark.slow
def test_all_activations_compiled_by_numba_in_one_network_are_the_same():
    settings = {"activations": [*ALL, "softmax"], "loss": "categorical_crossentropy", "optimizer": "adamw"}
    options = {"data": (X, LABELS), "sizes": (2, *(3 for _ in ALL), 2)}
    training = {"epochs": 1, "batch_size": None, "learning_rate": 0.01}
    assert_close(*(trained(compile, settings, training, **options) for compile in (True, False)))


def test_as_many_threads_as_the_environment_allows(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert available_threads() == 1 == Compiler().n_threads
    monkeypatch.setenv("OMP_NUM_THREADS", "1000000")
    cores = available_threads()
    for text in ("", "0", "many", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert available_threads() == cores
    assert get_backend("cpu").compiler().n_threads == cores


def test_as_many_threads_as_threadpoolctl_allows():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1):
        assert available_threads() == 1
