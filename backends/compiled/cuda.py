"""The kernel of a training step as CUDA C: each thread trains one network.

The states of all networks have the shape (P, E), so that the threads of a warp read numbers that are side by side. A
small network is kept in registers: all loops are unrolled, so that every index is a constant. A larger one stays in
global memory, and what a step computes in local memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from xpnet.backends.base import CannotCompile
from xpnet.backends.compiled.c import BYTES, TYPES, c_lines, literal
from xpnet.backends.compiled.loops import Buffer, Index, Program
from xpnet.backends.compiled.printer import Layout

MAX_REGISTERS = 200
"""The maximum number of 32-bit words of a step, with the state, that are kept in registers: a thread has 255."""

MAX_LOCAL = 4096
"""The maximum number of words of a step, without the state, in the local memory of a thread."""

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


def is_in_registers(program: Program, layout: Layout) -> bool:
    """Return whether the kernel of a program keeps the networks in registers."""
    local = _words(_of(program, "sample", "mask", "scratch"), layout)
    if local > MAX_LOCAL:
        msg = f"a step that computes with {4 * local:,} bytes for each network, more than {4 * MAX_LOCAL:,}"
        raise CannotCompile(msg)
    return local + _words(_of(program, "state"), layout) <= MAX_REGISTERS


def arguments(program: Program, layout: Layout) -> list[tuple[str, str]]:
    """Return the types and the names of the arguments of a kernel, in order."""
    found = [("int", name) for name in ("networks", "begin", "end", "samples", "epochs")]
    found += [("double", "loss_weight")]
    if layout.shuffled:
        found.append(("const unsigned *", "orders"))
    if _of(program, "mask"):
        found += [("const unsigned *", "mask_key"), ("unsigned", "epoch"), ("int", "position")]
    for buffer in _of(program, "sample"):
        found.append((f"const {TYPES[buffer.dtype]} *", buffer.name))
    for buffer in _of(program, "rate"):
        found += [(f"const {TYPES[buffer.dtype]} *", buffer.name), ("int", f"{buffer.name}_rows")]
    for buffer in _of(program, "fixed", "constant"):
        found.append((f"const {TYPES[buffer.dtype]} *", buffer.name))
    for buffer in _of(program, "state"):
        found.append((f"{TYPES[buffer.dtype]} *", f"{buffer.name}_kept"))
    if not is_in_registers(program, layout):
        for buffer in _of(program, "state"):
            found.append((f"{TYPES[buffer.dtype]} *", f"{buffer.name}_"))
    return [*found, ("bool *", "finite"), ("double *", "loss_of_epoch")]


def cuda_source(program: Program, layout: Layout) -> str:
    """Return the source of a CUDA module: the function ``kernel`` with `arguments`, and ``permutations``."""
    return "\n".join([_PRELUDE, *_Kernel(program, layout).lines(), ""])


def _of(program: Program, *kinds: str) -> list[Buffer]:
    return [buffer for kind in kinds for buffer in program.buffers.values() if buffer.kind == kind]


def _size(buffer: Buffer, layout: Layout) -> int:
    return buffer.size * (layout.batch_size if buffer.kind in ("sample", "mask") else 1)


def _words(buffers: list[Buffer], layout: Layout) -> int:
    """Return how many 32-bit words buffers take."""
    return sum(_size(buffer, layout) * max(BYTES[buffer.dtype] // 4, 1) for buffer in buffers)


class _Kernel:
    def __init__(self, program: Program, layout: Layout) -> None:
        self.program, self.layout = program, layout
        self.in_registers = is_in_registers(program, layout)
        # Loops that are unrolled further, as the compiler would do by itself, need more registers than there are.
        self.pragma = "#pragma unroll" if self.in_registers else "#pragma unroll 4"
        self.states = _of(program, "state")

    def lines(self) -> Iterator[str]:
        parameters = ",\n    ".join(f"{kind} {name}" for kind, name in arguments(self.program, self.layout))
        yield f'extern "C" __global__ void kernel(\n    {parameters})'
        yield "{"
        yield "    const size_t E = networks, network = blockIdx.x * blockDim.x + threadIdx.x;"
        yield "    if (network >= E)"
        yield "        return;"
        local = _of(self.program, "sample", "mask", "rate", "scratch", "result")
        for buffer in local + self.states * self.in_registers:
            yield f"    {TYPES[buffer.dtype]} {buffer.name}_[{_size(buffer, self.layout)}];"
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
        yield "    finite[network] = is_finite;"
        yield "}"

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
        yield from c_lines(self.program, self.element, "", index="int", pragmas=[self.pragma])
        weight = f"loss_weight * valid / {m}" if padded else "loss_weight"
        yield f"total += (double)loss_[0] * ({weight});"

    def samples(self) -> Iterator[str]:
        """Yield the lines that copy the samples of a step."""
        m, padded = self.layout.batch_size, self.layout.padded
        yield from self.loop("s", m)
        yield f"    const int place = {f'min(step * {m} + s, samples - 1)' if padded else f'step * {m} + s'};"
        row = "place"
        if self.layout.shuffled:
            width = "E" if self.is_own("order_key") else "1"
            row = f"orders[((size_t)count * samples + place) * {width}{self.own('order_key', 1)}]"
        yield f"    const size_t row = {row};"
        for buffer in _of(self.program, "sample"):
            name, n = buffer.name, buffer.size
            value = f"{name}[({'network * samples + ' * self.is_own(name)}row) * {n} + i]"
            if padded and name == "weight":
                number = TYPES[buffer.dtype]
                value = f"s < valid ? {value} * ({number})({m}.0 / valid) : {literal(0.0, buffer.dtype)}"
            yield from (f"    {line}" for line in self.loop("i", n))
            yield f"        {name}_[{n} * s + i] = {value};"
            yield "    }"
        yield "}"

    def masks(self) -> Iterator[str]:
        """Yield the lines that compute the dropout masks of a step."""
        masks, m = _of(self.program, "mask"), self.layout.batch_size
        if not masks:
            return
        key = "network" if self.is_own("mask_key") else "0"
        yield from self.loop("s", m)
        for mask in masks:
            first, least = map(int, mask.values)
            yield from (f"    {line}" for line in self.loop("pair", -(-mask.size // 2)))
            yield "        unsigned words[2];"
            counters = f"(unsigned)(position + step * {m} + s), {first}u + pair"
            yield f"        threefry(mask_key[2 * {key}], mask_key[2 * {key} + 1] + epoch + count, {counters}, words);"
            for word in (0, 1):
                inside = f"if (2 * pair + {word} < {mask.size}) " * (word == 1 and mask.size % 2 == 1)
                place = f"{mask.size} * s + 2 * pair + {word}"
                # In 64 bits, because a rate of almost 1 keeps no unit.
                yield f"        {inside}{mask.name}_[{place}] = (unsigned long long)words[{word}] >= {least}ull;"
            yield "    }"
        yield "}"

    def end_epoch(self) -> Iterator[str]:
        """Yield the lines that keep the state if all numbers are finite."""
        largest = float(numpy.finfo(self.program.buffers["loss"].dtype).max)
        yield f"is_finite = is_finite && fabs(total) <= {literal(largest, 'float64')};"
        for buffer in self.states:
            if buffer.dtype != "bool":
                value = self.element(buffer.name, _I)
                yield from self.each(buffer, f"is_finite = is_finite && isfinite({value});", "")
        yield "if (is_finite) {"
        for buffer in self.states:
            yield f"    FORGET({buffer.name}_kept);"
            yield from self.each(buffer, f"{self.kept(buffer)} = {self.element(buffer.name, _I)};")
        yield "}"
        yield "loss_of_epoch[count * E + network] = is_finite ? total : NAN;"

    def loop(self, variable: str, extent: int) -> list[str]:
        """Return the first lines of a loop."""
        return [self.pragma, f"for (int {variable} = 0; {variable} < {extent}; {variable}++) {{"]

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
        if buffer.kind == "constant":
            return f"{name}[{index}]"
        if buffer.kind == "state" and not self.in_registers:
            return f"{name}_[({index}) * E + network]"
        return f"{name}_[{index}]"

    def kept(self, buffer: Buffer) -> str:
        """Return the expression for element i of the state before the epoch."""
        return f"{buffer.name}_kept[i * E + network]"

    def is_own(self, name: str) -> bool:
        """Return whether an argument has a separate entry for each network."""
        return name in self.layout.per_network

    def own(self, name: str, size: int) -> str:
        """Return what the index of an argument with `size` numbers for each network is increased by."""
        return f" + network * {size}" * self.is_own(name)


_I = Index((("i", 1),))
