"""The options of every training, by gradient descent or by L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnet._checks import boolean, fraction, non_negative_number, positive_integer
from xpnet.callbacks import as_callbacks
from xpnet.data.incoming import TrainingData, bring_training_data, named_validation_data


def _optional_positive_integer(name: str, value: Any) -> int | None:
    return None if value is None else positive_integer(name, value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "epochs": positive_integer,
    "verbose_epoch": _optional_positive_integer,
    "verbose": boolean,
    "progress_bar": lambda name, value: None if value is None else boolean(name, value),
    "patience": _optional_positive_integer,
    "tol": lambda name, value: non_negative_number(name, value, "float64"),
    "validation_split": fraction,
    "validation_data": lambda name, value: named_validation_data(value),
    "callbacks": lambda name, value: as_callbacks(value),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingOptions:
    """The validated arguments that `NeuralNetwork.train` and `train_lbfgs` share; see there."""

    X: Any
    y: Any
    epochs: Any
    verbose_epoch: Any
    verbose: Any
    sample_weight: Any
    class_weight: Any
    validation_split: Any
    validation_data: Any
    metrics: Any
    patience: Any
    tol: Any
    callbacks: Any
    progress_bar: Any

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.validation_split and self.validation_data:
            msg = "validation_split must be 0 with validation_data, got both"
            raise ValueError(msg)

    def data_for(self, network: Any) -> TrainingData:
        """Return the samples on the device that the network will compute on."""
        given = {"X": self.X, "y": self.y, "sample_weight": self.sample_weight}
        return bring_training_data(
            network._transfer(**given, **self.validation_data),
            given,
            self.validation_data,
            network._settings,
            validation_split=self.validation_split,
            class_weight=self.class_weight,
        )
