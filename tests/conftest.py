"""Fixtures for every backend: a test with a `backend`, `xp` or `dtype` fixture runs on all of them.

pytest                    every available backend; the summary lists the unavailable ones, and why
pytest --backend cupy     this backend only; an error if it is unavailable
pytest --slow             also the tests that take a minute each
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
settings.register_profile("xpnet", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xpnet")


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
    Case("cupy", "cuda", "float64"),
    Case("cupy", "cuda", "float32"),
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
    parser.addoption("--slow", action="store_true", help="also run the tests that take a minute each")


def pytest_configure(config):
    config.addinivalue_line("markers", "float64: the test needs double precision")
    config.addinivalue_line("markers", "numpy_only: the test is for NumPy arrays only")
    config.addinivalue_line(
        "markers", "once: the test does not depend on the backend; not run for other ones than NumPy"
    )
    config.addinivalue_line("markers", "slow: the test takes a minute; run with --slow, as nox does")
    config.addinivalue_line("markers", "not_numpy: the test is for arrays of other libraries than NumPy")
    requested = config.getoption("--backend")
    config.unavailable = {
        library: why for library in [requested] * bool(requested) or LIBRARIES if (why := unavailable_reason(library))
    }
    if requested and config.unavailable:
        msg = f"--backend {requested}: {config.unavailable[requested]}"
        raise pytest.UsageError(msg)
    config.cases = [
        case for case in CASES if case.library not in config.unavailable and requested in (None, case.library)
    ]


def pytest_collection_modifyitems(config, items):
    left_out = [] if config.getoption("--slow") else ["slow"]
    left_out += [] if config.getoption("--backend") in (None, "numpy") else ["once"]
    deselected = [item for item in items if any(map(item.get_closest_marker, left_out))]
    items[:] = [item for item in items if item not in deselected]
    config.hook.pytest_deselected(items=deselected)


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        excludes = {
            "float64": lambda case: case.dtype != "float64",
            "numpy_only": lambda case: case.library != "numpy",
            "not_numpy": lambda case: case.library == "numpy",
        }
        marked = [exclude for mark, exclude in excludes.items() if metafunc.definition.get_closest_marker(mark)]
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
