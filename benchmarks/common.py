"""Code that the benchmarks share: the data and the algorithm of the document, and timing in alternation.

The document is the notebook *Neural Network From Scratch*, called "the document" here (see README).
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import xpnet

# The tests have an implementation of the document's algorithm; xpnet's speed is compared with it.
sys.path.append(str(Path(__file__).parent.parent / "tests"))
from document import Document

__all__ = [
    "Document",
    "environment",
    "in_processes",
    "interleaved",
    "median_ratio",
    "parse_arguments",
    "processor",
    "sine",
    "write_report",
]


def sine(samples: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Return the document's data, of shape (samples, 1): X standardized, y between 0 and 1."""
    X = np.linspace(-2 * np.pi, 2 * np.pi, samples)[:, None]
    return (X - X.mean()) / X.std(), 0.5 * (np.sin(X) + 1)


def environment(backend: Any) -> dict[str, str]:
    """Return the date, the machine and the versions that a result depends on."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{processor()}, {backend.describe()}",
        "python": platform.python_version(),
        "xpnet": xpnet.__version__,
        "backend": f"{backend.name} {import_module(backend.name).__version__}",
        "device": backend.device,
    }


def write_report(report: dict[str, Any], output: Path | None) -> None:
    """Print a report as JSON, and write it to the output file if there is one."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    print(text)
    if output:
        output.write_text(text + "\n", encoding="utf-8")


def processor() -> str:
    """Return the name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def parse_arguments(doc: str, processes: int, **options: Any) -> argparse.Namespace:
    """Parse the command line of a benchmark: the common options, and more options with their defaults."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, default in {"device": "cpu", "processes": processes, "rounds": 5, **options}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="file to also write the report to")
    return parser.parse_args()


def in_processes(processes: int, measure: Callable[..., dict[str, list[float]]], *args: Any) -> dict[str, list[float]]:
    """Call `measure(*args)` in several processes, one after the other; return all times of each variant."""
    joined: dict[str, list[float]] = {}
    for _ in range(processes):
        # These processes may have processes of their own, unlike those of multiprocessing.Pool.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            for name, times in pool.submit(measure, *args).result().items():
                joined.setdefault(name, []).extend(times)
    return joined


def interleaved(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time functions in alternation, round by round, so that a drift in the machine's speed affects all of them alike.

    Returns
    -------
    seconds : dict of str to list of float, of length rounds
        The time of every variant in each round. A warm-up round comes first and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(rounds + 1):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median over the rounds of the ratio of two variants' times."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
