"""Pictures of a training, drawn with matplotlib onto axes that the caller has made."""

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
    """Draw the loss over the epochs.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    epoch_loss : sequence of float
        The loss of every epoch.
    log : bool
        Whether the axis of the loss is logarithmic.
    """
    _draw_column(axes, 0, epoch_loss, "tab:blue", "Epoch loss")
    if log:
        _make_logarithmic(axes)
    axes.set(title="Epoch loss over time", xlabel="Epoch", ylabel="Loss")
    axes.legend()
    axes.grid(visible=True, alpha=0.4)


def draw_fit(axes: Any, X: Any, y: Any, y_pred: Any, *, title: str = "Actual and predicted") -> None:
    """Draw what was to be learned, and what was, over one input.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    X, y, y_pred : host arrays of shape (N,)
        The inputs in rising order, the targets, and the predictions.
    title : str
        What to write above.
    """
    axes.plot(X, y, color="tab:blue", linewidth=3, alpha=0.5, label="Actual")
    axes.plot(X, y_pred, color="tab:red", linestyle="dashed", label="Predicted")
    axes.set(title=title, xlabel="X", ylabel="y")
    axes.legend()
    axes.grid(visible=True, alpha=0.4)


def show_epoch_loss(epoch_loss: Sequence[float]) -> None:
    """Show the loss over the epochs in a window or a notebook.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    plt = _pyplot()
    _, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    draw_epoch_loss(axes, epoch_loss)
    plt.show()


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = 'pictures need matplotlib: pip install "xpnet[plot]"'
        raise ImportError(msg) from error
    return plt


def _make_logarithmic(axes: Any) -> None:
    axes.set_yscale("log", subs=[2, 5])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def history_figure(columns: Mapping[str, Any], *, first_epoch: int = 0, log: bool = False) -> Any:
    """Draw what was recorded in every epoch: the losses in one field, each metric in another.

    Parameters
    ----------
    columns : mapping of str to host arrays of shape (epochs,) or (epochs, E)
        By name; what is called validation_x is drawn beside x. Of an ensemble the median is drawn, and a band that
        holds eight of ten.
    first_epoch : int
        The number of the first epoch.
    log : bool
        Whether the axis of the losses is logarithmic.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The caller's alone: at the end of a notebook's cell it shows itself, and ``figure.savefig`` writes it.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    plt = _pyplot()
    fields = dict.fromkeys(name.removeprefix("validation_") for name in columns)
    figure, grid = plt.subplots(1, len(fields), figsize=(5 * len(fields), 3.2), layout="constrained", squeeze=False)
    for axes, field in zip(grid[0], fields, strict=True):
        for name, color in ((field, "tab:blue"), (f"validation_{field}", "tab:orange")):
            if name in columns:
                _draw_column(axes, first_epoch, columns[name], color, name.replace("_", " ").capitalize())
        if log and field == "loss" and any((column > 0.0).any() for column in columns.values()):
            _make_logarithmic(axes)
        title = field.replace("_", " ").capitalize()
        axes.set(title=f"{title} over the epochs", xlabel="Epoch", ylabel=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        axes.grid(visible=True, alpha=0.4)
    plt.close(figure)  # it is the caller's; pyplot would show it once more in a notebook, and keep it
    return figure


def _draw_column(axes: Any, first_epoch: int, column: Any, color: str, label: str) -> None:
    """Draw figures of shape (epochs,), or of (epochs, E) the median and the range of eight of ten."""
    epochs = range(first_epoch, first_epoch + len(column))
    if getattr(column, "ndim", 1) == 1:
        axes.plot(epochs, column, color=color, label=label)
        return
    # Those that have diverged are left out; statistics wants two of the others.
    rows = [[value for value in row if value == value] or [math.nan] for row in column.tolist()]
    tenths = [statistics.quantiles(row * (1 + (len(row) == 1)), n=10, method="inclusive") for row in rows]
    low, middle, high = ([cuts[i] for cuts in tenths] for i in (0, 4, 8))
    axes.plot(epochs, middle, color=color, label=f"{label}, median of {column.shape[1]}")
    axes.fill_between(epochs, low, high, color=color, alpha=0.25, linewidth=0, label="eight of ten")
