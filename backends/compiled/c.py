"""A program as C99: its loops, and numbers and functions of the types of its buffers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy

from xpnet.backends.compiled.loops import (
    BYTES,
    INFIX,
    Buffer,
    Index,
    Let,
    Load,
    Nest,
    Product,
    Program,
    Reduce,
    Statement,
    Store,
    Value,
)
from xpnet.backends.compiled.places import Places

TYPES = {"float64": "double", "float32": "float", "bool": "bool"}

_FUNCTIONS = {"abs": "fabs", "round": "rint"}
"""The functions of the C library whose names differ from those of the standard; `rint` rounds halves to even."""


class CFunction(NamedTuple):
    """The parts of a C function, as lines.

    Attributes
    ----------
    headers : list of str
        The headers to include.
    tables : list of str
        The definitions of the constant arrays.
    body : list of str
        What is between the braces of the function.
    table_bytes, stack_bytes : int
        The sizes of the constant and of the local arrays.
    """

    headers: list[str]
    tables: list[str]
    body: list[str]
    table_bytes: int
    stack_bytes: int


def c_function(program: Program, constants: Mapping[str, Sequence[float]]) -> CFunction:
    """Return a program as a C function.

    Parameters
    ----------
    program : Program
        The program, without a `Product`.
    constants : mapping of str to sequence of float
        The values of buffers that become constant arrays, beside those of the kind ``"constant"``. The other buffers,
        except the scratch arrays, are arguments of the function.
    """
    values = dict(constants) | {name: each.values for name, each in program.buffers.items() if each.kind == "constant"}
    places: dict[str, Places] = {}
    starts: dict[str, int] = {}
    for name, buffer in program.buffers.items():
        if buffer.kind == "scratch":
            starts[name] = places.setdefault(buffer.dtype, Places(program)).place(name, buffer.size)

    def element(buffer: str, index: Index) -> str:
        if buffer in starts:
            return f"{TYPES[program.buffers[buffer].dtype]}_scratch[{index + starts[buffer]}]"
        return f"{buffer}[{index}]"

    lines = CLines(program, element)
    return CFunction(
        ["math.h", *["stdbool.h"] * ("bool" in program.types.values()), "stddef.h"],
        [line for name, numbers in values.items() for line in _table(program.buffers[name], numbers)],
        [f"    {TYPES[dtype]} {TYPES[dtype]}_scratch[{each.size}];" for dtype, each in places.items()]
        + [f"    {line}" for nest in program.nests for line in lines.nest(nest)],
        sum(len(numbers) * BYTES[program.buffers[name].dtype] for name, numbers in values.items()),
        sum(each.size * BYTES[dtype] for dtype, each in places.items()),
    )


def _table(buffer: Buffer, values: Sequence[float]) -> Iterator[str]:
    """Yield the definition of a constant array."""
    yield f"static const {TYPES[buffer.dtype]} {buffer.name}[{buffer.size}] = {{"
    for start in range(0, len(values), 5):
        numbers = (literal(value, buffer.dtype).strip("()") for value in values[start : start + 5])
        yield f"    {', '.join(numbers)},"
    yield "};"
    yield ""


def literal(value: float, dtype: str) -> str:
    """Return a number of a type as C; decimal digits that are read back to the same number."""
    if dtype == "bool":
        return str(bool(value)).lower()
    if not math.isfinite(value):
        text = "NAN" if value != value else "INFINITY"
    else:
        text = str(abs(numpy.dtype(dtype).type(value))) + "f" * (dtype == "float32")
    return f"(-{text})" if math.copysign(1.0, value) < 0.0 else text


class CLines:
    """Prints loops as lines of C. They need ``math.h``, ``stddef.h``, and for numbers of type bool ``stdbool.h``.

    Parameters
    ----------
    program : Program
        The program that the loops belong to.
    element : callable
        ``element(buffer, index)`` returns the expression for an element of a buffer. Index expressions of the type
        ``size_t`` are correct with negative factors, too, because it wraps around.
    index : str
        The type of loop variables.
    pragmas : sequence of str
        Lines before each loop.
    """

    def __init__(
        self,
        program: Program,
        element: Callable[[str, Index], str],
        index: str = "size_t",
        pragmas: Sequence[str] = (),
    ) -> None:
        self.program, self.element, self.index, self.pragmas = program, element, index, pragmas

    def nest(self, nest: Nest | Product) -> Iterator[str]:
        """Yield the lines of nested loops; there is no BLAS for a `Product`."""
        assert isinstance(nest, Nest)
        indent = ""
        for level, statements in enumerate(nest.at):
            for statement in statements:
                yield from (indent + line for line in self.statement(statement))
            if level < len(nest.variables):
                yield from (indent + line for line in self.loop(*nest.variables[level]))
                indent += "    "
        for level in reversed(range(len(nest.variables))):
            yield f"{'    ' * level}}}"

    def statement(self, statement: Statement) -> Iterator[str]:
        """Yield the lines of a statement."""
        types, buffers = self.program.types, self.program.buffers
        match statement:
            case Load(name, buffer, index):
                yield f"const {TYPES[types[name]]} {name} = {self.element(buffer, index)};"
            case Store(buffer, index, value):
                yield f"{self.element(buffer, index)} = {self.value(value, buffers[buffer].dtype)};"
            case Let(name, op, args):
                dtype = self.program.operand_type(statement)
                values = [self.value(arg, "bool" if op == "where" and i == 0 else dtype) for i, arg in enumerate(args)]
                yield f"const {TYPES[types[name]]} {name} = {_operation(op, values, dtype)};"
            case Reduce(name, _, variables, _, _):
                indent = ""
                yield f"{TYPES[types[name]]} {name} = {self.start(statement)};"
                for variable, extent in variables:
                    yield from (indent + line for line in self.loop(variable, extent))
                    indent += "    "
                yield from (indent + line for line in self.term(statement))
                for level in reversed(range(len(variables))):
                    yield f"{'    ' * level}}}"

    def start(self, reduce: Reduce) -> str:
        """Return the value of a reduction of no terms."""
        return literal(_START[reduce.op], self.program.types[reduce.name])

    def term(self, reduce: Reduce) -> Iterator[str]:
        """Yield the lines that add a term to a reduction."""
        for statement in reduce.body:
            yield from self.statement(statement)
        value = self.value(reduce.value, self.program.types[reduce.name])
        yield f"{reduce.name} = {self.combined(reduce, reduce.name, value)};"

    def combined(self, reduce: Reduce, x: str, y: str) -> str:
        """Return the expression for the reduction of two terms."""
        return _operation(_COMBINED[reduce.op], [x, y], self.program.types[reduce.name])

    def loop(self, variable: str, extent: int) -> list[str]:
        """Return the first lines of a loop."""
        return [*self.pragmas, f"for ({self.index} {variable} = 0; {variable} < {extent}; {variable}++) {{"]

    def value(self, value: Value, dtype: str) -> str:
        """Return a name, or a number of a type."""
        return value if isinstance(value, str) else literal(value, dtype)


_START = {"sum": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf, "any": False, "all": True}
_COMBINED = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}


def _operation(op: str, args: Sequence[str], dtype: str) -> str:
    """Return the expression for an elementwise function of numbers of a type."""
    x, *others = args
    y, z = (*others, "", "")[:2]
    zero, one = literal(0.0, dtype), literal(1.0, dtype)
    suffix = "f" * (dtype == "float32")
    infix = INFIX | {"logical_and": "&&", "logical_or": "||"}
    if op in infix:
        return f"{x} {infix[op]} {y}"
    expressions = {
        "negative": f"-{x}",
        "square": f"{x} * {x}",
        "reciprocal": f"{one} / {x}",
        "sign": f"{x} > {zero} ? {one} : ({x} < {zero} ? -{one} : {x})",
        # A NaN in either operand stays: fmax and fmin would return the other one.
        "maximum": f"({x} >= {y} || {x} != {x}) ? {x} : {y}",
        "minimum": f"({x} <= {y} || {x} != {x}) ? {x} : {y}",
        "logaddexp": f"{x} == {y} ? {x} + {literal(math.log(2.0), dtype)} : "
        f"fmax{suffix}({x}, {y}) + log1p{suffix}(exp{suffix}(-fabs{suffix}({x} - {y})))",
        "logical_not": f"!{x}",
        "where": f"{x} ? {y} : {z}",
        "cast_bool": f"{x} != {zero}",
        "cast_float64": f"(double){x}",
        "cast_float32": f"(float){x}",
    }
    if op in expressions:
        return expressions[op]
    if op in ("isnan", "isfinite", "isinf"):  # macros for all types
        suffix = ""
    return f"{_FUNCTIONS.get(op, op)}{suffix}({', '.join(args)})"
