"""The document's class: a multilayer perceptron with its weights, its training and its record.

`NeuralNetwork` is thin. It looks at what it is given, brings it to where it computes, and lets the pure functions of
the other modules do the work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

from xpnet import plotting, validation
from xpnet._types import Array
from xpnet.activations import ACTIVATIONS, Activation, relu, sigmoid
from xpnet.backends import Backend, backend_of, get_backend, random_streams
from xpnet.backends.base import State
from xpnet.initializers import INITIALIZERS, Initializer
from xpnet.losses import LOSSES, Loss, mean_loss, mean_loss_gradient
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.parameters import Layout, Parameters, flatten
from xpnet.propagation import Cache, backward, forward
from xpnet.training import make_step, train_epochs
from xpnet.transfer import Transfer, home_of

# How many seconds training may run before it looks whether the loss is still a number: looking waits for the device.
_LOOK_EVERY = 1.0


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
        device: str | Backend | None = None,
        dtype: Any = "float64",
        seed: int | None = None,
    ) -> None:
        self.layer_list = validation.layer_sizes(layer_list)
        count = len(self.layer_list) - 1
        if activations is None:
            activations = ["relu"] * (count - 1) + ["sigmoid"]
        self.activations = [
            validation.named("activation", value, ACTIVATIONS, Activation)
            for value in validation.one_per_layer("activations", activations, count)
        ]
        self.loss = validation.named("loss", loss, LOSSES, Loss)
        self.optimizer = validation.named("optimizer", optimizer, OPTIMIZERS, Optimizer)
        self.initializer = validation.named("initializer", initializer, INITIALIZERS)
        self.dtype = validation.precision(dtype)
        self.seed, self._streams = random_streams(validation.random_seed(seed))
        self._goes_to_data = device is None
        self._start(get_backend("cpu" if device is None else device))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.layer_list}, device={self.backend.device!r}, dtype={self.dtype!r}, "
            f"seed={self.seed})"
        )

    # ---- Parameters

    def _start(self, backend: Backend) -> None:
        self._parameters = self._draw(backend, self.layer_list)
        self._memory = self.optimizer.init(backend.xp, self.theta)
        self.cache: Cache = []
        self._epoch_loss: list[float] = []
        self._unread: list[Array] = []  # the losses of the epochs since, still on the device

    def _draw(self, backend: Backend, sizes: Sequence[int]) -> Parameters:
        rng = self._streams.weights
        drawn = [array for n_in, n_out in pairwise(sizes) for array in self.initializer(rng, n_out, n_in)]
        theta = flatten(get_backend("cpu").xp, drawn)
        return Parameters(backend, Layout(sizes), backend.asarray(theta, self.dtype))

    def initialize_weights_deep(self, layer_list: Sequence[int]) -> Parameters:
        """Draw parameters for these layer sizes, with the next numbers of the network's stream."""
        return self._draw(self.backend, validation.layer_sizes(layer_list))

    def clear_weights(self) -> None:
        """Draw new parameters, with the next numbers of the network's stream, and forget all training."""
        self._start(self.backend)

    @property
    def parameters(self) -> Parameters:
        """The weights and biases by name, views into `theta`."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        if values.keys() != self._parameters.keys():
            msg = f"parameters must be {', '.join(self._parameters)}, got {', '.join(map(str, values))}"
            raise ValueError(msg)
        changed = Parameters(self.backend, self._parameters.layout, self.backend.xp.asarray(self.theta, copy=True))
        for name, value in values.items():
            changed[name] = value
        self._parameters = changed

    @property
    def theta(self) -> Array:
        """All parameters in one vector of shape (P,)."""
        return self._parameters.theta

    # ---- Where the data is, and where the network is

    def _transfer(self, **data: Any) -> Transfer:
        """Plan the way of these arguments: to the network's own device, or else the network is to go where they are."""
        home = home_of(**data)
        return Transfer(home, home if self._goes_to_data else self.backend, self.dtype)

    def _move(self, backend: Backend) -> None:
        """Go to a backend; what was kept for a backward pass stays behind."""
        if backend == self.backend:
            return
        self._read_losses()
        state = [backend.asarray(self.backend.to_numpy(array), self.dtype) for array in (self.theta, *self._memory)]
        self._parameters.backend, self._parameters.theta, self._memory = backend, state[0], tuple(state[1:])
        self.cache = []

    @property
    def backend(self) -> Backend:
        """Where the network is."""
        return self._parameters.backend

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
        way = self._transfer(X=X)
        with way.backend.on_device():
            X = way.bring("X", X)
            if X.ndim < 2 or X.shape[-2] != self.layer_list[0] or 0 in X.shape:
                msg = f"X must have the shape ({self.layer_list[0]}, m), one sample a column, got {tuple(X.shape)}"
                raise ValueError(msg)
            self._move(way.backend)
            AL, self.cache = forward(self.backend.xp, X, self._parameters.layers(), self.activations)
            return way.send(AL)

    def cost_function(self, Y: Array, AL: Array) -> Array:
        """Return the loss averaged over the samples, of shape (..., 1, 1).

        Parameters
        ----------
        Y : array with as many elements as AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            What the network answered.
        """
        way = self._transfer(AL=AL, Y=Y)
        with way.backend.on_device():
            AL, Y = _answers_and_targets(way, AL, Y)
            return way.send(mean_loss(way.backend.xp, self.loss, AL, Y)[..., None, None])

    def backward_pass(self, Y_target: Array, AL: Array) -> dict[str, Array]:
        """Carry the gradient of the loss back through the layers that the last `deep_forward` went through.

        Parameters
        ----------
        Y_target : array with as many elements as AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            What `deep_forward` returned.

        Returns
        -------
        grads : dict of arrays
            From the last layer to the first, for two layers ``dA1, dW2, db2, dA0, dW1, db1``, where AL is.
        """
        way = self._transfer(AL=AL, Y_target=Y_target)
        if not self.cache or way.backend != self.backend:
            msg = "backward_pass needs the cache of a forward pass: call deep_forward first"
            raise ValueError(msg)
        with way.backend.on_device():
            AL, Y = _answers_and_targets(way, AL, Y_target)
            Z = self.cache[-1][0]
            if AL.shape != Z.shape:
                msg = f"AL has the shape {tuple(AL.shape)}, but the last deep_forward returned {tuple(Z.shape)}"
                raise ValueError(msg)
            xp = self.backend.xp
            dAL = mean_loss_gradient(xp, self.loss, AL, Y)
            gradients = backward(xp, dAL, AL, self.cache, self.activations)
            return {
                name: way.send(array)
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
        learning_rate = validation.positive_number("learning_rate", learning_rate)
        shapes = {f"d{name}": tuple(view.shape) for name, view in self._parameters.items()}
        missing = [name for name in shapes if name not in grads]
        if missing:
            msg = f"grads lacks {', '.join(missing)}"
            raise ValueError(msg)
        way = self._transfer(**{name: grads[name] for name in shapes})
        with way.backend.on_device():
            arrays = {name: way.bring(name, grads[name]) for name in shapes}
            for name, array in arrays.items():
                if tuple(array.shape) != shapes[name]:
                    msg = f"{name} must have the shape {shapes[name]} of {name[1:]}, got {tuple(array.shape)}"
                    raise ValueError(msg)
            self._move(way.backend)
            xp = self.backend.xp
            dtheta = flatten(xp, list(arrays.values()))
            # On a copy: what the last forward pass kept are views of the vector as it was then.
            theta = xp.asarray(self.theta, copy=True)
            self._parameters.theta, self._memory = self.optimizer.update(xp, theta, dtheta, self._memory, learning_rate)

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(−x)), which does not overflow."""
        home, x = self._numbers(x)
        return sigmoid.forward(home.xp, x)

    def sigmoid_derivative(self, Z: Array) -> Array:
        """σ(Z) (1 − σ(Z))."""
        home, Z = self._numbers(Z)
        return sigmoid.backward(home.xp, 1.0, Z, sigmoid.forward(home.xp, Z))

    def relu(self, x: Array) -> Array:
        """max(0, x)."""
        home, x = self._numbers(x)
        return relu.forward(home.xp, x)

    def _numbers(self, x: Any) -> tuple[Backend, Array]:
        home = backend_of(x)
        return home, home.asarray(x, self.dtype)

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
        callback: Callable[[Self], object] | None = None,
    ) -> None:
        """Train the network, going on from where it is.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) where there is one input
            The samples, one a row.
        y : array of shape (N, n_L), (N, n_L, 1), or (N,) where there is one output
            The targets.
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
        callback : callable, optional
            Called with the network after every epoch. Reading `epoch_loss` there waits for the device.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it should be; the network is then unchanged.
        FloatingPointError
            If the loss or a parameter became NaN or infinite; the network is then as it was after the last good epoch.
        KeyboardInterrupt
            On Ctrl-C; the network is then as it was after the last complete epoch.
        """
        rate = validation.positive_number("learning_rate", learning_rate)
        epochs = validation.positive_integer("epochs", epochs)
        verbose_epoch = validation.positive_integer("verbose_epoch", verbose_epoch)
        size = None if batch_size is None else validation.positive_integer("batch_size", batch_size)
        way = self._transfer(X=X, y=y)
        with way.backend.on_device():
            xp = way.backend.xp
            X_rows = validation.sample_rows(xp, "X", way.bring("X", X), self.layer_list[0], "first layer")
            Y_rows = validation.sample_rows(xp, "y", way.bring("y", y), self.layer_list[-1], "last layer")
            N = X_rows.shape[0]
            if Y_rows.shape[0] != N:
                msg = f"X has {N} samples, but y has {Y_rows.shape[0]}"
                raise ValueError(msg)
            validation.within(xp, "y", Y_rows, self.activations[-1].bounds)
            self._move(way.backend)
            trained = train_epochs(
                self.backend,
                make_step(xp, self._parameters.layout, self.activations, self.loss, self.optimizer),
                (self.theta, self._memory),
                X_rows.mT,
                Y_rows.mT,
                self.backend.asarray(rate, self.dtype),
                epochs=epochs,
                batch_size=size or N,
                orders=self._orders(N) if shuffle else None,
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
        way = self._transfer(X=X)
        with way.backend.on_device():
            xp, n_L = way.backend.xp, self.layer_list[-1]
            X = way.bring("X", X)
            X_rows = validation.sample_rows(xp, "X", X, self.layer_list[0], "first layer")
            self._move(way.backend)
            AL, _ = forward(xp, X_rows.mT, self._parameters.layers(), self.activations)
            shape = (-1, n_L, 1) if X.ndim == 3 else (-1,) if X.ndim == 1 and n_L == 1 else (-1, n_L)
            return way.send(xp.reshape(AL.mT, shape))

    def _orders(self, N: int) -> Iterator[Any]:
        while True:
            yield self._streams.shuffling.permutation(N)

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
        checked, looked = first, time.monotonic()
        try:
            for epoch, (state, loss) in enumerate(trained, start=first):
                self._parameters.theta, self._memory = state
                self._unread.append(loss)
                reports = report_every is not None and epoch % report_every == 0
                if reports or epoch == last or time.monotonic() - looked > _LOOK_EVERY:
                    self._check_losses(checked, learning_rate)
                    checked, looked = epoch + 1, time.monotonic()
                if reports:
                    print(f"Epoch {epoch} Loss : {self._epoch_loss[epoch]}")
                if callback is not None:
                    callback(self)
        except KeyboardInterrupt:
            msg = (
                f"training was interrupted in epoch {self.epochs_trained} (of epochs {first} to {last}); "
                "the weights are those after the epoch before"
            )
            raise KeyboardInterrupt(msg) from None

    def _read_losses(self) -> None:
        if self._unread:
            losses = self.backend.to_numpy(self.backend.xp.stack(self._unread))
            self._epoch_loss += losses.tolist()
            self._unread = []

    def _check_losses(self, first: int, learning_rate: float) -> None:
        self._read_losses()
        for epoch in range(first, len(self._epoch_loss)):
            if not math.isfinite(self._epoch_loss[epoch]):
                del self._epoch_loss[epoch:]
                msg = (
                    f"the loss became NaN or infinite in epoch {epoch}: most likely the learning rate of "
                    f"{learning_rate:g} is too high, or the data should be scaled; "
                    "the weights are those after the epoch before"
                )
                raise FloatingPointError(msg)

    @property
    def epochs_trained(self) -> int:
        """How many epochs the network was trained for since its weights were drawn."""
        return len(self._epoch_loss) + len(self._unread)

    @property
    def epoch_loss(self) -> list[float]:
        """The loss of every epoch since the weights were drawn; reading it waits for the device."""
        self._read_losses()
        return self._epoch_loss

    def plot_epoch(self) -> None:
        """Show the loss over the epochs; needs matplotlib."""
        plotting.show_epoch_loss(self.epoch_loss)


def _answers_and_targets(way: Transfer, AL: Any, Y: Any) -> tuple[Array, Array]:
    """Bring both, and give the targets the shape of the answers; a single number is the target of every answer."""
    AL, Y = way.bring("AL", AL), way.bring("Y", Y)
    if Y.size == 1:
        return AL, way.backend.xp.broadcast_to(way.backend.xp.reshape(Y, ()), AL.shape)
    if Y.size == AL.size:
        return AL, way.backend.xp.reshape(Y, AL.shape)
    msg = f"Y has the shape {tuple(Y.shape)}, which does not fit AL of shape {tuple(AL.shape)}"
    raise ValueError(msg)
