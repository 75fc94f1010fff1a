"""Fixtures for every backend: a test with a `backend`, `xp` or `dtype` fixture runs on all of them.

pytest                    every available backend; the summary lists the unavailable ones, and why
pytest --backend torch    this backend only, and no tests that are the same for all; an error if it is unavailable
pytest --slow             also the tests that take a minute each, and on JAX all tests
"""

from __future__ import annotations

import os
from typing import NamedTuple

import cuda_on_host
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from xpnet import DeviceUnavailable, get_backend
from xpnet.backends import load_backend

mpl.use("agg")
os.environ["SCIPY_ARRAY_API"] = "1"  # else scikit-learn's checks of arrays are skipped; before SciPy is imported
os.environ.setdefault("JAX_ENABLE_X64", "1")  # before JAX is imported: by default it has no double precision
for profile, max_examples in {"xpnet": 30, "jax": 5}.items():
    settings.register_profile(
        profile, deadline=None, max_examples=max_examples, suppress_health_check=[HealthCheck.too_slow]
    )


class Case(NamedTuple):
    library: str
    device: str
    dtype: str

    def __str__(self) -> str:
        return "-".join(self)


CASES = [
    Case("numpy", "cpu", "float64"),
    Case("numpy", "cpu", "float32"),
    Case("array_api_strict", "cpu", "float64"),
    Case("array_api_strict", "device1", "float64"),
    Case("array_api_strict", "device1", "float32"),
    Case("array_api_strict", "no_float64", "float32"),
    Case("array_api_strict", "no_x64", "float32"),
    Case("torch", "cpu", "float64"),
    Case("torch", "cpu", "float32"),
    Case("jax", "cpu", "float64"),
    Case("jax", "cpu", "float32"),
    Case("cupy", "cuda", "float64"),
    Case("cupy", "cuda", "float32"),
]
# The modules whose tests run on JAX without --slow, the first ones in both precisions: its own, and the mathematics.
JAX_IN_BOTH = ["test_jax", "test_backends", "test_document"]
JAX = [
    *("test_activations", "test_losses", "test_optimizers", "test_regularization", "test_propagation", "test_step"),
    *("test_epochs", "test_loop", "test_schedules", "test_members", "test_samples", "test_metrics", "test_parameters"),
    *("test_gradient_check", "test_predictor", "test_network"),
]
LIBRARIES = list(dict.fromkeys(case.library for case in CASES))


def unavailable_reason(library: str) -> str | None:
    """Return why a library is unavailable here, or None if it is available."""
    try:
        backend = load_backend(library)
        backend.open(backend.devices()[0])
    except DeviceUnavailable as error:
        return str(error)
    return None


def pytest_addoption(parser):
    parser.addoption("--backend", choices=LIBRARIES, help="test this backend only; an error if it is unavailable")
    parser.addoption("--slow", action="store_true", help="also run what takes long: tests of a minute, and JAX's")


def pytest_configure(config):
    config.addinivalue_line("markers", "float64: the test needs double precision")
    config.addinivalue_line("markers", "numpy_only: the test is for NumPy arrays only")
    config.addinivalue_line("markers", "slow: the test takes a minute; run with --slow, as nox does")
    config.addinivalue_line("markers", "not_numpy: the test is for arrays of other libraries than NumPy")
    config.addinivalue_line("markers", "only(library): the test is for arrays of one library")
    requested = config.getoption("--backend")
    config.unavailable = {
        library: why for library in [requested] * bool(requested) or LIBRARIES if (why := unavailable_reason(library))
    }
    if requested and config.unavailable:
        msg = f"--backend {requested}: {config.unavailable[requested]}"
        raise pytest.UsageError(msg)
    few = requested == "jax" and not config.getoption("--slow")  # each example is compiled
    settings.load_profile("jax" if few else "xpnet")
    config.cases = [
        case for case in CASES if case.library not in config.unavailable and requested in (None, case.library)
    ]


def pytest_collection_modifyitems(config, items):
    left_out = {item for item in items if is_left_out(item, config.getoption("--backend"), config.getoption("--slow"))}
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def is_left_out(item, requested, slow):
    """Return whether a test takes too long, or is run on NumPy, because it is the same for all backends."""
    if not slow and item.get_closest_marker("slow"):
        return True
    if "case" not in item.fixturenames:
        # scikit-learn's checks of estimators use the arrays of all libraries that are installed.
        also = ["torch"] * (item.path.stem == "test_estimator_checks")
        return requested not in (None, "numpy", "cupy", *also)
    case = item.callspec.params.get("case")
    # JAX compiles each operation for each shape, which takes nearly all the time of a test.
    return not slow and getattr(case, "library", None) == "jax" and not runs_on_jax(item.path.stem, case.dtype)


def runs_on_jax(module, dtype):
    return module in JAX_IN_BOTH or (module in JAX and dtype == "float64")


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        excludes = {
            "float64": lambda case: case.dtype != "float64",
            "numpy_only": lambda case: case.library != "numpy",
            "not_numpy": lambda case: case.library == "numpy",
        }
        marked = [exclude for mark, exclude in excludes.items() if metafunc.definition.get_closest_marker(mark)]
        if only := metafunc.definition.get_closest_marker("only"):
            marked.append(lambda case: case.library != only.args[0])
        cases = [case for case in metafunc.config.cases if not any(exclude(case) for exclude in marked)]
        metafunc.parametrize("case", cases, ids=str, scope="session")


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("backends")
    for library in dict.fromkeys(case.library for case in config.cases):
        cases = ", ".join(f"{c.device} {c.dtype}" for c in config.cases if c.library == library)
        terminalreporter.line(f"{library}: tested on {cases}")
    for library, reason in config.unavailable.items():
        terminalreporter.line(f"{library}: NOT TESTED, {reason}")
    terminalreporter.line(f"CUDA kernels: {cuda_on_host.summary()}")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep compiled kernels apart from the user's, for all processes of one run together."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPNET_CACHE_DIR", str(folder / "kernels"))
        yield folder / "kernels"


@pytest.fixture(scope="session")
def backend(case):
    return get_backend(case.device, name=case.library)


@pytest.fixture(scope="session")
def xp(backend):
    return backend.xp


@pytest.fixture(scope="session")
def dtype(case):
    return case.dtype


@pytest.fixture(scope="session")
def array(backend, dtype):
    """Make an array of the backend under test from a copy of host data."""
    return lambda x: backend.asarray(np.array(x, dtype=dtype))


@pytest.fixture(scope="session")
def assert_close(backend, dtype):
    """Compare an array with host data: its library, device, type, shape and values."""
    tolerances = {"float64": 1e-12, "float32": 2e-5}

    def check(actual, expected, rtol=None, atol=None):
        expected = np.asarray(expected)
        assert type(backend).of(actual) == backend
        assert str(actual.dtype).endswith(dtype)
        assert tuple(actual.shape) == expected.shape
        tolerance = tolerances[dtype]
        np.testing.assert_allclose(
            backend.to_numpy(actual),
            expected,
            rtol=tolerance if rtol is None else rtol,
            atol=tolerance if atol is None else atol,
        )

    return check


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def sine():
    """Return the sine of the notebook *Neural Network From Scratch*, called "the document" here (see README).

    X is standardized, y is between 0 and 1, and both have the shape (500, 1, 1).
    """
    x = np.linspace(-2 * np.pi, 2 * np.pi, 500).reshape(500, 1, 1)
    return (x - x.mean()) / x.std(), 0.5 * (np.sin(x) + 1)
