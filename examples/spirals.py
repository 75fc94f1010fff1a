"""A network with two inputs and one output classifies points on two interleaved spirals.

The boundary between the classes and the loss are drawn; a quarter of the points is held out.

    python examples/spirals.py --epochs 300 --device cpu
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import add_option, make_parser, print_device, run_example, save, train_in_batches

from xpnet import NeuralNetwork
from xpnet.plotting import draw_epoch_loss


def spirals(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points of shape (samples, 2) on two noisy spirals, and their labels, 0 or 1."""
    if samples < 2:
        msg = f"samples must be at least 2, got {samples}"
        raise ValueError(msg)
    labels = np.arange(samples) % 2
    turns = np.sqrt(rng.uniform(0.02, 1.0, samples))
    angle = 3.5 * np.pi * turns + np.pi * labels
    points = 3 * turns[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points + rng.normal(0.0, 0.06, points.shape), labels


def draw(network: NeuralNetwork, X: np.ndarray, y: np.ndarray, title: str, options: argparse.Namespace) -> None:
    """Draw the decision boundary with the training samples, and the loss of every epoch."""
    from matplotlib import pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    colors = ["tab:blue", "white", "tab:orange"]  # color-blind people can tell these apart
    figure, (boundary, loss) = plt.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained", width_ratios=[1, 1.1])
    side = np.linspace(-3.6, 3.6, 241)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    shading = LinearSegmentedColormap.from_list("sides", colors)
    predictions = network.predict(grid.reshape(-1, 2)).reshape(241, 241)
    shades: Any = boundary.contourf(side, side, predictions, levels=np.linspace(0, 1, 21), cmap=shading, alpha=0.5)
    boundary.contour(side, side, predictions, levels=[0.5], colors="black", linewidths=1.2)
    for label, color, marker in ((0, colors[0], "o"), (1, colors[2], "^")):
        style = {"s": 26, "marker": marker, "edgecolors": "black", "linewidths": 0.6}
        boundary.scatter(*X[y == label].T, color=color, label=f"Spiral {label}", **style)
    figure.suptitle(title)
    boundary.set(title="Decision boundary", xlabel="X₁", ylabel="X₂", aspect="equal")
    boundary.legend(loc="upper left")
    figure.colorbar(shades, ax=boundary, label="Output", ticks=[0, 0.5, 1])
    draw_epoch_loss(loss, network.epoch_loss, log=True)
    figure.get_layout_engine().set(w_pad=0.1)
    save({"spirals": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Train the network and measure its accuracy on held-out points; return the exit code."""
    X, y = spirals(options.samples, np.random.default_rng(options.seed))
    held_out = np.arange(len(y)) % 8 >= 6 if len(y) > 7 else np.arange(len(y)) == 0  # a quarter of each spiral
    X, y, X_held_out, y_held_out = X[~held_out], y[~held_out], X[held_out], y[held_out]
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
    seconds = train_in_batches(network, X, y, learning_rate=0.01, epochs=options.epochs, verbose_epoch=100)
    accuracy = np.mean(network.predict_classes(X_held_out) == y_held_out)
    result = f"accuracy {accuracy:.3f} on {len(y_held_out)} held-out points"
    print(f"{network.epochs_trained} epochs in {seconds:.1f} s, {result}")
    if not options.no_plots:
        draw(network, X, y, f"Two spirals: {result}", options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = make_parser(__doc__, "seed of the spirals and of the initial weights", 0)
    add_option(parser, "--epochs", "passes over the samples (default: %(default)s)", type=int, default=300)
    add_option(parser, "--samples", "points on the two spirals (default: %(default)s)", type=int, default=400)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
