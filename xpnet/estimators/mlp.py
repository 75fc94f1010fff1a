"""Multilayer perceptrons with the interface of scikit-learn's, which train on the arrays they are given."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, check_scoring, d2_pinball_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state, check_X_y, column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from xpnet._checks import finite_array, real_array, type_name
from xpnet._types import Array, Layers, State
from xpnet.activations import ACTIVATIONS, Activation, exp, identity, sigmoid, softmax
from xpnet.backends import HOST, Backend, Stream, backend_of, get_backend, streams
from xpnet.core.parameters import Layout, flatten
from xpnet.core.propagation import forward
from xpnet.core.step import Step, make_step, objective
from xpnet.data.placement import bring
from xpnet.data.samples import BLOCK, Samples
from xpnet.estimators import rules
from xpnet.estimators.fitting import Course, Fitting, SparseSamples
from xpnet.losses import LOSSES, Loss, sample_losses
from xpnet.metrics import argmax_of_outputs
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.training import lbfgs

host = HOST.xp

_ACTIVATIONS = {**ACTIVATIONS, "logistic": sigmoid}
_REGRESSION_LOSSES = {name: loss for name, loss in LOSSES.items() if "crossentropy" not in name}
_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
_FTOL = 64 * float(host.finfo("float64").eps) * 1e7 / 64  # SciPy's default
_MEMBER_SEEDS = int(host.iinfo("int32").max)


_OF_OPTIMIZER = [
    *("solver", "learning_rate", "learning_rate_init", "power_t"),
    *("momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon"),
]
"""The parameters that a training keeps while it continues with the optimizer's state, as in scikit-learn."""


class _Targets(NamedTuple):
    """Targets on the host or a device, as rows: numbers, or classes as numbers from 0; and as they were passed."""

    Y: Any
    classes: int | None
    passed: Any


class _MLP(BaseEstimator):
    """What the estimators have in common."""

    _courses: list[Course]
    _layout: Layout
    _optimizer_state: tuple[Array, ...] | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS)), tuple, list],
        "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean", StrOptions({"continue"})],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {host.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "weight_decay": [None, Interval(Real, 0, None, closed="left")],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "scoring": [None, StrOptions({"loss"}), str, callable],
        "n_members": [None, Interval(Integral, 1, None, closed="left")],
        "callbacks": [None, callable, "array-like"],
        "progress_bar": ["boolean"],
        "device": [None, str, HasMethods("train_epoch")],
        "dtype": [None, StrOptions({"float32", "float64"})],
        "compile": ["boolean", StrOptions({"auto"})],
    }

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        # scikit-learn asks for it often, and to find it takes as long as a small step.
        return super()._get_param_names()  # type: ignore[no-any-return]

    def _assign(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # ---- What differs between classification and regression

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _output(self) -> tuple[str, Activation]:
        """Return the name and the activation of the output layer."""
        raise NotImplementedError

    def _outputs_of(self, targets: _Targets) -> int:
        """Return the number of outputs."""
        return targets.classes or int(targets.Y.shape[1])

    def _encoded(self, y: Any, *, incremental: bool, evaluates: bool) -> _Targets:
        """Return targets, which are on the host or on the device of X; `evaluates` is for those of `eval_set`."""
        raise NotImplementedError

    def _score_of(self, backend: Backend, A: Array, Y: Array, weight: Any) -> float:
        """Return the score of outputs, of shape (n, m)."""
        raise NotImplementedError

    # ---- Fit

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, incremental: bool = False, eval_set: Any = None
    ) -> Self:
        fitted, trained = hasattr(self, "coefs_"), TRAINED.get()
        if trained is not None and not (fitted or incremental or eval_set is not None):
            result = trained.of(self, X, y, sample_weight)
            if result is not None:
                self.__dict__.update(vars(result))
                self._judge(warns=True)
                return self
        with self._kept_if_it_fails():
            if not (incremental and fitted):
                self._validate_params()
            self._check_together(incremental=incremental, eval_set=eval_set)
            first = not fitted or not (self.warm_start or incremental)
            X, targets, sample_weight = self._validated(X, y, sample_weight, incremental=incremental, reset=first)
            samples = _samples(*self._place(X), X, targets, sample_weight)
            backend = samples.backend
            self._begin(samples, targets, first=first, incremental=incremental)
            evaluation = None if eval_set is None else self._evaluation(backend, samples.dtype, eval_set)
            with backend.on_device():
                step = self._step(backend, self._layout)
                theta = self._initial(backend, samples.dtype) if first else self._theta(backend, samples.dtype)
                if self.solver == "lbfgs":
                    self._fit_lbfgs(step, samples, theta)
                else:
                    self._fit_stochastic(step, samples, targets, theta, incremental, evaluation)
            self._judge(warns=not incremental)
        return self

    @contextmanager
    def _kept_if_it_fails(self) -> Iterator[None]:
        """Leave the last fit as it was if the context raises an error before there are new parameters."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            if vars(self).get("coefs_") is before.get("coefs_"):
                self.__dict__.clear()
                self.__dict__.update(before)
            raise

    def _check_together(self, *, incremental: bool, eval_set: Any) -> None:
        """Raise an error if parameters contradict each other."""
        if self.early_stopping and incremental:
            msg = "partial_fit does not support early_stopping=True"
            raise ValueError(msg)
        for callback in self._callbacks():
            if not callable(callback):
                msg = f"callbacks must be functions of the estimator, got {callback!r}"
                raise TypeError(msg)
        if self.solver == "lbfgs":
            given = {
                "dropout": any(self._dropout()),
                "weight_decay": bool(self.weight_decay),
                "clip_norm": self.clip_norm is not None,
                "callbacks": bool(self._callbacks()),
                "eval_set": eval_set is not None,
            }
            without = [name for name, is_given in given.items() if is_given]
            if without:
                msg = f"solver='lbfgs' has no {' or '.join(without)}; use 'adam' or another solver"
                raise ValueError(msg)

    def _callbacks(self) -> list[Any]:
        if self.callbacks is None:
            return []
        return list(self.callbacks) if hasattr(self.callbacks, "__iter__") else [self.callbacks]

    def _place(self, X: Any) -> tuple[Backend, str]:
        """Return where to compute, and the precision."""
        backend = backend_of(X) if self.device is None else get_backend(self.device)
        return backend, self.dtype or ("float32" if type_name(X.dtype) == "float32" else "float64")

    def _begin(
        self, samples: Samples, targets: _Targets, *, first: bool, incremental: bool = False, rows: Any = None
    ) -> None:
        """Prepare the courses of the networks, by default on all rows."""
        layout = Layout([int(samples.X.shape[1]), *self._hidden_sizes(), self._outputs_of(targets)])
        activations, parameters = self._activations(), self.get_params(deep=False)
        if not first:
            fitted = len(self._courses) if self._is_ensemble else None
            for name, now, before in (
                ("the sizes of the layers", layout.layer_list, self._layout.layer_list),
                ("n_members", self.n_members, fitted),
            ):
                if now != before:
                    msg = f"{name} must be as in the first fit, {before}, to continue from it, got {now}"
                    raise ValueError(msg)
        random_states = [check_random_state(self.random_state)]
        if self.n_members is not None:
            seeds = random_states[0].randint(_MEMBER_SEEDS, size=self.n_members)
            random_states = [host.random.RandomState(seed) for seed in seeds.tolist()]
        if first:
            self._courses = [Course() for _ in random_states]
            self.__dict__.pop("validation_loss_curve_", None)
        self._layout, self._activation_list, self.n_outputs_ = layout, activations, layout.layer_list[-1]
        self.n_layers_, self.out_activation_ = len(layout.layer_list), self._output()[0]
        if first or self.solver == "lbfgs" or not (incremental or self.warm_start == "continue"):
            self._optimizer_state = None
        if self._optimizer_state is None:
            self._solving = {name: parameters[name] for name in _OF_OPTIMIZER}
        for course, random_state in zip(self._courses, random_states, strict=True):
            course.begin(
                {**parameters, **self._solving}, random_state, host.arange(samples.size) if rows is None else rows
            )

    @property
    def _is_ensemble(self) -> bool:
        """Whether the fitted arrays have a leading axis of networks."""
        return bool(self.coefs_[0].ndim > 2)

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            msg = f"hidden_layer_sizes must be > 0, got {sizes}."
            raise ValueError(msg)
        return [int(size) for size in sizes]

    def _activations(self) -> list[Activation]:
        """Return the activation of each layer after the inputs."""
        hidden, given = len(self._hidden_sizes()), self.activation
        each = [given] * hidden if isinstance(given, (str, Activation)) else list(given)
        if len(each) != hidden:
            msg = f"activation must be one, or one for each of the {hidden} hidden layers, got {len(each)}"
            raise ValueError(msg)
        found = [each if isinstance(each, Activation) else _ACTIVATIONS.get(each) for each in each]
        if None in found:
            msg = f"activation must hold names among {', '.join(sorted(_ACTIVATIONS))}, or Activations, got {given!r}"
            raise ValueError(msg)
        return [*found, self._output()[1]]  # type: ignore[list-item]

    def _dropout(self) -> list[float]:
        hidden, given = len(self._hidden_sizes()), self.dropout
        rates = [float(rate) for rate in given] if hasattr(given, "__iter__") else [float(given)] * hidden
        if len(rates) != hidden or not all(0.0 <= rate < 1.0 for rate in rates):
            msg = (
                f"dropout must be from 0 to below 1, or one such for each of the {hidden} hidden layers, got {given!r}"
            )
            raise ValueError(msg)
        return rates

    def _optimizer(self) -> Optimizer:
        given, solver = self._solving, self._solving["solver"]
        if solver == "sgd":
            return rules.sgd(float(given["momentum"]), bool(given["nesterovs_momentum"]))
        if solver == "adam":
            return rules.adam(*(float(given[name]) for name in ("beta_1", "beta_2", "epsilon")))
        return OPTIMIZERS["sgd" if solver == "lbfgs" else solver] if isinstance(solver, str) else solver

    def _step(self, backend: Backend, layout: Layout) -> Step:
        parts = self._activation_list, self._loss(), self._optimizer(), self._dropout()
        return make_step(backend.xp, layout, *parts)

    def _initial(self, backend: Backend, dtype: str) -> Array:
        """Return initial parameters: uniform between ±√(6 / (n_in + n_out)), for sigmoids between ±√(2 / …).

        Glorot and Bengio, 2010, https://proceedings.mlr.press/v9/glorot10a.html; drawn in scikit-learn's order.
        """
        factor, vectors = 2.0 if self.activation in ("logistic", "sigmoid") else 6.0, []
        for course in self._courses:
            arrays = []
            for n_in, n_out in pairwise(self._layout.layer_list):
                bound = host.sqrt(factor / (n_in + n_out))
                arrays.append(course.random_state.uniform(-bound, bound, (n_in, n_out)).T)
                arrays.append(course.random_state.uniform(-bound, bound, n_out)[:, None])
            vectors.append(flatten(host, arrays))
        return backend.asarray(vectors[0] if self.n_members is None else host.stack(vectors), dtype)

    def _theta(self, backend: Backend, dtype: str) -> Array:
        """Return the current parameters as one vector."""
        layers = self._layers(backend, dtype)
        return flatten(backend.xp, [array for layer in layers for array in layer])

    def _layers(self, backend: Backend, dtype: str | None = None) -> Layers:
        """Return ``[(W1, b1), …]`` with columns as samples."""
        xp = backend.xp
        arrays = [
            [array if backend_of(array) == backend else bring("coefs_", array, backend) for array in arrays]
            for arrays in (self.coefs_, self.intercepts_)
        ]
        if dtype is not None:
            arrays = [[xp.astype(array, getattr(xp, dtype), copy=False) for array in each] for each in arrays]
        return [(xp.matrix_transpose(W), b[..., None]) for W, b in zip(*arrays, strict=True)]

    def _keep(self, step: Step, theta: Array) -> None:
        """Make parameters the fitted attributes."""
        layers = step.layers(theta)
        self.coefs_ = [step.xp.matrix_transpose(W) for W, _ in layers]
        self.intercepts_ = [b[..., 0] for _, b in layers]

    def _strengths(self) -> dict[str, list[float]]:
        decay = self._optimizer().weight_decay if self.weight_decay is None else self.weight_decay
        given = {"alpha": self.alpha, "weight_decay": decay, "clip_norm": self.clip_norm}
        kept = {name: float(value) for name, value in given.items() if value or name == "alpha"}
        return {name: [value] * len(self._courses) for name, value in kept.items()}

    def _fit_lbfgs(self, step: Step, samples: Samples, theta: Array) -> None:
        xp, thetas, columns = step.xp, [], samples.columns()
        mask = samples.backend.asarray(step.layout.weights_mask(host))
        function = objective(step, *columns, {"alpha": float(self.alpha), "mask": mask})
        for k, course in enumerate(self._courses):
            try:
                result = lbfgs.minimize(
                    samples.backend,
                    function,
                    theta if self.n_members is None else theta[k, :],
                    iterations=self.max_iter,
                    gradient_tol=self.tol,
                    loss_tol=_FTOL,
                    max_evaluations=self.max_fun,
                )
            except FloatingPointError as error:
                raise ValueError(_NOT_FINITE) from error
            thetas.append(samples.backend.asarray(result.x, samples.dtype))
            course.n_iter, course.loss_curve = min(int(result.nit), self.max_iter), [float(result.fun)]
            complaint = (
                f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}):\n"
                f"{result.message}\n\nYou might want to increase the number of iterations "
                f"(max_iter={self.max_iter}) or to scale the data."
            )
            course.complaint = complaint if result.status != 0 else None
        self._keep(step, thetas[0] if self.n_members is None else xp.stack(thetas))
        self._record(stochastic=False)

    def _fit_stochastic(
        self,
        step: Step,
        samples: Samples,
        targets: _Targets,
        theta: Array,
        incremental: bool,
        evaluation: Samples | None,
    ) -> None:
        continued = self._optimizer_state
        self._start(samples, targets, theta, resets=continued is None)
        state = State(theta, step.optimizer.init(step.xp, theta) if continued is None else continued)
        fitting = _fitting([self], step, samples, targets, many=self.n_members is not None)
        epochs = 1 if incremental else self.max_iter
        bar, callbacks = _progress_bar(self.progress_bar, epochs), self._callbacks()

        def after_epoch(state: State, networks: list[int]) -> bool:
            bar.update()
            if evaluation is not None:
                for i, loss in zip(networks, self._losses(step, evaluation, state.theta), strict=True):
                    self._courses[i].validation_loss_curve.append(loss)
            if not callbacks:
                return True
            self._keep(step, state.theta)
            self._record()
            results = [callback(self) for callback in callbacks]
            return not any(result is True for result in results)

        try:
            state = fitting.run(state, epochs, after_epoch)
        finally:
            bar.close()
        self._finish(step, state)

    def _start(self, samples: Samples, targets: _Targets, theta: Array, *, resets: bool) -> None:
        """Prepare the courses for gradient descent."""
        for k, course in enumerate(self._courses):
            if resets:
                course.learning_rate = float(self.learning_rate_init)
            if not self.early_stopping:
                course.best, course.best_loss = None, host.inf if course.best_loss is None else course.best_loss
                continue
            self._hold_out(course, targets)
            if course.best is None:
                course.best = samples.backend.xp.asarray(theta if theta.ndim == 1 else theta[k, ...], copy=True)

    def _hold_out(self, course: Course, targets: _Targets) -> None:
        """Let a network train on a part of the rows, and watch the score on the others."""
        stratify = targets.Y[course.rows].astype(bool) if self._stratifies() else None
        course.rows, course.held_out = train_test_split(
            course.rows, random_state=course.random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if course.held_out.shape[0] < 2:
            msg = "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            raise ValueError(msg)
        if course.validation_scores is None:
            course.watch_scores()

    def _finish(self, step: Step, state: State) -> None:
        """Make the result of gradient descent the fitted attributes."""
        self._keep(step, state.theta)
        self._optimizer_state = state.optimizer_state
        complaint = (
            f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged "
            "yet."
        )
        for course in self._courses:
            course.complaint = complaint if course.n_iter == self.max_iter and not course.has_ended else None
        self._record()

    def _judge(self, *, warns: bool) -> None:
        """Warn if the training has not converged, and raise a ValueError if it diverged."""
        complaints = [course.complaint for course in self._courses if warns and course.complaint]
        for complaint in dict.fromkeys(complaints):
            warnings.warn(complaint, ConvergenceWarning, stacklevel=4)
        if any(course.best is None and not host.isfinite(course.loss_curve[-1:]).all() for course in self._courses):
            raise ValueError(_NOT_FINITE)

    def _stratifies(self) -> bool:
        return False

    def _mask_keys(self) -> Any:
        """Return the keys of the dropout masks of each network, or None."""
        if not any(self._dropout()):
            return None
        seeds = [int(course.random_state.randint(_MEMBER_SEEDS)) for course in self._courses]
        return streams.seed_keys(seeds, Stream.DROPOUT)

    def _validation_score(self, step: Step, samples: Samples, targets: _Targets, theta: Array, course: Course) -> float:
        """Return the score of a network on the samples that are held out for it."""
        backend, xp, rows = samples.backend, step.xp, course.held_out
        if self._stops_by == "scorer":
            member = copy.copy(self)
            member.n_members = None
            member.__dict__.pop("feature_names_in_", None)  # the names of the columns were checked
            member._predicts_on_host = not get_config()["array_api_dispatch"]  # else scorers need arrays of NumPy
            member._keep(step, theta)
            X, y, weight = (_rows(each, rows) for each in (samples.X, targets.passed, samples.weight))
            y, weight = (on_host(each) if member._predicts_on_host else each for each in (y, weight))
            weighted = {} if weight is None else {"sample_weight": weight[:, 0]}
            return float(check_scoring(self, self.scoring)(member, X, y, **weighted))
        X, Y, weight = samples.columns(rows)
        activations, loss = (step.activations, step.loss) if self._stops_by == "loss" else (self._activation_list, None)
        A, _ = forward(xp, X, step.layers(theta), activations)
        if loss is None:
            return self._score_of(backend, A, Y, weight)
        total = A.shape[-1] if weight is None else xp.sum(weight)
        return -float(xp.sum(sample_losses(xp, loss, A, Y, weight)) / total)

    @property
    def _stops_by(self) -> str:
        """What early stopping decides by: the loss, a scorer, or the score of the estimator."""
        if self.scoring is None:
            return self._stops_by_default()
        return "loss" if isinstance(self.scoring, str) and self.scoring == "loss" else "scorer"

    def _stops_by_default(self) -> str:
        return "score"

    def _evaluation(self, backend: Backend, dtype: str, eval_set: Any) -> Samples:
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) not in (2, 3):
            msg = f"eval_set must be (X, y) or (X, y, sample_weight), got {type(eval_set).__name__}"
            raise TypeError(msg)
        X, y, weight = (*eval_set, None)[:3]
        X, targets, weight = self._validated(X, y, weight, incremental=True, reset=False, evaluates=True)
        if self._outputs_of(targets) != self.n_outputs_:
            msg = f"y of eval_set must have {self.n_outputs_} outputs, as that of fit, got {self._outputs_of(targets)}"
            raise ValueError(msg)
        return _samples(backend, dtype, X, targets, weight)

    def _losses(self, step: Step, samples: Samples, theta: Array) -> list[float]:
        """Return the mean loss of each network, without a penalty."""
        xp, layers, total, weights = step.xp, step.layers(theta), 0.0, 0.0
        for which in samples.slices():
            X, Y, weight = samples.columns(which)
            A, _ = forward(xp, X, layers, step.activations)
            total = total + xp.sum(sample_losses(xp, step.loss, A, Y, weight), axis=-1)
            weights = weights + (A.shape[-1] if weight is None else xp.sum(weight, axis=-1))
        return samples.backend.to_numpy(total / weights).reshape(-1).tolist()  # type: ignore[no-any-return]

    def _record(self, *, stochastic: bool = True) -> None:
        """Make the courses of the networks the fitted attributes: of many networks lists, with one entry for each."""

        def each(value: Callable[[Course], Any]) -> Any:
            return value(self._courses[0]) if self.n_members is None else [value(course) for course in self._courses]

        self.n_iter_, self.t_ = each(lambda course: course.n_iter), each(lambda course: course.t)
        self.loss_ = each(lambda course: course.loss_curve[-1] if course.loss_curve else host.inf)
        if stochastic:
            self.learning_rate_ = each(lambda course: course.learning_rate)
            self.loss_curve_, self.best_loss_ = each(lambda c: c.loss_curve), each(lambda c: c.best_loss)
            self.validation_scores_ = each(lambda course: course.validation_scores)
            self.best_validation_score_ = each(lambda course: course.best_validation_score)
            if any(course.validation_loss_curve for course in self._courses):
                self.validation_loss_curve_ = each(lambda course: course.validation_loss_curve)

    # ---- Input

    def _validated(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, reset: bool, evaluates: bool = False
    ) -> tuple[Any, _Targets, Any]:
        """Return validated data: X in its library, or as a sparse matrix; targets; weights with those of classes."""
        if y is None:
            msg = f"This {type(self).__name__} estimator requires y to be passed, but the target y is None"
            raise ValueError(msg)
        checks = {"multi_output": True, "dtype": (host.float64, host.float32), **self._y_checks}
        if _is_foreign(X):
            X = self._foreign(X, reset=reset)
            check_consistent_length(X, y)
            if not (_is_foreign(y) and self._takes_foreign_targets):
                _, y = check_X_y(host.zeros((X.shape[0], 1)), on_host(y), estimator=self, **checks)
            if sample_weight is not None:
                if isinstance(sample_weight, Real):
                    sample_weight = host.full(X.shape[0], sample_weight)
                place = backend_of(sample_weight)
                sample_weight = bring("sample_weight", sample_weight, place)
                finite_array(place.xp, "Input sample_weight", sample_weight)
                if tuple(sample_weight.shape) != (X.shape[0],):
                    msg = f"sample_weight must have the shape ({X.shape[0]},), got {tuple(sample_weight.shape)}"
                    raise ValueError(msg)
        else:
            y, sample_weight = on_host(y), on_host(sample_weight)
            X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], reset=reset, **checks)
            X = X.tocsr() if sparse.issparse(X) else X
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X)
        targets = self._encoded(y, incremental=incremental, evaluates=evaluates)
        class_weight = None if evaluates else getattr(self, "class_weight", None)
        if class_weight is not None:
            by_class = compute_sample_weight(class_weight, targets.passed)
            sample_weight = by_class if sample_weight is None else on_host(sample_weight) * by_class
        return X, targets, sample_weight

    _y_checks: ClassVar[dict[str, Any]] = {}
    _takes_foreign_targets = False

    def _foreign(self, X: Any, *, reset: bool) -> Array:
        """Return validated inputs of a library other than NumPy."""
        backend = backend_of(X)
        if X.ndim != 2:
            msg = f"Expected 2D array, got {X.ndim}D array instead. Reshape your data, or use X[None, :] for a sample."
            raise ValueError(msg)
        if 0 in X.shape:
            msg = (
                f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s) while a minimum of 1 is required."
            )
            raise ValueError(msg)
        validate_data(self, X, skip_check_array=True, reset=reset)
        with backend.on_device():
            X = bring("X", X, backend, None if type_name(X.dtype) in ("float32", "float64") else "float64")
            finite_array(backend.xp, "Input X", X)
        return X

    # ---- Output

    def _outputs(self, X: Any, method: str) -> tuple[Backend, Backend, Array]:
        """Return the backends of the result and of the network, and the outputs of shape (..., m, n), on the latter."""
        check_is_fitted(self, "coefs_")
        if _is_foreign(X):
            X = self._foreign(X, reset=False)
        else:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        caller, backend = backend_of(X), backend_of(self.coefs_[0])
        if get_config()["array_api_dispatch"] and self.device is None and caller != backend:
            msg = (
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): {backend.name} on {backend.device}, got {caller.name} on {caller.device}. You "
                "can move the estimator with its method to(X)."
            )
            raise ValueError(msg)
        layers = self._layers(backend)
        dtype = type_name(self.coefs_[0].dtype)
        if caller == backend and type_name(X.dtype) == "float64" and not sparse.issparse(X):
            dtype = "float64"  # as a product of arrays of two precisions has
            layers = self._layers(backend, dtype)
        kind = SparseSamples if sparse.issparse(X) else Samples
        samples = kind(backend, dtype, X.tocsr() if sparse.issparse(X) else bring("X", X, backend, dtype))
        widths = sum(W.shape[-2] for W, _ in layers) * (layers[0][0].shape[0] if layers[0][0].ndim > 2 else 1)
        with backend.on_device():
            parts = [
                forward(backend.xp, samples.inputs(which), layers, self._activation_list)[0].mT
                for which in samples.slices(max(BLOCK // (8 * widths), 1))
            ]
            caller = HOST if self._predicts_on_host else caller
            return caller, backend, parts[0] if len(parts) == 1 else backend.xp.concat(parts, axis=-2)

    _predicts_on_host = False

    @property
    def estimators_(self) -> list[Self]:
        """The networks of `n_members` as estimators of their own, which share their parameters."""
        check_is_fitted(self, "coefs_")
        if not self._is_ensemble:
            return [self]
        members = []
        for k, course in enumerate(self._courses):
            member = copy.copy(self)
            member.n_members, member._courses = None, [copy.deepcopy(course)]
            member.coefs_ = [W[k, ...] for W in self.coefs_]
            member.intercepts_ = [b[k, ...] for b in self.intercepts_]
            if self._optimizer_state is not None:
                member._optimizer_state = tuple(array[k, ...] for array in self._optimizer_state)
            member._record(stochastic=hasattr(self, "loss_curve_"))
            members.append(member)
        return members

    def to(self, place: Any) -> Self:
        """Return the fitted estimator with its parameters in another library or on another device.

        Parameters
        ----------
        place : array, Backend or str
            An array of that library on that device, a `Backend`, or a device such as ``"cuda"``.

        Returns
        -------
        estimator : estimator
            A copy.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet.estimators import MLPRegressor
        >>> estimator = MLPRegressor(max_iter=5, tol=1.0, n_iter_no_change=1).fit(np.zeros((4, 2)), np.zeros(4))
        >>> type(estimator.to("cpu").coefs_[0])
        <class 'numpy.ndarray'>
        """
        check_is_fitted(self, "coefs_")
        backend = get_backend(place) if isinstance(place, (str, Backend)) else backend_of(place)
        moved = copy.copy(self)

        def each(arrays: Sequence[Array]) -> list[Array]:
            return [bring("a parameter", array, backend) for array in arrays]

        moved.coefs_, moved.intercepts_ = each(self.coefs_), each(self.intercepts_)
        moved._courses = copy.deepcopy(self._courses)
        if self._optimizer_state is not None:
            moved._optimizer_state = tuple(each(self._optimizer_state))
        return moved

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    def _check_solver(self) -> bool:
        if self.solver == "lbfgs":
            msg = f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            raise AttributeError(msg)
        return True


@dataclass(eq=False)
class Trained:
    """Estimators that are trained already, so that `fit` of one with the same parameters and data takes one over.

    Attributes
    ----------
    results : list of (estimator, dict, function)
        The estimators that have not been taken over, most likely in the order in which they will be; the parameters of
        each before it was fitted; and a function that returns its data: X, y and the weights of samples or None.
    """

    results: list[tuple[Any, dict[str, Any], Callable[[], Sequence[Any]]]]

    def of(self, estimator: Any, *data: Any) -> Any:
        """Take out and return an estimator with the parameters of this one that was trained on this data, or None."""
        parameters = estimator.get_params(deep=False)
        for k, (trained, before, given) in enumerate(self.results):
            is_alike = type(trained) is type(estimator) and all(map(same, before.values(), parameters.values()))
            with suppress(Exception):  # what fails here fails in the training of this estimator, too
                if is_alike and all(map(same, given(), data)):
                    del self.results[k]
                    return trained
        return None

    @contextmanager
    def taken_over(self) -> Iterator[None]:
        """Let `fit` in the context take the estimators over."""
        token = TRAINED.set(self)
        try:
            yield
        finally:
            TRAINED.reset(token)


TRAINED: ContextVar[Trained | None] = ContextVar("trained", default=None)


def fit_together(estimators: Sequence[Any], X: Any, y: Any, sample_weight: Any, rows: Sequence[Any]) -> None:
    """Fit estimators, each on some rows of the same samples.

    Parameters
    ----------
    estimators : sequence of MLPClassifier or MLPRegressor
        They differ only in parameters that each network may have for itself, see `xpnet.estimators.search`. The
        parameters are valid.
    X, y, sample_weight : arrays
        The samples, as for `fit`.
    rows : sequence of array of int
        The rows of each, equally many, with all classes.
    """
    first = estimators[0]
    X, targets, sample_weight = first._validated(X, y, sample_weight, incremental=False, reset=True)
    backend, dtype = first._place(X)
    samples = _samples(backend, dtype, X, targets, sample_weight)
    xp, parameters = backend.xp, set(first.get_params(deep=False))
    shared = {name: value for name, value in vars(first).items() if name not in parameters}
    with backend.on_device():
        thetas = []
        for estimator, own in zip(estimators, rows, strict=True):
            estimator.__dict__.update(shared)
            estimator._begin(samples, targets, first=True, rows=own)
            thetas.append(estimator._initial(backend, samples.dtype))
            estimator._start(samples, targets, thetas[-1], resets=True)
        step, theta = first._step(backend, first._layout), xp.stack(thetas)
        fitting = _fitting(estimators, step, samples, targets, many=True)
        state = State(theta, step.optimizer.init(xp, theta))
        state = fitting.run(state, first.max_iter, lambda state, networks: True)
        for k, estimator in enumerate(estimators):
            estimator._finish(step, State(state.theta[k, ...], tuple(a[k, ...] for a in state.optimizer_state)))


def _fitting(estimators: Sequence[Any], step: Step, samples: Samples, targets: _Targets, *, many: bool) -> Fitting:
    """Return the networks of estimators, which train together."""
    first, courses = estimators[0], [course for estimator in estimators for course in estimator._courses]
    owners = {id(course): estimator for estimator in estimators for course in estimator._courses}
    size, N = first.batch_size, courses[0].rows.shape[0]
    if size == "auto":
        size = 200
    elif size > N:
        msg = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
        warnings.warn(msg, stacklevel=5)
    keys = [estimator._mask_keys() for estimator in estimators]
    each = [estimator._strengths() for estimator in estimators]
    names = {name for strengths in each for name in strengths}
    return Fitting(
        backend=samples.backend,
        step=step,
        samples=samples,
        courses=courses,
        many=many,
        batch_size=int(min(size, N)),
        shuffle=bool(first.shuffle),
        strengths={name: [value for strengths in each for value in strengths.get(name, [])] for name in names},
        mask_keys=None if keys[0] is None else host.concat(keys),
        score=lambda theta, course: owners[id(course)]._validation_score(step, samples, targets, theta, course),
        compile=first.compile,
    )


def same(a: Any, b: Any) -> bool:
    """Return whether two parameters, or arrays of data of any kind, are surely equal."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    try:
        if hasattr(a, "equals"):  # a data frame
            return bool(a.equals(b))
        if sparse.issparse(a):
            return bool(a.shape == b.shape and a.dtype == b.dtype and (a != b).nnz == 0)
        if hasattr(a, "shape"):
            xp = backend_of(a).xp
            return bool(a.shape == b.shape and a.dtype == b.dtype and xp.all(a == b))
        return bool(a == b or pickle.dumps(a) == pickle.dumps(b))
    except Exception:  # objects compare and pickle themselves as they like
        return False


def _rows(data: Any, rows: Any) -> Any:
    """Return some rows of an array of any library, or of a sparse matrix; None of None."""
    if not _is_foreign(data):
        return None if data is None else data[rows]
    backend = backend_of(data)
    return backend.xp.take(data, backend.asarray(rows, "int32"), axis=0)


def _is_foreign(x: Any) -> bool:
    """Return whether data is an array of a library other than NumPy, not a list, a data frame or a sparse matrix."""
    return not sparse.issparse(x) and x is not None and backend_of(x).name != "numpy"


def on_host(x: Any) -> Any:
    """Return an array of any library as an array of NumPy."""
    return backend_of(x).to_numpy(x) if _is_foreign(x) else x


def _samples(backend: Backend, dtype: str, X: Any, targets: _Targets, weight: Any) -> Samples:
    """Return validated data as samples on a backend, in its precision."""
    with backend.on_device():
        Y = bring("y", targets.Y, backend, dtype)
        weight = None if weight is None else bring("sample_weight", weight, backend, dtype)[:, None]
        if sparse.issparse(X):
            return SparseSamples(backend, dtype, X, Y, weight, classes=targets.classes)
        return Samples(backend, dtype, bring("X", X, backend, dtype), Y, weight, classes=targets.classes)


class _NoBar:
    def update(self) -> None:
        """Show nothing."""

    close = update


def _progress_bar(shown: bool, epochs: int) -> Any:
    if not shown:
        return _NoBar()
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        msg = 'progress_bar=True needs tqdm: pip install "xpnet[progress]"'
        raise ImportError(msg) from error
    return tqdm(total=epochs, unit="epoch")


class MLPClassifier(ClassifierMixin, _MLP):
    """A multilayer perceptron that classifies: scikit-learn's `MLPClassifier`, on any arrays, with more.

    The parameters and attributes that scikit-learn's class has are the same, and give the same numbers [1]_. The
    network trains where X is: in the library and on the device of the array.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int
        The sizes of the hidden layers.
    activation : str, Activation, or a list of them
        The activation of the hidden layers, or of each: ``"logistic"`` or another of `xpnet.activations`.
    solver : str or Optimizer
        ``"lbfgs"``, ``"sgd"``, ``"adam"``, or another optimizer of `xpnet.optimizers`, such as ``"adamw"``.
    alpha : float
        α, the strength of the penalty ½ α ‖W‖² on the total loss of a batch.
    batch_size : int or "auto"
        The number of samples of a step; ``"auto"`` is 200, or all samples if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}
        The schedule of ``solver="sgd"``.
    learning_rate_init, power_t : float
        The initial learning rate, and the exponent of ``"invscaling"``.
    max_iter : int
        The maximum number of epochs, or of iterations of L-BFGS.
    shuffle : bool
        Whether to shuffle the samples in every epoch.
    random_state : int, RandomState instance or None
        What draws the weights, the validation samples, and the order of the samples.
    tol : float
        An epoch that does not improve the loss, or the validation score, by this much counts as no improvement.
    verbose : bool
        Whether to print the loss of every epoch.
    warm_start : bool or "continue"
        Whether `fit` starts from the parameters of the last `fit`; with ``"continue"`` also from its optimizer state.
    momentum, nesterovs_momentum, beta_1, beta_2, epsilon : float, bool, float, float, float
        The parameters of ``solver="sgd"`` and ``"adam"``.
    early_stopping : bool
        Whether to hold out samples, end when their score does not improve, and return to the best parameters.
    validation_fraction : float
        The fraction of the samples that early stopping holds out.
    n_iter_no_change : int
        After more than so many epochs without improvement, the training ends.
    max_fun : int
        The maximum number of evaluations of the loss by L-BFGS.
    class_weight : dict, "balanced" or None
        The weights of the classes, multiplied with sample weights.
    dropout : float or list of float
        The fraction of the units of the hidden layers that a step drops.
    weight_decay : float or None
        Decoupled weight decay; by default that of the optimizer, which is 0 except for ``"adamw"``.
    clip_norm : float or None
        The maximum norm of the gradient.
    scoring : str, callable or None
        The score of early stopping: ``"loss"``, or a scorer of scikit-learn, or ``scorer(estimator, X, y)``; by default
        the accuracy. Unless arrays are dispatched, a scorer gets the targets and predictions as arrays of NumPy.
    n_members : int or None
        The number of networks of a deep ensemble, trained together from different random states. It predicts the mean
        of their probabilities; `estimators_` are its networks.
    callbacks : callable, list of callable, or None
        Called with the estimator after every epoch; training ends if one returns True.
    progress_bar : bool
        Whether to show a progress bar.
    device : str, Backend or None
        Where to compute; by default where X is.
    dtype : {"float32", "float64"} or None
        The precision; by default float32 if X is float32, else float64.
    compile : bool or "auto"
        Whether to compile the training step, as for `xpnet.NeuralNetwork.train`.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        The labels of the classes.
    coefs_, intercepts_ : list of array
        The weights of each layer, of shape (n_in, n_out), and the biases, of shape (n_out,); with `n_members` with a
        leading axis.
    loss_, best_loss_ : float
        The loss of the last epoch, with the penalty, and the smallest one; None with early stopping.
    loss_curve_, validation_loss_curve_ : list of float
        The loss of each epoch, and that of `eval_set`.
    validation_scores_, best_validation_score_ : list of float, float
        The scores of early stopping.
    n_iter_, t_, n_layers_, n_outputs_, n_features_in_ : int
        The number of epochs, of samples seen, of layers, outputs and inputs.
    feature_names_in_ : ndarray
        The names of the columns of X, if they are strings.
    out_activation_ : str
        The activation of the output layer.
    estimators_ : list of MLPClassifier
        The networks of `n_members`.

    References
    ----------
    .. [1] https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPClassifier.html

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.estimators import MLPClassifier
    >>> X = np.array([[-1.0, 0.0], [-0.5, 1.0], [0.5, 1.0], [1.0, 0.0]])
    >>> y = np.array(["left", "left", "right", "right"])
    >>> classifier = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    >>> classifier.predict([[2.0, 0.5]])
    array(['right'], dtype='<U5')
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MLP._parameter_constraints,
        "class_weight": [None, dict, StrOptions({"balanced"})],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dropout: Any = 0.0,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        scoring: Any = None,
        n_members: int | None = None,
        callbacks: Any = None,
        progress_bar: bool = False,
        device: Any = None,
        dtype: str | None = None,
        compile: Any = "auto",
    ) -> None:
        self._assign(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None) -> Self:
        """Train on samples.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            The labels; a matrix of 0 and 1 if a sample may have several.
        sample_weight : array of shape (n_samples,), optional
            The weights of the samples.
        eval_set : (X, y) or (X, y, sample_weight), optional
            Samples whose loss is measured after every epoch: `validation_loss_curve_`.

        Returns
        -------
        self : MLPClassifier
            The estimator.
        """
        return self._fit(X, y, sample_weight, eval_set=eval_set)

    @available_if(lambda self: self._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch on samples.

        Parameters
        ----------
        X, y, sample_weight : arrays
            As for `fit`.
        classes : array of shape (n_classes,), optional
            All labels; needed in the first call.

        Returns
        -------
        self : MLPClassifier
            The estimator.
        """
        with self._kept_if_it_fails():
            if _check_partial_fit_first_call(self, classes):
                self._label_binarizer = LabelBinarizer()
                y = on_host(y)
                self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
            return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted labels.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            Numbers are in the library and on the device of X.
        """
        caller, backend, A = self._probabilities(X, "predict")
        numbers = self.classes_.dtype.kind in "biuf"
        if caller.name == "numpy" or not numbers:
            A = HOST.asarray(backend.to_numpy(A))
            if self._label_binarizer.y_type_ == "multiclass":
                return self.classes_[A.argmax(axis=1)]
            return self._label_binarizer.inverse_transform(A.ravel() if self.n_outputs_ == 1 else A)
        xp = backend.xp
        with backend.on_device():
            if self._label_binarizer.y_type_ == "multilabel-indicator":
                labels = xp.astype(A > 0.5, xp.int32)
            else:
                codes = argmax_of_outputs(xp, A.mT) - 1.0 if A.shape[-1] > 1 else A[:, 0] > 0.5
                labels = xp.take(backend.asarray(self.classes_), xp.astype(codes, xp.int32))
        return bring("the labels", labels, caller)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        probabilities : array of shape (n_samples, n_classes)
            In the order of `classes_`, in the library and on the device of X.
        """
        caller, _, probabilities = self._of_classes(X, "predict_proba")
        return bring("the probabilities", probabilities, caller)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        log_probabilities : array of shape (n_samples, n_classes)
            As for `predict_proba`.
        """
        caller, backend, probabilities = self._of_classes(X, "predict_log_proba")
        with backend.on_device(), HOST.on_device():
            return bring("the logarithms", backend.xp.log(probabilities), caller)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy.

        Parameters
        ----------
        X, y, sample_weight : arrays
            As for `fit`.

        Returns
        -------
        score : float
            The fraction of the samples whose labels are all right.
        """
        labels, y, weight = map(on_host, (self.predict(X), y, sample_weight))
        is_plain = weight is None and isinstance(y, host.ndarray) and isinstance(labels, host.ndarray)
        if is_plain and y.shape == labels.shape == (y.size,) and y.dtype == labels.dtype == host.int64:
            return float((labels == y).mean())  # the checks of accuracy_score take longer than a small network
        return float(accuracy_score(y, labels, sample_weight=weight))

    def _probabilities(self, X: Any, method: str) -> tuple[Backend, Backend, Array]:
        caller, backend, A = self._outputs(X, method)
        with backend.on_device():
            return caller, backend, A if A.ndim == 2 else backend.xp.mean(A, axis=0)

    def _of_classes(self, X: Any, method: str) -> tuple[Backend, Backend, Array]:
        """Return the backends of the result and of the network, and the probabilities, of shape (m, classes)."""
        caller, backend, A = self._probabilities(X, method)
        with backend.on_device():
            return caller, backend, A if self.n_outputs_ > 1 else backend.xp.concat([1.0 - A, A], axis=-1)

    def _encoded(self, y: Any, *, incremental: bool, evaluates: bool) -> _Targets:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        incremental = incremental or evaluates
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            if not incremental:
                self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        if incremental or self.warm_start:
            self._check_classes(y, all_of_them=bool(self.warm_start) and not evaluates)
        if self._label_binarizer.y_type_ == "multiclass":
            return _Targets(host.searchsorted(self.classes_, y)[:, None], len(self.classes_), y)
        Y = self._label_binarizer.transform(y)
        return _Targets(Y.toarray() if sparse.issparse(Y) else Y, None, y)

    def _check_classes(self, y: Any, *, all_of_them: bool) -> None:
        classes, several = unique_labels(y), self._label_binarizer.y_type_ == "multilabel-indicator"
        if (y.ndim == 2) != several:
            expected = f"(n_samples, {len(self.classes_)})" if several else "(n_samples,)"
            msg = f"`y` must be of shape {expected}, as in the previous call, got {y.shape}"
            raise ValueError(msg)
        if all_of_them and set(classes) != set(self.classes_):
            msg = (
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
            raise ValueError(msg)
        if host.setdiff1d(classes, self.classes_, assume_unique=True).size:
            msg = f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            raise ValueError(msg)

    def _loss(self) -> Loss:
        several = self._label_binarizer.y_type_ == "multiclass"
        return LOSSES["categorical_crossentropy" if several else "binary_crossentropy"]

    def _output(self) -> tuple[str, Activation]:
        several = self._label_binarizer.y_type_ == "multiclass"
        return ("softmax", softmax) if several else ("logistic", sigmoid)

    def _stratifies(self) -> bool:
        return bool(self.n_outputs_ == 1)

    def _score_of(self, backend: Backend, A: Array, Y: Array, weight: Any) -> float:
        xp = backend.xp
        if len(self.classes_) == 1:
            return 1.0
        if self.out_activation_ == "softmax":
            right = argmax_of_outputs(xp, A) == argmax_of_outputs(xp, Y)
        else:
            right = xp.all((A > 0.5) == (Y > 0.5), axis=-2)
        right = xp.astype(right, A.dtype)
        return float(xp.mean(right) if weight is None else xp.sum(right * weight[0, :]) / xp.sum(weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    """A multilayer perceptron that predicts numbers: scikit-learn's `MLPRegressor`, on any arrays, with more.

    The parameters and attributes that scikit-learn's class has are the same, and give the same numbers [1]_. The
    network trains where X is: in the library and on the device of the array.

    Parameters
    ----------
    loss : str or Loss
        ``"squared_error"``, ``"poisson"``, ``"quantile"``, or another loss of `xpnet.losses`, such as ``"huber"``.
    quantile : float or list of float
        The quantile of ``loss="quantile"``, between 0 and 1. For a list, the network has an output for each quantile,
        and predictions are sorted.
    scoring : str, callable or None
        The score of early stopping, as for `MLPClassifier`; by default R², with ``loss="quantile"`` the loss.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter
        As for `MLPClassifier`.
    shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction
        As for `MLPClassifier`.
    beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As for `MLPClassifier`.
    dropout, weight_decay, clip_norm, n_members, callbacks, progress_bar, device, dtype, compile
        As for `MLPClassifier`.

    Attributes
    ----------
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_loss_curve_, validation_scores_
        As for `MLPClassifier`.
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, n_features_in_, feature_names_in_, out_activation_
        As for `MLPClassifier`.
    estimators_ : list of MLPRegressor
        The networks of `n_members`.

    References
    ----------
    .. [1] https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPRegressor.html

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.estimators import MLPRegressor
    >>> X = np.linspace(-1.0, 1.0, 50)[:, None]
    >>> regressor = MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", max_iter=1000, random_state=0)
    >>> bool(regressor.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.99)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "quantile", *_REGRESSION_LOSSES}), Loss],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }
    _y_checks: ClassVar[dict[str, Any]] = {"y_numeric": True}

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        quantile: Any = 0.5,
        dropout: Any = 0.0,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        scoring: Any = None,
        n_members: int | None = None,
        callbacks: Any = None,
        progress_bar: bool = False,
        device: Any = None,
        dtype: str | None = None,
        compile: Any = "auto",
    ) -> None:
        self._assign(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None) -> Self:
        """Train on samples.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array of shape (n_samples,), optional
            The weights of the samples.
        eval_set : (X, y) or (X, y, sample_weight), optional
            Samples whose loss is measured after every epoch: `validation_loss_curve_`.

        Returns
        -------
        self : MLPRegressor
            The estimator.
        """
        return self._fit(X, y, sample_weight, eval_set=eval_set)

    @available_if(lambda self: self._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on samples.

        Parameters
        ----------
        X, y, sample_weight : arrays
            As for `fit`.

        Returns
        -------
        self : MLPRegressor
            The estimator.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predicted numbers.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        return_std : bool
            Whether to return also the standard deviation over the networks of `n_members`.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            In the library and on the device of X; the mean over the networks of `n_members`. For a list of quantiles
            there is a last axis, with one number for each.
        std : array of the same shape
            If `return_std`.
        """
        caller, backend, A = self._outputs(X, "predict")
        xp = backend.xp
        with backend.on_device():
            if isinstance(self.loss, str) and self.loss == "quantile" and hasattr(self.quantile, "__iter__"):
                count = len(list(self.quantile))
                A = xp.reshape(A, (*A.shape[:-1], count, A.shape[-1] // count))
                A = xp.sort(xp.matrix_transpose(A), axis=-1)  # (..., m, targets, quantiles)
                A = A[..., 0, :] if A.shape[-2] == 1 else A
            elif A.shape[-1] == 1:
                A = A[..., 0]
            if not return_std:
                y = xp.mean(A, axis=0) if self._is_ensemble else A
                return bring("the predictions", y, caller)
            if not self._is_ensemble:
                msg = "return_std must be False without n_members, got True"
                raise ValueError(msg)
            return tuple(bring("the predictions", each, caller) for each in (xp.mean(A, axis=0), xp.std(A, axis=0)))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the fraction of the variance that is explained; with ``loss="quantile"`` that of the pinball loss.

        Parameters
        ----------
        X, y, sample_weight : arrays
            As for `fit`.

        Returns
        -------
        score : float
            At most 1.
        """
        predicted, y, weight = map(on_host, (self.predict(X), y, sample_weight))
        if not (isinstance(self.loss, str) and self.loss == "quantile"):
            return float(r2_score(y, predicted, sample_weight=weight))
        if not hasattr(self.quantile, "__iter__"):
            return float(d2_pinball_score(y, predicted, sample_weight=weight, alpha=self.quantile))
        scores = [
            d2_pinball_score(y, predicted[..., k], sample_weight=weight, alpha=sorted(self.quantile)[k])
            for k in range(predicted.shape[-1])
        ]
        return float(host.mean(scores))

    _takes_foreign_targets = True

    def _encoded(self, y: Any, *, incremental: bool, evaluates: bool) -> _Targets:
        backend = backend_of(y)
        xp = backend.xp
        if backend.name == "numpy" and y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        with backend.on_device():
            if backend.name != "numpy":
                real_array(xp, "y", y, y)
                finite_array(xp, "Input y", y)
                if y.ndim not in (1, 2):
                    msg = f"y must be of shape (n_samples,) or (n_samples, n_outputs), got {tuple(y.shape)}"
                    raise ValueError(msg)
            bounds = self._output()[1].bounds
            if bounds != (-host.inf, host.inf):
                low, high = float(xp.min(y)), float(xp.max(y))
                if low < bounds[0] or high > bounds[1]:
                    msg = (
                        f"y must be from {bounds[0]:g} to {bounds[1]:g} for loss={self.loss!r}, got {low:g} to {high:g}"
                    )
                    raise ValueError(msg)
            Y, count = y if y.ndim == 2 else y[:, None], len(self._quantiles())
            return _Targets(Y if count == 1 else xp.concat([Y] * count, axis=1), None, y)

    def _quantiles(self) -> list[float]:
        if not (isinstance(self.loss, str) and self.loss == "quantile"):
            return [0.5]
        quantiles = [float(q) for q in self.quantile] if hasattr(self.quantile, "__iter__") else [float(self.quantile)]
        if not quantiles or not all(0.0 < q < 1.0 for q in quantiles):
            msg = f"quantile must be between 0 and 1, or a list of such numbers, got {self.quantile!r}"
            raise ValueError(msg)
        return quantiles

    def _loss(self) -> Loss:
        if not isinstance(self.loss, str):
            return self.loss  # type: ignore[no-any-return]
        if self.loss == "quantile":
            return rules.quantile_loss(tuple(self._quantiles()))
        return rules.squared_error if self.loss == "squared_error" else _REGRESSION_LOSSES[self.loss]

    def _stops_by_default(self) -> str:
        return "loss" if isinstance(self.loss, str) and self.loss == "quantile" else "score"

    def _output(self) -> tuple[str, Activation]:
        return ("exp", exp) if isinstance(self.loss, str) and self.loss == "poisson" else ("identity", identity)

    def _score_of(self, backend: Backend, A: Array, Y: Array, weight: Any) -> float:
        xp = backend.xp
        weight = xp.ones_like(Y[:1, :]) if weight is None else weight
        mean = xp.sum(weight * Y, axis=-1, keepdims=True) / xp.sum(weight)
        residual, total = (xp.sum(weight * (each - Y) ** 2, axis=-1) for each in (A, mean))
        # As scikit-learn's r2_score: 0 where all targets are equal, unless all predictions are right.
        constant = xp.where(residual == 0.0, xp.ones_like(residual), xp.zeros_like(residual))
        some = xp.where(total == 0.0, xp.ones_like(total), total)
        return float(xp.mean(xp.where(total == 0.0, constant, 1.0 - residual / some)))
