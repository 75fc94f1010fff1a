"""The CUDA C of a training step, built by the host's C++ compiler, gives the networks of eager training."""

from __future__ import annotations

import ctypes
import warnings

import cuda_on_host
import numpy as np
import pytest
from trainings import DATA, MANY, NETWORKS, OF_MANY, TRAININGS, WEIGHTS, X, Y, assert_close, trained

from xpnet import Activation, DeviceUnavailable, NeuralNetwork, get_backend
from xpnet.activations import ACTIVATIONS
from xpnet.backends import CannotCompile, Stream, streams
from xpnet.backends.compiled import cuda_compiler
from xpnet.backends.compiled.cuda_compiler import CudaCompiler
from xpnet.backends.numpy_backend import NumpyBackend
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS

pytestmark = pytest.mark.filterwarnings("ignore:one thread of the GPU")
ON_HOST = pytest.mark.skipif(cuda_on_host.MISSING is not None, reason=str(cuda_on_host.MISSING))


@pytest.fixture(params=["threads", "blocks"])
def sources(request, monkeypatch):
    """Let networks on NumPy train with CUDA kernels on the host, and return the list of the sources.

    Networks are trained by a thread each, or in batches by a block of threads each.
    """
    found, shared_memory = [], 0 if request.param == "threads" else cuda_compiler.SHARED_MEMORY

    def load(source):
        found.append(source)
        return cuda_on_host.load(source)

    monkeypatch.setattr(NumpyBackend, "compiler", lambda self, announce=None: CudaCompiler(self, load, shared_memory))
    return found


@ON_HOST
@pytest.mark.parametrize("networks", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("settings", "training"), TRAININGS.values(), ids=TRAININGS)
def test_every_training_gives_the_same_network(settings, training, networks, sources):
    settings = settings | networks
    assert_close(*(trained(compile, settings, training) for compile in (True, False)))
    assert sources


@ON_HOST
@pytest.mark.parametrize(("settings", "training", "other"), OF_MANY.values(), ids=OF_MANY)
def test_each_network_of_an_ensemble_has_its_own(settings, training, other, sources):
    settings = {"ensemble": MANY, **settings}
    assert_close(*(trained(compile, settings, training, **other) for compile in (True, False)))


@ON_HOST
@pytest.mark.parametrize("options", DATA.values(), ids=DATA)
def test_samples_of_every_kind_give_the_same_network(options, sources):
    options = {**options, "training": {"shuffle": True, "batch_size": 2, **options.get("training", {})}}
    assert_close(*(trained(compile, **options) for compile in (True, False)))


def parts():
    """Yield every activation, loss and optimizer once, together with others."""
    regression = [name for name in LOSSES if "crossentropy" not in name]
    activations = [name for name in ACTIVATIONS if name != "softmax"]
    for i, activation in enumerate(activations):
        yield [activation, "softplus"], regression[i % len(regression)], list(OPTIMIZERS)[i % len(OPTIMIZERS)]
    yield ["tanh", "sigmoid"], "binary_crossentropy", "adam"
    yield ["softmax", "softmax"], "categorical_crossentropy", "sgd"


@ON_HOST
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("activations", "loss", "optimizer"), list(parts()), ids=lambda value: str(value))
def test_every_part_gives_the_same_step(activations, loss, optimizer, dtype, sources):
    settings = {"activations": activations, "loss": loss, "optimizer": optimizer, "dtype": dtype, "ensemble": 3}
    targets = Y / np.sum(Y, axis=1, keepdims=True)
    training = {"epochs": 1, "batch_size": None}
    assert_close(*(trained(compile, settings, training, data=(X, targets)) for compile in (True, False)))


@ON_HOST
@pytest.mark.parametrize("sizes", [(2, 4, 2), (2, 40, 30, 2)], ids=["in registers", "in memory"])
def test_networks_are_kept_in_registers_if_they_are_small(sizes, sources):
    settings = {"activations": None, "ensemble": 5, "dropout": 0.3, "dtype": "float32"}
    assert_close(*(trained(compile, settings, {"shuffle": True}, sizes=sizes) for compile in (True, False)))
    assert ("float theta_[22];" in sources[0]) == (sizes == (2, 4, 2))
    assert ("float * theta_)" in sources[0]) == (sizes != (2, 4, 2))


@ON_HOST
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_threads_of_a_block_share_long_sums(dtype, sources):
    settings = {"clip_norm": 0.1, "l2": 0.1, "optimizer": "momentum", "dtype": dtype, "ensemble": 2}
    training = {"batch_size": 4, "shuffle": True}
    assert_close(*(trained(compile, settings, training, sizes=(2, 60, 2)) for compile in (True, False)))
    in_blocks = "const int other = threadIdx.x" in sources[0]  # a fold of partial sums
    assert in_blocks == ("__shared__" in sources[0])


@ON_HOST
def test_one_network_with_one_thread_gives_a_hint_once(sources):
    cuda_compiler._hint.cache_clear()
    network = NeuralNetwork([2, 4, 2], seed=0)
    with warnings.catch_warnings(record=True, action="always") as caught:
        for _ in range(2):
            network.train(X, Y, 0.1, epochs=1, verbose=False, compile=True)
    (hint,) = caught
    assert str(hint.message).startswith("one thread of the GPU trains this network, which a core of a CPU does faster")
    assert hint.filename == __file__


@ON_HOST
def test_networks_of_unequal_sizes_train_together(sources):
    settings = {"ensemble": 2, "layer_list": [[2, 3, 2], [2, 5, 2]], "seed": 0}
    networks = []
    for compile in (True, False):
        network = NeuralNetwork(**settings)
        network.train(X, Y, 0.1, epochs=3, verbose=False, compile=compile)
        networks.append(network)
    assert_close(*networks)


@ON_HOST
@pytest.mark.parametrize("launches", ["all epochs in one", "several for an epoch"])
def test_members_that_diverge_freeze_and_the_others_go_on(launches, sources, monkeypatch):
    monkeypatch.setattr(cuda_compiler, "MAX_LAUNCH_SECONDS", 1e6 if launches == "all epochs in one" else 1e-9)
    rates = np.full(MANY, 0.1)
    rates[[2, 5, 16]] = 1e30
    settings = {"ensemble": MANY, "activations": ["relu", "identity"]}
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        compiled, eager = (trained(compile, settings, {"learning_rate": rates}) for compile in (True, False))
    assert_close(compiled, eager)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(compiled.history["loss"][-1])), [2, 5, 16])


@ON_HOST
def test_the_number_of_launches_changes_nothing(sources, monkeypatch):
    settings, training = {"ensemble": 3, "dropout": 0.3}, {"epochs": 9, "shuffle": True, "sample_weight": WEIGHTS}
    networks = []
    for seconds in (1e6, 1e-9):
        monkeypatch.setattr(cuda_compiler, "MAX_LAUNCH_SECONDS", seconds)
        networks.append(trained(True, settings, training))
    np.testing.assert_array_equal(networks[0].theta, networks[1].theta)
    np.testing.assert_array_equal(networks[0].history["loss"], networks[1].history["loss"])


@ON_HOST
def test_epochs_that_nobody_sees_are_one_launch(monkeypatch):
    launches = []

    def load(source):
        launch = cuda_on_host.load(source)
        return lambda function, *arguments: (launches.append(function), launch(function, *arguments))

    monkeypatch.setattr(NumpyBackend, "compiler", lambda self, announce=None: CudaCompiler(self, load))
    monkeypatch.setattr(cuda_compiler, "MAX_LAUNCH_SECONDS", 1e6)
    trained(True, {"ensemble": 3}, {"epochs": 100})
    assert launches == ["kernel"] * 3  # one step, the rest of the first epoch, all other epochs


@ON_HOST
def test_the_orders_are_those_of_other_backends(sources):
    trained(True, {}, {"epochs": 1})
    launch, keys = cuda_on_host.load(sources[0]), streams.seed_keys([3, 4, 5], Stream.SHUFFLING)
    orders = np.zeros((2, 11, 3), "uint32")
    sizes = [np.int32(3), np.int32(11), np.uint32(2**32 - 1), np.int32(2)]
    launch("permutations", 1, 64, 0, [*sizes, keys, orders])
    for orders_of_epoch, epoch in zip(orders, (2**32 - 1, 2**32), strict=True):
        expected = streams.permutations(streams.epoch_keys(keys, epoch), 11)
        np.testing.assert_array_equal(orders_of_epoch.T, expected)


def test_what_is_too_large_for_a_kernel_is_refused(sources):
    network = NeuralNetwork([2, 3000, 2], seed=0)
    with pytest.raises(CannotCompile, match=r"compile=True: a step that computes with [\d,]+ bytes for each network"):
        network.train(X, Y, 0.1, epochs=1, batch_size=7, verbose=False, compile=True)
    assert network.epochs_trained == 0
    assert not sources


def test_what_cannot_be_recorded_is_refused(sources):
    branches = Activation(lambda xp, Z: Z if float(xp.sum(Z)) > 0 else -Z, lambda xp, dA, Z, A: dA)
    with pytest.raises(CannotCompile, match="compile=True"):
        trained(True, {"activations": [branches, "sigmoid"]})


def test_by_default_nothing_is_compiled_for_a_gpu(sources):
    trained("auto", {"ensemble": 40}, {"epochs": 3})
    assert not CudaCompiler(NumpyBackend("cpu"), None).is_worthwhile((1, 10, 10, 1), None, 1, 500, 10**6)
    assert not sources


EXECUTION = {
    "each thread trains one network, whose parameters are in registers": ([2, 4, 1], 1),
    "each thread trains one network, whose parameters are in memory": ([2, 40, 40, 1], 1),
    "each block of threads trains one network, whose parameters are in shared memory": ([2, 40, 40, 1], 32),
}


@pytest.mark.parametrize(("execution", "network"), EXECUTION.items(), ids=str)
def test_the_loops_say_how_they_are_executed(execution, network, monkeypatch):
    sizes, batch_size = network
    monkeypatch.setattr(NumpyBackend, "compiler", lambda self, announce=None: CudaCompiler(self, None))
    text = NeuralNetwork(sizes, ensemble=3, seed=0).explain_step(batch_size)
    assert text.startswith(f"# {execution}\n")
    assert "state    theta" in text


# ---- On a GPU


@pytest.mark.parametrize(("settings", "training"), TRAININGS.values(), ids=TRAININGS)
def test_a_gpu_gives_the_same_network(settings, training):
    try:
        backend = get_backend("cuda")
    except DeviceUnavailable:
        pytest.skip("there is no GPU")
    settings = {**settings, "ensemble": 40, "device": backend}
    compiled, eager = (trained(compile, settings, training) for compile in (True, False))
    theta = [backend.to_numpy(network.theta) for network in (compiled, eager)]
    np.testing.assert_allclose(theta[0], theta[1], rtol=0.0, atol=1e-10 * np.max(np.abs(theta[1])))
    np.testing.assert_allclose(compiled.history["loss"], eager.history["loss"], rtol=1e-9)


# ---- Compiled for GPUs


def compiled(library, source, architecture):
    """Return the log of the compiler."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None) == 0
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++14", b"--ptxas-options=-v"]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, log.value.decode()
    return log.value.decode()


SINE = {"ensemble": 64, "activations": None}
KERNELS = {
    "the sine in registers": (SINE | {"dtype": "float32"}, {}, (1, 10, 10, 1)),
    "the sine": (SINE, {}, (1, 10, 10, 1)),
    "adam": (SINE | {"dtype": "float32", "optimizer": "adam"}, {}, (1, 10, 10, 1)),
    "batches": (SINE | {"dtype": "float32"}, {"batch_size": 5}, (1, 10, 10, 1)),
    "dropout": (SINE | {"dtype": "float32", "dropout": 0.3}, {"shuffle": True}, (1, 10, 10, 1)),
    "many units": (SINE | {"dtype": "float32"}, {}, (1, 32, 32, 1)),
    "a block for each network": (SINE | {"dtype": "float32", "optimizer": "adam"}, {"batch_size": 7}, (1, 32, 32, 1)),
    "all together": (*TRAININGS["all together"], (2, 4, 2)),
}


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("settings", "training", "sizes"), KERNELS.values(), ids=KERNELS)
def test_kernels_compile_for_gpus_without_spilling_registers(settings, training, sizes, architecture, monkeypatch):
    library, sources = cuda_on_host.nvrtc(), []
    if library is None:
        pytest.skip("nvidia-cuda-nvrtc-cu12 is not installed")

    def load(source):
        sources.append(source)
        raise CannotCompile

    monkeypatch.setattr(NumpyBackend, "compiler", lambda self, announce=None: CudaCompiler(self, load))
    with pytest.raises(CannotCompile):
        trained(True, settings, training, data=(X[:, : sizes[0]], Y[:, : sizes[-1]]), sizes=sizes)
    log = compiled(library, sources[0], architecture)
    assert log.count(" 0 bytes spill stores, 0 bytes spill loads") == 2  # of both functions
