"""What a training step costs: the document's algorithm in NumPy, and xpnet sample by sample and in batches.

    python benchmarks/per_sample.py [--device cpu] [--dtype float64] [--processes 7] [--rounds 5] [--output FILE]

All of them train the document's network on its sine, in turn, round by round, in several processes one after the other:
where a process happens to lie in memory alone makes it a tenth faster or slower. Prints medians, and the medians of the
ratios to the document's algorithm in the same round; with --output writes them as JSON too.
"""

from __future__ import annotations

import statistics
from functools import partial

import numpy as np
from common import Document, about, arguments_of, deliver, in_processes, interleaved, median_ratio, sine

from xpnet import NeuralNetwork, get_backend

LAYERS = [1, 10, 10, 1]
DOCUMENT = "the document's algorithm"
# The batch size of each, and how many epochs a round of it takes, so that none is over too soon to be timed.
CONTESTANTS = {
    DOCUMENT: (1, 5),
    "xpnet, sample by sample": (1, 5),
    "xpnet, batches of 50": (50, 100),
    "xpnet, the whole set": (None, 500),
}


def measure(device: str, dtype: str, rounds: int) -> dict[str, list[float]]:
    """Return for every contestant the seconds that an epoch takes, round by round."""
    X, y = sine()
    network = NeuralNetwork(LAYERS, device=device, dtype=dtype, seed=0)
    initial = {name: np.asarray(value) for name, value in NeuralNetwork(LAYERS, seed=0).parameters.items()}

    def run(name: str) -> None:
        batch_size, epochs = CONTESTANTS[name]
        if name == DOCUMENT:
            Document(dict(initial)).train(X[:, :, None], y[:, :, None], 0.01, epochs)
        else:
            network.train(X, y, 0.01, epochs, verbose=False, batch_size=batch_size)
            network.backend.synchronize()

    seconds = interleaved({name: partial(run, name) for name in CONTESTANTS}, rounds)
    return {name: [time / CONTESTANTS[name][1] for time in times] for name, times in seconds.items()}


def main() -> None:
    arguments = arguments_of(__doc__, processes=7, dtype="float64")
    per_epoch = in_processes(arguments.processes, measure, arguments.device, arguments.dtype, arguments.rounds)
    report = {
        **about(get_backend(arguments.device)),
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
    deliver(report, arguments.output)


if __name__ == "__main__":
    main()
