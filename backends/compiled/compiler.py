"""Training with compiled kernels; the results equal those of separate steps up to rounding."""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, starmap
from typing import Any

import numpy

from xpnet.backends.base import CannotCompile, first_line
from xpnet.backends.compiled.cache import load
from xpnet.backends.compiled.fuse import fuse
from xpnet.backends.compiled.loops import Buffer, Program
from xpnet.backends.compiled.lower import lower
from xpnet.backends.compiled.printer import LANES, Layout, source
from xpnet.backends.compiled.recorder import Recorder

BLAS_THRESHOLD = 2048
"""BLAS computes matrix products of at least this number of multiplications."""

MIN_NETWORKS_FOR_LANES = {"float64": 16, "float32": 8}
"""The minimum number of networks for lanes: fewer networks take less time one after the other."""

MAX_BLOCK_BYTES = 2**22
"""The maximum size of the states of 64 networks in lanes, in bytes."""

MAX_COPIED_BYTES = 2**24
"""The maximum size of all samples, in bytes, for them to be converted once for all epochs."""

MAX_KERNEL_SECONDS = 0.3
"""The maximum duration of a call of a kernel, so that Ctrl-C interrupts the training soon."""

MAX_MULTIPLICATIONS = 10**6
"""The maximum number of multiplications per step for `is_worthwhile`: larger steps spend their time in BLAS anyway."""

MIN_SECONDS_SAVED, MIN_SECONDS_SAVED_WITH_LANES = 2.0, 6.0
"""The minimum time that compiling must save: compiling takes 2 to 4 seconds, with lanes 3 to 10, and is cached."""


def available_threads() -> int:
    """Return the number of threads: the available cores, limited by OMP_NUM_THREADS (joblib sets it in workers)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores


@dataclass(frozen=True)
class Segment:
    """A part of an epoch: consecutive batches of the same size, as the arrays that a kernel reads.

    Attributes
    ----------
    batch_size : int
        The samples of a step.
    steps : int
        The number of steps.
    order : array of int of shape (E or 1, rows), or None
        The order of the samples.
    samples : dict of str to array of shape (E or 1, N, n)
        Inputs, targets and weights.
    masks : dict of str to array of bool of shape (E or 1, rows, n)
        Dropout masks.
    rates : dict of str to array of shape (steps or 1, E or 1)
        Learning rates and regularization strengths.
    """

    batch_size: int
    steps: int
    order: Any
    samples: dict[str, Any]
    masks: dict[str, Any]
    rates: dict[str, Any]

    def layout(self, networks: int, size: int, dtype: str) -> Layout:
        """Return the layout of a kernel for a number of networks, each with a state of `size` bytes."""
        arrays = self.samples | self.masks | {"order": self.order}
        per_network = {name for name, array in arrays.items() if array is not None and array.shape[0] > 1}
        per_network |= {name for name, array in self.rates.items() if array.shape[1] > 1}
        lanes = networks >= MIN_NETWORKS_FOR_LANES[dtype] and size * LANES <= MAX_BLOCK_BYTES
        return Layout(self.batch_size, lanes, self.order is not None, frozenset(per_network))

    @property
    def arrays(self) -> list[Any]:
        """The arrays in the order of a kernel's arguments."""
        order = numpy.zeros((1, 1), "int64") if self.order is None else self.order
        return [order, *self.samples.values(), *self.masks.values(), *self.rates.values()]


def record(step: Any, state: Any, segment: Segment, blas_threshold: float = BLAS_THRESHOLD) -> Program:
    """Return the loops of a step of one network.

    Parameters
    ----------
    step : Step
        The step; it is called with a `Recorder` as its namespace.
    state : State
        The state, with or without an axis of networks; only its shapes and types are used.
    segment : Segment
        The other inputs; only their shapes and types are used.
    blas_threshold : float
        BLAS computes matrix products of at least this number of multiplications.

    Returns
    -------
    program : Program
        The fused loops.

    Raises
    ------
    CannotCompile
        If an operation of the step cannot be recorded.
    """
    theta, networks_axis = state.theta, state.theta.ndim - 1
    dtype, m = str(theta.dtype), segment.batch_size
    recorder, buffers = Recorder(dtype), {}

    def add_input(name: str, shape: tuple[int, ...], array: Any, kind: str, size: int) -> Any:
        number_type = str(array.dtype)
        if number_type not in ("float64", "float32", "bool"):
            what = "an optimizer state" if kind == "state" else name
            msg = f"{what} of {number_type}"
            raise CannotCompile(msg)
        buffers[name] = Buffer(name, size, number_type, kind)
        return recorder.input(name, shape, number_type)

    rows = {
        name: add_input(name, (array.shape[-1], m), array, kind, array.shape[-1])
        for kind, arrays in (("sample", segment.samples), ("mask", segment.masks))
        for name, array in arrays.items()
    }
    rates = {name: add_input(name, (), array, "rate", 1) for name, array in segment.rates.items()}
    states = {}
    for name, array in {"theta": theta, **{f"s{i}": array for i, array in enumerate(state.optimizer_state)}}.items():
        shape = tuple(array.shape[networks_axis:])
        states[name] = add_input(name, shape, array, "state", int(numpy.prod(shape)))
    masks = [rows.get(f"mask{l}") for l in range(len(step.dropout_rates))] if segment.masks else ()
    inputs = (rows["X"], rows["Y"], rates.pop("learning_rate"), rows.get("weight"), masks, rates)
    before = type(state)(states["theta"], tuple(array for name, array in states.items() if name != "theta"))
    try:
        after, loss = replace(step, xp=recorder)(before, inputs)
    except CannotCompile:
        raise
    except Exception as error:  # a custom function may be written for one array library
        msg = f"{type(error).__name__}: {first_line(error)}"
        raise CannotCompile(msg) from error
    for array, old in zip((after.theta, *after.optimizer_state), (before.theta, *before.optimizer_state), strict=True):
        if (array.shape, array.dtype) != (old.shape, old.dtype):
            msg = (
                f"an optimizer that makes {array.dtype}{array.shape} from {old.dtype}{old.shape} for one network; "
                "it may hold an array with a number for each network"
            )
            raise CannotCompile(msg)
    buffers["loss"] = Buffer("loss", 1, loss.node.dtype, "scratch")
    outputs = {"loss": loss.node, "theta": after.theta.node}
    outputs |= {f"s{i}": array.node for i, array in enumerate(after.optimizer_state)}
    return fuse(lower(buffers, outputs, recorder.constants, blas_threshold=blas_threshold))


class Compiler:
    """Trains networks with compiled kernels.

    Parameters
    ----------
    announce : callable, optional
        Called before a kernel is compiled that is not in the cache.
    n_threads : int, optional
        The number of threads for the networks of an ensemble, by default `available_threads()`. The results do not
        depend on it.
    """

    def __init__(self, announce: Callable[[], None] = lambda: None, n_threads: int | None = None) -> None:
        self.announce = announce
        self.n_threads = n_threads or available_threads()
        self._kernels: dict[Any, Any] = {}
        self._rows_cache: dict[Any, tuple[Any, dict[str, Any] | None]] = {}
        self._constant_batches: dict[int, tuple[Any, list[Any]]] = {}
        self._rows_per_second = 0.0  # not yet measured: the first call takes one step

    def train_epoch(self, step: Any, state: Any, batches: Any) -> tuple[Any, Any]:
        """Take a training step for every batch of an epoch.

        Parameters
        ----------
        step, state, batches
            As for `Backend.train_epoch`; the arrays of the state are changed in place.

        Returns
        -------
        state : State
            The last state.
        loss : array of shape (...)
            The loss before each step, averaged over the samples.

        Raises
        ------
        CannotCompile
            If an operation of the step cannot be recorded.
        """
        shape = state.theta.shape[:-1]
        states = [
            numpy.ascontiguousarray(array.reshape(*(shape or (1,)), -1))
            for array in (state.theta, *state.optimizer_state)
        ]
        losses = numpy.zeros(states[0].shape[0])
        for segment, layout, kernel, constants in self._segments_with_kernels(step, state, batches):
            loss_weight = segment.batch_size / batches.samples.size
            self._run(kernel, layout, segment.steps, [*segment.arrays, *states, *constants, losses, loss_weight])
        arrays = [
            new.reshape(old.shape) for new, old in zip(states, (state.theta, *state.optimizer_state), strict=True)
        ]
        return type(state)(arrays[0], tuple(arrays[1:])), losses.astype(state.theta.dtype).reshape(shape)[()]

    def _segments_with_kernels(
        self, step: Any, state: Any, batches: Any
    ) -> Iterable[tuple[Segment, Layout, Any, list[Any]]]:
        """Return the segments of an epoch with their kernels, from a cache if all epochs have the same batches."""
        cached = self._constant_batches.get(id(batches))
        if cached is not None:
            return cached[1]
        work = ((segment, *self._kernel(step, state, segment)) for segment in self._segments(batches))
        changes = any(each is not None for each in (batches.order, batches.factors, batches.masks))
        if changes or self._all_rows(batches.samples, batches.networks) is None:
            return work
        # A reference to the batches ensures that no other object gets their id.
        self._constant_batches[id(batches)] = (batches, list(work))
        return self._constant_batches[id(batches)][1]

    def permutations(self, keys: Any, N: int) -> Any:
        """Return permutations of the samples, as `xpnet.backends.permutations` does."""
        from xpnet.backends.compiled import random  # here, because importing Numba takes long

        return self._in_chunks(lambda part: random.permutations(keys[part], N), len(keys))

    def keep_masks(self, keys: Any, first: int, last: int, rates: Any) -> Any:
        """Return dropout masks, as `xpnet.backends.keep_masks` does."""
        from xpnet.backends.compiled import random

        return self._in_chunks(lambda part: random.keep_masks(keys[part], first, last, rates), len(keys))

    def _in_chunks(self, draw: Callable[[slice], Any], networks: int) -> Any:
        """Return the concatenated results of a function, called for chunks of the networks in parallel."""
        parts = self._parts(networks)
        if len(parts) == 1:
            return draw(slice(None))
        return numpy.concatenate(list(self._pool.map(draw, starmap(slice, parts))))

    def _parts(self, networks: int, unit: int = 1) -> list[tuple[int, int]]:
        """Return a range of networks for each thread, of whole units except for the last one."""
        units = -(-networks // unit)
        count = min(self.n_threads, units)
        return list(pairwise(min(unit * (units * k // count), networks) for k in range(count + 1)))

    def is_worthwhile(self, step: Any, state: Any, batch_size: int, steps: int, epochs: int) -> bool:
        """Return whether compiling saves clearly more time than it takes.

        Compiling saves NumPy's overhead for each operation, some 10 µs per layer and step, and the transfer of small
        arrays through memory, some 2 ns for each sample, parameter and network. `epochs` counts from the initialization
        of the weights, so that a training that is interrupted and resumed makes the same choice.
        """
        networks = state.theta.size // state.theta.shape[-1]
        multiplications = batch_size * state.theta.shape[-1]
        if multiplications > MAX_MULTIPLICATIONS:
            return False
        saved = epochs * steps * (10e-6 * len(step.activations) + 2e-9 * multiplications * networks)
        return bool(
            saved
            > (
                MIN_SECONDS_SAVED_WITH_LANES
                if networks >= MIN_NETWORKS_FOR_LANES[str(state.theta.dtype)]
                else MIN_SECONDS_SAVED
            )
        )

    def explain(self, step: Any, state: Any, batches: Any) -> str:
        """Return the loops of a step as text, with a description of how they are executed.

        Parameters
        ----------
        step, state, batches
            As for `Backend.train_epoch`.

        Returns
        -------
        text : str
            Comments, then the buffers, then the loops for one step of one network.

        Raises
        ------
        CannotCompile
            If an operation of the step cannot be recorded.
        """
        segment = next(self._segments(batches))
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

    def compile(self, step: Any, state: Any, batches: Any) -> None:
        """Compile the kernels of an epoch, without training."""
        for segment in self._segments(batches):
            self._kernel(step, state, segment)

    def _segments(self, batches: Any) -> Iterator[Segment]:
        """Yield the segments of an epoch, as large as memory permits; a smaller last batch is a separate segment."""
        N, m = batches.samples.size, batches.batch_size
        all_rows = self._all_rows(batches.samples, batches.networks)
        chunk_size = N if all_rows and batches.masks is None else batches.samples_at_once
        for start, stop, size in ((0, N - N % m, m), (N - N % m, N, N % m)):
            for first in range(start, stop, chunk_size):
                last = min(first + chunk_size, stop)
                order = batches.order
                if all_rows and order is not None:
                    samples = all_rows
                    order = numpy.ascontiguousarray(order[..., first:last]).reshape(-1, last - first)
                else:
                    which = slice(first, last) if order is None else order[..., first:last]
                    samples = _rows(batches.samples, which, batches.networks)
                    order = None
                yield Segment(
                    size,
                    -(-(last - first) // size),
                    order,
                    samples,
                    _masks(batches, first, last),
                    _rates(batches, first // m),
                )

    def _all_rows(self, samples: Any, networks: Any) -> dict[str, Any] | None:
        """Return all samples as rows, or None if that would copy much data."""
        key = (id(samples), str(networks))
        if key not in self._rows_cache:
            is_small = samples.size * (samples.X.shape[-1] + samples.outputs) * 8 <= MAX_COPIED_BYTES
            contiguous = all(array is None or array.flags.c_contiguous for array in (samples.X, samples.Y))
            rows = _rows(samples, slice(None), networks) if is_small or (samples.are_ready and contiguous) else None
            # A reference to the samples ensures that no other object gets their id.
            self._rows_cache[key] = (samples, rows)
        return self._rows_cache[key][1]

    def _kernel(self, step: Any, state: Any, segment: Segment) -> tuple[Layout, Any, list[Any]]:
        """Return the layout, the kernel and its constants for a segment."""
        states, layout = (state.theta, *state.optimizer_state), _layout(state, segment)
        key = (layout, *segment.samples, *segment.masks)
        cached = self._kernels.get(key)
        if cached is None or cached[0] is not step:
            text, constants = _text(step, state, segment, layout)
            empty_states = [numpy.zeros((1, 1), array.dtype) for array in states]
            kernel = load(
                text, (0, 0, 0, 0, *segment.arrays, *empty_states, *constants, numpy.zeros(1), 0.0), self.announce
            )
            cached = self._kernels[key] = (step, layout, kernel, constants)
        return cached[1:]

    def _run(self, kernel: Any, layout: Layout, steps: int, arguments: list[Any]) -> None:
        """Call a kernel for all steps, in calls of limited duration, with blocks of networks on several threads."""
        networks = arguments[-2].shape[0]
        parts = self._parts(networks, LANES if layout.lanes else 1)
        step = 0
        while step < steps:
            rows = layout.batch_size * networks
            stop = min(step + max(int(MAX_KERNEL_SECONDS * self._rows_per_second / rows), 1), steps)
            started = time.perf_counter()
            if len(parts) == 1:
                kernel(0, networks, step, stop, *arguments)
            else:
                list(self._pool.map(lambda part, step=step, stop=stop: kernel(*part, step, stop, *arguments), parts))
            self._rows_per_second = rows * (stop - step) / max(time.perf_counter() - started, 1e-6)
            step = stop

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.n_threads, thread_name_prefix="xpnet")


_TEXTS: dict[Any, tuple[str, list[Any]]] = {}
"""The sources of kernels of built-in functions: recording and printing take longer than many small epochs."""


def _description(step: Any, state: Any, segment: Segment, layout: Layout) -> Any:
    """Return what the source of a kernel depends on, or None if the step has custom functions, which may change."""
    parts = (*step.activations, step.loss, step.optimizer)
    functions = [getattr(each, "func", each) for part in parts for each in part if callable(each)]
    if not all(str(getattr(each, "__module__", "")).startswith("xpnet.") for each in functions):
        return None
    arrays = (state.theta, *state.optimizer_state)
    shapes = [(str(array.dtype), array.shape[state.theta.ndim - 1 :]) for array in arrays]
    names = [*segment.samples, *segment.masks, *segment.rates]
    described = (
        step.layout.layer_list,
        parts,
        step.dropout_rates,
        shapes,
        names,
        sorted(layout.per_network),
        layout[:3],
    )
    return pickle.dumps(described)


def _program(step: Any, state: Any, segment: Segment, layout: Layout) -> Program:
    """Return the loops of a step: those in lanes have no matrices for BLAS."""
    return record(step, state, segment, math.inf if layout.lanes else BLAS_THRESHOLD)


def _text(step: Any, state: Any, segment: Segment, layout: Layout) -> tuple[str, list[Any]]:
    """Return the source of a kernel, and the values of its constants."""
    key = _description(step, state, segment, layout)
    if key in _TEXTS:
        return _TEXTS[key]
    program = _program(step, state, segment, layout)
    constants = [
        numpy.asarray(buffer.values, buffer.dtype) for buffer in program.buffers.values() if buffer.kind == "constant"
    ]
    text = source(program, layout)
    if key is not None:
        _TEXTS[key] = text, constants
    return text, constants


def _layout(state: Any, segment: Segment) -> Layout:
    networks = state.theta.shape[0] if state.theta.ndim > 1 else 1
    size = sum(array.nbytes for array in (state.theta, *state.optimizer_state)) // networks
    return segment.layout(networks, size, str(state.theta.dtype))


def _rows(samples: Any, which: Any, networks: Any) -> dict[str, Any]:
    """Return inputs, targets and weights of some samples, each of shape (E or 1, samples, n)."""
    columns = zip(("X", "Y", "weight"), samples.columns(which, networks), strict=True)
    return {name: _with_networks(array.mT) for name, array in columns if array is not None}


def _masks(batches: Any, first: int, last: int) -> dict[str, Any]:
    """Return the dropout masks for a range of positions in the epoch, each of shape (E or 1, last - first, units)."""
    drawn = batches.masks.draw(first, last) if batches.masks is not None else ()
    return {f"mask{l}": _with_networks(mask.mT) for l, mask in enumerate(drawn) if mask is not None}


def _rates(batches: Any, step: int) -> dict[str, Any]:
    """Return learning rates and regularization strengths from a step on, each of shape (steps or 1, E or 1)."""
    rate = numpy.reshape(batches.learning_rate, (1, -1))
    if batches.factors is not None:
        factors = batches.factors[step:]
        rate = rate * factors.reshape(factors.shape[0], -1)
    strengths = {
        name: numpy.asarray(value, rate.dtype).reshape(1, -1) for name, value in batches.regularization.items()
    }
    return {"learning_rate": numpy.ascontiguousarray(rate), **strengths}


def _with_networks(array: Any) -> Any:
    array = numpy.ascontiguousarray(array if array.ndim > 2 else array[None])[...]
    # Numba compiles again for read-only arrays, which a caller may pass; therefore all arrays are read-only.
    array.flags.writeable = False
    return array
