"""What a network is, apart from its parameters: its layers and parts, its settings and its seeds.

A `Model` does not change. What it does with parameters it is given, it does for one network, and for an ensemble of E
networks side by side: then whatever belongs to a network has a leading axis, and where all of them together would need
too much memory they take turns. `Networks` says which ones are meant: `ALL`, or some of an ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count, pairwise
from typing import Any, Self, TypeAlias

from xpnet import validation
from xpnet._types import Array
from xpnet.activations import ACTIVATIONS, Activation, relu, sigmoid
from xpnet.backends import HOST, Backend, Stream, random_stream
from xpnet.backends.base import State, Step
from xpnet.data import Samples, TrainingData
from xpnet.initializers import INITIALIZERS, Initializer
from xpnet.losses import LOSSES, Loss, fuse
from xpnet.metrics import Metric
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.parameters import Layout, flatten
from xpnet.propagation import forward
from xpnet.regularization import regularized
from xpnet.schedules import Schedule
from xpnet.training import evaluate, loss_gradient, make_step, rehearse, train_epochs
from xpnet.transfer import bring, member_values

Networks: TypeAlias = tuple[Any, ...]
ALL: Networks = (...,)


class Model:
    """The settings of `NeuralNetwork`, looked at; see there.

    Attributes
    ----------
    lead : tuple of int
        () for one network, (E,) for an ensemble.
    seeds : list of int
        One for each network.
    layout : Layout
        Where the parameters lie in theta.
    """

    def __init__(
        self,
        layer_list: Any,
        *,
        activations: Any,
        loss: Any,
        optimizer: Any,
        initializer: Any,
        initial_scale: Any,
        weight_decay: Any,
        l2: Any,
        l1: Any,
        clip_norm: Any,
        dropout: Any,
        ensemble: Any,
        dtype: Any,
        seed: Any,
    ) -> None:
        self.layer_list = validation.layer_sizes(layer_list)
        self.layout = Layout(self.layer_list)
        layers = len(self.layer_list) - 1
        self.loss: Loss = validation.named("loss", loss, LOSSES, Loss)
        if activations is None:
            activations = [relu] * (layers - 1) + [self.loss.canonical[0] if self.loss.canonical else sigmoid]
        self.activations: list[Activation] = [
            validation.named("activation", value, ACTIVATIONS, Activation)
            for value in validation.one_per_layer("activations", activations, layers, "layers after the inputs")
        ]
        self.bounds = self.activations[-1].bounds
        validation.last_activation(self.bounds, self.loss.bounds)
        self.optimizer: Optimizer = validation.named("optimizer", optimizer, OPTIMIZERS, Optimizer)
        self.initializer: Initializer = validation.named("initializer", initializer, INITIALIZERS, Callable)
        self.dtype = validation.precision(dtype)
        self.ensemble = None if ensemble is None else validation.positive_integer("ensemble", ensemble)
        self.lead: tuple[int, ...] = () if self.ensemble is None else (self.ensemble,)
        self.initial_scale = self.setting("initial_scale", initial_scale, validation.positive_number)
        strengths = {"weight_decay": self.optimizer.weight_decay if weight_decay is None else weight_decay}
        strengths |= {"l2": l2, "l1": l1}
        self.regularization = {
            name: self.setting(name, value, validation.number_from_zero) for name, value in strengths.items()
        }
        if clip_norm is not None:
            self.regularization["clip_norm"] = self.setting("clip_norm", clip_norm, validation.positive_number)
        rates = dropout
        if validation.is_number(dropout):
            validation.fraction("dropout", dropout)
            if dropout and layers == 1:
                msg = f"dropout of {dropout} leaves out hidden units, but there is no hidden layer"
                raise ValueError(msg)
            rates = [dropout] * (layers - 1)
        self.dropout = [
            validation.fraction("dropout", rate)
            for rate in validation.one_per_layer("dropout", rates, layers - 1, "hidden layers")
        ]
        self.seeds: list[int] = validation.seeds(seed, self.ensemble)

    def setting(self, name: str, value: Any, check: Callable[[str, Any, str], float]) -> float | tuple[float, ...]:
        """Return a number, or for an ensemble one for each network where an array or a list is given."""
        return member_values(name, value, self.ensemble, check, self.dtype)

    @property
    def seed(self) -> int | list[int]:
        """The seed, or for an ensemble those of its networks."""
        return list(self.seeds) if self.lead else self.seeds[0]

    def weights_streams(self) -> list[Any]:
        """Return the streams that initial weights are drawn from, one for each network, at their start."""
        return [random_stream(seed, Stream.WEIGHTS) for seed in self.seeds]

    @property
    def settings(self) -> dict[str, Any]:
        """What makes another such model: built-in parts by name, and a user's own."""

        def named(part: Any, known: Mapping[str, Any]) -> Any:
            return validation.name_of(part, known) or part

        return {
            "layer_list": list(self.layer_list),
            "activations": [named(activation, ACTIVATIONS) for activation in self.activations],
            "loss": named(self.loss, LOSSES),
            "optimizer": named(self.optimizer, OPTIMIZERS),
            "initializer": named(self.initializer, INITIALIZERS),
            "initial_scale": self.initial_scale,
            "clip_norm": None,
            **self.regularization,
            "dropout": list(self.dropout),
            "ensemble": self.ensemble,
            "dtype": self.dtype,
            "seed": self.seed,
        }

    def member(self, i: int) -> dict[str, Any]:
        """Return the settings of one network of an ensemble, for a network of its own."""
        settings = {**self.settings, "ensemble": None}
        for name in ("initial_scale", "seed", *self.regularization):
            if isinstance(settings[name], (tuple, list)):
                settings[name] = settings[name][i]
        return settings

    # A model does not change, so that a copy is itself; in a pickle built-in parts go by name, to be known again.

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _model_of, (self.settings,)

    def draw(self, streams: Sequence[Any], backend: Backend, layout: Layout) -> Array:
        """Return new parameters of shape (..., P), each network's from its own stream."""
        scales = self.initial_scale if isinstance(self.initial_scale, tuple) else [self.initial_scale] * len(streams)
        vectors = [scale * self._draw_one(stream, layout) for scale, stream in zip(scales, streams, strict=True)]
        theta = backend.asarray(HOST.xp.stack(vectors) if self.lead else vectors[0], self.dtype)
        with backend.on_device():
            validation.finite_array(backend.xp, "what the initializer draws", theta)
        return theta

    def _draw_one(self, stream: Any, layout: Layout) -> Array:
        drawn = []
        for n_in, n_out in pairwise(layout.layer_list):
            W, b = self.initializer(stream, n_out, n_in)
            for name, array, shape in (("W", W, (n_out, n_in)), ("b", b, (n_out, 1))):
                name = f"{name} of the initializer"
                drawn.append(bring(name, array, HOST, "float64"))
                validation.same_shape(name, drawn[-1], shape)
                validation.finite_array(HOST.xp, name, drawn[-1])
        return flatten(HOST.xp, drawn)

    # ---- Steps

    def regularized_optimizer(self, backend: Backend, networks: Networks = ALL) -> Optimizer:
        """Return the optimizer that does what the settings ask for besides."""
        if not any(self.regularization.values()):
            return self.optimizer
        with backend.on_device():
            mask = backend.asarray(self.layout.weights_mask(HOST.xp), self.dtype)
            strengths = {
                name: backend.asarray(value, self.dtype)[:, None][networks] if isinstance(value, tuple) else value
                for name, value in self.regularization.items()
            }
            return regularized(self.optimizer, mask, **strengths)

    def _thinned(self) -> list[tuple[int, float]]:
        """Return the size and the rate of each hidden layer that has dropout."""
        return [(n, rate) for n, rate in zip(self.layer_list[1:-1], self.dropout, strict=True) if rate]

    def _step(self, backend: Backend, samples: Samples, networks: Networks = ALL) -> Step:
        return make_step(
            backend.xp,
            self.layout,
            self.activations,
            self.loss,
            self.regularized_optimizer(backend, networks),
            weighted=samples.weight is not None,
            dropout=self.dropout,
        )

    def rehearse(self, backend: Backend, state: State, samples: Samples, rates: Array) -> None:
        """Take a step with one sample and forget it, so that what is wrong with a part is found at once."""
        xp = backend.xp
        X, Y, *weight = (array[..., :1] for array in samples.columns() if array is not None)
        masks = [backend.asarray([[True]] * n) for n, _ in self._thinned()]
        rehearse(xp, self._step(backend, samples), state, [X, Y, rates, *weight, *masks])

    # ---- Epochs

    def train(
        self,
        backend: Backend,
        state: State,
        samples: Samples,
        rates: Array,
        *,
        first: int,
        epochs: int,
        batch_size: int,
        shuffle: bool,
        factors: Callable[[int], Any] | None,
        at_once: int | None,
    ) -> Iterator[tuple[State, Array]]:
        """Train, as `train_epochs` does; of an ensemble so many networks at once as the memory is there for.

        Parameters
        ----------
        first : int
            The number of the first epoch, counted from when the weights were drawn.
        factors : callable, optional
            ``factors(epoch)``, of shape (steps,) or (steps, E): what to multiply the learning rates with.
        """
        N = samples.size
        # Networks that take turns are in the same epoch, and ask for the same factors.
        factors = lru_cache(maxsize=1)(factors) if factors else None

        def part(networks: Networks) -> Iterator[tuple[State, Array]]:
            X, Y, weight = samples.columns(networks)
            return train_epochs(
                backend,
                self._step(backend, samples, networks),
                (state[0][networks], tuple(array[networks] for array in state[1])),
                X,
                Y,
                rates[networks],
                weight,
                epochs=epochs,
                batch_size=batch_size,
                orders=(self._orders(N, epoch, networks) for epoch in count(first)) if shuffle else None,
                factors=(_of(factors(epoch), networks) for epoch in count(first)) if factors else None,
                masks=(self._masks(N, epoch, networks) for epoch in count(first)) if any(self.dropout) else None,
            )

        # A step takes the parameters several times over, and what a forward pass keeps; an epoch the samples in an
        # order of each network's own, and masks.
        step = (5 + len(state[1])) * self.layout.size + 4 * batch_size * sum(self.layer_list)
        kept = 2 * N * (self.layer_list[0] + self.layer_list[-1]) * shuffle + N * sum(self.layer_list) * any(
            self.dropout
        )
        parts = [part(networks) for networks in self._parts(backend, step, kept, at_once)]
        if len(parts) == 1:
            yield from parts[0]
            return
        for each in zip(*parts, strict=True):
            with backend.on_device():
                thetas, memories = zip(*(state for state, _ in each), strict=True)
                memory = tuple(backend.xp.concat(arrays) for arrays in zip(*memories, strict=True))
                joined = (backend.xp.concat(thetas), memory), backend.xp.concat([loss for _, loss in each])
            yield joined

    def _parts(self, backend: Backend, step: int, kept: int = 0, at_once: int | None = None) -> list[Networks]:
        """Return which networks to compute with at a time, given how many numbers each of them needs."""
        if self.ensemble is None:
            return [ALL]
        size = int(self.dtype.removeprefix("float")) // 8
        fits = min(backend.step_memory // (step * size), backend.working_memory // ((step + kept) * size))
        at_once = at_once or max(fits, 1)
        parts = -(-self.ensemble // at_once)
        at_once = -(-self.ensemble // parts)
        return [(slice(start, min(start + at_once, self.ensemble)), ...) for start in range(0, self.ensemble, at_once)]

    def _orders(self, N: int, epoch: int, networks: Networks) -> Array:
        """Draw the order of the samples for an epoch, of shape (N,), or (E, N) where there are several seeds."""
        return self._drawn(networks, lambda seed: random_stream(seed, Stream.SHUFFLING, epoch).permutation(N))

    def _masks(self, N: int, epoch: int, networks: Networks) -> list[Array]:
        """Draw which units stay in an epoch, of shape (n, N) or (E, n, N), for each layer with dropout."""
        rates = HOST.asarray([rate for n, rate in self._thinned() for _ in range(n)])

        def draw(seed: int) -> Array:
            # A row for each sample, so that the size of a batch changes nothing.
            return random_stream(seed, Stream.DROPOUT, epoch).random((N, rates.shape[0])) >= rates

        drawn, masks, start = self._drawn(networks, draw).mT, [], 0
        for n, _ in self._thinned():
            masks.append(drawn[..., start : start + n, :])
            start += n
        return masks

    def _drawn(self, networks: Networks, draw: Callable[[int], Array]) -> Array:
        """Draw with the seed of each network; only once where they have all the same."""
        chosen: slice = slice(None) if networks == ALL else networks[0]
        seeds = self.seeds[chosen]
        by_seed = {seed: draw(seed) for seed in dict.fromkeys(seeds)}
        return HOST.xp.stack([by_seed[seed] for seed in seeds]) if len(by_seed) > 1 else by_seed[seeds[0]]

    def factors(self, schedule: Schedule, history: Any, steps: int, epoch: int) -> Array:
        """Ask a schedule for the factors of an epoch, of shape (steps,) or (steps, E)."""
        xp, what = HOST.xp, f"what the schedule answers for epoch {epoch}"
        with HOST.on_device():
            t = epoch + HOST.asarray(range(steps), "float64") / steps
            try:
                answer = schedule(xp, t, history)
            except TypeError as error:
                msg = f"schedule must be a function of (xp, t, history), such as xpnet.schedules.cosine(50): {error}"
                raise TypeError(msg) from error
            factors = bring(what, answer, HOST, self.dtype)
            validation.same_shape(what, factors, (steps, *self.lead) if factors.ndim > 1 else (steps,))
            validation.finite_array(xp, what, factors)
            least, greatest = float(xp.min(factors)), float(xp.max(factors))
        if least < 0.0 or greatest == 0.0:
            msg = (
                f"{what} must not be negative, nor 0 throughout, for nothing is learned then, but reaches from {least} "
                f"to {greatest}; perhaps the schedule is shorter than the training"
            )
            raise ValueError(msg)
        return factors

    # ---- Answers

    def answer(self, backend: Backend, theta: Array, samples: Samples) -> Array:
        """Return what the networks answer, of shape (..., N, n_L)."""
        turns = self._turns(backend, theta, samples)
        return _joined(backend.xp, [forward(backend.xp, X, layers, self.activations)[0].mT for layers, X, *_ in turns])

    def measure(
        self, backend: Backend, theta: Array, samples: Samples, metrics: Mapping[str, Metric]
    ) -> dict[str, Array]:
        """Return the loss of the networks on samples and every metric, each of shape (...), by name."""
        xp = backend.xp
        measured = []
        for layers, X, Y, weight in self._turns(backend, theta, samples):
            figures = evaluate(xp, X, Y, layers, self.activations, self.loss, metrics, weight)
            for name, value in figures.items():
                validation.same_shape(f"what {name} answers", value, tuple(layers[0][0].shape[:-2]))
            measured.append(figures)
        return {name: _joined(xp, [figures[name] for figures in measured]) for name in measured[0]}

    def _turns(self, backend: Backend, theta: Array, samples: Samples) -> Iterator[tuple[Any, ...]]:
        """Yield the layers of so many networks as the memory is there for, with their X, Y and weights as columns."""
        for networks in self._parts(backend, 3 * samples.size * sum(self.layer_list)):
            yield self.layout.layers(backend.xp, theta[networks]), *samples.columns(networks)

    def figures(self, data: TrainingData, theta: Array, loss: Array) -> dict[str, Array]:
        """Return what a training records of an epoch, each of shape (...), by name; its loss is known."""
        figures = {"loss": loss}
        with data.backend.on_device():
            if data.metrics:
                figures = self.measure(data.backend, theta, data.measured, data.metrics) | figures
            if data.held_out is not None:
                values = self.measure(data.backend, theta, data.held_out, data.metrics)
                figures |= {f"validation_{name}": value for name, value in values.items()}
        return figures

    def objective(self, backend: Backend, samples: Samples) -> Callable[[Array], tuple[Array, Array]]:
        """Return theta's loss on the samples, with the penalty ½ l2 ‖W‖² that the settings ask for, and its
        gradient.
        """
        xp = backend.xp
        X, Y, weight = samples.columns()
        with backend.on_device():
            l2 = self.regularization["l2"] * backend.asarray(self.layout.weights_mask(HOST.xp), self.dtype)
        activations, loss = fuse(self.activations, self.loss)

        def value_and_gradient(theta: Array) -> tuple[Array, Array]:
            layers = self.layout.layers(xp, theta)
            value, dtheta, _ = loss_gradient(xp, X, Y, layers, activations, loss, weight)
            return value + 0.5 * xp.sum(l2 * theta * theta), dtheta + l2 * theta

        return value_and_gradient


def _model_of(settings: dict[str, Any]) -> Model:
    return Model(**settings)


def _joined(xp: Any, parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _of(factors: Array, networks: Networks) -> Array:
    return factors if networks == ALL or factors.ndim == 1 else factors[:, networks[0]]
