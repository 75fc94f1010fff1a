"""A network classifies handwritten digits: scikit-learn's 1,797 images of 8 × 8 pixels, a fifth of them held out.

    python examples/digits.py --device cpu

The data come with scikit-learn: pip install "xpnet[sklearn]".
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
from common import add_option, make_parser, print_device, run_example, save, train_in_batches

from xpnet import NeuralNetwork


def digits(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels between 0 and 1 and labels: four fifths for training, then a held-out fifth."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        msg = 'the digits need scikit-learn: pip install "xpnet[sklearn]"'
        raise ImportError(msg) from error
    X, y = load_digits(return_X_y=True)
    order = rng.permutation(len(X))
    training, held_out = order[len(X) // 5 :], order[: len(X) // 5]
    return X[training] / 16, y[training], X[held_out] / 16, y[held_out]


def draw(X: np.ndarray, y: np.ndarray, y_pred: np.ndarray, options: argparse.Namespace) -> None:
    """Draw the confusion matrix and the misclassified images."""
    from matplotlib import pyplot as plt

    confusion = np.zeros((10, 10), dtype=int)
    np.add.at(confusion, (y, y_pred), 1)
    wrong = np.flatnonzero(y != y_pred)
    figure, (matrix, gallery) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    figure.suptitle(f"Handwritten digits: accuracy {1 - len(wrong) / len(y):.3f} on {len(y)} held-out digits")
    matrix.imshow(np.sqrt(confusion), cmap="Blues")  # the square root makes single errors visible
    for i, j in np.argwhere(confusion):
        matrix.text(j, i, confusion[i, j], ha="center", va="center", color="white" if i == j else "black")
    ticks = range(10)
    matrix.set(title="Confusion matrix", xlabel="Predicted", ylabel="Actual", xticks=ticks, yticks=ticks)

    gallery.set(title=f"Misclassified digits: {len(wrong)}", xticks=[], yticks=[])
    gallery.set_frame_on(False)
    columns = max(math.ceil(math.sqrt(min(len(wrong), 25))), 1)
    rows = -(-min(len(wrong), 25) // columns)
    for place, i in enumerate(wrong[:25]):
        row, column = divmod(place, columns)
        tile = gallery.inset_axes((column / columns, 1 - (row + 1) / rows, 0.85 / columns, 0.85 / rows))
        tile.imshow(X[i].reshape(8, 8), cmap="gray_r")
        tile.set(xticks=[], yticks=[])
        tile.set_title(f"Actual {y[i]}, predicted {y_pred[i]}", fontsize=8, pad=2)
    save({"digits": figure}, options)


def run(options: argparse.Namespace) -> int:
    """Train the network and measure its accuracy on held-out digits; return the exit code."""
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
    seconds = train_in_batches(network, X, y, learning_rate=0.005, epochs=options.epochs, verbose_epoch=10)
    y_pred = network.predict_classes(X_held_out)
    accuracy = np.mean(y_pred == y_held_out)
    print(
        f"{network.epochs_trained} epochs in {seconds:.1f} s, accuracy {accuracy:.3f} on {len(y_pred)} held-out digits"
    )
    if not options.no_plots:
        draw(X_held_out, y_held_out, y_pred, options)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    parser = make_parser(__doc__, "seed of the split and of the initial weights", 0)
    add_option(parser, "--epochs", "passes over the samples (default: %(default)s)", type=int, default=60)
    return run_example(parser, arguments, run)


if __name__ == "__main__":
    sys.exit(main())
