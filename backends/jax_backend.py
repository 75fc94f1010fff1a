"""JAX on the CPU, on GPUs and on TPUs. An epoch is one compiled loop over its batches."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy
import numpy

from xpnet.backends.base import Array, Backend, DeviceUnavailable, Stack, Step
from xpnet.backends.host import host_array
from xpnet.backends.numpy_backend import NumpyBackend

S = TypeVar("S", bound=Any)

X64_FIX = 'set JAX_ENABLE_X64=1, or call jax.config.update("jax_enable_x64", True)'


@cache
def _devices() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("cpu", "cuda", "rocm", "tpu"):
        try:
            found |= {f"{kind}:{device.id}": device for device in jax.devices(kind)}
        except RuntimeError:  # JAX has no such devices here
            continue
    return {"cpu" if name == "cpu:0" else name: device for name, device in found.items()}


def _loop(step: Step, state: Any, arrays: Any, regularization: Any) -> Any:
    return jax.lax.scan(lambda state, batch: step(state, (*batch, regularization)), state, arrays)


# JAX keeps a compiled loop for each step, equal steps being one, and for each shape of the other arguments.
_compiled_loop = jax.jit(_loop, static_argnums=0)


class JaxBackend(Backend):
    """JAX on one device. The precision of the process stays as it is."""

    name: ClassVar[str] = "jax"
    xp: ClassVar[Any] = jax.numpy

    @classmethod
    def open(cls, device: str) -> Self:
        devices = cls.devices()
        if device not in devices and f"{device}:0" in devices:
            device = f"{device}:0"
        if device not in devices:
            msg = f"jax has no device {device!r}, only {', '.join(map(repr, devices))}"
            raise DeviceUnavailable(msg)
        return cls(device)

    @classmethod
    def of(cls, array: Array) -> Self:
        found = array.devices()
        if len(found) > 1:
            msg = "an array of jax must be on one device, got one that is sharded; use jax.device_put"
            raise TypeError(msg)
        return cls(next(name for name, device in _devices().items() if device in found))

    @classmethod
    def devices(cls) -> list[str]:
        return list(_devices())

    def describe(self) -> str:
        return str(_devices()[self.device].device_kind)

    @property
    def step_memory(self) -> int:
        return NumpyBackend("cpu").step_memory if self.device == "cpu" else self.working_memory

    def on_device(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = jax.default_device(_devices()[self.device])
        return context

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        # A copy of host data, because JAX may share its memory, or read it later.
        array = x if isinstance(x, jax.Array) else host_array(x, dtype).copy()
        wanted = dtype or array.dtype.name
        if wanted.endswith("64") and not jax.config.jax_enable_x64:
            shorter = wanted.replace("64", "32")
            msg = f"without 64-bit numbers JAX would compute in {shorter}; use {shorter}, or for {wanted} {X64_FIX}"
            raise ValueError(msg)
        return jax.device_put(array.astype(wanted, copy=False), _devices()[self.device])

    def to_numpy(self, array: Array) -> Any:
        return numpy.asarray(array)

    def synchronize(self) -> None:
        jax.block_until_ready(jax.live_arrays())

    def train_epoch(self, step: Step, state: S, stacks: Iterable[Stack]) -> tuple[S, Array]:
        losses = []
        for stack in stacks:
            state, loss = _compiled_loop(step, state, stack.arrays, stack.regularization)
            losses.append(loss)
        return state, losses[0] if len(losses) == 1 else self.xp.concat(losses)
