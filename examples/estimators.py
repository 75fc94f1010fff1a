"""The scikit-learn estimators: a pipeline on arrays of every kind, prediction intervals, and scikit-learn's numbers.

A pipeline that scales and classifies learns the digits from a NumPy array, a data frame, a sparse matrix, and an array
of every other library that is installed. A network that predicts the median and 90 % intervals learns points whose
noise grows. A network of scikit-learn and one of xpnet learn the same, in turn, and their losses are compared.

    python examples/estimators.py --device cpu

The estimators need scikit-learn: pip install "xpnet[sklearn]".
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ["SCIPY_ARRAY_API"] = "1"  # scikit-learn wants this before it computes on other arrays than NumPy's

import numpy as np
from common import add_option, import_scikit_learn, make_parser, print_backend, run_example, save
from digits import digits

from xpnet import DeviceUnavailable, get_backend
from xpnet.backends import backend_names, backend_of

CONFIDENCE = 0.9
POINTS = 1500  # for each of training, conformalizing and testing
ROUNDS = 5  # of the comparison of times


def kinds(X: np.ndarray, y: np.ndarray, X_held_out: np.ndarray, device: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield the name of a kind of array, and X, y and the held-out X as such; print which kinds cannot be used."""
    from scipy import sparse
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import get_tags

    yield "NumPy array", X, y, X_held_out
    try:
        import pandas as pd
    except ImportError:
        print("Data frame : not available, pandas is not installed")
    else:
        names = [f"pixel {i}" for i in range(X.shape[1])]
        yield "Data frame", pd.DataFrame(X, columns=names), pd.Series(y), pd.DataFrame(X_held_out, columns=names)
    yield "Sparse matrix", sparse.csr_matrix(X), y, sparse.csr_matrix(X_held_out)
    scales_all = getattr(get_tags(StandardScaler()), "array_api_support", False)
    for name in backend_names():
        if name == "numpy":
            continue
        try:
            backend = get_backend("cuda" if name == "cupy" and device == "cpu" else device, name=name)
            if not scales_all:
                msg = "the StandardScaler of this version of scikit-learn takes NumPy arrays only"
                raise DeviceUnavailable(msg)
            if name == "jax":
                msg = "the network takes it, but scikit-learn's StandardScaler assigns to elements of arrays"
                raise DeviceUnavailable(msg)
            converted = [backend.asarray(each) for each in (X, y.astype("int32"), X_held_out)]
        except (DeviceUnavailable, ValueError) as error:  # such as JAX without double precision
            print(f"{name} : not available, {error}")
            continue
        yield f"{name} array", *converted


def classify_digits(options: argparse.Namespace) -> None:
    """Fit the same pipeline to the digits as arrays of every kind, and print its accuracy."""
    from sklearn import config_context
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from xpnet.estimators import MLPClassifier

    X, y, X_held_out, y_held_out = digits(np.random.default_rng(options.seed))
    X, X_held_out = X.astype(options.dtype), X_held_out.astype(options.dtype)
    for kind, X_kind, y_kind, X_held_out_kind in kinds(X, y, X_held_out, options.device):
        network = MLPClassifier((32,), batch_size=32, max_iter=options.epochs, random_state=options.seed)
        pipeline = make_pipeline(StandardScaler(with_mean=False), network)  # without the mean, zeros stay zeros
        dispatches = backend_of(X_kind).name != "numpy"
        start = time.perf_counter()
        with config_context(array_api_dispatch=dispatches), warnings.catch_warnings():
            # The StandardScaler computes 0 / 0, and takes another value there.
            warnings.filterwarnings("ignore", "invalid value encountered in divide", RuntimeWarning)
            pipeline.fit(X_kind, y_kind)
            labels = pipeline.predict(X_held_out_kind)
        seconds = time.perf_counter() - start
        accuracy = np.mean(backend_of(labels).to_numpy(labels) == y_held_out)
        place = backend_of(network.coefs_[0])
        print(
            f"{kind} : {seconds:.1f} s with {place.name} on {place.device}, accuracy {accuracy:.3f} on "
            f"{len(y_held_out)} held-out digits"
        )


def noisy_points(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return x of shape (samples, 1) between 0 and 10, and y whose noise grows with x and is skewed."""
    x = rng.uniform(0.0, 10.0, samples)
    noise = rng.gamma(2.0, 1.0, samples) - 2.0  # with the mean 0
    return x[:, None], np.sin(1.2 * x) + 0.25 * x + (0.06 + 0.007 * x**2) * noise


def predict_intervals(options: argparse.Namespace) -> None:
    """Fit a network that predicts intervals, print how many of new points are inside, and draw it."""
    from xpnet.estimators import MLPIntervalRegressor, MLPRegressor

    rng = np.random.default_rng(options.seed)
    training, conformal, new = (noisy_points(POINTS, rng) for _ in range(3))
    network = MLPRegressor(
        hidden_layer_sizes=(32, 32),
        activation="silu",
        learning_rate_init=0.005,
        batch_size=50,
        max_iter=10 * options.epochs,
        tol=0.0,
        n_iter_no_change=10 * options.epochs,
        n_members=8,  # the mean of several networks is smoother
        random_state=options.seed,
        device=options.device,
        dtype=options.dtype,
    )
    regressor = MLPIntervalRegressor(network, confidence_level=CONFIDENCE)

    def scaled(x: np.ndarray) -> np.ndarray:
        return (x - 5.0) / 3.0

    start = time.perf_counter()
    regressor.fit(scaled(training[0]), training[1]).conformalize(scaled(conformal[0]), conformal[1])
    seconds = time.perf_counter() - start
    _, intervals = regressor.predict_interval(scaled(new[0]))
    inside = (new[1] >= intervals[:, 0]) & (new[1] <= intervals[:, 1])
    print(
        f"Intervals of {CONFIDENCE:.0%} : {seconds:.1f} s, {inside.mean():.1%} of {POINTS} new points are inside, "
        f"correction {regressor.correction_:+.3f}"
    )
    if not options.no_plots:
        grid = np.linspace(0.0, 10.0, 400)
        draw(*new, inside, grid, *regressor.predict_interval(scaled(grid[:, None])), options)


def draw(
    x: np.ndarray,
    y: np.ndarray,
    inside: np.ndarray,
    grid: np.ndarray,
    median: np.ndarray,
    intervals: np.ndarray,
    options: argparse.Namespace,
) -> None:
    """Draw new points, which are inside or outside, and the predicted medians and intervals."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    axes.fill_between(grid, *intervals.T, color="tab:blue", alpha=0.18, linewidth=0, label=f"{CONFIDENCE:.0%} interval")
    for end in intervals.T:
        axes.plot(grid, end, color="tab:blue", linewidth=0.8, alpha=0.6)
    axes.plot(grid, median, color="tab:blue", linewidth=2.2, label="Median", zorder=4)
    dots = {"edgecolors": "white", "linewidths": 0.3, "zorder": 3}
    axes.scatter(x[inside], y[inside], s=11, color="0.45", label=f"{inside.sum()} new points inside", **dots)
    axes.scatter(x[~inside], y[~inside], s=15, color="tab:red", label=f"{(~inside).sum()} outside", **dots)
    axes.set(
        title=f"Intervals as wide as the noise: {inside.mean():.1%} of new points are inside",
        xlabel="X",
        ylabel="y",
        xlim=(0.0, 10.0),
    )
    axes.grid(visible=True, alpha=0.4)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    save({"estimators": figure}, options)


def compare(options: argparse.Namespace) -> None:
    """Fit a network of scikit-learn and one of xpnet in turn; print their times and how much their losses differ."""
    from sklearn import neural_network

    from xpnet.estimators import MLPClassifier

    X, y, _, _ = digits(np.random.default_rng(options.seed))
    X = X.astype(options.dtype)
    settings = {"batch_size": 32, "max_iter": options.epochs, "random_state": options.seed}
    theirs = neural_network.MLPClassifier((32,), **settings)
    ours = MLPClassifier((32,), device=options.device, **settings)
    ours.fit(X, y)  # compiles, where that is worthwhile
    times = [(seconds(theirs.fit, X, y), seconds(ours.fit, X, y)) for _ in range(ROUNDS)]
    ratio = statistics.median(their_time / our_time for their_time, our_time in times)
    difference = np.max(np.abs(np.divide(ours.loss_curve_, theirs.loss_curve_) - 1))
    medians = [statistics.median(each) for each in zip(*times, strict=True)]
    print(
        f"{settings['max_iter']} epochs : {medians[0]:.2f} s with scikit-learn, {medians[1]:.2f} s with xpnet, median "
        f"ratio {ratio:.2f} over {ROUNDS} rounds"
    )
    print(f"Losses : the largest relative difference to scikit-learn's is {difference:.1g}")


def seconds(fit: Callable[..., Any], *arguments: Any) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    fit(*arguments)
    return time.perf_counter() - start


def run(options: argparse.Namespace) -> int:
    """Run the three parts; return the exit code."""
    import_scikit_learn()
    from sklearn.exceptions import ConvergenceWarning

    print_backend(get_backend(options.device))
    with warnings.catch_warnings():
        # All of these networks train for a given number of epochs.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classify_digits(options)
        predict_intervals(options)
        compare(options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = make_parser(__doc__, "seed of the data, of the split and of the initial weights", 0)
    text = "passes over the digits; the intervals take ten times as many (default: %(default)s)"
    add_option(parser, "--epochs", text, type=int, default=20)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
