"""Checkpoints: saving a network to a file, and loading it for predictions or to continue training.

The file has the safetensors format [1]_, which holds arrays and text and cannot execute code. It holds the settings
and the complete state of the network: parameters, optimizer state, history, early stopping. The order of an epoch's
samples and the dropout masks depend only on seed and epoch, so they need not be saved. A checkpoint of a network that
was trained on a GPU loads on a machine without one.

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
_TEXT = ("optimizer", "draws", "first_epoch", "last_measured", "form")  # the parts of a state that are not arrays
_PARTS = ("activations", "loss", "optimizer", "initializer")
_PER_MEMBER = [field.name for field in fields(Settings) if field.metadata["per_member"]]


def save_checkpoint(network: NeuralNetwork, path: str | os.PathLike[str]) -> None:
    """Save a network to a file, atomically: an existing file is replaced only when the new one is complete.

    Parameters
    ----------
    network : NeuralNetwork
        The network. Custom parts are not saved; pass them to `load_checkpoint` again.
    path : str or path
        The file, by convention ``.safetensors``.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError, ValueError
        If an argument is invalid.
    FileNotFoundError, IsADirectoryError, OSError
        If the folder does not exist, the path is a folder, or the file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import NeuralNetwork, load_checkpoint, save_checkpoint
    >>> network = NeuralNetwork([1, 3, 1], seed=0)
    >>> network.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
    >>> save_checkpoint(network, "network.safetensors")
    >>> loaded = load_checkpoint("network.safetensors")
    >>> bool(np.all(loaded.theta == network.theta)), loaded.epochs_trained
    (True, 10)
    """
    _, save = _safetensors()
    if not isinstance(network, NeuralNetwork):
        msg = f"network must be a NeuralNetwork, got {repr(network)}; use save_checkpoint(network, path)"
        raise TypeError(msg)
    path = file_path(path)
    state, settings = network.state_dict(), network.settings
    del state["seed"]  # already one of the settings
    # Settings with one value for each network are saved as arrays, because an ensemble may have many networks.
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
    """Load a network from a file; further training continues as if it had not been saved and loaded.

    Parameters
    ----------
    path : str or path
        The file that `save_checkpoint` wrote.
    device : str or Backend, optional
        As for `NeuralNetwork`; it may differ from the device that the network was trained on.
    activations, loss, optimizer, initializer : optional
        The custom parts of the network, because the file does not contain them.

    Returns
    -------
    network : NeuralNetwork
        The network, with its parameters, optimizer state and history.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a checkpoint of xpnet, is truncated or altered, has the format of an older or newer version,
        or if the network has custom parts that are not given.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import NeuralNetwork, load_checkpoint, save_checkpoint
    >>> network = NeuralNetwork([1, 3, 1], seed=0)
    >>> save_checkpoint(network, "network.safetensors")
    >>> loaded = load_checkpoint("network.safetensors", device="cpu")
    >>> loaded.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
    >>> loaded.epochs_trained
    10
    """
    open_file, _ = _safetensors()
    path = file_path(path)
    if not path.is_file():
        msg = f"path must be an existing file, got {path}"
        raise FileNotFoundError(msg)
    with path.open("rb"):  # raises PermissionError if the file is not readable
        pass
    try:
        with open_file(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
    except MemoryError:
        raise
    except Exception as error:  # of safetensors, or of the operating system
        msg = f"{path} must be a safetensors file, got another or a truncated file ({error})"
        raise ValueError(msg) from error
    text = metadata.get("xpnet")
    if text is None:
        msg = f"{path} must be a checkpoint of xpnet, got another safetensors file"
        raise ValueError(msg)
    if metadata.get("sha256") != _digest(tensors, text):
        msg = f"{path} must be unchanged since it was saved, got a wrong checksum"
        raise ValueError(msg)
    backend = HOST if device is None else get_backend(device)
    # A valid checksum does not prove valid content: everything is validated before the network is created.
    built = _parsed(path, text, tensors)
    custom = {"activations": activations, "loss": loss, "optimizer": optimizer, "initializer": initializer}
    settings = built["settings"] | {name: value for name, value in custom.items() if value is not None}
    for name in _PARTS:
        if settings[name] is None or (isinstance(settings[name], list) and None in settings[name]):
            msg = f"{name} must be given for {path}, saved with custom {name}; use load_checkpoint(..., {name}=...)"
            raise ValueError(msg)
    try:
        progress = _progress_of(settings, built, tensors, backend)
    except (TypeError, ValueError) as error:
        msg = f"{path} must hold a valid network: {error}"
        raise ValueError(msg) from error
    return NeuralNetwork._of(progress, follows_data=device is None)


def _parsed(path: Path, text: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the parsed text of a file, with a validated format and the names of all settings.

    Settings with one value for each network of an ensemble are taken from the arrays.
    """
    try:
        built: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path} must hold a valid network: its text is not JSON ({type(error).__name__})"
        raise ValueError(msg) from error
    number: Any = built.get("format") if isinstance(built, dict) else None
    if not is_integer(number):
        msg = f"{path} must hold a valid network: its text has no format number"
        raise ValueError(msg)
    if number != FORMAT:
        age, fix = ("newer", "update xpnet") if number > FORMAT else ("older", "save the network again")
        msg = f"{path} must have the format {FORMAT} of this version of xpnet, got the {age} format {number}; {fix}"
        raise ValueError(msg)
    settings, names = built.get("settings"), {field.name for field in fields(Settings)}
    if isinstance(settings, dict):
        for name in _PER_MEMBER:
            values = tensors.pop(f"each.{name}", None)
            if values is not None:
                settings[name] = _words_to_seeds(values) if name == "seed" else values.tolist()
    if not isinstance(settings, dict) or settings.keys() != names or not {*_TEXT, "recorded"} <= built.keys():
        msg = f"{path} must hold a valid network: its text is incomplete"
        raise ValueError(msg)
    return dict(built)


def _progress_of(
    settings: dict[str, Any], built: dict[str, Any], tensors: Mapping[str, Any], backend: Backend
) -> Progress:
    """Return the validated state of a network from the text and the arrays of a file.

    The sizes in the text are checked against the arrays first, so that nothing larger than the arrays is allocated.
    """
    theta, ensemble = tensors.get("theta"), settings["ensemble"]
    networks = theta.shape[0] if theta is not None and theta.ndim == 2 else None
    if theta is None or (ensemble is not None and ensemble != networks):
        msg = f"its parameters must be those of {'a network' if ensemble is None else f'{ensemble} networks'}"
        raise ValueError(msg)
    state = {"optimizer_state": [], "best": None, "early_stopping": None, "history": {}, **_nested(tensors)}
    recorded = built["recorded"]
    if not isinstance(recorded, list) or not all(isinstance(name, str) for name in recorded):
        msg = f"recorded must be a list of names, got {recorded!r}"
        raise ValueError(msg)
    if set(recorded) != set(state["history"]):
        msg = f"its history must have {', '.join(recorded)}, got {', '.join(state['history'])}"
        raise ValueError(msg)
    state["history"] = {name: state["history"][name] for name in recorded}
    state |= {name: built[name] for name in _TEXT}
    return Progress.of(Settings.of(**settings), backend, {**state, "seed": settings["seed"]})


def _seeds_to_words(seeds: Sequence[int]) -> Any:
    """Return seeds of any size as an array of 32-bit words, one row for each seed, the lowest word first."""
    longest = max(max(seeds).bit_length(), 1)
    return HOST.asarray([[seed >> bit & 0xFFFFFFFF for bit in range(0, longest, 32)] for seed in seeds], "uint32")


def _words_to_seeds(words: Any) -> Any:
    """Return the seeds from the result of `_seeds_to_words`; return any other value unchanged."""
    if words.ndim != 2 or words.dtype != "uint32":
        return words
    return [sum(word << 32 * i for i, word in enumerate(row)) for row in words.tolist()]


def _by_name(parts: Any) -> Any:
    """Return the names of built-in parts, and None for custom parts."""
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
    """Return the state from the result of `_flat`, without its empty parts."""
    nested: dict[str, Any] = {}
    for path, array in flat.items():
        # The names in a history may contain dots.
        *parents, name = path.split(".", 1 if path.startswith("history.") else -1)
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                msg = f"its array {path} must not be inside another array"
                raise ValueError(msg)
        place[name] = array
    for state in (nested, nested.get("early_stopping")):
        if isinstance(state, dict):
            arrays = state.get("optimizer_state", {})
            if not isinstance(arrays, dict) or arrays.keys() != {str(i) for i in range(len(arrays))}:
                msg = "its optimizer state must be numbered from 0"
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
