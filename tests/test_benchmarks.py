"""The benchmarks run, and compare the peers' losses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_benchmarks_write_times_ratios_and_losses(tmp_path):
    pytest.importorskip("numba")
    numbers = ["--rounds", "2", "--processes", "1", "--seconds", "0.01"]
    options = ["--case", "sine", "--peer", "xpnet", "document", *numbers, "--output", tmp_path]
    subprocess.run([sys.executable, "-m", "benchmarks", *options], cwd=ROOT, check=True, capture_output=True)
    (file,) = tmp_path.glob("*-cpu-peers.json")
    (result,) = json.loads(file.read_text(encoding="utf-8"))["benchmarks"].values()
    assert list(result["variants"]) == ["xpnet, compiled", "xpnet, eager", "the document's algorithm"]
    for each in result["variants"].values():
        median, low, high = each["seconds"]
        assert 0 < low <= median <= high
        assert each["loss"]["agrees"]
        assert each["ratio"][0] > 0
    table = file.with_suffix(".md").read_text(encoding="utf-8")
    assert table.count("| the same |") == 3
    assert file.with_suffix(".png").exists()


def test_the_chart_of_the_readme_is_drawn_from_a_report(tmp_path):
    (report,) = (ROOT / "benchmarks" / "results").glob("*-cpu-peers.json")
    command = [sys.executable, "-m", "benchmarks.chart", str(report), "--output", str(tmp_path / "chart.png")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_benchmark_of_searches_compares_scores_with_scikit_learn(tmp_path):
    pytest.importorskip("numba")
    sizes = ["--penalties", "2", "--rates", "1", "--folds", "2", "--epochs", "1", "--calls", "2"]
    command = [
        "benchmarks/search.py",
        *sizes,
        "--processes",
        "1",
        "--rounds",
        "1",
        "--output",
        tmp_path / "report.json",
    ]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert len(report["seconds"]) == 12
    assert len(report["times_as_fast_as_scikit_learn"]) == 6
    assert min(report["seconds"].values()) > 0
    differences = report["largest_difference_of_mean_scores"]
    assert all(value < (1e-9 if "float64" in name else 0.02) for name, value in differences.items())


def test_the_losses_of_the_estimators_are_compared_with_those_of_scikit_learn(tmp_path):
    command = ["benchmarks/same_numbers.py", "--sets", "iris", "linnerud", "--epochs", "4"]
    command += ["--output", tmp_path / "report.json"]
    subprocess.run([sys.executable, "-W", "error", *command], cwd=ROOT, check=True, capture_output=True)
    (iris, linnerud) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["differences"].values()
    assert iris.keys() == linnerud.keys()
    assert max(*iris.values(), *linnerud.values()) < 1e-9


def test_the_benchmark_of_coverage_counts_targets_in_intervals(tmp_path):
    command = ["benchmarks/intervals.py", "--seeds", "20", "--output", tmp_path / "report.json"]
    subprocess.run([sys.executable, "-W", "error", *command], cwd=ROOT, check=True, capture_output=True)
    coverages = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["coverage"]
    assert len(coverages) == 6
    assert all(0.7 < each["mean"] < 1.0 for each in coverages.values())
    wide = [each["mean"] for name, each in coverages.items() if name.endswith("wide half")]
    assert wide[0] > wide[1]
