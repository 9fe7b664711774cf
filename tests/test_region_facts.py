# SPDX-License-Identifier: Apache-2.0
"""Facts of single regions: facets, maps, volumes, polygons; regions at points, along segments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import region_brute as brute
from isoform.errors import DomainError, Refused
from isoform.formats.npz.layers import read_npz
from isoform.network.charts import charts
from isoform.network.domain import Box, Domain, Everywhere, Polytope
from isoform.network.primitive import to_primitive
from isoform.network.unit_layers import UnitLayer, UnitLayers, unit_layers
from isoform.regions.exact_cell import is_facet
from isoform.regions.exact_forms import exact_forms
from isoform.regions.exact_search import search
from isoform.regions.facets import (
    Place,
    adjacency,
    facets_of,
    listed,
    pierced,
    places,
    unpacked,
)
from isoform.regions.listing import Regions
from isoform.regions.queries import along, neighbours, region_at, within
from isoform.regions.region import Region, packed_bits
from isoform.regions.volume import polygons, volumes

BOX = Box(-1, 1)
SEEDS = st.integers(0, 10**6)


def found_in(layers: UnitLayers, domain: Domain) -> tuple[tuple[Place, ...], Regions]:
    chart, = charts(layers, domain)
    found = search(exact_forms(chart))
    return places((chart,)), listed(found.patterns, found.points.to_float())


def pattern_set(regions: Regions) -> set[bytes]:
    return {row.tobytes() for row in regions.patterns}


def closed_cells(layers: UnitLayers, regions: Regions, x: list[Fraction]) -> list[bytes]:
    """The listed patterns whose closed cell contains a point, by brute force."""
    return [
        row.tobytes()
        for row, bits in zip(
            regions.patterns, unpacked(regions.patterns, layers.units).tolist(), strict=True
        )
        if all(brute.value(form, x) * (1 if on else -1) >= 0
               for form, on in zip(brute.forms(layers, bits)[0], bits, strict=True))
    ]


# --- facets and volumes -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["degIdent_s0", "degNobias_s0", "degQuant_s0"])
def test_areas_add_up(bench: Path, name: str) -> None:
    layers = unit_layers(to_primitive(read_npz(bench / "regions" / f"{name}.npz").network))
    there, regions = found_in(layers, BOX)
    found = volumes(there, regions)
    assert (found > 0).all()
    assert abs(found.sum() - 4) < 1e-12
    shapes = polygons(there, regions)
    assert len(shapes) == len(regions)
    assert np.abs(shapes.corners).max() <= 1 + 1e-12


@settings(deadline=None, max_examples=12)
@given(SEEDS, st.sampled_from([(1, 4, 2, 1), (2, 4, 2, 1), (3, 3, 2, 1), (4, 3, 1, 1)]))
def test_volumes_add_up_to_that_of_the_domain(seed: int, widths: tuple[int, ...]) -> None:
    layers = brute.random_chain(seed, widths)
    low, high = [Fraction(-1, 3)] * widths[0], [2] + [Fraction(3, 5)] * (widths[0] - 1)
    there, regions = found_in(layers, Box(low, high))
    expected = float(Fraction(7, 3) * Fraction(14, 15) ** (widths[0] - 1))
    found = volumes(there, regions)
    assert found.sum() == pytest.approx(expected, rel=1e-11)
    if len(found) > 1:
        assert found[1:].sum() < expected * (1 - 1e-9)


@settings(deadline=None, max_examples=15)
@given(SEEDS)
def test_polygons_have_the_corners_of_the_cells(seed: int) -> None:
    layers = brute.random_chain(seed, (2, 4, 2, 1))
    there, regions = found_in(layers, BOX)
    shapes = polygons(there, regions)
    for i, bits in enumerate(unpacked(regions.patterns, layers.units).tolist()):
        rows = brute.half_spaces(there[0].compiled.chart, bits)
        expected = np.array(sorted(brute.vertices(rows)), dtype=float)
        assert len(shapes[i]) == len(expected)
        for corner in expected:
            assert np.abs(shapes[i] - corner).max(axis=1).min() < 1e-12
    assert (shapes.areas() > 0).all()


def test_volumes_that_are_not_offered() -> None:
    layers = brute.random_chain(1, (5, 2, 1))
    there, regions = found_in(layers, BOX)
    with pytest.raises(Refused, match="4 dimensions"):
        volumes(there, regions)
    with pytest.raises(Refused, match="two inputs"):
        polygons(there, regions)
    with pytest.raises(Refused, match="infinite"):
        volumes(places(charts(layers, Everywhere())), regions)


def test_a_facet_needs_its_half_space() -> None:
    """The unit square, a row that touches its corner, one that cuts it by 2^-80, one beyond."""
    square = [(1, -1, 0), (1, 1, 0), (1, 0, -1), (1, 0, 1)]
    horizon = (1, 0, 0)
    one = 1 << 80
    for row, cuts in [((2, -1, -1), False), ((2 * one - 1, -one, -one), True),
                      ((2 * one + 1, -one, -one), False)]:
        rows = [*square, row]
        assert is_facet(rows, 4, horizon) is cuts
        assert is_facet(rows, 4, horizon, hint=[0, 2]) is cuts
        assert all(is_facet(rows, i, horizon) for i in range(4))


def test_facets_of_thin_cells() -> None:
    """Two walls 2^-60 apart: floats leave the strip open, integers do not."""
    apart = 2.0**-60
    layers = brute.chain(
        [np.array([[1.0, 0], [1, 0], [0, 1]]), np.ones((1, 3))],
        [np.array([0.0, apart, 0]), np.zeros(1)],
    )
    there, regions = found_in(layers, BOX)
    assert len(regions) == 6
    facets = facets_of(there, regions)
    for i, bits in enumerate(unpacked(regions.patterns, 3).tolist()):
        mine = {facets.ids(f) for f in range(facets.starts[i], facets.starts[i + 1])}
        assert mine == brute.facets(brute.half_spaces(there[0].compiled.chart, bits))
    assert len(adjacency(there, regions, facets).pairs) == 7


# --- single regions ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([(1, 3, 2, 1), (2, 3, 2, 2), (3, 3, 1)]), st.data())
def test_region_at_any_point(seed: int, widths: tuple[int, ...], data: st.DataObject) -> None:
    """Half-integers lie on walls and corners often."""
    layers = brute.random_chain(seed, widths)
    there, regions = found_in(layers, Box(-2, 2))
    x = [Fraction(n, 2) for n in data.draw(
        st.lists(st.integers(-4, 4), min_size=widths[0], max_size=widths[0]))]
    region = region_at(there, x)
    around = closed_cells(layers, regions, x)
    assert [region.pattern, *region.touching] == sorted(around)
    check_region(layers, region)


def check_region(layers: UnitLayers, region: Region) -> None:
    """Its point is strictly inside, its map is that of its pattern, its facets hold there."""
    x = region.point.fractions()
    bits = region.bits.tolist()
    units, outputs = brute.forms(layers, bits)
    for form, on in zip(units, bits, strict=True):
        value = brute.value(form, x)
        assert value > 0 if on else value < 0 or not any(form)
    assert [region.affine[i].fractions() for i in range(len(outputs))] == outputs
    for facet in region.facets:
        assert brute.value([Fraction(v) for v in facet.row], x) > 0
        normal, offset = facet.half_space()
        assert normal @ region.point.to_float() <= offset  # in floats a thin region may touch
        for unit in facet.units:
            form = units[unit]
            ratio = {Fraction(v, w) for v, w in zip(form, facet.row, strict=True) if w}
            assert len(ratio) == 1 and (ratio.pop() > 0) == bool(bits[unit])
    assert region.pattern.hex() in str(region) and "facet" in repr(region)


@settings(deadline=None, max_examples=12)
@given(SEEDS, st.sampled_from([(1, 3, 2, 1), (2, 3, 2, 1), (2, 2, 2, 2, 1)]), st.booleans())
def test_neighbours_reach_every_region(seed: int, widths: tuple[int, ...], bias: bool) -> None:
    layers = brute.random_chain(seed, widths, bias=bias)
    there, regions = found_in(layers, Box(-1, 2))
    pairs = {(regions.patterns[i].tobytes(), regions.patterns[j].tobytes())
             for i, j in adjacency(there, regions).pairs}
    waiting, seen = [region_at(there, [Fraction(1, 7)] * widths[0])], {}
    while waiting:
        region = waiting.pop()
        if region.pattern in seen:
            continue
        seen[region.pattern] = region
        check_region(layers, region)
        beside = neighbours(region)
        assert {other.pattern for other in beside} == {
            b if a == region.pattern else a for a, b in pairs if region.pattern in (a, b)
        }
        assert len(beside) == sum(not facet.boundary for facet in region.facets)
        waiting += beside
    assert set(seen) == pattern_set(regions)


@settings(deadline=None, max_examples=12)
@given(SEEDS, st.sampled_from([(2, 3, 2, 1), (2, 4, 1, 1)]))
def test_neighbours_in_all_of_space(seed: int, widths: tuple[int, ...]) -> None:
    layers = brute.random_chain(seed, widths)
    there = places(charts(layers, Everywhere()))
    _, far = found_in(layers, Box(-10_000, 10_000))
    waiting, seen = [region_at(there, [Fraction(20, 7), 5])], set()
    while waiting:
        region = waiting.pop()
        if region.pattern not in seen:
            seen.add(region.pattern)
            check_region(layers, region)
            assert not any(facet.boundary for facet in region.facets)
            waiting += neighbours(region)
    assert seen == pattern_set(far)


def test_points_that_have_no_region() -> None:
    layers = brute.random_chain(2, (2, 3, 1))
    there = places(charts(layers, Polytope(np.array([[1.0, 1]]), np.array([1.0]), BOX)))
    with pytest.raises(DomainError, match="input 1 is 1.5"):
        region_at(there, [0, 1.5])
    with pytest.raises(DomainError, match="row 0"):
        region_at(there, [0.75, 0.75])
    with pytest.raises(DomainError, match="3 numbers"):
        region_at(there, [0, 0, 0])
    assert region_at(there, [0.5, 0.5]).facets


def test_the_corner_of_a_domain_has_its_regions() -> None:
    layers = brute.chain([np.array([[1.0, -1]]), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    there = places(charts(layers, BOX))
    corner = region_at(there, [1, 1])
    assert corner.pattern == bytes([0]) and corner.touching == (bytes([128]),)
    check_region(layers, corner)
    assert "1 more region" in str(corner)
    assert region_at(there, [1, -1]).touching == ()


def test_step_units_have_regions_at_points_but_no_neighbours() -> None:
    plain = brute.random_chain(3, (2, 3, 1))
    layers = UnitLayers(2, (UnitLayer(plain.layers[0].rows, name="step"),), plain.outputs)
    there = places(charts(layers, BOX))
    region = region_at(there, [Fraction(1, 7), Fraction(1, 9)])
    check_region(layers, region)
    with pytest.raises(Refused, match="step units"):
        neighbours(region)
    on_wall = UnitLayers(2, (UnitLayer(brute.random_chain(3, (2, 3, 1), bias=False).layers[0].rows,
                                       name="step"),), plain.outputs)
    with pytest.raises(Refused, match="step unit"):
        region_at(places(charts(on_wall, BOX)), [0, 0])


# --- segments and balls -----------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([(1, 3, 2, 1), (2, 3, 2, 1), (3, 3, 1)]), st.data())
def test_regions_along_a_segment(seed: int, widths: tuple[int, ...], data: st.DataObject) -> None:
    layers = brute.random_chain(seed, widths)
    there, regions = found_in(layers, Box(-2, 2))
    a, b = ([Fraction(n, 2) for n in data.draw(
        st.lists(st.integers(-4, 4), min_size=widths[0], max_size=widths[0]))] for _ in range(2))
    if a == b:
        with pytest.raises(DomainError, match="equal"):
            along(there, a, b)
        return
    segment = along(there, a, b)
    ends = [Fraction(0), *segment.breakpoints(), Fraction(1)]
    assert [piece.end for piece in segment.pieces] == ends[1:] and ends == sorted(set(ends))
    for piece in segment.pieces:
        t = (piece.start + piece.end) / 2
        x = [p + t * (q - p) for p, q in zip(a, b, strict=True)]
        around = closed_cells(layers, regions, x)
        assert piece.pattern == min(around)
        assert bool(piece.walls) == (len(around) > 1)
    for first, second in zip(segment.pieces[:-1], segment.pieces[1:], strict=True):
        assert (first.pattern, first.walls) != (second.pattern, second.walls)
    assert len(str(segment).splitlines()) == 1 + len(segment)


def test_a_piece_of_length_two_to_the_minus_sixty_is_found() -> None:
    layers = brute.chain(
        [np.array([[1.0], [1.0]]), np.ones((1, 2))], [np.array([0.0, 2.0**-60]), np.zeros(1)]
    )
    segment = along(places(charts(layers, BOX)), [-1], [1])
    assert [piece.pattern for piece in segment.pieces] == [b"\x00", b"\x40", b"\xc0"]
    assert segment.pieces[1].end - segment.pieces[1].start == Fraction(1, 1 << 61)


@settings(deadline=None, max_examples=10)
@given(SEEDS, st.integers(-2, 2), st.integers(-2, 2))
def test_regions_within_a_ball(seed: int, m: int, n: int) -> None:
    """Those that a search of the ball finds, all of them regions of the whole domain."""
    layers = brute.random_chain(seed, (2, 4, 2, 1))
    there, regions = found_in(layers, Box(-3, 3))
    centre, radius = [Fraction(m), Fraction(n)], Fraction(3, 5)
    ball_there, found = within(there, centre, radius)
    low, high = [v - radius for v in centre], [v + radius for v in centre]
    _, expected = found_in(layers, Box(low, high))
    assert pattern_set(found) == pattern_set(expected) <= pattern_set(regions)
    assert packed_bits(region_at(there, centre).bits) in pattern_set(found)
    assert volumes(ball_there, found).sum() == pytest.approx(float(4 * radius**2))
    assert pattern_set(within(places(charts(layers, Everywhere())), centre, radius)[1]) == (
        pattern_set(found))


def test_a_ball_is_cut_by_the_domain() -> None:
    layers = brute.random_chain(4, (2, 4, 1))
    there = places(charts(layers, Polytope(np.array([[1.0, 1]]), np.array([0.0]), Box(0, 4))))
    with pytest.raises(DomainError, match="in common"):
        within(there, [-2, 0], 1)
    whole = places(charts(layers, Box(0, 4)))
    ball_there, found = within(whole, [0, 0], 1)
    assert volumes(ball_there, found).sum() == pytest.approx(1.0)
    with pytest.raises(DomainError, match="positive"):
        within(whole, [0, 0], 0)


def test_a_line_through_the_wall_proves_a_facet() -> None:
    square, one = [(1, -1, 0), (1, 1, 0), (1, 0, -1), (1, 0, 1)], (1, 0, 0)
    inside, beside = np.array([0.0, 0.0]), np.array([0.75, 0.25])
    corner = np.array([0.5, 0.5])
    contacts = np.stack([beside, np.array([0.25, 0.75]), corner, np.full(2, np.nan)])
    assert pierced(square, 0, one, inside, contacts, [0])
    assert not pierced(square, 1, one, np.array([0.5, 0.25]), contacts, [1])  # leaves by row 3
    assert not pierced(square, 2, one, inside, contacts, [2])  # meets a corner
    assert not pierced(square, 3, one, inside, contacts, [3])
    assert not pierced(square, 0, one, np.array([0.75, 0.0]), contacts, [0])  # parallel to the wall
    assert not pierced(square, 0, (1, -1, 0), inside, contacts, [0])  # meets it at infinity


def test_facets_can_be_left_out() -> None:
    layers = brute.random_chain(7, (40, 6, 2))
    there = places(charts(layers, BOX))
    x = [Fraction(i % 5 - 2, 7) for i in range(40)]
    bare = region_at(there, x, with_facets=False)
    full = region_at(there, x)
    assert bare.facets is None and full.facets
    assert bare.pattern == full.pattern and bare.affine == full.affine
    assert "facet" not in str(bare) and "facet" in str(full)
