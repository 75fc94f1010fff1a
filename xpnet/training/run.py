"""One training from its beginning to its end, however that comes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, Self

from xpnet._types import Array, State
from xpnet.backends import HOST, Backend
from xpnet.callbacks import Callback
from xpnet.data.samples import Form
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.history import History
from xpnet.training.options import TrainingOptions
from xpnet.training.progress import Progress
from xpnet.training.reports import Reports

host = HOST.xp

# How many seconds training may go on before the losses are checked: reading them waits for the device.
_CHECK_SECONDS = 1.0


class Run:
    """A context for the epochs of a training: it begins it, takes in each epoch, and ends it; it knows no mathematics.

    While it lasts, nobody else may change the network. An epoch is taken in by one assignment of a whole `Progress`, so
    that Ctrl-C, wherever it comes, leaves the network as it was after one epoch or after the next.

    Parameters
    ----------
    network : NeuralNetwork
        The network to train.
    backend : Backend
        Where.
    options : TrainingOptions
        What to report, whether to stop early, and which callbacks to call.
    form : Form
        The form of the targets.
    initial_early_stopping : callable
        ``initial_early_stopping(progress)``, what early stopping begins with.
    cause : str
        The most likely cause should the loss become NaN.
    """

    def __init__(
        self,
        network: Any,
        backend: Backend,
        options: TrainingOptions,
        *,
        form: Form | None,
        initial_early_stopping: Callable[[Progress], EarlyStopping],
        cause: str,
    ) -> None:
        self.network, self.thread, self.stop_requested = network, threading.get_ident(), False
        self._backend, self._options, self._initial_early_stopping, self._cause = (
            backend,
            options,
            initial_early_stopping,
            cause,
        )
        self._form = form
        self._reports = Reports(options)
        self._now: Progress = network._snapshot  # what it has made of the network; nobody else changes that
        self._started_callbacks: list[Callback] = []
        self._end_calls = 0
        self._frame: FrameType | None = None  # of the code that runs it
        self._start(self._now)

    def _start(self, now: Progress) -> None:
        first, self._now = now.history.epochs, now
        # Not the whole of it, which would keep its arrays as long as the training lasts.
        self._best_before, self._waited_before = now.best, now.early_stopping is not None
        self.epochs = range(first, first + self._options.epochs)
        self._reports.begin(self.epochs)
        self._checked, self._checked_at = first, time.monotonic()

    def _commit(self, now: Progress) -> None:
        self._now = self.network._snapshot = now

    def __enter__(self) -> Self:
        network, options = self.network, self._options
        with network._lock:
            network._refuse_while_training("train")
            self._start(network._at(self._backend))
            self._frame = sys._getframe(1)
            network._run = self
        early_stopping = None if options.patience is None else self._initial_early_stopping(self._now)
        self._commit(self._now.replaced(early_stopping=early_stopping, form=self._form))
        try:
            for callback in options.callbacks:
                self._started_callbacks.append(callback)
                callback.on_train_begin(network)
        except KeyboardInterrupt:
            raise self._interrupted() from None
        except Exception:
            self._started_callbacks.pop()  # it has not begun, and need not end
            raise
        return self

    @property
    def state(self) -> State:
        """The state after the last epoch."""
        return self._now.state

    def after_epoch(self, state: State, measured: Mapping[str, Array]) -> bool:
        """Take in an epoch: its state, and what was measured. Say whether to go on.

        Raises
        ------
        FloatingPointError
            If no network's loss is finite any more.
        """
        network, options, now = self.network, self._options, self._now
        epoch, early_stopping = now.history.epochs, now.early_stopping
        history = now.history.with_epoch(self._backend, measured)
        late = time.monotonic() - self._checked_at > _CHECK_SECONDS
        last = epoch == self.epochs.stop - 1
        if self._reports.due(epoch) or late or last or early_stopping is not None:
            self._check(history)
        if early_stopping is not None:
            loss, patience, tol = history.last()[history.monitored], options.patience, options.tol
            early_stopping = early_stopping.after_epoch(self._backend, epoch, loss, state, patience=patience, tol=tol)
        now = now.replaced(
            theta=state.theta,
            optimizer_state=state.optimizer_state,
            history=history,
            early_stopping=early_stopping,
            best=None,
        )
        done = last or (early_stopping is not None and not early_stopping.continues)
        # After the last epoch callbacks find the network as the training leaves it, so that what they save is finished.
        self._commit(self._final(now) if done else now)
        self._reports.after_epoch(epoch, history)
        for callback in options.callbacks:
            callback.on_epoch_end(network)
        return not (done or self.stop_requested)

    def _check(self, history: History) -> None:
        """Check the losses since the last time.

        Raises
        ------
        FloatingPointError
            As `after_epoch`.
        """
        bad = self._first_bad(history)
        if bad is not None:
            which = f"those after the {self._which_epoch('last good')} before" if bad else "the initial ones"
            msg = f"the loss became NaN or infinite in epoch {bad}: most likely {self._cause}; the weights are {which}"
            raise FloatingPointError(msg)
        self._checked, self._checked_at = history.epochs, time.monotonic()
        self._reports.checked(history)

    def _first_bad(self, history: History) -> int | None:
        """Return the first epoch in which no network's loss is finite."""
        for epoch, loss in enumerate(history.since("loss", self._checked), start=self._checked):
            if not bool(host.any(host.isfinite(loss))):
                return epoch
        return None

    def _which_epoch(self, otherwise: str) -> str:
        return f"{otherwise if self._options.patience is None else 'best'} epoch"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        try:
            if kind is None:
                self._check(self._now.history)
                final = self._final(self._now)
                self._reports.ended(final.history, None if self._options.patience is None else final.best)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.end()
        if interrupted:
            raise self._interrupted() from None

    def _interrupted(self) -> KeyboardInterrupt:
        first, last = self.epochs.start, self.epochs.start + self._options.epochs - 1
        msg = (
            f"training was interrupted in epoch {self._now.history.epochs} (of epochs {first} to {last}); "
            f"the weights are those after the {self._which_epoch('last complete')} before"
        )
        return KeyboardInterrupt(msg)

    def end(self) -> None:
        """End the training; again, should Ctrl-C have cut that short, or not at all if it is over.

        The second time the network is unlocked whatever comes.
        """
        network, self._end_calls = self.network, self._end_calls + 1
        try:
            if network._run is self:
                self._commit(self._final(self._now))
                network._run = None
        finally:
            if self._end_calls > 1 and network._run is self:
                network._run = None
            if network._run is not self:
                self._end_callbacks()

    def is_abandoned(self) -> bool:
        """Say whether the code that runs it is certainly not running any more."""
        if self.thread != threading.get_ident():
            return self.thread not in sys._current_frames()
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame is not self._frame:
            frame = frame.f_back
        return frame is None

    def _final(self, now: Progress) -> Progress:
        """Return the network as the training leaves it: at its best epoch, and without epochs that are not finite.

        Their states have not been taken over: see `Part.train_epoch`.
        """
        bad = self._first_bad(now.history)
        history = now.history if bad is None else now.history.until(bad)
        early_stopping = now.early_stopping
        if history.epochs == self.epochs.start and not self._waited_before:
            return now.replaced(history=history, early_stopping=None, best=self._best_before)
        if early_stopping is None or early_stopping.best is None:
            return now.replaced(history=history, early_stopping=None)
        theta, optimizer_state = early_stopping.state_or(now.backend, now.state)
        return now.replaced(
            theta=theta,
            optimizer_state=optimizer_state,
            history=history,
            early_stopping=None,
            best=early_stopping.best,
        )

    def _end_callbacks(self) -> None:
        """Close the bar, and call the ends of all callbacks whose training has begun, even if some of them fail."""
        if not self._started_callbacks:
            self._reports.close()
            return
        callback = self._started_callbacks.pop()
        try:
            callback.on_train_end(self.network)
        finally:
            self._end_callbacks()
