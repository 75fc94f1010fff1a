"""How high should the learning rate be? 256 networks learn the document's sine in one training, and show it.

They are 16 learning rates with 16 seeds each, side by side as one ensemble: some learn too slowly, some diverge.

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
from common import add_option, parser_of, print_device, run_example, save
from sine import sine

from xpnet import NeuralNetwork
from xpnet.plotting import draw_fit

SAMPLES = 100
BATCH_SIZE = 20


def learning_rates(options: argparse.Namespace) -> np.ndarray:
    """Return the learning rates, each by the same factor above the one before."""
    for name in ("rates", "seeds"):
        if getattr(options, name) < 1:
            msg = f"{name} must be a positive integer, got {getattr(options, name)}"
            raise ValueError(msg)
    if not 0 < options.lowest < options.highest < np.inf:
        msg = f"lowest must be positive and below highest, got {options.lowest:g} and {options.highest:g}"
        raise ValueError(msg)
    return np.geomspace(options.lowest, options.highest, options.rates)


def train(X: np.ndarray, y: np.ndarray, rates: np.ndarray, options: argparse.Namespace) -> NeuralNetwork:
    """Train every learning rate with every seed: network number i × seeds + j has rate i and seed j."""
    network = NeuralNetwork(
        [1, 10, 10, 1],
        activations=["tanh", "tanh", "identity"],  # a sigmoid at the end would keep those that diverge in bounds
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


def draw_losses(axes: Any, rates: np.ndarray, losses: np.ndarray, useless: float, options: argparse.Namespace) -> None:
    """Draw the final loss of every network, of shape (rates, seeds), as a colour, and mark those that diverged."""
    from matplotlib.colors import LogNorm

    half = (options.highest / options.lowest) ** (0.5 / max(1, options.rates - 1))
    columns = np.geomspace(options.lowest / half, options.highest * half, options.rates + 1)
    seeds = np.arange(options.seed, options.seed + options.seeds)
    learned = np.isfinite(losses)
    colors = axes.pcolormesh(
        columns,
        np.arange(options.seed, options.seed + options.seeds + 1) - 0.5,
        np.ma.masked_where(~learned, losses).T,
        norm=LogNorm(min(losses.min(), useless / 10), useless),
        cmap="viridis_r",
    )
    label = "Final loss: the brighter, the better"
    axes.figure.colorbar(colors, ax=axes, label=label, extend="max", format="{x:g}", location="bottom", aspect=40)
    i, j = np.nonzero(~learned)
    axes.scatter(rates[i], seeds[j], marker="x", s=22, color="tab:red", linewidths=1.2, label=f"{len(i)} diverged")
    i, j = np.unravel_index(np.argmin(losses), losses.shape)
    axes.scatter(rates[i], seeds[j], marker="*", s=130, color="white", edgecolors="black", label="the best network")
    axes.set(title="A square for each network", xlabel="Learning rate", ylabel="Seed", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper left")


def draw_curves(axes: Any, rates: np.ndarray, medians: np.ndarray, useless: float, options: argparse.Namespace) -> None:
    """Draw for every learning rate the median loss of its seeds over the epochs, of shape (epochs, rates)."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    top = 30 * useless
    best = np.argmin(medians[-1])
    epochs = range(1, len(medians) + 1)
    curves = np.minimum(medians, 2 * top).T  # those that diverge leave the picture
    colors = ScalarMappable(LogNorm(options.lowest, options.highest), "plasma")
    for rate, curve in zip(rates, curves, strict=True):
        axes.plot(epochs, curve, color=colors.to_rgba(rate), linewidth=1.2)
    axes.plot(epochs, curves[best], color="black", linewidth=1.6, label=f"learning rate {rates[best]:.2g}: best median")
    axes.figure.colorbar(colors, ax=axes, label="Learning rate", format="{x:g}", pad=0.02)
    axes.set(title="The median over the seeds", xlabel="Epoch", ylabel="Loss", xscale="log", yscale="log")
    axes.set_ylim(top=top)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper right")
    axes.grid(visible=True, alpha=0.4)


def draw(
    network: NeuralNetwork, rates: np.ndarray, losses: np.ndarray, medians: np.ndarray, options: argparse.Namespace
) -> None:
    """Draw the final losses, how they went there, and what the best network has learned."""
    from matplotlib import pyplot as plt

    x, X, y = (array.ravel() for array in sine(SAMPLES))
    useless = float(np.var(y) / 2)  # the loss of a network that predicts the mean for every input
    figure, axes = plt.subplot_mosaic(
        [["losses", "curves"], ["losses", "fit"]], figsize=(11, 5.8), layout="constrained", width_ratios=[1.25, 1]
    )
    figure.suptitle(f"{losses.size} networks trained at once: which learning rate goes lowest before they diverge?")
    draw_losses(axes["losses"], rates, losses, useless, options)
    draw_curves(axes["curves"], rates, medians, useless, options)
    draw_fit(axes["fit"], x, y, network.best_member().predict(X).ravel(), title="What the best network predicts")
    axes["fit"].set_ylim(top=1.4)
    axes["fit"].legend(loc="upper right", ncols=2)
    save({"sweep": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Train all the networks at once, and say which did best; return the exit code."""
    rates = learning_rates(options)
    _, X, y = sine(SAMPLES)
    start = time.perf_counter()
    network = train(X, y, rates, options)
    seconds = time.perf_counter() - start

    losses = network.history["loss"].reshape(-1, options.rates, options.seeds)
    losses = np.where(np.isnan(losses), np.inf, losses)  # nothing is worse than to diverge
    with np.errstate(over="ignore"):  # in the mean of two that are about to diverge
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
    parser = parser_of(__doc__, "the first of the networks' seeds", 0)
    add_option(parser, "--rates", "how many learning rates (default: %(default)s)", type=int, default=16)
    add_option(parser, "--seeds", "networks for each of them (default: %(default)s)", type=int, default=16)
    add_option(parser, "--lowest", "the lowest learning rate (default: %(default)s)", type=float, default=0.002)
    add_option(parser, "--highest", "the highest learning rate (default: %(default)s)", type=float, default=2.0)
    add_option(parser, "--epochs", "times to go through the samples (default: %(default)s)", type=int, default=400)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
