# SPDX-License-Identifier: Apache-2.0
"""Extremes, comparisons, logic, choices and casts, entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isoform.assemble.assembler import (
    Assembler,
    Computed,
    Known,
    NotTaken,
    Value,
    as_typed,
    fold,
    joint_shape,
)
from isoform.assemble.pointwise import add, folded, relu, scaled, subtract
from isoform.errors import FormatError
from isoform.network.constants import (
    broadcast,
    is_zero,
    number_vector,
    real_array,
    tidy,
)
from isoform.network.linear_map import Gather, LinearMap, exact
from isoform.network.operators import (
    Compare,
    Maximum,
    Minimum,
    Operator,
    Relu,
    Where,
)


def extreme(asm: Assembler, values: Sequence[Value], largest: bool) -> Value:
    """The largest (or smallest) of the operands, entry by entry."""
    if all(isinstance(value, Known) for value in values):
        result = values[0]
        for value in values[1:]:
            result = folded(np.maximum if largest else np.minimum, result, value)  # type: ignore
        return result
    like = next(value for value in values if isinstance(value, Computed))
    if len(values) == 1:
        return like
    if len(values) == 2 and largest:
        other = values[1] if values[0] is like else values[0]
        if isinstance(other, Known) and joint_or_none(asm, other, like) \
                and is_zero(asm.numbers(other, like)):
            return asm.entrywise(Relu(), like)
    return together(asm, Maximum() if largest else Minimum(), values)


def joint_or_none(asm: Assembler, known: Known, like: Computed) -> bool:
    """Whether a constant broadcasts to a computed value without growing it."""
    return joint_shape(asm.numbers(known, like).shape, like.shape) == like.shape


def together(
    asm: Assembler, operator: Operator, values: Sequence[Value], dtype: Any = None
) -> Computed:
    """An operator on operands of one shape; constants become nodes."""
    like = next(value for value in values if isinstance(value, Computed))
    for value in values:
        if isinstance(value, Computed):
            like, _ = asm.meet(like, value)
    arrays = [
        asm.numbers(value, like) if isinstance(value, Known) else None for value in values
    ]
    shape = joint_shape(like.shape, *(array.shape for array in arrays if array is not None))
    nodes = []
    for value, array in zip(values, arrays, strict=True):
        if array is not None:
            nodes.append(asm.constant(broadcast(array, shape), shape))
            continue
        wide = Computed(value.source, np.broadcast_to(value.index, shape),  # type: ignore
                        like.batched, like.dtype)
        nodes.append(asm.shaped(wide))
    made = asm.place(operator, nodes, shape, like)
    return made if dtype is None else as_typed(made, dtype)


RELATIONS: dict[str, Callable[..., Any]] = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "==": np.equal,
}


def compare(asm: Assembler, relation: str, left: Value, right: Value) -> Value:
    """1 where the relation holds, else 0 (bool)."""
    if isinstance(left, Known) and isinstance(right, Known):
        return folded(RELATIONS[relation], left, right)
    return together(asm, Compare(relation), (left, right), np.bool_)


def check_bool(*values: Value) -> None:
    for value in values:
        if value.dtype != np.bool_:
            raise FormatError(f"a logical operation on {value.dtype}")


def logical_not(asm: Assembler, value: Value) -> Value:
    """1 - value."""
    check_bool(value)
    if isinstance(value, Known):
        return fold(np.logical_not, value)
    return asm.affine(value, number_vector(-1, 1), number_vector(1, 1))


def logical(asm: Assembler, name: str, left: Value, right: Value) -> Value:
    """and: relu(a + b - 1); or: a + b - and; xor: a + b - 2 and; all on 0/1 values."""
    check_bool(left, right)
    functions = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
    if isinstance(left, Known) and isinstance(right, Known):
        return folded(functions[name], left, right)
    total = add(asm, as_real(left), as_real(right))
    both = relu(asm, add(asm, total, Known(np.asarray(-1, dtype=np.float32))))
    counted = {"and": 0, "or": 1, "xor": 2}[name]
    if counted == 0:
        return as_typed(both, np.bool_)  # type: ignore[arg-type]
    result = subtract(asm, total, scaled(asm, both, counted))
    return as_typed(result, np.bool_)  # type: ignore[arg-type]


def as_real(value: Value) -> Value:
    """Booleans as 0 and 1."""
    if isinstance(value, Known):
        return fold(lambda a: a.astype(np.float32), value)
    return as_typed(value, np.float32)


def where(asm: Assembler, condition: Value, left: Value, right: Value) -> Value:
    """left where the condition is 1, right where it is 0."""
    check_bool(condition)
    if isinstance(condition, Known):
        if isinstance(left, Known) and isinstance(right, Known):
            joint_shape(condition.shape, left.shape, right.shape)
            return fold(np.where, condition, left, right)
        return chosen(asm, condition, left, right)
    dtype = left.dtype
    if isinstance(left, Known) and isinstance(right, Known):
        a, b = (asm.numbers(value, condition) for value in (left, right))
        gap = tidy(exact(a) - exact(b))
        return as_typed(asm.affine(condition, gap, b), dtype)
    return together(asm, Where(), (condition, left, right), dtype)


def chosen(asm: Assembler, condition: Known, left: Value, right: Value) -> Value:
    """Where with a constant condition: a linear map that picks from both."""
    like = left if isinstance(left, Computed) else right
    assert isinstance(like, Computed)
    if isinstance(left, Computed) and isinstance(right, Computed):
        left, right = asm.meet(left, right)
        like = left
    mask = asm.spread_array(condition, like.rank, like.batched, "a condition")
    arrays = [
        value.index if isinstance(value, Computed)
        else asm.spread_array(value, like.rank, like.batched, "a choice")
        for value in (left, right)
    ]
    shape = joint_shape(mask.shape, *(array.shape for array in arrays))
    keep = [np.broadcast_to(mask, shape), ~np.broadcast_to(mask, shape)]
    parts: list[tuple[LinearMap, int]] = []
    bias: np.ndarray | None = None
    for value, array, held in zip((left, right), arrays, keep, strict=True):
        wide = np.broadcast_to(array, shape)
        if isinstance(value, Known):
            bias = np.where(held, wide, np.zeros((), wide.dtype))
            continue
        size = asm.builder.size_of(value.source)
        indices = np.where(held, wide, -1).reshape(-1)
        parts.append((Gather(indices=indices, scale=None, inputs=size), value.source))
    if len(parts) == 1:
        part, source = parts[0]
        assert isinstance(part, Gather)
        plain = Computed(source, part.indices.reshape(shape), like.batched, like.dtype)
        return plain if bias is None else asm.affine(plain, None, real_array(bias, "a choice"))
    return asm.linear(parts, None, shape, like)


def cast(asm: Assembler, value: Value, dtype: np.dtype) -> Value:
    """Another type: constants are converted; computed values may only widen, as reals."""
    if isinstance(value, Known):
        return fold(lambda a: a.astype(dtype), value)
    before, after = value.dtype, np.dtype(dtype)
    if before == after:
        return value
    widens = (
        before == np.bool_ and after.kind in "fiu"
        or before.kind in "iu" and after.kind == "f"
        or before.kind == after.kind and before.itemsize <= after.itemsize
        or before.kind == "u" and after.kind == "i" and before.itemsize < after.itemsize
    )
    if before.kind == after.kind == "f" and not widens:
        raise NotTaken(
            f"a cast of a computed {before} to {after} rounds every number, which no real function "
            "does; keep activations in the wider type (weights may be float16: those are exact "
            "numbers, and casts of them to a wider type are read)"
        )
    if not widens:
        raise NotTaken(f"a cast of a computed {before} to {after} changes numbers")
    return as_typed(value, after)


