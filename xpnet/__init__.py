"""A neural network from scratch, written once against the array API."""

from importlib.metadata import version

from xpnet.activations import Activation
from xpnet.backends import DeviceUnavailable, backend_of, get_backend
from xpnet.losses import Loss
from xpnet.network import NeuralNetwork
from xpnet.optimizers import Optimizer

__all__ = [
    "Activation",
    "DeviceUnavailable",
    "Loss",
    "NeuralNetwork",
    "Optimizer",
    "backend_of",
    "get_backend",
]
__version__ = version("xpnet")
