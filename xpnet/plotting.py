"""Plots of a training, drawn with matplotlib; `draw_epoch_loss` and `draw_fit` draw onto axes that the caller made."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "draw_epoch_loss",
    "draw_fit",
    "history_figure",
    "show_epoch_loss",
]


def draw_epoch_loss(axes: Any, epoch_loss: Sequence[float], *, log: bool = False) -> None:
    """Draw the loss of every epoch.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes to draw on.
    epoch_loss : sequence of float, of length epochs
        The loss of every epoch, from epoch 0.
    log : bool, default False
        Whether the loss axis is logarithmic.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")  # without a window
    >>> from matplotlib import pyplot as plt
    >>> figure, axes = plt.subplots()
    >>> draw_epoch_loss(axes, [0.9, 0.5, 0.3], log=True)
    >>> axes.get_yscale()
    'log'
    >>> plt.close(figure)
    """
    _draw_column(axes, 0, epoch_loss, "tab:blue", "Epoch loss")
    if log:
        _make_logarithmic(axes)
    axes.set(title="Epoch loss over time", xlabel="Epoch", ylabel="Loss")
    axes.legend()
    axes.grid(visible=True, alpha=0.4)


def draw_fit(axes: Any, X: Any, y: Any, y_pred: Any, *, title: str = "Actual and predicted") -> None:
    """Draw targets and predictions over a single input feature.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes to draw on.
    X, y, y_pred : host arrays of shape (N,)
        The inputs in ascending order, the targets, and the predictions.
    title : str, default "Actual and predicted"
        The title of the axes.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")  # without a window
    >>> from matplotlib import pyplot as plt
    >>> figure, axes = plt.subplots()
    >>> draw_fit(axes, [0.0, 1.0, 2.0], [0.0, 1.0, 4.0], [0.1, 1.2, 3.9])
    >>> [line.get_label() for line in axes.lines]
    ['Actual', 'Predicted']
    >>> plt.close(figure)
    """
    # Wide, so that it remains visible below predictions that are equal to it.
    axes.plot(X, y, color="tab:blue", linewidth=5, alpha=0.5, label="Actual")
    # Solid, because dashes would appear to move along the line in an animation.
    axes.plot(X, y_pred, color="tab:red", label="Predicted")
    axes.set(title=title, xlabel="X", ylabel="y")
    axes.legend()
    axes.grid(visible=True, alpha=0.4)


def show_epoch_loss(epoch_loss: Sequence[float]) -> None:
    """Show the loss of every epoch in a window or a notebook.

    Parameters
    ----------
    epoch_loss : sequence of float, of length epochs
        The loss of every epoch, from epoch 0.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import warnings
    >>> import matplotlib
    >>> matplotlib.use("agg")  # without a window; leave this out to see the plot
    >>> from matplotlib import pyplot as plt
    >>> with warnings.catch_warnings(action="ignore"):  # matplotlib warns that no window opens
    ...     show_epoch_loss([0.9, 0.5, 0.3])
    >>> plt.gca().get_ylabel()
    'Loss'
    >>> plt.close()
    """
    plt = _pyplot()
    _, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    draw_epoch_loss(axes, epoch_loss)
    plt.show()


def _pyplot() -> Any:
    """Return matplotlib.pyplot, imported only when a plot is drawn."""
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = 'plots need matplotlib: pip install "xpnet[plot]"'
        raise ImportError(msg) from error
    return plt


def _make_logarithmic(axes: Any) -> None:
    """Make the y axis logarithmic, with tick labels such as 0.05 instead of powers of ten."""
    axes.set_yscale("log", subs=[2, 5])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def history_figure(columns: Mapping[str, Any], *, first_epoch: int = 0, log: bool = False) -> Any:
    """Draw everything that was recorded in every epoch: the losses on one set of axes, each metric on its own.

    Parameters
    ----------
    columns : mapping of str to host arrays of shape (epochs,) or (epochs, E)
        The recorded values by name. "validation_x" is drawn on the axes of "x". For an ensemble of E networks the
        median is drawn, with a band from the 10th to the 90th percentile.
    first_epoch : int, default 0
        The number of the first recorded epoch.
    log : bool, default False
        Whether the loss axis is logarithmic.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The figure. Pyplot keeps no reference to it. A notebook shows it when it is the last value of a cell;
        ``figure.savefig`` writes it to a file.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import matplotlib
    >>> import numpy as np
    >>> matplotlib.use("agg")  # without a window
    >>> loss = np.array([0.9, 0.5, 0.3])
    >>> figure = history_figure({"loss": loss, "validation_loss": loss + 0.1, "accuracy": 1 - loss})
    >>> [axes.get_title() for axes in figure.axes]
    ['Loss over the epochs', 'Accuracy over the epochs']
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['Loss', 'Validation loss']
    """
    plt = _pyplot()
    names = dict.fromkeys(name.removeprefix("validation_") for name in columns)
    figure, grid = plt.subplots(1, len(names), figsize=(5 * len(names), 3.2), layout="constrained", squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        for column, color in ((name, "tab:blue"), (f"validation_{name}", "tab:orange")):
            if column in columns:
                _draw_column(axes, first_epoch, columns[column], color, _in_words(column))
        if log and name == "loss" and any((column > 0.0).any() for column in columns.values()):
            _make_logarithmic(axes)
        axes.set(title=f"{_in_words(name)} over the epochs", xlabel="Epoch", ylabel=_in_words(name))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        axes.grid(visible=True, alpha=0.4)
    plt.close(figure)  # otherwise pyplot would show it a second time in a notebook, and keep it in memory
    return figure


def _in_words(name: str) -> str:
    """Return the name of a column as a label: "validation_loss" becomes "Validation loss"."""
    return name.replace("_", " ").capitalize()


def _draw_column(axes: Any, first_epoch: int, column: Any, color: str, label: str) -> None:
    """Draw values of shape (epochs,), or of shape (epochs, E) as their median and 10th to 90th percentile."""
    epochs = range(first_epoch, first_epoch + len(column))
    if getattr(column, "ndim", 1) == 1:
        axes.plot(epochs, column, color=color, label=label)
        return
    # NaN means that a network has diverged: it is left out. statistics.quantiles requires at least two values.
    rows = [[value for value in row if value == value] or [math.nan] for row in column.tolist()]
    deciles = [statistics.quantiles(row * (1 + (len(row) == 1)), n=10, method="inclusive") for row in rows]
    low, middle, high = ([cuts[i] for cuts in deciles] for i in (0, 4, 8))
    axes.plot(epochs, middle, color=color, label=f"{label}, median of {column.shape[1]}")
    axes.fill_between(epochs, low, high, color=color, alpha=0.25, linewidth=0, label="10th to 90th percentile")
