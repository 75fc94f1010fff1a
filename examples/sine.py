"""A small network learns a sine, sample by sample: the example of the notebook "Neural Network From Scratch".

Afterwards a second network with the same seed is trained in batches, until its loss is as low. This compares the
training times.

    python examples/sine.py --layers 1 10 10 1 --learning_rate 0.01 --epochs 1000 --verbose_epoch 200
    python examples/sine.py --device cuda --batch-size all --learning-rate 1 --epochs 20000
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import add_option, make_parser, print_device, run_example, save

from xpnet import NeuralNetwork
from xpnet.optimizers import OPTIMIZERS
from xpnet.plotting import draw_epoch_loss, draw_fit

SEED = 94
SNAPSHOT_EPOCHS = (10, 50, 100, 500, 1000)  # sine_epochs.png shows the predictions after these

# The frames of the GIF, and how long each is shown.
FRAMES = 60
COMPILE = {"auto": "auto", "on": True, "off": False}
FRAME_MS, LAST_FRAME_MS = 100, 2000

# The learning rate is multiplied by the batch size: Goyal et al. (2017), https://arxiv.org/abs/1706.02677.
BATCH_SIZE = 50
MAX_EPOCHS_RATIO = 10  # the training in batches stops after 10 times the epochs of the first one


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    seed = "seed of the initial weights; the default and a quarter of 200 tested seeds reach a loss below 0.0004"
    parser = make_parser(__doc__, seed, SEED)
    layers = "layer sizes from input to output; the first and the last must be 1 (default: 1 10 10 1)"
    add_option(parser, "--layers", layers, type=int, nargs="+", default=[1, 10, 10, 1])
    add_option(parser, "--learning_rate", "learning rate (default: %(default)s)", type=float, default=0.01)
    add_option(parser, "--epochs", "passes over the samples (default: %(default)s)", type=int, default=1000)
    verbose = "print the loss every so many epochs (default: %(default)s)"
    add_option(parser, "--verbose_epoch", verbose, type=int, default=200)
    size = "samples in a batch: 1 (default), more, or 'all'"
    add_option(parser, "--batch_size", size, type=batch_size, default=1)
    add_option(parser, "--optimizer", f"{', '.join(OPTIMIZERS)} (default: %(default)s)", default="sgd")
    add_option(parser, "--samples", "points on the sine (default: %(default)s)", type=int, default=500)
    compiled = "compile the training step: auto (default, if that saves time), on, or off"
    add_option(parser, "--compile", compiled, choices=COMPILE, default="auto")
    add_option(parser, "--animate", "also draw the predictions over the epochs as a GIF", action="store_true")
    return parser


def batch_size(text: str) -> int | None:
    """Return the batch size as a number, or None for 'all'."""
    return None if text == "all" else int(text)


def sine(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x over two periods, x standardized, and 0.5 (sin x + 1): a sigmoid's outputs are between 0 and 1."""
    if samples < 2:
        msg = f"samples must be at least 2, got {samples}"
        raise ValueError(msg)
    x = np.linspace(-2 * np.pi, 2 * np.pi, samples).reshape(samples, 1, 1)
    return x, (x - x.mean()) / x.std(), 0.5 * (np.sin(x) + 1)


def build(options: argparse.Namespace) -> NeuralNetwork:
    """Return the untrained network, after checking that its layers match the sine."""
    layers = " ".join(map(str, options.layers))
    for place, size, data in (("first", options.layers[0], "input"), ("last", options.layers[-1], "target")):
        if size != 1:
            msg = f"the {place} number of --layers must be 1 because the sine has one {data}, got {layers}"
            raise ValueError(msg)
    return NeuralNetwork(
        options.layers, optimizer=options.optimizer, device=options.device, dtype=options.dtype, seed=options.seed
    )


@functools.cache
def frames(epochs: int) -> frozenset[int]:
    """Return the numbers of epochs after which the GIF has a frame: evenly spaced in log(epoch + 50)."""
    return frozenset((np.geomspace(50, 50 + epochs, FRAMES) - 50).round().astype(int).tolist())


def train(
    network: NeuralNetwork,
    X: np.ndarray,
    y: np.ndarray,
    predictions: dict[int, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Train with these options; store the predictions by number of epochs: before training and wherever drawn."""
    predictions[0] = network.predict(X)

    def after_epoch(network: NeuralNetwork) -> None:
        trained = network.epochs_trained
        if trained in SNAPSHOT_EPOCHS or (options.animate and trained in frames(options.epochs)):
            predictions[trained] = network.predict(X)

    network.train(
        X,
        y,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        verbose_epoch=options.verbose_epoch,
        batch_size=options.batch_size,
        callbacks=after_epoch,
        compile=COMPILE[options.compile],
    )


def compare(X: np.ndarray, y: np.ndarray, loss: float, options: argparse.Namespace) -> None:
    """Train a second network in shuffled batches until it reaches this loss, or for the maximum number of epochs."""
    network = build(options)
    size = min(BATCH_SIZE, len(X))
    rate = options.learning_rate * (size if options.optimizer in ("sgd", "momentum", "nesterov") else 1)
    start = time.perf_counter()
    while network.epochs_trained < MAX_EPOCHS_RATIO * options.epochs:
        choice = COMPILE[options.compile]
        network.train(X, y, rate, epochs=10, verbose=False, batch_size=size, shuffle=True, compile=choice)
        if network.epoch_loss[-1] <= loss:
            break
    remark = "" if network.epoch_loss[-1] <= loss else f" (did not reach {loss:.6g})"
    report(size, network, time.perf_counter() - start, remark)


def report(batch_size: int | None, network: NeuralNetwork, seconds: float, remark: str = "") -> None:
    """Print the epochs, the time and the final loss of a training."""
    names = {None: "Full batch", 1: "Sample by sample"}
    name = names.get(batch_size, f"In batches of {batch_size}")
    loss = f"{network.epoch_loss[-1]:.6g}" if network.epochs_trained else "none"
    print(f"{name} : {network.epochs_trained} epochs in {seconds:.1f} s, final loss {loss}{remark}")


def draw_loss(axes: Any, network: NeuralNetwork) -> None:
    """Draw the loss of every epoch, with the name of the loss on the y axis."""
    draw_epoch_loss(axes, network.epoch_loss, log=True)
    axes.set_ylabel("Loss (half the mean squared error)")


def draw(
    network: NeuralNetwork,
    x: np.ndarray,
    y: np.ndarray,
    predictions: dict[int, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Draw the data, the loss, the predictions, and the predictions after increasing numbers of epochs."""
    from matplotlib import pyplot as plt

    data, axes = plt.subplots(figsize=(5, 2.5), layout="constrained")
    axes.plot(x, y, color="tab:blue")
    axes.set(title="Sine function shifted up", xlabel="X", ylabel="y")
    axes.grid(visible=True, alpha=0.4)

    loss, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    draw_loss(axes, network)

    fit, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    draw_fit(axes, x, y, predictions[network.epochs_trained].ravel())

    # One plot for each number of epochs, and a last one for the loss.
    snapshots = sorted({*SNAPSHOT_EPOCHS, network.epochs_trained} & predictions.keys())
    columns = min(3, len(snapshots) + 1)
    rows = -(-(len(snapshots) + 1) // columns)
    epochs, grid = plt.subplots(rows, columns, figsize=(5 * columns, 4 * rows), layout="constrained")
    for axes, trained in zip(grid.flat, snapshots, strict=False):
        draw_fit(axes, x, y, predictions[trained].ravel(), title=f"After {trained:,} epochs")
    draw_loss(grid.flat[len(snapshots)], network)
    for axes in grid.flat[len(snapshots) + 1 :]:
        axes.set_visible(False)
    save({"sine_data": data, "sine_loss": loss, "sine_fit": fit, "sine_epochs": epochs}, options)


def animate(
    network: NeuralNetwork,
    x: np.ndarray,
    y: np.ndarray,
    predictions: dict[int, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Draw a GIF of the predictions after increasing numbers of epochs, and of the loss up to each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    fit, loss = figure.subplots(1, 2, width_ratios=[1.5, 1])
    draw_fit(fit, x, y, predictions[0].ravel(), title="")
    draw_loss(loss, network)
    (_, predicted), (loss_line,) = fit.lines, loss.lines
    fit.legend(loc="upper right")
    loss_line.set(marker="o", markevery=[-1])

    # The parts that do not change are laid out and drawn only once.
    changing = (fit.title, predicted, loss_line)
    for artist in changing:
        artist.set_animated(True)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    images = []
    for trained in sorted({*frames(options.epochs), network.epochs_trained} & predictions.keys()):
        fit.set_title(f"After {trained:,} epochs")
        predicted.set_ydata(predictions[trained].ravel())
        loss_line.set_data(range(trained), network.epoch_loss[:trained])
        canvas.restore_region(background)
        for artist in changing:
            figure.draw_artist(artist)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))

    file = options.output / "sine.gif"
    first, *others = images
    durations = [FRAME_MS] * len(others) + [LAST_FRAME_MS]
    first.save(file, save_all=True, append_images=others, duration=durations, loop=0)
    print(f"Picture : {file}")


def run(options: argparse.Namespace) -> int:
    """Train, draw the pictures, compare with a training in batches; return the exit code."""
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
