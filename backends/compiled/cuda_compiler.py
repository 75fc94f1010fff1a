"""Training with CUDA kernels; the results equal those of separate steps up to rounding."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeAlias

import numpy

from xpnet.backends.base import Backend
from xpnet.backends.compiled.cuda import NETWORKS_OF_BLOCK, Kernel, cuda_kernel
from xpnet.backends.compiled.fuse import fuse
from xpnet.backends.compiled.loops import Program
from xpnet.backends.compiled.lower import lower
from xpnet.backends.compiled.recording import Layout, Segment, masks_of, rates_of, record

Launch: TypeAlias = Callable[[str, int, int, int, Sequence[Any]], None]
"""``launch(function, blocks, threads, shared_bytes, arguments)`` runs a function of a module in blocks of threads."""

SHARED_MEMORY = 99 * 2**10
"""The shared memory of a block in bytes that every GPU since Ampere has."""

MAX_LAUNCH_SECONDS = 0.5
"""The maximum duration of a launch, so that Ctrl-C interrupts the training soon."""

MAX_ORDERS_BYTES = 2**28
"""The maximum size of the orders of the samples in one launch, in bytes."""

_SCALARS = {"int": numpy.int32, "unsigned": numpy.uint32, "double": numpy.float64}


class CudaCompiler:
    """Compiles training steps for a GPU.

    Parameters
    ----------
    backend : Backend
        The backend of the GPU.
    load : callable
        ``load(source)`` compiles a CUDA module and returns its `Launch`.
    shared_memory : int
        The maximum shared memory of a block in bytes.
    """

    def __init__(self, backend: Backend, load: Callable[[str], Launch], shared_memory: int = SHARED_MEMORY) -> None:
        self.backend, self.load, self.shared_memory = backend, load, shared_memory

    def is_worthwhile(self, sizes: Sequence[int], state: Any, batch_size: int, steps: int, epochs: int) -> bool:
        """Return False: where compiling pays on a GPU has not been measured yet."""
        return False

    def compile(self, step: Any, state: Any, batches: Any) -> CudaTraining:
        """Compile the training step of some networks; see `xpnet.backends.compiled.cpu_compiler.Compiler.compile`."""
        with self.backend.on_device():
            training = CudaTraining(self, step, state, batches)
        if training.uses_one_thread:
            _hint()
        return training

    def explain(self, step: Any, state: Any, batches: Any) -> str:
        """Return the loops of a step as text, with a description of how they are executed."""
        with self.backend.on_device():
            segment = _segment(self.backend, batches, 0)
        layout = _layout(segment)
        program = _program(step, state, segment)
        kernel = cuda_kernel(program, layout, self.shared_memory)
        per_network = ", ".join(sorted(layout.per_network)) or "nothing"
        return (
            f"# {kernel.execution}\n"
            f"# for each network separately: {per_network}\n"
            f"# for each step of {segment.batch_size} samples:\n{program}"
        )


class CudaTraining:
    """Trains some networks with a CUDA kernel; from `CudaCompiler.compile`.

    Parameters
    ----------
    compiler : CudaCompiler
        The compiler.
    step : Step
        The step of the networks.
    state : State
        Their initial state.
    batches : Batches
        Their batches.

    Raises
    ------
    CannotCompile
        If an operation of the step cannot be recorded, or a step is too large.
    """

    def __init__(self, compiler: CudaCompiler, step: Any, state: Any, batches: Any) -> None:
        self._compiler, self._step, self._batches = compiler, step, batches
        self._backend: Backend = compiler.backend
        self._whole = _segment(self._backend, batches, batches.orders.epoch if batches.orders else 0)
        self._modules: dict[Layout, tuple[Program, Kernel, Launch]] = {}
        self._steps_per_second = 0.0  # not yet measured: the first launch takes one step
        self._networks = math.prod(state.theta.shape[:-1])
        self._module(state, self._whole)

    @property
    def uses_one_thread(self) -> bool:
        """Whether the whole GPU trains one network with one thread."""
        ((_, kernel, _),) = self._modules.values()
        return self._networks == 1 and not kernel.is_block

    @property
    def epochs_at_once(self) -> int:
        """How many epochs `train` can train for without exceeding the maximum duration of a launch."""
        if self._batches.orders:
            return 1
        orders = 4 * self._whole.size * len(self._whole.keys["order_key"]) if "order_key" in self._whole.keys else 1
        in_time = int(MAX_LAUNCH_SECONDS * self._steps_per_second / self._whole.steps)
        return max(min(in_time, MAX_ORDERS_BYTES // orders), 1)

    def train(self, state: Any, finite: Any, epochs: range, factors: Any = None) -> tuple[Any, Any, Any]:
        """Take a training step for every batch of some epochs; see `CompiledTraining.train`."""
        xp = self._backend.xp
        whole = _segment(self._backend, self._batches, epochs[0]) if self._batches.orders else self._whole
        segment = whole if factors is None else replace(whole, rates=rates_of(self._batches, factors))
        program, kernel, launch = self._module(state, segment)
        shape, before = state.theta.shape[:-1], (state.theta, *state.optimizer_state)
        E = math.prod(shape)
        rows = [xp.reshape(array, (E, -1)) for array in before]
        kept = [_copy(xp, array if kernel.is_block else array.T) for array in rows]  # the kernel changes copies
        alive = _copy(xp, xp.broadcast_to(xp.reshape(xp.asarray(finite), (-1,)), (E,)))
        losses = xp.zeros((len(epochs), E), dtype=xp.float64)
        given = {
            "networks": E,
            "samples": segment.size,
            "position": segment.position,
            "epoch": epochs[0] % 2**32,
            "epochs": len(epochs),
            "loss_weight": segment.batch_size / segment.size,
            "finite": alive,
            "loss_of_epoch": losses,
            **segment.keys,
            **segment.samples,
            **segment.rates,
            **{f"{name}_rows": rate.shape[0] for name, rate in segment.rates.items()},
            **segment.fixed,
        }
        if "order_key" in segment.keys:
            given["orders"] = self._orders(segment, epochs, launch)
        parameters = {name for _, name in kernel.arguments}
        for name, array in zip(_names_of_states(before), kept, strict=True):
            given[f"{name}_kept"] = array
            if f"{name}_" in parameters:
                given[f"{name}_"] = xp.empty_like(array)
        for name, buffer in program.buffers.items():
            if buffer.kind == "constant":
                given[name] = self._backend.asarray(numpy.asarray(buffer.values, buffer.dtype))
        self._run(launch, kernel, given, segment.steps)
        after = kept if kernel.is_block else [_copy(xp, array.T) for array in kept]
        if len(epochs) == 1:  # a network may have diverged in a later launch for the epoch
            after = [xp.where(alive[:, None], new, old) for new, old in zip(after, rows, strict=True)]
        arrays = [xp.reshape(new, old.shape) for new, old in zip(after, before, strict=True)]
        losses = xp.astype(losses, state.theta.dtype)
        return (
            type(state)(arrays[0], tuple(arrays[1:])),
            xp.reshape(alive, shape),
            xp.reshape(losses, (len(epochs), *shape)),
        )

    def _module(self, state: Any, segment: Segment) -> tuple[Program, Kernel, Launch]:
        """Return the program of a segment, its kernel, and the compiled module."""
        layout = _layout(segment)
        if layout not in self._modules:
            program = _program(self._step, state, segment)
            kernel = cuda_kernel(program, layout, self._compiler.shared_memory)
            self._modules[layout] = program, kernel, self._compiler.load(kernel.source)
        return self._modules[layout]

    def _orders(self, segment: Segment, epochs: range, launch: Launch) -> Any:
        """Return the orders of the samples in some epochs, of shape (epochs, N, E or 1)."""
        keys = segment.keys["order_key"]
        orders = self._backend.xp.empty((len(epochs), segment.size, len(keys)), dtype=self._backend.xp.uint32)
        sizes = [numpy.int32(len(keys)), numpy.int32(segment.size)]
        range_ = [numpy.uint32(epochs[0] % 2**32), numpy.int32(len(epochs))]
        blocks = -(-len(epochs) * len(keys) // NETWORKS_OF_BLOCK)
        launch("permutations", blocks, NETWORKS_OF_BLOCK, 0, [*sizes, *range_, keys, orders])
        return orders

    def _run(self, launch: Launch, kernel: Kernel, given: Mapping[str, Any], steps: int) -> None:
        """Launch the kernel for all steps; for one epoch there are several launches if one would take too long."""
        step, epochs = 0, given["epochs"]
        while step < steps:
            at_once = max(int(MAX_LAUNCH_SECONDS * self._steps_per_second), 1)
            stop = steps if epochs > 1 else min(step + at_once, steps)
            values = {**given, "begin": step, "end": stop}
            call = [_SCALARS.get(kind, lambda array: array)(values[name]) for kind, name in kernel.arguments]
            started = time.perf_counter()
            launch("kernel", *kernel.shape(values["networks"]), kernel.shared_bytes, call)
            self._backend.synchronize()
            self._steps_per_second = (stop - step) * epochs / max(time.perf_counter() - started, 1e-6)
            step = stop


@cache
def _hint() -> None:
    """Warn once in a process."""
    msg = (
        "one thread of the GPU trains this network, which a core of a CPU does faster: use device='cpu', "
        "or train many networks at once with ensemble="
    )
    warnings.warn(msg, UserWarning, stacklevel=8)


def _names_of_states(arrays: Sequence[Any]) -> list[str]:
    return ["theta", *(f"s{i}" for i in range(len(arrays) - 1))]


def _program(step: Any, state: Any, segment: Segment) -> Program:
    """Return the loops of a step."""
    return fuse(lower(*record(step, state, segment)))


def _layout(segment: Segment) -> Layout:
    shuffled, per_network = "order_key" in segment.keys, segment.per_network
    return Layout(segment.batch_size, False, shuffled, segment.padded, False, per_network)


def _segment(backend: Backend, batches: Any, epoch: int) -> Segment:
    """Return all samples, or those that an epoch takes, and the other inputs of the steps, as arrays on the GPU."""
    xp, N, m = backend.xp, batches.size, batches.batch_size
    which = batches.order(epoch) if batches.orders else slice(None)
    columns = zip(("X", "Y", "weight"), batches.samples.columns(which, batches.networks), strict=True)
    rows = {name: _with_networks(xp, array.mT, 3) for name, array in columns if array is not None}
    if N % m and "weight" not in rows:
        rows["weight"] = xp.ones((1, N, 1), dtype=rows["X"].dtype)
    keys = {}
    if batches.order_keys is not None:
        keys["order_key"] = backend.asarray(batches.order_keys)
    if batches.masks is not None:
        keys["mask_key"] = backend.asarray(batches.masks.keys)
    present = batches.regularization.get("present")
    fixed = {} if present is None else {"present": _with_networks(xp, present, 2)}
    return Segment(m, 0, N, N % m > 0, rows, keys, masks_of(batches), rates_of(batches), fixed)


def _with_networks(xp: Any, array: Any, axes: int) -> Any:
    """Return a contiguous array with a leading axis of networks."""
    return _copy(xp, array if array.ndim == axes else array[None, ...])


def _copy(xp: Any, array: Any) -> Any:
    """Return a copy in C order: reshaping makes it, unless the array is in that order already."""
    return xp.asarray(xp.reshape(xp.reshape(array, (-1,)), array.shape), copy=True)
