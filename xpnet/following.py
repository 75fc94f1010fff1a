"""The following of a training: what is recorded after an epoch, what is shown of it, and whether to go on."""

from __future__ import annotations

import math
import statistics
import sys
import time
from typing import Any, NamedTuple, Self

from xpnet import validation
from xpnet._types import Array
from xpnet.backends import HOST, Backend
from xpnet.backends.base import State
from xpnet.callbacks import Callback, as_callbacks
from xpnet.early_stopping import BestSoFar
from xpnet.history import History

host = HOST.xp

# How many seconds training may run before it looks whether the loss is still finite: looking waits for the device.
_LOOK_SECONDS = 1.0
_BAR_SECONDS = 1.0  # a training that is over before needs no bar


class Plan(NamedTuple):
    """How a training is to be followed."""

    epochs: int
    report_every: int | None  # epochs, from printed line to printed line; None prints nothing
    progress_bar: bool | None  # None: where somebody looks at a terminal
    patience: int | None  # epochs without an improvement, after which training stops
    tol: float  # what is an improvement
    callbacks: list[Callback]

    @classmethod
    def of(
        cls,
        epochs: Any,
        verbose_epoch: Any,
        verbose: Any,
        progress_bar: bool | None,
        patience: Any,
        tol: Any,
        callbacks: Any,
    ) -> Self:
        """Look at the arguments of a training."""
        every = validation.positive_integer("verbose_epoch", verbose_epoch)
        return cls(
            validation.positive_integer("epochs", epochs),
            every if verbose else None,
            progress_bar,
            None if patience is None else validation.positive_integer("patience", patience),
            validation.number_from_zero("tol", tol, "float64"),
            as_callbacks(callbacks),
        )


class Follower:
    """Goes beside a training, epoch by epoch.

    Parameters
    ----------
    network : NeuralNetwork
        What callbacks are called with.
    backend : Backend
        Where it trains.
    history : History
        Where to record.
    plan : Plan
        What to do.
    best : BestSoFar or None
        What a training that may stop early goes back to.
    cause : str
        What most likely is the matter should the loss turn into NaN.
    """

    def __init__(
        self,
        network: Any,
        backend: Backend,
        history: History,
        plan: Plan,
        *,
        best: BestSoFar | None,
        cause: str,
    ) -> None:
        self._network, self._backend, self._history, self._plan = network, backend, history, plan
        self._best, self._cause = best, cause
        self._first, self._last = history.epochs, history.epochs + plan.epochs - 1
        self._looked, self._looked_at = self._first, time.monotonic()
        self._judged = self._first
        self._bar = _progress_bar(plan)

    def epoch(self, state: State, figures: dict[str, Array]) -> bool:
        """Take in an epoch that the network has taken over, and say whether to go on.

        Raises
        ------
        FloatingPointError
            If no network's loss is finite any more; the history then ends with the last good epoch.
        """
        number = self._history.epochs
        self._history.record(self._backend, figures)
        reports = self._plan.report_every is not None and number % self._plan.report_every == 0
        late = time.monotonic() - self._looked_at > _LOOK_SECONDS
        if reports or late or self._best is not None or number == self._last:
            self.look()
        if self._bar is not None:
            self._bar.update()
        if reports:
            self._print(f"Epoch {number} {_line(self._history)}")
        self.judge(state)
        for callback in self._plan.callbacks:
            callback.on_epoch_end(self._network)
        return self._best is None or self._best.waits

    def judge(self, state: State) -> None:
        """Let early stopping look at the state after the last epoch, if it has not yet."""
        best, patience = self._best, self._plan.patience
        if best is not None and patience is not None and self._judged < self._history.epochs:
            loss, number = self._history.last()[self._history.monitored], self._history.epochs - 1
            best.look(self._backend, number, loss, state, patience=patience, tol=self._plan.tol)
            self._judged = self._history.epochs

    def look(self) -> None:
        """Look at the losses since the last time.

        Raises
        ------
        FloatingPointError
            As `epoch`.
        """
        if self.cut_bad_epochs():
            epoch = self._history.epochs
            weights = f"those after the {'best' if self._best else 'last good'} epoch before"
            msg = (
                f"the loss became NaN or infinite in epoch {epoch}: most likely {self._cause}; "
                f"the weights are {weights if epoch else 'the initial ones'}"
            )
            raise FloatingPointError(msg)
        self._looked, self._looked_at = self._history.epochs, time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(_losses(self._history), refresh=False)

    def cut_bad_epochs(self) -> bool:
        """Forget the epochs from the first on in which no network's loss is finite; say whether there was one.

        The states have not followed them: see `train_epochs`.
        """
        for epoch, loss in enumerate(self._history.since("loss", self._looked), start=self._looked):
            if not bool(host.any(host.isfinite(loss))):
                self._history.cut(epoch)
                return True
        return False

    def interrupted(self) -> KeyboardInterrupt:
        """Return what Ctrl-C should raise."""
        self.cut_bad_epochs()
        msg = (
            f"training was interrupted in epoch {self._history.epochs} (of epochs {self._first} to {self._last}); "
            f"the weights are those after the {'best' if self._best else 'last complete'} epoch before"
        )
        return KeyboardInterrupt(msg)

    def tell_best(self) -> None:
        """Say which epoch an early stopping goes back to."""
        best, last = self._best, self._history.epochs - 1
        if best is None or self._plan.report_every is None or not bool(host.any(best.epoch >= 0)):
            return
        if self._history.lead:
            had_one = best.epoch[best.epoch >= 0]
            first, last_best = int(host.min(had_one)), int(host.max(had_one))
            back = f"each network goes back to its best one, from {first} to {last_best}"
        else:
            back = f"back to epoch {int(best.epoch)}, {_words(self._history.monitored).lower()} {float(best.loss):.6g}"
        self._print(f"Ended after epoch {last}: {back}")

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()

    def _print(self, line: str) -> None:
        if self._bar is None:
            print(line)
        else:
            self._bar.write(line)


def _line(history: History) -> str:
    """Return the last epoch's figures in words; the loss in full, as the document has it."""
    shown = []
    for name, figure in history.last().items():
        value = _spread(figure) if history.lead else float(figure) if name == "loss" else f"{float(figure):.6g}"
        shown.append(f"{_words(name)} : {value}")
    diverged = int(host.sum(~host.isfinite(history.last()["loss"])))
    return ", ".join(shown) + (f", {diverged} of {history.lead[0]} diverged" if history.lead and diverged else "")


def _spread(figures: Array) -> str:
    """Return the median of the networks' figures, and the least and the greatest."""
    finite = figures[host.isfinite(figures)].tolist()
    if not finite:
        return "nan"
    return f"{statistics.median(finite):.4g} (median, from {min(finite):.4g} to {max(finite):.4g})"


def _losses(history: History) -> str:
    """Return the last epoch's losses in few words, for a bar."""
    shown = []
    for name, figure in history.last().items():
        if name.endswith("loss"):
            finite = figure[host.isfinite(figure)].tolist()
            shown.append(f"{name.replace('_', ' ')} {statistics.median(finite) if finite else math.nan:.4g}")
    return ", ".join(shown)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _progress_bar(plan: Plan) -> Any:
    """Return a progress bar, or None where nobody looks."""
    if plan.progress_bar is None and (plan.report_every is None or not sys.stderr.isatty()):
        return None
    if plan.progress_bar is not None and not plan.progress_bar:
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        if plan.progress_bar is None:
            return None
        msg = 'a progress bar needs tqdm: pip install "xpnet[progress]"'
        raise ImportError(msg) from error
    return tqdm(total=plan.epochs, unit="epoch", delay=_BAR_SECONDS, leave=False)
