"""What the README and the guide show can be run as it stands."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import NeuralNetwork

ROOT = Path(__file__).parent.parent


def blocks(file: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_ten_lines_of_the_readme_learn_the_sine(capsys):
    library, _ = blocks("README.md")
    names = {}
    exec(library, names)
    assert len([line for line in library.splitlines() if line]) <= 10
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert names["network"].epoch_loss[-1] < 0.0005
    assert np.abs(names["y_pred"] - names["y"]).max() < 0.1


def test_the_backend_of_the_readme_works(monkeypatch):
    _, backend = blocks("README.md")
    monkeypatch.setitem(sys.modules, "mylib", SimpleNamespace(**vars(np), to_numpy=lambda array: array))
    names = {}
    exec(backend, names)
    network = NeuralNetwork([1, 1], device=names["MylibBackend"].open("cpu"))
    network.train([0.0, 1.0], [0.0, 1.0], 0.1, epochs=3, verbose=False)
    assert len(network.epoch_loss) == 3


@pytest.mark.parametrize("block", blocks("docs/guide.md"))
def test_the_guide_runs_chapter_by_chapter(block, capsys):
    names = {
        "network": NeuralNetwork([2, 3, 1], seed=0),
        "X": np.ones((5, 2)),
        "y": np.full(5, 0.5),
    }
    exec(block, names)
    if "losses" in names:
        assert names["losses"].shape == (100,)
        assert np.all(names["losses"] < 0.1)


def test_the_guides_own_parts_train_a_network(rng):
    (own_parts,) = [block for block in blocks("docs/guide.md") if "leaky_relu" in block]
    names = {}
    exec(own_parts, names)
    X = rng.standard_normal((40, 2))
    network = names["network"]
    network.train(X, X.sum(axis=1), 0.01, epochs=200, verbose=False, batch_size=None)
    assert network.epoch_loss[-1] < 0.2 * network.epoch_loss[0]


def test_the_readme_quotes_its_data():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (file,) = re.findall(r"\[data\]\((benchmarks/results/.*?)\)", readme)
    report = json.loads((ROOT / file).read_text(encoding="utf-8"))
    for name, ratio in report["times_as_fast_as_the_document"].items():
        assert f"| {name} | {ratio:g} |" in readme
    assert f"over {report['rounds']} rounds" in readme
