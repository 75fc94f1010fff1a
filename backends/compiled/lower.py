"""Conversion of a recorded graph to loops: which nodes get a buffer, and which loops fill it.

Most nodes get none: an element of a result is computed recursively from the elements of its operands, through all
views, down to nodes that have a buffer (`_Builder.element`). A node gets a buffer if it would be computed several
times: reductions and matrix products, the operands of matrix products, and nodes that are read more than once and cost
more than a few additions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from xpnet.backends.compiled.loops import (
    Buffer,
    Index,
    Let,
    Load,
    Matrix,
    Nest,
    Product,
    Program,
    Reduce,
    Statement,
    Store,
    Value,
)
from xpnet.backends.compiled.recorder import ELEMENTWISE, REDUCTIONS, VIEWS, Node, Shape

CHEAP = {
    *("abs", "add", "subtract", "multiply", "negative", "sign", "square", "maximum", "minimum", "where", "cast"),
    *(
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
        "logical_and",
        "logical_or",
        "logical_not",
    ),
    *("isnan", "isfinite", "isinf"),
}
"""Operations that take no longer than reading a number from a buffer."""

POINTWISE = {*ELEMENTWISE, "where", "cast"}
"""Operations that compute each element from one element of each operand."""


class _NeedsBuffer(Exception):  # noqa: N818
    """An element of this node cannot be computed where it is read, so that the node must have a buffer."""

    def __init__(self, node: Node) -> None:
        super().__init__(node.op)
        self.node = node


def lower(
    inputs: Mapping[str, Buffer],
    outputs: Mapping[str, Node],
    constants: Mapping[tuple[str, bytes], Any],
    *,
    blas_threshold: float = math.inf,
) -> Program:
    """Return the loops that compute the output nodes.

    Parameters
    ----------
    inputs : dict of str to Buffer
        The buffers of the inputs, in C order; buffers of samples and masks have one row for each sample.
    outputs : dict of str to Node
        The nodes to compute, by the name of their buffer; the buffer of an input is overwritten at the end.
    constants : dict to array
        The values of constant nodes.
    blas_threshold : float
        Matrix products of at least this number of multiplications become a `Product`, smaller ones become loops.

    Returns
    -------
    program : Program
        The loops of one step of one network.
    """
    forced: set[Node] = set()
    while True:
        try:
            return _Lowering(inputs, outputs, constants, forced, blas_threshold).program()
        except _NeedsBuffer as needed:
            if needed.node in forced:
                raise
            forced.add(needed.node)


class _Lowering:
    """One attempt at lowering, with buffers for the nodes in `forced`."""

    def __init__(
        self,
        inputs: Mapping[str, Buffer],
        outputs: Mapping[str, Node],
        constants: Mapping[tuple[str, bytes], Any],
        forced: set[Node],
        blas_threshold: float,
    ) -> None:
        self.blas_threshold = blas_threshold
        self.buffers = dict(inputs)
        self.constants = constants
        self.types: dict[str, str] = {}
        self.written: set[str] = set()
        self.outputs = {
            name: node for name, node in outputs.items() if not (node.op == "input" and node.attributes == (name,))
        }
        self.order = _reachable(self.outputs.values())
        self.buffer_of: dict[Node, str] = {}
        for node in self._with_buffers(forced):
            self.buffer_of[node] = f"t{node.number}"
            self.buffers[self.buffer_of[node]] = Buffer(f"t{node.number}", math.prod(node.shape), node.dtype, "scratch")
        self.count = 0

    def program(self) -> Program:
        nests = [
            nest for node in self.order if node in self.buffer_of for nest in self._fill({self.buffer_of[node]: node})
        ]
        groups: dict[Shape, dict[str, Node]] = {}
        for name, node in self.outputs.items():
            groups.setdefault(node.shape, {})[name] = node
        for group in groups.values():
            nests += self._fill(group)
            self.written |= group.keys()
        return Program(self.buffers, nests, self.types)

    def name(self, dtype: str, letter: str = "v") -> str:
        self.count += 1
        name = f"{letter}{self.count}"
        if letter == "v":
            self.types[name] = dtype
        return name

    # ---- Buffers

    def _with_buffers(self, forced: set[Node]) -> list[Node]:
        """Return the nodes that get a buffer, in the order of recording."""
        readers: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node in self.order:
            for arg in node.args:
                readers[arg].append(node)
        uses = {node: _uses(node, readers) for node in self.order}
        computed = [node for node in self.order if node.op not in ("input", "constant") and node.op not in VIEWS]
        chosen = forced | {
            node
            for node in computed
            if node.op in REDUCTIONS
            or node.op == "matmul"
            or any(use.op == "matmul" for use in uses[node])
            or (node.op == "concat" and not all(_is_pointwise(use, node) for use in uses[node]))
        }
        # The nests that compute each node: one for each node with a buffer, and one for the outputs of each shape.
        nests: dict[Node, set[Any]] = {}
        for node in reversed(self.order):
            nests[node] = {each for use in uses[node] for each in ({use} if use in chosen else nests[use])}
            if node in self.outputs.values():
                nests[node].add(node.shape)
            if (
                node in computed
                and (len(nests[node]) > 1 or any(_is_larger(use, node) for use in uses[node]))
                and _is_costly(node, chosen)
            ):
                chosen.add(node)
        return sorted(chosen, key=lambda node: node.number)

    # ---- Loops

    def _fill(self, group: Mapping[str, Node]) -> list[Nest | Product]:
        """Return the nests that compute nodes of one shape, each into a separate buffer."""
        (first, *_) = group.values()
        if first.op == "concat" and self.buffer_of.get(first) in group:
            return self._fill_parts(first)
        if first.op == "matmul" and self.buffer_of.get(first) in group and (whole := self._whole_product(first)):
            return [whole]
        return [self._nest(group, piece) for piece in self._pieces(group.values())]

    def _whole_product(self, node: Node) -> Product | None:
        """Return a `Product` if the matrix product is large and its operands are matrices in buffers, else None."""
        a, b = node.args
        rows, inner, columns = *a.shape, b.shape[1]
        if min(rows, inner, columns) < 2 or rows * inner * columns < self.blas_threshold:
            return None
        out = Matrix(self.buffer_of[node], 0, node.shape, False)  # type: ignore[arg-type]
        first, second = self._matrix(a), self._matrix(b)
        return Product(out, first, second) if first and second else None

    def _matrix(self, node: Node) -> Matrix | None:
        """Return a node as a matrix in a buffer, or None if it is not one."""
        builder, (rows, columns) = _Builder(self, node.shape), node.shape
        builder.element(node, builder.index)
        (row, _), (column, _) = builder.variables
        if [type(each) for each in builder.nest().statements()] != [Load]:
            return None
        buffer, index = builder.loads[0].buffer, builder.loads[0].position
        factors = dict(index.terms)
        if factors == {row: columns, column: 1}:
            return Matrix(buffer, index.constant, (rows, columns), False)
        if factors == {row: 1, column: rows}:
            return Matrix(buffer, index.constant, (columns, rows), True)
        return None

    def _fill_parts(self, node: Node) -> list[Nest | Product]:
        nests: list[Nest | Product] = []
        (axis,), start = node.attributes, 0
        for part in node.args:
            builder = _Builder(self, part.shape)
            index = [Index() + i for i in builder.index]
            value = builder.element(part, builder.index)
            index[axis] = index[axis] + start
            builder.store(self.buffer_of[node], _flat(index, node.shape), value)
            nests.append(builder.nest())
            start += part.shape[axis]
        return nests

    def _nest(self, group: Mapping[str, Node], piece: tuple[int, Shape] | None) -> Nest:
        (first, *_) = group.values()
        if piece is None:
            builder = _Builder(self, first.shape)
            index = builder.index
        else:
            start, shape = piece
            builder = _Builder(self, shape)
            index = [_flat(builder.index, shape) + start]
        position, values = _flat(index, first.shape), {}
        for name, node in group.items():
            values[name] = builder.element(node, index, ignore_buffer=self.buffer_of.get(node) == name)
        for load in builder.loads:
            # A nest must not read what an output overwrites, except the same element before it is overwritten.
            if load.buffer in self.written or (load.buffer in group and load.position != position):
                raise _NeedsBuffer(next(node for node in group.values() if node not in self.buffer_of))
        for name, value in values.items():
            builder.store(name, position, value)
        return builder.nest()

    def _pieces(self, nodes: Any) -> list[tuple[int, Shape] | None]:
        """Return the parts of concatenated vectors, as the start and the shape before flattening, or [None]."""
        found: dict[int, Shape] = {}
        todo, size, seen = [node for node in nodes if len(node.shape) == 1], 0, set()
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.op == "concat" and self.buffer_of.get(node) is None:
                start, size = 0, node.shape[0]
                for part in node.args:
                    shape = part.args[0].shape if part.op == "reshape" else part.shape
                    found.setdefault(start, tuple(n for n in shape if n > 1))
                    start += part.shape[0]
            elif node.op in POINTWISE and (node not in self.buffer_of or node in nodes):
                todo += [arg for arg in node.args if arg.shape == node.shape]
        if not found:
            return [None]
        starts = [*sorted(found), size]
        return [
            (start, found[start] if math.prod(found[start]) == stop - start else (stop - start,))
            for start, stop in pairwise(starts)
        ]


class _Builder:
    """Builds one nest, and places each statement outside all loops that it does not depend on."""

    def __init__(self, lowering: _Lowering, shape: Shape) -> None:
        self.lowering = lowering
        self.variables: list[tuple[str, int]] = []
        self.index = []
        for n in shape:
            if n > 1:
                variable = lowering.name("", "i")
                self.variables.append((variable, n))
                self.index.append(Index(((variable, 1),)))
            else:
                self.index.append(Index())
        self.depth = len(self.variables)
        self.at: list[list[Statement]] = [[] for _ in range(self.depth + 1)]
        self.level_of = {variable: level + 1 for level, (variable, _) in enumerate(self.variables)}
        self.extents = dict(self.variables)
        self.known: dict[Any, str] = {}
        self.factors: dict[Value, tuple[Value, ...]] = {}
        self.loads: list[Load] = []
        self.inside: list[Load | Let] | None = None

    def nest(self) -> Nest:
        return Nest(tuple(self.variables), self.at)

    def store(self, buffer: str, index: Index, value: Value) -> None:
        self.at[-1].append(Store(buffer, index, value))

    def _emit(self, key: Any, level: int, dtype: str, make: Any) -> str:
        if key not in self.known:
            name = self.known[key] = self.lowering.name(dtype)
            self.level_of[name] = level
            statement = make(name)
            if isinstance(statement, Load):
                self.loads.append(statement)
            if level > self.depth:
                assert self.inside is not None
                self.inside.append(statement)
            else:
                self.at[level].append(statement)
        return self.known[key]

    def _level(self, value: Value) -> int:
        return self.level_of[value] if isinstance(value, str) else 0

    def load(self, buffer: str, index: Index) -> str:
        level = max((self.level_of[v] for v, _ in index.terms), default=0)
        dtype = self.lowering.buffers[buffer].dtype
        return self._emit((buffer, index), level, dtype, lambda name: Load(name, buffer, index))

    def let(self, op: str, args: tuple[Value, ...], dtype: str) -> Value:
        if (simple := _simplified(op, args)) is not None:
            return simple
        if op == "divide" and self._level(args[1]) < self._level(args[0]) and isinstance(args[1], str):
            args, op = (args[0], self.let("divide", (1.0, args[1]), dtype)), "multiply"
        if op == "multiply":
            factors = [each for arg in args for each in self.factors.get(arg, (arg,))]
            if len(factors) > 2:
                # Outermost first, so that factors that a loop does not change are multiplied before it.
                factors.sort(key=self._level)
                left: Value = factors[0]
                for right in factors[1:]:
                    left = self._let("multiply", (left, right), dtype)
                self.factors[left] = tuple(factors)
                return left
            name = self._let(op, args, dtype)
            self.factors[name] = tuple(factors)
            return name
        return self._let(op, args, dtype)

    def _let(self, op: str, args: tuple[Value, ...], dtype: str) -> Value:
        level = max(map(self._level, args), default=0)
        # The types are part of the key because 1.0, 1 and True are equal.
        key = (op, tuple((type(arg), arg) for arg in args), dtype)
        return self._emit(key, level, dtype, lambda name: Let(name, op, args))

    def element(self, node: Node, index: Sequence[Index], *, ignore_buffer: bool = False) -> Value:
        """Return one element of a node; `ignore_buffer` computes it even if the node has a buffer."""
        lowering = self.lowering
        if not ignore_buffer and node in lowering.buffer_of:
            return self.load(lowering.buffer_of[node], _flat(index, node.shape))
        op, args = node.op, node.args
        if op == "input":
            (name,) = node.attributes
            buffer = lowering.buffers[name]
            if buffer.kind in ("sample", "mask"):  # rows are samples
                return self.load(name, _flat(list(index)[::-1], node.shape[::-1]))
            return self.load(name, _flat(index, node.shape))
        if op == "constant":
            return self._constant(node, _flat(index, node.shape))
        if op in POINTWISE:
            values = tuple(self.element(arg, _unbroadcast(index, arg.shape)) for arg in args)
            return self.let(f"cast_{node.dtype}" if op == "cast" else op, values, node.dtype)
        if op in REDUCTIONS:
            inner = list(index)
            return self._reduced(op, args[0], [(i, args[0].shape[i]) for i in node.attributes], inner, node.dtype)
        if op == "matmul":
            return self._product(node, index)
        arg = args[0]
        if op == "reshape":
            position = _flat(index, node.shape)
            if arg in lowering.buffer_of:
                return self.load(lowering.buffer_of[arg], position)
            return self.element(arg, self._unflat(position, arg))
        if op == "permute":
            source = [Index()] * len(index)
            for axis, i in zip(node.attributes, index, strict=True):
                source[axis] = i
            return self.element(arg, source)
        if op == "slice":
            starts, steps = node.attributes
            return self.element(arg, [i * step + start for i, start, step in zip(index, starts, steps, strict=True)])
        if op == "broadcast":
            return self.element(arg, _unbroadcast(index, arg.shape))
        assert op == "concat"
        (axis,), start = node.attributes, 0
        low, high = index[axis].bounds(self.extents)
        for part in args:
            stop = start + part.shape[axis]
            if start <= low and high < stop:
                return self.element(part, [i + -start if k == axis else i for k, i in enumerate(index)])
            start = stop
        raise _NeedsBuffer(node)

    def _constant(self, node: Node, index: Index) -> Value:
        values = self.lowering.constants[node.attributes[0]]
        low, high = index.bounds(self.extents)
        part = values[low : high + 1]
        if (part == part[0]).all():
            return bool(part[0]) if node.dtype == "bool" else float(part[0])
        name = f"c{node.number}"
        self.lowering.buffers[name] = Buffer(name, values.size, node.dtype, "constant", tuple(values.tolist()))
        return self.load(name, index)

    def _unflat(self, position: Index, node: Node) -> list[Index]:
        """Return the index of an element from its position in C order."""
        index: list[Index] = []
        for n in node.shape[:0:-1]:
            both = position.divmod(n, self.extents)
            if both is None:
                raise _NeedsBuffer(node)
            position, rest = both
            index.insert(0, rest)
        return [position, *index][: len(node.shape)]

    def _reduced(self, op: str, arg: Node, axes: list[tuple[int, int]], index: list[Index], dtype: str) -> Value:
        variables = []
        for axis, extent in axes:
            variable = self.lowering.name("", "r")
            variables.append((variable, extent))
            index[axis] = Index(((variable, 1),))
        return self._reduction(op, variables, dtype, lambda: self.element(arg, index))

    def _product(self, node: Node, index: Sequence[Index]) -> Value:
        a, b = node.args
        variable = self.lowering.name("", "r")
        k = Index(((variable, 1),))

        def term() -> Value:
            return self.let("multiply", (self.element(a, [index[0], k]), self.element(b, [k, index[1]])), node.dtype)

        return self._reduction("sum", [(variable, a.shape[1])], node.dtype, term)

    def _reduction(self, op: str, variables: list[tuple[str, int]], dtype: str, term: Any) -> Value:
        assert self.inside is None, "reductions must not be nested: each has a buffer"
        self.inside, inner = [], self.depth + 1
        for variable, extent in variables:
            self.level_of[variable], self.extents[variable] = inner, extent
        value = term()
        body, self.inside = tuple(self.inside), None
        name = self.lowering.name(dtype)
        self.level_of[name] = self.depth
        self.at[self.depth].append(Reduce(name, op, tuple(variables), body, value))
        return name


def _is_costly(node: Node, chosen: set[Node]) -> bool:
    """Return whether computing an element takes clearly longer than reading it from a buffer."""
    seen: set[Node] = set()
    todo, cost = [node], 0
    while todo:
        each = todo.pop()
        if each not in seen and (each is node or each not in chosen):
            seen.add(each)
            if each.op in POINTWISE:
                cost += 1 if each.op in CHEAP else 100
            todo += each.args
    # A single number is computed once for each nest.
    return cost > (4 if math.prod(node.shape) > 1 else 20)


def _reachable(nodes: Any) -> list[Node]:
    seen: set[Node] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += node.args
    return sorted(seen, key=lambda node: node.number)


def _uses(node: Node, readers: Mapping[Node, list[Node]]) -> list[Node]:
    """Return the nodes that read an array, directly or through views."""
    found = []
    for reader in readers[node]:
        found += _uses(reader, readers) if reader.op in VIEWS else [reader]
    return found


def _is_larger(use: Node, node: Node) -> bool:
    return use.op != "concat" and math.prod(use.shape) > math.prod(node.shape)


def _is_pointwise(reader: Node, node: Node) -> bool:
    return reader.op in POINTWISE and reader.shape == node.shape


def _flat(index: Sequence[Index], shape: Shape) -> Index:
    position = Index()
    for i, n in zip(index, shape, strict=True):
        position = position * n + i
    return position


def _unbroadcast(index: Sequence[Index], shape: Shape) -> list[Index]:
    return [i if n > 1 else Index() for i, n in zip(list(index)[len(index) - len(shape) :], shape, strict=True)]


def _simplified(op: str, args: tuple[Value, ...]) -> Value | None:
    """Return the result of an operation if it needs no statement, else None."""
    match op, args:
        case "where", (bool(condition), x1, x2):
            return x1 if condition else x2
        case "add" | "subtract", (x, 0.0) if not isinstance(x, bool):
            return x
        case "add", (0.0, x):
            return x
        case "multiply" | "divide", (x, 1.0):
            return x
        case "multiply", (1.0, x):
            return x
        case "negative", (float(x),):
            return -x
        case (("add" | "subtract" | "multiply" | "divide" as name), (float(x), float(y))) if name != "divide" or y:
            return {"add": x + y, "subtract": x - y, "multiply": x * y, "divide": x / (y or 1.0)}[name]
    return None
