"""Gradient checking: compare the backward pass with finite differences, for custom activations and losses."""

from __future__ import annotations

import reprlib
from typing import Any, NamedTuple

from xpnet._checks import positive_number
from xpnet._types import Array
from xpnet.backends import random_stream
from xpnet.core.propagation import forward
from xpnet.core.settings import one_seed
from xpnet.core.step import loss_gradient
from xpnet.data.incoming import bring_samples
from xpnet.data.placement import Transfer, common_backend
from xpnet.losses import fuse, mean_loss
from xpnet.network import NeuralNetwork


class Slope(NamedTuple):
    """The derivative of the loss along one random direction, by the backward pass and by finite differences."""

    name: str
    backward: float
    differences: float
    noise: float

    @property
    def flat(self) -> bool:
        """Whether both are below the noise of finite differences, so that the check cannot decide."""
        return max(abs(self.backward), abs(self.differences)) <= self.noise

    @property
    def error(self) -> float:
        """The difference of both beyond the noise, relative to the larger one."""
        if self.flat:
            return 0.0
        beyond = abs(self.backward - self.differences) - self.noise
        return beyond / max(abs(self.backward), abs(self.differences)) if not beyond <= 0.0 else 0.0


class GradientReport(NamedTuple):
    """The result of `gradient_check`: a slope for each parameter array and for the samples; ``print`` shows a table."""

    slopes: list[Slope]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether all errors are within the tolerance; an error of NaN is not."""
        return all(slope.error <= self.tolerance for slope in self.slopes)

    def __str__(self) -> str:
        lines = [f"{'along':<8}{'backward':>16}{'differences':>16}{'error':>12}"]
        for slope in self.slopes:
            verdict = "  too flat to tell" if slope.flat else "" if slope.error <= self.tolerance else "  WRONG"
            row = f"{slope.name:<8}{slope.backward:>16.8g}{slope.differences:>16.8g}{slope.error:>12.2g}{verdict}"
            lines.append(row)
        lines.append(f"{'passed' if self.passed else 'FAILED'}, at a tolerance of {self.tolerance:g}")
        return "\n".join(lines)


def gradient_check(
    network: NeuralNetwork, X: Any, y: Any, *, step: float = 1e-6, tolerance: float = 1e-6, seed: int = 0
) -> GradientReport:
    """Compare the backward pass with finite differences of the loss.

    For each of W1, b1, W2, … and for the samples X, the check draws one random direction v and compares the directional
    derivative dθ · v of the backward pass with the central difference (L(θ + h v) − L(θ − h v)) / 2h. It computes in
    double precision on the device of the network, and does not change the network.

    Parameters
    ----------
    network : NeuralNetwork
        The network with the activations and the loss to check, at its current parameters; no ensemble.
    X : array of shape (N, n_0), (N, n_0, 1), or (N,) for one input
        Some samples, as for `NeuralNetwork.train`.
    y : array of shape (N, n_L), (N, n_L, 1), or (N,)
        Their targets, or labels.
    step : float
        The step size h, at most 1.
    tolerance : float
        The maximum relative error, beyond rounding errors. If a relu has its kink within a step, a correct gradient may
        fail too: check with other samples or another seed.
    seed : int
        The seed of the directions.

    Returns
    -------
    report : GradientReport
        ``report.passed`` is True if all errors are within the tolerance; ``print(report)`` shows a table.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import NeuralNetwork, gradient_check
    >>> network = NeuralNetwork([2, 4, 1], activations=["tanh", "identity"], seed=0)
    >>> report = gradient_check(network, np.ones((5, 2)), np.zeros(5))
    >>> report.passed
    True
    >>> [slope.name for slope in report.slopes]
    ['W1', 'b1', 'W2', 'b2', 'X']
    """
    if not isinstance(network, NeuralNetwork):
        msg = f"network must be a NeuralNetwork, got {reprlib.repr(network)}"
        raise TypeError(msg)
    step = positive_number("step", step, "float64")
    if step > 1.0:
        msg = f"step must be at most 1, got {step}"
        raise ValueError(msg)
    tolerance = positive_number("tolerance", tolerance, "float64")
    if network.ensemble is not None:
        msg = (
            f"network must be a single network, got an ensemble of {network.ensemble}; "
            "use network.member(0) to check one of its networks"
        )
        raise ValueError(msg)
    backend, layout = network.backend, network.parameters.layout
    rng = random_stream(one_seed(seed))
    activations, loss = fuse(network.activations, network.loss)
    with backend.on_device():
        xp = backend.xp
        data = Transfer(common_backend(X=X, y=y) or backend, backend, "float64")
        given = {"X": X, "y": y, "sample_weight": None}
        theta = data.to_network("theta", network.theta)  # first, because not every device has double precision
        samples = bring_samples(data, given, network._settings)
        columns, Y, _ = samples.columns()

        def value(theta: Array, X: Array) -> float:
            A, _ = forward(xp, X, layout.layers(xp, theta), activations)
            return float(mean_loss(xp, loss, A, Y)[0])

        # The gradient as in training, and the gradient with respect to the samples.
        here, dtheta, dX = loss_gradient(
            xp, columns, Y, layout.layers(xp, theta), activations, loss, input_gradient=True
        )
        # The error of a difference: the loss is rounded by some ten units in its last place, and is not linear within
        # a step.
        noise = 10 * 2.0**-52 * abs(float(here)) / step + step**2
        slopes = []
        for name, (start, stop, _) in layout.slots.items():
            v = rng.standard_normal(layout.size)
            v[:start] = v[stop:] = 0.0
            v = backend.asarray(v)
            rise = value(theta + step * v, columns) - value(theta - step * v, columns)
            slopes.append(Slope(name, float(xp.sum(dtheta * v)), rise / (2 * step), noise))
        v = backend.asarray(rng.standard_normal(tuple(columns.shape)))
        rise = value(theta, columns + step * v) - value(theta, columns - step * v)
        slopes.append(Slope("X", float(xp.sum(dX * v)), rise / (2 * step), noise))
    return GradientReport(slopes, tolerance)
