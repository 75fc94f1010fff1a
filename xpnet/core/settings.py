"""The settings of a network: each one with its default, its check and its description."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import cycle, pairwise
from reprlib import repr
from typing import Any, Self

from xpnet._checks import (
    as_list,
    fraction,
    is_integer,
    is_number,
    name_of,
    named,
    non_negative_number,
    positive_integer,
    positive_number,
    same_shape,
    type_name,
)
from xpnet.activations import (
    ACTIVATIONS,
    Activation,
    elu,
    gelu,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
)
from xpnet.backends import HOST, new_seed
from xpnet.core.contracts import check_activation, check_initializer, check_loss, check_optimizer
from xpnet.core.parameters import Layout
from xpnet.data.placement import bring, common_backend
from xpnet.initializers import INITIALIZERS, Initializer
from xpnet.losses import LOSSES, Loss, categorical_crossentropy, half_squared_error
from xpnet.optimizers import OPTIMIZERS, Optimizer

host = HOST.xp

# ---- The check of each setting, ``check(settings, value)``: the settings before it are already validated


def layer_sizes(value: Any, name: str = "layer_list") -> tuple[int, ...]:
    """Return the validated sizes of the layers, inputs first: two or more positive integers."""
    sizes = as_list(f"{name} must be a list of layer sizes such as [1, 10, 10, 1]", value)
    if len(sizes) < 2:
        msg = f"{name} must have at least two sizes, that of the inputs and that of the outputs, got {sizes}"
        raise ValueError(msg)
    layers = tuple(positive_integer(f"{name}[{l}]", size) for l, size in enumerate(sizes))
    _check_fits_in_memory(name, layers, 1)
    return layers


def _check_fits_in_memory(name: str, layers: Sequence[int], networks: int) -> None:
    if 8 * networks * sum(n_out * (n_in + 1) for n_in, n_out in pairwise(layers)) > sys.maxsize:
        msg = f"{name} must be smaller, got more parameters than fit into any memory"
        raise ValueError(msg)


def _check_layer_list(settings: Settings, value: Any) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    each = as_list("layer_list must be a list of layer sizes such as [1, 10, 10, 1]", value)
    if not any(isinstance(sizes, (list, tuple, range)) or getattr(sizes, "ndim", 0) for sizes in each):
        return layer_sizes(each)
    networks = []
    for i, sizes in enumerate(each):
        networks.append(layer_sizes(sizes, f"layer_list[{i}]"))
        for what, ours, first in (
            ("as many layers", len(networks[i]), len(networks[0])),
            ("as many inputs", networks[i][0], networks[0][0]),
            ("as many outputs", networks[i][-1], networks[0][-1]),
        ):
            if ours != first:
                msg = f"layer_list[{i}] must have {what} as layer_list[0], {first}, got {ours}"
                raise ValueError(msg)
    return tuple(networks)


def _check_ensemble(settings: Settings, value: Any) -> int | None:
    own = len(settings.layer_list) if isinstance(settings.layer_list[0], tuple) else None
    if value is None and own is None:
        return None
    networks: int = own if value is None else positive_integer("ensemble", value)  # type: ignore[assignment]
    if own not in (None, networks):
        msg = f"ensemble must be {own}, the number of networks in layer_list, got {networks}"
        raise ValueError(msg)
    _check_fits_in_memory("ensemble", settings.sizes, networks)
    return networks


def _check_seed(settings: Settings, value: Any) -> int | Sequence[int]:
    if value is None:
        value = new_seed()
    if settings.ensemble is None:
        return one_seed(value)
    if is_integer(value):
        return range(one_seed(value), one_seed(value) + settings.ensemble)
    seeds = as_list("seed must be an integer, or a list with one integer for each network", value)
    if len(seeds) != settings.ensemble:
        msg = f"seed must be one integer, or a list of {settings.ensemble}, one for each network, got {len(seeds)}"
        raise ValueError(msg)
    return tuple(one_seed(seed) for seed in seeds)


def one_seed(value: Any) -> int:
    """Return a validated seed, an integer that is not negative."""
    if not is_integer(value):
        msg = f"seed must be an integer, got {repr(value)}"
        raise TypeError(msg)
    if value < 0:
        msg = f"seed must not be negative, got {int(value)}"
        raise ValueError(msg)
    return int(value)


def _check_dtype(settings: Settings, value: Any) -> str:
    name = type_name(value)
    if name not in ("float32", "float64"):
        msg = f"dtype must be 'float32' or 'float64', got {repr(value)}"
        raise ValueError(msg)
    return name


def _check_loss(settings: Settings, value: Any) -> Loss:
    return named("loss", value, LOSSES, Loss, check_loss)


def _check_activations(settings: Settings, value: Any) -> tuple[Activation, ...]:
    layers, loss = len(settings.sizes) - 1, settings.loss
    if value is None:
        value = [relu] * (layers - 1) + [loss.canonical[0] if loss.canonical else sigmoid]
    each = _one_per_layer("activations", value, layers, "layers after the inputs")
    activations = tuple(
        named(f"activations[{l}]", part, ACTIVATIONS, Activation, check_activation) for l, part in enumerate(each)
    )
    last, one_output = activations[-1], settings.sizes[-1] == 1
    if one_output and (last == softmax or loss == categorical_crossentropy):
        msg = (
            "activations: softmax and categorical_crossentropy need one output for each class, got a single output; "
            "for two classes use loss='binary_crossentropy' with the output activation 'sigmoid', or two outputs"
        )
        raise ValueError(msg)
    if loss == categorical_crossentropy and last != softmax and name_of(last, ACTIVATIONS):
        msg = (
            "activations: the output activation must be 'softmax' with loss='categorical_crossentropy', which needs "
            f"outputs that add up to 1, got {name_of(last, ACTIVATIONS)!r}; for independent yes-or-no outputs use "
            "loss='binary_crossentropy'"
        )
        raise ValueError(msg)
    (lowest, highest), (low, high) = last.bounds, loss.bounds
    if lowest < low or highest > high:
        msg = (
            f"activations: the outputs must be between {low:g} and {high:g}, where the loss is defined, got an output "
            f"activation with outputs from {lowest:g} to {highest:g}; choose another one"
        )
        raise ValueError(msg)
    return activations


def _check_optimizer(settings: Settings, value: Any) -> Optimizer:
    return named("optimizer", value, OPTIMIZERS, Optimizer, check_optimizer)


_RELU_FAMILY = (relu, leaky_relu, elu, gelu, silu, softplus)


def _check_initializer(settings: Settings, value: Any) -> tuple[Initializer, ...]:
    activations = settings.activations
    if value is None:
        *hidden, last = activations
        as_in_document = (
            settings.loss == half_squared_error and all(each == relu for each in hidden) and last == sigmoid
        )
        value = [
            "normal" if as_in_document else "he_normal" if activation in _RELU_FAMILY else "glorot_uniform"
            for activation in activations
        ]
    elif isinstance(value, str) or not isinstance(value, Sequence):
        value = [named("initializer", value, INITIALIZERS, Callable)] * len(activations)
    each = _one_per_layer("initializer", value, len(activations), "layers after the inputs")
    return tuple(
        named(f"initializer[{l}]", part, INITIALIZERS, Callable, check_initializer) for l, part in enumerate(each)
    )


def _check_dropout(settings: Settings, value: Any) -> tuple[float, ...]:
    hidden = len(settings.sizes) - 2
    if is_number(value):
        rate = fraction("dropout", value)
        if rate and not hidden:
            msg = f"dropout must be 0 for a network without hidden layers, got {value}"
            raise ValueError(msg)
        value = [rate] * hidden
    return tuple(fraction("dropout", rate) for rate in _one_per_layer("dropout", value, hidden, "hidden layers"))


def _one_per_layer(name: str, values: Any, count: int, layers: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        msg = f"{name} must be a list with one for each of the {count} {layers}, got {repr(values)}"
        raise TypeError(msg)
    if len(values) != count:
        msg = f"{name} must be a list of {count}, one for each of the {layers}, got {len(values)}"
        raise ValueError(msg)
    return list(values)


def _check_weight_decay(settings: Settings, value: Any) -> float | tuple[float, ...]:
    decay = settings.optimizer.weight_decay if value is None else value
    return settings.per_member("weight_decay", decay, non_negative_number)


def _optional(name: str, check: Callable[[str, Any, str], float]) -> Callable[[Settings, Any], PerMember | None]:
    return lambda settings, value: None if value is None else settings.per_member(name, value, check)


def _each(name: str, check: Callable[[str, Any, str], float]) -> Callable[[Settings, Any], float | tuple[float, ...]]:
    return lambda settings, value: settings.per_member(name, value, check)


# ---- The settings


def _setting(default: Any, check: Callable[[Settings, Any], Any], doc: str, *, per_member: bool = False) -> Any:
    return field(default=default, metadata={"check": check, "doc": doc, "per_member": per_member})


_KNOWN: dict[str, Mapping[str, Any]] = {
    "loss": LOSSES,
    "activations": ACTIVATIONS,
    "optimizer": OPTIMIZERS,
    "initializer": INITIALIZERS,
}

PerMember = float | tuple[float, ...]
"""A number, or for an ensemble a tuple with one number for each network."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Settings:
    """The validated settings of a network; names, defaults and meanings are those of `NeuralNetwork`.

    Raises
    ------
    TypeError, ValueError
        If a setting is invalid, or contradicts another one.
    """

    layer_list: tuple[int, ...] | tuple[tuple[int, ...], ...] = _setting(
        (1, 3, 1), _check_layer_list, "The sizes of the layers, inputs first, or a list of them for each network."
    )
    ensemble: int | None = _setting(None, _check_ensemble, "The number of networks of an ensemble, or None.")
    dtype: str = _setting("float64", _check_dtype, "The precision of parameters and computation.")
    seed: int | Sequence[int] = _setting(
        None, _check_seed, "The seed, or for an ensemble the seed of each network.", per_member=True
    )
    loss: Loss = _setting("half_squared_error", _check_loss, "The loss that training minimizes.")
    activations: tuple[Activation, ...] = _setting(
        None, _check_activations, "The activation of each layer after the inputs."
    )
    optimizer: Optimizer = _setting("sgd", _check_optimizer, "The rule that updates the parameters.")
    initializer: tuple[Initializer, ...] = _setting(
        None, _check_initializer, "The initializer of each layer after the inputs."
    )
    initial_scale: PerMember = _setting(
        1.0,
        _each("initial_scale", positive_number),
        "The factor on the weights and biases that the initializer draws.",
        per_member=True,
    )
    weight_decay: PerMember = _setting(
        None, _check_weight_decay, "The strength of the decoupled weight decay.", per_member=True
    )
    l2: PerMember = _setting(
        0.0, _each("l2", non_negative_number), "The strength λ of the penalty ½ λ ‖W‖².", per_member=True
    )
    l1: PerMember = _setting(
        0.0, _each("l1", non_negative_number), "The strength λ of the penalty λ ‖W‖₁.", per_member=True
    )
    alpha: PerMember | None = _setting(
        None,
        _optional("alpha", non_negative_number),
        "The strength α of the penalty ½ α ‖W‖² on the total loss of a batch, or None.",
        per_member=True,
    )
    clip_norm: PerMember | None = _setting(
        None, _optional("clip_norm", positive_number), "The maximum gradient norm, or None.", per_member=True
    )
    dropout: tuple[float, ...] = _setting(
        0.0, _check_dropout, "The fraction of the units of each hidden layer that a training step drops."
    )

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """Return the validated settings, given in any accepted form."""
        return cls(**given)

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, each.metadata["check"](self, getattr(self, each.name)))
        if self.l2 and self.alpha is not None:
            msg = "l2 must be 0 with alpha, got both: they are two scales of the same penalty"
            raise ValueError(msg)

    def per_member(self, name: str, value: Any, check: Callable[[str, Any, str], float]) -> PerMember:
        """Return a validated number, or for an ensemble a tuple with one for each network if `value` is a list."""
        one = isinstance(value, str) or (not isinstance(value, Sequence) and getattr(value, "ndim", 0) == 0)
        if self.ensemble is None or one:
            return check(name, value, self.dtype)
        place = common_backend(**{name: value}) or HOST
        host = place.to_numpy(bring(name, value, place))
        same_shape(f"{name}, with one value for each network,", host, (self.ensemble,))
        return tuple(check(f"{name}[{i}]", each, self.dtype) for i, each in enumerate(host.tolist()))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the layers in the arrays: if networks have unequal sizes, the largest ones."""
        return tuple(map(max, zip(*self.each_sizes, strict=True)))

    @property
    def each_sizes(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of the layers of each network, or once if they are the same for all."""
        first = self.layer_list[0]
        return self.layer_list if isinstance(first, tuple) else (self.layer_list,)  # type: ignore[return-value]

    @cached_property
    def has_unequal_sizes(self) -> bool:
        """Whether a hidden layer does not have the same size in all networks."""
        return len(set(self.each_sizes)) > 1

    @cached_property
    def has_parts_to_try(self) -> bool:
        """Whether an activation or the loss is custom, or might not fit networks of unequal sizes."""
        builtin = all(name_of(each, ACTIVATIONS) for each in self.activations) and name_of(self.loss, LOSSES)
        return not builtin or self.has_unequal_sizes

    @cached_property
    def layout(self) -> Layout:
        """The positions of the parameters in theta."""
        return Layout(self.sizes)

    @cached_property
    def present(self) -> Any:
        """A host array of bool of shape (E, P), True for the parameters that each network has."""
        present = host.zeros((len(self.seeds), self.layout.size), dtype=host.bool)
        for row, sizes in zip(present, cycle(self.each_sizes), strict=False):
            for W, b in self.layout.views_of(host, row, sizes):
                W[...] = b[...] = True
        return present

    @cached_property
    def numbers_per_sample(self) -> int:
        """How many numbers in memory the forward pass of a sample needs."""
        return 3 * sum(self.sizes)

    @cached_property
    def itemsize(self) -> int:
        """The number of bytes of a parameter."""
        return int(self.dtype.removeprefix("float")) // 8

    @property
    def ensemble_shape(self) -> tuple[int, ...]:
        """The leading axes of all arrays of the network: () for one network, (E,) for an ensemble."""
        return () if self.ensemble is None else (self.ensemble,)

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds, one for each network."""
        return self.seed if isinstance(self.seed, Sequence) else (self.seed,)

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of the output activation; targets must be within them."""
        return self.activations[-1].bounds

    @property
    def regularization(self) -> dict[str, PerMember]:
        """The strengths of the regularization that are not 0 for all networks, and alpha if it is not None."""
        given = {name: getattr(self, name) for name in ("weight_decay", "l2", "l1", "alpha", "clip_norm")}
        return {name: value for name, value in given.items() if value or (name == "alpha" and value is not None)}

    def by_name(self) -> dict[str, Any]:
        """Return all settings as arguments of `NeuralNetwork`: lists, built-in parts by name, and custom parts."""
        given = {each.name: public(getattr(self, each.name)) for each in fields(self)}
        for name, known in _KNOWN.items():
            part = given[name]
            parts = [name_of(each, known) or each for each in (part if isinstance(part, list) else [part])]
            given[name] = parts if isinstance(part, list) else parts[0]
        return given

    def replaced(self, **changes: Any) -> Settings:
        """Return a copy with some settings replaced."""
        return Settings.of(**{**self.by_name(), **changes})

    def member(self, i: int) -> Settings:
        """Return the settings of one network of an ensemble, as those of a single network."""
        each = {field.name: getattr(self, field.name) for field in fields(self) if field.metadata["per_member"]}
        own = {name: value[i] for name, value in each.items() if isinstance(value, Sequence)}
        return self.replaced(ensemble=None, layer_list=list(self.each_sizes[i % len(self.each_sizes)]), **own)

    # Settings are immutable, so a copy is the object itself. A pickle stores built-in parts by name, so that they are
    # the same objects after loading.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _settings_of, (self.by_name(),)


def _settings_of(given: Mapping[str, Any]) -> Settings:
    return Settings.of(**given)


def public(value: Any) -> Any:
    """Return a setting as users see it: a new list if it has several values."""
    return list(map(public, value)) if type(value) in (tuple, range) else value
