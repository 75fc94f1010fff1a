"""What a training step costs: the document's algorithm in NumPy, and xpnet sample by sample and in batches.

    python benchmarks/per_sample.py [--device cpu] [--dtype float64] [--rounds 11] [--output FILE]

All of them train the document's network on its sine, in turn, round by round. Prints medians, and the medians of the
ratios to the document's algorithm in the same round; with --output writes them as JSON too.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
from common import Document, about, interleaved, median_ratio, sine

from xpnet import NeuralNetwork

LAYERS = [1, 10, 10, 1]
# How many epochs a round of each contestant takes, so that none is over too soon to be timed.
CONTESTANTS = {"xpnet, sample by sample": (1, 1), "xpnet, batches of 50": (50, 20), "xpnet, the whole set": (None, 200)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    X, y = sine()
    network = NeuralNetwork(LAYERS, device=arguments.device, dtype=arguments.dtype, seed=0)
    initial = {name: np.asarray(value) for name, value in NeuralNetwork(LAYERS, seed=0).parameters.items()}

    def documents() -> None:
        Document(dict(initial)).train(X[:, :, None], y[:, :, None], 0.01, 1)

    def xpnets(batch_size: int | None, epochs: int) -> None:
        network.train(X, y, 0.01, epochs, verbose=False, batch_size=batch_size)
        network.backend.synchronize()

    runs = {"the document's algorithm": documents}
    runs |= {name: lambda setting=setting: xpnets(*setting) for name, setting in CONTESTANTS.items()}
    epochs = {"the document's algorithm": 1} | {name: setting[1] for name, setting in CONTESTANTS.items()}
    seconds = interleaved(runs, arguments.rounds)
    per_epoch = {name: [second / epochs[name] for second in times] for name, times in seconds.items()}
    reference = per_epoch["the document's algorithm"]

    report = {
        **about(network.backend),
        "what": f"an epoch of {len(X)} samples, layers {LAYERS}, {arguments.dtype}; the document's in float64 NumPy",
        "rounds": arguments.rounds,
        "milliseconds_per_epoch": {
            name: float(f"{1e3 * statistics.median(times):.4g}") for name, times in per_epoch.items()
        },
        "times_as_fast_as_the_document": {
            name: float(f"{median_ratio(reference, times):.3g}") for name, times in per_epoch.items()
        },
    }
    print(json.dumps(report, indent=2, ensure_ascii=False))
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
