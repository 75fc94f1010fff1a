"""Time of a search for hyperparameters, and of a partial fit: with scikit-learn's networks and with xpnet's.

    python benchmarks/search.py [--penalties 8] [--rates 8] [--folds 5] [--epochs 5] [--jobs 2] [--processes 2]
                                [--rounds 5] [--calls 200] [--device cpu] [--output FILE]

The candidates are all pairs of a penalty and a learning rate; the networks (64, 32, 10) learn scikit-learn's digits in
batches of 32 with Adam. GridSearchCV over scikit-learn's networks uses processes, and MLPGridSearchCV threads, on as
many cores as --jobs. A partial fit takes 32 rows. The variants alternate, round by round, in several processes, after a
round that is not counted: then scikit-learn's processes run, and kernels are compiled. Every process starts with an
empty cache of kernels. Prints as JSON the median times, the median time of the first compiled search, and the median
ratios to scikit-learn's time in the same round; --output also writes it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sklearn
from common import environment, in_processes, interleaved, median_ratio, parse_arguments, write_report
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as ScikitLearnsMLPClassifier

from xpnet import get_backend
from xpnet.estimators import MLPClassifier, MLPGridSearchCV

DTYPES = ("float64", "float32")
OTHER, EAGER, COMPILED, DEFAULT = "scikit-learn", "xpnet, eager", "xpnet, compiled", "xpnet"


def measure(arguments: Namespace) -> dict[str, list[float]]:
    """Return the seconds of every variant and round, of the first compiled searches, and differences of scores."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = load_digits(return_X_y=True)
    grid = {
        "alpha": np.geomspace(1e-5, 1.0, arguments.penalties).tolist(),
        "learning_rate_init": np.geomspace(1e-4, 0.1, arguments.rates).tolist(),
    }
    searches, scores = {}, {}
    with tempfile.TemporaryDirectory() as caches:
        os.environ["XPNET_CACHE_DIR"] = caches
        for dtype in DTYPES:
            data = (X / 16).astype(dtype), y
            for name in (OTHER, EAGER, COMPILED):
                run = partial(search, name, grid, data, arguments, scores, f"{name}, {dtype}")
                searches[f"search, {name}, {dtype}"] = run
        first = {f"first search, {COMPILED}, {dtype}": [] for dtype in DTYPES}
        for dtype in DTYPES:
            start = time.perf_counter()
            searches[f"search, {COMPILED}, {dtype}"]()
            first[f"first search, {COMPILED}, {dtype}"].append(time.perf_counter() - start)
        seconds = interleaved(searches | partial_fits(X, y, arguments), arguments.rounds)
    differences = {}
    for dtype in DTYPES:
        expected = scores[f"{OTHER}, {dtype}"]
        for name in (EAGER, COMPILED):
            largest = np.max(np.abs(scores[f"{name}, {dtype}"] - expected))
            differences[f"difference, {name}, {dtype}"] = [float(largest)]
    get_reusable_executor().shutdown()  # else this process ends only when its idle processes do
    for name in seconds:
        if name.startswith("partial fit"):
            seconds[name] = [time / arguments.calls for time in seconds[name]]
    return {**seconds, **first, **differences}


def search(
    name: str, grid: dict[str, list[float]], data: Any, arguments: Namespace, scores: dict[str, Any], place: str
) -> None:
    """Search the grid, and keep the mean scores."""
    settings = {"hidden_layer_sizes": (32,), "batch_size": 32, "max_iter": arguments.epochs, "random_state": 0}
    if name == OTHER:
        kind, network = GridSearchCV, ScikitLearnsMLPClassifier(**settings)
    else:
        kind = MLPGridSearchCV
        network = MLPClassifier(**settings, compile=name == COMPILED, device=arguments.device)
    fitted = kind(network, grid, cv=arguments.folds, n_jobs=arguments.jobs, refit=False).fit(*data)
    scores[place] = fitted.cv_results_["mean_test_score"]


def partial_fits(X: np.ndarray, y: np.ndarray, arguments: Namespace) -> dict[str, Callable[[], object]]:
    """Return functions that fit networks again and again to the same 32 rows."""
    variants = {}
    for dtype in DTYPES:
        rows, labels, classes = (X[:32] / 16).astype(dtype), y[:32], np.arange(10)
        for name, kind in ((OTHER, ScikitLearnsMLPClassifier), (DEFAULT, MLPClassifier)):
            network = kind((32,), random_state=0).partial_fit(rows, labels, classes=classes)

            def run(network: Any = network, rows: np.ndarray = rows, labels: np.ndarray = labels) -> None:
                for _ in range(arguments.calls):
                    network.partial_fit(rows, labels)

            variants[f"partial fit, {name}, {dtype}"] = run
    return variants


def main() -> None:
    options = {"penalties": 8, "rates": 8, "folds": 5, "epochs": 5, "jobs": 2, "calls": 200}
    arguments = parse_arguments(__doc__, processes=2, **options)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.jobs])
    measured = in_processes(arguments.processes, measure, arguments)
    seconds = {name: times for name, times in measured.items() if not name.startswith("difference")}
    candidates = arguments.penalties * arguments.rates
    report = {
        **environment(get_backend(arguments.device)),
        "scikit-learn": sklearn.__version__,
        "what": f"{candidates} candidates × {arguments.folds} folds × {arguments.epochs} epochs of networks "
        "(64, 32, 10) on digits, in batches of 32, Adam; a partial fit of 32 rows",
        "jobs": arguments.jobs,
        "processes": arguments.processes,
        "rounds": arguments.rounds,
        "seconds": {name: float(f"{statistics.median(times):.3g}") for name, times in seconds.items()},
        "times_as_fast_as_scikit_learn": {
            name: float(f"{median_ratio(seconds[f'{work}, {OTHER}, {dtype}'], times):.3g}")
            for name, times in seconds.items()
            for work, _, rest in [name.partition(", ")]
            for peer, _, dtype in [rest.rpartition(", ")]
            if work != "first search" and peer != OTHER
        },
        "largest_difference_of_mean_scores": {
            name.removeprefix("difference, "): max(values)
            for name, values in measured.items()
            if name.startswith("difference")
        },
    }
    write_report(report, arguments.output)


if __name__ == "__main__":
    main()
