# SPDX-License-Identifier: Apache-2.0
"""Networks without biases: all walls meet in one point, and floats prove signs there, exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_oracles import unit_layers_of
from isoform.certificate.region_evidence import Stream
from isoform.certificate.region_tree import check_streams
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box, Domain, Everywhere
from isoform.network.unit_layers import UnitLayers
from isoform.regions.cell_kernel import in_cone
from isoform.regions.compiled import central, compiled
from isoform.regions.exact_forms import exact_forms
from isoform.regions.exact_search import search
from isoform.regions.splitting import Explored, Node, allocated, explore
from isoform.regions.splitting_state import NODE, ROWS, TRIAL


def unbiased(seed: int, widths: list[int], grid: float) -> UnitLayers:
    """A chain without biases; coarse grids make multiples and combinations of few rows."""
    random = np.random.default_rng(seed)
    d = widths[0]
    layers: list[list[list[Fraction]]] = []
    before = [1 + d]
    for width in widths[1:]:
        first, end = (1, 1 + d) if not layers else (before[-2], before[-1])
        rows = np.zeros((width, end))
        rows[:, first:] = random.normal(size=(width, end - first))
        rows = np.round(rows / grid) * grid if grid else rows
        layers.append([[Fraction(float(v)) for v in row] for row in rows])
        before.append(before[-1] + width)
    return unit_layers_of(d, layers)


def chart_of(layers: UnitLayers, domain: Domain) -> Chart:
    return charts(layers, domain)[0]


BOXES = {"middle": Box(-1, 1), "corner": Box(0, 1), "aside": Box(Fraction(-1, 3), 2),
         "outside": Box(Fraction(1, 5), 3)}


def accepted(chart: Chart, found: Explored) -> bool:
    stream = Stream(codes=found.codes, ids=found.ids, points=found.points, fine=found.fine)
    return np.array_equal(check_streams(chart, [stream]).patterns, found.patterns)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000), d=st.integers(2, 3), grid=st.sampled_from([0.0, 0.25, 1.0]),
    box=st.sampled_from(list(BOXES)),
)
def test_agrees_with_exact_search(seed: int, d: int, grid: float, box: str) -> None:
    chart = chart_of(unbiased(seed, [d, 5, 4, 3], grid), BOXES[box])
    found = explore(compiled(chart), Node())
    reference = search(exact_forms(chart))
    assert len(reference) == len(found.patterns)
    assert {row.tobytes() for row in found.patterns} == {
        row.tobytes() for row in reference.patterns
    }
    assert accepted(chart, found)


@pytest.mark.parametrize("box", ["middle", "corner", "aside"])
def test_exact_arithmetic_is_hardly_asked(box: str) -> None:
    chart = chart_of(unbiased(5, [3, 9, 8], 0.0), BOXES[box])
    piece = compiled(chart)
    found = explore(piece, Node())
    assert len(found.patterns) > 30 and found.decided < len(found.patterns) // 5
    unknown = piece.tables._replace(central=np.zeros_like(piece.tables.central))
    asked = explore(type(piece)(chart, unknown), Node())
    assert asked.decided > 3 * len(asked.patterns)
    assert np.array_equal(asked.patterns, found.patterns)
    assert accepted(chart, found) and accepted(chart, asked)


def test_units_that_vanish_with_the_inputs() -> None:
    """Unit 2 has a bias, so has not what reads it; a step unit gives 1 at 0."""
    layers = unit_layers_of(2, [
        [[0, 1, 2], [0, 0, 0], [1, 1, 0]], [[0, 1, 0, 3], [0, 1, 0, 3, 0, 1]],
    ])
    near = central(chart_of(layers, Box(-1, 1)))
    assert near.tolist() == [True, True, False, True, False] + [False] * 4
    corner = central(chart_of(layers, Box([0, -1], [3, 3])))
    assert corner.tolist() == [True, True, False, True, False, True, False, False, False]
    steps = unit_layers_of(2, [[[0, 1, 0]], [[0, 0, 1, 1]]], steps=[0])
    assert central(chart_of(steps, Box(-1, 1)))[:2].tolist() == [True, False]
    assert not any(central(chart)[:5].any() for chart in charts(layers, Everywhere())[1:])
    shifted = unit_layers_of(1, [[[-1, 2]]])
    assert not central(chart_of(shifted, Box(-1, 1))).any()


def cone(rows: list[list[float]], objective: list[float]) -> bool:
    """`in_cone` for rows through 0 as the basis, the unit being the last row."""
    k = len(objective)
    exact = [[0, *map(Fraction, row)] for row in [*rows, objective]]
    piece = compiled(chart_of(unit_layers_of(k, [exact]), Box(-1, 1)))
    state, _ = allocated(piece, 8, 1)
    m0 = len(piece.tables.rows)
    normals = np.array(rows) / np.linalg.norm(rows, axis=1)[:, None]
    state.walls[:k, m0 : m0 + k] = normals.T
    state.walls[k + 1, m0 : m0 + k] = 1e-15
    state.ids[m0 : m0 + k] = m0 + np.arange(k)
    state.bases[TRIAL, :k] = m0 + np.arange(k)
    state.at[ROWS] = m0 + k
    state.vertices[TRIAL, :k] = np.linalg.inv(normals)
    state.vertices[NODE] = state.vertices[TRIAL]
    state.work[0] = np.array(objective) / np.linalg.norm(objective)
    state.work[1] = state.work[0] @ state.vertices[TRIAL, :k]
    state.forms[-2, k], state.forms[-1, k] = 1e-15, np.linalg.norm(objective)
    held = in_cone(state, piece.tables.central, k)
    biased = piece.tables.central.copy()
    biased[0] = False
    assert not in_cone(state, biased, k)
    return bool(held)


def test_multipliers_are_surely_positive_or_not_believed() -> None:
    assert cone([[1, 0], [0, 1]], [1, 1])
    assert not cone([[1, 0], [0, 1]], [1, 0])  # the multiplier 0 may be less than 0
    assert not cone([[1, 0], [0, 1]], [1, -1])
    assert not cone([[1, 0], [0, 1]], [1, 2.0**-50])
    assert cone([[1, 0], [0, 1]], [1, 2.0**-30])
    assert not cone([[1, 0], [1, 2.0**-48]], [1, 2.0**-49])  # nearly dependent rows
    assert cone([[1, 0, 0], [1, 1, 0], [1, 1, 1]], [3, 2, 1])
