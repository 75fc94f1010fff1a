"""The computations of all networks of an ensemble, or of a single network.

The arrays of an ensemble have a leading axis of networks. If all networks together need too much memory, they are
computed in chunks: `ALL` of them at once, or a slice of them at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle, pairwise
from typing import Any, TypeAlias

from xpnet._checks import finite_array, name_of, real_array, same_kind, same_shape
from xpnet._types import Array, Layers, Namespace, State
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.backends import HOST, Backend, Stream, random_stream, streams
from xpnet.core.contracts import apply_update, call_part, draw_layer, try_activation, try_loss
from xpnet.core.epochs import Batches, Masks, NetworkChunk, Orders
from xpnet.core.parameters import Layout
from xpnet.core.propagation import forward
from xpnet.core.regularization import regularized
from xpnet.core.settings import Settings
from xpnet.core.step import Step, make_step
from xpnet.data.incoming import TrainingData
from xpnet.data.placement import bring
from xpnet.data.samples import Samples, as_columns
from xpnet.initializers import INITIALIZERS, Initializer
from xpnet.losses import LOSSES, fuse, sample_losses
from xpnet.metrics import Metric
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.schedules import Schedule

host = HOST.xp

_METRIC = "(xp, A, Y, weight) or a Metric"


class _FutureHistoryRead(BaseException):
    """A schedule has read a history that does not exist yet."""


class _FutureHistory:
    """A history that does not exist yet: reading it raises `_FutureHistoryRead`."""

    def _refuse(self, *_: Any) -> Any:
        raise _FutureHistoryRead

    __getattr__ = __getitem__ = __iter__ = __len__ = __contains__ = __bool__ = _refuse


Chunk: TypeAlias = tuple[Any, ...]
"""An index into the leading axis: which of the networks."""

ALL: Chunk = (...,)


class Members:
    """The networks of an ensemble, or a single network; every method takes their parameters as an argument.

    Parameters
    ----------
    settings : Settings
        The settings of the networks.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # ---- Initial parameters

    def draw(self, draws: int, backend: Backend, layout: Layout) -> Array:
        """Return new parameters of shape (..., P), each network's from its own seed, after `draws` earlier draws."""
        settings, scale = self.settings, self.settings.initial_scale
        initializers = self._initializers(len(layout.layer_list) - 1)
        each_sizes = settings.each_sizes if layout is settings.layout else [layout.layer_list]
        checked = [
            initializer if name_of(initializer, INITIALIZERS) else partial(draw_layer, f"initializer[{l}]", initializer)
            for l, initializer in enumerate(initializers)
        ]
        vectors = host.zeros((len(settings.seeds), layout.size))
        for i, (seed, sizes) in enumerate(zip(settings.seeds, cycle(each_sizes), strict=False)):
            # The first draw uses the stream of the seed, each later draw a stream that is spawned from it.
            stream = random_stream(seed, Stream.WEIGHTS, *([draws] * bool(draws)))
            own = layout.views_of(host, vectors[i], sizes)
            for initializer, (n_in, n_out), (W, b) in zip(checked, pairwise(sizes), own, strict=True):
                W[...], b[...] = initializer(stream, n_out, n_in)
            vectors[i] *= scale[i] if isinstance(scale, tuple) else scale
        theta = backend.asarray(vectors if settings.ensemble is not None else vectors[0], settings.dtype)
        with backend.on_device():
            finite_array(backend.xp, "what the initializer draws", theta)
        return theta

    def _initializers(self, layers: int) -> Sequence[Initializer]:
        """Return the initializer of each layer; for another number of layers, use the first for all but the last."""
        own = self.settings.initializer
        return own if len(own) == layers else [own[0]] * (layers - 1) + [own[-1]]

    # ---- Training

    def regularization(
        self, backend: Backend, chunk: Chunk = ALL, weight_scale: float | Array = 1.0
    ) -> dict[str, float | Array]:
        """Return the regularization of a `Batch`, or nothing if there is none.

        It consists of the strengths, which parameters are weights, and which ones networks have, if not all.
        `weight_scale` is what the weights of the samples were divided by, of shape () or (E or 1, 1).
        """
        with backend.on_device():
            strengths = {
                name: backend.asarray(value, self.settings.dtype)[:, None][chunk] if isinstance(value, tuple) else value
                for name, value in self.settings.regularization.items()
            }
            if "alpha" in strengths and not isinstance(weight_scale, float):
                own = weight_scale[chunk] if self.settings.ensemble == weight_scale.shape[0] else weight_scale
                strengths["alpha"] = strengths["alpha"] / (own if self.settings.ensemble else own[0, ...])
            if strengths:
                strengths["mask"] = self.weights_mask(backend)
            if self.settings.has_unequal_sizes:
                strengths["present"] = backend.asarray(self.settings.present[chunk])
            return strengths

    def optimizer(self, backend: Backend) -> Optimizer:
        """Return the optimizer, wrapped by the regularization of the settings."""
        if self.settings.alpha is not None:
            msg = "alpha must be None for single updates, which do not know the size of the batch; use l2"
            raise ValueError(msg)
        strengths = self.regularization(backend)
        optimizer = self.settings.optimizer
        return regularized(optimizer, **strengths) if strengths else optimizer

    def check_absent(self, backend: Backend, name: str, array: Array) -> None:
        """Validate that parameters, or an optimizer state of the same shape, are 0 where a network has no units."""
        if not self.settings.has_unequal_sizes or array.shape[-1] != self.settings.layout.size:
            return
        if bool(backend.xp.any((array != 0.0) & ~backend.asarray(self.settings.present))):
            msg = f"{name} must be 0 for units that a network does not have; see its sizes in layer_list"
            raise ValueError(msg)

    def weights_mask(self, backend: Backend) -> Array:
        """Return an array of bool of shape (P,), True for weights and False for biases."""
        return backend.asarray(self.settings.layout.weights_mask(host))

    def step(self, backend: Backend) -> Step:
        """Return the training step of the networks."""
        settings = self.settings
        parts = settings.activations, settings.loss, settings.optimizer, settings.dropout
        return make_step(backend.xp, settings.layout, *parts)

    def try_parts(self, backend: Backend) -> None:
        """Validate what custom activations and losses return, in a dry run."""
        settings, xp, ensemble = self.settings, backend.xp, [2] * (self.settings.ensemble is not None)
        if not settings.has_parts_to_try:
            return

        def sample_values(n: int, m: int) -> Array:
            shape = (*ensemble, n, m)
            return backend.asarray(host.linspace(0.1, 0.9, math.prod(shape)).reshape(shape), settings.dtype)

        with backend.on_device():
            samples = (3, 1)  # a part may treat a single sample as a special case
            for l, activation in enumerate(settings.activations):
                name, n = f"activations[{l}]", settings.sizes[l + 1]
                if name_of(activation, ACTIVATIONS) is None:
                    for m in samples:
                        try_activation(xp, name, activation, sample_values(n, m))
                if settings.has_unequal_sizes and l + 2 < len(settings.sizes):
                    _try_units_one_by_one(xp, name, activation, sample_values(n, 3))
            if name_of(settings.loss, LOSSES) is None:
                for m in samples:
                    try_loss(xp, "loss", settings.loss, sample_values(settings.sizes[-1], m))

    def try_update(self, backend: Backend, state: State, rates: Array) -> None:
        """Validate what a custom optimizer returns, in a dry run."""
        if name_of(self.settings.optimizer, OPTIMIZERS) is None:
            xp, optimizer = backend.xp, self.settings.optimizer
            apply_update(xp, optimizer, state.copy(xp), xp.ones_like(state.theta), rates)
            if self.settings.has_unequal_sizes:
                zero = xp.zeros_like(state.theta)
                after = apply_update(xp, optimizer, State(zero, optimizer.init(xp, zero)), zero, rates)
                if bool(xp.any(after.theta != 0.0)):
                    msg = "optimizer must leave a parameter at 0 whose gradient is 0, for networks of unequal sizes"
                    raise ValueError(msg)

    def network_chunks(
        self,
        backend: Backend,
        state: State,
        samples: Samples,
        rates: Array,
        *,
        batch_size: int,
        shuffle: bool = False,
        orders: Orders | None = None,
        at_once: int | None = None,
        compiler: Any = None,
    ) -> list[NetworkChunk]:
        """Return the networks ready to train: all together, or in chunks that fit into memory.

        Parameters
        ----------
        backend : Backend
            Where all arrays are.
        state : State
            The initial state.
        samples : Samples
            The training samples.
        rates : array of shape () or (E, 1)
            The learning rates.
        batch_size : int
            The number of samples of a step.
        shuffle : bool
            Whether to shuffle the samples in every epoch.
        orders : Orders, optional
            The rows that each epoch takes.
        at_once : int, optional
            How many networks train together; by default as many as fit into memory.
        compiler : Compiler, optional
            What compiles the steps; by default the backend takes them one by one.

        Raises
        ------
        CannotCompile
            If the compiler cannot compile the step.
        """
        settings, step = self.settings, self.step(backend)

        def network_chunk(chunk: Chunk) -> NetworkChunk:
            batches = Batches(
                samples,
                rates[chunk],
                batch_size,
                chunk,
                order_keys=self._keys(Stream.SHUFFLING, chunk) if shuffle else None,
                orders=orders,
                masks=self._masks(chunk) if any(settings.dropout) else None,
                regularization=self.regularization(backend, chunk, samples.weight_scale),
            )
            own = state.map(lambda array: array[chunk])
            compiled = compiler.compile(step, own, batches) if compiler else None
            return NetworkChunk(backend, step, batches, own, compiled=compiled)

        # A step needs memory for several copies of the parameters and the cache of the forward pass; an epoch needs it
        # for the order of each network's samples.
        numbers = (5 + len(state.optimizer_state)) * settings.layout.size + 4 * batch_size * sum(settings.sizes)
        kept = 2 * samples.size * shuffle
        if compiler:  # a compiled step works with a few networks at a time by itself
            numbers, kept = 0, numbers
        return list(map(network_chunk, self._chunks(backend, numbers, kept, at_once)))

    def _chunks(self, backend: Backend, step: int, kept: int = 0, at_once: int | None = None) -> list[Chunk]:
        """Return which networks to compute at a time, given how many numbers in memory each of them needs."""
        E = self.settings.ensemble
        if E is None:
            return [ALL]
        size = self.settings.itemsize
        fits = min(backend.step_memory // max(step * size, 1), backend.working_memory // ((step + kept) * size))
        at_once = at_once or max(fits, 1)
        at_once = -(-E // -(-E // at_once))  # chunks of similar size
        return [(slice(start, min(start + at_once, E)), ...) for start in range(0, E, at_once)]

    def _masks(self, chunk: Chunk) -> Masks:
        """Return the dropout masks of some networks."""
        layers = list(zip(self.settings.sizes[1:-1], self.settings.dropout, strict=True))
        return Masks(self._keys(Stream.DROPOUT, chunk), layers)

    def _keys(self, stream: Stream, chunk: Chunk) -> Any:
        """Return the keys of the random words of some networks; a single one if all have the same seed."""
        seeds = self.settings.seeds
        own = seeds[slice(None) if chunk == ALL else chunk[0]]
        return streams.seed_keys(seeds[:1] if len(set(seeds)) == 1 else own, stream)

    def factors(self, schedule: Schedule, history: Any, steps: int, epochs: range) -> Array:
        """Return the validated factors of a schedule for one or more epochs, of shape (epochs · steps,) or (…, E).

        They end before a later epoch for which the schedule reads the history, which does not exist yet.
        """
        factors = list(self._each_factors(schedule, history, steps, epochs))
        return factors[0] if len(factors) == 1 else host.concat(factors)

    def _each_factors(self, schedule: Schedule, history: Any, steps: int, epochs: Sequence[int]) -> Iterator[Array]:
        yield self._factors(schedule, history, steps, epochs[0])
        with suppress(_FutureHistoryRead):
            for epoch in epochs[1:]:
                yield self._factors(schedule, _FutureHistory(), steps, epoch)

    def _factors(self, schedule: Schedule, history: Any, steps: int, epoch: int) -> Array:
        what = f"what the schedule returns for epoch {epoch}"
        with HOST.on_device():
            t = epoch + HOST.asarray(range(steps), "float64") / steps
            returned = call_part("schedule", "(xp, t, history) -> factors", schedule, host, t, history)
            factors = bring(what, returned, HOST, self.settings.dtype)
            same_shape(what, factors, (steps, *self.settings.ensemble_shape) if factors.ndim > 1 else (steps,))
            finite_array(host, what, factors)
            lowest, highest = float(host.min(factors)), float(host.max(factors))
        if lowest < 0.0 or highest == 0.0:
            msg = (
                f"{what} must not be negative, nor 0 in all steps, got values from {lowest} to {highest}; the schedule "
                "may be shorter than the training"
            )
            raise ValueError(msg)
        return factors

    def try_schedule(self, schedule: Schedule, history: Any, steps: int, epochs: range) -> None:
        """Validate what a schedule returns for all epochs, as far as it does not depend on a future history."""
        for _ in self._each_factors(schedule, history, steps, (*epochs[:1000], *epochs[1000:][-1:])):
            pass  # not kept, as they may be many

    # ---- Predicting and measuring

    def predict(self, backend: Backend, layers: Layers, rows: Array) -> Array:
        """Return the outputs for samples as rows, of shape (..., N, n_L)."""
        xp, settings, N = backend.xp, self.settings, rows.shape[-2]
        at_once, networks = self._samples_at_once(backend), []
        for own, chunk in self._chunks_of(backend, layers, N):
            own_rows, outputs = rows[chunk] if rows.ndim > 2 else rows, []
            for start in range(0, N, at_once):
                X = as_columns(xp, own_rows[..., start : min(start + at_once, N), :], settings.dtype)
                outputs.append(forward(xp, X, own, settings.activations)[0].mT)
            networks.append(_joined(xp, outputs, axis=-2))
        return _joined(xp, networks)

    def measure(
        self, backend: Backend, theta: Array, samples: Samples, metrics: Mapping[str, Metric]
    ) -> dict[str, Array]:
        """Return the loss of the networks on samples, and the metrics by name, each of shape (...)."""
        xp, activations, loss = backend.xp, self.settings.activations, self.settings.loss
        fused, fused_loss = fuse(activations, loss)
        measured: dict[str, list[Array]] = {name: [] for name in ("loss", *metrics)}
        for layers, chunk in self._chunks_of(backend, self.settings.layout.layers(xp, theta), samples.size):
            total: Any = 0.0
            states = dict.fromkeys(metrics)
            for which in samples.slices(self._samples_at_once(backend)):
                X, Y, weight = samples.columns(which, chunk)
                Z = forward(xp, X, layers, fused)[0]  # without a reference to the cache, which frees it
                total = total + xp.sum(sample_losses(xp, fused_loss, Z, Y, weight), axis=-1)
                A = activations[-1].forward(xp, Z) if metrics and fused_loss is not loss else Z
                for name, metric in metrics.items():
                    function = f"metrics: {name}.accumulate"
                    given = (xp, states[name], A, Y, weight)
                    states[name] = call_part(function, "(xp, state, A, Y, weight) -> state", metric.accumulate, *given)
            measured["loss"].append(total / samples.size)
            for name, metric in metrics.items():
                what = f"what {name} returns"
                value = call_part(f"metrics: {name}", _METRIC, metric.finish, xp, states[name])
                same_shape(f"metrics: {what}", value, tuple(layers[0][0].shape[:-2]))
                same_kind(f"metrics: {what}", value, theta)
                real_array(xp, f"metrics: {what}", value, value)
                measured[name].append(value)
        return {name: _joined(xp, values) for name, values in measured.items()}

    def check_metrics(self, samples: Samples, metrics: Mapping[str, Metric]) -> None:
        """Validate the targets for the metrics that need targets of some kind."""
        for metric in metrics.values():
            if metric.check:
                for which in samples.slices():
                    metric.check(samples.backend.xp, samples.targets(which))

    def measure_epoch(
        self, data: TrainingData, metrics: Mapping[str, Metric], theta: Array, losses: Array
    ) -> dict[str, Array]:
        """Return what training records of an epoch, by name, each of shape (1, ...).

        `losses`, of shape (epochs, ...), are the training losses; of several epochs, these are all that is recorded.
        """
        recorded = {"loss": losses}
        if not metrics and data.held_out is None:
            return recorded
        with data.backend.on_device():
            measured = self.measure(data.backend, theta, data.measured, metrics) if metrics else {}
            if data.held_out is not None:
                validation = self.measure(data.backend, theta, data.held_out, metrics)
                measured |= {f"validation_{name}": value for name, value in validation.items()}
        return recorded | {name: value[None, ...] for name, value in measured.items()} | recorded

    def _samples_at_once(self, backend: Backend) -> int:
        """Return for how many samples a forward pass of one network fits into the memory of a step."""
        return max(backend.step_memory // (self.settings.numbers_per_sample * self.settings.itemsize), 1)

    def _chunks_of(self, backend: Backend, layers: Layers, N: int) -> Iterator[tuple[Layers, Chunk]]:
        """Yield the layers of as many networks as fit into memory with N samples, and their chunk."""
        for chunk in self._chunks(backend, self.settings.numbers_per_sample * N):
            yield layers if chunk == ALL else [(W[chunk], b[chunk]) for W, b in layers], chunk


def _try_units_one_by_one(xp: Namespace, name: str, activation: Activation, Z: Array) -> None:
    """Validate that a unit's activation does not depend on other units, of which networks may not have all."""
    same = xp.all(activation.forward(xp, Z)[..., :1, :] == activation.forward(xp, Z[..., :1, :]))
    if Z.shape[-2] > 1 and not bool(same):
        msg = f"{name} must compute each unit for itself, for networks of unequal sizes, got one that combines units"
        raise ValueError(msg)


def joined(xp: Namespace, chunks: Sequence[NetworkChunk]) -> tuple[State, Array]:
    """Return the state and the losses, of shape (epochs, ...), of all networks, given those of their chunks."""
    states = [chunk.state for chunk in chunks]
    state = states[0] if len(chunks) == 1 else states[0].map(lambda *arrays: xp.concat(arrays), *states[1:])
    return state, _joined(xp, [chunk.losses for chunk in chunks], axis=1)


def _joined(xp: Namespace, arrays: Sequence[Array], axis: int = 0) -> Array:
    return arrays[0] if len(arrays) == 1 else xp.concat(arrays, axis=axis)
