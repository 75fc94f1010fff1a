"""Types of the signatures. Arrays may be of any library, so a type checker sees `Any`; the names are for the reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any
"""An array of any library that follows the array API standard."""

Namespace: TypeAlias = Any
"""The array API namespace of that library, which the standard calls `xp`."""

Layer: TypeAlias = tuple[Array, Array]
"""``(W, b)``: weights of shape (..., n_out, n_in) and biases of shape (..., n_out, 1)."""

Layers: TypeAlias = Sequence[Layer]


class State(NamedTuple):
    """The state that one training step passes to the next; leading axes are the networks of an ensemble.

    Attributes
    ----------
    theta : array of shape (..., P)
        All parameters.
    optimizer_state : tuple of arrays of shape (..., *)
        The optimizer state.
    """

    theta: Array
    optimizer_state: tuple[Array, ...]

    def map(self, function: Callable[..., Array], *others: State) -> State:
        """Apply a function to each array and the corresponding arrays of other states."""
        optimizer_states = zip(self.optimizer_state, *(other.optimizer_state for other in others), strict=True)
        return State(
            function(self.theta, *(other.theta for other in others)),
            tuple(function(*arrays) for arrays in optimizer_states),
        )

    def copy(self, xp: Namespace) -> State:
        """Return a copy, which a step may change in place."""
        return self.map(lambda array: xp.asarray(array, copy=True))

    def where(self, xp: Namespace, condition: Array, other: State) -> State:
        """Return this state for the networks where the condition, of shape (...), is true, else the other state."""
        return self.map(lambda mine, others: where(xp, condition, mine, others), other)


def where(xp: Namespace, condition: Array, array: Array, other: Array) -> Array:
    """Return `array`, of shape (..., *), where the condition, of shape (...), is true for a network, else `other`."""
    axes = (1,) * (array.ndim - condition.ndim)
    return xp.where(xp.reshape(condition, condition.shape + axes), array, other)
