"""Memory for the arrays of a kernel of which the compiler knows that they do not overlap.

LLVM does not know this of arrays from `numpy.empty`: before each vectorized loop it compares their addresses, and it
compiles the loop a second time, without vector instructions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

ALIGNMENT = 64
"""The alignment of arrays in bytes: that of a cache line, and of the longest vector registers."""


@intrinsic
def allocate(typing_context: Any, size: Any) -> Any:
    """Return a pointer to as many bytes, and `ALIGNMENT` more; the caller must release it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.nrt.allocate(builder, builder.add(arguments[0], ir.Constant(arguments[0].type, ALIGNMENT)))

    return types.voidptr(types.intp), generate


@intrinsic
def aligned(typing_context: Any, pointer: Any) -> Any:
    """Return the first aligned address from a pointer on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (pointer,) = arguments
        address = builder.ptrtoint(pointer, context.get_value_type(types.intp))
        return builder.gep(pointer, [builder.and_(builder.neg(address), ir.Constant(address.type, ALIGNMENT - 1))])

    return types.voidptr(types.voidptr), generate


@intrinsic
def release(typing_context: Any, pointer: Any) -> Any:
    """Free what `allocate` returned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        context.nrt.free(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.voidptr), generate
