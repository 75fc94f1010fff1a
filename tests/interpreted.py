"""The kernels that the compiler prints, run as plain Python: slow, but without Numba, which takes seconds for each."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from xpnet.backends import streams
from xpnet.backends.compiled import cpu_compiler as compiler
from xpnet.backends.compiled.cpu import source
from xpnet.backends.compiled.fuse import fuse
from xpnet.backends.compiled.loops import Buffer
from xpnet.backends.compiled.lower import lower
from xpnet.backends.compiled.recorder import Recorder
from xpnet.backends.compiled.recording import Layout


def interpreted(text, empty_arguments=None):
    """Return the kernel of a text, as `xpnet.backends.compiled.cache.load` does, but not compiled."""
    names = {f"{name}_{dtype}": getattr(np, name) for name in FUNCTIONS for dtype in ("float64", "float32")}
    names |= {"np": np, "permutation": permutation, "permutation_in_lanes": permutation}
    names |= {"allocate": int, "aligned": int, "release": int, "carray": lambda _, shape, dtype: np.empty(shape, dtype)}
    names |= {"random_words": random_words, "random_words_in_lanes": random_words}
    text = re.sub(r"^(from|import|@njit).*$", "", text, flags=re.MULTILINE)
    # Python's integers: in other threads NumPy 2.1 makes real numbers of unsigned and signed ones.
    exec(re.sub(r"^(U\d+) = np\.uint64\((\d+)\)", r"\1 = \2", text, flags=re.MULTILINE), names)
    return np.errstate(all="ignore")(names["kernel"])  # as compiled code, in other threads too


def permutation(key, order):
    """Compute what `xpnet.backends.compiled.random` does, from NumPy's words."""
    order[...] = streams.permutations(key.reshape(2, -1).T.astype("uint32"), len(order)).T.reshape(order.shape)


def random_words(key, row, first, words):
    layer, place = divmod(int(first), streams.first_pair(1))
    assert place == 0
    keys, row = key.reshape(2, -1).T.astype("uint32"), int(row)
    drawn = streams.random_words(keys, row, row + 1, 2 * words.shape[1], layer)
    words[...] = drawn.reshape(-1, words.shape[1], 2).T.reshape(words.shape)


@pytest.fixture(autouse=True)
def lanes_for_few(monkeypatch):
    """Let kernels use lanes for fewer networks, which tests take less time for."""
    monkeypatch.setattr(compiler, "MIN_NETWORKS_FOR_LANES", {"float64": 16, "float32": 8})


FUNCTIONS = ("exp", "expm1", "log", "log1p", "tanh")


@pytest.fixture
def without_numba(monkeypatch):
    """Let `Compiler` interpret its kernels, and return the list of those that it has asked for."""
    texts, kernels = [], {}

    def load(text, empty_arguments, announce=None):
        texts.append(text)
        if text not in kernels:
            kernels[text] = interpreted(text)
        return kernels[text]

    monkeypatch.setattr(compiler, "load", load)
    return texts


def recorded(function, *arrays, in_place=False, fused=True, blas_threshold=math.inf):
    """Return the program that applies a function to arrays, and its results as they should be.

    The results are arrays of their own, or if `in_place` they replace the first arrays.
    """
    dtype = str(next(array.dtype for array in arrays if array.dtype != bool))
    xp = Recorder(dtype)
    results = function(xp, *(xp.input(f"x{i}", array.shape, str(array.dtype)) for i, array in enumerate(arrays)))
    with np.errstate(all="ignore"):
        expected = [np.asarray(each) for each in function(np, *(array.copy() for array in arrays))]
    buffers = {f"x{i}": Buffer(f"x{i}", array.size, str(array.dtype), "state") for i, array in enumerate(arrays)}
    outputs = {"loss": xp.zeros(()).node}
    for i, each in enumerate(results):
        name = f"{'x' if in_place else 'y'}{i}"
        buffers.setdefault(name, Buffer(name, each.size, each.node.dtype, "state"))
        outputs[name] = each.node
    buffers["loss"] = Buffer("loss", 1, dtype, "result")
    program = lower(buffers, outputs, xp.constants, blas_threshold=blas_threshold)
    return fuse(program) if fused else program, expected


def run(program, arrays, expected, *, in_place=False, lanes=False):
    """Return the results of an interpreted program."""
    text, size = source(program, Layout(1, lanes, False, False, False, frozenset()))
    # Here results that are not finite are kept.
    kernel = interpreted(re.sub(r"(finite_\[.*\]) = finite_.* & .*", r"\1 = True", text))
    constants = [np.asarray(each.values, each.dtype) for each in program.buffers.values() if each.kind == "constant"]
    given = [np.array(array.reshape(1, -1)) for array in arrays]
    outputs = given if in_place else [np.zeros((1, array.size), array.dtype) for array in expected]
    states = given if in_place else [*given, *outputs]
    keys = [np.zeros((1, 2), "uint64")] * 2
    kernel(
        0,
        1,
        0,
        1,
        1,
        0,
        0,
        1,
        np.empty(size, "uint8"),
        *keys,
        *states,
        *constants,
        np.ones(1, "bool"),
        np.zeros((1, 1)),
        1.0,
    )
    return [output.reshape(array.shape) for output, array in zip(outputs, expected, strict=False)]


def assert_computed(function, *arrays, in_place=False):
    """Assert that a function gives the same in loops, with lanes or not, fused or not, as with NumPy."""
    for fused in (True, False):
        program, expected = recorded(function, *arrays, in_place=in_place, fused=fused)
        for lanes in (False, True):
            results = run(program, arrays, expected, in_place=in_place, lanes=lanes)
            for result, right in zip(results, expected, strict=True):
                tolerance = 1e-12 if arrays[0].dtype == np.float64 else 1e-5
                scale = np.max(np.abs(right[np.isfinite(right)]), initial=1.0) if right.dtype != bool else 1.0
                np.testing.assert_allclose(result, right, rtol=tolerance, atol=tolerance * scale, err_msg=str(program))
