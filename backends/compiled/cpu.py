"""Printing of loops as Python source for Numba: several steps, of one network after the other or of 64 in lanes.

`source` prints a module with one function ``kernel``, in which every buffer is a local array. With lanes, a buffer that
differs between networks has a second axis of 64 lanes, and what depends on such a buffer is computed in an innermost
loop over the lanes, which LLVM vectorizes because its length is a constant. A number that is used after its lane loop
is stored in a separate array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from xpnet.backends.compiled.fuse import jam
from xpnet.backends.compiled.loops import (
    BYTES,
    INFIX,
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
    names_read,
)
from xpnet.backends.compiled.places import Places
from xpnet.backends.compiled.recording import Layout

LANES = 64
"""The number of networks in a block, one for each lane."""

UNROLLED = 16
"""Reductions of up to this number of terms are inside the loop over the lanes, where LLVM unrolls them.

Of longer ones `CHUNK` terms are, and a loop over the chunks is outside.
"""
CHUNK = 8

ALIGNMENT = 64
"""The alignment of arrays in the working memory, in bytes: that of a cache line."""


def arguments(program: Program) -> list[str]:
    """Return the names of a kernel's arguments.

    They are ranges of networks and steps, the number of samples and the position of the first one in the epoch, the
    number of the first epoch and the number of epochs; then working memory and arrays; then the fraction of all samples
    in a batch.
    """
    kinds = ("sample", "rate", "fixed", "state", "constant")
    arrays = [buffer.name for kind in kinds for buffer in program.buffers.values() if buffer.kind == kind]
    ranges = ["first", "last", "begin", "end", "samples", "position", "epoch", "epochs"]
    return [*ranges, "memory", "order_key", "mask_key", *arrays, "finite", "loss", "loss_weight"]


class Source(NamedTuple):
    """The source of a Python module with a kernel, and the bytes of working memory that the kernel needs."""

    text: str
    memory: int


def source(program: Program, layout: Layout) -> Source:
    """Return the source of a Python module with the kernel of a program."""
    printer = _Printer(program, layout)
    return Source(printer.module(), printer.places.size)


@dataclass
class _Printer:
    program: Program
    layout: Layout
    lines: list[str] = field(default_factory=list)
    indent: int = 0
    constants: dict[tuple[str, str], str] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    random_functions: set[str] = field(default_factory=set)
    integers: set[int] = field(default_factory=set)
    matrices: dict[Matrix, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind_differs = {
            "state": True,
            "scratch": True,
            "result": True,
            "sample": "order_key" in self.layout.per_network,
            "mask": "mask_key" in self.layout.per_network,
        }
        self.varying = {
            name
            for name, buffer in self.program.buffers.items()
            if self.layout.lanes and (kind_differs.get(buffer.kind) or name in self.layout.per_network)
        }
        if self.layout.lanes:
            self.varying |= {"total", "finite"} | {"order_key", "mask_key"} & self.layout.per_network
        self.stored: dict[str, int] = {}
        self.places = Places(self.program, ALIGNMENT)

    def _buffers(self, *kinds: str) -> list[Buffer]:
        return [buffer for buffer in self.program.buffers.values() if buffer.kind in kinds]

    # ---- The module

    def module(self) -> str:
        """Return the source of the module."""
        program, lanes = self.program, self.layout.lanes
        self.indent = 1
        self._line(f"for network in range(first, last{f', {LANES}' * lanes}):")
        with self._indented():
            with self._each_lane("finite"):
                self._line(f"{self._at('finite', '0')} = finite[{self._network()}]")
            for buffer in self._buffers("fixed"):
                self._line(self.loop("i", buffer.size))
                with self._indented(), self._each_lane(buffer.name):
                    self._line(f"{self._at(buffer.name, 'i')} = {buffer.name}[{self._network(buffer.name)}, i]")
            self._load_states()
            self._line("for count in range(epochs):")
            with self._indented():
                self._begin_epoch()
                self._line("for step in range(begin, end):")
                with self._indented():
                    self._step()
                self._end_epoch()
            if lanes:
                self._copy_kept(to_arguments=True)
            self._for_each_network(f"finite[{self._network()}] = {self._at('finite', '0')}")
        body, self.lines, self.indent = self.lines, [], 1
        released = self._allocate()
        views = [
            f"    {name} = {matrix.buffer}_[{matrix.start}:{matrix.start + math.prod(matrix.shape)}]"
            f".reshape({matrix.shape}){'.T' * matrix.transposed}"
            for matrix, name in self.matrices.items()
        ]
        memory = {"allocate", "aligned", "release"} if lanes else set()
        header = ["import numpy as np", f"from numba import {'carray, ' * lanes}njit", ""]
        modules = {"functions": self.functions, "memory": memory, "random": self.random_functions}
        for module, functions in modules.items():
            if functions:
                header.insert(-1, f"from xpnet.backends.compiled.{module} import {', '.join(sorted(functions))}")
        header += [f"{name} = {text}" for (text, _), name in self.constants.items()]
        # Indices are unsigned: for a signed index, Numba would add a check for negative values.
        header += [f"U{number} = np.uint64({number})" for number in sorted(self.integers)]
        flags = '{"arcp", "contract", "afn", "reassoc", "nsz"}'
        header += ["", f'@njit(fastmath={flags}, nogil=True, error_model="numpy", cache=True)']
        header += [f"def kernel({', '.join(arguments(program))}):"]
        releases = [f"    release({name})" for name in released]
        return "\n".join([*header, *self.lines, *views, *body, *releases, ""])

    def _allocate(self) -> list[str]:
        """Print the local arrays. Return the names of those that must be released.

        Without lanes they are parts of the working memory, which the caller keeps, because new memory of many megabytes
        takes as long as a step. With lanes they are small, and do not overlap as far as the compiler knows.
        """
        m, layout, released = self.layout.batch_size, self.layout, []

        def array(name: str, dtype: str, *shape: int | str) -> None:
            if not layout.lanes:
                if dtype == "bool" or "samples" in shape:
                    self._line(f"{name} = np.empty(({', '.join(map(str, shape))},), np.{_numpy(dtype)})")
                    return
                size = math.prod(map(int, shape)) * BYTES[dtype]
                start = self.places.place(name.removesuffix("_"), size)
                reshaped = f".reshape(({', '.join(map(str, shape))}))" if len(shape) > 1 else ""
                self._line(f"{name} = memory[{start}:{start + size}].view(np.{dtype}){reshaped}")
                return
            product = " * ".join(map(str, (*shape, BYTES[dtype])))
            self._line(f"{name}_memory = allocate({product})")
            self._line(f"{name} = carray(aligned({name}_memory), ({', '.join(map(str, shape))},), np.{_numpy(dtype)})")
            released.append(f"{name}_memory")

        def lanes(name: str) -> tuple[int, ...]:
            return (LANES,) if name in self.varying else ()

        for buffer in self._buffers("sample", "mask", "rate", "fixed", "state", "scratch", "result"):
            size = buffer.size * (m if buffer.kind in ("sample", "mask") else 1)
            array(f"{buffer.name}_", buffer.dtype, size, *lanes(buffer.name))
            if buffer.kind == "state" and layout.lanes:
                array(f"{buffer.name}_kept", buffer.dtype, size, LANES)
        array("total_", "float64", 1, *lanes("total"))
        array("finite_", "bool", 1, *lanes("finite"))
        if layout.shuffled:
            if not layout.given:
                array("order_key_", "uint64", 2, *lanes("order_key"))
            array("order_", "uint32", "samples", *lanes("order_key"))
        if self._buffers("mask"):
            array("mask_key_", "uint64", 2, *lanes("mask_key"))
            for mask in self._buffers("mask"):
                array(f"{mask.name}_words", "uint64", 2, -(-mask.size // 2), *lanes("mask_key"))
        for name, size in sorted(self.stored.items()):
            array(name, self.program.types[name], size)
        return released

    def _load_states(self) -> None:
        if self.layout.lanes:
            self._copy_kept()
        for buffer in self._buffers("state"):
            self._line(self.loop("i", buffer.size))
            with self._indented(), self._each_lane(buffer.name):
                self._line(f"{self._at(buffer.name, 'i')} = {self._kept(buffer.name)}")

    def _begin_epoch(self) -> None:
        with self._each_lane("total"):
            # What earlier calls for a part of the epoch have added: in this order, the sum is the same for any parts.
            self._line(f"{self._at('total', '0')} = loss[count, {self._network()}]")
        layout = self.layout
        for name, used in (
            ("order_key", layout.shuffled and not layout.given),
            ("mask_key", bool(self._buffers("mask"))),
        ):
            if used:
                network = self._network(name)
                with self._each_lane(name):
                    self._line(f"{self._at(name, '0')} = {name}[{network}, 0]")
                    word = f"{name}[{network}, 1] + np.uint64(epoch + count)"
                    self._line(f"{self._at(name, '1')} = ({word}) & np.uint64({2**32 - 1})")
        if layout.given:
            self._line("for i in range(samples):")
            with self._indented(), self._each_lane("order_key"):
                row = f"np.uint32(order_key[{self._network('order_key')}, i])"
                self._line(f"{self._at('order', 'i', 'order_key')} = {row}")
        elif layout.shuffled:
            self._line(f"{self._random('permutation', 'order_key')}(order_key_, order_)")

    def _step(self) -> None:
        m = self.layout.batch_size
        if self.layout.padded:
            self._line(f"valid = min(samples - step * {m}, {m})")
        self._rates()
        self._samples()
        self._masks()
        for nest in self.program.nests:
            if isinstance(nest, Product):
                a, b, out = map(self._matrix, (nest.a, nest.b, nest.out))
                self._line(f"np.dot({a}, {b}, {out})")
            else:
                self._nest(nest)
        weight = f"loss_weight * valid / {m}" if self.layout.padded else "loss_weight"
        with self._each_lane("total"):
            total = self._at("total", "0")
            self._line(f"{total} = {total} + np.float64({self._at('loss', '0')}) * ({weight})")

    def _end_epoch(self) -> None:
        """Keep the state if all numbers are finite; a network stays as it was before the first epoch that is not."""
        finite, total = self._at("finite", "0"), self._at("total", "0")
        with self._each_lane("finite"):
            largest = f"np.float64(np.finfo(np.{self.program.buffers['loss'].dtype}).max)"
            self._line(f"{finite} = {finite} & (abs({total}) <= {self._constant(largest, 'float64')})")
        for buffer in self._buffers("state"):
            if buffer.dtype == "bool":
                continue
            value, zero = self._at(buffer.name, "i"), self.value(0.0, buffer.dtype)
            if self.layout.lanes:
                self._line(self.loop("i", buffer.size))
                with self._indented(), self._each_lane(buffer.name):
                    self._line(f"{finite} = {finite} & (abs({value}) < {self.value(math.inf, buffer.dtype)})")
            else:  # 0 times infinity is NaN, and a sum runs in vector registers
                self._line(f"zeros = {zero}")
                self._line(self.loop("i", buffer.size))
                self._line(f"    zeros = zeros + {value} * {zero}")
                self._line(f"{finite} = {finite} & (zeros == {zero})")
        for buffer in self._buffers("state"):
            kept, value = self._kept(buffer.name), self._at(buffer.name, "i")
            if not self.layout.lanes:
                self._line(f"for i in range({self.whole(buffer.size)} if {finite} else {self.whole(0)}):")
                self._line(f"    {kept} = {value}")
                continue
            self._line(self.loop("i", buffer.size))
            with self._indented(), self._each_lane(buffer.name):
                self._line(f"{kept} = {value} if {finite} else {kept}")
        self._for_each_network(f"loss[count, {self._network()}] = {total} if {finite} else np.nan")

    def _copy_kept(self, *, to_arguments: bool = False) -> None:
        """Copy the kept states of the networks in lanes from the arguments, or back to them."""
        for buffer in self._buffers("state"):
            # The last network fills the unused lanes of the last block.
            self._line(f"for e in range({f'min({LANES}, last - network)' if to_arguments else LANES}):")
            with self._indented():
                self._line(self.loop("i", buffer.size))
                kept, argument = self._kept(buffer.name), f"{buffer.name}[{self._network()}, i]"
                self._line(f"    {argument} = {kept}" if to_arguments else f"    {kept} = {argument}")

    def _rates(self) -> None:
        steps = f"((samples + {self.layout.batch_size - 1}) // {self.layout.batch_size})"
        for buffer in self._buffers("rate"):
            name = buffer.name
            with self._each_lane(name):
                row = f"min(count * {steps} + step, {name}.shape[0] - 1)"
                self._line(f"{self._at(name, '0')} = {name}[{row}, {self._network(name)}]")

    def _samples(self) -> None:
        m, padded = self.layout.batch_size, self.layout.padded
        for buffer in self._buffers("sample"):
            name = buffer.name
            self._line(self.loop("s", m))
            with self._indented(), self._each_lane(name):
                place = f"step * {m} + np.int64(s)"
                place = f"min({place}, samples - 1)" if padded else place
                self._line(f"row = {self._at('order', place, 'order_key') if self.layout.shuffled else place}")
                self._line(self.loop("i", buffer.size))
                value = f"{name}[{self._network(name)}, row, i]"
                if padded and name == "weight":
                    zero = self.value(0.0, buffer.dtype)
                    scale = "" if "alpha" in self.program.buffers else f" * np.{buffer.dtype}({m} / valid)"
                    value = f"{value}{scale} if np.int64(s) < valid else {zero}"
                self._line(f"    {self._at(name, f'{self.whole(buffer.size)}*s + i')} = {value}")

    def _masks(self) -> None:
        masks, m = self._buffers("mask"), self.layout.batch_size
        if not masks:
            return
        self._line(self.loop("s", m))
        with self._indented():
            row, draw = f"np.uint64(position + step * {m} + np.int64(s))", self._random("random_words", "mask_key")
            for mask in masks:
                first, least = map(int, mask.values)
                self._line(f"{draw}(mask_key_, {row}, np.uint64({first}), {mask.name}_words)")
                self._line(self.loop("i", mask.size))
                with self._indented(), self._each_lane(mask.name):
                    lane = ", e" if mask.name in self.varying else ""
                    word = f"{mask.name}_words[i % {self.whole(2)}, i // {self.whole(2)}{lane}]"
                    place = f"{self.whole(mask.size)}*s + i"
                    self._line(f"{self._at(mask.name, place)} = {word} >= np.uint64({least})")

    # ---- Pieces of text

    @contextmanager
    def _indented(self) -> Iterator[None]:
        self.indent += 1
        yield
        self.indent -= 1

    @contextmanager
    def _each_lane(self, name: str) -> Iterator[None]:
        """Print what follows inside a loop over the lanes, if a buffer differs between networks in lanes."""
        if name not in self.varying:
            yield
            return
        self._line(self.loop("e", LANES))
        with self._indented():
            yield

    def _for_each_network(self, line: str) -> None:
        """Print an assignment to an argument, which the lanes that are filled up must not repeat."""
        if self.layout.lanes:
            self._line(f"for e in range(min({LANES}, last - network)):")
        with self._indented() if self.layout.lanes else nullcontext():
            self._line(line)

    def _at(self, name: str, position: str, like: str | None = None) -> str:
        """Return the expression for an element of a local array, which has lanes like that of another name."""
        return f"{name}_[{position}, e]" if (like or name) in self.varying else f"{name}_[{position}]"

    def _kept(self, name: str) -> str:
        """Return the expression for element i of the state before the epoch; without lanes, of the argument."""
        return f"{name}_kept[i, e]" if self.layout.lanes else f"{name}[network, i]"

    def _network(self, name: str | None = None) -> str:
        """Return the index of the network in an argument."""
        if name is not None and name not in self.layout.per_network:
            return "0"
        return "min(network + e, last - 1)" if self.layout.lanes else "network"

    def _random(self, function: str, key: str) -> str:
        name = f"{function}_in_lanes" if key in self.varying else function
        self.random_functions.add(name)
        return name

    def _constant(self, text: str, dtype: str) -> str:
        return self.constants.setdefault((text, dtype), f"K{len(self.constants)}")

    def _matrix(self, matrix: Matrix) -> str:
        return self.matrices.setdefault(matrix, f"m{len(self.matrices)}")

    def loop(self, variable: str, extent: int) -> str:
        """Return the first line of a loop."""
        return f"for {variable} in range({self.whole(extent)}):"

    def whole(self, number: int) -> str:
        """Return the name of the constant for an integer."""
        self.integers.add(number)
        return f"U{number}"

    def index(self, index: Index, at: Mapping[str, str] | None = None) -> str:
        """Return an index expression, in which `at` replaces variables by expressions."""
        added: list[str] = []
        subtracted: list[str] = []
        for variable, factor in index.terms:
            position = (at or {}).get(variable, variable)
            parts = added if factor > 0 else subtracted
            parts.append(position if abs(factor) == 1 else f"{self.whole(abs(factor))}*{position}")
        added += [self.whole(index.constant)] * bool(index.constant or not added)
        return " - ".join([" + ".join(added), *subtracted])

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    # ---- Statements

    def _nest(self, nest: Nest) -> None:
        if self.layout.lanes:
            _VectorNest(self, jam(nest, self.program.types)).print()
            return
        if _runs_along_rows(nest):
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

    def text(self, statement: Load | Let | Store, at: Mapping[str, str] | None = None) -> str:
        """Return a statement as a line, in which `at` replaces loop variables."""
        match statement:
            case Load(name, buffer, index):
                return f"{name} = {self.position(buffer, index, at)}"
            case Store(buffer, index, value):
                dtype = self.program.buffers[buffer].dtype
                return f"{self.position(buffer, index, at)} = {self.value(value, dtype)}"
            case Let(name, op, args):
                dtype = self.program.operand_type(statement)
                values = [self.value(arg, "bool" if op == "where" and i == 0 else dtype) for i, arg in enumerate(args)]
                return f"{name} = {self.operation(op, values, dtype)}"
        raise AssertionError(statement)

    def position(self, buffer: str, index: Index, at: Mapping[str, str] | None = None) -> str:
        """Return the expression for an element of a local array."""
        text = self.index(index, at)
        array = buffer if self.program.buffers[buffer].kind == "constant" else f"{buffer}_"
        return f"{array}[{text}, e]" if buffer in self.varying else f"{array}[{text}]"

    def value(self, value: Value, dtype: str) -> str:
        """Return a name, or the name of the constant for a number of a type."""
        if isinstance(value, str):
            return value
        if dtype == "bool":
            return str(bool(value))
        text = repr(float(value)) if math.isfinite(value) else f"np.{'nan' if value != value else 'inf'}"
        return self._constant(f"np.{dtype}({'-' if value == -math.inf else ''}{text})", dtype)

    def start(self, op: str, dtype: str) -> str:
        """Return the initial value of a reduction."""
        if op in ("any", "all"):
            return str(op == "all")
        return self.value({"sum": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}[op], dtype)

    def combined(self, op: str, x: str, y: str) -> str:
        """Return the expression with which a reduction combines two numbers."""
        if op in ("max", "min"):
            return self.operation("maximum" if op == "max" else "minimum", [x, y], "")
        return f"{x} {{}} {y}".format({"sum": "+", "prod": "*", "any": "|", "all": "&"}[op])

    def operation(self, op: str, args: Sequence[str], dtype: str) -> str:
        """Return the expression for an elementwise function."""
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
            if y.startswith("K"):  # constants are not NaN
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
    """Return whether the last loop of a nest reads what it reduces with stride 1 or 0, so that it can be vectorized."""
    reductions = [each for each in nest.at[-1] if isinstance(each, Reduce)]
    if not reductions or nest.variables[-1:] == () or nest.variables[-1][1] < 4:
        return False
    last = nest.variables[-1][0]
    factors = [
        dict(each.position.terms).get(last, 0) for one in reductions for each in one.body if isinstance(each, Load)
    ]
    return set(factors) <= {0, 1} and 1 in factors


class _VectorNest:
    """Prints a nest whose loop over the lanes, or else over its last variable, is inside all reductions."""

    def __init__(self, printer: _Printer, nest: Nest) -> None:
        self.printer, self.nest = printer, nest
        self.variable, self.extent = ("e", LANES) if printer.layout.lanes else nest.variables[-1]
        self.outer = nest.variables if printer.layout.lanes else nest.variables[:-1]
        # Long reductions divide a level into runs of statements; each run has a separate innermost loop.
        self.runs: list[tuple[int, list[Statement]]] = []
        for level, statements in enumerate(nest.at):
            run: list[Statement] = []
            for statement in statements:
                if run and (self._is_long(run[-1]) or self._is_long(statement)) and not _alike(run[-1], statement):
                    self.runs.append((level, run))
                    run = []
                run.append(statement)
            self.runs.append((level, run))
        self.varying: set[str] = set()
        defined_in: dict[str, int] = {}
        self.stored: set[str] = set()
        for number, (_, run) in enumerate(self.runs):
            for statement in run:
                read = names_read(statement)
                varying = self._varies(statement)
                if varying and not isinstance(statement, Store):
                    self.varying.add(statement.name)
                    defined_in[statement.name] = number
                self.stored |= {name for name in read & self.varying if defined_in[name] != number}
                if isinstance(statement, Reduce) and self._is_long(statement):
                    self.stored.add(statement.name)
        printer.stored |= {f"h{name}": self.extent for name in self.stored}
        printer.program.types.update({f"h{name}": printer.program.types[name] for name in self.stored})

    @staticmethod
    def _is_long(statement: Statement) -> bool:
        """Return whether a statement is a reduction of too many terms to be unrolled."""
        return isinstance(statement, Reduce) and math.prod(extent for _, extent in statement.variables) > UNROLLED

    def _varies(self, statement: Statement) -> bool:
        """Return whether a statement depends on the variable of the innermost loop."""
        if isinstance(statement, Reduce):
            inside: set[str] = set()
            for each in statement.body:
                if self._touches(each) or (isinstance(each, Let) and set(each.args) & (self.varying | inside)):
                    inside.add(each.name)
            return bool(inside) or statement.value in self.varying
        return self._touches(statement) or bool(names_read(statement) & self.varying)

    def _touches(self, statement: Statement) -> bool:
        """Return whether a statement accesses a buffer at positions that differ along the innermost loop."""
        if not isinstance(statement, (Load, Store)):
            return False
        return statement.buffer in self.printer.varying or any(
            name == self.variable for name, _ in statement.position.terms
        )

    @property
    def loop(self) -> str:
        """The first line of the innermost loop."""
        return self.printer.loop(self.variable, self.extent)

    def print(self) -> None:
        """Print the loops."""
        printer, start, level = self.printer, self.printer.indent, 0
        for number, (at, run) in enumerate(self.runs):
            while level < min(at, len(self.outer)):
                variable, extent = self.outer[level]
                printer._line(printer.loop(variable, extent))
                printer.indent += 1
                level += 1
            reductions = [each for each in run if isinstance(each, Reduce) and self._is_long(each)]
            if reductions:
                self._long(reductions)
            elif run:
                self._run(run, number)
        printer.indent = start

    def _run(self, run: list[Statement], number: int) -> None:
        printer = self.printer
        invariant = [each for each in run if not isinstance(each, Store) and not self._varies(each)]
        for each in invariant:
            printer._scalar(each)
        varying = [each for each in run if each not in invariant]
        if not varying:
            return
        printer._line(self.loop)
        printer.indent += 1
        defined: set[str] = set()
        for statement in varying:
            for name in sorted(names_read(statement) & self.stored - defined):
                printer._line(f"{name} = h{name}[{self.variable}]")
                defined.add(name)
            if isinstance(statement, Reduce):
                printer._scalar(statement)
            else:
                printer._line(printer.text(statement))
            if not isinstance(statement, Store):
                defined.add(statement.name)
                if statement.name in self.stored:
                    printer._line(f"h{statement.name}[{self.variable}] = {statement.name}")
        printer.indent -= 1

    def _term(self, statement: Reduce, positions: Mapping[str, str]) -> str:
        """Print a term, and return its name."""
        for each in statement.body:
            self.printer._line(self.printer.text(each, positions))
        return self.printer.value(statement.value, self.printer.program.types[statement.name])

    def _long(self, reductions: list[Reduce]) -> None:
        """Print reductions over the same variables."""
        printer, types = self.printer, self.printer.program.types
        *outer, (variable, extent) = reductions[0].variables
        printer._line(self.loop)
        for each in reductions:
            printer._line(f"    h{each.name}[{self.variable}] = {printer.start(each.op, types[each.name])}")
        start = printer.indent
        for outer_variable, count in outer:
            printer._line(printer.loop(outer_variable, count))
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
            names = {each.name for each in reductions}
            for name in sorted(names | set().union(*map(names_read, reductions)) & self.stored):
                printer._line(f"{name} = h{name}[{self.variable}]")
            printer._line(printer.loop("k", count))
            printer.indent += 1
            position = f"({base}*{printer.whole(CHUNK)} + k)" if loop else f"({printer.whole(int(base))} + k)"
            for each in reductions:
                term = self._term(each, {variable: position})
                printer._line(f"{each.name} = {printer.combined(each.op, each.name, term)}")
            printer.indent -= 1
            for name in sorted(names):
                printer._line(f"h{name}[{self.variable}] = {name}")
            printer.indent = inside
        printer.indent = start


def _alike(one: Statement, other: Statement) -> bool:
    """Return whether two statements are reductions over the same variables, neither of the other's result."""
    if not (isinstance(one, Reduce) and isinstance(other, Reduce)):
        return False
    return one.variables == other.variables and one.name not in names_read(other)


def _numpy(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype
