"""What the networks of an ensemble do together, as a single network does it alone.

Whatever belongs to a network then has a leading axis. Where all of the networks together would need too much memory,
they are computed in chunks: `ALL` of them at once, or a slice of them at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeAlias

from xpnet._checks import finite_array, name_of, real_array, same_kind, same_shape
from xpnet._types import Array, Layers, Namespace, State
from xpnet.activations import ACTIVATIONS
from xpnet.backends import HOST, Backend, Stream, random_stream
from xpnet.core.contracts import called, drawn, try_activation, try_loss, updated
from xpnet.core.epochs import Batches, Masks, Part
from xpnet.core.parameters import Layout
from xpnet.core.propagation import forward
from xpnet.core.regularization import regularized
from xpnet.core.settings import Settings
from xpnet.core.step import Step, make_step
from xpnet.data.incoming import TrainingData
from xpnet.data.placement import bring
from xpnet.data.samples import Samples
from xpnet.initializers import INITIALIZERS, Initializer
from xpnet.losses import LOSSES, fuse, sample_losses
from xpnet.metrics import Metric
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.schedules import Schedule

host = HOST.xp

_METRIC = "(xp, A, Y, weight) or a Metric"


class _AskedTheFuture(BaseException):
    """A schedule has looked at a history that is not there yet."""


class _Future:
    """A history that is not there yet."""

    def _ask(self, *_: Any) -> Any:
        raise _AskedTheFuture

    __getattr__ = __getitem__ = __iter__ = __len__ = __contains__ = __bool__ = _ask


Chunk: TypeAlias = tuple[Any, ...]
"""An index of the leading axis: which of the networks are meant."""

ALL: Chunk = (...,)


class Members:
    """The networks of an ensemble, or the only one, given their parameters at each call.

    Parameters
    ----------
    settings : Settings
        What they are.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # ---- Initial parameters

    def draw(self, draws: int, backend: Backend, layout: Layout) -> Array:
        """Return new parameters of shape (..., P) for a number of draws before, each network's from its own seed."""
        settings, sizes = self.settings, layout.layer_list
        initializers, scale = self._initializers(len(sizes) - 1), settings.initial_scale
        checked = [
            initializer if name_of(initializer, INITIALIZERS) else partial(drawn, f"initializer[{l}]", initializer)
            for l, initializer in enumerate(initializers)
        ]
        vectors = host.empty((len(settings.seeds), layout.size))
        for i, seed in enumerate(settings.seeds):
            # The first draw has the stream to itself, each later one a stream that is spawned from it.
            stream, start = random_stream(seed, Stream.WEIGHTS, *([draws] * bool(draws))), 0
            for initializer, n_in, n_out in zip(checked, sizes[:-1], sizes[1:], strict=True):
                for array in initializer(stream, n_out, n_in):
                    stop = start + array.size
                    vectors[i, start:stop] = array.ravel()
                    start = stop
            vectors[i] *= scale[i] if isinstance(scale, tuple) else scale
        theta = backend.asarray(vectors if settings.ensemble is not None else vectors[0], settings.dtype)
        with backend.on_device():
            finite_array(backend.xp, "what the initializer draws", theta)
        return theta

    def _initializers(self, layers: int) -> Sequence[Initializer]:
        """Return the initializer of each layer; where there are not as many as the network has, its first and last."""
        own = self.settings.initializer
        return own if len(own) == layers else [own[0]] * (layers - 1) + [own[-1]]

    # ---- Training

    def optimizer(self, backend: Backend, chunk: Chunk = ALL) -> Optimizer:
        """Return the optimizer, with the regularisation that the settings ask for."""
        regularization = self.settings.regularization
        if not any(regularization.values()):
            return self.settings.optimizer
        with backend.on_device():
            strengths = {
                name: backend.asarray(value, self.settings.dtype)[:, None][chunk] if isinstance(value, tuple) else value
                for name, value in regularization.items()
            }
            return regularized(self.settings.optimizer, self.weights_mask(backend), **strengths)

    def weights_mask(self, backend: Backend) -> Array:
        """Return an array of bool of shape (P,), True where theta holds a weight and not a bias."""
        return backend.asarray(self.settings.layout.weights_mask(host))

    def step(self, backend: Backend, chunk: Chunk = ALL) -> Step:
        """Return the step that the networks take."""
        settings, optimizer = self.settings, self.optimizer(backend, chunk)
        return make_step(backend.xp, settings.layout, settings.activations, settings.loss, optimizer, settings.dropout)

    def try_parts(self, backend: Backend) -> None:
        """Find custom activations and losses that do not return what they must."""
        settings, xp, ensemble = self.settings, backend.xp, [2] * (self.settings.ensemble is not None)

        def some(n: int, m: int) -> Array:
            shape = (*ensemble, n, m)
            return backend.asarray(host.linspace(0.1, 0.9, math.prod(shape)).reshape(shape), settings.dtype)

        with backend.on_device():
            for m in (3, 1):  # samples: a part may take one for a special case
                for l, activation in enumerate(settings.activations):
                    if name_of(activation, ACTIVATIONS) is None:
                        try_activation(xp, f"activations[{l}]", activation, some(settings.layer_list[l + 1], m))
                if name_of(settings.loss, LOSSES) is None:
                    try_loss(xp, "loss", settings.loss, some(settings.layer_list[-1], m))

    def try_update(self, backend: Backend, state: State, rates: Array) -> None:
        """Find a custom optimizer that does not return what it must."""
        if name_of(self.settings.optimizer, OPTIMIZERS) is None:
            xp = backend.xp
            updated(xp, self.settings.optimizer, state.copy(xp), xp.ones_like(state.theta), rates)

    def parts(
        self,
        backend: Backend,
        state: State,
        samples: Samples,
        rates: Array,
        *,
        batch_size: int,
        shuffle: bool,
        factors: Callable[[int], Any] | None,
        at_once: int | None,
    ) -> list[Part]:
        """Return the networks ready to train: all together, or as many at a time as fit into memory.

        Parameters
        ----------
        backend : Backend
            Where all the arrays live.
        state : State
            Where they start.
        samples : Samples
            What they learn from.
        rates : array of shape () or (E, 1)
            The learning rates.
        batch_size : int
            The samples of a step.
        shuffle : bool
            Whether each epoch has an order of its own.
        factors : callable, optional
            ``factors(epoch)``, of shape (steps,) or (steps, E): what to multiply the learning rates with.
        at_once : int, optional
            How many networks train together; by default as many as fit.
        """
        settings, N = self.settings, samples.size
        thinned = any(settings.dropout)
        # Parts train one epoch after the other, and ask for the same factors.
        factors = lru_cache(maxsize=1)(factors) if factors else None

        def part(chunk: Chunk) -> Part:
            always = Batches(samples, rates[chunk], batch_size, chunk)

            def batches(epoch: int) -> Batches:
                if not (shuffle or factors or thinned):
                    return always
                factor = factors(epoch) if factors else None
                return replace(
                    always,
                    order=self._orders(N, epoch, chunk) if shuffle else None,
                    factors=factor if factor is None or factor.ndim == 1 or chunk == ALL else factor[:, chunk[0]],
                    masks=self._masks(epoch, chunk) if thinned else None,
                )

            return Part(backend, self.step(backend, chunk), batches, state.map(lambda array: array[chunk]))

        # A step takes the parameters several times over, and what a forward pass keeps; an epoch an order of each
        # network's own.
        step = (5 + len(state.optimizer_state)) * settings.layout.size + 4 * batch_size * sum(settings.layer_list)
        return [part(chunk) for chunk in self._chunks(backend, step, 2 * N * shuffle, at_once)]

    def _chunks(self, backend: Backend, step: int, kept: int = 0, at_once: int | None = None) -> list[Chunk]:
        """Return which networks to compute with at a time, given how many numbers each of them needs."""
        E = self.settings.ensemble
        if E is None:
            return [ALL]
        size = self.settings.itemsize
        fits = min(backend.step_memory // (step * size), backend.working_memory // ((step + kept) * size))
        at_once = at_once or max(fits, 1)
        at_once = -(-E // -(-E // at_once))  # as even as possible
        return [(slice(start, min(start + at_once, E)), ...) for start in range(0, E, at_once)]

    def _orders(self, N: int, epoch: int, chunk: Chunk) -> Array:
        """Draw the order of the samples for an epoch, of shape (N,), or (E, N) where there are several seeds."""
        return self._drawn(chunk, lambda seed: random_stream(seed, Stream.SHUFFLING, epoch).permutation(N))

    def _masks(self, epoch: int, chunk: Chunk) -> Masks:
        """Return which units stay in an epoch."""
        hidden = list(zip(self.settings.layer_list[1:-1], self.settings.dropout, strict=True))
        rates = HOST.asarray([rate for n, rate in hidden if rate for _ in range(n)])
        units = rates.shape[0]

        def draw(start: int, stop: int) -> list[Array | None]:
            def one(seed: int) -> Array:
                # A row for each sample, wherever one begins, so that neither batches nor blocks change anything.
                stream = random_stream(seed, Stream.DROPOUT, epoch)
                stream.bit_generator.advance(start * units)  # type: ignore[attr-defined]  # PCG64 can
                return stream.random((stop - start, units)) >= rates

            stay, masks, first = self._drawn(chunk, one).mT, [], 0
            for n, rate in hidden:
                masks.append(stay[..., first : first + n, :] if rate else None)
                first += n if rate else 0
            return masks

        return Masks(draw, units)

    def _drawn(self, chunk: Chunk, draw: Callable[[int], Array]) -> Array:
        """Draw with the seed of each network; only once where they have all the same."""
        seeds = self.settings.seeds[slice(None) if chunk == ALL else chunk[0]]
        by_seed = {seed: draw(seed) for seed in dict.fromkeys(seeds)}
        return host.stack([by_seed[seed] for seed in seeds]) if len(by_seed) > 1 else by_seed[seeds[0]]

    def factors(self, schedule: Schedule, history: Any, steps: int, epoch: int) -> Array:
        """Ask a schedule for the factors of an epoch, of shape (steps,) or (steps, E), and check them."""
        what = f"what the schedule returns for epoch {epoch}"
        with HOST.on_device():
            t = epoch + HOST.asarray(range(steps), "float64") / steps
            returned = called("schedule", "(xp, t, history) -> factors", schedule, host, t, history)
            factors = bring(what, returned, HOST, self.settings.dtype)
            same_shape(what, factors, (steps, *self.settings.ensemble_shape) if factors.ndim > 1 else (steps,))
            finite_array(host, what, factors)
            least, greatest = float(host.min(factors)), float(host.max(factors))
        if least < 0.0 or greatest == 0.0:
            msg = (
                f"{what} must not be negative, nor 0 throughout, for nothing is learned then, but reaches from {least} "
                f"to {greatest}; perhaps the schedule is shorter than the training"
            )
            raise ValueError(msg)
        return factors

    def try_schedule(self, schedule: Schedule, history: Any, steps: int, epochs: range) -> None:
        """Find a schedule that does not return what it must, as far as it does not depend on what is yet to come."""
        self.factors(schedule, history, steps, epochs[0])
        with suppress(_AskedTheFuture):
            for epoch in (*epochs[1:1000], *epochs[1000:][-1:]):
                self.factors(schedule, _Future(), steps, epoch)

    # ---- Predicting and measuring

    def predict(self, backend: Backend, theta: Array, rows: Array) -> Array:
        """Return the outputs for samples as rows, of shape (..., N, n_L)."""
        xp, activations = backend.xp, self.settings.activations
        samples, networks = Samples(backend, self.settings.dtype, rows), []
        for layers, chunk in self._chunks_of(backend, theta, samples):
            slices = (samples.columns(which, chunk)[0] for which in self._slices(backend, samples))
            networks.append(_joined(xp, [forward(xp, X, layers, activations)[0].mT for X in slices], axis=-2))
        return _joined(xp, networks)

    def measure(
        self, backend: Backend, theta: Array, samples: Samples, metrics: Mapping[str, Metric]
    ) -> dict[str, Array]:
        """Return the loss of the networks on samples and every metric, each of shape (...), by name."""
        xp, activations, loss = backend.xp, self.settings.activations, self.settings.loss
        fused, fused_loss = fuse(activations, loss)
        measured: dict[str, list[Array]] = {name: [] for name in ("loss", *metrics)}
        for layers, chunk in self._chunks_of(backend, theta, samples):
            total: Any = 0.0
            states = dict.fromkeys(metrics)
            for which in self._slices(backend, samples):
                X, Y, weight = samples.columns(which, chunk)
                Z = forward(xp, X, layers, fused)[0]  # and let go of the layers in between
                total = total + xp.sum(sample_losses(xp, fused_loss, Z, Y, weight), axis=-1)
                A = activations[-1].forward(xp, Z) if metrics and fused_loss is not loss else Z
                for name, metric in metrics.items():
                    function = f"metrics: {name}.accumulate"
                    given = (xp, states[name], A, Y, weight)
                    states[name] = called(function, "(xp, state, A, Y, weight) -> state", metric.accumulate, *given)
            measured["loss"].append(total / samples.size)
            for name, metric in metrics.items():
                what = f"what {name} returns"
                value = called(f"metrics: {name}", _METRIC, metric.finish, xp, states[name])
                same_shape(f"metrics: {what}", value, tuple(layers[0][0].shape[:-2]))
                same_kind(f"metrics: {what}", value, theta)
                real_array(xp, f"metrics: {what}", value, value)
                measured[name].append(value)
        return {name: _joined(xp, values) for name, values in measured.items()}

    def check_metrics(self, samples: Samples, metrics: Mapping[str, Metric]) -> None:
        """Make sure that metrics mean something for targets."""
        for metric in metrics.values():
            if metric.check:
                for which in samples.slices():
                    metric.check(samples.backend.xp, samples.targets(which))

    def measure_epoch(
        self, data: TrainingData, metrics: Mapping[str, Metric], theta: Array, loss: Array
    ) -> dict[str, Array]:
        """Return what a training records of an epoch, each of shape (...), by name; its loss is known."""
        recorded = {"loss": loss}
        if not metrics and data.held_out is None:
            return recorded
        with data.backend.on_device():
            if metrics:
                recorded = self.measure(data.backend, theta, data.measured, metrics) | recorded
            if data.held_out is not None:
                validation = self.measure(data.backend, theta, data.held_out, metrics)
                recorded |= {f"validation_{name}": value for name, value in validation.items()}
        return recorded

    def _slices(self, backend: Backend, samples: Samples) -> list[slice]:
        """Return as many samples at a time as a step's memory has room for, with all layers of a network."""
        return samples.slices(max(backend.step_memory // (self._row * self.settings.itemsize), 1))

    def _chunks_of(self, backend: Backend, theta: Array, samples: Samples) -> Iterator[tuple[Layers, Chunk]]:
        """Yield the layers of as many networks as fit into memory with their samples, and which networks they are."""
        for chunk in self._chunks(backend, self._row * samples.size):
            yield self.settings.layout.layers(backend.xp, theta[chunk]), chunk

    @property
    def _row(self) -> int:
        """How many numbers a sample takes on its way through the layers."""
        return 3 * sum(self.settings.layer_list)


def joined(xp: Namespace, parts: Sequence[Part]) -> tuple[State, Array]:
    """Return the state and the loss of all networks from those of their parts."""
    states = [part.state for part in parts]
    state = states[0] if len(parts) == 1 else states[0].map(lambda *arrays: xp.concat(arrays), *states[1:])
    return state, _joined(xp, [part.loss for part in parts])


def _joined(xp: Namespace, arrays: Sequence[Array], axis: int = 0) -> Array:
    return arrays[0] if len(arrays) == 1 else xp.concat(arrays, axis=axis)
