# SPDX-License-Identifier: Apache-2.0
"""Edge subdivision: counts, faces, patterns and polygons against exact cells and forward passes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exact_complex
import isoform as iso
from isoform.errors import TooLarge
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box, Everywhere, Polytope
from isoform.network.evaluate import evaluate
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, Relu, Step
from isoform.network.primitive import to_primitive
from isoform.network.unit_layers import unit_layers
from isoform.regions.subdivision import NotGeneric, Subdivision, subdivide
from isoform.regions.subdivision_cells import cells, inner_points, polygons

BOX = Box(-1, 1)
COUNTS = {  # regions and vertices, all over [-1, 1]^k
    "2-32-32-1_s0": (1_254, 1_318),
    "2-64-64-64-1_s0": (9_974, 10_140),
    "3-32-32-1_s0": (21_980, 23_956),
    "4-16-16-1_s0": (21_182, 27_941),
    "6-12-12-1_s0": (55_992, 145_241),
}


def chain(*pairs: tuple[list[list[float]], list[float]]) -> Network:
    """ReLU layers with these weights and biases, and a sum as output."""
    build = Builder((len(pairs[0][0][0]),))
    value = 0
    for weights, bias in pairs:
        value = build.linear(Dense(np.array(weights, dtype=float)), value, np.array(bias, float))
        value = build.add(Relu(), (value,), len(bias))
    return build.build(build.linear(Dense(np.ones((1, len(pairs[-1][1])))), value))


def random_chain(seed: int, *widths: int) -> Network:
    random = np.random.default_rng(seed)
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return chain(*(
        (random.normal(size=(n, m)).tolist(), random.uniform(-1, 1, n).tolist()) for m, n in pairs
    ))


def chart_of(network: Network, domain: Box = BOX) -> Chart:
    return charts(unit_layers(to_primitive(network)), domain)[0]


def found_on(chart: Chart) -> Subdivision:
    found = subdivide(chart)
    assert isinstance(found, Subdivision), found
    return found


def bits(found: Subdivision, patterns: np.ndarray) -> np.ndarray:
    return np.unpackbits(patterns, axis=1)[:, : found.units]


def patterns_at(chart: Chart, points: np.ndarray) -> np.ndarray:
    """The units that are active at points (count, k), by a plain forward pass."""
    terms = np.concatenate([np.ones((len(points), 1)), points], axis=1)
    active = np.zeros((len(points), 0), dtype=np.uint8)
    for layer in chart.layers.layers:
        z = terms @ layer.rows.widened(terms.shape[1]).dense().to_float().T
        active = np.concatenate([active, (z > 0).astype(np.uint8)], axis=1)
        terms = np.concatenate([terms, np.maximum(z, 0)], axis=1)
    return active


def rows_of(array: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, array.tolist()))


# --- counts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_the_benchmark_networks(bench: Path, name: str) -> None:
    chart = chart_of(iso.read(bench / "regions" / f"{name}.npz").network)
    found = found_on(chart)
    assert (found.regions, len(found.points)) == COUNTS[name]
    assert found.euler == 1
    assert found.room > 10_000  # far from the gate's 1,000
    listing = cells(found)
    assert listing.patterns.shape == (found.regions, -(-found.units // 8))
    order = [row.tobytes() for row in listing.patterns]
    assert order == sorted(set(order))


def test_vertices_inside_the_box(bench: Path) -> None:
    found = found_on(chart_of(iso.read(bench / "regions" / "2-32-32-1_s0.npz").network))
    assert int((found.walls >= 4).all(axis=1).sum()) == 1_192
    assert bool(np.all(np.abs(found.points) <= 1))


@pytest.mark.parametrize("widths", [(1, 5, 4), (2, 5, 4, 3), (3, 4, 3), (4, 4, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_faces_and_patterns_are_those_of_the_exact_cells(
    widths: tuple[int, ...], seed: int
) -> None:
    chart = chart_of(random_chain(seed, *widths))
    exact = exact_complex.cells(chart)
    found = found_on(chart)
    assert found.faces == exact_complex.face_numbers(exact, chart.dimension)
    assert found.faces[:2] == (len(found.points), len(found.edges))
    listing = cells(found)
    assert rows_of(bits(found, listing.patterns)) == set(exact)
    places = {v for cell in exact.values() for v in cell}
    nearest = np.array([[float(c) for c in v] for v in places])
    for point in found.points:
        assert np.abs(nearest - point).max(axis=1).min() < 1e-9
    for pattern, low in zip(bits(found, listing.patterns), listing.lowest, strict=True):
        corner = min(exact[tuple(pattern.tolist())], key=lambda v: direction(found, v))
        assert np.allclose([float(c) for c in corner], found.points[low], atol=1e-9)


def direction(found: Subdivision, point: tuple[Fraction, ...]) -> float:
    """The linear function whose values at the vertices are the heights."""
    solved = np.linalg.lstsq(found.points, found.heights, rcond=None)[0]
    return float(solved @ np.array([float(c) for c in point]))


def test_layers_that_read_inputs_and_several_layers() -> None:
    """Skips and concatenations, on a box whose ends are no floats."""
    random = np.random.default_rng(5)
    build = Builder((2,))
    first = build.add(Relu(), (build.linear(Dense(random.normal(size=(3, 2))), 0,
                                            random.normal(size=3)),), 3)
    both = build.add(Concat(), (first, 0), 5)
    second = build.add(Relu(), (build.linear(Dense(random.normal(size=(3, 5))), both,
                                             random.normal(size=3)),), 3)
    third = build.linear((Dense(random.normal(size=(3, 3))), Dense(random.normal(size=(3, 3)))),
                         (first, second), random.normal(size=3))
    network = build.build(build.add(Relu(), (third,), 3))
    chart = chart_of(network, Box([Fraction(-3, 5), Fraction(-7, 3)], [Fraction(4, 3), 2]))
    exact = exact_complex.cells(chart)
    found = found_on(chart)
    assert found.regions > 20
    assert found.faces == exact_complex.face_numbers(exact, 2)
    assert rows_of(bits(found, cells(found).patterns)) == set(exact)


def test_a_network_without_units_has_one_region() -> None:
    build = Builder((3,))
    found = found_on(chart_of(build.build(build.linear(Dense(np.ones((1, 3))), 0))))
    assert found.faces == (8, 12, 6, 1)
    assert cells(found).patterns.shape == (1, 0)


def test_every_chart_of_all_of_space_is_taken() -> None:
    layers = unit_layers(random_chain(1, 2, 4, 3))
    for chart in charts(layers, Everywhere()):
        exact = exact_complex.cells(chart)
        assert rows_of(bits(found_on(chart), cells(found_on(chart)).patterns)) == set(exact)


# --- the list ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([(1, 9, 9), (2, 70, 5), (3, 9, 9), (5, 6, 5)]))
def test_sampled_patterns_are_listed_and_listed_ones_are_met(
    seed: int, widths: tuple[int, ...]
) -> None:
    chart = chart_of(random_chain(seed, *widths))
    found = subdivide(chart)
    if isinstance(found, NotGeneric):  # a few draws come too close
        return
    listing = cells(found)
    listed = rows_of(bits(found, listing.patterns))
    points = np.random.default_rng(seed).uniform(-1, 1, (500, chart.dimension))
    assert rows_of(patterns_at(chart, points)) <= listed
    inside = inner_points(found, listing)
    assert np.array_equal(patterns_at(chart, inside), bits(found, listing.patterns))


def test_the_order_does_not_change_from_run_to_run() -> None:
    chart = chart_of(random_chain(3, 3, 8, 8))
    once, twice = (found_on(chart) for _ in range(2))
    assert np.array_equal(once.points, twice.points) and np.array_equal(once.edges, twice.edges)
    assert np.array_equal(cells(once).lowest, cells(twice).lowest)


# --- polygons ---------------------------------------------------------------------------------


def areas(found: Subdivision, starts: np.ndarray, corners: np.ndarray) -> np.ndarray:
    x, y = found.points[corners].T
    behind = np.arange(1, len(corners) + 1)
    behind[starts[1:] - 1] = starts[:-1]
    return np.add.reduceat(x * y[behind] - x[behind] * y, starts[:-1]) / 2


def test_polygons_tile_the_box(bench: Path) -> None:
    chart = chart_of(iso.read(bench / "regions" / "2-32-32-1_s0.npz").network)
    found = found_on(chart)
    listing = cells(found)
    starts, corners = polygons(found, listing)
    assert len(starts) == found.regions + 1
    own = areas(found, starts, corners)
    assert own.min() > 0  # counterclockwise, and none is folded
    assert abs(own.sum() - 4) < 1e-9
    middle = np.add.reduceat(found.points[corners], starts[:-1]) / np.diff(starts)[:, None]
    assert np.array_equal(patterns_at(chart, middle), bits(found, listing.patterns))
    for r in range(0, found.regions, 97):
        cycle = corners[starts[r]:starts[r + 1]]
        assert len(set(cycle.tolist())) == len(cycle) >= 3
        assert listing.lowest[r] in cycle
        assert found.heights[cycle].min() == found.heights[listing.lowest[r]]


def test_polygons_are_of_the_plane() -> None:
    found = found_on(chart_of(random_chain(0, 3, 4)))
    with pytest.raises(ValueError, match="two dimensions"):
        polygons(found, cells(found))


# --- what is no subdivision -------------------------------------------------------------------


def test_other_inputs_are_refused() -> None:
    network = random_chain(0, 2, 3)
    half = Polytope([[1, 1]], [1], Box(-1, 1))
    with pytest.raises(ValueError, match="on a box"):
        subdivide(charts(unit_layers(network), half)[0])
    build = Builder((2,))
    stepped = build.build(build.add(Step(), (0,), 2))
    with pytest.raises(ValueError, match="continuous"):
        subdivide(chart_of(stepped))
    with pytest.raises(ValueError, match="dimension 1 to 8"):
        subdivide(chart_of(random_chain(0, 9, 2)))


def test_too_many_vertices_are_too_large() -> None:
    chart = chart_of(random_chain(3, 3, 8, 8))
    with pytest.raises(TooLarge, match="more than 100 vertices"):
        subdivide(chart, most_vertices=100)
    vertices = len(found_on(chart).points)
    assert isinstance(subdivide(chart, most_vertices=vertices), Subdivision)
    with pytest.raises(TooLarge):
        subdivide(chart, most_vertices=vertices - 1)


def test_the_forward_pass_of_these_tests_is_the_networks() -> None:
    network = random_chain(4, 2, 5, 4)
    chart = chart_of(network)
    point = np.array([0.25, -0.5])
    terms = np.concatenate([[1.0], point])
    for layer in chart.layers.layers:
        z = layer.rows.widened(len(terms)).dense().to_float() @ terms
        terms = np.concatenate([terms, np.maximum(z, 0)])
    assert np.allclose(evaluate(network, point), terms[-4:].sum())
