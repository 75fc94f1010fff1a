"""What the signatures speak of. Any library's arrays will do, so the names tell a reader more than a type checker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

Array: TypeAlias = Any
"""An array of any library that follows the array API standard."""

Namespace: TypeAlias = Any
"""The functions of that library: what the standard calls `xp`."""

Layer: TypeAlias = tuple[Array, Array]
"""``(W, b)``: weights of shape (..., n_out, n_in) and biases of shape (..., n_out, 1)."""

Layers: TypeAlias = Sequence[Layer]
