"""The document's example: a small network learns a sine, sample by sample.

A run sample by sample is followed by one in batches, with a second network of the same seed, which goes on until it
fits as well; then the times can be compared.

    python examples/sine.py --layers 1 10 10 1 --learning_rate 0.01 --epochs 1000 --verbose_epoch 200
    python examples/sine.py --device cuda --batch-size all --learning-rate 1 --epochs 20000
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

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
BAR_AFTER = 1  # seconds

# In batches: a step that averages over 50 samples can be 50 times as long, as in https://arxiv.org/abs/1706.02677.
BATCH_SIZE = 50
MOST_EPOCHS = 10  # for each epoch of the run sample by sample


def parse(arguments: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line; the options of several words take dashes as well as the document's underscores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(name: str, text: str, **settings: object) -> None:
        parser.add_argument(*dict.fromkeys((name, name.replace("_", "-"))), help=text, **settings)

    add("--layers", "layer sizes, inputs first (default: 1 10 10 1)", type=int, nargs="+", default=[1, 10, 10, 1])
    add("--learning_rate", "length of a step down the gradient (default: %(default)s)", type=float, default=0.01)
    add("--epochs", "how many times to go through the samples (default: %(default)s)", type=int, default=1000)
    add("--verbose_epoch", "epochs from report to report (default: %(default)s)", type=int, default=200)
    add("--batch_size", "samples a step learns from: 1 (default), more, or 'all'", type=batch_size, default=1)
    add("--device", "cpu (default), cuda, cuda:N, or auto: a GPU if there is one", default="cpu")
    add("--dtype", "float64 (default) or float32", default="float64")
    chosen = "of the initial weights (default: %(default)s, one that fits well; most seeds do not)"
    add("--seed", chosen, type=int, default=SEED)
    add("--samples", "points on the sine (default: %(default)s)", type=int, default=500)
    add("--output", "folder for the pictures (default: %(default)s)", type=Path, default=Path("output"))
    add("--show", "show the pictures in windows too", action="store_true")
    add("--no_plots", "draw no pictures", action="store_true")
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


def build(options: argparse.Namespace) -> NeuralNetwork:
    """Return the untrained network."""
    return NeuralNetwork(options.layers, device=options.device, dtype=options.dtype, seed=options.seed)


@contextlib.contextmanager
def progress(epochs: int) -> Iterator[Callable[[], object]]:
    """Give a function that counts epochs: on a progress bar where someone looks at a terminal, else nowhere."""
    terminal = sys.stdout
    if tqdm is None or not terminal.isatty():
        yield lambda: None
        return
    # Reports then go above the bar, not through it.
    with (
        contextlib.redirect_stdout(DummyTqdmFile(terminal)),
        tqdm(total=epochs, unit="epoch", delay=BAR_AFTER, leave=False, file=terminal) as bar,
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


def compare(X: np.ndarray, y: np.ndarray, loss: float, options: argparse.Namespace) -> None:
    """Train a second network in shuffled batches until it fits as well or has had its time, and report how it went."""
    network = build(options)
    size = min(BATCH_SIZE, len(X))
    rate = size * options.learning_rate
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


def prepare_plots(output: Path, *, show: bool) -> None:
    """Make sure before a long training that pictures can be drawn and kept after it."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        msg = 'pictures need matplotlib: pip install "xpnet[plot]", or --no-plots'
        raise ImportError(msg) from error
    if not show:
        mpl.use("agg")
    output.mkdir(parents=True, exist_ok=True)


def draw(
    network: NeuralNetwork,
    x: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
    gallery: dict[int, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Draw the document's pictures into the output folder."""
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

    # The fit after each number of epochs, and in the last field the loss.
    columns = min(3, len(gallery) + 1)
    rows = -(-(len(gallery) + 1) // columns)
    epochs, grid = plt.subplots(rows, columns, figsize=(5 * columns, 4 * rows), layout="constrained")
    for axes, trained in zip(grid.flat, sorted(gallery), strict=False):
        draw_fit(axes, x, y, gallery[trained].ravel(), title=f"After {trained} Epochs")
    draw_epoch_loss(grid.flat[len(gallery)], network.epoch_loss, log=True)
    for axes in grid.flat[len(gallery) + 1 :]:
        axes.set_visible(False)

    for name, figure in {"data": data, "loss": loss, "fit": fit, "epochs": epochs}.items():
        file = options.output / f"sine_{name}.png"
        figure.savefig(file, dpi=120)
        print(f"Picture : {file}")
    if options.show:
        if plt.get_backend().lower() == "agg":
            print("There is no display to show the pictures on.")
        else:
            plt.show()
    plt.close("all")


def run(options: argparse.Namespace) -> int:
    """Train, draw, compare; return the exit code."""
    network = build(options)
    print(f"Device : {network.backend.device} ({network.backend.name}, {network.backend.describe()})")
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
    if network.epochs_trained and not options.no_plots:
        draw(network, x, X, y, gallery, options)
    if options.batch_size == 1 and code == 0:
        compare(X, y, network.epoch_loss[-1], options)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit code: 2 for a bad command line or device, 1 where training went wrong."""
    parser, options = parse(arguments)
    try:
        if not options.no_plots:
            prepare_plots(options.output, show=options.show)
        # Every message of the library names the argument that is at fault.
        return run(options)
    except (DeviceUnavailable, ImportError, OSError, TypeError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except FloatingPointError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")


if __name__ == "__main__":
    sys.exit(main())
