"""What the networks of an ensemble do together, as a single network does it alone.

Whatever belongs to a network then has a leading axis. Where all of the networks together would need too much memory,
they are computed in chunks: `ALL` of them at once, or a slice of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

from xpnet._checks import finite_array, real_array, same_library, same_shape
from xpnet._types import Array, Layers, Namespace, State
from xpnet.activations import Activation
from xpnet.backends import HOST, Backend, Stream, random_stream
from xpnet.core.epochs import Batches, Part
from xpnet.core.parameters import Layout, flatten
from xpnet.core.propagation import forward
from xpnet.core.regularization import regularized
from xpnet.core.settings import Settings
from xpnet.core.step import Step, dry_run, make_step
from xpnet.data.placement import bring
from xpnet.data.samples import Samples, TrainingData
from xpnet.losses import fuse, mean_loss
from xpnet.metrics import Metric
from xpnet.optimizers import Optimizer
from xpnet.schedules import Schedule

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
        # The first draw has the stream to itself, each later one a stream that is spawned from it.
        streams = [random_stream(seed, Stream.WEIGHTS, *([draws] * bool(draws))) for seed in self.settings.seeds]
        scale = self.settings.initial_scale
        scales = scale if isinstance(scale, tuple) else [scale] * len(streams)
        vectors = [each * self._draw_one(stream, layout) for each, stream in zip(scales, streams, strict=True)]
        ensemble = self.settings.ensemble is not None
        theta = backend.asarray(HOST.xp.stack(vectors) if ensemble else vectors[0], self.settings.dtype)
        with backend.on_device():
            finite_array(backend.xp, "what the initializer draws", theta)
        return theta

    def _draw_one(self, stream: Any, layout: Layout) -> Array:
        drawn = []
        for n_in, n_out in pairwise(layout.layer_list):
            W, b = self.settings.initializer(stream, n_out, n_in)
            for name, array, shape in (("W", W, (n_out, n_in)), ("b", b, (n_out, 1))):
                name = f"{name} of the initializer"
                drawn.append(bring(name, array, HOST, "float64"))
                same_shape(name, drawn[-1], shape)
                finite_array(HOST.xp, name, drawn[-1])
        return flatten(HOST.xp, drawn)

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
        """Return an array of shape (P,), 1 where theta holds a weight and 0 where it holds a bias."""
        return backend.asarray(self.settings.layout.weights_mask(HOST.xp), self.settings.dtype)

    def step(self, backend: Backend, chunk: Chunk = ALL) -> Step:
        """Return the step that the networks take."""
        settings, optimizer = self.settings, self.optimizer(backend, chunk)
        return make_step(backend.xp, settings.layout, settings.activations, settings.loss, optimizer, settings.dropout)

    def dry_run(self, backend: Backend, state: State, samples: Samples, rates: Array) -> None:
        """Take a step with one sample and discard it: see `xpnet.core.step.dry_run`."""
        X, Y, weight = (array if array is None else array[..., :1] for array in samples.columns())
        thinned = any(self.settings.dropout)
        masks = [backend.asarray([[True]] * n) for n in self.settings.layer_list[1:-1]] if thinned else ()
        with backend.on_device():
            dry_run(backend.xp, self.step(backend), state, (X, Y, rates, weight, masks))

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
            always = Batches(backend, *samples.columns(chunk), rates[chunk], batch_size)

            def batches(epoch: int) -> Batches:
                if not (shuffle or factors or thinned):
                    return always
                factor = factors(epoch) if factors else None
                return replace(
                    always,
                    order=self._orders(N, epoch, chunk) if shuffle else None,
                    factors=factor if factor is None or factor.ndim == 1 or chunk == ALL else factor[:, chunk[0]],
                    masks=self._masks(N, epoch, chunk) if thinned else (),
                )

            own = state.map(lambda array: array[chunk])
            with backend.on_device():
                return Part(backend, self.step(backend, chunk), batches, own.copy(backend.xp), own)

        # A step takes the parameters several times over, and what a forward pass keeps; an epoch the samples in an
        # order of each network's own, and masks.
        layer_list = settings.layer_list
        step = (5 + len(state.optimizer_state)) * settings.layout.size + 4 * batch_size * sum(layer_list)
        kept = 2 * N * (layer_list[0] + layer_list[-1]) * shuffle + N * sum(layer_list) * thinned
        return [part(chunk) for chunk in self._chunks(backend, step, kept, at_once)]

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

    def _masks(self, N: int, epoch: int, chunk: Chunk) -> list[Array | None]:
        """Draw which units stay in an epoch, of shape (n, N) or (E, n, N), for each hidden layer with dropout."""
        hidden = list(zip(self.settings.layer_list[1:-1], self.settings.dropout, strict=True))
        rates = HOST.asarray([rate for n, rate in hidden if rate for _ in range(n)])

        def draw(seed: int) -> Array:
            # A row for each sample, so that the size of a batch changes nothing.
            return random_stream(seed, Stream.DROPOUT, epoch).random((N, rates.shape[0])) >= rates

        drawn, masks, start = self._drawn(chunk, draw).mT, [], 0
        for n, rate in hidden:
            masks.append(drawn[..., start : start + n, :] if rate else None)
            start += n if rate else 0
        return masks

    def _drawn(self, chunk: Chunk, draw: Callable[[int], Array]) -> Array:
        """Draw with the seed of each network; only once where they have all the same."""
        seeds = self.settings.seeds[slice(None) if chunk == ALL else chunk[0]]
        by_seed = {seed: draw(seed) for seed in dict.fromkeys(seeds)}
        return HOST.xp.stack([by_seed[seed] for seed in seeds]) if len(by_seed) > 1 else by_seed[seeds[0]]

    def factors(self, schedule: Schedule, history: Any, steps: int, epoch: int) -> Array:
        """Ask a schedule for the factors of an epoch, of shape (steps,) or (steps, E), and check them."""
        xp, what = HOST.xp, f"what the schedule returns for epoch {epoch}"
        with HOST.on_device():
            t = epoch + HOST.asarray(range(steps), "float64") / steps
            try:
                returned = schedule(xp, t, history)
            except TypeError as error:
                msg = f"schedule must be a function of (xp, t, history), such as xpnet.schedules.cosine(50): {error}"
                raise TypeError(msg) from error
            factors = bring(what, returned, HOST, self.settings.dtype)
            same_shape(what, factors, (steps, *self.settings.ensemble_shape) if factors.ndim > 1 else (steps,))
            finite_array(xp, what, factors)
            least, greatest = float(xp.min(factors)), float(xp.max(factors))
        if least < 0.0 or greatest == 0.0:
            msg = (
                f"{what} must not be negative, nor 0 throughout, for nothing is learned then, but reaches from {least} "
                f"to {greatest}; perhaps the schedule is shorter than the training"
            )
            raise ValueError(msg)
        return factors

    # ---- Predicting and measuring

    def predict(self, backend: Backend, theta: Array, rows: Array) -> Array:
        """Return the outputs for samples as rows, of shape (..., N, n_L)."""
        activations = self.settings.activations
        chunks = self._chunks_of(backend, theta, Samples(rows, rows, None))
        return _joined(backend.xp, [self._forward(backend, X, layers, activations).mT for layers, X, *_ in chunks])

    def measure(
        self, backend: Backend, theta: Array, samples: Samples, metrics: Mapping[str, Metric]
    ) -> dict[str, Array]:
        """Return the loss of the networks on samples and every metric, each of shape (...), by name."""
        xp, activations, loss = backend.xp, self.settings.activations, self.settings.loss
        fused, fused_loss = fuse(activations, loss)
        measured: dict[str, list[Array]] = {"loss": [], **{name: [] for name in metrics}}
        for layers, X, Y, weight in self._chunks_of(backend, theta, samples):
            Z = self._forward(backend, X, layers, fused)
            measured["loss"].append(mean_loss(xp, fused_loss, Z, Y, weight)[0])
            A = activations[-1].forward(xp, Z) if metrics and fused_loss is not loss else Z
            for name, metric in metrics.items():
                try:
                    measured[name].append(metric(xp, A, Y, weight))
                except TypeError as error:
                    msg = f"the metric {name} must be a function metric(xp, A, Y, weight): {error}"
                    raise TypeError(msg) from error
                same_shape(f"what {name} returns", measured[name][-1], tuple(layers[0][0].shape[:-2]))
                same_library(f"what {name} returns", measured[name][-1], theta)
                real_array(xp, f"what {name} returns", measured[name][-1], measured[name][-1])
        return {name: _joined(xp, values) for name, values in measured.items()}

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

    def _forward(self, backend: Backend, X: Array, layers: Layers, activations: Sequence[Activation]) -> Array:
        """Return the outputs for samples as columns, as many at a time as fit into a step's memory with all layers."""
        W = layers[0][0]
        networks = W.shape[0] if W.ndim > 2 else 1
        row = 3 * self.settings.itemsize * networks * sum(self.settings.layer_list)
        at_once = max(backend.step_memory // row, 1)
        N = X.shape[-1]
        slices = [X[..., start : min(start + at_once, N)] for start in range(0, N, at_once)]
        outputs = [forward(backend.xp, each, layers, activations)[0] for each in slices]
        return outputs[0] if len(outputs) == 1 else backend.xp.concat(outputs, axis=-1)

    def _chunks_of(self, backend: Backend, theta: Array, samples: Samples) -> Iterator[tuple[Any, ...]]:
        """Yield the layers of as many networks as fit into memory, with their X, Y and weights as columns."""
        for chunk in self._chunks(backend, 3 * samples.size * sum(self.settings.layer_list)):
            yield self.settings.layout.layers(backend.xp, theta[chunk]), *samples.columns(chunk)


def joined(xp: Namespace, parts: Sequence[Part]) -> tuple[State, Array]:
    """Return the state and the loss of all networks from those of their parts."""
    states = [part.state for part in parts]
    state = states[0] if len(parts) == 1 else states[0].map(lambda *arrays: xp.concat(arrays), *states[1:])
    return state, _joined(xp, [part.loss for part in parts])


def _joined(xp: Namespace, arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else xp.concat(arrays)
