"""A recording holds what a function of arrays does, or an error names what cannot be recorded."""

from __future__ import annotations

import numpy as np
import pytest
from interpreted import assert_computed

from xpnet.backends import CannotCompile
from xpnet.backends.compiled.recorder import ELEMENTWISE, Recorder


def array_of_another_library(xp, x):
    strict = pytest.importorskip("array_api_strict")
    return x + strict.asarray([1.0, 2.0, 3.0])


def write_to(part):
    def write(xp, x):
        view = part(xp, x)
        view += 1.0
        return x

    return write


def change(operator, other):
    def in_place(xp, x):
        x = xp.positive(x)
        getattr(x, f"__i{operator}__")(other(xp))
        return x

    return in_place


def assign(xp, x):
    x[0, 0] = 1.0


def another_type(name):
    return lambda xp, x: xp.astype(x, name)


VALUE, VIEW, INDEX = "a branch on the value of an array", "an in-place operator on a view", "an index of type"
REFUSED = {
    "a branch on a value": (lambda xp, x: x if xp.sum(x) > 0.0 else -x, VALUE),
    "a conversion to float": (lambda xp, x: x * float(xp.sum(x)), VALUE),
    "a conversion to int": (lambda xp, x: x * int(xp.sum(x)), VALUE),
    "a use as an index": (lambda xp, x: range(xp.sum(x)), VALUE),
    "a conversion to a NumPy array": (lambda xp, x: np.asarray(x), VALUE),
    "an iteration": (lambda xp, x: [*x], VALUE),
    "an assignment": (assign, "an assignment to a part of an array"),
    "an index of a NumPy array": (lambda xp, x: x[np.array([0, 1]), :], f"{INDEX} ndarray"),
    "an index of a list": (lambda xp, x: x[[0, 1], :], f"{INDEX} list"),
    "an index of a condition": (lambda xp, x: x[x > 0.0], f"{INDEX} Array"),
    "an array of another library": (array_of_another_library, "an array of array_api_strict that the function holds"),
    "an array of another recording": (
        lambda xp, x: x + Recorder("float64").input("x", (2, 3)),
        "an array of another recording",
    ),
    "writing to a slice": (write_to(lambda xp, x: x[0, :]), VIEW),
    "writing to a transpose": (write_to(lambda xp, x: x.mT), VIEW),
    "writing to a reshaped array": (write_to(lambda xp, x: xp.reshape(x, (6,))), VIEW),
    "another shape in place": (change("add", lambda xp: xp.zeros((4, 2, 3))), r"from|changes float64\(2, 3\)"),
    "an unknown function": (lambda xp, x: xp.sort(x), "sort"),
    "an unknown type": (lambda xp, x: xp.zeros_like(x, dtype=xp.int64), "int64"),
    "whole numbers": (another_type("int32"), "an array of int32"),
    "text": (lambda xp, x: x + "1", "an operand of type str"),
    "complex numbers": (lambda xp, x: x * 1j, "an operand of type complex"),
    "complex arrays": (lambda xp, x: x * np.array([1j]), "an array of complex"),
    "a function of too many arrays": (lambda xp, x: xp.exp(x, x), "exp of 2 arrays"),
    "a product of three axes": (lambda xp, x: xp.reshape(x, (1, 2, 3)) @ x.mT, r"a product of arrays of the shapes"),
    "a product of wrong shapes": (lambda xp, x: x @ x, r"a product of arrays of the shapes \(2, 3\) and \(2, 3\)"),
    "shapes that do not fit": (lambda xp, x: x + xp.zeros(2), "shape mismatch"),
    "a wrong reshape": (lambda xp, x: xp.reshape(x, (4,)), r"a reshape of \(2, 3\) to \(4,\)"),
    "a reduction of nothing": (lambda xp, x: xp.sum(x[:0, :]), "sum of an empty array"),
}


@pytest.mark.parametrize(("function", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_recorded_is_named(function, says):
    recorder = Recorder("float64")
    with pytest.raises(CannotCompile, match=says):
        function(recorder, recorder.input("x", (2, 3)))


def test_what_may_be_a_view_or_a_copy_is_not_read_after_a_change():
    xp = Recorder("float64")
    x = xp.input("x", (2, 3))
    flat = xp.reshape(x.mT, (-1,))
    assert flat.shape == (6,)
    x += 1.0
    with pytest.raises(CannotCompile, match="a reshaped view of an array that has changed since"):
        flat * 2.0


def test_an_index_out_of_bounds_is_an_index_error():
    with pytest.raises(IndexError, match="index 2 is out of bounds for an axis of length 2"):
        Recorder("float64").input("x", (2, 3))[2, :]


def updates(xp, x):
    before = x * 2.0
    x += 1.0
    x -= before
    x *= 0.5
    x /= 3.0
    x **= 2.0
    return x, before


def view_of_a_changed_array(xp, x):
    row, transposed = x[1, :], x.mT
    part = xp.reshape(x, (-1,))[2:]
    sums = xp.sum(x)
    x *= 2.0
    return row, transposed[0, :], part, sums, x


def copies(xp, x):
    one, two, three, four = +x, xp.asarray(x, copy=True), xp.astype(x, x.dtype), xp.positive(x)
    same, other = xp.asarray(x), xp.astype(x, x.dtype, copy=False)
    x += 1.0
    one += 2.0
    same *= 3.0
    return one, two, three, four, same, other, x


def conditions(xp, x):
    positive, large = x > 0.0, xp.abs(x) >= 1.0
    both = positive & large
    both |= x < -1.0
    return xp.where(both, x, 0.5), xp.where(~both, 1.0, x), both == positive, positive * 2.0 + x


def reflected(xp, x):
    held = np.array([1.0, -2.0, 3.0])
    return held + x, held - x, held * x, held / (2.0 + x * x), 2.0 ** abs(x), np.eye(2) @ x, np.float64(3.0) * x, 1 - x


def indices(xp, x):
    return x[-1, ...], x[..., None, 1:], x[:, ::-1], x[::2, ::-2], x[None, 1, 2], x[1][0]


def shapes(xp, x):
    y = xp.expand_dims(x, axis=-1)
    return (
        xp.moveaxis(y, -1, 0),
        xp.squeeze(y, axis=-1),
        xp.matrix_transpose(x),
        x.T,
        xp.broadcast_to(x[0, :], (4, 3)) * 1.0,
        xp.concat([x, x[:1, :] * 2.0]),
        xp.concat([x, x], axis=None),
        xp.stack([x[0, :], x[1, :]], axis=-1),
        xp.permute_dims(y, (2, 1, 0)),
    )


def numbers(xp, x):
    mean = xp.mean(x) * 2.0
    assert mean.shape == () and mean.ndim == 0 and x.size == 6  # noqa: PT018
    return mean, x.shape[0] * x, xp.full((2,), 3.0), xp.ones_like(x) * mean, xp.zeros(()) + xp.pi


def types(xp, x):
    epsilon = xp.finfo(x.dtype).eps
    assert x.dtype == xp.float64 == np.float64
    assert x.dtype != np.float32
    assert xp.isdtype(x.dtype, "real floating")
    return x + epsilon, xp.astype(x > 0.0, xp.float64), xp.astype(xp.astype(x, xp.float32), xp.float64)


def reductions(xp, x):
    return (
        *(getattr(xp, name)(x, axis=axis) for name in ("sum", "max", "min", "prod", "mean") for axis in (None, 0, -1)),
        xp.sum(x, axis=(0, 1), keepdims=True),
        xp.any(x > 1.0, axis=0),
        xp.all(x > -5.0),
        xp.vecdot(x, x),
        xp.clip(x, -0.5, 0.5),
    )


BEHAVIOUR = [
    *(updates, view_of_a_changed_array, copies, conditions, reflected, indices, shapes, numbers, types, reductions),
]


@pytest.mark.parametrize("function", BEHAVIOUR, ids=lambda function: function.__name__)
def test_arrays_behave_like_those_of_numpy(function, rng):
    assert_computed(function, rng.standard_normal((2, 3)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_elementwise_function_computes_the_same_as_in_numpy(dtype, rng):
    """Where it is defined, on both sides of 0, and for NaN and infinities."""
    spots = [0.0, 0.5, -0.5, 1.0, 2.5, -2.5, np.nan, np.inf, -np.inf, *rng.uniform(-3.0, 3.0, 6)]
    x = np.array(spots, dtype)
    one = [name for name, (count, _) in ELEMENTWISE.items() if count == 1 and name != "logical_not"]
    two = [name for name, (count, _) in ELEMENTWISE.items() if count == 2 and not name.startswith("logical")]
    both = ["logical_and", "logical_or"]
    assert_computed(lambda xp, x: [getattr(xp, name)(x) for name in one], x)
    assert_computed(lambda xp, x, y: [getattr(xp, name)(x, y) for name in two], x[:, None], x)
    assert_computed(lambda xp, x, y: [getattr(xp, name)(x > 0.0, y > 1.0) for name in both], x[:, None], x)
    assert_computed(lambda xp, x: [xp.logical_not(x > 0.0)], x)


def test_equal_operations_are_one_operation():
    xp = Recorder("float64")
    x = xp.input("x", (2, 3))
    assert (xp.exp(x) + 1.0).node is (xp.exp(x) + np.ones(())).node
    assert xp.reshape(xp.reshape(x, (6,)), (2, 3)).node is x.node
    assert (x + 1.0).node is not (x + 2.0).node


def test_equal_bytes_of_different_types_are_different_constants():
    xp = Recorder("float32")
    x = xp.input("x", (4,))
    result = xp.where(np.zeros(4, bool), x, np.float32(0.0))
    condition, _, zero = result.node.args
    assert (condition.dtype, zero.dtype) == ("bool", "float32")
    assert xp.constants[condition.attributes[0]].dtype == bool
    assert xp.constants[zero.attributes[0]].dtype == np.float32


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_take_the_type_of_the_arrays(dtype):
    xp = Recorder(dtype)
    x = xp.input("x", (3,))
    results = [x + 1, x * 0.5, x + np.arange(3), xp.mean(x), xp.where(x > 0, 1.0, 0.0), (x > 0) * 2.0, xp.zeros(3)]
    assert {str(result.dtype) for result in results} == {dtype}
    assert str((x > 0).dtype) == "bool"


def test_a_recorder_is_the_namespace_of_its_arrays():
    xp = Recorder("float64")
    assert xp.input("x", (3,)).__array_namespace__() is xp
    assert xp.input("x", (3,)).device == "recorder"
    assert not hasattr(xp, "__wrapped__")
