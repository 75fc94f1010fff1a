"""Attacks: invalid calls, files with any content, Ctrl-C and kills at any moment; and the checks of their outcomes.

Each attack is a function ``attack(rng) -> Outcome | None`` that depends only on its random numbers; it returns None if
there was nothing to attack. `test_attacks.py` runs a few of each kind, and ``python tests/stress.py`` as many as fit
into a given time.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import linecache
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oddities
from oddities import LABELS, CustomWarning, OnPurpose, X, Y, to_numpy
from safetensors.numpy import save_file

import xpnet
import xpnet.backends
from xpnet import Callback, NeuralNetwork, load_checkpoint, save_checkpoint
from xpnet.schedules import reduce_on_plateau

SECONDS = 3.0  # the time limit of a call


class Outcome(NamedTuple):
    """The outcome of one attack.

    Attributes
    ----------
    attack : str
        The attack, as text.
    kind : str
        The fault and its place, the same for all attacks that fail alike; empty if xpnet withstood the attack.
    rule : str
        The rule that was broken.
    observed : str
        What happened instead.
    call : Call or None
        The attack, if it was a call.
    """

    attack: str
    kind: str = ""
    rule: str = ""
    observed: str = ""
    call: Call | None = None

    @property
    def withstood(self):
        return not self.kind


def choose(rng, options):
    return options[int(rng.integers(len(options)))]


# ---- Calls

_PACKAGE_FOLDERS = [str(Path(package.__file__).parent) + os.sep for package in (xpnet, xpnet.backends)]
_PACKAGE_FOLDERS += [str(Path(folder).resolve()) + os.sep for folder in _PACKAGE_FOLDERS]
_EXPECTED_ERRORS = (
    *(TypeError, ValueError, KeyError, IndexError, RuntimeError, FloatingPointError, OSError, ImportError),
    NotImplementedError,
)
# Other names that a message may use for an argument.
_SYNONYMS = {
    "X": ("data",),
    "y": ("data", "targets"),
    "AL": ("the cache",),
    "activations": ("activation",),
    "callbacks": ("callback",),
    "class_weight": ("weights of the samples",),
    "device": ("backend",),
    "ensemble": ("networks", "each network"),
    "epochs": ("epoch",),
    "grads": ("dW1", "db1", "dW2", "db2"),
    "i": ("member",),
    "layer_list": ("layer", "layers"),
    "learning_rate": ("learning rate",),
    "metrics": ("metric",),
    "name": ("backend", "device", "parameter", "recorded"),
    "network": ("NeuralNetwork",),
    "optimizer": ("weight_decay",),
    "path": ("file", "folder"),
    "sample_weight": ("weights of the samples",),
    "validation_split": ("weights of the samples",),
    "value": ("W1", "b1", "W2", "b2"),
    "values": ("parameters", "W1", "b1", "W2", "b2"),
}


class Call(NamedTuple):
    """A call as text: the network, the function, the arguments by name, and which of them were replaced.

    `then` is code that uses the result.
    """

    network: str
    function: str
    arguments: dict[str, str]
    replaced: tuple[str, ...]
    then: str = ""

    def __str__(self):
        given = ", ".join(f"{name}={text}" for name, text in self.arguments.items())
        lines = [f"network = {self.network}"] * bool(self.network) + [f"result = {self.function}({given})"]
        return "; ".join(lines + [self.then] * bool(self.then))


class TooLong(BaseException):
    """A call exceeded the time limit."""


def trained(network):
    rate = 0.05 if network.ensemble is None else [0.05] * network.ensemble
    network.train(
        X, Y if network.layer_list[-1] == 1 else LABELS, rate, epochs=2, batch_size=5, verbose=False, patience=5
    )
    network.train(X, Y if network.layer_list[-1] == 1 else LABELS, rate, epochs=1, batch_size=5, verbose=False)
    return network


def forwarded(network):
    network.deep_forward(X.T)
    return network


def in_early_stopping(network):
    """Return a network as it is in the middle of a training with early stopping."""
    seen = []
    y = Y if network.layer_list[-1] == 1 else LABELS
    network.train(X, y, 0.1, epochs=3, verbose=False, patience=9, callbacks=lambda n: seen.append(n.state_dict()))
    network.load_state_dict(seen[1])
    return network


def saved(network):
    save_checkpoint(network, "saved")
    return network


def grads(network):
    return network.backward_pass(0.5, network.deep_forward(X.T))


def replaced(state, *path_and_value):
    """Return a state with the value at the end of a path replaced."""
    *path, value = path_and_value
    return _changed(state, path, lambda entries, name: entries.__setitem__(name, value))


def without(state, *path):
    """Return a state without the entry at the end of a path."""
    return _changed(state, path, lambda entries, name: entries.__delitem__(name))


def _changed(state, path, change):
    if len(path) > 1:
        copied = list(state) if isinstance(state, list) else dict(state)
        copied[path[0]] = _changed(state[path[0]], path[1:], change)
        return copied
    copied = list(state) if isinstance(state, list) else dict(state)
    change(copied, path[0])
    return copied


def assign(network, values):
    network.parameters = values


def assign_one(network, name, value):
    network.parameters[name] = value


def use(network):
    """Print, train and save a network, and predict with it."""
    n_0, n_L, (low, high) = network.layer_list[0], network.layer_list[-1], network.activations[-1].bounds
    samples, target = np.linspace(-1, 1, 4 * n_0).reshape(4, n_0), min(max(0.5, low), high)
    repr(network), str(network.settings), dict(network.history)
    network.predict(samples)
    network.train(samples, np.full((4, n_L), target), 0.01, epochs=2, batch_size=None, verbose=False)
    network.state_dict()


def by_hand(network):
    AL = network.deep_forward(X.T)
    network.cost_function(0.5, AL)
    network.update_parameters(network.backward_pass(0.5, AL), 0.1)


_NAMES = {
    **vars(oddities),
    **oddities.NAMES,
    **{each.__name__: each for each in (trained, forwarded, in_early_stopping, saved, grads, use, by_hand)},
}
_NAMES |= {each.__name__: each for each in (replaced, without, assign, assign_one)}

# Networks, with suitable targets.
NETWORKS = [
    ("NeuralNetwork([2, 3, 1], seed=0)", "Y"),
    ("NeuralNetwork([2, 3, 1], optimizer='adam', l2=0.01, clip_norm=1.0, dropout=0.2, seed=0)", "Y"),
    ("trained(NeuralNetwork([2, 3, 1], optimizer='adam', seed=0))", "Y"),
    ("trained(NeuralNetwork([2, 3, 1], ensemble=2, seed=0))", "Y"),
    ("trained(NeuralNetwork([2, 4, 3], loss='categorical_crossentropy', dtype='float32', seed=0))", "LABELS"),
    ("trained(NeuralNetwork([2, 3, 1], device=get_backend('device1', name='array_api_strict'), seed=0))", "Y"),
    ("NeuralNetwork([2, 3, 1], dtype='float32', device=get_backend('no_x64', name='array_api_strict'), seed=0)", "Y"),
]
_DATA = {"X": "X", "y": "{y}"}
_SHARED = {
    "epochs": "3",
    "verbose_epoch": "2",
    "verbose": "True",
    "sample_weight": "WEIGHT",
    "class_weight": "None",
    "validation_split": "0.25",
    "validation_data": "(X, {y})",
    "metrics": "['r2_score']",
    "patience": "2",
    "tol": "0.01",
    "callbacks": "[]",
    "progress_bar": "False",
}
_TRAIN = {
    **_SHARED,
    "batch_size": "5",
    "shuffle": "True",
    "schedule": "schedules.cosine(20)",
    "members_at_once": "1",
}
_SETTINGS = {
    "activations": "['tanh', 'sigmoid']",
    "loss": "'half_squared_error'",
    "optimizer": "'adam'",
    "initializer": "'he_normal'",
    "initial_scale": "2.0",
    "weight_decay": "0.01",
    "l2": "0.01",
    "l1": "0.01",
    "clip_norm": "1.0",
    "dropout": "0.1",
    "ensemble": "2",
    "device": "'cpu'",
    "dtype": "'float32'",
    "seed": "0",
}
_FIT = "NeuralNetwork([2, 3, 1], {}=result, seed=0).train(X, Y, 0.05, epochs=3, verbose=False)"
_SCHEDULED = "NeuralNetwork([2, 3, 1], seed=0).train(X, Y, 0.05, epochs=5, verbose=False, schedule=result)"

# The functions, with their required and optional arguments, each with a valid value, and code that uses the result.
FUNCTIONS = [
    ("NeuralNetwork", {"layer_list": "[2, 3, 1]"}, _SETTINGS, "use(result)"),
    ("network.train", {**_DATA, "learning_rate": "0.05"}, _TRAIN, ""),
    ("network.train_lbfgs", _DATA, {**_SHARED, "gradient_tol": "1e-5"}, ""),
    ("network.predict", {"X": "X"}, {}, ""),
    ("network.evaluate", _DATA, {"sample_weight": "WEIGHT", "metrics": "['r2_score']"}, ""),
    ("network.deep_forward", {"X": "X.T"}, {}, ""),
    ("network.cost_function", {"Y": "0.5", "AL": "network.deep_forward(X.T)"}, {}, ""),
    ("network.backward_pass", {"Y_target": "0.5", "AL": "network.deep_forward(X.T)"}, {}, ""),
    ("network.update_parameters", {"grads": "grads(network)", "learning_rate": "0.1"}, {}, "network.predict(X)"),
    ("network.sigmoid", {"x": "X"}, {}, ""),
    ("network.relu", {"x": "X"}, {}, ""),
    ("network.sigmoid_derivative", {"Z": "X"}, {}, ""),
    ("network.initialize_weights_deep", {"layer_list": "[2, 3, 1]"}, {}, ""),
    ("network.member", {"i": "1"}, {}, "use(result)"),
    ("assign", {"network": "network", "values": "dict(network.parameters)"}, {}, "use(network)"),
    ("assign_one", {"network": "network", "name": "'b1'", "value": "network.parameters['b1']"}, {}, "use(network)"),
    ("network.parameters.__getitem__", {"name": "'W1'"}, {}, ""),
    ("network.history.__getitem__", {"name": "'loss'"}, {}, ""),
    ("network.load_state_dict", {"state": "network.state_dict()"}, {}, "use(network)"),
    (
        "gradient_check",
        {"network": "network", **_DATA},
        {"step": "1e-6", "tolerance": "1e-6", "seed": "0"},
        "str(result)",
    ),
    ("save_checkpoint", {"network": "network", "path": "'x'"}, {}, "load_checkpoint('x')"),
    (
        "load_checkpoint",
        {"path": "'saved'"},
        dict.fromkeys(("activations", "loss", "optimizer", "initializer", "device"), "None"),
        "use(result)",
    ),
    ("export_onnx", {"network": "network", "path": "'x'"}, {}, ""),
    ("get_backend", {}, {"device": "'cpu'", "name": "'numpy'"}, ""),
    ("backend_of", {"x": "X"}, {}, ""),
    ("schedules.step", {"every": "2"}, {"gamma": "0.5"}, _SCHEDULED),
    ("schedules.exponential", {"gamma": "0.9"}, {}, _SCHEDULED),
    ("schedules.cosine", {"epochs": "9"}, {"least": "0.1"}, _SCHEDULED),
    ("schedules.inverse_scaling", {}, {"power": "0.5"}, _SCHEDULED),
    ("schedules.warm_up", {"epochs": "2"}, {"after": "schedules.cosine(9)", "start": "0.1"}, _SCHEDULED),
    (
        "schedules.reduce_on_plateau",
        {},
        {"factor": "0.5", "patience": "1", "threshold": "0.01", "cooldown": "1", "least": "0.1"},
        _SCHEDULED,
    ),
    ("optimizers.sgd", {}, {"momentum": "0.9", "nesterov": "True"}, _FIT.format("optimizer")),
    ("optimizers.rmsprop", {}, {"alpha": "0.9", "eps": "1e-8"}, _FIT.format("optimizer")),
    ("optimizers.adagrad", {}, {"eps": "1e-8"}, _FIT.format("optimizer")),
    ("optimizers.adam", {}, {"betas": "(0.9, 0.999)", "eps": "1e-8"}, _FIT.format("optimizer")),
    ("optimizers.adamw", {}, {"weight_decay": "0.1", "betas": "(0.9, 0.99)", "eps": "1e-8"}, _FIT.format("optimizer")),
    ("losses.huber", {}, {"delta": "0.5"}, _FIT.format("loss")),
    ("initializers.normal", {}, {"scale": "0.5"}, _FIT.format("initializer")),
    ("initializers.glorot", {}, {"uniform": "True"}, _FIT.format("initializer")),
    ("initializers.he", {}, {"uniform": "True"}, _FIT.format("initializer")),
    ("initializers.lecun", {}, {"uniform": "True"}, _FIT.format("initializer")),
]
# Functions that are called more often, because more can go wrong in them.
_FREQUENCIES = {"NeuralNetwork": 8, "network.train": 12, "network.train_lbfgs": 4, "network.evaluate": 3}
_FREQUENCIES |= {"network.update_parameters": 2, "load_checkpoint": 2, "gradient_check": 2}
_BY_FREQUENCY = [each for each in FUNCTIONS for _ in range(_FREQUENCIES.get(each[0], 1))]

# Paths into a state dict, to entries that may be replaced or removed.
_ENTRIES = [
    *("theta", "optimizer", "optimizer_state", "history", "last_measured", "seed", "draws", "best", "early_stopping"),
    *(f"{outer}/{inner}" for outer in ("best", "early_stopping") for inner in ("loss", "epoch")),
    *(f"early_stopping/{inner}" for inner in ("waited", "waits", "theta", "optimizer_state", "optimizer_state/0")),
    *("history/loss", "history/r2_score", "history/validation_loss", "history/", "history/1", "last_measured/0"),
    *("optimizer_state/0", "optimizer_state/2", "optimizer_state/-1"),
]
_TOO_LONG = {"epochs", "patience"}  # a large number is valid here, but takes too long


def calls(rng):
    """Call a function with one to three invalid arguments, and check the outcome."""
    kind = rng.random()
    if kind < 0.15:
        call = _call_with_changed_state(rng)
    elif kind < 0.35:
        call = _call_with_broken_part(rng)
    else:
        call = _call_with_invalid_arguments(rng)
    return outcome_of(call)


def _call_with_invalid_arguments(rng):
    network, y = choose(rng, NETWORKS)
    function, needed, optional, then = choose(rng, _BY_FREQUENCY)
    if function in ("network.train_lbfgs", "gradient_check"):  # these do not accept every network
        unfit = ("ensemble", "dropout", "no_x64", "no_float64")
        network, y = choose(rng, [each for each in NETWORKS if not any(word in each[0] for word in unfit)])
    if function == "network.backward_pass":
        network = f"forwarded({network})"
    if function == "load_checkpoint":
        network = f"saved({network})"
    if function == "network.member":
        network = "trained(NeuralNetwork([2, 3, 1], ensemble=3, seed=0))"
    arguments = {**needed, **{name: text for name, text in optional.items() if rng.random() < 0.25}}
    if "validation_split" in arguments and "validation_data" in arguments:
        del arguments["validation_split"]
    arguments = {name: text.replace("{y}", y) for name, text in arguments.items()}
    known = [name for name in {**needed, **optional} if name != "network" or function not in ("assign", "assign_one")]
    names = [str(name) for name in rng.permutation(known)[: choose(rng, [1, 1, 1, 2, 2, 3])]]
    for name in names:
        right = {**needed, **optional}[name].replace("{y}", y)
        arguments[name] = _invalid(rng, name, right)
    if "class_weight" in names and "y" not in names:
        arguments["y"] = "LABELS" if y == "LABELS" else "LABELS % 2"
    if function.startswith(("NeuralNetwork", "get_backend", "schedules", "optimizers", "losses", "initializers")):
        network = ""
    return Call(network, function, arguments, tuple(names), then)


def _invalid(rng, name, right):
    """Return the text of an invalid value in place of a valid one."""
    parts, chance = oddities.PARTS.get(name, []), rng.random()
    if parts and chance < 0.6:
        wrong = choose(rng, parts)
        if name in ("activations", "metrics"):
            wrong = choose(rng, _IN_A_LIST[name]).format(wrong)
    elif chance < 0.75:
        wrong = choose(rng, oddities.CHANGED).format(*[right] * 4)
    elif chance < 0.85:
        wrong = _with_an_invalid_entry(rng, name, right)
    else:
        wrong = choose(rng, oddities.ODD)
    huge = {"10**400", "2**63"} | ({"1e300", "inf"} if name in _TOO_LONG else set())
    return "-1" if name in _TOO_LONG and any(each in wrong for each in huge) else wrong


_IN_A_LIST = {
    "activations": ["[{}, 'sigmoid']", "['tanh', {}]", "{}"],
    "metrics": ["{}", "[{}]", "['r2_score', {}]"],
}


def _with_an_invalid_entry(rng, name, right):
    """Return the text of a value of which one entry is invalid."""
    odd, tree = choose(rng, oddities.ODD), ast.parse(right, mode="eval").body
    if name in ("values", "grads"):
        entry = choose(rng, ["W1", "b1", "W2", "b2"])
        wrong = odd if rng.random() < 0.5 else choose(rng, oddities.CHANGED).format(*["np.ones((3, 2))"] * 4)
        return f"replaced({right}, '{'d' * (name == 'grads')}{entry}', {wrong})"
    if isinstance(tree, (ast.List, ast.Tuple)) and tree.elts:
        entries = [ast.unparse(entry) for entry in tree.elts]
        i = int(rng.integers(len(entries)))
        entries[i] = odd if rng.random() < 0.5 else choose(rng, oddities.CHANGED).format(*[entries[i]] * 4)
        entries += [odd] * (rng.random() < 0.1)
        return f"[{', '.join(entries)}]" if isinstance(tree, ast.List) else f"({', '.join(entries)},)"
    return f"[{right}, {odd}]"


def _call_with_changed_state(rng):
    network = choose(rng, [each for each, _ in NETWORKS])
    wrapped = choose(rng, ["in_early_stopping({})", "{}"]).format(network)
    entry = choose(rng, _ENTRIES)
    path = [int(each) if each.lstrip("-").isdigit() and "history" not in entry else each for each in entry.split("/")]
    where, state = ", ".join(map(repr, path)), "network.state_dict()"
    if rng.random() < 0.15:
        state = f"without({state}, {where})"
    else:
        right = state + "".join(f"[{each!r}]" for each in path)
        wrong = choose(rng, oddities.CHANGED).format(*[right] * 4) if rng.random() < 0.5 else choose(rng, oddities.ODD)
        state = f"replaced({state}, {where}, {wrong})"
    names = tuple(str(each) for each in path if not isinstance(each, int))
    return Call(wrapped, "network.load_state_dict", {"state": state}, (*names, "state"), "use(network)")


def _call_with_broken_part(rng):
    """Build a network with a custom part that breaks its contract, and call a function with it."""
    part = choose(rng, ["activations", "loss", "optimizer", "initializer"])
    wrong = _invalid(rng, part, _SETTINGS[part]) if rng.random() < 0.1 else choose(rng, oddities.PARTS[part])
    if part == "activations":
        wrong = choose(rng, ["[{}, 'sigmoid']", "['tanh', {}]"]).format(wrong)
    functions = ["network.train", "network.train_lbfgs", "network.predict", "network.evaluate", "gradient_check"]
    function = choose(
        rng, [*functions, "export_onnx", "save_checkpoint", "by_hand", "network.state_dict", "network.clear_weights"]
    )
    more = ["", ", dtype='float32'", ", device=get_backend('device1', name='array_api_strict')"]
    more += [", ensemble=2"] * (function not in ("network.train_lbfgs", "gradient_check"))
    network = f"NeuralNetwork([2, 3, 1], {part}={wrong}{choose(rng, more)}, seed=0)"
    _, needed, _, _ = next((each for each in FUNCTIONS if each[0] == function), (function, {}, {}, ""))
    arguments = {name: text.replace("{y}", "Y") for name, text in needed.items()}
    if function == "by_hand":
        arguments = {"network": "network"}
    if function.startswith("network.train"):
        arguments |= {"epochs": "5", "verbose": "False"}
    if function == "network.train":
        arguments["batch_size"] = choose(rng, ["1", "5", "None"])
    return Call(network, function, arguments, (part,))


# ---- The checks of calls


def outcome_of(call):
    """Make a call and return its outcome, or None if an argument could not be built."""
    names, step, error, before = dict(_NAMES), "network", None, {}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        _quiet(),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        try:
            with _time_limit():
                if call.network:
                    names["network"] = eval(call.network, names)
                step = "arguments"
                function = eval(call.function, names)
                arguments = {name: eval(text, names) for name, text in call.arguments.items()}
            step, before = "call", state_of(names.get("network"))
            warned.clear()
            with _time_limit():
                names["result"] = function(**arguments)
            step = "then"
            with _time_limit():
                eval(call.then or "None", names)
                assert_consistent(names.get("network"))
                assert_consistent_result(call, names)
        except (Exception, TooLong) as raised:
            error = raised
        if step == "arguments" or (step == "network" and error is not None and not _passed_through_xpnet(error)):
            return None
        changed = _difference(before, names.get("network")) if step == "call" and error is not None else ""
    if error is not None and not isinstance(error, TooLong) and _breaks_late(call):
        kind, rule, observed = _fault_of_inconsistent_network(names.get("network"), error)
        return Outcome(str(call), kind, rule, observed, call)
    kind, rule, observed = _fault(call, error, changed)
    warned = [each for each in warned if each.filename != "<string>" and not issubclass(each.category, CustomWarning)]
    warned = [each for each in warned if "very different scales" not in str(each.message)]  # a legitimate warning
    if warned and not kind:
        kind = f"{warned[0].category.__name__} at {_short(warned[0].filename)}:{warned[0].lineno}"
        rule, observed = "no warning", str(warned[0].message)
    return Outcome(str(call), kind, rule, f"(afterwards) {observed}" if kind and step == "then" else observed, call)


def _breaks_late(call):
    """Return whether a part breaks its contract only after its dry run, when steps are not checked any more."""
    parts = ("activations", "loss", "optimizer", "initializer", "metrics", "schedule")
    return any("later(" in call.arguments.get(name, call.network) for name in parts)


def _fault_of_inconsistent_network(network, error):
    """Return the fault of a network that is inconsistent after its custom part failed."""
    try:
        assert_consistent(network)
    except Exception as left:
        return (
            f"left inconsistent: {left}",
            "the network is consistent",
            f"{_text_of(error)}, and then {_text_of(left)}",
        )
    return "", "", ""


def _fault(call, error, changed):
    """Return the kind of fault of an exception, the rule that it broke, and its text."""
    if error is None or _is_from_custom_part(error):
        return "", "", ""
    kind, observed, rules = f"{type(error).__name__} at {_place(error)}", _text_of(error), []
    if isinstance(error, TooLong):
        return kind, "the call returns", f"no result within {SECONDS:g} seconds"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    made = [kind[:-1] for kind in ("schedules", "optimizers", "initializers") if kind in call.function]
    made += ["dW1", "db1", "dW2", "db2"] * (call.function == "by_hand")
    if _is_from_xpnet_in_custom_part(error):
        return "", "", ""
    if isinstance(error, AssertionError):
        return f"accepted: {error}", "an accepted call gives a consistent result", str(error)
    if not isinstance(error, _EXPECTED_ERRORS) or isinstance(error, RecursionError):
        rules.append("an exception of an expected type")
    elif isinstance(error, OSError) and error.filename is not None:
        pass  # an error of the operating system, which names the file
    elif not (
        _is_in_xpnet(frame.filename) and linecache.getline(frame.filename, frame.lineno).strip().startswith("raise")
    ):
        rules.append("raised on purpose")
    elif not isinstance(error, FloatingPointError) and not _mentions(str(error), (*call.replaced, *made)):
        rules.append(f"names {' or '.join(call.replaced)}")
    if changed and isinstance(error, (TypeError, ValueError)):
        rules.append(f"leaves the network unchanged ({changed} changed)")
        kind += "" if len(rules) > 1 else ", changed"
    return (kind, "; ".join(rules), observed) if rules else ("", "", "")


def _mentions(message, arguments):
    names = [word for name in arguments for word in (name, *_SYNONYMS.get(name, ())) if word]
    return any(re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z])", message) for name in names)


def _is_in_xpnet(filename):
    return filename.startswith(tuple(_PACKAGE_FOLDERS))


def _is_from_xpnet_in_custom_part(error):
    """Return whether xpnet raised it on purpose, in a call from a custom function that xpnet had called."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [_is_in_xpnet(frame.filename) for frame in frames]
    first = ours.index(True) if any(ours) else len(ours)
    return frames[-1].line.startswith("raise") and any(frame.filename == "<string>" for frame in frames[first:])


def _passed_through_xpnet(error):
    return any(_is_in_xpnet(frame.filename) for frame in traceback.extract_tb(error.__traceback__))


def _is_from_custom_part(error):
    """Return whether it comes from a custom function, and not from xpnet's use of the function's result."""
    if isinstance(error, OnPurpose):
        return True
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    whose = [name for name in frames if _is_in_xpnet(name) or name in ("<string>", oddities.__file__)]
    return any(map(_is_in_xpnet, whose)) and not _is_in_xpnet(whose[-1])


def _short(filename):
    for folder in sorted(_PACKAGE_FOLDERS, key=len, reverse=True):
        if filename.startswith(folder):
            inside = filename.removeprefix(folder)
            return f"backends/{inside}" if Path(folder).name == "backends" else f"xpnet/{inside}"
    return "/".join(Path(filename).parts[-2:])


def _place(error):
    """Return the innermost place in xpnet that an exception passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if _is_in_xpnet(frame.filename)), frames[-1])
    return f"{_short(frame.filename)}:{frame.lineno} in {frame.name}"


def _text_of(error):
    text = f"{type(error).__name__}: {error}"
    return text if len(text) < 400 else f"{text[:400]} …"


@contextlib.contextmanager
def _time_limit():
    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _quiet():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def state_of(network):
    """Return the complete state of a network, for comparisons."""
    if not isinstance(network, NeuralNetwork):
        return {}
    state = network.state_dict()
    early, best = state["early_stopping"] or {}, state["best"] or {}
    return {
        "theta": state["theta"].tolist(),
        "the optimizer's state": [array.tolist() for array in state["optimizer_state"]],
        "epochs_trained": network.epochs_trained,
        "history": {name: repr(array.tolist()) for name, array in state["history"].items()},
        "seed": (state["seed"], state["draws"]),
        "best": {name: repr(np.asarray(value).tolist()) for name, value in best.items()},
        "early stopping": {name: repr(value) for name, value in early.items()},
        "backend": network.backend,
    }


def _difference(before, network):
    try:
        after = state_of(network)
    except Exception as error:
        return f"everything, because it cannot be read: {type(error).__name__},"
    return ", ".join(name for name in before if before[name] != after[name])


def assert_consistent(network):
    """Assert that the state of a network has the right shapes and types, and is finite."""
    if not isinstance(network, NeuralNetwork):
        return
    ensemble_shape = () if network.ensemble is None else (network.ensemble,)
    snapshot = network._snapshot
    assert isinstance(snapshot.optimizer_state, tuple), "the optimizer's state is not a tuple"
    assert all(hasattr(array, "dtype") for array in snapshot.optimizer_state), "the optimizer state holds no arrays"
    assert snapshot.theta.shape == (*ensemble_shape, network.parameters.layout.size), "theta has the wrong shape"
    assert str(snapshot.theta.dtype).endswith(network.dtype), "theta has the wrong type"
    for array in (snapshot.theta, *snapshot.optimizer_state):
        assert type(network.backend).of(array) == network.backend, "the state is on another device"
        assert array.shape[: len(ensemble_shape)] == ensemble_shape, "the optimizer's state has the wrong shape"
        assert to_numpy(array).dtype.kind in "biuf", "the state does not hold numbers"
        assert np.isfinite(to_numpy(array)).all(), "the state is not finite"
    assert len(network.epoch_loss) == network.epochs_trained
    state_of(network)


def assert_consistent_result(call, names):
    """Assert that a result has the network's precision, and the shape that follows from the samples."""
    network, result = names.get("network"), names["result"]
    if call.function in ("network.predict", "network.deep_forward", "network.relu"):
        assert str(result.dtype).endswith(network.dtype), f"the result is of {result.dtype}"
    if call.function == "network.predict" and call.arguments["X"] == "X":
        ensemble_shape = () if network.ensemble is None else (network.ensemble,)
        assert tuple(result.shape) == (*ensemble_shape, 12, network.layer_list[-1]), (
            f"the result has the shape {result.shape}"
        )
    if call.function == "network.evaluate":
        kinds = {type(value) for value in result.values()}
        assert kinds <= {float} or network.ensemble, f"the results are {kinds}"


def shrunk(outcome):
    """Return the outcome of the shortest call that fails alike, with some arguments omitted or valid again."""
    call = outcome.call
    if call is None:
        return outcome
    _, needed, optional, _ = next((each for each in FUNCTIONS if each[0] == call.function), ("", {}, {}, ""))
    (plain, y), *_ = NETWORKS
    shorter = [call._replace(network=plain)] if call.network and call.replaced[0] not in call.network else []
    for name in call.arguments:
        if name in needed:
            change = {name: needed[name].replace("{y}", y)}
        elif name in optional:
            change = {}
        else:
            continue
        left = tuple(each for each in call.replaced if each != name)
        if left:
            arguments = {each: text for each, text in call.arguments.items() if each != name}
            shorter.append(call._replace(arguments={**arguments, **change}, replaced=left))
    for each in shorter:
        if len(str(each)) < len(str(call)):
            other = outcome_of(each)
            if other is not None and other.kind == outcome.kind:
                return shrunk(other)
    return outcome


# ---- Files


def contents(path):
    """Return the parsed text and the arrays of a checkpoint."""
    import xpnet.storage.checkpoints as module

    with module._safetensors()[0](path, framework="numpy") as file:
        return json.loads(file.metadata()["xpnet"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write(path, text, tensors):
    """Write a checkpoint with any text and any arrays, and a valid checksum."""
    import xpnet.storage.checkpoints as module

    text = text if isinstance(text, str) else json.dumps(text)
    save_file(tensors, path, metadata={"xpnet": text, "sha256": module._digest(tensors, text)})


def mutated(value, rng):
    """Return a JSON value that is replaced completely or in one place."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = choose(rng, sorted(value))
        return {**value, name: mutated(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        i = rng.integers(len(value))
        return [*value[:i], mutated(value[i], rng), *value[i + 1 :]]
    others = [None, True, -1, 0, 1, 2, 10**12, 0.5, 1e300, float("nan"), "", "relu", "huber", [], [1], {}, {"a": 1}]
    return choose(rng, others)


def mutated_arrays(tensors, rng):
    """Return arrays of which one is removed or replaced."""
    changed = dict(tensors)
    name = choose(rng, sorted(changed))
    array = changed.pop(name)
    with np.errstate(invalid="ignore", over="ignore"):
        kinds = [np.atleast_1d(array)[:1], array * np.nan, array[None], array.astype("float16"), array * 0.5]
        kinds.append(array.astype("int64"))
    if rng.random() < 0.8:
        changed[name] = np.ascontiguousarray(choose(rng, kinds))
    return changed


@cache
def _checkpoints():
    """Return the bytes of some checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        made = []
        for settings, training in (
            ({"optimizer": "adam", "activations": ["tanh", "sigmoid"]}, {"validation_split": 0.25, "patience": 2}),
            ({"ensemble": 2, "optimizer": "adam"}, {"patience": 3, "metrics": "r2_score"}),
            ({"dtype": "float32", "dropout": 0.2, "clip_norm": 1.0}, {"callbacks": lambda n: save_checkpoint(n, path)}),
            ({"optimizer": "adam"}, {"patience": 9, "callbacks": lambda n: save_checkpoint(n, path)}),
        ):
            network = NeuralNetwork([2, 4, 1], seed=0, **settings)
            network.train(X, Y, 0.05, epochs=4, batch_size=5, verbose=False, **training)
            if "callbacks" not in training:
                save_checkpoint(network, path)
            made.append(path.read_bytes())
    return made


def _damaged(content, rng):
    """Return bytes of which some are changed, inserted or removed."""
    damaged, kind = bytearray(content), int(rng.integers(5))
    start, length = int(rng.integers(len(damaged))), int(rng.integers(1, 64))
    start = start if rng.random() < 0.5 else start % 1000  # where the header is
    if kind == 0:
        del damaged[start:]
    elif kind == 1:
        del damaged[start : start + length]
    elif kind == 2:
        damaged[start:start] = rng.bytes(length)
    elif kind == 3:
        damaged[start : start + length] = rng.bytes(length)
    else:
        damaged[start] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def files(rng):
    """Load a checkpoint with damaged bytes, or with changed content and a valid checksum."""
    content = choose(rng, _checkpoints())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        path = Path(folder) / "network"
        path.write_bytes(content)
        if rng.random() < 0.4:
            what = "bytes changed"
            path.write_bytes(_damaged(content, rng))
        else:
            text, tensors = contents(path)
            changed = mutated(text, rng) if rng.random() < 0.8 else text
            arrays = mutated_arrays(tensors, rng) if rng.random() < 0.5 else tensors
            write(path, changed, arrays)
            what = f"{_changes(text, changed)} {_changes(tensors, arrays)}"
        what, error = f"a checkpoint with {what}", None
        try:
            with _time_limit(), _quiet():
                assert_usable(load_checkpoint(path))
        except (Exception, TooLong) as raised:
            error = raised
    if error is not None and not (isinstance(error, ValueError) and str(path) in str(error)):
        return Outcome(
            what, f"{type(error).__name__} at {_place(error)}", "loads, or a ValueError names it", _text_of(error)
        )
    if warned:
        kind = f"{warned[0].category.__name__} at {_short(warned[0].filename)}:{warned[0].lineno}"
        return Outcome(what, kind, "no warning", str(warned[0].message))
    return Outcome(what)


def assert_usable(network):
    """Assert that a network predicts finite numbers, has a repr, and can be trained further."""
    samples = X[:, : network.layer_list[0]]
    assert np.isfinite(network.predict(samples)).all()
    network.state_dict()
    repr(network)
    with contextlib.suppress(FloatingPointError):
        network.train(samples, 0.5 * np.ones((12, network.layer_list[-1])), 0.01, epochs=1, patience=2, verbose=False)


def _changes(before, after):
    """Return the differences, as text."""
    if isinstance(before, dict) and isinstance(after, dict):
        differ = [name for name in before if name not in after or repr(before[name]) != repr(after[name])]
        return "; ".join(f"{name}: {_changes(before[name], after.get(name))}" for name in differ)
    return " ".join(repr(after).split())[:80]


# ---- Ctrl-C

_FILES = [*Path(xpnet.__file__).parent.glob("training/*.py")]
_FILES += [Path(xpnet.__file__).parent / f"{name}.py" for name in ("network", "by_hand", "predictor")]


def _tracer(every_instruction, at_each):
    """Return a trace function that calls `at_each` at each line or instruction of the code that runs a training."""
    files = {str(path) for path in _FILES}

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in files:
            return None
        if event == "call" and every_instruction:
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        at_each()
        return trace

    return trace


def positions(call, *, every_instruction=False):
    """Return the number of lines or instructions of a call at which Ctrl-C may arrive."""
    count, old_trace = itertools.count(), sys.gettrace()
    sys.settrace(_tracer(every_instruction, lambda: next(count)))
    try:
        call()
    finally:
        sys.settrace(old_trace)
    return next(count)


def interrupted_at(position, call, *, every_instruction=False, again=None):
    """Make a call with Ctrl-C at the position-th line of the code that runs a training; return whether it happened.

    With `again`, a second Ctrl-C arrives that many calls and returns later.
    """
    files, left = {str(path) for path in _FILES}, [position, again]

    def at_each():
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt  # Python then removes the trace function

    def profile(frame, event, argument):
        if left[0] < 0 and frame.f_code.co_filename in files:
            left[1] -= 1
            if left[1] < 0:
                raise KeyboardInterrupt

    old_trace, old_profile = sys.gettrace(), sys.getprofile()
    sys.settrace(_tracer(every_instruction, at_each))
    if again is not None:
        sys.setprofile(profile)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(old_trace)
        sys.setprofile(old_profile)
    return left[0] < 0


class EpochStates(Callback):
    """Stores the state of the network before the first epoch and after every epoch."""

    def __init__(self):
        self.states = []

    def on_train_begin(self, network):
        self.states.append(self.of(network))

    def on_epoch_end(self, network):
        self.states.append(self.of(network))

    @staticmethod
    def of(network):
        snapshot = network._snapshot
        return [np.array(array) for array in (snapshot.theta, *snapshot.optimizer_state)]


def arrays_equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


RUNS = {
    "plain": {"epochs": 3, "batch_size": 5, "shuffle": True},
    "reports": {"epochs": 3, "batch_size": None, "metrics": "r2_score"},
    "early stopping": {"epochs": 5, "batch_size": 5, "validation_split": 0.3, "patience": 1},
    "lbfgs": {"epochs": 2},
    "lbfgs that stops early": {"epochs": 3, "validation_split": 0.3, "patience": 1},
}
_SETTINGS_OF = {
    "an ensemble": {"ensemble": 3},
    "an ensemble in chunks": {"ensemble": 3, "dropout": 0.3},
    "masks and schedules": {"dropout": 0.5, "l2": 0.01, "clip_norm": 0.1},
}
_MORE_RUNS = {
    "an ensemble": {"epochs": 3, "batch_size": 5, "metrics": "r2_score", "validation_split": 0.3},
    "an ensemble in chunks": {"epochs": 3, "batch_size": 5, "shuffle": True, "members_at_once": 1},
    "masks and schedules": {
        "epochs": 4,
        "batch_size": 5,
        "schedule": reduce_on_plateau(0.5, patience=0),
    },
}


def network_and_call(name, **more):
    network = NeuralNetwork([2, 3, 1], optimizer="adam", seed=0, **_SETTINGS_OF.get(name, {}))
    options = {**RUNS, **_MORE_RUNS}[name] | more
    if "lbfgs" in name:
        return network, lambda: network.train_lbfgs(X, Y, verbose=False, **options)
    rate = 0.5 if "patience" in options else 0.05
    return network, lambda: network.train(X, Y, rate, verbose=name == "reports", verbose_epoch=1, **options)


@cache
def uninterrupted_run(name):
    """Return a network whose training was not interrupted, and its state after every epoch."""
    epoch_states = EpochStates()
    uninterrupted, call = network_and_call(name, callbacks=epoch_states)
    with _quiet():
        call()
    return uninterrupted, epoch_states


def assert_complete_epoch(network, epoch_states, uninterrupted):
    """Assert that the network and its history are as after one of the epochs, and that it can be trained."""
    epochs = network.epochs_trained
    np.testing.assert_array_equal(network.epoch_loss, uninterrupted.epoch_loss[:epochs])
    best = network.best_epoch
    if best is None:
        assert arrays_equal(EpochStates.of(network), epoch_states.states[epochs])
    else:
        monitored = uninterrupted.history[uninterrupted.history.monitored][:epochs]
        assert (best, network.best_loss) == (np.argmin(monitored), monitored.min())
        assert arrays_equal(EpochStates.of(network), epoch_states.states[best + 1])
    assert network._snapshot.early_stopping is None
    assert_trainable(network)


def assert_trainable(network):
    """Assert that the network can be trained, and that its history has `epochs_trained` epochs."""
    epochs = network.epochs_trained
    assert len(network.epoch_loss) == epochs
    network.train(X, Y, 0.05, epochs=1, verbose=False)
    assert network.epochs_trained == epochs + 1
    assert network._snapshot.early_stopping is None


@cache
def _positions_of(name, every_instruction):
    with _quiet():
        return positions(network_and_call(name)[1], every_instruction=every_instruction)


def interrupts(rng):
    """Interrupt a training with one or two Ctrl-C, at any line or instruction."""
    name, every_instruction = choose(rng, [*RUNS, *_MORE_RUNS]), bool(rng.random() < 0.5)
    position = int(rng.integers(_positions_of(name, every_instruction)))
    again = int(rng.integers(12)) if rng.random() < 0.3 else None
    unit = "instruction" if every_instruction else "line"
    twice = "" if again is None else f", and again {again} calls later"
    what = f"Ctrl-C at {unit} {position} of the training {name!r}{twice}"
    uninterrupted, epoch_states = uninterrupted_run(name)
    network, call = network_and_call(name)
    try:
        with _quiet():
            interrupted_at(position, call, every_instruction=every_instruction, again=again)
            if again is not None:
                assert_trainable(network)
            else:
                if network.epochs_trained and "patience" in {**RUNS, **_MORE_RUNS}[name]:
                    assert network.best_epoch is not None
                assert_complete_epoch(network, epoch_states, uninterrupted)
    except Exception as error:
        return Outcome(
            what, f"{type(error).__name__} at {_last_line(error)}", "a complete epoch, and trainable", _text_of(error)
        )
    return Outcome(what)


def _last_line(error):
    """Return the innermost place in xpnet that an exception passed through, or else in this file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_in_xpnet(frame.filename)]
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
    return _place(error) if frames else f"attacks.py:{ours[-1].lineno} in {ours[-1].name}"


# ---- Kills

KILLED = {
    "adam": {"optimizer": "adam"},
    "an ensemble": {"optimizer": "momentum", "ensemble": 3},
    "dropout": {"optimizer": "rmsprop", "dropout": 0.5},
    "float32": {"optimizer": "nesterov", "dtype": "float32", "l2": 0.01},
}
_PROGRAM = """
import json, sys
import numpy as np
from xpnet import NeuralNetwork, save_checkpoint

path, settings = sys.argv[1], json.loads(sys.argv[2])
X, Y = np.linspace(-1, 1, 24).reshape(12, 2), np.linspace(0, 1, 12) ** 2
network = NeuralNetwork([2, 4, 1], seed=1, **settings)
print("started", flush=True)
network.train(X, Y, 0.05, epochs=100000, batch_size=5, shuffle=True, verbose=False, compile=False,
              callbacks=lambda network: save_checkpoint(network, path))
"""


def assert_killed_run_resumes(path, name, delay, *, after_first_save):
    """Kill a run that saves a checkpoint after every epoch; assert that it resumes as if it had not been killed."""
    arguments = [sys.executable, "-c", _PROGRAM, str(path), json.dumps(KILLED[name])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=path.parent) as process:
        process.stdout.readline()
        while after_first_save and not path.exists():
            assert process.poll() is None, "the run ended before it saved anything"
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    if not path.exists():
        return
    resumed, options = load_checkpoint(path), {"batch_size": 5, "shuffle": True, "verbose": False, "compile": False}
    epochs = resumed.epochs_trained
    resumed.train(X, Y, 0.05, epochs=5, **options)
    uninterrupted = NeuralNetwork([2, 4, 1], seed=1, **KILLED[name])
    uninterrupted.train(X, Y, 0.05, epochs=epochs + 5, **options)
    np.testing.assert_array_equal(resumed.theta, uninterrupted.theta)
    assert resumed.epoch_loss == uninterrupted.epoch_loss


def kills(rng):
    """Kill a run that saves checkpoints, at any moment."""
    name, delay = choose(rng, list(KILLED)), float(rng.uniform(0.0, 0.2))
    what = f"a training ({name}) killed {delay:.3f} seconds after its start"
    try:
        with tempfile.TemporaryDirectory() as folder:
            assert_killed_run_resumes(Path(folder) / "network", name, delay, after_first_save=False)
    except Exception as error:
        return Outcome(
            what, f"{type(error).__name__} at {_last_line(error)}", "resumes bit-identically", _text_of(error)
        )
    return Outcome(what)


ATTACKS = {"calls": calls, "files": files, "interrupts": interrupts, "kills": kills}


def outcomes(name, seed, count):
    """Run `count` attacks with consecutive seeds, starting at `seed`; leave out those that return None."""
    made = ((each, ATTACKS[name](np.random.default_rng(each))) for each in itertools.count(seed))
    return list(itertools.islice(((each, outcome) for each, outcome in made if outcome is not None), count))


def report(faults):
    """Return a report of the faults: each kind once, with its first example."""
    by_kind = {}
    for seed, outcome in faults:
        by_kind.setdefault(outcome.kind, []).append((seed, outcome))
    lines = []
    for kind, alike in sorted(by_kind.items(), key=lambda item: -len(item[1])):
        seed, example = alike[0]
        example = shrunk(example)
        lines += [f"{len(alike)} × {kind}", f"    rule: {example.rule}", f"    call: {example.attack}  (seed {seed})"]
        lines += [f"    observed: {example.observed}", ""]
    return "\n".join(lines)
