"""Who does the work: xpnet and its peers, each written as its own documentation advises.

A peer is made for a case, and ``peer.train(epochs, orders)`` trains that many epochs from the initial parameters;
``orders(epoch)`` returns the order of the samples of each network, of shape (E, N), if the case shuffles. It returns
the losses of the networks it trained, (networks,): those of each sample before the step that used it, averaged over
the last epoch. A peer that trains one network after the other trains only the first ones of an ensemble.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.common import Document
from xpnet import NeuralNetwork, get_backend

THREADS = 2


class Peer:
    """What all peers share: the data and the initial parameters.

    Attributes
    ----------
    networks : int
        How many networks it trains at a time.
    other : str
        How its mathematics differ, if they do.
    """

    networks = 1
    other = ""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.X, self.Y = case.data()
        self.initial = case.initial()

    @staticmethod
    def does(case: Case) -> bool:
        """Return whether it can do this work."""
        return not case.shuffle

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        raise NotImplementedError


class XpNet(Peer):
    """`NeuralNetwork.train`, of an ensemble or of single networks one after the other."""

    def __init__(self, case: Case, *, compiled: bool, together: bool = True) -> None:
        self.case, self.compiled = case, compiled
        backend = get_backend(case.device)
        self.X, self.Y = map(backend.asarray, case.data())
        ensemble = case.networks if together else None
        count = 1 if together else case.networks or 1
        settings = {**case.xpnet_settings, "ensemble": ensemble, "device": backend}
        self._nets = [NeuralNetwork(**settings, seed=seed) for seed in range(count)]
        self._states = [network.state_dict() for network in self._nets]
        self.networks = count * (ensemble or 1)
        if compiled and case.device == "cpu":
            import numba  # noqa: F401 (its import is no part of the time to compile)

    @staticmethod
    def does(case: Case) -> bool:
        return True

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        case, losses = self.case, []
        for network, state in zip(self._nets, self._states, strict=True):
            network.load_state_dict(state)
            settings = {"batch_size": case.batch_size, "shuffle": case.shuffle, "compile": self.compiled}
            network.train(self.X, self.Y, case.learning_rate, epochs, verbose=False, **settings)
            losses.append(network.history["loss"][-1])
        return np.ravel(losses)


class DocumentsAlgorithm(Peer):
    """The notebook's code, which trains one network by stochastic gradient descent."""

    @staticmethod
    def does(case: Case) -> bool:
        plain = case.batch_size == 1 and case.optimizer == "sgd" and not case.classifies and not case.shuffle
        return plain and case.dtype == "float64" and (case.networks is None or case.networks >= 1024)

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        parameters = {}
        for l, (W, b) in enumerate(self.case.views(self.initial[0]), start=1):
            parameters |= {f"W{l}": W, f"b{l}": b[:, None]}
        losses = Document(parameters).train(self.X[:, :, None], self.Y[:, :, None], self.case.learning_rate, epochs)
        return np.array(losses[-1:])


class ScikitLearn(Peer):
    """`MLPClassifier.fit`, or `MLPRegressor.fit`, with a warm start from the initial parameters."""

    def __init__(self, case: Case) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        super().__init__(case)
        warnings.simplefilter("ignore", ConvergenceWarning)
        settings: dict[str, Any] = {
            "hidden_layer_sizes": case.layers[1:-1],
            "solver": "adam" if case.optimizer == "adam" else "sgd",
            "momentum": 0.9 if case.optimizer == "momentum" else 0.0,
            "nesterovs_momentum": False,
            "alpha": 0.0,
            "batch_size": case.batch_size,
            "learning_rate_init": case.learning_rate,
            "max_iter": 1,
            "shuffle": False,
            "tol": 0.0,
            "n_iter_no_change": 10**9,
            "warm_start": True,
            "random_state": 0,
        }
        self._model = (MLPClassifier if case.classifies else MLPRegressor)(**settings)
        self._y = self.Y.argmax(axis=1) if case.classifies else self.Y.ravel()
        self._model.fit(self.X, self._y)
        if not case.classifies:
            self.other = "no sigmoid in the output layer"
        elif case.optimizer == "adam":
            self.other = "Adam adds its ε before the correction of the bias"

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        model, layers = self._model, self.case.views(self.initial[0])
        model.coefs_ = [W.T.copy() for W, _ in layers]
        model.intercepts_ = [b.copy() for _, b in layers]
        model.max_iter = epochs
        model.fit(self.X, self._y)
        return np.array([model.loss_])


class PyTorch(Peer):
    """`torch.nn` and `torch.optim`; many networks with `torch.func.vmap` over stacked parameters."""

    def __init__(self, case: Case, *, compiled: bool) -> None:
        import torch

        super().__init__(case)
        torch.set_num_threads(THREADS)
        logging.getLogger("torch").setLevel(logging.ERROR)
        self._torch = torch
        self.networks = case.networks or 1
        self._x, self._y = (torch.from_numpy(array).to(case.device) for array in (self.X, self.Y))
        hidden = []
        for n_in, n_out in zip(case.layers[:-1], case.layers[1:], strict=True):
            hidden += [torch.nn.Linear(n_in, n_out, dtype=self._x.dtype), torch.nn.ReLU()]
        output = [] if case.classifies else [torch.nn.Sigmoid()]
        model = torch.nn.Sequential(*hidden[:-1], *output).to(case.device)
        values = [torch.from_numpy(value).to(case.device) for layer in case.views(self.initial) for value in layer]
        if case.networks is None:
            values = [value[0] for value in values]
            parameters = list(model.parameters())

            def losses(X: Any, Y: Any) -> Any:
                return self._loss(model(X), Y)
        else:
            parameters = [value.clone().requires_grad_() for value in values]
            names = [name for name, _ in model.named_parameters()]

            def loss(values: Any, X: Any, Y: Any) -> Any:
                named = dict(zip(names, values, strict=True))
                return self._loss(torch.func.functional_call(model, named, X), Y)

            each = 0 if case.shuffle else None
            vmapped = torch.func.vmap(loss, in_dims=(0, each, each))

            def losses(X: Any, Y: Any) -> Any:
                return vmapped(parameters, X, Y)

        self._parameters, self._values = parameters, values
        rate = torch.tensor(case.learning_rate, dtype=torch.float64) if compiled else case.learning_rate
        if case.optimizer == "adam":
            self._optimizer = torch.optim.Adam(parameters, lr=rate)
        else:
            momentum = 0.9 if case.optimizer == "momentum" else 0.0
            self._optimizer = torch.optim.SGD(parameters, lr=rate, momentum=momentum)
        self._losses, self._update = losses, self._optimizer.step
        if compiled:
            self._losses, self._update = torch.compile(losses), torch.compile(self._optimizer.step)

    def _loss(self, output: Any, Y: Any) -> Any:
        functional = self._torch.nn.functional
        return functional.cross_entropy(output, Y) if self.case.classifies else 0.5 * functional.mse_loss(output, Y)

    @staticmethod
    def does(case: Case) -> bool:
        return True

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        torch, case, m = self._torch, self.case, self.case.batch_size
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self._values, strict=True):
                parameter.copy_(value)
        for state in self._optimizer.state.values():
            for value in state.values():
                if value is not None:
                    value.zero_()
        total = torch.zeros(self.networks, dtype=self._x.dtype, device=case.device)
        for epoch in range(epochs):
            total.zero_()
            order = torch.from_numpy(orders(epoch)) if case.shuffle else None
            for start in range(0, case.samples, m):
                which = slice(start, start + m) if order is None else order[:, start : start + m]
                self._optimizer.zero_grad()
                losses = self._losses(self._x[which], self._y[which])
                losses.sum().backward()
                self._update()
                total += losses.detach()
        return total.cpu().numpy() / case.steps


class Jax(Peer):
    """`jax.jit` of `jax.lax.scan`; many networks with `jax.vmap`."""

    def __init__(self, case: Case) -> None:
        import jax
        from jax import lax
        from jax import numpy as jnp
        from jax.example_libraries import optimizers

        super().__init__(case)
        jax.config.update("jax_enable_x64", case.dtype == "float64")
        self.networks, many = case.networks or 1, case.networks is not None
        rules = {
            "sgd": optimizers.sgd,
            "momentum": partial(optimizers.momentum, mass=0.9),
            "adam": optimizers.adam,
        }
        init, update, get = rules[case.optimizer](case.learning_rate)

        def loss(layers: Any, X: Any, Y: Any) -> Any:
            A = X
            for W, b in layers[:-1]:
                A = jax.nn.relu(A @ W.T + b)
            W, b = layers[-1]
            Z = A @ W.T + b
            if case.classifies:
                return -jnp.mean(jnp.sum(Y * jax.nn.log_softmax(Z), axis=-1))
            return 0.5 * jnp.mean((jax.nn.sigmoid(Z) - Y) ** 2)

        def step(i: Any, state: Any, X: Any, Y: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(get(state), X, Y)
            return update(i, gradient, state), value

        each = 0 if case.shuffle else None
        step = jax.vmap(step, in_axes=(None, 0, each, each)) if many else step

        def epoch(number: Any, state: Any, X: Any, Y: Any) -> Any:
            steps = jnp.arange(case.steps) + number * case.steps
            state, losses = lax.scan(lambda state, batch: step(batch[0], state, *batch[1:]), state, (steps, X, Y))
            return state, jnp.mean(losses, axis=0)

        def all_epochs(state: Any, epochs: Any, X: Any, Y: Any) -> Any:
            losses = jnp.zeros((case.networks,) if many else (), X.dtype)
            return lax.fori_loop(0, epochs, lambda i, carry: epoch(i, carry[0], X, Y), (state, losses))

        def in_order(number: Any, state: Any, X: Any, Y: Any, order: Any) -> Any:
            which = order.T.reshape(case.steps, case.batch_size, -1).swapaxes(1, 2)
            return epoch(number, state, X[which], Y[which])

        layers = [tuple(map(jnp.asarray, layer)) for layer in case.views(self.initial if many else self.initial[0])]
        self._state = (jax.vmap(init) if many else init)(layers)
        self._x, self._y = jnp.asarray(self.X), jnp.asarray(self.Y)
        if not case.shuffle:
            self._x, self._y = (array.reshape(case.steps, case.batch_size, -1) for array in (self._x, self._y))
        self._all_epochs, self._in_order = jax.jit(all_epochs), jax.jit(in_order)

    @staticmethod
    def does(case: Case) -> bool:
        return True

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        if not self.case.shuffle:
            return np.ravel(self._all_epochs(self._state, epochs, self._x, self._y)[1])
        state, losses = self._state, None
        for epoch in range(epochs):
            state, losses = self._in_order(epoch, state, self._x, self._y, orders(epoch))
        return np.ravel(losses)


class NumbaSmall(Peer):
    """Loops written by hand for networks with two hidden layers, on two threads if there are many networks."""

    def __init__(self, case: Case) -> None:
        from benchmarks.by_hand import small_networks

        super().__init__(case)
        self.networks = E = case.networks or 1
        lanes = 1 if E < 16 else min(64, E // THREADS)
        # In blocks of networks, with the networks along the last axis.
        self._theta = np.ascontiguousarray(self.initial.reshape(E // lanes, lanes, -1).swapaxes(1, 2))
        self._kernel = small_networks(case.layers, case.dtype, case.optimizer, lanes, whole=case.batch_size > 1)
        blocks = E // lanes
        parts = min(THREADS, blocks)
        self._edges = [blocks * part // parts for part in range(parts + 1)]
        self._pool, self._lanes = ThreadPoolExecutor(parts), lanes

    @staticmethod
    def does(case: Case) -> bool:
        return len(case.layers) == 4 and case.layers[0] < 64

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        case, theta = self.case, self._theta.copy()
        blocks, P, lanes = theta.shape
        state = np.zeros(
            (blocks, 2 if case.optimizer != "sgd" else 1, P if case.optimizer != "sgd" else 1, lanes), theta.dtype
        )
        losses, rate = np.zeros((blocks, lanes), theta.dtype), theta.dtype.type(case.learning_rate)

        def part(first: int, last: int, order: Any, t: int, count: int) -> None:
            rows = order[first * lanes : last * lanes] if case.shuffle else order
            block = slice(first, last)
            self._kernel(
                self.X, self.Y, rows, theta[block], state[block], rate, t, count, case.batch_size, losses[block]
            )

        def share(order: Any, t: int, count: int) -> None:
            edges = self._edges
            list(self._pool.map(lambda k: part(edges[k], edges[k + 1], order, t, count), range(len(edges) - 1)))

        if case.shuffle:
            for epoch in range(epochs):
                share(orders(epoch), epoch * case.steps, 1)
        else:
            share(np.arange(case.samples)[None], 0, epochs)
        return losses.ravel() / case.samples


class NumbaBatches(Peer):
    """Loops written by hand for one network, with matrix products by BLAS."""

    def __init__(self, case: Case) -> None:
        from benchmarks.by_hand import batches

        super().__init__(case)
        self._kernel = batches(case.layers)

    @staticmethod
    def does(case: Case) -> bool:
        return case.networks is None and case.classifies and case.optimizer == "adam" and case.dtype == "float32"

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        theta = self.initial[0].copy()
        gradient, first, second = (np.zeros_like(theta) for _ in range(3))
        rate = np.float32(self.case.learning_rate)
        loss = self._kernel(self.X, self.Y, theta, gradient, first, second, rate, 0, epochs, self.case.batch_size)
        return np.array([loss / self.case.steps])


class NumbaByHand:
    """The one of the two that does the work."""

    @staticmethod
    def does(case: Case) -> bool:
        return NumbaSmall.does(case) or NumbaBatches.does(case)

    def __new__(cls, case: Case) -> Any:
        return (NumbaSmall if NumbaSmall.does(case) else NumbaBatches)(case)


class Products(Peer):
    """The matrix products of a step alone, in NumPy or CuPy: no training, but a bound for all that train with BLAS."""

    other = "no training"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.networks = case.networks or 1
        initial = self.initial if case.networks else self.initial[0]
        self._backend = get_backend(case.device)
        xp = self._xp = self._backend.xp
        self._weights = [self._backend.asarray(W.copy()) for W, _ in case.views(initial)]
        lead, m = initial.shape[:-1], case.batch_size
        self._A = [xp.ones((*lead, m, n), dtype=case.dtype) for n in case.layers]
        self._D = [xp.ones((*lead, m, n), dtype=case.dtype) for n in case.layers]
        self._dW = [xp.empty_like(W) for W in self._weights]

    @staticmethod
    def does(case: Case) -> bool:
        return case.batch_size > 1 and not case.shuffle

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        A, D, matmul, transposed = self._A, self._D, self._xp.matmul, self._xp.matrix_transpose
        for _ in range(epochs * self.case.steps):
            for l, W in enumerate(self._weights):
                matmul(A[l], transposed(W), out=D[l + 1])
            for l, W in enumerate(self._weights):
                matmul(transposed(A[l + 1]), A[l], out=self._dW[l])
                if l:
                    matmul(A[l + 1], W, out=D[l])
        self._backend.synchronize()
        return np.full(1, np.nan)


class Fann(Peer):
    """The library FANN (Debian's libfann2) by ctypes: incremental training in double precision."""

    other = "FANN has no relu: sigmoid in hidden layers"

    def __init__(self, case: Case) -> None:
        import ctypes
        from ctypes.util import find_library

        super().__init__(case)
        path = find_library("doublefann")
        if path is None:
            msg = "libdoublefann is not installed"
            raise ImportError(msg)
        fann = self._fann = ctypes.CDLL(path)
        pointer, double, integer = ctypes.c_void_p, ctypes.c_double, ctypes.c_uint
        fann.fann_create_standard_array.restype = fann.fann_create_train_from_callback.restype = pointer
        fann.fann_train_epoch.restype = ctypes.c_float
        fann.fann_train_epoch.argtypes = [pointer, pointer]
        fann.fann_set_learning_rate.argtypes = [pointer, ctypes.c_float]
        for name in ("training_algorithm", "train_error_function", "activation_function_hidden"):
            getattr(fann, f"fann_set_{name}").argtypes = [pointer, ctypes.c_int]
        fann.fann_set_activation_function_output.argtypes = [pointer, ctypes.c_int]
        fann.fann_randomize_weights.argtypes = [pointer, double, double]

        kind = ctypes.CFUNCTYPE(None, integer, integer, integer, ctypes.POINTER(double), ctypes.POINTER(double))

        def sample(number: int, inputs: int, outputs: int, x: Any, y: Any) -> None:
            for i in range(inputs):
                x[i] = float(self.X[number, i])
            for i in range(outputs):
                y[i] = float(self.Y[number, i])

        callback = kind(sample)
        self._data = fann.fann_create_train_from_callback(case.samples, case.layers[0], case.layers[-1], callback)
        layers = (integer * len(case.layers))(*case.layers)
        self._net = fann.fann_create_standard_array(len(case.layers), layers)
        incremental, linear_error, sigmoid = 0, 0, 3
        fann.fann_set_training_algorithm(self._net, incremental)
        fann.fann_set_train_error_function(self._net, linear_error)
        fann.fann_set_activation_function_hidden(self._net, sigmoid)
        fann.fann_set_activation_function_output(self._net, sigmoid)
        fann.fann_set_learning_rate(self._net, case.learning_rate)

    does = staticmethod(DocumentsAlgorithm.does)

    def train(self, epochs: int, orders: Any) -> np.ndarray:
        self._fann.fann_randomize_weights(self._net, -0.1, 0.1)
        error = 0.0
        for _ in range(epochs):
            error = self._fann.fann_train_epoch(self._net, self._data)
        return np.array([0.5 * error])


PEERS: dict[str, Any] = {
    cases.COMPILED: partial(XpNet, compiled=True),
    cases.EAGER: partial(XpNet, compiled=False),
    cases.ONE_BY_ONE: partial(XpNet, compiled=True, together=False),
    cases.EAGER_ONE_BY_ONE: partial(XpNet, compiled=False, together=False),
    cases.DOCUMENT: DocumentsAlgorithm,
    cases.SKLEARN: ScikitLearn,
    cases.FANN: Fann,
    cases.TORCH: partial(PyTorch, compiled=False),
    cases.TORCH_COMPILE: partial(PyTorch, compiled=True),
    cases.JAX: Jax,
    cases.NUMBA: NumbaByHand,
    cases.PRODUCTS: Products,
}


def does(peer: str, case: Case) -> bool:
    """Return whether a peer can do this work at all."""
    made: Callable[..., Any] = PEERS[peer]
    return bool(getattr(made, "func", made).does(case))
