"""Search for hyperparameters, with all networks of a search trained together.

A search has a network for each candidate and each fold. Those that differ only in what each network may have for itself
(the learning rate, the penalty, the random state, when it ends) train as one ensemble, each on the rows of its fold.
scikit-learn's search then scores them: its `fit` of an estimator is replaced by taking the trained network.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple, Self

from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from threadpoolctl import threadpool_limits

from xpnet.backends import HOST
from xpnet.estimators.mlp import MLPClassifier, MLPRegressor, fit_together, taking

host = HOST.xp

_OF_EACH = {"alpha", "learning_rate", "learning_rate_init", "power_t", "random_state", "tol", "n_iter_no_change"}
"""The parameters that networks that train together may have for themselves."""


class _Together:
    """What makes a search of scikit-learn train all networks together."""

    estimator: Any
    cv: Any
    n_jobs: Any

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Train and score all candidates, and train the best one on all samples.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        **params : dict
            Parameters of `fit`: ``sample_weight``, and those of the splitter.

        Returns
        -------
        self : estimator
            The search.
        """
        self._network()
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        folds = list(cv.split(X, y, **{name: value for name, value in params.items() if name == "groups"}))
        self._given = X, y, params.get("sample_weight"), folds, self.n_jobs
        # The scoring has the same folds; it takes trained networks one by one, and n_jobs is for the training.
        kept = {"cv": self.cv, "n_jobs": self.n_jobs}
        self.cv, self.n_jobs = folds, None
        try:
            return super().fit(X, y, **params)  # type: ignore[misc, no-any-return]
        finally:
            vars(self).update(kept)
            del self._given

    def _network(self) -> Any:
        """Return the estimator of the networks: the last step of a pipeline."""
        last = self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator
        if not isinstance(last, (MLPClassifier, MLPRegressor)):
            msg = (
                "estimator must be an MLPClassifier or MLPRegressor of xpnet.estimators, or a Pipeline that ends with "
                f"one, got {type(last).__name__}"
            )
            raise TypeError(msg)
        return last

    def _candidates(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _run_search(self, evaluate_candidates: Any) -> None:
        candidates = self._candidates()
        X, y, weight, folds, n_jobs = self._given
        rows = [train for train, _ in folds]
        # The products of small networks take longer on several threads.
        with (
            threadpool_limits(1, "blas"),
            taking(iter(_trained(self.estimator, candidates, rows, X, y, weight, n_jobs))),
        ):
            evaluate_candidates(candidates)


class _Network(NamedTuple):
    """A network of a search: of a candidate, on the rows of a fold."""

    estimator: Any
    fold: int
    X: Any
    y: Any
    weight: Any
    rows: Any


def _trained(
    estimator: Any, candidates: list[dict[str, Any]], folds: list[Any], X: Any, y: Any, weight: Any, n_jobs: Any
) -> list[Any]:
    """Return the trained networks, or errors, of all candidates and folds, folds innermost."""
    results: list[Any] = []
    groups: dict[Any, list[int]] = {}
    networks: list[_Network] = []
    inputs: dict[Any, Any] = {}
    labels = set(host.unique(host.asarray(y)).tolist()) if is_classifier(estimator) else set()
    for candidate in candidates:
        whole = clone(estimator).set_params(**clone(candidate, safe=False))
        for k, rows in enumerate(folds):
            own, place = clone(whole) if isinstance(whole, Pipeline) else _copied(whole), None
            network = _Network(own, k, X, y, weight, rows)
            if isinstance(own, Pipeline):
                place = k, _text(own[:-1].get_params())
                if place not in inputs:
                    inputs[place] = _prepared(own[:-1], network)
                if isinstance(inputs[place], Exception):
                    continue  # scikit-learn's search meets the same error before it fits the network
                network = inputs[place]._replace(estimator=own.steps[-1][1])
            static = {n: value for n, value in network.estimator.get_params(deep=False).items() if n not in _OF_EACH}
            alone = static["solver"] == "lbfgs" or static["n_members"] is not None or bool(static["callbacks"])
            if labels:
                alone |= set(host.unique(host.asarray(network.y)[network.rows]).tolist()) != labels
            key = len(networks) if alone else (len(rows), place, _text(static))
            groups.setdefault(key, []).append(len(networks))
            networks.append(network)
    results = [network.estimator for network in networks]

    def train(members: list[int]) -> None:
        own = [networks[i] for i in members]
        given = own[0].X, own[0].y, own[0].weight
        try:
            if len(members) > 1:
                fit_together([each.estimator for each in own], *given, [each.rows for each in own])
            else:
                X, y, weight = (None if each is None else _safe_indexing(each, own[0].rows) for each in given)
                own[0].estimator.fit(X, y, weight)
        except Exception as error:  # scikit-learn's search reports it
            for i in members:
                results[i] = error

    parts = [part for members in groups.values() for part in _parts(members, networks[members[0]], n_jobs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # those who take the networks over warn
        Parallel(n_jobs=n_jobs, prefer="threads")(delayed(train)(part) for part in parts)
    return results


def _copied(estimator: Any) -> Any:
    """Return an estimator that is not fitted with the same parameters; to clone it takes much longer."""
    own = copy.copy(estimator)
    own.random_state = copy.deepcopy(own.random_state)
    return own


def _text(parameters: Mapping[str, Any]) -> str:
    return repr(sorted((name, repr(value)) for name, value in parameters.items()))


def _prepared(steps: Pipeline, network: _Network) -> _Network | Exception:
    """Return a network on the rows of its fold after the steps before it, or the error of a step."""
    X, y, weight = (None if each is None else _safe_indexing(each, network.rows) for each in network[2:5])
    try:
        X = steps.fit_transform(X, y) if len(steps) else X
    except Exception as error:  # as any step may raise
        return error
    return network._replace(X=X, y=y, weight=weight, rows=host.arange(len(network.rows)))


def _parts(members: list[int], network: _Network, n_jobs: Any) -> list[list[int]]:
    """Return networks in parts that train at a time: few enough for the cache, and at least one for each job."""
    estimator, features = network.estimator, getattr(network.X, "shape", (0, 1))[-1]
    size = 200 if estimator.batch_size == "auto" else estimator.batch_size
    sizes = [features, *estimator._hidden_sizes(), 1]
    numbers = 8 * sum(n_in * n_out for n_in, n_out in pairwise(sizes)) + 4 * size * sum(sizes)
    at_once = max(HOST.step_memory // (8 * numbers), 1)
    count = max(-(-len(members) // at_once), min(effective_n_jobs(n_jobs), len(members)))
    edges = [len(members) * part // count for part in range(count + 1)]
    return [members[start:stop] for start, stop in pairwise(edges)]


class MLPGridSearchCV(_Together, GridSearchCV):
    """scikit-learn's `GridSearchCV` for networks of xpnet: those of all candidates and folds train together.

    The parameters, methods and attributes are those of `GridSearchCV` [1]_, and the scores are the same. `estimator` is
    an `MLPClassifier` or `MLPRegressor`, or a `Pipeline` that ends with one: its other steps are fitted once for each
    fold. Networks train together that differ in ``alpha``, ``learning_rate``, ``learning_rate_init``, ``power_t``,
    ``random_state``, ``tol`` or ``n_iter_no_change``; other parameters make groups, one after the other. `n_jobs` is
    the number of threads.

    References
    ----------
    .. [1] https://scikit-learn.org/stable/modules/generated/sklearn.model_selection.GridSearchCV.html

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xpnet.estimators import MLPClassifier, MLPGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"alpha": [1e-4, 1e-2], "learning_rate_init": [0.001, 0.01, 0.1]}
    >>> classifier = MLPClassifier((8,), max_iter=5, n_iter_no_change=5, tol=0.0, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     search = MLPGridSearchCV(classifier, grid, cv=3).fit(X, y)
    >>> search.best_params_["learning_rate_init"]
    0.1
    """

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class MLPRandomizedSearchCV(_Together, RandomizedSearchCV):
    """scikit-learn's `RandomizedSearchCV` for the estimators of xpnet, see `MLPGridSearchCV`.

    The parameters, methods and attributes are those of `RandomizedSearchCV` [1]_.

    References
    ----------
    .. [1] https://scikit-learn.org/stable/modules/generated/sklearn.model_selection.RandomizedSearchCV.html

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from xpnet.estimators import MLPClassifier, MLPRandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((8,), solver="adam", max_iter=5, random_state=0)
    >>> distributions = {"alpha": loguniform(1e-5, 1.0), "learning_rate_init": loguniform(1e-3, 1e-1)}
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     search = MLPRandomizedSearchCV(classifier, distributions, n_iter=10, cv=3, random_state=0).fit(X, y)
    >>> len(search.cv_results_["params"])
    10
    """

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state))
