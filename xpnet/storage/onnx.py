"""Export of a network as an ONNX model [1]_, which runs without xpnet and without Python in any ONNX runtime.

The forward pass is not implemented a second time. ndonnx [2]_ is an array library whose arrays hold no numbers, but
record the operations on them, so that `forward` with ndonnx as its namespace builds the model.

References
----------
.. [1] https://onnx.ai
.. [2] https://github.com/quantco/ndonnx
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from xpnet._types import Array, Layers, Namespace
from xpnet.activations import Activation
from xpnet.backends import HOST
from xpnet.core.propagation import forward
from xpnet.predictor import Predictor
from xpnet.storage.exporting import checked_for_export, checked_network
from xpnet.storage.files import file_path, write_atomically


def export_onnx(network: Predictor, path: str | os.PathLike[str]) -> None:
    """Export a network to a file as an ONNX model, atomically: an existing file is replaced only by a complete one.

    The model has one input X of shape (N, n_0), with one sample per row and any number N of samples, and one output y
    of shape (N, n_L), or for an ensemble (E, N, n_L), in the precision of the network.

    Parameters
    ----------
    network : NeuralNetwork
        The network.
    path : str or path
        The file, by convention ``.onnx``.

    Raises
    ------
    ImportError
        If ndonnx is not installed.
    FileNotFoundError, IsADirectoryError, OSError
        If the folder does not exist, the path is a folder, or the file cannot be written.
    TypeError, ValueError
        If an argument is invalid, or a custom activation uses functions that ndonnx does not have, depends on values,
        or returns another shape or dtype than that of its argument.

    Examples
    --------
    >>> from pathlib import Path
    >>> from xpnet import NeuralNetwork, export_onnx
    >>> export_onnx(NeuralNetwork([2, 4, 1], seed=0), "network.onnx")
    >>> Path("network.onnx").exists()
    True
    """
    network = checked_network(network, "export_onnx")
    theta = HOST.asarray(network.backend.to_numpy(network.theta))
    write_onnx(path, network._settings.layout.layers(HOST.xp, theta), network.activations)


def write_onnx(path: str | os.PathLike[str], layers: Layers, activations: Sequence[Activation]) -> None:
    """Export layers on the host, with any leading axes, as an ONNX model; raises the errors of `export_onnx`."""
    path, (ndonnx, operators) = file_path(path), _libraries()
    (W1, _), (WL, _) = layers[0], layers[-1]

    def product(A: Array, B: Array) -> Array:
        return ndonnx.asarray(operators.matmul(A.unwrap_spox(), B.unwrap_spox()))

    # The samples are rows, so the first product is (X W1ᵀ)ᵀ. It is not W1 Xᵀ, because onnxruntime before 1.26 fuses a
    # transposition and a float64 product into an operator that it does not have:
    # https://github.com/microsoft/onnxruntime/issues/28136
    products = [lambda X: product(X, ndonnx.asarray(W1.mT)).mT]
    products += [partial(product, ndonnx.asarray(W)) for W, _ in layers[1:]]
    biases = [ndonnx.asarray(b) for _, b in layers]
    X = ndonnx.argument(shape=("N", W1.shape[-1]), dtype=biases[0].dtype)
    A, _ = forward(
        ndonnx,
        X,
        list(zip(map(_Weights, products), biases, strict=True)),
        [checked_for_export(activation, l) for l, activation in enumerate(activations, start=1)],
    )
    from importlib import metadata

    model = ndonnx.build({"X": X}, {"y": A.mT})
    model.producer_name, model.producer_version, model.graph.name = "xpnet", metadata.version("xpnet"), "network"
    # ndonnx may not have inferred the sizes of the output.
    dims = model.graph.output[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, (*WL.shape[:-2], 0, WL.shape[-2]), strict=True):
        dim.dim_value = size
    dims[-2].dim_param = "N"
    write_atomically(path, model.SerializeToString())


def _libraries() -> tuple[Namespace, Any]:
    try:
        with warnings.catch_warnings():
            # ndonnx computes constants with onnxruntime if it is installed; the model is the same without it.
            warnings.filterwarnings("ignore", message="onnxruntime is not installed")
            import ndonnx
            from spox.opset.ai.onnx import v21
    except ImportError as error:
        msg = 'ONNX export needs ndonnx: pip install "xpnet[onnx]"'
        raise ImportError(msg) from error
    return ndonnx, v21


class _Weights:
    """A substitute for weights in `forward`: W @ A calls a given function of A, the product of ONNX.

    ndonnx puts a branch for empty arrays around every product, which makes a small model thirty times as large, hides
    its shapes, and is not supported by some runtimes. Layers are never empty.
    """

    def __init__(self, product: Callable[[Array], Array]) -> None:
        self.product = product

    def __matmul__(self, A: Array) -> Array:
        return self.product(A)
