"""Code that the examples share: command-line options, errors and exit codes, saving pictures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xpnet import DeviceUnavailable, NeuralNetwork
from xpnet.backends import Backend
from xpnet.schedules import cosine


def make_parser(description: str, seed_help: str, seed: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all examples have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser, "--device", "cpu (default), cuda, cuda:N, or auto: a GPU if there is one", default="cpu")
    add_option(parser, "--dtype", "float64 (default) or float32", default="float64")
    add_option(parser, "--seed", f"{seed_help} (default: %(default)s)", type=int, default=seed)
    add_option(parser, "--output", "folder for the pictures (default: %(default)s)", type=Path, default=Path("output"))
    add_option(parser, "--show", "also show the pictures in windows", action="store_true")
    add_option(parser, "--no_plots", "draw no pictures", action="store_true")
    return parser


def add_option(parser: argparse.ArgumentParser, name: str, text: str, **settings: Any) -> None:
    """Add an option that can be written with dashes or underscores."""
    parser.add_argument(*dict.fromkeys((name, name.replace("_", "-"))), help=text, **settings)


def run_example(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, run: Callable[[argparse.Namespace], int]
) -> int:
    """Run an example; return the exit code: 2 for a bad command line or device, 1 for a training that diverged."""
    options = parser.parse_args(arguments)
    try:
        if not options.no_plots:
            _prepare_plots(options.output, show=options.show)
        # Every error message of the library names the argument that is wrong.
        return run(options)
    except (DeviceUnavailable, ImportError, OSError, TypeError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except FloatingPointError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")


def _prepare_plots(output: Path, *, show: bool) -> None:
    """Check, before a long training, that pictures can be drawn and saved after it."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        msg = 'pictures need matplotlib: pip install "xpnet[plot]", or use --no-plots'
        raise ImportError(msg) from error
    if not show:
        mpl.use("agg")
    output.mkdir(parents=True, exist_ok=True)


def save(figures: dict[str, Any], options: argparse.Namespace) -> None:
    """Save figures by name in the output folder, and show them with --show."""
    from matplotlib import pyplot as plt

    for name, figure in figures.items():
        file = options.output / f"{name}.png"
        figure.savefig(file, dpi=120)
        print(f"Picture : {file}")
    if options.show:
        if plt.get_backend().lower() == "agg":
            print("The pictures cannot be shown: there is no display.")
        else:
            plt.show()
    plt.close("all")


def print_device(network: NeuralNetwork) -> None:
    """Print the device of a network."""
    print_backend(network.backend)


def print_backend(backend: Backend) -> None:
    """Print the device and the library of a backend."""
    print(f"Device : {backend.device} ({backend.name}, {backend.describe()})")


def import_scikit_learn() -> None:
    """Raise an ImportError that names the command if scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        msg = 'the example needs scikit-learn: pip install "xpnet[sklearn]"'
        raise ImportError(msg) from error


def train_in_batches(
    network: NeuralNetwork, X: Any, y: Any, *, learning_rate: float, epochs: int, verbose_epoch: int
) -> float:
    """Train in shuffled batches of 32 with a cosine learning-rate schedule; return the training time in seconds."""
    start = time.perf_counter()
    network.train(
        X,
        y,
        learning_rate=learning_rate,
        epochs=epochs,
        verbose_epoch=verbose_epoch,
        batch_size=32,
        shuffle=True,
        schedule=cosine(epochs, least=0.01),
    )
    return time.perf_counter() - start
