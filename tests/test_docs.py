"""What the README and the guide show can be run as it stands."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt

from xpnet import DeviceUnavailable, NeuralNetwork
from xpnet.activations import ACTIVATIONS
from xpnet.initializers import INITIALIZERS
from xpnet.losses import LOSSES
from xpnet.metrics import METRICS
from xpnet.optimizers import OPTIMIZERS

ROOT = Path(__file__).parent.parent


def blocks(file: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_ten_lines_of_the_readme_learn_the_sine(capsys):
    library, ensemble = blocks("README.md")
    names = {}
    exec(library, names)
    assert len([line for line in library.splitlines() if line]) <= 10
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert names["network"].epoch_loss[-1] < 0.0005
    assert np.abs(names["y_pred"] - names["y"]).max() < 0.1
    exec(ensemble, names)
    assert names["best"].epoch_loss[-1] == min(names["ensemble"].epoch_loss[-1]) < 0.001


@pytest.fixture
def chapters(monkeypatch, capsys):
    """Run every chapter of the guide, each on its own, and return the names that it defines."""
    mylib = SimpleNamespace(**vars(np), to_numpy=lambda array: array)
    monkeypatch.setitem(sys.modules, "mylib", mylib)

    def run(text):
        (block,) = [block for block in blocks("docs/guide.md") if text in block]
        names = {}
        exec(block, names)
        return names

    return run


def test_the_guides_steps_are_one_step(chapters):
    names = chapters("AL = network.deep_forward(X)")
    assert network_cost(names) < names["cost"]


def network_cost(names):
    return names["network"].cost_function(names["y"], names["network"].deep_forward(names["X"]))


def test_the_guides_training_learns(chapters):
    assert chapters("accuracy = np.mean")["accuracy"] > 0.95


def test_the_guides_own_parts_train_a_network(chapters):
    losses = chapters("softsign")["network"].epoch_loss
    assert losses[-1] < 0.2 * losses[0]


def test_the_guides_watched_training_stops_early_and_records_everything(chapters, capsys):
    names = chapters("patience=20")
    network = names["network"]
    assert network.epochs_trained < 500
    assert list(network.history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert network.evaluate(names["X"], names["y"], metrics="accuracy")["accuracy"] > 0.8
    assert len(names["figure"].axes) == 2
    plt.close(names["figure"])


def test_the_guides_many_networks_learn_and_give_the_best_one_back(chapters):
    names = chapters("ensemble=50")
    assert names["losses"].shape == (300, 50)
    assert names["outputs"].shape == (50, 40)
    assert names["best"].evaluate(names["X"], names["y"], metrics="r2_score")["r2_score"] > 0.98
    assert 0.01 < names["rate"] < 10.0


def test_the_guides_folds_are_learned_and_validated_apart(chapters):
    names = chapters("folds =")
    assert (names["accuracies"] > 0.9).all()
    assert (names["learned"].sum(axis=1) == 160).all()


def test_the_guides_backend_works(chapters):
    backend = chapters("MylibBackend")["MylibBackend"]
    network = NeuralNetwork([1, 1], device=backend.open("cpu"))
    network.train([0.0, 1.0], [0.0, 1.0], 0.1, epochs=3, verbose=False)
    assert len(network.epoch_loss) == 3
    with pytest.raises(DeviceUnavailable, match="mylib has no device 'cuda'"):
        backend.open("cuda")


def test_every_chapter_of_the_guide_is_run_here():
    assert len(blocks("docs/guide.md")) == 7


def test_the_guide_names_what_can_be_chosen():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    for known in (ACTIVATIONS, LOSSES, OPTIMIZERS, INITIALIZERS):
        assert ", ".join(f'`"{name}"`' for name in known) in guide
    for name in METRICS:
        assert f'`"{name}"`' in guide


def test_the_readme_quotes_its_data():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files = re.findall(r"\[data\]\((benchmarks/results/.*?)\)", readme)
    quoted = {"per_sample": "times_as_fast_as_the_document", "ensembles": "times_as_fast_together"}
    assert len(files) == len(quoted)
    for file, ratios in zip(files, quoted.values(), strict=True):
        report = json.loads((ROOT / file).read_text(encoding="utf-8"))
        for name, ratio in report[ratios].items():
            assert f"| {name} | {ratio:g} |" in readme
        assert f"over {report['rounds']} rounds in each of {report['processes']} processes" in " ".join(readme.split())


def test_the_page_on_reliability_quotes_its_data():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    (file,) = re.findall(r"\[data\]\(\.\./(benchmarks/results/.*?-stress\.json)\)", page)
    report = json.loads((ROOT / file).read_text(encoding="utf-8"))
    for attack, count in report["counts"].items():
        assert f"| {attack} | {count['made']:,} | {count['withstood']:,} |" in page
    assert f"in {report['minutes']:g} minutes" in page
    assert report["faults"] == []
