"""L-BFGS for small sets, by SciPy: a few long steps that look at all samples at once, each along a line searched first.

The method is Liu and Nocedal's, https://doi.org/10.1007/BF01589116; the implementation is that of
`scipy.optimize.minimize`, which works on the host in double precision and asks for the loss and its gradient wherever
they are computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpnet._checks import type_name
from xpnet._types import Array
from xpnet.backends import Backend


def minimize(
    backend: Backend,
    value_and_gradient: Callable[[Array], tuple[Array, Array]],
    theta: Array,
    *,
    iterations: int,
    gradient_tol: float,
    after_iteration: Callable[[Array], bool],
) -> None:
    """Make a function of theta small.

    Parameters
    ----------
    backend : Backend
        Where it is computed.
    value_and_gradient : callable
        ``value_and_gradient(theta) -> (value, gradient)``, of shape () and (P,).
    theta : array of shape (P,)
        Where to start.
    iterations : int
        How many, at most.
    gradient_tol : float
        Ends when no entry of the gradient is greater, or where rounding leaves no way down.
    after_iteration : callable
        ``after_iteration(theta) -> continues``.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    FloatingPointError
        If the value or the gradient is not finite from the start.
    """
    optimize = scipy_optimize()
    dtype = type_name(theta.dtype)

    def on_host(vector: Any) -> tuple[float, Any]:
        with backend.on_device():
            value, gradient = value_and_gradient(backend.asarray(vector, dtype))
            return float(value), backend.to_numpy(gradient).astype("float64")

    raised: list[BaseException] = []

    def callback(vector: Any) -> None:
        try:
            continues = after_iteration(backend.asarray(vector.copy(), dtype))
        except BaseException as error:  # a StopIteration too, which SciPy would take for its own
            raised.append(error)
            continues = False
        if not continues:
            raise StopIteration

    # It ends by the gradient or the number of iterations, not because the function falls slowly.
    options = {"maxiter": iterations, "maxfun": 100 * iterations, "gtol": gradient_tol, "ftol": 0.0}
    start = backend.to_numpy(theta).astype("float64")
    value, gradient = on_host(start)
    if not math.isfinite(value + float(abs(gradient).sum())):
        msg = "the loss or its gradient is NaN or infinite from the start: most likely the data should be scaled"
        raise FloatingPointError(msg)
    optimize.minimize(on_host, start, method="L-BFGS-B", jac=True, options=options, callback=callback)
    if raised:
        raise raised[0]


def scipy_optimize() -> Any:
    """Return the part of SciPy that minimises."""
    try:
        from scipy import optimize
    except ImportError as error:
        msg = 'L-BFGS needs SciPy: pip install "xpnet[lbfgs]"'
        raise ImportError(msg) from error
    return optimize
