# SPDX-License-Identifier: Apache-2.0
"""Exact decisions on one cell: verdicts, hints, points inside, cells too thin for floats."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from exact_oracles import chart_rows, proves, unit_layers_of, value
from isoform.network.charts import charts
from isoform.network.domain import Box, Polytope
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import Exact
from isoform.regions.exact_decision import (
    Corner,
    Decision,
    EmptyCell,
    Verdict,
    decide,
    interior,
)
from isoform.regions.exact_forms import ExactForms, exact_forms, form_of, row_of

THIN = Fraction(1, 1 << 60)


def forms_of(layers: UnitLayers, more: Any = None) -> ExactForms:
    box = Box(-1, 1)
    (chart,) = charts(layers, Polytope(Exact.of(more[0]), Exact.of(more[1]), box) if more else box)
    return exact_forms(chart)


def cell(forms: ExactForms, prefix: bytes) -> dict[int, list[Fraction]]:
    """The half-spaces of a cell by row id."""
    faces = chart_rows(forms.chart)
    found = dict(enumerate(faces))
    for unit, code in enumerate(prefix):
        if code & 2:
            form = form_of(forms, unit, prefix).fractions()
            found[len(faces) + unit] = form if code & 1 else [-v for v in form]
    return found


def checked(forms: ExactForms, prefix: bytes, unit: int, hint: Any = None) -> Decision:
    """A decision, with what it says shown to be true."""
    made = decide(forms, prefix, unit, hint)
    z, rows = form_of(forms, unit, prefix).fractions(), cell(forms, prefix)
    match made.verdict:
        case Verdict.SPLIT:
            for corner, sign in ((made.minus, -1), (made.plus, 1)):
                assert isinstance(corner, Corner) and len(corner.basis) == forms.dimension
                point = corner.point.fractions()
                assert all(value(row, point) >= 0 for row in rows.values())
                assert all(value(rows[i], point) == 0 for i in corner.basis)
                assert value(z, point) * sign > 0
        case Verdict.MINUS_BASIS | Verdict.PLUS_BASIS:
            basis = [rows[i] for i in made.ids]
            assert proves(basis, z, 1 if made.verdict == Verdict.PLUS_BASIS else -1)
        case Verdict.MINUS_BOX | Verdict.PLUS_BOX:
            assert not any(z[1:])
    return made


def nodes(forms: ExactForms) -> Iterator[tuple[bytes, Decision]]:
    """All nodes of the tree, with the decision on the next unit."""
    stack = [b""]
    while stack:
        prefix = stack.pop()
        if len(prefix) == forms.starts[-1]:
            continue
        made = checked(forms, prefix, len(prefix))
        yield prefix, made
        codes = (2, 3) if made.verdict == Verdict.SPLIT else (made.verdict & 1,)
        stack += [prefix + bytes([code]) for code in codes]


def small(seed: int, d: int) -> ExactForms:
    random = np.random.default_rng(seed)
    rows = [random.integers(-2, 3, (3, width)).tolist() for width in (1 + d, 4 + d)]
    return forms_of(unit_layers_of(d, rows))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_no_hint_changes_a_verdict(d: int) -> None:
    """Bases of other nodes, dependent and repeated rows, walls that are not there, nonsense."""
    random = np.random.default_rng(d)
    seen = set()
    for seed in range(3):
        forms = small(seed, d)
        count = len(forms.chart_rows) + forms.starts[-1]
        for prefix, made in nodes(forms):
            seen.add(made.verdict)
            hints = [list(random.integers(-2, count + 2, d)) for _ in range(4)]
            for hint in [*hints, [0] * d, [], list(made.ids)]:
                assert checked(forms, prefix, len(prefix), hint).verdict == made.verdict
    assert {Verdict.SPLIT, Verdict.MINUS_BASIS, Verdict.PLUS_BASIS} <= seen


def test_a_hint_that_proves_the_sign_is_what_is_recorded() -> None:
    """x + y + 2 >= 0 holds by the two lower faces, up to 0; where x + 2 y >= -1 also by a face and
    that row. The order of the hint shows that it was taken."""
    for sign, verdict in ((1, Verdict.PLUS_BASIS), (-1, Verdict.MINUS_BASIS)):
        layers = unit_layers_of(2, [[[2 * sign, sign, sign]]])
        forms = forms_of(layers, ([[-1, -2]], [1]))
        for hint in ((0, 2), (2, 0), (0, 4), (4, 0)):
            assert checked(forms, b"", 0, hint) == Decision(verdict, hint)
        for wrong in ((1, 3), (0, 3), (2, 4)):
            assert checked(forms, b"", 0, wrong) == Decision(verdict, (0, 2))


def test_multiples_follow_a_unit_that_split() -> None:
    """x, 2x, -x: the first splits, the others follow it, not each other."""
    layers = unit_layers_of(1, [[[0, 1], [0, 2], [0, -1], [0, 0]], [[0, 0, 0, 0, 5]]])
    forms = forms_of(layers)
    assert decide(forms, b"", 0).verdict == Verdict.SPLIT
    assert decide(forms, b"\3", 1) == Decision(Verdict.PLUS_FOLLOW, (0,))
    assert decide(forms, b"\2", 1) == Decision(Verdict.MINUS_FOLLOW, (0,))
    assert decide(forms, b"\3\1", 2) == Decision(Verdict.MINUS_FOLLOW, (0,))
    assert decide(forms, b"\2\0", 2) == Decision(Verdict.PLUS_FOLLOW, (0,))
    assert decide(forms, b"\2\0\1", 3) == Decision(Verdict.MINUS_BOX)
    assert decide(forms, b"\2\0\1\0", 4) == Decision(Verdict.PLUS_FOLLOW, (0,))  # 5 relu(-x)
    assert decide(forms, b"\3\1\0\0", 4) == Decision(Verdict.MINUS_BOX)


def test_multiples_follow_a_stable_unit() -> None:
    """x + 2 >= 0 on the box by itself; the units that follow keep its sign or turn it."""
    forms = forms_of(unit_layers_of(1, [[[2, 1], [4, 2], [-2, -1], [3, 1]]]))
    assert decide(forms, b"", 0).verdict == Verdict.PLUS_BASIS
    assert decide(forms, b"\1", 1) == Decision(Verdict.PLUS_FOLLOW, (0,))
    assert decide(forms, b"\1\1", 2) == Decision(Verdict.MINUS_FOLLOW, (0,))
    assert decide(forms, b"\1\1\0", 3).verdict == Verdict.PLUS_BASIS  # parallel, no multiple
    assert decide(forms, b"", 1).verdict == Verdict.PLUS_BASIS  # unit 0 is not yet decided
    with pytest.raises(ValueError, match="already"):
        decide(forms, b"\1", 0)


def test_cells_that_floats_do_not_see() -> None:
    """Between x = 0 and x = 2^-60, floats that compute with 1 + x see a point."""
    walls = [[0, 1], [-THIN, 1], [-THIN / 2, 1], [THIN / 2, 1], [-2 * THIN, 2], [-2 * THIN, 1],
             [0, -3]]
    forms = forms_of(unit_layers_of(1, [walls]))
    prefix = b"\3\2"
    found = interior(forms, prefix)
    assert isinstance(found, Exact) and 0 < found[0].item() < THIN
    assert found.denominator <= 1 << 61
    verdicts = [checked(forms, prefix, unit).verdict for unit in range(2, 7)]
    assert verdicts == [
        Verdict.SPLIT, Verdict.PLUS_BASIS, Verdict.MINUS_FOLLOW, Verdict.MINUS_BASIS,
        Verdict.MINUS_FOLLOW,
    ]
    corner = checked(forms, prefix, 2).plus
    assert corner is not None and corner.basis == (3,) and corner.point.item() == THIN


def test_a_sliver_in_the_plane() -> None:
    """y between a x and (a + 2^-60) x: a wedge that ends with width 2^-60 at x = 1."""
    layers = unit_layers_of(
        2, [[[0, -1, 1], [0, -1 - THIN, 1], [0, -1 - THIN / 2, 1], [-1 - THIN, 1, 1]]]
    )
    forms = forms_of(layers)
    found = interior(forms, b"\3\2")
    assert isinstance(found, Exact)
    for row in cell(forms, b"\3\2").values():
        assert value(row, found.fractions()) > 0
    assert checked(forms, b"\3\2", 2).verdict == Verdict.SPLIT
    assert checked(forms, b"\3\2", 3).verdict == Verdict.SPLIT


@pytest.mark.parametrize("walls, prefix", [
    ([[0, 1, 0], [0, -1, 0]], b"\3\3"),  # x >= 0 and x <= 0
    ([[0, 1, 0], [-1, -1, 0]], b"\3\3"),  # no point at all
    ([[-1, 1, 0]], b"\3"),  # the face x = 1
    ([[-2, 1, 1]], b"\3"),  # a corner
    ([[-2, 1, 1], [1, 3, 1]], b"\3\3"),
])
def test_cells_without_interior_say_why(walls: Any, prefix: bytes) -> None:
    forms = forms_of(unit_layers_of(2, [walls]))
    found = interior(forms, prefix)
    assert isinstance(found, EmptyCell) and len(set(found.ids)) == 3
    rows = [cell(forms, prefix)[i] for i in found.ids]
    # The multipliers y, up to scale: the cross product of the two rows of gradients.
    a, b = ([row[c] for row in rows] for c in (1, 2))
    y = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    y = [-v for v in y] if min(y) < 0 else y
    assert any(y) and min(y) >= 0
    assert sum((v * row[0] for v, row in zip(y, rows, strict=True)), Fraction(0)) <= 0


def test_a_cell_without_a_point_is_decided_as_empty() -> None:
    forms = forms_of(unit_layers_of(2, [[[0, 1, 0], [-1, -1, 0], [0, 1, 3]]]))
    made = decide(forms, b"\3\3", 2)
    assert made.verdict == Verdict.EMPTY and len(set(made.ids)) == 3
    assert {4, 5} <= set(made.ids)


def test_rows_of_a_domain_that_say_nothing_or_too_much() -> None:
    """0 <= 0 and 0 <= 1 take nothing away, 0 <= -1 everything."""
    layers = unit_layers_of(2, [[[0, 1, 0]]])
    assert isinstance(interior(forms_of(layers, ([[0, 0], [0, 0]], [0, 1])), b""), Exact)
    found = interior(forms_of(layers, ([[0, 0]], [-1])), b"")
    assert isinstance(found, EmptyCell) and 4 in found.ids


def test_points_inside_have_few_bits() -> None:
    forms = forms_of(unit_layers_of(2, [[[0, 1, 0], [0, 1, 1], [Fraction(-1, 3), 0, 1]]]))
    assert interior(forms, b"") == Exact.of([0, 0])
    for prefix in (b"\3", b"\2\2", b"\3\3\3", b"\2\3\3"):
        found = interior(forms, prefix)
        assert isinstance(found, Exact) and found.denominator <= 8
        for row in cell(forms, prefix).values():
            assert value(row, found.fractions()) > 0


def test_ids_that_are_no_rows_of_the_cell() -> None:
    forms = forms_of(unit_layers_of(2, [[[0, 1, 0], [9, 1, 0], [0, 1, 1]]]))
    assert row_of(forms, 4, b"\2\1") == (0, -1, 0)
    for wrong in (-1, 5, 6, 99):  # a stable unit, one to come, none
        with pytest.raises(KeyError):
            row_of(forms, wrong, b"\2\1")
