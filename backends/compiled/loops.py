"""The intermediate representation of a step: loops that are independent of the language they are printed in.

A `Program` is a list of `Nest`, executed in order for each step. A nest consists of nested loops, with statements
before each loop and in the innermost. Statements compute single numbers, load them from a `Buffer`, store them there,
or reduce them. Every buffer is flat; its positions are affine functions of the loop variables (`Index`). A program
describes one network; the printer decides how many networks are computed in parallel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

BYTES = {"float64": 8, "float32": 4, "bool": 1, "uint64": 8, "uint32": 4}
"""The sizes of numbers."""


class Index(NamedTuple):
    """An affine function of loop variables: the sum of ``factor · variable`` over the terms, and a constant."""

    terms: tuple[tuple[str, int], ...] = ()
    constant: int = 0

    def __add__(self, other: Index | int) -> Index:  # type: ignore[override]
        if isinstance(other, int):
            return Index(self.terms, self.constant + other)
        factors = dict(self.terms)
        for variable, factor in other.terms:
            factors[variable] = factors.get(variable, 0) + factor
        return Index(tuple(sorted((v, f) for v, f in factors.items() if f)), self.constant + other.constant)

    def __mul__(self, factor: int) -> Index:  # type: ignore[override]
        return Index(tuple((v, f * factor) for v, f in self.terms if f * factor), self.constant * factor)

    def bounds(self, extents: Mapping[str, int]) -> tuple[int, int]:
        """Return the minimum and the maximum."""
        ends = [(factor * (extents[v] - 1), 0) for v, factor in self.terms]
        return self.constant + sum(map(min, ends)), self.constant + sum(map(max, ends))

    def divmod(self, divisor: int, extents: Mapping[str, int]) -> tuple[Index, Index] | None:
        """Return quotient and remainder, or None if they are not affine functions."""
        whole = Index(tuple((v, f // divisor) for v, f in self.terms if f % divisor == 0), self.constant // divisor)
        rest = Index(tuple((v, f) for v, f in self.terms if f % divisor), self.constant % divisor)
        low, high = rest.bounds(extents)
        return (whole, rest) if low >= 0 and high < divisor else None

    def replaced(self, variable: str, factor: int, constant: int) -> Index:
        """Return the same function with ``factor · variable + constant`` in place of a variable."""
        own = dict(self.terms).get(variable, 0)
        terms = tuple((v, f * factor if v == variable else f) for v, f in self.terms)
        return Index(terms, self.constant + own * constant)

    def renamed(self, names: Mapping[str, str]) -> Index:
        """Return the same function of variables with other names."""
        return Index(tuple(sorted((names.get(v, v), f) for v, f in self.terms)), self.constant)

    def __str__(self) -> str:
        terms = [variable if factor == 1 else f"{factor}*{variable}" for variable, factor in self.terms]
        return " + ".join([*terms, *[str(self.constant)] * bool(self.constant or not terms)])


@dataclass(frozen=True)
class Buffer:
    """A flat array of numbers.

    Attributes
    ----------
    name : str
        The name.
    size : int
        The number of elements for one network; of ``"sample"`` and ``"mask"`` buffers, for one sample.
    dtype : str
        ``"float64"``, ``"float32"`` or ``"bool"``.
    kind : str
        ``"state"`` (carried from step to step), ``"sample"`` (indexed by sample), ``"mask"`` (indexed by position in
        the epoch), ``"rate"`` (one number for a network or a step), ``"fixed"`` (the same in all steps of a network),
        ``"constant"``, ``"scratch"``, or ``"result"`` (what the caller reads).
    values : tuple
        The values of a constant; of a mask, the number of the first pair of its random words in a row, and the smallest
        word that keeps a unit.
    """

    name: str
    size: int
    dtype: str
    kind: str
    values: tuple[float, ...] = ()


Value: TypeAlias = "str | float | bool"
"""The name of a number that was computed before, or a literal number."""


class Load(NamedTuple):
    """``name = buffer[position]``."""

    name: str
    buffer: str
    position: Index


class Let(NamedTuple):
    """``name = op(args)``."""

    name: str
    op: str
    args: tuple[Value, ...]


class Store(NamedTuple):
    """``buffer[position] = value``."""

    buffer: str
    position: Index
    value: Value


class Reduce(NamedTuple):
    """``name = op(value)`` over the loops of `variables`, where op is one of `recorder.REDUCTIONS`."""

    name: str
    op: str
    variables: tuple[tuple[str, int], ...]
    body: tuple[Load | Let, ...]
    value: Value


class Matrix(NamedTuple):
    """A matrix in a buffer, in C order, or its transpose."""

    buffer: str
    start: int
    shape: tuple[int, int]
    transposed: bool

    def __str__(self) -> str:
        rows, columns = self.shape
        return f"{self.buffer}[{self.start}:].reshape({rows}, {columns}){'.T' * self.transposed}"


class Product(NamedTuple):
    """``out = a @ b``, computed by BLAS."""

    out: Matrix
    a: Matrix
    b: Matrix

    def accesses(self) -> Iterator[tuple[Load | Store, dict[str, int]]]:
        """Yield every load and store, as `Nest.accesses` does."""
        for matrix, access in ((self.a, Load), (self.b, Load), (self.out, Store)):
            index = Index((("i", 1),), matrix.start)
            extents = {"i": matrix.shape[0] * matrix.shape[1]}
            yield (Load("", matrix.buffer, index) if access is Load else Store(matrix.buffer, index, "")), extents

    def __str__(self) -> str:
        return f"{self.out} = {self.a} @ {self.b}"


Statement: TypeAlias = Load | Let | Store | Reduce


def names_read(statement: Statement) -> set[str]:
    """Return the names of the numbers that a statement reads."""
    match statement:
        case Store(_, _, value):
            return {value} if isinstance(value, str) else set()
        case Let(_, _, args):
            return {arg for arg in args if isinstance(arg, str)}
        case Reduce(_, _, _, body, value):
            inside = {each.name for each in body}
            read = {arg for each in body if isinstance(each, Let) for arg in each.args if isinstance(arg, str)}
            return (read | ({value} if isinstance(value, str) else set())) - inside
    return set()


@dataclass
class Nest:
    """Nested loops.

    Attributes
    ----------
    variables : tuple of (name, extent)
        The loops, outermost first.
    at : list of lists of Statement
        ``at[l]`` are the statements before loop l, inside the loops 0 to l − 1; the last list is inside all loops.
    """

    variables: tuple[tuple[str, int], ...]
    at: list[list[Statement]] = field(default_factory=list)

    def statements(self) -> Iterator[Statement]:
        """Yield all statements, except those inside reductions."""
        for statements in self.at:
            yield from statements

    def accesses(self) -> Iterator[tuple[Load | Store, dict[str, int]]]:
        """Yield every load and store, with the extents of the loops around it."""
        extents = dict(self.variables)
        for statement in self.statements():
            if isinstance(statement, Reduce):
                inner = extents | dict(statement.variables)
                yield from ((each, inner) for each in statement.body if isinstance(each, Load))
            elif isinstance(statement, (Load, Store)):
                yield statement, extents


@dataclass
class Program:
    """The computations of one step of one network.

    Attributes
    ----------
    buffers : dict of str to Buffer
        All arrays, by name.
    nests : list of Nest or Product
        The computations, in execution order.
    types : dict of str to str
        The type of every number that a statement names.
    """

    buffers: dict[str, Buffer]
    nests: list[Nest | Product]
    types: dict[str, str]

    def operand_type(self, let: Let) -> str:
        """Return the type of the operands of a function; of `where`, that of the two numbers."""
        args = let.args[1:] if let.op == "where" else let.args
        return next((self.types[arg] for arg in args if isinstance(arg, str)), self.types[let.name])

    def __str__(self) -> str:
        lines = []
        for buffer in self.buffers.values():
            lines.append(f"{buffer.kind:8} {buffer.name}[{buffer.size}] {buffer.dtype}")
        for nest in self.nests:
            lines.append("")
            lines += [str(nest)] if isinstance(nest, Product) else _text_of(nest)
        return "\n".join(lines)


def _text_of(nest: Nest) -> list[str]:
    lines, indent = [], ""
    for level, statements in enumerate(nest.at):
        lines += [indent + line for statement in statements for line in _lines(statement)]
        if level < len(nest.variables):
            variable, extent = nest.variables[level]
            lines.append(f"{indent}for {variable} in range({extent}):")
            indent += "    "
    return lines


INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
    "logical_and": "and",
    "logical_or": "or",
}


def _lines(statement: Statement) -> list[str]:
    match statement:
        case Load(name, buffer, index):
            return [f"{name} = {buffer}[{index}]"]
        case Store(buffer, index, value):
            return [f"{buffer}[{index}] = {value}"]
        case Let(name, op, args) if op in INFIX:
            return [f"{name} = {args[0]} {INFIX[op]} {args[1]}"]
        case Let(name, op, args):
            return [f"{name} = {op}({', '.join(map(str, args))})"]
        case Reduce(name, op, variables, body, value):
            loops = ", ".join(f"{variable} in range({extent})" for variable, extent in variables)
            return [
                f"{name} = {op} over {loops}:",
                *(f"    {line}" for inner in body for line in _lines(inner)),
                f"    {value}",
            ]
