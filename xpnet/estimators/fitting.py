"""The training loop of scikit-learn's networks, for one network or for many that train together.

Each network has a `Course`: what scikit-learn keeps of a training, and its rules for the learning rate and for the end.
Networks that end are taken out, and the others continue.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpnet._types import Array, State
from xpnet.backends import HOST, Backend, CannotCompile, NoCompiler
from xpnet.core.epochs import Batches, Masks, NetworkChunk, Orders
from xpnet.core.step import Step
from xpnet.data.samples import Samples, as_columns

host = HOST.xp


@dataclass(eq=False)
class Course:
    """The course of a network's training, on the host, with the attributes and rules of scikit-learn's networks.

    Attributes
    ----------
    rules : mapping
        The parameters of the estimator: ``solver``, ``learning_rate``, ``learning_rate_init``, ``power_t``, ``tol``,
        ``n_iter_no_change``, ``verbose``.
    random_state : numpy.random.RandomState
        What shuffles the samples.
    rows : array of int of shape (N,)
        The rows that the network trains on, in their current order.
    held_out : array of int of shape (N',) or None
        The rows by which early stopping decides; None without early stopping.
    n_iter, t, loss_curve, best_loss, validation_scores, best_validation_score, no_improvement, learning_rate
        As in scikit-learn's estimators and optimizers.
    best : array of shape (P,) or None
        The parameters with the best validation score.
    has_ended : bool
        Whether the training ended before the maximum number of epochs.
    complaint : str or None
        Why the training has not converged.
    """

    rules: Mapping[str, Any] = field(default_factory=dict)
    random_state: Any = None
    rows: Any = None
    held_out: Any = None
    n_iter: int = 0
    t: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = host.inf
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    no_improvement: int = 0
    learning_rate: float = 0.0
    best: Array = None
    has_ended: bool = False
    complaint: str | None = None

    def begin(self, rules: Mapping[str, Any], random_state: Any, rows: Any) -> None:
        """Begin a training on some rows."""
        self.rules, self.random_state, self.rows = rules, random_state, rows
        self.held_out, self.n_iter, self.has_ended = None, 0, False

    def __getstate__(self) -> dict[str, Any]:
        """Return what outlasts a training."""
        return {**vars(self), "rules": {}, "random_state": None, "rows": None, "held_out": None}

    def watch_scores(self) -> None:
        """Decide by scores on samples that are held out, not by the training loss."""
        self.best_loss, self.validation_scores, self.best_validation_score = None, [], -host.inf

    def shuffle(self) -> Any:
        """Return the rows in a new order, drawn as `sklearn.utils.shuffle` does from the previous order."""
        order = host.arange(self.rows.shape[0])
        self.random_state.shuffle(order)
        self.rows = self.rows[order]
        return self.rows

    def after_epoch(self, loss: float, score: float | None, parameters: Callable[[], Array]) -> bool:
        """Record an epoch with its loss, its validation score, and the parameters after it. Return whether to go on."""
        rules = self.rules
        self.n_iter += 1
        self.t += self.rows.shape[0]
        self.loss_curve.append(loss)
        self._say(f"Iteration {self.n_iter}, loss = {loss:.8f}")
        if score is None:
            self._count(loss > self.best_loss - rules["tol"])
            self.best_loss = min(loss, self.best_loss)  # type: ignore[type-var]
        else:
            self.validation_scores.append(score)  # type: ignore[union-attr]
            self._say(f"Validation score: {score:f}")
            self._count(score < self.best_validation_score + rules["tol"])
            if score > self.best_validation_score:  # type: ignore[operator]
                self.best_validation_score, self.best = score, parameters()
        if rules["solver"] == "sgd" and rules["learning_rate"] == "invscaling":
            self.learning_rate = float(rules["learning_rate_init"]) / (self.t + 1) ** rules["power_t"]
        if self.no_improvement <= rules["n_iter_no_change"]:
            return True
        what = "Training loss" if score is None else "Validation score"
        message = f"{what} did not improve more than tol={rules['tol']:f} for {rules['n_iter_no_change']} "
        self.has_ended = self._ends(message + "consecutive epochs.")
        return not self.has_ended

    def _count(self, is_no_better: bool) -> None:
        self.no_improvement = self.no_improvement + 1 if is_no_better else 0

    def _ends(self, message: str) -> bool:
        """Return whether the training ends; an adaptive learning rate decreases first."""
        if self.rules["solver"] != "sgd" or self.rules["learning_rate"] != "adaptive":
            self._say(f"{message} Stopping.")
            return True
        if self.learning_rate <= 1e-6:
            self._say(f"{message} Learning rate too small. Stopping.")
            return True
        self.learning_rate /= 5.0
        self._say(f"{message} Setting learning rate to {self.learning_rate:f}")
        self.no_improvement = 0
        return False

    def _say(self, message: str) -> None:
        if self.rules["verbose"]:
            print(message)


@dataclass(frozen=True, eq=False)
class SparseSamples(Samples):
    """Samples whose inputs are a sparse matrix of SciPy in CSR format; only some rows at a time become dense."""

    @property
    def are_ready(self) -> bool:
        """Whether `columns` of a slice returns views: never."""
        return False

    def _columns(self, array: Array | None, rows: Any, networks: tuple[Any, ...]) -> Array | None:
        if array is not self.X:
            return super()._columns(array, rows, networks)
        count = getattr(rows, "size", 0)
        dense = array[rows.reshape(-1) if count else rows].toarray()
        dense = dense.reshape(*rows.shape, -1) if count else dense
        return as_columns(self.backend.xp, self.backend.asarray(dense), self.dtype)


@dataclass(eq=False)
class Fitting:
    """Networks that train together.

    Attributes
    ----------
    backend : Backend
        The backend that computes.
    step : Step
        The step of the networks.
    samples : Samples
        All samples, those that are held out included.
    courses : list of Course
        One for each network.
    many : bool
        Whether arrays have a leading axis of networks.
    batch_size : int
        The number of samples of a step.
    shuffle : bool
        Whether to shuffle.
    strengths : mapping of str to list of float
        The strengths of the regularization, of each network.
    mask_keys : array of uint32 of shape (E or 1, 2) or None
        The keys of the dropout masks.
    score : callable or None
        ``score(theta, course) -> float`` for early stopping, of the parameters of one network.
    compile : bool or "auto"
        Whether to compile the step.
    """

    backend: Backend
    step: Step
    samples: Samples
    courses: Sequence[Course]
    many: bool
    batch_size: int
    shuffle: bool
    strengths: Mapping[str, Sequence[float]]
    mask_keys: Any = None
    score: Callable[[Array, Course], float] | None = None
    compile: Any = "auto"

    def run(self, state: State, epochs: int, after_epoch: Callable[[State, list[int]], bool]) -> State:
        """Train for at most so many epochs.

        A network whose loss or parameters became NaN or infinite keeps its last finite parameters; its losses and
        scores are NaN from then on.

        Parameters
        ----------
        state : State
            The initial state, with a leading axis if there are many networks.
        epochs : int
            The maximum number of epochs.
        after_epoch : callable
            ``after_epoch(state, networks) -> continues`` is called with the state of the networks that still train,
            and their numbers.

        Returns
        -------
        state : State
            The last state; with early stopping, its parameters are the best ones.
        """
        ended: dict[int, State] = {}
        alive, chunk, initial_rates = list(range(len(self.courses))), None, None
        first = len(self.courses[0].loss_curve)  # dropout differs between all epochs
        try:
            for epoch in range(first, first + epochs):
                courses = [self.courses[i] for i in alive]
                rates = host.asarray([course.learning_rate for course in courses])
                if chunk is None:
                    chunk, initial_rates = self._chunk(state, alive, epoch, first + epochs), rates
                with self.backend.on_device():
                    chunk.train(range(epoch, epoch + 1), self._factors(rates, initial_rates))
                    losses = self.backend.to_numpy(chunk.losses).reshape(-1).tolist()
                state = chunk.state
                goes_on = [
                    self._after_epoch(loss, state, k, course)
                    for k, (course, loss) in enumerate(zip(courses, losses, strict=True))
                ]
                if not after_epoch(state, alive):
                    break
                if not any(goes_on):
                    break
                if not all(goes_on):
                    ended |= {i: self.one(state, k) for k, i in enumerate(alive) if not goes_on[k]}
                    kept = [k for k in range(len(alive)) if goes_on[k]]
                    alive, state, chunk = [alive[k] for k in kept], self._some(state, kept), None
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
            for course in self.courses:
                course.has_ended = True
        ended |= {i: self.one(state, k) for k, i in enumerate(alive)}
        states = [
            ended[i] if course.best is None else ended[i]._replace(theta=course.best)
            for i, course in enumerate(self.courses)
        ]
        with self.backend.on_device():
            return states[0].map(lambda *arrays: self.backend.xp.stack(arrays), *states[1:]) if self.many else states[0]

    def _after_epoch(self, loss: float, state: State, k: int, course: Course) -> bool:
        """Record the epoch of a network. Return whether it goes on."""
        theta = self.one(state, k).theta
        score = None
        if course.held_out is not None:
            score = self.score(theta, course) if host.isfinite(loss) else host.nan  # type: ignore[misc]
        return course.after_epoch(loss, score, lambda: self.backend.xp.asarray(theta, copy=True))

    def one(self, state: State, k: int) -> State:
        """Return the state of one network."""
        return state.map(lambda array: array[k, ...]) if self.many else state

    def _some(self, state: State, networks: list[int]) -> State:
        """Return the state of some networks."""
        with self.backend.on_device():
            numbers = self.backend.asarray(host.asarray(networks), "int32")
            return state.map(lambda array: self.backend.xp.take(array, numbers, axis=0))

    def _chunk(self, state: State, alive: list[int], epoch: int, stop: int) -> NetworkChunk:
        """Return the networks ready to train from an epoch to another one."""
        backend, courses, dtype = self.backend, [self.courses[i] for i in alive], self.samples.dtype
        with backend.on_device():
            strengths = {name: self._each(values, alive) for name, values in self.strengths.items()}
            strengths["mask"] = backend.asarray(self.step.layout.weights_mask(host))
            batches = Batches(
                self.samples,
                backend.asarray([[course.learning_rate] for course in courses], dtype)
                if self.many
                else backend.asarray(courses[0].learning_rate, dtype),
                self.batch_size,
                orders=self._orders(courses, epoch),
                masks=self._masks(alive),
                regularization=strengths,
            )
            compiled = None
            try:
                if self.compile:
                    compiler, steps = backend.compiler(), -(-batches.size // self.batch_size)
                    work = self.step.layout.layer_list, state, self.batch_size, steps, stop - epoch
                    if self.compile is True or compiler.is_worthwhile(*work):
                        compiled = compiler.compile(self.step, state, batches)
            except CannotCompile as error:
                if self.compile is True:
                    raise
                if not isinstance(error, NoCompiler):
                    warnings.warn(f"training is not compiled: {error}", RuntimeWarning, stacklevel=6)
            return NetworkChunk(backend, self.step, batches, state, compiled=compiled)

    def _each(self, values: Sequence[float], alive: list[int]) -> float | Array:
        """Return a strength of each network, as an array unless they are equal."""
        if len(set(values)) == 1:
            return float(values[0])
        return self.backend.asarray([[values[i]] for i in alive], self.samples.dtype)

    def _orders(self, courses: list[Course], epoch: int) -> Orders | None:
        """Return the rows of each epoch, or None for all rows in order."""
        whole = not self.many and courses[0].rows.shape[0] == self.samples.size
        if not self.shuffle and whole:
            return None

        def draw(epoch: int) -> Any:
            rows = [course.shuffle() if self.shuffle else course.rows for course in courses]
            return host.stack(rows) if self.many else rows[0]

        return Orders(draw, self.samples.size, len(courses) if self.many else None, epoch)

    def _masks(self, alive: list[int]) -> Masks | None:
        if self.mask_keys is None:
            return None
        keys = self.mask_keys if len(self.mask_keys) == 1 else self.mask_keys[alive]
        layers = zip(self.step.layout.layer_list[1:-1], self.step.dropout_rates, strict=True)
        return Masks(keys, list(layers))

    def _factors(self, rates: Any, initial: Any) -> Any:
        """Return the factors on the learning rates of the steps of an epoch, or None if they are 1."""
        if (rates == initial).all():
            return None
        steps = -(-self.courses[0].rows.shape[0] // self.batch_size)
        factors = host.tile(rates / initial, (steps, 1))
        return factors if self.many else factors[:, 0]
