"""What the signatures speak of. Any library's arrays will do, so the names tell a reader more than a type checker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any
"""An array of any library that follows the array API standard."""

Namespace: TypeAlias = Any
"""The functions of that library: what the standard calls `xp`."""

Layer: TypeAlias = tuple[Array, Array]
"""``(W, b)``: weights of shape (..., n_out, n_in) and biases of shape (..., n_out, 1)."""

Layers: TypeAlias = Sequence[Layer]


class State(NamedTuple):
    """What one training step hands to the next; leading axes are the networks of an ensemble.

    Attributes
    ----------
    theta : array of shape (..., P)
        All parameters.
    optimizer_state : tuple of arrays of shape (..., *)
        What the optimizer keeps between steps.
    """

    theta: Array
    optimizer_state: tuple[Array, ...]

    def map(self, function: Callable[..., Array], *others: State) -> State:
        """Apply a function to each array, together with those in its place in other states."""
        optimizer_states = zip(self.optimizer_state, *(other.optimizer_state for other in others), strict=True)
        return State(
            function(self.theta, *(other.theta for other in others)),
            tuple(function(*arrays) for arrays in optimizer_states),
        )

    def copy(self, xp: Namespace) -> State:
        """Return a state with arrays of its own, which a step may change in place."""
        return self.map(lambda array: xp.asarray(array, copy=True))

    def where(self, xp: Namespace, condition: Array, other: State) -> State:
        """Return this state for the networks for which the condition, of shape (...), holds, and else the other."""
        return self.map(lambda mine, others: where(xp, condition, mine, others), other)


def where(xp: Namespace, condition: Array, array: Array, other: Array) -> Array:
    """Return an array of shape (..., *) where the condition, of shape (...), holds for a network, and else another."""
    axes = (1,) * (array.ndim - condition.ndim)
    return xp.where(xp.reshape(condition, condition.shape + axes), array, other)
