"""What multilayer perceptrons with the interface of scikit-learn's have in common: parameters, data, fit, outputs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, check_X_y, compute_sample_weight
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from xpnet._checks import finite_array, type_name
from xpnet._types import Array, Layers, State
from xpnet.activations import ACTIVATIONS, Activation, sigmoid
from xpnet.backends import HOST, Backend, Stream, backend_of, get_backend, streams
from xpnet.core.parameters import Layout, flatten
from xpnet.core.propagation import forward
from xpnet.core.step import Step, make_step, objective
from xpnet.data.placement import bring
from xpnet.data.samples import BLOCK, Samples
from xpnet.estimators import rules
from xpnet.estimators.fitting import Course, Fitting, SparseSamples
from xpnet.estimators.handover import TRAINED
from xpnet.losses import Loss, sample_losses
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.training import lbfgs

host = HOST.xp

_ACTIVATIONS = {**ACTIVATIONS, "logistic": sigmoid}
_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
_FTOL = 1e7 * float(host.finfo("float64").eps)  # SciPy's default
_MEMBER_SEEDS = int(host.iinfo("int32").max)


_OF_OPTIMIZER = [
    *("solver", "learning_rate", "learning_rate_init", "power_t"),
    *("momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon"),
]
"""The parameters that a training keeps while it continues with the optimizer's state, as in scikit-learn."""


class Targets(NamedTuple):
    """Targets on the host or a device, as rows: numbers, or classes as numbers from 0; and as they were passed."""

    Y: Any
    classes: int | None
    passed: Any


class BaseMLP(BaseEstimator):
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

    def _outputs_of(self, targets: Targets) -> int:
        """Return the number of outputs."""
        return targets.classes or int(targets.Y.shape[1])

    def _encoded(self, y: Any, *, incremental: bool, evaluates: bool) -> Targets:
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
        self, samples: Samples, targets: Targets, *, first: bool, incremental: bool = False, rows: Any = None
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
        targets: Targets,
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

    def _start(self, samples: Samples, targets: Targets, theta: Array, *, resets: bool) -> None:
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

    def _hold_out(self, course: Course, targets: Targets) -> None:
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

    def _validation_score(self, step: Step, samples: Samples, targets: Targets, theta: Array, course: Course) -> float:
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
    ) -> tuple[Any, Targets, Any]:
        """Return validated data: X in its library, or as a sparse matrix; targets; weights with those of classes."""
        if y is None:
            msg = f"This {type(self).__name__} estimator requires y to be passed, but the target y is None"
            raise ValueError(msg)
        checks = {"multi_output": True, "dtype": (host.float64, host.float32), **self._y_checks}
        if is_foreign(X):
            X = self._foreign(X, reset=reset)
            check_consistent_length(X, y)
            if not (is_foreign(y) and self._takes_foreign_targets):
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
        if is_foreign(X):
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
            estimator._finish(step, fitting.one(state, k))


def _fitting(estimators: Sequence[Any], step: Step, samples: Samples, targets: Targets, *, many: bool) -> Fitting:
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


def _rows(data: Any, rows: Any) -> Any:
    """Return some rows of an array of any library, or of a sparse matrix; None of None."""
    if not is_foreign(data):
        return None if data is None else data[rows]
    backend = backend_of(data)
    return backend.xp.take(data, backend.asarray(rows, "int32"), axis=0)


def is_foreign(x: Any) -> bool:
    """Return whether data is an array of a library other than NumPy, not a list, a data frame or a sparse matrix."""
    return not sparse.issparse(x) and x is not None and backend_of(x).name != "numpy"


def on_host(x: Any) -> Any:
    """Return an array of any library as an array of NumPy."""
    return backend_of(x).to_numpy(x) if is_foreign(x) else x


def _samples(backend: Backend, dtype: str, X: Any, targets: Targets, weight: Any) -> Samples:
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
