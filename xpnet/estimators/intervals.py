"""Prediction intervals with a guaranteed coverage: conformalized quantile regression."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from xpnet._checks import finite_array
from xpnet._types import Array
from xpnet.backends import backend_of
from xpnet.data.placement import bring
from xpnet.estimators.mlp import MLPRegressor


class MLPIntervalRegressor(RegressorMixin, BaseEstimator):
    """Predicts intervals that contain the target with a given probability, wider where the targets vary more.

    A network learns the quantiles (1 − c) / 2, ½ and (1 + c) / 2 of the target for the confidence level c. Other
    samples then show by how much the outer quantiles must move: with Eᵢ = max(lowerᵢ − yᵢ, yᵢ − upperᵢ), by the
    ⌈c (n + 1)⌉-th smallest of the n numbers Eᵢ. If samples are exchangeable, new targets are in the intervals with a
    probability of at least c, on average over the samples; this is conformalized quantile regression [1]_.

    Parameters
    ----------
    estimator : MLPRegressor, optional
        The network, whose loss and quantiles are replaced; by default ``MLPRegressor()``.
    confidence_level : float
        c, between 0 and 1.

    Attributes
    ----------
    estimator_ : MLPRegressor
        The fitted network.
    correction_ : float
        By how much the outer quantiles move outwards, or inwards if it is negative.
    n_features_in_ : int
        The number of inputs.

    References
    ----------
    .. [1] Romano, Patterson and Candès, "Conformalized quantile regression", 2019, https://arxiv.org/abs/1905.03222

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.estimators import MLPIntervalRegressor, MLPRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0.0, 1.0, (600, 1))
    >>> y = X[:, 0] * rng.standard_normal(600)
    >>> network = MLPRegressor(hidden_layer_sizes=(16,), learning_rate_init=0.01, max_iter=50, tol=0.0, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     regressor = MLPIntervalRegressor(network, confidence_level=0.8).fit(X[:300], y[:300])
    >>> median, intervals = regressor.conformalize(X[300:], y[300:]).predict_interval([[0.1], [0.9]])
    >>> widths = intervals[:, 1] - intervals[:, 0]
    >>> bool(widths[1] > 3 * widths[0])
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [None, MLPRegressor],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(self, estimator: Any = None, *, confidence_level: float = 0.9) -> None:
        self.estimator = estimator
        self.confidence_level = confidence_level

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array of shape (n_samples,)
            The targets.
        sample_weight : array of shape (n_samples,), optional
            The weights of the samples.

        Returns
        -------
        self : MLPIntervalRegressor
            The estimator, which needs `conformalize` before it predicts intervals.
        """
        self._validate_params()
        outside = (1.0 - self.confidence_level) / 2
        network = MLPRegressor() if self.estimator is None else clone(self.estimator)
        network.set_params(loss="quantile", quantile=[outside, 0.5, 1.0 - outside])
        network.fit(X, y, sample_weight)
        if network.n_outputs_ != 3:
            msg = f"y must have one target per sample, got {network.n_outputs_ // 3}"
            raise ValueError(msg)
        self.estimator_ = network
        for name in ("n_features_in_", "feature_names_in_", "correction_"):
            self.__dict__.pop(name, None)
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def conformalize(self, X: Any, y: Any) -> Self:
        """Measure by how much the quantiles must move, on samples that `fit` has not seen.

        Parameters
        ----------
        X, y : arrays
            As for `fit`.

        Returns
        -------
        self : MLPIntervalRegressor
            The estimator.

        Raises
        ------
        ValueError
            If there are too few samples for the confidence level.
        """
        check_is_fitted(self, "estimator_")
        quantiles = self.estimator_.predict(X)
        backend = backend_of(quantiles)
        xp, n = backend.xp, int(quantiles.shape[0])
        with backend.on_device():
            y = xp.astype(bring("y", y, backend), quantiles.dtype)
            if math.prod(y.shape) != n:
                msg = f"y must have one target for each of the {n} samples of X, got the shape {tuple(y.shape)}"
                raise ValueError(msg)
            finite_array(xp, "y", y)
            y = xp.reshape(y, (n,))
            rank = math.ceil(self.confidence_level * (n + 1) * (1.0 - 1e-12))  # without the error of the product
            if rank > n:
                least = math.ceil(self.confidence_level / (1.0 - self.confidence_level) * (1.0 - 1e-12))
                msg = f"conformalize needs {least} samples for confidence_level={self.confidence_level}, got {n}"
                raise ValueError(msg)
            outside = xp.maximum(quantiles[:, 0] - y, y - quantiles[:, 2])
            self.correction_ = float(xp.sort(outside)[rank - 1])
        return self

    def predict(self, X: Any) -> Array:
        """Return the predicted medians.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        y : array of shape (n_samples,)
            In the library and on the device of X.
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict(X)[:, 1]

    def predict_interval(self, X: Any) -> tuple[Array, Array]:
        """Return the predicted medians and the intervals around them.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        y : array of shape (n_samples,)
            The medians, in the library and on the device of X.
        intervals : array of shape (n_samples, 2)
            The lower and the upper ends.

        Raises
        ------
        NotFittedError
            If `conformalize` has not been called.
        """
        check_is_fitted(self, "estimator_")
        if not hasattr(self, "correction_"):
            msg = "predict_interval needs conformalize(X, y), with samples that fit has not seen"
            raise NotFittedError(msg)
        quantiles = self.estimator_.predict(X)
        backend = backend_of(quantiles)
        with backend.on_device():
            lower, upper = quantiles[:, 0] - self.correction_, quantiles[:, 2] + self.correction_
            middle = 0.5 * (lower + upper)  # where a negative correction is larger than half the interval
            xp = backend.xp
            return quantiles[:, 1], xp.stack([xp.minimum(lower, middle), xp.maximum(upper, middle)], axis=1)
