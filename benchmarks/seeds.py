"""Final loss of the document's training for many seeds, trained in parallel as an ensemble.

    python benchmarks/seeds.py [--seeds 200] [--epochs 1000] [--batches] [--device cpu] [--output FILE]

The document is the notebook *Neural Network From Scratch* (see README). With --batches the training is that of the
README: batches of 50 and a learning rate of 0.5. Prints as JSON the quantiles of the final losses, and the fraction of
the seeds whose maximum error is below 0.1.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from common import environment, sine, write_report

from xpnet import NeuralNetwork


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="number of seeds (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=1000, help="passes over the samples (default: %(default)s)")
    parser.add_argument("--batches", action="store_true", help="train in batches of 50 instead of sample by sample")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="file to also write the report to")
    arguments = parser.parse_args()

    X, y = sine()
    network = NeuralNetwork([1, 10, 10, 1], ensemble=arguments.seeds, device=arguments.device, seed=0)
    start = time.perf_counter()
    learning_rate, batches = (0.5, {"batch_size": 50, "shuffle": True}) if arguments.batches else (0.01, {})
    network.train(X, y, learning_rate, epochs=arguments.epochs, verbose=False, **batches)
    max_error = np.abs(network.predict(X) - y).max(axis=(1, 2))
    losses = network.history["loss"][-1]
    best = np.argsort(losses)[:10]
    mode = "in batches of 50" if arguments.batches else "sample by sample"
    report = {
        **environment(network.backend),
        "what": f"the document's sine, {mode}: loss of epoch {arguments.epochs}, {len(losses)} seeds",
        "seconds": round(time.perf_counter() - start, 1),
        "share_nowhere_off_by_more_than_0.1": float(np.mean(max_error < 0.1)),
        "quantiles": {f"{q:.0%}": float(f"{np.quantile(losses, q):.3g}") for q in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)},
        "best_seeds": {int(seed): float(f"{losses[seed]:.3g}") for seed in best},
    }
    write_report(report, arguments.output)


if __name__ == "__main__":
    main()
