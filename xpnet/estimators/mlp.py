"""Multilayer perceptrons with the interface of scikit-learn's, which train on the arrays they are given."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, d2_pinball_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from xpnet._checks import finite_array, real_array
from xpnet._types import Array
from xpnet.activations import Activation, exp, identity, sigmoid, softmax
from xpnet.backends import HOST, Backend, backend_of
from xpnet.data.placement import bring
from xpnet.estimators import rules
from xpnet.estimators.base import BaseMLP, Targets, on_host
from xpnet.losses import LOSSES, Loss
from xpnet.metrics import argmax_of_outputs

host = HOST.xp

_REGRESSION_LOSSES = {name: loss for name, loss in LOSSES.items() if "crossentropy" not in name}


class MLPClassifier(ClassifierMixin, BaseMLP):
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
        **BaseMLP._parameter_constraints,
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

    def _encoded(self, y: Any, *, incremental: bool, evaluates: bool) -> Targets:
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
            return Targets(host.searchsorted(self.classes_, y)[:, None], len(self.classes_), y)
        Y = self._label_binarizer.transform(y)
        return Targets(Y.toarray() if sparse.issparse(Y) else Y, None, y)

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


class MLPRegressor(RegressorMixin, BaseMLP):
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
        **BaseMLP._parameter_constraints,
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
            if self._learns_quantiles and hasattr(self.quantile, "__iter__"):
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
        if not self._learns_quantiles:
            return float(r2_score(y, predicted, sample_weight=weight))
        if not hasattr(self.quantile, "__iter__"):
            return float(d2_pinball_score(y, predicted, sample_weight=weight, alpha=self.quantile))
        scores = [
            d2_pinball_score(y, predicted[..., k], sample_weight=weight, alpha=sorted(self.quantile)[k])
            for k in range(predicted.shape[-1])
        ]
        return float(host.mean(scores))

    _takes_foreign_targets = True

    def _encoded(self, y: Any, *, incremental: bool, evaluates: bool) -> Targets:
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
            return Targets(Y if count == 1 else xp.concat([Y] * count, axis=1), None, y)

    @property
    def _learns_quantiles(self) -> bool:
        return isinstance(self.loss, str) and self.loss == "quantile"

    def _quantiles(self) -> list[float]:
        if not self._learns_quantiles:
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
        return "loss" if self._learns_quantiles else "score"

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
