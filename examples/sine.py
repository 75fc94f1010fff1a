"""The document's example: a small network learns a sine, sample by sample.

A run sample by sample is followed by one in batches, with a second network of the same seed, which goes on until it
fits as well; then the times can be compared.

    python examples/sine.py --layers 1 10 10 1 --learning_rate 0.01 --epochs 1000 --verbose_epoch 200
    python examples/sine.py --device cuda --batch-size all --learning-rate 1 --epochs 20000
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence

import numpy as np
from common import add_option, parser_of, print_device, run_example, save

from xpnet import NeuralNetwork
from xpnet.optimizers import OPTIMIZERS
from xpnet.plotting import draw_epoch_loss, draw_fit

SEED = 94
GALLERY = (10, 50, 100, 500, 1000)

# Of the GIF.
FRAMES = 60
FRAME, LAST_FRAME = 100, 2000  # milliseconds

# In batches: a step that averages over 50 samples can be 50 times as long, as in https://arxiv.org/abs/1706.02677.
BATCH_SIZE = 50
MOST_EPOCHS = 10  # for each epoch of the run sample by sample


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = parser_of(
        __doc__, "of the initial weights; of 200 seeds a quarter end below a loss of 0.0004, as the default does", SEED
    )
    layers = "layer sizes, inputs first (default: 1 10 10 1)"
    add_option(parser, "--layers", layers, type=int, nargs="+", default=[1, 10, 10, 1])
    rate = "length of a step down the gradient (default: %(default)s)"
    add_option(parser, "--learning_rate", rate, type=float, default=0.01)
    add_option(parser, "--epochs", "times to go through the samples (default: %(default)s)", type=int, default=1000)
    reports = "epochs from report to report (default: %(default)s)"
    add_option(parser, "--verbose_epoch", reports, type=int, default=200)
    size = "samples that a step learns from: 1 (default), more, or 'all'"
    add_option(parser, "--batch_size", size, type=batch_size, default=1)
    add_option(parser, "--optimizer", f"{', '.join(OPTIMIZERS)} (default: %(default)s)", default="sgd")
    add_option(parser, "--samples", "points on the sine (default: %(default)s)", type=int, default=500)
    add_option(parser, "--animate", "draw the fit over the epochs as a GIF too", action="store_true")
    return parser


def batch_size(text: str) -> int | None:
    """Read a number of samples, or 'all', which the library calls None."""
    return None if text == "all" else int(text)


def sine(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x over two periods, x standardised, and the sine moved up into what a sigmoid can reach."""
    if samples < 2:
        msg = f"samples must be at least 2, got {samples}"
        raise ValueError(msg)
    x = np.linspace(-2 * np.pi, 2 * np.pi, samples).reshape(samples, 1, 1)
    return x, (x - x.mean()) / x.std(), 0.5 * (np.sin(x) + 1)


def build(options: argparse.Namespace) -> NeuralNetwork:
    """Return the untrained network."""
    return NeuralNetwork(
        options.layers, optimizer=options.optimizer, device=options.device, dtype=options.dtype, seed=options.seed
    )


@functools.cache
def frames(epochs: int) -> frozenset[int]:
    """Return after how many epochs the GIF shows the fit: evenly in the logarithm, once past a quicker start."""
    return frozenset((np.geomspace(50, 50 + epochs, FRAMES) - 50).round().astype(int).tolist())


def train(
    network: NeuralNetwork,
    X: np.ndarray,
    y: np.ndarray,
    predictions: dict[int, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Train as asked, and keep what the network predicts before, and after each number of epochs that is drawn."""
    predictions[0] = network.predict(X)

    def after_epoch(network: NeuralNetwork) -> None:
        trained = network.epochs_trained
        if trained in GALLERY or (options.animate and trained in frames(options.epochs)):
            predictions[trained] = network.predict(X)

    network.train(
        X,
        y,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        verbose_epoch=options.verbose_epoch,
        batch_size=options.batch_size,
        callbacks=after_epoch,
    )


def compare(X: np.ndarray, y: np.ndarray, loss: float, options: argparse.Namespace) -> None:
    """Train a second network in shuffled batches until it fits as well or has had its time, and report how it went."""
    network = build(options)
    size = min(BATCH_SIZE, len(X))
    rate = options.learning_rate * (size if options.optimizer in ("sgd", "momentum", "nesterov") else 1)
    start = time.perf_counter()
    while network.epochs_trained < MOST_EPOCHS * options.epochs:
        network.train(X, y, rate, epochs=10, verbose=False, batch_size=size, shuffle=True)
        if network.epoch_loss[-1] <= loss:
            break
    report(size, network, time.perf_counter() - start, "" if network.epoch_loss[-1] <= loss else " (not as well yet)")


def report(batch_size: int | None, network: NeuralNetwork, seconds: float, remark: str = "") -> None:
    """Print how a training went."""
    names = {None: "The whole set at once", 1: "Sample by sample"}
    how = names.get(batch_size, f"In batches of {batch_size}")
    loss = f"{network.epoch_loss[-1]:.6g}" if network.epochs_trained else "none"
    print(f"{how} : {network.epochs_trained} epochs in {seconds:.1f} s, final loss {loss}{remark}")


def draw(
    network: NeuralNetwork,
    x: np.ndarray,
    y: np.ndarray,
    predictions: dict[int, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Draw the document's pictures."""
    from matplotlib import pyplot as plt

    data, axes = plt.subplots(figsize=(5, 2.5), layout="constrained")
    axes.plot(x, y, color="tab:blue")
    axes.set(title="Sine function shifted up", xlabel="X", ylabel="y")
    axes.grid(visible=True, alpha=0.4)

    loss, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    draw_epoch_loss(axes, network.epoch_loss, log=True)

    fit, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    draw_fit(axes, x, y, predictions[network.epochs_trained].ravel())

    # The fit after each number of epochs, and in the last field the loss.
    gallery = sorted({*GALLERY, network.epochs_trained} & predictions.keys())
    columns = min(3, len(gallery) + 1)
    rows = -(-(len(gallery) + 1) // columns)
    epochs, grid = plt.subplots(rows, columns, figsize=(5 * columns, 4 * rows), layout="constrained")
    for axes, trained in zip(grid.flat, gallery, strict=False):
        draw_fit(axes, x, y, predictions[trained].ravel(), title=f"After {trained:,} epochs")
    draw_epoch_loss(grid.flat[len(gallery)], network.epoch_loss, log=True)
    for axes in grid.flat[len(gallery) + 1 :]:
        axes.set_visible(False)
    save({"sine_data": data, "sine_loss": loss, "sine_fit": fit, "sine_epochs": epochs}, options)


def animate(
    network: NeuralNetwork,
    x: np.ndarray,
    y: np.ndarray,
    predictions: dict[int, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Draw the fit after more and more epochs, and the loss so far, as a GIF."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    fit, loss = figure.subplots(1, 2, width_ratios=[1.5, 1])
    draw_fit(fit, x, y, predictions[0].ravel(), title="")
    draw_epoch_loss(loss, network.epoch_loss, log=True)
    (_, predicted), (so_far,) = fit.lines, loss.lines
    predicted.set_linestyle("solid")  # dashes would run along the line as it moves
    fit.legend(loc="upper right")
    so_far.set(marker="o", markevery=[-1])

    # All that stands still is laid out and drawn only once.
    moving = (fit.title, predicted, so_far)
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    images = []
    for trained in sorted({*frames(options.epochs), network.epochs_trained} & predictions.keys()):
        fit.set_title(f"After {trained:,} epochs")
        predicted.set_ydata(predictions[trained].ravel())
        so_far.set_data(range(trained), network.epoch_loss[:trained])
        canvas.restore_region(still)
        for artist in moving:
            figure.draw_artist(artist)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))

    file = options.output / "sine.gif"
    first, *others = images
    first.save(file, save_all=True, append_images=others, duration=[FRAME] * len(others) + [LAST_FRAME], loop=0)
    print(f"Picture : {file}")


def run(options: argparse.Namespace) -> int:
    """Train, draw, compare; return the exit code."""
    network = build(options)
    print_device(network)
    x, X, y = sine(options.samples)
    predictions: dict[int, np.ndarray] = {}
    code = 0
    start = time.perf_counter()
    try:
        train(network, X, y, predictions, options)
    except KeyboardInterrupt as interrupted:
        print(interrupted)
        code = 130
    report(options.batch_size, network, time.perf_counter() - start)
    if network.epochs_trained and not options.no_plots:
        predictions[network.epochs_trained] = network.predict(X)
        draw(network, x.ravel(), y.ravel(), predictions, options)
        if options.animate:
            animate(network, x.ravel(), y.ravel(), predictions, options)
    if options.batch_size == 1 and code == 0:
        compare(X, y, network.epoch_loss[-1], options)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line."""
    return run_example(parser(), arguments, run)


if __name__ == "__main__":
    sys.exit(main())
