"""Checkpoints: a network in a file, to be used elsewhere or trained on as if nothing had happened.

The file is of the safetensors format [1]_, which holds arrays and text and can execute nothing. It holds the
parameters, what the optimizer remembers, how the network was built, its record, and the stream that its weights are
drawn from; the order of an epoch's samples depends on seed and epoch alone, so there is nothing else to keep. What was
trained on a GPU loads on a machine without one.

References
----------
.. [1] https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet.activations import ACTIVATIONS, Activation
from xpnet.backends import Backend
from xpnet.initializers import INITIALIZERS, Initializer
from xpnet.losses import LOSSES, Loss
from xpnet.network import NeuralNetwork
from xpnet.optimizers import OPTIMIZERS, Optimizer

FORMAT = 1


def save_checkpoint(network: NeuralNetwork, path: str | os.PathLike[str]) -> None:
    """Write a network into a file, whole or not at all: one that is there already stays until the new one is complete.

    Parameters
    ----------
    network : NeuralNetwork
        Parts of a user's own are not written; `load_checkpoint` takes them again.
    path : path
        The file, by convention ``.safetensors``.
    """
    _, save = _safetensors()
    path = Path(path)
    state = network.state_dict()
    tensors = {"theta": state.pop("theta")}
    tensors |= {f"memory.{i}": array for i, array in enumerate(state.pop("memory"))}
    text = json.dumps(
        {
            "format": FORMAT,
            "layer_list": network.layer_list,
            "activations": [_name_of(activation, ACTIVATIONS) for activation in network.activations],
            "loss": _name_of(network.loss, LOSSES),
            "optimizer": _name_of(network.optimizer, OPTIMIZERS),
            "initializer": _name_of(network.initializer, INITIALIZERS),
            "regularization": network.regularization,
            "dtype": network.dtype,
            "seed": network.seed,
            **state,
        }
    )
    content = save(tensors, metadata={"xpnet": text, "sha256": _digest(tensors, text)})
    # Into a file beside it first, for only a renaming is done at once or not at all.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    device: str | Backend | None = None,
    activations: Sequence[str | Activation] | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | None = None,
    initializer: str | Initializer | None = None,
) -> NeuralNetwork:
    """Return the network that was written into a file, to go on where it was.

    Parameters
    ----------
    path : path
        The file.
    device : str or Backend, optional
        As for `NeuralNetwork`; it need not be the one that the network was trained on.
    activations, loss, optimizer, initializer : optional
        The parts of a user's own that the network was built with, for those are not in the file.

    Raises
    ------
    ValueError
        If the file is no checkpoint of xpnet's, is truncated or altered, comes from a newer version, or was written of
        a network with parts of a user's own that are not given.
    """
    open_file, _ = _safetensors()
    path = Path(path)
    if not path.is_file():
        msg = f"there is no file {path}"
        raise FileNotFoundError(msg)
    try:
        with open_file(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
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
    built = json.loads(text)
    if built["format"] > FORMAT:
        msg = f"{path} has the format {built['format']}, but this version of xpnet reads up to {FORMAT}: update xpnet"
        raise ValueError(msg)

    given = {"activations": activations, "loss": loss, "optimizer": optimizer, "initializer": initializer}
    parts: dict[str, Any] = {name: built[name] if value is None else value for name, value in given.items()}
    for name, value in parts.items():
        if value is None or (name == "activations" and None in value):
            msg = f"the network in {path} was built with {name} of a user's own: load_checkpoint(..., {name}=...)"
            raise ValueError(msg)
    network = NeuralNetwork(
        built["layer_list"], **parts, **built["regularization"], dtype=built["dtype"], seed=built["seed"], device=device
    )
    memory = [tensors[f"memory.{i}"] for i in range(len(tensors) - 1)]
    state = {name: built[name] for name in ("epoch_loss", "weights_stream")}
    network.load_state_dict({"theta": tensors["theta"], "memory": memory, **state})
    return network


def _safetensors() -> tuple[Any, Any]:
    try:
        from safetensors import safe_open
        from safetensors.numpy import save
    except ImportError as error:
        msg = 'checkpoints need safetensors: pip install "xpnet[checkpoints]"'
        raise ImportError(msg) from error
    return safe_open, save


def _name_of(part: Any, known: Mapping[str, Any]) -> str | None:
    return next((name for name, value in known.items() if value is part), None)


def _digest(tensors: Mapping[str, Any], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
