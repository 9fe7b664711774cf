# SPDX-License-Identifier: Apache-2.0
"""The largest difference of two tiny ReLU networks, and their decisions, by exact enumeration.

Every cell of the joint arrangement of both networks' hinges is a polytope whose vertices are known
as integers (double description, in one to three inputs); both networks are affine there, so that
maxima lie at vertices. Shares no code with the program that it judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import gcd, lcm

Form = list[Fraction]  # constant, then the gradient
Vertex = tuple[int, ...]  # (w, x_1 w, ..., x_d w) with w > 0
Polytope = list[tuple[Vertex, int]]  # vertices, each with the set of constraints active there


@dataclass(frozen=True, slots=True)
class TinyLayer:
    """y = W x + b, then max(., 0) where `relu`."""

    weight: list[list[Fraction]]
    bias: list[Fraction]
    relu: bool = True


TinyNet = list[TinyLayer]


@dataclass(frozen=True, slots=True)
class Cell:
    """A polytope on which both networks are affine, and the forms of their outputs."""

    polytope: Polytope
    source: list[Form]
    target: list[Form]


def value_at(net: TinyNet, point: Sequence[Fraction]) -> list[Fraction]:
    """The outputs at a point."""
    x = list(point)
    for layer in net:
        x = [sum((w * v for w, v in zip(row, x, strict=True)), b)
             for row, b in zip(layer.weight, layer.bias, strict=True)]
        if layer.relu:
            x = [max(v, Fraction(0)) for v in x]
    return x


# --- polytopes ------------------------------------------------------------------------------------


def box(low: Sequence[Fraction], high: Sequence[Fraction]) -> Polytope:
    """Corners; the constraints x_i >= low_i and x_i <= high_i have the numbers 2i and 2i + 1."""
    corners: Polytope = []
    for ends in product(*(sorted({a, b}) for a, b in zip(low, high, strict=True))):
        active = sum((x == a) << 2 * i | (x == b) << 2 * i + 1
                     for i, (x, a, b) in enumerate(zip(ends, low, high, strict=True)))
        unit = lcm(*(x.denominator for x in ends))
        corners.append(((unit, *(int(x * unit) for x in ends)), active))
    return corners


def integral(form: Form) -> list[int]:
    """A positive multiple in integers."""
    unit = lcm(*(x.denominator for x in form))
    return [int(x * unit) for x in form]


def dot(form: Sequence[int], vertex: Vertex) -> int:
    return sum(a * b for a, b in zip(form, vertex, strict=True))


def clipped(polytope: Polytope, form: Form, number: int) -> Polytope:
    """The part where form >= 0, of any dimension; the new constraint gets this number.

    Two vertices span an edge iff no third one lies in all constraints that are active at both.
    """
    row, bit = integral(form), 1 << number
    values = [dot(row, vertex) for vertex, _ in polytope]
    kept = [(vertex, active | bit if value == 0 else active)
            for (vertex, active), value in zip(polytope, values, strict=True) if value >= 0]
    above = [i for i, value in enumerate(values) if value > 0]
    below = [i for i, value in enumerate(values) if value < 0]
    for i in above:
        for j in below:
            common = polytope[i][1] & polytope[j][1]
            if any(k not in (i, j) and active & common == common
                   for k, (_, active) in enumerate(polytope)):
                continue
            made = [values[i] * b - values[j] * a
                    for a, b in zip(polytope[i][0], polytope[j][0], strict=True)]
            shared = gcd(*made)
            kept.append((tuple(x // shared for x in made), common | bit))
    return kept


def at(form: Form, vertex: Vertex) -> Fraction:
    return sum((a * b for a, b in zip(form, vertex, strict=True)), Fraction(0)) / vertex[0]


def maximum(polytope: Polytope, form: Form) -> Fraction:
    """Of an affine form over a polytope that is not empty."""
    return max(at(form, vertex) for vertex, _ in polytope)


def minus(first: Form, second: Form) -> Form:
    return [a - b for a, b in zip(first, second, strict=True)]


# --- cells ----------------------------------------------------------------------------------------


def cells(polytope: Polytope, source: TinyNet, target: TinyNet) -> Iterator[Cell]:
    """All cells whose interior meets the polytope (relative to it); together they cover it."""
    d = len(polytope[0][0]) - 1
    inputs = [[Fraction(int(i == j)) for j in range(1 + d)] for i in range(1, 1 + d)]
    used = max(active.bit_length() for _, active in polytope)
    for part, f, number in pieces(polytope, source, inputs, used):
        for small, g, _ in pieces(part, target, inputs, number):
            yield Cell(small, f, g)


def pieces(
    polytope: Polytope, net: TinyNet, inputs: list[Form], number: int
) -> Iterator[tuple[Polytope, list[Form], int]]:
    """Where the network is affine: the part, its outputs there, the next free constraint number."""
    if not net:
        yield polytope, inputs, number
        return
    forms = [combined(row, bias, inputs)
             for row, bias in zip(net[0].weight, net[0].bias, strict=True)]
    parts: list[tuple[Polytope, list[Form]]] = [(polytope, [])]
    for form in forms:
        if not net[0].relu:
            parts = [(part, [*values, form]) for part, values in parts]
            continue
        parts = [piece for part, values in parts for piece in halves(part, values, form, number)]
        number += 1
    for part, values in parts:
        yield from pieces(part, net[1:], values, number)


def combined(row: list[Fraction], bias: Fraction, inputs: list[Form]) -> Form:
    found = [sum((w * form[e] for w, form in zip(row, inputs, strict=True)), Fraction(0))
             for e in range(len(inputs[0]))]
    found[0] += bias
    return found


def halves(
    part: Polytope, values: list[Form], form: Form, number: int
) -> Iterator[tuple[Polytope, list[Form]]]:
    """Where one more ReLU fires, and where it does not; a face belongs to either by continuity."""
    zero = [Fraction(0)] * len(form)
    row = integral(form)
    signs = [dot(row, vertex) for vertex, _ in part]
    if min(signs) >= 0:
        yield part, [*values, form]
    elif max(signs) <= 0:
        yield part, [*values, zero]
    else:
        yield clipped(part, form, number), [*values, form]
        yield clipped(part, [-x for x in form], number), [*values, zero]


# --- what is true ---------------------------------------------------------------------------------


def largest_differences(found: Sequence[Cell]) -> list[Fraction]:
    """max |g_i - f_i| of each output."""
    best = [Fraction(0)] * len(found[0].source)
    for cell in found:
        for i, (f, g) in enumerate(zip(cell.source, cell.target, strict=True)):
            form = minus(f, g)
            if any(form):
                sizes = [abs(at(form, vertex)) for vertex, _ in cell.polytope]
                best[i] = max(best[i], *sizes)
    return best


def decision_kept(found: Sequence[Cell], margin: Fraction) -> bool:
    """Whether nowhere f_c >= f_k + margin for all other k, and g_j > g_c."""
    for cell in found:
        for c in range(len(cell.source)):
            part = preferred(cell, c, margin)
            for j in range(len(cell.source)):
                if part and maximum(part, minus(cell.target[j], cell.target[c])) > 0:
                    return False
    return True


def preferred(cell: Cell, c: int, margin: Fraction) -> Polytope:
    """The part of a cell where f prefers c by the margin, boundary included; perhaps empty."""
    part = cell.polytope
    for k, form in enumerate(cell.source):
        if k != c and part:
            guard = minus(cell.source[c], form)
            guard[0] -= margin
            part = clipped(part, guard, max(active.bit_length() for _, active in part))
    return part


def lost_margin(found: Sequence[Cell]) -> Fraction | None:
    """sup of f_c - max of the other f_k over all x, c where some g_j > g_c and f prefers c (or is
    undecided between c and another); None where there are none."""
    best: Fraction | None = None
    for cell in found:
        outputs = range(len(cell.source))
        for c, k in product(outputs, outputs):
            if c == k:
                continue
            part = preferred(cell, c, Fraction(0))
            for other in outputs:  # where k is the second
                if part and other not in (c, k):
                    guard = minus(cell.source[k], cell.source[other])
                    part = clipped(part, guard, max(active.bit_length() for _, active in part))
            for j in outputs:
                lead = minus(cell.target[j], cell.target[c])
                if not part or maximum(part, lead) <= 0:
                    continue
                there = clipped(part, lead, max(active.bit_length() for _, active in part))
                size = maximum(there, minus(cell.source[c], cell.source[k]))
                best = size if best is None else max(best, size)
    return best
