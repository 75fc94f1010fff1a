"""Training time of xpnet and of its peers on the same work.

    python -m benchmarks [--device cuda] [--case NAMES] [--quick] [--rounds 7] [--processes 3] [--output FOLDER]

Every peer has a process of its own, which stays alive; in each round all of them train in turn, so that a drift in the
machine's speed affects all of them alike. All start from the same initial weights, and have the same samples, number
type and number of threads; their losses after the same steps are compared. Ratios are taken within a round. Writes a
report in JSON, a table and a plot; `benchmarks/cases.py` says what is measured, and `benchmarks/peers.py` how.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import BENCHMARKS, COMPILED, EAGER, ON_GPU, QUICK, TORCH_COMPILE, Benchmark, Variant
from benchmarks.common import processor, write_report
from benchmarks.peers import THREADS, does
from benchmarks.workers import Failed, Fresh, Worker, environment_of_workers
from xpnet import get_backend

LIBRARIES = (
    "xpnet",
    "numpy",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "numba",
    "scipy",
    "scikit-learn",
    "torch",
    "jax",
    "jaxlib",
)
# How large a relative difference of the losses rounding may cause.
ROUNDING = {"float64": 1e-9, "float32": 1e-4}
REST = 0.02  # seconds after which the threads of a process have gone to sleep


def main() -> None:
    arguments = parsed_arguments()
    benchmarks = BENCHMARKS | ON_GPU
    with tempfile.TemporaryDirectory() as caches:
        os.environ.update(environment_of_workers(THREADS, caches, arguments.device))
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
        report = {
            **about(arguments.device),
            "processes": arguments.processes,
            "rounds": arguments.rounds,
            "benchmarks": {},
        }
        for name in arguments.case:
            start = time.perf_counter()
            report["benchmarks"][name] = measured(benchmarks[name], arguments)
            print(f"{table(report['benchmarks'][name])}\n({time.perf_counter() - start:.0f} s)\n", flush=True)
            if arguments.output:  # after every benchmark, because all of them take hours
                write(report, arguments.output)


def write(report: dict[str, Any], folder: Path) -> None:
    """Write the report, the table and the plot."""
    path = folder / f"{report['date']}-{'cpu' if report['device'] == 'cpu' else 'gpu'}-peers.json"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(None):
        write_report(report, path)
    path.with_suffix(".md").write_text(document(report), encoding="utf-8")
    plot(report, path.with_suffix(".png"))


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    names = [*BENCHMARKS, *ON_GPU]
    parser.add_argument("--case", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--peer", nargs="+", metavar="TEXT", help="only peers whose name contains one of these")
    parser.add_argument("--without", nargs="+", metavar="TEXT", help="no peers whose name contains one of these")
    parser.add_argument("--rounds", type=int, help="in each process; default: 7")
    parser.add_argument("--processes", type=int, help="of each peer, one after the other; default: 3")
    parser.add_argument("--seconds", type=float, help="about how long a peer trains in a round; default: 0.5")
    parser.add_argument("--output", type=Path, help="folder for the report, the table and the plot")
    parser.add_argument(
        "--quick", action="store_true", help="some cases and peers with few rounds, in about three minutes"
    )
    arguments = parser.parse_args()
    cases = BENCHMARKS if arguments.device == "cpu" else ON_GPU
    defaults = {"case": list(cases), "rounds": 7, "processes": 3, "seconds": 0.5, "without": []}
    if arguments.quick:
        cases = QUICK if arguments.device == "cpu" else ON_GPU
        defaults = {"case": list(cases), "rounds": 3, "processes": 1, "seconds": 0.1, "without": [TORCH_COMPILE]}
    for name, default in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
    return arguments


def about(device: str) -> dict[str, Any]:
    """Return the date, the machine, and the versions that the results depend on."""
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": processor(),
        "device": "cpu" if device == "cpu" else get_backend(device).describe(),
        "threads": THREADS,
        "python": platform.python_version(),
        "versions": versions,
    }


def measured(benchmark: Benchmark, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all variants of a benchmark, in several processes one after the other."""
    seconds: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    variants = [
        variant
        for variant in benchmark.variants
        if (variant.measure == "import" or does(variant.peer, variant.case))
        and (not arguments.peer or any(text in variant.label for text in arguments.peer))
        and not any(text in variant.label for text in arguments.without)
    ]
    for _ in range(1 if benchmark.fresh else arguments.processes):
        with contextlib.ExitStack() as stack:
            workers = {}
            for variant in variants:
                if variant.label in skipped:
                    continue
                print(f"{benchmark.name}: {variant.label}", file=sys.stderr, flush=True)
                try:
                    worker = Fresh(variant) if variant.fresh else Worker(variant, arguments.seconds)
                except Failed as error:
                    skipped[variant.label] = str(error)
                    continue
                stack.callback(worker.close)
                workers[variant.label] = worker
                facts[variant.label] = worker.facts
            for _ in range(min(arguments.rounds, benchmark.most_rounds)):
                for label, worker in workers.items():
                    time.sleep(REST)
                    try:
                        seconds.setdefault(label, []).append(worker.run())
                    except Failed as error:
                        skipped[label] = str(error)
                workers = {label: worker for label, worker in workers.items() if label not in skipped}
    kept = [variant for variant in variants if variant.label in facts and variant.label not in skipped]
    return {
        "title": benchmark.title,
        "seconds_of": benchmark.unit,
        "times": max(map(len, seconds.values()), default=0),
        "variants": {variant.label: summary(variant, kept, seconds, facts) for variant in kept},
        "skipped": skipped,
    }


def summary(variant: Variant, kept: list[Variant], seconds: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the times of a variant, their ratios to another's in the same rounds, and whether its losses agree."""
    own, times = facts[variant.label], seconds[variant.label]
    result = {"seconds": quartiles(times), "networks": own["networks"], "epochs": own["epochs"]}
    if variant.beside in seconds and any(each.label == variant.beside for each in kept):
        ratios = [time / other for time, other in zip(times, seconds[variant.beside], strict=True)]
        result |= {"times_as_long_as": variant.beside, "ratio": quartiles(ratios)}
    if own["other"]:
        result["differs"] = own["other"]
    # Without xpnet, the first peer that has losses is the one with which the others are compared.
    same_work = [each.label for each in kept if each.case == variant.case and "losses" in facts[each.label]]
    same_work.sort(key=lambda label: (EAGER not in label, COMPILED not in label))
    if "losses" in own and np.isfinite(own["losses"]).all():
        reference = facts[same_work[0]]["losses"]
        count = min(len(reference), len(own["losses"]))
        difference = float(np.max(np.abs(own["losses"][:count] / reference[:count] - 1)))
        result["loss"] = {
            "mean": float(np.mean(own["losses"][:count], dtype="float64")),
            "largest_relative_difference": float(f"{difference:.2g}"),
            "agrees": difference <= ROUNDING[variant.case.dtype],
        }
    return result


def quartiles(values: list[float]) -> list[float]:
    """Return the median and the quartiles around it, with four digits."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return [float(f"{value:.4g}") for value in (median, low, high)]


def table(result: dict[str, Any]) -> str:
    """Return the results of a benchmark as a table in Markdown."""
    besides = {each.get("times_as_long_as") for each in result["variants"].values()}
    beside = next(iter(besides)) if len(besides) == 1 else None
    heads = ("", f"time of {result['seconds_of']}", f"times as long as {beside}" if beside else "times as long", "loss")
    rows = [heads, ("---",) * 4]
    for label, each in result["variants"].items():
        ratio = "{:.3g} ({:.3g}–{:.3g})".format(*each["ratio"]) if "ratio" in each else ""
        if ratio and not beside:
            ratio += f" as {each['times_as_long_as']}"
        rows.append((label, duration(each["seconds"]), ratio, loss_of(each)))
    rows += [(label, "not measured", "", reason) for label, reason in result["skipped"].items()]
    return "\n".join([f"### {result['title']}", "", *(f"| {' | '.join(row)} |" for row in rows)])


def loss_of(each: dict[str, Any]) -> str:
    """Return whether the loss of a variant agrees with that of xpnet, or how its mathematics differ."""
    if "loss" not in each:
        return each.get("differs", "")
    if each["loss"]["agrees"]:
        return "the same"
    return f"differs by {each['loss']['largest_relative_difference']:.1g}: {each.get('differs', 'unexplained')}"


def duration(seconds: list[float]) -> str:
    """Return a median and quartiles in a unit that suits them."""
    units = (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))
    unit, factor = next((each for each in units if seconds[0] * each[1] >= 1), units[-1])
    median, low, high = (f"{value * factor:.3g}" for value in seconds)
    return f"{median} {unit} ({low}–{high})"


def document(report: dict[str, Any]) -> str:
    """Return all tables, with what they depend on."""
    versions = ", ".join(f"{library} {version}" for library, version in report["versions"].items())
    text = (
        f"# xpnet and its peers\n\nMeasured on {report['date']} on {report['threads']} cores of {report['machine']}"
        f"{'' if report['device'] == 'cpu' else ' and ' + report['device']}, "
        f"with Python {report['python']}, {versions}. Medians and quartiles over {report['rounds']} rounds in each of "
        f"{report['processes']} processes, or over new processes; ratios are taken within a round.\n"
    )
    return "\n".join([text, *(f"{table(result)}\n" for result in report["benchmarks"].values())])


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw the times of all benchmarks, if Matplotlib is installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: Matplotlib is not installed", file=sys.stderr)
        return
    mpl.use("agg")
    from matplotlib import pyplot as plt

    results = [result for result in report["benchmarks"].values() if result["variants"]]
    heights = [len(result["variants"]) + 2 for result in results]
    figure, axes = plt.subplots(
        len(results), 1, figsize=(9, 0.25 * sum(heights)), squeeze=False, height_ratios=heights, layout="constrained"
    )
    for ax, result in zip(axes[:, 0], results, strict=True):
        labels = list(result["variants"])
        median, low, high = np.array([each["seconds"] for each in result["variants"].values()]).T
        colors = [
            "tab:red" if label.startswith(COMPILED) else "tab:orange" if "xpnet" in label else "0.6" for label in labels
        ]
        ax.barh(labels, median, color=colors, xerr=[median - low, high - median])
        ax.set_xscale("log")
        ax.invert_yaxis()
        ax.set_title(f"{result['title']}: seconds of {result['seconds_of']}", fontsize="medium", loc="left")
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
