"""Training time of one network in ensembles of several sizes: compiled, and not.

    python benchmarks/kernels.py [--networks 1,1000,10000] [--device cpu] [--processes 2] [--rounds 5] [--output FILE]

Every variant trains the document's network on its sine, sample by sample, with SGD. The variants alternate, round by
round, in several processes. Prints as JSON the median time of a step of one network in nanoseconds; --output also
writes it.
"""

from __future__ import annotations

import statistics
from functools import partial

from common import environment, in_processes, interleaved, parse_arguments, sine, write_report

from xpnet import NeuralNetwork, get_backend

LAYERS = [1, 10, 10, 1]
COMPILED_EPOCHS, EAGER_EPOCHS = 20, 1  # of a round


def measure(device: str, sizes: list[int], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a step of one network, for every variant and round."""
    X, y = sine()
    variants, steps = {}, {}

    def run(network: NeuralNetwork, epochs: int, compile: bool) -> None:
        network.train(X, y, 0.01, epochs, verbose=False, compile=compile)
        network.backend.synchronize()

    for networks in sizes:
        for dtype in ("float32", "float64"):
            for compile, epochs in ((True, COMPILED_EPOCHS), (False, EAGER_EPOCHS)):
                network = NeuralNetwork(LAYERS, ensemble=networks, dtype=dtype, device=device, seed=0)
                name = f"{networks} networks, {dtype}, {'compiled' if compile else 'eager'}"
                variants[name] = partial(run, network, epochs, compile)
                steps[name] = networks * epochs * len(X)
    return {name: [time / steps[name] for time in times] for name, times in interleaved(variants, rounds).items()}


def main() -> None:
    arguments = parse_arguments(__doc__, processes=2, networks="1,1000,10000")
    sizes = [int(size) for size in arguments.networks.split(",")]
    seconds = in_processes(arguments.processes, measure, arguments.device, sizes, arguments.rounds)
    report = {
        **environment(get_backend(arguments.device)),
        "what": f"a step of one network {LAYERS}, sample by sample, SGD",
        "processes": arguments.processes,
        "rounds": arguments.rounds,
        "nanoseconds_per_step_and_network": {
            name: float(f"{1e9 * statistics.median(times):.3g}") for name, times in seconds.items()
        },
    }
    write_report(report, arguments.output)


if __name__ == "__main__":
    main()
