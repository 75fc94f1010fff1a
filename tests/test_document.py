"""xpnet reproduces the document: its training up to rounding errors, and its cells unchanged.

"The document" is the notebook *Neural Network From Scratch* (see README).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from document import Document

from xpnet import NeuralNetwork


@pytest.fixture
def shown(monkeypatch):
    """Record the titles of the figures that would be shown."""
    titles = []
    monkeypatch.setattr(plt, "show", lambda: titles.append([axes.get_title() for axes in plt.gcf().axes]))
    yield titles
    plt.close("all")


@pytest.mark.slow
@pytest.mark.numpy_only
@pytest.mark.float64
def test_a_thousand_epochs_follow_the_documents_algorithm(backend, sine):
    """Same weights, same samples, 500,000 steps: the two differ only by rounding errors."""
    X, y = sine
    network = NeuralNetwork([1, 10, 10, 1], device=backend, seed=94)
    parameters = {name: np.array(value) for name, value in network.parameters.items()}
    network.train(X, y, learning_rate=0.01, epochs=1000, verbose=False)
    expected = Document(parameters).train(X, y, learning_rate=0.01, epochs=1000)
    np.testing.assert_allclose(network.epoch_loss[:50], expected[:50], rtol=1e-9)
    np.testing.assert_allclose(network.epoch_loss, expected, rtol=1e-6)
    assert network.epoch_loss[-1] < 0.0003


@pytest.mark.not_numpy
@pytest.mark.parametrize("batch_size", [1, 32, None])
def test_all_backends_give_the_same_loss_curve(backend, dtype, batch_size, sine):
    X, y = (data[::10] for data in sine)
    curves = []
    for device in ("cpu", backend):
        network = NeuralNetwork([1, 10, 10, 1], device=device, dtype=dtype, seed=0)
        network.train(X, y, learning_rate=0.1, epochs=5, verbose=False, batch_size=batch_size, shuffle=True)
        curves.append(network.epoch_loss)
    np.testing.assert_allclose(curves[1], curves[0], rtol={"float64": 1e-10, "float32": 1e-4}[dtype])


def test_the_documents_cells_run(shown, capsys):
    """The calls of its cells, in their order and with their arguments."""
    num_samples = 50
    X = np.linspace(-2 * np.pi, 2 * np.pi, num_samples).reshape(num_samples, 1, 1)
    y = 0.5 * (np.sin(X) + 1)
    X_norm = (X - X.mean()) / X.std()

    nn = NeuralNetwork(layer_list=[1, 10, 10, 1])
    nn.train(X_norm, y, learning_rate=0.01, epochs=5, verbose_epoch=2)
    nn.plot_epoch()
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == [f"Epoch {epoch} Loss :" for epoch in (0, 2, 4)]
    assert shown == [["Epoch loss over time"]]

    y_pred = np.array([nn.deep_forward(x.reshape(-1, 1))[0][0] for x in X_norm])
    assert y_pred.shape == (num_samples,)
    np.testing.assert_allclose(y_pred, nn.predict(X_norm)[:, 0, 0])

    nn = NeuralNetwork(layer_list=[1, 10, 10, 1])
    for epochs in (1, 2, 3):
        nn.train(X_norm, y, learning_rate=0.01, epochs=epochs, verbose=False)
    assert nn.epochs_trained == 6


def test_the_documents_checks_of_shapes_hold():
    model = NeuralNetwork(layer_list=[3, 4, 1])
    output = model.deep_forward(np.ones((3, 1)))
    grads = model.backward_pass(Y_target=np.array([1], dtype=np.float64), AL=output)
    assert {name: value.shape for name, value in grads.items()} == {
        "dA1": (4, 1),
        "dW2": (1, 4),
        "db2": (1, 1),
        "dA0": (3, 1),
        "dW1": (4, 3),
        "db1": (4, 1),
    }
    assert [tuple(array.shape for array in layer) for layer in model.cache] == [
        ((4, 1), (4, 3), (4, 1), (3, 1)),
        ((1, 1), (1, 4), (1, 1), (4, 1)),
    ]


def test_the_documents_functions_work_on_xpnets_parameters_and_cache():
    """The document's earlier chapters use functions instead of a class."""
    model = NeuralNetwork(layer_list=[3, 4, 1], seed=0)
    output = model.deep_forward(np.ones((3, 1)))
    oracle = Document(model.parameters)
    oracle.cache = model.cache
    grads = oracle.backward(np.array([1.0]), output)
    twin = NeuralNetwork(layer_list=[3, 4, 1], seed=0)
    twin.deep_forward(np.ones((3, 1)))
    twin.update_parameters(twin.backward_pass(np.array([1.0]), output), 0.01)
    oracle.update(grads, 0.01)
    np.testing.assert_allclose(model.theta, twin.theta, rtol=1e-12)
