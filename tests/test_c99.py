"""An exported C99 file compiles without warnings and computes what `predict` does; it states what memory it takes."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnet import Activation, NeuralNetwork, export_c
from xpnet.activations import ACTIVATIONS, relu
from xpnet.backends.compiled.c import CLines, literal
from xpnet.backends.compiled.fuse import fuse
from xpnet.backends.compiled.loops import Buffer
from xpnet.backends.compiled.lower import lower
from xpnet.backends.compiled.recorder import ELEMENTWISE, REDUCTIONS, Recorder

ROOT = Path(__file__).parent.parent
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
COMPILERS = {"gcc": ["gcc"], "clang": [sys.executable, "-m", "ziglang", "cc"]}  # Zig contains clang
MISSING = {
    "gcc": None if shutil.which("gcc") else "gcc is not installed",
    "clang": None if importlib.util.find_spec("ziglang") else "ziglang is not installed",
}
PRECISIONS = {"float64": 1e-14, "float32": 1e-6}
NUMBER = {"float64": ctypes.c_double, "float32": ctypes.c_float}


@pytest.fixture(params=COMPILERS)
def compiler(request):
    if MISSING[request.param]:
        pytest.skip(MISSING[request.param])
    return COMPILERS[request.param]


@pytest.fixture
def gcc():
    if MISSING["gcc"]:
        pytest.skip(MISSING["gcc"])
    return COMPILERS["gcc"]


@pytest.fixture(params=PRECISIONS)
def precision(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.c"


def built(compiler, path, *flags):
    """Return the library that a compiler makes of a source file."""
    library, compiled = path.with_suffix(".so"), path.with_suffix(".o")
    subprocess.run([*compiler, *FLAGS, *flags, "-O2", "-fPIC", "-c", path, "-o", compiled], check=True)
    subprocess.run(["gcc", "-shared", compiled, "-o", library, "-lm"], check=True)
    return ctypes.CDLL(library)


def computed(function, X, outputs):
    """Return the outputs of a C function for samples as rows."""
    y = np.full((len(X), outputs), np.nan, X.dtype)
    pointer = ctypes.POINTER(NUMBER[str(X.dtype)])
    for row, result in zip(np.ascontiguousarray(X), y, strict=True):
        function(row.ctypes.data_as(pointer), result.ctypes.data_as(pointer))
    return y


def assert_predicts(compiler, path, network, X):
    export_c(network, path)
    X = X.astype(network.dtype)
    y = computed(built(compiler, path).xpnet_predict, X, network.layer_list[-1])
    expected, tolerance = network.predict(X), PRECISIONS[network.dtype]
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * max(1.0, np.max(np.abs(expected))))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_exported_network_computes_what_predict_does(name, precision, compiler, path, rng):
    loss = "categorical_crossentropy" if name == "softmax" else "half_squared_error"
    network = NeuralNetwork([3, 7, 4], activations=[name, name], loss=loss, dtype=precision, seed=1)
    network.parameters = {key: value + 0.1 for key, value in network.parameters.items()}
    X = np.concat([rng.standard_normal((20, 3)), [[0.0, 0.0, 0.0], [50.0, -40.0, 30.0], [-500.0, 900.0, 0.0]]])
    assert_predicts(compiler, path, network, X)


@pytest.mark.parametrize("layer_list", [[1, 1], [1, 10, 10, 1], [20, 32, 32, 32, 5], [2, 1, 3]], ids=str)
def test_networks_of_any_size_are_exported(layer_list, precision, compiler, path, rng):
    network = NeuralNetwork(layer_list, dtype=precision, seed=0)
    assert_predicts(compiler, path, network, rng.standard_normal((10, layer_list[0])))


def test_a_trained_network_of_an_ensemble_is_exported(gcc, path):
    X = np.linspace(-2.0, 2.0, 50)[:, None]
    ensemble = NeuralNetwork([[1, 5, 1], [1, 8, 1]], ensemble=2, seed=0)
    ensemble.train(X, X**2 / 4, 0.1, epochs=5, verbose=False)
    with pytest.raises(ValueError, match=r"a single network, got an ensemble of 2; export network\.member\(i\)"):
        export_c(ensemble, path)
    assert_predicts(gcc, path, ensemble.member(0), X)


def test_custom_activations_are_exported_with_the_arrays_that_they_use(precision, compiler, path, rng):
    slopes = rng.standard_normal((6, 1)).astype(precision)
    by_unit = Activation(lambda xp, Z: xp.where(Z > 0, Z, xp.asarray(slopes) * Z), lambda xp, dA, Z, A: dA)
    centred = Activation(lambda xp, Z: Z - xp.mean(Z, axis=-2, keepdims=True), lambda xp, dA, Z, A: dA)
    network = NeuralNetwork([2, 6, 6, 2], activations=[by_unit, centred, "identity"], dtype=precision, seed=0)
    assert_predicts(compiler, path, network, rng.standard_normal((10, 2)))


def inputs(rng, precision):
    a, b = rng.uniform(0.1, 0.9, (2, 7)).astype(precision)
    a[1], b[1], a[2], b[3] = -0.0, 0.0, np.nan, np.nan
    return a, b


def test_every_function_that_can_be_recorded_is_printed(precision, compiler, path, rng):
    def functions(xp, a, b):
        results = [getattr(xp, name)(*(a, b)[:count]) for name, (count, kind) in ELEMENTWISE.items() if kind == "t"]
        truths = [a < b, a <= b, a > b, a >= b, a == b, a != b, xp.isnan(a), xp.isfinite(a), xp.isinf(1.0 / a)]
        truths += [xp.logical_and(a < b, b < 0.5), xp.logical_or(a < b, b < 0.5), xp.logical_not(a < b)]
        results += [xp.astype(truth, a.dtype) for truth in truths]
        results += [xp.where(a < b, a, b), xp.astype(xp.astype(a, xp.float32), a.dtype)]
        results += [xp.acosh(a + 1.0), a**-2.0, 1.0 / a, -a]
        return xp.concat(results)

    recorder = Recorder(precision)
    node = functions(recorder, recorder.input("a", (7,)), recorder.input("b", (7,))).node
    n = node.shape[0]
    buffers = {name: Buffer(name, 7, precision, "fixed") for name in "ab"}
    buffers["y"] = Buffer("y", n, precision, "result")
    program = fuse(lower(buffers, {"y": node}, recorder.constants))
    printer = CLines(program, lambda buffer, index: f"{buffer}[{index}]")
    lines = [line for nest in program.nests for line in printer.nest(nest)]
    type_ = {"float64": "double", "float32": "float"}[precision]
    signature = f"void f(const {type_} *x, {type_} *y);\nvoid f(const {type_} *x, {type_} *y)"
    split = f"    const {type_} *a = x, *b = x + 7;"
    headers = [f"#include <{name}.h>" for name in ("math", "stdbool", "stddef")]
    path.write_text("\n".join([*headers, signature, "{", split, *lines, "}", ""]))
    a, b = inputs(rng, precision)
    (y,) = computed(built(compiler, path).f, np.concat([a, b])[None, :], n)
    with np.errstate(all="ignore"):
        expected = functions(np, a, b)
    tolerance = 4 * np.finfo(precision).eps
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


def test_every_reduction_is_printed(precision, compiler, path, rng):
    def reductions(xp, x):
        every = [getattr(xp, name)(x, axis=0, keepdims=True) for name in REDUCTIONS if name not in ("any", "all")]
        every += [xp.astype(getattr(xp, name)(x > 0.5, axis=0, keepdims=True), x.dtype) for name in ("any", "all")]
        return xp.concat([xp.reshape(each, (-1,)) for each in every])

    recorder = Recorder(precision)
    node = reductions(recorder, recorder.input("x", (4, 3))).node
    buffers = {"x": Buffer("x", 12, precision, "fixed"), "y": Buffer("y", node.shape[0], precision, "result")}
    program = fuse(lower(buffers, {"y": node}, recorder.constants))
    type_ = {"float64": "double", "float32": "float"}[precision]
    arrays = [
        f"    {'bool' if each.dtype == 'bool' else type_} {each.name}[{each.size}];"
        for each in program.buffers.values()
        if each.kind == "scratch"
    ]
    printer = CLines(program, lambda buffer, index: f"{buffer}[{index}]")
    lines = [line for nest in program.nests for line in printer.nest(nest)]
    signature = f"void f(const {type_} *x, {type_} *y);\nvoid f(const {type_} *x, {type_} *y)"
    headers = [f"#include <{name}.h>" for name in ("math", "stdbool", "stddef")]
    path.write_text("\n".join([*headers, signature, "{", *arrays, *lines, "}", ""]))
    x = rng.uniform(0.1, 0.9, (4, 3)).astype(precision)
    x[2, 1] = np.nan
    (y,) = computed(built(compiler, path).f, x.reshape(1, -1), node.shape[0])
    np.testing.assert_allclose(y, reductions(np, x), rtol=4 * np.finfo(precision).eps)


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, -1e-45, 1.1754944e-38, 3.4028235e38, 16777217.0, 1e22, 1e-5])
def test_a_number_is_printed_with_the_digits_that_give_it_back(value, precision):
    number = np.dtype(precision).type(value)
    text = literal(float(number), precision).strip("()")
    assert text.endswith("f") == (precision == "float32")
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f?", text)
    read = np.dtype(precision).type(text.rstrip("f"))
    assert (read, np.signbit(read)) == (number, np.signbit(number))


def test_the_file_states_the_memory_that_it_takes(precision, path):
    network = NeuralNetwork([3, 20, 20, 2], dtype=precision, seed=0)
    export_c(network, path)
    source, itemsize = path.read_text(), np.dtype(precision).itemsize
    tables = [int(size) for size in re.findall(r"static const \w+ \w+\[(\d+)\]", source)]
    local = [int(size) for size in re.findall(r"^    \w+ \w+\[(\d+)\];", source, re.MULTILINE)]
    assert sum(tables) == network.theta.shape[0]
    assert f"{sum(tables) * itemsize:,} bytes of constant memory" in source
    assert f"{sum(local) * itemsize:,} bytes of the stack" in source
    assert sum(local) <= 2 * 20 * 2  # the outputs of two layers, before and after their activation
    assert set(re.findall(r"#include <(\w+)", source)) <= {"math", "stdbool", "stddef"}
    assert "alloc" not in source


def test_the_comment_describes_the_network(path):
    export_c(NeuralNetwork([3, 20, 2], activations=["tanh", "identity"], seed=0), path)
    comment = path.read_text().partition("*/")[0]
    assert all(text in comment for text in ("xpnet", "tanh", "identity", "half_squared_error", "122 in float64"))


def test_a_name_in_the_comment_cannot_end_it(compiler, path):
    def forward(xp, Z):
        return Z

    forward.__name__ = "*/ #error ??/\\"
    activation = Activation(forward, lambda xp, dA, Z, A: dA)
    assert_predicts(compiler, path, NeuralNetwork([1, 2, 1], activations=[activation, "identity"]), np.ones((1, 1)))


def test_several_networks_are_linked_under_other_names(compiler, tmp_path):
    networks = {name: NeuralNetwork([2, 3, 1], seed=seed) for seed, name in enumerate(("first", "second"))}
    X, compiled = np.asarray([[0.3, -0.7]]), []
    for name, network in networks.items():
        export_c(network, tmp_path / f"{name}.c")
        compiled.append(tmp_path / f"{name}.o")
        command = [*compiler, *FLAGS, f"-Dxpnet_predict={name}", "-O2", "-fPIC", "-c", tmp_path / f"{name}.c"]
        subprocess.run([*command, "-o", compiled[-1]], check=True)
    subprocess.run(["gcc", "-shared", *compiled, "-o", tmp_path / "both.so", "-lm"], check=True)
    library = ctypes.CDLL(tmp_path / "both.so")
    for name, network in networks.items():
        np.testing.assert_allclose(computed(getattr(library, name), X, 1), network.predict(X), rtol=1e-14)


def refused(xp, Z):
    return Z if float(Z[0, 0]) > 0 else -Z


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (refused, "the activation of layer 1, refused, must use only functions of the array API to be exported"),
        (lambda xp, Z: xp.fft.fft(Z), "must use only functions of the array API"),
        (lambda xp, Z: 1.0, "must return an array, got a float|must return an array, got float"),
        (lambda xp, Z: xp.sum(Z, axis=-2), r"must return the shape \(4, 1\)"),
    ],
)
def test_an_activation_that_cannot_be_recorded_is_refused(forward, message, path):
    network = NeuralNetwork([2, 4, 1], seed=0)
    activation = relu._replace(forward=forward)
    layers = network.parameters.layers()
    from xpnet.storage.c99 import c_source

    with pytest.raises(ValueError, match=message):
        c_source(layers, [activation, relu], "")


def test_only_networks_are_exported(path):
    with pytest.raises(TypeError, match=r"network must be a NeuralNetwork, got 'network\.c'; use export_c\(network"):
        export_c("network.c", path)
    assert not path.exists()


def test_the_example_of_the_guide_runs(gcc, tmp_path, monkeypatch, capfd):
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    python = next(block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "export_c(" in block)
    (main,) = re.findall(r"```c\n(.*?)```", guide, re.DOTALL)
    (command,) = re.findall(r"\$ (cc .*)", guide)
    (printed,) = re.findall(r"\$ \./sine\n(.*)", guide)
    monkeypatch.chdir(tmp_path)
    exec(python, {})
    Path("main.c").write_text(main)
    subprocess.run(command.replace("cc ", f"gcc {' '.join(FLAGS)} "), shell=True, check=True)
    capfd.readouterr()
    subprocess.run(["./sine"], check=True)
    assert capfd.readouterr().out.strip() == printed
