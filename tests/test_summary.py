"""The summary of a network, as a table."""

from __future__ import annotations

from xpnet import Activation, NeuralNetwork
from xpnet.losses import huber


def test_the_table_shows_every_layer_and_its_parameters():
    network = NeuralNetwork([3, 400, 10], loss="categorical_crossentropy", dropout=0.3, seed=0)
    lines = [line.split() for line in str(network.summary()).splitlines()]
    assert lines[0] == ["NeuralNetwork"]
    assert lines[1] == ["layer", "outputs", "activation", "initializer", "dropout", "parameters"]
    assert lines[2] == ["1", "400", "relu", "he_normal", "0.3", "1,600"]
    assert lines[3] == ["2", "10", "softmax", "glorot_uniform", "4,010"]
    assert ["parameters", "5,610", "in", "float64"] in lines
    assert ["loss", "categorical_crossentropy"] in lines
    assert ["epochs", "trained", "0"] in lines


def test_the_columns_of_the_table_are_aligned():
    text = str(NeuralNetwork([3, 4, 10], seed=0).summary())
    head, *rows = text.splitlines()[1:4]
    assert all(row.index("normal") == head.index("initializer") for row in rows)
    assert text == repr(NeuralNetwork([3, 4, 10], seed=0).summary())


def test_custom_parts_are_shown_by_the_names_of_their_functions():
    def softsign(xp, Z):
        return Z / (1.0 + xp.abs(Z))

    custom = Activation(softsign, lambda xp, dA, Z, A: dA)
    network = NeuralNetwork([1, 2, 1], activations=[custom, "identity"], loss=huber(delta=2.0), seed=0)
    assert "custom (softsign)" in str(network.summary())
    assert "loss            custom (_huber)" in str(network.summary())
    assert "activations=['custom (softsign)', 'identity']" in repr(network)


def test_the_table_shows_the_number_of_networks_of_an_ensemble():
    text = str(NeuralNetwork([1, 2, 1], ensemble=1000, seed=0).summary())
    assert "networks        1,000, with 7,000 parameters in all" in text


def test_a_notebook_shows_the_same_as_html():
    network = NeuralNetwork(
        [1, 2, 1], initializer=lambda rng, n_out, n_in: (rng.random((n_out, n_in)), rng.random((n_out, 1)))
    )
    html = network._repr_html_()
    assert html == network.summary()._repr_html_()
    assert html.count("<tr>") == 3
    assert "custom (&lt;lambda&gt;)" in html
