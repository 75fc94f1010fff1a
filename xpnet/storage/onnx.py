"""Export: a network as an ONNX model [1]_, to be run without xpnet, without Python, wherever there is a runtime for it.

The mathematics is not written a second time. ndonnx [2]_ is an array library whose arrays hold no numbers, but record
what is done with them, so that `forward` itself, given ndonnx as its namespace, writes the model.

References
----------
.. [1] https://onnx.ai
.. [2] https://github.com/quantco/ndonnx
"""

from __future__ import annotations

import os
import reprlib
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

from xpnet._checks import name_of
from xpnet._types import Array, Layers, Namespace
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.backends import HOST
from xpnet.core.propagation import forward
from xpnet.predictor import Predictor
from xpnet.storage.files import file_path, write_atomically


def export_onnx(network: Predictor, path: str | os.PathLike[str]) -> None:
    """Write a network into a file as an ONNX model, whole or not at all: one that is there already stays until then.

    The model has one input X of shape (N, n_0), samples as rows and any number of them, and one output y of shape
    (N, n_L), or for an ensemble (E, N, n_L), in the precision of the network.

    Parameters
    ----------
    network : NeuralNetwork
        The network.
    path : path
        The file, by convention ``.onnx``.

    Raises
    ------
    ImportError
        If ndonnx is not installed.
    FileNotFoundError, IsADirectoryError
        If the path is in no folder, or is one.
    ValueError
        If a custom activation uses what ndonnx does not know, asks for values, or returns another shape or type than it
        was given.
    """
    if not isinstance(network, Predictor):
        msg = f"export_onnx takes a NeuralNetwork first and then a path, got {reprlib.repr(network)} as network"
        raise TypeError(msg)
    theta = HOST.asarray(network.backend.to_numpy(network.theta))
    write_onnx(path, network._settings.layout.layers(HOST.xp, theta), network.activations)


def write_onnx(path: str | os.PathLike[str], layers: Layers, activations: Sequence[Activation]) -> None:
    """Write layers on the host as an ONNX model, with their leading axes; it fails as `export_onnx` does."""
    path, (ndonnx, operators) = file_path(path), _libraries()
    (W1, _), (WL, _) = layers[0], layers[-1]

    def product(A: Array, B: Array) -> Array:
        return ndonnx.asarray(operators.matmul(A.unwrap_spox(), B.unwrap_spox()))

    # The samples are rows, so the first product is (X W1ᵀ)ᵀ. It would be W1 Xᵀ as well, but a transposition that goes
    # into a product of float64 is beyond onnxruntime before 1.26, which fuses the two into an operator that it lacks:
    # https://github.com/microsoft/onnxruntime/issues/28136
    products = [lambda X: product(X, ndonnx.asarray(W1.mT)).mT]
    products += [partial(product, ndonnx.asarray(W)) for W, _ in layers[1:]]
    biases = [ndonnx.asarray(b) for _, b in layers]
    X = ndonnx.argument(shape=("N", W1.shape[-1]), dtype=biases[0].dtype)
    A, _ = forward(
        ndonnx,
        X,
        list(zip(map(_Weights, products), biases, strict=True)),
        [_checked_for_export(activation, l) for l, activation in enumerate(activations, start=1)],
    )
    model = ndonnx.build({"X": X}, {"y": A.mT})
    model.producer_name, model.producer_version, model.graph.name = "xpnet", version("xpnet"), "network"
    # The sizes of the output are known, though they may have been lost on the way.
    dims = model.graph.output[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, (*WL.shape[:-2], 0, WL.shape[-2]), strict=True):
        dim.dim_value = size
    dims[-2].dim_param = "N"
    write_atomically(path, model.SerializeToString())


def _libraries() -> tuple[Namespace, Any]:
    try:
        with warnings.catch_warnings():
            # ndonnx computes constants with it where it is there; the model is the same without.
            warnings.filterwarnings("ignore", message="onnxruntime is not installed")
            import ndonnx
            from spox.opset.ai.onnx import v21
    except ImportError as error:
        msg = 'ONNX export needs ndonnx: pip install "xpnet[onnx]"'
        raise ImportError(msg) from error
    return ndonnx, v21


class _Weights:
    """What `forward` takes for weights: W @ A is a given function of A, ONNX's own product.

    ndonnx puts a branch for empty arrays around every product, which makes a small model thirty times as large, hides
    its shapes, and is more than some runtimes understand. Layers are never empty.
    """

    def __init__(self, product: Callable[[Array], Array]) -> None:
        self.product = product

    def __matmul__(self, A: Array) -> Array:
        return self.product(A)


def _checked_for_export(activation: Activation, l: int) -> Activation:
    """Return the activation of layer l as one that says so where it cannot be exported."""
    name = name_of(activation, ACTIVATIONS) or getattr(activation.forward, "__name__", repr(activation.forward))

    def checked_forward(ndonnx: Namespace, Z: Array) -> Array:
        try:
            A = activation.forward(ndonnx, Z)
        except Exception as error:  # whatever a custom function and ndonnx make of each other
            msg = (
                f"the activation of layer {l}, {name}, cannot be exported, for it may use only functions of the array "
                f"API, and neither values nor the number of samples ({type(error).__name__}: {error})"
            )
            raise ValueError(msg) from error
        if not isinstance(A, ndonnx.Array):
            msg = f"the activation of layer {l}, {name}, must return an array, got {type(A).__name__}"
            raise ValueError(msg)
        # A size that is not known is None.
        fits = A.ndim == Z.ndim and all(a in (z, None) for a, z in zip(A.shape, Z.shape, strict=True))
        if A.dtype != Z.dtype or not fits:
            msg = (
                f"the activation of layer {l}, {name}, must return the shape {Z.shape} and the type {Z.dtype} that "
                f"it was given, got {A.shape} and {A.dtype}"
            )
            raise ValueError(msg)
        return A

    return activation._replace(forward=checked_forward)
