"""What a kernel computes: the samples and other inputs of its steps, and the recorded operations of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy

from xpnet.backends import streams
from xpnet.backends.base import CannotCompile, first_line
from xpnet.backends.compiled.loops import Buffer
from xpnet.backends.compiled.recorder import Node, Recorder


@dataclass(frozen=True)
class Segment:
    """Consecutive samples of an epoch, as the arrays that a kernel reads.

    Attributes
    ----------
    batch_size : int
        The samples of a step.
    position : int
        The position of the first sample in the epoch.
    size : int
        The number of samples.
    padded : bool
        Whether the last batch of the epoch is smaller.
    samples : dict of str to array of shape (E or 1, N, n)
        Inputs, targets and weights.
    keys : dict of str to array of uint64 of shape (E or 1, 2)
        The keys of random numbers: the `order_key` if the kernel shuffles the samples, and the `mask_key` for dropout.
        If the rows are given, the `order_key` holds them, and has the shape (E or 1, size).
    masks : dict of str to (int, int, int)
        Of each layer with dropout the number of units, the number of the first pair of its random words, and the
        smallest word that keeps a unit.
    rates : dict of str to array of shape (steps or 1, E or 1)
        Learning rates and regularization strengths.
    fixed : dict of str to array of shape (E or 1, n)
        What differs between networks, but not between steps.
    given : bool
        Whether the rows that an epoch takes are given.
    """

    batch_size: int
    position: int
    size: int
    padded: bool
    samples: dict[str, Any]
    keys: dict[str, Any]
    masks: dict[str, tuple[int, int, int]]
    rates: dict[str, Any]
    fixed: dict[str, Any]
    given: bool = False

    @property
    def steps(self) -> int:
        """The number of steps in an epoch."""
        return -(-self.size // self.batch_size)

    @property
    def per_network(self) -> frozenset[str]:
        """The names of the arrays with a separate entry for each network."""
        names = {name for name, array in (self.samples | self.keys | self.fixed).items() if array.shape[0] > 1}
        return frozenset(names | {name for name, array in self.rates.items() if array.shape[1] > 1})

    @property
    def arrays(self) -> list[Any]:
        """The arrays in the order of a kernel's arguments."""
        none = numpy.zeros((1, 2), "uint64")
        keys = [self.keys.get(name, none) for name in ("order_key", "mask_key")]
        return [*keys, *self.samples.values(), *self.rates.values(), *self.fixed.values()]


class Layout(NamedTuple):
    """How a kernel maps its arguments to networks.

    Attributes
    ----------
    batch_size : int
        The samples of a step.
    lanes : bool
        Whether networks are computed in lanes.
    shuffled : bool
        Whether the samples are shuffled in every epoch.
    padded : bool
        Whether the last batch of an epoch is smaller. It is filled up with samples of weight 0.
    given : bool
        Whether the rows that an epoch takes are given: the samples are then "shuffled" in their order.
    per_network : frozenset of str
        The arrays with a separate entry for each network; in the others, the axis of networks has length 1.
    """

    batch_size: int
    lanes: bool
    shuffled: bool
    padded: bool
    given: bool
    per_network: frozenset[str]


def masks_of(batches: Any) -> dict[str, tuple[int, int, int]]:
    """Return the masks of batches, as the attribute of `Segment`."""
    layers = [] if batches.masks is None else batches.masks.layers
    return {
        f"mask{l}": (n, streams.first_pair(l), streams.smallest_kept(rate))
        for l, (n, rate) in enumerate(layers)
        if rate
    }


def rates_of(batches: Any, factors: Any = None) -> dict[str, Any]:
    """Return the learning rates and regularization strengths of batches, as the attribute of `Segment`."""
    backend = batches.samples.backend
    xp, rate = backend.xp, backend.xp.reshape(batches.learning_rate, (1, -1))
    if factors is not None:
        rate = rate * backend.asarray(numpy.ascontiguousarray(factors.reshape(factors.shape[0], -1)))
    strengths = {
        name: xp.reshape(xp.asarray(value, dtype=rate.dtype), (1, -1))
        for name, value in batches.regularization.items()
        if name not in ("mask", "present")
    }
    return {"learning_rate": rate, **strengths}


class Recording(NamedTuple):
    """The recorded operations of a step.

    Attributes
    ----------
    buffers : dict of str to Buffer
        The arrays of inputs and outputs, by name.
    outputs : dict of str to Node
        The operation whose result is the new value of each state, and of the loss.
    constants : dict of arrays
        The arrays that the step captured, by the key of their node.
    """

    buffers: dict[str, Buffer]
    outputs: dict[str, Node]
    constants: dict[tuple[str, bytes], Any]


def record(step: Any, state: Any, segment: Segment) -> Recording:
    """Return the operations of a step of one network.

    Parameters
    ----------
    step : Step
        The step; it is called with a `Recorder` as its namespace.
    state : State
        The state, with or without an axis of networks; only its shapes and types are used.
    segment : Segment
        The other inputs; only their shapes and types are used.

    Returns
    -------
    recording : Recording
        The operations.

    Raises
    ------
    CannotCompile
        If an operation of the step cannot be recorded.
    """
    theta, networks_axis = state.theta, state.theta.ndim - 1
    dtype, m = str(theta.dtype), segment.batch_size
    recorder, buffers = Recorder(dtype), {}

    def add_input(name: str, shape: tuple[int, ...], array: Any, kind: str, size: int) -> Any:
        number_type = str(array.dtype)
        if number_type not in ("float64", "float32", "bool"):
            what = "an optimizer state" if kind == "state" else name
            msg = f"{what} of {number_type}"
            raise CannotCompile(msg)
        buffers[name] = Buffer(name, size, number_type, kind)
        return recorder.input(name, shape, number_type)

    rows = {
        name: add_input(name, (array.shape[-1], m), array, "sample", array.shape[-1])
        for name, array in segment.samples.items()
    }
    for name, (units, first, least) in segment.masks.items():
        buffers[name] = Buffer(name, units, "bool", "mask", (float(first), float(least)))
        rows[name] = recorder.input(name, (units, m), "bool")
    rates = {name: add_input(name, (), array, "rate", 1) for name, array in segment.rates.items()}
    fixed = {
        name: add_input(name, array.shape[1:], array, "fixed", array.shape[1]) for name, array in segment.fixed.items()
    }
    states = {}
    for name, array in {"theta": theta, **{f"s{i}": array for i, array in enumerate(state.optimizer_state)}}.items():
        shape = tuple(array.shape[networks_axis:])
        states[name] = add_input(name, shape, array, "state", int(numpy.prod(shape)))
    masks = [rows.get(f"mask{l}") for l in range(len(step.dropout_rates))] if segment.masks else ()
    learning_rate, regularization = rates.pop("learning_rate"), rates | fixed
    if rates:
        regularization["mask"] = step.layout.weights_mask(numpy)
    inputs = (rows["X"], rows["Y"], learning_rate, rows.get("weight"), masks, regularization)
    before = type(state)(states["theta"], tuple(array for name, array in states.items() if name != "theta"))
    try:
        after, loss = replace(step, xp=recorder)(before, inputs)
    except CannotCompile:
        raise
    except Exception as error:  # a custom function may be written for one array library
        msg = f"{type(error).__name__}: {first_line(error)}"
        raise CannotCompile(msg) from error
    for array, old in zip((after.theta, *after.optimizer_state), (before.theta, *before.optimizer_state), strict=True):
        if (array.shape, array.dtype) != (old.shape, old.dtype):
            msg = (
                f"an optimizer that makes {array.dtype}{array.shape} from {old.dtype}{old.shape} for one network; "
                "it may hold an array with a number for each network"
            )
            raise CannotCompile(msg)
    buffers["loss"] = Buffer("loss", 1, loss.node.dtype, "result")
    outputs = {"loss": loss.node, "theta": after.theta.node}
    outputs |= {f"s{i}": array.node for i, array in enumerate(after.optimizer_state)}
    return Recording(buffers, outputs, recorder.constants)
