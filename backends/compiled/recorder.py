"""An array API namespace that records operations instead of computing them.

`Recorder` provides the functions of the array API standard that elementwise and matrix code needs. A function that is
called with it, and with arrays from `Recorder.input`, creates a graph of `Node` objects. Shapes are static, equal
operations share one node, and an in-place operator replaces the node of an array.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from xpnet.backends.base import CannotCompile

Shape = tuple[int, ...]


class Node(NamedTuple):
    """An operation.

    Attributes
    ----------
    op : str
        ``"input"``, ``"constant"``, ``"matmul"``, ``"concat"``, the name of an elementwise function (of `ELEMENTWISE`),
        of a reduction (of `REDUCTIONS`; the reduced axes have length 1), or of a view (``"reshape"``, ``"permute"``,
        ``"slice"``, ``"broadcast"``).
    args : tuple of Node
        The operands.
    attributes : tuple
        The other parameters: the name of an input, the key of a constant, the axes of a reduction, …
    shape : tuple of int
        The shape of the result.
    dtype : str
        ``"float64"``, ``"float32"`` or ``"bool"``.
    number : int
        The position in the order of recording.
    """

    op: str
    args: tuple[Node, ...]
    attributes: tuple[Any, ...]
    shape: Shape
    dtype: str
    number: int

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> Any:
        return self is other


# The number of operands, and whether the result has the type bool ("b") or that of the operands ("t").
ELEMENTWISE = {
    **dict.fromkeys(
        [
            "abs",
            "exp",
            "expm1",
            "log",
            "log1p",
            "sqrt",
            "tanh",
            "negative",
            "sign",
            "square",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "asin",
            "acos",
            "atan",
            "asinh",
            "acosh",
            "atanh",
            "floor",
            "ceil",
            "trunc",
            "round",
            "log2",
            "log10",
            "reciprocal",
        ],
        (1, "t"),
    ),
    **dict.fromkeys(
        [
            "add",
            "subtract",
            "multiply",
            "divide",
            "pow",
            "maximum",
            "minimum",
            "hypot",
            "copysign",
            "atan2",
            "logaddexp",
        ],
        (2, "t"),
    ),
    **dict.fromkeys(
        ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or"], (2, "b")
    ),
    **dict.fromkeys(["logical_not", "isnan", "isfinite", "isinf"], (1, "b")),
}
REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")
VIEWS = ("reshape", "permute", "slice", "broadcast")


class Array:
    """An array of a `Recorder`.

    An in-place operator replaces its node. A view refers to its base array, so that it shows later changes of it;
    writing to a view raises `CannotCompile`.
    """

    __array_ufunc__ = None  # so that NumPy's operators call those below

    def __init__(self, xp: Recorder, node: Node | None, base: Array | None = None, view: Any = None) -> None:
        self._xp, self._node, self._base, self._apply = xp, node, base, view

    @property
    def node(self) -> Node:
        """The operation that computes the current value of the array."""
        return self._node if self._base is None else self._apply(self._base.node)  # type: ignore[return-value]

    @property
    def shape(self) -> Shape:
        """The lengths of the axes."""
        return self.node.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.node.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.node.shape)

    @property
    def dtype(self) -> Any:
        """The type of the elements."""
        return numpy.dtype(self.node.dtype)

    @property
    def device(self) -> str:
        """The name of the recorder, because no device computes anything."""
        return "recorder"

    @property
    def mT(self) -> Array:  # noqa: N802 - the standard's name
        """The array with its last two axes swapped."""
        axes = (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)
        return self._xp.permute_dims(self, axes)

    @property
    def T(self) -> Array:  # noqa: N802 - the standard's name
        """The transpose of a matrix."""
        return self.mT

    def __array_namespace__(self, api_version: str | None = None) -> Recorder:
        return self._xp

    def __getitem__(self, key: Any) -> Array:
        return self._xp._view(self, lambda node: self._xp._sliced(node, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        msg = "an assignment to a part of an array (use where, or concat)"
        raise CannotCompile(msg)

    def _refuse(self, *_: Any) -> Any:
        msg = "a branch on the value of an array, or its conversion to a number (use where)"
        raise CannotCompile(msg)

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __iter__ = __len__ = __array__ = _refuse

    def _replace(self, other: Array) -> Array:
        if self._base is not None:
            msg = "an in-place operator on a view of another array"
            raise CannotCompile(msg)
        if other.shape != self.shape or other.dtype != self.dtype:
            msg = f"an in-place operator that changes {self.dtype}{self.shape} to {other.dtype}{other.shape}"
            raise CannotCompile(msg)
        self._node = other.node
        return self


_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "pow",
    "matmul": "matmul",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
    "and": "logical_and",
    "or": "logical_or",
    "neg": "negative",
    "invert": "logical_not",
    "abs": "abs",
}


def _operator(name: str, function: str) -> None:
    def forward(self: Array, *others: Any) -> Any:
        return getattr(self._xp, function)(self, *others)

    def reflected(self: Array, other: Any) -> Any:
        return getattr(self._xp, function)(other, self)

    def in_place(self: Array, other: Any) -> Any:
        return self._replace(forward(self, other))

    setattr(Array, f"__{name}__", forward)
    if name in ("add", "sub", "mul", "truediv", "pow", "matmul", "and", "or"):
        setattr(Array, f"__r{name}__", reflected)
        setattr(Array, f"__i{name}__", in_place)


for _name, _function in _OPERATORS.items():
    _operator(_name, _function)
Array.__pos__ = lambda self: self._xp.positive(self)  # type: ignore[operator]


class Recorder:
    """An array API namespace that records operations.

    Parameters
    ----------
    dtype : str
        The default floating-point type: ``"float64"`` or ``"float32"``.
    """

    float32, float64, bool = map(numpy.dtype, ("float32", "float64", "bool"))
    pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None
    __name__ = "recorder"

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._nodes: dict[Any, Node] = {}
        self.constants: dict[tuple[str, bytes], Any] = {}

    # ---- Nodes

    def input(self, name: str, shape: Shape, dtype: str | None = None) -> Array:
        """Return an array that stands for an argument of the recorded function."""
        return Array(self, self._node("input", (), (name,), shape, dtype or self._dtype))

    def _node(self, op: str, args: tuple[Node, ...], attributes: tuple[Any, ...], shape: Shape, dtype: str) -> Node:
        key = (op, tuple(arg.number for arg in args), attributes, shape, dtype)
        if key not in self._nodes:
            self._nodes[key] = Node(op, args, attributes, shape, dtype, len(self._nodes))
        return self._nodes[key]

    def _constant(self, value: Any, dtype: str) -> Node:
        value = numpy.asarray(value)
        if value.dtype.kind not in "bfiu":
            msg = f"an array of {value.dtype}"
            raise CannotCompile(msg)
        value = numpy.asarray(value, dtype, order="C")
        key = dtype, value.tobytes()
        self.constants[key] = value.reshape(-1)
        return self._node("constant", (), (key,), value.shape, dtype)

    def _as_node(self, x: Any, dtype: str | None = None) -> Node:
        if isinstance(x, Array):
            if x._xp is not self:
                msg = "an array of another recording"
                raise CannotCompile(msg)
            return x.node
        if isinstance(x, (numpy.ndarray, numpy.generic)):
            return self._constant(x, "bool" if x.dtype.kind == "b" else self._dtype)
        if isinstance(x, bool):
            return self._constant(x, dtype or "bool")
        if isinstance(x, (int, float)):
            return self._constant(x, self._dtype if dtype in (None, "bool") else dtype)
        if hasattr(x, "ndim"):
            msg = f"an array of {type(x).__module__.partition('.')[0]} that the function holds"
            raise CannotCompile(msg)
        msg = f"an operand of type {type(x).__name__}"
        raise CannotCompile(msg)

    def _view(self, x: Any, view: Callable[[Node], Node]) -> Array:
        node = view(self._as_node(x))  # now, so that an invalid view raises its error here
        return Array(self, None, x, view) if isinstance(x, Array) else Array(self, node)

    def _elementwise(self, name: str, *operands: Any) -> Array:
        known = [x.node.dtype for x in operands if isinstance(x, Array)]
        real = next((dtype for dtype in known if dtype != "bool"), None)
        nodes = tuple(self._as_node(x, real) for x in operands)
        count, kind = ELEMENTWISE[name]
        if len(nodes) != count:
            msg = f"{name} of {len(nodes)} arrays"
            raise CannotCompile(msg)
        logical = name.startswith("logical_")
        if all(node.dtype == "bool" for node in nodes):
            if not logical and name not in ("equal", "not_equal"):
                nodes = tuple(self._cast(node, self._dtype) for node in nodes)
        elif logical:
            nodes = tuple(self._cast(node, "bool") for node in nodes)
        else:
            nodes = tuple(self._cast(node, self._wider(nodes)) for node in nodes)
        shape = _broadcast(*(node.shape for node in nodes))
        return Array(self, self._node(name, nodes, (), shape, "bool" if kind == "b" else nodes[0].dtype))

    def _wider(self, nodes: Sequence[Node]) -> str:
        return "float64" if any(node.dtype == "float64" for node in nodes) else "float32"

    def _cast(self, node: Node, dtype: str) -> Node:
        if node.dtype == dtype:
            return node
        if node.op == "constant":
            return self._constant(self.constants[node.attributes[0]].reshape(node.shape), dtype)
        return self._node("cast", (node,), (), node.shape, dtype)

    # ---- Functions of the standard

    def where(self, condition: Any, x1: Any, x2: Any, /) -> Array:
        """Return the elements of x1 where the condition is true, else those of x2."""
        chosen = self._as_node(condition)
        known = next((x.node.dtype for x in (x1, x2) if isinstance(x, Array)), None)
        nodes = [self._as_node(x, known) for x in (x1, x2)]
        dtype = "bool" if all(node.dtype == "bool" for node in nodes) else self._wider(nodes)
        args = (self._cast(chosen, "bool"), *(self._cast(node, dtype) for node in nodes))
        return Array(self, self._node("where", args, (), _broadcast(*(node.shape for node in args)), dtype))

    def _reduce(self, name: str, x: Any, axis: Any, keepdims: Any) -> Array:
        node = self._as_node(x)
        if name in ("any", "all"):
            node = self._cast(node, "bool")
        elif node.dtype == "bool":
            node = self._cast(node, self._dtype)
        axes = _axes(axis, len(node.shape))
        shape = tuple(1 if i in axes else n for i, n in enumerate(node.shape))
        if 0 in node.shape:
            msg = f"{name} of an empty array"
            raise CannotCompile(msg)
        summed = tuple(i for i in axes if node.shape[i] > 1)
        if summed:
            node = self._node(name, (node,), summed, shape, node.dtype)
        if not keepdims:
            node = self._reshaped(node, tuple(n for i, n in enumerate(shape) if i not in axes))
        return Array(self, node)

    def mean(self, x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Array:
        """Return the mean over some axes."""
        node = self._as_node(x)
        count = math.prod(node.shape[i] for i in _axes(axis, len(node.shape)))
        return self._elementwise("divide", self._reduce("sum", x, axis, keepdims), float(count))

    def vecdot(self, x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
        """Return the sum of products over an axis."""
        return self._reduce("sum", self._elementwise("multiply", x1, x2), axis, False)

    def matmul(self, x1: Any, x2: Any, /) -> Array:
        """Return the product of two matrices."""
        a, b = self._as_node(x1), self._as_node(x2)
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0] or "bool" in (a.dtype, b.dtype):
            msg = f"a product of arrays of the shapes {a.shape} and {b.shape}"
            raise CannotCompile(msg)
        if a.shape[1] == 1:  # an outer product is an elementwise multiplication
            return self._elementwise("multiply", x1, x2)
        dtype = self._wider((a, b))
        nodes = self._cast(a, dtype), self._cast(b, dtype)
        return Array(self, self._node("matmul", nodes, (), (a.shape[0], b.shape[1]), dtype))

    def reshape(self, x: Any, /, shape: Any, *, copy: Any = None) -> Array:
        """Return a view with another shape."""
        shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        original = self._as_node(x)
        may_be_copied = original.op in ("permute", "broadcast") or (original.op == "slice" and len(original.shape) > 1)

        def reshaped(node: Node) -> Node:
            if node is not original and may_be_copied:
                msg = (
                    "the use of a reshaped view of an array that has changed since, because it may be a view or a copy"
                )
                raise CannotCompile(msg)
            return self._reshaped(node, _complete_shape(shape, node.shape))

        return self._view(x, reshaped)

    def _reshaped(self, node: Node, shape: Shape) -> Node:
        if shape == node.shape:
            return node
        if node.op == "reshape":
            return self._reshaped(node.args[0], shape)
        if node.op == "constant":
            return self._constant(self.constants[node.attributes[0]].reshape(shape), node.dtype)
        return self._node("reshape", (node,), (), shape, node.dtype)

    def permute_dims(self, x: Any, /, axes: Sequence[int]) -> Array:
        """Return a view with permuted axes."""

        def permuted(node: Node) -> Node:
            if tuple(axes) == tuple(range(len(node.shape))):
                return node
            return self._node("permute", (node,), tuple(axes), tuple(node.shape[i] for i in axes), node.dtype)

        return self._view(x, permuted)

    def matrix_transpose(self, x: Any, /) -> Array:
        """Return a view with the last two axes swapped."""
        return (x if isinstance(x, Array) else self.asarray(x)).mT

    def moveaxis(self, x: Any, source: int, destination: int, /) -> Array:
        """Return a view with one axis moved to another position."""
        axes = list(range(self._as_node(x).shape.__len__()))
        axes.insert(destination % len(axes), axes.pop(source))
        return self.permute_dims(x, axes)

    def expand_dims(self, x: Any, /, *, axis: int = 0) -> Array:
        """Return a view with one more axis of length 1."""
        shape = list(self._as_node(x).shape)
        shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 1)
        return self.reshape(x, tuple(shape))

    def squeeze(self, x: Any, /, axis: Any) -> Array:
        """Return a view without some axes of length 1."""
        shape = self._as_node(x).shape
        axes = _axes(axis, len(shape))
        return self.reshape(x, tuple(n for i, n in enumerate(shape) if i not in axes))

    def broadcast_to(self, x: Any, /, shape: Shape) -> Array:
        """Return a view that repeats axes of length 1."""

        def broadcast(node: Node) -> Node:
            if tuple(shape) == node.shape:
                return node
            return self._node("broadcast", (node,), (), _broadcast(node.shape, tuple(shape)), node.dtype)

        return self._view(x, broadcast)

    def _sliced(self, node: Node, key: Any) -> Node:
        """Return the result of basic indexing with integers, slices, an ellipsis and new axes."""
        keys = list(key) if isinstance(key, tuple) else [key]
        for part in keys:
            if not (part is None or part is Ellipsis or isinstance(part, (int, slice))):
                msg = f"an index of type {type(part).__name__} (use take, or where)"
                raise CannotCompile(msg)
        if Ellipsis not in keys:
            keys.append(Ellipsis)
        position, indexed = keys.index(Ellipsis), sum(part is not None for part in keys) - 1
        keys[position : position + 1] = [slice(None)] * (len(node.shape) - indexed)
        starts, steps, counts, shape, axis = [], [], [], [], 0
        for part in keys:
            if part is None:
                shape.append(1)
                continue
            length = node.shape[axis]
            axis += 1
            if isinstance(part, slice):
                start, stop, step = part.indices(length)
                count = len(range(start, stop, step))
                shape.append(count)
            else:
                start, step, count = operator.index(part) + (length if part < 0 else 0), 1, 1
                if not 0 <= start < length:
                    msg = f"index {part} is out of bounds for an axis of length {length}"
                    raise IndexError(msg)
            starts.append(start)
            steps.append(step)
            counts.append(count)
        if tuple(counts) != node.shape or any(step != 1 for step in steps):
            node = self._node("slice", (node,), (tuple(starts), tuple(steps)), tuple(counts), node.dtype)
        return self._reshaped(node, tuple(shape))

    def concat(self, arrays: Sequence[Any], /, *, axis: int | None = 0) -> Array:
        """Return arrays joined along an axis, or flattened and joined."""
        nodes = [self._as_node(x) for x in arrays]
        if axis is None:
            nodes, axis = [self._reshaped(node, (math.prod(node.shape),)) for node in nodes], 0
        axis %= len(nodes[0].shape)
        dtype = nodes[0].dtype if len({node.dtype for node in nodes}) == 1 else self._wider(nodes)
        nodes = [self._cast(node, dtype) for node in nodes if node.shape[axis]]
        if len(nodes) == 1:
            return Array(self, nodes[0])
        shape = list(nodes[0].shape)
        shape[axis] = sum(node.shape[axis] for node in nodes)
        return Array(self, self._node("concat", tuple(nodes), (axis,), tuple(shape), dtype))

    def stack(self, arrays: Sequence[Any], /, *, axis: int = 0) -> Array:
        """Return arrays joined along a new axis."""
        return self.concat([self.expand_dims(x, axis=axis) for x in arrays], axis=axis)

    def astype(self, x: Any, dtype: Any, /, *, copy: Any = True, device: Any = None) -> Array:
        """Return an array of another type."""
        node = self._as_node(x)
        if isinstance(x, Array) and node.dtype == _name_of_type(dtype) and not copy:
            return x
        return Array(self, self._cast(node, _name_of_type(dtype)))

    def asarray(self, x: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Array:
        """Return an array: the same one, unless its type changes or `copy` is true."""
        return self.astype(x, dtype or self._as_node(x).dtype, copy=copy)

    def full(self, shape: Any, value: Any, *, dtype: Any = None, device: Any = None) -> Array:
        """Return an array of one value."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        node = self._constant(value, _name_of_type(dtype or ("bool" if isinstance(value, bool) else self._dtype)))
        return Array(self, self._node("broadcast", (node,), (), shape, node.dtype) if shape else node)

    def zeros(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
        """Return an array of zeros."""
        return self.full(shape, 0.0, dtype=dtype or self._dtype)

    def ones(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
        """Return an array of ones."""
        return self.full(shape, 1.0, dtype=dtype or self._dtype)

    def full_like(self, x: Any, value: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
        """Return an array of one value with the shape of another."""
        node = self._as_node(x)
        return self.full(node.shape, value, dtype=dtype or node.dtype)

    def zeros_like(self, x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
        """Return an array of zeros with the shape of another."""
        return self.full_like(x, 0.0, dtype=dtype)

    def ones_like(self, x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
        """Return an array of ones with the shape of another."""
        return self.full_like(x, 1.0, dtype=dtype)

    def clip(self, x: Any, /, min: Any = None, max: Any = None) -> Array:
        """Return the elements limited to two bounds."""
        x = x if min is None else self._elementwise("maximum", x, min)
        return x if max is None else self._elementwise("minimum", x, max)

    def finfo(self, dtype: Any, /) -> Any:
        """Return the limits of a floating-point type."""
        return numpy.finfo(dtype.dtype if isinstance(dtype, Array) else dtype)

    def isdtype(self, dtype: Any, kind: Any) -> Any:
        """Return whether a type is of a kind."""
        return numpy.isdtype(numpy.dtype(dtype), kind)

    def positive(self, x: Any, /) -> Array:
        """Return a copy of the array."""
        return Array(self, self._as_node(x))

    def __getattr__(self, name: str) -> Any:
        if name in ELEMENTWISE:
            return lambda *operands: self._elementwise(name, *operands)
        if name in REDUCTIONS:
            return lambda x, /, *, axis=None, keepdims=False: self._reduce(name, x, axis, keepdims)
        if name.startswith("__"):
            raise AttributeError(name)
        msg = f"the function {name}, which the compiler does not support"
        raise CannotCompile(msg)


def _name_of_type(dtype: Any) -> str:
    name = str(numpy.dtype(dtype))
    if name not in ("float64", "float32", "bool"):
        msg = f"an array of {name}"
        raise CannotCompile(msg)
    return name


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(i % ndim for i in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def _broadcast(*shapes: Shape) -> Shape:
    try:
        return tuple(int(n) for n in numpy.broadcast_shapes(*shapes))
    except ValueError as error:
        raise CannotCompile(str(error)) from None


def _complete_shape(shape: Shape, old: Shape) -> Shape:
    """Return a shape in which the length of an axis of -1 follows from the old shape."""
    known = math.prod(n for n in shape if n >= 0)
    shape = tuple(math.prod(old) // known if n == -1 else int(n) for n in shape)
    if math.prod(shape) != math.prod(old):
        msg = f"a reshape of {old} to {shape}"
        raise CannotCompile(msg)
    return shape
