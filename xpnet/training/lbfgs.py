"""L-BFGS for small data sets, by SciPy: full-batch quasi-Newton steps with a line search.

The method is that of Liu and Nocedal (1989), https://doi.org/10.1007/BF01589116; the implementation is that of
`scipy.optimize.minimize`, which runs on the host in double precision and calls a function that computes the loss and
its gradient on the device.
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
    """Minimize a function of theta.

    Parameters
    ----------
    backend : Backend
        The backend that computes the function.
    value_and_gradient : callable
        ``value_and_gradient(theta) -> (value, gradient)``, of shape () and (P,).
    theta : array of shape (P,)
        The initial parameters.
    iterations : int
        The maximum number of iterations.
    gradient_tol : float
        The minimization ends when no entry of the gradient is larger, or rounding errors prevent a descent.
    after_iteration : callable
        ``after_iteration(theta) -> continues``.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    FloatingPointError
        If the initial value or gradient is not finite.
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
        except BaseException as error:  # a StopIteration too, which SciPy would interpret as a normal stop
            raised.append(error)
            continues = False
        if not continues:
            raise StopIteration

    # It ends by the gradient or the number of iterations, not because the function decreases slowly.
    options = {"maxiter": iterations, "maxfun": 100 * iterations, "gtol": gradient_tol, "ftol": 0.0}
    start = backend.to_numpy(theta).astype("float64")
    value, gradient = on_host(start)
    if not math.isfinite(value + float(abs(gradient).sum())):
        msg = "the initial loss or its gradient is NaN or infinite: most likely the data should be scaled"
        raise FloatingPointError(msg)
    optimize.minimize(on_host, start, method="L-BFGS-B", jac=True, options=options, callback=callback)
    if raised:
        raise raised[0]


def scipy_optimize() -> Any:
    """Return `scipy.optimize`."""
    try:
        from scipy import optimize
    except ImportError as error:
        msg = 'L-BFGS needs SciPy: pip install "xpnet[lbfgs]"'
        raise ImportError(msg) from error
    return optimize
