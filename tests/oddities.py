"""Unexpected values, each as the text of an expression, so that a call with them can be printed and repeated.

The expressions use the names of this module and those in `NAMES`.
"""

from __future__ import annotations

import itertools
import math
import operator
import tempfile
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import array_api_strict
import numpy as np

import xpnet
from xpnet import backend_of, initializers, losses, metrics, optimizers, schedules
from xpnet.activations import sigmoid, tanh

_PARTS = (initializers, losses, optimizers, schedules)
# The names that the expressions use, besides those that are defined below.
NAMES = {
    **{name: getattr(xpnet, name) for name in xpnet.__all__},
    **{
        each.__name__.rpartition(".")[2]: each for each in (Decimal, Fraction, Path, itertools, math, operator, *_PARTS)
    },
    "Metric": metrics.Metric,
    "binary_crossentropy": losses.binary_crossentropy,
    "np": np,
    "sigmoid": sigmoid,
    "tanh": tanh,
}
nan, inf = math.nan, math.inf
X = np.linspace(-1, 1, 24).reshape(12, 2)
Y = np.linspace(0, 1, 12) ** 2
LABELS = np.arange(12) % 3
WEIGHT = np.linspace(0.5, 1.5, 12)
for _array in (X, Y, LABELS, WEIGHT):
    _array.flags.writeable = False  # so that writing into the caller's data raises an error


class OnPurpose(Exception):
    """The exception of a custom function."""


class CustomWarning(UserWarning):
    """The warning of a custom class."""


class Arraylike:
    """An object that NumPy converts to an array."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)


class Raises(Arraylike):
    def __array__(self, dtype=None, copy=None):
        raise OnPurpose


class Warns(Arraylike):
    def __array__(self, dtype=None, copy=None):
        warnings.warn("this is slow", CustomWarning, stacklevel=2)
        return super().__array__(dtype, copy)


class Shaped:
    """An object with a shape and nothing else."""

    def __init__(self, array):
        self.shape = np.shape(array)


class Framelike(Arraylike):
    """An object like a data frame: array-like, with a shape, axes and columns."""

    def __init__(self, array):
        super().__init__(np.asarray(array))
        self.shape, self.ndim, self.columns = self.array.shape, self.array.ndim, list(range(7))
        self.iloc = self.values = self.array

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return iter(self.columns)

    def __getitem__(self, name):
        raise KeyError(name)


def endless(value=1):
    """Iterate forever, but in Python, where a signal can interrupt."""
    for _ in itertools.count():
        yield value


def one_after_another(value):
    """Return an iterator that can be used only once."""
    yield from value if np.ndim(value) else [value]


def like(value):
    """Return any value as a NumPy array."""
    return np.asarray(to_numpy(value) if hasattr(value, "__array_namespace__") else value)


def matrix(value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix(value)


def read_only(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


def memmap(array):
    """Return an array in a temporary file that is deleted with the array."""
    with tempfile.NamedTemporaryFile() as file:
        mapped = np.memmap(file.name, dtype=array.dtype, shape=array.shape or (1,), mode="w+")
    mapped[...] = array
    return mapped


def record(array):
    """Return an array of records, each of one field."""
    return np.rec.fromarrays([array], names="x")


def strict(array, device="cpu", dtype=None):
    """Return an array of array-api-strict on one of its devices."""
    devices = {
        "cpu" if "CPU" in str(device) else device._device: device
        for device in array_api_strict.__array_namespace_info__().devices()
    }
    return array_api_strict.asarray(np.asarray(array, dtype=dtype), device=devices[device])


def to_numpy(array):
    """Return any array as a NumPy array."""
    return backend_of(array).to_numpy(array)


def raises(*_, **__):
    raise OnPurpose


def later(calls, first, then):
    """Return a function that is `first` for that many calls, and `then` afterwards."""
    count = itertools.count()
    return lambda *given: (first if next(count) < calls else then)(*given)


def from_epoch(epoch, invalid):
    """Return a schedule that returns an invalid value from an epoch on."""
    return lambda xp, t, history: invalid(xp, t) if t[0] >= epoch else xp.ones_like(t)


def _texts(lines):
    return lines.split()


# ---- Values for any argument

ODD = _texts(
    r"""
None True False np.True_ -1 0 1 2 2.7 -0.5 nan inf -inf 10**400 -10**400 2**63 1e300 1e-320 ... '' 'abc' b'x'
bytearray(b'x') 'relu' 'cpu' '1' '\x00' [] [[]] () {} set() {1,2} {'a':1} {1:'a'} [[1,2],[3]] [1,[2]] [None] [nan]
['a'] [{}] [True] range(0) range(3) range(12) endless() one_after_another([1,2]) iter([]) (1,2) (1,2,3)
itertools.count Decimal('0.1') Decimal('nan') Fraction(1,3) 1j complex(0.5) np.complex64(1) memoryview(b'abcd')
lambda:0 lambda*a:None print int NeuralNetwork math np object() object type Exception('no') Raises(X) Warns(X)
Arraylike(3) Arraylike('abc') Shaped(X) Framelike(X) np.float16(0.5) np.longdouble(0.5) np.int8(3) np.uint64(3)
np.str_('abc') np.bytes_(b'x') np.datetime64('2020-01-01') np.timedelta64(3,'s') np.void(b'abc') np.nan
np.float32(inf) np.array(None) np.array(3) np.array(0.5) np.array('abc') np.array([]) np.ones(1) np.ones((1,1))
np.ones(3) np.ones((2,2)) np.ones((2,3,4)) np.ones((2,2,2,2)) np.ones((0,2)) np.ones((12,0)) np.ones((0,))
np.ones((1,0,1)) np.array([None,1]) np.array([[],[]]) np.array([1,'a'],dtype=object) np.zeros(3,dtype='M8[s]')
np.zeros(3,dtype='V4') np.zeros(3,dtype=[('x',float)]) record(np.ones(3)) np.ma.masked np.ma.ones(3)
np.ma.masked_array([1.,2.],[True,False]) matrix([[1.,2.]]) strict(0.5) strict([1.,2.]) strict([1.,2.],'device1')
strict([1],'no_x64','int32') strict(True) np.dtype('float64') np.float32 np.random.default_rng(0) Path('nowhere')
get_backend() Activation(1,1) Loss(1,1) Optimizer(1,1) Callback Callback() NeuralNetwork(seed=0) np.ones(12)
np.ones((12,2)) np.full(12,nan) -np.ones(12) slice(3) ValueError {1:{}} [0.1,0.2] [1.0]*3
"""
)

# Changes of the valid value of an argument.
CHANGED = _texts(
    """
like({}).astype('bool') like({}).astype('int8') like({}).astype('int16') like({}).astype('int32')
like({}).astype('int64') like({}).astype('uint8') like({}).astype('uint16') like({}).astype('uint32')
like({}).astype('uint64') like({}).astype('float16') like({}).astype('float32') like({}).astype('longdouble')
like({}).astype('complex64') like({}).astype('complex128') like({}).astype(str) like({}).astype('S9')
like({}).astype(object) like({}).astype('>f8') like({}).astype('>i2') like({}).astype('M8[s]')
like({}).astype('m8[s]') like({}).astype([('x',float)]) record(like({})) like({})*nan like({})*inf like({})*1e300
like({})*1e-320 -like({}) like({})*1j like({})+1e6 like({})[...,None] like({})[None,...] like({}).T like({})[::-1]
like({})[:1] like({})[:0] like({}).ravel() like({})[::2] like({}).tolist() tuple(like({}).tolist()) [{}] ({},) ({},{})
[{},{}] {{'a':{}}} str({}) lambda:{} iter([{}]) one_after_another({}) endless({}) np.ma.array({})
np.ma.masked_less({},0.3) np.ma.masked_all_like({}) matrix({}) memmap(like({})) read_only({}) np.asfortranarray({})
np.broadcast_to({},(3,*np.shape({}))) np.lib.stride_tricks.as_strided({}) Arraylike({}) Raises({}) Warns({})
Shaped({}) Framelike({}) strict({}) strict({},'device1') strict({},'no_float64','float32')
strict({},'no_x64','float32') strict({},'device1','complex128') strict({},'cpu','int8') np.array([Fraction(1,3)]*12)
np.array([Decimal('0.5')]*12) Decimal(float({})) Fraction(float({})) complex({}) np.float32({}) np.float16({})
np.longdouble({}) np.int32({}) np.array({}) np.array([{}]) bytes({}) range(int({})) {}*10**400 {}*-1 {}+0.5
[like({}).tolist(),None] [*like({})][:-1]
np.where(np.arange(np.size({}))==1,nan,like({}).ravel()).reshape(np.shape({})) dict(enumerate({})) set({})
memoryview({})
"""
)

BOUNDS = _texts(
    """
None (1,) 3 ('a','b') (1.,-1.) (nan,nan) () [0.,1.] (0,1) (0,1,2) {} (1j,2) (None,None) np.array([0.,1.]) 'ab'
"""
)
BOUNDS += ["(0,10**400)", "(endless(),1)", "(np.float32(0),1)", "(0,Fraction(1,2))", "(lambda:0,1)", "([0],[1])"]

# What a custom function returns in place of the valid result.
RETURNED = _texts(
    """
None 1.0 'abc' [1.0] [] () dict() object() type lambda:0 {}[...,:1] {}[...,None] xp.sum({}) xp.astype({},xp.int32)
xp.astype({},xp.bool) xp.astype({},xp.float32) xp.astype({},xp.float64) xp.astype({},xp.complex128) to_numpy({})
strict(to_numpy({})) strict(to_numpy({}),'device2') {}*nan {}*inf {}*1e300 raises() [{}] ({},) ({},{})
one_after_another([1]) matrix([[1.]]) np.ones((7,7)) xp.reshape({},(-1,)) {}[...,:0] Shaped(1.0) Framelike(1.0)
np.float64(1.0) np.array(None) nan -{} {}*0 strict(1.0) Arraylike(1.0) to_numpy({}).tolist() np.ma.array(to_numpy({}))
"""
)
ARITIES = [
    "lambda: 0",
    "lambda xp: xp",
    "lambda a, b, c, d, e, f, g: 0",
    "None",
    "3",
    "'tanh'",
    "NeuralNetwork",
    "raises",
]


def _returning(arguments, result):
    """Return the texts of functions that return invalid values, at once or later, or have the wrong signature."""
    right = f"lambda {arguments}: {result}"
    wrong = [f"lambda {arguments}: {each.replace('{}', f'({result})')}" for each in RETURNED]
    return wrong + ARITIES + [f"later({n}, {right}, {each})" for n in (1, 3, 9, 40) for each in wrong[::3]]


_VALUE, _GRADIENT = "xp.sum((A - Y) ** 2, axis=-2)", "2.0 * (A - Y)"
_UPDATE = "theta, dtheta, state, rate"
_MEAN = "xp.mean(xp.abs(A - Y), axis=(-1, -2))"

ACTIVATIONS = [
    *(f"Activation({each}, tanh.backward)" for each in _returning("xp, Z", "xp.tanh(Z)")),
    *(f"Activation(tanh.forward, {each})" for each in _returning("xp, dA, Z, A", "dA * (1.0 - A * A)")),
    *(f"Activation(tanh.forward, tanh.backward, {each})" for each in BOUNDS),
    *("Activation(1, 1)", "Activation(1, 1, 1)", "tuple(tanh)", "Activation", "tanh.forward", "losses.poisson"),
]
LOSSES = [
    *(f"Loss({each}, lambda xp, A, Y: {_GRADIENT})" for each in _returning("xp, A, Y", _VALUE)),
    *(f"Loss(lambda xp, A, Y: {_VALUE}, {each})" for each in _returning("xp, A, Y", _GRADIENT)),
    *(f"binary_crossentropy._replace(bounds={each})" for each in BOUNDS),
    *(
        f"binary_crossentropy._replace(canonical={each})"
        for each in (
            "3",
            "(tanh,)",
            "('sigmoid',losses.poisson)",
            "(sigmoid,3)",
            "sigmoid",
            "(sigmoid,Loss(1,1))",
            "()",
            "[]",
        )
    ),
    *(f"binary_crossentropy._replace(canonical=(sigmoid,{each}))" for each in ("losses.huber()", "sigmoid", "None")),
    *("Loss(1, 1)", "tuple(losses.poisson)", "Loss", "tanh", "losses.huber", "Loss(None, None, None, None)"),
]
OPTIMIZERS = [
    *(
        f"Optimizer({each}, optimizers.adam().update)"
        for each in _returning("xp, theta", "optimizers.adam().init(xp, theta)")
    ),
    *(
        f"Optimizer({each}, lambda xp, {_UPDATE}: (theta - rate * dtheta, state))"
        for each in _returning("xp, theta", "(xp.zeros_like(theta),)")
    ),
    *(
        f"Optimizer(lambda xp, theta: (xp.zeros_like(theta),), {each})"
        for each in [
            *_returning(f"xp, {_UPDATE}", "(theta - rate * dtheta, state)"),
            *(f"lambda xp, {_UPDATE}: ({each.replace('{}', '(theta-rate*dtheta)')}, state)" for each in RETURNED),
            *(f"lambda xp, {_UPDATE}: (theta-rate*dtheta, ({each.replace('{}', 'state[0]')},))" for each in RETURNED),
            *(f"lambda xp, {_UPDATE}: (theta-rate*dtheta, {each.replace('{}', 'state[0]')})" for each in RETURNED),
        ]
    ),
    *(
        f"optimizers.sgd()._replace(weight_decay={each})"
        for each in ("'a'", "-1", "nan", "None", "[0.1]", "np.ones(2)", "True", "1j")
    ),
    *("Optimizer(1, 1)", "tuple(optimizers.adam())", "Optimizer", "optimizers.adam", "Optimizer(None, None, None)"),
]
_RETURNED_BY_NUMPY = [each.replace("xp.", "np.") for each in RETURNED]
INITIALIZERS = [
    *_returning("rng, n_out, n_in", "(rng.standard_normal((n_out, n_in)), np.zeros((n_out, 1)))"),
    *(
        f"lambda rng, n_out, n_in: ({each.replace('{}', 'np.ones((n_out, n_in))')}, np.zeros((n_out, 1)))"
        for each in _RETURNED_BY_NUMPY
    ),
    *(
        f"lambda rng, n_out, n_in: (np.ones((n_out, n_in)), {each.replace('{}', 'np.zeros((n_out, 1))')})"
        for each in _RETURNED_BY_NUMPY
    ),
    *("initializers.normal", "initializers.he", "int"),
]
SCHEDULES = [
    *_returning("xp, t, history", "xp.ones_like(t)"),
    *(
        f"from_epoch({epoch}, lambda xp, t: {each.replace('{}', 'xp.ones_like(t)')})"
        for epoch in (1, 2, 4)
        for each in [*RETURNED, "xp.zeros_like(t)"]
    ),
    *(
        "lambda xp, t, history: history['mystery']",
        "schedules.cosine",
        "schedules",
        "schedules.warm_up(3, lambda xp, t, h: 1.0)",
    ),
    *(f"schedules.warm_up(1, lambda xp, t, h: {each.replace('{}', 't')})" for each in RETURNED),
]
METRICS = [
    *_returning("xp, A, Y, weight", _MEAN),
    *(
        f"Metric('own', {each}, lambda xp, state: state)"
        for each in _returning("xp, state, A, Y, weight", f"{_MEAN} if state is None else state")
    ),
    *(f"Metric('own', lambda xp, state, A, Y, weight: {_MEAN}, {each})" for each in _returning("xp, state", "state")),
    *(
        f"Metric({each}, lambda xp, state, A, Y, weight: {_MEAN}, lambda xp, state: state)"
        for each in ("None", "3", "''", "'loss'", "'validation_loss'", "'a.b'", "[]", "b'x'", "np.str_('own')")
    ),
    *(
        f"Metric('own', lambda xp, state, A, Y, weight: {_MEAN}, lambda xp, state: state, {each})"
        for each in ("3", "'x'", "lambda: 0", "lambda xp, Y: 1/0", "lambda xp, Y: 3", "raises", "{}", "NeuralNetwork")
    ),
    *("'accuracy'", "'mystery'", "['r2_score','r2_score']", "['r2_score',3]", "np.mean", "len", "print"),
    *("Metric(1, 1, 1)", "Metric", "operator.itemgetter(0)", "('r2_score',)", "{'r2_score'}", "iter(['r2_score'])"),
]
CALLBACKS = [
    *(
        f"lambda network: {each}"
        for each in ("raises()", "1/0", "None", "'abc'", "network.stop_training()", "print('x')")
    ),
    *(
        "lambda: None",
        "lambda a, b: None",
        "Callback",
        "[Callback]",
        "[None]",
        "[[]]",
        "(print, 3)",
        "{print}",
        "{}",
        "'print'",
    ),
    *(
        f"lambda network: network.{each}"
        for each in (
            *("clear_weights()", "train(X, Y, 0.1)", "train_lbfgs(X, Y)", "load_state_dict(network.state_dict())"),
            *("parameters.__setitem__('W1', 0)", "initialize_weights_deep([1, 1])", "predict(X)", "evaluate(X, Y)"),
            *(
                "update_parameters({}, 0.1)",
                "state_dict()",
                "deep_forward(X.T)",
                "history['loss']",
                "history['mystery']",
            ),
        )
    ),
    *(
        "lambda network: setattr(network, 'parameters', network.parameters)",
        "lambda network: save_checkpoint(network, 'x')",
    ),
    *(
        "[lambda network: network.predict(strict(X, 'device1'))]",
        "[print, raises]",
        "iter([print])",
        "[Callback(), raises]",
    ),
]
PATHS = _texts(
    r"""
'' '.' '/' 'a/b/c' 'x' '\x00' 'x'*300 b'x' Path('.') Path('nowhere/x') '/proc/self/x' 0 -1 None 3 True
"""
)
PATHS += [
    "[]",
    "X",
    "np.str_('x')",
    "object()",
    "'saved'",
    "b'saved'",
    "Path('saved')",
    "'saved/x'",
    "'\\ud800'",
]

# Callbacks with one wrong method, and class weights.
CALLBACKS += [
    f"type('Own', (Callback,), {{'{method}': {function}}})()"
    for method in ("on_train_begin", "on_epoch_end", "on_train_end")
    for function in (
        "None",
        "3",
        "lambda self: 0",
        "lambda self, network: raises()",
        "lambda self, network: network.train(X, Y, 1)",
    )
]
CLASS_WEIGHTS = (
    [f"{{{one}: 1.0}}" for one in ODD] + [f"{{0: {one}}}" for one in ODD] + ["'balanced'", "'abc'", "{0: 0, 1: 0}"]
)

PARTS = {
    "activations": ACTIVATIONS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "initializer": INITIALIZERS,
    "schedule": SCHEDULES,
    "metrics": METRICS,
    "callbacks": CALLBACKS,
    "class_weight": CLASS_WEIGHTS,
    "path": PATHS,
}
