"""Two spirals, wound into each other, are told apart: a network with two inputs and one output draws the border.

python examples/spirals.py --epochs 300 --device cpu
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import add_option, learn, parser_of, print_device, run_example, save

from xpnet import NeuralNetwork
from xpnet.plotting import draw_epoch_loss


def spirals(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points of shape (samples, 2) on two noisy spirals, and which of them each lies on, 0 or 1."""
    if samples < 2:
        msg = f"samples must be at least 2, got {samples}"
        raise ValueError(msg)
    labels = np.arange(samples) % 2
    turns = np.sqrt(rng.uniform(0.02, 1.0, samples))
    angle = 3.5 * np.pi * turns + np.pi * labels
    points = 3 * turns[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points + rng.normal(0.0, 0.06, points.shape), labels


def draw(network: NeuralNetwork, X: np.ndarray, y: np.ndarray, options: argparse.Namespace) -> None:
    """Draw the border that was learned, and how the loss went down."""
    from matplotlib import pyplot as plt

    figure, (border, loss) = plt.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained", width_ratios=[1, 1.1])
    side = np.linspace(-3.6, 3.6, 241)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    predictions = network.predict(grid.reshape(-1, 2)).reshape(241, 241)
    shades: Any = border.contourf(side, side, predictions, levels=np.linspace(0, 1, 21), cmap="RdBu_r", alpha=0.75)
    border.contour(side, side, predictions, levels=[0.5], colors="black", linewidths=1.2)
    for label, color in ((0, "tab:blue"), (1, "tab:red")):
        border.scatter(*X[y == label].T, s=12, color=color, edgecolors="white", linewidths=0.4)
    border.set(title="Which Spiral, and Where the Border Runs", xlabel="X₁", ylabel="X₂", aspect="equal")
    figure.colorbar(shades, ax=border, label="Output", ticks=[0, 0.5, 1])
    draw_epoch_loss(loss, network.epoch_loss, log=True)
    figure.get_layout_engine().set(w_pad=0.1)
    save({"spirals": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Learn the spirals; return the exit code."""
    X, y = spirals(options.samples, np.random.default_rng(options.seed))
    network = NeuralNetwork(
        [2, 32, 32, 1],
        activations=["silu", "silu", "sigmoid"],
        loss="binary_crossentropy",
        optimizer="adam",
        initializer="he_normal",
        device=options.device,
        dtype=options.dtype,
        seed=options.seed,
    )
    print_device(network)
    seconds = learn(network, X, y, learning_rate=0.01, epochs=options.epochs, verbose_epoch=100)
    accuracy = np.mean(network.predict_classes(X) == y)
    print(f"{network.epochs_trained} epochs in {seconds:.1f} s, {accuracy:.1%} of the samples on the right side")
    if not options.no_plots:
        draw(network, X, y, options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = parser_of(__doc__, "of the spirals and the initial weights", 0)
    add_option(parser, "--epochs", "times to go through the samples (default: %(default)s)", type=int, default=300)
    add_option(parser, "--samples", "points on the two spirals (default: %(default)s)", type=int, default=400)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
