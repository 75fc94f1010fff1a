"""Uncertainty of predictions from an ensemble: 64 networks learn noisy points on a sine, with a gap in the data.

Each network has different initial weights and a different bootstrap sample of the points. All are trained in parallel,
as one ensemble. The spread of their predictions is large where data are missing. It does not guarantee that the true
value lies within the spread.

    python examples/uncertainty.py --networks 64 --epochs 300 --device cpu
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from common import add_option, make_parser, print_device, run_example, save

from xpnet import NeuralNetwork
from xpnet.schedules import cosine

DATA = (-np.pi, np.pi)
GAP = (0.0, 1.5)
NOISE = 0.15
MEMBERS_SHOWN = 6  # networks whose predictions are drawn individually


def true_function(x: np.ndarray) -> np.ndarray:
    """Return the function that the networks learn."""
    return np.sin(2 * x)


def noisy_points(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return x, uniform outside the gap, and noisy y, both of shape (samples,)."""
    if samples < 1:
        msg = f"samples must be a positive integer, got {samples}"
        raise ValueError(msg)
    width = GAP[1] - GAP[0]
    x = rng.uniform(DATA[0], DATA[1] - width, samples)
    x = np.where(x < GAP[0], x, x + width)
    return x, true_function(x) + rng.normal(0.0, NOISE, samples)


def bootstrap(networks: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each sample is in the bootstrap sample of each network, of shape (networks, samples)."""
    if networks < 1:
        msg = f"networks must be a positive integer, got {networks}"
        raise ValueError(msg)
    return rng.multinomial(samples, np.full(samples, 1 / samples), size=networks)


def train(x: np.ndarray, y: np.ndarray, counts: np.ndarray, options: argparse.Namespace) -> NeuralNetwork:
    """Train all networks at once, with the counts of shape (networks, samples) as sample weights."""
    network = NeuralNetwork(
        [1, 32, 32, 1],
        activations=["silu", "silu", "identity"],
        optimizer="adam",
        initializer="he_normal",
        ensemble=options.networks,
        device=options.device,
        dtype=options.dtype,
        seed=options.seed,
    )
    print_device(network)
    network.train(
        x,
        y,
        learning_rate=0.02,
        epochs=options.epochs,
        verbose_epoch=100,
        batch_size=32,
        shuffle=True,
        sample_weight=counts,
        schedule=cosine(options.epochs, least=0.01),
    )
    return network


def draw(
    x: np.ndarray, y: np.ndarray, x_grid: np.ndarray, predictions: np.ndarray, options: argparse.Namespace
) -> None:
    """Draw the points, the true function, and mean and spread of predictions of shape (networks, len(x_grid))."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    axes.scatter(x, y, s=14, color="tab:red", edgecolors="white", linewidths=0.4, zorder=3, label="Data")
    axes.plot(x_grid, true_function(x_grid), color="black", linestyle="dashed", linewidth=1.2, label="sin 2x")
    mean, spread = predictions.mean(axis=0), predictions.std(axis=0)
    axes.plot(x_grid, mean, color="tab:blue", linewidth=2, label=f"Mean of {len(predictions)} networks")
    members = axes.plot(x_grid, predictions[:MEMBERS_SHOWN].T, color="tab:blue", linewidth=0.6, alpha=0.7)
    members[0].set_label(f"{len(members)} of the networks")
    for width, alpha, band in ((1, 0.25, "± 1 standard deviation"), (2, 0.15, "± 2 standard deviations")):
        low, high = mean - width * spread, mean + width * spread
        axes.fill_between(x_grid, low, high, color="tab:blue", alpha=alpha, linewidth=0, label=band)
    for start, stop in ((x_grid[0], DATA[0]), GAP, (DATA[1], x_grid[-1])):
        axes.axvspan(start, stop, color="0.95", linewidth=0, zorder=0)
        axes.text((start + stop) / 2, 0.02, "No data", ha="center", transform=axes.get_xaxis_transform())
    title = "The networks disagree where there is no data\n(the bands do not include the noise of the data)"
    axes.set(title=title, xlabel="X", ylabel="y", xlim=x_grid[[0, -1]])
    axes.grid(visible=True, alpha=0.4)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    save({"uncertainty": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Train the networks and print the spread of their predictions; return the exit code."""
    rng = np.random.default_rng(options.seed)
    x, y = noisy_points(options.samples, rng)
    counts = bootstrap(options.networks, options.samples, rng)
    start = time.perf_counter()
    network = train(x, y, counts, options)
    seconds = time.perf_counter() - start

    x_grid = np.linspace(DATA[0] - 0.8, DATA[1] + 0.8, 501)
    predictions = network.predict(x_grid)
    spread = predictions.std(axis=0)
    within = (x_grid >= DATA[0]) & (x_grid <= DATA[1])
    gap = (x_grid > GAP[0]) & (x_grid < GAP[1])
    print(f"One training : {network.ensemble} networks × {network.epochs_trained} epochs in {seconds:.1f} s")
    for region, mask in (("Where there is data", within & ~gap), ("In the gap", gap), ("Outside the data", ~within)):
        print(f"{region} : spread {spread[mask].mean():.3f}")
    if not options.no_plots:
        draw(x, y, x_grid, predictions, options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = make_parser(__doc__, "seed of the data and of the first network; the next networks have the next seeds", 0)
    add_option(parser, "--epochs", "passes over the samples (default: %(default)s)", type=int, default=300)
    add_option(parser, "--networks", "number of networks (default: %(default)s)", type=int, default=64)
    add_option(parser, "--samples", "noisy points on the sine (default: %(default)s)", type=int, default=160)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
