"""Data containers are converted to the right numbers, or refused with an error that names the type and the fix."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings
from collections import deque
from decimal import Decimal
from fractions import Fraction

import array_api_strict
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from xpnet import NeuralNetwork
from xpnet.backends.host import host_array

NUMBERS = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


class ArrayLike:
    """An object that NumPy converts to an array."""

    def __init__(self, warns=False):
        self.warns = warns

    def __array__(self, dtype=None, copy=None):
        if self.warns:
            warnings.warn("this is slow", UserWarning, stacklevel=2)
        return NUMBERS.copy()


def series(kind):
    return {name: pd.Series(column.astype(int), dtype=kind) for name, column in zip("ab", NUMBERS.T, strict=True)}


ACCEPTED = {
    "lists": NUMBERS.tolist(),
    "a tuple of arrays": tuple(NUMBERS),
    "lists of numbers of NumPy": [list(row) for row in NUMBERS],
    "a matrix": np.asmatrix(NUMBERS),
    "an array without masked values": np.ma.array(NUMBERS, mask=False),
    "a list of such arrays": list(np.ma.array(NUMBERS, mask=False)),
    "decimals": [[Decimal(int(x)) for x in row] for row in NUMBERS],
    "fractions": [[Fraction(int(x)) for x in row] for row in NUMBERS],
    "objects that are numbers": NUMBERS.astype(object),
    "booleans beside numbers": [[bool(a), b] for a, b in NUMBERS],
    "big-endian": NUMBERS.astype(">f8"),
    "an array-like object": ArrayLike(),
    "a frame": pd.DataFrame(NUMBERS, columns=["a", "b"]),
    "a frame of two types": pd.DataFrame({"a": NUMBERS[:, 0].astype(bool), "b": NUMBERS[:, 1]}),
    "a frame of the same name twice": pd.DataFrame(NUMBERS, columns=["a", "a"]),
    "a nullable frame": pd.DataFrame(series("Int64")),
    "a frame of nullable booleans": pd.DataFrame({"a": series("boolean")["a"], "b": series("Float32")["b"]}),
    "a frame of Arrow": pd.DataFrame(series("int32[pyarrow]")),
    "a frame of objects that are numbers": pd.DataFrame(NUMBERS.astype(object)),
    "a frame of polars": pl.DataFrame({"a": NUMBERS[:, 0] > 0, "b": NUMBERS[:, 1]}),
    "a table": pa.table({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1].astype("int8")}),
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED)
def test_a_container_is_converted_to_its_numbers(data):
    np.testing.assert_array_equal(host_array(data, "float64"), NUMBERS)
    network = NeuralNetwork([2, 3, 1], seed=0)
    np.testing.assert_array_equal(network.predict(data), network.predict(NUMBERS))


@pytest.mark.parametrize("column", [
    pd.Series([0, 1, 1]), pd.Series([0, 1, 1], dtype="Int8"), pd.Series([False, True, True], dtype="boolean"),
    pl.Series([0, 1, 1]), pa.chunked_array([[0, 1], [1]]), pd.Index([0, 1, 1]), [Decimal(0), 1, Fraction(1)],
])  # fmt: skip
def test_a_column_is_converted_to_its_numbers(column):
    network, same = (NeuralNetwork([2, 1], seed=0) for _ in range(2))
    network.train(NUMBERS, column, 0.1, epochs=1, verbose=False)
    same.train(NUMBERS, np.array([0, 1, 1]), 0.1, epochs=1, verbose=False)
    np.testing.assert_array_equal(network.theta, same.theta)


def masked(*where):
    array = np.ma.array(NUMBERS)
    array[where] = np.ma.masked
    return array


def frame(**columns):
    return pd.DataFrame({"a": [0.0, 1.0, 1.0], **columns})


class Masked:
    def __array__(self, dtype=None, copy=None):
        return masked(1, 0)


nan = float("nan")
REFUSED = {
    "masked values": (masked(1, 0), ValueError, "it is a masked array, whose masked values .* fill them or drop them"),
    "a list of masked arrays": (list(masked(1, 0)), ValueError, "it is a masked array"),
    "lists of a masked value": ([[0.0, 1.0], [np.ma.masked, 0.0]], ValueError, "it is a masked array"),
    "what gives masked values": (Masked(), ValueError, "it is a masked array"),
    "a deque of masked arrays": (deque(masked(1, 0)), ValueError, "it is a masked array"),
    "a column of arrays": (
        pl.DataFrame({"a": [[1.0, 2.0]] * 3}, schema={"a": pl.Array(pl.Float64, 2)}),
        TypeError,
        "its column 'a' is of Array",
    ),
    "a frame to come": (pl.LazyFrame({"a": [1.0], "b": [2.0]}), TypeError, r"it is a LazyFrame; use .collect\(\)"),
    "sparse": (scipy.sparse.csr_matrix(NUMBERS), TypeError, r"it is a sparse csr_matrix; use .toarray\(\)"),
    "a sparse array": (scipy.sparse.coo_array(NUMBERS), TypeError, r"it is a sparse coo_array; use .toarray\(\)"),
    "records": (
        np.zeros(3, [("a", float), ("b", int)]),
        TypeError,
        "it is a structured array with the fields a, b; use numpy.lib",
    ),
    "a record array": (
        np.zeros(3, [("a", float)]).view(np.recarray),
        TypeError,
        "it is a structured array with the fields a",
    ),
    "arrays of another library": (
        [array_api_strict.asarray([0.0, 1.0])] * 3,
        TypeError,
        "it is a list of arrays of arr",
    ),
    "None among objects": ([[0.0, None]] * 3, TypeError, r"it holds None at \[0, 1\], which is not a number"),
    "text": (np.full((3, 2), "x"), TypeError, r"it holds 'x' at \[0, 0\], which is not a number"),
    "bytes": (np.full((3, 2), b"x"), TypeError, r"it holds b'x' at \[0, 0\], which is not a number"),
    "text among objects": (np.array([[0.0, 1.0], [1.0, "x"]], object), TypeError, r"it holds 'x' at \[1, 1\]"),
    "a number without end": ([[0.0, 10**400]] * 3, ValueError, "it holds a number that is too large"),
    "a category": (frame(b=pd.Categorical(["u", "v", "u"])), TypeError, "its column 'b' is of category, .* its codes"),
    "a category of numbers": (frame(b=pd.Categorical([1, 2, 1])), TypeError, "its column 'b' is of category"),
    "a column of text": (
        frame(b=["u", "v", "u"]),
        TypeError,
        r"its column 'b' (holds 'u' at \[0\]|is of str), which is not a number",
    ),
    "dates": (frame(b=pd.date_range("2020", periods=3)), TypeError, "its column 'b' is of datetime64.*, which is not"),
    "a missing number": (frame(b=[1.0, nan, 2.0]), ValueError, r"its column 'b' has missing values \(1\); fill"),
    "a missing nullable": (frame(b=pd.Series([1, None, 2], dtype="Int64")), ValueError, r"its column 'b' has missing"),
    "missing in polars": (pl.DataFrame({"a": [1.0, None, 2.0]}), ValueError, "its column 'a' has missing values"),
    "text in polars": (pl.DataFrame({"a": ["u", "v", "w"]}), TypeError, "its column 'a' "),
    "categories in polars": (
        pl.DataFrame({"a": ["u"]}, schema={"a": pl.Categorical}),
        TypeError,
        "its column 'a' is of Categorical",
    ),
    "missing in Arrow": (pa.table({"a": [1, None, 2]}), ValueError, "its column 'a' has missing values"),
    "no two rows alike": ([[0.0], [0.0, 1.0]], ValueError, ".*inhomogeneous"),
}


@pytest.mark.parametrize(("data", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_the_error_for_a_container_names_the_argument(data, error, says):
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(error, match=f"^X cannot be converted to an array: {says}"):
        network.predict(data)
    with pytest.raises(error, match=f"^X of validation_data cannot be converted to an array: {says}"):
        network.train(NUMBERS, NUMBERS[:, 0], 0.1, verbose=False, validation_data=(data, NUMBERS[:, 0]))


@pytest.mark.parametrize("data", [
    None, "text", b"bytes", {}, {1.0}, itertools.count(), (x for x in NUMBERS), iter([1.0]), np, np.float32, object(),
    np.array("2020", "datetime64[s]"), np.ones((3, 2)) * 1j,
], ids=lambda data: type(data).__name__)  # fmt: skip
def test_objects_that_hold_no_numbers_are_refused(data):
    with pytest.raises(TypeError, match=r"^X must hold real numbers, got an? .*"):
        NeuralNetwork([2, 3, 1], seed=0).predict(data)


@pytest.mark.parametrize("labels", [["u", "v", "u"], np.array(["u", "v", "u"]), pd.Series(["u", "v", "u"])])
def test_labels_of_text_are_refused(labels):
    with pytest.raises(
        TypeError, match=r"^y cannot be converted to an array: .*; encode labels as integers from 0, .*LabelEncoder"
    ):
        NeuralNetwork([2, 3, 2], seed=0).train(NUMBERS, labels, 0.1)


def test_a_warning_during_conversion_reaches_the_user():
    with pytest.warns(UserWarning, match="this is slow"):
        NeuralNetwork([2, 3, 1], seed=0).predict(ArrayLike(warns=True))


def test_a_frame_of_one_type_is_not_copied(rng):
    X = pd.DataFrame(rng.random((50_000, 40)))
    network = NeuralNetwork([40, 2, 1], seed=0)
    network.predict(X[:2])
    tracemalloc.start()
    array = host_array(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(array, X.to_numpy())
    assert peak < array.nbytes / 10


def test_an_endless_list_of_layers_is_refused():
    with pytest.raises(TypeError, match="layer_list must be a list of layer sizes"):
        NeuralNetwork(itertools.count(1))
