"""Training with compiled kernels; the results equal those of separate steps up to rounding."""

from __future__ import annotations

import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy

from xpnet.backends.compiled.cache import load
from xpnet.backends.compiled.cpu import ALIGNMENT, LANES, source
from xpnet.backends.compiled.fuse import fuse
from xpnet.backends.compiled.loops import Program
from xpnet.backends.compiled.lower import lower
from xpnet.backends.compiled.recording import Layout, Segment, masks_of, rates_of, record

BLAS_THRESHOLD = 2048
"""BLAS computes matrix products of at least this number of multiplications."""

MIN_NETWORKS_FOR_LANES = {"float64": 32, "float32": 16}
"""The minimum number of networks for lanes: fewer networks take less time one after the other, on two threads."""

MAX_BLOCK_BYTES = 2**22
"""The maximum size of the states of 64 networks in lanes, in bytes."""

MAX_COPIED_BYTES = 2**24
"""The maximum size of all samples, in bytes, for them to be converted once for all epochs."""

MAX_ORDERS_BYTES = 2**26
"""The maximum size of the orders of the samples for 64 networks in lanes, in bytes."""

MAX_INPUTS_BYTES = 2**18
"""The maximum size of the inputs of a batch for 64 networks in lanes, in bytes, if each takes rows that are given."""

MAX_KERNEL_SECONDS = 0.3
"""The maximum duration of a call of a kernel, so that Ctrl-C interrupts the training soon."""

MAX_SPARE_BYTES = 2**26
"""The maximum size of the working memory that is kept for the next training, in bytes."""

MIN_SECONDS_SAVED, MIN_SECONDS_SAVED_WITH_LANES = 2.0, 6.0
"""The minimum time that compiling must save: compiling takes 1 to 3 seconds, with lanes 2 to 10, and is cached."""


def available_threads() -> int:
    """Return the number of threads: the available cores, limited as for OpenMP and BLAS.

    The limits are OMP_NUM_THREADS, which joblib sets in its workers, and those that threadpoolctl has set.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    variable, pools = os.environ.get("OMP_NUM_THREADS", ""), sys.modules.get("threadpoolctl")
    limits = [int(variable)] if variable.isdigit() and int(variable) else []
    limits += [pool["num_threads"] for pool in pools.threadpool_info()] if pools else []
    return min([cores, *limits])


class Compiler:
    """Compiles training steps.

    Parameters
    ----------
    announce : callable, optional
        Called before a kernel is compiled that is not in the cache.
    n_threads : int, optional
        The number of threads for the networks of an ensemble, by default `available_threads()`. The results do not
        depend on it.
    """

    def __init__(self, announce: Callable[[], None] = lambda: None, n_threads: int | None = None) -> None:
        self.announce, self._given_threads = announce, n_threads
        self._rows: dict[tuple[Any, str], dict[str, Any]] = {}

    @cached_property
    def n_threads(self) -> int:
        """The number of threads; to find the limits takes as long as a hundred small steps."""
        return self._given_threads or available_threads()

    def is_worthwhile(self, sizes: Sequence[int], state: Any, batch_size: int, steps: int, epochs: int) -> bool:
        """Return whether compiling saves clearly more time than it takes.

        Compiling saves NumPy's overhead for each operation, some 10 µs per layer and step, and the transfer of
        intermediate results through memory, some 4 ns for each parameter, and for each unit and sample. `epochs` counts
        from the initialization of the weights, so that a training that is interrupted and resumed makes the same
        choice.
        """
        networks = state.theta.size // state.theta.shape[-1]
        numbers = networks * (state.theta.shape[-1] + batch_size * sum(sizes[1:]))
        saved = epochs * steps * (10e-6 * (len(sizes) - 1) + 4e-9 * numbers)
        lanes = networks >= MIN_NETWORKS_FOR_LANES[str(state.theta.dtype)]
        return bool(saved > (MIN_SECONDS_SAVED_WITH_LANES if lanes else MIN_SECONDS_SAVED))

    def compile(self, step: Any, state: Any, batches: Any) -> CompiledTraining:
        """Compile the training step of some networks.

        Parameters
        ----------
        step : Step
            The step.
        state : State
            The initial state.
        batches : Batches
            The batches of the training.

        Returns
        -------
        training : CompiledTraining
            The compiled code, ready to train.

        Raises
        ------
        CannotCompile
            If an operation of the step cannot be recorded.
        """
        training = CompiledTraining(self, step, batches)
        training.prepare(state)
        return training

    def explain(self, step: Any, state: Any, batches: Any) -> str:
        """Return the loops of a step as text, with a description of how they are executed.

        Parameters
        ----------
        step, state, batches
            As for `compile`.

        Returns
        -------
        text : str
            Comments, then the buffers, then the loops for one step of one network.

        Raises
        ------
        CannotCompile
            If an operation of the step cannot be recorded.
        """
        segment = next(CompiledTraining(self, step, batches).segments(0))
        layout = _layout(state, segment)
        if layout.lanes:
            how = f"{LANES} networks in the lanes of each innermost loop, blocks of them on {self.n_threads} threads"
        else:
            how = f"one network after the other, matrix products of {BLAS_THRESHOLD:,} multiplications or more by BLAS"
        per_network = ", ".join(sorted(layout.per_network)) or "nothing"
        program = _program(step, state, segment, layout)
        return (
            f"# {how}\n# for each network separately: {per_network}\n"
            f"# for each step of {segment.batch_size} samples:\n{program}"
        )

    def rows_of(self, samples: Any, networks: Any) -> dict[str, Any] | None:
        """Return all samples as rows, once for all networks that share them, or None if that would copy much data."""
        is_small = samples.size * (samples.X.shape[-1] + samples.outputs) * 8 <= MAX_COPIED_BYTES
        contiguous = all(array is None or array.flags.c_contiguous for array in (samples.X, samples.Y))
        if not (is_small or (samples.are_ready and contiguous)):
            return None
        shared = all(array is None or array.ndim == 2 for array in (samples.X, samples.Y, samples.weight))
        key = (samples, "" if shared else str(networks))
        if key not in self._rows:
            self._rows[key] = _rows(samples, slice(None), networks)
        return self._rows[key]

    def parts(self, networks: int, unit: int) -> list[tuple[int, int]]:
        """Return a range of networks for each thread, of whole units except for the last one."""
        units = -(-networks // unit)
        count = min(self.n_threads, units)
        return list(pairwise(min(unit * (units * k // count), networks) for k in range(count + 1)))

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads."""
        return ThreadPoolExecutor(self.n_threads, thread_name_prefix="xpnet")


class CompiledTraining:
    """Trains some networks with compiled kernels; from `Compiler.compile`.

    Parameters
    ----------
    compiler : Compiler
        The compiler.
    step : Step
        The step of the networks.
    batches : Batches
        Their batches.
    """

    def __init__(self, compiler: Compiler, step: Any, batches: Any) -> None:
        self._compiler, self._step, self._batches = compiler, step, batches
        self._kernels: dict[Layout, tuple[Any, list[Any], int]] = {}
        self._steps_per_second = 0.0  # not yet measured: the first call takes one step
        rows = compiler.rows_of(batches.samples, batches.networks)
        self._whole = None if rows is None else self._segment(0, batches.size, rows, shuffles=True)

    def prepare(self, state: Any) -> None:
        """Compile the kernel of the first segment: all have the same."""
        orders = self._batches.orders
        self._kernel(state, next(self.segments(orders.epoch if orders else 0)))

    @property
    def epochs_at_once(self) -> int:
        """How many epochs `train` can train for without exceeding the maximum duration of a kernel's call."""
        if self._whole is None or self._batches.orders:
            return 1
        return max(int(MAX_KERNEL_SECONDS * self._steps_per_second / self._whole.steps), 1)

    def train(self, state: Any, finite: Any, epochs: range, factors: Any = None) -> tuple[Any, Any, Any]:
        """Take a training step for every batch of some epochs.

        Parameters
        ----------
        state : State
            The state, which does not change.
        finite : array of bool of shape (...), or True
            Which networks have not diverged.
        epochs : range
            The epochs, counted from 0 since the weights were initialized; only one if `epochs_at_once` is 1.
        factors : array of shape (steps,) or (steps, E), optional
            The factors on the learning rates, for the steps of all epochs.

        Returns
        -------
        state : State
            The last state, of networks that diverged the last finite one.
        finite : array of bool of shape (...)
            Which networks have not diverged.
        losses : array of shape (epochs, ...)
            The loss before each step, averaged over the samples of each epoch; NaN for networks that diverged.

        Raises
        ------
        CannotCompile
            If an operation of the step cannot be recorded.
        """
        shape, dtype = state.theta.shape[:-1], state.theta.dtype
        networks, N = math.prod(shape), self._batches.size
        before = [array.reshape(networks, -1) for array in (state.theta, *state.optimizer_state)]
        after = [numpy.array(array, order="C") for array in before]
        finite = numpy.array(numpy.broadcast_to(finite, shape)).reshape(networks)
        losses = numpy.zeros((len(epochs), networks))
        for segment in self.segments(epochs[0], factors):
            layout, kernel, constants, memory_size = self._kernel(state, segment)
            others = [*segment.arrays, *after, *constants, finite, losses, segment.batch_size / N]
            self._run(kernel, layout, segment, epochs, memory_size, others)
        if len(epochs) == 1 and not finite.all():  # a network may have diverged in a later segment of the epoch
            for old, new in zip(before, after, strict=True):
                new[~finite] = old[~finite]
        arrays = [new.reshape(old.shape) for new, old in zip(after, (state.theta, *state.optimizer_state), strict=True)]
        return (
            type(state)(arrays[0], tuple(arrays[1:])),
            finite.reshape(shape),
            losses.astype(dtype).reshape(len(epochs), *shape),
        )

    def segments(self, epoch: int, factors: Any = None) -> Iterator[Segment]:
        """Yield the segments of an epoch, or a single one for more epochs, as large as memory permits."""
        if self._whole is not None:
            whole = self._whole
            if self._batches.orders:
                whole = replace(whole, keys={**whole.keys, "order_key": _rows_of(self._batches.order(epoch))})
            yield whole if factors is None else replace(whole, rates=rates_of(self._batches, factors))
            return
        from xpnet.backends.compiled import random  # here, because importing Numba takes long

        batches = self._batches
        N, m, order = batches.size, batches.batch_size, batches.order(epoch, random.permutations)
        for start in range(0, N, batches.samples_at_once):
            stop = min(start + batches.samples_at_once, N)
            rows = _rows(
                batches.samples, slice(start, stop) if order is None else order[..., start:stop], batches.networks
            )
            yield self._segment(start, stop, rows, None if factors is None else factors[start // m :])

    def _segment(
        self, start: int, stop: int, rows: dict[str, Any], factors: Any = None, *, shuffles: bool = False
    ) -> Segment:
        """Return a segment; its kernel may shuffle the rows if they are those of all samples."""
        batches, keys = self._batches, {}
        N, m = batches.size, batches.batch_size
        given = shuffles and batches.orders is not None
        if given:
            keys["order_key"] = _rows_of(batches.order(batches.orders.epoch))
        elif shuffles and batches.order_keys is not None:
            keys["order_key"] = batches.order_keys.astype("uint64")
        if batches.masks is not None:
            keys["mask_key"] = batches.masks.keys.astype("uint64")
        if N % m and "weight" not in rows:
            rows = {**rows, "weight": _with_networks(numpy.ones((rows["X"].shape[1], 1), rows["X"].dtype))}
        inputs = masks_of(batches), rates_of(batches, factors), _fixed(batches)
        return Segment(m, start, stop - start, N % m > 0, rows, keys, *inputs, given)

    def _kernel(self, state: Any, segment: Segment) -> tuple[Layout, Any, list[Any], int]:
        """Return the layout, the kernel, its constants, and the size of its working memory, for a segment."""
        layout = _layout(state, segment)
        if layout not in self._kernels:
            text, size, constants = _text(self._step, state, segment, layout)
            states = [numpy.zeros((1, 1), array.dtype) for array in (state.theta, *state.optimizer_state)]
            nothing = [*[0] * 8, _memory(size), *segment.arrays, *states, *constants]
            nothing += [numpy.zeros(1, "bool"), numpy.zeros((1, 1)), 0.0]
            self._kernels[layout] = load(text, tuple(nothing), self._compiler.announce), constants, size
        return (layout, *self._kernels[layout])

    def _run(
        self, kernel: Any, layout: Layout, segment: Segment, epochs: range, memory_size: int, others: list[Any]
    ) -> None:
        """Call a kernel for all steps, with blocks of networks on several threads.

        A call for one epoch may exceed the maximum duration of a call; then there are several for a part of the steps.
        """
        step, steps = 0, segment.steps
        parts = self._compiler.parts(others[-2].shape[1], LANES if layout.lanes else 1)
        # An interrupt leaves threads that still use their memory: it is spare again only after they have ended.
        memory: list[Any] = []
        with suppress(IndexError):
            memory = _SPARE.pop()
        if len(memory) < len(parts) or memory[0].size < memory_size:
            memory = [_memory(memory_size) for _ in parts]
        while step < steps:
            at_once = max(int(MAX_KERNEL_SECONDS * self._steps_per_second), 1)
            stop = steps if len(epochs) > 1 else min(step + at_once, steps)
            ranges = (step, stop, segment.size, segment.position, epochs[0], len(epochs))
            calls = [(*part, *ranges, own, *others) for part, own in zip(parts, memory, strict=False)]
            started = time.perf_counter()
            if len(calls) == 1:
                kernel(*calls[0])
            else:
                list(self._compiler.pool.map(lambda call: kernel(*call), calls))
            taken = (stop - step) * len(epochs)
            self._steps_per_second = taken / max(time.perf_counter() - started, 1e-6)
            step = stop
        if memory_size * len(parts) <= MAX_SPARE_BYTES:
            _SPARE[:] = [memory]


_SPARE: list[list[Any]] = []
"""The working memory of the last kernel, for the next one: new memory of many megabytes takes as long as a step."""


def _memory(size: int) -> Any:
    """Return working memory of so many bytes for a kernel, aligned."""
    memory = numpy.empty(size + ALIGNMENT, "uint8")
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


_TEXTS: dict[Any, tuple[str, int, list[Any]]] = {}
"""The sources of kernels of built-in functions: recording and printing take longer than many small epochs."""


def _description(step: Any, state: Any, segment: Segment, layout: Layout) -> Any:
    """Return what the source of a kernel depends on, or None if the step has custom functions, which may change."""
    parts = (*step.activations, step.loss, step.optimizer)
    functions = [getattr(each, "func", each) for part in parts for each in part if callable(each)]
    if not all(str(getattr(each, "__module__", "")).startswith("xpnet.") for each in functions):
        return None
    arrays = (state.theta, *state.optimizer_state)
    shapes = [(str(array.dtype), array.shape[state.theta.ndim - 1 :]) for array in arrays]
    names = [*segment.samples, *segment.rates, *segment.fixed]
    described = (
        step.layout.layer_list,
        parts,
        step.dropout_rates,
        shapes,
        names,
        sorted(layout.per_network),
        layout[:5],
        segment.masks,
    )
    return pickle.dumps(described)


def _program(step: Any, state: Any, segment: Segment, layout: Layout) -> Program:
    """Return the loops of a step: those in lanes have no matrices for BLAS."""
    return fuse(lower(*record(step, state, segment), blas_threshold=math.inf if layout.lanes else BLAS_THRESHOLD))


def _text(step: Any, state: Any, segment: Segment, layout: Layout) -> tuple[str, int, list[Any]]:
    """Return the source of a kernel, the size of its working memory, and the values of its constants."""
    key = _description(step, state, segment, layout)
    if key in _TEXTS:
        return _TEXTS[key]
    program = _program(step, state, segment, layout)
    constants = [
        numpy.asarray(buffer.values, buffer.dtype) for buffer in program.buffers.values() if buffer.kind == "constant"
    ]
    text = (*source(program, layout), constants)
    if key is not None:
        _TEXTS[key] = text
    return text


def _layout(state: Any, segment: Segment) -> Layout:
    """Return the layout of a kernel: networks are in lanes if there are many, and their arrays are small."""
    dtype, networks = str(state.theta.dtype), state.theta.shape[0] if state.theta.ndim > 1 else 1
    size = sum(array.nbytes for array in (state.theta, *state.optimizer_state)) // networks
    own_orders = 4 * segment.size if "order_key" in segment.per_network else 0
    own_inputs = segment.samples["X"][0, : segment.batch_size, :].nbytes if segment.given else 0
    fits = all(
        LANES * own <= maximum
        for own, maximum in ((size, MAX_BLOCK_BYTES), (own_orders, MAX_ORDERS_BYTES), (own_inputs, MAX_INPUTS_BYTES))
    )
    lanes = networks >= MIN_NETWORKS_FOR_LANES[dtype] and fits
    shuffled, per_network = "order_key" in segment.keys, segment.per_network
    return Layout(segment.batch_size, lanes, shuffled, segment.padded, segment.given, per_network)


def _rows_of(order: Any) -> Any:
    """Return the rows of an epoch as a kernel reads them, of shape (E or 1, rows)."""
    return numpy.ascontiguousarray(numpy.atleast_2d(order).astype("uint64"))


def _rows(samples: Any, which: Any, networks: Any) -> dict[str, Any]:
    """Return inputs, targets and weights of some samples, each of shape (E or 1, samples, n)."""
    columns = zip(("X", "Y", "weight"), samples.columns(which, networks), strict=True)
    return {name: _with_networks(array.mT) for name, array in columns if array is not None}


def _fixed(batches: Any) -> dict[str, Any]:
    """Return which parameters each network has, if not all, of shape (E, P)."""
    present = batches.regularization.get("present")
    return {} if present is None else {"present": numpy.ascontiguousarray(present)}


def _with_networks(array: Any) -> Any:
    array = numpy.ascontiguousarray(array if array.ndim > 2 else array[None])[...]
    # Numba compiles again for read-only arrays, which a caller may pass; therefore all arrays are read-only.
    array.flags.writeable = False
    return array
