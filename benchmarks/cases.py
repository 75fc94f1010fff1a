"""What is measured: the work of every benchmark, and who does it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.common import sine
from xpnet import NeuralNetwork

SINE = (1, 10, 10, 1)
COMPILED, EAGER, ONE_BY_ONE, EAGER_ONE_BY_ONE = (
    "xpnet, compiled",
    "xpnet, eager",
    "xpnet, compiled, one after the other",
    "xpnet, eager, one after the other",
)
DOCUMENT, SKLEARN, FANN = "the document's algorithm", "scikit-learn", "FANN"
TORCH, TORCH_COMPILE = "PyTorch, eager", "PyTorch, torch.compile"
JAX, NUMBA, PRODUCTS = "JAX, jit", "Numba, by hand", "matrix products alone"
ALL = (COMPILED, EAGER, DOCUMENT, SKLEARN, FANN, TORCH, TORCH_COMPILE, JAX, NUMBA, PRODUCTS)


@dataclass(frozen=True)
class Case:
    """The work: train networks with relu in hidden layers on the same samples.

    Attributes
    ----------
    layers : tuple of int
        The sizes of the layers. With one output the data is the document's sine, the output layer has a sigmoid, and
        the loss is half the squared error; else the samples are random, with softmax and cross-entropy.
    samples, batch_size : int
        The number of samples, and that of a step.
    networks : int or None
        The number of networks of an ensemble, or None for a single network.
    optimizer : str
        ``"sgd"``, ``"momentum"`` (0.9) or ``"adam"``.
    shuffle : bool
        Whether each network takes the samples in an order of its own, drawn anew in every epoch.
    device : str
        ``"cpu"`` or ``"cuda"``.
    """

    layers: tuple[int, ...] = SINE
    samples: int = 500
    batch_size: int = 1
    networks: int | None = None
    dtype: str = "float64"
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    shuffle: bool = False
    device: str = "cpu"

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return self.samples // self.batch_size

    @property
    def classifies(self) -> bool:
        """Whether the loss is the cross-entropy."""
        return self.layers[-1] > 1

    @property
    def xpnet_settings(self) -> dict[str, object]:
        """The keyword arguments of `NeuralNetwork`, without the seed."""
        loss = "categorical_crossentropy" if self.classifies else "half_squared_error"
        return {"layer_list": list(self.layers), "loss": loss, "dtype": self.dtype, "optimizer": self.optimizer}

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X of shape (N, n_0) and Y of shape (N, n_L)."""
        if self.classifies:
            rng = np.random.default_rng(0)
            X = rng.standard_normal((self.samples, self.layers[0]))
            Y = np.eye(self.layers[-1])[rng.integers(0, self.layers[-1], self.samples)]
        else:
            X, Y = sine(self.samples)
        return X.astype(self.dtype), Y.astype(self.dtype)

    def initial(self) -> np.ndarray:
        """Return the initial parameters, of shape (E, P), in the order W1, b1, W2, …, row by row."""
        network = NeuralNetwork(**self.xpnet_settings, ensemble=self.networks or 1, seed=0)
        return np.asarray(network.theta).copy()

    def views(self, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the weights (..., n_out, n_in) and biases (..., n_out) of all layers, as views into (..., P)."""
        layers, start = [], 0
        for n_in, n_out in zip(self.layers[:-1], self.layers[1:], strict=True):
            W = theta[..., start : start + n_out * n_in].reshape(*theta.shape[:-1], n_out, n_in)
            start += n_out * (n_in + 1)
            layers.append((W, theta[..., start - n_out : start]))
        return layers


@dataclass(frozen=True)
class Variant:
    """Who does the work, what of it is timed, and whose time it is divided by.

    Attributes
    ----------
    peer : str
        A name in `benchmarks.peers.PEERS`; for ``"import"`` a statement.
    measure : str
        ``"step"``: one step of one network, in a process that has trained before. ``"call"``: there, a call that
        trains for one epoch. ``"process"``: a whole process that
        trains `epochs` epochs. ``"first call"``: the first call of a process, less a second one. ``"import"``: a
        process that runs a statement.
    cold : bool
        Whether caches on disk are empty.
    """

    label: str
    peer: str
    case: Case
    beside: str
    measure: str = "step"
    epochs: int = 1
    cold: bool = False

    @property
    def fresh(self) -> bool:
        """Whether each measurement takes a new process."""
        return self.measure not in ("step", "call")


@dataclass(frozen=True)
class Benchmark:
    """Variants that are measured in turn, in the same rounds: at most so many."""

    name: str
    title: str
    variants: tuple[Variant, ...]
    most_rounds: int = 100

    @property
    def fresh(self) -> bool:
        """Whether each measurement takes a new process."""
        return self.variants[0].fresh

    @property
    def unit(self) -> str:
        """What the seconds are of."""
        measure = self.variants[0].measure
        names = {"step": "a step of one network", "call": "a call", "process": "a process", "import": "a process"}
        return names.get(measure, measure)


def beside_each_other(name: str, title: str, case: Case, peers: tuple[str, ...] = ALL) -> Benchmark:
    """Return the benchmark in which peers do the same work, beside the first of them."""
    return Benchmark(name, title, tuple(Variant(peer, peer, case, peers[0]) for peer in peers))


def _orders(case: Case) -> Benchmark:
    variants = []
    for peer in (COMPILED, EAGER, TORCH, JAX, NUMBA):
        shared, own = f"{peer}, shared order", f"{peer}, own orders"
        variants.append(Variant(shared, peer, case, f"{COMPILED}, shared order"))
        variants.append(Variant(own, peer, replace(case, shuffle=True), shared))
    return Benchmark("orders", "1,024 networks, each with its own order, drawn anew in each epoch", tuple(variants))


def _whole_process() -> Benchmark:
    compiled = Variant(f"{COMPILED}, from the cache", COMPILED, Case(), "", "process", 1000)
    compiled = replace(compiled, beside=compiled.label)
    variants = [compiled, replace(compiled, label=f"{COMPILED}, cold", cold=True)]
    variants += [replace(compiled, label=peer, peer=peer) for peer in (EAGER, DOCUMENT, FANN, JAX, NUMBA)]
    return Benchmark("process", "A process that trains 1,000 epochs on the sine", tuple(variants), most_rounds=3)


def _start() -> Benchmark:
    statements = ("pass", "import numpy", "import xpnet", "import sklearn.neural_network", "import torch", "import jax")
    return Benchmark(
        "import",
        "The time of an import, with that of Python",
        tuple(Variant(text, text, Case(), "import numpy", "import") for text in statements),
    )


def _first_loss() -> Benchmark:
    peers = {f"{COMPILED}, from the cache": COMPILED, EAGER: EAGER, JAX: JAX, TORCH: TORCH}
    beside = next(iter(peers))
    variants = [Variant(label, peer, Case(), beside, "process", 1) for label, peer in peers.items()]
    return Benchmark("first_loss", "A process until the first loss, after one epoch of the sine", tuple(variants))


def _call() -> Benchmark:
    peers = (COMPILED, EAGER, SKLEARN, JAX, NUMBA)
    variants = tuple(Variant(peer, peer, Case(samples=20), COMPILED, "call") for peer in peers)
    return Benchmark("call", "A call that trains one epoch of 20 samples, compiled before", variants)


def _compiling() -> Benchmark:
    variants = []
    sizes = {f"width {width}": (1, width, width, 1) for width in (10, 30, 100)}
    sizes |= {f"{depth} hidden layers": (1, *[10] * depth, 1) for depth in (4, 8)}
    for peer, networks in ((COMPILED, None), (COMPILED, 64), (JAX, None), (JAX, 64), (TORCH_COMPILE, None)):
        who = f"{peer}, {'one network' if networks is None else f'{networks} networks'}"
        for size, layers in sizes.items():
            case = Case(layers=layers, samples=20, networks=networks)
            variants.append(Variant(f"{who}, {size}", peer, case, f"{who}, width 10", "first call", cold=True))
    title = "The time to compile, by width (2 hidden layers) and depth (width 10)"
    return Benchmark("compiling", title, tuple(variants), most_rounds=3)


def _growth() -> Benchmark:
    base = Case(networks=1024)
    grown = {
        "1,024 networks": base,
        "10 times the samples": replace(base, samples=5000),
        "4 times as wide": replace(base, layers=(1, 40, 40, 1)),
        "10 times the networks": replace(base, networks=10240),
    }
    peers = (COMPILED, JAX, NUMBA)
    return Benchmark(
        "growth",
        "More samples, wider layers, more networks",
        tuple(
            Variant(f"{peer}, {name}", peer, case, f"{peer}, 1,024 networks")
            for peer in peers
            for name, case in grown.items()
        ),
    )


def _all_benchmarks() -> dict[str, Benchmark]:
    many = Case(networks=1024)
    iris = Case((4, 32, 32, 3), networks=1024)
    big = {
        "mini_64": Case((64, 32, 10), 1600, 32),
        "mini_784": Case((784, 100, 10), 8000, 200),
        "mini_784_deep": Case((784, 512, 256, 10), 2560, 128),
        "mini_1024": Case((1024, 1024, 1024, 10), 2048, 1024),
    }
    single = (*ALL[:-1],)
    few = (COMPILED, ONE_BY_ONE, EAGER, EAGER_ONE_BY_ONE, TORCH, JAX, NUMBA)
    benchmarks = [
        beside_each_other("sine", "One network (1, 10, 10, 1), per sample, float64", Case(), single),
        beside_each_other("many_float64", "1,024 of them, float64", many, single),
        beside_each_other("many_float32", "1,024 of them, float32", replace(many, dtype="float32"), single),
        *(
            beside_each_other(f"many_{name}", f"1,024 of them, {name}", replace(many, optimizer=name), single)
            for name in ("momentum", "adam")
        ),
        _orders(many),
        beside_each_other("many_batches", "1,024 of them, batches of 50", replace(many, batch_size=50), ALL),
        beside_each_other("softmax", "1,024 networks (4, 32, 32, 3), softmax, per sample", iris, single),
        *(
            beside_each_other(f"ensemble_{count}", f"An ensemble of {count}, per sample", Case(networks=count), few)
            for count in (2, 4, 8, 16)
        ),
        *(
            beside_each_other(
                name,
                f"{case.layers}, batches of {case.batch_size}, Adam, float32",
                replace(case, dtype="float32", optimizer="adam", learning_rate=0.001),
            )
            for name, case in big.items()
        ),
        _whole_process(),
        _start(),
        _first_loss(),
        _call(),
        _compiling(),
        _growth(),
    ]
    return {benchmark.name: benchmark for benchmark in benchmarks}


def _on_gpu() -> dict[str, Benchmark]:
    one = Case(device="cuda")
    many, adam = replace(one, dtype="float32", networks=10_000), {"dtype": "float32", "optimizer": "adam"}
    small = Case((64, 32, 10), 1600, 32, device="cuda", learning_rate=0.001, **adam)
    deep = Case((784, 512, 256, 10), 20480, 1024, device="cuda", learning_rate=0.001, **adam)
    wide = Case((4096, 4096, 4096, 10), 32768, 8192, device="cuda", learning_rate=0.001, **adam)
    peers, large = (COMPILED, EAGER, TORCH, TORCH_COMPILE, JAX), (EAGER, TORCH, TORCH_COMPILE, JAX, PRODUCTS)
    benchmarks = [
        beside_each_other("gpu_sine", "One network (1, 10, 10, 1), per sample, float64", one, peers),
        beside_each_other("gpu_many", "10,000 of them, float32", many, peers),
        beside_each_other("gpu_mini_64", "(64, 32, 10), batches of 32, Adam, float32", small, peers),
        beside_each_other("gpu_mini_784_deep", "(784, 512, 256, 10), batches of 1,024", deep, large),
        beside_each_other("gpu_mini_4096", "(4096, 4096, 4096, 10), batches of 8,192", wide, large),
    ]
    return {benchmark.name: benchmark for benchmark in benchmarks}


ON_GPU = _on_gpu()
BENCHMARKS = _all_benchmarks()
QUICK = ("sine", "many_float64", "ensemble_8", "mini_64", "mini_784", "import")
