# SPDX-License-Identifier: Apache-2.0
"""Neighbours among activation regions, and the kinds `connected` and `affine`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import region_brute as brute
from isoform.errors import ContractBroken, Refused
from isoform.formats.npz.layers import read_npz
from isoform.network.charts import charts
from isoform.network.domain import Box, Domain, Everywhere, Polytope
from isoform.network.primitive import to_primitive
from isoform.network.unit_layers import UnitLayer, UnitLayers, unit_layers
from isoform.regions.enumeration import enumerate_regions
from isoform.regions.exact_forms import exact_forms
from isoform.regions.exact_search import search
from isoform.regions.facets import adjacency, facets_of, listed, numbers_of, places, unpacked
from isoform.regions.kinds import affine_kind, connected_kind, float_clusters, split_by
from isoform.regions.listing import Regions

KNOWN = [  # activation, connected, affine, adjacencies
    ("degQuant_s0", 91, 42, 41, 149),
    ("degIdent_s0", 173, 173, 173, 324),
    ("degNobias_s0", 52, 52, 52, 52),
    ("2-32-32-1_s0", 1254, 1254, 1254, 2445),
]


def regions_of(layers: UnitLayers, domain: Domain) -> tuple[tuple, Regions]:
    """All activation regions, by the splitting search."""
    found = enumerate_regions(charts(layers, domain), workers=1)
    assert found.complete
    chunks = list(found.chunks())
    assert len(chunks) == 1
    return places(found.charts), chunks[0]


def exactly(layers: UnitLayers, domain: Domain) -> tuple[tuple, Regions]:
    """All activation regions, by the exact search, with witnesses rounded to doubles."""
    chart, = charts(layers, domain)
    found = search(exact_forms(chart))
    return places((chart,)), listed(found.patterns, found.points.to_float())


@pytest.mark.parametrize("name,activation,connected,affine,adjacencies", KNOWN)
def test_counts_of_the_benchmarks(
    bench: Path, name: str, activation: int, connected: int, affine: int, adjacencies: int
) -> None:
    layers = unit_layers(to_primitive(read_npz(bench / "regions" / f"{name}.npz").network))
    there, regions = regions_of(layers, Box(-1, 1))
    assert len(regions) == activation
    found = adjacency(there, regions)
    assert len(found.pairs) == adjacencies
    assert len(found.missing) == 0
    assert affine_kind(there, regions).count == affine
    assert connected_kind(there, regions).count == connected


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([(1, 4, 3, 1), (2, 3, 2, 1), (2, 4, 2, 2),
                                               (2, 2, 2, 2, 1), (3, 3, 1, 1)]), st.booleans())
def test_random_quantised_networks_against_brute_force(
    seed: int, widths: tuple[int, ...], bias: bool
) -> None:
    layers = brute.random_chain(seed, widths, bias=bias)
    there, regions = exactly(layers, Box(-1, 1))
    chart, k = there[0].compiled.chart, widths[0]
    bits = unpacked(regions.patterns, layers.units).tolist()
    facets = facets_of(there, regions)
    cells = []
    for i, own in enumerate(bits):
        rows = brute.half_spaces(chart, own)
        cells.append(brute.vertices(rows))
        mine = {facets.ids(f) for f in range(facets.starts[i], facets.starts[i + 1])}
        assert mine == brute.facets(rows)
    pairs = brute.adjacent(cells, k)
    found = adjacency(there, regions, facets)
    assert {(int(i), int(j)) for i, j in found.pairs} == pairs
    assert len(found.missing) == 0
    maps = [str(brute.forms(layers, own)[1]) for own in bits]
    assert affine_kind(there, regions).count == len(set(maps))
    same = {(i, j) for i, j in pairs if maps[i] == maps[j]}
    assert connected_kind(there, regions).count == brute.classes(len(bits), same)


def test_a_region_that_is_not_listed_is_missed() -> None:
    layers = brute.random_chain(5, (2, 4, 3, 1))
    there, regions = exactly(layers, Box(-1, 1))
    whole = adjacency(there, regions)
    assert len(regions) > 3 and len(whole.missing) == 0
    for gone in range(len(regions)):
        keep = np.arange(len(regions)) != gone
        part = listed(regions.patterns[keep], regions.points[keep])
        lost = adjacency(there, part).missing
        touching = int((whole.pairs == gone).any(axis=1).sum())
        assert len(lost) == touching > 0


@pytest.mark.parametrize("bias", [-1.0, 0.0])
def test_a_pattern_of_no_region_is_found_out(bias: float) -> None:
    """The second unit is constant, negative or zero, so it is never active."""
    one = np.ones((1, 1))
    layers = brute.chain([one, 0 * one, one], [np.zeros(1), np.array([bias]), np.zeros(1)])
    there, regions = exactly(layers, Box(-1, 1))
    assert len(facets_of(there, regions).rows) == 4
    wrong = Regions(regions.patterns | 64, regions.charts, regions.points, ())
    with pytest.raises(ContractBroken, match="unit 1"):
        facets_of(there, wrong)


def test_opposite_units_share_their_wall() -> None:
    """relu(x) and relu(-x): behind x = 0 both turn."""
    layers = brute.chain(
        [np.array([[1.0, 0], [-1, 0], [2, 0], [0, 1]]), np.ones((1, 4))], [np.zeros(4), np.zeros(1)]
    )
    there, regions = exactly(layers, Box(-1, 1))
    assert len(regions) == 4
    facets = facets_of(there, regions)
    assert sorted(facets.shared.values()) == [(4, 5, 6)] * 4
    assert adjacency(there, regions, facets).pairs.tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]


def test_a_unit_that_is_zero_on_one_side_wakes_up_behind_the_facet() -> None:
    """relu(relu(x)) without biases: left of 0 the second unit is zero throughout."""
    one, none = np.ones((1, 1)), np.zeros(1)
    layers = brute.chain([one, one, one], [none, none, none])
    there, regions = exactly(layers, Box(-1, 1))
    assert unpacked(regions.patterns, 2).tolist() == [[0, 0], [1, 1]]
    found = adjacency(there, regions)
    assert found.pairs.tolist() == [[0, 1]] and len(found.missing) == 0


def test_walls_through_corners_and_equal_to_faces() -> None:
    """A wall that only touches the box at a corner is no facet; one equal to a face is boundary."""
    layers = brute.chain(
        [np.array([[1.0, 1], [1, 0], [1, -1]]), np.ones((1, 3))],
        [np.array([2.0, 1, 0]), np.zeros(1)],
    )
    there, regions = exactly(layers, Box(-1, 1))
    assert len(regions) == 2
    facets = facets_of(there, regions)
    assert (0, 5) in [facets.ids(f) for f in range(len(facets.rows))]
    assert not any(4 in facets.ids(f) for f in range(len(facets.rows)))
    found = adjacency(there, regions, facets)
    assert len(found.pairs) == 1 and found.boundary == 4 and len(found.missing) == 0


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_polytope_domains(seed: int) -> None:
    layers = brute.random_chain(seed, (2, 4, 2, 1))
    domain = Polytope(np.array([[1.0, 1], [-1, 2]]), np.array([1.0, 1.5]), Box(-1, 2))
    there, regions = exactly(layers, domain)
    chart = there[0].compiled.chart
    cells = [brute.vertices(brute.half_spaces(chart, bits))
             for bits in unpacked(regions.patterns, layers.units).tolist()]
    found = adjacency(there, regions)
    assert {(int(i), int(j)) for i, j in found.pairs} == brute.adjacent(cells, 2)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([(1, 3, 2, 1), (2, 3, 1, 1), (2, 3, 2, 1)]),
       st.booleans())
def test_all_of_space_is_a_large_box(seed: int, widths: tuple[int, ...], bias: bool) -> None:
    """Small half-integers: every region and every facet meets the box of size 10,000."""
    layers = brute.random_chain(seed, widths, bias=bias)
    far_there, far = exactly(layers, Box(-10_000, 10_000))
    there, regions = regions_of(layers, Everywhere())
    assert np.array_equal(regions.patterns, far.patterns)
    found, expected = adjacency(there, regions), adjacency(far_there, far)
    assert np.array_equal(found.pairs, expected.pairs)
    assert len(found.missing) == 0 and found.boundary == 0
    assert affine_kind(there, regions).count == affine_kind(far_there, far).count
    assert connected_kind(there, regions).count == connected_kind(far_there, far).count


def test_step_units_have_affine_but_no_connected_regions() -> None:
    plain = brute.random_chain(3, (2, 3, 1))
    layers = UnitLayers(2, (UnitLayer(plain.layers[0].rows, name="step"),), plain.outputs)
    there, regions = exactly(layers, Box(-1, 1))
    maps = [str(brute.forms(layers, bits)[1])
            for bits in unpacked(regions.patterns, layers.units).tolist()]
    assert affine_kind(there, regions).count == len(set(maps)) > 1
    with pytest.raises(Refused, match="step units"):
        connected_kind(there, regions)
    with pytest.raises(Refused, match="step units"):
        adjacency(there, regions)


def test_maps_that_differ_in_the_last_bit_are_different() -> None:
    """Two regions whose maps differ by 2^-60: no float tells them apart, integers do."""
    def with_weight(small: float) -> UnitLayers:
        return brute.chain(
            [np.array([[1.0], [1.0], [-1.0]]), np.array([[1.0, small, -1.0]])],
            [np.zeros(3), np.zeros(1)],
        )
    for small, count in ((2.0**-60, 2), (0.0, 1)):
        there, regions = exactly(with_weight(small), Box(-1, 1))
        assert len(set(float_clusters(there[0], regions.patterns).tolist())) == 1
        found = affine_kind(there, regions)
        assert (found.count, found.compared) == (count, 2)
        assert connected_kind(there, regions).count == count


def test_gaps_separate_and_chains_do_not() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    values = np.array([0.0, 1.0, 1.9, 4.0, 1.0, 9.0])
    assert split_by(labels, values, np.full(6, 0.5)).tolist() == [0, 0, 0, 1, 2, 3]
    assert split_by(labels, values, np.full(6, 0.1)).tolist() == [0, 1, 2, 3, 4, 5]
    wide = np.array([3.0, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert split_by(labels, values, wide).tolist() == [0, 0, 0, 1, 2, 3]


def test_numbers_of_patterns() -> None:
    rng = np.random.default_rng(1)
    known = np.unique(rng.integers(0, 256, size=(500, 3), dtype=np.uint8), axis=0)
    asked = np.concatenate([known[::7], known[:3] ^ 255])
    table = {row.tobytes(): i for i, row in enumerate(known)}
    assert numbers_of(known, asked).tolist() == [table.get(row.tobytes(), -1) for row in asked]
    assert numbers_of(known[:0], asked[:2]).tolist() == [-1, -1]
