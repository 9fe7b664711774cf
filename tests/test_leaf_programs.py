# SPDX-License-Identifier: Apache-2.0
"""Programmes on the leaves of a recorded search: floats against exact arithmetic, and the clock."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest

from isoform.certificate.cells import forbidden_rows, with_goals
from isoform.certificate.verdict import Undecided
from isoform.network.claim import Claim, Equal, SameDecision, Within
from isoform.network.domain import Box, bound_to
from isoform.network.linear_map import Dense
from isoform.network.network import Builder
from isoform.network.side_by_side import pieces, side_by_side
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact
from isoform.regions import leaf_programs
from isoform.regions.enumeration import enumerate_regions
from isoform.regions.leaf_programs import (
    Closing,
    Leaves,
    closings,
    exact_closing,
    exact_top,
    largest_values,
    leaves_of,
)
from isoform.regions.listing import Stopped
from isoform.regions.tasks import Budget
from isoform.verify import common_regions
from isoform.verify.cells import by_cells
from isoform.verify.question import Context, asked
from region_claims import mlp

WIDTHS = [(1, 4, 3, 2), (2, 4, 3, 2), (3, 4, 4, 2)]


def leaves_with(relation: Equal | SameDecision, seed: int, widths: tuple[int, ...]) -> Leaves:
    f, g = mlp(seed, widths), mlp(seed + 1000, widths)
    rows, _ = forbidden_rows(relation, f, g)
    layers = with_goals(unit_layers(side_by_side(f, g)), rows)
    charts = pieces(layers, bound_to(Box(-1, 1), f.dimension))
    return leaves_of(enumerate_regions(charts, record=True, workers=1), 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("widths", WIDTHS)
def test_largest_values_are_the_exact_ones(seed: int, widths: tuple[int, ...]) -> None:
    leaves = leaves_with(Equal(), seed, widths)
    found = largest_values(leaves)
    assert np.isfinite(found.uppers).mean() > 0.9
    for leaf in range(len(leaves)):
        for row in range(2):
            for side, sign in enumerate((1, -1)):
                top = exact_top(leaves, leaf, row, sign)
                place = 2 * row + side
                upper = found.uppers[leaf, place]
                assert upper == np.inf or Fraction(upper) >= top.value
                if upper < np.inf:
                    assert abs(found.values[leaf, place] - float(top.value)) < 1e-9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("widths", WIDTHS)
def test_what_floats_close_is_closed(seed: int, widths: tuple[int, ...]) -> None:
    """And what they call open is open, but for the last bits."""
    leaves = leaves_with(SameDecision(Fraction(1, 3)), seed, widths)
    sets, strict = [(0, 1), (2, 3)], [(False, True)] * 2
    found = closings(leaves, sets, strict)
    assert (found.status != 1).mean() > 0.5
    for leaf in range(len(leaves)):
        for number, (rows, flags) in enumerate(zip(sets, strict, strict=True)):
            closed = isinstance(exact_closing(leaves, leaf, rows, flags), Closing)
            assert found.status[leaf, number] == 1 or closed == (found.status[leaf, number] == 0)


def test_rows_beyond_the_doubles_are_left_alone() -> None:
    build = Builder((1,))
    huge = build.build(build.linear(Dense(Exact.of(np.array([[10**400]], dtype=object))), 0))
    question = asked(huge, mlp(0, (1, 2, 1)), Claim(Equal(), Box(-1, 1)), Context())
    assert by_cells(question) is None


def test_the_clock_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = leaves_with(Equal(), 0, (2, 4, 3, 2))
    monkeypatch.setattr(leaf_programs, "TOGETHER", 1)
    assert len(largest_values(leaves, time.monotonic() + 100).values) == len(leaves)
    with pytest.raises(Stopped):
        largest_values(leaves, time.monotonic() - 1)


def test_a_question_that_takes_too_long_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    question = asked(mlp(0, (2, 4, 3, 2)), mlp(1000, (2, 4, 3, 2)),
                     Claim(Within(Fraction(100)), Box(-1, 1)), Context())
    with monkeypatch.context() as patched:
        patched.setattr(leaf_programs, "TOGETHER", 1)
        patched.setattr(common_regions, "SHARE", 0.0)
        late = by_cells(question, Budget(seconds=1e-9))
    assert isinstance(late, Undecided) and "spent" in late.reason
    with monkeypatch.context() as patched:
        patched.setattr(common_regions.CommonRegions, "check_seconds", 1e6)
        long = by_cells(question, Budget(seconds=60))
    assert isinstance(long, Undecided) and "1000000 seconds" in long.reason
    assert long.lower > 0 and long.lower_at is not None
