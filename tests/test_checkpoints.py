"""A loaded checkpoint predicts and trains bit-identically to the saved network, and invalid files are refused."""

from __future__ import annotations

import copy
import os
import pickle
import time

import numpy as np
import pytest
from attacks import assert_killed_run_resumes, assert_usable, contents, mutated, mutated_arrays, write
from safetensors.numpy import save_file

from xpnet import Activation, NeuralNetwork, load_checkpoint, save_checkpoint
from xpnet.schedules import reduce_on_plateau

LAYERS = [2, 4, 1]
X = np.linspace(-1, 1, 14).reshape(7, 2)
Y = np.linspace(0, 1, 7)
OPTIONS = {"batch_size": 3, "shuffle": True, "verbose": False}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.safetensors"


def network(**options):
    made = NeuralNetwork(
        LAYERS, **{"optimizer": "adam", "activations": ["tanh", "sigmoid"], "weight_decay": 0.01, "seed": 1, **options}
    )
    made.train(X, Y, 0.05, epochs=3, **OPTIONS)
    return made


def test_a_loaded_network_trains_on_bit_identically(backend, dtype, path):
    saved = network(device=backend, dtype=dtype)
    save_checkpoint(saved, path)
    loaded = load_checkpoint(path, device=backend)
    assert loaded.layer_list == LAYERS
    assert loaded.settings == saved.settings
    for each in (saved, loaded):
        each.train(X, Y, 0.05, epochs=2, **OPTIONS)
    np.testing.assert_array_equal(backend.to_numpy(loaded.theta), backend.to_numpy(saved.theta))
    assert loaded.epoch_loss == saved.epoch_loss
    for each in (saved, loaded):
        each.clear_weights()
    np.testing.assert_array_equal(backend.to_numpy(loaded.theta), backend.to_numpy(saved.theta))


def test_a_network_trained_on_any_device_predicts_on_the_cpu(backend, dtype, path):
    saved = network(device=backend, dtype=dtype)
    save_checkpoint(saved, path)
    loaded = load_checkpoint(path)
    assert isinstance(loaded.theta, np.ndarray)
    np.testing.assert_allclose(loaded.predict(X), saved.predict(X), rtol=1e-5)


def test_a_killed_run_resumes_as_if_it_had_not_been_killed(path, tmp_path):
    """The kill may come at any moment, even during a write: every epoch is saved, and no cleanup can run."""
    for delay in (0.05, 0.11):
        assert_killed_run_resumes(path, "adam", delay, after_first_save=True)
        path.unlink()


RESUMED = {
    "an ensemble": ({"ensemble": 3, "weight_decay": [0.0, 0.1, 0.2], "initial_scale": [1.0, 2.0, 3.0]}, {}),
    "given seeds": ({"ensemble": 3, "seed": [5, 1, 5]}, {}),
    "dropout": ({"dropout": 0.5}, {}),
    "reduce on plateau": ({}, {"schedule": reduce_on_plateau(0.5, patience=0)}),
    "early stopping": ({}, {"patience": 3, "validation_split": 0.3, "metrics": ["r2_score"]}),
    "an ensemble that stops early": ({"ensemble": 3, "seed": 2}, {"patience": 3, "validation_split": 0.3}),
}


@pytest.mark.parametrize(("settings", "training"), RESUMED.values(), ids=RESUMED)
def test_a_checkpoint_from_the_middle_of_a_training_resumes_bit_identically(settings, training, backend, dtype, path):
    settings = {"optimizer": "adam", "seed": 1, **settings, "device": backend, "dtype": dtype}
    uninterrupted, epochs = NeuralNetwork(LAYERS, **settings), 12
    middle = []

    def save(network):
        if network.epochs_trained == 4:
            save_checkpoint(network, path)
            middle.append(network.epochs_trained)

    uninterrupted.train(X, Y, 0.3, epochs=epochs, **OPTIONS, **training, callbacks=save)
    assert middle == [4]
    resumed = load_checkpoint(path, device=backend)
    assert resumed.settings == uninterrupted.settings
    resumed.train(X, Y, 0.3, epochs=epochs - 4, **OPTIONS, **training)
    np.testing.assert_array_equal(backend.to_numpy(resumed.theta), backend.to_numpy(uninterrupted.theta))
    assert list(resumed.history) == list(uninterrupted.history)
    for name in uninterrupted.history:
        np.testing.assert_array_equal(resumed.history[name], uninterrupted.history[name])


def test_a_checkpoint_stores_the_best_losses_of_early_stopping(path):
    settings = {"epochs": 30, "patience": 3, "validation_split": 0.3}
    saved = NeuralNetwork(LAYERS, ensemble=3, seed=0)
    saved.train(X, Y, [0.1, 5.0, 50.0], **settings, **OPTIONS)
    save_checkpoint(saved, path)
    assert load_checkpoint(path).best_member().seed == saved.best_member().seed


def test_a_metric_may_have_any_name(path):
    def metric(xp, A, Y, weight):
        return xp.max(A, axis=(-1, -2))

    metric.__name__ = "f.beta.0"
    saved = network()
    saved.train(X, Y, 0.05, epochs=2, metrics=[metric], **OPTIONS)
    save_checkpoint(saved, path)
    np.testing.assert_array_equal(load_checkpoint(path).history["f.beta.0"], saved.history["f.beta.0"])


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    save_checkpoint(network(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(network(seed=2), path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_has_the_default_file_permissions(path):
    """They equal those of any other file that is written there."""
    save_checkpoint(network(), path)
    other = path.with_name("other")
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode


def test_the_error_for_a_missing_folder_names_it(path):
    with pytest.raises(FileNotFoundError, match=r"path must be in an existing folder, got .*network\.safetensors"):
        save_checkpoint(network(), path.parent / "missing" / "network.safetensors")
    with pytest.raises(IsADirectoryError, match="path must be a file, got the folder"):
        save_checkpoint(network(), path.parent)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["copy", "pickle"])
@pytest.mark.parametrize("loss", ["huber", "half_squared_error"])
def test_a_copy_can_be_saved_too(loss, copied, path):
    saved = copied(network(loss=loss))
    save_checkpoint(saved, path)
    np.testing.assert_array_equal(load_checkpoint(path).predict(X), saved.predict(X))


def custom_tanh():
    return Activation(lambda xp, Z: xp.tanh(Z), lambda xp, dA, Z, A: dA * (1 - A * A))


def test_custom_parts_are_passed_to_load_checkpoint_again(path):
    activations = [custom_tanh(), "sigmoid"]
    saved = network(activations=activations)
    save_checkpoint(saved, path)
    with pytest.raises(ValueError, match="saved with custom activations; use load_checkpoint"):
        load_checkpoint(path)
    loaded = load_checkpoint(path, activations=activations)
    np.testing.assert_array_equal(loaded.predict(X), saved.predict(X))


def rewritten(path, **changes):
    text, tensors = contents(path)
    write(path, {**text, **changes}, tensors)


def test_an_older_or_newer_file_is_refused(path):
    save_checkpoint(network(), path)
    rewritten(path, format=2)
    with pytest.raises(ValueError, match="got the older format 2; save the network again"):
        load_checkpoint(path)
    rewritten(path, format=5)
    with pytest.raises(ValueError, match="got the newer format 5; update xpnet"):
        load_checkpoint(path)


INVALID = [
    ("no JSON", lambda text, tensors: ("{", tensors)),
    ("nested too deeply", lambda text, tensors: ("[" * 100_000 + "]" * 100_000, tensors)),
    ("a list", lambda text, tensors: ([], tensors)),
    ("a format of text", lambda text, tensors: ({**text, "format": "4"}, tensors)),
    ("no settings", lambda text, tensors: ({**text, "settings": None}, tensors)),
    (
        "a missing setting",
        lambda text, tensors: ({**text, "settings": dict(list(text["settings"].items())[1:])}, tensors),
    ),
    ("no theta", lambda text, tensors: (text, {k: v for k, v in tensors.items() if k != "theta"})),
    ("theta of NaN", lambda text, tensors: (text, {**tensors, "theta": tensors["theta"] * np.nan})),
    ("theta of booleans", lambda text, tensors: (text, {**tensors, "theta": tensors["theta"].astype(bool)[:5]})),
    ("a state of NaN", lambda text, tensors: (text, {**tensors, "optimizer_state.0": tensors["theta"] * np.nan})),
    ("a missing state", lambda text, tensors: (text, {k: v for k, v in tensors.items() if k != "optimizer_state.1"})),
    ("a missing history", lambda text, tensors: (text, {k: v for k, v in tensors.items() if k != "history.loss"})),
    ("an extra history", lambda text, tensors: ({**text, "recorded": ["loss", "accuracy"]}, tensors)),
    ("names that are numbers", lambda text, tensors: ({**text, "recorded": [1, 2]}, tensors)),
    ("a fraction of draws", lambda text, tensors: ({**text, "draws": 0.5}, tensors)),
    ("a fraction of an epoch", lambda text, tensors: (text, {**tensors, "best.epoch": np.asarray(2.7)})),
    ("an extra array", lambda text, tensors: (text, {**tensors, "theta.0": tensors["theta"]})),
    ("a network too large", lambda text, tensors: (with_settings(text, layer_list=[10**6, 10**6, 1]), tensors)),
    ("too many networks", lambda text, tensors: (with_settings(text, ensemble=10**9, seed=0), tensors)),
    ("settings of NaN", lambda text, tensors: (with_settings(text, l2=float("nan")), tensors)),
    ("an unknown loss", lambda text, tensors: (with_settings(text, loss="mystery"), tensors)),
]


def with_settings(text, **changes):
    return {**text, "settings": {**text["settings"], **changes}}


@pytest.mark.parametrize("change", [case[1] for case in INVALID], ids=[case[0] for case in INVALID])
def test_invalid_content_with_a_valid_checksum_is_refused(change, path):
    saved = network()
    saved.train(X, Y, 0.05, epochs=4, patience=2, validation_split=0.3, **OPTIONS)
    save_checkpoint(saved, path)
    write(path, *change(*contents(path)))
    with pytest.raises(ValueError, match=r"network\.safetensors must hold a valid network: "):
        load_checkpoint(path)


def test_a_file_of_any_content_loads_or_raises_an_error_with_its_path(path):
    """A loaded network predicts and trains."""
    saved = NeuralNetwork(LAYERS, ensemble=2, optimizer="adam", seed=0)
    saved.train(X, Y, 0.05, epochs=4, patience=3, metrics="r2_score", **OPTIONS)
    save_checkpoint(saved, path)
    (text, tensors), rng, loaded, refused = contents(path), np.random.default_rng(0), 0, []
    for _ in range(400):
        changed = mutated_arrays(tensors, rng) if rng.random() < 0.5 else tensors
        write(path, mutated(text, rng) if rng.random() < 0.8 else text, changed)
        try:
            network = load_checkpoint(path)
        except ValueError as error:
            refused.append(str(error))
        else:
            loaded += 1
            assert_usable(network)
    assert 10 < loaded < 390
    assert all(str(path) in says for says in refused)


def test_a_file_behind_a_symlink_is_replaced_and_the_symlink_stays(path):
    target = path.parent / "elsewhere" / "real.safetensors"
    target.parent.mkdir()
    save_checkpoint(network(), target)
    path.symlink_to(target)
    save_checkpoint(network(seed=2), path)
    assert path.is_symlink()
    assert load_checkpoint(target).seed == 2


def test_old_temporary_files_of_a_killed_writer_are_deleted(path):
    left = [path.with_name(f".{path.name}.{i:016x}") for i in (1, 2)]
    others = path.with_name(f".{path.name}.backup")
    for file in (*left, others):
        file.write_bytes(b"")
    long_ago = time.time() - 7200
    os.utime(left[0], (long_ago, long_ago))
    os.utime(others, (long_ago, long_ago))
    save_checkpoint(network(), path)
    assert not left[0].exists()
    assert left[1].exists()
    assert others.exists()


def test_the_error_for_a_full_disk_names_the_file(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*network\.safetensors"):
        save_checkpoint(network(), path)


def test_a_file_without_read_permission_raises_permission_error(path, monkeypatch):
    save_checkpoint(network(), path)

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        load_checkpoint(path)


def test_a_file_of_another_architecture_is_refused(path):
    save_checkpoint(network(), path)
    rewritten(path, settings={**network().settings, "layer_list": [2, 5, 1]})
    with pytest.raises(ValueError, match=r"theta must have the shape \(21,\), got \(17,\)"):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(kept, path):
    save_checkpoint(network(), path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match="must be a safetensors file, got another or a truncated file"):
        load_checkpoint(path)


@pytest.mark.parametrize("where", [-1, -100, 200])
def test_an_altered_file_is_refused(where, path):
    save_checkpoint(network(), path)
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"got a wrong checksum|must be a safetensors file"):
        load_checkpoint(path)


def test_a_foreign_file_is_refused(path):
    save_file({"weights": np.ones(3)}, path)
    with pytest.raises(ValueError, match="must be a checkpoint of xpnet, got another safetensors file"):
        load_checkpoint(path)


def test_a_missing_file_raises_file_not_found(path):
    with pytest.raises(FileNotFoundError, match="path must be an existing file, got"):
        load_checkpoint(path)


@pytest.mark.parametrize(("state", "says"), [
    ({"theta": np.ones(3)}, r"theta must have the shape \(17,\), got \(3,\)"),
    ({"theta": np.full(17, np.nan)}, "theta must be finite"),
    ({"optimizer_state": []}, "optimizer_state must be that of the network's optimizer"),
])  # fmt: skip
def test_a_state_that_does_not_fit_leaves_the_network_unchanged(state, says):
    kept = network()
    before, losses = kept.theta.copy(), kept.epoch_loss
    with pytest.raises(ValueError, match=says):
        kept.load_state_dict({**network(seed=2).state_dict(), **state})
    np.testing.assert_array_equal(kept.theta, before)
    assert kept.epoch_loss == losses


def test_a_loaded_state_is_cast_to_the_networks_precision():
    double, single = network(optimizer="adam"), network(optimizer="adam", dtype="float32")
    double.train(X, Y, 0.1, epochs=2, **OPTIONS)
    single.load_state_dict(double.state_dict())
    assert {array.dtype for array in (single.theta, *single._snapshot.optimizer_state)} == {np.dtype("float32")}


def test_changing_a_state_does_not_change_the_network_that_loaded_it():
    state, one = network().state_dict(), network(seed=2)
    one.load_state_dict(state)
    before = one.theta.copy()
    state["theta"][:] = 0.0
    np.testing.assert_array_equal(one.theta, before)


def test_a_loaded_state_includes_its_seed():
    """The network then takes the samples in the same order."""
    one, other = network(), network(seed=99)
    one.train(X, Y, 0.1, epochs=2, **OPTIONS)
    other.load_state_dict(one.state_dict())
    assert other.seed == one.seed
    for each in (one, other):
        each.train(X, Y, 0.1, epochs=2, **OPTIONS)
    np.testing.assert_array_equal(one.theta, other.theta)


def test_a_state_that_lacks_something_is_refused():
    state = network().state_dict()
    del state["optimizer_state"], state["seed"]
    with pytest.raises(
        ValueError, match="state must be a mapping as state_dict returns it, got no optimizer_state, seed"
    ):
        network().load_state_dict(state)


def test_the_best_member_of_an_ensemble_that_stopped_early_can_be_saved(path):
    ensemble = NeuralNetwork(LAYERS, ensemble=3, seed=0)
    ensemble.train(X, Y, [0.1, 5.0, 50.0], epochs=20, patience=3, validation_split=0.3, **OPTIONS)
    best = ensemble.best_member()
    save_checkpoint(best, path)
    loaded = load_checkpoint(path)
    assert (loaded.best_loss, loaded.best_epoch) == (best.best_loss, best.best_epoch)
    np.testing.assert_array_equal(loaded.theta, best.theta)


def test_a_state_shares_no_arrays_with_networks():
    one, other = (NeuralNetwork(LAYERS, ensemble=3, seed=seed) for seed in (0, 9))
    one.train(X, Y, 0.1, epochs=5, patience=2, **OPTIONS)
    state, before = one.state_dict(), one.best_loss
    other.load_state_dict(state)
    losses = other.history["loss"]
    for array in (*state["best"].values(), state["history"]["loss"]):
        array[...] = 77
    one.best_loss[:] = 77
    for each in (one, other):
        np.testing.assert_array_equal(each.best_loss, before)
        np.testing.assert_array_equal(each.history["loss"], losses)


WRONG = [
    ("best", {"loss": "x", "epoch": 0}, "best loss must hold real numbers"),
    ("best", {"loss": 1.0, "epoch": np.nan}, "best epoch must be finite"),
    ("best", {"loss": 1.0, "epoch": [1, 2]}, r"best epoch must have the shape \(\), got \(2,\)"),
    ("best", 3, "best must be None or a mapping with loss and epoch, got 3"),
    ("draws", 0, "draws must be a positive integer, got 0"),
    ("early_stopping", {}, "early_stopping must be a mapping with theta"),
    ("history", [1.0], "history must be a mapping of names to arrays"),
    ("optimizer_state", "x", "optimizer_state must be a list of arrays, got 'x'"),
    ("seed", -1, "seed must not be negative"),
    ("seed", None, "seed must be the seed of the other network, got None"),
    ("first_epoch", 2**70, "first_epoch must be 0 or a positive integer"),
    ("form", ["two", "int64"], "form must be None or a pair"),
]


@pytest.mark.parametrize(("name", "value", "says"), WRONG, ids=[f"{case[0]} {case[1]}" for case in WRONG])
def test_a_state_with_something_wrong_leaves_the_network_unchanged(name, value, says):
    one, other = network(), network(seed=5)
    one.train(X, Y, 0.1, epochs=5, patience=2, **OPTIONS)
    before, loss = other.theta.copy(), other.epoch_loss
    with pytest.raises((ValueError, TypeError), match=says):
        other.load_state_dict({**one.state_dict(), name: value})
    np.testing.assert_array_equal(other.theta, before)
    assert (other.seed, other.epoch_loss, other.best_loss) == (5, loss, None)


def test_only_a_network_can_be_saved(path):
    with pytest.raises(TypeError, match=r"network must be a NeuralNetwork, got .*; use save_checkpoint"):
        save_checkpoint(path, network())


def test_training_does_not_change_a_loaded_state():
    one, other, third = network(), network(seed=2), network(seed=3)
    state = one.state_dict()
    before = [array.copy() for array in (state["theta"], *state["optimizer_state"])]
    for each in (other, third):
        each.load_state_dict(state)
        each.update_parameters(each.backward_pass(Y, each.deep_forward(X.T)), 0.1)
    np.testing.assert_array_equal(other.theta, third.theta)
    for array, expected in zip((state["theta"], *state["optimizer_state"]), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_state_can_be_loaded_into_another_network():
    one, other = network(), network(seed=2)
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(other.theta, one.theta)
    other.train(X, Y, 0.05, epochs=1, **OPTIONS)
    assert not np.array_equal(other.theta, one.theta)
    assert one.epochs_trained == 3


def test_settings_per_network_are_stored_as_arrays(path):
    seeds = [0, 1, 2**32, 2**127 + 5]
    saved = NeuralNetwork(LAYERS, ensemble=4, seed=seeds, l2=[0.1, 0.2, 0.3, 0.4], clip_norm=[1.0] * 4)
    save_checkpoint(saved, path)
    text, tensors = contents(path)
    assert not {"seed", "l2", "clip_norm"} & text["settings"].keys()
    assert tensors["each.seed"].shape == (4, 4)
    loaded = load_checkpoint(path)
    assert loaded.settings == saved.settings
    assert loaded.seed == seeds
