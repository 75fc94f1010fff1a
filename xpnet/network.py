"""The document's class: a multilayer perceptron with its weights, its training and its record.

`NeuralNetwork` is thin. It looks at what it is given, brings it to where it computes, and lets the pure functions of
the other modules do the work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any, Self

from xpnet import plotting, validation
from xpnet._types import Array
from xpnet.activations import ACTIVATIONS, Activation, relu, sigmoid
from xpnet.backends import Backend, Stream, get_backend, new_seed, random_stream
from xpnet.backends.base import State
from xpnet.initializers import INITIALIZERS, Initializer
from xpnet.losses import LOSSES, Loss, fuse, mean_loss
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.parameters import Layout, Parameters, flatten
from xpnet.propagation import Cache, backward, forward
from xpnet.regularization import regularized
from xpnet.schedules import Schedule
from xpnet.training import copy_state, make_step, rehearse, train_epochs
from xpnet.transfer import Transfer, bring, place_of

# How many seconds training may run before it looks whether the loss is still finite: looking waits for the device.
_CHECK_SECONDS = 1.0


class NeuralNetwork:
    """A multilayer perceptron, trained by gradient descent.

    Parameters
    ----------
    layer_list : sequence of int
        The sizes of the layers, inputs first: ``[1, 10, 10, 1]`` has one input, two hidden layers of ten, one output.
    activations : sequence of str or Activation, optional
        One for each layer after the inputs. By default relu for the hidden layers and sigmoid for the last.
    loss : str or Loss
        What training makes small.
    optimizer : str or Optimizer
        How the parameters follow their gradient.
    initializer : str or callable
        How initial weights are drawn.
    weight_decay, l2, l1 : float
        How strongly the weights, not the biases, are drawn to zero: by a decay beside the optimizer, or by penalties
        ½ λ ‖W‖² and λ ‖W‖₁ through it. The losses that are reported are without the penalties.
    clip_norm : float, optional
        The greatest length that the gradient keeps.
    device : str or Backend, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"auto"``, or a `Backend`; data is brought there. Without it the network
        goes wherever the data is. Either way results come back in the library and on the device of the data.
    dtype : {"float64", "float32"}
        The precision of parameters and computation.
    seed : int, optional
        The same seed gives the same initial weights and the same order of samples on every device. Training is
        bit-identical only for the same backend, device and versions.

    Attributes
    ----------
    parameters : Parameters
        ``parameters["W1"]`` of shape (n_1, n_0), ``parameters["b1"]`` of shape (n_1, 1), and so on: views into `theta`.
        Assigning writes into it.
    theta : array of shape (P,)
        All parameters in one vector.
    cache : list of (Z, W, b, A_prev)
        What the last `deep_forward` passed through, layer by layer.
    epoch_loss : list of float
        The loss of every epoch since the weights were drawn.
    backend : Backend
        Where the network is.
    seed : int
        The seed in use, also where none was given.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import NeuralNetwork
    >>> X = np.linspace(-2, 2, 100)
    >>> network = NeuralNetwork([1, 10, 1], seed=0)
    >>> network.train(X, 0.5 * (np.sin(X) + 1), learning_rate=0.1, epochs=20, verbose=False)
    >>> network.predict(X).shape
    (100,)
    """

    def __init__(
        self,
        layer_list: Sequence[int] = (1, 3, 1),
        *,
        activations: Sequence[str | Activation] | None = None,
        loss: str | Loss = "half_squared_error",
        optimizer: str | Optimizer = "sgd",
        initializer: str | Initializer = "normal",
        weight_decay: float = 0.0,
        l2: float = 0.0,
        l1: float = 0.0,
        clip_norm: float | None = None,
        device: str | Backend | None = None,
        dtype: Any = "float64",
        seed: int | None = None,
    ) -> None:
        self._layer_list = validation.layer_sizes(layer_list)
        count = len(self._layer_list) - 1
        self._loss = validation.named("loss", loss, LOSSES, Loss)
        if activations is None:
            activations = [relu] * (count - 1) + [self._loss.canonical[0] if self._loss.canonical else sigmoid]
        self._activations = [
            validation.named("activation", value, ACTIVATIONS, Activation)
            for value in validation.one_per_layer("activations", activations, count)
        ]
        validation.last_activation(self._activations[-1].bounds, self._loss.bounds)
        self._optimizer = validation.named("optimizer", optimizer, OPTIMIZERS, Optimizer)
        self._initializer = validation.named("initializer", initializer, INITIALIZERS, Callable)
        self.dtype = validation.precision(dtype)
        self._regularization = {
            name: validation.number_from_zero(name, value, self.dtype)
            for name, value in {"weight_decay": weight_decay, "l2": l2, "l1": l1}.items()
        }
        if clip_norm is not None:
            self._regularization["clip_norm"] = validation.positive_number("clip_norm", clip_norm, self.dtype)
        self.seed = new_seed() if seed is None else validation.seed(seed)
        self._weights_stream = random_stream(self.seed, Stream.WEIGHTS)
        self._goes_to_data = device is None
        self._trains = False
        self._start(get_backend("cpu" if device is None else device))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.layer_list}, device={self.backend.device!r}, dtype={self.dtype!r}, "
            f"seed={self.seed})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # A copy that a callback takes in the middle of training is a network that does not train.
        return {**self.__dict__, "_trains": False}

    @property
    def layer_list(self) -> list[int]:
        """The sizes of the layers, inputs first."""
        return list(self._layer_list)

    @property
    def activations(self) -> list[Activation]:
        """The activations of the layers after the inputs."""
        return list(self._activations)

    @property
    def loss(self) -> Loss:
        """What training makes small."""
        return self._loss

    @property
    def optimizer(self) -> Optimizer:
        """How the parameters follow their gradient."""
        return self._optimizer

    @property
    def initializer(self) -> Initializer:
        """How initial weights are drawn."""
        return self._initializer

    @property
    def regularization(self) -> dict[str, float]:
        """The strengths of `weight_decay`, `l2` and `l1`, and `clip_norm` where there is one."""
        return dict(self._regularization)

    # ---- Parameters

    def _start(self, backend: Backend) -> None:
        self._parameters = self._draw(backend, self._layer_list)
        self._reset_memory()
        self.cache: Cache = []
        self._epoch_loss: list[float] = []
        self._unread: list[Array] = []  # the losses of the epochs since, still on the device

    def _draw(self, backend: Backend, sizes: list[int]) -> Parameters:
        host, drawn = get_backend("cpu"), []
        for n_in, n_out in pairwise(sizes):
            W, b = self._initializer(self._weights_stream, n_out, n_in)
            for name, array, shape in (("W", W, (n_out, n_in)), ("b", b, (n_out, 1))):
                name = f"{name} of the initializer"
                drawn.append(bring(name, array, host, "float64"))
                validation.same_shape(name, drawn[-1], shape)
                validation.finite_array(host.xp, name, drawn[-1])
        theta = backend.asarray(flatten(host.xp, drawn), self.dtype)
        with backend.on_device():
            validation.finite_array(backend.xp, "what the initializer draws", theta)
        return Parameters(backend, self.dtype, Layout(sizes), theta)

    def _reset_memory(self) -> None:
        with self.backend.on_device():
            memory = self._optimizer.init(self.backend.xp, self.theta)
        if not isinstance(memory, tuple):
            msg = f"the optimizer's init must answer a tuple of arrays, got {type(memory).__name__}"
            raise TypeError(msg)
        self._memory = memory

    def initialize_weights_deep(self, layer_list: Sequence[int]) -> Parameters:
        """Draw parameters for these layer sizes, with the next numbers of the network's stream."""
        return self._draw(self.backend, validation.layer_sizes(layer_list))

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

    @property
    def theta(self) -> Array:
        """All parameters in one vector of shape (P,)."""
        return self._parameters.theta

    def state_dict(self) -> dict[str, Any]:
        """Return what training has made of the network, on the host.

        Returns
        -------
        state : dict
            ``theta``, an array; ``memory``, a list of arrays, the optimizer's; ``epoch_loss``, a list of float; and
            ``weights_stream``, where the stream of random numbers is that weights are drawn from.
        """
        with self.backend.on_device():
            theta, *memory = (self.backend.to_numpy(array).copy() for array in (self.theta, *self._memory))
        return {
            "theta": theta,
            "memory": memory,
            "epoch_loss": self.epoch_loss,
            "weights_stream": self._weights_stream.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another network of the same layers and optimizer was; `state` is from its `state_dict`.

        Raises
        ------
        ValueError
            If the state is of other layers or of another optimizer; the network is then unchanged.
        """
        self._refuse_in_training("load_state_dict")
        backend = self.backend
        with backend.on_device():
            # Copies, for an optimizer may change its memory in place.
            theta = bring("theta", state["theta"], backend, self.dtype)
            memory = tuple(backend.xp.asarray(bring("memory", a, backend), copy=True) for a in state["memory"])
            validation.same_shape("theta", theta, self.theta.shape)
            validation.finite_array(backend.xp, "theta", theta)
            if [array.shape for array in memory] != [array.shape for array in self._memory]:
                msg = "the memory is of another optimizer: {}, but this network's is {}".format(
                    *([tuple(array.shape) for array in arrays] for arrays in (memory, self._memory))
                )
                raise ValueError(msg)
        self._weights_stream.bit_generator.state = state["weights_stream"]
        self._parameters.theta, self._memory = theta, memory
        self._epoch_loss, self._unread = list(state["epoch_loss"]), []
        self.cache = []

    # ---- Where the data is, and where the network is

    @property
    def backend(self) -> Backend:
        """Where the network is."""
        return self._parameters.backend

    def _transfer(self, **data: Any) -> Transfer:
        """Plan the way of these arguments to the network, which goes to them if it has no device of its own."""
        place = place_of(**data)
        goes = place if self._goes_to_data and not self._trains else None
        return Transfer(place or get_backend("cpu"), goes or self.backend, self.dtype)

    def _state_on(self, backend: Backend) -> State:
        """Return the parameters and the optimizer's memory as arrays of a backend."""
        return bring("theta", self.theta, backend), tuple(bring("memory", array, backend) for array in self._memory)

    def _move(self, backend: Backend) -> None:
        """Go to a backend; what was kept for a backward pass stays behind."""
        if backend == self.backend:
            return
        self._read_losses()
        (theta, self._memory), self._parameters.backend = self._state_on(backend), backend
        self._parameters.theta = theta
        self.cache = []

    # ---- The document's steps, one at a time

    def deep_forward(self, X: Array) -> Array:
        """Carry samples through the network, and keep in `cache` what `backward_pass` needs.

        Parameters
        ----------
        X : array of shape (..., n_0, m)
            The samples, one a column.

        Returns
        -------
        AL : array of shape (..., n_L, m)
            What the last layer answers, where X is.
        """
        data = self._transfer(X=X)
        with data.backend.on_device():
            X = data.to_network("X", X)
            if X.ndim < 2 or X.shape[-2] != self._layer_list[0] or 0 in X.shape:
                msg = f"X must have the shape ({self._layer_list[0]}, m), one sample a column, got {tuple(X.shape)}"
                raise ValueError(msg)
            self._move(data.backend)
            AL, self.cache = forward(self.backend.xp, X, self._parameters.layers(), self._activations)
            return data.to_caller(AL)

    def cost_function(self, Y: Array, AL: Array) -> Array:
        """Return the loss averaged over the samples, of shape (..., 1, 1).

        Parameters
        ----------
        Y : array of the shape of AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            What the network answered.
        """
        data = self._transfer(AL=AL, Y=Y)
        with data.backend.on_device():
            AL, Y = _answers_and_targets(data, AL, "Y", Y)
            cost, _ = mean_loss(data.backend.xp, self._loss, AL, Y)
            return data.to_caller(cost[..., None, None])

    def backward_pass(self, Y_target: Array, AL: Array) -> dict[str, Array]:
        """Carry the gradient of the loss back through the layers that the last `deep_forward` went through.

        Parameters
        ----------
        Y_target : array of the shape of AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            What `deep_forward` returned.

        Returns
        -------
        grads : dict of arrays
            From the last layer to the first, for two layers ``dA1, dW2, db2, dA0, dW1, db1``, where AL is.
        """
        data = self._transfer(AL=AL, Y_target=Y_target)
        if not self.cache or data.backend != self.backend:
            msg = "backward_pass needs the cache of a forward pass: call deep_forward first"
            raise ValueError(msg)
        with data.backend.on_device():
            AL, Y = _answers_and_targets(data, AL, "Y_target", Y_target)
            validation.same_shape("AL", AL, self.cache[-1][0].shape)
            xp = self.backend.xp
            activations, loss = fuse(self._activations, self._loss)
            if loss is not self._loss:
                AL = self.cache[-1][0]  # the last activation is part of the loss now, which is one of Z
            _, dAL = mean_loss(xp, loss, AL, Y)
            gradients = backward(xp, dAL, AL, self.cache, activations)
            return {
                name: data.to_caller(array)
                for l in reversed(range(len(gradients)))
                for name, array in zip((f"dA{l}", f"dW{l + 1}", f"db{l + 1}"), gradients[l], strict=True)
            }

    def update_parameters(self, grads: Mapping[str, Array], learning_rate: float) -> None:
        """Take one step down the gradient.

        Parameters
        ----------
        grads : mapping
            ``dW1, db1, …`` as from `backward_pass`; anything else in it is not looked at.
        learning_rate : float
            The length of the step, above zero.
        """
        self._refuse_in_training("update_parameters")
        learning_rate = validation.positive_number("learning_rate", learning_rate, self.dtype)
        if not isinstance(grads, Mapping):
            msg = f"grads must be a mapping such as backward_pass returns, got {type(grads).__name__}"
            raise TypeError(msg)
        names = [f"d{name}" for name in self._parameters]
        missing = [name for name in names if name not in grads]
        if missing:
            msg = f"grads lacks {', '.join(missing)}"
            raise ValueError(msg)
        data = self._transfer(**{name: grads[name] for name in names})
        with data.backend.on_device():
            xp, arrays = data.backend.xp, [data.to_network(name, grads[name]) for name in names]
            for name, array in zip(names, arrays, strict=True):
                validation.same_shape(name, array, self._parameters[name[1:]].shape)
                validation.finite_array(xp, name, array)
            self._move(data.backend)
            # On a copy, which a step that goes wrong may spoil.
            theta, memory = copy_state(xp, (self.theta, self._memory))
            optimizer = self._regularized_optimizer(data.backend)
            theta, memory = optimizer.update(xp, theta, flatten(xp, arrays), memory, learning_rate)
            validation.same_shape("theta of the optimizer's update", theta, self.theta.shape)
            validation.finite_array(xp, "what the update makes of theta", theta)
            self._parameters.theta, self._memory = theta, memory

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(−x)), which does not overflow."""
        return self._elementwise(sigmoid.forward, x)

    def sigmoid_derivative(self, Z: Array) -> Array:
        """σ(Z) (1 − σ(Z))."""
        return self._elementwise(lambda xp, Z: sigmoid.backward(xp, 1.0, Z, sigmoid.forward(xp, Z)), Z)

    def relu(self, x: Array) -> Array:
        """max(0, x)."""
        return self._elementwise(relu.forward, x)

    def _elementwise(self, function: Callable[..., Array], x: Any) -> Array:
        backend = place_of(x=x) or get_backend("cpu")
        with backend.on_device():
            return function(backend.xp, bring("x", x, backend, self.dtype))

    # ---- Training

    def train(
        self,
        X: Array,
        y: Array,
        learning_rate: float,
        epochs: int = 10,
        verbose_epoch: int = 10,
        verbose: bool = True,
        *,
        batch_size: int | None = 1,
        shuffle: bool = False,
        schedule: Schedule | None = None,
        callback: Callable[[Self], object] | None = None,
    ) -> None:
        """Train the network, going on from where it is.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) where there is one input
            The samples, one a row.
        y : array of shape (N, n_L), (N, n_L, 1), or (N,)
            The targets. Where there are several outputs, an array of shape (N,) holds labels, whole numbers from 0 to
            n_L − 1: the output of that number should be 1, and the others 0.
        learning_rate : float
            The length of a step, above zero.
        epochs : int
            How many times to go through the samples.
        verbose_epoch : int
            Every how many epochs to report the loss.
        verbose : bool
            Whether to report at all.
        batch_size : int or None
            How many samples a step learns from: 1, the document's way; more, where the last step of an epoch takes
            what is left; or None for all.
        shuffle : bool
            Whether every epoch takes the samples in a new order.
        schedule : callable, optional
            How the learning rate goes on from its value: one of `xpnet.schedules`, or a user's own. It counts epochs
            since the weights were drawn, not since this call.
        callback : callable, optional
            Called with the network after every epoch. It may predict, copy the network, or raise to stop the training,
            but not change it. Reading `epoch_loss` waits for the device.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it should be; the network is then unchanged.
        FloatingPointError
            If the loss or a parameter became NaN or infinite; the network is then as it was after the last good epoch.
        KeyboardInterrupt
            On Ctrl-C; the network is then as it was after the last complete epoch.
        """
        self._refuse_in_training("train")
        rate = validation.positive_number("learning_rate", learning_rate, self.dtype)
        epochs = validation.positive_integer("epochs", epochs)
        verbose_epoch = validation.positive_integer("verbose_epoch", verbose_epoch)
        size = None if batch_size is None else validation.positive_integer("batch_size", batch_size)
        for name, function in (("callback", callback), ("schedule", schedule)):
            if not (function is None or callable(function)):
                msg = f"{name} must be callable or None, got {function!r}"
                raise TypeError(msg)
        data = self._transfer(X=X, y=y)
        with data.backend.on_device():
            xp = data.backend.xp
            X_rows, Y_rows = data.samples_and_targets(X, y, self._layer_list, self._activations[-1].bounds)
            N = X_rows.shape[0]
            size = size or N
            steps = -(-N // size)
            if schedule:
                for epoch in (self.epochs_trained, self.epochs_trained + epochs - 1):
                    self._factors_of(schedule, epoch, steps)
            optimizer = self._regularized_optimizer(data.backend)
            step = make_step(xp, self._parameters.layout, self._activations, self._loss, optimizer)
            rates = data.backend.asarray(rate, self.dtype)
            rehearse(xp, step, self._state_on(data.backend), (X_rows[:1, :].mT, Y_rows[:1, :].mT, rates))
            self._move(data.backend)
        state = (self.theta, self._memory)
        orders = self._orders(N) if shuffle else None
        factors = self._factors(schedule, steps) if schedule else None
        trained = train_epochs(
            self.backend,
            step,
            state,
            X_rows.mT,
            Y_rows.mT,
            rates,
            epochs=epochs,
            batch_size=size,
            orders=orders,
            factors=factors,
        )
        self._follow(trained, epochs, verbose_epoch if verbose else None, rate, callback)

    def predict(self, X: Array) -> Array:
        """Answer samples as people have them.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) where there is one input
            The samples, one a row.

        Returns
        -------
        y : array of shape (N, n_L), (N, n_L, 1), or (N,) where there is one output, as X is
            The answers, where X is.
        """
        data = self._transfer(X=X)
        with data.backend.on_device():
            xp, n_L = data.backend.xp, self._layer_list[-1]
            X = data.to_network("X", X)
            X_rows = validation.sample_rows(xp, "X", X, self._layer_list[0], "first layer")
            self._move(data.backend)
            AL, _ = forward(xp, X_rows.mT, self._parameters.layers(), self._activations)
            shape = (-1, n_L, 1) if X.ndim == 3 else (-1,) if X.ndim == 1 and n_L == 1 else (-1, n_L)
            return data.to_caller(xp.reshape(AL.mT, shape))

    def _regularized_optimizer(self, backend: Backend) -> Optimizer:
        if not any(self._regularization.values()):
            return self._optimizer
        mask = self._parameters.layout.weights_mask(get_backend("cpu").xp)
        return regularized(self._optimizer, backend.asarray(mask, self.dtype), **self._regularization)

    def _refuse_in_training(self, what: str) -> None:
        if self._trains:
            msg = f"{what} is refused while the network trains: a callback may look, copy or raise, but not change it"
            raise RuntimeError(msg)

    def _orders(self, N: int) -> Iterator[Any]:
        """Draw the order of the samples for every epoch from here on, each from a stream of its own."""
        for epoch in count(self.epochs_trained):
            yield random_stream(self.seed, Stream.SHUFFLING, epoch).permutation(N)

    def _factors(self, schedule: Schedule, steps: int) -> Iterator[Any]:
        """Ask the schedule for the factors of every epoch from here on, each of shape (steps,)."""
        for epoch in count(self.epochs_trained):
            yield self._factors_of(schedule, epoch, steps)

    def _factors_of(self, schedule: Schedule, epoch: int, steps: int) -> Any:
        host, what = get_backend("cpu"), f"what the schedule answers for epoch {epoch}"
        with host.on_device():
            t = epoch + host.asarray(range(steps), "float64") / steps
            factors = bring(what, schedule(host.xp, t), host, self.dtype)
            validation.same_shape(what, factors, (steps,))
            validation.finite_array(host.xp, what, factors)
            least, greatest = float(host.xp.min(factors)), float(host.xp.max(factors))
        if least < 0.0 or greatest == 0.0:
            msg = f"{what} must not be negative, nor 0 throughout, but reaches from {least} to {greatest}"
            raise ValueError(msg)
        return factors

    def _follow(
        self,
        trained: Iterator[tuple[State, Array]],
        epochs: int,
        report_every: int | None,
        learning_rate: float,
        callback: Callable[[Self], object] | None,
    ) -> None:
        """Take over what every epoch brings, and look at the losses now and then."""
        first = self.epochs_trained
        last = first + epochs - 1
        checked, checked_at = first, time.monotonic()
        self._trains = True
        try:
            for epoch, (state, loss) in enumerate(trained, start=first):
                self._parameters.theta, self._memory = state
                self._unread.append(loss)
                reports = report_every is not None and epoch % report_every == 0
                if reports or epoch == last or time.monotonic() - checked_at > _CHECK_SECONDS:
                    if self._cut_bad_losses(checked):
                        msg = (
                            f"the loss became NaN or infinite in epoch {self.epochs_trained}: most likely the learning "
                            f"rate of {learning_rate:g} is too high, or the data should be scaled; "
                            "the weights are those after the last good epoch before"
                        )
                        raise FloatingPointError(msg)
                    checked, checked_at = epoch + 1, time.monotonic()
                if reports:
                    print(f"Epoch {epoch} Loss : {self._epoch_loss[epoch]}")
                if callback is not None:
                    callback(self)
                    if self._parameters.theta is not state[0]:
                        self._parameters.theta = state[0]
                        self._refuse_in_training("assigning parameters")
        except KeyboardInterrupt:
            self._cut_bad_losses(checked)
            msg = (
                f"training was interrupted in epoch {self.epochs_trained} (of epochs {first} to {last}); "
                "the weights are those after the last complete epoch before"
            )
            raise KeyboardInterrupt(msg) from None
        finally:
            self._trains = False
            self._cut_bad_losses(checked)

    def _read_losses(self) -> None:
        if self._unread:
            with self.backend.on_device():
                losses = self.backend.to_numpy(self.backend.xp.stack(self._unread))
            self._epoch_loss += losses.tolist()
            self._unread = []

    def _cut_bad_losses(self, first: int) -> bool:
        """Forget the losses from the first on, counted from `first`, that is not finite; say whether there was one.

        The state has not followed them: see `train_epochs`.
        """
        self._read_losses()
        for epoch in range(first, len(self._epoch_loss)):
            if not math.isfinite(self._epoch_loss[epoch]):
                del self._epoch_loss[epoch:]
                return True
        return False

    @property
    def epochs_trained(self) -> int:
        """How many epochs the network was trained for since its weights were drawn."""
        return len(self._epoch_loss) + len(self._unread)

    @property
    def epoch_loss(self) -> list[float]:
        """The loss of every epoch since the weights were drawn; reading it waits for the device."""
        self._read_losses()
        return list(self._epoch_loss)

    def plot_epoch(self) -> None:
        """Show the loss over the epochs; needs matplotlib."""
        plotting.show_epoch_loss(self.epoch_loss)


def _answers_and_targets(data: Transfer, AL: Any, name: str, Y: Any) -> tuple[Array, Array]:
    """Bring both, in the shape of the answers; a single number answers, or is the target of every answer."""
    xp = data.backend.xp
    AL, Y = data.to_network("AL", AL), data.to_network(name, Y)
    if AL.ndim == 0:
        AL = xp.reshape(AL, (1, 1))
    if AL.ndim < 2 or 0 in AL.shape:
        msg = f"AL must have the shape (n, m), one sample a column, got {tuple(AL.shape)}"
        raise ValueError(msg)
    if Y.size == 1:
        return AL, xp.broadcast_to(xp.reshape(Y, ()), AL.shape)
    if [n for n in Y.shape if n > 1] == [n for n in AL.shape if n > 1]:
        return AL, xp.reshape(Y, AL.shape)
    msg = f"{name} has the shape {tuple(Y.shape)}, which does not fit AL of shape {tuple(AL.shape)}"
    raise ValueError(msg)
