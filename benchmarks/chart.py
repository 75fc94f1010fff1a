"""The chart of the README: the time of a step in xpnet and other libraries, from a report of ``python -m benchmarks``.

python -m benchmarks.chart benchmarks/results/REPORT.json --output docs/images/performance.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.cases import BENCHMARKS, COMPILED, EAGER, JAX, NUMBA, SKLEARN, TORCH

ROWS = {
    "sine": "one network (1, 10, 10, 1), sample by sample",
    "many_float64": "1,024 of them",
    "many_float32": "1,024 of them in float32",
    "many_adam": "1,024 of them with Adam",
    "many_batches": "1,024 of them in batches of 50",
    "softmax": "1,024 networks (4, 32, 32, 3), softmax",
    "mini_64": "(64, 32, 10), batches of 32, Adam, float32",
    "mini_784": "(784, 100, 10), batches of 200, Adam, float32",
}
"""The benchmarks in the chart and in the table of the README, with their descriptions there."""

# Colors that people with a color vision deficiency can distinguish (Okabe and Ito), and a marker for each.
PEERS = {
    COMPILED: ("xpnet, compiled", "#D55E00", "D"),
    EAGER: ("xpnet, not compiled", "#E69F00", "d"),
    JAX: ("JAX", "#0072B2", "o"),
    TORCH: ("PyTorch", "#009E73", "s"),
    SKLEARN: ("scikit-learn", "#56B4E9", "^"),
    NUMBA: ("Numba by hand", "0.2", "|"),
}


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the median time of a step of one network, a row for each benchmark."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
    for peer, (label, color, marker) in PEERS.items():
        results = [report["benchmarks"][row]["variants"].get(peer) for row in ROWS]
        points = [(result["seconds"][0], y) for y, result in enumerate(results) if result]
        size = 11 if marker == "|" else 7
        ax.plot(*zip(*points, strict=True), marker, color=color, label=label, markersize=size, markeredgewidth=1.5)
    assert all(name in BENCHMARKS for name in ROWS)
    ax.set_xscale("log")
    decades = [10.0**power for power in range(-8, -2)]
    ax.set_xticks(decades, ["10 ns", "100 ns", "1 µs", "10 µs", "100 µs", "1 ms"])
    ax.set_yticks(range(len(ROWS)), list(ROWS.values()))
    ax.invert_yaxis()
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_title("Time of a training step of one network", loc="left")
    figure.legend(loc="outside lower center", ncols=len(PEERS), frameon=False, handletextpad=0.2, columnspacing=1.2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chart", description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="the report, a JSON file")
    parser.add_argument("--output", type=Path, required=True, help="the picture to write")
    arguments = parser.parse_args()
    draw(json.loads(arguments.report.read_text(encoding="utf-8")), arguments.output)
