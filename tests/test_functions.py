"""exp and its kin are right to 3 units in the last place, for every argument."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
from xpnet.backends.compiled.cache import load
from xpnet.backends.compiled.functions import FUNCTIONS

SPECIAL = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.0,
    0.5,
    2.0,
    100.0,
    -100.0,
    5e-324,
    -5e-324,
    1e-45,
    1e-310,
    1e-40,
]
# Where exp overflows, becomes subnormal, and becomes 0, in both types.
SPECIAL += [709.78, 709.79, -708.4, -745.1, -745.2, 88.72, 88.73, -87.34, -103.97, -104.0]


def arguments(dtype):
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    whole = {"float64": "int64", "float32": "int32"}[dtype]
    limits = np.iinfo(whole)
    samples = [
        rng.integers(limits.min, limits.max, 100_000, whole, endpoint=True).view(dtype),  # any bits
        rng.uniform(-30.0, 30.0, 100_000),
        rng.uniform(-760.0, 760.0, 50_000),
        rng.standard_normal(50_000) * 10.0 ** rng.uniform(-12.0, 0.0, 50_000),
        rng.uniform(0.7, 1.5, 50_000),
        rng.uniform(-1.0, 1.0, 10_000) * float(info.smallest_normal),
        SPECIAL,
    ]
    with np.errstate(all="ignore"):
        return np.concatenate([np.asarray(each).astype(dtype) for each in samples])


@pytest.fixture(scope="module")
def apply_all():
    """Return a function that applies all functions of a type, compiled together."""
    kernels = {}

    def apply(dtype, x):
        if dtype not in kernels:
            names = [name for name in FUNCTIONS if name.endswith(dtype)]
            lines = [f"        out[{row}, i] = {name}(x[i])" for row, name in enumerate(names)]
            text = [
                "from numba import njit",
                f"from xpnet.backends.compiled.functions import {', '.join(names)}",
                '@njit(nogil=True, error_model="numpy", cache=True)',
                "def kernel(x, out):",
                "    for i in range(x.size):",
                *lines,
                "",
            ]
            kernels[dtype] = names, load("\n".join(text), (x[:0], np.zeros((1, 1), dtype)))
        names, kernel = kernels[dtype]
        out = np.empty((len(names), x.size), dtype)
        kernel(x, out)
        return dict(zip((name.partition("_")[0] for name in names), out, strict=True))

    return apply


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_are_right_to_3_units_in_the_last_place(dtype, apply_all):
    if np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("no type of more precision")
    x = arguments(dtype)
    results = apply_all(dtype, x)
    assert set(results) == {"exp", "expm1", "log", "log1p", "tanh"}
    with np.errstate(all="ignore"):
        for name, result in results.items():
            exact = getattr(np, name)(x.astype(np.longdouble))
            rounded = exact.astype(dtype)
            finite = np.isfinite(rounded) & np.isfinite(result)
            units = np.abs(result.astype(np.longdouble) - exact) / np.spacing(np.abs(rounded)).astype(np.longdouble)
            assert units[finite].max() < 3.0, (name, x[finite][units[finite].argmax()])
            for other in (np.isnan, np.isposinf, np.isneginf):
                np.testing.assert_array_equal(x[other(rounded)], x[other(result)], err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_keep_the_sign_of_zero(dtype, apply_all):
    zeros = np.array([0.0, -0.0], dtype)
    results = apply_all(dtype, zeros)
    for name in ("expm1", "log1p", "tanh"):
        np.testing.assert_array_equal(results[name], zeros)
        np.testing.assert_array_equal(np.signbit(results[name]), np.signbit(zeros), err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tanh_stays_within_its_bounds_and_is_odd(dtype, apply_all):
    x = arguments(dtype)
    x = x[~np.isnan(x)]
    tanh, negative = apply_all(dtype, x)["tanh"], apply_all(dtype, -x)["tanh"]
    assert np.abs(tanh).max() <= 1.0
    np.testing.assert_array_equal(tanh, -negative)
