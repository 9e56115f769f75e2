"""Vectors of floats for Numba: a type and the few operations that kernels need.

LLVM's automatic vectoriser does not find register-blocked loops by itself. Here the vectors are values of the compiled
program: ``load(array, place)`` reads consecutive floats of a contiguous array (no bounds are checked), ``fma(a, b, c)``
is ``a * b + c``. Vectors exist within compiled functions only; LLVM splits those that are wider than a register.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

WIDE = 16
"""Floats in a wide vector: two AVX registers."""

NARROW = 8
"""Floats in a narrow vector."""


class _Vector(types.Type):
    def __init__(self, width: int) -> None:
        self.llvm = ir.VectorType(ir.FloatType(), width)
        super().__init__(name=f"float32x{width}")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: _Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


_WIDE, _NARROW = _Vector(WIDE), _Vector(NARROW)


def _pointer(context: Any, builder: Any, signature: Any, args: Any, vector: _Vector) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, args[1]), vector.llvm.as_pointer())


def _loader(vector: _Vector) -> Any:
    def load(typingctx: Any, array: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_pointer(context, builder, signature, args, vector), align=4)

        return vector(array, types.intp), generate

    return intrinsic(load)


def _storer(vector: _Vector) -> Any:
    def store(typingctx: Any, array: Any, place: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], _pointer(context, builder, signature, args, vector), align=4)
            return context.get_dummy_value()

        return types.void(array, types.intp, vector), generate

    return intrinsic(store)


def _splat(builder: Any, vector: _Vector, scalar: Any) -> Any:
    undefined = ir.Constant(vector.llvm, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, _positions([0] * vector.llvm.count))


def _filler(vector: _Vector) -> Any:
    def fill(typingctx: Any, scalar: Any) -> Any:
        return vector(types.float32), lambda context, builder, signature, args: _splat(builder, vector, args[0])

    return intrinsic(fill)


def _spreader(vector: _Vector) -> Any:
    def spread(typingctx: Any, array: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            return _splat(builder, vector, builder.load(cgutils.gep_inbounds(builder, data, args[1])))

        return vector(array, types.intp), generate

    return intrinsic(spread)


def _unary(emit: Callable[..., Any], result: Any = None) -> Any:
    def operation(typingctx: Any, a: Any) -> Any:
        return (result or a)(a), lambda context, builder, signature, args: emit(builder, *args)

    return intrinsic(operation)


def _binary(emit: Callable[..., Any]) -> Any:
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        return a(a, a), lambda context, builder, signature, args: emit(builder, *args)

    return intrinsic(operation)


def _ternary(emit: Callable[..., Any]) -> Any:
    def operation(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
        return a(a, a, a), lambda context, builder, signature, args: emit(builder, *args)

    return intrinsic(operation)


def _positions(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


def _constant(like: Any, value: float) -> Any:
    return ir.Constant(like.type, [value] * like.type.count)


def _call(builder: Any, name: str, *args: Any) -> Any:
    vector = args[0].type
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * len(args)), f"llvm.{name}.v{vector.count}f32"
    )
    return builder.call(function, args)


def _emit_relu(builder: Any, value: Any) -> Any:
    zero = _constant(value, 0.0)  # the comparison is false for NaN, which passes, as in PyTorch
    return builder.select(builder.fcmp_ordered("<", value, zero), zero, value)


def _emit_masked(builder: Any, activation: Any, gradient: Any) -> Any:
    zero = _constant(gradient, 0.0)
    return builder.select(builder.fcmp_ordered("<=", activation, zero), zero, gradient)


def _emit_rsqrt(builder: Any, value: Any) -> Any:
    return builder.fdiv(_constant(value, 1.0), _call(builder, "sqrt", value))


def _emit_total(builder: Any, value: Any) -> Any:
    width = value.type.count
    while width > 1:
        width //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        lower = builder.shuffle_vector(value, undefined, _positions(list(range(width))))
        upper = builder.shuffle_vector(value, undefined, _positions(list(range(width, 2 * width))))
        value = builder.fadd(lower, upper)
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def _emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "fma", a, b, c)


load, load_narrow = _loader(_WIDE), _loader(_NARROW)
store = _storer(_WIDE)
spread = _spreader(_WIDE)
"""``spread(array, place)``: one float of an array in all elements, without Numba's test for negative places."""

fill, fill_narrow = _filler(_WIDE), _filler(_NARROW)
add = _binary(lambda builder, a, b: builder.fadd(a, b))
sub = _binary(lambda builder, a, b: builder.fsub(a, b))
mul = _binary(lambda builder, a, b: builder.fmul(a, b))
fma = _ternary(_emit_fma)
relu = _unary(_emit_relu)
masked = _binary(_emit_masked)
"""``masked(activation, gradient)``: the gradient where the activation is positive, else zero."""

rsqrt = _unary(_emit_rsqrt)
total = _unary(_emit_total, types.float32)
"""The sum of all elements, in a fixed order."""
