"""A neural network from scratch, written once against the array API."""

import sys
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

if not (Path(__file__).parent / "backends").is_dir():
    # This is the checkout, where backends/ stands beside xpnet/ and not inside it.
    _name, _folder = "xpnet.backends", Path(__file__).parents[1] / "backends"
    _spec: Any = spec_from_file_location(_name, _folder / "__init__.py", submodule_search_locations=[str(_folder)])
    backends = sys.modules[_name] = module_from_spec(_spec)
    _spec.loader.exec_module(backends)

from xpnet.activations import Activation
from xpnet.backends import DeviceUnavailable, backend_of, get_backend
from xpnet.callbacks import Callback
from xpnet.gradient_check import gradient_check
from xpnet.losses import Loss
from xpnet.network import NeuralNetwork
from xpnet.optimizers import Optimizer
from xpnet.storage.checkpoints import load_checkpoint, save_checkpoint
from xpnet.storage.onnx import export_onnx

__all__ = [
    "Activation",
    "Callback",
    "DeviceUnavailable",
    "Loss",
    "NeuralNetwork",
    "Optimizer",
    "backend_of",
    "export_onnx",
    "get_backend",
    "gradient_check",
    "load_checkpoint",
    "save_checkpoint",
]
__version__ = version("xpnet")
