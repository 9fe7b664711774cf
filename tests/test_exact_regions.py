# SPDX-License-Identifier: Apache-2.0
"""The exact search: true counts, agreement with other methods, every token of its streams."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoform
from exact_oracles import (
    StreamReader,
    chart_rows,
    pattern,
    pre_activations,
    true_patterns,
    unit_layers_of,
    value,
)
from isoform.errors import TooLarge
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box, Domain, Everywhere, Polytope
from isoform.network.primitive import to_primitive
from isoform.network.unit_layers import UnitLayers, unit_layers
from isoform.numerics.exact import Exact
from isoform.regions.exact_forms import exact_forms, form_of, layer_forms, output_forms
from isoform.regions.exact_search import Found, search

SQUARE = Box(-1, 1)


def chart_on(layers: UnitLayers, domain: Domain = SQUARE) -> Chart:
    (chart,) = charts(layers, domain)
    return chart


def patterns(found: Found) -> list[bytes]:
    return [row.tobytes() for row in found.patterns]


def checked(chart: Chart) -> Found:
    """The search's answer, after every token and every point has been checked."""
    found = search(exact_forms(chart))
    reader = StreamReader(chart, found.codes, found.ids)
    assert reader.leaves() == patterns(found)
    assert reader.codes == [] and reader.ids == []
    assert len(set(patterns(found))) == len(found) == found.points.shape[0]
    for listed, point in zip(patterns(found), found.points.numerator, strict=True):
        place = Exact(point, found.points.denominator).fractions()
        assert all(value(row, place) > 0 for row in chart_rows(chart) if any(row[1:]))
        assert pattern(chart.layers, place) == listed
    return found


def count(layers: UnitLayers, domain: Domain = SQUARE) -> int:
    return len(checked(chart_on(layers, domain)))


# --- true counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, regions", [("degIdent", 173), ("degNobias", 52), ("degQuant", 91), ("2-32-32-1", 1254)]
)
def test_true_counts_of_the_benchmark_networks(bench: Path, name: str, regions: int) -> None:
    network = isoform.read(bench / "regions" / f"{name}_s0.npz").network
    chart = chart_on(unit_layers(to_primitive(network)))
    found = search(exact_forms(chart)) if regions > 1000 else checked(chart)
    assert len(found) == len(set(patterns(found))) == regions


@st.composite
def networks(draw: st.DrawFn, dimension: int, most: int) -> UnitLayers:
    """Small integer weights, so that duplicate, opposite, parallel and vanishing units are common;
    rows may reach the inputs and all earlier units; some layers are steps."""
    sizes = draw(st.lists(st.integers(1, most), min_size=1, max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    width, layers = 1 + dimension, []
    for n in sizes:
        rows = random.integers(-2, 3, (n, width)) * random.integers(0, 2, (n, width))
        layers.append([[Fraction(int(v), 2) for v in row] for row in rows])
        width += n
    steps = [i for i in range(len(sizes)) if draw(st.integers(0, 3)) == 0]
    return unit_layers_of(dimension, layers, steps=steps)


def third_box(d: int) -> Box:
    return Box([Fraction(-3, 5)] * d, [Fraction(1, 3)] * d)


@settings(deadline=None, max_examples=60)
@given(networks(1, 5), st.booleans())
def test_a_line_agrees_with_cut_intervals(layers: UnitLayers, odd: bool) -> None:
    chart = chart_on(layers, third_box(1) if odd else SQUARE)
    assert set(patterns(checked(chart))) == true_patterns(chart)


@settings(deadline=None, max_examples=60)
@given(networks(2, 4), st.sampled_from(["square", "odd", "triangle"]))
def test_a_plane_agrees_with_cut_polygons(layers: UnitLayers, domain: str) -> None:
    triangle = Polytope(Exact.of([[1, 1], [1, -2]]), Exact.of([0, 1]), SQUARE)
    on = {"square": SQUARE, "odd": third_box(2), "triangle": triangle}[domain]
    chart = chart_on(layers, on)
    assert set(patterns(checked(chart))) == true_patterns(chart)


@settings(deadline=None, max_examples=25)
@given(networks(3, 4))
def test_streams_of_three_inputs_hold(layers: UnitLayers) -> None:
    """The stream proves that no region is missing, the points that every one is there; some of
    them found by chance besides."""
    chart = chart_on(layers)
    known = set(patterns(checked(chart)))
    random = np.random.default_rng(0)
    for row in random.integers(-997, 998, (20, 3)):
        point = [Fraction(int(v), 1009) for v in row]
        if all(pre_activations(layers, point)):
            assert pattern(layers, point) in known


def test_the_reader_of_streams_refuses_wrong_ones() -> None:
    chart = chart_on(unit_layers_of(2, [[[0, 1, 0], [1, 1, 1], [0, 2, 0], [3, 1, 1]]]))
    found = checked(chart)
    assert found.codes.tolist().count(0) == 2 and 5 in found.codes and 6 in found.codes
    for place in range(len(found.codes)):
        for change in (1, 4):
            codes = found.codes.copy()
            codes[place] ^= change
            if codes[place] != 1:  # the other order of a split
                with pytest.raises(AssertionError):
                    StreamReader(chart, codes, found.ids).leaves()
    for place in range(len(found.ids)):
        ids = found.ids.copy()
        ids[place] ^= 1
        with pytest.raises(AssertionError):
            StreamReader(chart, found.codes, ids).leaves()


# --- hand-made cases ------------------------------------------------------------------------------

ONE, X, Y = [1, 0, 0], [0, 1, 0], [0, 0, 1]


@pytest.mark.parametrize("rows, regions", [
    ([X], 2),
    ([[0, 1, 1], [0, 1, -1]], 4),  # walls through the corners of the box
    ([[1, 1, 0], [-1, 1, 0], [1, 0, -1], [2, 1, 1]], 1),  # faces of the box, and its corner
    ([X, X, [0, 3, 0]], 2),  # identical
    ([X, [0, -1, 0]], 2),  # opposite
    ([X, [1, 2, 0], [-1, 2, 0]], 4),  # parallel
    ([[0, 0, 0], X, [1, 0, 0], [-1, 0, 0]], 2),  # constants: 0, 1 and -1
    ([X, Y, [0, 1, 1], [0, 1, -1]], 8),  # no biases
])
def test_one_layer(rows: Any, regions: int) -> None:
    assert count(unit_layers_of(2, [rows])) == regions


def test_a_dead_layer_has_one_pattern() -> None:
    dead = unit_layers_of(2, [[[-3, 1, 1], [-2, 1, 1]], [[0, 0, 0, 1, 2], [-1, 0, 0, 1, -1]]])
    found = checked(chart_on(dead))
    assert len(found) == 1 and found.patterns[0, 0] == 0


def test_units_can_vanish_on_one_side_only() -> None:
    """relu(x) - relu(x) is 0 everywhere, relu(x) - x where x > 0, and is inactive there."""
    layers = unit_layers_of(1, [[[0, 1]], [[0, 0, 1], [0, -1, 1]]])
    found = checked(chart_on(layers))
    assert sorted(found.patterns[:, 0].tolist()) == [0b00100000, 0b11000000]


def test_step_units_give_one_where_they_are_identically_zero() -> None:
    """A step unit on 0 is inactive by the convention on patterns, but its value is 1, so that the
    next unit is x - 1 + 1."""
    layers = unit_layers_of(1, [[[0, 0]], [[-1, 1, 1]]], steps=[0])
    assert form_of(exact_forms(chart_on(layers)), 1, b"\0") == Exact.of([0, 1])
    assert count(layers) == 2


def test_steps_jump() -> None:
    """On x > 0 the second unit is x - 1/2 + 1 > 0, on x < 0 it is x - 1/2 < 0: two regions, though
    the two forms have walls on either side."""
    layers = unit_layers_of(1, [[[0, 1]], [[Fraction(-1, 2), 1, 1]]], steps=[0])
    assert count(layers) == 2


def test_lines_in_all_of_the_plane() -> None:
    """n lines in general position make 1 + n + n (n - 1) / 2 regions, some of them far away."""
    lines = [[7, 1, 0], [-90, 0, 1], [5, 3, 1], [1000, -2, 5], [1, 2, 7]]
    for a, b in combinations(lines, 2):
        assert a[1] * b[2] != a[2] * b[1]
    found = [search(exact_forms(c)) for c in charts(unit_layers_of(2, [lines]), Everywhere())]
    everything = {p for part in found for p in patterns(part)}
    assert len(everything) == 16 and len(found) == 5
    assert max(map(len, found)) < 16


# --- the search below a node, limits, forms -------------------------------------------------------


def deep() -> UnitLayers:
    random = np.random.default_rng(5)
    rows = [random.integers(-8, 9, (5, width)).tolist() for width in (3, 8, 13)]
    return unit_layers_of(2, rows, outputs=random.integers(-3, 4, (2, 18)).tolist())


def test_subtrees_make_the_tree() -> None:
    forms = exact_forms(chart_on(deep()))
    whole = search(forms)
    assert whole.codes[0] == 0
    minus, plus = search(forms, b"\2"), search(forms, b"\3")
    assert patterns(whole) == patterns(minus) + patterns(plus)
    assert whole.codes.tolist() == [0, *minus.codes, *plus.codes]
    assert whole.ids.tolist() == [*minus.ids, *plus.ids]
    with pytest.raises(TooLarge, match="more than 3 regions"):
        search(forms, most=3)


def test_a_network_without_units_has_one_region() -> None:
    found = search(exact_forms(chart_on(unit_layers_of(2, []))))
    assert found.patterns.shape == (1, 0) and len(found.codes) == 0


def test_a_domain_without_interior_is_one_token() -> None:
    flat = Polytope(Exact.of([[1, 1], [-1, -1]]), Exact.of([0, 0]), SQUARE)
    chart = chart_on(unit_layers_of(2, [[X]]), flat)
    found = search(exact_forms(chart))
    assert found.codes.tolist() == [9] and found.patterns.shape == (0, 1)
    assert {4, 5} <= set(found.ids.tolist()) and len(found.ids) == 3


def test_little_memory_changes_nothing() -> None:
    chart = chart_on(deep())
    ample, scarce = exact_forms(chart), exact_forms(chart, memory=6000)
    left, right = search(ample), search(scarce)
    assert patterns(left) == patterns(right) and left.ids.tolist() == right.ids.tolist()
    assert ample.held[0] > 6000 >= scarce.held[0] == sum(n for _, n in scarce.known.values())
    assert len(ample.known) > len(scarce.known) > 0


def test_forms_agree_with_the_network_at_a_point_of_the_region() -> None:
    chart = chart_on(deep(), third_box(2))
    forms = exact_forms(chart)
    found = search(forms)
    for i, row in enumerate(np.unpackbits(found.patterns, axis=1, count=15)):
        codes = bytes(row.tolist())
        point = found.points[i].fractions()
        z = pre_activations(chart.layers, point)
        assert [value(form_of(forms, j, codes).fractions(), point) for j in range(15)] == z
        seen = [Fraction(1), *point, *(max(v, Fraction(0)) for v in z)]
        wanted = [
            sum((w * seen[c] for c, w in chart.layers.outputs.row_fractions(m).items()),
                Fraction(0)) for m in range(2)
        ]
        rows = output_forms(forms, codes)
        assert [value(rows[m].fractions(), point) for m in range(2)] == wanted


def test_wide_sparse_layers_agree_with_dense_ones() -> None:
    """64 units of which each row of the next layer takes one: kept as lists, not as a matrix."""
    random = np.random.default_rng(1)
    first = random.integers(-9, 10, (64, 3)).tolist()
    second = [[1, 0, 0] + [int(j == i) for j in range(64)] for i in range(0, 64, 9)]
    forms = exact_forms(chart_on(unit_layers_of(2, [first, second])))
    assert forms.weights[1].sparse and not forms.weights[0].sparse
    bits = bytes(random.integers(0, 2, 64).tolist())
    for row, i in zip(layer_forms(forms, 1, bits).rows, range(0, 64, 9), strict=True):
        active = first[i] if bits[i] else [0, 0, 0]
        assert list(row) == [1 + active[0], *active[1:]]
    with pytest.raises(ValueError, match="fixes no forms"):
        layer_forms(forms, 1, bits[:-1])
