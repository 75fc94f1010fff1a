"""The parameters of a network: one flat vector, and the weights and biases that are views into it.

For the layer sizes n₀, n₁, …, n_L the vector theta of shape (..., P) holds W1, b1, W2, b2, …, W_L, b_L one after the
other, row by row, so that P = Σₗ nₗ (nₗ₋₁ + 1). Leading axes are the networks of an ensemble.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from reprlib import repr
from typing import Any

from xpnet._checks import finite_array, same_shape
from xpnet._types import Array, Layer, Namespace
from xpnet.data.placement import bring


class Layout:
    """The position of each layer's weights and biases in the flat vector.

    Parameters
    ----------
    layer_list : sequence of int
        The sizes of the layers, inputs first.

    Attributes
    ----------
    layer_list : list of int
        The sizes of the layers.
    size : int
        P, the number of parameters.
    slots : dict
        ``(start, stop, shape)`` in the vector for each name W1, b1, W2, …, in the order of the vector.
    """

    def __init__(self, layer_list: Sequence[int]) -> None:
        self.layer_list = list(layer_list)
        self.slots: dict[str, tuple[int, int, tuple[int, int]]] = {}
        self.size = 0
        for l, (n_in, n_out) in enumerate(pairwise(layer_list), start=1):
            for name, shape in ((f"W{l}", (n_out, n_in)), (f"b{l}", (n_out, 1))):
                start, self.size = self.size, self.size + shape[0] * shape[1]
                self.slots[name] = (start, self.size, shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.layer_list == other.layer_list

    def __hash__(self) -> int:
        return hash(tuple(self.layer_list))

    def view(self, xp: Namespace, theta: Array, name: str) -> Array:
        """Return weights of shape (..., n_out, n_in) or biases (..., n_out, 1) by name, as a view into theta."""
        start, stop, (n_out, n_in) = self.slots[name]
        if name.startswith("b"):
            return theta[..., start:stop, None]
        return xp.reshape(theta[..., start:stop], (*theta.shape[:-1], n_out, n_in))

    def weights_mask(self, xp: Namespace) -> Array:
        """Return an array of bool of shape (P,), True for weights and False for biases."""
        parts = [xp.full((stop - start,), name.startswith("W")) for name, (start, stop, _) in self.slots.items()]
        return xp.concat(parts)

    def layers(self, xp: Namespace, theta: Array) -> list[Layer]:
        """Return ``[(W1, b1), (W2, b2), …]``, views into theta."""
        networks, slots = theta.shape[:-1], list(self.slots.values())
        return [
            (xp.reshape(theta[..., start:middle], (*networks, *shape)), theta[..., middle:stop, None])
            for (start, middle, shape), (_, stop, _) in zip(slots[::2], slots[1::2], strict=True)
        ]

    def views_of(self, xp: Namespace, theta: Array, sizes: Sequence[int]) -> list[Layer]:
        """Return the weights and biases of a network with layers of other sizes, at most these, as views into theta.

        They are the first rows and columns of those of this layout.
        """
        return [
            (W[..., :n_out, :n_in], b[..., :n_out, :])
            for (W, b), (n_in, n_out) in zip(self.layers(xp, theta), pairwise(sizes), strict=True)
        ]


def flatten(xp: Namespace, arrays: Sequence[Array]) -> Array:
    """Copy ``[W1, b1, W2, b2, …]`` into one vector of shape (..., P)."""
    if arrays[0].ndim == 2:
        return xp.concat(arrays, axis=None)
    return xp.concat([xp.reshape(array, (*array.shape[:-2], -1)) for array in arrays], axis=-1)


class Parameters(Mapping[str, Array]):
    """The current parameters of a network by name: ``parameters["W1"]`` is a view into its vector `theta`.

    Assignment replaces the vector by a copy with the new value.

    Parameters
    ----------
    network : Predictor
        The network that has the parameters.
    layout : Layout
        Their positions in the vector.
    """

    def __init__(self, network: Any, layout: Layout) -> None:
        self._network = network
        self.layout = layout

    @property
    def theta(self) -> Array:
        """The vector, of shape (P,), or (E, P) for an ensemble."""
        return self._network.theta

    def layers(self) -> list[Layer]:
        """Return ``[(W1, b1), (W2, b2), …]``, views into the vector."""
        return self.layout.layers(self._network.backend.xp, self.theta)

    def replaced(self, values: Mapping[str, Any]) -> Array:
        """Return a new vector with some of the named weights and biases replaced, and the others copied."""
        backend, theta = self._network.backend, self.theta
        with backend.on_device():
            arrays = []
            for name in self:
                array = self.layout.view(backend.xp, theta, name)
                if name in values:
                    shape = array.shape
                    array = bring(name, values[name], backend, self._network.dtype)
                    same_shape(name, array, shape)
                    finite_array(backend.xp, name, array)
                arrays.append(array)
            theta = flatten(backend.xp, arrays)
            self._network._members.check_absent(backend, ", ".join(values), theta)
            return theta

    def __getitem__(self, name: str) -> Array:
        self._known(name)
        return self.layout.view(self._network.backend.xp, self.theta, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._known(name)
        self._network._assign({name: value})

    def _known(self, name: str) -> None:
        if not isinstance(name, str) or name not in self.layout.slots:
            msg = f"the name of a parameter must be one of {', '.join(self)}, got {repr(name)}"
            raise KeyError(msg)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.slots)

    def __len__(self) -> int:
        return len(self.layout.slots)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name!r}: {self[name]!r}' for name in self)}}}"
