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
    loss_tol: float = 0.0,
    max_evaluations: int | None = None,
    after_iteration: Callable[[Array], bool] = lambda theta: True,
) -> Any:
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
    loss_tol : float
        The minimization ends when an iteration decreases the value by less than this, relative to it.
    max_evaluations : int, optional
        The maximum number of evaluations of the function, by default 100 for each iteration.
    after_iteration : callable
        ``after_iteration(theta) -> continues``.

    Returns
    -------
    result : scipy.optimize.OptimizeResult
        The result of SciPy: ``x``, of shape (P,) on the host, ``fun``, ``nit``, ``nfev``, ``message`` and others.

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

    evaluations = max_evaluations or 100 * iterations
    options = {"maxiter": iterations, "maxfun": evaluations, "gtol": gradient_tol, "ftol": loss_tol}
    start = backend.to_numpy(theta).astype("float64")
    value, gradient = on_host(start)
    if not math.isfinite(value + float(abs(gradient).sum())):
        msg = "the initial loss or its gradient is NaN or infinite: most likely the data should be scaled"
        raise FloatingPointError(msg)
    result = optimize.minimize(on_host, start, method="L-BFGS-B", jac=True, options=options, callback=callback)
    if raised:
        raise raised[0]
    return result


def scipy_optimize() -> Any:
    """Return `scipy.optimize`."""
    try:
        from scipy import optimize
    except ImportError as error:
        msg = 'L-BFGS needs SciPy: pip install "xpnet[lbfgs]"'
        raise ImportError(msg) from error
    return optimize
