"""One training from its beginning to its end, also if an error or an interrupt ends it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, Self

from xpnet._types import Array, State
from xpnet.backends import HOST, Backend
from xpnet.callbacks import Callback
from xpnet.core.epochs import NetworkChunk
from xpnet.data.samples import Form
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.history import History
from xpnet.training.options import TrainingOptions
from xpnet.training.progress import Progress
from xpnet.training.reports import Reports

host = HOST.xp

# Losses are checked for NaN after at most this many seconds; not more often, because reading them waits for the device.
_CHECK_SECONDS = 1.0


class Run:
    """The context manager of a training: it starts it, commits each epoch to the network, and ends it.

    It contains no mathematics. During the context no other code can change the network. An epoch is committed by one
    assignment of a whole `Progress`, so that Ctrl-C always leaves the state after a complete epoch.

    Parameters
    ----------
    network : NeuralNetwork
        The network to train.
    backend : Backend
        The backend that computes.
    options : TrainingOptions
        The reports, early stopping and the callbacks.
    form : Form
        The form of the targets.
    initial_early_stopping : callable
        ``initial_early_stopping(progress)`` returns the initial state of early stopping.
    cause : str
        The most likely cause if the loss becomes NaN, for the error message.
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
        self.backend, self._options, self._initial_early_stopping, self._cause = (
            backend,
            options,
            initial_early_stopping,
            cause,
        )
        self._form = form
        self._reports = Reports(options)
        self._now: Progress = network._snapshot  # the current state; only the run changes it
        self._started_callbacks: list[Callback] = []
        self._end_calls = 0
        self._frame: FrameType | None = None  # the frame of the code that runs the context
        self._start(self._now)

    def _start(self, now: Progress) -> None:
        first, self._now = now.history.epochs, now
        # Not the whole Progress, which would keep its arrays in memory during the training.
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
            self._start(network._at(self.backend))
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
            self._started_callbacks.pop()  # its on_train_begin failed, so its on_train_end is not called
            raise
        return self

    @property
    def state(self) -> State:
        """The state after the last epoch."""
        return self._now.state

    def next_epochs(self, chunks: Sequence[NetworkChunk], *, measures: bool) -> range:
        """Return the next epochs to train: one, or several that the networks can train for at once.

        Epochs are trained one by one if every one is seen: by a callback, by early stopping, or because the networks
        are measured after it.
        """
        options = self._options
        is_seen = measures or options.callbacks or options.patience is not None
        at_once = 1 if is_seen else max(min(chunk.epochs_at_once for chunk in chunks) // len(chunks), 1)
        return self.epochs[self._now.history.epochs - self.epochs.start :][:at_once]

    def after_epochs(self, state: State, measured: Mapping[str, Array]) -> bool:
        """Commit epochs: the state after the last one, and the losses and metrics of each. Return whether to continue.

        Parameters
        ----------
        state : State
            The state.
        measured : mapping of str to array of shape (epochs, ...)
            The losses and metrics.

        Raises
        ------
        FloatingPointError
            If no network has a finite loss.
        """
        network, options, now = self.network, self._options, self._now
        early_stopping, history = now.early_stopping, now.history.with_epochs(self.backend, measured)
        epochs = range(now.history.epochs, history.epochs)
        late = time.monotonic() - self._checked_at > _CHECK_SECONDS
        last, nonfinite = epochs.stop == self.epochs.stop, None
        if self._reports.due(epochs) or late or last or early_stopping is not None:
            nonfinite = self._check(history)
        if early_stopping is not None:
            (epoch,), loss = epochs, history.last()[history.monitored]
            early_stopping = early_stopping.after_epoch(
                self.backend, epoch, loss, state, patience=options.patience, tol=options.tol
            )
        now = now.replaced(
            theta=state.theta,
            optimizer_state=state.optimizer_state,
            history=history,
            early_stopping=early_stopping,
            best=None,
        )
        done = last or (early_stopping is not None and not early_stopping.continues)
        # After the last epoch callbacks see the final state of the network, so that they save a finished training.
        self._commit(self._final(now) if done else now)
        self._reports.after_epochs(epochs if nonfinite is None else range(epochs.start, nonfinite), history)
        if nonfinite is not None:
            raise self._diverged(nonfinite)
        for callback in options.callbacks:
            callback.on_epoch_end(network)
        return not (done or self.stop_requested)

    def _check(self, history: History) -> int | None:
        """Check the losses since the last check. Return the first epoch in which no network's loss is finite."""
        nonfinite = self._first_nonfinite_epoch(history)
        if nonfinite is None:
            self._checked, self._checked_at = history.epochs, time.monotonic()
            self._reports.checked(history)
        return nonfinite

    def _diverged(self, nonfinite: int) -> FloatingPointError:
        which = f"those of the {self._which_epoch('last finite')} before" if nonfinite else "the initial ones"
        return FloatingPointError(
            f"the loss became NaN or infinite in epoch {nonfinite}: most likely {self._cause}; the weights are {which}"
        )

    def _first_nonfinite_epoch(self, history: History) -> int | None:
        """Return the first epoch in which no network's loss is finite."""
        if history.epochs <= self._checked:
            return None
        losses = history.since("loss", self._checked)
        finite = host.isfinite(losses)
        if host.all(finite):
            return None
        nonfinite = host.nonzero(~host.any(finite, axis=tuple(range(1, losses.ndim))))[0]
        return self._checked + int(nonfinite[0]) if nonfinite.size else None

    def _which_epoch(self, otherwise: str) -> str:
        return f"{otherwise if self._options.patience is None else 'best'} epoch"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        try:
            if kind is None:
                nonfinite = self._check(self._now.history)
                if nonfinite is not None:
                    raise self._diverged(nonfinite)
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
            f"the weights are those of the {self._which_epoch('last complete')} before"
        )
        return KeyboardInterrupt(msg)

    def end(self) -> None:
        """End the training; call it again if Ctrl-C interrupted the first call. It has no effect on an ended training.

        The second call always unlocks the network.
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
        """Return whether the code that ran the training has certainly ended."""
        if self.thread != threading.get_ident():
            return self.thread not in sys._current_frames()
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame is not self._frame:
            frame = frame.f_back
        return frame is None

    def _final(self, now: Progress) -> Progress:
        """Return the final state: that of the best epoch with early stopping, and a history without non-finite epochs.

        The states of non-finite epochs were never committed: see `NetworkChunk.train`.
        """
        nonfinite = self._first_nonfinite_epoch(now.history)
        history = now.history if nonfinite is None else now.history.until(nonfinite)
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
        """Call on_train_end of all started callbacks, the last one first, even if some fail; close the bar."""
        if not self._started_callbacks:
            self._reports.close()
            return
        callback = self._started_callbacks.pop()
        try:
            callback.on_train_end(self.network)
        finally:
            self._end_callbacks()
