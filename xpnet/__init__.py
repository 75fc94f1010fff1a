"""A multilayer perceptron from scratch, written once against the array API standard."""


def _find_backends() -> None:
    """Load ``xpnet.backends`` from the folder beside xpnet/, where it is in a checkout."""
    import sys
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    folder = Path(__file__).parents[1] / "backends"
    name, locations = "xpnet.backends", [str(folder)]
    spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=locations)
    if (Path(__file__).parent / "backends").is_dir() or spec is None or spec.loader is None:
        return
    sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
    except BaseException:
        del sys.modules[name]
        raise
    globals()["backends"] = sys.modules[name]


_find_backends()

from xpnet.activations import Activation
from xpnet.backends import DeviceUnavailable, backend_of, get_backend
from xpnet.callbacks import Callback
from xpnet.gradient_check import gradient_check
from xpnet.losses import Loss
from xpnet.network import NeuralNetwork
from xpnet.optimizers import Optimizer
from xpnet.storage.c99 import export_c
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
    "export_c",
    "export_onnx",
    "get_backend",
    "gradient_check",
    "load_checkpoint",
    "save_checkpoint",
]


def __getattr__(name: str) -> str:
    if name != "__version__":
        msg = f"module 'xpnet' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib.metadata import version  # here, because its import would take a fifth of the import of xpnet

    return version("xpnet")
