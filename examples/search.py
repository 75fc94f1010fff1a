"""A search for hyperparameters trains all its networks at once: which penalty and learning rate classify digits best?

The grid has a network for each penalty, learning rate and fold of the cross-validation. The same grid is then searched
with scikit-learn's GridSearchCV and networks, one after the other, and the scores are compared.

    python examples/search.py --jobs 2 --device cpu

The search needs scikit-learn, which also has the digits: pip install "xpnet[sklearn]".
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import add_option, import_scikit_learn, make_parser, print_backend, run_example, save

from xpnet import get_backend


def grid(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the penalties and the learning rates, which grow by equal factors."""
    for name in ("penalties", "rates"):
        if getattr(options, name) < 1:
            msg = f"{name} must be a positive integer, got {getattr(options, name)}"
            raise ValueError(msg)
    return {
        "alpha": np.geomspace(3e-3, 1.0, options.penalties).tolist(),
        "learning_rate_init": np.geomspace(3e-4, 0.1, options.rates).tolist(),
    }


def timed_search(kind: Any, network: Any, X: np.ndarray, y: np.ndarray, options: argparse.Namespace) -> Any:
    """Return a search of the grid with stratified folds, and the seconds that it took."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(options.folds, shuffle=True, random_state=options.seed)
    search = kind(network, grid(options), cv=folds, n_jobs=options.jobs, refit=False)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all networks train for a given number of epochs
        search.fit(X, y)
    return search, time.perf_counter() - start


def table(search: Any, name: str, options: argparse.Namespace) -> np.ndarray:
    """Return results of a search, of shape (penalties, rates)."""
    return search.cv_results_[name].reshape(options.penalties, options.rates)


def draw(search: Any, options: argparse.Namespace) -> None:
    """Draw the mean accuracies as a heat map and mark the best one; draw them over the learning rate, too."""
    from matplotlib import pyplot as plt

    values, scores = grid(options), table(search, "mean_test_score", options)
    best = np.unravel_index(np.nanargmax(scores), scores.shape)
    figure, (heat, curves) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained", width_ratios=[1.25, 1])
    networks = options.folds * scores.size
    figure.suptitle(f"{networks} networks trained at once: which penalty and learning rate are best?")
    low, high = np.nanquantile(scores, 0.3), np.nanmax(scores)
    image = heat.imshow(scores, cmap="viridis", vmin=low, vmax=high, origin="lower", aspect="auto")
    for i, j in np.ndindex(scores.shape):
        color = "black" if scores[i, j] > low + 0.6 * (high - low) else "white"
        weight = "bold" if (i, j) == best else "normal"
        heat.text(j, i, f"{scores[i, j]:.3f}", ha="center", va="center", color=color, fontsize=9, fontweight=weight)
    frame = (best[1] - 0.5, best[0] - 0.5)
    heat.add_patch(plt.Rectangle(frame, 1, 1, fill=False, edgecolor="tab:red", linewidth=3))
    heat.set(
        title=f"Mean accuracy over {options.folds} folds, the best in red",
        xlabel="learning_rate_init",
        ylabel="alpha",
        xticks=range(options.rates),
        yticks=range(options.penalties),
        xticklabels=[f"{rate:.2g}" for rate in values["learning_rate_init"]],
        yticklabels=[f"{penalty:.2g}" for penalty in values["alpha"]],
    )
    figure.colorbar(image, ax=heat, extend="min", pad=0.02)

    rates, spread = values["learning_rate_init"], table(search, "std_test_score", options)
    colors = plt.get_cmap("plasma")(np.linspace(0.0, 0.85, options.penalties))
    for i, penalty in enumerate(values["alpha"]):
        is_best = i == int(best[0])
        label = f"{penalty:.2g}" + " (best)" * is_best
        style = {"linewidth": 2.4, "zorder": 3} if is_best else {"linewidth": 1.2}
        curves.plot(rates, scores[i], marker="o", markersize=4, color=colors[i], label=label, **style)
    ends = scores[best[0]] - spread[best[0]], scores[best[0]] + spread[best[0]]
    curves.fill_between(rates, *ends, color=colors[best[0]], alpha=0.15, linewidth=0)
    curves.plot(rates[best[1]], high, marker="s", markersize=13, color="none", markeredgecolor="tab:red", zorder=4)
    curves.set(
        title="Mean ± standard deviation (best alpha)",
        xlabel="learning_rate_init",
        ylabel="Accuracy",
        xscale="log",
        ylim=(max(1.4 * np.nanmin(scores) - 0.4 * high, 0.0), min(high + 0.03, 1.0)),
    )
    curves.xaxis.set_major_formatter("{x:g}")
    curves.legend(title="alpha", loc="lower center", ncols=2)
    curves.grid(visible=True, alpha=0.4)
    save({"search": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Search with both, print the times and the best candidate; return the exit code."""
    import_scikit_learn()
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier as ScikitLearnsMLPClassifier

    from xpnet.estimators import MLPClassifier, MLPGridSearchCV

    print_backend(get_backend(options.device))
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(options.dtype)
    settings = {"batch_size": 32, "max_iter": options.epochs, "random_state": options.seed}
    ours = MLPClassifier((32,), device=options.device, **settings)
    search, seconds = timed_search(MLPGridSearchCV, ours, X, y, options)
    networks = options.folds * options.penalties * options.rates
    best = search.best_params_
    print(f"All at once : {networks} networks × {options.epochs} epochs in {seconds:.1f} s")
    print(
        f"Best : alpha {best['alpha']:.3g}, learning rate {best['learning_rate_init']:.3g}, mean accuracy "
        f"{search.best_score_:.3f}"
    )
    if not options.without_scikit_learn:
        theirs, other = timed_search(GridSearchCV, ScikitLearnsMLPClassifier((32,), **settings), X, y, options)
        difference = np.max(np.abs(search.cv_results_["mean_test_score"] - theirs.cv_results_["mean_test_score"]))
        print(f"One by one : {other:.1f} s with scikit-learn, {other / seconds:.1f} times as long")
        print(f"Scores : the largest difference to scikit-learn's is {difference:.1g}")
    if not options.no_plots:
        draw(search, options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = make_parser(__doc__, "seed of the folds and of the initial weights", 0)
    add_option(parser, "--penalties", "number of values of alpha (default: %(default)s)", type=int, default=6)
    add_option(parser, "--rates", "number of learning rates (default: %(default)s)", type=int, default=6)
    add_option(parser, "--folds", "parts of the cross-validation (default: %(default)s)", type=int, default=5)
    add_option(parser, "--epochs", "passes over the samples (default: %(default)s)", type=int, default=8)
    add_option(parser, "--jobs", "threads, and processes of scikit-learn (default: %(default)s)", type=int, default=2)
    add_option(parser, "--without_scikit_learn", "do not search with scikit-learn's networks", action="store_true")
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
