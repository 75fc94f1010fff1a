"""Where can a prediction be trusted? Where 64 networks that learned from the same data predict alike.

Each has its own initial weights and its own bootstrap sample of the noisy points on a sine, which leave a gap. All are
trained at once, as one ensemble. How far their predictions lie apart says where data was missing; it does not promise
that the truth lies between them.

    python examples/uncertainty.py --networks 64 --epochs 300 --device cpu
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from common import add_option, parser_of, print_device, run_example, save

from xpnet import NeuralNetwork
from xpnet.schedules import cosine

DATA = (-np.pi, np.pi)
GAP = (0.0, 1.5)
NOISE = 0.15
SHOWN = 6  # members that are drawn one by one


def truth(x: np.ndarray) -> np.ndarray:
    """Return what there is to learn."""
    return np.sin(2 * x)


def noisy_points(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points at random places outside the gap, with noise."""
    if samples < 1:
        msg = f"samples must be a positive integer, got {samples}"
        raise ValueError(msg)
    width = GAP[1] - GAP[0]
    x = rng.uniform(DATA[0], DATA[1] - width, samples)
    x = np.where(x < GAP[0], x, x + width)
    return x, truth(x) + rng.normal(0.0, NOISE, samples)


def bootstrap(networks: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each network drew each sample, drawing as many as there are, of shape (networks, samples)."""
    if networks < 1:
        msg = f"networks must be a positive integer, got {networks}"
        raise ValueError(msg)
    return rng.multinomial(samples, np.full(samples, 1 / samples), size=networks)


def train(x: np.ndarray, y: np.ndarray, counts: np.ndarray, options: argparse.Namespace) -> NeuralNetwork:
    """Train all the networks at once."""
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


def draw(x: np.ndarray, y: np.ndarray, where: np.ndarray, predictions: np.ndarray, options: argparse.Namespace) -> None:
    """Draw the points, the curve they lie around, and mean and spread of predictions of shape (networks, places)."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    axes.scatter(x, y, s=14, color="tab:red", edgecolors="white", linewidths=0.4, zorder=3, label="data")
    axes.plot(where, truth(where), color="black", linestyle="dashed", linewidth=1.2, label="sin 2x")
    mean, spread = predictions.mean(axis=0), predictions.std(axis=0)
    axes.plot(where, mean, color="tab:blue", linewidth=2, label=f"mean of {len(predictions)} networks")
    members = axes.plot(where, predictions[:SHOWN].T, color="tab:blue", linewidth=0.6, alpha=0.7)
    members[0].set_label(f"{len(members)} of them")
    for width, alpha, band in ((1, 0.25, "± 1 standard deviation"), (2, 0.15, "± 2")):
        low, high = mean - width * spread, mean + width * spread
        axes.fill_between(where, low, high, color="tab:blue", alpha=alpha, linewidth=0, label=band)
    for start, stop in ((where[0], DATA[0]), GAP, (DATA[1], where[-1])):
        axes.axvspan(start, stop, color="0.95", linewidth=0, zorder=0)
        axes.text((start + stop) / 2, 0.02, "no data", ha="center", transform=axes.get_xaxis_transform())
    title = "Where the networks agree, and where they do not\n(the bands are without the noise of the data itself)"
    axes.set(title=title, xlabel="X", ylabel="y", xlim=where[[0, -1]])
    axes.grid(visible=True, alpha=0.4)
    figure.legend(loc="outside lower center", ncols=6, frameon=False)
    save({"uncertainty": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Learn from the points, and say how far the predictions lie apart; return the exit code."""
    rng = np.random.default_rng(options.seed)
    x, y = noisy_points(options.samples, rng)
    counts = bootstrap(options.networks, options.samples, rng)
    start = time.perf_counter()
    network = train(x, y, counts, options)
    seconds = time.perf_counter() - start

    where = np.linspace(DATA[0] - 0.8, DATA[1] + 0.8, 501)
    predictions = network.predict(where)
    spread = predictions.std(axis=0)
    within = (where >= DATA[0]) & (where <= DATA[1])
    gap = (where > GAP[0]) & (where < GAP[1])
    print(f"One training : {network.ensemble} networks × {network.epochs_trained} epochs in {seconds:.1f} s")
    for place, chosen in (("Where the data is", within & ~gap), ("In the gap", gap), ("Outside the data", ~within)):
        print(f"{place} : spread {spread[chosen].mean():.3f}")
    if not options.no_plots:
        draw(x, y, where, predictions, options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = parser_of(__doc__, "of the data and the first of the networks' seeds", 0)
    add_option(parser, "--epochs", "times to go through the samples (default: %(default)s)", type=int, default=300)
    add_option(parser, "--networks", "how many to train at once (default: %(default)s)", type=int, default=64)
    add_option(parser, "--samples", "noisy points on the sine (default: %(default)s)", type=int, default=160)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
