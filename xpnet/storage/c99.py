"""Export of a network as a C99 source file, which needs no other library than that of C: for microcontrollers.

As in training, the forward pass is recorded and converted to loops; here they are printed as C.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from xpnet._types import Layers
from xpnet.activations import Activation
from xpnet.backends import HOST
from xpnet.core.propagation import forward
from xpnet.predictor import Predictor
from xpnet.storage.exporting import checked_for_export, checked_network
from xpnet.storage.files import file_path, write_atomically
from xpnet.summary import of_network

host = HOST.xp


def export_c(network: Predictor, path: str | os.PathLike[str]) -> None:
    """Export a network to a file as C99 source code, atomically: an existing file is replaced only by a complete one.

    The file defines one function, for float64 ``void xpnet_predict(const double x[n_0], double y[n_L])``, and for
    float32 the same with ``float``, which computes the outputs y for one sample x. It needs the mathematical functions
    of the standard library, and allocates no memory. A comment describes the network and states how many bytes the
    parameters and the local arrays take. Several networks can be linked into one program if each file is compiled with
    another name, such as ``-Dxpnet_predict=predict_price``.

    Parameters
    ----------
    network : NeuralNetwork
        The network, not an ensemble.
    path : str or path
        The file, by convention ``.c``.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If the folder does not exist, the path is a folder, or the file cannot be written.
    TypeError, ValueError
        If an argument is invalid, the network is an ensemble, or a custom activation uses functions that cannot be
        recorded, depends on values, or returns another shape or dtype than that of its argument.

    Examples
    --------
    >>> from pathlib import Path
    >>> from xpnet import NeuralNetwork, export_c
    >>> export_c(NeuralNetwork([2, 4, 1], dtype="float32", seed=0), "network.c")
    >>> Path("network.c").read_text().splitlines()[-1]
    '}'
    """
    network, path = checked_network(network, "export_c"), file_path(path)
    if network.ensemble is not None:
        msg = f"network must be a single network, got an ensemble of {network.ensemble}; export network.member(i)"
        raise ValueError(msg)
    theta = HOST.asarray(network.backend.to_numpy(network.theta))
    layers = network._settings.layout.layers(host, theta)
    write_atomically(path, c_source(layers, network.activations, str(of_network(network))).encode())


def c_source(layers: Layers, activations: Sequence[Activation], description: str) -> str:
    """Return the source for layers of one network on the host; raises the errors of `export_c`."""
    from xpnet.backends.compiled.c import TYPES, c_function  # here, to keep `import xpnet` fast

    (W1, _), (WL, _) = layers[0], layers[-1]
    arrays = {name: array for l, (W, b) in enumerate(layers, start=1) for name, array in ((f"W{l}", W), (f"b{l}", b))}
    program = _forward_pass(arrays, activations)
    function = c_function(program, {name: array.reshape(-1).tolist() for name, array in arrays.items()})
    number = TYPES[str(W1.dtype)]
    signature = f"void xpnet_predict(const {number} x[{W1.shape[1]}], {number} y[{WL.shape[0]}])"
    lines = [
        *_comment(description, function.table_bytes, function.stack_bytes),
        *(f"#include <{header}>" for header in function.headers),
        "",
        *function.tables,
        f"{signature};",
        "",
        signature,
        "{",
        *function.body,
        "}",
    ]
    return "\n".join(lines) + "\n"


def _forward_pass(arrays: dict[str, Any], activations: Sequence[Activation]) -> Any:
    """Return the loops that compute y for one sample x, given the weights and biases by name."""
    from xpnet.backends.compiled.fuse import fuse
    from xpnet.backends.compiled.loops import Buffer
    from xpnet.backends.compiled.lower import lower
    from xpnet.backends.compiled.recorder import Recorder

    dtype, n_0 = str(arrays["W1"].dtype), arrays["W1"].shape[1]
    recorder = Recorder(dtype)
    buffers = {"x": Buffer("x", n_0, dtype, "sample")}
    buffers |= {name: Buffer(name, array.size, dtype, "fixed") for name, array in arrays.items()}
    inputs = {name: recorder.input(name, array.shape) for name, array in arrays.items()}
    layers = [(inputs[f"W{l}"], inputs[f"b{l}"]) for l in range(1, len(activations) + 1)]
    checked = [checked_for_export(activation, l) for l, activation in enumerate(activations, start=1)]
    A, _ = forward(recorder, recorder.input("x", (n_0, 1)), layers, checked)
    buffers["y"] = Buffer("y", A.shape[0], dtype, "result")
    return fuse(lower(buffers, {"y": A.node}, recorder.constants))


def _comment(description: str, flash: int, stack: int) -> Iterator[str]:
    """Yield a comment with the description of the network, and how much memory it takes."""
    # Not even the name of a custom function may end the comment, or continue a line.
    text = description.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("??", "? ?")
    facts = (
        f"Compute the outputs y for one sample x. The parameters take {flash:,} bytes of constant memory (flash), the "
        f"local arrays {stack:,} bytes of the stack. x and y must not overlap."
    )
    yield "/* A multilayer perceptron, exported by xpnet."
    for line in ["", *text.splitlines(), "", *textwrap.wrap(facts, 110)]:
        yield f" * {line}".rstrip()
    yield " */"
    yield ""
