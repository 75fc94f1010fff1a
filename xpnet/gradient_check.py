"""Is the backward pass the derivative of the forward pass? For custom activations and losses, mainly."""

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
from xpnet.data.placement import Transfer, place_of
from xpnet.losses import fuse, mean_loss
from xpnet.network import NeuralNetwork


class Slope(NamedTuple):
    """How steep the loss is along one random direction: as the backward pass has it, and as differences show it."""

    name: str
    backward: float
    differences: float
    noise: float

    @property
    def flat(self) -> bool:
        """Whether both are within what rounding alone makes of differences, so that nothing can be told."""
        return max(abs(self.backward), abs(self.differences)) <= self.noise

    @property
    def error(self) -> float:
        """Their distance beyond the noise, relative to the greater of them."""
        if self.flat:
            return 0.0
        beyond = abs(self.backward - self.differences) - self.noise
        return beyond / max(abs(self.backward), abs(self.differences)) if not beyond <= 0.0 else 0.0


class GradientReport(NamedTuple):
    """The slopes for the parameters and the samples; printed, it is a table."""

    slopes: list[Slope]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether all errors are within the tolerance; NaN is not."""
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

    For each of W1, b1, W2, … and for the samples X one random direction v is drawn, and the slope dθ · v that the
    backward pass gives is set against (L(θ + h v) − L(θ − h v)) / 2h. That costs the same whatever the size of the
    layer. All is computed in double precision where the network is, and the network is not changed.

    Parameters
    ----------
    network : NeuralNetwork
        The network whose activations and loss are in question, at its present parameters.
    X, y : arrays
        Samples and targets, as for `NeuralNetwork.train`; a few will do.
    step : float
        The length h of the steps.
    tolerance : float
        The greatest relative error that passes, beyond what rounding explains. Where a relu has its kink within a step,
        a right gradient may fail too: other samples or another seed tell.
    seed : int
        Of the directions.

    Returns
    -------
    report : GradientReport
        ``report.passed``, and ``print(report)`` for a table.
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
        msg = "gradient_check looks at one network: give it a member of the ensemble"
        raise ValueError(msg)
    backend, layout = network.backend, network.parameters.layout
    rng = random_stream(one_seed(seed))
    activations, loss = fuse(network.activations, network.loss)
    with backend.on_device():
        xp = backend.xp
        data = Transfer(place_of(X=X, y=y) or backend, backend, "float64")
        given = {"X": X, "y": y, "sample_weight": None}
        theta = data.to_network("theta", network.theta)  # first, for not every device has double precision
        samples = bring_samples(data, given, network._settings)
        columns, Y, _ = samples.columns()

        def value(theta: Array, X: Array) -> float:
            A, _ = forward(xp, X, layout.layers(xp, theta), activations)
            return float(mean_loss(xp, loss, A, Y)[0])

        # Just what training takes, and the gradient with respect to the samples.
        here, dtheta, dX = loss_gradient(
            xp, columns, Y, layout.layers(xp, theta), activations, loss, input_gradient=True
        )
        # What a difference is made of besides the slope: rounding of the loss, by some ten units in its last place, and
        # the bend of its curve within a step.
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
