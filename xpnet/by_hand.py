"""The single steps of training: forward pass, cost, backward pass, update.

They have the names of the notebook *Neural Network From Scratch*, called "the document" here (see README). Columns are
samples, as in the document. The methods call the pure functions of `xpnet.core`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from xpnet._checks import finite_array, positive_number, same_shape
from xpnet._types import Array
from xpnet.activations import relu, sigmoid
from xpnet.backends import HOST, Backend
from xpnet.core.contracts import apply_update
from xpnet.core.parameters import flatten
from xpnet.core.propagation import Cache, backward, forward
from xpnet.data.placement import Transfer, bring, common_backend
from xpnet.losses import fuse, mean_loss
from xpnet.predictor import Predictor, Snapshot


class StepByStep(Predictor):
    """A network with the single steps of training as methods; see `NeuralNetwork`."""

    def __init__(self, snapshot: Snapshot, *, follows_data: bool) -> None:
        super().__init__(snapshot, follows_data=follows_data)
        self._clear_cache()

    def _clear_cache(self) -> None:
        self._cache: tuple[Backend, Cache] = (self.backend, [])

    def __getstate__(self) -> dict[str, Any]:
        # The cache can be recomputed, and may be many times as large as the network.
        return {**super().__getstate__(), "_cache": (self.backend, [])}

    @property
    def cache(self) -> list[tuple[Array, Array, Array, Array]]:
        """The values that the last `deep_forward` stored, for each layer (Z, W, b, A_prev)."""
        return [layer[:4] for layer in self._cache[1]]

    def deep_forward(self, X: Array) -> Array:
        """Compute the forward pass, and store in `cache` what `backward_pass` needs.

        Parameters
        ----------
        X : array of shape (..., n_0, m)
            The samples, one per column.

        Returns
        -------
        AL : array of shape (..., n_L, m)
            The outputs of the network, in the library and on the device of X.

        Raises
        ------
        TypeError, ValueError
            If X is not an array of finite real numbers of this shape.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([2, 4, 3], seed=0)
        >>> AL = network.deep_forward(np.ones((2, 5)))
        >>> AL.shape
        (3, 5)
        >>> Z, W, b, A_prev = network.cache[-1]
        >>> bool(np.all(Z == W @ A_prev + b))
        True
        """
        transfer, settings = self._transfer(X=X), self._settings
        backend, n_0 = transfer.backend, settings.sizes[0]
        with backend.on_device():
            X = transfer.to_network("X", X)
            fits = X.ndim >= 2 and X.shape[-2] == n_0 and 0 not in X.shape
            if not fits or (settings.ensemble and X.shape[:-2] not in ((), settings.ensemble_shape)):
                msg = f"X must have the shape ({n_0}, m), one sample per column, got {tuple(X.shape)}"
                raise ValueError(msg)
            layers = settings.layout.layers(backend.xp, self._at(backend).theta)
            AL, cache = forward(backend.xp, X, layers, settings.activations)
            self._cache = backend, cache
            return transfer.to_caller(AL)

    def cost_function(self, Y: Array, AL: Array) -> Array:
        """Return the loss averaged over the samples.

        Parameters
        ----------
        Y : array of the shape of AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            The outputs of the network.

        Returns
        -------
        cost : array of shape (..., 1, 1)
            The loss, in the library and on the device of AL.

        Raises
        ------
        TypeError, ValueError
            If an argument is not an array of finite real numbers, or the shapes do not match.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([1, 1], activations=["identity"], seed=0)
        >>> network.cost_function(np.array([[1.0, 2.0]]), np.array([[3.0, 2.0]]))  # the mean of ½ · 2² and 0
        array([[1.]])
        """
        transfer = self._transfer(AL=AL, Y=Y)
        with transfer.backend.on_device():
            AL, Y = _outputs_and_targets(transfer, AL, "Y", Y)
            cost, _ = mean_loss(transfer.backend.xp, self.loss, AL, Y)
            return transfer.to_caller(cost[..., None, None])

    def backward_pass(self, Y_target: Array, AL: Array) -> dict[str, Array]:
        """Compute the gradient of the loss by backpropagation through the last `deep_forward`.

        For every layer, dZ = dA g'(Z), dW = dZ A_prevᵀ, db = Σ dZ over the samples, dA_prev = Wᵀ dZ (Rumelhart, Hinton
        and Williams, 1986).

        Parameters
        ----------
        Y_target : array of the shape of AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            The outputs that `deep_forward` returned.

        Returns
        -------
        grads : dict of arrays
            The gradients from the last layer to the first, for two layers ``dA1, dW2, db2, dA0, dW1, db1``, in the
            library and on the device of AL. ``dW`` and ``db`` have the shapes of W and b, ``dA`` that of its layer's
            outputs.

        Raises
        ------
        TypeError, ValueError
            If there was no `deep_forward` before, an argument is not an array of finite real numbers, or the shapes do
            not match.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([2, 4, 1], seed=0)
        >>> AL = network.deep_forward(np.ones((2, 5)))
        >>> grads = network.backward_pass(np.zeros((1, 5)), AL)
        >>> {name: grad.shape for name, grad in grads.items()}
        {'dA1': (4, 5), 'dW2': (1, 4), 'db2': (1, 1), 'dA0': (2, 5), 'dW1': (4, 2), 'db1': (4, 1)}
        """
        transfer = self._transfer(AL=AL, Y_target=Y_target)
        backend, cache = self._cache
        if not cache or transfer.backend != backend or backend != self.backend:
            msg = "backward_pass needs the cache of a forward pass: call deep_forward first"
            raise ValueError(msg)
        with backend.on_device():
            xp, ZL = backend.xp, cache[-1][0]
            AL, Y = _outputs_and_targets(transfer, AL, "Y_target", Y_target)
            same_shape("AL", AL, ZL.shape)
            activations, loss = fuse(self._settings.activations, self.loss)
            # A loss that is fused with the output activation is a function of Z.
            _, dAL = mean_loss(xp, loss, AL if loss is self.loss else ZL, Y)
            gradients = backward(xp, dAL, cache, activations)
            return {
                name: transfer.to_caller(array)
                for l in reversed(range(len(gradients)))
                for name, array in zip((f"dA{l}", f"dW{l + 1}", f"db{l + 1}"), gradients[l], strict=True)
            }

    def update_parameters(self, grads: Mapping[str, Array], learning_rate: float) -> None:
        """Update the parameters by one step of the optimizer.

        Parameters
        ----------
        grads : mapping
            ``dW1, db1, …`` from `backward_pass`; other entries are ignored.
        learning_rate : float
            The learning rate, above 0.

        Raises
        ------
        TypeError, ValueError
            If `grads` lacks a gradient, or an argument is invalid; the network is then unchanged.
        RuntimeError
            If the network trains in a callback or in another thread.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([1, 1], activations=["identity"], seed=0)
        >>> X, Y = np.array([[-1.0, 0.0, 1.0]]), np.array([[-1.0, 1.0, 3.0]])  # y = 2 x + 1
        >>> for _ in range(200):
        ...     AL = network.deep_forward(X)
        ...     network.update_parameters(network.backward_pass(Y, AL), learning_rate=0.5)
        >>> bool(np.allclose(network.predict(np.array([5.0])), 11.0))
        True
        """
        self._refuse_while_training("update_parameters")
        learning_rate = positive_number("learning_rate", learning_rate, self.dtype)
        if not isinstance(grads, Mapping):
            msg = f"grads must be a mapping as backward_pass returns it, got {type(grads).__name__}"
            raise TypeError(msg)
        names = [f"d{name}" for name in self.parameters]
        missing = [name for name in names if name not in grads]
        if missing:
            msg = f"grads must have {', '.join(names)}, got no {', '.join(missing)}"
            raise ValueError(msg)
        transfer = self._transfer(**{name: grads[name] for name in names})
        backend, xp = transfer.backend, transfer.backend.xp
        with self._lock, backend.on_device():
            self._refuse_while_training("update_parameters")
            arrays = [transfer.to_network(name, grads[name]) for name in names]
            for name, array in zip(names, arrays, strict=True):
                same_shape(name, array, self.parameters[name[1:]].shape)
                finite_array(xp, name, array)
            snapshot = self._at(backend)
            state = snapshot.state.copy(xp)  # because the update may change it in place
            state = apply_update(xp, self._members.optimizer(backend), state, flatten(xp, arrays), learning_rate)
            finite_array(xp, "the theta that optimizer.update returns", state.theta)
            for array in state.optimizer_state:
                finite_array(xp, "the state that optimizer.update returns", array)
            self._snapshot = snapshot.with_parameters(*state)

    def sigmoid(self, x: Array) -> Array:
        """Return the sigmoid σ(x) = 1 / (1 + exp(−x)), without overflow.

        Parameters
        ----------
        x : array of any shape
            The argument.

        Returns
        -------
        array of the shape of x
            Values from 0 to 1, in the precision of the network.

        Raises
        ------
        TypeError, ValueError
            If x is not an array of real numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> NeuralNetwork().sigmoid(np.array([-1000.0, 0.0, 1000.0])).round(3)
        array([0. , 0.5, 1. ])
        """
        return self._elementwise("x", sigmoid.forward, x)

    def sigmoid_derivative(self, Z: Array) -> Array:
        """Return the derivative of the sigmoid, σ'(Z) = σ(Z) (1 − σ(Z)).

        Parameters
        ----------
        Z : array of any shape
            The argument of the sigmoid.

        Returns
        -------
        array of the shape of Z
            Values from 0 to 0.25, in the precision of the network.

        Raises
        ------
        TypeError, ValueError
            If Z is not an array of real numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> NeuralNetwork().sigmoid_derivative(np.array([-1000.0, 0.0, 1000.0])).round(3)
        array([0.  , 0.25, 0.  ])
        """
        return self._elementwise("Z", lambda xp, Z: sigmoid.backward(xp, 1.0, Z, sigmoid.forward(xp, Z)), Z)

    def relu(self, x: Array) -> Array:
        """Return the rectified linear unit, relu(x) = max(0, x).

        Parameters
        ----------
        x : array of any shape
            The argument.

        Returns
        -------
        array of the shape of x
            Values from 0 up, in the precision of the network.

        Raises
        ------
        TypeError, ValueError
            If x is not an array of real numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> NeuralNetwork().relu(np.array([-2.0, 0.0, 3.0]))
        array([0., 0., 3.])
        """
        return self._elementwise("x", relu.forward, x)

    def _elementwise(self, name: str, function: Callable[..., Array], x: Any) -> Array:
        backend = common_backend(**{name: x}) or HOST
        with backend.on_device():
            return function(backend.xp, bring(name, x, backend, self.dtype))


def _outputs_and_targets(transfer: Transfer, AL: Any, name: str, Y: Any) -> tuple[Array, Array]:
    """Transfer AL and Y to the network, both of the shape of AL; a number is one output, or the target of all."""
    xp = transfer.backend.xp
    AL, Y = transfer.to_network("AL", AL), transfer.to_network(name, Y)
    if AL.ndim == 0:
        AL = xp.reshape(AL, (1, 1))
    if AL.ndim < 2 or 0 in AL.shape:
        msg = f"AL must have the shape (n, m), one sample per column, got {tuple(AL.shape)}"
        raise ValueError(msg)
    if 0 in Y.shape:
        msg = f"{name} must not be empty, got the shape {tuple(Y.shape)}"
        raise ValueError(msg)
    if math.prod(Y.shape) == 1:
        return AL, xp.broadcast_to(xp.reshape(Y, ()), AL.shape)
    for shape in (AL.shape, AL.shape[-2:]):
        if [n for n in Y.shape if n > 1] == [n for n in shape if n > 1]:
            return AL, xp.broadcast_to(xp.reshape(Y, shape), AL.shape)
    msg = f"{name} must have the shape of AL, {tuple(AL.shape)}, got {tuple(Y.shape)}"
    raise ValueError(msg)
