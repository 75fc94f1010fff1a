"""An epoch through compiled kernels, with the same result as step by step."""

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

PRODUCT_FROM = 2048
"""From how many multiplications on a product of matrices is left to BLAS."""

SIDE_BY_SIDE = {"float64": 16, "float32": 8}
"""From how many networks on they run side by side: with fewer, one after the other takes less time."""

BLOCK = 2**22
"""How many bytes the states of 64 networks may take if they run side by side."""

SECONDS_AT_ONCE = 0.3
"""How long a kernel may run at a time, so that Ctrl-C is obeyed soon."""


PAYS_UP_TO = 10**6
"""Up to how many multiplications a step of a network has much to gain; larger ones spend their time in BLAS either way.
"""

SECONDS_FOR_ONE, SECONDS_FOR_LANES = 2.0, 6.0
"""How much time compiling must save: it takes 2 to 4 seconds, for networks side by side 3 to 10, and is cached."""


def available_threads() -> int:
    """Return how many threads may run: the cores of the process, or fewer if OMP_NUM_THREADS says so, as joblib's
    workers do.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores


@dataclass(frozen=True)
class Feed:
    """Samples of an epoch that a kernel takes, in batches of one size, and what belongs to their steps.

    Attributes
    ----------
    batch_size : int
        The samples of a step.
    steps : int
        How many steps there are.
    order : array of int of shape (E or 1, rows), or None
        In which order the samples are taken.
    samples : dict of str to array of shape (E or 1, N, n)
        Inputs, targets and weights.
    masks : dict of str to array of bool of shape (E or 1, rows, n)
        Dropout masks.
    rates : dict of str to array of shape (steps or 1, E or 1)
        Learning rates, and strengths of the regularization.
    """

    batch_size: int
    steps: int
    order: Any
    samples: dict[str, Any]
    masks: dict[str, Any]
    rates: dict[str, Any]

    def layout(self, networks: int, size: int, dtype: str) -> Layout:
        """Return how the arrays are shared, for so many networks with states of so many bytes."""
        arrays = self.samples | self.masks | {"order": self.order}
        own = {name for name, array in arrays.items() if array is not None and array.shape[0] > 1}
        own |= {name for name, array in self.rates.items() if array.shape[1] > 1}
        lanes = networks >= SIDE_BY_SIDE[dtype] and size * LANES <= BLOCK
        return Layout(self.batch_size, lanes, self.order is not None, frozenset(own))

    @property
    def arrays(self) -> list[Any]:
        """The arrays in the order of a kernel's arguments."""
        order = numpy.zeros((1, 1), "int64") if self.order is None else self.order
        return [order, *self.samples.values(), *self.masks.values(), *self.rates.values()]


def record(step: Any, state: Any, feed: Feed, product_from: float = PRODUCT_FROM) -> Program:
    """Return the loops of a step of one network.

    Parameters
    ----------
    step : Step
        The step; it is run with a `Recorder` as its namespace.
    state : State
        The shapes and types of the state, with or without an axis of networks.
    feed : Feed
        The shapes and types of the other inputs.
    product_from : float
        From how many multiplications on a product of matrices is left to BLAS.

    Raises
    ------
    CannotCompile
        If the step does what cannot be recorded.
    """
    theta, networks_axis = state.theta, state.theta.ndim - 1
    dtype, m = str(theta.dtype), feed.batch_size
    xp, buffers = Recorder(dtype), {}

    def given(name: str, shape: tuple[int, ...], array: Any, kind: str, size: int) -> Any:
        kind_of_number = str(array.dtype)
        if kind_of_number not in ("float64", "float32", "bool"):
            what = "an optimizer state" if kind == "state" else name
            msg = f"{what} of {kind_of_number}"
            raise CannotCompile(msg)
        buffers[name] = Buffer(name, size, kind_of_number, kind)
        return xp.input(name, shape, kind_of_number)

    rows = {
        name: given(name, (array.shape[-1], m), array, kind, array.shape[-1])
        for kind, arrays in (("sample", feed.samples), ("mask", feed.masks))
        for name, array in arrays.items()
    }
    rates = {name: given(name, (), array, "rate", 1) for name, array in feed.rates.items()}
    states = {}
    for name, array in {"theta": theta, **{f"s{i}": array for i, array in enumerate(state.optimizer_state)}}.items():
        shape = tuple(array.shape[networks_axis:])
        states[name] = given(name, shape, array, "state", int(numpy.prod(shape)))
    masks = [rows.get(f"mask{l}") for l in range(len(step.dropout_rates))] if feed.masks else ()
    inputs = (rows["X"], rows["Y"], rates.pop("learning_rate"), rows.get("weight"), masks, rates)
    before = type(state)(states["theta"], tuple(array for name, array in states.items() if name != "theta"))
    try:
        after, loss = replace(step, xp=xp)(before, inputs)
    except CannotCompile:
        raise
    except Exception as error:  # of a custom part that is written for one array library
        msg = f"{type(error).__name__}: {first_line(error)}"
        raise CannotCompile(msg) from error
    for array, is_now in zip(
        (after.theta, *after.optimizer_state), (before.theta, *before.optimizer_state), strict=True
    ):
        if (array.shape, array.dtype) != (is_now.shape, is_now.dtype):
            msg = (
                f"an optimizer that makes {array.dtype}{array.shape} of {is_now.dtype}{is_now.shape} for one network; "
                "it may hold an array with a number for each"
            )
            raise CannotCompile(msg)
    buffers["loss"] = Buffer("loss", 1, loss.node.dtype, "scratch")
    outputs = {"loss": loss.node, "theta": after.theta.node}
    outputs |= {f"s{i}": array.node for i, array in enumerate(after.optimizer_state)}
    return fuse(lower(buffers, outputs, xp.constants, product_from=product_from))


class Compiler:
    """Takes training steps through compiled kernels.

    Parameters
    ----------
    announce : callable, optional
        Called before the first compilation of a kernel.
    n_threads : int, optional
        How many threads share the networks of an ensemble; by default all cores of the process. The results do not
        depend on it.
    """

    def __init__(self, announce: Callable[[], None] = lambda: None, n_threads: int | None = None) -> None:
        self.announce = announce
        self.n_threads = n_threads or available_threads()
        self._kernels: dict[Any, Any] = {}
        self._converted: dict[Any, tuple[Any, dict[str, Any] | None]] = {}
        self._unchanging: dict[int, tuple[Any, list[Any]]] = {}
        self._rows_a_second = 1e6

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
            If the step does what cannot be recorded.
        """
        shape = state.theta.shape[:-1]
        states = [
            numpy.ascontiguousarray(array.reshape(*(shape or (1,)), -1))
            for array in (state.theta, *state.optimizer_state)
        ]
        losses = numpy.zeros(states[0].shape[0])
        for feed, layout, kernel, constants in self._work(step, state, batches):
            share = feed.batch_size / batches.samples.size
            self._run(kernel, layout, feed.steps, [*feed.arrays, *states, *constants, losses, share])
        arrays = [
            new.reshape(old.shape) for new, old in zip(states, (state.theta, *state.optimizer_state), strict=True)
        ]
        return type(state)(arrays[0], tuple(arrays[1:])), losses.astype(state.theta.dtype).reshape(shape)[()]

    def _work(self, step: Any, state: Any, batches: Any) -> Iterable[tuple[Feed, Layout, Any, list[Any]]]:
        """Return the feeds of an epoch with their kernels; those of batches that never change are made once."""
        known = self._unchanging.get(id(batches))
        if known is not None:
            return known[1]
        work = ((feed, *self._kernel(step, state, feed)) for feed in self._feeds(batches))
        changes = any(each is not None for each in (batches.order, batches.factors, batches.masks))
        if changes or self._rows_of_all(batches.samples, batches.networks) is None:
            return work
        # The batches are kept, so that no others get their number.
        self._unchanging[id(batches)] = (batches, list(work))
        return self._unchanging[id(batches)][1]

    def permutations(self, keys: Any, N: int) -> Any:
        """Return orders of samples, as `xpnet.backends.permutations` does."""
        from xpnet.backends.compiled import random  # here, so that only who compiles waits for Numba

        return self._in_slices(lambda part: random.permutations(keys[part], N), len(keys))

    def keep_masks(self, keys: Any, first: int, last: int, rates: Any) -> Any:
        """Return dropout masks, as `xpnet.backends.keep_masks` does."""
        from xpnet.backends.compiled import random

        return self._in_slices(lambda part: random.keep_masks(keys[part], first, last, rates), len(keys))

    def _in_slices(self, draw: Callable[[slice], Any], networks: int) -> Any:
        count = min(self.n_threads, networks)
        if count == 1:
            return draw(slice(None))
        edges = [networks * k // count for k in range(count + 1)]
        return numpy.concatenate(list(self._pool.map(draw, starmap(slice, pairwise(edges)))))

    def pays(self, step: Any, state: Any, batch_size: int, steps: int, epochs: int) -> bool:
        """Return whether training through compiled steps takes clearly less time than without, compiling included.

        Compiling saves what NumPy takes to begin each operation, some 10 µs a layer and step, and to pass small arrays
        through memory, some 2 ns for each sample, parameter and network. The answer depends on the network and on
        `epochs`, those since its weights were initialized, and on nothing else, so that a training that was interrupted
        goes on in the same way.
        """
        networks = state.theta.size // state.theta.shape[-1]
        of_one = batch_size * state.theta.shape[-1]
        if of_one > PAYS_UP_TO:
            return False
        saved = epochs * steps * (10e-6 * len(step.activations) + 2e-9 * of_one * networks)
        return bool(
            saved > (SECONDS_FOR_LANES if networks >= SIDE_BY_SIDE[str(state.theta.dtype)] else SECONDS_FOR_ONE)
        )

    def explain(self, step: Any, state: Any, batches: Any) -> str:
        """Return the loops of a step as text, with what was chosen for them.

        Parameters
        ----------
        step, state, batches
            As for `Backend.train_epoch`.

        Returns
        -------
        text : str
            Comments, then the buffers, then the loops that each network runs for each step.
        """
        feed = next(self._feeds(batches))
        layout = _layout(state, feed)
        if layout.lanes:
            how = f"{LANES} networks side by side in each innermost loop, blocks of them on {self.n_threads} threads"
        else:
            how = f"one network after the other, matrix products of {PRODUCT_FROM:,} multiplications or more by BLAS"
        own = ", ".join(sorted(layout.own)) or "nothing"
        program = record(step, state, feed, math.inf if layout.lanes else PRODUCT_FROM)
        return (
            f"# {how}\n# for each network separately: {own}\n# for each step of {feed.batch_size} samples:\n{program}"
        )

    def compile(self, step: Any, state: Any, batches: Any) -> None:
        """Compile the kernels of an epoch, without taking a step."""
        for feed in self._feeds(batches):
            self._kernel(step, state, feed)

    def _feeds(self, batches: Any) -> Iterator[Feed]:
        """Yield the samples of an epoch, as many at a time as there is room for, the smaller last batch by itself."""
        N, m = batches.samples.size, batches.batch_size
        whole = self._rows_of_all(batches.samples, batches.networks)
        at_once = N if whole and batches.masks is None else batches.samples_at_once
        for start, stop, size in ((0, N - N % m, m), (N - N % m, N, N % m)):
            for first in range(start, stop, at_once):
                last = min(first + at_once, stop)
                order = batches.order
                if whole and order is not None:
                    samples = whole
                    order = numpy.ascontiguousarray(order[..., first:last]).reshape(-1, last - first)
                else:
                    which = slice(first, last) if order is None else order[..., first:last]
                    samples = _rows(batches.samples, which, batches.networks)
                    order = None
                yield Feed(
                    size,
                    -(-(last - first) // size),
                    order,
                    samples,
                    _masks(batches, first, last),
                    _rates(batches, first // m),
                )

    def _rows_of_all(self, samples: Any, networks: Any) -> dict[str, Any] | None:
        """Return all samples as rows, or None if that would copy many."""
        key = (id(samples), str(networks))
        if key not in self._converted:
            few = samples.size * (samples.X.shape[-1] + samples.outputs) * 8 <= 2**24
            contiguous = all(array is None or array.flags.c_contiguous for array in (samples.X, samples.Y))
            rows = _rows(samples, slice(None), networks) if few or (samples.are_ready and contiguous) else None
            # The samples are kept, so that no others get their number.
            self._converted[key] = (samples, rows)
        return self._converted[key][1]

    def _kernel(self, step: Any, state: Any, feed: Feed) -> tuple[Layout, Any, list[Any]]:
        states, layout = (state.theta, *state.optimizer_state), _layout(state, feed)
        key = (layout, *feed.samples, *feed.masks)
        known = self._kernels.get(key)
        if known is None or known[0] is not step:
            text, constants = self._text(step, state, feed)
            nothing = [numpy.zeros((1, 1), array.dtype) for array in states]
            kernel = load(text, (0, 0, 0, 0, *feed.arrays, *nothing, *constants, numpy.zeros(1), 0.0), self.announce)
            known = self._kernels[key] = (step, layout, kernel, constants)
        return known[1:]

    def _text(self, step: Any, state: Any, feed: Feed) -> tuple[str, list[Any]]:
        """Return the text of a kernel, and the values of its constants."""
        layout = _layout(state, feed)
        key = _description(step, state, feed, layout)
        if key in _TEXTS:
            return _TEXTS[key]
        program = record(step, state, feed, math.inf if layout.lanes else PRODUCT_FROM)
        constants = [
            numpy.asarray(buffer.values, buffer.dtype)
            for buffer in program.buffers.values()
            if buffer.kind == "constant"
        ]
        text = source(program, layout)
        if key is not None:
            _TEXTS[key] = text, constants
        return text, constants

    def _run(self, kernel: Any, layout: Layout, steps: int, arguments: list[Any]) -> None:
        """Take steps, for not too long at a time, on as many threads as there are networks for."""
        networks = arguments[-2].shape[0]
        unit = LANES if layout.lanes else 1
        blocks = -(-networks // unit)
        count = min(self.n_threads, blocks)
        edges = [min(unit * (blocks * k // count), networks) for k in range(count + 1)]
        step = 0
        while step < steps:
            rows = layout.batch_size * networks
            stop = min(step + max(int(SECONDS_AT_ONCE * self._rows_a_second / rows), 1), steps)
            begun = time.perf_counter()
            if count == 1:
                kernel(0, networks, step, stop, *arguments)
            else:
                parts = pairwise(edges)
                list(self._pool.map(lambda part, step=step, stop=stop: kernel(*part, step, stop, *arguments), parts))
            self._rows_a_second = rows * (stop - step) / max(time.perf_counter() - begun, 1e-6)
            step = stop

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.n_threads, thread_name_prefix="xpnet")


_TEXTS: dict[Any, tuple[str, list[Any]]] = {}
"""The texts of steps made of xpnet's own functions: to record and to print one takes longer than many small epochs."""


def _description(step: Any, state: Any, feed: Feed, layout: Layout) -> Any:
    """Return all that the text of a step depends on, or None if it contains custom functions, which may change."""
    parts = (*step.activations, step.loss, step.optimizer)
    functions = [getattr(each, "func", each) for part in parts for each in part if callable(each)]
    if not all(str(getattr(each, "__module__", "")).startswith("xpnet.") for each in functions):
        return None
    arrays = (state.theta, *state.optimizer_state)
    shapes = [(str(array.dtype), array.shape[state.theta.ndim - 1 :]) for array in arrays]
    names = [*feed.samples, *feed.masks, *feed.rates]
    described = (step.layout.layer_list, parts, step.dropout_rates, shapes, names, sorted(layout.own), layout[:3])
    return pickle.dumps(described)


def _layout(state: Any, feed: Feed) -> Layout:
    networks = state.theta.shape[0] if state.theta.ndim > 1 else 1
    size = sum(array.nbytes for array in (state.theta, *state.optimizer_state)) // networks
    return feed.layout(networks, size, str(state.theta.dtype))


def _rows(samples: Any, which: Any, networks: Any) -> dict[str, Any]:
    """Return inputs, targets and weights of some samples as rows, each with an axis of networks."""
    columns = zip(("X", "Y", "weight"), samples.columns(which, networks), strict=True)
    return {name: _with_networks(array.mT) for name, array in columns if array is not None}


def _masks(batches: Any, first: int, last: int) -> dict[str, Any]:
    """Return the dropout masks for some places in an epoch, as rows."""
    drawn = batches.masks.draw(first, last) if batches.masks is not None else ()
    return {f"mask{l}": _with_networks(mask.mT) for l, mask in enumerate(drawn) if mask is not None}


def _rates(batches: Any, step: int) -> dict[str, Any]:
    """Return what belongs to the networks and the steps from one on."""
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
    # As the caller's may be: for other arrays than in the dry run Numba would compile once more.
    array.flags.writeable = False
    return array
