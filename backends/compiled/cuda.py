"""The kernel of a training step as CUDA C. A thread trains a network, or a block of threads does.

- Sample by sample, each thread trains one network. The states of all networks have the shape (P, E), so that the
  threads of a warp read numbers that are side by side. A small network is kept in registers: all loops are unrolled, so
  that every index is a constant. A larger one stays in global memory, and what a step computes in local memory.
- In batches, each block trains one network, whose state and what a step computes are in shared memory. The threads
  divide the iterations of each nest of loops among themselves, and wait for each other before they read what others
  have stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from xpnet.backends.base import CannotCompile
from xpnet.backends.compiled.c import TYPES, CLines, literal
from xpnet.backends.compiled.loops import BYTES, Buffer, Index, Let, Load, Nest, Program, Reduce, Statement, Store
from xpnet.backends.compiled.places import Places
from xpnet.backends.compiled.recording import Layout

MAX_REGISTERS = 200
"""The maximum number of 32-bit words of a step, with the state, that are kept in registers: a thread has 255."""

MAX_LOCAL = 4096
"""The maximum number of words of a step, without the state, in the local memory of a thread."""

NETWORKS_OF_BLOCK = 64
"""The threads of a block that trains as many networks: few, so that a few thousand occupy all multiprocessors."""

THREADS_OF_NETWORK = 256
"""The threads of a block that trains one network."""

MIN_SHARED = 128
"""The minimum number of terms of a reduction that the threads of a block share, if there is no loop around it."""


@dataclass(frozen=True)
class Kernel:
    """A CUDA module with the functions ``kernel`` and ``permutations``.

    Attributes
    ----------
    source : str
        The source of the module.
    arguments : list of (str, str)
        The types and the names of the arguments of ``kernel``, in order.
    execution : str
        How networks are mapped to threads, and where their parameters are, as text.
    is_block : bool
        Whether a block trains a network, not a thread. States then have the shape (E, P), not (P, E).
    shared_bytes : int
        The shared memory of a block.
    """

    source: str
    arguments: list[tuple[str, str]]
    execution: str
    is_block: bool
    shared_bytes: int

    def shape(self, networks: int) -> tuple[int, int]:
        """Return how many blocks of how many threads train a number of networks."""
        if self.is_block:
            return networks, THREADS_OF_NETWORK
        return -(-networks // NETWORKS_OF_BLOCK), NETWORKS_OF_BLOCK


def cuda_kernel(program: Program, layout: Layout, shared_memory: int) -> Kernel:
    """Return the kernel of a program, for a GPU whose blocks have so many bytes of shared memory.

    Raises
    ------
    CannotCompile
        If a step is too large.
    """
    block = _BlockKernel(program, layout)
    local = _words(_of(program, "sample", "mask", "scratch"), layout)
    if block.places.size <= shared_memory and (layout.batch_size > 1 or local > MAX_LOCAL):
        execution = "each block of threads trains one network, whose parameters are in shared memory"
        return Kernel(block.source(), block.arguments(), execution, True, block.places.size)
    if local > MAX_LOCAL:
        msg = f"a step that computes with {4 * local:,} bytes for each network, too many for a GPU's kernel"
        raise CannotCompile(msg)
    in_registers = local + _words(_of(program, "state"), layout) <= MAX_REGISTERS
    thread = _ThreadKernel(program, layout, in_registers)
    execution = f"each thread trains one network, whose parameters are in {'registers' if in_registers else 'memory'}"
    return Kernel(thread.source(), thread.arguments(), execution, False, 0)


_PRELUDE = """\
#ifndef INFINITY  // without the headers of the host
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

// The compiler must compute addresses again, instead of keeping one for each parameter from load to store.
#ifdef __CUDACC__
#define FORGET(pointer) asm volatile("" : "+l"(pointer))
#else
#define FORGET(pointer)
#endif

// Threefry-2x32 of 13 rounds, as in xpnet.backends.streams.
__device__ inline void threefry(unsigned key0, unsigned key1, unsigned x0, unsigned x1, unsigned *words)
{
    const unsigned keys[3] = {key0, key1, key0 ^ key1 ^ 0x1BD11BDAu};
    const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    x0 += key0;
    x1 += key1;
    #pragma unroll
    for (int round = 0; round < 13; round++) {
        x0 += x1;
        x1 = (x1 << rotations[round % 8]) | (x1 >> (32 - rotations[round % 8]));
        x1 ^= x0;
        if (round % 4 == 3) {
            x0 += keys[(round / 4 + 1) % 3];
            x1 += keys[(round / 4 + 2) % 3] + (unsigned)(round / 4 + 1);
        }
    }
    words[0] = x0;
    words[1] = x1;
}

// A random permutation for each epoch and key: the inside-out Fisher-Yates shuffle.
extern "C" __global__ void permutations(
    int keys, int samples, unsigned epoch, int epochs, const unsigned *key, unsigned *orders)
{
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= epochs * keys)
        return;
    const int count = thread / keys, k = thread % keys;
    unsigned *order = orders + (size_t)count * samples * keys + k;
    unsigned words[2];
    for (int i = 0; i < samples; i++) {
        if (i % 2 == 0)
            threefry(key[2 * k], key[2 * k + 1] + epoch + count, 0, i / 2, words);
        const size_t j = ((unsigned long long)words[i % 2] * (i + 1)) >> 32;
        order[(size_t)i * keys] = order[j * keys];
        order[j * keys] = i;
    }
}
"""


def _of(program: Program, *kinds: str) -> list[Buffer]:
    return [buffer for kind in kinds for buffer in program.buffers.values() if buffer.kind == kind]


def _size(buffer: Buffer, layout: Layout) -> int:
    return buffer.size * (layout.batch_size if buffer.kind in ("sample", "mask") else 1)


def _words(buffers: list[Buffer], layout: Layout) -> int:
    """Return how many 32-bit words buffers take."""
    return sum(_size(buffer, layout) * max(BYTES[buffer.dtype] // 4, 1) for buffer in buffers)


class _Kernel:
    """What the kernels have in common."""

    def __init__(self, program: Program, layout: Layout) -> None:
        self.program, self.layout = program, layout
        self.states = _of(program, "state")

    def source(self) -> str:
        parameters = ",\n    ".join(f"{kind} {name}" for kind, name in self.arguments())
        lines = [f'extern "C" __global__ void kernel(\n    {parameters})', "{", *self.body(), "}"]
        return "\n".join([_PRELUDE, *lines, ""])

    def arguments(self) -> list[tuple[str, str]]:
        """Return the types and the names of the arguments, in order."""
        program = self.program
        found = [("int", name) for name in ("networks", "begin", "end", "samples", "epochs")]
        found += [("double", "loss_weight")]
        if self.layout.shuffled:
            found.append(("const unsigned *", "orders"))
        if _of(program, "mask"):
            found += [("const unsigned *", "mask_key"), ("unsigned", "epoch"), ("int", "position")]
        for buffer in _of(program, "sample"):
            found.append((f"const {TYPES[buffer.dtype]} *", buffer.name))
        for buffer in _of(program, "rate"):
            found += [(f"const {TYPES[buffer.dtype]} *", buffer.name), ("int", f"{buffer.name}_rows")]
        for buffer in _of(program, "fixed", "constant"):
            found.append((f"const {TYPES[buffer.dtype]} *", buffer.name))
        for buffer in self.states:
            found.append((f"{TYPES[buffer.dtype]} *", f"{buffer.name}_kept"))
        return [*found, ("bool *", "finite"), ("double *", "loss_of_epoch")]

    def body(self) -> Iterator[str]:
        """Yield the lines of the function."""
        yield from (f"    {line}" for line in self.declarations())
        yield "    bool is_finite = finite[network];"
        for buffer in self.states:
            yield from self.each(buffer, f"{self.element(buffer.name, _I)} = {self.kept(buffer)};")
        yield "    for (int count = 0; count < epochs; count++) {"
        yield "        double total = loss_of_epoch[count * E + network];"
        yield "        for (int step = begin; step < end; step++) {"
        yield from (f"            {line}" for line in self.step())
        yield "        }"
        yield from (f"        {line}" for line in self.end_epoch())
        yield "    }"
        yield f"    {self.once('finite[network] = is_finite;')}"

    def step(self) -> Iterator[str]:
        """Yield the lines of a step."""
        m, padded = self.layout.batch_size, self.layout.padded
        if padded:
            yield f"const int valid = min(samples - step * {m}, {m});"
        for buffer in _of(self.program, "rate"):
            name, width = buffer.name, "E" if self.is_own(buffer.name) else "1"
            row = f"min(count * ((samples + {m - 1}) / {m}) + step, {name}_rows - 1)"
            yield f"{name}_[0] = {name}[{row} * {width}{self.own(name, 1)}];"
        yield from self.samples()
        yield from self.masks()
        yield from self.nests()
        weight = f"loss_weight * valid / {m}" if padded else "loss_weight"
        yield f"total += (double)loss_[0] * ({weight});"

    def samples(self) -> Iterator[str]:
        """Yield the lines that copy the samples of a step."""
        m, padded = self.layout.batch_size, self.layout.padded
        row = "place"
        if self.layout.shuffled:
            width = "E" if self.is_own("order_key") else "1"
            row = f"orders[((size_t)count * samples + place) * {width}{self.own('order_key', 1)}]"
        for buffer in _of(self.program, "sample"):
            name, n = buffer.name, buffer.size
            value = f"{name}[({'network * samples + ' * self.is_own(name)}row) * {n} + i % {n}]"
            if padded and name == "weight":
                scale = "" if "alpha" in self.program.buffers else f" * ({TYPES[buffer.dtype]})({m}.0 / valid)"
                value = f"i < valid ? {value}{scale} : {literal(0.0, buffer.dtype)}"
            place = f"step * {m} + i / {n}"
            yield from self.loop("i", m * n)
            yield f"    const int place = {f'min({place}, samples - 1)' if padded else place};"
            yield f"    const size_t row = {row};"
            yield f"    {name}_[{self.sample(buffer)}] = {value};"
            yield "}"

    def masks(self) -> Iterator[str]:
        """Yield the lines that compute the dropout masks of a step."""
        m, key = self.layout.batch_size, "network" if self.is_own("mask_key") else "0"
        for mask in _of(self.program, "mask"):
            (first, least), pairs = map(int, mask.values), -(-mask.size // 2)
            yield from self.loop("i", m * pairs)
            yield f"    const int row = i / {pairs}, pair = i % {pairs};"
            yield "    unsigned words[2];"
            counters = f"(unsigned)(position + step * {m} + row), {first}u + pair"
            yield f"    threefry(mask_key[2 * {key}], mask_key[2 * {key} + 1] + epoch + count, {counters}, words);"
            for word in (0, 1):
                inside = f"if (2 * pair + {word} < {mask.size}) " * (word == 1 and mask.size % 2 == 1)
                place = f"{mask.size} * row + 2 * pair + {word}"
                # In 64 bits, because a rate of almost 1 keeps no unit.
                yield f"    {inside}{mask.name}_[{place}] = (unsigned long long)words[{word}] >= {least}ull;"
            yield "}"

    def end_epoch(self) -> Iterator[str]:
        """Yield the lines that keep the state if all numbers are finite."""
        largest = float(numpy.finfo(self.program.buffers["loss"].dtype).max)
        yield f"is_finite = is_finite && fabs(total) <= {literal(largest, 'float64')};"
        for buffer in self.states:
            if buffer.dtype != "bool":
                value = self.element(buffer.name, _I)
                yield from self.each(buffer, f"is_finite = is_finite && isfinite({value});", "")
        yield from self.agree()
        yield "if (is_finite) {"
        for buffer in self.states:
            yield f"    FORGET({buffer.name}_kept);"
            yield from self.each(buffer, f"{self.kept(buffer)} = {self.element(buffer.name, _I)};")
        yield "}"
        yield self.once("loss_of_epoch[count * E + network] = is_finite ? total : NAN;")

    def sample(self, buffer: Buffer) -> str:
        """Return the place of number i of the samples of a step."""
        return "i"

    def each(self, buffer: Buffer, statement: str, indent: str = "    ") -> Iterator[str]:
        """Yield the lines of a loop over the elements i of a buffer."""
        yield from (indent + line for line in self.loop("i", buffer.size))
        yield f"{indent}    {statement}"
        yield f"{indent}}}"

    def element(self, name: str, index: Index) -> str:
        """Return the expression for an element of a buffer."""
        buffer = self.program.buffers[name]
        if buffer.kind == "fixed":
            return f"{name}[{index}{self.own(name, buffer.size)}]"
        return f"{name}[{index}]" if buffer.kind == "constant" else f"{name}_[{index}]"

    def is_own(self, name: str) -> bool:
        """Return whether an argument has a separate entry for each network."""
        return name in self.layout.per_network

    def own(self, name: str, size: int) -> str:
        """Return what the index of an argument with `size` numbers for each network is increased by."""
        return f" + network * {size}" * self.is_own(name)

    # ---- What differs

    def declarations(self) -> Iterator[str]:
        """Yield the lines that declare E, the network and the local arrays."""
        raise NotImplementedError

    def loop(self, variable: str, extent: int) -> list[str]:
        """Return the first lines of a loop whose iterations are independent."""
        raise NotImplementedError

    def nests(self) -> Iterator[str]:
        """Yield the lines of the program."""
        raise NotImplementedError

    def agree(self) -> Iterator[str]:
        """Yield the lines after which all threads of a network know whether it is finite."""
        raise NotImplementedError

    def once(self, statement: str) -> str:
        """Return a statement that one thread of a network executes."""
        raise NotImplementedError

    def kept(self, buffer: Buffer) -> str:
        """Return the expression for element i of the state before the epoch."""
        raise NotImplementedError


class _ThreadKernel(_Kernel):
    """A thread trains a network."""

    def __init__(self, program: Program, layout: Layout, in_registers: bool) -> None:
        super().__init__(program, layout)
        self.in_registers = in_registers
        # Loops that are unrolled further, as the compiler would do by itself, need more registers than there are.
        self.pragma = "#pragma unroll" if in_registers else "#pragma unroll 4"

    def arguments(self) -> list[tuple[str, str]]:
        working = [] if self.in_registers else self.states
        return super().arguments() + [(f"{TYPES[buffer.dtype]} *", f"{buffer.name}_") for buffer in working]

    def declarations(self) -> Iterator[str]:
        yield "const size_t E = networks, network = blockIdx.x * blockDim.x + threadIdx.x;"
        yield "if (network >= E)"
        yield "    return;"
        local = _of(self.program, "sample", "mask", "rate", "scratch", "result")
        for buffer in local + self.states * self.in_registers:
            yield f"{TYPES[buffer.dtype]} {buffer.name}_[{_size(buffer, self.layout)}];"

    def loop(self, variable: str, extent: int) -> list[str]:
        return [self.pragma, f"for (int {variable} = 0; {variable} < {extent}; {variable}++) {{"]

    def nests(self) -> Iterator[str]:
        lines = CLines(self.program, self.element, index="int", pragmas=[self.pragma])
        for nest in self.program.nests:
            yield from lines.nest(nest)

    def agree(self) -> Iterator[str]:
        yield from ()

    def element(self, name: str, index: Index) -> str:
        if self.program.buffers[name].kind == "state" and not self.in_registers:
            return f"{name}_[({index}) * E + network]"
        return super().element(name, index)

    def once(self, statement: str) -> str:
        return statement

    def kept(self, buffer: Buffer) -> str:
        return f"{buffer.name}_kept[i * E + network]"


class _BlockKernel(_Kernel):
    """A block of threads trains a network."""

    def __init__(self, program: Program, layout: Layout) -> None:
        super().__init__(program, layout)
        self.places = Places(program, 16)
        self.rows = dict(_rows(program, layout))
        shared = _of(program, "sample", "mask", "scratch", "result", "state")
        sizes = {each: self.place(each.name, _size(each, layout) - 1) + 1 for each in shared}
        self.starts = {each: self.places.place(each.name, size * BYTES[each.dtype]) for each, size in sizes.items()}
        if any(_is_shared(statement) for nest in _loops(program) for statement in nest.statements()):
            self.partial = self.places.place("partial", THREADS_OF_NETWORK * 8)

    def declarations(self) -> Iterator[str]:
        yield "extern __shared__ __align__(16) unsigned char memory[];"
        yield "const size_t E = networks, network = blockIdx.x;"
        for buffer, start in self.starts.items():
            yield f"{TYPES[buffer.dtype]} *const {buffer.name}_ = ({TYPES[buffer.dtype]} *)(memory + {start});"
        for buffer in _of(self.program, "rate"):
            yield f"{TYPES[buffer.dtype]} {buffer.name}_[1];"

    def loop(self, variable: str, extent: int) -> list[str]:
        return [f"for (int {variable} = threadIdx.x; {variable} < {extent}; {variable} += blockDim.x) {{"]

    def element(self, name: str, index: Index) -> str:
        if name in self.rows:
            row, extents = self.rows[name]
            quotient, rest = index.divmod(row, extents) or (Index(), Index())  # _rows has tried it
            index = quotient * (row | 1) + rest
        return super().element(name, index)

    def sample(self, buffer: Buffer) -> str:
        row = buffer.size
        return f"i / {row} * {row | 1} + i % {row}" if buffer.name in self.rows else super().sample(buffer)

    def place(self, name: str, position: int) -> int:
        """Return the place of an element in shared memory, relative to the first."""
        row = self.rows[name][0] if name in self.rows else 1
        return position // row * (row | 1) + position % row

    def nests(self) -> Iterator[str]:
        lines = CLines(self.program, self.element, index="int", pragmas=["#pragma unroll 4"])
        yield "__syncthreads();"
        before: list[_Access] = []  # since the threads waited for each other
        for nest in _loops(self.program):
            accesses = list(self.accesses(nest))
            if any(each.conflicts(other) for each in accesses for other in before):
                yield "__syncthreads();"
                before = []
            before += accesses
            if not nest.variables and any(map(_is_shared, nest.at[0])):
                yield from self.reductions(nest.at[0], lines)
                continue
            # Loops before which nothing is stored or summed are one loop, whose iterations the threads share.
            at = [all(isinstance(each, (Load, Let)) for each in statements) for statements in nest.at]
            shared = min(at.index(False), len(nest.variables))
            outer, inner = nest.variables[:shared], nest.variables[shared:]
            yield from self.loops("iteration", outer)
            first = [statement for statements in nest.at[: shared + 1] for statement in statements]
            yield from (f"    {line}" for line in lines.nest(Nest(inner, [first, *nest.at[shared + 1 :]])))
            yield "}"
        yield "__syncthreads();"

    def loops(self, variable: str, variables: Sequence[tuple[str, int]]) -> Iterator[str]:
        """Yield the first lines of one loop in place of nested ones."""
        yield from self.loop(variable, math.prod(extent for _, extent in variables))
        for inner, extent in reversed(variables):
            yield f"    const int {inner} = {variable} % {extent};"
            variable = f"{variable} / {extent}"

    def accesses(self, nest: Nest) -> Iterator[_Access]:
        """Yield which bytes of the shared memory a nest reads, and which it writes."""
        starts = {buffer.name: (start, BYTES[buffer.dtype]) for buffer, start in self.starts.items()}
        for access, extents in nest.accesses():
            if access.buffer in starts:
                start, size = starts[access.buffer]
                first, last = (self.place(access.buffer, bound) for bound in access.position.bounds(extents))
                yield _Access(start + size * first, start + size * (last + 1), isinstance(access, Store))

    def reductions(self, statements: list[Statement], lines: CLines) -> Iterator[str]:
        """Yield the lines of statements without a loop around them, whose reductions the threads share.

        All threads compute the same numbers, and one of them stores, after the last reduction.
        """
        last = max(i for i, statement in enumerate(statements) if _is_shared(statement))
        stores = [statement for statement in statements[:last] if isinstance(statement, Store)]
        yield "{"
        for statement in statements[: last + 1]:
            if isinstance(statement, Reduce) and _is_shared(statement):
                yield from (f"    {line}" for line in self.reduction(statement, lines))
            elif not isinstance(statement, Store):
                yield from (f"    {line}" for line in lines.statement(statement))
        yield "    if (threadIdx.x == 0) {"
        for statement in [*stores, *statements[last + 1 :]]:
            yield from (f"        {line}" for line in lines.statement(statement))
        yield "    }"
        yield "}"

    def reduction(self, reduce: Reduce, lines: CLines) -> Iterator[str]:
        """Yield the lines of a reduction: each thread reduces a part, and the partial results are folded in half."""
        number, partial = TYPES[self.program.types[reduce.name]], f"{reduce.name}_partial"
        yield f"{number} *const {partial} = ({number} *)(memory + {self.partial});"
        yield "{"
        yield f"    {number} {reduce.name} = {lines.start(reduce)};"
        yield from (f"    {line}" for line in self.loops("term", reduce.variables))
        yield from (f"        {line}" for line in lines.term(reduce))
        yield "    }"
        yield f"    {partial}[threadIdx.x] = {reduce.name};"
        yield "}"
        yield "__syncthreads();"
        yield "for (int width = blockDim.x; width > 1; width = (width + 1) / 2) {"
        yield "    const int other = threadIdx.x + (width + 1) / 2;"
        yield "    if (other < width)"
        both = f"{partial}[threadIdx.x]", f"{partial}[other]"
        yield f"        {both[0]} = {lines.combined(reduce, *both)};"
        yield "    __syncthreads();"
        yield "}"
        yield f"const {number} {reduce.name} = {partial}[0];"
        yield "__syncthreads();"

    def agree(self) -> Iterator[str]:
        yield "is_finite = __syncthreads_and(is_finite);"

    def once(self, statement: str) -> str:
        return f"if (threadIdx.x == 0) {statement}"

    def kept(self, buffer: Buffer) -> str:
        return f"{buffer.name}_kept[network * {buffer.size} + i]"


_I = Index((("i", 1),))


class _Access(NamedTuple):
    """Bytes of the shared memory that are read or written."""

    start: int
    stop: int
    is_store: bool

    def conflicts(self, other: _Access) -> bool:
        """Return whether threads must wait for each other between two accesses."""
        return (self.is_store or other.is_store) and self.start < other.stop and other.start < self.stop


def _loops(program: Program) -> list[Nest]:
    return [nest for nest in program.nests if isinstance(nest, Nest)]


def _is_shared(statement: Statement) -> bool:
    """Return whether a statement is a reduction that is worth to be shared between threads, if no loop is around it."""
    return isinstance(statement, Reduce) and math.prod(extent for _, extent in statement.variables) >= MIN_SHARED


def _rows(program: Program, layout: Layout) -> Iterator[tuple[str, tuple[int, dict[str, int]]]]:
    """Yield the buffers whose rows are padded in shared memory, with the length of a row and the extents of all loops.

    The memory has 32 banks, and threads that read from the same one wait for each other. With rows of odd length, the
    elements of a column are in different banks.
    """
    accesses = [access for nest in _loops(program) for access in nest.accesses()]
    extents = {variable: extent for _, each in accesses for variable, extent in each.items()}
    for buffer in _of(program, "sample", "scratch"):
        row = buffer.size if buffer.kind == "sample" else layout.batch_size
        at = [access.position for access, _ in accesses if access.buffer == buffer.name]
        if row % 2 == 0 and all(position.divmod(row, extents) for position in at):
            yield buffer.name, (row, extents)
