"""Loops compute what was recorded, as few of them as possible; printed, they take the same steps as NumPy."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from interpreted import assert_computed, interpreted, lanes_for_few, recorded, run, without_numba

from xpnet import get_backend
from xpnet._types import State
from xpnet.activations import ACTIVATIONS
from xpnet.backends.compiled.cpu import LANES, source
from xpnet.backends.compiled.cpu_compiler import Compiler
from xpnet.backends.compiled.fuse import jam
from xpnet.backends.compiled.loops import Index, Nest, Product, Reduce, Store
from xpnet.backends.compiled.recording import Layout as PrintLayout
from xpnet.core.epochs import Batches, Masks, NetworkChunk
from xpnet.core.parameters import Layout
from xpnet.core.regularization import regularized
from xpnet.core.step import make_step
from xpnet.data.samples import Samples
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS

__all__ = ["lanes_for_few", "without_numba"]
SEED = 1  # with 0 all units of one relu network are off
BACKEND = get_backend("cpu")
RANDOM = ("order", "masks")
MANY = {"float64": 16, "float32": 8}  # networks from which kernels use lanes


# ---- Steps


def assert_same_epoch(
    *,
    sizes=(2, 3, 2),
    activation="tanh",
    loss="half_squared_error",
    optimizer="sgd",
    dtype="float64",
    networks=None,
    N=1,
    m=1,
    own=(),
    dropout=(),
    weighted=False,
    shuffled=False,
    factors=None,
    **strengths,
):
    """Train for an epoch with and without a kernel, from the same state, and compare.

    `own` names what differs between networks: "data", "order", "masks", "rates", "strengths".
    """
    rng, layout = np.random.default_rng(SEED), Layout(list(sizes))
    E = () if networks is None else (networks,)

    def of(name):
        return E if name in own else ()

    theta = 0.5 * rng.standard_normal((*E, layout.size)).astype(dtype)
    # Targets on both sides of the outputs: no gradient is 0 but for rounding, which Adam would magnify.
    Y = 0.1 * rng.random((*of("data"), N, sizes[-1])) + 0.9 * (np.arange(sizes[-1]) % 2)
    samples = Samples(
        BACKEND,
        dtype,
        rng.standard_normal((*of("data"), N, sizes[0])).astype(dtype),
        Y.astype(dtype),
        rng.uniform(0.5, 1.5, (N, 1)).astype(dtype) if weighted else None,
    )
    rates = rng.uniform(0.005, 0.02, (*E, 1)) if "rates" in own else np.full((*E, 1) if E else (), 0.01)
    strengths = {
        name: np.asarray(rng.uniform(0.5 * value, value, (*E, 1)), dtype) if "strengths" in own else value
        for name, value in strengths.items()
    }
    if strengths:
        strengths["mask"] = layout.weights_mask(np)
    keys = {name: rng.integers(2**32, size=(networks if name in own else 1, 2), dtype="uint32") for name in RANDOM}
    masks = Masks(keys["masks"], list(zip(sizes[1:-1], dropout, strict=True))) if dropout else None
    options = {"order_keys": keys["order"] if shuffled else None, "masks": masks, "regularization": strengths}
    batches = Batches(samples, np.asarray(rates, dtype), m, **options)
    parts = [ACTIVATIONS[activation]] * (len(sizes) - 1), LOSSES[loss], OPTIMIZERS[optimizer]
    step = make_step(np, layout, *parts, dropout)
    chunks = []
    with BACKEND.on_device():
        for compiler in (None, Compiler(n_threads=1)):
            state = State(theta.copy(), OPTIMIZERS[optimizer].init(np, theta))
            compiled = compiler and compiler.compile(step, state, batches)
            chunks.append(NetworkChunk(BACKEND, step, batches, state, compiled=compiled))
            chunks[-1].train(range(3, 4), factors)
    eager, compiled = chunks
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    for one, other in zip(compiled.state.optimizer_state, eager.state.optimizer_state, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert (compiled.state.theta.dtype, compiled.losses.dtype) == (dtype, dtype)
    assert np.isfinite(eager.state.theta).all()
    assert not np.array_equal(eager.state.theta, theta)
    close(compiled.state.theta, eager.state.theta, tolerance)
    close(compiled.losses, eager.losses, tolerance)


def close(actual, expected, tolerance):
    """Assert that arrays agree, relative to the largest number."""
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance * max(np.abs(expected).max(), 1.0))


pytestmark = pytest.mark.usefixtures("without_numba")
one_or_many = pytest.mark.parametrize("lanes", [False, True], ids=["one network", "lanes"])
precision = pytest.mark.parametrize("dtype", ["float64", "float32"])


@precision
@one_or_many
@pytest.mark.parametrize("m", [1, 5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_with_every_activation_and_loss_equals_numpys(activation, m, lanes, dtype):
    """Each with another optimizer in turn."""
    start = list(ACTIVATIONS).index(activation) + m
    for number, loss in enumerate(LOSSES, start):
        optimizer = list(OPTIMIZERS)[number % len(OPTIMIZERS)]
        networks = MANY[dtype] if lanes else None
        assert_same_epoch(
            activation=activation, loss=loss, optimizer=optimizer, N=m, m=m, networks=networks, dtype=dtype
        )


STRENGTHS = {"weight_decay": 0.1, "l1": 0.01, "l2": 0.1, "clip_norm": 0.1}
OPTIONS = {
    "dropout": {"sizes": (2, 4, 3, 2), "dropout": (0.5, 0.0)},
    "dropout in every layer": {"sizes": (2, 4, 3, 2), "dropout": (0.5, 0.25)},
    "sample weights": {"weighted": True},
    **{name: {name: value} for name, value in STRENGTHS.items()},
    "all regularization": STRENGTHS,
    "all options": {"sizes": (2, 4, 3, 2), "dropout": (0.5, 0.0), "weighted": True, **STRENGTHS},
    "wide layers": {"sizes": (2, 19, 18, 2), "m": 3, "N": 3},
    "one layer": {"sizes": (3, 2)},
    "single units": {"sizes": (1, 1, 1)},
}


@precision
@one_or_many
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_step_with_every_option_equals_numpys(options, lanes, dtype):
    networks = MANY[dtype] if lanes else 2
    assert_same_epoch(**{"N": 5, "m": 5, "optimizer": "adam", **options}, networks=networks, dtype=dtype)


OWN = {
    "the same for all": (),
    "data of its own": ("data",),
    "an order of its own": ("order",),
    "masks of its own": ("masks",),
    "rates of its own": ("rates",),
    "strengths of its own": ("strengths",),
    "everything of its own": ("data", "order", "masks", "rates", "strengths"),
}


@one_or_many
@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "shuffled"])
def test_an_epoch_of_networks_that_share_all_or_nothing_equals_numpys(shuffled, own, lanes):
    """The last batch is smaller."""
    options = {"N": 7, "m": 3, "shuffled": shuffled, "own": own, "networks": 17 if lanes else 3}
    assert_same_epoch(**options, l2=0.1, optimizer="momentum", sizes=(2, 4, 3, 2), dropout=(0.5, 0.0), weighted=True)


@pytest.mark.parametrize("each", [False, True], ids=["for all", "for each network"])
def test_the_factors_of_a_schedule_belong_to_their_steps(each):
    factors = np.linspace(0.5, 2.0, 4)[:, None] * np.linspace(1.0, 2.0, 3)
    assert_same_epoch(N=7, m=2, networks=3, factors=factors if each else factors[:, 0])


@pytest.mark.parametrize("blas_threshold", [0, 10])
def test_a_step_with_matrix_products_equals_numpys(blas_threshold, monkeypatch):
    monkeypatch.setattr("xpnet.backends.compiled.cpu_compiler.BLAS_THRESHOLD", blas_threshold)
    assert_same_epoch(sizes=(3, 4, 5, 2), N=6, m=6, networks=2, optimizer="adam")


def test_clipping_survives_gradients_below_the_smallest_normal_number():
    clipped = regularized(OPTIMIZERS["sgd"], np.ones(3, bool), clip_norm=1.0)
    tiny = np.array([1e-310, -3e-310, 0.0])
    assert_computed(lambda xp, theta, dtheta: [clipped.update(xp, theta, dtheta, (), 1.0)[0]], np.ones(3), tiny)


# ---- Random programs


def random_function(seed, *, in_place):
    """Return a function that applies random operations to its arrays."""

    def function(xp, *arrays):
        choose = random.Random(seed)
        pool = list(arrays)
        for _ in range(choose.randint(3, 14)):
            new = random_operation(xp, choose, pool)
            if choose.random() < 0.15 and new.dtype != bool:
                new = new * 1.0
                new += xp.sum(new)
            if 0 < math.prod(new.shape) <= 400:
                pool.append(new)
        if in_place:
            return [choose.choice([x for x in pool if (x.shape, x.dtype) == (a.shape, a.dtype)]) for a in arrays]
        return [*choose.sample(pool, min(len(pool), 4)), pool[-1]]

    return function


def random_operation(xp, choose, pool):
    a = choose.choice(pool)
    is_bool = a.dtype == bool
    like = [b for b in pool if (b.dtype == bool) == is_bool]
    kind = choose.choice(["unary", "binary", "binary", "reduce", "permute", "reshape", "slice", "concat", "matmul"])
    if kind == "unary":
        names = ["logical_not"] if is_bool else ["abs", "tanh", "negative", "sign", "square", "floor", "atan", "isnan"]
        return getattr(xp, choose.choice(names))(a)
    if kind == "binary":
        fits = [b for b in like if fit(a.shape, b.shape)]
        if is_bool:
            return getattr(xp, choose.choice(["logical_and", "logical_or"]))(a, choose.choice(fits))
        name = choose.choice(["add", "subtract", "multiply", "maximum", "minimum", "less", "equal", "hypot"])
        return getattr(xp, name)(a, choose.choice([*fits, choose.choice([0.0, 1.0, -0.5, math.inf])]))
    if kind == "reduce" and not is_bool:
        axes = tuple(i for i in range(a.ndim) if choose.random() < 0.5) or None
        return getattr(xp, choose.choice(["sum", "max", "min", "mean"]))(a, axis=axes, keepdims=choose.random() < 0.6)
    if kind == "permute":
        return xp.permute_dims(a, tuple(choose.sample(range(a.ndim), a.ndim)))
    if kind == "reshape":
        return xp.reshape(a, (a.shape[0] * a.shape[1], *a.shape[2:]) if a.ndim > 1 else (1, *a.shape))
    if kind == "slice":
        parts = (slice(None), slice(None, None, -1), slice(1, None), slice(None, None, 2), 0)
        return a[tuple(choose.choice(parts if n > 1 else parts[:2]) for n in a.shape)]
    if kind == "concat" and a.ndim:
        axis = choose.randrange(a.ndim)
        fits = [b for b in like if b.shape[:axis] + b.shape[axis + 1 :] == a.shape[:axis] + a.shape[axis + 1 :]]
        fits = [b for b in fits if b.ndim == a.ndim]
        return xp.concat([a, choose.choice(fits), choose.choice(fits)], axis=axis)
    pairs = [(x, y) for x in like for y in like if x.ndim == y.ndim == 2 and x.shape[1] == y.shape[0] and not is_bool]
    return xp.matmul(*choose.choice(pairs)) if pairs else xp.where(a > 0.1, a, 1.0)


def fit(*shapes):
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


@pytest.mark.parametrize("in_place", [False, True], ids=["into other arrays", "in place"])
def test_random_functions_give_the_same_in_loops_as_in_numpy(in_place):
    shapes = [(3, 4), (4, 3), (1, 4), (3, 1), (20, 3), (4,), ()]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        arrays = [rng.standard_normal(shape) for shape in random.Random(seed).sample(shapes, 4)]
        arrays.append(rng.random((3, 4)) > 0.5)
        assert_computed(random_function(seed, in_place=in_place), *arrays, in_place=in_place)


# ---- Fewer loops


def nests(program):
    """Return the nests but for that of the loss."""
    return [nest for nest in program.nests if isinstance(nest, Product) or nest.variables]


def scratch(program):
    return [name for name, buffer in program.buffers.items() if buffer.kind == "scratch"]


def test_elementwise_operations_are_one_loop_without_arrays_between(rng):
    x = rng.standard_normal((3, 4))
    program, _ = recorded(lambda xp, x, y: [xp.exp(x) * y + 1.0, xp.tanh(x) - xp.exp(x)], x, x)
    assert len(nests(program)) == 1
    assert not scratch(program)


def test_what_is_costly_and_used_twice_is_computed_once(rng):
    x = rng.standard_normal((3, 4))
    program, expected = recorded(lambda xp, x: [xp.sum(xp.exp(x), axis=0), xp.sum(xp.exp(x), axis=1)], x)
    assert str(program).count("exp(") == 1
    for result, right in zip(run(program, [x], expected), expected, strict=True):
        close(result, right, 1e-12)


def test_what_is_not_used_is_not_computed(rng):
    def function(xp, x):
        xp.exp(x)
        return [x + 1.0]

    assert "exp" not in str(recorded(function, rng.standard_normal((3, 4)))[0])


@pytest.mark.parametrize(("blas_threshold", "expected"), [(60, True), (61, False)])
def test_large_products_of_matrices_are_left_to_a_library(blas_threshold, expected, rng):
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((5, 4))
    program, right = recorded(lambda xp, a, b: [a @ b.mT], a, b, blas_threshold=blas_threshold)
    assert any(isinstance(nest, Product) for nest in program.nests) == expected
    close(run(program, [a, b], right)[0], right[0], 1e-12)


def test_a_product_with_a_column_is_never_left_to_a_library(rng):
    program, _ = recorded(lambda xp, a, b: [a @ b], rng.random((30, 40)), rng.random((40, 1)), blas_threshold=0)
    assert not any(isinstance(nest, Product) for nest in program.nests)


def test_an_array_that_is_overwritten_keeps_what_is_still_read(rng):
    x, y = rng.standard_normal((2, 6))
    assert_computed(lambda xp, x, y: [y, x], x, y, in_place=True)
    assert_computed(lambda xp, x: [x[::-1]], x, in_place=True)
    assert_computed(lambda xp, x, y: [x + y[::-1], y + x[::-1]], x, y, in_place=True)
    assert_computed(lambda xp, x: [xp.concat([x[3:], x[:3]])], x, in_place=True)


def test_loops_do_not_join_if_one_reads_elsewhere_what_the_other_writes(rng):
    x = rng.standard_normal((4, 4))
    program, _ = recorded(lambda xp, x: [xp.exp(x), xp.exp(x).mT * 2.0], x, fused=False)
    assert_computed(lambda xp, x: [xp.exp(x), xp.exp(x).mT * 2.0], x)
    assert all(isinstance(nest, Nest) for nest in program.nests)


@pytest.mark.parametrize("terms", [4, 20], ids=["unrolled", "in a loop"])
@pytest.mark.parametrize(("columns", "passes"), [(6, 3), (5, 5)], ids=["even", "odd"])
def test_two_sums_side_by_side_share_what_they_load(columns, passes, terms, rng):
    a, b = rng.standard_normal((3, terms)), rng.standard_normal((terms, columns))
    program, _ = recorded(lambda xp, a, b: [a @ b], a, b)
    (nest,) = nests(program)
    assert [extent for _, extent in nest.variables] == [3, columns]
    jammed = jam(nest, program.types)
    assert [extent for _, extent in jammed.variables] == [3, passes]
    assert sum(isinstance(each, Reduce) for each in jammed.statements()) == columns // passes
    assert all(each.name in program.types for each in jammed.statements() if isinstance(each, Reduce))
    assert_computed(lambda xp, a, b: [a @ b], a, b)


def test_loops_without_sums_compute_one_value_at_a_time(rng):
    program, _ = recorded(lambda xp, x: [xp.exp(x)], rng.standard_normal((3, 4)))
    (nest,) = nests(program)
    assert jam(nest, program.types) is nest


def test_a_program_can_be_read(rng):
    a, b = rng.standard_normal((2, 3, 3))
    program, _ = recorded(lambda xp, a, b: [xp.sum((a @ b) * 2.0, axis=0)], a, b, blas_threshold=8)
    text = str(program)
    assert "state    x0[9] float64" in text
    assert ".reshape(3, 3) @ x1[0:].reshape(3, 3)" in text
    assert "= sum over r" in text
    assert "for i" in text
    kinds = {type(statement) for nest in nests(program) if isinstance(nest, Nest) for statement in nest.statements()}
    assert {Reduce, Store} <= kinds


# ---- Indices


def test_an_index_is_split_only_where_quotient_and_remainder_are_exact():
    i, j = Index((("i", 1),)), Index((("j", 1),))
    extents = {"i": 3, "j": 4}
    assert (i * 4 + j + 8).divmod(4, extents) == (i + 2, j)
    assert (i * 4 + j + 1).divmod(4, extents) is None
    assert (i * 6 + j).divmod(4, extents) is None
    assert (j * -1 + 3).bounds(extents) == (0, 3)
    assert i * 0 == Index()
    assert i + j * 2 + i * -1 == j * 2


# ---- Text


def test_a_kernel_is_printed_alike_every_time(rng):
    texts = [interpreted_text() for _ in range(2)]
    assert texts[0] == texts[1]
    assert LANES == 64


def interpreted_text():
    program, _ = recorded(lambda xp, x: [xp.exp(x)[::-1]], np.ones(3))
    text = source(program, PrintLayout(1, True, False, False, False, frozenset())).text
    assert interpreted(text)
    return text


def test_arrays_that_are_not_in_use_at_the_same_time_share_memory(rng):
    x = rng.standard_normal((30, 30))

    def function(xp, x):
        for _ in range(6):
            x = xp.tanh(x @ x)
        return [x]

    program, expected = recorded(function, x)
    _, size = source(program, PrintLayout(1, False, False, False, False, frozenset()))
    assert len(scratch(program)) >= 5
    assert size < 5 * x.nbytes  # two states, what is read, what is written, and the alignment
    close(run(program, [x], expected)[0], expected[0], 1e-12)
