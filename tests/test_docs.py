"""The code in the README and the guide runs, and the numbers in the docs are those of the benchmark data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
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


def test_the_ten_lines_in_the_readme_learn_the_sine(capsys):
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
def run_block(monkeypatch, tmp_path, capsys):
    """Run the one code block of the guide that contains a text, and return the names that it defines."""
    monkeypatch.chdir(tmp_path)
    mylib = SimpleNamespace(**vars(np), to_numpy=lambda array: array)
    monkeypatch.setitem(sys.modules, "mylib", mylib)

    def run(text):
        (block,) = [block for block in blocks("docs/guide.md") if text in block]
        names = {}
        exec(block, names)
        return names

    return run


def test_the_steps_in_the_guide_reduce_the_loss(run_block):
    names = run_block("AL = network.deep_forward(X)")
    network = names["network"]
    assert network.cost_function(names["y"], network.deep_forward(names["X"])) < names["cost"]


def test_the_training_in_the_guide_learns_and_numbers_epochs_from_0(run_block, capsys):
    assert run_block("accuracy = np.mean")["accuracy"] > 0.95
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch ")]
    assert lines[0].startswith("Epoch 0 ")
    assert lines[-1].startswith("Epoch 499 ")


@pytest.mark.parametrize("text", ["schedule=schedule", "train_lbfgs"])
def test_the_schedule_and_lbfgs_in_the_guide_fit_the_parabola(run_block, text):
    assert run_block(text)["network"].epoch_loss[-1] < 1e-3


def test_the_custom_metric_in_the_guide_is_recorded(run_block):
    names = run_block("def max_error")
    network, X = names["network"], names["X"]
    error = np.abs(network.predict(X) - X**2).max()
    assert network.history["max_error"].shape == (100,)
    assert network.history["max_error"][-1] == pytest.approx(error)
    assert error < 0.1


def test_the_callback_in_the_guide_stops_the_training(run_block):
    network = run_block("StopAtLoss")["network"]
    assert network.epochs_trained < 500
    assert network.epoch_loss[-1] < 1e-4 <= min(network.epoch_loss[:-1])


def test_the_resumed_training_in_the_guide_equals_an_uninterrupted_one(run_block):
    names = run_block("load_checkpoint")
    network, X = names["network"], names["X"]
    network.train(X, X**2, learning_rate=0.01, epochs=20, batch_size=20, shuffle=True, verbose=False)
    np.testing.assert_array_equal(names["resumed"].theta, network.theta)


def test_the_export_in_the_guide_writes_a_model(run_block):
    run_block("export_onnx")
    onnx.checker.check_model("network.onnx")


def test_the_custom_components_in_the_guide_train_a_network(run_block):
    losses = run_block("pinball")["network"].epoch_loss
    assert losses[-1] < 0.2 * losses[0]


def test_the_gradient_check_in_the_guide_passes(run_block, capsys):
    report = run_block("gradient_check")["report"]
    assert report.passed
    assert [slope.name for slope in report.slopes] == ["W1", "b1", "W2", "b2", "X"]


def test_the_monitored_training_in_the_guide_stops_early_and_records_all_metrics(run_block, capsys):
    names = run_block("patience=20")
    network = names["network"]
    assert network.epochs_trained < 500
    assert list(network.history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert network.evaluate(names["X"], names["y"], metrics="accuracy")["accuracy"] > 0.8
    best = np.argmin(network.history["validation_loss"])  # the first epoch is epoch 0
    assert network.best_epoch == best
    assert network.best_loss == network.history["validation_loss"][best]
    assert len(names["figure"].axes) == 2
    plt.close(names["figure"])


def test_the_ensemble_in_the_guide_learns_and_returns_its_best_member(run_block):
    names = run_block("ensemble=50")
    assert names["losses"].shape == (300, 50)
    assert names["outputs"].shape == (50, 40)
    assert names["best"].evaluate(names["X"], names["y"], metrics="r2_score")["r2_score"] > 0.98
    assert 0.01 < names["rate"] < 10.0


def test_wider_networks_in_the_guide_learn_more(run_block):
    losses = run_block("for width in")["losses"]
    assert np.median(losses[1:]) < 0.5 * np.median(losses[0])


def test_the_folds_in_the_guide_are_trained_and_validated_separately(run_block):
    names = run_block("folds =")
    assert (names["accuracies"] > 0.9).all()
    assert (names["in_training"].sum(axis=1) == 160).all()


def test_the_backend_in_the_guide_works(run_block):
    backend = run_block("MylibBackend")["MylibBackend"]
    network = NeuralNetwork([1, 1], device=backend.open("cpu"))
    network.train([0.0, 1.0], [0.0, 1.0], 0.1, epochs=3, verbose=False)
    assert len(network.epoch_loss) == 3
    with pytest.raises(DeviceUnavailable, match="mylib has no device 'cuda'"):
        backend.open("cuda")


def test_the_compiled_training_in_the_guide_learns_the_sine(run_block):
    names = run_block("text = network.explain_step()")
    assert names["network"].epoch_loss[-1] < 0.0005
    assert "for i" in names["text"]


def test_the_page_on_compiling_shows_the_loops_of_the_sine(capsys):
    (block,) = blocks("docs/compiled.md")
    exec(block, {})
    shown = capsys.readouterr().out.strip()
    assert f"```text\n{shown}\n```" in (ROOT / "docs" / "compiled.md").read_text(encoding="utf-8")


def test_the_picture_of_the_recorded_step_is_drawn(tmp_path):
    pytest.importorskip("platformdirs")  # of the compiler
    command = [sys.executable, "docs/draw_recording.py", str(tmp_path / "recording.png")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "recording.png").read_bytes().startswith(b"\x89PNG")


def test_every_code_block_of_the_guide_is_run():
    assert len(blocks("docs/guide.md")) == 19  # that of PyTorch is run by test_torch.py


def test_the_guide_lists_all_built_in_names():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    for known in (ACTIVATIONS, LOSSES, OPTIMIZERS, INITIALIZERS):
        assert ", ".join(f'`"{name}"`' for name in known) in guide
    for name in METRICS:
        assert f'`"{name}"`' in guide


# ---- The page on scikit-learn

PAGE = "docs/scikit-learn.md"
SNIPPETS = {  # a text in the block of code, and what must hold after it
    "instead of sklearn.neural_network": lambda names: names["accuracy"] > 0.95,
    'solver="adamw"': lambda names: names["accuracy"] > 0.95,
    "eval_set=": lambda names: (
        len(names["losses"]) == len(names["scores"]) == names["regressor"].n_iter_ and max(names["scores"]) > -0.75
    ),
    "n_members=10": lambda names: (
        names["std"][1] > 3 * names["std"][0] and abs(names["mean"][0]) < 0.1 and names["first"].n_members is None
    ),
    'MLPRegressor("quantile"': lambda names: (
        (names["low"] <= names["median"]).all() and 0.85 < np.mean(names["y"] <= names["high"]) < 0.95
    ),
    "conformalize": lambda names: 0.88 < names["coverage"] < 0.93,
    "MLPGridSearchCV(pipeline": lambda names: names["accuracy"] > 0.9,
    "regressor.to(elsewhere)": lambda names: (
        type(names["predictions"]).__module__.startswith("array_api_strict")
        and np.allclose(np.asarray(names["same"]), names["X"][:, 0] ** 2, atol=0.05)
    ),
    "np.random.RandomState(0)": lambda names: (
        len(names["classifier"].loss_curve_) == 20 and names["classifier"].score(names["X"], names["y"]) > 0.9
    ),
    "warm_start=each": lambda names: (
        names["continues"].loss_ == pytest.approx(names["partial"].loss_, rel=1e-12) != names["forgets"].loss_
    ),
    "import warnings": lambda names: names["regressor"].n_iter_ == 20,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("text", SNIPPETS)
def test_the_code_on_the_page_on_scikit_learn_does_what_it_says(text):
    (block,) = [block for block in blocks(PAGE) if text in block]
    names = {}
    exec(block, names)
    assert SNIPPETS[text](names)


def test_every_code_block_of_the_page_on_scikit_learn_is_run():
    assert len(blocks(PAGE)) == len(SNIPPETS) + 1  # that of PyTorch is run by test_torch.py


def test_the_page_on_scikit_learn_quotes_the_differences_that_were_measured():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    (file,) = re.findall(r"\[data\]\(\.\./(benchmarks/results/.*?-same_numbers\.json)\)", page)
    differences = json.loads((ROOT / file).read_text(encoding="utf-8"))["differences"]
    assert f"| | {' | '.join(differences)} |".replace("_", " ") in page.replace("|  |", "| |")
    for name in next(iter(differences.values())):
        values = (each[name] for each in differences.values())
        assert f"| {name} | {' | '.join(f'{value:.0e}' if value else '0' for value in values)} |" in page


COLUMNS = ["xpnet, compiled", "xpnet, eager", "JAX, jit", "PyTorch, eager", "scikit-learn", "Numba, by hand"]
ROWS = ["sine", "many_float64", "many_float32", "many_adam", "many_batches", "softmax", "mini_64", "mini_784"]


def test_the_readme_quotes_the_benchmark_data():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    (file,) = re.findall(r"\[data\]\((benchmarks/results/.*?)\)", readme)
    report = json.loads((ROOT / file).read_text(encoding="utf-8"))
    for row in ROWS:
        variants = report["benchmarks"][row]["variants"]
        assert " | ".join(median(variants, column) for column in COLUMNS) in readme
    process = report["benchmarks"]["process"]["variants"]
    for variant in ("xpnet, compiled, from the cache", "xpnet, compiled, cold", "xpnet, eager"):
        assert median(process, variant) in readme
    assert f"medians over {report['rounds']} rounds" in readme


def median(variants, name):
    """Return the median time in a unit that suits it."""
    seconds = variants[name]["seconds"][0]
    units = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}
    unit = next(unit for unit, factor in units.items() if seconds * factor >= 1)
    return f"{seconds * units[unit]:.3g} {unit}"


def test_the_reliability_page_quotes_the_stress_test_data():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    (file,) = re.findall(r"\[data\]\(\.\./(benchmarks/results/.*?-stress\.json)\)", page)
    report = json.loads((ROOT / file).read_text(encoding="utf-8"))
    for attack, count in report["counts"].items():
        assert f"| {attack} | {count['made']:,} | {count['withstood']:,} |" in page
    assert f"in {report['minutes']:g} minutes" in page
    assert report["faults"] == []
