"""Plots show the values that they were given."""

from __future__ import annotations

import itertools
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from xpnet.plotting import draw_epoch_loss, draw_fit, history_figure

# Simulations of complete red-, green- and blue-blindness, on linear RGB: Machado, Oliveira and Fernandes (2009), "A
# Physiologically-based Model for Simulation of Color Vision Deficiency".
COLOR_VISION = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
RGB_TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(line, simulation):
    """The CIELAB coordinates of a line on a white background, as a person with this color vision sees it."""
    alpha = line.get_alpha() or 1.0
    rgb = alpha * np.array(to_rgb(line.get_color())) + (1.0 - alpha)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = RGB_TO_XYZ @ np.clip(simulation @ linear, 0.0, 1.0) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0)
    return np.array([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)])


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
    assert axes.get_ylabel() == "Loss"
    assert axes.get_yscale() == ("log" if log else "linear")


def test_the_predictions_are_drawn_over_the_targets(axes):
    X = np.array([0.0, 1.0, 2.0])
    draw_fit(axes, X, X + 1, X + 2, title="After 7 epochs")
    actual, predicted = axes.lines
    assert actual.get_ydata().tolist() == [1.0, 2.0, 3.0]
    assert predicted.get_ydata().tolist() == [2.0, 3.0, 4.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Actual", "Predicted"]
    assert axes.get_title() == "After 7 epochs"


def test_an_ensemble_is_drawn_as_its_median_and_a_band():
    losses = np.linspace(0.0, 1.0, 11)[None, :] + np.array([[1.0], [0.0]])
    (axes,) = history_figure({"loss": losses}).axes
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_allclose(line.get_ydata(), [1.5, 0.5])
    (path,) = band.get_paths()
    np.testing.assert_allclose(np.unique(path.vertices[:, 1].round(9)), [0.1, 0.9, 1.1, 1.9])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["Loss, median of 11", "10th to 90th percentile"]


@pytest.mark.parametrize("deficiency", COLOR_VISION)
def test_colorblind_people_can_tell_the_lines_apart(axes, deficiency):
    draw_fit(axes, [0.0, 1.0], [0.0, 1.0], [1.0, 0.0])
    losses = np.ones(2)
    (history,) = history_figure({"loss": losses, "validation_loss": losses}).axes
    simulation = np.array(COLOR_VISION[deficiency])
    for lines in (axes.lines, history.lines):
        for one, other in itertools.combinations(lines, 2):
            # A difference of 2.3 is just noticeable.
            assert np.linalg.norm(lab(one, simulation) - lab(other, simulation)) > 40.0


def test_without_matplotlib_everything_but_plotting_works(tmp_path):
    """In a separate interpreter in which matplotlib cannot be imported."""
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
    assert result.stdout == 'plots need matplotlib: pip install "xpnet[plot]"\n'
