"""Checkpoints: a network in a file, to be used elsewhere or trained on as if nothing had happened.

The file is of the safetensors format [1]_, which holds arrays and text and can execute nothing. It holds the settings
and the whole progress of the network: parameters, optimizer state, history, early stopping. The order of an epoch's
samples and the masks of dropout depend on seed and epoch alone, so there is nothing else to keep. What was trained on
a GPU loads on a machine without one.

References
----------
.. [1] https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from reprlib import repr
from typing import Any

from xpnet._checks import is_integer
from xpnet.activations import Activation
from xpnet.backends import HOST, Backend, get_backend
from xpnet.core.settings import Settings
from xpnet.initializers import Initializer
from xpnet.losses import Loss
from xpnet.network import NeuralNetwork
from xpnet.optimizers import Optimizer
from xpnet.storage.files import file_path, write_atomically
from xpnet.training.progress import Progress

FORMAT = 4
_TEXT = ("optimizer", "draws", "first_epoch", "last_measured", "form")  # what of a state is no array
_PARTS = ("activations", "loss", "optimizer", "initializer")
_PER_MEMBER = [field.name for field in fields(Settings) if field.metadata["per_member"]]


def save_checkpoint(network: NeuralNetwork, path: str | os.PathLike[str]) -> None:
    """Write a network into a file, whole or not at all: one that is there already stays until the new one is complete.

    Parameters
    ----------
    network : NeuralNetwork
        Custom parts are not written; `load_checkpoint` takes them again.
    path : path
        The file, by convention ``.safetensors``.
    """
    _, save = _safetensors()
    if not isinstance(network, NeuralNetwork):
        msg = f"save_checkpoint takes a NeuralNetwork first and then a path, got {repr(network)} as network"
        raise TypeError(msg)
    path = file_path(path)
    state, settings = network.state_dict(), network.settings
    del state["seed"]  # it is a setting, too
    # What each network of an ensemble has of its own is an array, for a hundred thousand of them are no text.
    each = {name: settings.pop(name) for name in _PER_MEMBER if isinstance(settings[name], list)}
    text = json.dumps(
        {
            "format": FORMAT,
            "settings": {name: _by_name(value) if name in _PARTS else value for name, value in settings.items()},
            **{name: state.pop(name) for name in _TEXT},
            "recorded": list(state["history"]),
        }
    )
    tensors = _flat(
        {
            **state,
            "each": {
                name: _seeds_to_words(values) if name == "seed" else HOST.asarray(values)
                for name, values in each.items()
            },
        }
    )
    write_atomically(path, save(tensors, metadata={"xpnet": text, "sha256": _digest(tensors, text)}))


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    device: str | Backend | None = None,
    activations: Sequence[str | Activation] | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | None = None,
    initializer: str | Initializer | Sequence[str | Initializer] | None = None,
) -> NeuralNetwork:
    """Return the network that was written into a file, to go on where it was.

    Parameters
    ----------
    path : path
        The file.
    device : str or Backend, optional
        As for `NeuralNetwork`; it need not be the one that the network was trained on.
    activations, loss, optimizer, initializer : optional
        The custom parts that the network was built with, for those are not in the file.

    Raises
    ------
    ValueError
        If the file is no checkpoint of xpnet's, is truncated or altered, comes from an older or a newer version, or was
        written of a network with custom parts that are not given.
    """
    open_file, _ = _safetensors()
    path = file_path(path)
    if not path.is_file():
        msg = f"there is no file {path}"
        raise FileNotFoundError(msg)
    with path.open("rb"):  # whoever may not read it is told so
        pass
    try:
        with open_file(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except MemoryError:
        raise
    except Exception as error:  # the library's own error, or the system's
        msg = f"{path} is no safetensors file, or it is truncated ({error})"
        raise ValueError(msg) from error
    text = metadata.get("xpnet")
    if text is None:
        msg = f"{path} is a safetensors file, but no checkpoint of xpnet's"
        raise ValueError(msg)
    if metadata.get("sha256") != _digest(tensors, text):
        msg = f"{path} was altered since it was written: its checksum is wrong"
        raise ValueError(msg)
    backend = HOST if device is None else get_backend(device)
    # A checksum is no proof of sense: everything is checked before anything is made of it.
    built = _parsed(path, text, tensors)
    custom = {"activations": activations, "loss": loss, "optimizer": optimizer, "initializer": initializer}
    settings = built["settings"] | {name: value for name, value in custom.items() if value is not None}
    for name in _PARTS:
        if settings[name] is None or (isinstance(settings[name], list) and None in settings[name]):
            msg = f"the network in {path} was built with custom {name}: load_checkpoint(..., {name}=...)"
            raise ValueError(msg)
    try:
        progress = _progress_of(settings, built, tensors, backend)
    except (TypeError, ValueError) as error:
        msg = f"{path} holds no network: {error}"
        raise ValueError(msg) from error
    return NeuralNetwork._of(progress, follows_data=device is None)


def _parsed(path: Path, text: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """Return what the text of a file says, of which as much is sure as its own format tells.

    The settings that each network of an ensemble has of its own are taken from the arrays.
    """
    try:
        built: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path} holds no network: its text is no JSON ({type(error).__name__})"
        raise ValueError(msg) from error
    number: Any = built.get("format") if isinstance(built, dict) else None
    if not is_integer(number):
        msg = f"{path} holds no network: its text names no format"
        raise ValueError(msg)
    if number != FORMAT:
        age, fix = ("newer", "update xpnet") if number > FORMAT else ("older", "write it anew")
        msg = f"{path} has the {age} format {number}, but this version of xpnet reads {FORMAT}: {fix}"
        raise ValueError(msg)
    settings, names = built.get("settings"), {field.name for field in fields(Settings)}
    if isinstance(settings, dict):
        for name in _PER_MEMBER:
            values = tensors.pop(f"each.{name}", None)
            if values is not None:
                settings[name] = _words_to_seeds(values) if name == "seed" else values.tolist()
    if not isinstance(settings, dict) or settings.keys() != names or not {*_TEXT, "recorded"} <= built.keys():
        msg = f"{path} holds no network: its text lacks something"
        raise ValueError(msg)
    return dict(built)


def _progress_of(
    settings: dict[str, Any], built: dict[str, Any], tensors: Mapping[str, Any], backend: Backend
) -> Progress:
    """Return a network from the text and the arrays of a file; nothing is made that is larger than those."""
    theta, ensemble = tensors.get("theta"), settings["ensemble"]
    networks = theta.shape[0] if theta is not None and theta.ndim == 2 else None
    if theta is None or (ensemble is not None and ensemble != networks):
        msg = f"its parameters are not those of {'a network' if ensemble is None else f'{ensemble} networks'}"
        raise ValueError(msg)
    state = {"optimizer_state": [], "best": None, "early_stopping": None, "history": {}, **_nested(tensors)}
    recorded = built["recorded"]
    if not isinstance(recorded, list) or not all(isinstance(name, str) for name in recorded):
        msg = f"recorded must be a list of names, got {recorded!r}"
        raise ValueError(msg)
    if set(recorded) != set(state["history"]):
        msg = f"its history has {', '.join(state['history'])}, but should have {', '.join(recorded)}"
        raise ValueError(msg)
    state["history"] = {name: state["history"][name] for name in recorded}
    state |= {name: built[name] for name in _TEXT}
    return Progress.of(Settings.of(**settings), backend, {**state, "seed": settings["seed"]})


def _seeds_to_words(seeds: Sequence[int]) -> Any:
    """Return seeds of any length as rows of their 32 bits at a time, the lowest first."""
    longest = max(max(seeds).bit_length(), 1)
    return HOST.asarray([[seed >> bit & 0xFFFFFFFF for bit in range(0, longest, 32)] for seed in seeds], "uint32")


def _words_to_seeds(words: Any) -> Any:
    """Return the seeds of which `_seeds_to_words` made rows; what is none of its rows as it is."""
    if words.ndim != 2 or words.dtype != "uint32":
        return words
    return [sum(word << 32 * i for i, word in enumerate(row)) for row in words.tolist()]


def _by_name(parts: Any) -> Any:
    """Return names alone, and None in the place of custom parts."""
    return [_by_name(part) for part in parts] if isinstance(parts, list) else parts if isinstance(parts, str) else None


def _flat(state: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the arrays of a state by the path to each: ``optimizer_state.0``, ``early_stopping.theta``."""
    flat: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, (list, Mapping)):
            items = value if isinstance(value, Mapping) else {str(i): each for i, each in enumerate(value)}
            flat |= _flat(items, f"{prefix}{name}.")
        elif value is not None:
            flat[prefix + name] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state that `_flat` was given, but for what was empty in it."""
    nested: dict[str, Any] = {}
    for path, array in flat.items():
        # What was measured has names of any kind, the last of the path.
        *parents, name = path.split(".", 1 if path.startswith("history.") else -1)
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                msg = f"its array {path} has no place"
                raise ValueError(msg)
        place[name] = array
    for state in (nested, nested.get("early_stopping")):
        if isinstance(state, dict):
            arrays = state.get("optimizer_state", {})
            if not isinstance(arrays, dict) or arrays.keys() != {str(i) for i in range(len(arrays))}:
                msg = "its optimizer state is not in order"
                raise ValueError(msg)
            state["optimizer_state"] = [arrays[str(i)] for i in range(len(arrays))]
    return nested


def _safetensors() -> tuple[Any, Any]:
    try:
        from safetensors import safe_open
        from safetensors.numpy import save
    except ImportError as error:
        msg = 'checkpoints need safetensors: pip install "xpnet[checkpoints]"'
        raise ImportError(msg) from error
    return safe_open, save


def _digest(tensors: Mapping[str, Any], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
