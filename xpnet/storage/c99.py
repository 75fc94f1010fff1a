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
from xpnet.backends.compiled.c import TYPES, c_lines, literal
from xpnet.backends.compiled.fuse import fuse
from xpnet.backends.compiled.loops import Buffer, Index, Program
from xpnet.backends.compiled.lower import lower
from xpnet.backends.compiled.places import Places
from xpnet.backends.compiled.recorder import Recorder
from xpnet.core.propagation import forward
from xpnet.predictor import Predictor
from xpnet.storage.exporting import checked_for_export, checked_network
from xpnet.storage.files import file_path, write_atomically
from xpnet.summary import of_network

host = HOST.xp

_BYTES = {"float64": 8, "float32": 4, "bool": 1}


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
    (W1, _), (WL, _) = layers[0], layers[-1]
    dtype, n_0, n_L = str(W1.dtype), W1.shape[1], WL.shape[0]
    arrays = {name: array for l, (W, b) in enumerate(layers, start=1) for name, array in ((f"W{l}", W), (f"b{l}", b))}
    program = _forward_pass(arrays, activations, dtype)
    constants = {name: array.reshape(-1).tolist() for name, array in arrays.items()}
    constants |= {name: buffer.values for name, buffer in program.buffers.items() if buffer.kind == "constant"}
    scratch: dict[str, Places] = {}
    starts: dict[str, int] = {}
    for name, buffer in program.buffers.items():
        if buffer.kind == "scratch":
            places = scratch.setdefault(buffer.dtype, Places(program))
            starts[name] = places.place(name, buffer.size)

    def element(buffer: str, index: Index) -> str:
        if buffer in starts:
            return f"{TYPES[program.buffers[buffer].dtype]}_scratch[{index + starts[buffer]}]"
        return f"{buffer}[{index}]"

    flash = sum(len(values) * _BYTES[program.buffers[name].dtype] for name, values in constants.items())
    stack = sum(places.size * _BYTES[each] for each, places in scratch.items())
    type_ = TYPES[dtype]
    signature = f"void xpnet_predict(const {type_} x[{n_0}], {type_} y[{n_L}])"
    uses_bool = "bool" in program.types.values()
    return "\n".join(
        [
            *_comment(description, flash, stack),
            "#include <math.h>",
            *["#include <stdbool.h>"] * uses_bool,
            "#include <stddef.h>",
            "",
            *(line for name, values in constants.items() for line in _table(program.buffers[name], values)),
            f"{signature};",
            "",
            signature,
            "{",
            *(f"    {TYPES[each]} {TYPES[each]}_scratch[{places.size}];" for each, places in scratch.items()),
            *c_lines(program, element),
            "}",
            "",
        ]
    )


def _forward_pass(arrays: dict[str, Any], activations: Sequence[Activation], dtype: str) -> Program:
    """Return the loops that compute y for one sample x."""
    recorder = Recorder(dtype)
    n_0 = arrays["W1"].shape[1]
    buffers = {"x": Buffer("x", n_0, dtype, "sample")}
    buffers |= {name: Buffer(name, array.size, dtype, "fixed") for name, array in arrays.items()}
    inputs = {name: recorder.input(name, array.shape, dtype) for name, array in arrays.items()}
    layers = [(inputs[f"W{l}"], inputs[f"b{l}"]) for l in range(1, len(activations) + 1)]
    checked = [checked_for_export(activation, l) for l, activation in enumerate(activations, start=1)]
    A, _ = forward(recorder, recorder.input("x", (n_0, 1), dtype), layers, checked)
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


def _table(buffer: Buffer, values: Sequence[float]) -> Iterator[str]:
    """Yield the definition of a constant array."""
    yield f"static const {TYPES[buffer.dtype]} {buffer.name}[{buffer.size}] = {{"
    for start in range(0, len(values), 5):
        numbers = (literal(value, buffer.dtype).strip("()") for value in values[start : start + 5])
        yield f"    {', '.join(numbers)},"
    yield "};"
    yield ""
