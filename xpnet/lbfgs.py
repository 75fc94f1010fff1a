"""L-BFGS for small sets, by SciPy: a few long steps that look at all samples at once, each along a line searched first.

The method is Liu and Nocedal's, https://doi.org/10.1007/BF01589116; the implementation is that of
`scipy.optimize.minimize`, which works on the host in double precision and asks for the loss and its gradient wherever
they are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        Ends when no entry of the gradient is greater.
    after_iteration : callable
        ``after_iteration(theta) -> goes_on``.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    """
    optimize = scipy_optimize()
    dtype = str(theta.dtype).rpartition(".")[2]

    def on_host(vector: Any) -> tuple[float, Any]:
        with backend.on_device():
            value, gradient = value_and_gradient(backend.asarray(vector, dtype))
            return float(value), backend.to_numpy(gradient).astype("float64")

    def callback(vector: Any) -> None:
        if not after_iteration(backend.asarray(vector.copy(), dtype)):
            raise StopIteration

    options = {"maxiter": iterations, "maxfun": 20 * iterations, "gtol": gradient_tol}
    start = backend.to_numpy(theta).astype("float64")
    optimize.minimize(on_host, start, method="L-BFGS-B", jac=True, options=options, callback=callback)


def scipy_optimize() -> Any:
    """Return the part of SciPy that minimises."""
    try:
        from scipy import optimize
    except ImportError as error:
        msg = 'L-BFGS needs SciPy: pip install "xpnet[lbfgs]"'
        raise ImportError(msg) from error
    return optimize
