# SPDX-License-Identifier: Apache-2.0
"""The integers behind a value that was dequantised and will be quantised by the same numbers.

Quantising (q - p) s with scale s and zero point p gives q again, for every integer q of the type:
files have such pairs around reshapes and pools. Without the second rounding there is one function
less to bound, and the pair may be proved to change nothing.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from isoform.assemble.assembler import Assembler
from isoform.network.linear_map import Constant, Gather, exact
from isoform.network.network import Node
from isoform.network.operators import Concat, Linear, MaxPool, Quantize, Select
from isoform.numerics.exact import Exact


def node_of(asm: Assembler, source: int) -> Node | None:
    """The node behind a value; None for an input."""
    first = len(asm.builder.inputs)
    return None if source < first else asm.builder.nodes[source - first]


def integers_behind(
    asm: Assembler, source: int, scale: Fraction, point: int, ends: tuple[int, int]
) -> int | None:
    """A value q with source = (q - point) scale, of the same shape, whose entries are integers
    between the ends; None where none is seen. scale > 0.

    Selections, concatenations and maxima commute with an increasing affine map, so they are applied
    to the integers.
    """
    node = node_of(asm, source)
    if node is None:
        return None
    if scale == 1 and point == 0 and whole(asm, source, ends):
        return source
    match node.operator:
        case Linear(maps=(Gather(indices=indices, scale=factor),), bias=bias):
            below = node.operands[0]
            fits = indices.min(initial=0) >= 0 and all_are(factor, scale, Fraction(1)) \
                and all_are(bias, -scale * point, Fraction(0))
            if not fits or not whole(asm, below, ends):
                return None
            shape = asm.builder.shape_of(below)
            if shape == node.shape and np.array_equal(indices, np.arange(len(indices))):
                return below
            return asm.builder.add(Select(indices), (below,), node.shape)
        case Select() | Concat() | MaxPool():
            parts = []
            for operand in node.operands:
                part = integers_behind(asm, operand, scale, point, ends)
                if part is None:
                    return None
                parts.append(part)
            return asm.builder.add(node.operator, parts, node.shape)
    return None


def whole(asm: Assembler, source: int, ends: tuple[int, int]) -> bool:
    """Whether all entries are seen to be integers between the ends."""
    node = node_of(asm, source)
    match None if node is None else node.operator:
        case Quantize(low=low, high=high):
            return ends[0] <= low and high <= ends[1]
        case Select() | Concat() | MaxPool():
            assert node is not None
            return all(whole(asm, operand, ends) for operand in node.operands)
    return False


def all_are(constant: Constant | None, number: Fraction, default: Fraction) -> bool:
    """Whether every entry is this number; a constant left out stands for the default."""
    if constant is None:
        return number == default
    held = exact(constant)
    return bool(np.all(held.numerator * number.denominator == number.numerator * held.denominator))


def single(array: np.ndarray) -> Fraction:
    """The number of an array of one entry, exactly."""
    return Exact.of(array.reshape(())).item()
