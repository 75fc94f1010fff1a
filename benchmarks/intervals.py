"""Coverage of prediction intervals: how many new targets are inside, for many seeds, and where the targets vary most.

    python benchmarks/intervals.py [--seeds 200] [--output FILE]

On scikit-learn's diabetes set, each seed splits the samples into 264 to fit, 89 to conformalize, and 89 to test; on
1,000 each of points whose noise grows with x, a tenth of the seeds. Prints as JSON the mean coverage of intervals of
90 % with its standard error, there also in the half where the noise is larger, and that of intervals of constant width:
the absolute errors of a network that predicts the mean (split conformal prediction).
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from common import environment, write_report
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning

from xpnet import get_backend
from xpnet.estimators import MLPIntervalRegressor, MLPRegressor

LEVEL = 0.9
NETWORK = {"hidden_layer_sizes": (32,), "solver": "adamw", "batch_size": 32, "n_iter_no_change": 1000}


def diabetes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples in a random order, standardized."""
    X, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    return (X / X.std(axis=0))[order], ((y - y.mean()) / y.std())[order]


def noisy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points whose noise grows with x."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(0.0, 1.0, (3000, 1))
    return X, np.sin(4.0 * X[:, 0]) + (0.1 + X[:, 0]) * rng.standard_normal(3000)


def adaptive(parts: list[Any], settings: dict[str, Any]) -> np.ndarray:
    """Return whether each target of the last part is in its interval by conformalized quantile regression."""
    (X, y), (X_conformal, y_conformal), (X_test, y_test) = parts
    regressor = MLPIntervalRegressor(MLPRegressor(**settings), confidence_level=LEVEL)
    _, ends = regressor.fit(X, y).conformalize(X_conformal, y_conformal).predict_interval(X_test)
    return (ends[:, 0] <= y_test) & (y_test <= ends[:, 1])


def constant(parts: list[Any], settings: dict[str, Any]) -> np.ndarray:
    """Return the same for intervals of constant width."""
    (X, y), (X_conformal, y_conformal), (X_test, y_test) = parts
    regressor = MLPRegressor(**settings).fit(X, y)
    errors = np.sort(np.abs(y_conformal - regressor.predict(X_conformal)))
    return np.abs(y_test - regressor.predict(X_test)) <= errors[math.ceil(LEVEL * (len(errors) + 1)) - 1]


def summary(coverages: list[float]) -> dict[str, float]:
    """Return the mean and its standard error."""
    return {
        "mean": round(float(np.mean(coverages)), 4),
        "standard_error": round(float(np.std(coverages, ddof=1)) / math.sqrt(len(coverages)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="number of seeds, at least 20; default: %(default)s")
    parser.add_argument("--output", type=Path, help="file to also write the report to")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    coverages = {}
    cases = (
        ("diabetes", diabetes, (264, 353), arguments.seeds, {"learning_rate_init": 0.003, "max_iter": 60}),
        ("growing noise", noisy, (1000, 2000), arguments.seeds // 10, {"learning_rate_init": 0.01, "max_iter": 40}),
    )
    for name, draw, edges, seeds, settings in cases:
        for method in (adaptive, constant):
            everywhere, in_wide_half = [], []
            for seed in range(seeds):
                X, y = draw(seed)
                parts = list(zip(np.split(X, edges), np.split(y, edges), strict=True))
                inside = method(parts, {**NETWORK, **settings, "random_state": seed})
                everywhere.append(inside.mean())
                in_wide_half.append(inside[parts[2][0][:, 0] > 0.5].mean())
            coverages[f"{name}, {method.__name__}"] = {"seeds": seeds, **summary(everywhere)}
            if draw is noisy:
                coverages[f"{name}, {method.__name__}, wide half"] = {"seeds": seeds, **summary(in_wide_half)}
    report = {
        **environment(get_backend("cpu")),
        "scikit-learn": sklearn.__version__,
        "what": "mean coverage of intervals of 90 %: adaptive by conformalized quantile regression, or constant width",
        "coverage": coverages,
    }
    write_report(report, arguments.output)


if __name__ == "__main__":
    main()
