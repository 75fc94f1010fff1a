"""Training time of one network: in an ensemble, and individually.

    python benchmarks/ensembles.py [--networks 256] [--device cpu] [--processes 5] [--rounds 5] [--output FILE]

The document is the notebook *Neural Network From Scratch* (see README). Every variant trains the document's network
on its sine, with shuffled samples. The variants alternate, round by round, in several processes. Prints as JSON the
median time of one epoch of one network, and the median ratio of the times in the same round; --output also writes it.
Nothing is compiled: `python -m benchmarks` measures that.
"""

from __future__ import annotations

import statistics
from functools import partial

from common import environment, in_processes, interleaved, median_ratio, parse_arguments, sine, write_report

from xpnet import NeuralNetwork, get_backend

LAYERS = [1, 10, 10, 1]
# Batch size and epochs of a round: enough epochs that the start of a training does not matter.
BATCHES = {"sample by sample": (1, 2), "in batches of 50": (50, 20), "the whole set": (None, 60)}
INDIVIDUAL_NETWORKS = 4  # enough, because all networks take the same time


def measure(device: str, networks: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of one epoch of one network, for every variant and round."""
    X, y = sine()
    ensemble = NeuralNetwork(LAYERS, ensemble=networks, device=device, seed=0)
    individual = [NeuralNetwork(LAYERS, device=device, seed=seed) for seed in range(INDIVIDUAL_NETWORKS)]

    def run(trained: list[NeuralNetwork], batches: str) -> None:
        batch_size, epochs = BATCHES[batches]
        for network in trained:
            network.train(X, y, 0.01, epochs, verbose=False, batch_size=batch_size, shuffle=True, compile=False)
            network.backend.synchronize()

    variants, counts = {}, {}
    for batches, (_, epochs) in BATCHES.items():
        for name, trained, count in (("alone", individual, INDIVIDUAL_NETWORKS), ("together", [ensemble], networks)):
            variants[f"{name}, {batches}"] = partial(run, trained, batches)
            counts[f"{name}, {batches}"] = epochs * count
    seconds = interleaved(variants, rounds)
    return {name: [time / counts[name] for time in times] for name, times in seconds.items()}


def main() -> None:
    arguments = parse_arguments(__doc__, processes=5, networks=256)
    seconds = in_processes(arguments.processes, measure, arguments.device, arguments.networks, arguments.rounds)
    ratios = {name: median_ratio(seconds[f"alone, {name}"], seconds[f"together, {name}"]) for name in BATCHES}
    report = {
        **environment(get_backend(arguments.device)),
        "what": f"an epoch of 500 shuffled samples of each of {arguments.networks} networks {LAYERS}, float64",
        "processes": arguments.processes,
        "rounds": arguments.rounds,
        "milliseconds_per_epoch_and_network": {
            name: float(f"{1e3 * statistics.median(times):.3g}") for name, times in seconds.items()
        },
        "times_as_fast_together": {name: float(f"{ratio:.2g}") for name, ratio in ratios.items()},
    }
    write_report(report, arguments.output)


if __name__ == "__main__":
    main()
