"""How the document's training ends for many seeds, all of them trained at once as an ensemble.

    python benchmarks/seeds.py [--seeds 200] [--epochs 1000] [--batches] [--device cpu] [--output FILE]

With --batches it is the training of the README, in batches of 50 at a rate of 0.5. Prints as JSON the spread of the
last losses, and the share of the seeds that are nowhere off by more than 0.1.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from common import about, deliver, sine

from xpnet import NeuralNetwork


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--batches", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    X, y = sine()
    network = NeuralNetwork([1, 10, 10, 1], ensemble=arguments.seeds, device=arguments.device, seed=0)
    start = time.perf_counter()
    rate, batches = (0.5, {"batch_size": 50, "shuffle": True}) if arguments.batches else (0.01, {})
    network.train(X, y, rate, epochs=arguments.epochs, verbose=False, **batches)
    off = np.abs(network.predict(X) - y).max(axis=(1, 2))
    losses = network.history["loss"][-1]
    best = np.argsort(losses)[:10]
    how = "in batches of 50" if arguments.batches else "sample by sample"
    report = {
        **about(network.backend),
        "what": f"the document's sine, {how}: loss of epoch {arguments.epochs}, {len(losses)} seeds",
        "seconds": round(time.perf_counter() - start, 1),
        "share_nowhere_off_by_more_than_0.1": float(np.mean(off < 0.1)),
        "quantiles": {f"{q:.0%}": float(f"{np.quantile(losses, q):.3g}") for q in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)},
        "best_seeds": {int(seed): float(f"{losses[seed]:.3g}") for seed in best},
    }
    deliver(report, arguments.output)


if __name__ == "__main__":
    main()
