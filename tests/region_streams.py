# SPDX-License-Identifier: Apache-2.0
"""Splitting trees of tiny networks as streams of tokens, and their true number of regions.

Everything in rationals and as plain as can be: a simplex method by Bland's rule from vertex to
vertex; and, for two inputs, polygons cut in two. Neither shares code with search or checker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.certificate.certificate import Certificate
from isoform.certificate.evidence import Evidence
from isoform.certificate.region_evidence import Regions, Stream, Token
from isoform.network.charts import Chart, charts
from isoform.network.claim import Claim, RegionCount
from isoform.network.domain import Domain, bound_to
from isoform.network.network import Network
from isoform.network.unit_layers import UnitLayers, unit_layers
from isoform.numerics.exact import Exact

Row = tuple[list[Fraction], Fraction]  # (a, b): a.u <= b
Form = list[Fraction]  # constant first
MARGIN = Fraction(1, 1 << 80)  # boxes of the checker are wider than these by their rounding


# --- rationals ------------------------------------------------------------------------------------


def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    k = len(matrix)
    work = [[*row, *(Fraction(int(i == j)) for j in range(k))] for i, row in enumerate(matrix)]
    for i in range(k):
        pivot = next(r for r in range(i, k) if work[r][i])
        work[i], work[pivot] = work[pivot], work[i]
        work[i] = [v / work[i][i] for v in work[i]]
        for r in range(k):
            if r != i and work[r][i]:
                work[r] = [v - work[r][i] * w for v, w in zip(work[r], work[i], strict=True)]
    return [row[k:] for row in work]


def climb(rows: dict[int, Row], basis: list[int], c: list[Fraction]
          ) -> tuple[list[int], list[Fraction], Fraction]:
    """Basis, vertex and value of the largest c.u, from a feasible basis; Bland's rule."""
    while True:
        basis = sorted(basis)
        inverted = inverse([rows[i][0] for i in basis])
        x = [dot(line, [rows[i][1] for i in basis]) for line in inverted]
        y = [dot(c, [line[n] for line in inverted]) for n in range(len(basis))]
        leave = next((n for n, v in enumerate(y) if v < 0), None)
        if leave is None:
            return basis, x, dot(c, x)
        step = [-line[leave] for line in inverted]
        rates = {i: dot(a, step) for i, (a, _) in rows.items()}
        enter = min(((rows[i][1] - dot(rows[i][0], x)) / rate, i)
                    for i, rate in rates.items() if rate > 0)[1]
        basis = [*basis[:leave], *basis[leave + 1 :], enter]


# --- the search -----------------------------------------------------------------------------------


@dataclass
class Node:
    signs: list[int]
    rows: dict[int, Row]
    basis: list[int]
    box: list[list[Fraction]]
    forms: list[Form] = field(default_factory=list)


@dataclass
class Found:
    """A stream in the making."""

    prefix: bytes
    codes: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    points: list[list[Fraction]] = field(default_factory=list)

    def say(self, code: int, *ids: int) -> None:
        self.codes.append(code)
        self.ids += ids

    def stream(self, k: int, exact: bool) -> Stream:
        near = np.array([[float(v) for v in p] for p in self.points], dtype=np.float64)
        fine = enumerate(self.points) if exact else ()
        return Stream(
            prefix=self.prefix, codes=np.array(self.codes, dtype=np.uint8),
            ids=np.array(self.ids, dtype=np.int32), points=near.reshape(len(self.points), k),
            fine=tuple((n, Exact.of(np.array(p, dtype=object))) for n, p in fine),
        )


def forms_of(layers: UnitLayers, layer: int, forms: list[Form], signs: list[int]) -> list[Form]:
    """Affine forms of a layer's units where the units before have these signs."""
    k, made = layers.dimension, []
    steps = np.repeat([part.step for part in layers.layers], np.diff(layers.starts))
    for i in range(layers.layers[layer].size):
        form = [Fraction(0)] * (1 + k)
        for column, weight in layers.layers[layer].rows.row_fractions(i).items():
            if column <= k:
                form[column] += weight
                continue
            unit = column - 1 - k
            if steps[unit]:
                form[0] += weight * int(bool(signs[unit] & 1) or not any(forms[unit]))
            elif signs[unit] & 1:
                form = [f + weight * v for f, v in zip(form, forms[unit], strict=True)]
        made.append(form)
    return made


def over_box(form: Form, box: list[list[Fraction]]) -> tuple[Fraction, Fraction]:
    ends = [sorted((g * low, g * high)) for g, (low, high) in zip(form[1:], box, strict=True)]
    return form[0] + sum(a for a, _ in ends), form[0] + sum(b for _, b in ends)


def narrowed(box: list[list[Fraction]], form: Form) -> list[list[Fraction]]:
    """The box around its part with form >= 0, every coordinate from the box as it was."""
    made = [list(ends) for ends in box]
    top = over_box(form, box)[1]
    for i, g in enumerate(form[1:]):
        if g:
            rest = top - max(g * box[i][0], g * box[i][1])
            side = 0 if g > 0 else 1
            made[i][side] = (max, min)[side](made[i][side], -rest / g)
    return made


class Search:
    """The whole tree of a chart. boxes: tighten by programs at every layer. hole: the unit before
    which the subtree becomes another stream."""

    def __init__(self, chart: Chart, boxes: bool = False, hole: int = 0):
        self.chart, self.layers, self.k = chart, chart.layers, chart.dimension
        self.boxes, self.hole = boxes, hole
        A, b = chart.rows
        flat, bounds = A.fractions(), b.fractions()
        rows = [flat[i * self.k : (i + 1) * self.k] for i in range(len(bounds))]
        self.faces = dict(enumerate(zip(rows, bounds, strict=True)))
        self.done: list[Found] = []
        self.waiting: list[tuple[Found, Node]] = []

    def run(self) -> list[Found]:
        found = Found(b"")
        start = {i: self.faces[i] for i in range(2 * self.k)}
        root = Node([], start, list(range(0, 2 * self.k, 2)), self.whole_box())
        self.done.append(found)
        for i in range(2 * self.k, len(self.faces)):
            a, b = self.faces[i]
            if any(a):
                basis, _, value = climb(root.rows, root.basis, [-v for v in a])
                if -value >= b:
                    found.say(Token.EMPTY, *basis, i)
                    return self.done
                root.basis = basis
            root.rows = root.rows | {i: (a, b)}
        self.waiting.append((found, root))
        while self.waiting:
            self.visit(*self.waiting.pop())
        return self.done

    def whole_box(self) -> list[list[Fraction]]:
        low, high = self.chart.low.fractions(), self.chart.high.fractions()
        return [list(ends) for ends in zip(low, high, strict=True)]

    def visit(self, found: Found, node: Node) -> None:
        unit = len(node.signs)
        if self.hole and unit == self.hole and len(found.prefix) < unit:
            found.say(Token.HOLE)
            found = Found(bytes(node.signs))
            self.done.append(found)
            node.box = self.whole_box()  # a stream knows the walls of its prefix, no earlier BOX
            for sign, form in zip(node.signs, node.forms, strict=False):
                if sign & 2:
                    node.box = narrowed(node.box, [v if sign & 1 else -v for v in form])
        if unit == self.layers.units:
            found.points.append(self.inside(node))
            return
        if unit in self.layers.starts:
            layer = self.layers.starts.index(unit)
            node.forms = node.forms + forms_of(self.layers, layer, node.forms, node.signs)
            if self.boxes:
                self.tighten(found, node)
        form = node.forms[unit]
        sides = []
        for sign in (-1, 1):
            c = [sign * g for g in form[1:]]
            basis, _, value = climb(node.rows, node.basis, c)
            sides.append((basis, value + sign * form[0]))
        if min(value for _, value in sides) > 0 and not self.denied(found, node, sides):
            code = (len(found.codes) + unit) % 2  # either order
            found.say(code)
            for active in (1 - code, code):  # the last one pushed is the first to be read
                toward = [v if active else -v for v in form]
                wall = [-v for v in toward[1:]], toward[0]
                self.waiting.append((found, Node(
                    [*node.signs, 2 + active], node.rows | {self.m + unit: wall},
                    sides[active][0], narrowed(node.box, toward), node.forms,
                )))
            return
        if len(node.signs) > unit:  # a lie has been told
            self.waiting.append((found, node))
            return
        active = int(sides[1][1] > 0)
        self.say_stable(found, node, form, active, sides[1 - active][0])
        node.signs = [*node.signs, active]
        self.waiting.append((found, node))

    def denied(self, found: Found, node: Node, sides: list[tuple[list[int], Fraction]]) -> bool:
        """Whether to say, and to go on as if, a unit that splits the cell did not; for liars."""
        return False

    @property
    def m(self) -> int:
        return len(self.faces)

    def say_stable(
        self, found: Found, node: Node, form: Form, active: int, basis: list[int]
    ) -> None:
        low, high = over_box(form, node.box)
        if not any(form) or (low > MARGIN if active else high < -MARGIN):
            found.say(Token.MINUS_BOX + active)
            return
        for v, other in enumerate(node.forms[: len(node.signs)]):
            at = next((i for i, g in enumerate(other) if g), None)
            if at is not None and form[at] and all(
                f * other[at] == g * form[at] for f, g in zip(form, other, strict=True)
            ):
                found.say(Token.MINUS_FOLLOW + active, v)
                return
        found.say(Token.MINUS_BASIS + active, *basis)

    def tighten(self, found: Found, node: Node) -> None:
        """Both ends of every coordinate, by programs."""
        words = [min(15, self.k - first) for first in range(0, self.k, 15)]
        ids, box = [(1 << 2 * n) - 1 for n in words], [list(ends) for ends in node.box]
        for end in range(2 * self.k):
            c = [Fraction(0)] * self.k
            c[end // 2] = Fraction(1 if end % 2 else -1)
            basis, _, value = climb(node.rows, node.basis, c)
            box[end // 2][end % 2] = value if end % 2 else -value
            ids += basis
        node.box = box
        found.say(Token.BOX, *ids)

    def inside(self, node: Node) -> list[Fraction]:
        """The mean of vertices that do not all lie on any one row."""
        corners = [
            climb(node.rows, node.basis, [-v for v in a])[1]
            for a, _ in node.rows.values() if any(a)
        ]
        return [sum(x) / len(corners) for x in zip(*corners, strict=True)]


def tree(chart: Chart, *, boxes: bool = False, hole: int = 0, exact: bool = False
         ) -> tuple[Stream, ...]:
    """The streams of a chart."""
    found = Search(chart, boxes, hole).run()
    return tuple(part.stream(chart.dimension, exact) for part in found)


def certified(network: Network, domain: Domain, *, complete: bool = True, count: int | None = None,
              **options: Any) -> Certificate:
    """The certificate of a network's number of regions (or of `count`)."""
    domain = bound_to(domain, network.dimension)
    parts = tuple(tree(chart, **options) for chart in charts(unit_layers(network), domain))
    if count is None:
        leaves = [len(stream.points) for streams in parts for stream in streams]
        assert len(parts) == 1
        count = sum(leaves)
    return Certificate(
        source=network, target=network, claim=Claim(RegionCount(count, complete=complete), domain),
        evidence=(Evidence("regions", Regions(parts)),), conclusion="regions",
    )


# --- the truth for two inputs ---------------------------------------------------------------------


def polygons(network: Network, domain: Domain) -> int:
    """The number of activation regions in the plane, by cutting polygons."""
    (chart,) = charts(unit_layers(network), domain)
    layers = chart.layers
    one = Fraction(1)
    whole = [[-one, -one], [one, -one], [one, one], [-one, one]]
    A, b = chart.rows
    rows, bounds = A.fractions(), b.fractions()
    for i in range(4, len(bounds)):
        if any(rows[2 * i : 2 * i + 2]) or bounds[i] < 0:
            whole = part(whole, [bounds[i], -rows[2 * i], -rows[2 * i + 1]])
    open_cells: list[tuple[list[list[Fraction]], list[int], list[Form]]] = (
        [(whole, [], [])] if whole else []
    )
    for layer, start in enumerate(layers.starts[:-1]):
        cells = [(p, s, f + forms_of(layers, layer, f, s)) for p, s, f in open_cells]
        for unit in range(start, layers.starts[layer + 1]):
            cells = [
                (piece, [*signs, active], forms) for corners, signs, forms in cells
                for piece, active in pieces(corners, forms[unit])
            ]
        open_cells = cells
    return len(open_cells)


def pieces(corners: list[list[Fraction]], form: Form
           ) -> list[tuple[list[list[Fraction]], int]]:
    values = [form[0] + dot(form[1:], p) for p in corners]
    if max(values) <= 0:
        return [(corners, 0)]
    if min(values) >= 0:
        return [(corners, 1)]
    return [(part(corners, [-v for v in form]), 0), (part(corners, form), 1)]


def part(corners: list[list[Fraction]], form: Form) -> list[list[Fraction]]:
    """The polygon's part with form >= 0; nothing where that has no interior."""
    values = [form[0] + dot(form[1:], p) for p in corners]
    if not corners or max(values) <= 0:
        return []
    made = []
    for n, (p, v) in enumerate(zip(corners, values, strict=True)):
        q, w = corners[n - 1], values[n - 1]
        if (v > 0) != (w > 0) and v != 0 and w != 0:
            made.append([a + (b - a) * w / (w - v) for a, b in zip(q, p, strict=True)])
        if v >= 0:
            made.append(p)
    return made
