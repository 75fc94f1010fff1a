"""From loops to Python text that Numba compiles: a whole epoch, of one network after the other or of 64 side by side.

`source` prints a module with one function ``kernel``. In it every buffer is a local array. With lanes, a buffer that
differs between networks has a second axis of 64 lanes, a constant, and whatever depends on such a buffer is computed in
an innermost loop over them, which vectorises. A number that is needed after its lane loop has ended is kept in an array
of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xpnet.backends.compiled.loops import (
    INFIX,
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

LANES = 64
"""Networks side by side in a block."""

UNROLLED = 16
"""A reduction of at most so many terms is written out; a longer one is a loop over chunks of `CHUNK` terms."""
CHUNK = 8


class Layout(NamedTuple):
    """How the arrays that a kernel gets are shared among the networks.

    Attributes
    ----------
    batch_size : int
        The samples of a step.
    lanes : bool
        Whether networks run side by side.
    ordered : bool
        Whether the samples are taken in an order.
    own : frozenset of str
        The arrays that have something for each network; the others have an axis of length 1.
    """

    batch_size: int
    lanes: bool
    ordered: bool
    own: frozenset[str]


def arguments(program: Program) -> list[str]:
    """Return the names of a kernel's arguments: the first and the last network and step, and the arrays."""
    kinds = ("sample", "mask", "rate", "state", "constant")
    arrays = [buffer.name for kind in kinds for buffer in program.buffers.values() if buffer.kind == kind]
    return ["first", "last", "begin", "end", "order", *arrays, "loss", "share"]


def source(program: Program, layout: Layout) -> str:
    """Return the text of a Python module with the kernel of a program."""
    return _Printer(program, layout).module()


@dataclass
class _Printer:
    program: Program
    layout: Layout
    lines: list[str] = field(default_factory=list)
    indent: int = 0
    constants: dict[tuple[str, str], str] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    integers: set[int] = field(default_factory=set)
    matrices: dict[Matrix, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layout = self.layout
        self.wide = {
            name
            for name, buffer in self.program.buffers.items()
            if layout.lanes
            and (
                buffer.kind in ("state", "scratch")
                or name in layout.own
                or (buffer.kind == "sample" and "order" in layout.own)
            )
        }
        self.kept: dict[str, int] = {}

    # ---- The module

    def module(self) -> str:
        program, layout = self.program, self.layout
        self.indent = 1
        for name, buffer in program.buffers.items():
            if buffer.kind != "constant":
                size = buffer.size * (layout.batch_size if buffer.kind in ("sample", "mask") else 1)
                self._line(f"{name}_ = np.empty({self._shape(name, size)}, np.{_numpy(buffer.dtype)})")
        body_of_allocation, self.lines = self.lines, []
        lanes = layout.lanes
        self.indent = 1
        if lanes:
            self._line("total = np.zeros(64)")
            self._line(f"for block in range(first, last, {LANES}):")
            self.indent += 1
            self._states(load=True)
            self._line("total[:] = 0.0")
        else:
            self._line("for network in range(first, last):")
            self.indent += 1
            self._states(load=True)
            self._line("total = 0.0")
        self._line("for step in range(begin, end):")
        self.indent += 1
        self._rates()
        self._samples()
        for nest in program.nests:
            if isinstance(nest, Product):
                a, b, out = map(self._matrix, (nest.a, nest.b, nest.out))
                self._line(f"np.dot({a}, {b}, {out})")
            else:
                self._nest(nest)
        if lanes:
            self._line(self.loop("e", LANES))
            self._line("    total[e] = total[e] + np.float64(loss_[0, e]) * share")
        else:
            self._line("total = total + np.float64(loss_[0]) * share")
        self.indent -= 1
        self._states(load=False)
        if lanes:
            self._line(f"for e in range(min({LANES}, last - block)):")
            self._line("    loss[block + e] = loss[block + e] + total[e]")
        else:
            self._line("loss[network] = loss[network] + total")
        kept = [
            f"    {name} = np.empty({size}, np.{_numpy(program.types[name])})"
            for name, size in sorted(self.kept.items())
        ]
        views = [
            f"    {name} = {matrix.buffer}_[{matrix.start}:{matrix.start + math.prod(matrix.shape)}]"
            f".reshape({matrix.shape}){'.T' * matrix.transposed}"
            for matrix, name in self.matrices.items()
        ]
        head = ["import numpy as np", "from numba import njit", ""]
        if self.functions:
            head[2:2] = [f"from xpnet.backends.compiled.functions import {', '.join(sorted(self.functions))}"]
        head += [f"{name} = {text}" for (text, _), name in self.constants.items()]
        # Unsigned, since of a signed index the compiler would ask whether it counts from the end.
        head += [f"U{number} = np.uint64({number})" for number in sorted(self.integers)]
        flags = '{"arcp", "contract", "afn", "reassoc", "nsz"}'
        head += ["", f'@njit(fastmath={flags}, nogil=True, error_model="numpy", cache=True)']
        head += [f"def kernel({', '.join(arguments(program))}):"]
        return "\n".join([*head, *body_of_allocation, *kept, *views, *self.lines, ""])

    def _matrix(self, matrix: Matrix) -> str:
        return self.matrices.setdefault(matrix, f"m{len(self.matrices)}")

    def loop(self, variable: str, extent: int) -> str:
        """Return the head of a loop."""
        return f"for {variable} in range({self.whole(extent)}):"

    def whole(self, number: int) -> str:
        """Return a constant for a whole number."""
        self.integers.add(number)
        return f"U{number}"

    def index(self, index: Index, at: Mapping[str, str] | None = None) -> str:
        """Return an index, with some of its variables replaced by numbers or expressions."""
        constant = index.constant
        added: list[str] = []
        subtracted: list[str] = []
        for variable, factor in index.terms:
            place = (at or {}).get(variable, variable)
            if place.isdigit():
                constant += factor * int(place)
            else:
                parts = added if factor > 0 else subtracted
                parts.append(place if abs(factor) == 1 else f"{self.whole(abs(factor))}*{place}")
        added += [self.whole(constant)] * bool(constant or not added)
        return " - ".join([" + ".join(added), *subtracted])

    def _shape(self, name: str, size: int) -> str:
        return f"({size}, {LANES})" if name in self.wide else f"{size}"

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def _states(self, *, load: bool) -> None:
        for name, buffer in self.program.buffers.items():
            if buffer.kind != "state":
                continue
            if self.layout.lanes:
                # A block that is not full computes its last network several times.
                self._line(f"for e in range({LANES if load else f'min({LANES}, last - block)'}):")
                self._line(f"    {self.loop('i', buffer.size)}")
                if load:
                    self._line(f"        {name}_[i, e] = {name}[min(block + e, last - 1), i]")
                else:
                    self._line(f"        {name}[block + e, i] = {name}_[i, e]")
            else:
                self._line(self.loop("i", buffer.size))
                self._line(f"    {name}_[i] = {name}[network, i]" if load else f"    {name}[network, i] = {name}_[i]")

    def _network(self, name: str) -> str:
        if name not in self.layout.own:
            return "0"
        return "min(block + e, last - 1)" if self.layout.lanes else "network"

    def _rates(self) -> None:
        for name, buffer in self.program.buffers.items():
            if buffer.kind == "rate":
                place = f"{name}[min(step, {name}.shape[0] - 1), {self._network(name)}]"
                if name in self.wide:
                    self._line(self.loop("e", LANES))
                    self._line(f"    {name}_[0, e] = {place}")
                else:
                    self._line(f"{name}_[0] = {place}")

    def _samples(self) -> None:
        m = self.layout.batch_size
        for name, buffer in self.program.buffers.items():
            if buffer.kind not in ("sample", "mask"):
                continue
            self._line(self.loop("s", m))
            self.indent += 1
            row = f"step * {m} + np.int64(s)"
            if self.layout.ordered and buffer.kind == "sample":
                row = f"order[{self._network('order')}, {row}]"
            if name in self.wide:
                self._line(self.loop("e", LANES))
                self.indent += 1
            self._line(f"row = {row}")
            self._line(self.loop("i", buffer.size))
            lane = ", e" if name in self.wide else ""
            place = f"{self.whole(buffer.size)}*s + i{lane}"
            self._line(f"    {name}_[{place}] = {name}[{self._network(name)}, row, i]")
            self.indent -= 2 if name in self.wide else 1

    # ---- Statements

    def _nest(self, nest: Nest) -> None:
        if self.layout.lanes or _runs_along_rows(nest):
            _VectorNest(self, nest).print()
            return
        start = self.indent
        for level, statements in enumerate(nest.at):
            for statement in statements:
                self._scalar(statement)
            if level < len(nest.variables):
                variable, extent = nest.variables[level]
                self._line(self.loop(variable, extent))
                self.indent += 1
        self.indent = start

    def _scalar(self, statement: Statement) -> None:
        if not isinstance(statement, Reduce):
            self._line(self.text(statement))
            return
        dtype = self.program.types[statement.name]
        self._line(f"{statement.name} = {self.start(statement.op, dtype)}")
        for variable, extent in statement.variables:
            self._line(self.loop(variable, extent))
            self.indent += 1
        for each in statement.body:
            self._line(self.text(each))
        value = self.value(statement.value, dtype)
        self._line(f"{statement.name} = {self.combined(statement.op, statement.name, value)}")
        self.indent -= len(statement.variables)

    def text(
        self, statement: Load | Let | Store, names: Mapping[str, str] | None = None, at: Mapping[str, str] | None = None
    ) -> str:
        """Return a line for a statement, with some names replaced, and some variables by numbers."""

        def named(value: Value) -> Value:
            return (names or {}).get(value, value) if isinstance(value, str) else value

        match statement:
            case Load(name, buffer, index):
                return f"{named(name)} = {self.place(buffer, index, at)}"
            case Store(buffer, index, value):
                return (
                    f"{self.place(buffer, index, at)} = {self.value(named(value), self.program.buffers[buffer].dtype)}"
                )
            case Let(name, op, args):
                dtype = self._operand_type(op, args, self.program.types[name])
                values = [
                    self.value(named(arg), "bool" if op == "where" and i == 0 else dtype) for i, arg in enumerate(args)
                ]
                return f"{named(name)} = {self.operation(op, values, dtype)}"
        raise AssertionError(statement)

    def _operand_type(self, op: str, args: Sequence[Value], dtype: str) -> str:
        known = [self.program.types[arg] for arg in (args[1:] if op == "where" else args) if isinstance(arg, str)]
        return known[0] if known else dtype

    def place(self, buffer: str, index: Index, at: Mapping[str, str] | None = None) -> str:
        """Return an element of a local array."""
        text = self.index(index, at)
        array = buffer if self.program.buffers[buffer].kind == "constant" else f"{buffer}_"
        return f"{array}[{text}, e]" if buffer in self.wide else f"{array}[{text}]"

    def value(self, value: Value, dtype: str) -> str:
        """Return a name, or a number as a constant of its type."""
        if isinstance(value, str):
            return value
        if dtype == "bool":
            return str(bool(value))
        text = repr(float(value)) if math.isfinite(value) else f"np.{'nan' if value != value else 'inf'}"
        text = f"np.{dtype}({'-' if value == -math.inf else ''}{text})"
        return self.constants.setdefault((text, dtype), f"K{len(self.constants)}")

    def start(self, op: str, dtype: str) -> str:
        """Return what a reduction starts with."""
        if op in ("any", "all"):
            return str(op == "all")
        return self.value({"sum": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}[op], dtype)

    def combined(self, op: str, x: str, y: str) -> str:
        """Return what a reduction makes of two numbers."""
        if op in ("max", "min"):
            return self.operation("maximum" if op == "max" else "minimum", [x, y], "")
        return f"{x} {{}} {y}".format({"sum": "+", "prod": "*", "any": "|", "all": "&"}[op])

    def operation(self, op: str, args: Sequence[str], dtype: str) -> str:
        """Return an expression for an elementwise function."""
        x, *others = args
        y = others[0] if others else ""
        if op in ("logical_and", "logical_or"):
            return f"{x} {'&' if op == 'logical_and' else '|'} {y}"
        if op in INFIX:
            return f"{x} {INFIX[op]} {y}"
        if op in ("exp", "expm1", "log", "log1p", "tanh"):
            self.functions.add(f"{op}_{dtype}")
            return f"{op}_{dtype}({x})"
        if op in ("maximum", "minimum"):
            sign = ">" if op == "maximum" else "<"
            if y.startswith("K"):  # a number is not NaN
                return f"{y} if {y} {sign} {x} else {x}"
            return f"{y} if ({y} {sign} {x}) | ({y} != {y}) else {x}"
        zero, one = self.value(0.0, dtype), self.value(1.0, dtype)
        simple = {
            "negative": f"-{x}",
            "abs": f"abs({x})",
            "square": f"{x} * {x}",
            "reciprocal": f"{one} / {x}",
            "sign": f"{one} if {x} > {zero} else (-{one} if {x} < {zero} else {x})",
            "logical_not": f"not {x}",
            "isnan": f"{x} != {x}",
            "isfinite": f"{x} - {x} == {zero}",
            "isinf": f"({x} == {x}) & ({x} - {x} != {zero})",
            "where": f"{y} if {x} else {others[1] if len(others) > 1 else ''}",
            "pow": f"{x} ** {y}",
            "cast_bool": f"{x} != {zero}",
            "cast_float64": f"np.float64({x})",
            "cast_float32": f"np.float32({x})",
            "logaddexp": f"np.logaddexp({x}, {y})",
            "atan2": f"np.arctan2({x}, {y})",
        }
        if op in simple:
            return simple[op]
        names = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh"}
        names |= {"atanh": "arctanh", "round": "rint"}
        return f"np.{names.get(op, op)}({', '.join(args)})"


def _runs_along_rows(nest: Nest) -> bool:
    """Return whether the last loop of a nest goes along rows of what is reduced inside it, and so vectorises."""
    reductions = [each for each in nest.at[-1] if isinstance(each, Reduce)]
    if not reductions or nest.variables[-1:] == () or nest.variables[-1][1] < 4:
        return False
    last = nest.variables[-1][0]
    factors = [dict(each.place.terms).get(last, 0) for one in reductions for each in one.body if isinstance(each, Load)]
    return set(factors) <= {0, 1} and 1 in factors


class _VectorNest:
    """Prints one nest with its innermost loop inside all reductions: over the lanes, or else over its last variable."""

    def __init__(self, printer: _Printer, nest: Nest) -> None:
        self.printer, self.nest = printer, nest
        self.variable, self.extent = ("e", LANES) if printer.layout.lanes else nest.variables[-1]
        self.outer = nest.variables if printer.layout.lanes else nest.variables[:-1]
        # Every level is cut at its long reductions: each run of statements between them has a lane loop of its own.
        self.runs: list[tuple[int, list[Statement]]] = []
        for level, statements in enumerate(nest.at):
            run: list[Statement] = []
            for statement in statements:
                if isinstance(statement, Reduce) and self._terms(statement) > UNROLLED:
                    self.runs += [(level, run), (level, [statement])]
                    run = []
                else:
                    run.append(statement)
            self.runs.append((level, run))
        self.wide: set[str] = set()
        made: dict[str, int] = {}
        self.kept: set[str] = set()
        for number, (_, run) in enumerate(self.runs):
            for statement in run:
                read = _names_in(statement)
                wide = self._is_wide(statement)
                if wide and not isinstance(statement, Store):
                    self.wide.add(statement.name)
                    made[statement.name] = number
                self.kept |= {name for name in read & self.wide if made[name] != number}
            if len(run) == 1 and isinstance(run[0], Reduce) and self._terms(run[0]) > UNROLLED:
                self.kept.add(run[0].name)
        printer.kept |= {f"h{name}": self.extent for name in self.kept}
        printer.program.types.update({f"h{name}": printer.program.types[name] for name in self.kept})

    @staticmethod
    def _terms(statement: Reduce) -> int:
        return math.prod(extent for _, extent in statement.variables)

    def _is_wide(self, statement: Statement) -> bool:
        if isinstance(statement, Reduce):
            inside: set[str] = set()
            for each in statement.body:
                if self._touches(each) or (isinstance(each, Let) and set(each.args) & (self.wide | inside)):
                    inside.add(each.name)
            return bool(inside) or statement.value in self.wide
        return self._touches(statement) or bool(_names_in(statement) & self.wide)

    def _touches(self, statement: Statement) -> bool:
        """Return whether a statement loads or stores what differs along the innermost loop."""
        if not isinstance(statement, (Load, Store)):
            return False
        return statement.buffer in self.printer.wide or any(name == self.variable for name, _ in statement.place.terms)

    @property
    def loop(self) -> str:
        return self.printer.loop(self.variable, self.extent)

    def print(self) -> None:
        printer, start, level = self.printer, self.printer.indent, 0
        for number, (at, run) in enumerate(self.runs):
            while level < min(at, len(self.outer)):
                variable, extent = self.outer[level]
                printer._line(printer.loop(variable, extent))
                printer.indent += 1
                level += 1
            if len(run) == 1 and isinstance(run[0], Reduce) and self._terms(run[0]) > UNROLLED:
                self._long(run[0])
            elif run:
                self._run(run, number)
        printer.indent = start

    def _run(self, run: list[Statement], number: int) -> None:
        printer = self.printer
        same = [each for each in run if not isinstance(each, Store) and not self._is_wide(each)]
        for each in same:
            printer._scalar(each)
        wide = [each for each in run if each not in same]
        if not wide:
            return
        printer._line(self.loop)
        printer.indent += 1
        here: set[str] = set()
        for statement in wide:
            for name in sorted(_names_in(statement) & self.kept - here):
                printer._line(f"{name} = h{name}[{self.variable}]")
                here.add(name)
            if isinstance(statement, Reduce):
                self._short(statement)
            else:
                printer._line(printer.text(statement))
            if not isinstance(statement, Store):
                here.add(statement.name)
                if statement.name in self.kept:
                    printer._line(f"h{statement.name}[{self.variable}] = {statement.name}")
        printer.indent -= 1

    def _term(self, statement: Reduce, places: Mapping[str, str], number: str) -> str:
        """Print one term, and return its name."""
        names: dict[str, str] = {}
        for each in statement.body:
            names[each.name] = f"{each.name}_{number}"
            self.printer._line(self.printer.text(each, names, places))
        value = statement.value
        dtype = self.printer.program.types[statement.name]
        return self.printer.value(names.get(value, value) if isinstance(value, str) else value, dtype)

    def _all_terms(self, statement: Reduce) -> list[str]:
        places: list[dict[str, str]] = [{}]
        for variable, extent in statement.variables:
            places = [{**place, variable: str(k)} for place in places for k in range(extent)]
        return [self._term(statement, place, str(number)) for number, place in enumerate(places)]

    def _short(self, statement: Reduce) -> None:
        printer, name = self.printer, statement.name
        first, *others = self._all_terms(statement)
        printer._line(f"{name} = {first}")
        for term in others:
            printer._line(f"{name} = {printer.combined(statement.op, name, term)}")

    def _long(self, statement: Reduce) -> None:
        printer, name = self.printer, statement.name
        dtype = printer.program.types[name]
        *outer, (variable, extent) = statement.variables
        printer._line(self.loop)
        printer._line(f"    h{name}[{self.variable}] = {printer.start(statement.op, dtype)}")
        start = printer.indent
        for each, count in outer:
            printer._line(printer.loop(each, count))
            printer.indent += 1
        whole, left = divmod(extent, CHUNK)
        for count, base, loop in ((CHUNK, f"{variable}c", whole), (left, str(whole * CHUNK), 0)):
            if count == 0 or (count == CHUNK and not whole):
                continue
            inside = printer.indent
            if loop:
                printer._line(printer.loop(base, loop))
                printer.indent += 1
            printer._line(self.loop)
            printer.indent += 1
            for outside in sorted({arg for each in statement.body for arg in _names_in(each)} & self.kept):
                printer._line(f"{outside} = h{outside}[{self.variable}]")
            printer._line(f"{name} = h{name}[{self.variable}]")
            for k in range(count):
                place = f"({base}*{printer.whole(CHUNK)} + {printer.whole(k)})" if loop else str(int(base) + k)
                term = self._term(statement, {variable: place}, str(k))
                printer._line(f"{name} = {printer.combined(statement.op, name, term)}")
            printer._line(f"h{name}[{self.variable}] = {name}")
            printer.indent = inside
        printer.indent = start


def _names_in(statement: Statement) -> set[str]:
    """Return the numbers that a statement reads."""
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


def _numpy(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype
