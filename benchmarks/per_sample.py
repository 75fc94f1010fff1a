"""Training time of one epoch: the document's algorithm in NumPy, and xpnet sample by sample and in batches.

    python benchmarks/per_sample.py [--device cpu] [--dtype float64] [--processes 7] [--rounds 5] [--output FILE]

The document is the notebook *Neural Network From Scratch* (see README). Every variant trains the document's network
on its sine. The variants alternate, round by round, in several processes one after the other, because the memory
layout of a process changes its speed by a tenth. Prints as JSON the median times, and the median ratios to the
document's algorithm in the same round; --output also writes it. Nothing is
compiled: `python -m benchmarks` measures that.
"""

from __future__ import annotations

import statistics
from functools import partial

import numpy as np
from common import Document, environment, in_processes, interleaved, median_ratio, parse_arguments, sine, write_report

from xpnet import NeuralNetwork, get_backend

LAYERS = [1, 10, 10, 1]
DOCUMENT = "the document's algorithm"
# Batch size and epochs of a round: enough epochs for an accurate time.
VARIANTS = {
    DOCUMENT: (1, 5),
    "xpnet, sample by sample": (1, 5),
    "xpnet, batches of 50": (50, 100),
    "xpnet, the whole set": (None, 500),
}


def measure(device: str, dtype: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of one epoch, for every variant and round."""
    X, y = sine()
    network = NeuralNetwork(LAYERS, device=device, dtype=dtype, seed=0)
    initial = {name: np.asarray(value) for name, value in NeuralNetwork(LAYERS, seed=0).parameters.items()}

    def run(name: str) -> None:
        batch_size, epochs = VARIANTS[name]
        if name == DOCUMENT:
            Document(dict(initial)).train(X[:, :, None], y[:, :, None], 0.01, epochs)
        else:
            network.train(X, y, 0.01, epochs, verbose=False, batch_size=batch_size, compile=False)
            network.backend.synchronize()

    seconds = interleaved({name: partial(run, name) for name in VARIANTS}, rounds)
    return {name: [time / VARIANTS[name][1] for time in times] for name, times in seconds.items()}


def main() -> None:
    arguments = parse_arguments(__doc__, processes=7, dtype="float64")
    per_epoch = in_processes(arguments.processes, measure, arguments.device, arguments.dtype, arguments.rounds)
    report = {
        **environment(get_backend(arguments.device)),
        "what": f"an epoch of 500 samples, layers {LAYERS}, {arguments.dtype}; the document's in float64 NumPy",
        "processes": arguments.processes,
        "rounds": arguments.rounds,
        "milliseconds_per_epoch": {
            name: float(f"{1e3 * statistics.median(times):.4g}") for name, times in per_epoch.items()
        },
        "times_as_fast_as_the_document": {
            name: float(f"{median_ratio(per_epoch[DOCUMENT], times):.3g}") for name, times in per_epoch.items()
        },
    }
    write_report(report, arguments.output)


if __name__ == "__main__":
    main()
