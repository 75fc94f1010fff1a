"""Handwritten digits: scikit-learn's 1,797 pictures of 8 × 8 pixels, a fifth of them held out to see what was learned.

    python examples/digits.py --device cpu

Needs scikit-learn for the data: pip install "xpnet[sklearn]".
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
from common import add_option, learn, parser_of, print_device, run_example, save

from xpnet import NeuralNetwork


def digits(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels between 0 and 1 and labels, four fifths to learn from and then a fifth to be asked about."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        msg = 'the digits come with scikit-learn: pip install "xpnet[sklearn]"'
        raise ImportError(msg) from error
    X, y = load_digits(return_X_y=True)
    order = rng.permutation(len(X))
    learned, held_out = order[len(X) // 5 :], order[: len(X) // 5]
    return X[learned] / 16, y[learned], X[held_out] / 16, y[held_out]


def draw(X: np.ndarray, y: np.ndarray, y_pred: np.ndarray, options: argparse.Namespace) -> None:
    """Draw how often each digit was taken for which, and the pictures that were misread."""
    from matplotlib import pyplot as plt

    confusion = np.zeros((10, 10), dtype=int)
    np.add.at(confusion, (y, y_pred), 1)
    wrong = np.flatnonzero(y != y_pred)
    figure, (matrix, gallery) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    figure.suptitle(f"Handwritten digits: accuracy {1 - len(wrong) / len(y):.3f} on {len(y)} held out")
    matrix.imshow(np.sqrt(confusion), cmap="Blues")  # the root lets single mistakes be seen
    for i, j in np.argwhere(confusion):
        matrix.text(j, i, confusion[i, j], ha="center", va="center", color="white" if i == j else "black")
    ticks = range(10)
    matrix.set(title="Which digit was taken for which", xlabel="Predicted", ylabel="Actual", xticks=ticks, yticks=ticks)

    gallery.set(title=f"The {len(wrong)} that were misread", xticks=[], yticks=[])
    gallery.set_frame_on(False)
    columns = max(math.ceil(math.sqrt(min(len(wrong), 25))), 1)
    rows = -(-min(len(wrong), 25) // columns)
    for place, i in enumerate(wrong[:25]):
        row, column = divmod(place, columns)
        tile = gallery.inset_axes((column / columns, 1 - (row + 1) / rows, 0.85 / columns, 0.85 / rows))
        tile.imshow(X[i].reshape(8, 8), cmap="gray_r")
        tile.set(xticks=[], yticks=[])
        tile.set_title(f"{y[i]}, read as {y_pred[i]}", fontsize=8, pad=2)
    save({"digits": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Learn the digits; return the exit code."""
    X, y, X_held_out, y_held_out = digits(np.random.default_rng(options.seed))
    network = NeuralNetwork(
        [64, 128, 10],
        activations=["relu", "softmax"],
        loss="categorical_crossentropy",
        optimizer="adam",
        initializer="he_normal",
        weight_decay=0.01,
        device=options.device,
        dtype=options.dtype,
        seed=options.seed,
    )
    print_device(network)
    seconds = learn(network, X, y, learning_rate=0.005, epochs=options.epochs, verbose_epoch=10)
    y_pred = network.predict_classes(X_held_out)
    accuracy = np.mean(y_pred == y_held_out)
    print(
        f"{network.epochs_trained} epochs in {seconds:.1f} s, accuracy {accuracy:.3f} on {len(y_pred)} digits held out"
    )
    if not options.no_plots:
        draw(X_held_out, y_held_out, y_pred, options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = parser_of(__doc__, "of what is held out, and of the initial weights", 0)
    add_option(parser, "--epochs", "times to go through the samples (default: %(default)s)", type=int, default=60)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
