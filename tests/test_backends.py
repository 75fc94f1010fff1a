"""Backends: lookup by name, device and array; one-sentence errors; CuPy has every function that the code uses."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import sine
from guarded import GuardedBackend, GuardedNumpy

import xpnet
from xpnet import DeviceUnavailable, NeuralNetwork, Optimizer, backend_of, export_onnx, get_backend, gradient_check
from xpnet.__main__ import NOTE, table
from xpnet._types import State
from xpnet.backends import CannotCompile, Stream, backend_names, load_backend, new_seed, random_stream, registry
from xpnet.backends.numpy_backend import NumpyBackend
from xpnet.core.epochs import Stack
from xpnet.schedules import reduce_on_plateau

PACKAGE = Path(xpnet.__file__).parent

# ---- The contract, on every backend


@pytest.mark.not_numpy
def test_to_numpy_inverts_asarray(backend, dtype, rng):
    x = rng.standard_normal((3, 4)).astype(dtype)
    array = backend.asarray(x)
    assert type(backend).of(array) == backend
    assert backend_of(array) == backend
    back = backend.to_numpy(array)
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, x)
    assert back.dtype == x.dtype


def test_asarray_accepts_lists_and_sets_the_precision(backend, dtype):
    array = backend.asarray([[1, 2], [3, 4]], dtype)
    assert backend.to_numpy(array).dtype == dtype
    assert backend.to_numpy(backend.asarray(array, "float32")).dtype == np.float32


@pytest.mark.parametrize("in_place", [False, True])
def test_train_epoch_runs_the_step_for_every_batch_with_views_of_the_parameters(in_place, backend, array, assert_close):
    class Adds:
        def layers(self, theta):
            return theta[:1]

        def __call__(self, state, batch, layers=None):
            (theta, (factor,)), (X, *_) = state, batch
            loss = (self.layers(theta) if layers is None else layers)[0] + X[0]
            if in_place:
                theta += factor * X
            return State(theta if in_place else theta + factor * X, (factor,)), loss

    batches = np.arange(6.0).reshape(3, 2)
    stacks = (Stack((array(each), array(each), array(each[:, 0]), None, ()), {}) for each in (batches[:2], batches[2:]))
    with backend.on_device():
        state, losses = backend.train_epoch(Adds(), State(array([0.0, 0.0]), (array(2.0),)), stacks)
    assert_close(state.theta, 2 * batches.sum(axis=0))
    assert_close(state.optimizer_state[0], 2.0)
    assert_close(losses, [0.0, 2.0, 8.0])


def test_new_arrays_are_created_on_the_device(backend, array):
    if backend.name == "array_api_strict":
        pytest.skip("array-api-strict has no current device; xpnet creates arrays only from existing ones")
    with backend.on_device():
        assert type(backend).of(backend.xp.ones(3)) == backend


def test_every_device_is_described(backend):
    assert backend.device in type(backend).devices()
    assert backend.describe()
    backend.synchronize()


# ---- Lookup


def test_a_device_selects_its_backend():
    assert get_backend("cpu").name == "numpy"
    assert get_backend().device == "cpu"
    assert get_backend("device1", name="array_api_strict").device == "device1"
    backend = get_backend("cpu")
    assert get_backend(backend) is backend
    assert get_backend("cpu") == backend


def test_auto_selects_a_gpu_if_there_is_one(request):
    expected = "numpy" if "cupy" in request.config.unavailable else "cupy"
    if request.config.getoption("--backend") in (None, "cupy"):
        assert get_backend("auto").name == expected


def test_auto_selects_the_cpu_if_there_is_no_gpu(no_driver):
    assert get_backend("auto") == get_backend("cpu")


def test_lists_numbers_and_numpy_subclasses_use_the_numpy_backend():
    class Subclass(np.ndarray): ...

    for x in ([1.0], 2, np.float32(3), np.ones(3).view(Subclass), range(3)):
        assert backend_of(x) == get_backend("cpu")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"name must be that of a backend, one of 'numpy', 'cupy', .* got 'nupmy'"):
        get_backend("cpu", name="nupmy")


def test_an_unknown_device_lists_the_devices_of_the_library():
    with pytest.raises(DeviceUnavailable, match="numpy has no device 'cuda', only 'cpu'"):
        get_backend("cuda", name="numpy")
    with pytest.raises(DeviceUnavailable, match="array_api_strict has no device 'cuda', only 'cpu', 'device1'"):
        get_backend("cuda", name="array_api_strict")


class AddedBackend(NumpyBackend):
    """A backend from another package."""

    name = __name__

    @classmethod
    def open(cls, device):
        return cls(device)


class AddedArray:
    """An array of that package, recognized by the module of its class."""

    ndim = 1


@pytest.fixture
def added(monkeypatch, request):
    """Simulate an installed package with an entry point."""
    point = EntryPoint(__name__, f"{__name__}:{request.param}", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group, name=__name__: [point] if name == __name__ else [])
    backend_names.cache_clear()
    yield
    backend_names.cache_clear()


@pytest.mark.parametrize("added", ["AddedBackend"], indirect=True)
def test_other_packages_add_backends_through_entry_points(added):
    assert backend_names()[-1] == __name__
    assert get_backend("anything", name=__name__) == AddedBackend("anything")
    assert load_backend(__name__) is AddedBackend
    assert backend_of(AddedArray()) == AddedBackend("cpu")
    assert __name__ in table()


@pytest.mark.parametrize("added", ["Missing"], indirect=True)
def test_a_broken_package_breaks_nothing_else(added):
    with pytest.raises(DeviceUnavailable, match=r"the backend test_backends .* cannot be imported \(AttributeError"):
        load_backend(__name__)
    assert "cannot be imported (AttributeError" in table()


MOMENTUM = Optimizer(
    lambda xp, theta: (xp.zeros_like(theta),),
    lambda xp, theta, dtheta, state, rate: (theta - rate * (state[0] + dtheta), (state[0] + dtheta,)),
)
EACH = [0.1, 0.0, 0.01]
ON_DEVICE = {
    "plain": ({}, {"shuffle": True, "batch_size": 2, "callbacks": lambda n: n.epoch_loss}),
    "a custom optimizer": ({"optimizer": MOMENTUM}, {}),
    "regularized": ({"l1": 0.1, "l2": 0.1, "weight_decay": 0.1, "clip_norm": 1.0}, {}),
    "adamw, dropout": ({"optimizer": "adamw", "dropout": 0.5}, {"shuffle": True, "batch_size": 3}),
    "weights": ({}, {"sample_weight": np.arange(5.0), "schedule": reduce_on_plateau(0.5, patience=0)}),
    "validation": ({}, {"validation_split": 0.4, "metrics": ["binary_accuracy", "r2_score"], "patience": 1}),
    "an ensemble": (
        {"ensemble": 3, "l1": EACH, "l2": EACH, "weight_decay": EACH, "clip_norm": [1.0, 2.0, 3.0], "dropout": 0.3},
        {"shuffle": True, "batch_size": 2, "members_at_once": 2, "patience": 1, "validation_split": 0.4},
    ),
}


@pytest.mark.parametrize(("settings", "training"), ON_DEVICE.values(), ids=ON_DEVICE)
def test_everything_is_computed_on_the_device_of_the_network(settings, training, tmp_path):
    network = NeuralNetwork([2, 3, 1], device=GuardedBackend("gpu"), seed=0, **settings)
    X, y = np.ones((5, 2)), np.full(5, 0.5)
    network.train(X, y, 0.1, epochs=3, verbose=False, **training)
    network.predict(X)
    network.evaluate(X, y, sample_weight=np.arange(5.0), metrics=["mean_absolute_error"])
    AL = network.deep_forward(X.T)
    network.cost_function(y, AL)
    network.update_parameters(network.backward_pass(y, AL), 0.1)
    network.load_state_dict(network.state_dict())
    export_onnx(network, tmp_path / "network.onnx")
    if network.ensemble:
        network.member(1).train(X, y, 0.1, epochs=1, verbose=False)
        network.best_member().predict(X)
    network.parameters["W1"] = np.ones(network.parameters["W1"].shape)
    network.parameters = dict(network.initialize_weights_deep([2, 3, 1]))
    network.clear_weights()
    assert network.epoch_loss == []
    assert GuardedNumpy.open_contexts == 0


def test_labels_class_weights_and_lbfgs_are_computed_there_too():
    network = NeuralNetwork([2, 3, 3], loss="categorical_crossentropy", l2=0.1, device=GuardedBackend("gpu"), seed=0)
    X, y = np.arange(12.0).reshape(6, 2), [0, 1, 2, 2, 1, 1]
    network.train(X, y, 0.1, epochs=2, verbose=False, class_weight="balanced", metrics="accuracy")
    network.train_lbfgs(X, y, epochs=3, verbose=False, class_weight={1: 2.0}, validation_split=0.4, patience=1)
    assert gradient_check(network, X, y).passed
    assert GuardedNumpy.open_contexts == 0


def test_the_guard_detects_computation_outside_the_device_or_with_host_arrays():
    backend = GuardedBackend("gpu")
    array = backend.asarray([1.0, 2.0])
    for compute in (lambda: array + 1.0, lambda: backend.xp.exp(array), lambda: backend.xp.zeros(3)):
        with pytest.raises(AssertionError, match="outside"):
            compute()
    with backend.on_device():
        assert type(array + 1.0) is type(array)
        for compute in (lambda: array * np.ones(2), lambda: backend.xp.where(np.ones(2) > 0, array, 0.0)):
            with pytest.raises(AssertionError, match="with a host array"):
                compute()


# ---- Unavailable backends


@pytest.fixture
def uninstall(monkeypatch):
    """Return a function that hides an installed library."""

    def hide(library):
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.delitem(registry._loaded, library, raising=False)
        uses_it = (f"xpnet.backends.{library}", f"array_api_compat.{library}")
        for name in [name for name in sys.modules if name.startswith(uses_it)]:
            monkeypatch.delitem(sys.modules, name)

    return hide


@pytest.fixture
def no_cupy(uninstall):
    uninstall("cupy")


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)


@pytest.fixture
def no_driver(cupy, monkeypatch):
    monkeypatch.setattr(cupy.cuda, "is_available", lambda: False)


@pytest.fixture
def one_gpu(cupy, monkeypatch):
    """Make CuPy report a driver and one GPU; each test defines how its use fails."""
    monkeypatch.setattr(cupy.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 1)
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 0)


@pytest.fixture
def no_memory(one_gpu, cupy, monkeypatch):
    def ones(*_):
        msg = "Out of memory allocating 512 bytes"
        raise cupy.cuda.memory.OutOfMemoryError(512, 0, 0) from MemoryError(msg)

    monkeypatch.setattr(cupy, "ones", ones)
    monkeypatch.setattr(load_backend("cupy"), "on_device", lambda self: nullcontext())


@pytest.fixture
def no_libraries(one_gpu, cupy, monkeypatch):
    def ones(*_):
        msg = "libcublas.so.12: cannot open shared object file"
        raise ImportError(msg)

    monkeypatch.setattr(cupy, "ones", ones)
    monkeypatch.setattr(load_backend("cupy"), "on_device", lambda self: nullcontext())


# The machine, the requested device, and the message.
UNAVAILABLE = [
    ("no_cupy", "cuda", 'cupy is not installed: pip install "xpnet[cuda12]"'),
    ("no_driver", "cuda", "finds no NVIDIA GPU with a working driver; install the driver, or use device 'cpu'"),
    ("no_libraries", "cuda:0", "there is a driver, but no usable CUDA library (ImportError: libcublas.so.12: "),
    ("one_gpu", "cuda:7", "there is no cuda:7; this machine has cuda:0"),
    ("no_memory", "cuda", "cuda:0 has no memory left (Out of memory allocating 512 bytes"),
]
every_machine = pytest.mark.parametrize(("machine", "device", "says"), UNAVAILABLE, ids=[c[0] for c in UNAVAILABLE])


@every_machine
def test_an_unavailable_gpu_raises_a_one_sentence_error(machine, device, says, request):
    request.getfixturevalue(machine)
    with pytest.raises(DeviceUnavailable, match=re.escape(says)) as raised:
        NeuralNetwork([1, 1], device=device)
    assert str(raised.value).startswith(f"device {device!r} cannot be used: ")
    assert "\n" not in str(raised.value)


@every_machine
def test_the_command_line_prints_the_same_error_and_exits_with_2(machine, device, says, request, capsys):
    request.getfixturevalue(machine)
    with pytest.raises(SystemExit) as ended:
        sine.main(["--device", device, "--no-plots", "--epochs", "1"])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert says in printed.err


@pytest.mark.parametrize(("machine", "device", "says"), UNAVAILABLE[:3], ids=[c[0] for c in UNAVAILABLE[:3]])
def test_the_table_of_backends_shows_the_same_error(machine, device, says, request):
    request.getfixturevalue(machine)
    (row,) = [line for line in table().splitlines() if line.startswith("cupy")]
    assert "  none" in row
    assert says in row


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_library_that_is_not_installed_names_its_extra(library, uninstall):
    uninstall(library)
    says = f'{library} is not installed: pip install "xpnet[{library}]"'
    with pytest.raises(DeviceUnavailable, match=re.escape(says)):
        NeuralNetwork([1, 1], device=get_backend("cpu", name=library))
    (row,) = [line for line in table().splitlines() if line.startswith(library)]
    assert row.endswith(f"none        {says}")


def test_threads_can_load_a_backend_at_the_same_time():
    program = """
import threading
from xpnet import get_backend
loaded, start = [], threading.Barrier(8)
def load():
    start.wait()
    loaded.append(get_backend("cpu", name="array_api_strict").name)
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(loaded))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "8\n"


def test_the_table_names_every_backend():
    text = table()
    for name in ("numpy", "cupy", "torch", "jax", "array_api_strict"):
        assert f"\n{name} " in text
    assert np.__version__ in text
    assert "device1" in text


def test_the_module_prints_the_table(capsys):
    runpy.run_path(str(PACKAGE / "__main__.py"), run_name="__main__")
    assert capsys.readouterr().out == f"xpnet {xpnet.__version__}\n\n{table()}\n\n{NOTE}\n"


# ---- CuPy, checked without a GPU


def uses_of_xp() -> dict[tuple[str, tuple[str, ...]], str]:
    """Return each ``xp.function(...)`` of the package, by its name and keywords, with a module that uses it."""
    uses = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            function, keywords = (node.func, node.keywords) if isinstance(node, ast.Call) else (node, [])
            if isinstance(function, ast.Attribute):
                owner = function.value
                if (isinstance(owner, ast.Name) and owner.id == "xp") or (
                    isinstance(owner, ast.Attribute) and owner.attr == "xp"
                ):
                    uses[function.attr, tuple(sorted(keyword.arg for keyword in keywords))] = path.stem
    return uses


def test_the_search_finds_uses_of_the_namespace():
    assert {"matmul", "exp", "concat", "where"} & {name for name, _ in uses_of_xp()}


# Functions that array-api-compat itself implements for CuPy; each was checked not to wait for the device.
COMPAT = {
    "astype",
    "asarray",
    "cumulative_sum",
    "finfo",
    "isdtype",
    "matrix_transpose",
    "reshape",
    "sort",
    "std",
    "zeros_like",
    "ones_like",
    "empty_like",
    "zeros",
    "ones",
    "empty",
    "full",
    "floor",
    "float32",
}
OURS = {"sign", "vecdot"}


@pytest.mark.parametrize(("use", "module"), uses_of_xp().items(), ids=str)
def test_cupy_has_every_function_that_the_code_uses(use, module, cupy):
    import array_api_compat.cupy

    name, keywords = use
    function = getattr(load_backend("cupy").xp, name, None)
    assert hasattr(array_api_compat.cupy, name), f"{module} uses xp.{name}"
    # array-api-compat's wrappers may wait for the device, as its sign does; CuPy documents which of its functions do.
    assert name in COMPAT | OURS or function is getattr(cupy, name), f"{module} uses xp.{name}"
    if keywords:
        parameters = inspect.signature(function).parameters
        assert set(keywords) <= parameters.keys(), f"{module} calls xp.{name} with {keywords}"


def test_cupys_arrays_have_every_attribute_that_the_code_uses(cupy):
    for name in ("mT", "shape", "ndim", "size", "dtype", "device", "__matmul__", "__isub__", "__invert__"):
        assert hasattr(cupy.ndarray, name), name


def test_cupy_compiles_and_launches_kernels(cupy, monkeypatch):
    from xpnet.backends import cupy_backend

    assert {"compile", "get_function"} <= set(dir(cupy.RawModule))
    launched = []

    class Function:
        max_dynamic_shared_size_bytes = 48 * 2**10

        def __init__(self, *which):
            self.which = which

        def __call__(self, *call, shared_mem):
            launched.append((*self.which, *call, shared_mem, self.max_dynamic_shared_size_bytes))

    class Module:
        def __init__(self, *, code):
            self.code = code

        def compile(self):
            if "refused" in self.code:
                msg = "error: refused\nmore"
                raise cupy.cuda.compiler.CompileException(msg, self.code, "", ())

        def get_function(self, name):
            return Function(self.code, name)

    monkeypatch.setattr(cupy, "RawModule", Module)
    launch = cupy_backend._load("source")
    launch("kernel", 3, 64, 0, [1, 2])
    launch("kernel", 3, 256, 10**5, [])
    assert launched[0] == ("source", "kernel", (3,), (64,), (1, 2), 0, 48 * 2**10)
    assert launched[1] == ("source", "kernel", (3,), (256,), (), 10**5, 10**5)
    with pytest.raises(CannotCompile, match="CUDA's compiler refuses the kernel: error: refused"):
        cupy_backend._load("refused")


# ---- Random numbers


def test_random_streams_equal_those_that_numpy_spawns():
    children = np.random.SeedSequence(3).spawn(2)
    assert random_stream(3, Stream.WEIGHTS).random() == np.random.default_rng(children[0]).random()
    grandchildren = children[1].spawn(8)
    assert random_stream(3, Stream.SHUFFLING, 7).random() == np.random.default_rng(grandchildren[7]).random()


def test_new_seeds_differ():
    one, other = new_seed(), new_seed()
    assert one != other
    assert random_stream(one, Stream.WEIGHTS).random() != random_stream(other, Stream.WEIGHTS).random()
    assert random_stream(one, Stream.WEIGHTS).random() == random_stream(one, Stream.WEIGHTS).random()
