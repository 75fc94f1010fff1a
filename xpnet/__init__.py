"""A neural network from scratch, written once against the array API."""

from importlib.metadata import version
from pathlib import Path

if not (Path(__file__).parent / "backends").is_dir():
    # This is the checkout, where backends/ stands beside xpnet/ and not inside it.
    __path__.append(str(Path(__file__).parents[1]))

from xpnet.activations import Activation
from xpnet.backends import DeviceUnavailable, backend_of, get_backend
from xpnet.callbacks import Callback
from xpnet.checkpoints import load_checkpoint, save_checkpoint
from xpnet.gradient_check import gradient_check
from xpnet.losses import Loss
from xpnet.network import NeuralNetwork
from xpnet.optimizers import Optimizer

__all__ = [
    "Activation",
    "Callback",
    "DeviceUnavailable",
    "Loss",
    "NeuralNetwork",
    "Optimizer",
    "backend_of",
    "get_backend",
    "gradient_check",
    "load_checkpoint",
    "save_checkpoint",
]
__version__ = version("xpnet")
