"""How much the losses of xpnet's estimators differ from those of scikit-learn's networks, on small and larger sets.

    python benchmarks/same_numbers.py [--epochs 30] [--output FILE]

Both train with the same settings and random state. Prints as Markdown the largest relative difference of the losses of
all epochs (with L-BFGS of the final loss), for each set and configuration; --output writes them as JSON.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from common import environment, write_report
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from xpnet import estimators, get_backend

SGD = {"solver": "sgd", "learning_rate_init": 0.02}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "Adam": {},
    "SGD": SGD,
    "SGD, adaptive": {**SGD, "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 2},
    "SGD, inverse scaling": {**SGD, "learning_rate": "invscaling", "nesterovs_momentum": False},
    "batches of 32, tanh": {"batch_size": 32, "activation": "tanh", "alpha": 0.1},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3},
    "two hidden layers": {"hidden_layer_sizes": (64, 32), "activation": "logistic"},
    "weights of samples": {"weighted": True},
    "L-BFGS": {"solver": "lbfgs", "alpha": 0.1},
}
SETS = ["iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud", "friedman"]


def samples_of(name: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return standardized inputs, targets, and whether they are classes."""
    if name == "friedman":
        X, y = datasets.make_friedman1(5000, noise=1.0, random_state=0)
    else:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    is_class = y.dtype.kind == "i"
    return StandardScaler().fit_transform(X), y if is_class else y / y.std(axis=0), is_class


def difference(name: str, settings: dict[str, Any], epochs: int) -> float:
    """Return the largest relative difference of the losses of two networks."""
    X, y, is_class = samples_of(name)
    settings = {"hidden_layer_sizes": (50,), "max_iter": epochs, "random_state": 0, **settings}
    weight = np.random.default_rng(0).uniform(0.1, 3.0, len(X)) if settings.pop("weighted", False) else None
    kind = "MLPClassifier" if is_class else "MLPRegressor"
    losses = []
    for module in (neural_network, estimators):
        fitted = getattr(module, kind)(**settings).fit(X, y, weight)
        losses.append([fitted.loss_] if settings.get("solver") == "lbfgs" else fitted.loss_curve_)
    theirs, ours = map(np.asarray, losses)
    return float(np.max(np.abs(ours / theirs - 1))) if theirs.shape == ours.shape else np.inf


def table(differences: dict[str, dict[str, float]]) -> str:
    """Return the differences as a table in Markdown, with a row for each configuration."""
    rows = [["", *(name.replace("_", " ") for name in differences)], ["---"] * (len(differences) + 1)]
    for name in CONFIGURATIONS:
        rows.append([name, *(f"{each[name]:.0e}" if each[name] else "0" for each in differences.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30, help="at most, of each training; default: %(default)s")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--output", type=Path, help="file to write the report to")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", "Got `batch_size`")  # linnerud has 20 samples
    differences = {
        name: {each: difference(name, settings, arguments.epochs) for each, settings in CONFIGURATIONS.items()}
        for name in arguments.sets
    }
    report = {
        **environment(get_backend("cpu")),
        "scikit-learn": sklearn.__version__,
        "what": f"largest relative difference of the losses of at most {arguments.epochs} epochs, float64",
        "differences": {
            name: {each: float(f"{value:.1g}") for each, value in values.items()}
            for name, values in differences.items()
        },
    }
    write_report(report, arguments.output)
    print(table(report["differences"]))


if __name__ == "__main__":
    main()
