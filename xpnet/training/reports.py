"""The reports of training: printed lines, and a progress bar in terminals and notebooks.

The lines have the format of the notebook *Neural Network From Scratch*, called "the document" here (see README). It
counts epochs from 0: ``Epoch 0 Loss : …`` reports the first one.
"""

from __future__ import annotations

import math
import statistics
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xpnet._types import Array
from xpnet.backends import HOST
from xpnet.training.early_stopping import Best
from xpnet.training.history import History
from xpnet.training.options import TrainingOptions

host = HOST.xp

_BAR_SECONDS = 1.0  # a shorter training needs no bar


class Reports:
    """Lines on standard output and a progress bar.

    Parameters
    ----------
    options : TrainingOptions
        Which of them to show.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self._options = options
        self._reported = -1  # the last reported epoch
        self._bar = _progress_bar(options)

    def begin(self, epochs: range) -> None:
        """Choose the epochs to report, given the epochs of the training, counted from 0."""
        every = self._options.verbose_epoch
        # About ten lines for any number of epochs, or the multiples of verbose_epoch, as in the document.
        self._lines = epochs[:: -(-len(epochs) // 10)] if every is None else range(0, epochs.stop, every)

    def due(self, epochs: range) -> range:
        """Return which of some epochs are reported."""
        lines = self._lines if self._options.verbose else range(0)
        skipped = max(-(-(epochs.start - lines.start) // lines.step), 0)
        return range(lines.start + skipped * lines.step, min(epochs.stop, lines.stop), lines.step)

    def after_epochs(self, epochs: range, history: History) -> None:
        """Update the progress bar after some epochs, and report those that are due."""
        if self._bar is not None:
            with _preserve_interrupts():
                self._bar.update(len(epochs))
        for epoch in self.due(epochs):
            self._report(history.until(epoch + 1))

    def checked(self, history: History) -> None:
        """Show the losses on the bar; called when they have been read from the device anyway."""
        if self._bar is not None:
            with _preserve_interrupts():
                self._bar.set_postfix_str(_losses(history), refresh=False)

    def ended(self, history: History, best: Best | None) -> None:
        """Report the last epoch, and the epoch that early stopping returns to."""
        if self._options.verbose and history.last_names and self._reported != history.epochs - 1:
            self._report(history)
        if best is None or not self._options.verbose:
            return
        if history.ensemble_shape:
            had_one = best.epoch[best.epoch >= 0]
            first, last = int(host.min(had_one)), int(host.max(had_one))
            restored = f"restored the best epoch of each network, from {first} to {last}"
        else:
            restored = f"restored epoch {int(best.epoch)}, {_label(history.monitored).lower()} {float(best.loss):.6g}"
        self._print(f"Ended after epoch {history.epochs - 1}: {restored}")

    def close(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            with _preserve_interrupts():
                self._bar.close()

    def _report(self, history: History) -> None:
        self._reported = history.epochs - 1
        self._print(f"Epoch {self._reported} {_line(history)}")

    def _print(self, line: str) -> None:
        if self._bar is None:
            print(line)
        else:
            with _preserve_interrupts():
                self._bar.write(line)


@contextmanager
def _preserve_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for a Ctrl-C while tqdm acquires its lock, which tqdm turns into a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def _line(history: History) -> str:
    """Return the losses and metrics of the last epoch as text; a single loss with all digits, as in the document."""
    shown, only_loss = [], history.last_names == ("loss",)
    for name, measured in history.last().items():
        value = (
            _spread(measured) if history.ensemble_shape else float(measured) if only_loss else f"{float(measured):.6g}"
        )
        shown.append(f"{_label(name)} : {value}")
    diverged = int(host.sum(~host.isfinite(history.last()["loss"])))
    if history.ensemble_shape and diverged:
        shown.append(f"{diverged} of {history.ensemble_shape[0]} diverged")
    return ", ".join(shown)


def _spread(measured: Array) -> str:
    """Return the median, the minimum and the maximum over the networks as text."""
    finite = measured[host.isfinite(measured)].tolist()
    if not finite:
        return "nan"
    return f"{statistics.median(finite):.4g} (median, from {min(finite):.4g} to {max(finite):.4g})"


def _losses(history: History) -> str:
    """Return the losses of the last epoch as a short text, for the progress bar."""
    shown = []
    for name, measured in history.last().items():
        if name.endswith("loss"):
            finite = measured[host.isfinite(measured)].tolist()
            shown.append(f"{name.replace('_', ' ')} {statistics.median(finite) if finite else math.nan:.4g}")
    return ", ".join(shown)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; without a console it is None, and other programs may replace it."""
    return bool(getattr(stream, "isatty", bool)())


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _progress_bar(options: TrainingOptions) -> Any:
    """Return a progress bar, or None if it is neither requested nor useful."""
    wanted = options.progress_bar
    if wanted is None and not (options.verbose and (_is_terminal(sys.stderr) or _is_notebook())):
        return None
    if wanted is False:
        return None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")  # in a notebook without widgets the bar is text
            from tqdm.auto import tqdm
    except ImportError as error:
        if wanted is None:
            return None
        msg = 'a progress bar needs tqdm: pip install "xpnet[progress]"'
        raise ImportError(msg) from error
    return tqdm(total=options.epochs, unit="epoch", delay=_BAR_SECONDS, leave=False)
