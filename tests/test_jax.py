"""JAX: an epoch is compiled once, and double precision is never lost silently."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from xpnet import NeuralNetwork, get_backend
from xpnet.schedules import cosine

pytestmark = [pytest.mark.only("jax"), pytest.mark.usefixtures("backend")]
SWITCH = re.escape('set JAX_ENABLE_X64=1, or call jax.config.update("jax_enable_x64", True)')
X, Y = np.linspace(-1.0, 1.0, 14).reshape(7, 2), np.linspace(0.0, 1.0, 7)


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


@pytest.fixture
def single_precision(jax):
    """Compute as JAX does by default."""
    with jax.enable_x64(False):
        yield


# ---- Compiling


def compiled_loops():
    from xpnet.backends import jax_backend

    return jax_backend._compiled_loop._cache_size()


def trained(backend, dtype, sizes=(2, 3, 1), epochs=2, **options):
    network = NeuralNetwork(list(sizes), device=backend, dtype=dtype, **{"seed": 0, "optimizer": "adam", **options})
    network.train(X, Y, 0.1, epochs=epochs, verbose=False, batch_size=7)
    return network


def test_an_epoch_is_compiled_once_for_all_trainings_of_a_shape(backend, dtype):
    network = trained(backend, dtype, l2=0.1, dropout=0.5)
    before = compiled_loops()
    network.train(X[::-1], Y, 0.2, epochs=3, verbose=False, batch_size=7, shuffle=True)
    network.train(X, Y, 0.2, epochs=3, verbose=False, batch_size=7, schedule=cosine(20))
    trained(backend, dtype, l2=0.3, dropout=0.5, seed=5)
    assert compiled_loops() == before
    trained(backend, dtype, sizes=(2, 4, 1), l2=0.1, dropout=0.5)
    assert compiled_loops() == before + 1


@pytest.mark.parametrize(
    "other",
    [
        {"optimizer": "sgd"},
        {"loss": "huber"},
        {"activations": ["tanh", "sigmoid"]},
        {"dropout": 0.3},
        {"clip_norm": 1.0},
        {"ensemble": 2},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_different_step_is_compiled_separately(other, backend, dtype):
    plain = {"sizes": (2, 6, 1), "dropout": 0.5}
    trained(backend, dtype, **plain)
    before = compiled_loops()
    trained(backend, dtype, **{**plain, **other})
    assert compiled_loops() == before + 1


def test_no_array_leaves_its_trace(jax, backend, dtype):
    with jax.checking_leaks():
        trained(backend, dtype, sizes=(2, 5, 1), l1=0.1, dropout=0.5, ensemble=2)


# ---- Precision


def test_double_precision_that_jax_would_not_keep_is_refused_with_the_switch(single_precision, backend):
    with pytest.raises(ValueError, match=f"JAX would compute in float32; use float32, or for float64 {SWITCH}"):
        NeuralNetwork([2, 1], device=backend)


def test_data_of_jax_does_not_change_the_precision_of_a_network(single_precision, jax):
    network = NeuralNetwork([2, 1], seed=0)
    with pytest.raises(ValueError, match=f"X cannot be converted to an array of float64 of jax on cpu: .*{SWITCH}"):
        network.train(jax.numpy.asarray(X), jax.numpy.asarray(Y), 0.1, verbose=False)
    assert network.backend.name == "numpy"


def test_predictions_in_double_precision_do_not_become_single(single_precision, jax):
    network = NeuralNetwork([2, 1], device="cpu", seed=0)
    with pytest.raises(ValueError, match=f"the result cannot be converted .*{SWITCH}"):
        network.predict(jax.numpy.asarray(X))


def test_a_network_made_in_double_precision_does_not_predict_in_single(jax, backend):
    network = NeuralNetwork([2, 1], device=backend, seed=0)
    with jax.enable_x64(False), pytest.raises(ValueError, match=SWITCH):
        network.predict(X)


def test_large_integers_are_not_wrapped(single_precision, backend):
    with pytest.raises(ValueError, match=f"JAX would compute in int32; use int32, or for int64 {SWITCH}"):
        backend.asarray(np.array([2**40]))
    assert backend.to_numpy(backend.asarray(np.array([2**40]), "float32")) == np.float32(2**40)


def test_single_precision_needs_no_switch(single_precision, jax, backend):
    data = jax.numpy.asarray(X), jax.numpy.asarray(Y)
    network = NeuralNetwork([2, 3, 1], dtype="float32", seed=0)
    network.train(*data, 0.1, epochs=3, verbose=False, shuffle=True, batch_size=2)
    assert network.predict(data[0]).dtype == network.theta.dtype == "float32"
    assert not jax.config.jax_enable_x64


def test_the_byte_order_of_host_data_does_not_matter(backend):
    big_endian = X.astype(">f8")
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(big_endian)), X)


def test_changing_host_data_later_does_not_change_the_array(backend):
    for size in range(10_000, 10_030):  # JAX shares memory, if that is aligned
        x = np.zeros(size, "float32")
        array = backend.asarray(x)
        x[0] = 1.0
        assert backend.to_numpy(array)[0] == 0.0


# ---- Devices

PROGRAM = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from xpnet import NeuralNetwork, backend_of, get_backend
backend = get_backend("cpu:1", name="jax")
network = NeuralNetwork([2, 1], device=backend, dtype="float32", seed=0)
network.train(np.ones((4, 2)), np.ones(4), 0.1, epochs=2, verbose=False, shuffle=True)
print(type(backend).devices(), get_backend("cpu", name="jax").device, backend_of(network.theta).device)
try:
    backend_of(jax.device_put(np.ones(2), NamedSharding(Mesh(jax.devices(), "x"), PartitionSpec("x"))))
except TypeError as error:
    print(error)
"""


def test_a_network_computes_on_the_second_device_and_refuses_arrays_on_several():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.splitlines() == [
        "['cpu', 'cpu:1'] cpu cpu:1",
        "an array of jax must be on one device, got one that is sharded; use jax.device_put",
    ]


def test_an_unknown_device_lists_the_devices_of_jax(backend):
    with pytest.raises(RuntimeError, match="jax has no device 'cuda', only 'cpu'"):
        get_backend("cuda", name="jax")
