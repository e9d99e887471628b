"""What compiled loops read at an address.

Numba's arrays would be counted, checked and copied at every call, and what a shot looks at lies in many of them.
"""
# pyright: basic
# (Numba calls these functions with its own types and LLVM's builders.)

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

FLOAT, INT16, INT32, INT64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
FOUR_FLOATS, FOUR_LEVELS, FOUR_WHOLES = (ir.VectorType(kind, 4) for kind in (FLOAT, INT16, INT32))
BYTES = ir.IntType(8).as_pointer()
PREFETCH = ir.FunctionType(ir.VoidType(), [BYTES, INT32, INT32, INT32])
FUSED = ("contract",)
BLENDED = types.UniTuple(types.float32, 4)(*[types.int64] * 3, *[types.float32] * 4)

Blend = Callable[..., tuple[np.float32, np.float32, np.float32, np.float32]]


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))


def _levels_at(typing_context: Any, address: Any) -> Any:
    return types.CPointer(types.uint16)(types.int64), _pointer


def _bytes_at(typing_context: Any, address: Any) -> Any:
    return types.CPointer(types.uint8)(types.int64), _pointer


def _blend_floats(typing_context: Any, address: Any, at: Any, below: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return BLENDED, _add_floats


def _blend_levels(typing_context: Any, address: Any, at: Any, below: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return BLENDED, _add_levels


def _add_floats(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def load(entry: Any) -> Any:
        return builder.load(entry, align=4)

    return _add(context, builder, signature, arguments, FOUR_FLOATS, load)


def _add_levels(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def load(entry: Any) -> Any:
        return builder.sitofp(builder.sext(builder.load(entry, align=2), FOUR_WHOLES), FOUR_FLOATS)

    return _add(context, builder, signature, arguments, FOUR_LEVELS, load)


def _add(context: Any, builder: Any, signature: Any, arguments: Any, kind: Any, load: Any) -> Any:
    """All four values of an entry at once, which LLVM does not find by itself."""
    address, at, below, *weights = arguments
    entries = builder.inttoptr(address, kind.as_pointer())
    # The row after these two is what the next row of pixels will want.
    ahead = builder.gep(entries, [builder.sub(builder.add(below, below), at)])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", (BYTES,), PREFETCH)
    builder.call(prefetch, [builder.bitcast(ahead, BYTES), INT32(0), INT32(3), INT32(1)])
    numbers = at, builder.add(at, INT64(1)), below, builder.add(below, INT64(1))
    total = None
    for number, weight in zip(numbers, weights, strict=True):
        alone = builder.insert_element(ir.Constant(FOUR_FLOATS, ir.Undefined), weight, INT32(0))
        spread = builder.shuffle_vector(alone, alone, ir.Constant(FOUR_WHOLES, [0] * 4))
        product = builder.fmul(load(builder.gep(entries, [number])), spread, flags=FUSED)
        total = product if total is None else builder.fadd(total, product, flags=FUSED)
    values = [builder.extract_element(total, INT32(number)) for number in range(4)]
    return context.make_tuple(builder, signature.return_type, values)


levels_at: Callable[[int], Any] = cast(Any, intrinsic(_levels_at))
"""uint16 values at an address, to be indexed."""
bytes_at: Callable[[int], Any] = cast(Any, intrinsic(_bytes_at))
"""The same of uint8."""
blend_floats: Blend = cast(Any, intrinsic(_blend_floats))
"""blend_floats(address, at, below, a, b, c, d): of entries of four float32 each at an address,
a · [at] + b · [at + 1] + c · [below] + d · [below + 1]."""
blend_levels: Blend = cast(Any, intrinsic(_blend_levels))
"""The same of entries of four int16."""
