"""An exported model predicts in ONNX Runtime as the network does, and parts that cannot be exported raise errors."""

from __future__ import annotations

import functools
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import pytest

from xpnet import Activation, NeuralNetwork
from xpnet.activations import ACTIVATIONS, relu, sigmoid, tanh
from xpnet.core.parameters import Layout
from xpnet.core.propagation import forward
from xpnet.storage.onnx import write_onnx

LAYERS = [2, 5, 3]
TOLERANCES = {"float64": 1e-12, "float32": 1e-6}
ENSEMBLE_SHAPES = {"one network": (), "an ensemble": (4,), "an ensemble of one": (1,)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.onnx"


@pytest.fixture(params=TOLERANCES)
def precision(request):
    return request.param


def random_layers(rng, precision, ensemble_shape=()):
    layout = Layout(LAYERS)
    return layout.layers(np, rng.standard_normal((*ensemble_shape, layout.size)).astype(precision))


def run(path, X):
    """Return the outputs of ONNX Runtime for samples as rows; it warns if a shape differs from the declared one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"X": X})
    return y


def assert_equal_outputs(path, X, layers, activations, atol=None):
    with np.errstate(over="ignore", under="ignore"):
        expected = forward(np, X.T, layers, activations)[0].mT
    y = run(path, X)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    # The error of exp grows with its argument.
    tolerance = TOLERANCES[str(X.dtype)] * (10 if ACTIVATIONS["exp"] in activations else 1)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance if atol is None else atol)


def sizes(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("ensemble_shape", ENSEMBLE_SHAPES.values(), ids=ENSEMBLE_SHAPES)
def test_a_model_predicts_like_the_network(name, ensemble_shape, precision, path, rng):
    layers, activations = random_layers(rng, precision, ensemble_shape), [ACTIVATIONS[name]] * 2
    write_onnx(path, layers, activations)
    onnx.checker.check_model(path, full_check=True)
    for samples in (1, 2, 100):
        X = rng.standard_normal((samples, 2)).astype(precision)
        assert_equal_outputs(path, X, layers, activations)
    assert run(path, X[:0]).shape == (*ensemble_shape, 0, 3)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_model_predicts_like_the_network_for_extreme_inputs(name, precision, path):
    """The model guards against overflow in its own precision; small outputs are as exact as large ones."""
    layers = [(np.ones((1, 1), precision), np.zeros((1, 1), precision))]
    half = [1e-30, 1e-8, 1e-3, 20, 88.5, 200, 709.5, 1e4, 1e30, np.finfo(precision).max]
    X = np.array([*(-z for z in half), 0, *half], precision)[:, None]
    write_onnx(path, layers, [ACTIVATIONS[name]])
    assert_equal_outputs(path, X, layers, [ACTIVATIONS[name]], atol=np.finfo(precision).tiny)


def test_an_exported_classifier_predicts_like_the_network(path, rng):
    X = rng.standard_normal((60, 2))
    network = NeuralNetwork(
        [2, 8, 8, 3], activations=["relu", "silu", "softmax"], loss="categorical_crossentropy", seed=0
    )
    network.train(X, np.argmax(X @ rng.standard_normal((2, 3)), axis=1), 0.1, epochs=3, verbose=False)
    write_onnx(path, network.parameters.layers(), network.activations)
    np.testing.assert_allclose(run(path, X), network.predict(X), rtol=1e-12)


@pytest.mark.parametrize("ensemble_shape", ENSEMBLE_SHAPES.values(), ids=ENSEMBLE_SHAPES)
@pytest.mark.parametrize("name", ["tanh", "softmax"])
def test_a_model_declares_its_producer_shapes_and_types(name, ensemble_shape, precision, path, rng):
    write_onnx(path, random_layers(rng, precision, ensemble_shape), [relu, ACTIVATIONS[name]])
    model = onnx.load(path)
    assert (model.producer_name, model.producer_version) == ("xpnet", version("xpnet"))
    (X,), (y,) = model.graph.input, model.graph.output
    assert (X.name, sizes(X)) == ("X", ["N", 2])
    assert (y.name, sizes(y)) == ("y", [*ensemble_shape, "N", 3])
    for value in (X, y):
        assert onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) == precision


def test_a_model_has_one_product_for_each_layer_and_no_branches(path, rng):
    write_onnx(path, random_layers(rng, "float32"), [relu, tanh])
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert (operators.count("MatMul"), operators.count("Transpose"), operators.count("If")) == (2, 2, 0)


def scaled(xp, Z, scale):
    return scale * xp.where(xp.abs(Z) > 1, xp.sign(Z), Z)


def hermite(xp, Z):
    coefficients = xp.asarray([0.5, -1.0, 0.25], dtype=Z.dtype)
    A = xp.zeros_like(Z)
    for i in range(3):
        A = A * Z + coefficients[i]
    return A / (1.0 + xp.mean(A, axis=-2, keepdims=True) ** 2)


@pytest.mark.parametrize("function", [scaled, hermite], ids=lambda function: function.__name__)
def test_a_custom_activation_is_exported(function, precision, path, rng):
    formula = functools.partial(function, scale=1.5) if function is scaled else function
    layers, activations = random_layers(rng, precision), [Activation(formula, None), sigmoid]
    write_onnx(path, layers, activations)
    onnx.checker.check_model(path, full_check=True)
    assert_equal_outputs(path, rng.standard_normal((7, 2)).astype(precision), layers, activations)


def unknown(xp, Z):
    return xp.erf(Z)


def foreign(xp, Z):
    return np.tanh(Z)


def branching(xp, Z):
    return Z if xp.any(Z > 0) else 2.0 * Z


def counting(xp, Z):
    return Z * xp.ones(Z.shape)


@pytest.mark.parametrize(("activation", "cause"), [
    (unknown, "AttributeError: .* has no attribute .erf"),
    (foreign, "TypeError: "),
    (branching, "ValueError: "),
    (counting, "[A-Za-z]+Error: "),
    (functools.partial(unknown), "AttributeError: "),
])  # fmt: skip
def test_an_activation_that_cannot_be_exported_is_named(activation, cause, path, rng):
    name = getattr(activation, "__name__", "functools.partial.*unknown.*")
    with pytest.raises(
        ValueError, match=rf"activation of layer 2, {name}, must .* to be exported.*, got {cause}"
    ) as info:
        write_onnx(path, random_layers(rng, "float64"), [relu, Activation(activation, None)])
    assert isinstance(info.value.__cause__, Exception)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("activation", "says"), [
    (lambda xp, Z: None, "an array, got NoneType"),
    (lambda xp, Z: np.ones((5, 1)), "an array, got ndarray"),
    (lambda xp, Z: xp.astype(Z, xp.float32), r"the shape \(5, None\) and the dtype .*loat64 .* and .*loat32"),
    (lambda xp, Z: Z[:2, :], r"the shape \(5, None\) and .*, got \(2, None\) and"),
    (lambda xp, Z: xp.sum(Z), r"the shape \(5, None\) and .*, got \(\) and"),
])  # fmt: skip
def test_an_activation_with_an_invalid_result_is_named(activation, says, path, rng):
    with pytest.raises(ValueError, match=f"activation of layer 1, <lambda>, must return {says}"):
        write_onnx(path, random_layers(rng, "float64"), [Activation(activation, None), tanh])
    assert list(path.parent.iterdir()) == []


def test_the_error_for_a_missing_library_names_the_package_to_install(path, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    with pytest.raises(ImportError, match=r'ONNX export needs ndonnx: pip install "xpnet\[onnx\]"'):
        write_onnx(path, random_layers(rng, "float64"), [relu, tanh])
    assert list(path.parent.iterdir()) == []


def test_export_needs_no_runtime(path):
    """Importing xpnet does not load the libraries of the export, and repeated exports are bit-identical."""
    program = f"""
import sys
import numpy as np
from xpnet import NeuralNetwork
from xpnet.storage.onnx import write_onnx
assert not {{"ndonnx", "spox", "onnx"}} & set(sys.modules)
sys.modules["onnxruntime"] = None
network = NeuralNetwork({LAYERS}, activations=["gelu", "softmax"], loss="categorical_crossentropy", seed=0)
write_onnx({str(path)!r}, network.parameters.layers(), network.activations)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    content = path.read_bytes()
    network = NeuralNetwork(LAYERS, activations=["gelu", "softmax"], loss="categorical_crossentropy", seed=0)
    write_onnx(path, network.parameters.layers(), network.activations)
    assert path.read_bytes() == content


def test_the_error_for_a_missing_folder_names_it(path, rng):
    with pytest.raises(FileNotFoundError, match=r"path must be in an existing folder, got .*network\.onnx"):
        write_onnx(path.parent / "missing" / path.name, random_layers(rng, "float64"), [relu, tanh])
    assert list(path.parent.iterdir()) == []


def test_a_path_that_is_a_folder_is_refused(path, rng):
    with pytest.raises(IsADirectoryError, match="path must be a file, got the folder"):
        write_onnx(path.parent, random_layers(rng, "float64"), [relu, tanh])


def test_a_failed_write_keeps_the_old_file(path, rng, monkeypatch):
    path.write_bytes(b"the old one")

    def full(descriptor):
        raise OSError("no space left")  # noqa: EM101

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_onnx(path, random_layers(rng, "float64"), [relu, tanh])
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"the old one"
