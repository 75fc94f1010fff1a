"""PyTorch on the CPU, on CUDA GPUs, and on the accelerators of other makers, such as Apple's GPUs.

Tensors are data: no gradient is recorded, and a tensor that requires one is detached.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import array_api_compat.torch
import torch

from xpnet.backends.base import Array, Backend, DeviceUnavailable, first_line
from xpnet.backends.host import host_array
from xpnet.backends.numpy_backend import NumpyBackend


def _name(device: Any) -> str:
    """Return the name of a device of PyTorch; there is only one CPU and one "mps", whose index is left out."""
    return str(device.type) if device.type in ("cpu", "mps") else f"{device.type}:{device.index}"


# For these types PyTorch has hardly any functions.
_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.float64}


class TorchBackend(Backend):
    """PyTorch on one device, which has PyTorch's name for it."""

    name: ClassVar[str] = "torch"
    xp: ClassVar[Any] = array_api_compat.torch

    @classmethod
    def open(cls, device: str) -> Self:
        devices = cls.devices()
        if device not in devices and f"{device}:0" in devices:
            device = f"{device}:{torch.accelerator.current_device_index()}"
        backend = cls(device)
        if device not in devices:
            msg = f"torch has no device {device!r}, only {', '.join(map(repr, devices))}"
            raise DeviceUnavailable(msg)
        try:
            with backend.on_device():
                backend.to_numpy(torch.ones(2, 2) @ torch.ones(2, 2))
        except Exception as error:  # a broken driver can raise any error
            msg = f"torch cannot compute on {backend.device} ({type(error).__name__}: {first_line(error)})"
            raise DeviceUnavailable(msg) from error
        return backend

    @classmethod
    def of(cls, array: Array) -> Self:
        return cls(_name(array.device))

    @classmethod
    def devices(cls) -> list[str]:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return ["cpu"]
        indices = range(torch.accelerator.device_count())
        return ["cpu", *(_name(torch.device(accelerator.type, index)) for index in indices)]

    def describe(self) -> str:
        if self.device.startswith("cuda"):
            properties = torch.cuda.get_device_properties(self.device)
            return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        return f"{torch.get_num_threads()} threads" if self.device == "cpu" else "accelerator"

    @property
    def working_memory(self) -> int:
        if self.device.startswith("cuda"):
            return int(torch.cuda.get_device_properties(self.device).total_memory) // 4
        return super().working_memory

    @property
    def step_memory(self) -> int:
        return NumpyBackend("cpu").step_memory if self.device == "cpu" else self.working_memory

    @contextmanager
    def on_device(self) -> Iterator[None]:
        with torch.no_grad():
            # A default device, where it is not that of the process, makes every operation slower.
            if _name(torch.get_default_device()) == self.device:
                yield
            else:
                with torch.device(self.device):
                    yield

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        if isinstance(x, torch.Tensor):
            if x.layout != torch.strided:
                msg = "it is a sparse tensor; use .to_dense()"
                raise TypeError(msg)
            tensor = x.detach()
        else:
            array = host_array(x, dtype)
            # A tensor cannot share the memory of an array that is read-only, or whose elements are in reverse order.
            copies = not array.flags.writeable or min(array.strides, default=0) < 0
            tensor = torch.asarray(array.copy() if copies else array)
        kind = _WIDER.get(tensor.dtype, tensor.dtype) if dtype is None else getattr(torch, dtype)
        return tensor.to(kind).to(self.device)  # the type first: the device may not have the one before

    def to_numpy(self, array: Array) -> Any:
        return array.numpy(force=True)

    def synchronize(self) -> None:
        if self.device != "cpu":
            torch.accelerator.synchronize(self.device)
