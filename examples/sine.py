"""The document's example: a small network learns a sine, sample by sample.

    python examples/sine.py --layers 1 10 10 1 --learning_rate 0.01 --epochs 1000 --verbose_epoch 200
    python examples/sine.py --device cuda --batch-size all --learning-rate 1 --epochs 5000

A run sample by sample is followed by one in batches, which goes on until it fits as well, to compare the times.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import DeviceUnavailable, NeuralNetwork
from xpnet.plotting import draw_epoch_loss, draw_fit

try:
    from tqdm import tqdm
    from tqdm.contrib import DummyTqdmFile
except ImportError:
    tqdm = None

SEED = 94
GALLERY = (10, 50, 100, 500, 1000)
DELAY = 1  # seconds before a progress bar appears

# The run in batches: a step that averages over 50 samples can be 50 times as long, as in https://arxiv.org/abs/1706.02677.
BATCH_SIZE = 50
MOST_EPOCHS = 10  # for each epoch of the run sample by sample


def parse(arguments: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line; the options of several words take dashes as well as the document's underscores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--layers", type=int, nargs="+", default=[1, 10, 10, 1], metavar="N", help="layer sizes (default: 1 10 10 1)")
    add("--learning_rate", "--learning-rate", type=float, default=0.01, metavar="RATE", help="default: %(default)s")
    add("--epochs", type=int, default=1000, metavar="N", help="times through the samples (default: %(default)s)")
    add("--verbose_epoch", "--verbose-epoch", type=int, default=200, metavar="N",
        help="epochs from report to report (default: %(default)s)")  # fmt: skip
    add("--batch_size", "--batch-size", type=batch_size, default=1, metavar="N",
        help="samples a step learns from: 1, the document's way (default), more, or 'all'")  # fmt: skip
    add("--device", default="cpu", help="cpu (default), cuda, cuda:N, or auto: a GPU if there is one")
    add("--dtype", default="float64", help="float64 (default) or float32")
    add("--seed", type=int, default=SEED, metavar="N",
        help="of the initial weights (default: %(default)s, one that fits well; most seeds do not)")  # fmt: skip
    add("--samples", type=int, default=500, metavar="N", help="points on the sine (default: %(default)s)")
    add("--output", type=Path, default=Path("output"), metavar="DIR", help="where pictures go (default: %(default)s)")
    add("--show", action="store_true", help="show the pictures in windows too")
    add("--no_plots", "--no-plots", action="store_true", help="draw no pictures")
    return parser, parser.parse_args(arguments)


def batch_size(text: str) -> int | None:
    """Read a number of samples, or 'all', which the library calls None."""
    return None if text == "all" else int(text)


def sine(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x over two periods, x standardised, and the sine moved up into what a sigmoid can answer."""
    if samples < 2:
        msg = f"samples must be at least 2, got {samples}"
        raise ValueError(msg)
    x = np.linspace(-2 * np.pi, 2 * np.pi, samples).reshape(samples, 1, 1)
    return x, (x - x.mean()) / x.std(), 0.5 * (np.sin(x) + 1)


@contextlib.contextmanager
def progress(epochs: int) -> Iterator[Any]:
    """Give a function that counts epochs: on a progress bar where someone looks at a terminal, else nowhere."""
    if tqdm is None or not sys.stderr.isatty():
        yield lambda: None
        return
    # Reports are printed above the bar, not through it.
    with (
        contextlib.redirect_stdout(DummyTqdmFile(sys.stdout)),
        tqdm(total=epochs, unit="epoch", delay=DELAY, leave=False) as bar,
    ):
        yield bar.update


def train(
    network: NeuralNetwork, X: np.ndarray, y: np.ndarray, gallery: dict[int, np.ndarray], options: argparse.Namespace
) -> None:
    """Train as asked, and put into the gallery what the network answers after each of the document's epochs."""
    with progress(options.epochs) as count:

        def after_epoch(network: NeuralNetwork) -> None:
            count()
            if network.epochs_trained in GALLERY:
                gallery[network.epochs_trained] = network.predict(X)

        network.train(
            X,
            y,
            learning_rate=options.learning_rate,
            epochs=options.epochs,
            verbose_epoch=options.verbose_epoch,
            batch_size=options.batch_size,
            callback=after_epoch,
        )


def train_in_batches(X: np.ndarray, y: np.ndarray, loss: float, options: argparse.Namespace) -> NeuralNetwork:
    """Train a network of the same seed in shuffled batches, until it fits as well or has had its time."""
    network = build(options)
    rate = BATCH_SIZE * options.learning_rate
    while network.epochs_trained < MOST_EPOCHS * options.epochs:
        network.train(X, y, rate, epochs=10, verbose=False, batch_size=BATCH_SIZE, shuffle=True)
        if network.epoch_loss[-1] <= loss:
            break
    return network


def build(options: argparse.Namespace) -> NeuralNetwork:
    """Return the untrained network."""
    return NeuralNetwork(options.layers, device=options.device, dtype=options.dtype, seed=options.seed)


def draw(
    network: NeuralNetwork, x: np.ndarray, X: np.ndarray, y: np.ndarray, gallery: dict[int, np.ndarray], options: Any
) -> list[Path]:
    """Draw the document's pictures into the output folder, and return their files."""
    from matplotlib import pyplot as plt

    gallery[network.epochs_trained] = network.predict(X)
    x, y = x.ravel(), y.ravel()
    data, axes = plt.subplots(figsize=(5, 2.5), layout="constrained")
    axes.plot(x, y, color="tab:blue")
    axes.set(title="Sine Function Shifted Up", xlabel="X", ylabel="y")
    axes.grid(visible=True, alpha=0.4)

    loss, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    draw_epoch_loss(axes, network.epoch_loss, log=True)

    fit, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    draw_fit(axes, x, y, gallery[network.epochs_trained].ravel())

    columns = min(3, len(gallery))
    rows = -(-len(gallery) // columns)
    epochs, grid = plt.subplots(rows, columns, figsize=(5 * columns, 4 * rows), layout="constrained", squeeze=False)
    for axes, (trained, y_pred) in zip(grid.flat, sorted(gallery.items()), strict=False):
        draw_fit(axes, x, y, y_pred.ravel(), title=f"Actual vs Predicted after {trained} epochs in all")
    for axes in grid.flat[len(gallery) :]:
        draw_epoch_loss(axes, network.epoch_loss, log=True)

    options.output.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in {"data": data, "loss": loss, "fit": fit, "epochs": epochs}.items():
        files.append(options.output / f"sine_{name}.png")
        figure.savefig(files[-1], dpi=120)
    if options.show:
        plt.show()
    plt.close("all")
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit code: 2 for a bad command line or device, 1 where training went wrong."""
    parser, options = parse(arguments)
    try:
        if not options.no_plots:
            prepare_plots(show=options.show)
        # Every message of the library names the argument that is at fault.
        return run(options)
    except (DeviceUnavailable, ImportError, TypeError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except FloatingPointError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


def prepare_plots(*, show: bool) -> None:
    """Make sure before a long training that pictures can be drawn after it."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        msg = 'pictures need matplotlib: pip install "xpnet[plot]", or --no-plots'
        raise ImportError(msg) from error
    if not show:
        mpl.use("agg")


def run(options: argparse.Namespace) -> int:
    """Train, compare, draw; return the exit code."""
    network = build(options)
    backend = network.backend
    print(f"Device : {backend.device} ({backend.name}, {type(backend).devices()[backend.device]})")
    x, X, y = sine(options.samples)
    gallery: dict[int, np.ndarray] = {}
    code = 0
    start = time.perf_counter()
    try:
        train(network, X, y, gallery, options)
    except KeyboardInterrupt as interrupted:
        print(interrupted)
        code = 130
    report(options.batch_size, network, time.perf_counter() - start)
    if options.batch_size == 1 and code == 0:
        start = time.perf_counter()
        in_batches = train_in_batches(X, y, network.epoch_loss[-1], options)
        report(BATCH_SIZE, in_batches, time.perf_counter() - start)
    if network.epochs_trained and not options.no_plots:
        for file in draw(network, x, X, y, gallery, options):
            print(f"Picture : {file}")
    return code


def report(batch_size: int | None, network: NeuralNetwork, seconds: float) -> None:
    """Print how a training went."""
    names = {None: "The whole set at once", 1: "Sample by sample"}
    how = names.get(batch_size, f"In batches of {batch_size}")
    loss = network.epoch_loss[-1] if network.epochs_trained else float("nan")
    print(f"{how} : {network.epochs_trained} epochs in {seconds:.1f} s, final loss {loss:.6g}")


if __name__ == "__main__":
    sys.exit(main())
