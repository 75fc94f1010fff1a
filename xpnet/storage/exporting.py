"""What all exports of a network check."""

from __future__ import annotations

import reprlib
from typing import Any

from xpnet._checks import name_of
from xpnet._types import Array, Namespace
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.predictor import Predictor


def checked_network(network: Any, function: str) -> Predictor:
    """Return a network; raise a TypeError that names the export function if it is not one."""
    if not isinstance(network, Predictor):
        msg = f"network must be a NeuralNetwork, got {reprlib.repr(network)}; use {function}(network, path)"
        raise TypeError(msg)
    return network


def checked_for_export(activation: Activation, l: int) -> Activation:
    """Return the activation of layer l with checks that raise a ValueError if its operations cannot be recorded."""
    name = name_of(activation, ACTIVATIONS) or getattr(activation.forward, "__name__", repr(activation.forward))

    def checked_forward(xp: Namespace, Z: Array) -> Array:
        try:
            A = activation.forward(xp, Z)
        except Exception as error:  # a custom function may fail in any way with arrays that hold no numbers
            msg = (
                f"the activation of layer {l}, {name}, must use only functions of the array API to be exported, and "
                f"neither values nor the number of samples, got {type(error).__name__}: {error}"
            )
            raise ValueError(msg) from error
        if not isinstance(A, type(Z)):
            msg = f"the activation of layer {l}, {name}, must return an array, got {type(A).__name__}"
            raise ValueError(msg)
        # An unknown size is None.
        fits = A.ndim == Z.ndim and all(a in (z, None) for a, z in zip(A.shape, Z.shape, strict=True))
        if A.dtype != Z.dtype or not fits:
            msg = (
                f"the activation of layer {l}, {name}, must return the shape {Z.shape} and the dtype {Z.dtype} of its "
                f"argument, got {A.shape} and {A.dtype}"
            )
            raise ValueError(msg)
        return A

    return activation._replace(forward=checked_forward)
