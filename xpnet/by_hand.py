"""The document's steps, taken one at a time: forward, cost, backward, update.

Here columns are samples, as in the document. The methods are thin: the pure functions of `xpnet.core` do the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xpnet._checks import finite_array, positive_number, same_shape
from xpnet._types import Array
from xpnet.activations import relu, sigmoid
from xpnet.backends import HOST, Backend
from xpnet.core.contracts import apply_update
from xpnet.core.parameters import flatten
from xpnet.core.propagation import Cache, backward, forward
from xpnet.data.placement import Transfer, bring, place_of
from xpnet.losses import fuse, mean_loss
from xpnet.predictor import Predictor, Snapshot


class StepByStep(Predictor):
    """A network that can be trained by hand; see `NeuralNetwork`."""

    def __init__(self, snapshot: Snapshot, *, follows_data: bool) -> None:
        super().__init__(snapshot, follows_data=follows_data)
        self._clear_cache()

    def _clear_cache(self) -> None:
        self._cache: tuple[Backend, Cache] = (self.backend, [])

    def __getstate__(self) -> dict[str, Any]:
        # What the last forward pass has kept can be had again, and may be many times the network.
        return {**super().__getstate__(), "_cache": (self.backend, [])}

    @property
    def cache(self) -> list[tuple[Array, Array, Array, Array]]:
        """What the last `deep_forward` kept, layer by layer: (Z, W, b, A_prev)."""
        return [layer[:4] for layer in self._cache[1]]

    def deep_forward(self, X: Array) -> Array:
        """Carry samples through the network, and keep in `cache` what `backward_pass` needs.

        Parameters
        ----------
        X : array of shape (..., n_0, m)
            The samples, one a column.

        Returns
        -------
        AL : array of shape (..., n_L, m)
            The outputs of the last layer, where X is.
        """
        transfer, settings = self._transfer(X=X), self._settings
        backend, n_0 = transfer.backend, settings.layer_list[0]
        with backend.on_device():
            X = transfer.to_network("X", X)
            fits = X.ndim >= 2 and X.shape[-2] == n_0 and 0 not in X.shape
            if not fits or (settings.ensemble and X.shape[:-2] not in ((), settings.ensemble_shape)):
                msg = f"X must have the shape ({n_0}, m), one sample a column, got {tuple(X.shape)}"
                raise ValueError(msg)
            layers = settings.layout.layers(backend.xp, self._at(backend).theta)
            AL, cache = forward(backend.xp, X, layers, settings.activations)
            self._cache = backend, cache
            return transfer.to_caller(AL)

    def cost_function(self, Y: Array, AL: Array) -> Array:
        """Return the loss averaged over the samples, of shape (..., 1, 1).

        Parameters
        ----------
        Y : array of the shape of AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            The outputs of the network.
        """
        transfer = self._transfer(AL=AL, Y=Y)
        with transfer.backend.on_device():
            AL, Y = _outputs_and_targets(transfer, AL, "Y", Y)
            cost, _ = mean_loss(transfer.backend.xp, self.loss, AL, Y)
            return transfer.to_caller(cost[..., None, None])

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
            # Where the last activation is part of the loss, that is one of Z.
            _, dAL = mean_loss(xp, loss, AL if loss is self.loss else ZL, Y)
            gradients = backward(xp, dAL, cache, activations)
            return {
                name: transfer.to_caller(array)
                for l in reversed(range(len(gradients)))
                for name, array in zip((f"dA{l}", f"dW{l + 1}", f"db{l + 1}"), gradients[l], strict=True)
            }

    def update_parameters(self, grads: Mapping[str, Array], learning_rate: float) -> None:
        """Take one step down the gradient.

        Parameters
        ----------
        grads : mapping
            ``dW1, db1, …`` as from `backward_pass`; anything else in it is ignored.
        learning_rate : float
            The length of the step, above zero.
        """
        self._refuse_while_training("update_parameters")
        learning_rate = positive_number("learning_rate", learning_rate, self.dtype)
        if not isinstance(grads, Mapping):
            msg = f"grads must be a mapping such as backward_pass returns, got {type(grads).__name__}"
            raise TypeError(msg)
        names = [f"d{name}" for name in self.parameters]
        missing = [name for name in names if name not in grads]
        if missing:
            msg = f"grads lacks {', '.join(missing)}"
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
            state = snapshot.state.copy(xp)  # for the update may change it in place
            state = apply_update(xp, self._members.optimizer(backend), state, flatten(xp, arrays), learning_rate)
            finite_array(xp, "what optimizer.update makes of theta", state.theta)
            for array in state.optimizer_state:
                finite_array(xp, "what optimizer.update makes of its state", array)
            self._snapshot = snapshot.with_parameters(*state)

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(−x)), which does not overflow."""
        return self._elementwise("x", sigmoid.forward, x)

    def sigmoid_derivative(self, Z: Array) -> Array:
        """σ(Z) (1 − σ(Z))."""
        return self._elementwise("Z", lambda xp, Z: sigmoid.backward(xp, 1.0, Z, sigmoid.forward(xp, Z)), Z)

    def relu(self, x: Array) -> Array:
        """max(0, x)."""
        return self._elementwise("x", relu.forward, x)

    def _elementwise(self, name: str, function: Callable[..., Array], x: Any) -> Array:
        backend = place_of(**{name: x}) or HOST
        with backend.on_device():
            return function(backend.xp, bring(name, x, backend, self.dtype))


def _outputs_and_targets(transfer: Transfer, AL: Any, name: str, Y: Any) -> tuple[Array, Array]:
    """Bring both, in the shape of the outputs; a single number is an output, or the target of every output."""
    xp = transfer.backend.xp
    AL, Y = transfer.to_network("AL", AL), transfer.to_network(name, Y)
    if AL.ndim == 0:
        AL = xp.reshape(AL, (1, 1))
    if AL.ndim < 2 or 0 in AL.shape:
        msg = f"AL must have the shape (n, m), one sample a column, got {tuple(AL.shape)}"
        raise ValueError(msg)
    if 0 in Y.shape:
        msg = f"{name} is empty: its shape is {tuple(Y.shape)}"
        raise ValueError(msg)
    if Y.size == 1:
        return AL, xp.broadcast_to(xp.reshape(Y, ()), AL.shape)
    for shape in (AL.shape, AL.shape[-2:]):
        if [n for n in Y.shape if n > 1] == [n for n in shape if n > 1]:
            return AL, xp.broadcast_to(xp.reshape(Y, shape), AL.shape)
    msg = f"{name} has the shape {tuple(Y.shape)}, which does not fit AL of shape {tuple(AL.shape)}"
    raise ValueError(msg)
