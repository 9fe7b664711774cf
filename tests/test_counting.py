# SPDX-License-Identifier: Apache-2.0
"""Bounds on the number of regions: the published tables, brute force, networks that reach them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise, product
from math import comb, prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from isoform.network.linear_map import Constant, Dense
from isoform.network.network import Builder
from isoform.network.operators import Concat, Relu, Step
from isoform.network.unit_layers import UnitLayers, unit_layers
from isoform.numerics.exact import Exact
from isoform.regions.counting import (
    chain_parameters,
    montufar_lower,
    montufar_upper,
    serra_lower,
    serra_upper,
    shallow_tent_parameters,
    tent,
    tent_parameters,
    tent_pieces,
    widest_chain,
    zaslavsky,
)
from isoform.regions.layer_bounds import bounds_of
from isoform.text import count
from random_networks import graphs
from regions_oracle import patterns, read_layers

Weights = Sequence[tuple[Constant, Constant]]

# inputs, widths: parameters, one layer of as many units, lower 2014, lower 2018, upper 2018, 2017
TABLE = [
    (1, (3, 3), 22, 7, 12, 16, 16, 16),
    (2, (4, 4), 37, 37, 44, None, 121, 121),
    (2, (6, 6), 67, 79, 198, 352, 484, 484),
    (2, (8, 8, 8), 177, 301, 9_472, 23_125, 50_653, 50_653),
    (2, (16, 16), 337, 529, 8_768, 11_097, 18_769, 18_769),
    (3, (12, 12, 12), 373, 7_807, 1_224_704, 4_671_875, 26_730_899, 26_730_899),
    (8, (8, 8, 8), 225, 1_271_626, 256, None, 5_900_722, 16_777_216),
    (10, (4, 4, 4), 89, 4_083, None, None, 1_634, 4_096),
    (784, (11, 11), 8_779, 4_194_304, None, None, 2_449_868, 4_194_304),
]


# --- formulas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{'-'.join(map(str, row[1]))}")
def test_the_table(row: tuple[int, tuple[int, ...], int, int, int | None, int | None, int, int]
                   ) -> None:
    d, widths, *expected = row
    assert [
        chain_parameters(d, widths), zaslavsky(sum(widths), d), montufar_lower(d, widths),
        serra_lower(d, widths), serra_upper(d, widths), montufar_upper(d, widths),
    ] == expected


@pytest.mark.parametrize("inputs, bounds", [
    (1, [13, 49, 125, 256, 729, 13]), (2, [79, 484, 1331, 1024, 735, 13]),
    (4, [794, 2424, 1634, 1028, 735, 13]), (20, [4096, 2510, 1634, 1028, 735, 13]),
])
def test_twelve_units_at_any_depth(inputs: int, bounds: list[int]) -> None:
    """Depth wins only where there are more units than inputs."""
    assert [serra_upper(inputs, [12 // k] * k) for k in (1, 2, 3, 4, 6, 12)] == bounds


def test_where_the_narrow_layer_stands_matters() -> None:
    found = {n: serra_upper(784, [n, 22 - n]) for n in (1, 5, 8, 11, 14, 21)}
    assert found == {1: 23, 5: 35_443, 8: 600_370, 11: 2_449_868, 14: 3_913_704, 21: 4_194_303}


@pytest.mark.parametrize("budget, depth, width, upper, lower", [
    (300, 1, 74, 2_776, 2_776), (300, 2, 14, 11_236, 6_784), (300, 3, 10, 175_616, 72_576),
    (300, 4, 8, 1_874_161, 578_125), (300, 6, 6, 113_379_904, 23_068_672),
    (1000, 1, 249, 31_126, 31_126), (1000, 3, 20, 9_393_931, 3_089_251),
    (1000, 6, 13, 606_355_001_344, 25_987_722_908),
])
def test_depth_at_equal_size(budget: int, depth: int, width: int, upper: int, lower: int) -> None:
    assert widest_chain(2, depth, budget) == width
    assert chain_parameters(2, [width] * depth) <= budget < chain_parameters(2, [width + 1] * depth)
    assert serra_upper(2, [width] * depth) == upper
    assert serra_lower(2, [width] * depth) == lower


def test_one_input() -> None:
    assert serra_upper(1, [4, 4, 4]) == 125 and serra_upper(1, [2] * 10) == 59_049
    assert [serra_upper(1, [1] * k) for k in range(1, 6)] == [2, 3, 4, 5, 6]
    assert montufar_upper(1, [1] * 5) == 32  # the dimension that inactive units take is not counted


@given(st.integers(0, 4), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data())
@settings(deadline=None, max_examples=60)
def test_the_recursion_is_the_sum(d: int, widths: list[int], data: st.DataObject) -> None:
    """Theorem 1 as it is written, over all index vectors, with and without ranks."""
    ranks = [data.draw(st.integers(0, n)) for n in widths]
    for given_ranks in (None, ranks):
        total = 0
        for j in product(*(range(n + 1) for n in widths)):
            room = [min([d, *(n - i for n, i in zip(widths, j[:layer], strict=False))])
                    for layer in range(len(widths))]
            room = [min(a, b) for a, b in zip(room, given_ranks or widths, strict=True)]
            if all(i <= most for i, most in zip(j, room, strict=True)):
                total += prod(comb(n, i) for n, i in zip(widths, j, strict=True))
        assert serra_upper(d, widths, given_ranks) == total


@given(st.integers(1, 6), st.lists(st.integers(1, 20), min_size=1, max_size=4))
@settings(deadline=None)
def test_the_order_of_the_bounds(d: int, widths: list[int]) -> None:
    chain = [montufar_lower(d, widths), serra_lower(d, widths), serra_upper(d, widths),
             montufar_upper(d, widths), 2 ** sum(widths)]
    known = [value for value in chain if value is not None]
    assert known == sorted(known)
    assert (montufar_lower(d, widths) is None) == (min(widths) < d)
    assert (serra_lower(d, widths) is None) == (min(widths) < 3 * d)


def test_a_bound_of_any_size_can_be_written() -> None:
    assert count(serra_upper(784, [512] * 4)) == "4.31e+615"
    assert [count(n) for n in (999_999, 10**12 - 1, 10**12, 1_234_567_890_123)] == [
        "999,999", "999,999,999,999", "1e+12", "1.23e+12"]


def test_the_plain_loop_knows_the_true_counts(bench: Path) -> None:
    """The loop is what other searches are held against; the counts are known from rationals."""
    for name, expected in (("degIdent_s0", 173), ("degNobias_s0", 52), ("degQuant_s0", 91)):
        found, programs, complete = patterns(read_layers(bench / "regions" / f"{name}.npz"))
        assert complete and programs > len(found) == len(np.unique(found, axis=0)) == expected
    found, _, complete = patterns(read_layers(bench / "regions" / "10-16-16-1_s0.npz"), seconds=0)
    assert not complete and len(found) == 1


def test_nonsense_is_refused() -> None:
    for inputs, widths in ((-1, [3]), (2, []), (2, [3, -1])):
        with pytest.raises(ValueError, match="no chain has"):
            serra_upper(inputs, widths)
    with pytest.raises(ValueError, match="as many ranks"):
        serra_upper(2, [3, 3], [3])
    assert widest_chain(2, 3, 5) == 0
    with pytest.raises(ValueError, match="hidden layers"):
        widest_chain(2, 0, 100)


# --- networks that reach the bounds -------------------------------------------------------------


def chain_layers(weights: Weights) -> UnitLayers:
    last = len(weights) - 1
    chain = tuple(networks.Layer(w, b, i < last) for i, (w, b) in enumerate(weights))
    return unit_layers(networks.network(chain))


def regions_on_a_line(layers: UnitLayers, low: int, high: int) -> int:
    """Activation regions of a network with one input on [low, high], in rationals: cells are cut
    at the zeros of one unit after the other."""
    cells = [(Fraction(low), Fraction(high), [(Fraction(1), Fraction(0)), (Fraction(0),
              Fraction(1))])]  # ends; constant and slope of 1, x, and what the units hand on
    for layer in layers.layers:
        rows = [layer.rows.row_fractions(i) for i in range(layer.size)]
        for row in rows:
            made = []
            for a, b, values in cells:
                c = sum((w * values[i][0] for i, w in row.items()), Fraction(0))
                g = sum((w * values[i][1] for i, w in row.items()), Fraction(0))
                cut = -c / g if g else None
                inner = [cut] if cut is not None and a < cut < b else []
                for left, right in zip([a, *inner], [*inner, b], strict=True):
                    on = c + g * (left + right) / 2 > 0
                    out = (Fraction(int(on)), Fraction(0)) if layer.step else (c * on, g * on)
                    made.append((left, right, [*values, out]))
            cells = made
    return len(cells)


def zigzag(widths: Sequence[int]) -> UnitLayers:
    """A chain with one input whose hidden layers but the last (n >= 3 units) fold [0, 1] onto
    itself n + 1 times, up and down; the last one bends n times.

    The third unit looks to the left, the others to the right: then the slope at 0 is minus the
    change at the third bend, which slopes 2, -4, 1, -1, 1, -1, ... satisfy up to a factor.
    """
    weights: list[tuple[Exact, Exact]] = []
    out, shift = Exact.of(np.ones((1, 1))), Exact.of([0])
    for n in widths[:-1]:
        slopes = [Fraction(v) for v in [2, -4, 1, -1, *[(-1) ** i for i in range(n - 3)]]]
        total = sum(1 / abs(v) for v in slopes)
        slopes = [v * total for v in slopes]
        bends = list(accumulate(1 / abs(v) for v in slopes[:-1]))
        changes = [b - a for a, b in pairwise(slopes)]
        side = Exact.of([-1 if i == 2 else 1 for i in range(n)])
        weights.append((side.reshape(n, 1) @ out, side * (shift - Exact.of(bends))))
        out = Exact.of(changes).reshape(1, n)
        shift = Exact.of([-changes[2] * bends[2]])
    n = widths[-1]
    bends = [Fraction(i, n + 1) for i in range(1, n + 1)]
    weights.append((Exact.of(np.ones((n, 1))) @ out, shift - Exact.of(bends)))
    return chain_layers([*weights, (np.ones((1, n)), np.zeros(1))])


@pytest.mark.parametrize("widths", [(3, 3), (4, 4, 4), (3, 5, 4), (3, 1), (6, 2)])
def test_a_zigzag_reaches_the_bound(widths: tuple[int, ...]) -> None:
    """One input: the upper bound is attained, so it is not too large (nor, as the count is exact,
    too small). The last layer may be narrower than the theorem asks."""
    layers = zigzag(widths)
    assert regions_on_a_line(layers, 0, 1) == prod(n + 1 for n in widths)
    assert serra_upper(1, widths) == prod(n + 1 for n in widths)


@pytest.mark.parametrize("times", [1, 2, 3, 5, 8])
def test_the_tent(times: int) -> None:
    weights = tent(times)
    assert sum(w.size + b.size for w, b in weights) == tent_parameters(times) == 6 * times + 1
    layers = chain_layers(weights)
    assert regions_on_a_line(layers, 0, 1) == tent_pieces(times) == 2**times
    for number in range(2**times + 1):  # between 0 and 1, by turns
        x = np.array([number / 2**times])
        for w, b in weights[:-1]:
            x = np.maximum(w @ x + b, 0)
        assert weights[-1][0] @ x + weights[-1][1] == number % 2
    assert shallow_tent_parameters(times) == 3 * 2**times + 1


def test_the_tent_in_one_layer() -> None:
    """Bends alone never give the slope at 0, whichever way their units look; one more unit does."""
    changes = [-8, 8, -8]  # of the slope of tent(tent(x)), which starts with 4
    reached = {-sum(side * c for side, c in zip(sides, changes, strict=True))
               for sides in product((0, 1), repeat=3)}
    assert 4 not in reached
    assert (tent_parameters(8), shallow_tent_parameters(8)) == (49, 769)


# --- bounds of a given network ------------------------------------------------------------------


def named(layers: UnitLayers) -> dict[str, int]:
    return {bound.name: bound.value for bound in bounds_of(layers) if bound.upper}


def test_a_chain_has_the_published_bounds(bench: Path) -> None:
    for name, serra in (("2-32-32-1_s0", 279_841), ("2-64-64-64-1_s0", 9_011_897_441),
                        ("6-12-12-1_s0", 6_300_100), ("10-16-16-1_s0", 2_377_900_537),
                        ("degIdent_s0", 5_069)):
        assert named(read_layers(bench / "regions" / f"{name}.npz"))["Serra et al. 2018"] == serra
    twin = bounds_of(read_layers(bench / "regions" / "degIdent_s0.npz"))
    assert twin[-1].name == "by levels" and twin[-1].value == zaslavsky(15, 2) * 37
    lower = [bound for bound in twin if not bound.upper]
    assert [bound.value for bound in lower] == [64 * 37, 81 * 37]
    assert all("some weights" in bound.why for bound in lower)


def test_ranks_and_shared_walls_lower_the_bounds() -> None:
    random = np.random.default_rng(0)
    thin = np.arange(1, 9)[:, None] @ random.integers(1, 10, (1, 6))  # parallel walls
    layers = chain_layers([
        (random.integers(-9, 10, (6, 4)) / 1.0, np.ones(6)), (thin / 1.0, np.arange(8.0)),
        (np.ones((1, 8)), np.zeros(1)),
    ])
    found = named(layers)
    assert found["by levels"] == zaslavsky(6, 4) * 9
    assert found["Serra et al. 2018 with ranks"] == serra_upper(4, (6, 8), (4, 1))
    w = np.array([[1.0], [2.0], [-3.0], [1.0], [0.0]])
    b = np.array([1.0, 2.0, -3.0, 0.0, 5.0])
    line = chain_layers([(w, b), (np.ones((1, 5)), np.zeros(1))])
    assert named(line) == {"by levels": 3, "Zaslavsky": 6}
    assert regions_on_a_line(line, -2, 2) == 3


def with_skip(units: int) -> UnitLayers:
    """|x| through one unit and a skip, then `units` bends of it."""
    build = Builder((1,))
    bent = build.add(Relu(), (0,), 1)
    moved = build.linear(
        [Dense(np.full((units, 1), -1.0)), Dense(np.full((units, 1), 2.0))], (0, bent),
        -np.arange(1.0, units + 1),
    )
    last = build.add(Relu(), (moved,), units)
    return unit_layers(build.build(build.linear(Dense(np.ones((1, units))), last)))


def test_a_skip_takes_the_bounds_of_a_chain_away() -> None:
    layers = with_skip(3)
    regions = regions_on_a_line(layers, -9, 9)
    assert named(layers) == {"by levels": 8} and regions == 8
    assert regions > serra_upper(1, (1, 3))  # so to print that bound would be a lie


def test_a_step_hands_on_no_dimension() -> None:
    build = Builder((1,))
    steps = build.add(Step(), (build.linear(Dense(np.ones((3, 1))), 0, np.arange(3.0)),), 3)
    units = build.add(Relu(), (build.linear(Dense(np.ones((4, 3))), steps, -np.arange(4.0)),), 4)
    layers = unit_layers(build.build(build.linear(Dense(np.ones((1, 4))), units)))
    assert [(bound.name, bound.value) for bound in bounds_of(layers)] == [("by levels", 4)]
    assert regions_on_a_line(layers, -5, 5) == 4


def test_branches_side_by_side_are_one_layer() -> None:
    build = Builder((2,))
    random = np.random.default_rng(1)
    both = [
        build.add(Relu(), (build.linear(Dense(random.standard_normal((n, 2))), 0, np.ones(n)),), n)
        for n in (3, 4)
    ]
    joined = build.add(Concat(), both, 7)
    top = build.add(Relu(), (build.linear(Dense(random.standard_normal((5, 7))), joined),), 5)
    layers = unit_layers(build.build(build.linear(Dense(np.ones((1, 5))), top)))
    assert named(layers)["Serra et al. 2018"] == serra_upper(2, (7, 5))
    affine = Builder((2,))
    assert bounds_of(unit_layers(affine.build(affine.linear(Dense(np.ones((1, 2))), 0)))) == ()


@given(graphs())
@settings(deadline=None, max_examples=40)
def test_no_random_graph_passes_its_bounds(network: networks.Network) -> None:
    layers = unit_layers(network)
    if layers.units == 0 or layers.units > 24:
        return
    found, _, complete = patterns(layers, -4, 4, seconds=5)
    bounds = [bound.value for bound in bounds_of(layers) if bound.upper]
    assert bounds and len(found) <= min(bounds)
    if layers.dimension == 1 and complete:
        assert regions_on_a_line(layers, -4, 4) == len(found)
