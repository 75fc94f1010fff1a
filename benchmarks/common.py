"""What the benchmarks share: the document's data, its algorithm, and a fair way to time two things side by side."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import xpnet

# The document's class, written anew for the tests, is also what xpnet is timed against.
sys.path.append(str(Path(__file__).parent.parent / "tests"))
from document import Document

__all__ = ["Document", "about", "arguments_of", "deliver", "in_processes", "interleaved", "median_ratio", "sine"]


def sine(samples: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Return the document's data, one sample a row: X standardised, y between 0 and 1."""
    X = np.linspace(-2 * np.pi, 2 * np.pi, samples)[:, None]
    return (X - X.mean()) / X.std(), 0.5 * (np.sin(X) + 1)


def about(backend: Any) -> dict[str, str]:
    """Return what a figure is worth nothing without: the date, the machine, the versions."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{_processor()}, {backend.describe()}",
        "python": platform.python_version(),
        "xpnet": xpnet.__version__,
        "backend": f"{backend.name} {import_module(backend.name).__version__}",
        "device": backend.device,
    }


def deliver(report: dict[str, Any], output: Path | None) -> None:
    """Print a report as JSON, and write it to a file where one is asked for."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    print(text)
    if output:
        output.write_text(text + "\n", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def arguments_of(doc: str, processes: int, **options: Any) -> argparse.Namespace:
    """Read the command line of a benchmark: what all have, and the options of its own with their defaults."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, default in {"device": "cpu", "processes": processes, "rounds": 5, **options}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help="default: %(default)s")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def in_processes(processes: int, measure: Callable[..., dict[str, list[float]]], *given: Any) -> dict[str, list[float]]:
    """Measure in several processes one after the other, and join the times of each contestant."""
    joined: dict[str, list[float]] = {}
    for _ in range(processes):
        with get_context("spawn").Pool(1) as pool:
            for name, times in pool.apply(measure, given).items():
                joined.setdefault(name, []).extend(times)
    return joined


def interleaved(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time functions in turn, round by round, so that a machine whose speed drifts is as slow for one as for the other.

    Returns
    -------
    seconds : dict of lists
        For every contestant the seconds of each round; a first round, not counted, warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(of: list[float], to: list[float]) -> float:
    """Return the median over the rounds of the ratio of two contestants' times."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))
