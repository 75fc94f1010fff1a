"""Search for hyperparameters, with all networks of a search trained together.

A search has a network for each candidate and each fold. Those that differ only in what each network may have for itself
(the learning rate, the penalty, the random state, when it ends) train as one ensemble, each on the rows of its fold.
scikit-learn's search then scores them: where it fits a network with the parameters and the data of a trained one, the
network takes over what that one has learned.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Self

from joblib import Parallel, delayed, effective_n_jobs
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _check_method_params, _num_samples
from threadpoolctl import threadpool_limits

from xpnet.backends import HOST
from xpnet.estimators.base import BaseMLP, fit_together, on_host
from xpnet.estimators.handover import Trained

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
            Parameters of `fit`, such as ``sample_weight``, and those of the splitter, such as ``groups``.

        Returns
        -------
        self : estimator
            The search.
        """
        network = self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator
        if not isinstance(network, BaseMLP):
            msg = (
                "estimator must be an MLPClassifier or MLPRegressor of xpnet.estimators, or a Pipeline that ends with "
                f"one, got {type(network).__name__}"
            )
            raise TypeError(msg)
        self._validate_params()  # type: ignore[attr-defined]
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self._given, kept = (X, y, params, splitter, self.n_jobs), {"cv": self.cv, "n_jobs": self.n_jobs}
        # An iterable of folds is used up here; and n_jobs is for the training, not for the scoring after it.
        self.cv, self.n_jobs = splitter, 1
        try:
            return super().fit(X, y, **params)  # type: ignore[misc, no-any-return]
        finally:
            self.__dict__.update(kept)
            del self._given

    def _routed(self, params: dict[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return those parameters of `fit` that go to the splitter, and to the `fit` of the network."""
        last = self.estimator.steps[-1][0] if isinstance(self.estimator, Pipeline) else None
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **params)
            given = routed.estimator.fit
            return routed.splitter.split, process_routing(self.estimator, "fit", **given)[last].fit if last else given
        prefix = f"{last}__" if last else ""
        given = {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
        return {name: value for name, value in params.items() if name == "groups"}, given

    def _candidates(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _run_search(self, evaluate_candidates: Any) -> None:
        candidates = self._candidates()
        X, y, params, splitter, n_jobs = self._given
        X, y = indexable(X, y)
        of_splitter, of_network = self._routed(params)
        folds = list(splitter.split(X, y, **of_splitter))
        data = _Data(X, y, of_network.get("sample_weight"))
        # The products of small networks take longer on several threads.
        with threadpool_limits(1, "blas"):
            trained = Trained(_trained(self.estimator, candidates, data, folds, n_jobs))
            with trained.taken_over():
                evaluate_candidates(candidates, _Folds(folds))


class _Folds(NamedTuple):
    """A splitter that returns folds that are split already."""

    folds: list[Any]

    def split(self, X: Any, y: Any = None, **params: Any) -> Iterator[Any]:
        """Return the folds."""
        return iter(self.folds)


class _Data(NamedTuple):
    """X, y and the weights of samples or None."""

    X: Any
    y: Any
    weight: Any

    def at(self, rows: Any) -> _Data:
        """Return some rows, as scikit-learn's searches do."""
        X, y = (each if each is None else _safe_indexing(each, rows) for each in (self.X, self.y))
        return _Data(X, y, _check_method_params(self.X, {"weight": self.weight}, rows)["weight"])


class _Network(NamedTuple):
    """A network of a search: of a candidate, with its parameters, on some rows of the data of a fold."""

    estimator: Any
    parameters: dict[str, Any]
    data: _Data
    rows: Any


def _trained(
    estimator: Any, candidates: list[dict[str, Any]], data: _Data, folds: list[Any], n_jobs: Any
) -> list[tuple[Any, dict[str, Any], Callable[[], Sequence[Any]]]]:
    """Return trained networks of all candidates and folds, candidates first, with the parameters and data of each.

    What fails here is not among them. scikit-learn's search then meets the same error, and reports it.
    """
    networks: list[_Network] = []
    groups: dict[Any, list[_Network]] = {}
    prepared: dict[Any, _Data | None] = {}
    numbers = host.arange(_num_samples(data.X))
    rows_of_folds = [numbers[host.asarray(train)] for train, _ in folds]
    alike = [not is_classifier(estimator) or _has_all_classes(data.y, rows) for rows in rows_of_folds]

    def of_fold(k: int, steps: Any, of_steps: bytes) -> tuple[Any, _Data | None, Any]:
        """Return data of a fold after the steps before the network, with what names it, and the rows to train on."""
        if not steps:
            return None, data, rows_of_folds[k]
        place = k, of_steps
        if place not in prepared:
            prepared[place] = _prepared(steps, data.at(rows_of_folds[k]))
        return place, prepared[place], host.arange(len(rows_of_folds[k]))

    for candidate in candidates:
        with suppress(Exception):
            whole = clone(estimator).set_params(**clone(candidate, safe=False))
            steps, network = (whole[:-1], whole[-1]) if isinstance(whole, Pipeline) else (None, whole)
            if not isinstance(network, BaseMLP):
                continue
            network._validate_params()
            together, of_steps = _group(network), pickle.dumps(steps.get_params() if steps else None)
            for k in range(len(folds)):
                place, given, rows = of_fold(k, steps, of_steps)
                if given is None:
                    continue
                own = copy.copy(network)  # to clone it takes much longer
                own.random_state = copy.deepcopy(own.random_state)
                key = (together, len(rows), place) if together is not None and alike[k] else len(networks)
                networks.append(_Network(own, network.get_params(deep=False), given, rows))
                groups.setdefault(key, []).append(networks[-1])

    def train(part: list[_Network]) -> None:
        first = part[0]
        with suppress(Exception):
            if len(part) > 1:
                fit_together([each.estimator for each in part], *first.data, [each.rows for each in part])
            else:
                first.estimator.fit(*first.data.at(first.rows))

    parts = [part for members in groups.values() for part in _parts(members, n_jobs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # those who take the networks over warn
        Parallel(n_jobs=n_jobs, prefer="threads")(delayed(train)(part) for part in parts)
    return [
        (network.estimator, network.parameters, partial(network.data.at, network.rows))
        for network in networks
        if hasattr(network.estimator, "coefs_")
    ]


def _has_all_classes(y: Any, rows: Any) -> bool:
    """Return whether some rows have all labels of y. In a matrix, each column is one."""
    try:
        labels = host.asarray(on_host(y))
        labels = labels.ravel() if labels.ndim == 2 and labels.shape[1] == 1 else labels
        return bool(labels.ndim != 1 or host.unique(labels[rows]).size == host.unique(labels).size)
    except Exception:  # labels of mixed types have no order
        return False


def _group(network: Any) -> bytes | None:
    """Return what networks have in common that can train together, or None if this one trains alone."""
    static = {name: value for name, value in network.get_params(deep=False).items() if name not in _OF_EACH}
    if static["solver"] == "lbfgs" or static["n_members"] is not None or static["callbacks"]:
        return None
    if static.get("class_weight") == "balanced":  # in each fold
        return None
    try:
        return pickle.dumps((type(network), static))
    except Exception:  # such as a lambda function
        return None


def _prepared(steps: Pipeline, data: _Data) -> _Data | None:
    """Return data after the steps before the network, which are fitted to it, or None if one fails."""
    with suppress(Exception):
        return data._replace(X=clone(steps).fit_transform(data.X, data.y))
    return None


def _parts(members: list[_Network], n_jobs: Any) -> list[list[_Network]]:
    """Return networks in parts that train at a time: few enough for memory, and equally many for each job."""
    estimator, features = members[0].estimator, getattr(members[0].data.X, "shape", (0, 1))[-1]
    size = 200 if estimator.batch_size == "auto" else estimator.batch_size
    sizes = [features, *estimator._hidden_sizes(), 1]
    numbers = 8 * sum(n_in * n_out for n_in, n_out in pairwise(sizes)) + 4 * size * sum(sizes)
    # More than for one thread, because threads wait for each other between operations.
    at_once = max(4 * HOST.step_memory // (8 * numbers), 1)
    jobs = effective_n_jobs(n_jobs)
    count = min(jobs * -(-len(members) // (jobs * at_once)), len(members))
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
