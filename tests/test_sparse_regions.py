# SPDX-License-Identifier: Apache-2.0
"""Sparse layers in the region search: exact forms of single units, walls that pooling repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from isoform.certificate.region_evidence import Stream
from isoform.certificate.region_tree import check_streams
from isoform.errors import CertificateRejected
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box
from isoform.network.unit_layers import UnitLayer, UnitLayers
from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import ExactSparse
from isoform.regions.compiled import compiled
from isoform.regions.exact_decision import Verdict, decide
from isoform.regions.exact_forms import ExactForms, exact_forms, form_of, layer_forms
from isoform.regions.exact_search import search
from isoform.regions.splitting import Explored, Node, explore
from isoform.regions.splitting_state import MINUS_FOLLOW, PLUS_FOLLOW

WIDE = 18  # units of a layer


def rows_of(lists: Sequence[Sequence[int]], denominator: int = 1) -> ExactSparse:
    shape = (len(lists), len(lists[0]))
    return ExactSparse.of(Exact(integers((v for row in lists for v in row), shape), denominator))


def pooled(seed: int, k: int = 2, step: bool = False) -> Chart:
    """Maxima of three among random affine values v_i, in overlapping windows, unit by unit as a
    pooling layer is written: v_i - v_i+1, max(v_i, v_i+1) - v_i+2; a few sums at last. Where v_i is
    smaller, the latter is v_i+1 - v_i+2, which has a unit already."""
    random = np.random.default_rng(seed)
    values = random.integers(-9, 10, (WIDE, 1 + k))
    values[:, 0] *= 2
    after = np.roll(values, -1, axis=0)
    second = np.concatenate((after - np.roll(after, -1, axis=0), np.eye(WIDE, dtype=int)), axis=1)
    last = np.zeros((3, 1 + k + 2 * WIDE), dtype=np.int64)
    last[:, 0] = [-9, 12, 5]
    last[:, 1 + k + WIDE :] = random.integers(-1, 2, (3, WIDE))
    layers = (
        UnitLayer(rows_of((values - after).tolist(), 8), "step" if step else "relu"),
        UnitLayer(rows_of(second.tolist(), 8)), UnitLayer(rows_of(last.tolist(), 4)),
    )
    outputs = ExactSparse.zeros((1, 1 + k + 2 * WIDE + 3))
    return charts(UnitLayers(k, layers, outputs), Box(-1, 1))[0]


def without_single_units(forms: ExactForms) -> ExactForms:
    """The same forms, always by whole layers."""
    return replace(forms, weights=tuple(replace(of, sparse=False) for of in forms.weights))


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_single_units_have_the_forms_of_the_layer(k: int, step: bool) -> None:
    chart = pooled(3, k, step)
    single = exact_forms(chart)
    whole = without_single_units(exact_forms(chart))
    assert single.sparse and not whole.sparse
    random = np.random.default_rng(0)
    for _ in range(8):
        prefix = bytes(random.integers(0, 2, chart.layers.units).tolist())
        for unit in random.permutation(chart.layers.units).tolist():
            assert form_of(single, unit, prefix) == form_of(whole, unit, prefix)
        layer = layer_forms(single, 1, prefix)
        assert layer.rows == layer_forms(whole, 1, prefix).rows
    with pytest.raises(ValueError, match="fixes no forms"):
        form_of(single, WIDE, prefix[: WIDE - 1])


def test_a_unit_is_computed_again_only_where_its_cone_changes() -> None:
    chart = pooled(1)
    forms = exact_forms(chart)
    prefix = bytearray(chart.layers.units)
    form_of(forms, WIDE, bytes(prefix))
    count = len(forms.known)
    read = chart.layers.layers[1].rows.row_fractions(0)
    inside = [c - 3 for c in read if c >= 3]
    outside = next(unit for unit in range(WIDE) if unit not in inside)
    prefix[outside] = 1
    before = form_of(forms, WIDE, bytes(prefix))
    assert len(forms.known) == count
    prefix[inside[0]] = 1
    assert form_of(forms, WIDE, bytes(prefix)) != before and len(forms.known) == count + 1


def test_little_memory_changes_nothing() -> None:
    chart = pooled(2)
    ample, scarce = exact_forms(chart), exact_forms(chart, memory=20_000)
    left, right = search(ample), search(scarce)
    assert np.array_equal(left.patterns, right.patterns) and np.array_equal(left.ids, right.ids)
    assert ample.held[0] > 20_000 >= scarce.held[0] == sum(n for _, n in scarce.known.values())


def explored(chart: Chart) -> Explored:
    return explore(compiled(chart), Node())


def same_patterns(left: np.ndarray, right: np.ndarray) -> bool:
    return {row.tobytes() for row in left} == {row.tobytes() for row in right}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [False, True])
def test_pooling_is_searched_exactly(seed: int, step: bool) -> None:
    chart = pooled(seed, step=step)
    found = explored(chart)
    for forms in (exact_forms(chart), without_single_units(exact_forms(chart))):
        reference = search(forms)
        assert len(reference) == len(found.patterns) > 10
        assert same_patterns(found.patterns, reference.patterns)


def stream(found: Explored, ids: np.ndarray | None = None) -> Stream:
    return Stream(codes=found.codes, ids=found.ids if ids is None else ids, points=found.points,
                  fine=found.fine)


def test_the_checker_accepts_what_pooling_repeats() -> None:
    """Walls come again in other windows; the stream says so by FOLLOW, of the unit that split."""
    chart = pooled(0)
    found = explored(chart)
    follows = np.isin(found.codes, (MINUS_FOLLOW, PLUS_FOLLOW))
    assert follows.any() and found.decided
    checked = check_streams(chart, [stream(found)])
    assert np.array_equal(checked.patterns, found.patterns) and not checked.holes
    flipped = found.codes.copy()
    flipped[np.flatnonzero(follows)[-1]] ^= 1
    with pytest.raises(CertificateRejected):
        check_streams(chart, [replace(stream(found), codes=flipped)])


def test_an_exact_decision_names_the_unit_that_split() -> None:
    chart = pooled(0)
    forms, units = exact_forms(chart), chart.layers.units
    followed = 0
    for row in explored(chart).patterns:
        prefix = bytearray(np.unpackbits(row)[:units].tolist())
        for unit in range(WIDE):
            prefix[unit] |= 2
        for unit in range(WIDE, 2 * WIDE):
            made = decide(forms, bytes(prefix[:unit]), unit)
            if made.verdict in (Verdict.MINUS_FOLLOW, Verdict.PLUS_FOLLOW):
                followed += 1
                (leader,) = made.ids
                assert prefix[leader] & 2
                z, v = (form_of(forms, j, bytes(prefix)).fractions() for j in (unit, leader))
                at = next(i for i, value in enumerate(v) if value)
                assert [value * v[at] for value in z] == [value * z[at] for value in v]
                same = z[at] * v[at] > 0
                assert (made.verdict is Verdict.PLUS_FOLLOW) == (bool(prefix[leader] & 1) == same)
    assert followed > 10


@pytest.mark.parametrize("shift", [0, 20])
def test_blurred_walls_are_still_split_by_floats(shift: int) -> None:
    """Large values that cancel blur the walls of the second layer, by far more than what floats
    alone make of them; exact arithmetic is not asked for each, and every region is found."""
    random = np.random.default_rng(1)
    first = random.integers(-9, 10, (6, 3))
    first[:, 0] += 40  # always active
    second = np.concatenate(
        (7 * random.integers(-9, 10, (6, 3)) - (first << shift), np.eye(6, dtype=int) * 7 << shift),
        axis=1,
    )
    layers = (UnitLayer(rows_of(first.tolist(), 7)), UnitLayer(rows_of(second.tolist(), 7)))
    chart = charts(UnitLayers(2, layers, ExactSparse.zeros((1, 15))), Box(-1, 1))[0]
    found = explored(chart)
    assert same_patterns(found.patterns, search(exact_forms(chart)).patterns)
    assert len(found.patterns) > 8 and found.decided == 0


@pytest.mark.parametrize("weights", [[[1, 0], [0, 3]], [[-2, 1], [1, 2]], [[1, 1], [-3, 2]]])
def test_a_unit_with_one_active_input_follows_it(weights: list[list[int]]) -> None:
    """relu(v) and relu(-v): one of them is 0 on every cell. Nothing is left to exact arithmetic,
    though both forms are rounded, and the checker accepts what is said."""
    v, w = [1, 3, -7], [-2, 5, 1]
    carriers = [v, [-x for x in v]]
    layers = (
        UnitLayer(rows_of([*carriers, w], 7)),
        UnitLayer(rows_of([[0, 0, 0, *row, 0] for row in weights], 11)),
        UnitLayer(rows_of([[0] * 6 + [1, 0], [1] + [0] * 5 + [-1, 1]], 13)),
    )
    chart = charts(UnitLayers(2, layers, ExactSparse.zeros((1, 10))), Box(-1, 1))[0]
    found = explored(chart)
    assert np.isin(found.codes, (MINUS_FOLLOW, PLUS_FOLLOW)).any() and found.decided == 0
    assert same_patterns(found.patterns, search(exact_forms(chart)).patterns)
    assert np.array_equal(check_streams(chart, [stream(found)]).patterns, found.patterns)
