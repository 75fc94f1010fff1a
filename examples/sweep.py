"""A learning-rate search: 256 networks learn the sine of sine.py, trained in parallel as one ensemble.

There are 16 learning rates with 16 seeds each. Low learning rates learn slowly, high ones diverge.

    python examples/sweep.py --rates 16 --seeds 16 --epochs 400
    python examples/sweep.py --device cuda --rates 64 --seeds 64 --lowest 0.01 --highest 1
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import add_option, make_parser, print_device, run_example, save
from sine import sine

from xpnet import NeuralNetwork
from xpnet.plotting import draw_fit

SAMPLES = 100
BATCH_SIZE = 20


def learning_rates(options: argparse.Namespace) -> np.ndarray:
    """Return the learning rates, evenly spaced on a logarithmic scale."""
    for name in ("rates", "seeds"):
        if getattr(options, name) < 1:
            msg = f"{name} must be a positive integer, got {getattr(options, name)}"
            raise ValueError(msg)
    if not 0 < options.lowest < options.highest < np.inf:
        msg = f"lowest must be positive and below highest, got {options.lowest:g} and {options.highest:g}"
        raise ValueError(msg)
    return np.geomspace(options.lowest, options.highest, options.rates)


def train(X: np.ndarray, y: np.ndarray, rates: np.ndarray, options: argparse.Namespace) -> NeuralNetwork:
    """Train every learning rate with every seed: network i × seeds + j has learning rate i and seed j."""
    network = NeuralNetwork(
        [1, 10, 10, 1],
        activations=["tanh", "tanh", "identity"],  # a sigmoid as the last one would hide divergence: it is bounded
        optimizer="nesterov",
        initializer="glorot_normal",
        ensemble=options.rates * options.seeds,
        device=options.device,
        dtype=options.dtype,
        seed=[*range(options.seed, options.seed + options.seeds)] * options.rates,
    )
    print_device(network)
    network.train(
        X,
        y,
        learning_rate=np.repeat(rates, options.seeds),
        epochs=options.epochs,
        verbose_epoch=50,
        batch_size=BATCH_SIZE,
        shuffle=True,
    )
    return network


def draw_losses(axes: Any, rates: np.ndarray, losses: np.ndarray, baseline: float, options: argparse.Namespace) -> None:
    """Draw the final losses, of shape (rates, seeds), as colors; mark the networks that diverged and the best one.

    The color scale ends at `baseline`, the loss of predicting the mean.
    """
    from matplotlib.colors import LogNorm

    half = (options.highest / options.lowest) ** (0.5 / max(1, options.rates - 1))
    columns = np.geomspace(options.lowest / half, options.highest * half, options.rates + 1)
    seeds = np.arange(options.seed, options.seed + options.seeds)
    finite = np.isfinite(losses)
    colors = axes.pcolormesh(
        columns,
        np.arange(options.seed, options.seed + options.seeds + 1) - 0.5,
        np.ma.masked_where(~finite, losses).T,
        norm=LogNorm(min(losses.min(), baseline / 10), baseline),
        cmap="viridis_r",
    )
    label = "Final loss (brighter is better)"
    axes.figure.colorbar(colors, ax=axes, label=label, extend="max", format="{x:g}", location="bottom", aspect=40)
    i, j = np.nonzero(~finite)
    axes.scatter(rates[i], seeds[j], marker="x", s=22, color="tab:red", linewidths=1.2, label=f"{len(i)} diverged")
    i, j = np.unravel_index(np.argmin(losses), losses.shape)
    axes.scatter(rates[i], seeds[j], marker="*", s=130, color="white", edgecolors="black", label="Best network")
    axes.set(title="Final loss of every network", xlabel="Learning rate", ylabel="Seed", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper left")


def draw_curves(
    axes: Any, rates: np.ndarray, medians: np.ndarray, baseline: float, options: argparse.Namespace
) -> None:
    """Draw the median loss over the seeds, of shape (epochs, rates), as one curve for each learning rate.

    Curves that rise above 30 times `baseline` leave the axes.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    top = 30 * baseline
    best = np.argmin(medians[-1])
    epochs = range(1, len(medians) + 1)
    curves = np.minimum(medians, 2 * top).T  # curves that diverge are drawn until they leave the axes
    colors = ScalarMappable(LogNorm(options.lowest, options.highest), "plasma")
    for rate, curve in zip(rates, curves, strict=True):
        axes.plot(epochs, curve, color=colors.to_rgba(rate), linewidth=1.2)
    axes.plot(epochs, curves[best], color="black", linewidth=1.6, label=f"Best: learning rate {rates[best]:.2g}")
    axes.figure.colorbar(colors, ax=axes, label="Learning rate", format="{x:g}", pad=0.02)
    axes.set(title="Median loss over the seeds", xlabel="Epoch", ylabel="Loss", xscale="log", yscale="log")
    axes.set_ylim(top=top)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper right")
    axes.grid(visible=True, alpha=0.4)


def draw(
    network: NeuralNetwork, rates: np.ndarray, losses: np.ndarray, medians: np.ndarray, options: argparse.Namespace
) -> None:
    """Draw the final losses, the losses over the epochs, and the predictions of the best network."""
    from matplotlib import pyplot as plt

    x, X, y = (array.ravel() for array in sine(SAMPLES))
    baseline = float(np.var(y) / 2)  # the loss of a network that predicts the mean for every input
    figure, axes = plt.subplot_mosaic(
        [["losses", "curves"], ["losses", "fit"]], figsize=(11, 5.8), layout="constrained", width_ratios=[1.25, 1]
    )
    figure.suptitle(f"{losses.size} networks trained at once: which learning rate gives the lowest loss?")
    draw_losses(axes["losses"], rates, losses, baseline, options)
    draw_curves(axes["curves"], rates, medians, baseline, options)
    draw_fit(axes["fit"], x, y, network.best_member().predict(X).ravel(), title="Predictions of the best network")
    axes["fit"].set_ylim(top=1.4)
    axes["fit"].legend(loc="upper right", ncols=2)
    save({"sweep": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Train all networks at once, print the best learning rate and network; return the exit code."""
    rates = learning_rates(options)
    _, X, y = sine(SAMPLES)
    start = time.perf_counter()
    network = train(X, y, rates, options)
    seconds = time.perf_counter() - start

    losses = network.history["loss"].reshape(-1, options.rates, options.seeds)
    losses = np.where(np.isnan(losses), np.inf, losses)  # a network that diverged is worse than any other
    with np.errstate(over="ignore"):  # the mean of two huge losses can overflow
        medians = np.median(losses, axis=-1)
    i, j = np.unravel_index(np.argmin(losses[-1]), losses.shape[1:])
    print(f"One training : {network.ensemble} networks × {network.epochs_trained} epochs in {seconds:.1f} s")
    print(f"Diverged : {np.count_nonzero(np.isinf(losses[-1]))} of {network.ensemble} networks")
    print(f"Best median : learning rate {rates[np.argmin(medians[-1])]:.3g}, loss {medians[-1].min():.3g}")
    print(f"Best network : seed {options.seed + int(j)}, learning rate {rates[i]:.3g}, loss {losses[-1, i, j]:.3g}")
    if not options.no_plots:
        draw(network, rates, losses[-1], medians, options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = make_parser(__doc__, "seed of the first network; the next networks have the next seeds", 0)
    add_option(parser, "--rates", "number of learning rates (default: %(default)s)", type=int, default=16)
    add_option(parser, "--seeds", "number of seeds for each learning rate (default: %(default)s)", type=int, default=16)
    add_option(parser, "--lowest", "lowest learning rate (default: %(default)s)", type=float, default=0.002)
    add_option(parser, "--highest", "highest learning rate (default: %(default)s)", type=float, default=2.0)
    add_option(parser, "--epochs", "passes over the samples (default: %(default)s)", type=int, default=400)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
