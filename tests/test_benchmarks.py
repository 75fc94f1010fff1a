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
