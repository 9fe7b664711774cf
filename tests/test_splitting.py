# SPDX-License-Identifier: Apache-2.0
"""The splitting search against known counts, exact arithmetic and itself."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoform as iso
from isoform.bounds.matrices import flat_primitive
from isoform.errors import DomainError, Refused, UnsupportedModel
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box, Domain, Everywhere, FiniteSet, Polytope
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Product, Relu, Step
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact
from isoform.regions.compiled import Compiled, compiled
from isoform.regions.exact_forms import exact_forms
from isoform.regions.exact_search import search
from isoform.regions.splitting import Explored, explore, root
from isoform.regions.splitting_state import HOLE

COUNTS = {  # of activation regions on [-1, 1]^d
    "2-32-32-1": 1254, "2-64-64-64-1": 9974, "3-32-32-1": 21980, "4-16-16-1": 21182,
    "6-12-12-1": 55992, "degIdent": 173, "degNobias": 52, "degQuant": 91,
}


def chart_of(network: Network, domain: Domain) -> Chart:
    return charts(unit_layers(flat_primitive(network)), domain)[0]


def chain(layers: list[tuple[np.ndarray, np.ndarray]], last: type = Relu) -> Network:
    """Affine layers with units between; the last layer is linear."""
    build = Builder((layers[0][0].shape[1],))
    value = 0
    for number, (weight, bias) in enumerate(layers):
        value = build.linear(Dense(weight), value, bias)
        if number + 1 < len(layers):
            value = build.add(last(), (value,), len(bias))
    return build.build(value)


def random_chain(
    seed: int, widths: list[int], grid: float, last: type = Relu
) -> Network:
    """Weights on a grid: coarse ones are full of parallel, equal and zero rows."""
    random = np.random.default_rng(seed)
    layers = []
    for n, m in zip(widths, widths[1:], strict=False):
        weight = random.normal(size=(m, n))
        bias = random.normal(size=m) / 2
        if grid:
            weight, bias = np.round(weight / grid) * grid, np.round(bias / grid) * grid
        layers.append((weight, bias))
    return chain(layers, last)


def listed(found: Explored) -> set[bytes]:
    patterns = [row.tobytes() for row in found.patterns]
    assert len(set(patterns)) == len(patterns)
    return set(patterns)


def all_of(piece: Compiled, most: int = 1 << 62) -> Explored:
    return explore(piece, root(piece), most=most)


def strictly_inside(piece: Compiled, found: Explored) -> bool:
    """Every witness has the pattern of its region, with no pre-activation zero where the region is
    cut; evaluated exactly."""
    fine = dict(found.fine)
    layers = piece.chart.layers
    for number, packed in enumerate(found.patterns):
        point = fine.get(number, Exact.of(found.points[number]))
        values = [Fraction(1), *point.fractions()]
        bits = np.unpackbits(packed)[: layers.units]
        unit = 0
        for layer in layers.layers:
            now = []
            for i in range(layer.size):
                row = layer.rows.row_fractions(i)
                z = sum((w * values[j] for j, w in row.items()), Fraction(0))
                if (z > 0) != bool(bits[unit]):
                    return False
                now.append(max(z, Fraction(0)) if not layer.step else Fraction(int(z >= 0)))
                unit += 1
            values += now
    return True


@pytest.mark.parametrize("name", COUNTS)
def test_known_counts(bench: Path, name: str) -> None:
    network = iso.read(bench / "regions" / f"{name}_s0.npz").network
    piece = compiled(chart_of(network, Box(-1, 1)))
    found = all_of(piece)
    assert len(listed(found)) == COUNTS[name]
    assert not found.children


@pytest.mark.parametrize("name", ["degIdent", "degNobias", "degQuant"])
def test_witnesses_have_the_pattern_exactly(bench: Path, name: str) -> None:
    network = iso.read(bench / "regions" / f"{name}_s0.npz").network
    piece = compiled(chart_of(network, Box(-1, 1)))
    found = all_of(piece)
    assert strictly_inside(piece, found)
    moved = found.points.copy()
    moved[0] = -moved[0]
    assert not strictly_inside(piece, Explored(
        found.patterns, moved, (), (), found.codes, found.ids, 0, 0
    ))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000), d=st.integers(1, 3), grid=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    wide=st.booleans(),
)
def test_agrees_with_exact_search(seed: int, d: int, grid: float, wide: bool) -> None:
    network = random_chain(seed, [d, 5, 4, 1] if wide else [d, 4, 3, 2, 1], grid)
    chart = chart_of(network, Box(-1, Fraction(3, 5)))
    found = all_of(compiled(chart))
    reference = search(exact_forms(chart))
    assert listed(found) == {row.tobytes() for row in reference.patterns}
    assert len(found.patterns) == len(reference)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), most=st.integers(1, 30))
def test_step_units(seed: int, most: int) -> None:
    """Coarse weights make steps of pre-activations that are zero throughout; the parts of a search
    that was cut have to know of them too."""
    network = random_chain(seed, [2, 5, 4, 3, 1], 1.0, Step)
    chart = chart_of(network, Box(-1, 1))
    piece = compiled(chart)
    whole = {row.tobytes() for row in search(exact_forms(chart)).patterns}
    assert listed(all_of(piece)) == whole
    todo, parts = [root(piece)], set()
    while todo:
        found = explore(piece, todo.pop(), most=most)
        parts |= listed(found)
        todo += found.children
    assert parts == whole


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), most=st.integers(1, 30))
def test_tasks_make_up_the_whole(seed: int, most: int) -> None:
    """Cut anywhere, the pieces list every region once, and each hole has its child."""
    piece = compiled(chart_of(random_chain(seed, [2, 6, 5, 1], 0.25), Box(-1, 1)))
    whole = listed(all_of(piece))
    todo, parts = [root(piece)], []
    while todo:
        found = explore(piece, todo.pop(), most=most)
        assert np.sum(found.codes == HOLE) == len(found.children)
        assert all(len(node.prefix) < piece.units for node in found.children)
        parts += [row.tobytes() for row in found.patterns]
        todo += found.children
    assert len(parts) == len(whole) and set(parts) == whole


def test_exploring_is_deterministic(bench: Path) -> None:
    network = iso.read(bench / "regions" / "2-32-32-1_s0.npz").network
    piece = compiled(chart_of(network, Box(-1, 1)))
    first, second = all_of(piece, 300), all_of(piece, 300)
    for name in ("patterns", "points", "codes", "ids"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert first.children == second.children


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), grid=st.sampled_from([0.0, 0.5]))
def test_polytopes(seed: int, grid: float) -> None:
    """The rows of a polytope cut like walls: its regions are those of the box that it meets."""
    random = np.random.default_rng(seed)
    A = np.round(random.normal(size=(2, 2)) * 4) / 4
    b = np.round(random.uniform(0.1, 1, size=2) * 4) / 4
    network = random_chain(seed, [2, 6, 4, 1], grid)
    domain = Polytope(Exact.of(A), Exact.of(b), Box([-1, -1], [1, 1]))
    chart = chart_of(network, domain)
    found = all_of(compiled(chart))
    assert listed(found) == {row.tobytes() for row in search(exact_forms(chart)).patterns}


@pytest.mark.parametrize("bound", [-3, 0])
def test_polytope_without_interior(bound: int) -> None:
    """x + y <= -3 misses the box; x + y <= 0 <= x + y is flat."""
    rows = [[1, 1]] if bound else [[1, 1], [-1, -1]]
    domain = Polytope(Exact.of(rows), Exact.of([bound] * len(rows)), Box([-1, -1], [1, 1]))
    with pytest.raises(DomainError, match="no interior"):
        root(compiled(chart_of(random_chain(0, [2, 3, 1], 0.0), domain)))


def test_sliver_of_a_polytope() -> None:
    """A polytope far thinner than any tolerance still has its regions."""
    thin = Fraction(1, 1 << 60)
    domain = Polytope(
        Exact.of([[1, 1], [-1, -1]]), Exact.of(np.array([thin, thin], dtype=object)),
        Box([-1, -1], [1, 1]),
    )
    network = random_chain(3, [2, 6, 4, 1], 0.0)
    chart = chart_of(network, domain)
    found = all_of(compiled(chart))
    assert listed(found) == {row.tobytes() for row in search(exact_forms(chart)).patterns}
    assert len(found.patterns) > 3


def test_regions_thinner_than_the_tolerance() -> None:
    """Walls 2**-40 apart: what floats take for one wall are two, and a region between."""
    gap = 2.0**-40
    weight = np.array([[1.0, 0.5], [1.0, 0.5], [-1.0, 1.0]])
    bias = np.array([0.25, 0.25 + gap, 0.1])
    network = chain([(weight, bias), (np.ones((1, 3)), np.zeros(1))])
    piece = compiled(chart_of(network, Box(-1, 1)))
    found = all_of(piece)
    assert len(listed(found)) == 6
    assert found.decided and strictly_inside(piece, found)


def count_everywhere(network: Network) -> int:
    pieces = charts(unit_layers(network), Everywhere())
    return len(set().union(*(listed(all_of(compiled(chart))) for chart in pieces)))


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000), d=st.integers(1, 2), grid=st.sampled_from([0.0, 0.5]))
def test_everywhere_is_a_box_large_enough(seed: int, d: int, grid: float) -> None:
    network = random_chain(seed, [d, 5, 3, 1], grid)
    largest = listed(all_of(compiled(chart_of(network, Box(-(2**30), 2**30)))))
    assert count_everywhere(network) == len(largest)


def test_zaslavsky_is_attained_everywhere() -> None:
    """n lines in general position make 1 + n + n(n - 1)/2 regions of the plane."""
    assert count_everywhere(random_chain(1, [2, 7, 1], 0.0)) == 29


@pytest.mark.parametrize("step", [False, True])
def test_walls_through_corners_and_along_faces(step: bool) -> None:
    """x + y and x - y go through the corners, x - 1 and y + 1 lie on faces, 0 is no wall."""
    weight = np.array([[1.0, 1], [1, -1], [1, 0], [0, 1], [0, 0], [1, 1]])
    bias = np.array([0.0, 0, -1, 1, 0, -2])
    network = chain([(weight, bias), (np.ones((1, 6)), np.zeros(1))], Step if step else Relu)
    assert len(listed(all_of(compiled(chart_of(network, Box(-1, 1)))))) == 4


def test_opposite_pairs_of_a_conversion(bench: Path) -> None:
    """relu(z) - relu(-z) carries a value and makes no region that its wall does not make."""
    weight = np.array([[1.0, 0.5], [-1.0, -0.5], [2.0, 1.0]])
    network = chain([(weight, np.array([0.1, -0.1, 0.2])), (np.ones((1, 3)), np.zeros(1))])
    found = all_of(compiled(chart_of(network, Box(-1, 1))))
    assert len(listed(found)) == 2 and found.decided == 0


def test_tiny_ball_far_from_the_origin() -> None:
    """Charts are stretched exactly, so a ball of radius 1e-9 around 1000 is like any box."""
    random = np.random.default_rng(5)
    centre, radius = np.array([1000.0, -700.0]), 2.0**-30
    weight = random.normal(size=(8, 2))
    bias = -weight @ centre + random.normal(size=8) * radius * 0.4
    network = chain([(weight, bias), (np.ones((1, 8)), np.zeros(1))])
    chart = chart_of(network, Box(centre - radius, centre + radius))
    found = all_of(compiled(chart))
    assert listed(found) == {row.tobytes() for row in search(exact_forms(chart)).patterns}
    assert len(found.patterns) > 8


def refusal_cases() -> list[tuple[Callable[[], object], type[Exception], str]]:
    network = random_chain(0, [2, 3, 1], 0.0)
    build = Builder((2,))
    value = build.linear(Dense(np.eye(2)), 0, np.zeros(2))
    smooth = build.build(build.add(Product(), (value, value), 2))
    return [
        (lambda: chart_of(network, Box([0, 1], [1, 1])), DomainError, "flat"),
        (lambda: chart_of(network, Box([0] * 3, [1] * 3)), DomainError, "dimension 3"),
        (lambda: chart_of(network, FiniteSet(Exact.of([[0, 1]]))), Refused, "full-dimensional"),
        (lambda: chart_of(smooth, Box(-1, 1)), UnsupportedModel, "Product"),
        (lambda: charts(unit_layers(chain(
            [(np.eye(2), np.zeros(2)), (np.eye(2), np.zeros(2))], Step
        )), Everywhere()), Refused, "step units"),
        (lambda: charts(unit_layers(chain(
            [(np.ones((300, 800)), np.zeros(300)), (np.ones((1, 300)), np.zeros(1))]
        )), Everywhere()), Refused, "1,601 charts"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_refusals(number: int) -> None:
    attempt, error, words = refusal_cases()[number]
    with pytest.raises(error, match=words):
        attempt()
