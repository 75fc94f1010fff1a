"""Pictures show what they are given."""

from __future__ import annotations

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from xpnet.plotting import draw_epoch_loss, draw_fit


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


@pytest.mark.parametrize("log", [False, True])
def test_the_loss_is_drawn_over_the_epochs(axes, log):
    draw_epoch_loss(axes, [3.0, 2.0, 1.0], log=log)
    (line,) = axes.lines
    assert line.get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert axes.get_xlabel() == "Epoch"
    assert axes.get_yscale() == ("log" if log else "linear")


def test_the_fit_is_drawn_over_its_target(axes):
    X = np.array([0.0, 1.0, 2.0])
    draw_fit(axes, X, X + 1, X + 2, title="after 7 epochs")
    actual, predicted = axes.lines
    assert actual.get_ydata().tolist() == [1.0, 2.0, 3.0]
    assert predicted.get_ydata().tolist() == [2.0, 3.0, 4.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Actual", "Predicted"]
    assert axes.get_title() == "after 7 epochs"


def test_without_matplotlib_everything_but_pictures_works(tmp_path):
    """In an interpreter of its own, where matplotlib cannot be imported."""
    program = """
import sys
sys.modules["matplotlib"] = None
from xpnet import NeuralNetwork
network = NeuralNetwork()
network.train([0.0, 1.0], [0.0, 1.0], 0.1, verbose=False)
try:
    network.plot_epoch()
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == 'pictures need matplotlib: pip install "xpnet[plot]"\n'
