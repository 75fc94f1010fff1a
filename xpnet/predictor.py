"""A network that answers: what it is and knows, where it is, and what of it is kept.

`Predictor` is the half of `NeuralNetwork` that does not learn. It looks at what it is given, brings it to where it
computes, and lets the pure functions of the other modules do the work.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from xpnet import plotting, validation
from xpnet._types import Array
from xpnet.activations import Activation
from xpnet.backends import HOST, Backend, get_backend
from xpnet.backends.base import State
from xpnet.data import Samples, bring_samples
from xpnet.early_stopping import BestSoFar
from xpnet.history import History
from xpnet.initializers import Initializer
from xpnet.losses import Loss
from xpnet.metrics import Metric, metrics_by_name
from xpnet.model import Model
from xpnet.onnx_export import to_onnx
from xpnet.optimizers import Optimizer, kind_of_memory
from xpnet.parameters import Layout, Parameters
from xpnet.propagation import Cache
from xpnet.transfer import Transfer, bring_state, bring_state_like, copied, place_of

# What a state_dict holds.
_STATE = (
    *("theta", "optimizer", "memory", "history", "seed", "weights_streams"),
    *("best_loss", "best_epoch", "best_so_far"),
)


class Predictor:
    """A network with its parameters, its record and its place; see `NeuralNetwork`.

    Parameters
    ----------
    model : Model
        What it is.
    device : str or Backend, optional
        Where it is; without it the network goes wherever the data is.
    """

    def __init__(self, model: Model, device: str | Backend | None) -> None:
        self._model = model
        self._weights_streams = model.weights_streams()
        self._goes_to_data = device is None
        self._trains = False
        self._start(HOST if device is None else get_backend(device))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.layer_list}, {f'ensemble={self.ensemble}, ' if self.ensemble else ''}"
            f"device={self.backend.device!r}, dtype={self.dtype!r}, seed={reprlib.repr(self.seed)})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # A copy that a callback takes in the middle of training is a network that does not train.
        return {**self.__dict__, "_trains": False}

    # ---- What it is

    @property
    def settings(self) -> dict[str, Any]:
        """What the network was built with, but for the device, so that ``NeuralNetwork(**settings)`` is another."""
        return self._model.settings

    @property
    def layer_list(self) -> list[int]:
        """The sizes of the layers, inputs first."""
        return list(self._model.layer_list)

    @property
    def activations(self) -> list[Activation]:
        """The activations of the layers after the inputs."""
        return list(self._model.activations)

    @property
    def loss(self) -> Loss:
        """What training makes small."""
        return self._model.loss

    @property
    def optimizer(self) -> Optimizer:
        """How the parameters follow their gradient."""
        return self._model.optimizer

    @property
    def initializer(self) -> Initializer:
        """How initial weights are drawn."""
        return self._model.initializer

    @property
    def initial_scale(self) -> float | tuple[float, ...]:
        """What the weights and biases that the initializer draws are multiplied with."""
        return self._model.initial_scale

    @property
    def regularization(self) -> dict[str, float | tuple[float, ...]]:
        """The strengths of `weight_decay`, `l2` and `l1`, and `clip_norm` where there is one."""
        return dict(self._model.regularization)

    @property
    def dropout(self) -> list[float]:
        """The fraction of the units of each hidden layer that a training step leaves out."""
        return list(self._model.dropout)

    @property
    def ensemble(self) -> int | None:
        """How many networks there are side by side, or None for one that has no such axis."""
        return self._model.ensemble

    @property
    def dtype(self) -> str:
        """The precision of parameters and computation."""
        return self._model.dtype

    @property
    def seed(self) -> int | list[int]:
        """The seed in use, or those of an ensemble."""
        return self._model.seed

    # ---- What it knows

    def _start(self, backend: Backend) -> None:
        self._parameters = self._draw(backend, self._model.layout)
        self._reset_memory()
        self.cache: Cache = []
        self._history = History(self._model.lead)
        self._best_so_far: BestSoFar | None = None  # in the middle of a training that may stop early
        self._went_back: tuple[Any, Array] = (None, None)

    @property
    def _best(self) -> Any:
        """The losses and the epochs that early stopping has gone back to, as long as the parameters are those."""
        best, theta = self._went_back
        return best if theta is self.theta else None

    @_best.setter
    def _best(self, best: Any) -> None:
        self._went_back = (best, self.theta)

    def _draw(self, backend: Backend, layout: Layout) -> Parameters:
        return Parameters(backend, self.dtype, layout, self._model.draw(self._weights_streams, backend, layout))

    def _reset_memory(self) -> None:
        self._memory = self._new_memory()

    def _new_memory(self) -> tuple[Array, ...]:
        with self.backend.on_device():
            memory = self.optimizer.init(self.backend.xp, self.theta)
        if not isinstance(memory, tuple):
            msg = f"the optimizer's init must answer a tuple of arrays, got {type(memory).__name__}"
            raise TypeError(msg)
        for array in memory:
            validation.same_shape("what the optimizer's init answers", array, self._model.lead, leading=True)
        return memory

    def initialize_weights_deep(self, layer_list: Sequence[int]) -> Parameters:
        """Draw parameters for these layer sizes, with the next numbers of the network's stream."""
        return self._draw(self.backend, Layout(validation.layer_sizes(layer_list)))

    def clear_weights(self) -> None:
        """Draw new parameters, with the next numbers of the network's stream, and forget all training."""
        self._refuse_in_training("clear_weights")
        self._start(self.backend)

    @property
    def parameters(self) -> Parameters:
        """The weights and biases by name, views into `theta`; assigning all of them makes the optimizer start anew."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        self._refuse_in_training("assigning parameters")
        if not isinstance(values, Mapping) or values.keys() != self._parameters.keys():
            came = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
            msg = f"parameters must be a mapping of {', '.join(self._parameters)}, got {came}"
            raise ValueError(msg)
        changed = Parameters(self.backend, self.dtype, self._parameters.layout, self.theta)
        for name, value in values.items():
            changed[name] = value
        self._parameters = changed
        self._reset_memory()
        self._best_so_far = None

    @property
    def theta(self) -> Array:
        """All parameters in one vector of shape (P,), or (E, P)."""
        return self._parameters.theta

    @property
    def history(self) -> History:
        """What was measured in every epoch since the weights were drawn; reading it waits for the device."""
        return self._history

    @property
    def epochs_trained(self) -> int:
        """How many epochs the network was trained for since its weights were drawn."""
        return self._history.epochs

    @property
    def epoch_loss(self) -> list[Any]:
        """The loss of every epoch since the weights were drawn; reading it waits for the device."""
        return self._history["loss"].tolist()  # type: ignore[no-any-return]

    def plot_epoch(self) -> None:
        """Show the loss over the epochs; needs matplotlib."""
        plotting.show_epoch_loss(self._history["loss"])

    @property
    def best_loss(self) -> Any:
        """The loss that early stopping has gone back to, a float, or of an ensemble an array (E,); None without it."""
        best = self._best
        return best and (HOST.xp.asarray(best[0], copy=True) if self.ensemble else float(best[0]))

    @property
    def best_epoch(self) -> Any:
        """The epoch, from 0, that early stopping has gone back to, an int, or of an ensemble an array (E,), or None."""
        best = self._best
        return best and (HOST.xp.asarray(best[1], copy=True) if self.ensemble else int(best[1]))

    def best_index(self) -> int:
        """Return the number of the network of an ensemble whose loss is least.

        It is the validation loss where the last epoch had it, else that of training; and where early stopping has gone
        back to the best epoch of each, that of those epochs.

        Raises
        ------
        ValueError
            If the network is no ensemble, was not trained, or all of its networks have diverged.
        """
        if self.ensemble is None:
            msg = "a network that is no ensemble has no best one"
            raise ValueError(msg)
        if not self._history.epochs:
            msg = "best needs an ensemble that was trained"
            raise ValueError(msg)
        losses = self._best[0] if self._best else self._history.last()[self._history.monitored]
        finite = HOST.xp.isfinite(losses)
        if not bool(HOST.xp.any(finite)):
            msg = "no network of the ensemble has a finite loss"
            raise ValueError(msg)
        return int(HOST.xp.argmin(HOST.xp.where(finite, losses, HOST.xp.inf)))

    def _refuse_in_training(self, what: str) -> None:
        if self._trains:
            msg = f"{what} is refused while the network trains: a callback may look, copy or raise, but not change it"
            raise RuntimeError(msg)

    # ---- What of it is kept

    @property
    def _state(self) -> State:
        return self.theta, self._memory

    @_state.setter
    def _state(self, state: State) -> None:
        self._parameters.theta, self._memory = state

    def state_dict(self) -> dict[str, Any]:
        """Return what training has made of the network, on the host.

        Returns
        -------
        state : dict
            ``theta``, an array; ``optimizer``, its kind, and ``memory``, a list of arrays; ``history``, arrays by name;
            ``seed``, and ``weights_streams``, where the streams of random numbers are that weights are drawn from;
            ``best_loss`` and ``best_epoch``, those that early stopping went back to, or None; and in the middle of a
            training that may stop early ``best_so_far``, what it would go back to, else None.
        """
        host = [HOST.xp.asarray(self.backend.to_numpy(array), copy=True) for array in (self.theta, *self._memory)]
        best = self._best
        return {
            "theta": host[0],
            "optimizer": kind_of_memory(self.optimizer),
            "memory": host[1:],
            "history": dict(self._history),
            "seed": self.seed,
            "weights_streams": [stream.bit_generator.state for stream in self._weights_streams],
            "best_loss": best and HOST.xp.asarray(best[0], copy=True),
            "best_epoch": best and HOST.xp.asarray(best[1], copy=True),
            "best_so_far": self._best_so_far and self._best_so_far.state_dict(self.backend),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another network of the same layers and optimizer was, with its seed.

        Parameters
        ----------
        state : mapping
            From the other's `state_dict`; the network keeps copies.

        Raises
        ------
        ValueError
            If the state is of other layers, of another optimizer, or of another number of networks; the network is then
            unchanged.
        RuntimeError
            If a callback calls it while the network trains.
        """
        self._refuse_in_training("load_state_dict")
        missing = [name for name in _STATE if not (isinstance(state, Mapping) and name in state)]
        if missing:
            msg = f"state must be what a network's state_dict returns, but lacks {', '.join(missing)}"
            raise ValueError(msg)
        ours, model, backend = kind_of_memory(self.optimizer), self._model, self.backend
        if state["optimizer"] != ours:
            msg = f"the state is of the optimizer {state['optimizer']}, but this network's is {ours}"
            raise ValueError(msg)
        loaded = bring_state_like(self._state, (state["theta"], state["memory"]), backend)
        best_so_far = None
        if state["best_so_far"] is not None:
            best_so_far = BestSoFar.of(state["best_so_far"], backend, loaded, model.lead)
        history, best = History.of(state["history"], model.lead), None
        if state["best_loss"] is not None:
            names = ("best_loss", "best_epoch")
            best = tuple(copied(name, state[name], HOST, "float64") for name in names)
            for name, values in zip(names, best, strict=True):
                validation.same_shape(name, values, model.lead)
            validation.finite_array(HOST.xp, "best_epoch", best[1])
            best = (best[0], HOST.asarray(best[1], "int64"))
        model = Model(**{**model.settings, "seed": state["seed"]})
        streams = model.weights_streams()
        for stream, values in zip(streams, state["weights_streams"], strict=True):
            stream.bit_generator.state = values
        # From here on nothing is refused any more.
        self._model, self._weights_streams = model, streams
        self._state, self._history, self._best_so_far = loaded, history, best_so_far
        self._best = best
        self.cache = []

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the network into a file as an ONNX model, which runs without xpnet.

        The model has one input, X of shape (N, n_0), and one output, y of shape (N, n_L), or for an ensemble
        (E, N, n_L), in the precision of the network.

        Parameters
        ----------
        path : path
            The file, by convention ``.onnx``.

        Raises
        ------
        ImportError
            If ndonnx is not installed.
        ValueError
            If a user's own activation uses what cannot be exported.
        """
        theta = self.backend.to_numpy(self.theta)
        to_onnx(path, self._model.layout.layers(HOST.xp, theta), self._model.activations)

    # ---- Where the data is, and where the network is

    @property
    def backend(self) -> Backend:
        """Where the network is."""
        return self._parameters.backend

    def _transfer(self, **data: Any) -> Transfer:
        """Plan the way of these arguments to the network, which goes to them if it has no device of its own."""
        place = place_of(**data)
        goes = place if self._goes_to_data and not self._trains else None
        return Transfer(place or HOST, goes or self.backend, self.dtype)

    def _state_on(self, backend: Backend) -> State:
        """Return the parameters and the optimizer's memory as arrays of a backend."""
        return bring_state(self._state, backend)

    def _move(self, backend: Backend) -> None:
        """Go to a backend; what was kept for a backward pass stays behind."""
        if backend == self.backend:
            return
        state = self._state_on(backend)
        if self._best_so_far is not None:
            self._best_so_far.state = bring_state(self._best_so_far.state, backend)
        best = self._best
        self._parameters.backend, self.cache, self._state = backend, [], state
        self._best = best

    # ---- Answers

    def predict(self, X: Array) -> Array:
        """Answer samples as people have them.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) where there is one input
            The samples, one a row. For an ensemble also (E, N, n_0): a set for each of its networks.

        Returns
        -------
        y : array of shape (N, n_L), (N, n_L, 1), or (N,) where there is one output, as X is
            The answers, where X is; those of an ensemble have the networks on an axis before.
        """
        data = self._transfer(X=X)
        with data.backend.on_device():
            xp, n_L = data.backend.xp, self._model.layer_list[-1]
            X = data.to_network("X", X)
            rows = validation.sample_rows(xp, "X", X, self._model.layer_list[0], "first layer", self.ensemble)
            self._move(data.backend)
            answers = self._model.answer(data.backend, self.theta, Samples(rows, rows, None))
            shape = (-1, n_L, 1) if X.ndim > rows.ndim == 2 else (-1,) if X.ndim == 1 and n_L == 1 else (-1, n_L)
            return data.to_caller(xp.reshape(answers, (*self._model.lead, *shape)))

    def evaluate(
        self,
        X: Array,
        y: Array,
        *,
        sample_weight: Array | None = None,
        metrics: Sequence[str | Metric] | str | Metric = (),
    ) -> dict[str, Any]:
        """Measure how well the network answers.

        Parameters
        ----------
        X, y, sample_weight, metrics
            As for `train`.

        Returns
        -------
        figures : dict
            ``loss``, and the metrics by name: of each a float, or for an ensemble a host array of shape (E,).
        """
        measures, model = metrics_by_name(metrics), self._model
        given = {"X": X, "y": y, "sample_weight": sample_weight}
        data = self._transfer(**given)
        with data.backend.on_device():
            samples = bring_samples(data, given, model.layer_list, model.bounds, model.ensemble)
            self._move(data.backend)
            figures = model.measure(data.backend, self.theta, samples, measures)
        host = {name: data.backend.to_numpy(value) for name, value in figures.items()}
        return {name: float(value) for name, value in host.items()} if self.ensemble is None else host
