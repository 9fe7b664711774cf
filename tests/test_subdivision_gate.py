# SPDX-License-Identifier: Apache-2.0
"""The gate of the subdivision: it shuts on what is degenerate or nearly, and on damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exact_complex
import isoform as iso
from isoform.network.charts import Chart
from isoform.network.domain import Box
from isoform.regions.subdivision import NotGeneric, Subdivision, cut, subdivide
from isoform.regions.subdivision_cells import cells
from isoform.regions.subdivision_values import (
    FloatLayer,
    errors_of,
    float_layers,
    span,
    steepest,
)
from test_subdivision import bits, chain, chart_of, found_on, patterns_at, random_chain, rows_of

UNIT_CASES = {  # rows and biases of one layer over [-1, 1]^2
    "twice the same": ([[1, 0.3], [1, 0.3]], [0.1, 0.1]),
    "opposite": ([[1, 0.3], [-1, -0.3]], [0.1, -0.1]),
    "scaled": ([[1, 0.3], [3, 0.9]], [0.1, 0.3]),
    "scaled, not exactly": ([[0.1, 0.7], [0.1 * 3, 0.7 * 3]], [0.2, 0.2 * 3]),
    "nowhere but zero": ([[1, 0.3], [0, 0]], [0.1, 0]),
    "through two corners": ([[1, -1]], [0]),
    "through one corner": ([[1, -0.5]], [0.5]),
    "touching a corner": ([[1, 1]], [2]),
    "on a face": ([[1, 0]], [-1]),
    "three through a point": ([[1, 0.3], [0.2, 1], [1, -0.4]], [0, 0, 0]),
    "almost through a corner": ([[1, -0.5]], [0.5 + 1e-14]),
    "almost through a point": ([[1, 0.3], [0.2, 1], [1, -0.4]], [0, 0, 1e-14]),
    "a thin strip": ([[1, 0.3], [1, 0.3]], [0.1, 0.1 + 1e-14]),
    "a thin wedge": ([[1, 0.3], [1, 0.3 + 1e-15]], [0.1, 0.1]),
}


@pytest.mark.parametrize("name", UNIT_CASES)
def test_degenerate_layers_stop_at_the_gate(name: str) -> None:
    rows, bias = UNIT_CASES[name]
    found = subdivide(chart_of(chain((rows, bias))))
    assert isinstance(found, NotGeneric)
    assert "unit" in found.why


@pytest.mark.parametrize("name", ["degIdent_s0", "degNobias_s0", "degQuant_s0"])
def test_the_degenerate_benchmark_networks_stop_at_the_gate(bench: Path, name: str) -> None:
    chart = chart_of(iso.read(bench / "regions" / f"{name}.npz").network)
    assert isinstance(subdivide(chart), NotGeneric)


def test_deeper_degeneracies_stop_at_the_gate() -> None:
    """Second layers that vanish below inactive units, copy one another, or follow the first."""
    first = ([[1, 0.3], [0.2, 1]], [0.1, -0.2])
    for second in (
        ([[1, 0.0]], [0.0]),
        ([[1, 1], [1, 2]], [-0.5, -0.5]),  # one function where the second unit rests
        ([[0, 0]], [0]),
    ):
        assert isinstance(subdivide(chart_of(chain(first, second))), NotGeneric), second
    chart = chart_of(chain(first, ([[1, 0.5], [-1, 2]], [-0.35, -0.4])))
    assert found_on(chart).regions == len(exact_complex.cells(chart))


@pytest.mark.parametrize(("rows", "bias", "regions"), [
    ([[1, 0.3], [1, 0.3]], [0.1, 0.3], 3),  # parallel walls are generic
    ([[1, 0.3], [1, 0.3]], [0.1, 0.1 + 1e-9], 3),
    ([[1, 0.3], [1, 0.3 + 1e-9]], [0.1, 0.1 + 1e-10], 4),  # cross in the box
    ([[1, 0.3], [1, 0.3 + 1e-9]], [0.1, 0.1 + 2e-9], 3),  # cross outside
    ([[1, -0.5]], [0.5 + 1e-9], 2),
    ([[1, 1]], [2 + 1e-9], 1),
    ([[1, 1]], [2 - 1e-9], 2),
    ([[1e200, 1], [1, 0.3]], [1e300, 0.1], 2),  # large is not degenerate
    ([[1e-200, 3e-201], [1, 0.4]], [1e-201, 0.15], 4),  # nor is small
    ([[0, 0], [1, 0.3]], [1, 0.1], 2),  # a unit that is constant, but not zero
])
def test_close_calls_pass_with_the_right_count(
    rows: list[list[float]], bias: list[float], regions: int
) -> None:
    assert found_on(chart_of(chain((rows, bias)))).regions == regions


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([2, 8, 64, 1024]), st.sampled_from([2, 2, 3]))
def test_the_gate_shuts_exactly_on_degenerate_networks(seed: int, grid: int, k: int) -> None:
    """Weights on a grid: exact arithmetic says which networks are degenerate; the others keep a
    distance from zero that floats can tell."""
    random = np.random.default_rng(seed)

    def layer(n: int, m: int) -> tuple[list[list[float]], list[float]]:
        weights = random.integers(-grid, grid + 1, (n, m + 1)) / grid
        return weights[:, :m].tolist(), weights[:, m].tolist()

    chart = chart_of(chain(layer(4, k), layer(3, 4)))
    found = subdivide(chart)
    try:
        exact = exact_complex.cells(chart)
    except AssertionError:
        assert isinstance(found, NotGeneric)
        return
    assert isinstance(found, Subdivision)
    assert rows_of(bits(found, cells(found).patterns)) == set(exact)


# --- damage -----------------------------------------------------------------------------------


@pytest.fixture
def sound():  # type: ignore[no-untyped-def]
    """A finished complex and what the inspection takes."""
    from isoform.regions.lowest_vertex import released

    chart = chart_of(random_chain(2, 2, 6, 5))
    layers = float_layers(chart)
    held, errors = cut(layers, -np.ones(2), np.ones(2), 11, 10**6)
    return held, released(held.walls, held.edges), layers, np.array([-1.0, 1, -1, 1]), errors


def inspect_status(parts) -> int:  # type: ignore[no-untyped-def]
    from isoform.regions.subdivision_gate import inspected

    return inspected(*parts).status


def test_the_inspection_sees_damage(sound) -> None:  # type: ignore[no-untyped-def]
    from isoform.regions import subdivision_gate as gate

    held, places, layers, bounds, errors = sound
    assert inspect_status(sound) == gate.FIRM
    held.active[5, 0] ^= np.uint64(1 << 60)
    assert inspect_status(sound) in (gate.WRONG_SIGN, gate.NEAR_ZERO)
    held.active[5, 0] ^= np.uint64(1 << 60)
    at = int(np.flatnonzero((held.walls >= 4).all(axis=1))[0])
    moved = held.points[at].copy()
    held.points[at] += [1e-9, -2e-9]
    assert inspect_status(sound) == gate.OFF_WALL
    held.points[at] = moved
    assert inspect_status((held, places, layers, bounds, errors * 1e12)) == gate.NEAR_ZERO
    assert inspect_status(sound) == gate.FIRM


def test_vertices_that_are_known_too_badly_are_noticed(sound) -> None:  # type: ignore[no-untyped-def]
    """Larger errors on walls alone leave every sign clear, but not the places of the vertices."""
    from isoform.regions import subdivision_gate as gate

    held, places, *_ = sound
    near = gate.Near(np.full(held.walls.shape, 1e-12), np.ones(held.walls.shape),
                     np.full(len(held.points), 1e-3))
    long = gate.star(held, places).long
    assert gate.settled(held.edges, long, near)[0] == gate.FIRM
    near.clear[7] = 1e-11
    assert gate.settled(held.edges, long, near)[0] == gate.NEAR_OTHERS
    near.clear[7] = 1e-3
    long[3] = 1e-11
    assert gate.settled(held.edges, long, near)[0] == gate.SHORT


# --- bounds -----------------------------------------------------------------------------------


def wide(seed: int) -> tuple[Chart, tuple[FloatLayer, ...]]:
    chart = chart_of(random_chain(seed, 3, 20, 30, 10), Box(-2, 3))
    return chart, float_layers(chart)


def test_error_bounds_hold_in_exact_arithmetic() -> None:
    chart, layers = wide(0)
    points = np.random.default_rng(0).uniform(-2, 3, (20, 3))
    outputs, errors = np.zeros((20, 0)), np.zeros(60)
    exact = [iso_terms(chart, point) for point in points]
    lengths: list[float] = []
    for number, layer in enumerate(layers):
        z = np.empty((20, layer.size))
        peaks = layer.evaluate(points, outputs, layer.reads, z)
        errors_of(layers, number, peaks, errors, lengths)
        bound = errors[layer.first:layer.stop]
        truth = np.array([terms[layer.first:layer.stop] for terms in exact])
        gap = np.abs([[float(t - type(t)(v)) for t, v in zip(row, values, strict=True)]
                      for row, values in zip(truth, z.tolist(), strict=True)])
        assert (gap <= bound).all()
        assert np.linalg.norm(gap, axis=1).max() <= lengths[-1]
        assert gap.max() > bound.max() / 1e4  # the bound is no fantasy
        outputs = np.concatenate([outputs, np.maximum(z, 0)], axis=1)


def iso_terms(chart: Chart, point: np.ndarray) -> list:
    """All pre-activations at a point, as fractions."""
    from fractions import Fraction

    terms = [Fraction(1), *map(Fraction, point.tolist())]
    values = []
    for unit in range(chart.layers.units):
        values.append(exact_complex.raw(chart.layers, unit, terms))
        terms.append(max(values[-1], Fraction(0)))
    return values


def test_no_pre_activation_is_steeper_than_its_bound() -> None:
    chart, layers = wide(1)
    slopes = steepest(layers, 60)
    random = np.random.default_rng(1)
    points = random.uniform(-2, 3, (200, 3))
    steps = random.normal(size=(200, 3))
    steps *= 1e-6 / np.linalg.norm(steps, axis=1, keepdims=True)
    rise = np.abs(values_at(layers, points + steps) - values_at(layers, points)).max(axis=0) / 1e-6
    assert (rise <= slopes * (1 + 1e-6)).all()
    assert (rise[:20] > 0.8 * slopes[:20]).all()  # a first layer is as steep as its rows
    assert patterns_at(chart, points).shape == (200, 60)


def values_at(layers: tuple[FloatLayer, ...], points: np.ndarray) -> np.ndarray:
    found = np.zeros((len(points), 0))
    for layer in layers:
        z = np.empty((len(points), layer.size))
        layer.evaluate(points, found, layer.reads, z)
        found = np.concatenate([found, z], axis=1)
    return found


def test_spans() -> None:
    assert span(np.array([3, 4, 5])) == slice(3, 6)
    assert np.array_equal(span(np.array([3, 5])), [3, 5])
    assert len(span(np.zeros(0, dtype=np.int64))) == 0
