"""Pictures of a training, drawn with matplotlib onto axes that the caller has made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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
    axes.plot(epoch_loss, color="tab:blue", label="Epoch Loss")
    if log:
        axes.set_yscale("log", subs=[2, 5])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(title="Epoch Loss Over Time", xlabel="Epoch", ylabel="Loss")
    axes.legend()
    axes.grid(visible=True, alpha=0.4)


def draw_fit(axes: Any, X: Any, y: Any, y_pred: Any, *, title: str = "Actual vs Predicted") -> None:
    """Draw what was to be learned, and what was, over one input.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    X, y, y_pred : host arrays of shape (N,)
        The inputs in rising order, the targets, and the answers.
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
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = 'pictures need matplotlib: pip install "xpnet[plot]"'
        raise ImportError(msg) from error
    _, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    draw_epoch_loss(axes, epoch_loss)
    plt.show()
