"""Checks of custom parts: what they must be and return, validated before they are used.

Built-in parts are not checked here: the tests check them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from reprlib import repr
from typing import Any

from xpnet._checks import finite_array, function, non_negative_number, real_array, same_kind, same_shape
from xpnet._types import Array, Namespace, State
from xpnet.activations import Activation
from xpnet.backends import HOST
from xpnet.data.placement import bring
from xpnet.initializers import Initializer
from xpnet.losses import Loss
from xpnet.optimizers import Optimizer

# ---- Types and signatures


def check_activation(name: str, activation: Activation) -> None:
    """Validate that an activation consists of functions and bounds."""
    function(f"{name}.forward", activation.forward, "(xp, Z)")
    function(f"{name}.backward", activation.backward, "(xp, dA, Z, A)")
    _check_bounds(name, activation.bounds)


def check_loss(name: str, loss: Loss) -> None:
    """Validate that a loss consists of functions, bounds, and a canonical pair (activation, loss) or None."""
    function(f"{name}.value", loss.value, "(xp, A, Y)")
    function(f"{name}.gradient", loss.gradient, "(xp, A, Y)")
    _check_bounds(name, loss.bounds)
    if loss.canonical is None:
        return
    pair = loss.canonical
    if not (isinstance(pair, tuple) and [type(each) for each in pair] == [Activation, Loss]):
        msg = f"{name}.canonical must be None or a pair (Activation, Loss of its Z), got {repr(pair)}"
        raise TypeError(msg)
    check_activation(f"{name}.canonical[0]", pair[0])
    check_loss(f"{name}.canonical[1]", pair[1])


def check_optimizer(name: str, optimizer: Optimizer) -> None:
    """Validate that an optimizer consists of functions and a weight decay."""
    function(f"{name}.init", optimizer.init, "(xp, theta)")
    function(f"{name}.update", optimizer.update, "(xp, theta, dtheta, optimizer_state, learning_rate)")
    non_negative_number(f"{name}.weight_decay", optimizer.weight_decay, "float64")


def check_initializer(name: str, initializer: Initializer) -> None:
    """Validate that an initializer is a function."""
    function(name, initializer, "(rng, n_out, n_in)")


def _check_bounds(name: str, bounds: Any) -> None:
    pair = isinstance(bounds, tuple) and len(bounds) == 2 and all(isinstance(each, (int, float)) for each in bounds)
    pair = pair and all(abs(each) <= sys.float_info.max or abs(each) == math.inf for each in bounds)
    if not pair or not bounds[0] < bounds[1]:
        msg = f"{name}.bounds must be a pair of floats (lowest, highest), got {repr(bounds)}"
        raise ValueError(msg)


# ---- Return values


def call_part(name: str, form: str, part: Callable[..., Any], *given: Any) -> Any:
    """Call a function of a custom part; an error names the function that failed."""
    try:
        return part(*given)
    except Exception as error:
        msg = f"{name} must be a function {form}, but it raised {type(error).__name__}: {error}"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(msg) from error


def array_like(what: str, returned: Any, shape: tuple[int, ...], like: Array) -> Array:
    """Return an array after validating that it has the given shape, and the library, device and dtype of `like`."""
    same_shape(what, returned, shape)
    same_kind(what, returned, like)
    if returned.dtype != like.dtype:
        msg = (
            f"{what} must have the dtype {like.dtype}, got {returned.dtype}; use only functions of xp and Python floats"
        )
        raise TypeError(msg)
    return returned


def try_activation(xp: Namespace, name: str, activation: Activation, Z: Array) -> None:
    """Validate what an activation returns for a Z of shape (..., n, m)."""
    forward, backward = f"{name}.forward", f"{name}.backward"
    A = call_part(forward, "(xp, Z) -> A", activation.forward, xp, Z)
    array_like(f"what {forward} returns for Z", A, Z.shape, Z)
    dZ = call_part(backward, "(xp, dA, Z, A) -> dZ", activation.backward, xp, xp.ones_like(A), Z, A)
    array_like(f"what {backward} returns for dA", dZ, Z.shape, Z)


def try_loss(xp: Namespace, name: str, loss: Loss, A: Array) -> None:
    """Validate what a loss returns for outputs of shape (..., n, m)."""
    value, gradient = f"{name}.value", f"{name}.gradient"
    values = call_part(value, "(xp, A, Y)", loss.value, xp, A, A)
    array_like(f"what {value} returns, one number per sample,", values, (*A.shape[:-2], A.shape[-1]), A)
    array_like(f"what {gradient} returns", call_part(gradient, "(xp, A, Y)", loss.gradient, xp, A, A), A.shape, A)
    if loss.canonical:
        try_loss(xp, f"{name}.canonical[1]", loss.canonical[1], A)


def initial_optimizer_state(xp: Namespace, optimizer: Optimizer, theta: Array) -> tuple[Array, ...]:
    """Return the validated initial state of an optimizer for parameters of shape (..., P)."""
    state = call_part("optimizer.init", "(xp, theta) -> tuple of arrays", optimizer.init, xp, theta)
    return _check_optimizer_state(xp, "optimizer.init", state, theta)


def _check_optimizer_state(xp: Namespace, name: str, returned: Any, theta: Array) -> tuple[Array, ...]:
    if not isinstance(returned, tuple):
        msg = f"{name} must return a tuple of arrays for the optimizer's state, got {repr(returned)}"
        raise TypeError(msg)
    for array in returned:
        same_shape(f"an array of the state that {name} returns", array, theta.shape[:-1], leading=True)
        same_kind(f"an array of the state that {name} returns", array, theta)
        real_array(xp, f"an array of the state that {name} returns", array, array)
    return returned


def apply_update(
    xp: Namespace, optimizer: Optimizer, state: State, dtheta: Array, learning_rate: float | Array
) -> State:
    """Return the validated result of an optimizer's update, which may change the state and the gradient in place."""
    name, before = "optimizer.update", [(array.shape, array) for array in state.optimizer_state]
    theta, form = state.theta, "(xp, theta, dtheta, optimizer_state, learning_rate) -> (theta, optimizer_state)"
    given = (xp, theta, dtheta, state.optimizer_state, learning_rate)
    returned = call_part(name, form, optimizer.update, *given)
    if not isinstance(returned, tuple) or len(returned) != 2:
        msg = f"{name} must return a pair (theta, optimizer_state), got {repr(returned)}"
        raise TypeError(msg)
    array_like(f"the theta that {name} returns", returned[0], theta.shape, theta)
    after = _check_optimizer_state(xp, name, returned[1], theta)
    if len(after) != len(before):
        msg = f"the state that {name} returns must have as many arrays as that of init, {len(before)}, got {len(after)}"
        raise ValueError(msg)
    for array, (shape, like) in zip(after, before, strict=True):
        array_like(f"an array of the state that {name} returns", array, shape, like)
    return State(returned[0], after)


def draw_layer(name: str, initializer: Initializer, stream: Any, n_out: int, n_in: int) -> list[Array]:
    """Return the weights (n_out, n_in) and biases (n_out, 1) that a custom initializer draws for one layer."""
    pair = call_part(name, "(rng, n_out, n_in) -> (W, b)", initializer, stream, n_out, n_in)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        msg = f"{name} must return a pair (W, b), got {repr(pair)}"
        raise TypeError(msg)
    arrays = []
    for which, array, shape in zip(("W", "b"), pair, ((n_out, n_in), (n_out, 1)), strict=True):
        what = f"{which} of {name}"
        arrays.append(bring(what, array, HOST, "float64"))
        same_shape(what, arrays[-1], shape)
        finite_array(HOST.xp, what, arrays[-1])
    return arrays
