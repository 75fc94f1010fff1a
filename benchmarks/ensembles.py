"""What a network costs among many: trained in an ensemble, and trained one after the other.

    python benchmarks/ensembles.py [--networks 256] [--device cpu] [--processes 5] [--rounds 5] [--output FILE]

All of them train the document's network on its sine, shuffled, in turn, round by round, in several processes. Prints
the medians of the time that one network takes for one epoch, and the medians of the ratios in the same round; with
--output writes them as JSON too.
"""

from __future__ import annotations

import statistics
from functools import partial

from common import about, arguments_of, deliver, in_processes, interleaved, median_ratio, sine

from xpnet import NeuralNetwork, get_backend

LAYERS = [1, 10, 10, 1]
# The batch size of each, and how many epochs a round of it takes, so that the start of a training does not count.
WAYS = {"sample by sample": (1, 2), "in batches of 50": (50, 20), "the whole set": (None, 60)}
ALONE = 4  # as many networks are trained one after the other, for their time is the same from one to the next


def measure(device: str, networks: int, rounds: int) -> dict[str, list[float]]:
    """Return for every contestant the seconds that an epoch of one network takes, round by round."""
    X, y = sine()
    together = NeuralNetwork(LAYERS, ensemble=networks, device=device, seed=0)
    alone = [NeuralNetwork(LAYERS, device=device, seed=seed) for seed in range(ALONE)]

    def run(trained: list[NeuralNetwork], way: str) -> None:
        batch_size, epochs = WAYS[way]
        for network in trained:
            network.train(X, y, 0.01, epochs=epochs, verbose=False, batch_size=batch_size, shuffle=True)
            network.backend.synchronize()

    contestants, counts = {}, {}
    for way, (_, epochs) in WAYS.items():
        for name, trained, count in (("alone", alone, ALONE), ("together", [together], networks)):
            contestants[f"{name}, {way}"] = partial(run, trained, way)
            counts[f"{name}, {way}"] = epochs * count
    seconds = interleaved(contestants, rounds)
    return {name: [time / counts[name] for time in times] for name, times in seconds.items()}


def main() -> None:
    arguments = arguments_of(__doc__, processes=5, networks=256)
    seconds = in_processes(arguments.processes, measure, arguments.device, arguments.networks, arguments.rounds)
    report = {
        **about(get_backend(arguments.device)),
        "what": f"an epoch of 500 shuffled samples of each of {arguments.networks} networks {LAYERS}, float64",
        "processes": arguments.processes,
        "rounds": arguments.rounds,
        "milliseconds_per_epoch_and_network": {
            name: float(f"{1e3 * statistics.median(times):.3g}") for name, times in seconds.items()
        },
        "times_as_fast_together": {
            name: float(f"{median_ratio(seconds[f'alone, {name}'], seconds[f'together, {name}']):.2g}") for name in WAYS
        },
    }
    deliver(report, arguments.output)


if __name__ == "__main__":
    main()
